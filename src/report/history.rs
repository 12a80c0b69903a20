//! Reads `history.jsonl`: once from end to end for the checkers, and here and there again for the ops that prove something.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::model::{Begun, OpView, OpenOps, Scanner};

/// What one read takes from the disk.
const BLOCK: usize = 1 << 20;
/// No op is longer; a file without line ends must not fill the memory.
const LINE_MAX: usize = 64 << 20;
/// How many blocks are read ahead.
const AHEAD: usize = 4;
/// The offset of every so-manieth line is kept, so that any line is found by reading few others.
const STRIDE: u64 = 4096;

/// What a history was like, once read.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    /// Whole lines read.
    pub(crate) lines: u64,
    /// Bytes of a last line that was cut off.
    pub(crate) torn_bytes: u64,
    /// Why it cannot be trusted. What follows the first damage was not read.
    pub(crate) damage: Option<String>,
    /// The ops that never ended.
    pub(crate) open: OpenOps,
    offsets: Vec<u64>,
}

impl History {
    /// Hands every transition to `take`, in order, with the invoke that it ends. A missing file is an empty history.
    pub(crate) fn read(path: &Path, mut take: impl FnMut(&OpView<'_>, Option<&Begun>)) -> io::Result<History> {
        let mut history =
            History { path: path.to_owned(), lines: 0, torn_bytes: 0, damage: None, open: OpenOps::default(), offsets: Vec::new() };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(history),
            Err(error) => return Err(error),
        };
        let (sender, blocks) = sync_channel(AHEAD);
        thread::scope(|scope| {
            scope.spawn(move || {
                // The receiver hangs up when it has seen enough.
                let _ = whole_lines(file, |block| sender.send(block).is_ok());
            });
            history.fold(blocks, &mut take)
        })?;
        Ok(history)
    }

    fn fold(&mut self, blocks: Receiver<io::Result<Vec<u8>>>, take: &mut impl FnMut(&OpView<'_>, Option<&Begun>)) -> io::Result<()> {
        let mut scanner = Scanner::new();
        let mut offset: u64 = 0;
        for block in blocks {
            let block = block?;
            let mut rest = &block[..];
            while !rest.is_empty() {
                if self.lines.is_multiple_of(STRIDE) {
                    self.offsets.push(offset);
                }
                let (taken, scanned) = scanner.scan(rest);
                let ended = rest[taken - 1] == b'\n';
                match scanned {
                    Ok(op) if op.index == self.lines => match self.open.pair(&op) {
                        Ok(begun) => take(&op, begun.as_ref()),
                        Err(why) => self.damage = Some(why),
                    },
                    Ok(op) => {
                        self.damage = Some(format!("line {} has index {} instead of {}", self.lines + 1, op.index, self.lines));
                    }
                    Err(_) if !ended => {
                        self.torn_bytes = taken as u64;
                        return Ok(());
                    }
                    Err(error) => self.damage = Some(format!("line {}: {error}", self.lines + 1)),
                }
                if self.damage.is_some() {
                    return Ok(());
                }
                self.lines += 1;
                offset += taken as u64;
                rest = &rest[taken..];
            }
        }
        Ok(())
    }

    /// Reads the lines with these indices again.
    pub(crate) fn lookup(&self, indices: &[u64]) -> io::Result<BTreeMap<u64, Vec<u8>>> {
        let mut wanted: Vec<u64> = indices.iter().copied().filter(|&i| i < self.lines).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let mut file = BufReader::with_capacity(1 << 16, File::open(&self.path)?);
        let mut at = u64::MAX;
        let mut line = Vec::new();
        for index in wanted {
            if at > index || index - at >= STRIDE {
                let stride = usize::try_from(index / STRIDE).unwrap_or(usize::MAX);
                let Some(&offset) = self.offsets.get(stride) else {
                    continue;
                };
                file.seek(SeekFrom::Start(offset))?;
                at = index / STRIDE * STRIDE;
            }
            while at <= index {
                line.clear();
                file.read_until(b'\n', &mut line)?;
                at += 1;
            }
            found.insert(index, line.clone());
        }
        Ok(found)
    }
}

/// Cuts a file into blocks of whole lines; the last one may lack its line end. Ends when `give` says no.
fn whole_lines(mut file: File, mut give: impl FnMut(io::Result<Vec<u8>>) -> bool) -> Option<()> {
    let mut carry: Vec<u8> = Vec::new();
    loop {
        let mut block = Vec::with_capacity(carry.len() + BLOCK);
        block.append(&mut carry);
        let before = block.len();
        let limit = BLOCK as u64;
        let read = match file.by_ref().take(limit).read_to_end(&mut block) {
            Ok(read) => read,
            Err(error) => return give(Err(error)).then_some(()),
        };
        if read == 0 {
            return (block.is_empty() || give(Ok(block))).then_some(());
        }
        match block[before..].iter().rposition(|&byte| byte == b'\n') {
            Some(at) => {
                carry.extend_from_slice(&block[before + at + 1..]);
                block.truncate(before + at + 1);
                if !give(Ok(block)) {
                    return None;
                }
            }
            None if block.len() > LINE_MAX => {
                let error = io::Error::other("a line of the history is longer than any op");
                return give(Err(error)).then_some(());
            }
            None => carry = block,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::check::build::HistoryBuilder;
    use crate::model::Op;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        file.write_all(bytes).expect("a temporary file can be written");
        file
    }

    fn read(bytes: &[u8]) -> (History, u64) {
        let file = file(bytes);
        let mut taken = 0;
        let history = History::read(file.path(), |_, _| taken += 1);
        (history.expect("a temporary file can be read"), taken)
    }

    fn acked(count: u64) -> HistoryBuilder {
        let mut history = HistoryBuilder::new();
        for key in 1..=count {
            history.acked(key);
        }
        history
    }

    #[test]
    fn a_torn_last_line_is_tolerated_and_counted() {
        let lines = acked(3).lines();
        let (history, taken) = read(&lines[..lines.len() - 10]);
        assert_eq!((history.lines, taken), (5, 5));
        assert!(history.torn_bytes > 10);
        assert_eq!(history.damage, None);
        assert_eq!(history.open.still_open().count(), 1);
    }

    #[test]
    fn a_last_line_that_lacks_only_its_end_is_whole() {
        let lines = acked(3).lines();
        let (history, taken) = read(&lines[..lines.len() - 1]);
        assert_eq!((history.lines, taken, history.torn_bytes), (6, 6, 0));
    }

    #[test]
    fn any_other_bad_line_is_damage() {
        let good = acked(3);
        let mut bad = good.lines();
        bad[5] = b'!';
        let mut gap = good.clone();
        gap.ops.remove(2);
        let mut twice = good.clone();
        twice.ops[2].process = 1;
        twice.ops[1].process = 2;
        for (bytes, why) in [(bad, "line 1"), (gap.lines(), "index 3 instead of 2"), (twice.lines(), "without having begun")] {
            let (history, _) = read(&bytes);
            let damage = history.damage.expect("it is damaged");
            assert!(damage.contains(why), "{damage}");
        }
    }

    #[test]
    fn a_missing_file_is_an_empty_history() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let history = History::read(&folder.path().join("history.jsonl"), |_, _| ());
        assert_eq!(history.map(|history| history.lines).ok(), Some(0));
    }

    #[test]
    fn lines_are_found_again_across_blocks() {
        // More than two blocks and more than two strides.
        let builder = acked(10_000);
        let file = file(&builder.lines());
        let mut taken = 0;
        let history = History::read(file.path(), |op, _| {
            assert_eq!(op.index, taken);
            taken += 1;
        })
        .expect("a temporary file can be read");
        assert_eq!(taken, 20_000);
        let wanted = [19_999, 0, 4_095, 4_096, 4_097, 12_345, 99_999];
        let found = history.lookup(&wanted).expect("it can be read again");
        assert_eq!(found.len(), 6);
        for (index, line) in found {
            assert_eq!(Op::parse(&line).ok().map(|op| op.index), Some(index));
        }
    }
}

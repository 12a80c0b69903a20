//! Reads `history.jsonl`: once from end to end for the checkers, and here and there again for the ops that prove something.
//!
//! Two threads share the work. One cuts the file into blocks of whole lines and reads the lines of each into a batch of ops; the other takes the batches in
//! their order, pairs each end of an op with its beginning, and hands the ops on. A batch ends where the history does: at the last line, at one that was cut off, or
//! at one that is no op, so that what is found wrong does not depend on who is faster. Batches that were taken go back to be filled again, which bounds the memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use crate::model::{Begun, OpView, OpenOps, Ops, ParseOpError};

/// How much of the file makes a batch: little enough that its ops are still in the processor's cache when they are taken.
const BLOCK: usize = 256 << 10;
/// No op is longer; a file without line ends must not fill the memory.
const LINE_MAX: usize = 64 << 20;
/// How many batches are read ahead.
const AHEAD: usize = 8;

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
    /// Of each batch its first line, counted from 0, and where in the file it begins, so that any line is found by reading few others.
    batches: Vec<(u64, u64)>,
}

/// The ops of one block.
struct Batch {
    ops: Ops,
    /// Where the block begins.
    offset: u64,
    end: End,
}

/// What follows a batch.
enum End {
    /// The next one, or nothing.
    Whole,
    /// So many bytes of a line that was cut off, and nothing.
    Torn(u64),
    /// A line that is no op.
    NotAnOp(ParseOpError),
    /// What cannot be read.
    Unreadable(io::Error),
}

impl History {
    /// Hands every transition to `take`, in order, with the invoke that it ends. A missing file is an empty history.
    pub(crate) fn read(path: &Path, mut take: impl FnMut(&OpView<'_>, Option<&Begun>)) -> io::Result<History> {
        let mut history =
            History { path: path.to_owned(), lines: 0, torn_bytes: 0, damage: None, open: OpenOps::default(), batches: Vec::new() };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(history),
            Err(error) => return Err(error),
        };
        let (full, batches) = sync_channel(AHEAD);
        let (spent, empty) = channel();
        thread::scope(|scope| {
            scope.spawn(move || Reader::of(file).run(&full, &empty));
            for Batch { ops, offset, end } in batches {
                history.batches.push((history.lines, offset));
                history.damage = history.fold(&ops, &mut take).err();
                if history.damage.is_none() {
                    history.end(end)?;
                }
                if history.damage.is_some() {
                    break;
                }
                // The reader has hung up when this was the last.
                let _ = spent.send(ops);
            }
            Ok(history)
        })
    }

    /// Takes the ops of a batch.
    ///
    /// # Errors
    /// In words, where they contradict the history so far.
    fn fold(&mut self, ops: &Ops, take: &mut impl FnMut(&OpView<'_>, Option<&Begun>)) -> Result<(), String> {
        for op in ops.iter() {
            if op.index != self.lines {
                return Err(format!("line {} has index {} instead of {}", self.lines + 1, op.index, self.lines));
            }
            let begun = self.open.pair(&op)?;
            take(&op, begun.as_ref());
            self.lines += 1;
        }
        Ok(())
    }

    fn end(&mut self, end: End) -> io::Result<()> {
        match end {
            End::Whole => {}
            End::Torn(bytes) => self.torn_bytes = bytes,
            End::NotAnOp(error) => self.damage = Some(format!("line {}: {error}", self.lines + 1)),
            End::Unreadable(error) => return Err(error),
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
            let batch = self.batches.partition_point(|&(first, _)| first <= index).checked_sub(1).map(|at| self.batches[at]);
            let Some((first, offset)) = batch else { continue };
            if at > index || at < first {
                file.seek(SeekFrom::Start(offset))?;
                at = first;
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

/// Cuts the file into blocks and reads their lines.
struct Reader {
    file: File,
    /// What was read of the file and not yet taken is in front.
    buffer: Vec<u8>,
    filled: usize,
    /// Where in the file the buffer begins.
    offset: u64,
}

impl Reader {
    fn of(file: File) -> Self {
        Reader { file, buffer: vec![0; BLOCK], filled: 0, offset: 0 }
    }

    /// Sends batch after batch, the last of which ends the history, until nobody takes them any more.
    fn run(mut self, full: &SyncSender<Batch>, empty: &Receiver<Ops>) {
        loop {
            let mut ops = empty.try_recv().unwrap_or_default();
            ops.clear();
            let offset = self.offset;
            let (end, last) = match self.whole_lines() {
                Ok((length, last)) => {
                    let end = self.scan(length, &mut ops);
                    let last = last || !matches!(end, End::Whole);
                    (end, last)
                }
                Err(error) => (End::Unreadable(error), true),
            };
            if full.send(Batch { ops, offset, end }).is_err() || last {
                return;
            }
        }
    }

    /// Fills the buffer. Returns how much of it is whole lines, and whether the file ends there, where the last line may lack its end.
    fn whole_lines(&mut self) -> io::Result<(usize, bool)> {
        loop {
            let read = match self.file.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let before = self.filled;
            self.filled += read;
            if read == 0 {
                return Ok((self.filled, true));
            }
            if let Some(at) = self.buffer[before..self.filled].iter().rposition(|&byte| byte == b'\n') {
                return Ok((before + at + 1, false));
            }
            if self.filled > LINE_MAX {
                return Err(io::Error::other("a line of the history is longer than any op"));
            }
            if self.filled == self.buffer.len() {
                self.buffer.resize(2 * self.filled, 0);
            }
        }
    }

    /// Reads the lines that the buffer begins with, and takes them out of it.
    fn scan(&mut self, length: usize, ops: &mut Ops) -> End {
        let mut rest = &self.buffer[..length];
        while !rest.is_empty() {
            let (taken, scanned) = ops.scan(rest);
            match scanned {
                Ok(()) => rest = &rest[taken..],
                Err(_) if rest[taken - 1] != b'\n' => return End::Torn(taken as u64),
                Err(error) => return End::NotAnOp(error),
            }
        }
        self.buffer.copy_within(length..self.filled, 0);
        self.filled -= length;
        self.offset += length as u64;
        End::Whole
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
        // More than two batches.
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

    #[test]
    fn what_is_wrong_far_into_a_history_is_told_by_its_line_and_ends_it() {
        let mut bytes = acked(10_000).lines();
        let begins: Vec<usize> = (0..bytes.len()).filter(|&at| at == 0 || bytes[at - 1] == b'\n').collect();
        bytes[begins[15_000]] = b'!';
        let (history, taken) = read(&bytes);
        assert_eq!((history.lines, taken), (15_000, 15_000));
        assert!(history.damage.is_some_and(|damage| damage.starts_with("line 15001: ")));
        let (history, taken) = read(&bytes[..begins[15_000] + 7]);
        assert_eq!((history.lines, taken, history.torn_bytes, history.damage), (15_000, 15_000, 7, None));
    }

    #[test]
    fn a_line_longer_than_a_block_is_one_op() {
        let keys: Vec<u64> = (1..=20_000).collect();
        let rows: Vec<_> = keys.iter().map(|&key| (key, crate::check::build::digest(key))).collect();
        let mut builder = acked(10);
        builder.page(0, &rows);
        builder.page(20_000, &[]);
        assert!(builder.lines().len() > 2 * BLOCK);
        let (history, taken) = read(&builder.lines());
        assert_eq!((history.lines, taken, history.torn_bytes, history.damage), (24, 24, 0, None));
    }
}

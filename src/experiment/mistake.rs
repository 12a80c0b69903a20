use std::fmt;

/// A place in a source text, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One thing that is wrong with an experiment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where; `None` when the file as a whole is meant, because it could not be read.
    pub at: Option<At>,
    /// The key, such as `faults[0].pod-kill.grace`; empty when the document as a whole is meant.
    pub path: String,
    /// What is wrong and what was expected.
    pub what: String,
}

/// How many mistakes are shown. A file with more was generated, or is not an experiment at all.
const SHOWN_MAX: usize = 50;

/// How many characters of a source line a snippet shows.
const SNIPPET_CHARS_MAX: usize = 100;

/// Everything that is wrong with one experiment file, in the order of the file.
///
/// `Display` gives one `file:line:column: path: what` a mistake, each followed by its line and a caret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    source: String,
    list: Vec<Mistake>,
    /// The source lines that the shown mistakes point to, so that the text itself need not be kept.
    lines: Vec<Option<String>>,
}

impl Mistakes {
    pub(super) fn new(source: &str, text: &str, mut list: Vec<Mistake>) -> Self {
        list.sort_by_key(|mistake| mistake.at);
        let lines: Vec<&str> = text.lines().collect();
        let lines = list
            .iter()
            .take(SHOWN_MAX)
            .map(|mistake| {
                let line = lines.get(mistake.at?.line.checked_sub(1)?)?;
                Some((*line).to_owned())
            })
            .collect();
        Mistakes { source: source.to_owned(), list, lines }
    }

    /// A file that could not even be read as text.
    pub(super) fn whole(source: &str, at: Option<At>, what: String) -> Self {
        let mistake = Mistake { at, path: String::new(), what };
        Mistakes::new(source, "", vec![mistake])
    }

    /// The name of the file.
    pub fn source_name(&self) -> &str {
        &self.source
    }

    /// The mistakes in the order of the file; never empty.
    pub fn list(&self) -> &[Mistake] {
        &self.list
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (mistake, line) in self.list.iter().zip(&self.lines) {
            write!(f, "{}", self.source)?;
            if let Some(at) = mistake.at {
                write!(f, ":{}:{}", at.line, at.column)?;
            }
            if !mistake.path.is_empty() {
                write!(f, ": {}", mistake.path)?;
            }
            writeln!(f, ": {}", mistake.what)?;
            if let (Some(at), Some(line)) = (mistake.at, line) {
                snippet(f, at, line)?;
            }
        }
        if self.list.len() > SHOWN_MAX {
            writeln!(f, "{}: and {} more mistakes", self.source, self.list.len() - SHOWN_MAX)?;
        }
        Ok(())
    }
}

/// The line and a caret under the column; of a long line only the part around the column.
fn snippet(f: &mut fmt::Formatter<'_>, at: At, line: &str) -> fmt::Result {
    let column = at.column.saturating_sub(1);
    let skipped = if line.chars().count() > SNIPPET_CHARS_MAX { column.saturating_sub(SNIPPET_CHARS_MAX / 2) } else { 0 };
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(SNIPPET_CHARS_MAX)
        .map(|c| match c {
            '\t' => ' ',
            // A terminal would obey an escape sequence that came out of somebody else's file.
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect();
    let number = at.line.to_string();
    let margin = " ".repeat(number.len());
    writeln!(f, "  {number} | {}", shown.trim_end())?;
    writeln!(f, "  {margin} | {}^", " ".repeat(column - skipped))
}

/// A piece of somebody's file as a message quotes it: short, and without anything that a terminal would obey.
pub(super) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String =
        text.chars().take(CHARS_MAX).flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

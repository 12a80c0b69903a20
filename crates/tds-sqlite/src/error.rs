//! SQL Server's error values: number, state, severity and text, and what each does to the batch and the transaction.
//!
//! Numbers and wordings follow `sys.messages`, because drivers and harnesses branch on the number and people search for the text.

use std::fmt;

/// One server error as it goes into an ERROR token (MS-TDS 2.2.7.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// Message number of `sys.messages`, or 50000 and above for user errors.
    pub number: i32,
    /// State byte.
    pub state: u8,
    /// Severity.
    pub class: u8,
    /// Line in the batch, 1-based; 0 when not known yet.
    pub line: u32,
    /// Message text.
    pub message: String,
    /// A THROW ends the batch even though its number would not.
    pub thrown: bool,
    /// RAISERROR raised it, which XACT_ABORT does not look at.
    pub raised: bool,
}

impl SqlError {
    /// An error of severity 16, state 1.
    pub fn new(number: i32, message: impl Into<String>) -> Self {
        Self { number, state: 1, class: 16, line: 0, message: message.into(), thrown: false, raised: false }
    }

    /// Sets the severity.
    #[must_use]
    pub fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    /// Sets the state.
    #[must_use]
    pub fn state(mut self, state: u8) -> Self {
        self.state = state;
        self
    }

    /// Sets the line unless one is known already.
    #[must_use]
    pub fn at(mut self, line: u32) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }

    /// Whether the rest of the batch is skipped when no TRY catches this error.
    pub fn ends_batch(&self) -> bool {
        self.thrown
            || self.class >= 19
            || self.is_of_compiling()
            || matches!(self.number, 241 | 242 | 245 | 911 | 1205 | 3960 | 3930 | 3998 | 8114 | 8169 | 40510 | 201)
    }

    /// Whether this error ends dynamic SQL that nothing guards, and not what executes it.
    pub fn is_of_compiling(&self) -> bool {
        !self.thrown && matches!(self.number, 102 | 105 | 134 | 137 | 156 | 207 | 208 | 209)
    }

    /// Whether this error rolls the transaction back even with XACT_ABORT OFF.
    pub fn ends_transaction(&self) -> bool {
        matches!(self.number, 241 | 242 | 245 | 1205 | 3960 | 8114 | 8169 | 9002 | 1105) || self.class >= 20
    }

    /// The text by which an error travels through SQLite's `sqlite3_result_error`.
    pub fn encode(&self) -> String {
        format!("\u{1}{}\u{1}{}\u{1}{}\u{1}{}", self.number, self.state, self.class, self.message)
    }

    /// Reads [`SqlError::encode`] back.
    pub fn decode(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('\u{1}')?;
        let mut parts = rest.splitn(4, '\u{1}');
        let number = parts.next()?.parse().ok()?;
        let state = parts.next()?.parse().ok()?;
        let class = parts.next()?.parse().ok()?;
        Some(Self { number, state, class, line: 0, message: parts.next()?.to_owned(), thrown: false, raised: false })
    }

    /// 102: the parser's error.
    pub fn syntax(near: &str) -> Self {
        Self::new(102, format!("Incorrect syntax near '{near}'.")).class(15)
    }

    /// 40510: understood or not, this server does not do it, and says so.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(40510, format!("Statement '{what}' is not supported in this version of SQL Server."))
    }

    /// 208.
    pub fn no_object(name: &str) -> Self {
        Self::new(208, format!("Invalid object name '{name}'."))
    }

    /// 8115.
    pub fn overflow(to: &str) -> Self {
        Self::new(8115, format!("Arithmetic overflow error converting expression to data type {to}.")).state(2)
    }

    /// 8134.
    pub fn divide_by_zero() -> Self {
        Self::new(8134, "Divide by zero error encountered.")
    }

    /// 1222.
    pub fn lock_timeout() -> Self {
        Self::new(1222, "Lock request time out period exceeded.").state(45)
    }

    /// 1205.
    pub fn deadlock(spid: u16) -> Self {
        Self::new(
            1205,
            format!(
                "Transaction (Process ID {spid}) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction."
            ),
        )
        .class(13)
        .state(51)
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Msg {}, Level {}, State {}, Line {}: {}", self.number, self.class, self.state, self.line, self.message)
    }
}

impl std::error::Error for SqlError {}

/// Result with a server error.
pub type SqlResult<T> = Result<T, SqlError>;

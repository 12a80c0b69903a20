//! ERRORLOG: SQL Server's log lines, on standard output, because people and harnesses look there for recovery and shutdown.

use crate::value::datetime::{DAY, SECOND, civil, now};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// A log that many threads write whole lines to.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Box<dyn Write + Send>>>);

impl Log {
    /// Writes to this writer.
    pub fn new(w: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(w))))
    }

    /// One line: `2026-01-31 12:00:00.00 spid7s      text`. A log that cannot be written is no reason to stop serving.
    pub fn line(&self, source: &str, text: &str) {
        let t = now();
        let (y, mo, d) = civil(t.div_euclid(DAY));
        let s = t.rem_euclid(DAY);
        let (h, mi, sec, cs) = (s / (3600 * SECOND), s / (60 * SECOND) % 60, s / SECOND % 60, s % SECOND / 100_000);
        if let Ok(mut w) = self.0.lock() {
            let _ = writeln!(w, "{y:04}-{mo:02}-{d:02} {h:02}:{mi:02}:{sec:02}.{cs:02} {source:<12}{text}");
            let _ = w.flush();
        }
    }

    /// The two lines of an error.
    pub fn error(&self, source: &str, number: i32, severity: u8, state: u8, text: &str) {
        self.line(source, &format!("Error: {number}, Severity: {severity}, State: {state}."));
        self.line(source, text);
    }
}

//! Programs of others (`kind`, `docker`) that a provider drives: bounded in time, with what they said when they fail.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;

use super::crash_point;

/// How a program failed.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// It is not there.
    #[error("`{program}` was not found on PATH")]
    NotFound {
        /// Its name.
        program: String,
    },
    /// It could not be started.
    #[error("`{program}` could not be started")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("`{command}` failed ({status}): {said}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it wrote to stderr.
        said: String,
    },
    /// It did not end in time, and was ended.
    #[error("`{command}` did not end within {seconds} s")]
    Timeout {
        /// The command line.
        command: String,
        /// The bound.
        seconds: u64,
    },
}

impl ProgramError {
    /// What to do, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ProgramError::NotFound { .. } => Some("install it, or run on the sandbox: --cluster sandbox"),
            _ => None,
        }
    }
}

/// One call of a program.
#[derive(Debug)]
pub struct Program {
    name: String,
    arguments: Vec<String>,
    deadline: Duration,
}

impl Program {
    /// A call with no arguments yet and a minute to end.
    pub fn new(name: &str) -> Self {
        Program { name: name.to_owned(), arguments: Vec::new(), deadline: Duration::from_secs(60) }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: AsRef<str>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Adds a path as an argument.
    #[must_use]
    pub fn path(mut self, path: &Path) -> Self {
        self.arguments.push(path.display().to_string());
        self
    }

    /// Sets how long it may take.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end and returns what it wrote to stdout.
    pub async fn output(self) -> Result<String, ProgramError> {
        let command = std::iter::once(self.name.as_str()).chain(self.arguments.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        crash_point(|| format!("before {command}"));
        let child = Command::new(&self.name)
            .args(self.arguments.iter().map(OsStr::new))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => ProgramError::NotFound { program: self.name.clone() },
                _ => ProgramError::Start { program: self.name.clone(), source },
            })?;
        let output = tokio::time::timeout(self.deadline, child.wait_with_output())
            .await
            .map_err(|_| ProgramError::Timeout { command: command.clone(), seconds: self.deadline.as_secs() })?
            .map_err(|source| ProgramError::Start { program: self.name, source })?;
        crash_point(|| format!("after {command}"));
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim();
            let from = said.char_indices().rev().nth(400).map_or(0, |(at, _)| at);
            return Err(ProgramError::Failed { command, status: output.status, said: said[from..].replace('\n', " | ") });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_gives_its_output_or_says_why_not() {
        assert_eq!(Program::new("echo").args(["a", "b"]).output().await.unwrap(), "a b\n");
        let failed = Program::new("sh").args(["-c", "echo broken >&2; exit 3"]).output().await.unwrap_err();
        assert!(failed.to_string().contains("broken"), "{failed}");
        let missing = Program::new("no-such-program-here").output().await.unwrap_err();
        assert!(matches!(missing, ProgramError::NotFound { .. }));
        let slow = Program::new("sleep").args(["60"]).within(Duration::from_millis(50)).output().await.unwrap_err();
        assert!(matches!(slow, ProgramError::Timeout { .. }));
    }
}

use std::fmt;
use std::process::ExitCode;

use crate::experiment::Mistakes;
use crate::model::Outcome;

/// Every exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It worked; of a run: everything that the experiment expects was shown to hold.
    Pass = 0,
    /// Something that the experiment expects was shown not to hold.
    Fail = 1,
    /// The run does not decide it.
    Inconclusive = 2,
    /// Something of ours is left in the cluster.
    LeftBehind = 3,
    /// The command line or the experiment file is wrong. Nothing was touched.
    Usage = 64,
    /// The cluster or the engine could not be reached, or a program or file that is needed is missing.
    Unavailable = 69,
    /// A bug in the harness.
    Bug = 70,
    /// Interrupted, and healed.
    Interrupted = 130,
}

impl Exit {
    /// The code itself.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Exit::Pass,
            Outcome::Fail => Exit::Fail,
            Outcome::Inconclusive => Exit::Inconclusive,
        }
    }
}

/// Why a command did not do what it is for: the message for stderr and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What the program exits with.
    pub exit: Exit,
    /// What is written to stderr; empty when there is nobody to tell.
    pub message: String,
}

impl Failure {
    /// A failure with a message.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Failure { exit, message: message.to_string() }
    }

    /// Something that is needed is missing or does not answer.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Failure::new(Exit::Unavailable, message)
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Failure { exit: Exit::Usage, message: mistakes.to_string() }
    }
}

/// Writing to the streams is the only input and output whose errors arrive without words of their own.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // Whoever read the output has seen enough, as with `chaos list | head`.
            Failure { exit: Exit::Pass, message: String::new() }
        } else {
            Failure::new(Exit::Unavailable, format!("cannot write the output: {error}"))
        }
    }
}

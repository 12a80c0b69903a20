//! What can go wrong on a session, and what that says about the op that was running.

use std::io;
use std::time::Duration;

use thiserror::Error;

use super::wire::Socket;
use crate::model::{ErrorKind, OpError, OpType};

/// How far a session had come when an error was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The TCP connection, name resolution included.
    Connect,
    /// PRELOGIN, TLS and LOGIN7.
    Login,
    /// A request on a session that was logged in.
    Request,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Stage::Connect => "connect",
            Stage::Login => "login",
            Stage::Request => "request",
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The socket failed.
    Io {
        /// What the operating system said.
        kind: io::ErrorKind,
        /// In words.
        message: String,
    },
    /// A deadline of ours passed.
    Timeout {
        /// After how long.
        after: Duration,
    },
    /// The server answered with an error.
    Server {
        /// Its number.
        number: u32,
        /// Its severity; from 20 on the server closes the connection.
        class: u8,
        /// Its text.
        message: String,
    },
    /// The answer could not be understood, or TLS failed.
    Protocol {
        /// What was wrong.
        message: String,
    },
    /// The session was closed by an earlier error; nothing was sent.
    NotConnected,
}

/// An error of a session.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {}", stage.word(), describe(cause))]
pub struct SqlError {
    /// How far the session had come.
    pub stage: Stage,
    /// What was seen.
    pub cause: Cause,
}

/// Whether the request that decides an op, its COMMIT or the one statement that commits by itself, had been handed to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It had not: whatever was begun is rolled back with the session.
    BeforeCommit,
    /// It had: only a definite answer tells.
    Commit,
}

/// The longest message that an op carries into the history, in bytes.
const MESSAGE_BYTES_MAX: usize = 240;

impl SqlError {
    /// The server's error number, where it answered.
    pub fn number(&self) -> Option<u32> {
        match self.cause {
            Cause::Server { number, .. } => Some(number),
            _ => None,
        }
    }

    /// Whether the session can go on after this error. It cannot when its state is unknown or the server is about to close it.
    pub(super) fn leaves_session_usable(&self) -> bool {
        self.stage == Stage::Request && matches!(self.cause, Cause::Server { class, .. } if class < 20)
    }

    /// The error as the history shows it.
    pub fn op_error(&self) -> OpError {
        let (kind, number) = match &self.cause {
            Cause::Io { kind, .. } => (io_kind(*kind), None),
            Cause::Timeout { .. } => (ErrorKind::Timeout, None),
            Cause::Server { number, .. } if self.stage == Stage::Login => (ErrorKind::Login, Some(*number)),
            Cause::Server { number, .. } => (ErrorKind::Server, Some(*number)),
            Cause::Protocol { .. } => (ErrorKind::Protocol, None),
            Cause::NotConnected => (ErrorKind::NotSent, None),
        };
        OpError { kind, number, message: one_line(&self.to_string()) }
    }

    /// What the error says about the op that was running.
    ///
    /// An op that had no connection or no login, or whose COMMIT was never sent, certainly did not happen. After the deciding request was sent, only an
    /// error of the server that is known to come with a rollback is a *fail*; a lost connection, a deadline and every error that is not on that list is
    /// *info*. The list errs on the side of info: a wrong info costs precision, a wrong fail would accuse a correct engine.
    pub fn classify(&self, sent: Sent) -> (OpType, OpError) {
        let certain = match (self.stage, sent, &self.cause) {
            (Stage::Connect | Stage::Login, _, _) | (_, Sent::BeforeCommit, _) => true,
            (Stage::Request, Sent::Commit, Cause::NotConnected) => true,
            (Stage::Request, Sent::Commit, Cause::Server { number, class, .. }) => *class < 20 && certainly_rolled_back(*number),
            (Stage::Request, Sent::Commit, _) => false,
        };
        let kind = if certain { OpType::Fail } else { OpType::Info };
        (kind, self.op_error())
    }
}

/// Errors of the server that prove that the statement or transaction that they answer changed nothing.
///
/// Left out on purpose, and so *info*:
/// - 2627 and 2601 on an op's own key: this statement changed nothing, but the row is there, so an earlier attempt with this key did commit.
/// - 823, 824 (I/O, page checksum) and 9001 (log unavailable): they can strike after the commit record was handed to the log.
/// - 6005 (shutdown in progress), 596 (session killed), 17142 and 17187 (paused, not ready): they end the session at any point, a commit's wait included.
/// - 3902 (COMMIT without BEGIN): the transaction was gone, and what ran before it may have committed statement by statement. 266 likewise.
/// - 701, 802, 8645 (memory): the statement was ended, and nothing says at which point.
fn certainly_rolled_back(number: u32) -> bool {
    matches!(
        number,
        // Deadlock victim; lock request timed out; snapshot conflict.
        1205 | 1222 | 3960
        // Foreign key or check violated; NULL in a NOT NULL column.
        | 547 | 515
        // Conversion, overflow and truncation end the statement.
        | 220 | 241 | 242 | 245 | 248 | 2628 | 8114 | 8115 | 8134 | 8152
        // The batch did not compile: syntax, unknown object, column, function, procedure or parameter; not supported here.
        | 102 | 105 | 137 | 156 | 195 | 201 | 207 | 208 | 213 | 2812 | 4104 | 8144 | 40510
        // Permission denied.
        | 229 | 230 | 262 | 916
        // The transaction could not be committed any more and was rolled back, or must be.
        | 3903 | 3930 | 3998
        // No room for the row in the data files or for its record in the log; room for a commit's own record is reserved before.
        | 1105 | 9002
        // The database is not there, recovering, restoring, offline, read-only: the batch was refused before it began.
        | 911 | 922 | 927 | 942 | 945 | 952 | 3906 | 4060
    )
}

/// The kind under which a socket's error is reported.
fn io_kind(kind: io::ErrorKind) -> ErrorKind {
    match kind {
        // An unreachable host or network is an answer of the network that there is nobody: the same as a refusal for a client.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorKind::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ErrorKind::Reset,
        // Writing after the other side has gone is EPIPE; reading is the end of the stream.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected | io::ErrorKind::WriteZero => {
            ErrorKind::Closed
        }
        io::ErrorKind::TimedOut => ErrorKind::Timeout,
        // Out of ports or of file descriptors, an unknown name: ours, nothing was sent.
        io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::AddrInUse
        | io::ErrorKind::OutOfMemory
        | io::ErrorKind::NotFound
        | io::ErrorKind::InvalidInput => ErrorKind::NotSent,
        _ => ErrorKind::Protocol,
    }
}

/// One line, and not too long a one.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MESSAGE_BYTES_MAX));
    for character in text.chars() {
        let character = if character.is_control() { ' ' } else { character };
        if line.len() + character.len_utf8() > MESSAGE_BYTES_MAX {
            break;
        }
        line.push(character);
    }
    line
}

fn describe(cause: &Cause) -> String {
    match cause {
        Cause::Io { message, .. } => message.clone(),
        Cause::Timeout { after } => format!("no answer within {} ms", after.as_millis()),
        Cause::Server { number, message, .. } => format!("error {number}: {message}"),
        Cause::Protocol { message } => message.clone(),
        Cause::NotConnected => "the session was closed by an earlier error".to_owned(),
    }
}

/// Turns an error of the driver into ours. What the socket saw itself is more exact than what the driver makes of it.
pub(super) fn from_driver(stage: Stage, error: tiberius::error::Error, socket: &Socket) -> SqlError {
    use tiberius::error::Error;
    let cause = match error {
        Error::Io { kind, message } => match socket.failure() {
            Some(seen) => return from_io(stage, &seen),
            None => Cause::Io { kind, message },
        },
        Error::Server(token) => Cause::Server { number: token.code(), class: token.class(), message: token.message().to_owned() },
        other => Cause::Protocol { message: other.to_string() },
    };
    SqlError { stage, cause }
}

/// Turns an error of the socket into ours.
pub(super) fn from_io(stage: Stage, error: &io::Error) -> SqlError {
    SqlError { stage, cause: Cause::Io { kind: error.kind(), message: error.to_string() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(stage: Stage, number: u32, class: u8) -> SqlError {
        SqlError { stage, cause: Cause::Server { number, class, message: "m".to_owned() } }
    }

    fn io(stage: Stage, kind: io::ErrorKind) -> SqlError {
        from_io(stage, &io::Error::from(kind))
    }

    #[test]
    fn nothing_before_commit_is_ever_unknown() {
        for error in [
            io(Stage::Request, io::ErrorKind::ConnectionReset),
            server(Stage::Request, 9001, 21),
            SqlError { stage: Stage::Request, cause: Cause::Timeout { after: Duration::from_secs(1) } },
        ] {
            assert_eq!(error.classify(Sent::BeforeCommit).0, OpType::Fail);
            assert_eq!(error.classify(Sent::Commit).0, OpType::Info);
        }
    }

    #[test]
    fn without_a_login_nothing_happened() {
        let cases = [
            (io(Stage::Connect, io::ErrorKind::ConnectionRefused), ErrorKind::Refused, None),
            (io(Stage::Login, io::ErrorKind::ConnectionReset), ErrorKind::Reset, None),
            (server(Stage::Login, 18456, 14), ErrorKind::Login, Some(18456)),
            (server(Stage::Login, 4060, 11), ErrorKind::Login, Some(4060)),
        ];
        for (error, kind, number) in cases {
            let (outcome, seen) = error.classify(Sent::Commit);
            assert_eq!((outcome, seen.kind, seen.number), (OpType::Fail, kind, number));
        }
    }

    #[test]
    fn only_a_proven_rollback_is_a_fail_after_the_commit_was_sent() {
        for number in [1205, 547, 515, 208, 1222, 3960, 3906] {
            assert_eq!(server(Stage::Request, number, 16).classify(Sent::Commit).0, OpType::Fail, "{number} comes with a rollback");
        }
        for number in [2627, 2601, 823, 824, 9001, 6005, 596, 3902, 266, 701, 50000] {
            assert_eq!(server(Stage::Request, number, 16).classify(Sent::Commit).0, OpType::Info, "{number} does not prove a rollback");
        }
        // A severity that ends the connection proves nothing, whatever its number.
        assert_eq!(server(Stage::Request, 1205, 20).classify(Sent::Commit).0, OpType::Info);
    }

    #[test]
    fn a_broken_connection_has_the_kind_that_was_seen() {
        let kinds = [
            (io::ErrorKind::ConnectionReset, ErrorKind::Reset),
            (io::ErrorKind::UnexpectedEof, ErrorKind::Closed),
            (io::ErrorKind::BrokenPipe, ErrorKind::Closed),
            (io::ErrorKind::TimedOut, ErrorKind::Timeout),
        ];
        for (seen, kind) in kinds {
            let (outcome, error) = io(Stage::Request, seen).classify(Sent::Commit);
            assert_eq!((outcome, error.kind), (OpType::Info, kind));
        }
    }

    #[test]
    fn a_message_is_one_short_line() {
        let error = SqlError { stage: Stage::Request, cause: Cause::Protocol { message: "a\nb".to_owned() + &"é".repeat(500) } };
        let message = error.op_error().message;
        assert!(message.starts_with("request: a b"));
        assert!(message.len() <= MESSAGE_BYTES_MAX && !message.contains('\n'));
    }

    #[test]
    fn only_a_mild_server_error_leaves_the_session_usable() {
        assert!(server(Stage::Request, 2627, 14).leaves_session_usable());
        assert!(!server(Stage::Request, 596, 21).leaves_session_usable());
        assert!(!server(Stage::Login, 18456, 14).leaves_session_usable());
        assert!(!io(Stage::Request, io::ErrorKind::ConnectionReset).leaves_session_usable());
    }
}

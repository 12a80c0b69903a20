//! The durability workload: rows with a key of their own, whose payload is known from the seed and the key alone.

use std::time::Duration;

use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};

use super::{Draws, Outcome, Workload};
use crate::measure::OpSink;
use crate::model::{Digest, F, Value};
use crate::sql::{Param, Sent, Session};

const INSERT: &str = "INSERT INTO dbo.ledger (id, payload, digest) VALUES (@P1, @P2, @P3)";

const PAYLOAD_BYTES_MIN: usize = 100;
const PAYLOAD_BYTES_MAX: usize = 200;

/// The content of one row.
#[derive(Debug, Clone)]
pub struct Payload {
    bytes: [u8; PAYLOAD_BYTES_MAX],
    length: usize,
}

impl Payload {
    /// The payload of a key under a seed: 100 to 200 printable bytes, so that a damaged row can be looked at.
    pub fn of(seed: u64, key: u64) -> Payload {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut draws = Draws::new(seed, key);
        let spread = draws.below((PAYLOAD_BYTES_MAX - PAYLOAD_BYTES_MIN + 1) as u64);
        let length = PAYLOAD_BYTES_MIN + usize::try_from(spread).unwrap_or(0);
        let mut bytes = [0; PAYLOAD_BYTES_MAX];
        for chunk in bytes[..length].chunks_mut(10) {
            let mut bits = draws.draw();
            for byte in chunk {
                *byte = LETTERS[usize::try_from(bits & 63).unwrap_or(0)];
                bits >>= 6;
            }
        }
        Payload { bytes, length }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        digest_of(self.bytes())
    }
}

/// The first 64 bits of the SHA-256 of a payload.
pub fn digest_of(payload: &[u8]) -> Digest {
    let hash = Sha256::digest(payload);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    Digest(u64::from_be_bytes(first))
}

/// A digest as the BIGINT that the table holds: the same 64 bits.
pub(super) fn digest_as_column(digest: Digest) -> i64 {
    digest.0.cast_signed()
}

/// Inserts rows with unique keys.
#[derive(Debug, Clone, Copy)]
pub struct Ledger {
    seed: u64,
}

impl Ledger {
    /// The ledger whose payloads come from this seed.
    pub fn new(seed: u64) -> Self {
        Ledger { seed }
    }

    /// The next row to insert.
    pub(super) fn next_row(self, sink: &OpSink) -> Value {
        let key = sink.next_key();
        Value::Row(key, Payload::of(self.seed, key).digest())
    }

    /// Inserts one row. The statement is its own commit: once it was sent, only a definite answer tells.
    pub(super) async fn insert(self, session: &mut Session, value: &Value, limit: Duration) -> Outcome {
        let Value::Row(key, digest) = *value else { unreachable!("the ledger draws rows") };
        let payload = Payload::of(self.seed, key);
        let params = [Param::I64(key.cast_signed()), Param::Bytes(payload.bytes()), Param::I64(digest_as_column(digest))];
        match session.execute(INSERT, &params, limit).await {
            Ok(_) => Outcome::ok(value.clone()),
            Err(error) => Outcome::of_error(&error, Sent::Commit, value.clone()),
        }
    }
}

impl Workload for Ledger {
    fn draw(&self, _: &mut Draws, sink: &OpSink) -> (F, Value) {
        (F::LedgerAdd, self.next_row(sink))
    }

    fn perform<'a>(&'a self, session: &'a mut Session, value: &'a Value, limit: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(self.insert(session, value, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_known_from_its_seed_and_key() {
        let payload = Payload::of(1, 42);
        assert_eq!(payload.bytes(), Payload::of(1, 42).bytes());
        assert_ne!(payload.bytes(), Payload::of(1, 43).bytes());
        assert_ne!(payload.bytes(), Payload::of(2, 42).bytes());
        let lengths: std::collections::BTreeSet<_> = (1..2_000).map(|key| Payload::of(1, key).bytes().len()).collect();
        assert_eq!((lengths.first(), lengths.last()), (Some(&PAYLOAD_BYTES_MIN), Some(&PAYLOAD_BYTES_MAX)));
        assert!(Payload::of(9, 9).bytes().iter().all(u8::is_ascii_graphic));
    }

    #[test]
    fn a_digest_is_the_beginning_of_sha_256() {
        // FIPS 180-2, the test vector of "abc".
        assert_eq!(digest_of(b"abc").to_string(), "ba7816bf8f01cfea");
    }
}

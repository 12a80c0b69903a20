//! The read of the whole ledger after everything has healed.

use std::time::{Duration, Instant};

use super::ledger::{digest_as_column, digest_of};
use super::prepare::DATABASE;
use crate::measure::{Clock, OpSink};
use crate::model::{Digest, F, OpError, OpType, Value};
use crate::sql::{Deadlines, Param, Row, Sent, Session, SqlError, Target};

/// Rows on a page.
pub const PAGE_ROWS: usize = 2_000;

const PAGE: &str = "SELECT TOP (2000) id, payload, digest FROM dbo.ledger WHERE id > @P1 ORDER BY id";
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// How the final read went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FinalRead {
    /// Whether one chain of pages went from the first key to the empty page that ends it.
    pub complete: bool,
    /// Rows of that chain.
    pub rows: u64,
    /// Rows whose stored digest is not the digest of their stored payload.
    pub torn: u64,
    /// Chains that were begun.
    pub attempts: u32,
    /// Why the last page that failed did.
    pub last_error: Option<OpError>,
}

/// Reads the ledger from the first key to the last, page by page, each page an op `ledger-read`; an empty page ends it. A page that fails is recorded as
/// failed, and the read begins again at the first key with new ops, until the deadline.
///
/// The digest that is reported for a row is computed from the payload that was read, so that damage to either column shows.
pub async fn final_read(target: &Target, sink: &OpSink, clock: Clock, deadline: Duration) -> FinalRead {
    let target = target.in_database(DATABASE);
    let end = Instant::now() + deadline;
    let mut result = FinalRead::default();
    while Instant::now() < end {
        result.attempts += 1;
        (result.rows, result.torn) = (0, 0);
        match read_chain(&target, sink, clock, end, &mut result).await {
            Ok(()) => {
                result.complete = true;
                break;
            }
            Err(error) => {
                tracing::debug!(%error, "the final read begins again");
                result.last_error = Some(error.op_error());
            }
        }
        let pause = PAUSE.min(end.saturating_duration_since(Instant::now()));
        tokio::time::sleep(pause).await;
    }
    result
}

/// One chain of pages on one session.
async fn read_chain(target: &Target, sink: &OpSink, clock: Clock, end: Instant, result: &mut FinalRead) -> Result<(), SqlError> {
    let left = || end.saturating_duration_since(Instant::now());
    let deadlines = Deadlines { connect: Duration::from_secs(5).min(left()), login: Duration::from_secs(15).min(left()) };
    let mut session = match Session::connect(target, deadlines).await {
        Ok(session) => session,
        Err(error) => {
            // The first page was due and could not be sent.
            sink.not_sent(sink.next_process(), F::LedgerRead, Value::After(0), clock.now_ns(), error.op_error());
            return Err(error);
        }
    };
    let process = sink.next_process();
    let mut after = 0;
    loop {
        let op = sink.invoke(process, F::LedgerRead, Value::After(after), clock.now_ns());
        let page = match session.query_rows(PAGE, &[Param::I64(after.cast_signed())], PAGE_TIMEOUT.min(left())).await {
            Ok(rows) => rows.iter().map(read_row).collect::<Result<Vec<_>, _>>(),
            Err(error) => Err(error),
        };
        match page {
            Ok(page) => {
                result.rows += page.len() as u64;
                result.torn += page.iter().filter(|row| row.torn).count() as u64;
                let rows: Vec<(u64, Digest)> = page.iter().map(|row| (row.key, row.digest)).collect();
                let last = rows.last().map(|(key, _)| *key);
                sink.complete(op, OpType::Ok, Value::Rows(rows), None);
                match last {
                    Some(key) => after = key,
                    None => return Ok(()),
                }
            }
            Err(error) => {
                // A read changes nothing: one that got no answer certainly did nothing.
                let (kind, seen) = error.classify(Sent::BeforeCommit);
                sink.complete(op, kind, Value::After(after), Some(seen));
                return Err(error);
            }
        }
    }
}

struct ReadRow {
    key: u64,
    digest: Digest,
    torn: bool,
}

fn read_row(row: &Row) -> Result<ReadRow, SqlError> {
    let key = row.whole(0)?.cast_unsigned();
    let digest = digest_of(row.bytes(1)?.unwrap_or_default());
    let torn = row.integer(2)? != Some(digest_as_column(digest));
    Ok(ReadRow { key, digest, torn })
}

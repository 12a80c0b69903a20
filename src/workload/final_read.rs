//! The read of everything that the load wrote, after everything has healed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::append::elements;
use super::bank;
use super::ledger::{digest_as_column, digest_of};
use super::prepare::DATABASE;
use super::queue;
use super::register::{self, REGISTERS};
use super::statements;
use crate::experiment::{WorkloadKind, WorkloadPlan};
use crate::measure::{Clock, Invoked, OpSink};
use crate::model::{Digest, F, Mop, OpError, OpType, Value};
use crate::sql::{Deadlines, Param, Row, Sent, Session, SqlError, Target};

/// Rows on a page.
pub const PAGE_ROWS: usize = 2_000;

const PAGE: &str = "SELECT TOP (2000) id, payload, digest FROM dbo.ledger WHERE id > @P1 ORDER BY id";
/// Lists that one read asks for.
const LISTS_AT_ONCE: u64 = 100;
const LISTS: &str = "SELECT id, list FROM dbo.append WHERE id BETWEEN @P1 AND @P2";
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// How the final read went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FinalRead {
    /// Whether one chain of pages went from the first key to the empty page that ends it.
    pub complete: bool,
    /// Rows of that chain.
    pub rows: u64,
    /// Chains that were begun.
    pub attempts: u32,
    /// Why the last page that failed did.
    pub last_error: Option<OpError>,
}

/// Reads the ledger from the first key to the last, page by page, each page an op `ledger-read`; an empty page ends it. A page that fails is recorded as
/// failed, and the read begins again at the first key with new ops, until the deadline.
///
/// The digest that is recorded for a row is computed from the payload that was read. Where the stored digest is another one, its complement is recorded, which no
/// row was written with: so damage to either column shows.
///
/// Then come the lists, the accounts, the registers, the queue and the user's own checks, where the load has any.
pub async fn final_read(plan: &WorkloadPlan, target: &Target, sink: &OpSink, clock: Clock, deadline: Duration) -> FinalRead {
    let target = target.in_database(DATABASE);
    let end = Instant::now() + deadline;
    let mut result = FinalRead::default();
    while Instant::now() < end {
        result.attempts += 1;
        result.rows = 0;
        match read_chain(plan, &target, sink, clock, end, &mut result).await {
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
async fn read_chain(
    plan: &WorkloadPlan,
    target: &Target,
    sink: &OpSink,
    clock: Clock,
    end: Instant,
    result: &mut FinalRead,
) -> Result<(), SqlError> {
    let left = || end.saturating_duration_since(Instant::now());
    let deadlines = Deadlines { connect: Duration::from_secs(5).min(left()), login: Duration::from_secs(15).min(left()) };
    let mut session = match Session::connect(target, deadlines).await {
        Ok(session) => session,
        Err(error) => {
            // The first page was due and could not be sent.
            sink.not_sent(sink.next_process(), F::LedgerRead, Value::Key(0), clock.now_ns(), error.op_error());
            return Err(error);
        }
    };
    read_ledger(&mut session, sink, clock, end, result).await?;
    let process = sink.next_process();
    let mut first = 1;
    while first <= sink.lists() {
        let last = sink.lists().min(first + LISTS_AT_ONCE - 1);
        let keys = first..=last;
        let unread = Value::Txn(keys.clone().map(|key| Mop::Read(key, None)).collect());
        let op = sink.invoke(process, F::TxnFinal, unread.clone(), clock.now_ns());
        let read = read_lists(&mut session, keys, PAGE_TIMEOUT.min(left())).await;
        completed(sink, op, unread, read.map(Value::Txn))?;
        first = last + 1;
    }
    if plan.mix.contains_key(&WorkloadKind::Bank) {
        let op = sink.invoke(process, F::BankFinal, Value::None, clock.now_ns());
        let read = bank::balances(&mut session, PAGE_TIMEOUT.min(left())).await;
        completed(sink, op, Value::None, read.map(Value::Numbers))?;
    }
    if plan.mix.contains_key(&WorkloadKind::Register) {
        for key in 0..REGISTERS {
            let unread = Value::Register { key, value: None };
            let op = sink.invoke(process, F::RegisterFinal, unread.clone(), clock.now_ns());
            let read = register::read(&mut session, key, PAGE_TIMEOUT.min(left())).await;
            completed(sink, op, unread, read.map(|content| Value::Register { key, value: Some(content) }))?;
        }
    }
    if plan.mix.contains_key(&WorkloadKind::Queue) {
        let op = sink.invoke(process, F::QueueFinal, Value::None, clock.now_ns());
        let read = queue::left(&mut session, PAGE_TIMEOUT.min(left())).await;
        completed(sink, op, Value::None, read.map(Value::Numbers))?;
    }
    for (number, check) in (0_u64..).zip(plan.sql.iter().flat_map(|own| &own.checks)) {
        let op = sink.invoke(process, F::SqlCheck, Value::Key(number), clock.now_ns());
        let answer = statements::ask(&mut session, check, PAGE_TIMEOUT.min(left())).await;
        completed(sink, op, Value::Key(number), answer.map(Value::Numbers))?;
    }
    Ok(())
}

/// Records how a read ended. A read changes nothing: one that got no answer certainly did nothing.
fn completed(sink: &OpSink, op: Invoked, argument: Value, read: Result<Value, SqlError>) -> Result<(), SqlError> {
    match read {
        Ok(value) => {
            sink.complete(op, OpType::Ok, value, None);
            Ok(())
        }
        Err(error) => {
            let (kind, seen) = error.classify(Sent::BeforeCommit);
            sink.complete(op, kind, argument, Some(seen));
            Err(error)
        }
    }
}

/// The lists of these keys; one that is not there is empty.
async fn read_lists(session: &mut Session, keys: RangeInclusive<u64>, limit: Duration) -> Result<Vec<Mop>, SqlError> {
    let params = [Param::I64(keys.start().cast_signed()), Param::I64(keys.end().cast_signed())];
    let rows = session.query_rows(LISTS, &params, limit).await?;
    let mut lists: BTreeMap<u64, Vec<u64>> = keys.map(|key| (key, Vec::new())).collect();
    for row in &rows {
        lists.insert(row.whole(0)?.cast_unsigned(), row.text(1)?.map(elements).unwrap_or_default());
    }
    Ok(lists.into_iter().map(|(key, list)| Mop::Read(key, Some(list))).collect())
}

/// One chain of the ledger's pages.
async fn read_ledger(session: &mut Session, sink: &OpSink, clock: Clock, end: Instant, result: &mut FinalRead) -> Result<(), SqlError> {
    let left = || end.saturating_duration_since(Instant::now());
    let process = sink.next_process();
    let mut after = 0;
    loop {
        let op = sink.invoke(process, F::LedgerRead, Value::Key(after), clock.now_ns());
        let page = match session.query_rows(PAGE, &[Param::I64(after.cast_signed())], PAGE_TIMEOUT.min(left())).await {
            Ok(rows) => rows.iter().map(read_row).collect::<Result<Vec<_>, _>>(),
            Err(error) => Err(error),
        };
        match page {
            Ok(page) => {
                result.rows += page.len() as u64;
                let last = page.last().map(|(key, _)| *key);
                sink.complete(op, OpType::Ok, Value::Rows(page), None);
                match last {
                    Some(key) => after = key,
                    None => return Ok(()),
                }
            }
            Err(error) => return completed(sink, op, Value::Key(after), Err(error)),
        }
    }
}

fn read_row(row: &Row) -> Result<(u64, Digest), SqlError> {
    let digest = digest_of(row.bytes(1)?.unwrap_or_default());
    let whole = row.integer(2)? == Some(digest_as_column(digest));
    Ok((row.whole(0)?.cast_unsigned(), if whole { digest } else { Digest(!digest.0) }))
}

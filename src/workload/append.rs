//! Transactions of appends to lists and reads of lists, as Elle wants them: what the reads return shows in which order the transactions took effect.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures::future::BoxFuture;

use super::transaction::{Stopped, Transaction, not_begun};
use super::{Draws, Outcome, Workload};
use crate::measure::OpSink;
use crate::model::{F, Isolation, Mop, Value};
use crate::sql::{Param, Session, SqlError};

/// Lists that are in use at once. The first is drawn for half of all micro-operations, the second for a quarter, and so on: contention on some, room on others.
const LISTS: usize = 5;
/// Micro-operations of one transaction.
const MOPS_MAX: u64 = 8;
/// Appends to one list; after them another takes its place, so that lists stay short and a run has many.
const APPENDS_MAX: u64 = 64;
/// Transactions whose first append is a multiple of this are rolled back instead of committed, so that there is something aborted to be read.
const ROLLED_BACK_EVERY: u64 = 16;

/// An element that is no number is read as this, which nobody appends.
const UNREADABLE: u64 = i64::MAX.cast_unsigned();

const APPEND: &str = "UPDATE dbo.append SET list = list + ',' + CAST(@P2 AS VARCHAR(20)) WHERE id = @P1; \
     IF @@ROWCOUNT = 0 INSERT INTO dbo.append (id, list) VALUES (@P1, CAST(@P2 AS VARCHAR(20)))";
const READ: &str = "SELECT list FROM dbo.append WHERE id = @P1";

/// Appends and reads.
#[derive(Debug)]
pub struct Append {
    isolation: Isolation,
    /// The lists in use, each with how many appends to it were handed out.
    lists: Mutex<[(u64, u64); LISTS]>,
}

impl Append {
    /// Transactions of this level.
    pub fn new(isolation: Isolation) -> Self {
        Append { isolation, lists: Mutex::new([(0, APPENDS_MAX); LISTS]) }
    }

    /// A list for the next micro-operation, and the next element for it. Both are handed out densely across all clients.
    fn next(&self, slot: usize, append: bool, sink: &OpSink) -> Mop {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, appended) = &mut lists[slot];
        if *key == 0 || (append && *appended == APPENDS_MAX) {
            (*key, *appended) = (sink.next_list(), 0);
        }
        if !append {
            return Mop::Read(*key, None);
        }
        *appended += 1;
        Mop::Append(*key, *appended)
    }

    async fn run(&self, session: &mut Session, mops: &[Mop], limit: Duration) -> Outcome {
        let argument = Value::Txn(mops.to_vec());
        let mut transaction = match Transaction::begin(session, self.isolation, limit).await {
            Ok(transaction) => transaction,
            Err((error, _)) => return not_begun(&error, argument),
        };
        match perform(&mut transaction, mops).await {
            Ok(_) if is_rolled_back(mops) => transaction.abandon(Stopped::Declined("rolled back on purpose".to_owned()), argument).await,
            Ok(done) => transaction.commit(Value::Txn(done), argument).await,
            Err(error) => transaction.abandon(error.into(), argument).await,
        }
    }
}

async fn perform(transaction: &mut Transaction<'_>, mops: &[Mop]) -> Result<Vec<Mop>, SqlError> {
    let mut done = Vec::with_capacity(mops.len());
    for mop in mops {
        let left = transaction.left();
        done.push(match *mop {
            Mop::Append(key, element) => {
                let params = [Param::I64(key.cast_signed()), Param::I64(element.cast_signed())];
                transaction.session.execute(APPEND, &params, left).await?;
                Mop::Append(key, element)
            }
            Mop::Read(key, _) => {
                let rows = transaction.session.query_rows(READ, &[Param::I64(key.cast_signed())], left).await?;
                let list = rows.first().map(|row| row.text(0)).transpose()?.flatten().map(elements);
                Mop::Read(key, Some(list.unwrap_or_default()))
            }
        });
    }
    Ok(done)
}

/// The elements of a list as it is stored.
pub(super) fn elements(list: &str) -> Vec<u64> {
    list.split(',').map(|element| element.parse().unwrap_or(UNREADABLE)).collect()
}

fn is_rolled_back(mops: &[Mop]) -> bool {
    let first = mops.iter().find_map(|mop| match mop {
        Mop::Append(_, element) => Some(*element),
        Mop::Read(..) => None,
    });
    first.is_some_and(|element| element.is_multiple_of(ROLLED_BACK_EVERY))
}

impl Workload for Append {
    fn draw(&self, draws: &mut Draws, sink: &OpSink) -> (F, Value) {
        let count = 1 + draws.below(MOPS_MAX);
        let mops = (0..count).map(|_| {
            let bits = draws.draw();
            let slot = (bits >> 1).trailing_zeros() as usize % LISTS;
            self.next(slot, bits & 1 == 0, sink)
        });
        (F::Txn, Value::Txn(mops.collect()))
    }

    fn perform<'a>(&'a self, session: &'a mut Session, value: &'a Value, limit: Duration) -> BoxFuture<'a, Outcome> {
        let Value::Txn(mops) = value else { unreachable!("the workload draws transactions") };
        Box::pin(self.run(session, mops, limit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::measure::{Clock, Recorder};

    #[test]
    fn every_append_is_unique_and_lists_give_way_to_others() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let recorder = Recorder::create(dir.path(), Clock::start()).expect("a writable folder");
        let (append, mut draws) = (Append::new(Isolation::Serializable), Draws::new(1, 1));
        let mut appended: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut lengths = [0_u32; 9];
        for _ in 0..2_000 {
            let (F::Txn, Value::Txn(mops)) = append.draw(&mut draws, &recorder.sink()) else { panic!("a transaction") };
            lengths[mops.len()] += 1;
            for mop in mops {
                if let Mop::Append(key, element) = mop {
                    appended.entry(key).or_default().push(element);
                }
            }
        }
        assert!(appended.len() > 20 && recorder.sink().lists() >= appended.len() as u64);
        for elements in appended.values() {
            assert!(elements.iter().copied().eq(1..=elements.len() as u64) && elements.len() as u64 <= APPENDS_MAX);
        }
        // A quarter of a thousand each, with a deviation of 15.
        assert!(lengths[0] == 0 && lengths[1..].iter().all(|count| (160..340).contains(count)), "{lengths:?}");
    }

    #[test]
    fn what_is_no_number_is_an_element_that_nobody_appended() {
        assert_eq!(elements("1,2,30"), [1, 2, 30]);
        assert_eq!(elements("1,x"), [1, UNREADABLE]);
        assert_eq!(elements(""), [UNREADABLE]);
    }
}

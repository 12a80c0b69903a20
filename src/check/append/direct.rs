//! What can be seen at one key, without following dependencies from transaction to transaction.

use crate::model::Isolation;

use super::collect::{Contradiction, History, KeyView, NONE, Read, Status, TxnId};
use super::{Anomalies, Found, Order};

/// Finds everything of the kind.
pub(super) fn find(history: &History, level: Isolation, order: Order, anomalies: &mut Anomalies) {
    for contradiction in &history.contradictions {
        match *contradiction {
            Contradiction::Internal { txn, key } => anomalies.forbid("internal", || {
                found(history, "internal", history.key(key), "a read contradicts what its own transaction appended".to_owned(), &[txn])
            }),
            Contradiction::Incompatible { txn, other, key } => anomalies.forbid("incompatible-order", || {
                found(
                    history,
                    "incompatible-order",
                    history.key(key),
                    "of two lists neither begins with the other".to_owned(),
                    &[other, txn],
                )
            }),
        }
    }
    for key in history.keys() {
        duplicate_elements(history, key, anomalies);
        foreign_elements(history, key, anomalies);
        intermediate_reads(history, key, anomalies);
        lost_updates(history, key, level, anomalies);
        if order == Order::RealTime {
            stale_reads(history, key, anomalies);
        }
    }
}

fn found(history: &History, class: &'static str, key: KeyView<'_>, detail: String, txns: &[TxnId]) -> Found {
    let mut proof: Vec<u64> = txns.iter().filter(|&&txn| txn != NONE).map(|&txn| history.txn(txn).op()).collect();
    proof.sort_unstable();
    proof.dedup();
    Found { class, key: Some(key.name()), detail: format!("key {}: {detail}", key.name()), proof, cycle: Vec::new() }
}

fn duplicate_elements(history: &History, key: KeyView<'_>, anomalies: &mut Anomalies) {
    let mut sorted = key.order().to_vec();
    sorted.sort_unstable();
    let mut last = None;
    for two in sorted.windows(2).filter(|two| two[0] == two[1]) {
        if last.replace(two[0]) != Some(two[0]) {
            anomalies.forbid("duplicate-elements", || {
                found(history, "duplicate-elements", key, format!("{} is in the list more than once", two[0]), &[key.longest()])
            });
        }
    }
}

/// Elements of aborted transactions (G1a, and dirty updates where someone appended after them), and elements of nobody.
fn foreign_elements(history: &History, key: KeyView<'_>, anomalies: &mut Anomalies) {
    let status = |place| key.writer(place).map(|(txn, _)| (txn, history.txn(txn).status));
    let first = |reads: &[Read], place: usize| reads.iter().find(|read| read.length as usize > place).map_or(NONE, |read| read.txn);
    let mut first_aborted = None;
    for (place, element) in key.order().iter().enumerate() {
        match status(place) {
            None => anomalies.forbid("unexpected", || {
                let detail = format!("{element} was read, and nobody appended it");
                found(history, "unexpected", key, detail, &[first(key.reads(), place)])
            }),
            Some((txn, Status::Failed)) => {
                first_aborted.get_or_insert(place);
                let after = (place + 1..key.order().len()).find_map(|later| key.committer(later).map(|txn| (later, txn)));
                if let Some((later, committer)) = after {
                    anomalies.forbid("dirty-update", || {
                        let detail = format!("{} was committed after {element}, which was aborted", key.order()[later]);
                        found(history, "dirty-update", key, detail, &[txn, committer, key.longest()])
                    });
                }
            }
            Some(_) => {}
        }
    }
    let Some(place) = first_aborted else { return };
    let aborted = key.writer(place).map_or(NONE, |(txn, _)| txn);
    for read in key.reads().iter().filter(|read| read.length as usize > place) {
        anomalies.forbid("G1a", || {
            let detail = format!("{} was read, and the transaction that appended it was aborted", key.order()[place]);
            found(history, "G1a", key, detail, &[aborted, read.txn])
        });
    }
}

/// G1b: reads that end between two appends of one transaction of someone else.
fn intermediate_reads(history: &History, key: KeyView<'_>, anomalies: &mut Anomalies) {
    for read in key.reads() {
        let Some(place) = (read.length as usize).checked_sub(1) else { continue };
        if let Some((writer, false)) = key.writer(place)
            && writer != read.txn
        {
            anomalies.forbid("G1b", || {
                let detail = format!("{} was read as the last element, and its transaction appended more", key.order()[place]);
                found(history, "G1b", key, detail, &[writer, read.txn])
            });
        }
    }
}

/// Transactions that read the same list and each appended to it: all but one of them did not know of what they followed.
fn lost_updates(history: &History, key: KeyView<'_>, level: Isolation, anomalies: &mut Anomalies) {
    let mut writers: Vec<TxnId> = key.appends().iter().map(|append| append.txn).collect();
    writers.sort_unstable();
    let updates = |read: &&Read| {
        let own = (read.length as usize).checked_sub(1).and_then(|place| key.writer(place)).is_some_and(|(txn, _)| txn == read.txn);
        !own && writers.binary_search(&read.txn).is_ok()
    };
    let updates: Vec<&Read> = key.reads().iter().filter(updates).collect();
    for same in updates.chunk_by(|a, b| a.length == b.length).filter(|same| same.len() > 1) {
        let allowed = match level {
            Isolation::ReadCommitted => true,
            // A row that is not there cannot be locked.
            Isolation::RepeatableRead => same[0].length == 0,
            Isolation::Snapshot | Isolation::Serializable => false,
        };
        if allowed {
            anomalies.allow("lost-update", 1);
            continue;
        }
        anomalies.forbid("lost-update", || {
            let txns: Vec<TxnId> = same.iter().take(4).map(|read| read.txn).collect();
            let detail = format!("{} transactions read its first {} elements and appended", same.len(), same[0].length);
            found(history, "lost-update", key, detail, &txns)
        });
    }
}

/// Reads that lack an append that had been acknowledged before they began: stale where someone saw it, lost where nobody ever did.
fn stale_reads(history: &History, key: KeyView<'_>, anomalies: &mut Anomalies) {
    let acknowledged =
        |txn: TxnId| Some(history.txn(txn)).filter(|txn| txn.status == Status::Acknowledged).map_or(NONE, |txn| txn.completed);
    let lost = key.unobserved().map(|append| (acknowledged(append.txn), append.txn, append.element)).min();
    // By place: the earliest acknowledgement of what stands there or behind it.
    let mut earliest = vec![(NONE, NONE, 0); key.order().len() + 1];
    for place in (0..key.order().len()).rev() {
        let own = key.writer(place).map_or((NONE, NONE, 0), |(txn, _)| (acknowledged(txn), txn, key.order()[place]));
        earliest[place] = own.min(earliest[place + 1]);
    }
    for read in key.reads() {
        let began = history.txn(read.txn).invoked;
        for (class, seen) in [("lost-append", lost), ("stale-read", Some(earliest[read.length as usize]))] {
            let Some((acknowledged, txn, element)) = seen.filter(|(acknowledged, ..)| *acknowledged < began) else { continue };
            anomalies.forbid(class, || {
                let ever = if class == "lost-append" { ", and neither does any other" } else { "" };
                let detail = format!(
                    "{element} was acknowledged at op {acknowledged}, and the read that began at op {began} does not hold it{ever}"
                );
                found(history, class, key, detail, &[txn, read.txn])
            });
        }
    }
}

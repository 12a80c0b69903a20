//! Small histories of an engine that is wrong now and then, judged by both.

use adya::Valid;
use chaos::check::{Append, Order};
use chaos::model::{F, Isolation, Mop, OpType, Value, Verdict};
use chaos::workload::Draws;

use crate::appends::asked;
use crate::Theirs;
use crate::timed::Timed;

/// What ours is asked, and the model of the same meaning.
const LEVELS: [(Isolation, Order, &str); 5] = [
    (Isolation::ReadCommitted, Order::None, "read-committed"),
    (Isolation::RepeatableRead, Order::None, "repeatable-read"),
    (Isolation::Snapshot, Order::None, "snapshot-isolation"),
    (Isolation::Serializable, Order::None, "serializable"),
    (Isolation::Serializable, Order::RealTime, "strict-serializable"),
];
const LISTS: u64 = 2;

type Transitions = Vec<(OpType, u64, Vec<Mop>)>;

/// Judges so many histories both ways at every level, and tells how often the verdicts differ, with the first history of each kind of difference.
pub fn compare(histories: u64) {
    for (level, order, model) in LEVELS {
        let mut both_valid = 0_u64;
        let (mut both_invalid, mut both_unknown) = (0_u64, 0_u64);
        let mut differences: Vec<(String, u64, String)> = Vec::new();
        for number in 0..histories {
            let history = history(&mut Draws::new(3, number));
            let (mut ours, mut theirs) = (Timed::new(Box::new(Append::new(level, order))), Theirs::default());
            for (kind, process, mops) in &history {
                ours.take(*kind, *process, F::Txn, Value::Txn(mops.clone()));
                theirs.take(*kind, *process, mops);
            }
            let (check, _) = ours.finish();
            let (valid, _) = theirs.finish(model);
            match (check.verdict, valid) {
                (Verdict::Valid, Valid::True) => both_valid += 1,
                (Verdict::Invalid, Valid::False) => both_invalid += 1,
                (Verdict::Unknown, Valid::Unknown) => both_unknown += 1,
                (verdict, valid) => {
                    let what = format!("ours {verdict}, adya {valid:?}");
                    match differences.iter_mut().find(|(known, ..)| *known == what) {
                        Some((_, count, _)) => *count += 1,
                        None => differences.push((what, 1, format!("{}\n{}", check.evidence.join("; "), show(&history)))),
                    }
                }
            }
        }
        println!("{model:<20} {histories} histories: both valid {both_valid}, both invalid {both_invalid}, both undecided {both_unknown}");
        for (what, count, first) in differences {
            println!("  {count} × {what}; the first: {first}");
        }
    }
}

fn show(history: &Transitions) -> String {
    let line = |(kind, process, mops): &(OpType, u64, Vec<Mop>)| format!("    {kind:?} {process} {mops:?}");
    history.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Two groups of two or three transactions that run at once, each on what the lists hold or, now and then, on what they held before; and a last read of all.
fn history(draws: &mut Draws) -> Transitions {
    let mut lists: Vec<Vec<u64>> = vec![Vec::new(); 2];
    let mut before = vec![lists.clone()];
    let mut elements = 0;
    let mut history = Transitions::new();
    let mut process = 0;
    for _ in 0..2 {
        let mut group = Vec::new();
        for _ in 0..2 + draws.below(2) {
            let stale = draws.below(3) == 0;
            let at = usize::try_from(draws.below(before.len() as u64)).unwrap_or(0);
            let mut view = if stale { before[at].clone() } else { lists.clone() };
            let mut done = Vec::new();
            for _ in 0..1 + draws.below(3) {
                let key = draws.below(LISTS);
                let list = usize::try_from(key).unwrap_or(0);
                if draws.below(2) == 0 {
                    done.push(Mop::Read(key, Some(view[list].clone())));
                } else {
                    elements += 1;
                    view[list].push(elements);
                    done.push(Mop::Append(key, elements));
                }
            }
            let kind = match draws.below(10) {
                0 => OpType::Fail,
                1 => OpType::Info,
                _ => OpType::Ok,
            };
            // What failed took no effect, or, now and then, did.
            if kind != OpType::Fail || draws.below(2) == 0 {
                for mop in &done {
                    if let Mop::Append(key, element) = mop {
                        lists[usize::try_from(*key).unwrap_or(0)].push(*element);
                    }
                }
                before.push(lists.clone());
            }
            group.push((kind, process, done));
            process += 1;
        }
        history.extend(group.iter().map(|(_, process, done)| (OpType::Invoke, *process, asked(done))));
        history.extend(group.into_iter().map(|(kind, process, done)| {
            let told = if kind == OpType::Ok { done } else { asked(&done) };
            (kind, process, told)
        }));
    }
    let last: Vec<Mop> = (0..LISTS).zip(lists).map(|(key, list)| Mop::Read(key, Some(list))).collect();
    history.push((OpType::Invoke, process, asked(&last)));
    history.push((OpType::Ok, process, last));
    history
}

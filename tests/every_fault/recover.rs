//! The harness is killed at every place where it changes something, and `chaos recover` must bring the cluster back to what it was.
//!
//! The places are those of `CHAOS_CRASH_AT`; a run that is not killed tells them all.

use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use chaos::cluster::CRASH_AT;
use chaos::experiment::catalogue;

use crate::bench::{Bench, alone, experiment, said, share};
use crate::objects::Objects;

/// Fewer places than this, and something has stopped being swept.
const PLACES_MIN: usize = 60;

/// One place to die at.
#[derive(Debug, Clone)]
struct Place {
    fault: &'static str,
    number: u64,
    what: String,
    /// Whether also the recovery is killed, at every place of its own.
    kill_recovery_too: bool,
}

/// Every place that a run with this fault passes. Creating the target, removing it and a torn line of the journal are the same whatever the fault, and before
/// one place all is as it was after the last: only a `whole` sweep has all of them.
fn places(bench: &Bench, fault: &'static str, whole: bool) -> Option<Vec<Place>> {
    let log = bench.logged(fault, &experiment(fault), "crash_point")?;
    let passed: Vec<(u64, &str)> = log
        .lines()
        .filter_map(|line| line.split_once("crash_point: ")?.1.split_once(' '))
        .map(|(number, what)| (number.parse().unwrap(), what))
        .collect();
    let of_fault = |what: &str, entry: &str| what.contains(&format!("\"entry\":\"{entry}\",\"step\":\"{fault}-1\""));
    let first = passed.iter().position(|(_, what)| of_fault(what, "intent")).unwrap();
    let last = passed.iter().rposition(|(_, what)| of_fault(what, "undone")).unwrap();
    let swept = passed.iter().enumerate().filter(|(at, (_, what))| whole || ((first..=last).contains(at) && what.starts_with("after ")));
    let places = swept.map(|(_, (number, what))| Place {
        fault,
        number: *number,
        what: (*what).to_owned(),
        // With the fault's intent written and nothing of it noted as undone, the recovery has most to do.
        kill_recovery_too: what.starts_with("after ") && of_fault(what, "intent"),
    });
    Some(places.collect())
}

/// What became of one place.
enum Death {
    /// The run ended before it came to it.
    NotReached,
    /// It died and left the cluster as it was.
    LeftNothing,
    /// It died and left something, which the recovery put right.
    LeftSomething,
}

/// Dies at the place, recovers, and tells what is not as it was before.
fn die_and_recover(bench: &Bench, place: &Place, before: &Objects) -> Result<Death, String> {
    let name = format!("{}-{}", place.fault, place.number);
    let killed = bench.run(place.fault, &name).env(CRASH_AT, place.number.to_string()).output().unwrap();
    if killed.status.signal() != Some(9) {
        return Ok(Death::NotReached);
    }
    let death = if bench.cluster().objects() == *before { Death::LeftNothing } else { Death::LeftSomething };
    let reports = bench.reports(&name);
    let recover = || bench.chaos(&["recover", "--reports", &reports]);
    if place.kill_recovery_too {
        // Each time it comes one place further than the last time, until there is nothing left to die at.
        let mut number = 1;
        while recover().env(CRASH_AT, number.to_string()).output().unwrap().status.signal() == Some(9) {
            number += 1;
        }
        if number < 4 {
            return Err(format!("the recovery passed only {} places", number - 1));
        }
    }
    let recovered = recover().output().unwrap();
    if !recovered.status.success() {
        return Err(said(&recovered));
    }
    let again = recover().output().unwrap();
    if !String::from_utf8_lossy(&again.stdout).contains("nothing to recover") {
        return Err(format!("a second recovery finds something: {}", said(&again)));
    }
    bench.cluster().wait_for(before).map(|()| death)
}

#[test]
fn wherever_the_harness_is_killed_recover_leaves_the_cluster_as_it_was() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let benches = Bench::several(folder.path(), "sweep");
    // All sandboxes are made alike, but their objects have uids of their own.
    let before: Vec<Objects> = benches.iter().map(|bench| bench.cluster().settled()).collect();
    let before = |bench: &Bench| &before[benches.iter().position(|one| std::ptr::eq(one, bench)).unwrap()];

    let (found, skipped) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let faults = catalogue::faults().iter().map(|fault| fault.name).enumerate().collect();
    share(&benches, faults, |bench, (index, fault)| {
        match places(bench, fault, index == 0) {
            Some(places) => found.lock().unwrap().extend(places),
            None => skipped.lock().unwrap().push(fault),
        }
        bench.cluster().wait_for(before(bench))
    });
    let (found, skipped) = (found.into_inner().unwrap(), skipped.into_inner().unwrap());
    let all = found.len();
    eprintln!("{all} places; faults that the sandbox cannot make: {skipped:?}");

    let (died, left) = (AtomicUsize::new(0), AtomicUsize::new(0));
    share(&benches, found.into(), |bench, place| {
        match die_and_recover(bench, &place, before(bench)) {
            // A run may take another way than the one that told the places: an eviction that is refused is asked for again.
            Ok(Death::NotReached) => eprintln!("not reached: {} of {}, {}", place.number, place.fault, place.what),
            Ok(death) => {
                died.fetch_add(1, Relaxed);
                left.fetch_add(usize::from(matches!(death, Death::LeftSomething)), Relaxed);
            }
            Err(what) => return Err(format!("{} of {}, {}: {what}", place.number, place.fault, place.what)),
        }
        Ok(())
    });
    let (died, left) = (died.into_inner(), left.into_inner());
    assert!(died >= PLACES_MIN, "only {died} of {all} places were reached, expected {PLACES_MIN} at the least");
    assert!(died * 20 >= all * 19, "only {died} of {all} places were reached");
    // From the namespace's creation to its removal something is there, so most deaths leave something; else the comparison would compare nothing.
    assert!(left * 2 > died, "only {left} of {died} deaths left anything");
    eprintln!("killed at {died} places, of which {left} left something; recovered from each");
}

/// One thing that cannot be undone yet keeps nothing else from being undone, and keeps the journal open.
#[test]
fn what_cannot_be_undone_keeps_nothing_else_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::one(folder.path(), "partly");
    std::fs::create_dir_all(bench.path("runs/one")).unwrap();
    let journal = bench.path("runs/one/journal.jsonl");
    let lines = format!(
        "{{\"entry\":\"begin\",\"run\":\"one\",\"cluster\":{{\"provider\":\"sandbox\",\"name\":\"{}\"}}}}\n\
         {{\"entry\":\"intent\",\"step\":\"namespace\",\"target\":\"chaos-one\",\"undo\":{{\"undo\":\"delete-namespace\",\"namespace\":\"chaos-one\"}}}}\n\
         {{\"entry\":\"intent\",\"step\":\"node-freeze-1\",\"target\":\"no-such-node\",\"undo\":{{\"undo\":\"thaw-node\",\"node\":\"no-such-node\"}}}}\n",
        bench.reference().split_once(':').unwrap().1,
    );
    std::fs::write(&journal, lines).unwrap();
    for _ in 0..2 {
        let recovered = bench.chaos(&["recover", "--reports", "runs"]).output().unwrap();
        assert_eq!(recovered.status.code(), Some(3), "{}", said(&recovered));
        assert!(said(&recovered).contains("not recovered"), "{}", said(&recovered));
    }
    let text = std::fs::read_to_string(&journal).unwrap();
    assert_eq!(text.matches("\"entry\":\"undone\",\"step\":\"namespace\"").count(), 1, "{text}");
    assert!(!text.contains("closed"), "{text}");
}

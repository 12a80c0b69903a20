#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use mode::{AUTO, GROUP, OWN, READ, UPDATE, WRITE, intent};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const A: Thing = Thing::Table(5, 1);
const B: Thing = Thing::Table(5, 2);
const C: Thing = Thing::Table(5, 3);
const WRITER: Thing = Thing::Writer(5);

fn asker(owner: u64) -> Asker {
    Asker { owner: Some(owner), priority: 0, written: 0 }
}

/// Asks and says what came at once: granted, queued with a receiver.
fn ask(state: &mut State, who: Asker, thing: Thing, mode: Mode) -> Option<oneshot::Receiver<Verdict>> {
    state.request(who, &vec![(thing, mode)]).map(|(_, rx)| rx)
}

#[test]
fn conflicts_are_mutual() {
    for a in 0..CONFLICTS.len() {
        for b in 0..CONFLICTS.len() {
            assert_eq!(conflict(1 << a, 1 << b), conflict(1 << b, 1 << a), "{a} {b}");
        }
    }
    assert!(!conflict(intent(WRITE), intent(READ)) && conflict(intent(WRITE), READ) && !conflict(UPDATE, READ) && !conflict(AUTO, WRITE));
}

#[test]
fn two_that_read_and_then_write_make_one_victim() {
    let mut state = State::default();
    assert!(ask(&mut state, asker(1), A, READ).is_none() && ask(&mut state, asker(2), A, READ).is_none());
    let mut first = ask(&mut state, asker(1), A, WRITE).unwrap();
    assert!(first.try_recv().is_err(), "it waits");
    let mut second = ask(&mut state, asker(2), A, WRITE).unwrap();
    assert_eq!(second.try_recv(), Ok(Verdict::Victim), "with all else equal it is who closed the cycle");
    assert!(first.try_recv().is_err(), "the victim holds its lock until it has rolled back");
    state.release(2);
    assert_eq!(first.try_recv(), Ok(Verdict::Granted));
}

#[test]
fn priority_comes_before_what_was_written_and_that_before_the_order() {
    for ((priority, written), victim) in [((0, 0), 3), ((0, 9), 2), ((1, 0), 2), ((-1, 9), 3)] {
        let mut state = State::default();
        let third = Asker { owner: Some(3), priority, written };
        let middle = Asker { owner: Some(2), priority: 0, written: if written == 9 { 4 } else { 0 } };
        let first = Asker { owner: Some(1), priority: 0, written: 5 };
        for (who, thing) in [(first, A), (middle, B), (third, C)] {
            assert!(ask(&mut state, who, thing, WRITE).is_none());
        }
        let mut waits = [(first, B), (middle, C), (third, A)].map(|(who, thing)| ask(&mut state, who, thing, WRITE).unwrap());
        let hit: Vec<usize> = (0..3).filter(|at| waits[*at].try_recv() == Ok(Verdict::Victim)).collect();
        assert_eq!(hit, [victim - 1], "{priority} {written}");
    }
}

/// 1 reads A. An autocommit write of A waits for it, 2 wants to read A behind that, and 1 wants what 2 has: without the queue nobody would wait for anybody.
#[test]
fn a_cycle_that_only_the_queue_makes_has_no_victim() {
    let mut state = State::default();
    assert!(ask(&mut state, asker(1), A, READ).is_none() && ask(&mut state, asker(2), B, UPDATE).is_none());
    let auto = Asker { owner: None, priority: 0, written: 0 };
    let mut write = state.request(auto, &vec![(A, AUTO), (WRITER, GROUP)]).unwrap().1;
    let mut behind = ask(&mut state, asker(2), A, READ).unwrap();
    assert!(behind.try_recv().is_err(), "those who came before go first");
    let mut closing = ask(&mut state, asker(1), B, UPDATE).unwrap();
    assert_eq!(behind.try_recv(), Ok(Verdict::Granted));
    assert!(closing.try_recv().is_err() && write.try_recv().is_err());
    state.release(2);
    assert_eq!(closing.try_recv(), Ok(Verdict::Granted));
    state.release(1);
    assert_eq!(write.try_recv(), Ok(Verdict::Granted));
}

#[test]
fn the_writer_goes_round_in_the_order_of_the_queue() {
    let mut state = State::default();
    let auto = Asker { owner: None, priority: 0, written: 0 };
    let group = vec![(A, AUTO), (WRITER, GROUP)];
    assert!(state.request(auto, &group).is_none() && state.request(auto, &group).is_none(), "autocommit statements run together");
    let mut own = ask(&mut state, asker(1), WRITER, OWN).unwrap();
    let mut late = state.request(auto, &group).unwrap().1;
    state.release_auto(&group);
    assert!(own.try_recv().is_err());
    state.release_auto(&group);
    assert_eq!(own.try_recv(), Ok(Verdict::Granted));
    assert!(late.try_recv().is_err());
    state.release(1);
    assert_eq!(late.try_recv(), Ok(Verdict::Granted));
    state.release_auto(&group);
    assert!(state.held.is_empty() && state.things.is_empty() && state.queue.is_empty(), "nothing is left behind");
}

/// 1 has the writer and A, 2 waits with its first write, of B. Had it been made, 1 could not write B, and for 2 to ask for A then would close a cycle.
#[test]
fn who_was_overtaken_and_wants_what_the_other_had_is_a_victim() {
    for (then, victim) in [(A, true), (C, false)] {
        let mut state = State::default();
        assert!(state.request(asker(1), &vec![(A, WRITE), (WRITER, OWN)]).is_none());
        let mut second = state.request(asker(2), &vec![(B, WRITE), (WRITER, OWN)]).unwrap().1;
        let (_, mut first) = state.request(asker(1), &vec![(B, WRITE)]).unwrap();
        assert_eq!(first.try_recv(), Ok(Verdict::Granted), "the queue alone stops nobody");
        assert!(second.try_recv().is_err());
        state.release(1);
        assert_eq!(second.try_recv(), Ok(Verdict::Granted));
        let wait = state.request(asker(2), &vec![(then, WRITE)]);
        assert_eq!(wait.map(|(_, mut rx)| rx.try_recv()), victim.then_some(Ok(Verdict::Victim)), "{then:?}");
        state.release(2);
        assert!(state.overtaken.is_empty() && state.held.is_empty());
    }
}

#[tokio::test]
async fn a_wait_that_is_given_up_leaves_nothing_behind() {
    let (locks, cancel) = (Arc::<Locks>::default(), Notify::new());
    let patience = |timeout_ms| Patience { timeout_ms, cancel: &cancel };
    let holder = locks.owner();
    assert_eq!(holder.lock(&vec![(A, UPDATE)], 0, 0, patience(-1)).await, Verdict::Granted);
    let other = locks.owner();
    assert_eq!(other.lock(&vec![(A, UPDATE)], 0, 0, patience(1)).await, Verdict::TimedOut);
    cancel.notify_one();
    assert_eq!(locks.auto(vec![(A, AUTO)], patience(-1)).await.err(), Some(Verdict::Cancelled));
    {
        let write = locks.auto(vec![(A, AUTO)], patience(-1));
        tokio::pin!(write);
        assert!(futures::poll!(&mut write).is_pending());
        // Granted, and dropped before anybody took notice.
        drop(holder);
    }
    assert_eq!(other.lock(&vec![(A, UPDATE)], 0, 0, patience(-1)).await, Verdict::Granted);
    drop(other);
    assert!(locks.state().held.is_empty());
}

/// Transactions that take random locks and end, and autocommit statements between them, in a random order of steps. At every step no two hold what is in
/// conflict, and as long as anything is unfinished somebody can go on: a deadlock that was not found would leave everybody waiting.
#[test]
fn whatever_is_asked_for_nobody_waits_for_ever() {
    let (mut victims, mut waits) = (0_u32, 0_u32);
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut state = State::default();
        let clients = rng.random_range(2..9);
        // Of each client: the transaction, its steps left, what it waits for.
        let mut running: Vec<(u64, u32, Option<oneshot::Receiver<Verdict>>)> =
            (0..clients).map(|n| (n + 1, rng.random_range(1..7), None)).collect();
        let mut next = clients;
        let mut autos: Vec<Wants> = Vec::new();
        let mut waiting_autos: Vec<(Wants, oneshot::Receiver<Verdict>)> = Vec::new();
        for turn in 0..300 {
            waiting_autos.retain_mut(|(wants, rx)| {
                let granted = rx.try_recv() == Ok(Verdict::Granted);
                if granted {
                    autos.push(wants.clone());
                }
                !granted
            });
            let mut able: Vec<usize> = Vec::new();
            for (at, (owner, left, wait)) in running.iter_mut().enumerate() {
                match wait.as_mut().map(oneshot::Receiver::try_recv) {
                    None => able.push(at),
                    Some(Ok(Verdict::Granted)) => {
                        *wait = None;
                        able.push(at);
                    }
                    Some(Ok(_)) => {
                        victims += 1;
                        state.release(*owner);
                        next += 1;
                        (*owner, *left, *wait) = (next, rng.random_range(1..7), None);
                        able.push(at);
                    }
                    Some(Err(_)) => {}
                }
            }
            assert!(!able.is_empty() || !autos.is_empty(), "seed {seed}, turn {turn}: everybody waits");
            if !autos.is_empty() && rng.random_bool(0.5) {
                let done = autos.swap_remove(0);
                state.release_auto(&done);
                check(&state, seed);
                continue;
            }
            if able.is_empty() {
                continue;
            }
            let at = able[rng.random_range(0..able.len())];
            if rng.random_bool(0.2) {
                let wants = vec![(Thing::Table(5, rng.random_range(1..4)), AUTO), (WRITER, GROUP)];
                match state.request(Asker { owner: None, priority: 0, written: 0 }, &wants) {
                    None => autos.push(wants),
                    Some((_, rx)) => waiting_autos.push((wants, rx)),
                }
            } else if running[at].1 == 0 {
                state.release(running[at].0);
                next += 1;
                running[at] = (next, rng.random_range(1..7), None);
            } else {
                running[at].1 -= 1;
                let table = rng.random_range(1..4);
                let mode = [READ, UPDATE, WRITE][rng.random_range(0..3)];
                let wants = match rng.random_range(0..5) {
                    0 => vec![(WRITER, OWN), (Thing::Table(5, table), WRITE)],
                    1 | 2 => vec![(Thing::Table(5, table), mode)],
                    _ => vec![(Thing::Table(5, table), intent(mode)), (Thing::Row(5, table, rng.random_range(0..3)), mode)],
                };
                let who = Asker { owner: Some(running[at].0), priority: rng.random_range(-1..2), written: rng.random_range(0..3) };
                running[at].2 = state.request(who, &wants).map(|(_, rx)| rx);
                waits += u32::from(running[at].2.is_some());
            }
            check(&state, seed);
        }
    }
    assert!(victims > 200 && waits > 1_000, "{victims} {waits}: the order of the steps made them meet");
}

fn check(state: &State, seed: u64) {
    for (thing, held) in &state.held {
        for (at, (_, mode)) in held.owners.iter().enumerate() {
            assert!(held.owners[..at].iter().all(|(_, other)| !conflict(*mode, *other)), "seed {seed}: {thing:?}");
            assert!(held.autos.iter().all(|(other, _)| !conflict(*mode, *other)), "seed {seed}: {thing:?}");
        }
    }
}

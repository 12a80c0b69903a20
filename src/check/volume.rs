//! The data is where it was: same claim, same volume, same storage behind it, the row from before the first fault is found, and the engine
//! itself finds no damage.

use indexmap::IndexMap;

use crate::model::{ClaimSeen, Event, EventKind, FactOutcome, IdentityMoment, Verdict};

use super::Check;

/// Judges the claim of the target by the timeline.
pub fn volume(events: &[Event]) -> Check {
    let mut rulings: Vec<(Verdict, String)> = Vec::new();
    let mut rule = |verdict: Verdict, said: String| rulings.push((verdict, said));
    match (claim_at(events, IdentityMoment::Before), claim_at(events, IdentityMoment::After)) {
        (Some(before), Some(after)) => same(before, after, &mut rule),
        (None, _) => rule(Verdict::Unknown, "the claim was not identified before the first fault".to_owned()),
        (_, None) => rule(Verdict::Unknown, "the claim was not identified after the last fault".to_owned()),
    }
    match sentinel(events) {
        Some(true) => rule(Verdict::Valid, "the row written before the first fault was found after the last".to_owned()),
        Some(false) => rule(Verdict::Invalid, "the row written before the first fault is gone or differs".to_owned()),
        None => rule(Verdict::Unknown, "the row written before the first fault was not asked for at the end".to_owned()),
    }
    let facts = facts(events, &mut rule);
    rulings.sort_by_key(|&(verdict, _)| std::cmp::Reverse(verdict));
    Check {
        name: "volume",
        verdict: Verdict::merge_all(rulings.iter().map(|&(verdict, _)| verdict)),
        counts: IndexMap::from([("facts", facts)]),
        evidence: rulings.into_iter().map(|(_, said)| said).collect(),
        examples: Vec::new(),
    }
}

fn claim_at(events: &[Event], wanted: IdentityMoment) -> Option<&ClaimSeen> {
    let mut claims = events.iter().filter_map(|event| match &event.kind {
        EventKind::TargetIdentified { moment, identity } if *moment == wanted => Some(&identity.claim),
        _ => None,
    });
    match wanted {
        IdentityMoment::Before => claims.next(),
        IdentityMoment::After => claims.next_back(),
    }
}

fn same(before: &ClaimSeen, after: &ClaimSeen, rule: &mut impl FnMut(Verdict, String)) {
    let pairs = [
        ("claim uid", &before.uid, &after.uid),
        ("volume", &before.volume, &after.volume),
        ("volume handle", &before.volume_handle, &after.volume_handle),
    ];
    let mut equal = true;
    for (what, old, new) in pairs {
        if old != new {
            equal = false;
            rule(Verdict::Invalid, format!("the {what} changed from {old} to {new}"));
        }
    }
    if equal && (before.uid.is_empty() || before.volume.is_empty()) {
        rule(Verdict::Unknown, "the claim has no uid or no volume to compare".to_owned());
    } else if equal {
        rule(Verdict::Valid, format!("claim {} kept its volume {} ({})", before.name, before.volume, before.volume_handle));
    }
}

fn sentinel(events: &[Event]) -> Option<bool> {
    events.iter().rev().find_map(|event| match event.kind {
        EventKind::SentinelRead { moment: IdentityMoment::After, found } => Some(found),
        _ => None,
    })
}

/// What the engine said of itself; returns how many facts there are.
fn facts(events: &[Event], rule: &mut impl FnMut(Verdict, String)) -> u64 {
    let mut count = 0;
    for event in events {
        let EventKind::EngineFact { fact } = &event.kind else {
            continue;
        };
        count += 1;
        let (verdict, word) = match fact.outcome {
            FactOutcome::Good => (Verdict::Valid, "good"),
            FactOutcome::Bad => (Verdict::Invalid, "DAMAGE"),
            FactOutcome::Unsupported => (Verdict::Valid, "not supported by this engine"),
            FactOutcome::Unknown => (Verdict::Unknown, "could not be asked"),
        };
        let detail = if fact.detail.is_empty() { String::new() } else { format!(" ({})", fact.detail) };
        rule(verdict, format!("{}: {word}{detail}", fact.name));
    }
    count
}

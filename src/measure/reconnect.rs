//! How clients came back after a fault, told apart: TCP accepted, login accepted, commit acknowledged; for new connections and for sessions that existed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::episodes::{Outage, Window};
use super::latency::Repeats;
use crate::model::{ErrorKind, Event, EventKind, Millis, OpError, ProbeStage};

/// How far new connections got, and when, from the start of the outage.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewConnections {
    /// The TCP connection was accepted; none where that never failed.
    pub tcp_ms: Option<Millis>,
    /// The login was accepted; none where that never failed.
    pub login_ms: Option<Millis>,
    /// A commit was acknowledged.
    pub commit_ms: Option<Millis>,
}

/// How the sessions of the workload's clients fared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// Sessions that were lost.
    pub lost: u64,
    /// How many of their clients had an op acknowledged again before the next fault.
    pub back: u64,
    /// How clients noticed: `reset`, `closed`, `timeout`, or the number of the server's error.
    pub noticed_by: BTreeMap<String, u64>,
    /// From the start of the fault until a client noticed.
    pub noticed: Repeats,
    /// From then until its next login was accepted.
    pub login: Repeats,
    /// From then until its next op was acknowledged.
    pub commit: Repeats,
}

/// How new connections came back; none where they were never cut off.
pub fn new_connections(events: &[Event], window: &Window, outage: &Outage) -> Option<NewConnections> {
    let mut found = NewConnections::default();
    // A stage counts when it failed in the window and succeeded after that; the last time before the commit, since a port that accepts and refuses again is not up.
    let mut failed = [false; 3];
    for event in events.iter().filter(|event| (window.start_ns..window.end_ns).contains(&event.time_ns)) {
        let since = Some(Millis::from_ns(event.time_ns.saturating_sub(outage.start_ns)));
        match &event.kind {
            EventKind::ProbeFailed { stage, .. } => failed[*stage as usize..].fill(true),
            EventKind::Probe { stage, .. } if failed[*stage as usize] => match stage {
                ProbeStage::Tcp => found.tcp_ms = since,
                ProbeStage::Login => found.login_ms = since,
                ProbeStage::Commit => {
                    found.commit_ms = since;
                    break;
                }
            },
            _ => {}
        }
    }
    failed[ProbeStage::Commit as usize].then_some(found)
}

/// How sessions fared in a fault's window; none where none was lost.
pub fn sessions(events: &[Event], window: &Window) -> Option<Sessions> {
    let mut lost: BTreeMap<u64, u64> = BTreeMap::new();
    let mut noticed_by: BTreeMap<String, u64> = BTreeMap::new();
    let (mut noticed, mut login, mut commit) = (Vec::new(), Vec::new(), Vec::new());
    for event in events.iter().filter(|event| (window.start_ns..window.end_ns).contains(&event.time_ns)) {
        match &event.kind {
            EventKind::SessionLost { client, how, .. } => {
                lost.insert(*client, event.time_ns);
                noticed.push((event.time_ns - window.start_ns, true));
                *noticed_by.entry(word(how)).or_default() += 1;
            }
            // One that was lost to an earlier fault says nothing of this one.
            EventKind::SessionBack { client, noticed_ns, login_ns } if lost.remove(client).is_some() => {
                login.push((login_ns.saturating_sub(*noticed_ns), true));
                commit.push((event.time_ns.saturating_sub(*noticed_ns), true));
            }
            _ => {}
        }
    }
    let back = commit.len() as u64;
    // Who is not back is counted with how long it has waited.
    commit.extend(lost.values().map(|&noticed_ns| (window.end_ns.saturating_sub(noticed_ns), false)));
    (!noticed.is_empty()).then(|| Sessions {
        lost: noticed.len() as u64,
        back,
        noticed_by,
        noticed: Repeats::spread(&noticed),
        login: Repeats::spread(&login),
        commit: Repeats::spread(&commit),
    })
}

/// How a client noticed, in a word.
fn word(how: &OpError) -> String {
    let word = match how.kind {
        ErrorKind::Refused => "refused",
        ErrorKind::Reset => "reset",
        ErrorKind::Closed => "closed",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Login => "login",
        ErrorKind::Server => "server",
        ErrorKind::Protocol => "protocol",
        ErrorKind::NotSent => "not-sent",
        ErrorKind::Declined => "declined",
    };
    how.number.map_or_else(|| word.to_owned(), |number| format!("error {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::SeenBy;

    const MS: u64 = 1_000_000;

    fn error(kind: ErrorKind, number: Option<u32>) -> OpError {
        OpError { kind, number, message: String::new() }
    }

    fn window() -> Window {
        Window { fault: "f".to_owned(), start_ns: 1_000 * MS, end_ns: 9_000 * MS, recovered_ns: Some(3_000 * MS) }
    }

    fn at(ms: u64, kind: EventKind) -> Event {
        Event { time_ns: ms * MS, kind }
    }

    #[test]
    fn the_three_stages_of_a_new_connection_are_told_apart() {
        let outage = Outage { start_ns: 990 * MS, first_error_ns: None, end_ns: 2_600 * MS, ended: true, seen_by: SeenBy::Everyone };
        let failed = |stage| EventKind::ProbeFailed { stage, attempt_ns: 0, error: error(ErrorKind::Refused, None) };
        let passed = |stage| EventKind::Probe { stage, attempt_ns: 0 };
        let events = [
            at(500, failed(ProbeStage::Tcp)),
            at(1_010, failed(ProbeStage::Tcp)),
            at(2_000, passed(ProbeStage::Tcp)),
            at(2_010, failed(ProbeStage::Login)),
            at(2_490, passed(ProbeStage::Login)),
            at(2_590, passed(ProbeStage::Commit)),
            at(5_000, failed(ProbeStage::Tcp)),
            at(5_100, passed(ProbeStage::Tcp)),
        ];
        let found = new_connections(&events, &window(), &outage).expect("they were cut off");
        assert_eq!((found.tcp_ms, found.login_ms, found.commit_ms), (Some(Millis(1_010.0)), Some(Millis(1_500.0)), Some(Millis(1_600.0))));
        assert_eq!(new_connections(&events[..1], &window(), &outage), None);
    }

    #[test]
    fn sessions_are_counted_by_how_they_were_lost_and_when_they_were_back() {
        let lost = |client, how| EventKind::SessionLost { client, how, idle: true };
        let back = |client, noticed_ms: u64, login_ms: u64| EventKind::SessionBack {
            client,
            noticed_ns: noticed_ms * MS,
            login_ns: login_ms * MS,
        };
        let events = [
            at(900, lost(9, error(ErrorKind::Timeout, None))),
            at(1_004, lost(0, error(ErrorKind::Reset, None))),
            at(1_006, lost(1, error(ErrorKind::Reset, None))),
            at(1_020, lost(2, error(ErrorKind::Server, Some(6_005)))),
            at(2_000, back(9, 900, 1_990)),
            at(2_104, back(0, 1_004, 2_004)),
            at(2_206, back(1, 1_006, 2_006)),
        ];
        let found = sessions(&events, &window()).expect("some were lost");
        assert_eq!((found.lost, found.back), (3, 2));
        assert_eq!(found.noticed_by.into_iter().collect::<Vec<_>>(), [("error 6005".to_owned(), 1), ("reset".to_owned(), 2)]);
        assert_eq!((found.noticed.min_ms, found.noticed.max_ms), (Millis(4.0), Millis(20.0)));
        assert_eq!((found.login.min_ms, found.login.max_ms), (Millis(1_000.0), Millis(1_000.0)));
        assert_eq!((found.commit.p50_ms, found.commit.censored), (Millis(1_200.0), 1));
        assert_eq!(sessions(&events[..1], &window()), None);
    }
}

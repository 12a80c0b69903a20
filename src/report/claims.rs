//! The clauses of the promise, each with its verdict and the evidence that decided it.
//!
//! Only a fault that really took effect exercises a claim; a claim that none exercised is unknown. So is whatever an interrupted run did not get to see.

use std::time::Duration;

use crate::check::Check;
use crate::experiment::{Expect, Plan};
use crate::measure::Episode;
use crate::model::{
    Claim, ContainerSeen, ContainerState, Event, EventKind, IdentityMoment, Millis, Phase, PodChange, PodSeen, ServiceSeen, Verdict,
};

use super::model::{ClaimReport, FaultReport};

/// What the claims are judged by.
pub(super) struct Exhibits<'a> {
    pub(super) plan: &'a Plan,
    pub(super) events: &'a [Event],
    pub(super) faults: &'a [FaultReport],
    pub(super) episodes: &'a [Episode],
    pub(super) checks: &'a [Check],
}

/// Evidence as it is gathered.
#[derive(Default)]
struct Ruling(Vec<(Verdict, String)>);

impl Ruling {
    fn add(&mut self, verdict: Verdict, said: impl Into<String>) {
        self.0.push((verdict, said.into()));
    }

    fn settle(mut self, claim: Claim, expect: &Expect) -> ClaimReport {
        if self.0.is_empty() {
            self.add(Verdict::Unknown, "no fault of this run exercised it");
        }
        self.0.sort_by_key(|&(verdict, _)| std::cmp::Reverse(verdict));
        ClaimReport {
            id: claim,
            statement: claim.statement().to_owned(),
            verdict: Verdict::merge_all(self.0.iter().map(|&(verdict, _)| verdict)),
            expected: expect.claims.contains(&claim),
            evidence: self.0.into_iter().map(|(_, said)| said).collect(),
        }
    }
}

/// A fault that took effect, with the events of its window.
struct Exercise<'a> {
    fault: &'a FaultReport,
    episode: &'a Episode,
    /// What its kind can decide.
    decides: Vec<Claim>,
    /// The node that the volume is bound to, where it is bound to one.
    volume_node: Option<&'a str>,
    before: &'a [Event],
    during: &'a [Event],
}

impl Exercise<'_> {
    fn decides(&self, claim: Claim) -> bool {
        self.decides.contains(&claim)
    }

    /// The last state of the pod that was the target's before the fault.
    fn old_pod(&self) -> Option<&PodSeen> {
        let target = self.fault.target.as_ref()?;
        // A container is named after its pod.
        let name = target.name.split('/').next().unwrap_or(&target.name);
        pods(self.before)
            .rfind(|(_, pod)| {
                pod.uid == target.uid
                    || (target.kind == "Node" && pod.node.as_deref() == Some(target.name.as_str()))
                    || (target.kind != "Node" && pod.name == name)
            })
            .map(|(_, pod)| pod)
    }

    /// The states in the window of pods that were not there before it.
    fn new_pods(&self) -> impl Iterator<Item = &PodSeen> {
        pods(self.during)
            .filter(|(change, pod)| *change != PodChange::Deleted && !pods(self.before).any(|(_, old)| old.uid == pod.uid))
            .map(|(_, pod)| pod)
    }

    /// Nothing more can be seen of a fault whose recovery nobody waited for to the end.
    fn absent(&self) -> Verdict {
        match self.fault.recovered {
            Some(_) => Verdict::Invalid,
            None => Verdict::Unknown,
        }
    }
}

fn pods(events: &[Event]) -> impl DoubleEndedIterator<Item = (PodChange, &PodSeen)> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Pod { change, pod } => Some((*change, pod)),
        _ => None,
    })
}

/// Judges every claim.
pub(super) fn claims(exhibits: &Exhibits<'_>) -> Vec<ClaimReport> {
    let exercises = exercises(exhibits);
    Claim::ALL
        .into_iter()
        .map(|claim| {
            let mut ruling = Ruling::default();
            match claim {
                Claim::Ha1 => each(&exercises, claim, &mut ruling, restarted),
                Claim::Ha2 => each(&exercises, claim, &mut ruling, replaced),
                Claim::Ha3 => same_storage(exhibits, &exercises, &mut ruling),
                Claim::Ha4 => each(&exercises, claim, &mut ruling, moved),
                Claim::Ha5 => same_address(exhibits, &exercises, &mut ruling),
                Claim::Ha6 => nothing_lost(exhibits, &exercises, &mut ruling),
                Claim::Ha7 => back_in_time(&exhibits.plan.expect, &exercises, &mut ruling),
            }
            ruling.settle(claim, &exhibits.plan.expect)
        })
        .collect()
}

fn exercises<'a>(exhibits: &Exhibits<'a>) -> Vec<Exercise<'a>> {
    let events = exhibits.events;
    let volume_node = events.iter().find_map(|event| match &event.kind {
        EventKind::TargetIdentified { identity, .. } => identity.claim.bound_to_node.as_deref(),
        _ => None,
    });
    exhibits
        .faults
        .iter()
        .filter(|fault| fault.injected_at_ms.is_some() && fault.attested == Some(true))
        .filter_map(|fault| {
            let episode = exhibits.episodes.iter().find(|episode| episode.window.fault == fault.id)?;
            let at = events.partition_point(|event| event.time_ns < episode.window.start_ns);
            let end = events.partition_point(|event| event.time_ns < episode.window.end_ns);
            let planned = exhibits.plan.faults.iter().find(|planned| planned.id == fault.id)?;
            Some(Exercise {
                fault,
                episode,
                volume_node,
                decides: planned.spec.decides(),
                before: &events[..at],
                during: &events[at..end.max(at)],
            })
        })
        .collect()
}

fn each(exercises: &[Exercise<'_>], claim: Claim, ruling: &mut Ruling, judge: impl Fn(&Exercise<'_>) -> (Verdict, String)) {
    for exercise in exercises.iter().filter(|exercise| exercise.decides(claim)) {
        let (verdict, said) = judge(exercise);
        ruling.add(verdict, format!("{}: {said}", exercise.fault.id));
    }
}

/// HA-1.
fn restarted(exercise: &Exercise<'_>) -> (Verdict, String) {
    let Some(old) = exercise.old_pod() else {
        return (Verdict::Unknown, "the pod was not seen before the fault".to_owned());
    };
    let runs = |container: &ContainerSeen| {
        let before = old.containers.iter().find(|c| c.name == container.name)?;
        let running = matches!(container.state, ContainerState::Running { .. });
        (running && container.id != before.id && container.restarts > before.restarts)
            .then(|| format!("restarts {} → {}", before.restarts, container.restarts))
    };
    let restart = pods(exercise.during).filter(|(_, pod)| pod.uid == old.uid).find_map(|(_, pod)| pod.containers.iter().find_map(runs));
    match restart {
        Some(restart) => (Verdict::Valid, format!("a new container runs in pod {}, {restart}", old.name)),
        None => (exercise.absent(), format!("no new container was seen running in pod {}", old.name)),
    }
}

/// HA-2.
fn replaced(exercise: &Exercise<'_>) -> (Verdict, String) {
    let told = exercise.fault.target.as_ref().and_then(|target| target.owner.as_ref());
    let Some(owner) = told.or_else(|| exercise.old_pod()?.owner.as_ref()) else {
        return (Verdict::Unknown, "the owner of the pod was not seen before the fault".to_owned());
    };
    let mut foreign = None;
    let mut unready = None;
    for pod in exercise.new_pods() {
        match &pod.owner {
            Some(new) if new.uid == owner.uid && pod.ready => {
                return (Verdict::Valid, format!("pod {} of the same {} {} became ready", pod.name, owner.kind, owner.name));
            }
            Some(new) if new.uid == owner.uid => unready = Some(pod),
            _ if pod.ready => foreign = Some(pod),
            _ => {}
        }
    }
    match (foreign, unready) {
        (Some(pod), _) => (Verdict::Invalid, format!("pod {} took over and is not owned by {} {}", pod.name, owner.kind, owner.name)),
        (None, Some(pod)) => (exercise.absent(), format!("pod {} came and did not become ready ({})", pod.name, state(pod))),
        (None, None) => (exercise.absent(), "no new pod came".to_owned()),
    }
}

fn state(pod: &PodSeen) -> String {
    let waiting = pod.containers.iter().find_map(|c| match &c.state {
        ContainerState::Waiting { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    match (waiting, pod.reason.as_str()) {
        (Some(reason), _) => reason.to_owned(),
        (None, "") => pod.phase.clone(),
        (None, reason) => reason.to_owned(),
    }
}

/// HA-3.
fn same_storage(exhibits: &Exhibits<'_>, exercises: &[Exercise<'_>], ruling: &mut Ruling) {
    let replaced = exercises.iter().filter(|exercise| exercise.decides(Claim::Ha3)).count();
    if replaced == 0 {
        return;
    }
    cite(exhibits.checks, "volume", ruling);
    ruling.add(Verdict::Valid, format!("over {replaced} faults that ended the server"));
}

/// Takes over what a check found. Its first sentence is what decided it; the others go with it.
fn cite(checks: &[Check], name: &str, ruling: &mut Ruling) {
    let Some(check) = checks.iter().find(|check| check.name == name) else {
        ruling.add(Verdict::Unknown, format!("{name} was not checked"));
        return;
    };
    let first = check.evidence.first().map_or_else(|| check.verdict.to_string(), String::clone);
    ruling.add(check.verdict, format!("{name}: {first}"));
    for said in check.evidence.iter().skip(1) {
        ruling.add(Verdict::Valid, format!("{name}: {said}"));
    }
}

/// HA-4.
fn moved(exercise: &Exercise<'_>) -> (Verdict, String) {
    let failed = exercise.fault.target.as_ref().map_or("", |t| t.name.as_str());
    let mut ready = exercise.new_pods().filter(|pod| pod.ready);
    let Some(pod) = ready.find(|pod| pod.node.is_some()) else {
        let last = exercise.new_pods().last();
        let seen =
            last.map_or_else(|| "no new pod came".to_owned(), |pod| format!("pod {} did not become ready ({})", pod.name, state(pod)));
        return (exercise.absent(), seen + &bound(exercise));
    };
    let node = pod.node.as_deref().unwrap_or("");
    if node == failed {
        (Verdict::Invalid, format!("pod {} started on {node} again{}", pod.name, bound(exercise)))
    } else {
        (Verdict::Valid, format!("pod {} became ready on {node} instead of {failed}", pod.name))
    }
}

/// Why a pod cannot move, where its storage is the reason: an outage by design.
fn bound(exercise: &Exercise<'_>) -> String {
    exercise.volume_node.map_or_else(String::new, |node| {
        format!("; the volume is bound to node {node}, so no other node can run the pod: use storage that follows it")
    })
}

/// HA-5.
fn same_address(exhibits: &Exhibits<'_>, exercises: &[Exercise<'_>], ruling: &mut Ruling) {
    if exercises.is_empty() {
        return;
    }
    let service = |wanted| -> Option<&ServiceSeen> {
        exhibits.events.iter().rev().find_map(|event| match &event.kind {
            EventKind::TargetIdentified { moment, identity } if *moment == wanted => Some(&identity.service),
            _ => None,
        })
    };
    match (service(IdentityMoment::Before), service(IdentityMoment::After)) {
        (Some(before), Some(after)) => {
            if before.uid != after.uid || before.cluster_ip != after.cluster_ip {
                ruling.add(
                    Verdict::Invalid,
                    format!("Service {} had address {} and has {}", before.name, before.cluster_ip, after.cluster_ip),
                );
            } else {
                ruling.add(Verdict::Valid, format!("Service {} kept its address {}", before.name, before.cluster_ip));
            }
        }
        _ => ruling.add(Verdict::Unknown, "the Service was not identified both before and after the faults"),
    }
    for (pod, after) in stale_endpoints(exhibits.events) {
        ruling.add(Verdict::Invalid, format!("the Service still led to pod {pod} {after} after it was gone"));
    }
    let mut through = 0;
    for exercise in exercises {
        let outage = exercise.episode.outage;
        if exercise.episode.commits > 0 && outage.is_none_or(|outage| outage.ended) {
            through += 1;
        } else {
            // Without an outage nobody can say that clients were cut off: there was no workload.
            let verdict = outage.map_or(Verdict::Unknown, |_| exercise.absent());
            ruling.add(verdict, format!("{}: no commit came through the Service after it", exercise.fault.id));
        }
    }
    if through > 0 {
        ruling.add(Verdict::Valid, format!("commits came through it after {through} of {} faults", exercises.len()));
    }
}

/// A ready endpoint whose pod has been gone for longer than this was forgotten; the controller that removes it takes moments.
const ENDPOINT_GONE_WITHIN: Duration = Duration::from_secs(5);

/// Pods whose endpoint was still ready long after they were gone, and how long after.
fn stale_endpoints(events: &[Event]) -> Vec<(String, Millis)> {
    let mut gone: Vec<(&PodSeen, u64)> = Vec::new();
    let mut ready: Vec<&str> = Vec::new();
    let mut stale: Vec<(String, u64)> = Vec::new();
    for event in events {
        for (pod, at) in &gone {
            let since = event.time_ns.saturating_sub(*at);
            if since > nanos(ENDPOINT_GONE_WITHIN) && ready.contains(&pod.uid.as_str()) {
                match stale.iter_mut().find(|(name, _)| *name == pod.name) {
                    Some((_, longest)) => *longest = since,
                    None => stale.push((pod.name.clone(), since)),
                }
            }
        }
        match &event.kind {
            EventKind::Pod { change: PodChange::Deleted, pod } => gone.push((pod, event.time_ns)),
            EventKind::Endpoints { endpoints } => {
                ready = endpoints.iter().filter(|endpoint| endpoint.ready).filter_map(|endpoint| endpoint.pod_uid.as_deref()).collect();
            }
            // From here on the target itself is taken down.
            EventKind::PhaseStarted { phase: Phase::CleanUp } => break,
            _ => {}
        }
    }
    stale.into_iter().map(|(pod, since)| (pod, Millis::from_ns(since))).collect()
}

/// HA-6.
fn nothing_lost(exhibits: &Exhibits<'_>, exercises: &[Exercise<'_>], ruling: &mut Ruling) {
    if exercises.is_empty() {
        return;
    }
    for check in exhibits.checks {
        cite(exhibits.checks, check.name, ruling);
    }
}

/// HA-7.
fn back_in_time(expect: &Expect, exercises: &[Exercise<'_>], ruling: &mut Ruling) {
    if exercises.is_empty() {
        return;
    }
    let max_ns = nanos(expect.reconnect.max);
    let mut outages = Vec::new();
    for exercise in exercises {
        let id = &exercise.fault.id;
        let episode = exercise.episode;
        let length_ns = episode.outage.map_or(0, |outage| outage.length_ns());
        outages.push(length_ns);
        let length = Millis::from_ns(length_ns);
        let max = Millis::from_ns(max_ns);
        let back = episode.outage.is_none_or(|outage| outage.ended && length_ns <= max_ns) && episode.commits > 0;
        if exercise.fault.recovered == Some(false) {
            // Clients that commit again say more than a watch that saw no ready pod, but not that all is well.
            let (verdict, but) = if back { (Verdict::Unknown, "clients were back, and ") } else { (Verdict::Invalid, "") };
            let seen = &exercise.fault.last_seen;
            ruling.add(verdict, format!("{id}: {but}the target did not recover; last seen: {seen}"));
        } else if episode.outage.is_some_and(|outage| !outage.ended) {
            let verdict = if length_ns > max_ns { Verdict::Invalid } else { Verdict::Unknown };
            ruling.add(verdict, format!("{id}: clients were not back {length} after their last commit, when nobody looked any more"));
        } else if length_ns > max_ns {
            ruling.add(Verdict::Invalid, format!("{id}: clients were cut off for {length}, allowed are {max}"));
        } else if episode.commits == 0 {
            ruling.add(Verdict::Unknown, format!("{id}: no client committed or failed"));
        }
    }
    outages.sort_unstable();
    let longest = outages.last().copied().unwrap_or(0);
    let rank = (outages.len() * 99).div_ceil(100).max(1);
    let p99_ns = outages.get(rank - 1).copied().unwrap_or(0);
    let n = outages.len();
    if let Some(p99) = expect.reconnect.p99
        && p99_ns > nanos(p99)
    {
        ruling.add(
            Verdict::Invalid,
            format!("the 99th percentile of n = {n} outages is {}, allowed are {}", Millis::from_ns(p99_ns), Millis::from_ns(nanos(p99))),
        );
    }
    ruling.add(Verdict::Valid, format!("longest of n = {n} outages {}, allowed {}", Millis::from_ns(longest), Millis::from_ns(max_ns)));
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

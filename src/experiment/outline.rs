//! What a run of a plan would create and touch, and when: shown by `chaos plan` and by a run's preflight before anything happens.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::model::format_duration;

use super::names::Named;
use super::plan::{AccessMode, Cache, ClusterRef, Controller, Engine, ExistingPlan, FaultSpec, Grace, Plan, PlannedFault, ServiceAccess};
use super::write::hash;

/// What a run would create and touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outline {
    /// The experiment's name.
    pub experiment: String,
    /// What it shows.
    pub description: String,
    /// SHA-256 of the resolved experiment.
    pub hash: String,
    /// Where it runs.
    pub cluster: String,
    /// What is created, and removed at the end.
    pub creates: Vec<Created>,
    /// What is touched beside what the run created itself. Empty: nothing.
    pub touches: Vec<String>,
    /// Every injection, in order.
    pub schedule: Vec<Injection>,
    /// The class of durability bug that each fault can reveal, by the fault's kind.
    pub reach: BTreeMap<String, String>,
    /// The values in force that a file may leave out.
    pub settings: BTreeMap<String, String>,
    /// The claims that decide the verdict.
    pub claims: Vec<String>,
    /// How long the run takes at the least, in ms.
    pub at_least_ms: u64,
    /// The sum of all deadlines, in ms: it is over by then, whatever happens.
    pub at_most_ms: u64,
    /// What its reader should know before.
    pub cautions: Vec<String>,
}

/// An object that is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Created {
    /// Its kind.
    pub kind: String,
    /// What is worth knowing of it.
    pub detail: String,
}

/// One injection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Injection {
    /// Unique in the run.
    pub id: String,
    /// The fault and its parameters in words.
    pub fault: String,
    /// What it is aimed at.
    pub target: String,
    /// When it is due, in ms from the start of the load; the earliest, where it waits for a recovery.
    pub due_ms: u64,
    /// How long after the recovery of the injection before it, in ms, where it waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_recovery_ms: Option<u64>,
    /// It is due up to this much later, in ms, by a draw from the seed.
    pub jitter_ms: u64,
    /// How long recovery is awaited, in ms.
    pub recover_within_ms: u64,
}

/// Outlines a plan.
pub fn outline(plan: &Plan) -> Outline {
    let recoveries: Duration = plan.faults.iter().map(|fault| fault.recover_within).sum();
    let cold_read = if plan.cold_read { plan.target.ready_within } else { Duration::ZERO };
    let load = plan.workload.warm_up + plan.duration;
    Outline {
        experiment: plan.name.clone(),
        description: plan.description.clone(),
        hash: hash(plan),
        cluster: plan.cluster.clone().unwrap_or(ClusterRef::Sandbox(None)).to_string(),
        creates: creates(plan),
        touches: touches(plan),
        schedule: plan
            .faults
            .iter()
            .map(|fault| Injection {
                id: fault.id.clone(),
                fault: in_words(&fault.spec),
                target: fault.spec.aim().to_owned(),
                due_ms: ms(plan.workload.warm_up + fault.at),
                after_recovery_ms: fault.after_recovery.map(ms),
                jitter_ms: ms(fault.jitter),
                recover_within_ms: ms(fault.recover_within),
            })
            .collect(),
        reach: plan.faults.iter().map(|fault| (fault.spec.kind().to_owned(), fault.spec.reach().to_owned())).collect(),
        settings: settings(plan),
        claims: plan.expect.claims.iter().map(|claim| format!("{} {}", claim.id(), claim.statement())).collect(),
        at_least_ms: ms(load),
        at_most_ms: ms(plan.target.ready_within + load + recoveries + cold_read),
        cautions: cautions(plan),
    }
}

/// A fault and its parameters, if it has any.
fn in_words(spec: &FaultSpec) -> String {
    match spec.parameters_in_words().as_str() {
        "" => spec.kind().to_owned(),
        parameters => format!("{} ({parameters})", spec.kind()),
    }
}

/// What happens to nodes, and to a target that somebody else deployed; each kind of harm once.
fn touches(plan: &Plan) -> Vec<String> {
    let of = |spec: &FaultSpec| match (spec.touches_node(), &plan.target.existing) {
        (Some(harm), _) => Some(format!("{} by {}: {harm}", spec.aim(), spec.kind())),
        (None, Some(existing)) => Some(format!("{} by {}", place_in(spec.aim(), existing), spec.kind())),
        (None, None) => None,
    };
    let mut touches: Vec<String> = plan.faults.iter().filter_map(|fault| of(&fault.spec)).collect();
    if let Some(existing) = plan.target.existing.as_ref().filter(|_| plan.cold_read) {
        touches.push(format!("{} by coldRead: killed once more before the final read", place_in("the pod of the target", existing)));
    }
    if let (Some(image), Some(ClusterRef::Context(_))) = (&plan.node_access, &plan.cluster) {
        touches.push(format!(
            "the node that runs the pod by nodeAccess: a privileged pod with image {image} for each thing that is done there, in a namespace of its own"
        ));
    }
    touches.sort_unstable();
    touches.dedup();
    touches
}

fn place_in(aim: &str, existing: &ExistingPlan) -> String {
    format!("{aim}, behind service/{} of namespace {},", existing.target.service, existing.target.namespace)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn creates(plan: &Plan) -> Vec<Created> {
    let target = &plan.target;
    let created = |kind: &str, detail: String| Created { kind: kind.to_owned(), detail };
    if let Some(ExistingPlan { target, .. }) = &target.existing {
        let detail = format!(
            "chaos, by the login {} on the server behind service/{} of namespace {}; refused where there is one of that name",
            target.user, target.service, target.namespace
        );
        return vec![created("Database", detail)];
    }
    let image = target.image.as_ref().map_or_else(|| format!("the image of {}", target.engine), |image| format!("image {image}"));
    vec![
        created("Namespace", format!("a new one for this run, its name begins with chaos-{}", plan.name)),
        created("Secret", "a random password, for this run only".to_owned()),
        created(
            "PersistentVolumeClaim",
            format!(
                "{}, {}, {}",
                target.storage.size,
                target.storage.access_mode,
                target.storage.class.as_ref().map_or("the default storage class".to_owned(), |class| format!("storage class {class}"))
            ),
        ),
        created(target.controller.id(), format!("one pod, {image}, grace {}", format_duration(target.grace))),
        created(
            "Service",
            match &target.service {
                ServiceAccess::NodePort => "NodePort, what the clients talk to".to_owned(),
                ServiceAccess::LoadBalancer => "LoadBalancer, what the clients talk to".to_owned(),
                ServiceAccess::Address(address) => format!("NodePort; the clients talk to {address}, which must lead to it"),
            },
        ),
    ]
}

fn settings(plan: &Plan) -> BTreeMap<String, String> {
    let mix: Vec<String> = plan.workload.mix.iter().map(|(kind, share)| format!("{kind} {share}")).collect();
    let mut settings: BTreeMap<String, String> = [
        ("target.engine", plan.target.engine.to_string()),
        ("target.service", plan.target.service.to_string()),
        ("target.tls", plan.target.tls.to_string()),
        ("target.readyWithin", format_duration(plan.target.ready_within)),
        ("workload.mix", mix.join(", ")),
        ("workload.clients", plan.workload.clients.to_string()),
        ("workload.rate", plan.workload.rate.to_string()),
        ("workload.warmUp", format_duration(plan.workload.warm_up)),
        ("workload.opTimeout", format_duration(plan.workload.op_timeout)),
        ("expect.lostCommits", plan.expect.lost_commits.to_string()),
        ("expect.reconnect.max", format_duration(plan.expect.reconnect.max)),
        ("expect.overlap", if plan.expect.overlap_allowed { "allowed" } else { "refused" }.to_owned()),
        ("abortWhen", plan.abort_when_outage.map_or("never".to_owned(), |limit| format!("outage > {}", format_duration(limit)))),
        ("blastRadius.maxUnavailableNodes", plan.blast_radius.max_unavailable_nodes.to_string()),
        ("blastRadius.controlPlaneNode", plan.blast_radius.control_plane_node.clone().unwrap_or_else(|| "none".to_owned())),
        ("duration", format_duration(plan.duration)),
        ("coldRead", plan.cold_read.to_string()),
        ("seed", plan.seed.map_or("drawn and recorded".to_owned(), |seed| seed.to_string())),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if let Some(p99) = plan.expect.reconnect.p99 {
        settings.insert("expect.reconnect.p99".to_owned(), format_duration(p99));
    }
    if let Some(ExistingPlan { target, may_touch }) = &plan.target.existing {
        let may_touch: Vec<&str> = may_touch.iter().map(|touch| touch.id()).collect();
        settings.insert("target.existing.secret".to_owned(), format!("{}, key {}", target.secret, target.secret_key));
        settings.insert("target.existing.mayTouch".to_owned(), may_touch.join(", "));
    }
    if let Some(image) = &plan.node_access {
        settings.insert("nodeAccess.image".to_owned(), image.clone());
    }
    if let Some(defect) = plan.sandbox_sabotage {
        settings.insert("sandboxSabotage".to_owned(), defect.to_string());
    }
    if let Some(own) = &plan.workload.sql {
        let shown = format!("{} batches of setup, {} statements, {} checks", own.setup.len(), own.statements.len(), own.checks.len());
        settings.insert("workload.sql".to_owned(), shown);
    }
    if plan.target.ignore_sigterm {
        settings.insert("target.ignoreSigterm".to_owned(), "true".to_owned());
    }
    if plan.target.cache != Cache::Kernel {
        settings.insert("target.cache".to_owned(), plan.target.cache.to_string());
    }
    if let Some(sabotage) = plan.target.sabotage {
        settings.insert("target.sabotage".to_owned(), sabotage.to_string());
    }
    settings
}

/// What the reader of a plan should know before it runs, worst first.
pub fn cautions(plan: &Plan) -> Vec<String> {
    let mut cautions = overlaps(plan);
    if plan.faults.iter().any(|fault| fault.recover_within < plan.expect.reconnect.max) {
        cautions.push(format!(
            "recovery is awaited for less than expect.reconnect.max, {}: an outage that is still allowed can end the run inconclusive",
            format_duration(plan.expect.reconnect.max)
        ));
    }
    if let Some(limit) = plan.abort_when_outage
        && limit < plan.expect.reconnect.max
    {
        cautions.push(format!(
            "abortWhen cuts the run short after an outage of {}, which expect.reconnect.max still allows ({}): such a run is inconclusive",
            format_duration(limit),
            format_duration(plan.expect.reconnect.max)
        ));
    }
    let first = plan.faults.first().map_or(plan.duration, |fault| fault.at);
    if plan.workload.warm_up + first < Duration::from_secs(5) {
        cautions.push("the first fault comes less than 5 s after the load began: there is hardly a baseline to compare with".to_owned());
    }
    let abrupt = |fault: &PlannedFault| fault.spec.kills_unasked() || plan.target.ignore_sigterm && fault.spec.deletes_pod_with().is_some();
    if plan.target.cache == Cache::Volatile && !plan.faults.iter().any(abrupt) {
        cautions.push(
            "every fault asks the engine to stop first, and then it syncs what it has: the volatile cache loses nothing, use container-crash".to_owned(),
        );
    }
    if !plan.cold_read {
        cautions.push(
            "coldRead is off: the final read may be served from memory, and rows that never reached the claim are not missed".to_owned(),
        );
    }
    match plan.target.engine {
        Engine::Existing => {
            cautions.push("the target is somebody else's: whoever uses it meets the same faults and the load beside them".to_owned());
        }
        Engine::AzureSqlEdge => {
            cautions.push("Azure SQL Edge is retired since 2025-09-30: it gets no more fixes; mssql-server is its successor".to_owned())
        }
        Engine::TdsSqlite => cautions
            .push("tds-sqlite is a stand-in: the run judges the cluster, the deployment and this harness, not SQL Server".to_owned()),
        Engine::MssqlServer => {}
    }
    cautions
}

/// Where controller, access mode and grace let two instances run on one claim at once.
fn overlaps(plan: &Plan) -> Vec<String> {
    // Of a target that exists neither controller nor access mode is known before the run.
    if plan.target.storage.access_mode == AccessMode::ReadWriteOncePod || plan.target.existing.is_some() {
        return Vec::new();
    }
    let mut windows: Vec<Duration> = plan
        .faults
        .iter()
        .filter_map(|fault| fault.spec.deletes_pod_with())
        .map(|grace| match grace {
            Grace::Pod => plan.target.grace,
            Grace::Of(grace) => grace,
        })
        .collect();
    windows.sort_unstable();
    windows.dedup();
    let consequence = if plan.expect.overlap_allowed {
        "expect.overlap allows it, the report shows it"
    } else {
        "expect.overlap refuses it, so the run fails if it happens"
    };
    windows
        .into_iter()
        .filter_map(|window| {
            let how = if window.is_zero() {
                "a forced deletion (grace 0s) removes the pod while its process may still live, and the replacement starts meanwhile".to_owned()
            } else if plan.target.controller == Controller::Deployment {
                format!(
                    "a Deployment's replacement starts while the old pod still terminates, up to {}, and {} lets both use the claim on one node",
                    format_duration(window),
                    plan.target.storage.access_mode
                )
            } else {
                return None;
            };
            Some(format!(
                "two instances can run on the claim at once: {how}; {consequence}"
            ))
        })
        .collect()
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |ms: u64| format_duration(Duration::from_millis(ms));
        writeln!(f, "{} on {}", self.experiment, self.cluster)?;
        if !self.description.is_empty() {
            writeln!(f, "{}", self.description.trim_end())?;
        }
        writeln!(f, "\nCreated for the run and removed after it:")?;
        for created in &self.creates {
            writeln!(f, "  {:<22} {}", created.kind, created.detail)?;
        }
        writeln!(f, "\nTouched beside that:")?;
        if self.touches.is_empty() {
            writeln!(f, "  nothing: no node, and no object that the run did not create")?;
        }
        for touched in &self.touches {
            writeln!(f, "  {touched}")?;
        }
        writeln!(f, "\nInjections, from the start of the load, or (+) from the recovery of the one before:")?;
        for injection in &self.schedule {
            let mut due = match injection.after_recovery_ms {
                Some(pause) => format!("+{}", duration(pause)),
                None => duration(injection.due_ms),
            };
            if injection.jitter_ms > 0 {
                due = format!("{due}…{}", duration(injection.after_recovery_ms.unwrap_or(injection.due_ms) + injection.jitter_ms));
            }
            writeln!(
                f,
                "  {due:>8}  {}: {}, aimed at {}, recovery within {}",
                injection.id,
                injection.fault,
                injection.target,
                duration(injection.recover_within_ms),
            )?;
        }
        writeln!(f, "\nReach:")?;
        for (kind, reach) in &self.reach {
            writeln!(f, "  {kind}: {reach}")?;
        }
        writeln!(f, "\nDecides the verdict:")?;
        for claim in &self.claims {
            writeln!(f, "  {claim}")?;
        }
        writeln!(f, "\nIn force:")?;
        for (key, value) in &self.settings {
            writeln!(f, "  {key:<22} {value}")?;
        }
        writeln!(f, "\nTakes {} at the least; every deadline together {}", duration(self.at_least_ms), duration(self.at_most_ms))?;
        for caution in &self.cautions {
            writeln!(f, "caution: {caution}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where its input is wrong")]

    use super::*;
    use crate::experiment::parse;

    fn plan(target: &str, fault: &str, rest: &str) -> Plan {
        let text = format!("name: x\ntarget: {{ engine: mssql-server{target} }}\nfaults:\n  - pod-kill: {{ {fault} }}\n{rest}");
        parse("x.yaml", &text).unwrap()
    }

    #[test]
    fn two_instances_on_a_claim_are_foreseen() {
        let deployment = "two instances can run on the claim at once: a Deployment's replacement starts while the old pod still terminates, up to 30s, and ReadWriteOnce lets both use the claim on one node; expect.overlap refuses it, so the run fails if it happens";
        assert_eq!(cautions(&plan("", "", "")), [deployment]);
        let allowed = cautions(&plan("", "grace: 0s", "expect: { overlap: allowed }\n"));
        assert_eq!(
            allowed,
            [
                "two instances can run on the claim at once: a forced deletion (grace 0s) removes the pod while its process may still live, and the replacement starts meanwhile; expect.overlap allows it, the report shows it"
            ]
        );
        assert_eq!(cautions(&plan(", controller: StatefulSet", "", "")), [""; 0]);
        assert_eq!(cautions(&plan(", controller: StatefulSet, grace: 0s", "", "")).len(), 1);
        assert_eq!(cautions(&plan(", storage: { accessMode: ReadWriteOncePod }", "grace: 0s", "")), [""; 0]);
    }

    #[test]
    fn a_volatile_cache_that_no_fault_empties_is_told() {
        let told = |target: &str, fault: &str| {
            let text = format!("name: x\ntarget: {{ engine: tds-sqlite{target} }}\nfaults: [{{ {fault}: }}]\n");
            cautions(&parse("x.yaml", &text).unwrap()).iter().any(|caution| caution.contains("the volatile cache loses nothing"))
        };
        assert!(told(", cache: volatile", "pod-kill"));
        assert!(!told(", cache: volatile, ignoreSigterm: true", "pod-kill"));
        assert!(!told(", cache: volatile", "container-crash"));
        assert!(!told("", "pod-kill"));
    }

    #[test]
    fn what_happens_to_nodes_is_told() {
        let text = "name: x\ntarget: { engine: mssql-server }\nfaults:\n  - node-drain:\n    repeat: 2\n  - pod-kill:\n";
        let outline = outline(&parse("x.yaml", text).unwrap());
        assert_eq!(
            outline.touches,
            [
                "the node that runs the pod by node-drain: cordoned, the pods of the target's namespace evicted from it, and uncordoned afterwards"
            ]
        );
        assert_eq!(outline.schedule[0].fault, "node-drain");
        assert_eq!(outline.schedule[2].fault, "pod-kill (grace pod)");
    }

    #[test]
    fn the_outline_tells_times_from_the_start_of_the_load() {
        let outline = outline(&plan("", "", "    at: 20s\n    repeat: 2\n    every: 15s\nworkload: { warmUp: 5s }\n"));
        let due: Vec<u64> = outline.schedule.iter().map(|one| one.due_ms).collect();
        assert_eq!(due, [25_000, 40_000]);
        // 5 s of warm-up, the last injection at 35 s and 10 s after it.
        assert_eq!(outline.at_least_ms, 50_000);
        // To that 5 min to become ready, twice 2 min of recovery, and 5 min for the cold read.
        assert_eq!(outline.at_most_ms, 50_000 + 300_000 + 240_000 + 300_000);
        let text = outline.to_string();
        assert!(text.contains("     25s  pod-kill-1: pod-kill (grace pod), aimed at the pod of the target, recovery within 2m"), "{text}");
    }
}

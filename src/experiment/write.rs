//! The plan as a file again: what a run's folder keeps, with every default filled in and every repeat expanded.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::model::format_duration;

use super::names::Named;
use super::plan::{Cache, ExistingPlan, Pace, Plan, Step, TargetPlan};

/// Writes the plan so that reading it gives the same plan.
pub fn to_yaml(plan: &Plan) -> String {
    let mut text = String::new();
    lines(plan, &mut text).expect("writing to a string cannot fail");
    text
}

/// The SHA-256 of the resolved experiment in hex: equal for files that mean the same.
pub fn hash(plan: &Plan) -> String {
    let digest = Sha256::digest(to_yaml(plan).as_bytes());
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn pace(pace: &Pace, to: &mut String) -> std::fmt::Result {
    match pace {
        Pace::Closed => writeln!(to, "  rate: closed"),
        Pace::Open(steps) => match steps[..] {
            [Step { lasts: None, at, to: None }] => writeln!(to, "  rate: {at}"),
            _ => {
                writeln!(to, "  rate:")?;
                for step in steps {
                    writeln!(to, "    - at: {}", step.at)?;
                    if let Some(end) = step.to {
                        writeln!(to, "      to: {end}")?;
                    }
                    if let Some(lasts) = step.lasts {
                        writeln!(to, "      for: {}", format_duration(lasts))?;
                    }
                }
                Ok(())
            }
        },
    }
}

/// Text as a double-quoted scalar. JSON's escapes are YAML's; what JSON leaves raw and YAML does not allow raw is escaped here.
pub(super) fn quote(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        let code = u32::from(c);
        // Line and paragraph separators and the byte order mark mean something to scanners of YAML.
        if matches!(code, 0x7f..=0x9f | 0x2028 | 0x2029 | 0xfeff | 0xfffe..=0xffff) {
            let _ = write!(quoted, "\\u{code:04x}");
        } else {
            quoted.push(c);
        }
    }
    quoted
}

/// What is said of a target that the run deploys.
fn deployment(target: &TargetPlan, to: &mut String) -> std::fmt::Result {
    if let Some(image) = &target.image {
        writeln!(to, "  image: {}", quote(image))?;
    }
    writeln!(to, "  controller: {}", target.controller)?;
    writeln!(to, "  storage:")?;
    writeln!(to, "    size: {}", target.storage.size)?;
    writeln!(to, "    accessMode: {}", target.storage.access_mode)?;
    if let Some(class) = &target.storage.class {
        writeln!(to, "    class: {}", quote(class))?;
    }
    writeln!(to, "  grace: {}", format_duration(target.grace))
}

fn lines(plan: &Plan, to: &mut String) -> std::fmt::Result {
    writeln!(to, "name: {}", quote(&plan.name))?;
    if !plan.description.is_empty() {
        writeln!(to, "description: {}", quote(&plan.description))?;
    }
    if let Some(cluster) = &plan.cluster {
        writeln!(to, "cluster: {}", quote(&cluster.to_string()))?;
    }
    if let Some(seed) = plan.seed {
        writeln!(to, "seed: {seed}")?;
    }
    if let Some(defect) = plan.sandbox_sabotage {
        writeln!(to, "sandboxSabotage: {defect}")?;
    }
    let target = &plan.target;
    writeln!(to, "target:")?;
    writeln!(to, "  engine: {}", target.engine)?;
    if let Some(ExistingPlan { target, may_touch }) = &target.existing {
        let may_touch: Vec<&str> = may_touch.iter().map(|touch| touch.id()).collect();
        writeln!(to, "  existing:\n    namespace: {}\n    service: {}", quote(&target.namespace), quote(&target.service))?;
        writeln!(to, "    secret: {}\n    secretKey: {}", quote(&target.secret), quote(&target.secret_key))?;
        writeln!(to, "    user: {}\n    mayTouch: [{}]", quote(&target.user), may_touch.join(", "))?;
    } else {
        deployment(target, to)?;
    }
    writeln!(to, "  readyWithin: {}", format_duration(target.ready_within))?;
    writeln!(to, "  tls: {}", quote(target.tls.id()))?;
    writeln!(to, "  service: {}", quote(&target.service.to_string()))?;
    if target.existing.is_none() {
        writeln!(to, "  ignoreSigterm: {}", target.ignore_sigterm)?;
    }
    if target.cache != Cache::Kernel {
        writeln!(to, "  cache: {}", target.cache)?;
    }
    if let Some(sabotage) = target.sabotage {
        writeln!(to, "  sabotage: {sabotage}")?;
    }
    let workload = &plan.workload;
    writeln!(to, "workload:")?;
    writeln!(to, "  mix:")?;
    for (kind, share) in &workload.mix {
        writeln!(to, "    {kind}: {share}")?;
    }
    writeln!(to, "  clients: {}", workload.clients)?;
    pace(&workload.rate, to)?;
    writeln!(to, "  warmUp: {}", format_duration(workload.warm_up))?;
    writeln!(to, "  isolation: {}", workload.isolation.id())?;
    writeln!(to, "  opTimeout: {}", format_duration(workload.op_timeout))?;
    if let Some(own) = &workload.sql {
        own.write(to)?;
    }
    writeln!(to, "faults:")?;
    for fault in &plan.faults {
        writeln!(to, "  - {}:", fault.spec.kind())?;
        for (key, value) in fault.spec.parameters() {
            writeln!(to, "      {key}: {value}")?;
        }
        match fault.after_recovery {
            Some(pause) => writeln!(to, "    after: recovered\n    at: {}", format_duration(pause))?,
            None => writeln!(to, "    at: {}", format_duration(fault.at))?,
        }
        if !fault.jitter.is_zero() {
            writeln!(to, "    jitter: {}", format_duration(fault.jitter))?;
        }
        writeln!(to, "    recoverWithin: {}", format_duration(fault.recover_within))?;
    }
    let expect = &plan.expect;
    writeln!(to, "expect:")?;
    writeln!(to, "  lostCommits: {}", expect.lost_commits)?;
    writeln!(to, "  reconnect:")?;
    if let Some(p99) = expect.reconnect.p99 {
        writeln!(to, "    p99: {}", format_duration(p99))?;
    }
    writeln!(to, "    max: {}", format_duration(expect.reconnect.max))?;
    let claims: Vec<&str> = expect.claims.iter().map(|claim| claim.id()).collect();
    writeln!(to, "  claims: [{}]", claims.join(", "))?;
    writeln!(to, "  overlap: {}", if expect.overlap_allowed { "allowed" } else { "refused" })?;
    if let Some(limit) = plan.abort_when_outage {
        writeln!(to, "abortWhen: outage > {}", format_duration(limit))?;
    }
    writeln!(to, "blastRadius:")?;
    writeln!(to, "  maxUnavailableNodes: {}", plan.blast_radius.max_unavailable_nodes)?;
    if let Some(node) = &plan.blast_radius.control_plane_node {
        writeln!(to, "  controlPlaneNode: {}", quote(node))?;
    }
    if let Some(image) = &plan.node_access {
        writeln!(to, "nodeAccess:\n  image: {}", quote(image))?;
    }
    writeln!(to, "duration: {}", format_duration(plan.duration))?;
    writeln!(to, "coldRead: {}", plan.cold_read)
}

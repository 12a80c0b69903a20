//! How long it takes to judge a recorded run and to write its report in every form, and how much memory: 10⁵, 10⁶ and 10⁷ ops.
//!
//! `cargo bench --bench ledger_check` writes a history of each size to a temporary folder and does so. The bounds: ten million ops in under
//! 5 s and 300 MB. Sizes can be given as arguments. Each size runs in a process of its own, since the peak of a process never falls.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chaos::experiment::{
    AccessMode, BlastRadius, Cache, Controller, Engine, Expect, Pace, Plan, ReconnectTarget, ServiceAccess, Storage, TargetPlan, Tls,
    WorkloadKind, WorkloadPlan,
};
use chaos::model::{Claim, Digest, F, Isolation, Op, OpType, Value};

#[path = "shared/peak.rs"]
mod peak;
use peak::peak_megabytes;

/// The environment variable that tells a child which folder it judges.
const FOLDER: &str = "LEDGER_CHECK_FOLDER";

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    if let Some(folder) = std::env::var_os(FOLDER) {
        return judge(Path::new(&folder), &mut out);
    }
    let mut sizes: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000, 10_000_000];
    }
    for ops in sizes {
        let folder = tempfile::tempdir()?;
        let bytes = write_history(folder.path(), ops)?;
        write!(out, "{ops:>10} ops  {:>7.1} MB  ", megabytes(bytes))?;
        out.flush()?;
        let status = Command::new(std::env::current_exe()?).env(FOLDER, folder.path()).status()?;
        if !status.success() {
            return Err("the judgement failed".into());
        }
    }
    Ok(())
}

fn judge(folder: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let judged = chaos::report::judge(folder, &plan())?;
    let took = start.elapsed();
    chaos::report::write(folder, &judged)?;
    let with_report = start.elapsed();
    let report = judged.report;
    let ledger = report.checks.iter().find(|check| check.name == "ledger").ok_or("no ledger check")?;
    writeln!(
        out,
        "judged in {:>6.2} s, with its report {:>6.2} s  peak {:>6.1} MB  {} ok, {} recovered, {} lost, verdict {}",
        took.as_secs_f64(),
        with_report.as_secs_f64(),
        peak_megabytes(),
        ledger.counts["ok"],
        ledger.counts["recovered"],
        ledger.counts["lost"],
        ledger.verdict
    )?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "megabytes for a reader")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn digest(key: u64) -> Digest {
    Digest(key.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Eight clients whose ops overlap; one op in 1,000 ends unknown, one in 500 fails. Returns the size of the history.
fn write_history(folder: &Path, ops: u64) -> std::io::Result<u64> {
    fs::write(folder.join("timeline.jsonl"), b"")?;
    let path = folder.join("history.jsonl");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let mut line = Vec::new();
    let mut op =
        Op { index: 0, time_ns: 0, kind: OpType::Invoke, process: 0, f: F::LedgerAdd, value: Value::None, error: None, intended_ns: 0 };
    let mut put = |op: &mut Op| {
        line.clear();
        op.write_line(&mut line);
        op.index += 1;
        file.write_all(&line)
    };
    let mut process: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    let mut next_process = 8;
    for first in (1..=ops).step_by(8) {
        let keys = first..=(first + 7).min(ops);
        for (kind, delay_ns) in [(OpType::Invoke, 0), (OpType::Ok, 1_200_000)] {
            for (client, key) in keys.clone().enumerate() {
                op.kind = match (kind, key % 1_000, key % 500) {
                    (OpType::Ok, 0, _) => OpType::Info,
                    (OpType::Ok, _, 1) => OpType::Fail,
                    (kind, _, _) => kind,
                };
                op.time_ns = key * 100_000 + delay_ns;
                op.intended_ns = key * 100_000;
                op.process = process[client];
                op.value = Value::Row(key, digest(key));
                put(&mut op)?;
                if op.kind == OpType::Info {
                    process[client] = next_process;
                    next_process += 1;
                }
            }
        }
    }
    op.f = F::LedgerRead;
    op.process = next_process;
    let mut after = 0;
    loop {
        op.kind = OpType::Invoke;
        op.value = Value::Key(after);
        put(&mut op)?;
        let keys = after + 1..=(after + 2_000).min(ops);
        let rows: Vec<_> = keys.filter(|key| key % 500 != 1).map(|key| (key, digest(key))).collect();
        let last = rows.last().map(|&(key, _)| key);
        op.kind = OpType::Ok;
        op.value = Value::Rows(rows);
        put(&mut op)?;
        match last {
            Some(key) => after = key,
            None => break,
        }
    }
    file.flush()?;
    Ok(fs::metadata(path)?.len())
}

fn plan() -> Plan {
    Plan {
        name: "ledger-check".to_owned(),
        description: String::new(),
        cluster: None,
        sandbox_sabotage: None,
        target: TargetPlan {
            engine: Engine::TdsSqlite,
            existing: None,
            image: None,
            controller: Controller::Deployment,
            storage: Storage { size: "1Gi".to_owned(), access_mode: AccessMode::ReadWriteOnce, class: None },
            grace: Duration::from_secs(10),
            ready_within: Duration::from_secs(60),
            service: ServiceAccess::NodePort,
            tls: Tls::Off,
            ignore_sigterm: false,
            cache: Cache::Kernel,
            sabotage: None,
        },
        workload: WorkloadPlan {
            mix: BTreeMap::from([(WorkloadKind::Ledger, 1)]),
            clients: 8,
            rate: Pace::constant(1_000.0),
            warm_up: Duration::from_secs(1),
            op_timeout: Duration::from_secs(5),
            isolation: Isolation::ReadCommitted,
            sql: None,
        },
        faults: Vec::new(),
        expect: Expect {
            lost_commits: 0,
            reconnect: ReconnectTarget { p99: None, max: Duration::from_secs(30) },
            claims: BTreeSet::from([Claim::Ha6]),
            overlap_allowed: false,
        },
        abort_when_outage: None,
        blast_radius: BlastRadius::default(),
        node_access: None,
        seed: None,
        duration: Duration::from_secs(1),
        cold_read: false,
    }
}

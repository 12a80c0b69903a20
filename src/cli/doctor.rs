use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cluster::{self, Capability, Program, ProgramError};
use crate::experiment::FaultSpec;
use crate::fault;

use super::{CommandResult, Exit, Output, Streams, write_json};

/// Tells what works on this machine.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// How long a program may take to tell its version.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Less free space than this under the run's folder, and a long run may not fit.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Where runs land.
const REPORTS: &str = "reports";

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    name: &'static str,
    ok: bool,
    /// What cannot be done without it.
    needed_for: &'static str,
    /// What was seen.
    seen: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Findings {
    /// Whether `chaos run` works here with nothing but this binary.
    sandbox: bool,
    /// Whether `--cluster kind` works here.
    kind: bool,
    /// Whether `--cluster k3d` works here.
    k3d: bool,
    /// The faults that a kind of cluster cannot have, whatever is installed.
    faults_refused: BTreeMap<&'static str, Vec<&'static str>>,
    checks: Vec<Check>,
}

const SANDBOX: &str = "the sandbox, and so everything";

impl Doctor {
    /// Exit code 0 when the sandbox can run, else 69: what else is missing limits where one can test, not whether.
    pub async fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let (docker, kind, clusters, k3d, kubectl, cargo) = tokio::join!(
            program(
                "docker",
                &["version", "--format", "{{.Server.Version}}"],
                "kind and k3d clusters",
                "install Docker and start it; `docker version` must show a server"
            ),
            program("kind", &["version"], "--cluster kind", "go install sigs.k8s.io/kind@latest"),
            program("kind", &["get", "clusters"], "--cluster kind without creating one", "chaos cluster up kind"),
            program("k3d", &["version"], "--cluster k3d", "see https://k3d.io"),
            program(
                "kubectl",
                &["version", "--client", "-o", "yaml"],
                "looking at a cluster by hand",
                "see https://kubernetes.io/docs/tasks/tools/"
            ),
            program("cargo", &["--version"], "building the stand-in engine's image for real clusters", "see https://rustup.rs"),
        );
        let checks = vec![
            addresses(),
            ports(),
            writable(Path::new(REPORTS)),
            space(Path::new(REPORTS)),
            docker,
            kind,
            clusters.named("kind clusters"),
            k3d,
            kubectl,
            cargo,
        ];
        let has = |name: &str| checks.iter().any(|check| check.name == name && check.ok);
        let findings = Findings {
            sandbox: checks.iter().all(|check| check.ok || check.needed_for != SANDBOX),
            kind: has("docker") && has("kind"),
            k3d: has("docker") && has("k3d"),
            faults_refused: faults_refused(),
            checks,
        };
        match self.output {
            Output::Json => write_json(streams, &findings)?,
            Output::Text => text(&findings, streams)?,
        }
        Ok(if findings.sandbox { Exit::Pass } else { Exit::Unavailable })
    }
}

/// The faults that need of a node what a kind of provider cannot do.
fn faults_refused() -> BTreeMap<&'static str, Vec<&'static str>> {
    let refused = |capabilities: &[Capability]| {
        let missing = |spec: &FaultSpec| fault::needs(spec).is_some_and(|need| !capabilities.contains(&need));
        FaultSpec::all().iter().filter(|spec| missing(spec)).map(FaultSpec::kind).collect()
    };
    cluster::capabilities().into_iter().map(|(provider, capabilities)| (provider, refused(capabilities))).collect()
}

fn text(findings: &Findings, streams: &mut Streams<'_>) -> std::io::Result<()> {
    for check in &findings.checks {
        let mark = if check.ok { "ok" } else { "--" };
        writeln!(streams.out, "{mark}  {:<18} {}", check.name, check.seen)?;
        if !check.ok {
            writeln!(streams.out, "    {:<18} needed for {}", "", check.needed_for)?;
            if let Some(mend) = &check.mend {
                writeln!(streams.out, "    {:<18} mend: {mend}", "")?;
            }
        }
    }
    let can = |can: bool| if can { "yes" } else { "no" };
    writeln!(streams.out, "\ncan run on: sandbox {}, kind {}, k3d {}", can(findings.sandbox), can(findings.kind), can(findings.k3d))?;
    for (provider, refused) in findings.faults_refused.iter().filter(|(_, refused)| !refused.is_empty()) {
        writeln!(streams.out, "never on {provider}: {}", refused.join(", "))?;
    }
    Ok(())
}

impl Check {
    fn of(name: &'static str, needed_for: &'static str, seen: Result<String, String>, mend: impl Into<String>) -> Check {
        let ok = seen.is_ok();
        Check { name, ok, needed_for, seen: seen.unwrap_or_else(|seen| seen), mend: (!ok).then(|| mend.into()) }
    }

    fn named(self, name: &'static str) -> Check {
        Check { name, ..self }
    }
}

/// Pods and Services of the sandbox have addresses of their own under 127/8, which not every system gives without asking.
fn addresses() -> Check {
    let bound = ["127.0.0.2:0", "127.213.7.9:0"]
        .iter()
        .try_for_each(|address| TcpListener::bind(address).map(drop).map_err(|error| format!("{address} cannot be bound: {error}")));
    Check::of(
        "loopback addresses",
        SANDBOX,
        bound.map(|()| "addresses of 127.0.0.0/8 can be bound".to_owned()),
        "on macOS: sudo ifconfig lo0 alias 127.0.0.2; else run in a Linux container",
    )
}

fn ports() -> Check {
    let many: Result<Vec<TcpListener>, std::io::Error> = (0..32).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    Check::of(
        "free ports",
        SANDBOX,
        many.map(|ports| format!("{} ports at once", ports.len())).map_err(|error| format!("no 32 ports are free: {error}")),
        "ulimit -n 4096, and end what holds the ports: ss -ltnp",
    )
}

/// Where the folder of a run would be made: the reports folder, or where that would be made.
fn base(reports: &Path) -> &Path {
    if reports.is_dir() { reports } else { Path::new(".") }
}

fn writable(reports: &Path) -> Check {
    let base = base(reports);
    let shown = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    let written = tempfile::Builder::new().prefix(".chaos-doctor").tempfile_in(base);
    Check::of(
        "reports folder",
        SANDBOX,
        written.map(|_| format!("{} can be written to", shown.display())).map_err(|error| format!("{}: {error}", shown.display())),
        "run in a folder that you can write to",
    )
}

fn space(reports: &Path) -> Check {
    let free = rustix::fs::statvfs(base(reports)).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let seen = match free {
        Err(error) => Err(format!("cannot be told: {error}")),
        Ok(free) if free < FREE_BYTES_MIN => Err(format!("{} MiB free, expected 1 GiB", free >> 20)),
        Ok(free) => Ok(format!("{} GiB free", free >> 30)),
    };
    Check::of("disk space", SANDBOX, seen, "remove old runs under reports/, or run elsewhere")
}

/// Whether a program answers, and the first line of what it says.
async fn program(name: &'static str, args: &[&str], needed_for: &'static str, mend: &'static str) -> Check {
    let seen = match Program::new(name).args(args).within(ANSWER_WITHIN).output().await {
        Ok(said) => {
            // `kubectl version` tells it as `gitVersion: v1.32.0` somewhere below; the others on their first line.
            let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let version = lines.iter().find_map(|line| line.strip_prefix("gitVersion: "));
            match version.map(str::to_owned).or_else(|| (!lines.is_empty()).then(|| first_words(args, &lines))) {
                Some(seen) => Ok(seen),
                None => Err("none".to_owned()),
            }
        }
        Err(ProgramError::NotFound { .. }) => Err("not found on PATH".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Check::of(name, needed_for, seen, mend)
}

/// A list of names is shown whole, a version by its first line.
fn first_words(args: &[&str], lines: &[&str]) -> String {
    if args.first() == Some(&"get") { lines.join(", ") } else { lines[0].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_what_mends_it() {
        let check = writable(Path::new("/no/such/folder"));
        // Without a reports folder the current one is tried, and tests run in one that can be written to.
        assert!(check.ok, "{check:?}");
        let failed = Check::of("x", SANDBOX, Err("gone".to_owned()), "make x");
        assert!(!failed.ok);
        assert_eq!(failed.mend.as_deref(), Some("make x"));
        let fine = Check::of("x", SANDBOX, Ok("here".to_owned()), "make x");
        assert_eq!(fine.mend, None);
    }

    #[tokio::test]
    async fn a_program_that_is_missing_or_fails_is_told() {
        let missing = program("no-such-program-here", &["version"], "x", "y").await;
        assert!(!missing.ok);
        assert_eq!(missing.seen, "not found on PATH");
        let fails = program("false", &[], "x", "y").await;
        assert!(!fails.ok);
        let silent = program("true", &[], "x", "y").await;
        assert_eq!((silent.ok, silent.seen.as_str()), (false, "none"));
        let lists = program("printf", &["a\\nb\\n"], "x", "y").await;
        assert_eq!((lists.ok, lists.seen.as_str()), (true, "a"));
    }
}

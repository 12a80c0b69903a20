//! Drivers that nobody here wrote: pymssql, python-tds, FreeTDS' `tsql`. Each runs a script when it is there; when not, the test says that it was skipped.
//!
//! `CHAOS_PYTHON` names the Python that has the modules, `python3` when it is not set.

use crate::support::{PASSWORD, Rig};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// What a script ends with when its driver is not there.
const ABSENT: i32 = 77;

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name)
}

/// Not by `eprintln!`, which nobody sees of a test that passes.
fn skipped(driver: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {driver} is not installed, so nothing was tested with it");
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn python(driver: &str, name: &'static str) {
    let rig = Rig::new().await;
    let port = rig.port().to_string();
    let python = std::env::var_os("CHAOS_PYTHON").unwrap_or_else(|| "python3".into());
    let run = move || Command::new(python).arg(script(name)).args([&port, PASSWORD]).stdin(Stdio::null()).output();
    match tokio::task::spawn_blocking(run).await.unwrap() {
        Ok(output) if output.status.code() == Some(ABSENT) => skipped(driver),
        Ok(output) => assert!(output.status.success(), "{driver}: {}", text(&output)),
        Err(_) => skipped(driver),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pymssql_is_served() {
    python("pymssql", "with_pymssql.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_tds_is_served() {
    python("python-tds", "with_pytds.py").await;
}

async fn tsql(port: u16, version: &'static str, password: &'static str) -> Option<Output> {
    let run = move || {
        let input = std::fs::File::open(script("with_tsql.sql")).unwrap();
        let mut command = Command::new("tsql");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string(), "-U", "sa", "-P", password]);
        command.env("TDSVER", version).env("LC_ALL", "C.UTF-8").stdin(input).output().ok()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freetds_tsql_is_served() {
    for version in ["7.2", "7.3", "7.4"] {
        let rig = Rig::new().await;
        let Some(output) = tsql(rig.port(), version, PASSWORD).await else { return skipped("tsql (FreeTDS)") };
        let said = text(&output);
        let expected = [
            "1\tžluť\t-12.50\t2024-02-29 12:34:56.123\tNULL\t00",
            "Msg 8134 (severity 16",
            "Msg 2627 (severity 14",
            "Msg 208 (severity 16",
            "rows\t1",
            "printed ž",
            "doubled\t42",
            "long\t100000",
        ];
        for line in expected {
            assert!(said.contains(line), "TDS {version}: {line:?} is missing in\n{said}");
        }
        let refused = text(&tsql(rig.port(), version, "wrong").await.unwrap());
        assert!(refused.contains("Msg 18456 (severity 14"), "TDS {version}: {refused}");
    }
}

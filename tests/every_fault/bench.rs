//! Standing sandboxes, and the shortest run of each fault on one of them.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use chaos::experiment::catalogue;

use crate::objects::Cluster;

/// How many sandboxes stand side by side. Most of a run is waiting for probes, so this is more than there are cores.
const SANDBOXES: usize = 6;

/// A standing sandbox. It has one run at a time, because a node fault is felt by everything on the node.
pub struct Bench {
    folder: PathBuf,
    sandbox: String,
    /// The namespace of a database that stands in it.
    pub standing: OnceLock<String>,
}

/// Tests of this program that hold this run one at a time: each fills the machine by itself.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a program said, for the message of a failure.
pub fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Bench {
    /// Some sandboxes side by side; `name` keeps those of two tests apart.
    pub fn several(folder: &Path, name: &str) -> Vec<Bench> {
        (0..SANDBOXES).map(|number| Bench::one(folder, &format!("{name}{number}"))).collect()
    }

    /// One sandbox of that name.
    pub fn one(folder: &Path, name: &str) -> Bench {
        let bench = Bench { folder: folder.to_owned(), sandbox: name.to_owned(), standing: OnceLock::new() };
        let up = bench.chaos(&["cluster", "up", &bench.reference()]).output().unwrap();
        assert!(up.status.success(), "{}", said(&up));
        bench
    }

    /// What `--cluster` says.
    pub fn reference(&self) -> String {
        format!("sandbox:{}", self.sandbox)
    }

    /// `chaos` with these arguments.
    pub fn chaos(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        command.args(arguments).current_dir(&self.folder).env("XDG_STATE_HOME", self.folder.join("state")).stdin(Stdio::null());
        command
    }

    /// A file in the folder that commands run in.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The sandbox as its API shows it.
    pub fn cluster(&self) -> Cluster {
        Cluster::open(&self.kubeconfig())
    }

    /// What leads to that API.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("state/sqledge-chaos/sandbox").join(&self.sandbox).join("kubeconfig")
    }

    /// The shortest run with this fault; its reports folder has this name after the sandbox's.
    pub fn run(&self, fault: &str, reports: &str) -> Command {
        self.run_of(fault, &experiment(fault), reports)
    }

    /// A run of that experiment.
    fn run_of(&self, name: &str, experiment: &str, reports: &str) -> Command {
        let file = format!("{}-{name}.yaml", self.sandbox);
        fs::write(self.folder.join(&file), experiment).unwrap();
        self.chaos(&["run", &file, "--quiet", "--cluster", &self.reference(), "--reports", &self.reports(reports)])
    }

    /// A run of that experiment to its end, with what it logged; `None` when the sandbox cannot make its fault.
    ///
    /// What such a short run proves does not matter here; that it came to its end and left nothing does.
    pub fn logged(&self, name: &str, experiment: &str, module: &str) -> Option<String> {
        let mut run = self.run_of(name, experiment, &format!("{name}-{module}"));
        let output = run.env("CHAOS_LOG", format!("off,chaos::cluster::{module}=trace")).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        if log.contains("which this cluster's provider cannot do") {
            return None;
        }
        assert!(matches!(output.status.code(), Some(0..=2)), "{name}: {}", said(&output));
        Some(log)
    }

    /// The folder for reports of that name.
    pub fn reports(&self, name: &str) -> String {
        format!("{}-{name}", self.sandbox)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.chaos(&["cluster", "down", &self.reference()]).output();
    }
}

/// Interrupts a harness.
pub fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// Whether a fault lasts until it is healed.
pub fn lasts(fault: &str) -> bool {
    catalogue::example(fault).unwrap().contains("\n      for: ")
}

/// The shortest run with this fault. What lasts until it is healed lasts 2 s, whatever its default is.
pub fn experiment(fault: &str) -> String {
    format!(
        "name: short-{fault}\n\
         target: {{ engine: tds-sqlite, grace: 1s, storage: {{ size: 64Mi, class: shared }} }}\n\
         workload: {{ clients: 1, rate: 50/s, warmUp: 2s }}\n\
         faults:\n  - {fault}: {}\n    at: 0s\n\
         expect: {{ overlap: allowed }}\n\
         duration: 1s\n\
         coldRead: false\n",
        if lasts(fault) { "{ for: 2s }" } else { "{}" }
    )
}

/// Works off a queue, one piece at a time on each sandbox. A sandbox whose piece failed takes no more, since the next would fail for the same reason.
pub fn share<T: Send>(benches: &[Bench], queue: VecDeque<T>, work: impl Fn(&Bench, T) -> Result<(), String> + Sync) {
    let (queue, wrong) = (Mutex::new(queue), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for bench in benches {
            scope.spawn(|| {
                while let Some(piece) = { queue.lock().unwrap().pop_front() } {
                    if let Err(what) = work(bench, piece) {
                        wrong.lock().unwrap().push(what);
                        return;
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

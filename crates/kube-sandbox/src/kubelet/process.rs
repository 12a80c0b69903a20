//! Container processes: how they start, how they are signalled, how their end is noticed.
//!
//! All of them are children of one operating system thread that lives as long as the sandbox, because the kernel ties a parent-death
//! signal to the thread that made the child. The end of a process is awaited, never polled for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Requests to start a process that may wait at once; more wait at the sender.
const REQUESTS_MAX: usize = 256;
/// How long the guard may take to end once its input has.
const GUARD_PATIENCE: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program and its arguments, never empty.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub dir: PathBuf,
    /// Where standard output and standard error go; appended to.
    pub log: PathBuf,
}

/// Starts processes from its own thread.
#[derive(Debug)]
pub(crate) struct Spawner {
    requests: mpsc::SyncSender<Request>,
    guard: Arc<Guard>,
}

struct Request {
    launch: Launch,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread and the guard process. `shim` is the program and the leading arguments that lead to [`crate::shim::run`].
    pub(crate) fn start(shim: &[String]) -> io::Result<Self> {
        let guard = Arc::new(Guard::start(shim)?);
        let (requests, inbox) = mpsc::sync_channel::<Request>(REQUESTS_MAX);
        let runtime = Handle::current();
        let shim = shim.to_vec();
        std::thread::Builder::new().name("sandbox-spawner".to_owned()).spawn(move || {
            // Registering a child's exit with the runtime needs its context on this thread.
            let _context = runtime.enter();
            for Request { launch, reply } in inbox {
                if let Err(Ok(mut orphan)) = reply.send(spawn(&shim, &launch)) {
                    // Nobody waits for it any more, so nobody would ever end it.
                    let _gone = orphan.start_kill();
                }
            }
        })?;
        Ok(Self { requests, guard })
    }

    /// Ends the guard, once there is nothing left to guard.
    pub(crate) async fn shutdown(&self) {
        self.guard.dismiss().await;
    }

    /// Starts a process in a group of its own.
    pub(crate) async fn spawn(&self, launch: Launch) -> io::Result<Running> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { launch, reply }).map_err(|error| io::Error::other(format!("process not started: {error}")))?;
        let child = answer.await.map_err(|_closed| io::Error::other("the sandbox is shutting down"))??;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).ok_or_else(|| io::Error::other("process has no id"))?;
        self.guard.watch(pid);
        let process = Arc::new(Process { pid, reaped: AtomicBool::new(false), reason: OnceLock::new(), guard: Arc::clone(&self.guard) });
        Ok(Running { child, process })
    }
}

fn spawn(shim: &[String], launch: &Launch) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(&launch.log)?;
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "no program for the shim");
    let (program, leading) = shim.split_first().ok_or_else(missing)?;
    let mut arguments: Vec<OsString> = leading.iter().map(OsString::from).collect();
    arguments.push("exec".into());
    arguments.push(std::process::id().to_string().into());
    arguments.extend(launch.argv.iter().map(OsString::from));
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&launch.dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// A started process and the right to wait for it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub process: Arc<Process>,
}

impl Running {
    /// Waits for the end. What is left of the process's group is killed, as a container's other processes die with its first.
    pub(crate) async fn wait(mut self) -> Exit {
        let status = self.child.wait().await;
        self.process.reaped.store(true, Ordering::SeqCst);
        let _empty = rustix::process::kill_process_group(self.process.pid, Signal::KILL);
        self.process.guard.forget(self.process.pid);
        Exit::from(status.ok())
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit code as Kubernetes shows it: 128 and the signal's number when a signal ended the process.
    pub code: i32,
}

impl From<Option<ExitStatus>> for Exit {
    fn from(status: Option<ExitStatus>) -> Self {
        let code = status.and_then(|status| status.code().or_else(|| status.signal().map(|signal| 128 + signal)));
        Self { code: code.unwrap_or(255) }
    }
}

/// A process that can be signalled for as long as it has not been waited for.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    reaped: AtomicBool,
    /// Why it ends, where whoever ended it said so.
    reason: OnceLock<&'static str>,
    guard: Arc<Guard>,
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The first process of the container.
    Main,
    /// Every process of the container's group.
    Group,
}

impl Process {
    /// The process id, for logs.
    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Says why it is about to end; the first to say so is believed.
    pub(crate) fn explain(&self, reason: &'static str) {
        let _said_before = self.reason.set(reason);
    }

    /// Why it ended, where that was said.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.reason.get().copied()
    }

    /// Sends a signal. A process that has ended already is no error.
    pub(crate) fn signal(&self, signal: Signal, scope: Scope) -> io::Result<()> {
        if self.reaped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let sent = match scope {
            Scope::Main => rustix::process::kill_process(self.pid, signal),
            Scope::Group => rustix::process::kill_process_group(self.pid, signal),
        };
        match sent {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Asks the process to stop, as the kubelet does. A container's first process is PID 1 of its namespace, and the kernel drops signals for
    /// which PID 1 has no handler: a server that does not handle SIGTERM uses up its whole grace period in a cluster, and so it does here.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        if handles_sigterm(self.pid) { self.signal(Signal::TERM, Scope::Main) } else { Ok(()) }
    }
}

/// Whether the process has a handler for SIGTERM. Where that cannot be known, it is taken to have one.
fn handles_sigterm(pid: Pid) -> bool {
    const SIGTERM_BIT: u64 = 1 << 14;
    let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())) else {
        return true;
    };
    let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    caught.is_none_or(|mask| mask & SIGTERM_BIT != 0)
}

/// The process that kills what is left when the sandbox dies without a chance to do it itself.
#[derive(Debug)]
struct Guard {
    /// Its standard input; gone once the guard was dismissed.
    pipe: Mutex<Option<File>>,
    process: Mutex<Option<Child>>,
}

impl Guard {
    fn start(shim: &[String]) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::InvalidInput, "no program for the shim");
        let (program, leading) = shim.split_first().ok_or_else(missing)?;
        let mut process = Command::new(program)
            .args(leading)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt from the terminal is meant for the sandbox; the guard outlives it.
            .process_group(0)
            .spawn()?;
        let pipe = process.stdin.take().ok_or_else(|| io::Error::other("the guard has no pipe"))?;
        let pipe = File::from(pipe.into_owned_fd()?);
        Ok(Self { pipe: Mutex::new(Some(pipe)), process: Mutex::new(Some(process)) })
    }

    fn watch(&self, pid: Pid) {
        self.tell('+', pid);
    }

    fn forget(&self, pid: Pid) {
        self.tell('-', pid);
    }

    /// A guard that is gone cannot be told; the parent-death signal still holds then.
    fn tell(&self, sign: char, pid: Pid) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = pipe.as_mut() {
            let _unguarded = writeln!(pipe, "{sign}{}", pid.as_raw_nonzero());
        }
    }

    /// Lets the guard go, and waits until it is gone.
    async fn dismiss(&self) {
        drop(self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take());
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut process) = process {
            // It ends when its input does. One that does not is no reason to keep the sandbox from ending.
            let _overdue = tokio::time::timeout(GUARD_PATIENCE, process.wait()).await;
        }
    }
}

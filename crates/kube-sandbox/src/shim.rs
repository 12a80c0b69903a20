//! What stands between the sandbox and a container's command.
//!
//! A sandbox that is killed with SIGKILL cannot clean up after itself, so its containers must notice. `exec` asks the kernel to kill the
//! container when its parent dies and then becomes the container's command. `guard` is one process a sandbox that holds the other end of
//! a pipe: when the pipe closes, it kills the process groups of all containers, which reaches the children that the container started.
//! Both are modes of the embedding program (`kube-sandbox shim …`), because a program cannot ask the kernel on behalf of another.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal};

/// The exit code of a container whose command could not be run at all, as a shell reports it.
const EXIT_CANNOT_RUN: u8 = 127;

/// Runs one mode of the shim with the arguments that follow `shim` on the command line; returns the exit code of the process.
///
/// `exec PARENT_PID PROGRAM [ARG]…` only returns when the program could not be run. `guard` returns when its standard input closes.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let mode = arguments.next().unwrap_or_default();
    let outcome = match mode.to_str() {
        Some("exec") => exec(arguments),
        Some("guard") => guard(),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "shim needs a mode: exec or guard")),
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            // The message goes to the container's log, which is where somebody will look.
            let _unheard = writeln!(io::stderr(), "sandbox shim: {error}");
            EXIT_CANNOT_RUN
        }
    }
}

/// Becomes the container's command, which the kernel kills as soon as the sandbox's spawning thread is gone.
fn exec(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let parent = arguments
        .next()
        .and_then(|text| text.to_str()?.parse::<i32>().ok())
        .ok_or_else(|| invalid("exec needs the process id of the parent"))?;
    let program = arguments.next().ok_or_else(|| invalid("exec needs a program"))?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the request was made, and then no signal will ever come.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err(io::Error::other("the sandbox is gone"));
    }
    let error = Command::new(&program).args(arguments).exec();
    Err(io::Error::new(error.kind(), format!("cannot run {}: {error}", program.display())))
}

/// Reads `+GROUP` and `-GROUP` lines and kills what is left when the pipe closes.
fn guard() -> io::Result<()> {
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if let Some(group) = line.strip_prefix('+').and_then(|text| text.parse::<i32>().ok()) {
            groups.insert(group);
        } else if let Some(group) = line.strip_prefix('-').and_then(|text| text.parse::<i32>().ok()) {
            groups.remove(&group);
        }
    }
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        // A group that is already empty is what everybody hopes for.
        let _gone = rustix::process::kill_process_group(group, Signal::KILL);
    }
    Ok(())
}

//! The command line: clap types, one file a subcommand, and how an outcome becomes an exit code.
//!
//! Results go to stdout, progress and logs to stderr; both are handed in, so that tests drive every command in process.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

mod bench;
mod by_checker;
mod check;
mod cluster;
mod compare;
mod completions;
mod doctor;
mod embedded;
mod exit;
mod export;
mod history;
mod image;
mod init;
mod inject;
mod list;
mod meant;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod overrides;
mod plan;
mod rbac;
mod recover;
mod report;
mod run;
mod schema;
mod selftest;
mod validate;

pub use embedded::embedded;
pub use exit::{Exit, Failure};
pub use overrides::OverrideArgs;

/// Proves, with evidence, whether SQL Server on Kubernetes keeps its promise when processes, containers, pods and nodes die.
#[derive(Debug, Parser)]
#[command(
    name = "chaos",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 pass · 1 fail · 2 inconclusive · 3 something of ours is left in the cluster · \
                  64 usage or experiment file · 69 cluster or engine not reachable · 70 bug in the harness · 130 interrupted, healed"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logging: Logging,
}

/// What can be asked of the program; one file each.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run experiments: deploy, load, inject, read back, judge.
    Run(run::Run),
    /// Check experiment files: every mistake with line, column and path.
    Validate(validate::Validate),
    /// Tell everything that a run would create and touch, and when; nothing is touched.
    Plan(plan::PlanArgs),
    /// Inject one fault, now, into a database that stands already; journalled, attested and healed.
    Inject(inject::Inject),
    /// Write the role that a run needs, and no more.
    Rbac(rbac::Rbac),
    /// Search the highest rate at which the target still answers within an objective.
    Bench(bench::Bench),
    /// Judge a recorded run again, or any history by one checker.
    Check(check::Check),
    /// Render a recorded run again, in any form.
    Report(report::ReportArgs),
    /// Compare runs with a base: is anything worse?
    Compare(compare::Compare),
    /// Show how figures went over many runs.
    History(history::History),
    /// Write a run's history for Elle, Jepsen or Porcupine.
    Export(export::Export),
    /// Undo what a killed harness left in a cluster.
    Recover(recover::Recover),
    /// Start, end and show a cluster that stands: a sandbox to point kubectl at, or one of kind or k3d.
    Cluster(cluster::Cluster),
    /// List faults, workloads, checkers and engines, each with its reach.
    List(list::List),
    /// Write the JSON Schema of experiment files, or of report.json.
    Schema(schema::Schema),
    /// Write a commented experiment to start from.
    Init(init::Init),
    /// Plant defects in the stand-in engine and show which checker finds each.
    Selftest(selftest::Selftest),
    /// Tell what works on this machine and what is missing, with the command that mends it.
    Doctor(doctor::Doctor),
    /// Write the stand-in engine as a container image, without Docker.
    Image(image::Image),
    /// Write the completions of a shell.
    Completions(completions::Completions),
}

impl Command {
    fn start<'a, 's: 'a>(self, streams: &'a mut Streams<'s>) -> Job<'a> {
        match self {
            Command::Run(command) => command.start(streams),
            Command::Bench(command) => command.start(streams),
            Command::Check(command) => Job::Done(command.run(streams)),
            Command::Report(command) => Job::Done(command.run(streams)),
            Command::Compare(command) => Job::Done(command.run(streams)),
            Command::History(command) => Job::Done(command.run(streams)),
            Command::Export(command) => Job::Done(command.run(streams)),
            Command::Recover(command) => command.start(streams),
            Command::Cluster(command) => command.start(streams),
            Command::Validate(command) => Job::Done(command.run(streams)),
            Command::Inject(command) => command.start(streams),
            Command::Rbac(command) => Job::Done(command.run(streams)),
            Command::Plan(command) => Job::Done(command.run(streams)),
            Command::List(command) => Job::Done(command.run(streams)),
            Command::Schema(command) => Job::Done(command.run(streams)),
            Command::Init(command) => Job::Done(command.run(streams)),
            Command::Selftest(command) => Job::Later(Box::pin(command.run(streams))),
            Command::Doctor(command) => Job::Later(Box::pin(command.run(streams))),
            Command::Image(command) => Job::Later(Box::pin(command.run(streams))),
            Command::Completions(command) => Job::Done(command.run(streams)),
        }
    }
}

/// Where a command writes.
pub struct Streams<'s> {
    /// Results.
    pub out: &'s mut dyn Write,
    /// Progress, logs and what went wrong.
    pub err: &'s mut dyn Write,
}

/// What a command ends with.
pub type CommandResult = Result<Exit, Failure>;

/// A command that was started. One that needs no runtime is done at once, so that none is built for it.
pub enum Job<'a> {
    /// It is done.
    Done(CommandResult),
    /// It goes on in a runtime.
    Later(Pin<Box<dyn Future<Output = CommandResult> + 'a>>),
}

/// How much is logged, to stderr.
#[derive(Debug, Args)]
struct Logging {
    /// Log more: -v what the harness does, -vv every step.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    /// Log by a filter such as `chaos=debug,kube=info` instead.
    #[arg(long, value_name = "FILTER", env = "CHAOS_LOG", hide_env = true, global = true)]
    log: Option<String>,
}

/// The form of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// Also `--help` and `--version`, which end the program: hand the error to [`usage`].
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(args)
    }

    /// Starts logging to stderr. Once a process; later calls do nothing.
    pub fn start_logging(&self) -> CommandResult {
        let filter = match (&self.logging.log, self.logging.verbose) {
            (Some(filter), _) => filter.as_str(),
            // A run breaks connections on purpose: what libraries say of that is noise unless it is asked for.
            (None, 0) => "off,chaos=warn",
            (None, 1) => "off,chaos=info",
            (None, 2) => "warn,chaos=debug,tiberius=error",
            (None, _) => "debug,chaos=trace",
        };
        let filter =
            tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| Failure::new(Exit::Usage, format!("--log: {error}")))?;
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init();
        Ok(Exit::Pass)
    }

    /// Starts the command.
    pub fn start<'a, 's: 'a>(self, streams: &'a mut Streams<'s>) -> Job<'a> {
        self.command.start(streams)
    }
}

/// Writes a value as JSON for programs, on lines of its own.
fn write_json(streams: &mut Streams<'_>, value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(Exit::Bug, format!("cannot write JSON: {error}")))?;
    Ok(writeln!(streams.out, "{text}")?)
}

/// Shows help, version or what is wrong with the command line, and tells the exit code.
pub fn usage(error: &clap::Error) -> Exit {
    // A reader that went away does not change the outcome.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Pass }
}

/// Does the work; a panic, which the standard library has told on stderr by then, becomes the exit code of a bug.
pub fn guarded(work: impl FnOnce() -> Exit) -> Exit {
    // Nothing that the work could have left half done is looked at afterwards.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(Exit::Bug)
}

/// Tells why a command failed, and the exit code of any outcome.
pub fn settle(result: CommandResult, err: &mut dyn Write) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                let _ = writeln!(err, "{}", failure.message.trim_end());
            }
            failure.exit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_panic_is_a_bug_of_ours() {
        assert_eq!(guarded(|| Exit::Fail), Exit::Fail);
        assert_eq!(guarded(|| panic!("this panic is part of a test")), Exit::Bug);
        assert_eq!(Exit::Bug.code(), 70);
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

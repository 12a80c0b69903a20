use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::experiment::{self, ClusterRef, Overrides, Plan};
use crate::model::{EventSink, LeakItem};
use crate::report::{self, Entry, Live};
use crate::run::{self, Finished, Keep, Options, RunError};

use super::meant::Meant;
use super::metrics::{Shared, serve};
use super::{CommandResult, Exit, Failure, Job, Output, OverrideArgs, Streams};

/// The default folder of runs.
pub(super) const REPORTS: &str = "reports";

/// Runs experiments to their verdicts.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Experiment files, or folders whose `.yaml` files are taken in the order of their names; run one after the other, and the worst verdict wins.
    /// Several runs also get index.html and junit.xml in the folder of reports.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Run each experiment this often, for `chaos compare` and for what happens only now and then.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    repeat: u32,
    /// Leave out what is left when a run does not pass.
    #[arg(long)]
    fail_fast: bool,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// The folder that gets a folder for each run.
    #[arg(long, value_name = "DIR", default_value = REPORTS)]
    reports: PathBuf,
    /// Leave the target in the cluster.
    #[arg(long, conflicts_with = "keep_on_failure")]
    keep: bool,
    /// Leave the target of a run that does not pass in the cluster, for a look.
    #[arg(long)]
    keep_on_failure: bool,
    #[command(flatten)]
    meant: Meant,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Serve live figures as Prometheus text at this address, such as 127.0.0.1:9464; port 0 takes a free one. The path is /metrics.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Send each run as a trace to an OpenTelemetry collector, such as http://127.0.0.1:4318; one that does not take it changes no verdict.
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    otlp: Option<super::otlp::Collector>,
    /// No progress on stderr.
    #[arg(short, long)]
    quiet: bool,
}

impl Run {
    /// Every file is read before the first run, so that a mistake in the last one costs nothing.
    pub fn start<'a>(self, streams: &'a mut Streams<'_>) -> Job<'a> {
        let overrides = Overrides::from(self.overrides.clone());
        let mut plans = Vec::new();
        let mut wrong = String::new();
        for file in &files_of(&self.files, &mut wrong) {
            match experiment::load_with(file, &overrides) {
                Ok(plan) => plans.push(plan),
                Err(mistakes) => wrong.push_str(&mistakes.to_string()),
            }
        }
        if !wrong.is_empty() {
            return Job::Done(Err(Failure::new(Exit::Usage, wrong)));
        }
        if let Err(failure) = self.meant.check(plans.iter().filter_map(|plan| plan.cluster.as_ref())) {
            return Job::Done(Err(failure));
        }
        let ends_with_run = |plan: &&Plan| matches!(plan.cluster, None | Some(ClusterRef::Sandbox(None)));
        if (self.keep || self.keep_on_failure)
            && let Some(plan) = plans.iter().find(ends_with_run)
        {
            let message = format!(
                "{}: the sandbox of a run ends with it, so nothing of it can be kept; use one that stands:\n  chaos cluster up sandbox:NAME, and --cluster sandbox:NAME",
                plan.name
            );
            return Job::Done(Err(Failure::new(Exit::Usage, message)));
        }
        Job::Later(Box::pin(self.run(plans, streams)))
    }

    async fn run(self, plans: Vec<Plan>, streams: &mut Streams<'_>) -> CommandResult {
        let cancel = CancellationToken::new();
        let signals = tokio::spawn(cancel_on_signal(cancel.clone()));
        let metrics = Shared::default();
        let server = match self.metrics {
            Some(address) => {
                let (address, server) = serve(address, metrics.clone())
                    .await
                    .map_err(|error| Failure::unavailable(format!("--metrics {address}: cannot listen: {error}")))?;
                writeln!(streams.err, "metrics: http://{address}/metrics")?;
                Some(server)
            }
            None => None,
        };
        let repeat = self.repeat as usize;
        let mut worst = Exit::Pass;
        let mut entries = Vec::new();
        let turns: Vec<&Plan> = plans.iter().flat_map(|plan| std::iter::repeat_n(plan, repeat)).collect();
        for plan in &turns {
            let (exit, entry) = self.one(plan, &metrics, &cancel, streams).await?;
            worst = worse(worst, exit);
            entries.push(entry);
            if cancel.is_cancelled() || (self.fail_fast && exit != Exit::Pass) {
                break;
            }
        }
        signals.abort();
        if let Some(server) = server {
            server.abort();
        }
        if turns.len() > 1 {
            let left_out: Vec<String> = turns[entries.len()..].iter().map(|plan| plan.name.clone()).collect();
            self.together(&entries, &left_out, streams)?;
        }
        Ok(worst)
    }

    /// Writes the page and the JUnit file of several runs.
    fn together(&self, entries: &[Entry], left_out: &[String], streams: &mut Streams<'_>) -> Result<(), Failure> {
        let page = self.reports.join("index.html");
        let junit = self.reports.join("junit.xml");
        let reports = entries.iter().filter_map(|entry| entry.report.as_ref());
        report::replace(&page, report::index(entries, left_out).as_bytes())
            .and_then(|()| report::replace(&junit, report::junit_of(reports).as_bytes()))
            .map_err(|error| Failure::unavailable(format!("{}: cannot be written: {error}", self.reports.display())))?;
        if self.output == Output::Text {
            writeln!(streams.out, "\n{} runs, {} left out: {}", entries.len(), left_out.len(), page.display())?;
        }
        Ok(())
    }

    async fn one(
        &self,
        plan: &Plan,
        metrics: &Shared,
        cancel: &CancellationToken,
        streams: &mut Streams<'_>,
    ) -> Result<(Exit, Entry), Failure> {
        let cluster = plan.cluster.clone().unwrap_or(ClusterRef::Sandbox(None));
        let keep = match (self.keep, self.keep_on_failure) {
            (true, _) => Keep::Always,
            (_, true) => Keep::OnFailure,
            _ => Keep::Never,
        };
        let mut sinks: Vec<Box<dyn EventSink + Send>> = Vec::new();
        if !self.quiet {
            sinks.push(Box::new(live(plan)));
        }
        if self.metrics.is_some() {
            sinks.push(Box::new(metrics.clone()));
        }
        let live = (!sinks.is_empty()).then(|| Box::new(sinks) as Box<_>);
        let options = Options { reports: self.reports.clone(), cluster, keep, live };
        match run::run(plan, options, cancel.clone()).await {
            Ok(finished) => {
                let exit = self.tell(&finished, streams)?;
                #[cfg(feature = "otlp")]
                self.export(&finished, streams).await?;
                let folder = finished.folder.file_name().map(|name| name.to_string_lossy().into_owned());
                let error = finished.error.as_ref().map(|error| run::with_causes(error));
                Ok((exit, Entry { experiment: plan.name.clone(), folder, report: finished.report, error }))
            }
            Err(error) => {
                tell_error(&error, streams)?;
                let why = Some(run::with_causes(&error));
                Ok((exit_of_error(&error), Entry { experiment: plan.name.clone(), folder: None, report: None, error: why }))
            }
        }
    }

    #[cfg(feature = "otlp")]
    async fn export(&self, finished: &Finished, streams: &mut Streams<'_>) -> Result<(), Failure> {
        if let (Some(collector), Some(trace)) = (&self.otlp, finished.report.as_ref().and_then(report::trace))
            && let Err(error) = collector.send(&trace).await
        {
            writeln!(streams.err, "--otlp: the trace of {} was not taken: {error}", finished.folder.display())?;
        }
        Ok(())
    }

    fn tell(&self, finished: &Finished, streams: &mut Streams<'_>) -> CommandResult {
        if let Some(error) = &finished.error {
            tell_error(error, streams)?;
        }
        if let Some(report) = &finished.report {
            match self.output {
                Output::Text => {
                    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                    write!(streams.out, "{}", report::terminal(report, 80, colour))?;
                    writeln!(streams.out, "\nfolder: {}", finished.folder.display())?;
                }
                Output::Json => {
                    serde_json::to_writer(&mut *streams.out, report).map_err(std::io::Error::from)?;
                    writeln!(streams.out)?;
                }
            }
        }
        tell_left(&finished.left, streams)?;
        Ok(exit_of(finished))
    }
}

/// The experiment files that were named, folders replaced by what is in them.
fn files_of(named: &[PathBuf], wrong: &mut String) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries =
            std::fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>());
        let mut found: Vec<PathBuf> = match entries {
            Ok(entries) => entries.into_iter().filter(|file| file.extension().is_some_and(|e| e == "yaml" || e == "yml")).collect(),
            Err(error) => {
                wrong.push_str(&format!("{}: {error}\n", path.display()));
                continue;
            }
        };
        if found.is_empty() {
            wrong.push_str(&format!("{}: no .yaml file in this folder\n", path.display()));
        }
        found.sort();
        files.append(&mut found);
    }
    files
}

/// Who shows progress on stderr.
pub(super) fn live(plan: &Plan) -> Live<std::io::Stderr> {
    Live::new(std::io::stderr(), terminal_width(), plan)
}

/// The width of the terminal on stderr; none where it is not one.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    Some(usize::from(size.ws_col).clamp(40, 200))
}

/// The exit code of a run that created its folder.
fn exit_of(finished: &Finished) -> Exit {
    if !finished.left.is_empty() {
        return Exit::LeftBehind;
    }
    let judged = finished.report.as_ref().map(|report| Exit::from(report.outcome()));
    match (&finished.error, judged) {
        (None, Some(exit)) => exit,
        (None, None) => Exit::Bug,
        (Some(error), judged) => match (exit_of_error(error), judged) {
            // The target did not come back after a fault: that is what the run was to find out, so the verdict stands.
            (Exit::Unavailable, Some(exit)) if finished.faults_began => worse(exit, Exit::Inconclusive),
            (exit, _) => exit,
        },
    }
}

pub(super) fn exit_of_error(error: &RunError) -> Exit {
    match error {
        RunError::Interrupted => Exit::Interrupted,
        RunError::Fault(_) => Exit::LeftBehind,
        RunError::Refused(_) => Exit::Inconclusive,
        RunError::Statement(_) => Exit::Usage,
        RunError::Bug(_) => Exit::Bug,
        RunError::Cluster(_) | RunError::Target(_) | RunError::NotSeen(_) | RunError::Engine(_) | RunError::Folder(_) => Exit::Unavailable,
    }
}

/// Tells why nothing was run, and the exit code of that.
pub(super) fn not_begun(error: &RunError, streams: &mut Streams<'_>) -> CommandResult {
    tell_error(error, streams)?;
    Ok(exit_of_error(error))
}

pub(super) fn tell_error(error: &RunError, streams: &mut Streams<'_>) -> Result<(), Failure> {
    writeln!(streams.err, "error: {}", run::with_causes(error))?;
    if let Some(hint) = error.hint() {
        writeln!(streams.err, "  try: {hint}")?;
    }
    Ok(())
}

pub(super) fn tell_left(left: &[LeakItem], streams: &mut Streams<'_>) -> Result<(), Failure> {
    for item in left {
        writeln!(streams.err, "left in the cluster: {}; remove it with: {}", item.what, item.mend)?;
    }
    Ok(())
}

/// The one that a pipeline must hear of. What is left in a cluster outranks every verdict, a failure outranks not knowing.
fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Pass => 0,
        Exit::Inconclusive => 1,
        Exit::Fail => 2,
        Exit::Usage => 3,
        Exit::Unavailable => 4,
        Exit::Bug => 5,
        Exit::Interrupted => 6,
        Exit::LeftBehind => 7,
    };
    if rank(one) >= rank(other) { one } else { other }
}

/// The first signal asks the run to end; it heals and reports. Later ones are told that this takes its time.
pub(super) async fn cancel_on_signal(cancel: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let message = if cancel.is_cancelled() {
            "still healing; if you must kill this process, run `chaos recover` afterwards"
        } else {
            "interrupted: healing, then reporting what was measured"
        };
        let _ = writeln!(std::io::stderr(), "{message}");
        cancel.cancel();
    }
}

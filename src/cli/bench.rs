use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::experiment::{self, ClusterRef, Overrides, Plan};
use crate::measure::{Answer, Objective};
use crate::model::{parse_duration, parse_rate};
use crate::report;
use crate::run::{self, Benched, Question};

use super::meant::Meant;
use super::run::{REPORTS, cancel_on_signal, exit_of_error, live, not_begun, tell_error, tell_left};
use super::{CommandResult, Exit, Failure, Job, Output, OverrideArgs, Streams, write_json};

/// The shortest step: in less, neither a percentile nor a backlog means anything.
const STEP_MIN: Duration = Duration::from_secs(1);

/// Searches the highest rate at which the target of an experiment still answers within an objective, without faults.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 a rate was found · 1 not even the lowest rate was carried · 2 the harness was too slow to tell")]
pub(super) struct Bench {
    /// The experiment file: its target, workload and number of clients; its faults and its rate are left out.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// What must hold: a percentile of the response time, from when an op was due, or max. Ops that fail count as slower than all.
    #[arg(long, value_name = "pN=TIME", default_value = "p99=50ms")]
    objective: Objective,
    /// The lowest rate.
    #[arg(long, value_name = "RATE", default_value = "10/s", value_parser = rate)]
    from: f64,
    /// The highest rate.
    #[arg(long, value_name = "RATE", default_value = "10000/s", value_parser = rate)]
    to: f64,
    /// How long each rate is held.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    step_for: Duration,
    /// How close the answer must come, in percent of it.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    precision: u8,
    /// The folder that gets a folder for the search.
    #[arg(long, value_name = "DIR", default_value = REPORTS)]
    reports: PathBuf,
    #[command(flatten)]
    meant: Meant,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// No progress on stderr.
    #[arg(short, long)]
    quiet: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match parse_rate(text) {
        Ok(rate) if rate.per_second > 0.0 => Ok(rate.per_second),
        Ok(_) => Err(format!("`{text}` is no load, expected a rate above 0 such as 10/s")),
        Err(error) => Err(error.to_string()),
    }
}

impl Bench {
    /// Everything that can be wrong is looked at before anything is touched.
    pub fn start<'a>(self, streams: &'a mut Streams<'_>) -> Job<'a> {
        match self.plan() {
            Ok(plan) => Job::Later(Box::pin(self.run(plan, streams))),
            Err(failure) => Job::Done(Err(failure)),
        }
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let plan = experiment::load_with(&self.file, &Overrides::from(self.overrides.clone()))?;
        if self.from > self.to {
            return Err(Failure::new(Exit::Usage, format!("--from {}/s is above --to {}/s", self.from, self.to)));
        }
        if self.step_for < STEP_MIN {
            return Err(Failure::new(Exit::Usage, "--step-for is too short, expected 1s at the least"));
        }
        self.meant.check(plan.cluster.as_ref())?;
        Ok(plan)
    }

    async fn run(self, plan: Plan, streams: &mut Streams<'_>) -> CommandResult {
        let cancel = CancellationToken::new();
        let signals = tokio::spawn(cancel_on_signal(cancel.clone()));
        let question = Question {
            objective: self.objective,
            from: self.from,
            to: self.to,
            precision: f64::from(self.precision) / 100.0,
            step_for: self.step_for,
        };
        let options = run::Options {
            reports: self.reports.clone(),
            cluster: plan.cluster.clone().unwrap_or(ClusterRef::Sandbox(None)),
            keep: run::Keep::Never,
            live: (!self.quiet).then(|| Box::new(live(&plan)) as Box<_>),
        };
        let benched = run::bench(&plan, options, &question, cancel).await;
        signals.abort();
        match benched {
            Ok(benched) => self.tell(&benched, streams),
            Err(error) => not_begun(&error, streams),
        }
    }

    fn tell(&self, benched: &Benched, streams: &mut Streams<'_>) -> CommandResult {
        if let Some(error) = &benched.error {
            tell_error(error, streams)?;
        }
        match self.output {
            Output::Text => {
                write!(streams.out, "{}", report::capacity_text(&benched.capacity, 80))?;
                writeln!(streams.out, "\nfolder: {}", benched.folder.display())?;
            }
            Output::Json => write_json(streams, &benched.capacity)?,
        }
        tell_left(&benched.left, streams)?;
        Ok(match (&benched.error, benched.capacity.answer) {
            _ if !benched.left.is_empty() => Exit::LeftBehind,
            (Some(error), _) => exit_of_error(error),
            (None, Answer::Between { .. } | Answer::AtLeast { .. }) => Exit::Pass,
            (None, Answer::Below { .. }) => Exit::Fail,
            (None, Answer::Undecided { .. }) => Exit::Inconclusive,
        })
    }
}

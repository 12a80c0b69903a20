use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::experiment::{self, BlastRadius, ClusterRef, ExistingTarget, FaultSpec, Tls};
use crate::model::{format_duration, parse_duration};
use crate::run::{self, InjectOptions, Injected};

use super::meant::Meant;
use super::overrides::words;
use super::run::{REPORTS, cancel_on_signal, not_begun};
use super::{CommandResult, Exit, Failure, Job, Output, Streams, write_json};

/// Injects one fault into a database that stands already.
#[derive(Debug, Args)]
#[command(after_help = "`chaos list faults` tells what there is. A fault that was left with --no-heal is undone by `chaos recover`.")]
pub(super) struct Inject {
    /// The fault, such as pod-kill.
    fault: String,
    /// A parameter of the fault, such as grace=0s.
    #[arg(value_name = "KEY=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Where: sandbox:NAME, kind[:NAME], k3d[:NAME] or context:NAME.
    #[arg(long, value_name = "WHERE")]
    cluster: ClusterRef,
    /// The namespace of the database.
    #[arg(short, long)]
    namespace: String,
    /// Its Service: the pods behind it are the target.
    #[arg(long, default_value = "mssql")]
    service: String,
    /// The Secret with its password, for faults whose witness is a login.
    #[arg(long, default_value = "mssql-sa")]
    secret: String,
    /// The key in that Secret.
    #[arg(long, default_value = "password")]
    secret_key: String,
    /// The login.
    #[arg(long, default_value = "sa")]
    user: String,
    /// Whether connections are encrypted.
    #[arg(long, value_parser = words::<Tls>(), default_value = "off")]
    tls: Tls,
    /// How many nodes may be cordoned or not ready at once.
    #[arg(long, value_name = "NODES", default_value_t = BlastRadius::default().max_unavailable_nodes, value_parser = clap::value_parser!(u32).range(1..))]
    max_unavailable_nodes: u32,
    /// The control-plane node that may be hit all the same.
    #[arg(long, value_name = "NODE")]
    control_plane_node: Option<String>,
    /// With --cluster context:NAME: the image of a privileged pod that reaches the node for faults that need it, any with a `chroot`.
    #[arg(long, value_name = "IMAGE")]
    node_access: Option<String>,
    /// How long recovery is awaited.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = |text: &str| parse_duration(text).map_err(|error| error.to_string()))]
    recover_within: Duration,
    /// Leave the fault in place; `chaos recover` undoes it later.
    #[arg(long)]
    no_heal: bool,
    /// The folder that gets a folder with the journal.
    #[arg(long, value_name = "DIR", default_value = REPORTS)]
    reports: PathBuf,
    #[command(flatten)]
    meant: Meant,
    /// The form of the result on stdout.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE, such as grace=0s"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The result for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    fault: &'a str,
    target: &'a crate::model::FaultTarget,
    injected_after_ms: f64,
    attested: bool,
    evidence: &'a [String],
    recovered: Option<bool>,
    recovered_after_ms: Option<f64>,
    healed: Option<&'a str>,
    journal: String,
}

impl Inject {
    /// What is wrong with the command line is told before anything is asked of a cluster.
    pub fn start<'a>(self, streams: &'a mut Streams<'_>) -> Job<'a> {
        let spec = experiment::fault_spec(&self.fault, &self.parameters).map_err(|wrong| Failure::new(Exit::Usage, wrong.join("\n")));
        let own = self.cluster == ClusterRef::Sandbox(None);
        let standing = if own {
            Err(Failure::new(Exit::Usage, "the sandbox of a run ends with it; name one that stands: sandbox:NAME"))
        } else {
            Ok(())
        };
        match spec.and_then(|spec| standing.and_then(|()| self.meant.check([&self.cluster])).map(|()| spec)) {
            Ok(spec) => Job::Later(Box::pin(self.run(spec, streams))),
            Err(failure) => Job::Done(Err(failure)),
        }
    }

    async fn run(self, spec: FaultSpec, streams: &mut Streams<'_>) -> CommandResult {
        let cancel = CancellationToken::new();
        let signals = tokio::spawn(cancel_on_signal(cancel.clone()));
        let options = InjectOptions {
            reports: self.reports.clone(),
            cluster: self.cluster.clone(),
            target: ExistingTarget {
                namespace: self.namespace.clone(),
                service: self.service.clone(),
                secret: self.secret.clone(),
                secret_key: self.secret_key.clone(),
                user: self.user.clone(),
            },
            spec,
            blast_radius: BlastRadius {
                max_unavailable_nodes: self.max_unavailable_nodes,
                control_plane_node: self.control_plane_node.clone(),
            },
            tls: self.tls,
            node_access: self.node_access.clone(),
            recover_within: self.recover_within,
            heal: !self.no_heal,
        };
        let injected = run::inject(options, cancel).await;
        signals.abort();
        match injected {
            Ok(injected) => self.tell(&injected, streams),
            Err(error) => not_begun(&error, streams),
        }
    }

    fn tell(&self, injected: &Injected, streams: &mut Streams<'_>) -> CommandResult {
        match self.output {
            Output::Json => write_json(streams, &self.told(injected))?,
            Output::Text => self.text(injected, streams)?,
        }
        if injected.healed.is_none() {
            writeln!(streams.err, "the fault was left in place; undo it with: chaos recover --reports {}", self.reports.display())?;
        }
        Ok(match injected {
            Injected { interrupted: true, .. } => Exit::Interrupted,
            Injected { recovered: Some(Err(_)), .. } => Exit::Fail,
            Injected { attested: false, .. } => Exit::Inconclusive,
            _ => Exit::Pass,
        })
    }

    fn told<'a>(&'a self, injected: &'a Injected) -> Told<'a> {
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        Told {
            fault: &self.fault,
            target: &injected.target,
            injected_after_ms: ms(injected.injected_after),
            attested: injected.attested,
            evidence: &injected.evidence,
            recovered: injected.recovered.as_ref().map(Result::is_ok),
            recovered_after_ms: injected.recovered.as_ref().and_then(|recovered| recovered.as_ref().ok().copied()).map(ms),
            healed: injected.healed.as_deref(),
            journal: injected.folder.join(crate::fault::journal::FILE).display().to_string(),
        }
    }

    fn text(&self, injected: &Injected, streams: &mut Streams<'_>) -> std::io::Result<()> {
        let target = &injected.target;
        writeln!(streams.out, "{} on {} {} (uid {})", self.fault, target.kind, target.name, target.uid)?;
        let after = format_duration(Duration::from_millis(u64::try_from(injected.injected_after.as_millis()).unwrap_or(u64::MAX)));
        writeln!(streams.out, "  injected   {after} after the start")?;
        let attested = if injected.attested { "attested " } else { "NOT seen " };
        for line in &injected.evidence {
            writeln!(streams.out, "  {attested}  {line}")?;
        }
        match &injected.recovered {
            Some(Ok(after)) => {
                writeln!(streams.out, "  recovered  a ready pod is behind the Service {:.2} s after the injection", after.as_secs_f64())?
            }
            Some(Err(seen)) => writeln!(streams.out, "  NOT recovered: {seen}")?,
            None => {}
        }
        if let Some(healed) = &injected.healed {
            writeln!(streams.out, "  healed     {healed}")?;
        }
        writeln!(streams.out, "folder: {}", injected.folder.display())
    }
}

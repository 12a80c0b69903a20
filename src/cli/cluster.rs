use clap::{Args, Subcommand};

use crate::cluster::{self, ClusterError, ClusterProvider, Standing, StandingState};
use crate::experiment::ClusterRef;
use crate::run;

use super::{CommandResult, Exit, Failure, Job, Streams};

/// Starts, ends and shows standing clusters.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a cluster that stays until `chaos cluster down`, and tell how to point kubectl at it.
    Up(Which),
    /// End a cluster and everything in it.
    Down(Which),
    /// Show whether it stands, and how to point kubectl at it.
    Status(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// sandbox[:NAME], kind[:NAME] or k3d[:NAME].
    #[arg(value_name = "WHERE", default_value = "sandbox")]
    cluster: ClusterRef,
}

impl Cluster {
    pub fn start<'a>(self, streams: &'a mut Streams<'_>) -> Job<'a> {
        Job::Later(Box::pin(self.run(streams)))
    }

    async fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let (Action::Up(which) | Action::Down(which) | Action::Status(which)) = &self.action;
        match which.cluster.clone() {
            ClusterRef::Sandbox(name) => {
                let standing = Standing::named(name.unwrap_or_else(|| "default".to_owned()));
                self.sandbox(&standing, streams).await.unwrap_or_else(|error| Err(unavailable(&error)))
            }
            ClusterRef::Context(context) => Err(Failure::new(
                Exit::Usage,
                format!("the cluster of the context `{context}` is somebody else's: it is neither started nor ended by chaos"),
            )),
            reference => {
                let provider = cluster::provider(&reference, None).map_err(|error| unavailable(&error))?;
                self.made(provider.as_ref(), streams).await.unwrap_or_else(|error| Err(unavailable(&error)))
            }
        }
    }

    async fn sandbox(&self, standing: &Standing, streams: &mut Streams<'_>) -> Result<CommandResult, ClusterError> {
        Ok(match self.action {
            Action::Up(_) => tell(standing, &standing.up().await?, streams),
            Action::Status(_) => tell(standing, &standing.state(), streams),
            Action::Down(_) => {
                let was = standing.down().await?;
                said(streams, Exit::Pass, &format!("sandbox {} {}", standing.name(), if was { "is down" } else { "was not up" }))
            }
        })
    }

    /// A kind or k3d cluster.
    async fn made(&self, provider: &dyn ClusterProvider, streams: &mut Streams<'_>) -> Result<CommandResult, ClusterError> {
        let kind = provider.provider().word();
        let reference = format!("{kind}:{}", provider.name());
        let missing = provider.is_missing().await?;
        let up = format!(
            "{reference} is up\nkubectl: {}\nchaos run FILE --cluster {reference}",
            match kind {
                "kind" => format!("kind export kubeconfig --name {}", provider.name()),
                _ => format!("k3d kubeconfig merge {} --kubeconfig-merge-default", provider.name()),
            }
        );
        Ok(match self.action {
            Action::Up(_) => {
                if missing {
                    provider.create().await?;
                }
                said(streams, Exit::Pass, &up)
            }
            Action::Down(_) if missing => said(streams, Exit::Pass, &format!("{reference} was not up")),
            Action::Down(_) => {
                provider.delete().await?;
                said(streams, Exit::Pass, &format!("{reference} is down"))
            }
            Action::Status(_) if missing => {
                said(streams, Exit::Unavailable, &format!("{reference} is not up; start it with: chaos cluster up {reference}"))
            }
            Action::Status(_) => said(streams, Exit::Pass, &up),
        })
    }
}

fn unavailable(error: &ClusterError) -> Failure {
    let hint = error.hint().map(|hint| format!("\n  try: {hint}")).unwrap_or_default();
    Failure::unavailable(format!("{}{hint}", run::with_causes(error)))
}

fn said(streams: &mut Streams<'_>, exit: Exit, text: &str) -> CommandResult {
    writeln!(streams.out, "{text}")?;
    Ok(exit)
}

/// Says where it is. A cluster that is not there is exit 69, so that a script can ask.
fn tell(standing: &Standing, state: &StandingState, streams: &mut Streams<'_>) -> CommandResult {
    match state {
        StandingState::Running { pid, kubeconfig, server } => {
            writeln!(streams.out, "sandbox {} is up: {server} (process {pid})", standing.name())?;
            writeln!(streams.out, "export KUBECONFIG={}", kubeconfig.display())?;
            writeln!(streams.out, "chaos run FILE --cluster sandbox:{}", standing.name())?;
            Ok(Exit::Pass)
        }
        StandingState::Gone => {
            writeln!(streams.out, "sandbox {} is not up; start it with: chaos cluster up sandbox:{}", standing.name(), standing.name())?;
            Ok(Exit::Unavailable)
        }
    }
}

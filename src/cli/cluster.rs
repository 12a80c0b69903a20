use clap::{Args, Subcommand};

use crate::cluster::{Standing, StandingState};
use crate::experiment::ClusterRef;

use super::{CommandResult, Exit, Failure, Job, Streams};

/// Starts, ends and shows standing clusters.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a sandbox that stays until `chaos cluster down`, and print the path of its kubeconfig.
    Up(Which),
    /// End a standing sandbox and remove its files.
    Down(Which),
    /// Show whether it stands, and how to point kubectl at it.
    Status(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// sandbox or sandbox:NAME.
    #[arg(value_name = "WHERE", default_value = "sandbox")]
    cluster: ClusterRef,
}

impl Which {
    fn standing(self) -> Result<Standing, Failure> {
        match self.cluster {
            ClusterRef::Sandbox(name) => Ok(Standing::named(name.unwrap_or_else(|| "default".to_owned()))),
            other => Err(Failure::new(
                Exit::Usage,
                format!(
                    "`{other}` is not started or ended by chaos; use its own program, such as: kind create cluster --config kind-config/kind.yaml"
                ),
            )),
        }
    }
}

impl Cluster {
    pub fn start<'a>(self, streams: &'a mut Streams<'_>) -> Job<'a> {
        Job::Later(Box::pin(self.run(streams)))
    }

    async fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let unavailable = |error: crate::cluster::ClusterError| Failure::unavailable(error);
        match self.action {
            Action::Up(which) => {
                let standing = which.standing()?;
                let state = standing.up().await.map_err(unavailable)?;
                tell(&standing, &state, streams)
            }
            Action::Down(which) => {
                let standing = which.standing()?;
                let was = standing.down().await.map_err(unavailable)?;
                writeln!(streams.out, "sandbox {} {}", standing.name(), if was { "is down" } else { "was not up" })?;
                Ok(Exit::Pass)
            }
            Action::Status(which) => {
                let standing = which.standing()?;
                tell(&standing, &standing.state(), streams)
            }
        }
    }
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

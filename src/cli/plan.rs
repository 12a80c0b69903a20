use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cluster::{self, ClusterProvider, NodeAccess};
use crate::experiment::{self, ClusterRef, Overrides, Plan};
use crate::fault;

use super::{CommandResult, Exit, Output, OverrideArgs, Streams, write_json};

/// Tells what a run would create and touch.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The experiment file.
    file: PathBuf,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// The provider as a run would have it; a name stands for the namespace that only a run makes.
fn provider(cluster: &ClusterRef, plan: &Plan) -> Option<Arc<dyn ClusterProvider>> {
    let access = plan.node_access.clone().map(|image| NodeAccess { image, namespace: String::new() });
    cluster::provider(cluster, access).ok()
}

impl PlanArgs {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let mut plan = experiment::load_with(&self.file, &Overrides::from(self.overrides))?;
        plan.cluster.get_or_insert(ClusterRef::Sandbox(None));
        let mut outline = experiment::outline(&plan);
        if let Some(provider) = plan.cluster.as_ref().and_then(|cluster| provider(cluster, &plan)) {
            let refused = fault::refusals(plan.faults.iter().map(|fault| (fault.id.as_str(), &fault.spec)), provider.capabilities());
            outline.cautions.splice(0..0, refused.into_iter().map(|why| format!("the run will be refused: {why}")));
        }
        if let Some(cluster @ (ClusterRef::Kind(_) | ClusterRef::K3d(_))) = &plan.cluster {
            outline.cautions.push(format!("{cluster}: where it does not stand, the run makes the whole cluster and deletes it in the end"));
        }
        match self.output {
            Output::Text => write!(streams.out, "{outline}")?,
            Output::Json => write_json(streams, &outline)?,
        }
        Ok(Exit::Pass)
    }
}

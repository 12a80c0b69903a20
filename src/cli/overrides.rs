use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::experiment::{ClusterRef, Engine, Named, Overrides};

/// What the command line decides in place of the experiment file.
#[derive(Debug, Clone, Default, Args)]
pub struct OverrideArgs {
    /// Where it runs: sandbox, kind[:NAME], k3d[:NAME] or context:NAME [default: the file's `cluster`, else sandbox].
    #[arg(long, value_name = "WHERE")]
    cluster: Option<ClusterRef>,
    /// The SQL server under test, in place of the file's.
    #[arg(long, value_parser = words::<Engine>())]
    engine: Option<Engine>,
    /// The seed of everything that is random, in place of the file's.
    #[arg(long)]
    seed: Option<u64>,
}

impl From<OverrideArgs> for Overrides {
    fn from(args: OverrideArgs) -> Self {
        Overrides { engine: args.engine, cluster: args.cluster, seed: args.seed }
    }
}

/// A parser for the words of a type, which help and completions list.
pub(super) fn words<T: Named + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().map(|choice| PossibleValue::new(choice.id()).help(choice.meaning()));
    PossibleValuesParser::new(values).map(|word| T::named(&word).expect("clap accepts only the words of the type"))
}

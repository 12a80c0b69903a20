//! The experiment file: reading with every mistake at once, validation into a plan, writing it as resolved, JSON Schema.
//!
//! Parsing knows nothing of the environment: the same text gives the same plan everywhere.

use std::io::Read;
use std::path::Path;

pub mod catalogue;
mod faults;
mod form;
mod mistake;
mod names;
mod outline;
mod own_sql;
mod plan;
mod reader;
mod resolve;
mod schema;
mod write;
mod yaml;

pub use mistake::{At, Mistake, Mistakes};
pub use names::Named;
pub use outline::{Created, Injection, Outline, cautions, outline};
pub use own_sql::{OwnCheck, OwnSql, Returns, Statement};
pub use plan::{
    AccessMode, BlastRadius, Cache, ClusterRef, Controller, Engine, ExistingPlan, ExistingTarget, Expect, FaultSpec, Grace, Pace, Plan,
    PlannedFault, ReconnectTarget, Sabotage, SandboxSabotage, ServiceAccess, Step, Storage, TargetPlan, Tls, Touch, WorkloadKind,
    WorkloadPlan,
};
pub use resolve::fault_spec;
pub use schema::schema;
#[cfg(test)]
pub(crate) use schema::tests::conforms;
pub use write::{hash, to_yaml};

/// The largest file that is read: far more than any experiment, far less than what would hurt.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the command line decides in place of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The SQL server under test.
    pub engine: Option<Engine>,
    /// Where the cluster comes from.
    pub cluster: Option<ClusterRef>,
    /// The seed.
    pub seed: Option<u64>,
}

/// Reads and validates an experiment file.
///
/// # Errors
/// Everything that is wrong with it at once: unreadable, too large, not UTF-8, not YAML, not an experiment.
pub fn load(path: &Path) -> Result<Plan, Mistakes> {
    load_with(path, &Overrides::default())
}

/// Reads and validates an experiment file, with what the command line decides in its place.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, overrides: &Overrides) -> Result<Plan, Mistakes> {
    let name = path.display().to_string();
    let text = read(path, &name)?;
    parse_with(&name, &text, overrides)
}

/// Validates an experiment that was read already; `source_name` is what messages call it.
///
/// # Errors
/// Everything that is wrong with it at once.
pub fn parse(source_name: &str, text: &str) -> Result<Plan, Mistakes> {
    parse_with(source_name, text, &Overrides::default())
}

/// [`parse`] with what the command line decides in place of the file.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(source_name: &str, text: &str, overrides: &Overrides) -> Result<Plan, Mistakes> {
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(too_large(source_name));
    }
    let mut mistakes = Vec::new();
    let root = yaml::read(text, &mut mistakes);
    let plan = root.map(|root| resolve::plan(&root, overrides));
    match plan {
        Some(Ok(plan)) if mistakes.is_empty() => Ok(plan),
        Some(Err(more)) => {
            mistakes.extend(more);
            Err(Mistakes::new(source_name, text, mistakes))
        }
        _ => Err(Mistakes::new(source_name, text, mistakes)),
    }
}

fn too_large(name: &str) -> Mistakes {
    Mistakes::whole(name, None, "is larger than 1 MiB, expected an experiment".to_owned())
}

/// Reads no more than is allowed, also from a pipe or a device that never ends.
fn read(path: &Path, name: &str) -> Result<String, Mistakes> {
    let unreadable = |error: std::io::Error| Mistakes::whole(name, None, format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(too_large(name));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let valid = String::from_utf8_lossy(valid);
        let last = valid.rsplit('\n').next().unwrap_or_default();
        let at = At { line: valid.matches('\n').count() + 1, column: last.chars().count() + 1 };
        Mistakes::whole(name, Some(at), "not UTF-8, expected a text file".to_owned())
    })
}

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::experiment::{self, Overrides, Plan};
use crate::run;

use super::{CommandResult, Exit, OverrideArgs, Streams};

/// Writes the role that a run needs, and no more.
#[derive(Debug, Args)]
pub(super) struct Rbac {
    /// The experiment file.
    file: PathBuf,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// Also write this service account and bind the role to it.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: Option<ServiceAccount>,
}

/// Whom the role is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ServiceAccount {
    namespace: String,
    name: String,
}

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |part: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !part.is_empty() && part.len() <= 63 && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
        };
        match text.split_once('/') {
            Some((namespace, name)) if label(namespace) && label(name) => {
                Ok(ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("expected NAMESPACE/NAME, such as chaos-system/chaos".to_owned()),
        }
    }
}

impl Rbac {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let plan = experiment::load_with(&self.file, &Overrides::from(self.overrides))?;
        write!(streams.out, "{}", role(&plan))?;
        if let Some(account) = &self.service_account {
            write!(streams.out, "{}", binding(&plan, account))?;
        }
        Ok(Exit::Pass)
    }
}

/// A ClusterRole: the namespace of a run does not exist before the run, so that no Role can be in it.
fn role(plan: &Plan) -> String {
    format!(
        "# What a run of the experiment {name} asks of the API server, and no more. Its namespace is made for it, so a Role cannot be in it.\n\
         # Actions on containers and nodes beside the API (kind, k3d) need Docker, not RBAC.\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: chaos-{name}\n{rules}",
        name = plan.name,
        rules = run::permissions(plan).rules(),
    )
}

fn binding(plan: &Plan, account: &ServiceAccount) -> String {
    let ServiceAccount { namespace, name } = account;
    format!(
        "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: chaos-{experiment}\n\
         roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: chaos-{experiment}\n\
         subjects:\n  - kind: ServiceAccount\n    name: {name}\n    namespace: {namespace}\n",
        experiment = plan.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_is_two_labels() {
        let account = "chaos-system/chaos".parse();
        assert_eq!(account, Ok(ServiceAccount { namespace: "chaos-system".to_owned(), name: "chaos".to_owned() }));
        for wrong in ["chaos", "a/b/c", "/b", "a/", "A/b", "a/b\nc"] {
            assert!(wrong.parse::<ServiceAccount>().is_err(), "{wrong:?}");
        }
    }
}

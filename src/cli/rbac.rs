use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::experiment::{self, Overrides, Plan};
use crate::run::{self, Needed};

use super::{CommandResult, Exit, OverrideArgs, Streams};

/// Writes the roles that a run needs, and no more.
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
        let needed = run::permissions(&plan);
        let roles = roles(&needed);
        let mut objects: Vec<String> = roles.iter().map(|role| role.text(&plan)).collect();
        if let Some(account) = &self.service_account {
            let ServiceAccount { namespace, name } = account;
            objects.push(format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"));
            objects.extend(roles.iter().map(|role| role.binding(&plan, account)));
        }
        write!(
            streams.out,
            "# What a run of the experiment {} asks of the API server, and no more.\n\
             # Actions on containers and nodes beside the API (kind, k3d) need Docker, not RBAC.\n{}",
            plan.name,
            objects.join("---\n")
        )?;
        Ok(Exit::Pass)
    }
}

/// A role as the API has it: of the whole cluster, or of one namespace.
struct Role<'a> {
    namespace: Option<&'a str>,
    rules: String,
    why: &'static str,
}

/// The namespace of a run's own does not exist before the run, so that no Role can be in it; that of a target which stands already does.
fn roles(needed: &Needed) -> Vec<Role<'_>> {
    let everywhere = needed.everywhere.rules();
    match &needed.inside {
        None => vec![Role { namespace: None, rules: everywhere, why: "# Its namespace is made for it, so a Role cannot be in it.\n" }],
        Some((namespace, inside)) => vec![
            Role { namespace: None, rules: everywhere, why: "# This is what no Role can allow; the rest is in the target's namespace.\n" },
            Role { namespace: Some(namespace), rules: inside.rules(), why: "" },
        ],
    }
}

impl Role<'_> {
    fn kind(&self) -> &'static str {
        if self.namespace.is_some() { "Role" } else { "ClusterRole" }
    }

    /// The beginning of an object of this kind that is where the role is.
    fn head(&self, kind: &str, plan: &Plan) -> String {
        let place = self.namespace.map(|namespace| format!("  namespace: {namespace}\n")).unwrap_or_default();
        format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: chaos-{}\n{place}", plan.name)
    }

    fn text(&self, plan: &Plan) -> String {
        format!("{}{}{}", self.why, self.head(self.kind(), plan), self.rules)
    }

    fn binding(&self, plan: &Plan, account: &ServiceAccount) -> String {
        let ServiceAccount { namespace, name } = account;
        format!(
            "{head}roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: chaos-{experiment}\n\
             subjects:\n  - kind: ServiceAccount\n    name: {name}\n    namespace: {namespace}\n",
            head = self.head(&format!("{}Binding", self.kind()), plan),
            kind = self.kind(),
            experiment = plan.name,
        )
    }
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

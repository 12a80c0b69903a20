//! A context of the kubeconfig may be anybody's cluster, so it must be named twice before anything is injected into it.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use crate::experiment::ClusterRef;

use super::{Exit, Failure};

/// The option that names a context for the second time.
#[derive(Debug, Args)]
pub(super) struct Meant {
    /// Say that you mean this context of your kubeconfig; needed for `--cluster context:NAME`, unless its name is typed on a terminal.
    #[arg(long, value_name = "CONTEXT")]
    yes_i_mean: Option<String>,
}

impl Meant {
    /// Lets those clusters through that are meant: what is no context, and a context that `--yes-i-mean` names or that is typed on a terminal.
    pub fn check<'a>(&self, clusters: impl IntoIterator<Item = &'a ClusterRef>) -> Result<(), Failure> {
        let yes_i_mean = self.yes_i_mean.as_deref();
        let contexts: BTreeSet<&str> = clusters
            .into_iter()
            .filter_map(|cluster| match cluster {
                ClusterRef::Context(context) => Some(context.as_str()),
                _ => None,
            })
            .collect();
        for context in contexts {
            let (input, output) = (io::stdin(), io::stderr());
            // A wrong name on the command line is a mistake, and no reason to ask.
            let asks = yes_i_mean.is_none() && input.is_terminal() && output.is_terminal();
            if yes_i_mean != Some(context) && !(asks && typed(context, &mut input.lock(), &mut output.lock())?) {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("this would inject faults into the cluster of the context `{context}`; say so: --yes-i-mean {context}"),
                ));
            }
        }
        Ok(())
    }
}

/// Asks for the context's name. Anything but the name is a no.
fn typed(context: &str, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<bool> {
    write!(output, "This injects faults into the cluster of the context `{context}`. Type its name to go on: ")?;
    output.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']) == context)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_itself_is_a_yes() {
        for (line, goes_on) in [("prod\n", true), ("prod\r\n", true), ("y\n", false), ("prod-2\n", false), ("\n", false), ("", false)] {
            let mut shown = Vec::new();
            assert_eq!(typed("prod", &mut line.as_bytes(), &mut shown).unwrap(), goes_on, "{line:?}");
            assert!(String::from_utf8(shown).unwrap().contains("context `prod`"));
        }
    }
}

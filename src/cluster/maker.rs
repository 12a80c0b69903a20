//! Programs that make clusters on this machine, kind and k3d: driven by their documented command lines, their output read only where it is a contract.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;

use super::{ClusterError, Program};
use crate::model::Provider;

/// How long a cluster may take to be made: three nodes, and perhaps an image that is pulled.
const CREATE_WITHIN: Duration = Duration::from_secs(540);
const DELETE_WITHIN: Duration = Duration::from_secs(120);
const LOAD_WITHIN: Duration = Duration::from_secs(180);

/// Names the image of the nodes, where it is not the program's own.
pub const NODE_IMAGE: &str = "CHAOS_NODE_IMAGE";

/// A program that makes clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maker {
    which: Which,
    program: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Kind,
    K3d,
}

/// One entry of `k3d cluster list -o json`.
#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    nodes: Vec<ListedNode>,
}

#[derive(Deserialize)]
struct ListedNode {
    name: String,
    #[serde(default)]
    role: String,
}

impl Maker {
    /// kind.
    pub fn kind() -> Self {
        Maker { which: Which::Kind, program: "kind".to_owned() }
    }

    /// k3d.
    pub fn k3d() -> Self {
        Maker { which: Which::K3d, program: "k3d".to_owned() }
    }

    /// Which kind of provider it makes.
    pub fn provider(&self) -> Provider {
        match self.which {
            Which::Kind => Provider::Kind,
            Which::K3d => Provider::K3d,
        }
    }

    fn call(&self) -> Program {
        Program::new(&self.program)
    }

    /// The context that the program writes into a kubeconfig.
    pub fn context(&self, cluster: &str) -> String {
        format!("{}-{cluster}", self.word())
    }

    /// What `--cluster` calls a cluster.
    pub fn reference(&self, cluster: &str) -> String {
        format!("{}:{cluster}", self.word())
    }

    /// The node of the control plane, which publishes the node ports.
    pub fn control_plane(&self, cluster: &str) -> String {
        match self.which {
            Which::Kind => format!("{cluster}-control-plane"),
            Which::K3d => format!("k3d-{cluster}-server-0"),
        }
    }

    fn word(&self) -> &'static str {
        match self.which {
            Which::Kind => "kind",
            Which::K3d => "k3d",
        }
    }

    /// The shape of a cluster that is made: three nodes, node ports on 127.0.0.1, a folder that every node mounts.
    fn shape(&self) -> &'static str {
        match self.which {
            Which::Kind => include_str!("../../kind-config/kind.yaml"),
            Which::K3d => include_str!("../../kind-config/k3d.yaml"),
        }
    }

    /// The oldest version whose command line is the one that is used here: kind with `get clusters -q`, k3d with configuration files of v1alpha5.
    fn oldest(&self) -> (u32, u32) {
        match self.which {
            Which::Kind => (0, 20),
            Which::K3d => (5, 5),
        }
    }

    /// Refuses a program that is too old, or that does not tell.
    async fn checked(&self) -> Result<(), ClusterError> {
        let said = self.call().args(["version"]).output().await?;
        let oldest = self.oldest();
        match version(&said) {
            Some(found) if found >= oldest => Ok(()),
            found => Err(ClusterError::Unsupported {
                what: match found {
                    Some((major, minor)) => format!("{} is version {major}.{minor}, and {}.{} is needed", self.word(), oldest.0, oldest.1),
                    None => format!("`{} version` tells no version: {}", self.word(), said.lines().next().unwrap_or_default()),
                },
                hint: format!("install a newer {}; `chaos doctor` tells what there is", self.word()),
            }),
        }
    }

    async fn listed(&self) -> Result<Vec<Listed>, ClusterError> {
        let text = self.call().args(["cluster", "list", "-o", "json"]).output().await?;
        serde_json::from_str(&text).map_err(|error| ClusterError::Unsupported {
            what: format!("`k3d cluster list -o json` is not what it is documented to be: {error}"),
            hint: "use a k3d of version 5".to_owned(),
        })
    }

    /// Names of its clusters.
    pub async fn clusters(&self) -> Result<Vec<String>, ClusterError> {
        Ok(match self.which {
            Which::Kind => self.call().args(["get", "clusters", "-q"]).output().await?.lines().map(str::to_owned).collect(),
            Which::K3d => self.listed().await?.into_iter().map(|cluster| cluster.name).collect(),
        })
    }

    /// Names of a cluster's nodes, which are also those of their containers.
    pub async fn nodes(&self, cluster: &str) -> Result<Vec<String>, ClusterError> {
        Ok(match self.which {
            Which::Kind => self.call().args(["get", "nodes", "--name", cluster]).output().await?.lines().map(str::to_owned).collect(),
            Which::K3d => {
                let listed = self.listed().await?.into_iter().find(|listed| listed.name == cluster);
                let nodes = listed.map(|listed| listed.nodes).unwrap_or_default();
                nodes.into_iter().filter(|node| node.role == "server" || node.role == "agent").map(|node| node.name).collect()
            }
        })
    }

    /// Makes a cluster. The user's own kubeconfig is not touched.
    pub async fn create(&self, cluster: &str) -> Result<(), ClusterError> {
        self.checked().await?;
        let failed = |error: std::io::Error| ClusterError::Missing {
            what: format!("no temporary file for the cluster's configuration: {error}"),
            hint: "free some space in TMPDIR".to_owned(),
        };
        let folder = tempfile::tempdir().map_err(failed)?;
        let shape = folder.path().join("cluster.yaml");
        std::fs::write(&shape, self.shape()).map_err(failed)?;
        let call = match self.which {
            Which::Kind => {
                let kubeconfig = folder.path().join("kubeconfig");
                let call = self.call().args(["create", "cluster", "--name", cluster, "--wait", "180s", "--config"]).path(&shape);
                call.args(["--kubeconfig"]).path(&kubeconfig)
            }
            Which::K3d => {
                let call = self.call().args(["cluster", "create", cluster, "--config"]).path(&shape);
                call.args(["--kubeconfig-update-default=false", "--kubeconfig-switch-context=false"])
            }
        };
        let image = std::env::var(NODE_IMAGE).ok().filter(|image| !image.is_empty());
        let call = match &image {
            Some(image) => call.args(["--image", image]),
            None => call,
        };
        call.within(CREATE_WITHIN).output().await?;
        Ok(())
    }

    /// Deletes a cluster; one that is not there is no error to either program.
    pub async fn delete(&self, cluster: &str) -> Result<(), ClusterError> {
        let call = match self.which {
            Which::Kind => {
                // It would otherwise look for the cluster's entry in the user's own kubeconfig.
                let nowhere = tempfile::NamedTempFile::new().map_err(|error| ClusterError::Missing {
                    what: format!("no temporary file: {error}"),
                    hint: "free some space in TMPDIR".to_owned(),
                })?;
                return self
                    .call()
                    .args(["delete", "cluster", "--name", cluster, "--kubeconfig"])
                    .path(nowhere.path())
                    .within(DELETE_WITHIN)
                    .output()
                    .await
                    .map(drop)
                    .map_err(Into::into);
            }
            Which::K3d => self.call().args(["cluster", "delete", cluster]),
        };
        call.within(DELETE_WITHIN).output().await?;
        Ok(())
    }

    /// The configuration of a client of the cluster.
    pub async fn config(&self, cluster: &str) -> Result<kube::Config, ClusterError> {
        let call = match self.which {
            Which::Kind => self.call().args(["get", "kubeconfig", "--name", cluster]),
            Which::K3d => self.call().args(["kubeconfig", "get", cluster]),
        };
        let text = call.output().await?;
        let kubeconfig = Kubeconfig::from_yaml(&text).map_err(|error| ClusterError::Kubeconfig(Box::new(error)))?;
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| ClusterError::Kubeconfig(Box::new(error)))
    }

    /// Brings an image archive into every node.
    pub async fn load(&self, cluster: &str, archive: &Path) -> Result<(), ClusterError> {
        let call = match self.which {
            Which::Kind => self.call().args(["load", "image-archive", "--name", cluster]).path(archive),
            Which::K3d => self.call().args(["image", "import", "--cluster", cluster]).path(archive),
        };
        call.within(LOAD_WITHIN).output().await?;
        Ok(())
    }
}

/// The first version in what a program says: `kind v0.30.0 go1.24.6 linux/amd64`, `k3d version v5.8.3`.
fn version(said: &str) -> Option<(u32, u32)> {
    said.split_whitespace().find_map(|word| {
        let mut parts = word.strip_prefix('v')?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that notes its arguments and answers as the documentation says.
    fn fake(folder: &Path, which: Which, answers: &str) -> Maker {
        let program = folder.join("program");
        let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\ncase \"$*\" in\n{answers}\nesac\n", folder.join("calls").display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Maker { which, program: program.display().to_string() }
    }

    fn calls(folder: &Path) -> Vec<String> {
        fs::read_to_string(folder.join("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    const K3D: &str = "version) echo 'k3d version v5.8.3'; echo 'k3s version v1.31.5-k3s1 (default)';;\n\
        'cluster list -o json') echo '[{\"name\":\"other\"},{\"name\":\"chaos\",\"serversCount\":1,\"nodes\":[\
        {\"name\":\"k3d-chaos-server-0\",\"role\":\"server\"},{\"name\":\"k3d-chaos-agent-0\",\"role\":\"agent\"},{\"name\":\"k3d-chaos-tools\",\"role\":\"noRole\"}]}]';;\n\
        'kubeconfig get chaos') printf 'apiVersion: v1\\nkind: Config\\ncurrent-context: k3d-chaos\\nclusters: [{name: a, cluster: {server: \"http://127.0.0.1:1\"}}]\\n\
        users: [{name: a, user: {}}]\\ncontexts: [{name: k3d-chaos, context: {cluster: a, user: a}}]\\n';;";

    #[tokio::test]
    async fn k3d_is_driven_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let maker = fake(folder.path(), Which::K3d, K3D);
        assert_eq!(maker.clusters().await.unwrap(), ["other", "chaos"]);
        assert_eq!(maker.nodes("chaos").await.unwrap(), ["k3d-chaos-server-0", "k3d-chaos-agent-0"]);
        assert_eq!(maker.config("chaos").await.unwrap().cluster_url.port_u16(), Some(1));
        maker.create("chaos").await.unwrap();
        maker.load("chaos", Path::new("/tmp/engine.tar")).await.unwrap();
        maker.delete("chaos").await.unwrap();
        let calls = calls(folder.path());
        assert_eq!(calls[3], "version");
        assert!(calls[4].starts_with("cluster create chaos --config /"), "{}", calls[4]);
        assert!(calls[4].contains("--kubeconfig-update-default=false --kubeconfig-switch-context=false"), "{}", calls[4]);
        assert_eq!(calls[5..], ["image import --cluster chaos /tmp/engine.tar", "cluster delete chaos"]);
    }

    #[tokio::test]
    async fn kind_never_touches_the_users_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        let maker = fake(folder.path(), Which::Kind, "version) echo 'kind v0.30.0 go1.24.6 linux/amd64';;");
        maker.create("chaos").await.unwrap();
        maker.delete("chaos").await.unwrap();
        for call in &calls(folder.path())[1..] {
            assert!(call.contains("--kubeconfig /"), "{call}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_too_old_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for (said, wanted) in [("kind v0.11.1 go1.16", "version 0.11, and 0.20 is needed"), ("kind unknown", "tells no version")] {
            let maker = fake(folder.path(), Which::Kind, &format!("version) echo '{said}';;"));
            let error = maker.create("chaos").await.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        assert_eq!(calls(folder.path()), ["version", "version"]);
    }
}

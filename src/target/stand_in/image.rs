//! The stand-in engine as a container image, written without Docker: an archive that `kind load image-archive`, `ctr images import` and
//! `docker load` all take. The same binary gives the same archive, byte for byte.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::elf;
use crate::target::profile::{DATA_MOUNT, PORT, USER};

/// The repository part of the image's name.
const REPOSITORY: &str = "sqledge-chaos/tds-sqlite";

/// Where the binary lies in the image.
const ENTRYPOINT: &str = "/usr/local/bin/tds-sqlite";

/// How long cargo may take to build the engine from nothing on a slow machine.
const BUILD_WITHIN: Duration = Duration::from_secs(30 * 60);

/// Why there is no image.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The binary or the archive could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// The binary cannot run in an image that holds nothing else.
    #[error("{}: {why}; an image of one file needs a statically linked Linux binary: {}", path.display(), build_command("TRIPLE"))]
    NotStatic {
        /// The binary.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// No binary was named, and none can be built here.
    #[error("no tds-sqlite binary: {why}; name one with --binary, built by: {}", build_command("TRIPLE"))]
    NoBinary {
        /// Why none can be built.
        why: String,
    },
}

impl ImageError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
        let path = path.to_owned();
        move |error| ImageError::File { path, error }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageInfo {
    /// What a pod says: its tag changes whenever the content does.
    pub reference: String,
    /// The same image under a name that stays.
    pub alias: String,
    /// The archive.
    pub archive: PathBuf,
    /// The archive's size in bytes.
    pub bytes: u64,
}

/// Writes the image of a statically linked `tds-sqlite` to `out`, completely or not at all.
///
/// # Errors
/// When the binary is not a static Linux binary, or a file cannot be read or written.
pub fn build(binary: &Path, out: &Path) -> Result<ImageInfo, ImageError> {
    let program = std::fs::read(binary).map_err(ImageError::file(binary))?;
    let machine = elf::static_machine(&program).map_err(|why| ImageError::NotStatic { path: binary.to_owned(), why })?;
    let image = Image::new(&program, machine).map_err(ImageError::file(binary))?;
    let folder = match out.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(ImageError::file(out))?;
    image.write(&mut file).and_then(|()| file.flush()).map_err(ImageError::file(out))?;
    // A temporary file is for its owner alone; an image is handed to other programs.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(ImageError::file(out))?;
    let file = file.persist(out).map_err(|error| ImageError::File { path: out.to_owned(), error: error.error })?;
    let bytes = file.metadata().map_err(ImageError::file(out))?.len();
    Ok(ImageInfo { reference: image.reference(), alias: format!("{REPOSITORY}:dev"), archive: out.to_owned(), bytes })
}

/// The parts of an image with a single layer.
struct Image {
    layer: Vec<u8>,
    layer_sha256: String,
    config: Vec<u8>,
}

impl Image {
    fn new(program: &[u8], machine: elf::Machine) -> io::Result<Image> {
        let layer = layer(program)?;
        let layer_sha256 = sha256(&layer);
        let config = json!({
            "architecture": machine.docker_name(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": USER.to_string(),
                "Entrypoint": [ENTRYPOINT],
                "Env": ["PATH=/usr/local/bin"],
                "ExposedPorts": { (format!("{PORT}/tcp")): {} },
                "WorkingDir": "/",
                "Labels": { "org.opencontainers.image.title": "tds-sqlite", "org.opencontainers.image.version": env!("CARGO_PKG_VERSION") },
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_sha256}")] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "chaos image tds-sqlite" }],
        });
        Ok(Image { layer, layer_sha256, config: config.to_string().into_bytes() })
    }

    fn tags(&self) -> [String; 2] {
        [format!("{}-{}", env!("CARGO_PKG_VERSION"), &self.layer_sha256[..12]), "dev".to_owned()]
    }

    fn reference(&self) -> String {
        format!("{REPOSITORY}:{}", self.tags()[0])
    }

    /// The archive is an OCI layout and, for older readers, a `docker save` archive over the same blobs.
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let config_sha256 = sha256(&self.config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{config_sha256}"),
                "size": self.config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": format!("sha256:{}", self.layer_sha256),
                "size": self.layer.len(),
            }],
        })
        .to_string()
        .into_bytes();
        let manifest_sha256 = sha256(&manifest);
        let descriptors: Vec<Value> = self
            .tags()
            .iter()
            .map(|tag| {
                json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": format!("sha256:{manifest_sha256}"),
                    "size": manifest.len(),
                    "annotations": {
                        "io.containerd.image.name": format!("docker.io/{REPOSITORY}:{tag}"),
                        "org.opencontainers.image.ref.name": tag,
                    },
                })
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": descriptors });
        let docker = json!([{
            "Config": format!("blobs/sha256/{config_sha256}"),
            "RepoTags": self.tags().map(|tag| format!("{REPOSITORY}:{tag}")),
            "Layers": [format!("blobs/sha256/{}", self.layer_sha256)],
        }]);
        let mut archive = tar::Builder::new(to);
        let mut file = |path: &str, content: &[u8]| append(&mut archive, Entry { path, mode: 0o644, owner: 0, content: Some(content) });
        file("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
        file("index.json", index.to_string().as_bytes())?;
        file("manifest.json", docker.to_string().as_bytes())?;
        file(&format!("blobs/sha256/{manifest_sha256}"), &manifest)?;
        file(&format!("blobs/sha256/{config_sha256}"), &self.config)?;
        file(&format!("blobs/sha256/{}", self.layer_sha256), &self.layer)?;
        archive.finish()
    }
}

/// The root file system: the binary, a user for it, and what every program expects of a system.
fn layer(program: &[u8]) -> io::Result<Vec<u8>> {
    let user = USER.unsigned_abs();
    let passwd = format!("root:x:0:0:root:/:/sbin/nologin\nmssql:x:{user}:{user}:mssql:{DATA_MOUNT}:/sbin/nologin\n");
    let group = format!("root:x:0:\nmssql:x:{user}:\n");
    let folder = |path, mode| Entry { path, mode, owner: 0, content: None };
    let file = |path, mode, content| Entry { path, mode, owner: 0, content: Some(content) };
    let mut layer = tar::Builder::new(Vec::new());
    for entry in [
        folder("etc/", 0o755),
        file("etc/passwd", 0o644, passwd.as_bytes()),
        file("etc/group", 0o644, group.as_bytes()),
        folder("tmp/", 0o1777),
        folder("usr/", 0o755),
        folder("usr/local/", 0o755),
        folder("usr/local/bin/", 0o755),
        file(&ENTRYPOINT[1..], 0o755, program),
        folder("var/", 0o755),
        folder("var/opt/", 0o755),
        // The mount point of the claim; without a claim the engine can still write here.
        Entry { path: &format!("{}/", &DATA_MOUNT[1..]), mode: 0o770, owner: user, content: None },
    ] {
        append(&mut layer, entry)?;
    }
    layer.into_inner()
}

/// A file, or a folder where there is no content.
struct Entry<'e> {
    path: &'e str,
    mode: u32,
    owner: u64,
    content: Option<&'e [u8]>,
}

fn append(to: &mut tar::Builder<impl Write>, entry: Entry<'_>) -> io::Result<()> {
    let content = entry.content.unwrap_or_default();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(if entry.content.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory });
    header.set_mode(entry.mode);
    header.set_uid(entry.owner);
    header.set_gid(entry.owner);
    // No time and no name of the builder: equal binaries give equal archives.
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    to.append_data(&mut header, entry.path, content)
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The command that builds the static binary, as one would type it.
fn build_command(triple: &str) -> String {
    format!(
        "cargo build --release -p tds-sqlite --target {triple} --config 'target.\"{triple}\".rustflags=[\"-C\",\"target-feature=+crt-static\"]'"
    )
}

/// Builds the statically linked engine from the workspace that this program was built from, and returns its path. What cargo says goes to stderr.
///
/// # Errors
/// When the workspace is not there any more, or cargo is missing or fails.
pub async fn build_static_binary() -> Result<PathBuf, ImageError> {
    let no = |why: String| ImageError::NoBinary { why };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !workspace.join("crates/tds-sqlite/Cargo.toml").is_file() {
        return Err(no("this program does not run beside the workspace that it was built from".to_owned()));
    }
    let host = crate::cluster::Program::new("rustc").args(["-vV"]).output().await.map_err(|error| no(error.to_string()))?;
    let triple = host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or_else(|| no("rustc -vV tells no host".to_owned()))?;
    let mut command = tokio::process::Command::new("cargo");
    command
        .args(["build", "--release", "--locked", "-p", "tds-sqlite", "--bin", "tds-sqlite", "--target", triple])
        .args(["--message-format", "json-render-diagnostics", "--config"])
        .arg(format!("target.\"{triple}\".rustflags=[\"-C\",\"target-feature=+crt-static\"]"))
        // Set by an outer cargo, these would override the flags above.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().map_err(|error| no(format!("cargo cannot be started: {error}")))?;
    let output = tokio::time::timeout(BUILD_WITHIN, child.wait_with_output())
        .await
        .map_err(|_| no(format!("cargo did not end within {} min", BUILD_WITHIN.as_secs() / 60)))?
        .map_err(|error| no(error.to_string()))?;
    if !output.status.success() {
        return Err(no(format!("cargo failed ({})", output.status)));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .ok_or_else(|| no("cargo built no executable".to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where a file is missing")]

    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn files(archive: &[u8]) -> BTreeMap<String, (tar::Header, Vec<u8>)> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), (entry.header().clone(), content));
        }
        files
    }

    fn blob<'f>(files: &'f BTreeMap<String, (tar::Header, Vec<u8>)>, digest: &Value) -> &'f [u8] {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        let content = &files[&format!("blobs/sha256/{hex}")].1;
        assert_eq!(sha256(content), hex);
        content
    }

    /// Follows the archive as containerd does: index, manifest, config and layer, each by its digest.
    #[test]
    fn an_image_is_complete_and_says_who_runs_it() {
        let folder = tempfile::tempdir().unwrap();
        let (binary, out) = (folder.path().join("engine"), folder.path().join("image.tar"));
        std::fs::write(&binary, elf::tests::program(&[elf::tests::LOAD])).unwrap();
        let info = build(&binary, &out).unwrap();
        let archive = std::fs::read(&out).unwrap();
        assert_eq!(info.bytes, archive.len() as u64);
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o644, "others may read it");
        let files = files(&archive);

        let index: Value = serde_json::from_slice(&files["index.json"].1).unwrap();
        let names: Vec<&str> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["annotations"]["io.containerd.image.name"].as_str().unwrap())
            .collect();
        assert_eq!(names, [format!("docker.io/{}", info.reference), "docker.io/sqledge-chaos/tds-sqlite:dev".to_owned()]);
        let manifest: Value = serde_json::from_slice(blob(&files, &index["manifests"][0]["digest"])).unwrap();
        let config: Value = serde_json::from_slice(blob(&files, &manifest["config"]["digest"])).unwrap();
        assert_eq!(config["config"]["User"], "10001");
        assert_eq!(config["config"]["Entrypoint"], json!([ENTRYPOINT]));
        assert_eq!(config["config"]["ExposedPorts"], json!({ "1433/tcp": {} }));
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);

        let docker: Value = serde_json::from_slice(&files["manifest.json"].1).unwrap();
        assert_eq!(docker[0]["RepoTags"][0], info.reference.as_str());
        assert!(files.contains_key(docker[0]["Layers"][0].as_str().unwrap()));

        let layer_digest = manifest["layers"][0]["digest"].as_str().unwrap();
        assert!(info.reference.ends_with(&layer_digest["sha256:".len()..][..12]), "{info:?}");
        let root = self::files(blob(&files, &manifest["layers"][0]["digest"]));
        assert_eq!(root["tmp/"].0.mode().unwrap(), 0o1777);
        assert_eq!(root["usr/local/bin/tds-sqlite"].0.mode().unwrap(), 0o755);
        assert_eq!(root["usr/local/bin/tds-sqlite"].1, std::fs::read(&binary).unwrap());
        assert_eq!(root["var/opt/mssql/"].0.uid().unwrap(), 10_001);
        assert!(String::from_utf8_lossy(&root["etc/passwd"].1).contains("mssql:x:10001:10001:"));
    }

    #[test]
    fn equal_binaries_give_equal_archives() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("engine");
        std::fs::write(&binary, elf::tests::program(&[elf::tests::LOAD])).unwrap();
        let archives: Vec<Vec<u8>> = ["a.tar", "b.tar"]
            .iter()
            .map(|name| {
                let out = folder.path().join(name);
                build(&binary, &out).unwrap();
                std::fs::read(out).unwrap()
            })
            .collect();
        assert!(archives[0] == archives[1]);
    }

    #[test]
    fn a_binary_that_needs_more_than_itself_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (binary, out) = (folder.path().join("engine"), folder.path().join("image.tar"));
        std::fs::write(&binary, elf::tests::program(&[elf::tests::INTERP, elf::tests::LOAD])).unwrap();
        let error = build(&binary, &out).unwrap_err().to_string();
        assert!(error.contains("engine: is dynamically linked; an image of one file needs"), "{error}");
        assert!(error.contains("target-feature=+crt-static"), "{error}");
        assert!(!out.exists());
        assert!(matches!(build(&folder.path().join("none"), &out), Err(ImageError::File { .. })));
        let nowhere = folder.path().join("no/such/folder/image.tar");
        std::fs::write(&binary, elf::tests::program(&[elf::tests::LOAD])).unwrap();
        assert!(matches!(build(&binary, &nowhere), Err(ImageError::File { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

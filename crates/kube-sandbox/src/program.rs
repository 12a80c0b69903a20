//! The command line of a sandbox: for the program `kube-sandbox`, and for a program that embeds it.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use crate::{Config, Image, Sabotage, Sandbox, shim};

const USAGE: &str = "usage: kube-sandbox serve --dir DIR [--nodes WORKERS] [--image NAME=COMMAND]... [--sabotage DEFECT] [--lifeline]";

/// The exit code of a wrong command line, and of a sandbox that could not be started.
const EXIT_USAGE: u8 = 64;

/// Runs `serve` or `shim` with its arguments to the end and returns the exit code of the process. `again` are the arguments that lead
/// from the start of this very program to here, since containers are started through it.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = OsString>, again: &[&str]) -> u8 {
    match arguments.next().as_deref().and_then(|mode| mode.to_str()) {
        Some("shim") => shim::run(arguments),
        Some("serve") => match parse(arguments.map(|argument| argument.to_string_lossy().into_owned()), again).and_then(serve) {
            Ok(()) => 0,
            Err(message) => fail(&message),
        },
        _ => fail(USAGE),
    }
}

fn fail(message: &str) -> u8 {
    // Without standard error there is nobody to tell.
    let _unheard = writeln!(io::stderr(), "{message}");
    EXIT_USAGE
}

struct Options {
    config: Config,
    lifeline: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>, again: &[&str]) -> Result<Options, String> {
    let mut dir = None;
    let mut workers = 2;
    let mut images = Vec::new();
    let mut lifeline = false;
    let mut sabotage = None;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--dir" => dir = Some(PathBuf::from(value()?)),
            "--nodes" => workers = value()?.parse().map_err(|error| format!("--nodes: {error}"))?,
            "--image" => images.push(image(&value()?)?),
            "--sabotage" => sabotage = Some(defect(&value()?)?),
            "--lifeline" => lifeline = true,
            other => return Err(format!("unknown argument {other:?}\n{USAGE}")),
        }
    }
    let dir = dir.ok_or_else(|| format!("--dir is missing\n{USAGE}"))?;
    let mut config = Config::new(dir);
    config.workers = workers;
    config.images = images;
    config.sabotage = sabotage;
    // Between the program and its `shim` come the words that lead there.
    let last = config.shim.len().saturating_sub(1);
    config.shim.splice(last..last, again.iter().map(|word| (*word).to_owned()));
    Ok(Options { config, lifeline })
}

fn defect(word: &str) -> Result<Sabotage, String> {
    Sabotage::named(word).ok_or_else(|| {
        let words = Sabotage::ALL.map(Sabotage::name);
        format!("--sabotage: unknown defect {word:?}, expected {}", words.join(", "))
    })
}

/// `NAME=PROGRAM [ARG]…`, split at spaces. The program `@` is this very one, whose path may have spaces in it.
fn image(text: &str) -> Result<Image, String> {
    let (name, command) = text.split_once('=').ok_or_else(|| format!("--image {text:?} is not NAME=COMMAND"))?;
    let mut command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if let Some(program) = command.first_mut().filter(|program| *program == "@") {
        let own = std::env::current_exe().map_err(|error| format!("the path of this program is not known: {error}"))?;
        *program = own.display().to_string();
    }
    if name.is_empty() || command.is_empty() {
        return Err(format!("--image {text:?} is not NAME=COMMAND"));
    }
    Ok(Image { names: vec![name.to_owned()], command })
}

fn serve(options: Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| format!("no runtime: {error}"))?;
    let outcome = runtime.block_on(stand(options));
    // The thread that waits for the lifeline may still be reading; nothing is gained by waiting for it.
    runtime.shutdown_background();
    outcome
}

/// Serves until told to end. Under a lifeline the folder belongs to this one life and goes with it: whoever would have removed it may have been killed.
async fn stand(options: Options) -> Result<(), String> {
    let dir = options.config.dir.clone();
    std::fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let sandbox = Sandbox::start(options.config).map_err(|error| format!("sandbox not started: {error}"))?;
    let announced = announce(&dir, &sandbox);
    if announced.is_ok() {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            () = lifeline(), if options.lifeline => {}
        }
    }
    sandbox.shutdown().await;
    if options.lifeline && announced.is_ok() {
        // Whoever is still there removes it as well, so that a failure here leaves at worst what was left before.
        let _already_gone = std::fs::remove_dir_all(&dir);
    }
    announced.map_err(|error| format!("kubeconfig not written: {error}"))
}

/// Writes the kubeconfig for the owner's eyes only, and says where it is.
fn announce(dir: &Path, sandbox: &Sandbox) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = dir.join("kubeconfig");
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(sandbox.kubeconfig().as_bytes())?;
    let line = serde_json::json!({ "kubeconfig": path, "server": sandbox.url() });
    writeln!(io::stdout(), "{line}")
}

/// Returns when standard input ends, which is when whoever started us is gone.
async fn lifeline() {
    let ended = tokio::task::spawn_blocking(|| {
        let mut sink = [0_u8; 1024];
        let mut input = io::stdin().lock();
        while matches!(input.read(&mut sink), Ok(read) if read > 0) {}
    });
    let _ended = ended.await;
}

//! The engine's own log across restarts: all of it into a file, its marks into the timeline.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::state::TargetState;
use super::watch::Emit;
use crate::cluster::Typed;
use crate::model::{ContainerState, EventKind};

/// A line longer than this is cut: a log is evidence, not a channel.
const LINE_BYTES_MAX: usize = 4096;

/// Follows the log of every instance of the container into `file` until the state's sender is gone. One task an instance.
pub async fn follow(
    api: Api<Typed<Pod>>,
    container: String,
    mut state: watch::Receiver<TargetState>,
    file: &Path,
    marks: &'static [&'static str],
    emit: Emit,
) -> std::io::Result<()> {
    let file = Arc::new(Mutex::new(std::io::BufWriter::new(std::fs::File::create(file)?)));
    let mut followed: BTreeSet<String> = BTreeSet::new();
    let mut followers = JoinSet::new();
    loop {
        let begun: Vec<(String, String)> = {
            let now = state.borrow_and_update();
            let instances = now.pods.values().flat_map(|pod| {
                pod.containers.iter().filter(|seen| seen.name == container).filter_map(|seen| match (&seen.state, &seen.id) {
                    (ContainerState::Waiting { .. }, _) | (_, None) => None,
                    (_, Some(id)) => Some((pod.name.clone(), id.clone())),
                })
            });
            instances.filter(|(_, id)| !followed.contains(id)).collect()
        };
        for (pod, id) in begun {
            followed.insert(id.clone());
            let parameters = LogParams { follow: true, container: Some(container.clone()), ..LogParams::default() };
            followers.spawn(follow_one(api.clone(), pod, id, parameters, Arc::clone(&file), marks, Arc::clone(&emit)));
        }
        while followers.try_join_next().is_some() {}
        if state.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Follows one instance to its end. A log that cannot be had is said in the file: it is evidence that something is missing.
async fn follow_one(
    api: Api<Typed<Pod>>,
    pod: String,
    id: String,
    parameters: LogParams,
    file: Arc<Mutex<std::io::BufWriter<std::fs::File>>>,
    marks: &'static [&'static str],
    emit: Emit,
) {
    let short = id.rsplit('/').next().unwrap_or(&id).chars().take(12).collect::<String>();
    let write = |line: &str| {
        let mut file = file.lock().expect("no holder of this lock panics");
        // A full disk is reported by the history's writer; the log alone does not end a run.
        let _ = writeln!(file, "{pod} {short} {line}").and_then(|()| file.flush());
    };
    let stream = match api.log_stream(&pod, &parameters).await {
        Ok(stream) => stream,
        Err(error) => return write(&format!("[log not readable: {error}]")),
    };
    let mut lines = stream.lines();
    loop {
        match lines.try_next().await {
            Ok(Some(line)) => {
                let line = cut(&line);
                write(line);
                if marks.iter().any(|mark| line.contains(mark)) {
                    emit(EventKind::EngineLog { container_id: id.clone(), line: line.to_owned() });
                }
            }
            Ok(None) => return,
            Err(error) => return write(&format!("[log ended: {error}]")),
        }
    }
}

fn cut(line: &str) -> &str {
    let mut end = line.len().min(LINE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

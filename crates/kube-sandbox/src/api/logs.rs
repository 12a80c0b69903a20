//! Container logs: the file that the node wrote, from where the client wants it, for as long as the container lives.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::request::Call;
use super::respond::{self, Reply};
use super::route::Target;
use super::server::Shared;
use crate::store::{ApiError, Key, PODS, Store, text};

const CHUNK_BYTES: usize = 64 * 1024;
/// How often a followed file is looked at; files tell nobody when they grow.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// GET of a pod's `log`.
pub(super) fn answer(shared: &Arc<Shared>, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    refuse_unserved(call)?;
    let key = target.key();
    let pod = shared.store.get(&key).ok_or_else(|| ApiError::not_found(&PODS, &key.name))?;
    let container = container_name(&pod, call.query.get("container"))?;
    let previous = call.query.on("previous");
    let (namespace, uid) = (text(&pod, "/metadata/namespace"), text(&pod, "/metadata/uid"));
    let path = shared.hooks.logs.open(namespace, &key.name, uid, &container, previous);
    let path = path.ok_or_else(|| absent(&pod, &container, previous))?;
    let broken = |error: &std::io::Error| ApiError::internal(format!("log of container {container:?}: {error}"));
    let mut file = std::fs::File::open(&path).map_err(|error| broken(&error))?;
    let tail = call.query.number::<u64>("tailLines")?;
    let start = tail.map_or(Ok(0), |lines| tail_start(&mut file, lines)).map_err(|error| broken(&error))?;
    file.seek(SeekFrom::Start(start)).map_err(|error| broken(&error))?;
    let follow = call.query.on("follow") && !previous;
    let reader = Reader {
        file: File::from_std(file),
        left: call.query.number::<u64>("limitBytes")?.unwrap_or(u64::MAX),
        alive: follow.then(|| Alive::new(&shared.store, key, &pod, &container)),
    };
    let chunks = futures::stream::unfold(reader, |mut reader| async move {
        let chunk = reader.chunk().await?;
        Some((chunk, reader))
    });
    Ok(respond::stream("text/plain", chunks))
}

/// Lines carry no time in the file, so what needs their time is refused and not ignored.
fn refuse_unserved(call: &Call) -> Result<(), ApiError> {
    if call.query.on("timestamps") {
        return Err(ApiError::not_implemented("the sandbox keeps no timestamps with log lines"));
    }
    for name in ["sinceSeconds", "sinceTime"] {
        if call.query.get(name).is_some_and(|value| !value.is_empty()) {
            return Err(ApiError::not_implemented(format!("the sandbox keeps no timestamps with log lines, so {name} cannot be served")));
        }
    }
    match call.query.get("stream") {
        None | Some("" | "All") => Ok(()),
        Some(_) => Err(ApiError::not_implemented("the sandbox keeps one log for both output streams")),
    }
}

fn names(pod: &Value) -> Vec<&str> {
    let lists = ["/spec/initContainers", "/spec/containers"];
    let containers = lists.iter().filter_map(|list| pod.pointer(list).and_then(Value::as_array)).flatten();
    containers.map(|container| text(container, "/name")).collect()
}

fn container_name(pod: &Value, wanted: Option<&str>) -> Result<String, ApiError> {
    let (names, pod) = (names(pod), text(pod, "/metadata/name"));
    match (wanted.filter(|wanted| !wanted.is_empty()), names.as_slice()) {
        (Some(wanted), _) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), _) => Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {pod}"))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => {
            let message = format!("a container name must be specified for pod {pod}, choose one of: [{}]", names.join(" "));
            Err(ApiError::bad_request(message))
        }
    }
}

fn status<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let mut statuses = lists.iter().filter_map(|list| pod.pointer(list).and_then(Value::as_array)).flatten();
    statuses.find(|status| text(status, "/name") == container)
}

fn absent(pod: &Value, container: &str, previous: bool) -> ApiError {
    let name = text(pod, "/metadata/name");
    if previous {
        return ApiError::bad_request(format!("previous terminated container {container:?} in pod {name:?} not found"));
    }
    let reason = status(pod, container).map_or("", |status| text(status, "/state/waiting/reason"));
    let reason = if reason.is_empty() { "ContainerCreating" } else { reason };
    ApiError::bad_request(format!("container {container:?} in pod {name:?} is waiting to start: {reason}"))
}

/// Where the last lines begin.
fn tail_start(file: &mut std::fs::File, lines: u64) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let (mut position, mut seen, mut block) = (end, 0_u64, vec![0_u8; CHUNK_BYTES]);
    while position > 0 {
        let size = position.min(CHUNK_BYTES as u64);
        position -= size;
        file.seek(SeekFrom::Start(position))?;
        let block = &mut block[..usize::try_from(size).unwrap_or(CHUNK_BYTES)];
        file.read_exact(block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let at = position + index as u64;
            // A line break at the very end closes the last line and begins none.
            if *byte == b'\n' && at + 1 != end {
                seen += 1;
                if seen == lines {
                    return Ok(at + 1);
                }
            }
        }
    }
    Ok(0)
}

/// Whether the container whose log is followed still runs.
struct Alive {
    store: Store,
    key: Key,
    uid: String,
    container: String,
    /// Which of the container's lives is followed.
    restarts: Value,
}

impl Alive {
    fn new(store: &Store, key: Key, pod: &Value, container: &str) -> Alive {
        let restarts = status(pod, container).map_or(Value::Null, |status| status["restartCount"].clone());
        Alive { store: store.clone(), key, uid: text(pod, "/metadata/uid").to_owned(), container: container.to_owned(), restarts }
    }

    fn check(&self) -> bool {
        let Some(pod) = self.store.get(&self.key).filter(|pod| text(pod, "/metadata/uid") == self.uid) else {
            return false;
        };
        status(&pod, &self.container)
            .is_none_or(|status| status["restartCount"] == self.restarts && status.pointer("/state/terminated").is_none())
    }
}

struct Reader {
    file: File,
    left: u64,
    /// Present while the log is followed.
    alive: Option<Alive>,
}

impl Reader {
    async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            // Asked before the read, so that what was written before the end is still sent.
            let alive = self.alive.as_ref().is_some_and(Alive::check);
            let size = usize::try_from(self.left.min(CHUNK_BYTES as u64)).unwrap_or(CHUNK_BYTES);
            if size == 0 {
                return None;
            }
            let mut block = BytesMut::zeroed(size);
            let read = self.file.read(&mut block).await.ok()?;
            if read > 0 {
                block.truncate(read);
                self.left -= read as u64;
                return Some(block.freeze());
            }
            if !alive {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
    use std::io::Write;

    use super::*;

    #[test]
    fn the_tail_begins_at_a_line() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        for (lines, expected) in [(0, 14), (1, 8), (2, 4), (3, 0), (9, 0)] {
            assert_eq!(tail_start(&mut file, lines).unwrap(), expected, "{lines}");
        }
        file.write_all(b"open").unwrap();
        assert_eq!(tail_start(&mut file, 1).unwrap(), 14);
    }
}

//! Reads `timeline.jsonl`.

use std::fs;
use std::io;
use std::path::Path;

use crate::model::Event;

/// The events of a run.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Every event, in order of time.
    pub(super) events: Vec<Event>,
    /// Why it cannot be trusted. What follows the first damage was not read.
    pub(super) damage: Option<String>,
}

impl Timeline {
    /// Reads every event. A last line that was cut off is left out: the event was not recorded.
    pub(super) fn read(path: &Path) -> io::Result<Timeline> {
        let bytes = fs::read(path)?;
        let mut timeline = Timeline::default();
        for (at, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            match Event::parse(line) {
                Ok(event) => timeline.events.push(event),
                Err(_) if !line.ends_with(b"\n") => break,
                Err(error) => {
                    timeline.damage = Some(format!("line {}: {error}", at + 1));
                    break;
                }
            }
        }
        // An event is stamped when it happens and written a little later, so that neighbours can change places.
        timeline.events.sort_by_key(|event| event.time_ns);
        Ok(timeline)
    }
}

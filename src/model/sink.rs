//! How events leave the place where they happen.

use super::event::Event;

/// Takes every event of a run in the order of the timeline. Recorder, live progress and tests are sinks; none of them may
/// block for long, since the run waits for it.
pub trait EventSink {
    /// Takes one event.
    fn event(&mut self, event: &Event);

    /// Tells the time, in ns since the run's start, while nothing happens.
    fn tick(&mut self, now_ns: u64) {
        let _ = now_ns;
    }
}

/// Several sinks in a row are a sink.
impl<S: EventSink + ?Sized> EventSink for Vec<Box<S>> {
    fn event(&mut self, event: &Event) {
        for sink in self.iter_mut() {
            sink.event(event);
        }
    }

    fn tick(&mut self, now_ns: u64) {
        for sink in self.iter_mut() {
            sink.tick(now_ns);
        }
    }
}

/// Collects; for tests.
impl EventSink for Vec<Event> {
    fn event(&mut self, event: &Event) {
        self.push(event.clone());
    }
}

//! The delays of the kubelet before it tries again: restarts of containers and pulls of images.

use std::time::Duration;

use tokio::time::Instant;

/// The first delay, and the longest, in every Kubernetes of today.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran for this long is trusted again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The restart delay of one container: none at first, then 10 s, doubled up to 300 s.
#[derive(Debug, Default, Clone)]
pub(crate) struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// How long to wait from the container's end at `finished` until it may start again.
    pub(crate) fn after(&mut self, started: Instant, finished: Instant) -> Duration {
        if finished.duration_since(started) >= FORGIVEN_AFTER {
            self.next = None;
        }
        let delay = self.next.unwrap_or(Duration::ZERO);
        self.next = Some(self.next.map_or(FIRST, |last| (last * 2).min(LONGEST)));
        delay
    }

    /// The delay before another attempt at something that never ran, such as a pull.
    pub(crate) fn attempt(&mut self) -> Duration {
        let delay = self.next.map_or(FIRST, |last| (last * 2).min(LONGEST));
        self.next = Some(delay);
        delay
    }
}

/// A delay as Go prints it, which is how messages show it: `10s`, `2m40s`, `5m0s`.
pub(crate) fn go_duration(delay: Duration) -> String {
    let seconds = delay.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_the_next_ones_double_up_to_five_minutes() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let delays: Vec<u64> = (0..8).map(|_| backoff.after(now, now).as_secs()).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_make_good() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        backoff.after(start, start);
        backoff.after(start, start);
        assert_eq!(backoff.after(start, start + Duration::from_secs(599)).as_secs(), 20);
        assert_eq!(backoff.after(start, start + Duration::from_secs(600)).as_secs(), 0);
    }

    #[test]
    fn delays_read_as_the_kubelet_writes_them() {
        assert_eq!(go_duration(Duration::from_secs(10)), "10s");
        assert_eq!(go_duration(Duration::from_secs(160)), "2m40s");
        assert_eq!(go_duration(Duration::from_secs(300)), "5m0s");
    }
}

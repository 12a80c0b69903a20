//! How long a server is asked again that did not do what it was asked: nobody tells when it will.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses between attempts, each twice as long as the last one up to a second, until a deadline.
#[derive(Debug)]
pub struct Patience {
    pause: Duration,
    deadline: Instant,
}

impl Patience {
    /// Begins with this pause, and ends when so much time is over.
    pub fn new(first: Duration, within: Duration) -> Self {
        Patience { pause: first, deadline: Instant::now() + within }
    }

    /// Whether the next pause ends in time for another attempt.
    pub fn is_left(&self) -> bool {
        Instant::now() + self.pause < self.deadline
    }

    /// Waits before the next attempt.
    pub async fn pause(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST);
    }
}

//! Compares the API server's clock with ours.

use std::time::Duration;

use jiff::Timestamp;
use kube::client::Body;

use super::timeline::Timeline;
use crate::measure::{Clock, OffsetBounds};
use crate::model::EventKind;

/// Each answer halves what is possible, so after these it is about a round trip.
const ANSWERS: usize = 12;
/// What is closer than this needs no further answer.
const CLOSE_NS: u64 = 2_000_000;
/// A clock that cannot be compared holds nothing up.
const WITHIN: Duration = Duration::from_secs(30);

/// Asks for the version, which every user may, and tells the offset once it is known. Says nothing where the answers carry no time or contradict each other.
pub(super) async fn compare(client: kube::Client, clock: Clock, timeline: Timeline) {
    match tokio::time::timeout(WITHIN, bounds(&client, clock)).await {
        Ok(Some(bounds)) => {
            if let (Some((offset_ns, within_ns)), Some(round_trip_ns)) = (bounds.estimate(), bounds.round_trip_ns()) {
                timeline.emit(EventKind::ClockCompared { offset_ns, within_ns, round_trip_ns });
            }
        }
        _ => tracing::debug!("the API server's clock could not be compared"),
    }
}

async fn bounds(client: &kube::Client, clock: Clock) -> Option<OffsetBounds> {
    let now = || wall_ns(clock);
    let mut bounds = OffsetBounds::default();
    for _ in 0..ANSWERS {
        let wait_ns = bounds.best_time(now()) - now();
        tokio::time::sleep(Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(0))).await;
        let request = http::Request::get("/version").body(Body::empty()).ok()?;
        let sent_ns = now();
        let answer = client.send(request).await.ok()?;
        let received_ns = now();
        let date = answer.headers().get(http::header::DATE)?.to_str().ok()?;
        let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
        if !bounds.answer(sent_ns, received_ns, date.as_second()) {
            return None;
        }
        if bounds.estimate().is_some_and(|(_, within_ns)| within_ns <= CLOSE_NS) {
            break;
        }
    }
    Some(bounds)
}

/// Our wall clock: the run's one clock from its one anchor, so that a step of the system's clock does not show.
fn wall_ns(clock: Clock) -> i64 {
    let started: Timestamp = clock.started_at();
    i64::try_from(started.as_nanosecond() + i128::from(clock.now_ns())).unwrap_or(i64::MAX)
}

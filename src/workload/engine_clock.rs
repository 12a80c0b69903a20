//! Whether the engine's clock goes on as time does: it is read before the first fault and after the last, beside the harness' own monotonic clock.

use std::time::{Duration, Instant};

use jiff::civil::DateTime;

use crate::model::{EngineFact, FactOutcome};
use crate::sql::{Deadlines, Session, SqlError, Stage, Target};

const QUICK: Duration = Duration::from_secs(10);
const DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(5), login: Duration::from_secs(15) };
/// How far an engine's clock may be off from the time that has passed, in seconds. Nodes differ in their clocks, and a clock that is disciplined makes small
/// steps; whoever orders rows by the engine's time across a restart must expect that much.
const TOLERANCE_S: f64 = 10.0;

/// What the engine's clock said, and when.
#[derive(Debug, Clone, Copy)]
pub struct EngineClock {
    at: Instant,
    said: DateTime,
}

/// Reads the engine's clock; `None` when it does not tell.
///
/// # Errors
/// When the engine could not be asked.
pub async fn engine_clock(target: &Target) -> Result<Option<EngineClock>, SqlError> {
    let mut session = Session::connect(&target.in_database("master"), DEADLINES).await?;
    let begun = Instant::now();
    let rows = match session.query_rows("SELECT CONVERT(NVARCHAR(33), SYSUTCDATETIME(), 126)", &[], QUICK).await {
        Ok(rows) => rows,
        Err(error) if error.stage == Stage::Request && error.number().is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    // It was read somewhere between the question and the answer.
    let at = begun + begun.elapsed() / 2;
    let said = rows.first().map(|row| row.text(0)).transpose()?.flatten().and_then(|text| text.parse().ok());
    Ok(said.map(|said| EngineClock { at, said }))
}

/// The fact `clock`: bad when the engine's clock has gone on by another time than has passed, by more than ten seconds.
pub fn clock_fact(before: Option<EngineClock>, after: &Result<Option<EngineClock>, SqlError>) -> EngineFact {
    let (outcome, detail) = match (before, after) {
        (_, Err(error)) => (FactOutcome::Unknown, error.op_error().message),
        (Some(before), Ok(Some(after))) => {
            let passed_s = after.at.duration_since(before.at).as_secs_f64();
            judge(passed_s, after.said.duration_since(before.said).as_secs_f64())
        }
        _ => (FactOutcome::Unsupported, String::new()),
    };
    EngineFact { name: "clock".to_owned(), outcome, detail }
}

fn judge(passed_s: f64, went_on_s: f64) -> (FactOutcome, String) {
    let off_s = went_on_s - passed_s;
    if off_s.abs() <= TOLERANCE_S {
        (FactOutcome::Good, format!("off by {off_s:+.1} s after {passed_s:.0} s"))
    } else if went_on_s < 0.0 {
        (FactOutcome::Bad, format!("the engine's time went back by {:.0} s while {passed_s:.0} s passed", -went_on_s))
    } else {
        (FactOutcome::Bad, format!("the engine's time went on by {went_on_s:.0} s while {passed_s:.0} s passed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_bad_either_way_and_a_small_step_is_not() {
        assert_eq!(judge(100.0, 100.4).0, FactOutcome::Good);
        assert_eq!(judge(100.0, 91.0).0, FactOutcome::Good);
        assert_eq!(judge(100.0, -3_500.0), (FactOutcome::Bad, "the engine's time went back by 3500 s while 100 s passed".to_owned()));
        assert_eq!(judge(100.0, 3_700.0).0, FactOutcome::Bad);
        assert_eq!(judge(100.0, 85.0).0, FactOutcome::Bad, "it stood still for a while, or went back a little");
    }

    #[test]
    fn what_the_engine_does_not_tell_is_no_damage() {
        assert_eq!(clock_fact(None, &Ok(None)).outcome, FactOutcome::Unsupported);
    }
}

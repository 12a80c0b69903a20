use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a value with a unit was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// A number stood alone.
    #[error("`{text}` has no unit, expected {expected}")]
    Missing {
        /// What was written.
        text: String,
        /// What would have been right, with an example.
        expected: &'static str,
    },
    /// Not a number with a known unit.
    #[error("`{text}` is not {expected}")]
    Malformed {
        /// What was written.
        text: String,
        /// What would have been right, with an example.
        expected: &'static str,
    },
    /// The number is too large to hold.
    #[error("`{text}` is out of range")]
    Range {
        /// What was written.
        text: String,
    },
}

const DURATION: &str = "a duration such as 30s, 250ms or 1m30s";
const RATE: &str = "a rate such as 200/s or 30/m";
const QUANTITY: &str = "a size such as 8Gi or 512Mi";

/// Reads a duration: one or more `<number><unit>` parts with the units `ns`, `us`, `ms`, `s`, `m`, `h`. `0s` is a duration, `0` is not.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let malformed = || UnitError::Malformed { text: text.to_owned(), expected: DURATION };
    if text.is_empty() {
        return Err(malformed());
    }
    let mut rest = text;
    let mut total_ns: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return Err(malformed());
        }
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit_ns: u64 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" if rest.len() == text.len() && tail.is_empty() => {
                return Err(UnitError::Missing { text: text.to_owned(), expected: DURATION });
            }
            _ => return Err(malformed()),
        };
        total_ns += scaled(number, unit_ns).ok_or_else(malformed)?;
        rest = tail;
    }
    u64::try_from(total_ns).map(Duration::from_nanos).map_err(|_| UnitError::Range { text: text.to_owned() })
}

/// `number` (digits with at most one point) times `unit`, rounded down; `None` when it is not a number.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || whole.len() > 20 {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = fraction.parse().ok()?;
    Some(whole * u128::from(unit) + fraction * u128::from(unit) / scale)
}

/// Writes a duration the way the experiment file reads it, in the largest units that keep it exact.
pub fn format_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0s".to_owned();
    }
    let units: [(u128, &str); 6] =
        [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let mut rest = ns;
    let mut text = String::new();
    for (size, unit) in units {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// A rate of operations.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate {
    /// Operations a second.
    pub per_second: f64,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.per_second)
    }
}

/// Reads a rate: `<number>/s`, `<number>/m` or `<number>/h`. The sign and zero are left to the caller's validation.
pub fn parse_rate(text: &str) -> Result<Rate, UnitError> {
    let malformed = || UnitError::Malformed { text: text.to_owned(), expected: RATE };
    let Some((number, unit)) = text.split_once('/') else {
        return Err(match text.parse::<f64>() {
            Ok(_) => UnitError::Missing { text: text.to_owned(), expected: RATE },
            Err(_) => malformed(),
        });
    };
    let number: f64 = number.trim().parse().map_err(|_| malformed())?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(malformed()),
    };
    if !number.is_finite() {
        return Err(malformed());
    }
    Ok(Rate { per_second: number / seconds })
}

/// Checks a Kubernetes storage quantity with a binary suffix and returns it in bytes.
pub fn parse_quantity(text: &str) -> Result<u64, UnitError> {
    let malformed = || UnitError::Malformed { text: text.to_owned(), expected: QUANTITY };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| malformed())?;
    let shift = match unit {
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        "Ti" => 40,
        "" => {
            return Err(UnitError::Missing { text: text.to_owned(), expected: QUANTITY });
        }
        _ => return Err(malformed()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| UnitError::Range { text: text.to_owned() })
}

/// Milliseconds with their fraction, as the report shows times. Built from nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub f64);

impl Millis {
    /// From nanoseconds, to a microsecond.
    #[expect(clippy::cast_precision_loss, reason = "a run is far shorter than the 104 days where f64 loses a nanosecond")]
    pub fn from_ns(ns: u64) -> Self {
        Millis((ns / 1_000) as f64 / 1_000.0)
    }
}

impl fmt::Display for Millis {
    /// Three significant digits at most, in ms below a second and in s from there on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        let text = if ms < 10.0 {
            format!("{ms:.2} ms")
        } else if ms < 100.0 {
            format!("{ms:.1} ms")
        } else if ms < 1_000.0 {
            format!("{ms:.0} ms")
        } else if ms < 10_000.0 {
            format!("{:.2} s", ms / 1_000.0)
        } else {
            format!("{:.1} s", ms / 1_000.0)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert!(matches!(parse_duration("30"), Err(UnitError::Missing { .. })));
        assert!(matches!(parse_duration("-3s"), Err(UnitError::Malformed { .. })));
        assert!(matches!(parse_duration("3 s"), Err(UnitError::Malformed { .. })));
        assert!(matches!(parse_duration("30x"), Err(UnitError::Malformed { .. })));
        assert!(matches!(parse_duration("9999999999999h"), Err(UnitError::Range { .. })));
    }

    #[test]
    fn a_duration_survives_being_written_and_read() {
        for ms in [0, 1, 999, 1000, 61_250, 3_600_000, 86_399_999] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }

    #[test]
    fn a_rate_needs_a_time() {
        assert_eq!(parse_rate("200/s").map(|r| r.per_second), Ok(200.0));
        assert_eq!(parse_rate("30/m").map(|r| r.per_second), Ok(0.5));
        assert!(matches!(parse_rate("200"), Err(UnitError::Missing { .. })));
        assert!(matches!(parse_rate("fast/s"), Err(UnitError::Malformed { .. })));
    }

    #[test]
    fn a_size_needs_a_binary_suffix() {
        assert_eq!(parse_quantity("8Gi"), Ok(8 << 30));
        assert!(matches!(parse_quantity("8"), Err(UnitError::Missing { .. })));
        assert!(matches!(parse_quantity("8GB"), Err(UnitError::Malformed { .. })));
    }
}

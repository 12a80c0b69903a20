//! DATEADD, DATEDIFF, DATEPART.

use crate::error::{SqlError, SqlResult};
use crate::sql::types::Ty;
use crate::value::Value;
use crate::value::datetime::{DAY, DAYS_1900, END, SECOND, civil, days, month_len, offset_from_blob, offset_to_blob, round_300};

fn unit(part: &str) -> Option<i64> {
    Some(match part {
        "WEEK" => 7 * DAY,
        "DAY" | "DAYOFYEAR" | "WEEKDAY" => DAY,
        "HOUR" => 3600 * SECOND,
        "MINUTE" => 60 * SECOND,
        "SECOND" => SECOND,
        "MILLISECOND" => SECOND / 1000,
        "MICROSECOND" => 10,
        _ => return None,
    })
}

/// Local ticks of any temporal value.
fn ticks(v: &Value, ty: Ty) -> Option<i64> {
    match v {
        Value::Integer(n) if matches!(ty, Ty::Time(_)) => Some(DAYS_1900 * DAY + n),
        Value::Integer(n) => Some(*n),
        Value::Blob(b) => {
            let (utc, min) = offset_from_blob(b);
            Some(utc + i64::from(min) * 60 * SECOND)
        }
        _ => None,
    }
}

/// DATEADD.
pub fn add(part: &str, n: Option<i64>, v: &Value, ty: Ty) -> SqlResult<Value> {
    let (Some(n), Some(t)) = (n, ticks(v, ty)) else { return Ok(Value::Null) };
    let overflow = || SqlError::new(517, format!("Adding a value to a '{}' column caused an overflow.", ty.name()));
    let moved = if let Some(u) = unit(part) {
        n.checked_mul(u).and_then(|d| t.checked_add(d))
    } else if part == "NANOSECOND" {
        t.checked_add(n / 100)
    } else {
        let months = match part {
            "YEAR" => n.checked_mul(12),
            "QUARTER" => n.checked_mul(3),
            _ => Some(n),
        };
        months.filter(|m| m.abs() < 200_000).map(|m| {
            let (y, mo, d) = civil(t.div_euclid(DAY));
            let total = y * 12 + mo - 1 + m;
            let (y, mo) = (total.div_euclid(12), total.rem_euclid(12) + 1);
            days(y, mo, d.min(month_len(y, mo))) * DAY + t.rem_euclid(DAY)
        })
    };
    let t = moved.ok_or_else(overflow)?;
    Ok(match ty {
        Ty::Time(_) => Value::Integer(t.rem_euclid(DAY)),
        Ty::DateTimeOffset(_) => {
            let min = match v {
                Value::Blob(b) => offset_from_blob(b).1,
                _ => 0,
            };
            Value::Blob(offset_to_blob(t - i64::from(min) * 60 * SECOND, min))
        }
        _ if !(0..END).contains(&t) => return Err(overflow()),
        Ty::Date => Value::Integer(t.div_euclid(DAY) * DAY),
        Ty::DateTime | Ty::SmallDateTime => Value::Integer(round_300(t)),
        _ => Value::Integer(t),
    })
}

/// DATEDIFF and DATEDIFF_BIG: boundaries crossed, not time passed.
pub fn diff(part: &str, (a, ta): (&Value, Ty), (b, tb): (&Value, Ty), to: Ty) -> SqlResult<Value> {
    let (Some(a), Some(b)) = (ticks(a, ta), ticks(b, tb)) else { return Ok(Value::Null) };
    let months = |t: i64| {
        let (y, m, _) = civil(t.div_euclid(DAY));
        y * 12 + m - 1
    };
    let n = match part {
        "YEAR" => months(b).div_euclid(12) - months(a).div_euclid(12),
        "QUARTER" => months(b).div_euclid(3) - months(a).div_euclid(3),
        "MONTH" => months(b) - months(a),
        // Weeks begin on Sunday; day 0 of the calendar is a Monday.
        "WEEK" => (b.div_euclid(DAY) + 1).div_euclid(7) - (a.div_euclid(DAY) + 1).div_euclid(7),
        "NANOSECOND" => b.checked_sub(a).and_then(|d| d.checked_mul(100)).unwrap_or(i64::MAX),
        p => {
            let u = unit(p).unwrap_or(DAY);
            b.div_euclid(u) - a.div_euclid(u)
        }
    };
    if to == Ty::Int && i32::try_from(n).is_err() {
        return Err(SqlError::new(
            535,
            "The datediff function resulted in an overflow. The number of dateparts separating two date/time instances is too large. Try to use datediff with a less precise datepart.",
        ));
    }
    Ok(Value::Integer(n))
}

/// DATEPART.
pub fn part(part: &str, v: &Value, ty: Ty) -> SqlResult<Value> {
    let Some(t) = ticks(v, ty) else { return Ok(Value::Null) };
    let day = t.div_euclid(DAY);
    let (y, m, d) = civil(day);
    let s = t.rem_euclid(DAY);
    Ok(Value::Integer(match part {
        "YEAR" => y,
        "QUARTER" => (m - 1) / 3 + 1,
        "MONTH" => m,
        "DAY" => d,
        "DAYOFYEAR" => day - days(y, 1, 1) + 1,
        "WEEKDAY" => (day + 1).rem_euclid(7) + 1,
        "WEEK" => (day + 1).div_euclid(7) - (days(y, 1, 1) + 1).div_euclid(7) + 1,
        "HOUR" => s / (3600 * SECOND),
        "MINUTE" => s / (60 * SECOND) % 60,
        "SECOND" => s / SECOND % 60,
        "MILLISECOND" => s % SECOND / 10_000,
        "MICROSECOND" => s % SECOND / 10,
        _ => s % SECOND * 100,
    }))
}

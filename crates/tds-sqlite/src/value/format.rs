//! Values to text, with CONVERT's styles.

use super::datetime::{DAY, SECOND, civil, offset_from_blob};
use super::{cp1252, exact_from_blob, guid_wire, pow10};
use crate::error::{SqlError, SqlResult};
use crate::sql::types::Ty;
use rusqlite::types::Value;
use std::fmt::Write as _;

/// A scaled integer in decimal notation.
pub fn exact(n: i128, scale: u8) -> String {
    let sign = if n < 0 { "-" } else { "" };
    let n = n.unsigned_abs();
    let d = pow10(scale).unsigned_abs();
    if scale == 0 { format!("{sign}{n}") } else { format!("{sign}{}.{:0w$}", n / d, n % d, w = usize::from(scale)) }
}

/// A float as style 0 writes it: six significant digits, an exponent where it is shorter.
pub fn float(f: f64, digits: usize) -> String {
    if f == 0.0 {
        return "0".to_owned();
    }
    let sci = format!("{f:.*e}", digits - 1);
    let (mantissa, exp) = sci.split_once('e').unwrap_or((&sci, "0"));
    let exp: i32 = exp.parse().unwrap_or(0);
    let width = i32::try_from(digits).unwrap_or(15);
    if (-5..width).contains(&exp) {
        let places = usize::try_from((width - 1 - exp).max(0)).unwrap_or(0);
        let s = format!("{f:.places$}");
        if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').to_owned() } else { s }
    } else {
        let m = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
        format!("{m}e{}{:03}", if exp < 0 { '-' } else { '+' }, exp.abs())
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn fraction(ticks: i64, scale: u8) -> String {
    if scale == 0 {
        return String::new();
    }
    let f = format!("{:07}", ticks % SECOND);
    format!(".{}", &f[..usize::from(scale.min(7))])
}

/// Date and time text of ticks in a style; `ty` gives the fraction's width and what parts there are.
///
/// # Errors
/// 281 for styles that are not served.
pub fn format_datetime(ticks: i64, ty: Ty, style: i64) -> SqlResult<String> {
    let (y, mo, d) = civil(ticks.div_euclid(DAY));
    let t = ticks.rem_euclid(DAY);
    let s = t / SECOND;
    let (h, mi, s) = (s / 3600, s / 60 % 60, s % 60);
    let frac = fraction(t, ty.scale());
    let date = format!("{y:04}-{mo:02}-{d:02}");
    let clock = format!("{h:02}:{mi:02}:{s:02}");
    let legacy = matches!(ty, Ty::DateTime | Ty::SmallDateTime);
    let milli = if legacy { fraction(t, 3) } else { frac.clone() };
    Ok(match (style, ty) {
        (0 | 100, Ty::DateTime | Ty::SmallDateTime) => {
            let h12 = if h % 12 == 0 { 12 } else { h % 12 };
            let m = usize::try_from(mo - 1).ok().and_then(|i| MONTHS.get(i)).copied().unwrap_or("");
            format!("{m} {d:>2} {y:04} {h12:>2}:{mi:02}{}", if h < 12 { "AM" } else { "PM" })
        }
        (0 | 20 | 21 | 23 | 120 | 121 | 126, Ty::Date) => date,
        (112, _) => format!("{y:04}{mo:02}{d:02}"),
        (0 | 20 | 21 | 120 | 121 | 114 | 108 | 126, Ty::Time(_)) => format!("{clock}{frac}"),
        (23, _) => date,
        (101, _) => format!("{mo:02}/{d:02}/{y:04}"),
        (103, _) => format!("{d:02}/{mo:02}/{y:04}"),
        (104, _) => format!("{d:02}.{mo:02}.{y:04}"),
        (8 | 108, _) => clock,
        (14 | 114, _) => format!("{clock}{milli}"),
        (20 | 120, _) => format!("{date} {clock}"),
        (0 | 21 | 121, _) => format!("{date} {clock}{milli}"),
        (126 | 127, _) => {
            let milli = if milli.trim_matches(['.', '0']).is_empty() { "" } else { &milli };
            format!("{date}T{clock}{milli}{}", if style == 127 { "Z" } else { "" })
        }
        _ => {
            return Err(SqlError::new(
                281,
                format!("{style} is not a valid style number when converting from {} to a character string.", ty.name()),
            ));
        }
    })
}

/// Any non-null value as text.
pub fn text(v: &Value, ty: Ty, style: i64) -> SqlResult<String> {
    Ok(match (v, ty) {
        (Value::Null, _) => String::new(),
        (Value::Text(s), _) => s.clone(),
        (Value::Real(f), Ty::Real) => float(*f, 6),
        (Value::Real(f), _) => match style {
            0 => float(*f, 6),
            1 => float(*f, 8),
            2 => float(*f, 16),
            _ => float(*f, 17),
        },
        (Value::Integer(n), t) if t.is_temporal() => format_datetime(*n, t, style)?,
        (Value::Integer(n), _) => n.to_string(),
        (Value::Blob(b), Ty::Money | Ty::SmallMoney) => match style {
            2 => exact(exact_from_blob(b), 4),
            _ => exact(super::rescale(exact_from_blob(b), 4, 2).unwrap_or(0), 2),
        },
        (Value::Blob(b), Ty::Decimal(_, s)) => exact(exact_from_blob(b), s),
        (Value::Blob(b), Ty::Guid) => guid(&guid_wire(b)),
        (Value::Blob(b), Ty::DateTimeOffset(n)) => {
            let (utc, min) = offset_from_blob(b);
            let local = utc + i64::from(min) * 60 * SECOND;
            let text = format_datetime(local, Ty::DateTime2(n), style)?;
            let sep = if style == 126 { "" } else { " " };
            format!("{text}{sep}{}{:02}:{:02}", if min < 0 { '-' } else { '+' }, min.abs() / 60, min.abs() % 60)
        }
        (Value::Blob(b), _) => match style {
            1 => format!("0x{}", hex(b)),
            2 => hex(b),
            _ => cp1252::decode(b),
        },
    })
}

/// Upper case hexadecimal.
pub fn hex(b: &[u8]) -> String {
    b.iter().fold(String::with_capacity(b.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02X}");
        s
    })
}

fn guid(w: &[u8; 16]) -> String {
    let h = hex(&[w[3], w[2], w[1], w[0], w[5], w[4], w[7], w[6], w[8], w[9], w[10], w[11], w[12], w[13], w[14], w[15]]);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

//! The conversion matrix.

use super::datetime::{self, DAY, SECOND};
use super::{cp1252, exact_from_blob, exact_to_blob, format, guid_store, guid_wire, pow10, rescale};
use crate::error::{SqlError, SqlResult};
use crate::sql::types::{MAX, Ty};
use rusqlite::types::Value;

/// Text of a value, as CAST to nvarchar(max) gives it; NULL is empty.
pub fn text_of(v: &Value, ty: Ty) -> String {
    format::text(v, ty, 0).unwrap_or_default()
}

/// Converts a stored value from one type to another.
///
/// # Errors
/// 241, 242, 245, 248, 281, 529, 8114, 8115, 8169 as SQL Server raises them.
pub fn convert(v: Value, from: Ty, to: Ty, style: i64) -> SqlResult<Value> {
    if matches!(v, Value::Null) || to == Ty::Null {
        return Ok(v);
    }
    if from.same_storage(to) && style == 0 {
        return Ok(v);
    }
    match to {
        Ty::Bit | Ty::TinyInt | Ty::SmallInt | Ty::Int | Ty::BigInt => to_int(&v, from, to).map(Value::Integer),
        Ty::Decimal(..) | Ty::Money | Ty::SmallMoney => to_exact(&v, from, to).map(|n| Value::Blob(exact_to_blob(n))),
        Ty::Real | Ty::Float => to_float(&v, from, to).map(Value::Real),
        Ty::Char(_) | Ty::VarChar(_) | Ty::NChar(_) | Ty::NVarChar(_) => to_text(&v, from, to, style),
        Ty::Binary(_) | Ty::VarBinary(_) => to_binary(v, from, to, style),
        Ty::Guid => to_guid(&v, from),
        _ => to_temporal(&v, from, to),
    }
}

/// Converts for storing into a column: text and binary that do not fit are an error, not cut.
///
/// # Errors
/// As [`convert`], and 2628.
pub fn assign(v: Value, from: Ty, to: Ty, column: &str) -> SqlResult<Value> {
    if let Value::Text(s) = &v
        && to.is_text()
        && to.len() != MAX
    {
        let limit = usize::from(to.len());
        let len = text_len(s, to);
        if len > limit && text_len(s.trim_end_matches(' '), to) > limit {
            let shown = cut(s, to, limit);
            return Err(too_long(column, &shown));
        }
    }
    if let Value::Blob(b) = &v
        && to.is_binary()
        && from.is_binary()
        && to.len() != MAX
        && b.len() > usize::from(to.len())
    {
        return Err(too_long(column, ""));
    }
    convert(v, from, to, 0)
}

fn too_long(column: &str, shown: &str) -> SqlError {
    let (table, col) = column.rsplit_once('.').unwrap_or(("", column));
    SqlError::new(2628, format!("String or binary data would be truncated in table '{table}', column '{col}'. Truncated value: '{shown}'."))
}

fn mismatch(from: Ty, to: Ty) -> SqlError {
    SqlError::new(529, format!("Explicit conversion from data type {} to {} is not allowed.", from.name(), to.name()))
}

/// Units that a declared length counts: bytes of the code page, or UTF-16 units.
fn text_len(s: &str, ty: Ty) -> usize {
    if s.is_ascii() {
        s.len()
    } else if ty.is_national() {
        s.encode_utf16().count()
    } else {
        s.chars().count()
    }
}

fn cut(s: &str, ty: Ty, limit: usize) -> String {
    let mut units = 0;
    s.chars()
        .take_while(|c| {
            units += if ty.is_national() { c.len_utf16() } else { 1 };
            units <= limit
        })
        .collect()
}

fn to_text(v: &Value, from: Ty, to: Ty, style: i64) -> SqlResult<Value> {
    let mut s = if let (Value::Blob(b), true, true, 0) = (v, from.is_binary(), to.is_national(), style) {
        let units: Vec<u16> = b.chunks(2).map(|c| u16::from_le_bytes([c[0], c.get(1).copied().unwrap_or(0)])).collect();
        String::from_utf16_lossy(&units)
    } else {
        format::text(v, from, style)?
    };
    if !to.is_national() {
        s = cp1252::fold(s);
    }
    let limit = usize::from(to.len());
    if to.len() != MAX && text_len(&s, to) > limit {
        if from.is_text() || from.is_binary() || from.is_temporal() {
            s = cut(&s, to, limit);
        } else if from == Ty::Guid {
            return Err(SqlError::new(8170, "Insufficient result space to convert uniqueidentifier value to char.").state(2));
        } else {
            return Err(SqlError::overflow(to.name()));
        }
    }
    if matches!(to, Ty::Char(_) | Ty::NChar(_)) {
        let have = text_len(&s, to);
        s.extend(std::iter::repeat_n(' ', limit.saturating_sub(have)));
    }
    Ok(Value::Text(s))
}

fn bad_text(s: &str, from: Ty, to: Ty) -> SqlError {
    let shown: String = s.chars().take(256).collect();
    SqlError::new(245, format!("Conversion failed when converting the {} value '{shown}' to data type {}.", from.name(), to.name()))
}

fn to_int(v: &Value, from: Ty, to: Ty) -> SqlResult<i64> {
    let n: i128 = match v {
        Value::Integer(n) if from.is_temporal() => match from {
            Ty::DateTime | Ty::SmallDateTime => i128::from((n + DAY / 2).div_euclid(DAY) - datetime::DAYS_1900),
            _ => return Err(mismatch(from, to)),
        },
        Value::Integer(n) => i128::from(*n),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked below, and the cast saturates")]
        Value::Real(f) => f.trunc() as i128,
        Value::Text(s) => {
            let t = s.trim();
            if to == Ty::Bit && t.eq_ignore_ascii_case("true") {
                1
            } else if to == Ty::Bit && t.eq_ignore_ascii_case("false") || t.is_empty() {
                0
            } else {
                t.strip_prefix('+').unwrap_or(t).parse().map_err(|_| bad_text(s, from, to))?
            }
        }
        Value::Blob(b) if from.is_exact() => exact_from_blob(b) / pow10(from.exact().1),
        Value::Blob(b) if from.is_binary() => {
            let width = int_width(to);
            let tail = &b[b.len().saturating_sub(width)..];
            let mut n = tail.iter().fold(0i64, |n, b| n << 8 | i64::from(*b));
            if tail.len() == width && width < 8 && to != Ty::TinyInt {
                let shift = 64 - 8 * width;
                n = n << shift >> shift;
            }
            i128::from(n)
        }
        Value::Null => 0,
        Value::Blob(_) => return Err(mismatch(from, to)),
    };
    if to == Ty::Bit {
        return Ok(i64::from(n != 0));
    }
    let (lo, hi) = int_range(to);
    i64::try_from(n).ok().filter(|n| (lo..=hi).contains(n)).ok_or_else(|| match v {
        Value::Text(s) if to == Ty::Int => {
            SqlError::new(248, format!("The conversion of the {} value '{s}' overflowed an int column.", from.name()))
        }
        Value::Integer(n) if matches!(to, Ty::TinyInt | Ty::SmallInt) => {
            SqlError::new(220, format!("Arithmetic overflow error for data type {}, value = {n}.", to.name()))
        }
        _ => SqlError::overflow(to.name()),
    })
}

/// Smallest and largest value of an integer type.
pub fn int_range(ty: Ty) -> (i64, i64) {
    match ty {
        Ty::Bit => (0, 1),
        Ty::TinyInt => (0, 255),
        Ty::SmallInt => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Ty::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

fn int_width(ty: Ty) -> usize {
    match ty {
        Ty::Bit | Ty::TinyInt => 1,
        Ty::SmallInt => 2,
        Ty::Int => 4,
        _ => 8,
    }
}

/// Parses decimal notation into a scaled integer of the wanted scale.
pub fn parse_exact(s: &str, scale: u8) -> Option<i128> {
    let t = s.trim();
    let (neg, t) = match t.strip_prefix('-') {
        Some(t) => (true, t),
        None => (false, t.strip_prefix('+').unwrap_or(t)),
    };
    let (whole, frac) = t.split_once('.').unwrap_or((t, ""));
    if (whole.is_empty() && frac.is_empty()) || !whole.bytes().chain(frac.bytes()).all(|c| c.is_ascii_digit()) {
        return None;
    }
    let keep = &frac[..frac.len().min(38)];
    let digits = format!("{whole}{keep}");
    let digits = digits.trim_start_matches('0');
    if digits.len() > 38 && whole.trim_start_matches('0').len() > 38 {
        return None;
    }
    let (digits, have) = if digits.len() > 38 { (&digits[..38], keep.len() - (digits.len() - 38)) } else { (digits, keep.len()) };
    let n: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    rescale(if neg { -n } else { n }, u8::try_from(have).ok()?, scale)
}

fn to_exact(v: &Value, from: Ty, to: Ty) -> SqlResult<i128> {
    let (p, s) = to.exact();
    let overflow = || match to {
        Ty::Decimal(..) => {
            SqlError::new(8115, format!("Arithmetic overflow error converting {} to data type numeric.", from.name())).state(8)
        }
        _ => SqlError::overflow(to.name()),
    };
    let n = match v {
        Value::Integer(n) if !from.is_temporal() => rescale(i128::from(*n), 0, s).ok_or_else(overflow)?,
        Value::Real(f) => {
            let text = format!("{f:.*}", usize::from(s));
            parse_exact(&text, s).ok_or_else(overflow)?
        }
        Value::Text(t) => {
            let bare = if s == 4 { t.trim().replace([',', '$'], "") } else { t.trim().to_owned() };
            if to == Ty::Money && bare.is_empty() {
                return Ok(0);
            }
            parse_exact(&bare, s).ok_or_else(|| match to {
                Ty::Money | Ty::SmallMoney => {
                    SqlError::new(235, "Cannot convert a char value to money. The char value has incorrect syntax.")
                }
                _ => SqlError::new(8114, format!("Error converting data type {} to numeric.", from.name())).state(5),
            })?
        }
        Value::Blob(b) if from.is_exact() => rescale(exact_from_blob(b), from.exact().1, s).ok_or_else(overflow)?,
        _ => return Err(mismatch(from, to)),
    };
    let fits = match to {
        Ty::Money => i64::try_from(n).is_ok(),
        Ty::SmallMoney => i32::try_from(n).is_ok(),
        _ => n.unsigned_abs() < pow10(p).unsigned_abs(),
    };
    if fits { Ok(n) } else { Err(overflow()) }
}

fn to_float(v: &Value, from: Ty, to: Ty) -> SqlResult<f64> {
    #[expect(clippy::cast_precision_loss, reason = "float conversion loses precision by definition")]
    let f = match v {
        Value::Integer(n) if !from.is_temporal() => *n as f64,
        Value::Real(f) => *f,
        Value::Text(s) => {
            let t = s.trim();
            if t.is_empty() {
                0.0
            } else {
                let ok = t.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-'));
                let parsed = if ok { t.parse::<f64>().ok() } else { None };
                parsed
                    .ok_or_else(|| SqlError::new(8114, format!("Error converting data type {} to {}.", from.name(), to.name())).state(5))?
            }
        }
        Value::Blob(b) if from.is_exact() => format::exact(exact_from_blob(b), from.exact().1).parse().unwrap_or(0.0),
        _ => return Err(mismatch(from, to)),
    };
    #[expect(clippy::cast_possible_truncation, reason = "real is single precision by definition")]
    let f = if to == Ty::Real { f64::from(f as f32) } else { f };
    if f.is_finite() { Ok(f) } else { Err(SqlError::overflow(to.name())) }
}

fn to_binary(v: Value, from: Ty, to: Ty, style: i64) -> SqlResult<Value> {
    let mut b = match v {
        Value::Blob(b) if from.is_binary() => b,
        Value::Blob(b) if from == Ty::Guid => guid_wire(&b).to_vec(),
        Value::Blob(b) if from.is_exact() => b,
        Value::Text(s) if style == 1 || style == 2 => unhex(if style == 1 { s.strip_prefix("0x").unwrap_or("?") } else { &s })
            .ok_or_else(|| SqlError::new(8114, format!("Error converting data type {} to {}.", from.name(), to.name())).state(5))?,
        Value::Text(s) if from.is_national() => s.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Value::Text(s) => cp1252::encode(&s),
        Value::Integer(n) if from.is_int() => n.to_be_bytes()[8 - int_width(from)..].to_vec(),
        _ => return Err(mismatch(from, to)),
    };
    if to.len() != MAX {
        let limit = usize::from(to.len());
        if b.len() > limit {
            if from.is_int() {
                b.drain(..b.len() - limit);
            } else {
                b.truncate(limit);
            }
        } else if matches!(to, Ty::Binary(_)) {
            if from.is_int() {
                let mut padded = vec![0; limit - b.len()];
                padded.append(&mut b);
                b = padded;
            } else {
                b.resize(limit, 0);
            }
        }
    }
    Ok(Value::Blob(b))
}

fn unhex(s: &str) -> Option<Vec<u8>> {
    if s.len() % 2 == 1 || !s.is_ascii() {
        return None;
    }
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).ok()).collect()
}

fn to_guid(v: &Value, from: Ty) -> SqlResult<Value> {
    let bad = || SqlError::new(8169, "Conversion failed when converting from a character string to uniqueidentifier.").state(2);
    match v {
        Value::Text(s) => {
            let t = s.trim().trim_start_matches('{').trim_end_matches('}');
            let t = t.get(..36).ok_or_else(bad)?;
            let well_formed =
                t.bytes().enumerate().all(|(i, c)| if matches!(i, 8 | 13 | 18 | 23) { c == b'-' } else { c.is_ascii_hexdigit() });
            let b = unhex(&t.replace('-', "")).filter(|_| well_formed).ok_or_else(bad)?;
            let w = [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]];
            Ok(Value::Blob(guid_store(&w)))
        }
        Value::Blob(b) if from.is_binary() => {
            let mut w = [0; 16];
            for (to, from) in w.iter_mut().zip(b) {
                *to = *from;
            }
            Ok(Value::Blob(guid_store(&w)))
        }
        _ => Err(mismatch(from, Ty::Guid)),
    }
}

fn to_temporal(v: &Value, from: Ty, to: Ty) -> SqlResult<Value> {
    // Local ticks and the offset that they carry.
    let (ticks, offset) = match v {
        Value::Text(s) => datetime::parse(s)
            .ok_or_else(|| SqlError::new(241, "Conversion failed when converting date and/or time from character string."))?,
        Value::Integer(n) if matches!(from, Ty::Time(_)) => (datetime::DAYS_1900 * DAY + n, None),
        Value::Integer(n) if from.is_temporal() => (*n, None),
        Value::Integer(n) if from.is_int() && matches!(to, Ty::DateTime | Ty::SmallDateTime) => ((n + datetime::DAYS_1900) * DAY, None),
        Value::Blob(b) if matches!(from, Ty::DateTimeOffset(_)) => {
            let (utc, min) = datetime::offset_from_blob(b);
            (utc + i64::from(min) * 60 * SECOND, Some(min))
        }
        _ => return Err(mismatch(from, to)),
    };
    let range = || {
        SqlError::new(
            242,
            format!("The conversion of a {} data type to a {} data type resulted in an out-of-range value.", from.name(), to.name()),
        )
        .state(3)
    };
    let out = match to {
        Ty::Date => ticks.div_euclid(DAY) * DAY,
        Ty::Time(n) => {
            let t = datetime::round(ticks.rem_euclid(DAY), n);
            if t >= DAY { 0 } else { t }
        }
        Ty::SmallDateTime => datetime::round_minute(ticks),
        Ty::DateTime => datetime::round_300(ticks),
        Ty::DateTime2(n) => datetime::round(ticks, n).min(datetime::END - 1),
        Ty::DateTimeOffset(n) => {
            let min = offset.unwrap_or(0);
            return Ok(Value::Blob(datetime::offset_to_blob(datetime::round(ticks, n) - i64::from(min) * 60 * SECOND, min)));
        }
        _ => return Err(mismatch(from, to)),
    };
    let ok = match to {
        Ty::DateTime => (639_905 * DAY..datetime::END).contains(&out),
        Ty::SmallDateTime => (datetime::DAYS_1900 * DAY..(datetime::DAYS_1900 + 65_536) * DAY).contains(&out),
        _ => (0..datetime::END).contains(&out),
    };
    if ok { Ok(Value::Integer(out)) } else { Err(range()) }
}

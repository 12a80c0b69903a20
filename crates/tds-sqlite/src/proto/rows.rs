//! COLMETADATA and ROW (MS-TDS 2.2.7.4, 2.2.7.19), and TYPE_INFO with values (2.2.5.4, 2.2.5.5).

use super::token::put_name;
use crate::error::{SqlError, SqlResult};
use crate::sql::types::{MAX, Ty};
use crate::translate::OutColumn;
use crate::value::datetime::{DAY, DAYS_1900, SECOND, offset_from_blob, to_300};
use crate::value::{cp1252, exact_from_blob, guid_wire};
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// SQL_Latin1_General_CP1_CI_AS.
pub const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];

/// Appends a TYPE_INFO.
pub fn type_info(out: &mut Vec<u8>, ty: Ty) {
    let len16 = |out: &mut Vec<u8>, token: u8, n: u16| {
        out.push(token);
        out.extend_from_slice(&n.to_le_bytes());
    };
    match ty {
        Ty::Bit => out.extend_from_slice(&[0x68, 1]),
        Ty::TinyInt => out.extend_from_slice(&[0x26, 1]),
        Ty::SmallInt => out.extend_from_slice(&[0x26, 2]),
        Ty::Null | Ty::Int => out.extend_from_slice(&[0x26, 4]),
        Ty::BigInt => out.extend_from_slice(&[0x26, 8]),
        Ty::Real => out.extend_from_slice(&[0x6D, 4]),
        Ty::Float => out.extend_from_slice(&[0x6D, 8]),
        Ty::SmallMoney => out.extend_from_slice(&[0x6E, 4]),
        Ty::Money => out.extend_from_slice(&[0x6E, 8]),
        Ty::Decimal(p, s) => out.extend_from_slice(&[0x6C, u8::try_from(decimal_len(p) + 1).unwrap_or(17), p, s]),
        Ty::SmallDateTime => out.extend_from_slice(&[0x6F, 4]),
        Ty::DateTime => out.extend_from_slice(&[0x6F, 8]),
        Ty::Date => out.push(0x28),
        Ty::Time(n) => out.extend_from_slice(&[0x29, n]),
        Ty::DateTime2(n) => out.extend_from_slice(&[0x2A, n]),
        Ty::DateTimeOffset(n) => out.extend_from_slice(&[0x2B, n]),
        Ty::Guid => out.extend_from_slice(&[0x24, 16]),
        Ty::Binary(n) => len16(out, 0xAD, n),
        Ty::VarBinary(n) => len16(out, 0xA5, n),
        Ty::Char(n) => {
            len16(out, 0xAF, n);
            out.extend_from_slice(&COLLATION);
        }
        Ty::VarChar(n) => {
            len16(out, 0xA7, n);
            out.extend_from_slice(&COLLATION);
        }
        Ty::NChar(n) => {
            len16(out, 0xEF, n.saturating_mul(2));
            out.extend_from_slice(&COLLATION);
        }
        Ty::NVarChar(n) => {
            len16(out, 0xE7, if n == MAX { MAX } else { n.saturating_mul(2) });
            out.extend_from_slice(&COLLATION);
        }
    }
}

fn decimal_len(p: u8) -> usize {
    match p {
        0..=9 => 4,
        10..=19 => 8,
        20..=28 => 12,
        _ => 16,
    }
}

fn time_len(scale: u8) -> usize {
    match scale {
        0..=2 => 3,
        3 | 4 => 4,
        _ => 5,
    }
}

/// Appends COLMETADATA.
pub fn metadata(out: &mut Vec<u8>, columns: &[OutColumn]) {
    out.push(0x81);
    out.extend_from_slice(&u16::try_from(columns.len()).unwrap_or(u16::MAX).to_le_bytes());
    for c in columns {
        out.extend_from_slice(&0u32.to_le_bytes());
        let flags = u16::from(c.nullable) | if c.identity { 0x10 } else { 0x08 };
        out.extend_from_slice(&flags.to_le_bytes());
        type_info(out, c.ty);
        put_name(out, &c.name);
    }
}

/// Appends a ROW.
///
/// # Errors
/// 8624 for a value that its static type cannot have: a fault of the translator, shown and not hidden.
pub fn row(out: &mut Vec<u8>, columns: &[OutColumn], row: &Row<'_>) -> SqlResult<()> {
    out.push(0xD1);
    for (i, c) in columns.iter().enumerate() {
        let v = row.get_ref(i).map_err(|e| SqlError::new(8624, format!("Internal Query Processor Error: {e}")))?;
        put(out, c.ty, v)?;
    }
    Ok(())
}

/// Appends a value in the form that its TYPE_INFO announces.
///
/// # Errors
/// As [`row`].
pub fn put(out: &mut Vec<u8>, ty: Ty, v: ValueRef<'_>) -> SqlResult<()> {
    if v == ValueRef::Null {
        match ty {
            t if (t.is_text() || t.is_binary()) && t.len() == MAX => out.extend_from_slice(&[0xFF; 8]),
            t if t.is_text() || t.is_binary() => out.extend_from_slice(&[0xFF; 2]),
            _ => out.push(0),
        }
        return Ok(());
    }
    match (ty, v) {
        (Ty::Bit | Ty::TinyInt, ValueRef::Integer(n)) => out.extend_from_slice(&[1, n.to_le_bytes()[0]]),
        (Ty::SmallInt, ValueRef::Integer(n)) => sized(out, &n.to_le_bytes()[..2]),
        (Ty::Int | Ty::Null, ValueRef::Integer(n)) => sized(out, &n.to_le_bytes()[..4]),
        (Ty::BigInt, ValueRef::Integer(n)) => sized(out, &n.to_le_bytes()),
        #[expect(clippy::cast_possible_truncation, reason = "real is single precision")]
        (Ty::Real, ValueRef::Real(f)) => sized(out, &(f as f32).to_le_bytes()),
        (Ty::Float, ValueRef::Real(f)) => sized(out, &f.to_le_bytes()),
        (Ty::Decimal(p, _), ValueRef::Blob(b)) => {
            let n = exact_from_blob(b);
            let len = decimal_len(p);
            out.push(u8::try_from(len + 1).unwrap_or(17));
            out.push(u8::from(n >= 0));
            out.extend_from_slice(&n.unsigned_abs().to_le_bytes()[..len]);
        }
        (Ty::Money, ValueRef::Blob(b)) => {
            let n = exact_from_blob(b).to_le_bytes();
            out.push(8);
            out.extend_from_slice(&n[4..8]);
            out.extend_from_slice(&n[..4]);
        }
        (Ty::SmallMoney, ValueRef::Blob(b)) => sized(out, &exact_from_blob(b).to_le_bytes()[..4]),
        (Ty::Guid, ValueRef::Blob(b)) => sized(out, &guid_wire(b)),
        (t, ValueRef::Integer(n)) if t.is_temporal() => temporal(out, t, n),
        (Ty::DateTimeOffset(s), ValueRef::Blob(b)) => {
            let (utc, min) = offset_from_blob(b);
            out.push(u8::try_from(time_len(s) + 5).unwrap_or(10));
            time(out, utc.rem_euclid(DAY), s);
            out.extend_from_slice(&utc.div_euclid(DAY).to_le_bytes()[..3]);
            out.extend_from_slice(&min.to_le_bytes());
        }
        (t, ValueRef::Blob(b)) if t.is_binary() => bytes(out, t, b),
        (t, ValueRef::Text(s)) if t.is_text() => {
            let s = std::str::from_utf8(s).map_err(|_| mistyped(ty))?;
            if t.is_national() {
                bytes(out, t, &super::token::utf16_bytes(s));
            } else if s.is_ascii() {
                bytes(out, t, s.as_bytes());
            } else {
                bytes(out, t, &cp1252::encode(s));
            }
        }
        _ => return Err(mistyped(ty)),
    }
    Ok(())
}

fn mistyped(ty: Ty) -> SqlError {
    SqlError::new(8624, format!("Internal Query Processor Error: a value does not have its type, {}.", ty.name()))
}

fn sized(out: &mut Vec<u8>, b: &[u8]) {
    out.push(u8::try_from(b.len()).unwrap_or(0));
    out.extend_from_slice(b);
}

fn bytes(out: &mut Vec<u8>, ty: Ty, b: &[u8]) {
    if ty.len() == MAX {
        out.extend_from_slice(&(b.len() as u64).to_le_bytes());
        if !b.is_empty() {
            out.extend_from_slice(&u32::try_from(b.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(b);
        }
        out.extend_from_slice(&0u32.to_le_bytes());
    } else {
        out.extend_from_slice(&u16::try_from(b.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(b);
    }
}

fn time(out: &mut Vec<u8>, ticks: i64, scale: u8) {
    let n = ticks / 10i64.pow(7 - u32::from(scale.min(7)));
    out.extend_from_slice(&n.to_le_bytes()[..time_len(scale)]);
}

fn temporal(out: &mut Vec<u8>, ty: Ty, n: i64) {
    let day = n.div_euclid(DAY);
    let t = n.rem_euclid(DAY);
    match ty {
        Ty::Date => sized(out, &day.to_le_bytes()[..3]),
        Ty::Time(s) => {
            out.push(u8::try_from(time_len(s)).unwrap_or(5));
            time(out, n, s);
        }
        Ty::DateTime2(s) => {
            out.push(u8::try_from(time_len(s) + 3).unwrap_or(8));
            time(out, t, s);
            out.extend_from_slice(&day.to_le_bytes()[..3]);
        }
        Ty::SmallDateTime => {
            out.push(4);
            out.extend_from_slice(&(day - DAYS_1900).to_le_bytes()[..2]);
            out.extend_from_slice(&(t / (60 * SECOND)).to_le_bytes()[..2]);
        }
        _ => {
            out.push(8);
            out.extend_from_slice(&(day - DAYS_1900).to_le_bytes()[..4]);
            out.extend_from_slice(&to_300(t).to_le_bytes()[..4]);
        }
    }
}

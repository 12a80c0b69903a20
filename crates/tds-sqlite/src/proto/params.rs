//! RPC requests (MS-TDS 2.2.6.6): the procedure, and parameters with their types and values.

use super::{Cursor, utf16};
use crate::error::{SqlError, SqlResult};
use crate::sql::types::{MAX, Ty};
use crate::value::datetime::{DAY, DAYS_1900, END, SECOND, from_300, offset_to_blob};
use crate::value::{Value, cp1252, exact_to_blob, guid_store};

/// A parameter.
#[derive(Debug, Clone)]
pub struct RpcParam {
    /// Name with its at sign, lower case; empty when positional.
    pub name: String,
    /// The caller wants it back.
    pub output: bool,
    /// Type.
    pub ty: Ty,
    /// Value in stored form.
    pub value: Value,
}

/// The procedure called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proc {
    /// By well-known number.
    Id(u16),
    /// By name.
    Name(String),
}

/// A call.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// What is called.
    pub proc: Proc,
    /// With what.
    pub params: Vec<RpcParam>,
}

/// Most parameters of a call, as in SQL Server.
const PARAMS_MAX: usize = 2100;

fn malformed() -> SqlError {
    SqlError::new(8000, "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect.").state(0)
}

/// Skips ALL_HEADERS (2.2.5.3).
pub fn skip_headers(body: &[u8]) -> Option<&[u8]> {
    let len = usize::try_from(Cursor(body).u32()?).ok()?;
    if len < 4 { None } else { body.get(len..) }
}

/// Reads the calls of an RPC message; a batch of calls is separated by 0x80 or 0xFF.
///
/// # Errors
/// 8000-class errors for malformed messages, 8009 for types that are not served.
pub fn parse(body: &[u8]) -> SqlResult<Vec<Rpc>> {
    let mut c = Cursor(body);
    let mut out = Vec::new();
    while !c.is_empty() {
        let len = c.u16().ok_or_else(malformed)?;
        let proc = if len == 0xFFFF {
            Proc::Id(c.u16().ok_or_else(malformed)?)
        } else {
            Proc::Name(c.utf16(usize::from(len)).ok_or_else(malformed)?)
        };
        c.u16().ok_or_else(malformed)?;
        let mut params = Vec::new();
        while !c.is_empty() && !matches!(c.0[0], 0x80 | 0xFE | 0xFF) {
            if params.len() >= PARAMS_MAX {
                return Err(SqlError::new(
                    8003,
                    "The incoming request has too many parameters. The server supports a maximum of 2100 parameters.",
                ));
            }
            params.push(param(&mut c, params.len() + 1)?);
        }
        if !c.is_empty() {
            c.u8();
        }
        out.push(Rpc { proc, params });
    }
    Ok(out)
}

fn param(c: &mut Cursor<'_>, n: usize) -> SqlResult<RpcParam> {
    let len = c.u8().ok_or_else(malformed)?;
    let name = c.utf16(usize::from(len)).ok_or_else(malformed)?.to_lowercase();
    let flags = c.u8().ok_or_else(malformed)?;
    let ty = wire_type(c).ok_or_else(malformed)?.ok_or_else(|| {
        SqlError::new(8009, format!("The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect. Parameter {n} (\"{name}\"): Data type is unknown or not served."))
    })?;
    let (ty, value) = ty.read(c).ok_or_else(malformed)?;
    let name = if name.is_empty() || name.starts_with('@') { name } else { format!("@{name}") };
    Ok(RpcParam { name, output: flags & 1 != 0, ty, value })
}

/// How a value's length is given.
enum Shape {
    Fixed(usize),
    Byte,
    Short,
    Long,
    Plp,
}

struct Wire {
    ty: Ty,
    shape: Shape,
}

/// Reads a TYPE_INFO; the inner `None` is a type that is not served.
#[expect(clippy::option_option, reason = "malformed and unserved are answered differently")]
fn wire_type(c: &mut Cursor<'_>) -> Option<Option<Wire>> {
    let w = |ty, shape| Some(Some(Wire { ty, shape }));
    let by_len = |n: u8, list: &[(u8, Ty)]| list.iter().find(|(l, _)| *l == n).map(|(_, t)| *t);
    match c.u8()? {
        0x1F => w(Ty::Null, Shape::Fixed(0)),
        0x30 => w(Ty::TinyInt, Shape::Fixed(1)),
        0x32 => w(Ty::Bit, Shape::Fixed(1)),
        0x34 => w(Ty::SmallInt, Shape::Fixed(2)),
        0x38 => w(Ty::Int, Shape::Fixed(4)),
        0x3A => w(Ty::SmallDateTime, Shape::Fixed(4)),
        0x3B => w(Ty::Real, Shape::Fixed(4)),
        0x3C => w(Ty::Money, Shape::Fixed(8)),
        0x3D => w(Ty::DateTime, Shape::Fixed(8)),
        0x3E => w(Ty::Float, Shape::Fixed(8)),
        0x7A => w(Ty::SmallMoney, Shape::Fixed(4)),
        0x7F => w(Ty::BigInt, Shape::Fixed(8)),
        0x26 => w(by_len(c.u8()?, &[(1, Ty::TinyInt), (2, Ty::SmallInt), (4, Ty::Int), (8, Ty::BigInt)])?, Shape::Byte),
        0x68 => {
            c.u8()?;
            w(Ty::Bit, Shape::Byte)
        }
        0x6D => w(by_len(c.u8()?, &[(4, Ty::Real), (8, Ty::Float)])?, Shape::Byte),
        0x6E => w(by_len(c.u8()?, &[(4, Ty::SmallMoney), (8, Ty::Money)])?, Shape::Byte),
        0x6F => w(by_len(c.u8()?, &[(4, Ty::SmallDateTime), (8, Ty::DateTime)])?, Shape::Byte),
        0x24 => {
            c.u8()?;
            w(Ty::Guid, Shape::Byte)
        }
        0x6A | 0x6C | 0x37 | 0x3F => {
            c.u8()?;
            let (p, s) = (c.u8()?, c.u8()?);
            if p > 38 || s > p {
                return None;
            }
            w(Ty::Decimal(p.max(1), s), Shape::Byte)
        }
        0x28 => w(Ty::Date, Shape::Byte),
        0x29 => w(Ty::Time(c.u8().filter(|n| *n <= 7)?), Shape::Byte),
        0x2A => w(Ty::DateTime2(c.u8().filter(|n| *n <= 7)?), Shape::Byte),
        0x2B => w(Ty::DateTimeOffset(c.u8().filter(|n| *n <= 7)?), Shape::Byte),
        0x2D | 0x25 => w(Ty::VarBinary(u16::from(c.u8()?)), Shape::Byte),
        0x2F | 0x27 => w(Ty::VarChar(u16::from(c.u8()?)), Shape::Byte),
        t @ (0xA5 | 0xAD) => {
            let n = c.u16()?;
            let shape = if n == MAX { Shape::Plp } else { Shape::Short };
            w(if t == 0xA5 { Ty::VarBinary(n) } else { Ty::Binary(n) }, shape)
        }
        t @ (0xA7 | 0xAF | 0xE7 | 0xEF) => {
            let n = c.u16()?;
            c.take(5)?;
            let shape = if n == MAX { Shape::Plp } else { Shape::Short };
            let units = if n == MAX { MAX } else { n / 2 };
            let ty = match t {
                0xA7 => Ty::VarChar(n),
                0xAF => Ty::Char(n),
                0xE7 => Ty::NVarChar(units),
                _ => Ty::NChar(units),
            };
            w(ty, shape)
        }
        0x22 => {
            c.u32()?;
            w(Ty::VarBinary(MAX), Shape::Long)
        }
        t @ (0x23 | 0x63) => {
            c.u32()?;
            c.take(5)?;
            w(if t == 0x23 { Ty::VarChar(MAX) } else { Ty::NVarChar(MAX) }, Shape::Long)
        }
        _ => Some(None),
    }
}

impl Wire {
    fn read(self, c: &mut Cursor<'_>) -> Option<(Ty, Value)> {
        let owned;
        let bytes: Option<&[u8]> = match self.shape {
            Shape::Fixed(0) => None,
            Shape::Fixed(n) => Some(c.take(n)?),
            Shape::Byte => match c.u8()? {
                // Length 0 is NULL except for the legacy character types, which 7.4 clients do not send.
                0 => None,
                n => Some(c.take(usize::from(n))?),
            },
            Shape::Short => match c.u16()? {
                MAX => None,
                n => Some(c.take(usize::from(n))?),
            },
            Shape::Long => match c.u32()? {
                u32::MAX => None,
                n => Some(c.take(usize::try_from(n).ok()?)?),
            },
            Shape::Plp => match c.u64()? {
                u64::MAX => None,
                _ => {
                    let mut all = Vec::new();
                    loop {
                        let n = usize::try_from(c.u32()?).ok()?;
                        if n == 0 {
                            break;
                        }
                        all.extend_from_slice(c.take(n)?);
                    }
                    owned = all;
                    Some(&owned)
                }
            },
        };
        let value = match bytes {
            None => Value::Null,
            Some(b) => decode(self.ty, b)?,
        };
        Some((self.ty, value))
    }
}

fn signed(b: &[u8]) -> Option<i64> {
    if b.is_empty() || b.len() > 8 {
        return None;
    }
    let mut full = if b[b.len() - 1] & 0x80 != 0 { [0xFF; 8] } else { [0; 8] };
    full[..b.len()].copy_from_slice(b);
    Some(i64::from_le_bytes(full))
}

fn unsigned(b: &[u8]) -> Option<i64> {
    if b.len() > 7 {
        return None;
    }
    let mut full = [0; 8];
    full[..b.len()].copy_from_slice(b);
    Some(i64::from_le_bytes(full))
}

fn decode(ty: Ty, b: &[u8]) -> Option<Value> {
    Some(match ty {
        Ty::Null => Value::Null,
        Ty::Bit => Value::Integer(i64::from(*b.first()? != 0)),
        Ty::TinyInt => Value::Integer(i64::from(*b.first()?)),
        Ty::SmallInt | Ty::Int | Ty::BigInt => Value::Integer(signed(b)?),
        Ty::Real => Value::Real(f64::from(f32::from_le_bytes(b.try_into().ok()?))),
        Ty::Float => Value::Real(f64::from_le_bytes(b.try_into().ok()?)),
        Ty::SmallMoney => Value::Blob(exact_to_blob(i128::from(signed(b)?))),
        Ty::Money => {
            let (hi, lo) = b.split_first_chunk::<4>()?;
            let lo: [u8; 4] = lo.try_into().ok()?;
            let mut n = [0; 8];
            n[..4].copy_from_slice(&lo);
            n[4..].copy_from_slice(hi);
            Value::Blob(exact_to_blob(i128::from(i64::from_le_bytes(n))))
        }
        Ty::Decimal(..) => {
            let (sign, digits) = b.split_first()?;
            if digits.len() > 16 {
                return None;
            }
            let mut n = [0; 16];
            n[..digits.len()].copy_from_slice(digits);
            let n = i128::try_from(u128::from_le_bytes(n)).ok()?;
            Value::Blob(exact_to_blob(if *sign == 0 { -n } else { n }))
        }
        Ty::Guid => Value::Blob(guid_store(b.try_into().ok()?)),
        Ty::Binary(_) | Ty::VarBinary(_) => Value::Blob(b.to_vec()),
        Ty::NChar(_) | Ty::NVarChar(_) => Value::Text(utf16(b)),
        Ty::Char(_) | Ty::VarChar(_) => Value::Text(cp1252::decode(b)),
        Ty::Date => Value::Integer(day(b)?),
        Ty::Time(s) => Value::Integer(time(b, s)?),
        Ty::DateTime2(s) => {
            let (t, d) = b.split_at_checked(b.len().checked_sub(3)?)?;
            Value::Integer(day(d)? + time(t, s)?)
        }
        Ty::DateTimeOffset(s) => {
            let (t, rest) = b.split_at_checked(b.len().checked_sub(5)?)?;
            let (d, m) = rest.split_at(3);
            let minutes = i16::from_le_bytes(m.try_into().ok()?);
            if !(-840..=840).contains(&minutes) {
                return None;
            }
            Value::Blob(offset_to_blob(day(d)? + time(t, s)?, minutes))
        }
        Ty::SmallDateTime => {
            let (d, m) = b.split_at_checked(2)?;
            let minutes = unsigned(m).filter(|m| *m < 1440)?;
            Value::Integer((unsigned(d)? + DAYS_1900) * DAY + minutes * 60 * SECOND)
        }
        Ty::DateTime => {
            let (d, t) = b.split_at_checked(4)?;
            let ticks = from_300(unsigned(t).filter(|t| *t < 25_920_000)?);
            let day = (signed(d)? + DAYS_1900).checked_mul(DAY).filter(|d| (0..END).contains(d))?;
            Value::Integer(day + ticks)
        }
    })
}

/// A day of the calendar in ticks.
fn day(b: &[u8]) -> Option<i64> {
    unsigned(b)?.checked_mul(DAY).filter(|d| *d < END)
}

fn time(b: &[u8], scale: u8) -> Option<i64> {
    let n = unsigned(b)?.checked_mul(10i64.pow(7 - u32::from(scale.min(7))))?;
    (n < DAY).then_some(n)
}

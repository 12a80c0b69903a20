//! The functions and the collation that translated statements call, registered on every SQLite connection.

use super::dates;
use super::numbers::{self, Sum};
use crate::error::{SqlError, SqlResult};
use crate::sql::types::{MAX, Ty};
use crate::value::datetime::offset_from_blob;
use crate::value::{self, Value, collate, cp1252, guid_store};
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result};
use sha2::Digest as _;

/// What the server knows and SQL may ask.
pub trait Facts: Send + Sync + 'static {
    /// DB_ID(name).
    fn db_id(&self, name: &str) -> Option<i64>;
    /// DB_NAME(id).
    fn db_name(&self, id: i64) -> Option<String>;
    /// OBJECT_ID(name, kind) in a database.
    fn object_id(&self, db: &str, name: &str, kind: &str) -> Option<i64>;
    /// OBJECT_NAME(id).
    fn object_name(&self, db: &str, id: i64) -> Option<String>;
    /// SERVERPROPERTY(name).
    fn server_property(&self, name: &str) -> Option<String>;
    /// DATABASEPROPERTYEX(db, name).
    fn db_property(&self, db: &str, name: &str) -> Option<String>;
    /// Next value of a table's identity column, by its counter.
    fn next_identity(&self, counter: i64) -> Option<i64>;
}

/// A server that knows of nothing, for statements that need none.
pub struct NoFacts;

impl Facts for NoFacts {
    fn db_id(&self, _: &str) -> Option<i64> {
        None
    }
    fn db_name(&self, _: i64) -> Option<String> {
        None
    }
    fn object_id(&self, _: &str, _: &str, _: &str) -> Option<i64> {
        None
    }
    fn object_name(&self, _: &str, _: i64) -> Option<String> {
        None
    }
    fn server_property(&self, _: &str) -> Option<String> {
        None
    }
    fn db_property(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn next_identity(&self, _: i64) -> Option<i64> {
        None
    }
}

/// Carries a server error through SQLite.
pub fn raise(e: &SqlError) -> Error {
    Error::UserFunctionError(e.encode().into())
}

fn arg(c: &Context<'_>, i: usize) -> Value {
    c.get(i).unwrap_or(Value::Null)
}

fn int(c: &Context<'_>, i: usize) -> Option<i64> {
    match c.get_raw(i) {
        ValueRef::Integer(n) => Some(n),
        _ => None,
    }
}

fn text<'a>(c: &'a Context<'_>, i: usize) -> Option<&'a str> {
    c.get_raw(i).as_str().ok()
}

fn ty(c: &Context<'_>, i: usize) -> Ty {
    Ty::from_code(int(c, i).unwrap_or(0))
}

type Body = fn(&Context<'_>) -> SqlResult<Value>;

fn opt<T: Into<Value>>(v: Option<T>) -> Value {
    v.map_or(Value::Null, Into::into)
}

/// Functions of their arguments alone.
const PURE: &[(&str, i32, Body)] = &[
    ("t_cv", 3, |c| value::convert(arg(c, 0), ty(c, 1), ty(c, 2), 0)),
    ("t_cv", 4, |c| value::convert(arg(c, 0), ty(c, 1), ty(c, 2), int(c, 3).unwrap_or(0))),
    ("t_try", 4, |c| Ok(value::convert(arg(c, 0), ty(c, 1), ty(c, 2), int(c, 3).unwrap_or(0)).unwrap_or(Value::Null))),
    ("t_as", 4, |c| value::assign(arg(c, 0), ty(c, 1), ty(c, 2), text(c, 3).unwrap_or(""))),
    ("t_nn", 2, |c| match arg(c, 0) {
        Value::Null => {
            let (table, column) = text(c, 1).unwrap_or("").rsplit_once('.').unwrap_or(("", ""));
            Err(SqlError::new(
                515,
                format!("Cannot insert the value NULL into column '{column}', table '{table}'; column does not allow nulls. INSERT fails."),
            )
            .state(2))
        }
        v => Ok(v),
    }),
    ("t_ar", 4, |c| numbers::arith(text(c, 0).unwrap_or("+"), &arg(c, 1), &arg(c, 2), ty(c, 3))),
    ("t_dec", 6, |c| {
        let scale = |i| u8::try_from(int(c, i).unwrap_or(0)).unwrap_or(0);
        numbers::decimal(text(c, 0).unwrap_or("+"), &arg(c, 1), &arg(c, 2), scale(3), scale(4), ty(c, 5))
    }),
    ("t_int", 1, |c| match arg(c, 0) {
        Value::Integer(n) if i32::try_from(n).is_err() => Err(SqlError::overflow("int")),
        v => Ok(v),
    }),
    ("t_limit", 1, |c| match int(c, 0) {
        Some(n) if n >= 0 => Ok(Value::Integer(n)),
        _ => Err(SqlError::new(1014, "A TOP or FETCH clause contains an invalid value.").class(15)),
    }),
    ("t_math", 4, |c| numbers::math(text(c, 0).unwrap_or(""), arg(c, 1), ty(c, 2), ty(c, 3))),
    ("t_round", 3, |c| Ok(numbers::round(arg(c, 0), int(c, 1).unwrap_or(0), ty(c, 2)))),
    ("t_fn", 3, |c| numbers::float_fn(text(c, 0).unwrap_or(""), &arg(c, 1), &arg(c, 2))),
    ("t_len", 1, |c| Ok(opt(text(c, 0).map(|s| utf16_len(s.trim_end_matches(' ')))))),
    ("t_datalength", 2, |c| Ok(opt(datalength(&arg(c, 0), ty(c, 1))))),
    ("t_upper", 1, |c| Ok(opt(text(c, 0).map(str::to_uppercase)))),
    ("t_lower", 1, |c| Ok(opt(text(c, 0).map(str::to_lowercase)))),
    ("t_reverse", 1, |c| Ok(opt(text(c, 0).map(|s| s.chars().rev().collect::<String>())))),
    ("t_left", 2, |c| Ok(opt(text(c, 0).zip(int(c, 1)).map(|(s, n)| s.chars().take(size(n)).collect::<String>())))),
    ("t_right", 2, |c| {
        Ok(opt(text(c, 0).zip(int(c, 1)).map(|(s, n)| s.chars().skip(s.chars().count().saturating_sub(size(n))).collect::<String>())))
    }),
    ("t_substring", 3, substring),
    ("t_charindex", 3, |c| {
        let (Some(needle), Some(hay), Some(from)) = (text(c, 0), text(c, 1), int(c, 2)) else { return Ok(Value::Null) };
        let skip = size(from - 1);
        let (needle, hay) = (needle.to_lowercase(), hay.to_lowercase());
        let Some((start, _)) = hay.char_indices().nth(skip) else { return Ok(Value::Integer(0)) };
        let at = if needle.is_empty() { None } else { hay[start..].find(&needle) };
        Ok(Value::Integer(at.map_or(0, |b| i64::try_from(hay[..start + b].chars().count() + 1).unwrap_or(0))))
    }),
    ("t_replace", 3, |c| {
        let (Some(s), Some(a), Some(b)) = (text(c, 0), text(c, 1), text(c, 2)) else { return Ok(Value::Null) };
        Ok(Value::Text(replace(s, a, b)))
    }),
    ("t_replicate", 3, |c| {
        let (Some(s), Some(n)) = (text(c, 0), int(c, 1)) else { return Ok(Value::Null) };
        if n < 0 {
            return Ok(Value::Null);
        }
        let limit = match ty(c, 2).len() {
            MAX => 64 << 20,
            n => usize::from(n),
        };
        let times = if s.is_empty() { 0 } else { size(n).min(limit / s.len() + 1) };
        Ok(Value::Text(s.repeat(times).chars().take(limit).collect()))
    }),
    ("t_char", 1, |c| Ok(opt(int(c, 0).and_then(|n| u8::try_from(n).ok()).map(|b| cp1252::decode(&[b]))))),
    ("t_nchar", 1, |c| Ok(opt(int(c, 0).and_then(|n| u32::try_from(n).ok()).and_then(char::from_u32).map(String::from)))),
    ("t_unicode", 1, |c| Ok(opt(text(c, 0).and_then(|s| s.chars().next()).map(|c| i64::from(u32::from(c)))))),
    ("t_ascii", 1, |c| Ok(opt(text(c, 0).and_then(|s| s.chars().next()).map(|c| i64::from(cp1252::byte_of(c)))))),
    ("t_like", 3, |c| {
        let (Some(s), Some(p)) = (text(c, 0), text(c, 1)) else { return Ok(Value::Null) };
        let esc = text(c, 2).and_then(|e| e.chars().next());
        Ok(Value::Integer(i64::from(super::like::like(s, p, esc))))
    }),
    ("t_bcat", 2, |c| match (arg(c, 0), arg(c, 1)) {
        (Value::Blob(mut a), Value::Blob(mut b)) => {
            a.append(&mut b);
            Ok(Value::Blob(a))
        }
        _ => Ok(Value::Null),
    }),
    ("t_utc", 1, |c| Ok(opt(c.get_raw(0).as_blob().ok().map(|b| offset_from_blob(b).0)))),
    ("t_hash", 3, |c| hash(text(c, 0), arg(c, 1), ty(c, 2))),
    ("t_dateadd", 4, |c| dates::add(text(c, 0).unwrap_or(""), int(c, 1), &arg(c, 2), ty(c, 3))),
    ("t_datediff", 6, |c| dates::diff(text(c, 0).unwrap_or(""), (&arg(c, 1), ty(c, 2)), (&arg(c, 3), ty(c, 4)), ty(c, 5))),
    ("t_datepart", 3, |c| dates::part(text(c, 0).unwrap_or(""), &arg(c, 1), ty(c, 2))),
];

fn size(n: i64) -> usize {
    usize::try_from(n.max(0)).unwrap_or(0)
}

fn utf16_len(s: &str) -> i64 {
    i64::try_from(if s.is_ascii() { s.len() } else { s.encode_utf16().count() }).unwrap_or(i64::MAX)
}

fn datalength(v: &Value, ty: Ty) -> Option<i64> {
    Some(match (v, ty) {
        (Value::Null, _) => return None,
        (Value::Text(s), t) if t.is_national() => utf16_len(s) * 2,
        (Value::Text(s), _) => i64::try_from(s.chars().count()).ok()?,
        (Value::Blob(b), t) if t.is_binary() => i64::try_from(b.len()).ok()?,
        (_, Ty::Bit | Ty::TinyInt) => 1,
        (_, Ty::SmallInt) => 2,
        (_, Ty::Int | Ty::Real | Ty::SmallMoney | Ty::SmallDateTime) => 4,
        (_, Ty::Guid) => 16,
        (_, Ty::Date) => 3,
        (_, Ty::Decimal(p, _)) => match p {
            0..=9 => 5,
            10..=19 => 9,
            20..=28 => 13,
            _ => 17,
        },
        _ => 8,
    })
}

fn substring(c: &Context<'_>) -> SqlResult<Value> {
    let (Some(start), Some(len)) = (int(c, 1), int(c, 2)) else { return Ok(Value::Null) };
    if len < 0 {
        return Err(SqlError::new(537, "Invalid length parameter passed to the LEFT or SUBSTRING function.").state(3));
    }
    let end = start.saturating_add(len);
    let from = size(start - 1);
    let take = size(end - start.max(1));
    Ok(match arg(c, 0) {
        Value::Text(s) => Value::Text(s.chars().skip(from).take(take).collect()),
        Value::Blob(b) => Value::Blob(b.into_iter().skip(from).take(take).collect()),
        _ => Value::Null,
    })
}

/// REPLACE under a case-insensitive collation.
fn replace(s: &str, a: &str, b: &str) -> String {
    if a.is_empty() {
        return s.to_owned();
    }
    let lower = s.to_lowercase();
    let needle = a.to_lowercase();
    if lower.len() != s.len() {
        return s.replace(a, b);
    }
    let mut out = String::with_capacity(s.len());
    let mut at = 0;
    while let Some(n) = lower[at..].find(&needle) {
        if !s.is_char_boundary(at + n) || !s.is_char_boundary(at + n + needle.len()) {
            return s.replace(a, b);
        }
        out.push_str(&s[at..at + n]);
        out.push_str(b);
        at += n + needle.len();
    }
    out.push_str(&s[at..]);
    out
}

fn hash(alg: Option<&str>, v: Value, ty: Ty) -> SqlResult<Value> {
    let bytes = match v {
        Value::Null => return Ok(Value::Null),
        Value::Blob(b) => b,
        Value::Text(s) if ty.is_national() => s.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Value::Text(s) => cp1252::encode(&s),
        _ => return Ok(Value::Null),
    };
    match alg.map(str::to_uppercase).as_deref() {
        Some("SHA2_256") => Ok(Value::Blob(sha2::Sha256::digest(&bytes).to_vec())),
        Some("SHA2_512") => Ok(Value::Blob(sha2::Sha512::digest(&bytes).to_vec())),
        Some("MD2" | "MD4" | "MD5" | "SHA" | "SHA1") => Err(SqlError::unsupported("HASHBYTES of anything but SHA2_256 and SHA2_512")),
        _ => Ok(Value::Null),
    }
}

/// Keeps the only row of a scalar subquery.
struct Only;

impl Aggregate<(u64, Value), Value> for Only {
    fn init(&self, _: &mut Context<'_>) -> Result<(u64, Value)> {
        Ok((0, Value::Null))
    }
    fn step(&self, c: &mut Context<'_>, acc: &mut (u64, Value)) -> Result<()> {
        acc.0 += 1;
        if acc.0 > 1 {
            return Err(raise(&SqlError::new(
                512,
                "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= or when the subquery is used as an expression.",
            )));
        }
        acc.1 = arg(c, 0);
        Ok(())
    }
    fn finalize(&self, _: &mut Context<'_>, acc: Option<(u64, Value)>) -> Result<Value> {
        Ok(acc.map_or(Value::Null, |a| a.1))
    }
}

/// SUM and AVG with T-SQL's result types.
struct Total {
    average: bool,
}

impl Aggregate<Sum, Value> for Total {
    fn init(&self, _: &mut Context<'_>) -> Result<Sum> {
        Ok(Sum::default())
    }
    fn step(&self, c: &mut Context<'_>, acc: &mut Sum) -> Result<()> {
        acc.add(&arg(c, 0), ty(c, 1), ty(c, 2)).map_err(|e| raise(&e))
    }
    fn finalize(&self, _: &mut Context<'_>, acc: Option<Sum>) -> Result<Value> {
        acc.map_or(Ok(Value::Null), |a| a.finish(self.average).map_err(|e| raise(&e)))
    }
}

/// Registers everything.
///
/// # Errors
/// SQLite's, when it is out of memory.
pub fn register(
    conn: &Connection,
    facts: std::sync::Arc<dyn Facts>,
    last_identity: std::sync::Arc<std::sync::Mutex<Option<i64>>>,
) -> Result<()> {
    conn.create_collation("TSQL", collate)?;
    let pure = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    for (name, n, body) in PURE {
        conn.create_scalar_function(*name, *n, pure, move |c| body(c).map_err(|e| raise(&e)))?;
    }
    conn.create_aggregate_function("t_only", 1, pure, Only)?;
    conn.create_aggregate_function("t_sum", 3, pure, Total { average: false })?;
    conn.create_aggregate_function("t_avg", 3, pure, Total { average: true })?;
    let now = FunctionFlags::SQLITE_UTF8;
    conn.create_scalar_function("t_newid", 0, now, |_| {
        // A random UUID says that it is one: version 4, variant 1 (RFC 9562, 5.4); the wire holds its third group with the low byte first.
        let mut wire = rand::random::<[u8; 16]>();
        wire[7] = wire[7] & 0x0F | 0x40;
        wire[8] = wire[8] & 0x3F | 0x80;
        Ok(Value::Blob(guid_store(&wire)))
    })?;
    conn.create_scalar_function("t_rand", 0, now, |_| Ok(rand::random::<f64>()))?;
    let f = facts.clone();
    conn.create_scalar_function("t_dbid", 1, now, move |c| Ok(text(c, 0).and_then(|n| f.db_id(n))))?;
    let f = facts.clone();
    conn.create_scalar_function("t_dbname", 1, now, move |c| Ok(int(c, 0).and_then(|n| f.db_name(n))))?;
    let f = facts.clone();
    conn.create_scalar_function("t_objid", 3, now, move |c| {
        let (Some(db), Some(name)) = (text(c, 0), text(c, 1)) else { return Ok(None) };
        Ok(f.object_id(db, name, text(c, 2).unwrap_or("U")))
    })?;
    let f = facts.clone();
    conn.create_scalar_function("t_objname", 2, now, move |c| Ok(text(c, 0).zip(int(c, 1)).and_then(|(db, id)| f.object_name(db, id))))?;
    let f = facts.clone();
    conn.create_scalar_function("t_serverproperty", 1, now, move |c| Ok(text(c, 0).and_then(|n| f.server_property(n))))?;
    let f = facts.clone();
    conn.create_scalar_function("t_dbproperty", 2, now, move |c| Ok(text(c, 0).zip(text(c, 1)).and_then(|(d, n)| f.db_property(d, n))))?;
    conn.create_scalar_function("t_identity", 1, now, move |c| {
        let next = int(c, 0).and_then(|id| facts.next_identity(id));
        if let (Some(n), Ok(mut last)) = (next, last_identity.lock()) {
            *last = Some(n);
        }
        Ok(next)
    })
}

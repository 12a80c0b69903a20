//! Arithmetic with T-SQL's types: overflow is 8115, division by zero 8134.

use crate::error::{SqlError, SqlResult};
use crate::sql::types::Ty;
use crate::value::{Value, exact_from_blob, exact_to_blob, int_range, pow10, rescale};

fn int_of(v: &Value) -> i64 {
    match v {
        Value::Integer(n) => *n,
        _ => 0,
    }
}

fn float_of(v: &Value) -> f64 {
    match v {
        Value::Real(f) => *f,
        #[expect(clippy::cast_precision_loss, reason = "float arithmetic")]
        Value::Integer(n) => *n as f64,
        _ => 0.0,
    }
}

fn exact_of(v: &Value) -> i128 {
    match v {
        Value::Blob(b) => exact_from_blob(b),
        _ => 0,
    }
}

/// Integers and floats; both operands have type `ty`.
pub fn arith(op: &str, a: &Value, b: &Value, ty: Ty) -> SqlResult<Value> {
    if matches!(a, Value::Null) || matches!(b, Value::Null) {
        return Ok(Value::Null);
    }
    if ty.is_float() {
        let (x, y) = (float_of(a), float_of(b));
        let f = match op {
            "+" => x + y,
            "-" => x - y,
            "*" => x * y,
            "/" if y == 0.0 => return Err(SqlError::divide_by_zero()),
            "/" => x / y,
            _ => return Err(SqlError::new(8117, format!("Operand data type float is invalid for {op} operator."))),
        };
        return if f.is_finite() { Ok(Value::Real(f)) } else { Err(SqlError::overflow(ty.name())) };
    }
    let (x, y) = (int_of(a), int_of(b));
    if matches!(op, "/" | "%") && y == 0 {
        return Err(SqlError::divide_by_zero());
    }
    let n = match op {
        "+" => x.checked_add(y),
        "-" => x.checked_sub(y),
        "*" => x.checked_mul(y),
        "/" => x.checked_div(y),
        "%" => Some(x.checked_rem(y).unwrap_or(0)),
        "&" => Some(x & y),
        "|" => Some(x | y),
        _ => Some(x ^ y),
    };
    let (lo, hi) = int_range(ty);
    n.filter(|n| (lo..=hi).contains(n)).map(Value::Integer).ok_or_else(|| SqlError::overflow(ty.name()))
}

/// Decimals and money of scales `sa` and `sb` into `ty`.
pub fn decimal(op: &str, a: &Value, b: &Value, sa: u8, sb: u8, ty: Ty) -> SqlResult<Value> {
    if matches!(a, Value::Null) || matches!(b, Value::Null) {
        return Ok(Value::Null);
    }
    let (p, s) = ty.exact();
    let overflow = || match ty {
        Ty::Decimal(..) => SqlError::overflow("numeric"),
        t => SqlError::overflow(t.name()),
    };
    let (x, y) = (exact_of(a), exact_of(b));
    let common = sa.max(sb);
    let both = || Some((rescale(x, sa, common)?, rescale(y, sb, common)?));
    let n = match op {
        "*" => x.checked_mul(y).and_then(|n| scale_to(n, sa + sb, s)),
        "/" | "%" if y == 0 => return Err(SqlError::divide_by_zero()),
        "/" => {
            // x/10^sa ÷ y/10^sb, wanted in units of 10^-s: x · 10^(s+sb-sa) / y.
            let shift = i16::from(s) + i16::from(sb) - i16::from(sa);
            let scaled =
                if shift >= 0 { u8::try_from(shift).ok().filter(|n| *n <= 38).and_then(|n| x.checked_mul(pow10(n))) } else { Some(x) };
            match (scaled, u8::try_from(-shift)) {
                (Some(v), Ok(down)) if shift < 0 => y.checked_mul(pow10(down)).map(|d| v / d),
                (Some(v), _) => Some(v / y),
                (None, _) => None,
            }
        }
        "%" => both().map(|(x, y)| x % y).and_then(|n| rescale(n, common, s)),
        "-" => both().and_then(|(x, y)| x.checked_sub(y)).and_then(|n| rescale(n, common, s)),
        _ => both().and_then(|(x, y)| x.checked_add(y)).and_then(|n| rescale(n, common, s)),
    };
    let n = n.ok_or_else(overflow)?;
    let fits = match ty {
        Ty::Money => i64::try_from(n).is_ok(),
        Ty::SmallMoney => i32::try_from(n).is_ok(),
        _ => n.unsigned_abs() < pow10(p).unsigned_abs(),
    };
    if fits { Ok(Value::Blob(exact_to_blob(n))) } else { Err(overflow()) }
}

/// As [`rescale`], where the scale to leave may exceed 38.
fn scale_to(n: i128, from: u8, to: u8) -> Option<i128> {
    if from <= 38 { rescale(n, from, to) } else { Some(n / pow10(from - to)) }
}

/// ABS, SIGN, FLOOR, CEILING.
pub fn math(name: &str, v: Value, from: Ty, to: Ty) -> SqlResult<Value> {
    Ok(match v {
        Value::Integer(n) => Value::Integer(match name {
            "ABS" => n.checked_abs().filter(|n| *n <= int_range(to).1).ok_or_else(|| SqlError::overflow(to.name()))?,
            "SIGN" => n.signum(),
            _ => n,
        }),
        Value::Real(f) => Value::Real(match name {
            "ABS" => f.abs(),
            "SIGN" if f == 0.0 => 0.0,
            "SIGN" => f.signum(),
            "FLOOR" => f.floor(),
            _ => f.ceil(),
        }),
        Value::Blob(b) => {
            let n = exact_from_blob(&b);
            let one = pow10(from.exact().1);
            let whole = match name {
                "FLOOR" => Some(n.div_euclid(one)),
                "CEILING" => Some(-(-n).div_euclid(one)),
                _ => None,
            };
            Value::Blob(exact_to_blob(match (name, whole) {
                (_, Some(w)) => w * pow10(to.exact().1),
                ("ABS", _) => n.abs(),
                _ => n.signum() * one,
            }))
        }
        v => v,
    })
}

/// ROUND(x, n).
pub fn round(v: Value, n: i64, from: Ty) -> Value {
    match v {
        Value::Real(f) => {
            let m = 10f64.powi(i32::try_from(n.clamp(-300, 300)).unwrap_or(0));
            Value::Real((f * m).round() / m)
        }
        Value::Integer(i) if n < 0 => {
            let r = u8::try_from(-n).ok().filter(|n| *n <= 18).and_then(|d| rescale(i128::from(i), d, 0)?.checked_mul(pow10(d)));
            Value::Integer(r.and_then(|r| i64::try_from(r).ok()).unwrap_or(0))
        }
        Value::Blob(b) => {
            let s = i64::from(from.exact().1);
            if n >= s {
                return Value::Blob(b);
            }
            let r = u8::try_from(s - n).ok().filter(|d| *d <= 38).and_then(|d| rescale(exact_from_blob(&b), d, 0)?.checked_mul(pow10(d)));
            Value::Blob(exact_to_blob(r.unwrap_or(0)))
        }
        v => v,
    }
}

/// SQRT, POWER and their like.
pub fn float_fn(name: &str, a: &Value, b: &Value) -> SqlResult<Value> {
    if matches!(a, Value::Null) || matches!(b, Value::Null) {
        return Ok(Value::Null);
    }
    let x = float_of(a);
    let f = match name {
        "SQRT" => x.sqrt(),
        "EXP" => x.exp(),
        "LOG" => x.ln(),
        "LOG10" => x.log10(),
        _ => x.powf(float_of(b)),
    };
    if f.is_finite() { Ok(Value::Real(f)) } else { Err(SqlError::new(3623, "An invalid floating point operation occurred.")) }
}

/// State of SUM and AVG.
#[derive(Default)]
pub struct Sum {
    count: i64,
    exact: i128,
    float: f64,
    kind: Option<(Ty, Ty)>,
}

impl Sum {
    /// Adds one value of type `from` to a total of type `to`.
    pub fn add(&mut self, v: &Value, from: Ty, to: Ty) -> SqlResult<()> {
        self.kind = Some((from, to));
        if matches!(v, Value::Null) {
            return Ok(());
        }
        self.count += 1;
        let n = match v {
            Value::Real(f) => {
                self.float += f;
                return Ok(());
            }
            Value::Integer(n) => i128::from(*n),
            v => exact_of(v),
        };
        self.exact = self.exact.checked_add(n).ok_or_else(|| SqlError::overflow(to.name()))?;
        Ok(())
    }

    /// The total or the average.
    pub fn finish(self, average: bool) -> SqlResult<Value> {
        let Some((from, to)) = self.kind else { return Ok(Value::Null) };
        if self.count == 0 {
            return Ok(Value::Null);
        }
        if to.is_float() {
            #[expect(clippy::cast_precision_loss, reason = "an average of floats")]
            let f = if average { self.float / self.count as f64 } else { self.float };
            return Ok(Value::Real(f));
        }
        if to.is_int() {
            let (lo, hi) = int_range(to);
            // SQL Server checks the total even when the average would fit.
            let n = i64::try_from(self.exact).ok().filter(|n| (lo..=hi).contains(n)).ok_or_else(|| SqlError::overflow(to.name()))?;
            return Ok(Value::Integer(if average { n / self.count } else { n }));
        }
        let n = rescale(self.exact, from.exact().1, to.exact().1).ok_or_else(|| SqlError::overflow(to.name()))?;
        let n = if average { n / i128::from(self.count) } else { n };
        Ok(Value::Blob(exact_to_blob(n)))
    }
}

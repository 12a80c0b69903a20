//! Expressions and predicates.

use super::{Param, Tr, Tx, text_lit, value_lit};
use crate::error::{SqlError, SqlResult};
use crate::sql::ast::Expr;
use crate::sql::types::{MAX, Ty};
use crate::value::{exact_to_blob, parse_exact};
use rusqlite::types::Value;

impl Tr<'_> {
    /// A value.
    pub(super) fn value(&mut self, e: &Expr) -> SqlResult<Tx> {
        if let Some(tx) = self.grouped_expr(e)? {
            return Ok(tx);
        }
        match e {
            Expr::Null => Ok(Tx::new("NULL", Ty::Null)),
            Expr::Int(n) => Ok(int_literal(*n)),
            Expr::Dec(s) => decimal_literal(s),
            Expr::Float(f) => Ok(Tx::new(format!("{f:e}"), Ty::Float).not_null()),
            Expr::Str(s, n) => Ok(self.string(s, *n)),
            Expr::Bin(b) => {
                Ok(Tx::new(value_lit(&Value::Blob(b.clone())), Ty::VarBinary(u16::try_from(b.len().max(1)).unwrap_or(MAX))).not_null())
            }
            Expr::Col(parts) => self.resolve(parts),
            Expr::Var(v) => {
                let ty = self.var_ty(v)?;
                Ok(Tx::new(self.param(Param::Var(v.clone())), ty))
            }
            Expr::SysVar(v) => self.sysvar(v),
            Expr::Neg(x) => {
                let x = self.value(x)?;
                match x.ty {
                    Ty::Null => Ok(x),
                    t if t.is_float() => Ok(Tx::new(format!("(-{})", x.sql), t)),
                    t if t.is_number() => {
                        let zero = Tx {
                            sql: value_lit(&if t.is_exact() { Value::Blob(exact_to_blob(0)) } else { Value::Integer(0) }),
                            ty: t,
                            nullable: false,
                            column: None,
                        };
                        self.arith('-', &zero, &x)
                    }
                    t => Err(clash_op("minus", t)),
                }
            }
            Expr::BitNot(x) => {
                let x = self.value(x)?;
                if !x.ty.is_int() {
                    return Err(clash_op("~", x.ty));
                }
                Ok(Tx::new(if x.ty == Ty::Bit { format!("(1 - {})", x.sql) } else { format!("(~{})", x.sql) }, x.ty))
            }
            Expr::Arith(op, l, r) => {
                let (l, r) = (self.value(l)?, self.value(r)?);
                self.arith(*op, &l, &r)
            }
            Expr::Case(operand, whens, other) => self.case(operand.as_deref(), whens, other.as_deref()),
            Expr::Cast { expr, ty, style, lenient } => {
                let x = self.value(expr)?;
                let style = match style {
                    Some(s) => {
                        let s = self.value(s)?;
                        self.conv(&s, Ty::Int)
                    }
                    None => "0".to_owned(),
                };
                let func = if *lenient { "t_try" } else { "t_cv" };
                let nullable = x.nullable || *lenient;
                let sql = if x.ty == *ty && style == "0" || x.ty == Ty::Null {
                    x.sql
                } else {
                    format!("{func}({}, {}, {}, {style})", x.sql, x.ty.code(), ty.code())
                };
                Ok(Tx { sql, ty: *ty, nullable, column: None })
            }
            Expr::Func { name, args, star, distinct, over } => self.func(name, args, *star, *distinct, over.as_deref()),
            Expr::Sub(q) => {
                let (sql, cols) = self.subquery(q)?;
                let [c] = &cols[..] else {
                    return Err(SqlError::new(
                        116,
                        "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.",
                    ));
                };
                // 512 when there is more than one row: the aggregate sees every row and keeps the only one.
                Ok(Tx::new(format!("(SELECT t_only(c1) FROM ({sql}))"), c.ty))
            }
            Expr::Default => Err(SqlError::new(156, "Incorrect syntax near the keyword 'DEFAULT'.").class(15)),
            Expr::Cmp(..)
            | Expr::And(..)
            | Expr::Or(..)
            | Expr::Not(_)
            | Expr::IsNull(..)
            | Expr::Between(..)
            | Expr::InList(..)
            | Expr::InQuery(..)
            | Expr::Like(..)
            | Expr::Exists(_) => Err(SqlError::new(102, "Incorrect syntax near a condition where a value is expected.").class(15)),
        }
    }

    /// In a grouped select, an expression that is a grouping expression as written counts as grouped.
    fn grouped_expr(&mut self, e: &Expr) -> SqlResult<Option<Tx>> {
        let Some(scope) = self.scopes.last_mut() else { return Ok(None) };
        if scope.in_aggregate || matches!(e, Expr::Col(_)) {
            return Ok(None);
        }
        let Some((_, exprs)) = &scope.grouped else { return Ok(None) };
        if exprs.is_empty() || !exprs.contains(&format!("{e:?}")) {
            return Ok(None);
        }
        scope.in_aggregate = true;
        let tx = self.value(e);
        if let Some(s) = self.scopes.last_mut() {
            s.in_aggregate = false;
        }
        tx.map(Some)
    }

    pub(super) fn string(&mut self, s: &str, national: bool) -> Tx {
        let folded = if national { s.to_owned() } else { crate::value::cp1252::fold(s.to_owned()) };
        let units = if national { s.encode_utf16().count() } else { s.chars().count() };
        let limit = if national { 4000 } else { 8000 };
        let len = if units > limit { MAX } else { u16::try_from(units.max(1)).unwrap_or(MAX) };
        let ty = if national { Ty::NVarChar(len) } else { Ty::VarChar(len) };
        let sql =
            if folded.contains('\0') || folded.len() > 1000 { self.param(Param::Lit(Value::Text(folded))) } else { text_lit(&folded) };
        Tx::new(sql, ty).not_null()
    }

    fn sysvar(&mut self, v: &str) -> SqlResult<Tx> {
        let (name, ty) = match v {
            "ROWCOUNT" => ("ROWCOUNT", Ty::Int),
            "TRANCOUNT" => ("TRANCOUNT", Ty::Int),
            "ERROR" => ("ERROR", Ty::Int),
            "SPID" => ("SPID", Ty::SmallInt),
            "VERSION" => ("VERSION", Ty::NVarChar(300)),
            "SERVERNAME" => ("SERVERNAME", Ty::NVarChar(128)),
            "SERVICENAME" => ("SERVICENAME", Ty::NVarChar(128)),
            "IDENTITY" => ("IDENTITY", Ty::Decimal(38, 0)),
            "LOCK_TIMEOUT" => ("LOCK_TIMEOUT", Ty::Int),
            "OPTIONS" => ("OPTIONS", Ty::Int),
            "LANGUAGE" => ("LANGUAGE", Ty::NVarChar(128)),
            "DATEFIRST" => ("DATEFIRST", Ty::TinyInt),
            "MAX_PRECISION" => ("MAX_PRECISION", Ty::TinyInt),
            "MICROSOFTVERSION" => ("MICROSOFTVERSION", Ty::Int),
            "NESTLEVEL" => ("NESTLEVEL", Ty::Int),
            "TEXTSIZE" => ("TEXTSIZE", Ty::Int),
            _ => return Err(SqlError::new(137, format!("Must declare the scalar variable \"@@{v}\".")).class(15).state(2)),
        };
        Ok(self.session(name, ty))
    }

    pub(super) fn session(&mut self, name: &'static str, ty: Ty) -> Tx {
        Tx::new(self.param(Param::Session(name)), ty)
    }

    /// Arithmetic with T-SQL's result types.
    pub(super) fn arith(&mut self, op: char, l: &Tx, r: &Tx) -> SqlResult<Tx> {
        let nullable = l.nullable || r.nullable;
        let (a, b) = (l.ty, r.ty);
        if op == '+' && (a.is_text() || a == Ty::Null) && (b.is_text() || b == Ty::Null) && (a, b) != (Ty::Null, Ty::Null) {
            return Ok(Tx { nullable, ..Tx::new(format!("({} || {})", l.sql, r.sql), concat_ty(a, b)) });
        }
        if op == '+' && a.is_binary() && b.is_binary() {
            let n = a.len().saturating_add(b.len());
            return Ok(Tx::new(format!("t_bcat({}, {})", l.sql, r.sql), Ty::VarBinary(if n > 8000 { MAX } else { n })));
        }
        if a.is_temporal() || b.is_temporal() {
            return match (op, a, b) {
                ('+' | '-', Ty::DateTime | Ty::SmallDateTime, t) if t.is_int() => {
                    let n = if op == '-' { format!("-({})", r.sql) } else { r.sql.clone() };
                    Ok(Tx::new(format!("t_dateadd('DAY', {n}, {}, {})", l.sql, a.code()), a))
                }
                _ => Err(clash(a, b)),
            };
        }
        let numeric = |t: Ty| t.is_number() || t.is_text() || t == Ty::Null;
        if !numeric(a) || !numeric(b) || (a.is_text() && b.is_text()) {
            return Err(if a == b { clash_op(&op.to_string(), a) } else { clash(a, b) });
        }
        let meet = if a.is_text() || a == Ty::Null {
            b
        } else if b.is_text() || b == Ty::Null {
            a
        } else {
            a.unify(b)
        };
        let meet = match meet {
            Ty::Null => Ty::Int,
            Ty::Bit => Ty::Int,
            m => m,
        };
        if matches!(op, '&' | '|' | '^') && !meet.is_int() {
            return Err(clash_op(&op.to_string(), meet));
        }
        if let Ty::Decimal(..) = meet {
            let side = |t: Ty| if t.is_text() || t == Ty::Null { meet } else { Ty::Decimal(t.exact().0, t.exact().1) };
            let (ta, tb) = (side(a), side(b));
            let ty = decimal_result(op, ta.exact(), tb.exact());
            let (x, y) = (self.conv(l, ta), self.conv(r, tb));
            let sql = format!("t_dec('{op}', {x}, {y}, {}, {}, {})", ta.exact().1, tb.exact().1, ty.code());
            return Ok(Tx { nullable, ..Tx::new(sql, ty) });
        }
        let (x, y) = (self.conv(l, meet), self.conv(r, meet));
        if matches!(meet, Ty::Money | Ty::SmallMoney) {
            return Ok(Tx { nullable, ..Tx::new(format!("t_dec('{op}', {x}, {y}, 4, 4, {})", meet.code()), meet) });
        }
        Ok(Tx { nullable, ..Tx::new(format!("t_ar('{op}', {x}, {y}, {})", meet.code()), meet) })
    }

    fn case(&mut self, operand: Option<&Expr>, whens: &[(Expr, Expr)], other: Option<&Expr>) -> SqlResult<Tx> {
        let mut conds = Vec::new();
        let mut results = Vec::new();
        for (w, t) in whens {
            conds.push(match operand {
                Some(o) => self.pred(&Expr::Cmp("=", Box::new(o.clone()), Box::new(w.clone())))?,
                None => self.pred(w)?,
            });
            results.push(self.value(t)?);
        }
        let other = match other {
            Some(e) => self.value(e)?,
            None => Tx::new("NULL", Ty::Null),
        };
        let ty = results.iter().fold(other.ty, |ty, r| ty.unify(r.ty));
        let mut sql = String::from("CASE");
        for (c, r) in conds.iter().zip(&results) {
            sql.push_str(&format!(" WHEN {c} THEN {}", self.conv(r, ty)));
        }
        sql.push_str(&format!(" ELSE {} END", self.conv(&other, ty)));
        Ok(Tx { sql, ty, nullable: other.nullable || results.iter().any(|r| r.nullable), column: None })
    }

    /// A predicate as SQLite's 0, 1 or NULL.
    pub(super) fn pred(&mut self, e: &Expr) -> SqlResult<String> {
        Ok(match e {
            Expr::And(l, r) => format!("({} AND {})", self.pred(l)?, self.pred(r)?),
            Expr::Or(l, r) => format!("({} OR {})", self.pred(l)?, self.pred(r)?),
            Expr::Not(x) => format!("(NOT {})", self.pred(x)?),
            Expr::IsNull(x, not) => {
                let x = self.value(x)?;
                format!("({} IS {}NULL)", x.sql, if *not { "NOT " } else { "" })
            }
            Expr::Cmp(op, l, r) => {
                let (l, r) = (self.value(l)?, self.value(r)?);
                self.compare(op, &l, &r)?
            }
            Expr::Between(x, lo, hi, not) => {
                let (x, lo, hi) = (self.value(x)?, self.value(lo)?, self.value(hi)?);
                let both = format!("({} AND {})", self.compare(">=", &x, &lo)?, self.compare("<=", &x, &hi)?);
                if *not { format!("(NOT {both})") } else { both }
            }
            Expr::InList(x, list, not) => self.in_list(x, list, *not)?,
            Expr::InQuery(x, q, not) => {
                let x = self.value(x)?;
                let (sql, cols) = self.subquery(q)?;
                let [c] = &cols[..] else {
                    return Err(SqlError::new(
                        116,
                        "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.",
                    ));
                };
                let meet = x.ty.unify(c.ty);
                let inner = self.operand(&Tx::new("c1", c.ty), if x.ty.is_text() && c.ty.is_text() { c.ty } else { meet });
                let outer = if x.ty.is_text() && c.ty.is_text() { format!("{} COLLATE TSQL", x.sql) } else { self.operand(&x, meet) };
                format!("({outer} {}IN (SELECT {inner} FROM ({sql})))", if *not { "NOT " } else { "" })
            }
            Expr::Like(x, pat, esc, not) => {
                let (x, pat) = (self.value(x)?, self.value(pat)?);
                let (a, b) = (self.conv(&x, Ty::NVarChar(MAX)), self.conv(&pat, Ty::NVarChar(MAX)));
                let esc = match esc {
                    Some(e) => self.value(e)?.sql,
                    None => "''".to_owned(),
                };
                format!("({}t_like({a}, {b}, {esc}))", if *not { "NOT " } else { "" })
            }
            Expr::Exists(q) => {
                let (sql, _) = self.subquery(q)?;
                format!("EXISTS (SELECT 1 FROM ({sql}))")
            }
            _ => {
                return Err(SqlError::new(4145, "An expression of non-boolean type specified in a context where a condition is expected.")
                    .class(15));
            }
        })
    }

    fn in_list(&mut self, x: &Expr, list: &[Expr], not: bool) -> SqlResult<String> {
        let x = self.value(x)?;
        let list = list.iter().map(|e| self.value(e)).collect::<SqlResult<Vec<_>>>()?;
        let all_text = x.ty.is_text() && list.iter().all(|i| i.ty.is_text() || i.ty == Ty::Null);
        let meet = list.iter().fold(x.ty, |t, i| t.unify(i.ty));
        let items: Vec<String> = list.iter().map(|i| if all_text { i.sql.clone() } else { self.operand(i, meet) }).collect();
        let lhs = if all_text { format!("{} COLLATE TSQL", x.sql) } else { self.operand(&x, meet) };
        Ok(format!("({lhs} {}IN ({}))", if not { "NOT " } else { "" }, items.join(", ")))
    }

    /// A value in the type that a comparison is made in.
    fn operand(&self, x: &Tx, meet: Ty) -> String {
        let sql = self.conv(x, meet);
        if matches!(meet, Ty::DateTimeOffset(_)) { comparable(sql, meet) } else { sql }
    }

    pub(super) fn compare(&mut self, op: &str, l: &Tx, r: &Tx) -> SqlResult<String> {
        let (a, b) = (l.ty, r.ty);
        if (a.is_temporal() && (b.is_number() || b.is_binary()))
            || (b.is_temporal() && (a.is_number() || a.is_binary()))
            || (a == Ty::Guid && b.is_number())
            || (b == Ty::Guid && a.is_number())
        {
            return Err(clash(a, b));
        }
        let meet = a.unify(b);
        if matches!(meet, Ty::DateTimeOffset(_)) {
            return Ok(format!("({} {op} {})", self.operand(l, meet), self.operand(r, meet)));
        }
        if a == Ty::Null || b == Ty::Null || a == b {
            let collate = if a.is_text() || b.is_text() { " COLLATE TSQL" } else { "" };
            return Ok(format!("({}{collate} {op} {})", l.sql, r.sql));
        }
        if a.is_text() && b.is_text() {
            return Ok(format!("({} COLLATE TSQL {op} {})", l.sql, r.sql));
        }
        let ticks = |t: Ty| matches!(t, Ty::Date | Ty::DateTime | Ty::SmallDateTime | Ty::DateTime2(_));
        let exact_same = a.is_exact() && b.is_exact() && a.exact().1 == b.exact().1;
        if (ticks(a) && ticks(b))
            || (a.is_int() && b.is_int())
            || (a.is_float() && b.is_float())
            || exact_same
            || (a.is_binary() && b.is_binary())
            || a.rank() == b.rank() && !a.is_exact()
        {
            return Ok(format!("({} {op} {})", l.sql, r.sql));
        }
        Ok(format!("({} {op} {})", self.conv(l, meet), self.conv(r, meet)))
    }
}

fn int_literal(n: i64) -> Tx {
    if i32::try_from(n).is_ok() {
        Tx::new(n.to_string(), Ty::Int).not_null()
    } else {
        let digits = u8::try_from(n.unsigned_abs().to_string().len()).unwrap_or(19);
        Tx::new(value_lit(&Value::Blob(exact_to_blob(i128::from(n)))), Ty::Decimal(digits, 0)).not_null()
    }
}

fn decimal_literal(s: &str) -> SqlResult<Tx> {
    let (whole, frac) = s.trim_start_matches('-').split_once('.').unwrap_or((s.trim_start_matches('-'), ""));
    let whole = whole.trim_start_matches('0').len();
    let p = u8::try_from((whole + frac.len()).max(1)).unwrap_or(255);
    if p > 38 {
        return Err(SqlError::new(
            1007,
            format!("The number '{s}' is out of the range for numeric representation (maximum precision 38)."),
        )
        .class(15));
    }
    let scale = u8::try_from(frac.len()).unwrap_or(38);
    let n = parse_exact(s, scale).ok_or_else(|| SqlError::syntax(s))?;
    Ok(Tx::new(value_lit(&Value::Blob(exact_to_blob(n))), Ty::Decimal(p, scale)).not_null())
}

/// A value as `=`, GROUP BY and ORDER BY compare it: text by its collation, a datetimeoffset by its instant alone.
pub(super) fn comparable(sql: String, ty: Ty) -> String {
    match ty {
        t if t.is_text() => format!("{sql} COLLATE TSQL"),
        Ty::DateTimeOffset(_) => format!("t_utc({sql})"),
        _ => sql,
    }
}

/// Type of a concatenation.
pub(super) fn concat_ty(a: Ty, b: Ty) -> Ty {
    let national = a.is_national() || b.is_national();
    let len = |t: Ty| if t == Ty::Null { 0 } else { t.len() };
    let n = if len(a) == MAX || len(b) == MAX { MAX } else { len(a).saturating_add(len(b)).min(if national { 4000 } else { 8000 }).max(1) };
    if national { Ty::NVarChar(n) } else { Ty::VarChar(n) }
}

fn decimal_result(op: char, (p1, s1): (u8, u8), (p2, s2): (u8, u8)) -> Ty {
    let (p, s) = match op {
        '*' => (p1 + p2 + 1, s1 + s2),
        '/' => {
            let s = 6.max(s1 + p2 + 1);
            (p1 - s1 + s2 + s, s)
        }
        '%' => {
            let s = s1.max(s2);
            ((p1 - s1).min(p2 - s2) + s, s)
        }
        _ => {
            let s = s1.max(s2);
            ((p1 - s1).max(p2 - s2) + s + 1, s)
        }
    };
    if p <= 38 {
        return Ty::Decimal(p, s);
    }
    let whole = p - s;
    Ty::Decimal(38, s.min(38u8.saturating_sub(whole)).max(s.min(6)))
}

/// 206.
pub(super) fn clash(a: Ty, b: Ty) -> SqlError {
    SqlError::new(206, format!("Operand type clash: {} is incompatible with {}", a.name(), b.name())).state(2)
}

/// 8117.
pub(super) fn clash_op(op: &str, t: Ty) -> SqlError {
    SqlError::new(8117, format!("Operand data type {} is invalid for {op} operator.", t.name()))
}

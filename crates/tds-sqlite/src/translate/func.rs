//! Built-in functions: which exist, what types they take and give.

use super::expr::{clash_op, comparable, concat_ty};
use super::query::TEXT;
use super::{Tr, Tx, text_lit};
use crate::error::{SqlError, SqlResult};
use crate::sql::ast::{Expr, Over};
use crate::sql::types::{MAX, Ty};

/// Aggregates.
pub(super) fn is_aggregate(name: &str) -> bool {
    matches!(name, "COUNT" | "COUNT_BIG" | "SUM" | "AVG" | "MIN" | "MAX" | "STRING_AGG" | "CHECKSUM_AGG")
}

fn wrong_args(name: &str, n: usize) -> SqlError {
    SqlError::new(174, format!("The {} function requires {n} argument(s).", name.to_lowercase())).class(15)
}

/// Canonical name of a date part.
fn date_part(e: &Expr) -> SqlResult<&'static str> {
    let Expr::Col(p) = e else { return Err(SqlError::new(1023, "Invalid parameter 1 specified for date function.").class(15)) };
    let word = p[0].to_lowercase();
    Ok(match word.as_str() {
        "year" | "yy" | "yyyy" => "YEAR",
        "quarter" | "qq" | "q" => "QUARTER",
        "month" | "mm" | "m" => "MONTH",
        "dayofyear" | "dy" | "y" => "DAYOFYEAR",
        "day" | "dd" | "d" => "DAY",
        "week" | "wk" | "ww" => "WEEK",
        "weekday" | "dw" | "w" => "WEEKDAY",
        "hour" | "hh" => "HOUR",
        "minute" | "mi" | "n" => "MINUTE",
        "second" | "ss" | "s" => "SECOND",
        "millisecond" | "ms" => "MILLISECOND",
        "microsecond" | "mcs" => "MICROSECOND",
        "nanosecond" | "ns" => "NANOSECOND",
        _ => return Err(SqlError::new(155, format!("'{}' is not a recognized datepart option.", p[0])).class(15)),
    })
}

impl Tr<'_> {
    pub(super) fn func(&mut self, name: &str, args: &[Expr], star: bool, distinct: bool, over: Option<&Over>) -> SqlResult<Tx> {
        if let Some(over) = over {
            return self.window(name, args, star, over);
        }
        if is_aggregate(name) {
            return self.aggregate(name, args, star, distinct);
        }
        if star || distinct {
            return Err(SqlError::syntax("*"));
        }
        match name {
            "DATEADD" | "DATEDIFF" | "DATEDIFF_BIG" | "DATEPART" | "DATENAME" => return self.date_func(name, args),
            "YEAR" | "MONTH" | "DAY" => {
                let [x] = args else { return Err(wrong_args(name, 1)) };
                let x = self.temporal(x)?;
                return Ok(Tx::new(format!("t_datepart('{name}', {}, {})", x.sql, x.ty.code()), Ty::Int));
            }
            "IIF" => {
                let [c, a, b] = args else { return Err(wrong_args(name, 3)) };
                return self.value(&Expr::Case(None, vec![(c.clone(), a.clone())], Some(Box::new(b.clone()))));
            }
            "COALESCE" if args.len() > 1 => return self.coalesce(args),
            _ => {}
        }
        let xs = args.iter().map(|a| self.value(a)).collect::<SqlResult<Vec<_>>>()?;
        if let Some(tx) = self.session_func(name, &xs) {
            return Ok(tx);
        }
        if let Some(tx) = self.text_func(name, &xs)? {
            return Ok(tx);
        }
        if let Some(tx) = self.math_func(name, &xs)? {
            return Ok(tx);
        }
        Err(SqlError::new(195, format!("'{name}' is not a recognized built-in function name.")).class(15).state(10))
    }

    fn temporal(&mut self, e: &Expr) -> SqlResult<Tx> {
        let x = self.value(e)?;
        if x.ty.is_temporal() {
            return Ok(x);
        }
        if x.ty.is_text() || x.ty == Ty::Null {
            let to = if x.ty == Ty::Null { Ty::DateTime } else { Ty::DateTime2(7) };
            return Ok(Tx::new(self.conv(&x, to), to));
        }
        Ok(Tx::new(self.conv(&x, Ty::DateTime), Ty::DateTime))
    }

    fn date_func(&mut self, name: &str, args: &[Expr]) -> SqlResult<Tx> {
        let Some((first, rest)) = args.split_first() else { return Err(wrong_args(name, 2)) };
        let part = date_part(first)?;
        match (name, rest) {
            ("DATEADD", [n, x]) => {
                let n = self.value(n)?;
                let n = self.conv(&n, Ty::BigInt);
                let was_text = self.value(x)?.ty.is_text();
                let mut x = self.temporal(x)?;
                if was_text {
                    x = Tx::new(self.conv(&x, Ty::DateTime), Ty::DateTime);
                }
                Ok(Tx::new(format!("t_dateadd('{part}', {n}, {}, {})", x.sql, x.ty.code()), x.ty))
            }
            ("DATEDIFF" | "DATEDIFF_BIG", [a, b]) => {
                let (a, b) = (self.temporal(a)?, self.temporal(b)?);
                let ty = if name == "DATEDIFF" { Ty::Int } else { Ty::BigInt };
                Ok(Tx::new(format!("t_datediff('{part}', {}, {}, {}, {}, {})", a.sql, a.ty.code(), b.sql, b.ty.code(), ty.code()), ty))
            }
            ("DATEPART", [x]) => {
                let x = self.temporal(x)?;
                Ok(Tx::new(format!("t_datepart('{part}', {}, {})", x.sql, x.ty.code()), Ty::Int))
            }
            ("DATENAME", [x]) if !matches!(part, "MONTH" | "WEEKDAY") => {
                let x = self.temporal(x)?;
                Ok(Tx::new(format!("CAST(t_datepart('{part}', {}, {}) AS TEXT)", x.sql, x.ty.code()), Ty::NVarChar(30)))
            }
            ("DATENAME", [_]) => Err(SqlError::unsupported(format!("DATENAME({part}, …)"))),
            _ => Err(wrong_args(name, if name.starts_with("DATED") || name == "DATEADD" { 3 } else { 2 })),
        }
    }

    fn coalesce(&mut self, args: &[Expr]) -> SqlResult<Tx> {
        let xs = args.iter().map(|a| self.value(a)).collect::<SqlResult<Vec<_>>>()?;
        let ty = xs.iter().fold(Ty::Null, |t, x| t.unify(x.ty));
        let list: Vec<String> = xs.iter().map(|x| self.conv(x, ty)).collect();
        Ok(Tx { sql: format!("coalesce({})", list.join(", ")), ty, nullable: xs.iter().all(|x| x.nullable), column: None })
    }

    fn aggregate(&mut self, name: &str, args: &[Expr], star: bool, distinct: bool) -> SqlResult<Tx> {
        let nested = self.scopes.last().is_some_and(|s| s.in_aggregate && s.grouped.is_some());
        if nested {
            return Err(SqlError::new(130, "Cannot perform an aggregate function on an expression containing an aggregate or a subquery."));
        }
        if self.scopes.last().is_none_or(|s| s.grouped.is_none()) {
            return Err(SqlError::new(
                147,
                "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING clause or a select list, and the column being aggregated is an outer reference.",
            ));
        }
        let d = if distinct { "DISTINCT " } else { "" };
        if star {
            return match name {
                "COUNT" => Ok(Tx::new("t_int(count(*))", Ty::Int).not_null()),
                "COUNT_BIG" => Ok(Tx::new("count(*)", Ty::BigInt).not_null()),
                _ => Err(SqlError::syntax("*")),
            };
        }
        if let Some(s) = self.scopes.last_mut() {
            s.in_aggregate = true;
        }
        let before = self.columns_seen();
        let xs = args.iter().map(|a| self.value(a)).collect::<SqlResult<Vec<_>>>();
        let after = self.columns_seen();
        if let Some(s) = self.scopes.last_mut() {
            s.in_aggregate = false;
        }
        let xs = xs?;
        if after.1 > before.1 && after.0 == before.0 {
            return Err(SqlError::unsupported("aggregate of outer references alone"));
        }
        if name == "STRING_AGG" {
            let [x, sep] = &xs[..] else { return Err(wrong_args(name, 2)) };
            return Ok(Tx::new(format!("group_concat({}, {})", self.conv(x, TEXT), sep.sql), TEXT));
        }
        let [x] = &xs[..] else { return Err(wrong_args(name, 1)) };
        match name {
            "COUNT" => Ok(Tx::new(format!("t_int(count({d}{}))", comparable(x.sql.clone(), x.ty)), Ty::Int).not_null()),
            "COUNT_BIG" => Ok(Tx::new(format!("count({d}{})", comparable(x.sql.clone(), x.ty)), Ty::BigInt).not_null()),
            "MIN" | "MAX" => {
                if x.ty == Ty::Bit {
                    return Err(clash_op(&name.to_lowercase(), x.ty));
                }
                let collate = if x.ty.is_text() { " COLLATE TSQL" } else { "" };
                Ok(Tx::new(format!("{}({}{collate})", name.to_lowercase(), x.sql), x.ty))
            }
            "SUM" | "AVG" => {
                let ty = match x.ty {
                    Ty::TinyInt | Ty::SmallInt | Ty::Int => Ty::Int,
                    Ty::BigInt => Ty::BigInt,
                    Ty::Decimal(_, s) => Ty::Decimal(38, if name == "AVG" { s.max(6) } else { s }),
                    Ty::Money | Ty::SmallMoney => Ty::Money,
                    Ty::Real | Ty::Float => Ty::Float,
                    t => return Err(clash_op(&name.to_lowercase(), t)),
                };
                Ok(Tx::new(format!("t_{}({d}{}, {}, {})", name.to_lowercase(), x.sql, x.ty.code(), ty.code()), ty))
            }
            _ => Err(SqlError::unsupported(name)),
        }
    }

    fn window(&mut self, name: &str, args: &[Expr], star: bool, over: &Over) -> SqlResult<Tx> {
        let mut spec = Vec::new();
        if !over.partition.is_empty() {
            let list = over.partition.iter().map(|e| self.value(e).map(|x| comparable(x.sql, x.ty))).collect::<SqlResult<Vec<_>>>()?;
            spec.push(format!("PARTITION BY {}", list.join(", ")));
        }
        if !over.order.is_empty() {
            let mut list = Vec::new();
            for (e, desc) in &over.order {
                let x = self.value(e)?;
                list.push(format!("{}{}", comparable(x.sql, x.ty), if *desc { " DESC" } else { "" }));
            }
            spec.push(format!("ORDER BY {}", list.join(", ")));
        }
        let spec = spec.join(" ");
        let xs = args.iter().map(|a| self.value(a)).collect::<SqlResult<Vec<_>>>()?;
        match (name, &xs[..], star) {
            ("ROW_NUMBER" | "RANK" | "DENSE_RANK", [], false) if !over.order.is_empty() => {
                Ok(Tx::new(format!("{}() OVER ({spec})", name.to_lowercase()), Ty::BigInt))
            }
            ("COUNT", [], true) => Ok(Tx::new(format!("count(*) OVER ({spec})"), Ty::Int)),
            ("COUNT_BIG", [], true) => Ok(Tx::new(format!("count(*) OVER ({spec})"), Ty::BigInt)),
            ("MIN" | "MAX", [x], false) => Ok(Tx::new(format!("{}({}) OVER ({spec})", name.to_lowercase(), x.sql), x.ty)),
            ("LAG" | "LEAD", [x], false) => Ok(Tx::new(format!("{}({}) OVER ({spec})", name.to_lowercase(), x.sql), x.ty)),
            _ => Err(SqlError::unsupported(format!("{name} OVER"))),
        }
    }

    /// Functions whose value the session or the server knows.
    fn session_func(&mut self, name: &str, xs: &[Tx]) -> Option<Tx> {
        let text = |t: &mut Self, key| t.session(key, Ty::NVarChar(128));
        Some(match (name, xs.len()) {
            ("GETDATE" | "CURRENT_TIMESTAMP" | "GETUTCDATE", 0) => self.session("NOW_DATETIME", Ty::DateTime).not_null(),
            ("SYSUTCDATETIME" | "SYSDATETIME", 0) => self.session("NOW", Ty::DateTime2(7)).not_null(),
            ("SYSDATETIMEOFFSET", 0) => self.session("NOW_OFFSET", Ty::DateTimeOffset(7)).not_null(),
            ("SCOPE_IDENTITY", 0) => self.session("IDENTITY", Ty::Decimal(38, 0)),
            ("DB_NAME", 0) => text(self, "DB_NAME"),
            ("DB_ID", 0) => self.session("DB_ID", Ty::SmallInt),
            ("SUSER_SNAME" | "SUSER_NAME" | "ORIGINAL_LOGIN" | "SYSTEM_USER", 0) => text(self, "LOGIN"),
            ("USER_NAME" | "CURRENT_USER" | "SESSION_USER" | "USER", 0) => text(self, "USER"),
            ("HOST_NAME", 0) => text(self, "HOST_NAME"),
            ("APP_NAME", 0) => text(self, "APP_NAME"),
            ("ERROR_NUMBER", 0) => self.session("ERROR_NUMBER", Ty::Int),
            ("ERROR_MESSAGE", 0) => self.session("ERROR_MESSAGE", Ty::NVarChar(4000)),
            ("ERROR_SEVERITY", 0) => self.session("ERROR_SEVERITY", Ty::Int),
            ("ERROR_STATE", 0) => self.session("ERROR_STATE", Ty::Int),
            ("ERROR_LINE", 0) => self.session("ERROR_LINE", Ty::Int),
            ("ERROR_PROCEDURE", 0) => text(self, "ERROR_PROCEDURE"),
            ("XACT_STATE", 0) => self.session("XACT_STATE", Ty::SmallInt),
            ("ROWCOUNT_BIG", 0) => self.session("ROWCOUNT", Ty::BigInt),
            ("NEWID" | "NEWSEQUENTIALID", 0) => Tx::new("t_newid()", Ty::Guid).not_null(),
            ("DB_ID", 1) => Tx::new(format!("t_dbid({})", xs[0].sql), Ty::SmallInt),
            ("DB_NAME", 1) => Tx::new(format!("t_dbname({})", xs[0].sql), Ty::NVarChar(128)),
            ("OBJECT_ID", 1 | 2) => {
                let db = text(self, "DB_NAME").sql;
                let kind = xs.get(1).map_or("'U'", |x| x.sql.as_str());
                Tx::new(format!("t_objid({db}, {}, {kind})", xs[0].sql), Ty::Int)
            }
            ("OBJECT_NAME", 1) => {
                let db = text(self, "DB_NAME").sql;
                Tx::new(format!("t_objname({db}, {})", xs[0].sql), Ty::NVarChar(128))
            }
            ("SCHEMA_NAME", 0) => Tx::new("'dbo'", Ty::NVarChar(128)),
            ("SCHEMA_NAME", 1) => Tx::new(format!("CASE {} WHEN 1 THEN 'dbo' WHEN 4 THEN 'sys' END", xs[0].sql), Ty::NVarChar(128)),
            ("SCHEMA_ID", 0) => Tx::new("1", Ty::Int),
            ("SERVERPROPERTY", 1) => Tx::new(format!("t_serverproperty({})", xs[0].sql), Ty::NVarChar(128)),
            ("DATABASEPROPERTYEX", 2) => Tx::new(format!("t_dbproperty({}, {})", xs[0].sql, xs[1].sql), Ty::NVarChar(128)),
            ("HAS_DBACCESS", 1) => Tx::new(format!("(t_dbid({}) IS NOT NULL)", xs[0].sql), Ty::Int),
            ("IS_SRVROLEMEMBER" | "IS_MEMBER" | "IS_ROLEMEMBER", 1 | 2) => Tx::new("1", Ty::Int),
            ("ISNUMERIC", 1) => {
                Tx::new(format!("(t_try({}, {}, {}, 0) IS NOT NULL)", xs[0].sql, xs[0].ty.code(), Ty::Float.code()), Ty::Int)
            }
            _ => return None,
        })
    }

    fn text_func(&mut self, name: &str, xs: &[Tx]) -> SqlResult<Option<Tx>> {
        let text = |t: &Self, x: &Tx| if x.ty.is_text() { x.sql.clone() } else { t.conv(x, TEXT) };
        let like = |x: &Tx| if x.ty.is_text() { x.ty } else { Ty::VarChar(8000) };
        let int = |t: &Self, x: &Tx| t.conv(x, Ty::BigInt);
        let varying = |t: Ty| match t {
            Ty::Char(n) => Ty::VarChar(n),
            Ty::NChar(n) => Ty::NVarChar(n),
            t => t,
        };
        Ok(Some(match (name, xs) {
            ("LEN", [x]) => Tx::new(format!("t_len({})", text(self, x)), if x.ty.len() == MAX { Ty::BigInt } else { Ty::Int }),
            ("DATALENGTH", [x]) => {
                Tx::new(format!("t_datalength({}, {})", x.sql, x.ty.code()), if x.ty.len() == MAX { Ty::BigInt } else { Ty::Int })
            }
            ("UPPER" | "LOWER" | "REVERSE", [x]) => Tx::new(format!("t_{}({})", name.to_lowercase(), text(self, x)), varying(like(x))),
            ("LTRIM" | "RTRIM" | "TRIM", [x]) => Tx::new(format!("{}({})", name.to_lowercase(), text(self, x)), varying(like(x))),
            ("LEFT" | "RIGHT", [x, n]) => {
                Tx::new(format!("t_{}({}, {})", name.to_lowercase(), text(self, x), int(self, n)), varying(like(x)))
            }
            ("SUBSTRING", [x, a, n]) if x.ty.is_binary() => {
                Tx::new(format!("t_substring({}, {}, {})", x.sql, int(self, a), int(self, n)), x.ty)
            }
            ("SUBSTRING", [x, a, n]) => {
                Tx::new(format!("t_substring({}, {}, {})", text(self, x), int(self, a), int(self, n)), varying(like(x)))
            }
            ("CHARINDEX", [a, b]) => Tx::new(format!("t_charindex({}, {}, 1)", text(self, a), text(self, b)), Ty::Int),
            ("CHARINDEX", [a, b, n]) => Tx::new(format!("t_charindex({}, {}, {})", text(self, a), text(self, b), int(self, n)), Ty::Int),
            ("REPLACE", [x, a, b]) => {
                let ty = if x.ty.is_national() || a.ty.is_national() || b.ty.is_national() { Ty::NVarChar(MAX) } else { Ty::VarChar(8000) };
                Tx::new(format!("t_replace({}, {}, {})", text(self, x), text(self, a), text(self, b)), ty)
            }
            ("REPLICATE", [x, n]) => {
                let ty = match x.ty {
                    Ty::NVarChar(MAX) | Ty::VarChar(MAX) => x.ty,
                    t if t.is_national() => Ty::NVarChar(4000),
                    _ => Ty::VarChar(8000),
                };
                Tx::new(format!("t_replicate({}, {}, {})", text(self, x), int(self, n), ty.code()), ty)
            }
            ("SPACE", [n]) => Tx::new(format!("t_replicate(' ', {}, {})", int(self, n), Ty::VarChar(8000).code()), Ty::VarChar(8000)),
            ("CONCAT", [_, _, ..]) => {
                let parts: Vec<String> = xs.iter().map(|x| format!("coalesce({}, '')", text(self, x))).collect();
                let ty = xs.iter().map(|x| if x.ty.is_text() { x.ty } else { Ty::VarChar(x.ty.len()) }).reduce(concat_ty).unwrap_or(TEXT);
                Tx::new(format!("({})", parts.join(" || ")), ty).not_null()
            }
            ("CHAR" | "NCHAR" | "UNICODE" | "ASCII", [x]) => {
                let (arg, ty) = match name {
                    "CHAR" => (int(self, x), Ty::Char(1)),
                    "NCHAR" => (int(self, x), Ty::NChar(1)),
                    _ => (text(self, x), Ty::Int),
                };
                Tx::new(format!("t_{}({arg})", name.to_lowercase()), ty)
            }
            ("QUOTENAME", [x]) => Tx::new(format!("'[' || t_replace({}, ']', ']]') || ']'", text(self, x)), Ty::NVarChar(258)),
            ("HASHBYTES", [alg, x]) => {
                if !x.ty.is_text() && !x.ty.is_binary() && x.ty != Ty::Null {
                    return Err(SqlError::new(
                        8116,
                        format!("Argument data type {} is invalid for argument 2 of hashbytes function.", x.ty.name()),
                    ));
                }
                Tx::new(format!("t_hash({}, {}, {})", alg.sql, x.sql, x.ty.code()), Ty::VarBinary(8000))
            }
            ("ISNULL", [a, b]) => {
                let ty = if a.ty == Ty::Null { b.ty } else { a.ty };
                Tx { sql: format!("ifnull({}, {})", a.sql, self.conv(b, ty)), ty, nullable: a.nullable && b.nullable, column: None }
            }
            ("NULLIF", [a, b]) => {
                let eq = self.compare("=", a, b)?;
                Tx::new(format!("CASE WHEN {eq} THEN NULL ELSE {} END", a.sql), a.ty)
            }
            ("ISDATE", [x]) => Tx::new(format!("(t_try({}, {}, {}, 0) IS NOT NULL)", x.sql, x.ty.code(), Ty::DateTime.code()), Ty::Int),
            ("CHECKSUM" | "BINARY_CHECKSUM", _) => return Err(SqlError::unsupported(name)),
            ("FORMATMESSAGE" | "FORMAT", _) => return Err(SqlError::unsupported(name)),
            ("COLLATIONPROPERTY" | "CONNECTIONPROPERTY" | "SESSIONPROPERTY" | "FULLTEXTSERVICEPROPERTY", [p, ..]) => {
                Tx::new(format!("t_serverproperty({} || {})", text_lit("connection."), text(self, p)), Ty::NVarChar(128))
            }
            _ => return Ok(None),
        }))
    }

    fn math_func(&mut self, name: &str, xs: &[Tx]) -> SqlResult<Option<Tx>> {
        let float = |t: &Self, x: &Tx| t.conv(x, Ty::Float);
        let number = |x: &Tx| if x.ty.is_number() { Ok(x.ty) } else { Err(clash_op(&name.to_lowercase(), x.ty)) };
        Ok(Some(match (name, xs) {
            ("ABS" | "SIGN" | "FLOOR" | "CEILING", [x]) => {
                let from = number(x)?;
                let ty = match from {
                    Ty::Bit | Ty::TinyInt | Ty::SmallInt => Ty::Int,
                    Ty::Real => Ty::Float,
                    Ty::Decimal(p, _) if matches!(name, "FLOOR" | "CEILING") => Ty::Decimal(p, 0),
                    t => t,
                };
                Tx::new(format!("t_math('{name}', {}, {}, {})", x.sql, from.code(), ty.code()), ty)
            }
            ("ROUND", [x, n]) => {
                let from = number(x)?;
                Tx::new(format!("t_round({}, {}, {})", x.sql, self.conv(n, Ty::Int), from.code()), from)
            }
            ("SQRT" | "EXP" | "LOG" | "LOG10", [x]) => Tx::new(format!("t_fn('{name}', {}, 0.0)", float(self, x)), Ty::Float),
            ("POWER", [x, n]) => {
                let from = if x.ty.is_number() { x.ty } else { Ty::Float };
                Tx::new(format!("t_cv(t_fn('POWER', {}, {}), {}, {})", float(self, x), float(self, n), Ty::Float.code(), from.code()), from)
            }
            ("RAND", []) => Tx::new("t_rand()", Ty::Float),
            ("PI", []) => Tx::new("3.141592653589793", Ty::Float),
            _ => return Ok(None),
        }))
    }
}

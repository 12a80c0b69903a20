//! Expressions, by precedence: OR, AND, NOT, predicates, additive and bitwise, multiplicative, unary, primary.

use super::ast::{Expr, Over};
use super::lexer::Tok;
use super::parser::Parser;
use crate::error::{SqlError, SqlResult};

fn bx(e: Expr) -> Box<Expr> {
    Box::new(e)
}

/// AND and OR are associative: generated conditions of thousands of terms become a tree of a dozen levels.
fn balance(mut terms: Vec<Expr>, join: fn(Box<Expr>, Box<Expr>) -> Expr) -> Expr {
    if terms.len() < 2 {
        return terms.pop().unwrap_or(Expr::Null);
    }
    let right = terms.split_off(terms.len() / 2);
    join(bx(balance(terms, join)), bx(balance(right, join)))
}

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> SqlResult<Expr> {
        self.nest(|p| {
            let mut terms = vec![p.and_expr()?];
            while p.kw("OR") {
                terms.push(p.and_expr()?);
            }
            Ok(balance(terms, Expr::Or))
        })
    }

    fn and_expr(&mut self) -> SqlResult<Expr> {
        let mut terms = vec![self.not_expr()?];
        while self.kw("AND") {
            terms.push(self.not_expr()?);
        }
        Ok(balance(terms, Expr::And))
    }

    fn not_expr(&mut self) -> SqlResult<Expr> {
        if self.kw("NOT") {
            return self.nest(|p| Ok(Expr::Not(bx(p.not_expr()?))));
        }
        self.apart(Self::predicate)
    }

    fn predicate(&mut self) -> SqlResult<Expr> {
        let mut l = self.additive()?;
        loop {
            if let Tok::Op(o) = self.peek() {
                let o = match *o {
                    "=" => "=",
                    "<>" | "!=" => "<>",
                    "<" => "<",
                    ">" => ">",
                    "<=" | "!>" => "<=",
                    ">=" | "!<" => ">=",
                    _ => return Ok(l),
                };
                self.at += 1;
                self.link()?;
                l = Expr::Cmp(o, bx(l), bx(self.additive()?));
                continue;
            }
            if self.kw("IS") {
                self.link()?;
                let not = self.kw("NOT");
                self.need_kw("NULL")?;
                l = Expr::IsNull(bx(l), not);
                continue;
            }
            let not = self.is_kw("NOT") && ["BETWEEN", "IN", "LIKE"].iter().any(|w| self.is_kw_at(1, w)) && self.kw("NOT");
            if ["BETWEEN", "IN", "LIKE"].iter().any(|w| self.is_kw(w)) {
                self.link()?;
            }
            if self.kw("BETWEEN") {
                let lo = self.additive()?;
                self.need_kw("AND")?;
                l = Expr::Between(bx(l), bx(lo), bx(self.additive()?), not);
            } else if self.kw("IN") {
                self.need("(")?;
                if self.is_kw("SELECT") || self.is_kw("WITH") {
                    let q = self.query()?;
                    l = Expr::InQuery(bx(l), Box::new(q), not);
                } else {
                    let list = self.expr_list()?;
                    l = Expr::InList(bx(l), list, not);
                }
                self.need(")")?;
            } else if self.kw("LIKE") {
                let pat = self.additive()?;
                let esc = if self.kw("ESCAPE") { Some(bx(self.additive()?)) } else { None };
                l = Expr::Like(bx(l), bx(pat), esc, not);
            } else {
                return Ok(l);
            }
        }
    }

    pub(super) fn expr_list(&mut self) -> SqlResult<Vec<Expr>> {
        let mut out = vec![self.expr()?];
        while self.op(",") {
            out.push(self.expr()?);
        }
        Ok(out)
    }

    fn additive(&mut self) -> SqlResult<Expr> {
        self.nest(|p| {
            let mut l = p.multiplicative()?;
            loop {
                let op = match p.peek() {
                    Tok::Op("+") => '+',
                    Tok::Op("-") => '-',
                    Tok::Op("&") => '&',
                    Tok::Op("|") => '|',
                    Tok::Op("^") => '^',
                    _ => return Ok(l),
                };
                p.at += 1;
                p.link()?;
                l = Expr::Arith(op, bx(l), bx(p.multiplicative()?));
            }
        })
    }

    fn multiplicative(&mut self) -> SqlResult<Expr> {
        let mut l = self.unary()?;
        loop {
            let op = match self.peek() {
                Tok::Op("*") => '*',
                Tok::Op("/") => '/',
                Tok::Op("%") => '%',
                _ => return Ok(l),
            };
            self.at += 1;
            self.link()?;
            l = Expr::Arith(op, bx(l), bx(self.unary()?));
        }
    }

    fn unary(&mut self) -> SqlResult<Expr> {
        if self.op("-") {
            return self.nest(|p| {
                Ok(match p.unary()? {
                    Expr::Int(n) => Expr::Int(-n),
                    Expr::Dec(s) if s == "9223372036854775808" => Expr::Int(i64::MIN),
                    Expr::Dec(s) if !s.starts_with('-') => Expr::Dec(format!("-{s}")),
                    Expr::Float(f) => Expr::Float(-f),
                    e => Expr::Neg(bx(e)),
                })
            });
        }
        if self.op("+") {
            return self.nest(Self::unary);
        }
        if self.op("~") {
            return self.nest(|p| Ok(Expr::BitNot(bx(p.unary()?))));
        }
        let mut e = self.primary()?;
        while self.kw("COLLATE") {
            let line = self.line();
            let name = self.ident()?.to_uppercase();
            if !(name == "DATABASE_DEFAULT" || name.contains("_CI_AS")) {
                return Err(SqlError::unsupported(format!("COLLATE {name}")).at(line));
            }
        }
        if let Expr::Col(parts) = &mut e
            && parts.len() > 3
        {
            return Err(self.err_prev());
        }
        Ok(e)
    }

    fn primary(&mut self) -> SqlResult<Expr> {
        match self.peek().clone() {
            Tok::Int(s) => {
                self.at += 1;
                Ok(s.parse().map_or(Expr::Dec(s), Expr::Int))
            }
            Tok::Dec(s) => {
                self.at += 1;
                Ok(Expr::Dec(s))
            }
            Tok::Float(s) => {
                let line = self.line();
                self.at += 1;
                let n: f64 = s.parse().map_err(|_| self.err_prev())?;
                if n.is_infinite() {
                    let shown: String = s.chars().take(128).collect();
                    let text = format!("The floating point value '{shown}' is out of the range of computer representation (8 bytes).");
                    return Err(SqlError::new(168, text).class(15).at(line));
                }
                Ok(Expr::Float(n))
            }
            Tok::Str(s, n) => {
                self.at += 1;
                Ok(Expr::Str(s, n))
            }
            Tok::Hex(b) => {
                self.at += 1;
                Ok(Expr::Bin(b))
            }
            Tok::Var(v) => {
                self.at += 1;
                Ok(Expr::Var(v))
            }
            Tok::SysVar(v) => {
                self.at += 1;
                Ok(Expr::SysVar(v))
            }
            Tok::Op("(") => {
                self.at += 1;
                let e = if self.is_kw("SELECT") || self.is_kw("WITH") { Expr::Sub(Box::new(self.query()?)) } else { self.expr()? };
                self.need(")")?;
                Ok(e)
            }
            Tok::Word(w) => self.word(&w.to_uppercase()),
            Tok::Quoted(_) => self.column(),
            _ => Err(self.err()),
        }
    }

    fn column(&mut self) -> SqlResult<Expr> {
        let mut parts = vec![self.ident()?];
        while self.op(".") {
            parts.push(self.ident()?);
        }
        Ok(Expr::Col(parts))
    }

    fn word(&mut self, w: &str) -> SqlResult<Expr> {
        match w {
            "NULL" => {
                self.at += 1;
                return Ok(Expr::Null);
            }
            "DEFAULT" => {
                self.at += 1;
                return Ok(Expr::Default);
            }
            "CASE" => return self.nest(Self::case),
            "EXISTS" => {
                self.at += 1;
                self.need("(")?;
                let q = self.query()?;
                self.need(")")?;
                return Ok(Expr::Exists(Box::new(q)));
            }
            "CURRENT_TIMESTAMP" | "CURRENT_USER" | "SESSION_USER" | "SYSTEM_USER" | "USER" => {
                self.at += 1;
                return Ok(Expr::Func { name: w.to_owned(), args: vec![], star: false, distinct: false, over: None });
            }
            _ => {}
        }
        if !matches!(self.peek_at(1), Tok::Op("(")) {
            return self.column();
        }
        match w {
            "CAST" | "TRY_CAST" => {
                self.at += 2;
                let expr = bx(self.expr()?);
                self.need_kw("AS")?;
                let ty = self.cast_ty()?;
                self.need(")")?;
                Ok(Expr::Cast { expr, ty, style: None, lenient: w.starts_with('T') })
            }
            "CONVERT" | "TRY_CONVERT" => {
                self.at += 2;
                let ty = self.cast_ty()?;
                self.need(",")?;
                let expr = bx(self.expr()?);
                let style = if self.op(",") { Some(bx(self.expr()?)) } else { None };
                self.need(")")?;
                Ok(Expr::Cast { expr, ty, style, lenient: w.starts_with('T') })
            }
            "COALESCE" | "LEFT" | "RIGHT" => self.func(w),
            _ if !self.is_ident() => Err(self.err()),
            _ => self.func(w),
        }
    }

    /// A type in CAST: char types without a length mean 30 there.
    fn cast_ty(&mut self) -> SqlResult<super::types::Ty> {
        use super::types::Ty;
        let bare = !matches!(self.peek_at(1), Tok::Op("("));
        Ok(match self.ty()? {
            Ty::Char(1) if bare => Ty::Char(30),
            Ty::VarChar(1) if bare => Ty::VarChar(30),
            Ty::NChar(1) if bare => Ty::NChar(30),
            Ty::NVarChar(1) if bare => Ty::NVarChar(30),
            Ty::Binary(1) if bare => Ty::Binary(30),
            Ty::VarBinary(1) if bare => Ty::VarBinary(30),
            t => t,
        })
    }

    fn func(&mut self, name: &str) -> SqlResult<Expr> {
        self.at += 2;
        let mut star = false;
        let mut distinct = false;
        let mut args = Vec::new();
        if !self.op(")") {
            if self.op("*") {
                star = true;
            } else {
                distinct = self.kw("DISTINCT");
                if !distinct {
                    self.kw("ALL");
                }
                args = self.expr_list()?;
            }
            self.need(")")?;
        }
        let mut over = None;
        if self.kw("OVER") {
            self.need("(")?;
            let part = if self.kws(&["PARTITION", "BY"]) { self.expr_list()? } else { vec![] };
            let order = if self.kws(&["ORDER", "BY"]) { self.order_list()? } else { vec![] };
            self.need(")")?;
            over = Some(Box::new(Over { partition: part, order }));
        }
        Ok(Expr::Func { name: name.to_owned(), args, star, distinct, over })
    }

    fn case(&mut self) -> SqlResult<Expr> {
        self.need_kw("CASE")?;
        let operand = if self.is_kw("WHEN") { None } else { Some(bx(self.expr()?)) };
        let mut whens = Vec::new();
        while self.kw("WHEN") {
            let w = self.expr()?;
            self.need_kw("THEN")?;
            whens.push((w, self.expr()?));
        }
        if whens.is_empty() {
            return Err(self.err());
        }
        let other = if self.kw("ELSE") { Some(bx(self.expr()?)) } else { None };
        self.need_kw("END")?;
        Ok(Expr::Case(operand, whens, other))
    }

    pub(super) fn order_list(&mut self) -> SqlResult<Vec<(Expr, bool)>> {
        let mut out = Vec::new();
        loop {
            let e = self.expr()?;
            let desc = self.kw("DESC");
            if !desc {
                self.kw("ASC");
            }
            out.push((e, desc));
            if !self.op(",") {
                return Ok(out);
            }
        }
    }
}

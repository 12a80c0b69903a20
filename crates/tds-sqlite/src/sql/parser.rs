//! Recursive descent over the tokens: the cursor, names, types, and the entry point. Statements are in `parse_stmt`, queries in `parse_query`, expressions in `parse_expr`.

use super::ast::{ObjName, Stmt};
use super::lexer::{Tok, Token, lex};
use super::types::{MAX, Ty};
use crate::error::{SqlError, SqlResult};

/// Deepest nesting of expressions, blocks and queries, so that no batch can exhaust the stack.
pub(super) const DEPTH_MAX: usize = 64;
/// Greatest height of a syntax tree: chains such as `1 + 1 + …` grow it without nesting in the text, and what walks the tree recurses.
const HEIGHT_MAX: usize = 256;

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) toks: Vec<Token>,
    pub(super) at: usize,
    pub(super) depth: usize,
    /// A bound on the height of every tree parsed in the current nesting.
    pub(super) height: usize,
}

/// Parses a batch.
///
/// # Errors
/// 102, 105, 113, 156 with the line of the offending token; 40510 for statements that are recognised but not served.
pub fn parse_batch(text: &str) -> SqlResult<Vec<Stmt>> {
    let mut p = Parser { text, toks: lex(text)?, at: 0, depth: 0, height: 0 };
    let mut out = Vec::new();
    loop {
        while p.op(";") {}
        if matches!(p.peek(), Tok::End) {
            return Ok(out);
        }
        out.push(p.stmt()?);
    }
}

/// Parses the parameter declarations of `sp_executesql`, `@a int, @b nvarchar(10) OUTPUT`: name, type, is output.
///
/// # Errors
/// As [`parse_batch`].
pub fn parse_params(text: &str) -> SqlResult<Vec<(String, Ty, bool)>> {
    let mut p = Parser { text, toks: lex(text)?, at: 0, depth: 0, height: 0 };
    let mut out = Vec::new();
    while !matches!(p.peek(), Tok::End) {
        if !out.is_empty() {
            p.need(",")?;
        }
        let Tok::Var(name) = p.next() else { return Err(p.err_prev()) };
        p.kw("AS");
        let ty = p.ty()?;
        let output = p.kw("OUTPUT") || p.kw("OUT");
        out.push((name, ty, output));
    }
    Ok(out)
}

/// Words that cannot be an unquoted identifier; SQL Server answers 156 where one stands in an identifier's place.
const RESERVED: &[&str] = &[
    "ADD",
    "ALL",
    "ALTER",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BEGIN",
    "BETWEEN",
    "BREAK",
    "BY",
    "CASE",
    "CHECK",
    "CHECKPOINT",
    "CLOSE",
    "COLLATE",
    "COMMIT",
    "CONSTRAINT",
    "CONTINUE",
    "CONVERT",
    "CREATE",
    "CROSS",
    "CURSOR",
    "DBCC",
    "DECLARE",
    "DEFAULT",
    "DELETE",
    "DESC",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXEC",
    "EXECUTE",
    "EXISTS",
    "FETCH",
    "FOR",
    "FOREIGN",
    "FROM",
    "FULL",
    "FUNCTION",
    "GOTO",
    "GRANT",
    "GROUP",
    "HAVING",
    "HOLDLOCK",
    "IDENTITY",
    "IF",
    "IN",
    "INDEX",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "KEY",
    "KILL",
    "LEFT",
    "LIKE",
    "MERGE",
    "NOT",
    "NULL",
    "OF",
    "OFF",
    "ON",
    "OPEN",
    "OPTION",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PERCENT",
    "PIVOT",
    "PRIMARY",
    "PRINT",
    "PROC",
    "PROCEDURE",
    "RAISERROR",
    "REFERENCES",
    "RETURN",
    "REVERT",
    "REVOKE",
    "RIGHT",
    "ROLLBACK",
    "SAVE",
    "SELECT",
    "SET",
    "SHUTDOWN",
    "TABLE",
    "THEN",
    "TO",
    "TOP",
    "TRAN",
    "TRANSACTION",
    "TRIGGER",
    "TRUNCATE",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USE",
    "VALUES",
    "VIEW",
    "WAITFOR",
    "WHEN",
    "WHERE",
    "WHILE",
    "WITH",
];

fn reserved(w: &str) -> bool {
    RESERVED.iter().any(|r| r.eq_ignore_ascii_case(w))
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> &Tok {
        &self.toks[self.at].kind
    }

    pub(super) fn peek_at(&self, ahead: usize) -> &Tok {
        &self.toks[(self.at + ahead).min(self.toks.len() - 1)].kind
    }

    pub(super) fn line(&self) -> u32 {
        self.toks[self.at].line
    }

    pub(super) fn next(&mut self) -> Tok {
        let t = self.toks[self.at].kind.clone();
        if self.at + 1 < self.toks.len() {
            self.at += 1;
        }
        t
    }

    /// Whether the word `ahead` tokens on is this keyword.
    pub(super) fn is_kw_at(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), Tok::Word(w) if w.eq_ignore_ascii_case(word))
    }

    pub(super) fn is_kw(&self, word: &str) -> bool {
        self.is_kw_at(0, word)
    }

    pub(super) fn kw(&mut self, word: &str) -> bool {
        let hit = self.is_kw(word);
        if hit {
            self.at += 1;
        }
        hit
    }

    /// Takes a run of keywords or nothing.
    pub(super) fn kws(&mut self, words: &[&str]) -> bool {
        let hit = words.iter().enumerate().all(|(i, w)| self.is_kw_at(i, w));
        if hit {
            self.at += words.len();
        }
        hit
    }

    pub(super) fn need_kw(&mut self, word: &str) -> SqlResult<()> {
        if self.kw(word) { Ok(()) } else { Err(self.err()) }
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Tok::Op(o) if *o == op)
    }

    pub(super) fn op(&mut self, op: &str) -> bool {
        let hit = self.is_op(op);
        if hit {
            self.at += 1;
        }
        hit
    }

    pub(super) fn need(&mut self, op: &str) -> SqlResult<()> {
        if self.op(op) { Ok(()) } else { Err(self.err()) }
    }

    /// 102 or 156 at the current token.
    pub(super) fn err(&self) -> SqlError {
        self.err_at(self.at)
    }

    /// The same at the token just taken.
    pub(super) fn err_prev(&self) -> SqlError {
        self.err_at(self.at.saturating_sub(1))
    }

    fn err_at(&self, at: usize) -> SqlError {
        let t = &self.toks[at];
        let e = match &t.kind {
            Tok::Word(w) if reserved(w) => SqlError::new(156, format!("Incorrect syntax near the keyword '{w}'.")).class(15),
            Tok::Word(w) | Tok::Quoted(w) | Tok::Var(w) | Tok::Str(w, _) | Tok::Int(w) | Tok::Dec(w) | Tok::Float(w) => {
                SqlError::syntax(&w.chars().take(128).collect::<String>())
            }
            Tok::SysVar(w) => SqlError::syntax(&format!("@@{w}")),
            Tok::Hex(_) => SqlError::syntax("0x"),
            Tok::Op(o) => SqlError::syntax(o),
            Tok::End => {
                let last = at.checked_sub(1).map_or("", |i| &self.text[self.toks[i].span.0..self.toks[i].span.1]);
                SqlError::syntax(&last.chars().take(128).collect::<String>())
            }
        };
        e.at(t.line)
    }

    /// Whether an unreserved or quoted identifier is next.
    pub(super) fn is_ident(&self) -> bool {
        match self.peek() {
            Tok::Quoted(_) => true,
            Tok::Word(w) => !reserved(w),
            _ => false,
        }
    }

    pub(super) fn ident(&mut self) -> SqlResult<String> {
        if !self.is_ident() {
            return Err(self.err());
        }
        match self.next() {
            Tok::Quoted(s) | Tok::Word(s) if s.chars().count() <= 128 && !s.is_empty() => Ok(s),
            Tok::Quoted(s) | Tok::Word(s) => {
                let shown: String = s.chars().take(128).collect();
                Err(SqlError::new(103, format!("The identifier that starts with '{shown}' is too long. Maximum length is 128."))
                    .class(15)
                    .at(self.line()))
            }
            _ => Err(self.err_prev()),
        }
    }

    pub(super) fn idents(&mut self) -> SqlResult<Vec<String>> {
        self.need("(")?;
        let mut out = vec![self.ident()?];
        while self.op(",") {
            out.push(self.ident()?);
        }
        self.need(")")?;
        Ok(out)
    }

    pub(super) fn obj(&mut self) -> SqlResult<ObjName> {
        let mut parts = vec![Some(self.ident()?)];
        while self.op(".") {
            if self.is_op(".") {
                parts.push(None);
            } else {
                parts.push(Some(self.ident()?));
            }
        }
        let name = parts.pop().flatten().ok_or_else(|| self.err_prev())?;
        let schema = parts.pop().flatten();
        let db = parts.pop().flatten();
        if !parts.is_empty() {
            return Err(SqlError::unsupported("four-part name").at(self.line()));
        }
        Ok(ObjName { db, schema, name })
    }

    /// A bounded recursion: every nesting construct goes through here.
    pub(super) fn nest<T>(&mut self, f: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let beside = std::mem::take(&mut self.height);
        let out = f(self);
        self.depth -= 1;
        self.height += 1;
        self.height = self.height.max(beside);
        out
    }

    /// Parses a tree that stands beside its neighbours: the higher of them counts, not their sum.
    pub(super) fn apart<T>(&mut self, f: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        let beside = std::mem::take(&mut self.height);
        let out = f(self);
        self.height = self.height.max(beside);
        out
    }

    /// One more link of a chain of operators, which makes the tree one higher.
    pub(super) fn link(&mut self) -> SqlResult<()> {
        self.height += 1;
        if self.height > HEIGHT_MAX { Err(self.too_deep()) } else { Ok(()) }
    }

    fn too_deep(&self) -> SqlError {
        SqlError::new(191, "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller queries.")
            .class(15)
            .at(self.line())
    }

    fn int_arg(&mut self) -> SqlResult<u32> {
        match self.next() {
            Tok::Int(s) => s.parse().map_err(|_| self.err_prev()),
            _ => Err(self.err_prev()),
        }
    }

    fn length(&mut self, default: u16, max: u32) -> SqlResult<u16> {
        if !self.op("(") {
            return Ok(default);
        }
        if self.kw("MAX") {
            self.need(")")?;
            return Ok(MAX);
        }
        let n = self.int_arg()?;
        self.need(")")?;
        match u16::try_from(n) {
            Ok(n) if n > 0 && u32::from(n) <= max => Ok(n),
            _ => {
                Err(SqlError::new(131, format!("The size ({n}) given to the type exceeds the maximum allowed for any data type ({max})."))
                    .class(15))
            }
        }
    }

    fn scale(&mut self, default: u8, max: u8) -> SqlResult<u8> {
        if !self.op("(") {
            return Ok(default);
        }
        let n = self.int_arg()?;
        self.need(")")?;
        u8::try_from(n)
            .ok()
            .filter(|n| *n <= max)
            .ok_or_else(|| SqlError::new(1002, format!("Line {}: Specified scale {n} is invalid.", self.line())).class(15))
    }

    /// A data type.
    pub(super) fn ty(&mut self) -> SqlResult<Ty> {
        let line = self.line();
        let mut name = match self.next() {
            Tok::Word(w) | Tok::Quoted(w) => w.to_lowercase(),
            _ => return Err(self.err_prev()),
        };
        if name == "sys" && self.op(".") {
            name = self.ident()?.to_lowercase();
        }
        let ty = match name.as_str() {
            "bit" => Ty::Bit,
            "tinyint" => Ty::TinyInt,
            "smallint" => Ty::SmallInt,
            "int" | "integer" => Ty::Int,
            "bigint" => Ty::BigInt,
            "money" => Ty::Money,
            "smallmoney" => Ty::SmallMoney,
            "real" => Ty::Real,
            "float" => match self.scale(53, 53)? {
                0..=24 => Ty::Real,
                _ => Ty::Float,
            },
            "decimal" | "numeric" | "dec" => self.decimal()?,
            "date" => Ty::Date,
            "time" => Ty::Time(self.scale(7, 7)?),
            "smalldatetime" => Ty::SmallDateTime,
            "datetime" => Ty::DateTime,
            "datetime2" => Ty::DateTime2(self.scale(7, 7)?),
            "datetimeoffset" => Ty::DateTimeOffset(self.scale(7, 7)?),
            "char" | "character" if self.kw("VARYING") => Ty::VarChar(self.length(1, 8000)?),
            "char" | "character" => Ty::Char(self.length(1, 8000)?),
            "varchar" => Ty::VarChar(self.length(1, 8000)?),
            "nchar" => Ty::NChar(self.length(1, 4000)?),
            "nvarchar" => Ty::NVarChar(self.length(1, 4000)?),
            "sysname" => Ty::NVarChar(128),
            "text" => Ty::VarChar(MAX),
            "ntext" | "xml" => Ty::NVarChar(MAX),
            "binary" => Ty::Binary(self.length(1, 8000)?),
            "varbinary" => Ty::VarBinary(self.length(1, 8000)?),
            "image" => Ty::VarBinary(MAX),
            "uniqueidentifier" => Ty::Guid,
            "sql_variant" | "table" | "cursor" | "rowversion" | "timestamp" | "hierarchyid" | "geometry" | "geography" => {
                return Err(SqlError::unsupported(format!("type {name}")).at(line));
            }
            _ => {
                return Err(SqlError::new(2715, format!("Column, parameter, or variable #1: Cannot find data type {name}.")).at(line));
            }
        };
        Ok(ty)
    }

    fn decimal(&mut self) -> SqlResult<Ty> {
        if !self.op("(") {
            return Ok(Ty::Decimal(18, 0));
        }
        let p = self.int_arg()?;
        let s = if self.op(",") { self.int_arg()? } else { 0 };
        self.need(")")?;
        match (u8::try_from(p), u8::try_from(s)) {
            (Ok(p), Ok(s)) if (1..=38).contains(&p) && s <= p => Ok(Ty::Decimal(p, s)),
            _ => Err(SqlError::new(192, "The scale must be less than or equal to the precision.").class(15).at(self.line())),
        }
    }
}

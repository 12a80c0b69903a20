//! Text to tokens. T-SQL's lexical rules: nested comments, `''` in strings, `[]]` in brackets, `@variables`, `0x` binaries.

use crate::error::{SqlError, SqlResult};

/// One token and the line it starts on.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Tok,
    /// 1-based line.
    pub line: u32,
    /// Byte range in the batch.
    pub span: (usize, usize),
}

/// Token kinds.
#[derive(Debug, Clone, PartialEq)]
pub enum Tok {
    /// A bare word, keyword or identifier; the parser decides by position.
    Word(String),
    /// `[x]` or `"x"`: never a keyword.
    Quoted(String),
    /// `@x`, with the at sign, lower case.
    Var(String),
    /// `@@x`, without the at signs, upper case.
    SysVar(String),
    /// String literal; true when it was written N'…'.
    Str(String, bool),
    /// Integer literal.
    Int(String),
    /// Decimal literal.
    Dec(String),
    /// Float literal.
    Float(String),
    /// Binary literal.
    Hex(Vec<u8>),
    /// Operator or punctuation.
    Op(&'static str),
    /// End of the batch.
    End,
}

const OPS: &[&str] = &[
    "<>", "!=", "<=", ">=", "!<", "!>", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "::", "(", ")", ",", ";", ".", "=", "<", ">", "+",
    "-", "*", "/", "%", "&", "|", "^", "~", ":",
];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$')
}

/// Splits a batch into tokens.
///
/// # Errors
/// 102 for characters outside the language, 105 for unclosed quotes, 113 for an unclosed comment.
pub fn lex(text: &str) -> SqlResult<Vec<Token>> {
    let mut lx = Lexer { len: text.len(), start: 0, rest: text, line: 1, out: Vec::with_capacity(text.len().min(1 << 16) / 4) };
    lx.run()?;
    let line = lx.line;
    lx.out.push(Token { kind: Tok::End, line, span: (text.len(), text.len()) });
    Ok(lx.out)
}

struct Lexer<'a> {
    len: usize,
    start: usize,
    rest: &'a str,
    line: u32,
    out: Vec<Token>,
}

impl Lexer<'_> {
    fn bump(&mut self, bytes: usize) -> String {
        let (head, tail) = self.rest.split_at(bytes);
        self.line += u32::try_from(head.matches('\n').count()).unwrap_or(0);
        self.rest = tail;
        head.to_owned()
    }

    fn push(&mut self, kind: Tok, line: u32) {
        let end = self.len - self.rest.len();
        self.out.push(Token { kind, line, span: (self.start, end) });
    }

    fn run(&mut self) -> SqlResult<()> {
        while let Some(c) = self.rest.chars().next() {
            let line = self.line;
            self.start = self.len - self.rest.len();
            if c.is_whitespace() || c == '\u{feff}' {
                self.bump(c.len_utf8());
            } else if self.rest.starts_with("--") {
                let n = self.rest.find('\n').unwrap_or(self.rest.len());
                self.bump(n);
            } else if self.rest.starts_with("/*") {
                self.comment()?;
            } else if c == '\'' {
                let s = self.quoted(0, '\'')?;
                self.push(Tok::Str(s, false), line);
            } else if (c == 'N' || c == 'n') && self.rest[1..].starts_with('\'') {
                let s = self.quoted(1, '\'')?;
                self.push(Tok::Str(s, true), line);
            } else if c == '[' {
                let s = self.quoted(0, ']')?;
                self.push(Tok::Quoted(s), line);
            } else if c == '"' {
                let s = self.quoted(0, '"')?;
                self.push(Tok::Quoted(s), line);
            } else if c.is_ascii_digit() || (c == '.' && self.rest[1..].starts_with(|d: char| d.is_ascii_digit())) {
                self.number(line)?;
            } else if is_word(c) {
                let n = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
                let w = self.bump(n);
                let tok = if let Some(sys) = w.strip_prefix("@@") {
                    Tok::SysVar(sys.to_uppercase())
                } else if w.starts_with('@') {
                    Tok::Var(w.to_lowercase())
                } else {
                    Tok::Word(w)
                };
                self.push(tok, line);
            } else if let Some(op) = OPS.iter().find(|op| self.rest.starts_with(**op)) {
                self.bump(op.len());
                self.push(Tok::Op(op), line);
            } else {
                return Err(SqlError::syntax(&c.to_string()).at(line));
            }
        }
        Ok(())
    }

    fn comment(&mut self) -> SqlResult<()> {
        let line = self.line;
        let mut depth = 0usize;
        let mut at = 0;
        let bytes = self.rest.as_bytes();
        while at < bytes.len() {
            match &bytes[at..bytes.len().min(at + 2)] {
                b"/*" => {
                    depth += 1;
                    at += 2;
                }
                b"*/" => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        self.bump(at);
                        return Ok(());
                    }
                }
                _ => at += 1,
            }
        }
        Err(SqlError::new(113, "Missing end comment mark '*/'.").class(15).at(line))
    }

    /// A quoted run that starts after `skip` bytes; the closing character is doubled to stand for itself.
    fn quoted(&mut self, skip: usize, close: char) -> SqlResult<String> {
        let line = self.line;
        let body = &self.rest[skip + 1..];
        let mut out = String::new();
        let mut at = 0;
        loop {
            let Some(n) = body[at..].find(close) else {
                let shown: String = body.chars().take(100).collect();
                return Err(SqlError::new(105, format!("Unclosed quotation mark after the character string '{shown}'."))
                    .class(15)
                    .at(line));
            };
            out.push_str(&body[at..at + n]);
            at += n + 1;
            if body[at..].starts_with(close) {
                out.push(close);
                at += 1;
            } else {
                break;
            }
        }
        self.bump(skip + 1 + at);
        Ok(out)
    }

    fn number(&mut self, line: u32) -> SqlResult<()> {
        let b = self.rest.as_bytes();
        if b.len() > 1 && b[0] == b'0' && (b[1] | 0x20) == b'x' {
            let n = self.rest[2..].find(|c: char| !c.is_ascii_hexdigit()).map_or(self.rest.len(), |n| n + 2);
            let digits = self.bump(n)[2..].to_owned();
            let digits = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
            let bytes = (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap_or(0)).collect();
            self.push(Tok::Hex(bytes), line);
            return Ok(());
        }
        let digits = |from: usize| b[from..].iter().take_while(|c| c.is_ascii_digit()).count();
        let mut n = digits(0);
        let mut kind = 0;
        if b.get(n) == Some(&b'.') {
            n += 1;
            n += digits(n);
            kind = 1;
        }
        if matches!(b.get(n), Some(b'e' | b'E')) {
            let mut m = n + 1;
            if matches!(b.get(m), Some(b'+' | b'-')) {
                m += 1;
            }
            n = m + digits(m);
            kind = 2;
        }
        if self.rest[n..].starts_with(|c: char| c.is_alphabetic() || c == '_') && kind == 0 {
            let word: String = self.rest[n..].chars().take_while(|c| is_word(*c)).collect();
            return Err(SqlError::syntax(&word).at(line));
        }
        let s = self.bump(n);
        let tok = match kind {
            0 => Tok::Int(s),
            1 => Tok::Dec(s),
            _ => Tok::Float(s),
        };
        self.push(tok, line);
        Ok(())
    }
}

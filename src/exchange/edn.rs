//! A reader of EDN, as much of it as histories use. <https://github.com/edn-format/edn>

use thiserror::Error;

/// Nesting beyond this is no history.
const DEPTH_MAX: usize = 64;

/// A value of EDN or JSON, with what both have in common.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Nil,
    Integer(i64),
    /// A keyword without its colon, a string, a symbol: histories of one tool write as keywords what those of another write as strings.
    Word(String),
    /// A vector, a list or a set.
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// A number that is not whole, a Boolean.
    Other,
}

impl Node {
    /// The value of a map's key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Node::Map(entries) = self else { return None };
        entries.iter().find(|(known, _)| matches!(known, Node::Word(word) if word == key)).map(|(_, value)| value)
    }

    pub(super) fn word(&self) -> Option<&str> {
        if let Node::Word(word) = self { Some(word) } else { None }
    }
}

impl From<serde_json::Value> for Node {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Node::Nil,
            serde_json::Value::Bool(_) => Node::Other,
            serde_json::Value::Number(number) => number.as_i64().map_or(Node::Other, Node::Integer),
            serde_json::Value::String(word) => Node::Word(word),
            serde_json::Value::Array(list) => Node::List(list.into_iter().map(Node::from).collect()),
            serde_json::Value::Object(map) => Node::Map(map.into_iter().map(|(key, value)| (Node::Word(key), value.into())).collect()),
        }
    }
}

/// What is wrong, and where.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {what}")]
pub struct EdnError {
    pub(super) line: usize,
    pub(super) what: String,
}

/// Reads one form after the other.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Reader { text, at: 0 }
    }

    /// The line at which the reader is, from 1.
    pub(super) fn line(&self) -> usize {
        1 + self.text[..self.at].bytes().filter(|&byte| byte == b'\n').count()
    }

    fn error<T>(&self, what: impl Into<String>) -> Result<T, EdnError> {
        Err(EdnError { line: self.line(), what: what.into() })
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self, count: char) {
        self.at += count.len_utf8();
    }

    /// Blanks, commas and comments.
    fn blanks(&mut self) {
        while let Some(next) = self.peek() {
            if next == ';' {
                let end = self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at);
                self.at += end;
            } else if next.is_whitespace() || next == ',' {
                self.skip(next);
            } else {
                return;
            }
        }
    }

    /// The next form; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Node>, EdnError> {
        loop {
            self.blanks();
            if self.text[self.at..].starts_with("#_") {
                self.at += 2;
                self.form(0)?;
                continue;
            }
            return if self.at == self.text.len() { Ok(None) } else { self.form(0).map(Some) };
        }
    }

    fn form(&mut self, depth: usize) -> Result<Node, EdnError> {
        if depth > DEPTH_MAX {
            return self.error("is nested too deeply");
        }
        self.blanks();
        let Some(next) = self.peek() else { return self.error("ends in the middle of a form") };
        match next {
            '[' | '(' => {
                self.skip(next);
                Ok(Node::List(self.until(if next == '[' { ']' } else { ')' }, depth)?))
            }
            '{' => {
                self.skip(next);
                self.map(depth)
            }
            '"' => self.string(),
            '#' => self.dispatch(depth),
            ']' | ')' | '}' => self.error(format!("a `{next}` closes nothing")),
            _ => Ok(self.atom()),
        }
    }

    /// Sets, discarded forms and tagged values such as `#jepsen.history.Op{…}`, of which the value counts.
    fn dispatch(&mut self, depth: usize) -> Result<Node, EdnError> {
        self.at += 1;
        match self.peek() {
            Some('{') => {
                self.at += 1;
                Ok(Node::List(self.until('}', depth)?))
            }
            Some('_') => {
                self.at += 1;
                self.form(depth + 1)?;
                self.form(depth + 1)
            }
            _ => {
                self.token();
                self.form(depth + 1)
            }
        }
    }

    fn until(&mut self, end: char, depth: usize) -> Result<Vec<Node>, EdnError> {
        let mut nodes = Vec::new();
        loop {
            self.blanks();
            if self.text[self.at..].starts_with("#_") {
                self.at += 2;
                self.form(depth + 1)?;
                continue;
            }
            match self.peek() {
                Some(next) if next == end => {
                    self.skip(next);
                    return Ok(nodes);
                }
                _ => nodes.push(self.form(depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, EdnError> {
        let forms = self.until('}', depth)?;
        if !forms.len().is_multiple_of(2) {
            return self.error("a map has a key without a value");
        }
        let mut forms = forms.into_iter();
        let mut entries = Vec::with_capacity(forms.len() / 2);
        while let (Some(key), Some(value)) = (forms.next(), forms.next()) {
            entries.push((key, value));
        }
        Ok(Node::Map(entries))
    }

    fn string(&mut self) -> Result<Node, EdnError> {
        let mut text = String::new();
        let mut chars = self.text[self.at + 1..].char_indices();
        while let Some((at, next)) = chars.next() {
            match next {
                '"' => {
                    self.at += at + 2;
                    return Ok(Node::Word(text));
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, escaped)) => text.push(escaped),
                    None => break,
                },
                plain => text.push(plain),
            }
        }
        self.error("a string has no end")
    }

    fn token(&mut self) -> &'a str {
        let ends = |next: char| next.is_whitespace() || matches!(next, ',' | '[' | ']' | '(' | ')' | '{' | '}' | '"' | ';');
        let rest = &self.text[self.at..];
        let length = rest.find(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn atom(&mut self) -> Node {
        let token = self.token();
        match token {
            "nil" => Node::Nil,
            "true" | "false" => Node::Other,
            _ if token.starts_with(':') => Node::Word(token[1..].to_owned()),
            _ => match token.trim_end_matches('N').parse() {
                Ok(number) => Node::Integer(number),
                Err(_) if token.parse::<f64>().is_ok() => Node::Other,
                Err(_) => Node::Word(token.to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Node>, EdnError> {
        let mut reader = Reader::new(text);
        let mut nodes = Vec::new();
        while let Some(node) = reader.next()? {
            nodes.push(node);
        }
        Ok(nodes)
    }

    #[test]
    fn what_histories_are_made_of_is_read() {
        let word = |text: &str| Node::Word(text.to_owned());
        let text = "{:type :ok, :value [[:append 1 -2] [:r \"x\\n\" nil]]} ; comment\n#_ignored #{1} #op{:f 5N} 1.5 true (a)";
        let value = Node::List(vec![
            Node::List(vec![word("append"), Node::Integer(1), Node::Integer(-2)]),
            Node::List(vec![word("r"), word("x\n"), Node::Nil]),
        ]);
        let expected = vec![
            Node::Map(vec![(word("type"), word("ok")), (word("value"), value)]),
            Node::List(vec![Node::Integer(1)]),
            Node::Map(vec![(word("f"), Node::Integer(5))]),
            Node::Other,
            Node::Other,
            Node::List(vec![word("a")]),
        ];
        assert_eq!(all(text), Ok(expected));
    }

    #[test]
    fn a_mistake_has_its_line() {
        for (text, line) in [("\n[1", 2), ("}", 1), ("{:a}", 1), ("\n\n\"x", 3)] {
            assert_eq!(all(text).expect_err(text).line, line, "{text}");
        }
        assert!(all(&"[".repeat(100_000)).expect_err("deep").what.contains("deep"));
    }
}

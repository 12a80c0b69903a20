//! Writing a line of the history. Every op passes here twice, so it is written by hand: the same bytes that serde would write, which a property test
//! holds it to, without an allocation and at a fraction of the cost.

use super::op::{Digest, ErrorKind, Mop, Op, OpError, OpType, Value};

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Op {
    /// Appends the op as one line, newline included. Does not allocate beyond the buffer's growth.
    pub fn write_line(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"index\":");
        put_unsigned(line, self.index);
        line.extend_from_slice(b",\"time\":");
        put_unsigned(line, self.time_ns);
        line.extend_from_slice(match self.kind {
            OpType::Invoke => b",\"type\":\"invoke\",\"process\":".as_slice(),
            OpType::Ok => b",\"type\":\"ok\",\"process\":",
            OpType::Fail => b",\"type\":\"fail\",\"process\":",
            OpType::Info => b",\"type\":\"info\",\"process\":",
        });
        put_unsigned(line, u64::from(self.process));
        line.extend_from_slice(b",\"f\":\"");
        line.extend_from_slice(self.f.word().as_bytes());
        line.extend_from_slice(b"\",\"value\":");
        put_value(line, &self.value);
        if let Some(error) = &self.error {
            put_error(line, error);
        }
        line.extend_from_slice(b",\"intended\":");
        put_unsigned(line, self.intended_ns);
        line.extend_from_slice(b"}\n");
    }
}

impl ErrorKind {
    /// The word in the history.
    pub fn word(self) -> &'static str {
        match self {
            ErrorKind::Refused => "refused",
            ErrorKind::Reset => "reset",
            ErrorKind::Closed => "closed",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Login => "login",
            ErrorKind::Server => "server",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Declined => "declined",
            ErrorKind::NotSent => "not-sent",
        }
    }

    /// The kind of this word.
    pub(super) fn named(word: &[u8]) -> Option<ErrorKind> {
        Some(match word {
            b"refused" => ErrorKind::Refused,
            b"reset" => ErrorKind::Reset,
            b"closed" => ErrorKind::Closed,
            b"timeout" => ErrorKind::Timeout,
            b"login" => ErrorKind::Login,
            b"server" => ErrorKind::Server,
            b"protocol" => ErrorKind::Protocol,
            b"declined" => ErrorKind::Declined,
            b"not-sent" => ErrorKind::NotSent,
            _ => return None,
        })
    }
}

fn put_value(line: &mut Vec<u8>, value: &Value) {
    match value {
        Value::None => line.extend_from_slice(b"null"),
        Value::Row(key, digest) => put_row(line, *key, *digest),
        Value::Key(key) => put_unsigned(line, *key),
        Value::Transfer { from, to, amount } => {
            line.extend_from_slice(b"{\"from\":");
            put_unsigned(line, u64::from(*from));
            line.extend_from_slice(b",\"to\":");
            put_unsigned(line, u64::from(*to));
            line.extend_from_slice(b",\"amount\":");
            put_signed(line, *amount);
            line.push(b'}');
        }
        Value::Rows(rows) => put_list(line, rows, |line, &(key, digest)| put_row(line, key, digest)),
        Value::Numbers(numbers) => put_list(line, numbers, |line, &number| put_signed(line, number)),
        Value::Txn(mops) => put_list(line, mops, put_mop),
        Value::Cas { key, expected, new } => {
            line.extend_from_slice(b"{\"key\":");
            put_unsigned(line, *key);
            line.extend_from_slice(b",\"expected\":");
            put_signed(line, *expected);
            line.extend_from_slice(b",\"new\":");
            put_signed(line, *new);
            line.push(b'}');
        }
        Value::Statement { statement, key, client } => {
            line.extend_from_slice(b"{\"statement\":");
            put_unsigned(line, u64::from(*statement));
            line.extend_from_slice(b",\"key\":");
            put_unsigned(line, *key);
            line.extend_from_slice(b",\"client\":");
            put_unsigned(line, *client);
            line.push(b'}');
        }
        Value::Register { key, value } => {
            line.extend_from_slice(b"{\"key\":");
            put_unsigned(line, *key);
            line.extend_from_slice(b",\"value\":");
            match value {
                Some(value) => put_signed(line, *value),
                None => line.extend_from_slice(b"null"),
            }
            line.push(b'}');
        }
    }
}

fn put_mop(line: &mut Vec<u8>, mop: &Mop) {
    let (word, key) = match mop {
        Mop::Append(key, _) => (b"[\"append\",".as_slice(), key),
        Mop::Read(key, _) => (b"[\"r\",".as_slice(), key),
    };
    line.extend_from_slice(word);
    put_unsigned(line, *key);
    line.push(b',');
    match mop {
        Mop::Append(_, element) => put_unsigned(line, *element),
        Mop::Read(_, None) => line.extend_from_slice(b"null"),
        Mop::Read(_, Some(list)) => put_list(line, list, |line, &element| put_unsigned(line, element)),
    }
    line.push(b']');
}

fn put_error(line: &mut Vec<u8>, error: &OpError) {
    line.extend_from_slice(b",\"error\":{\"kind\":\"");
    line.extend_from_slice(error.kind.word().as_bytes());
    line.push(b'"');
    if let Some(number) = error.number {
        line.extend_from_slice(b",\"number\":");
        put_unsigned(line, u64::from(number));
    }
    if !error.message.is_empty() {
        line.extend_from_slice(b",\"message\":");
        put_text(line, &error.message);
    }
    line.push(b'}');
}

/// A list with its brackets and commas.
fn put_list<T>(line: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    line.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            line.push(b',');
        }
        put(line, item);
    }
    line.push(b']');
}

fn put_row(line: &mut Vec<u8>, key: u64, digest: Digest) {
    line.push(b'[');
    put_unsigned(line, key);
    line.extend_from_slice(b",\"");
    for byte in digest.0.to_be_bytes() {
        line.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
    }
    line.extend_from_slice(b"\"]");
}

fn put_signed(line: &mut Vec<u8>, number: i64) {
    if number < 0 {
        line.push(b'-');
    }
    put_unsigned(line, number.unsigned_abs());
}

fn put_unsigned(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // The remainder of a division by ten is a digit.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}

/// A JSON string: quotation mark, backslash and control characters escaped.
fn put_text(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x08 => line.extend_from_slice(b"\\b"),
            0x0c => line.extend_from_slice(b"\\f"),
            control @ 0x00..0x20 => {
                line.extend_from_slice(b"\\u00");
                line.extend_from_slice(&[HEX[usize::from(control >> 4)], HEX[usize::from(control & 0xf)]]);
            }
            plain => line.push(plain),
        }
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::op::F;
    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let digest = any::<u64>().prop_map(Digest);
        prop_oneof![
            Just(Value::None),
            (any::<u64>(), digest.clone()).prop_map(|(key, digest)| Value::Row(key, digest)),
            any::<u64>().prop_map(Value::Key),
            (any::<u32>(), any::<u32>(), any::<i64>()).prop_map(|(from, to, amount)| Value::Transfer { from, to, amount }),
            proptest::collection::vec((any::<u64>(), digest), 0..5).prop_map(Value::Rows),
            proptest::collection::vec(any::<i64>(), 0..5).prop_map(Value::Numbers),
            proptest::collection::vec(mops(), 0..5).prop_map(Value::Txn),
            (any::<u64>(), any::<i64>(), any::<i64>()).prop_map(|(key, expected, new)| Value::Cas { key, expected, new }),
            any::<(u32, u64, u64)>().prop_map(|(statement, key, client)| Value::Statement { statement, key, client }),
            (any::<u64>(), any::<Option<i64>>()).prop_map(|(key, value)| Value::Register { key, value }),
        ]
    }

    fn mops() -> impl Strategy<Value = Mop> {
        prop_oneof![
            any::<(u64, u64)>().prop_map(|(key, element)| Mop::Append(key, element)),
            (any::<u64>(), proptest::option::of(proptest::collection::vec(any::<u64>(), 0..4)))
                .prop_map(|(key, list)| Mop::Read(key, list)),
        ]
    }

    fn errors() -> impl Strategy<Value = Option<OpError>> {
        let kind = proptest::sample::select(vec![
            ErrorKind::Refused,
            ErrorKind::Reset,
            ErrorKind::Closed,
            ErrorKind::Timeout,
            ErrorKind::Login,
            ErrorKind::Server,
            ErrorKind::Protocol,
            ErrorKind::Declined,
            ErrorKind::NotSent,
        ]);
        let error = (kind, any::<Option<u32>>(), any::<String>());
        proptest::option::of(error.prop_map(|(kind, number, message)| OpError { kind, number, message }))
    }

    proptest! {
        #[test]
        fn a_line_is_what_serde_writes(
            (index, time_ns, process, intended_ns) in any::<(u64, u64, u32, u64)>(),
            kind in proptest::sample::select(vec![OpType::Invoke, OpType::Ok, OpType::Fail, OpType::Info]),
            f in proptest::sample::select(F::ALL.to_vec()),
            value in values(),
            error in errors(),
        ) {
            let op = Op { index, time_ns, kind, process, f, value, error, intended_ns };
            let mut line = Vec::new();
            op.write_line(&mut line);
            let mut expected = serde_json::to_vec(&op).expect("an op serialises");
            expected.push(b'\n');
            prop_assert_eq!(String::from_utf8(line), String::from_utf8(expected));
        }
    }
}

//! Windows code page 1252, the code page of the default collation: what `varchar` is on the wire.

/// 0x80–0x9F; the five unassigned bytes stand for the C1 controls of the same number.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–',
    '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// One character's byte, `?` where the code page has none.
pub fn byte_of(c: char) -> u8 {
    match u32::from(c) {
        n @ (0..=0x7F | 0xA0..=0xFF) => u8::try_from(n).unwrap_or(b'?'),
        _ => HIGH.iter().position(|h| *h == c).and_then(|i| u8::try_from(i + 0x80).ok()).unwrap_or(b'?'),
    }
}

/// Text to bytes.
pub fn encode(s: &str) -> Vec<u8> {
    if s.is_ascii() { s.as_bytes().to_vec() } else { s.chars().map(byte_of).collect() }
}

/// Bytes to text.
pub fn decode(b: &[u8]) -> String {
    b.iter().map(|b| if (0x80..0xA0).contains(b) { HIGH[usize::from(b - 0x80)] } else { char::from(*b) }).collect()
}

/// Replaces what the code page cannot hold.
pub fn fold(s: String) -> String {
    if s.is_ascii() { s } else { decode(&encode(&s)) }
}

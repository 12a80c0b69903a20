//! Reads the parts of a line eight bytes at a time. Everything here is stricter than JSON or as strict: what it refuses is left to the general parser, and what
//! it takes means the same to both.

use super::op::Digest;

/// What is left of the bytes of a history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// No number of so many digits is too large, and neither is the sum of two.
const DIGITS_MAX: usize = 18;

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    pub(super) fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        if head != text {
            return None;
        }
        self.rest = rest;
        Some(())
    }

    /// Whether this comes next, which is then read.
    #[inline]
    pub(super) fn next_is<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        self.literal(text).is_some()
    }

    /// A number without a sign, and without zeros before it.
    #[inline]
    pub(super) fn number(&mut self) -> Option<u64> {
        let zero_first = self.peek() == Some(b'0');
        let (mut value, mut digits) = (0_u64, 0);
        loop {
            let (count, part) = match self.rest.first_chunk() {
                Some(chunk) => leading_digits(*chunk),
                None => self.last_digits(),
            };
            digits += count;
            if digits > DIGITS_MAX {
                return None;
            }
            value = value * POWERS_OF_TEN[count] + part;
            self.rest = &self.rest[count..];
            if count < 8 {
                return (digits == 1 || (digits > 1 && !zero_first)).then_some(value);
            }
        }
    }

    /// The digits that come next where fewer than eight bytes are left.
    fn last_digits(&self) -> (usize, u64) {
        let mut chunk = [0; 8];
        for (to, from) in chunk.iter_mut().zip(self.rest) {
            *to = *from;
        }
        leading_digits(chunk)
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Option<i64> {
        let negative = self.next_is(b"-");
        let value = self.number()?.cast_signed();
        match (negative, value) {
            (false, _) => Some(value),
            // JSON's negative zero is not an integer.
            (true, 0) => None,
            (true, _) => Some(-value),
        }
    }

    /// The rest of a string up to its closing quote; `None` when it holds anything but plain ASCII.
    #[inline]
    pub(super) fn word(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))?;
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.literal(b"\"")?;
        Some(word)
    }

    /// `[key,"digest"]`.
    #[inline]
    pub(super) fn row(&mut self) -> Option<(u64, Digest)> {
        self.literal(b"[")?;
        let key = self.number()?;
        self.literal(b",\"")?;
        let high = self.eight_hex_digits()?;
        let low = self.eight_hex_digits()?;
        self.literal(b"\"]")?;
        Some((key, Digest(high << 32 | low)))
    }

    #[inline]
    fn eight_hex_digits(&mut self) -> Option<u64> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        hex_digits(*chunk)
    }
}

/// How many digits the bytes begin with, and their value.
#[inline]
fn leading_digits(chunk: [u8; 8]) -> (usize, u64) {
    // A digit becomes its value, and whatever is none has its highest bit set afterwards. A carry reaches only what lies behind the first of these.
    let values = u64::from_le_bytes(chunk) ^ (ONES * 0x30);
    let others = (values.wrapping_add(ONES * 0x76) | values) & (ONES * 0x80);
    let count = others.trailing_zeros() / 8;
    // The digits move to the end, with zeros before them; then neighbours are added up: to pairs, to fours, to eight.
    let ones = values.checked_shl(64 - 8 * count).unwrap_or(0);
    let pairs = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (count as usize, (fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// The value of eight hex digits in lower case.
#[inline]
fn hex_digits(chunk: [u8; 8]) -> Option<u64> {
    let text = u64::from_be_bytes(chunk);
    // Of letters one bit is set that no digit has.
    let letters = (text >> 6) & ONES;
    let nibbles = (text & (ONES * 0x0f)) + letters * 9;
    let ten_or_more = ((nibbles + ONES * 6) >> 4) & ONES;
    let spelled = nibbles + ONES * 0x30 + letters * 0x27;
    if spelled != text || ten_or_more != letters || nibbles & (ONES * 0xf0) != 0 {
        return None;
    }
    let pairs = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> (Option<u64>, usize) {
        let mut cursor = Cursor::new(text.as_bytes());
        (cursor.number(), text.len() - cursor.rest.len())
    }

    #[test]
    fn a_number_is_read_up_to_what_is_no_digit() {
        for (text, value, taken) in
            [("7", 7, 1), ("0,1", 0, 1), ("12345678", 12_345_678, 8), ("123456789}12345678", 123_456_789, 9), ("12\u{ff}345678", 12, 2)]
        {
            assert_eq!(number(text), (Some(value), taken), "{text}");
        }
        for text in ["", "-1", "x", "01", "00", "1234567890123456789", "123456789012345678901234567890"] {
            assert_eq!(number(text).0, None, "{text}");
        }
    }

    #[test]
    fn a_digest_is_sixteen_hex_digits_in_lower_case() {
        let row = |digest: &str| Cursor::new(format!("[1,\"{digest}\"]").as_bytes()).row();
        assert_eq!(row("0123456789abcdef"), Some((1, Digest(0x0123_4567_89ab_cdef))));
        assert_eq!(row("0123456789abcde"), None);
        let digits: Vec<char> = ('0'..='9').chain('a'..='f').collect();
        for other in (0..=127_u8).map(char::from) {
            for at in 0..16 {
                let text: String = (0..16).map(|place| if place == at { other } else { '5' }).collect();
                assert_eq!(row(&text).is_some(), digits.contains(&other), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_number_has_the_value_that_it_spells(value in 0..10_u64.pow(18), shift in 0..60_u32, rest in "[^0-9]{0,9}") {
            let text = (value >> shift).to_string();
            prop_assert_eq!(number(&format!("{text}{rest}")), (Some(value >> shift), text.len()));
        }
    }
}

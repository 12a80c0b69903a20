//! TDS 7.4 as MS-TDS describes it: packets, PRELOGIN and its TLS, LOGIN7, requests, and the tokens of answers.

pub mod login;
pub mod packet;
pub mod params;
pub mod prelogin;
pub mod rows;
pub mod tls;
pub mod token;

/// Little-endian reads with bounds; `None` means that the message is malformed.
#[derive(Clone, Copy)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// Takes `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// `units` UTF-16 code units.
    pub fn utf16(&mut self, units: usize) -> Option<String> {
        self.take(units.checked_mul(2)?).map(utf16)
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// UTF-16LE bytes to text; lone surrogates become U+FFFD.
pub fn utf16(b: &[u8]) -> String {
    // Most of it is ASCII, and then the way over code units is several times as long.
    if b.chunks_exact(2).all(|c| c[1] == 0 && c[0] < 0x80) {
        return b.chunks_exact(2).map(|c| char::from(c[0])).collect();
    }
    let units: Vec<u16> = b.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// Appends text as UTF-16LE.
pub fn put_utf16(out: &mut Vec<u8>, s: &str) {
    for u in s.encode_utf16() {
        out.extend_from_slice(&u.to_le_bytes());
    }
}

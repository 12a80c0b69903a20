//! PRELOGIN (MS-TDS 2.2.6.5): versions and how much of the conversation is encrypted.

use super::Cursor;

/// ENCRYPTION values.
pub mod encrypt {
    /// Encrypt the login only.
    pub const OFF: u8 = 0;
    /// Encrypt everything.
    pub const ON: u8 = 1;
    /// Cannot encrypt.
    pub const NOT_SUPPORTED: u8 = 2;
    /// Must encrypt everything.
    pub const REQUIRED: u8 = 3;
}

/// What the client said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prelogin {
    /// ENCRYPTION.
    pub encryption: u8,
}

/// Reads a PRELOGIN message.
pub fn parse(body: &[u8]) -> Option<Prelogin> {
    let mut encryption = encrypt::NOT_SUPPORTED;
    let mut c = Cursor(body);
    loop {
        let token = c.u8()?;
        if token == 0xFF {
            return Some(Prelogin { encryption });
        }
        let h = c.take(4)?;
        let (at, len) = (usize::from(u16::from_be_bytes([h[0], h[1]])), usize::from(u16::from_be_bytes([h[2], h[3]])));
        let data = body.get(at..at.checked_add(len)?)?;
        if token == 1 {
            encryption = *data.first()?;
        }
    }
}

/// The server's answer: version 16.0, the chosen encryption, no MARS.
pub fn answer(encryption: u8) -> Vec<u8> {
    let options: [(u8, &[u8]); 5] = [(0, &[16, 0, 0x03, 0xE8, 0, 0]), (1, &[encryption]), (2, &[0]), (3, &[]), (4, &[0])];
    let mut at = options.len() * 5 + 1;
    let mut head = Vec::new();
    let mut data = Vec::new();
    for (token, bytes) in options {
        head.push(token);
        head.extend_from_slice(&u16::try_from(at).unwrap_or(0).to_be_bytes());
        head.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
        data.extend_from_slice(bytes);
        at += bytes.len();
    }
    head.push(0xFF);
    head.extend(data);
    head
}

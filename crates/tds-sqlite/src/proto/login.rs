//! LOGIN7 (MS-TDS 2.2.6.4).

use super::{Cursor, utf16};

/// What of LOGIN7 is used.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// TDS version.
    pub version: u32,
    /// Packet size that the client would like.
    pub packet_size: u32,
    /// OptionFlags2 asks for integrated security.
    pub integrated: bool,
    /// Host name.
    pub host: String,
    /// User.
    pub user: String,
    /// Password, in clear.
    pub password: String,
    /// Program.
    pub app: String,
    /// Database, empty for the default.
    pub database: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("database", &self.database).field("password", &"…").finish_non_exhaustive()
    }
}

/// Longest LOGIN7 in bytes (the limit that MS-TDS sets).
pub const LOGIN_MAX: usize = 128 << 10;

/// Reads a LOGIN7 message.
pub fn parse(body: &[u8]) -> Option<Login> {
    let mut c = Cursor(body);
    let length = usize::try_from(c.u32()?).ok()?;
    if length > body.len() || length < 94 {
        return None;
    }
    let version = c.u32()?;
    let packet_size = c.u32()?;
    c.take(12)?; // ClientProgVer, ClientPID, ConnectionID
    c.u8()?; // OptionFlags1
    let flags2 = c.u8()?;
    c.take(2 + 4 + 4)?; // TypeFlags, OptionFlags3, ClientTimeZone, ClientLCID
    let mut field = || -> Option<&[u8]> {
        let at = usize::from(c.u16()?);
        let len = usize::from(c.u16()?) * 2;
        if len == 0 { Some(&[]) } else { body.get(at..at.checked_add(len)?) }
    };
    let host = utf16(field()?);
    let user = utf16(field()?);
    let password: Vec<u8> = field()?.iter().map(|b| (b ^ 0xA5).rotate_left(4)).collect();
    let app = utf16(field()?);
    field()?; // ServerName
    let _extension = field();
    field()?; // CltIntName
    field()?; // Language
    let database = utf16(field()?);
    Some(Login { version, packet_size, integrated: flags2 & 0x80 != 0, host, user, password: utf16(&password), app, database })
}

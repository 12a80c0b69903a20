//! Tokens of answers (MS-TDS 2.2.7).

use super::put_utf16;
use crate::error::SqlError;

/// DONE's status bits.
pub mod done {
    /// More follows.
    pub const MORE: u16 = 0x01;
    /// The statement failed.
    pub const ERROR: u16 = 0x02;
    /// A transaction is open.
    pub const INXACT: u16 = 0x04;
    /// The row count is valid.
    pub const COUNT: u16 = 0x10;
    /// Acknowledges an attention.
    pub const ATTENTION: u16 = 0x20;
}

/// CurCmd values of DONE.
pub mod command {
    /// SELECT.
    pub const SELECT: u16 = 0xC1;
    /// INSERT.
    pub const INSERT: u16 = 0xC3;
    /// DELETE.
    pub const DELETE: u16 = 0xC4;
    /// UPDATE.
    pub const UPDATE: u16 = 0xC5;
}

/// Token of DONE.
pub const DONE: u8 = 0xFD;
/// Token of DONEPROC.
pub const DONEPROC: u8 = 0xFE;
/// Token of DONEINPROC.
pub const DONEINPROC: u8 = 0xFF;

/// DONE, DONEPROC or DONEINPROC.
pub fn put_done(out: &mut Vec<u8>, token: u8, status: u16, command: u16, rows: i64) {
    out.push(token);
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&command.to_le_bytes());
    out.extend_from_slice(&rows.to_le_bytes());
}

fn b_varchar(out: &mut Vec<u8>, s: &str) {
    let units = s.encode_utf16().count().min(255);
    out.push(u8::try_from(units).unwrap_or(255));
    for u in s.encode_utf16().take(units) {
        out.extend_from_slice(&u.to_le_bytes());
    }
}

fn us_varchar(out: &mut Vec<u8>, s: &str) {
    // An ERROR token's length field is 16 bits, so a message is cut at 4,000 units as SQL Server's own are.
    let units: Vec<u16> = s.encode_utf16().take(4000).collect();
    out.extend_from_slice(&u16::try_from(units.len()).unwrap_or(0).to_le_bytes());
    for u in units {
        out.extend_from_slice(&u.to_le_bytes());
    }
}

/// ERROR (class above 10) or INFO.
pub fn put_message(out: &mut Vec<u8>, e: &SqlError, server: &str) {
    put_message_with(out, e, server, &e.line.max(1).to_le_bytes());
}

/// The end of a login by a client older than TDS 7.2: its lines and counts of rows are shorter.
pub fn put_refusal_of_old_client(out: &mut Vec<u8>, e: &SqlError, server: &str) {
    put_message_with(out, e, server, &1u16.to_le_bytes());
    out.extend_from_slice(&[DONE, 2, 0, 0, 0]);
    out.extend_from_slice(&0u32.to_le_bytes());
}

fn put_message_with(out: &mut Vec<u8>, e: &SqlError, server: &str, line: &[u8]) {
    out.push(if e.class > 10 { 0xAA } else { 0xAB });
    let mut body = Vec::with_capacity(e.message.len() * 2 + 64);
    body.extend_from_slice(&e.number.to_le_bytes());
    body.extend_from_slice(&[e.state, e.class]);
    us_varchar(&mut body, &e.message);
    b_varchar(&mut body, server);
    b_varchar(&mut body, "");
    body.extend_from_slice(line);
    out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(body);
}

/// ENVCHANGE with text values: 1 database, 2 language, 4 packet size.
pub fn put_env_text(out: &mut Vec<u8>, kind: u8, new: &str, old: &str) {
    let mut body = vec![kind];
    b_varchar(&mut body, new);
    b_varchar(&mut body, old);
    put_env(out, &body);
}

/// ENVCHANGE with binary values: 7 collation, 8 begin, 9 commit, 10 rollback.
pub fn put_env_bytes(out: &mut Vec<u8>, kind: u8, new: &[u8], old: &[u8]) {
    let mut body = vec![kind];
    for v in [new, old] {
        body.push(u8::try_from(v.len()).unwrap_or(0));
        body.extend_from_slice(v);
    }
    put_env(out, &body);
}

/// ENVCHANGE 18, the acknowledgement of a session reset.
pub fn put_env_reset(out: &mut Vec<u8>) {
    put_env(out, &[18, 0, 0]);
}

fn put_env(out: &mut Vec<u8>, body: &[u8]) {
    out.push(0xE3);
    out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(body);
}

/// LOGINACK: the client's TDS version where it is known, else 7.4; server version 16.0.1000.
pub fn put_loginack(out: &mut Vec<u8>, client: u32) {
    let name = "Microsoft SQL Server";
    let version: u32 = if matches!(client, 0x7209_0002 | 0x730A_0003 | 0x730B_0003) { client } else { 0x7400_0004 };
    let mut body = vec![1];
    body.extend_from_slice(&version.to_be_bytes());
    b_varchar(&mut body, name);
    body.extend_from_slice(&[16, 0, 0x03, 0xE8]);
    out.push(0xAD);
    out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(0).to_le_bytes());
    out.extend(body);
}

/// RETURNSTATUS.
pub fn put_return_status(out: &mut Vec<u8>, status: i32) {
    out.push(0x79);
    out.extend_from_slice(&status.to_le_bytes());
}

/// RETURNVALUE of an output parameter; `typed` is its type information and value as in a row.
pub fn put_return_value(out: &mut Vec<u8>, ordinal: u16, name: &str, typed: &[u8]) {
    out.push(0xAC);
    out.extend_from_slice(&ordinal.to_le_bytes());
    b_varchar(out, name);
    out.push(1);
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(typed);
}

/// A length-prefixed UTF-16 name, as COLMETADATA has it.
pub fn put_name(out: &mut Vec<u8>, s: &str) {
    b_varchar(out, s);
}

/// UTF-16 bytes of a text.
pub fn utf16_bytes(s: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(s.len() * 2);
    put_utf16(&mut out, s);
    out
}

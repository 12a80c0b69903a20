//! Values as SQLite stores them, and every conversion between T-SQL types.
//!
//! SQLite has five storage classes; T-SQL types are mapped so that SQLite's own comparison, and so its indexes, order values as SQL Server does:
//!
//! | T-SQL | stored as |
//! |---|---|
//! | bit … bigint | INTEGER |
//! | decimal, money | BLOB of 16 bytes: scaled 128-bit integer, big-endian, sign bit flipped |
//! | real, float | REAL |
//! | character types | TEXT under the collation `TSQL` (case-insensitive, trailing blanks ignored) |
//! | binary types | BLOB |
//! | uniqueidentifier | BLOB of 16 bytes in SQL Server's order of comparison |
//! | date, datetime, datetime2 | INTEGER: 100 ns since 0001-01-01 |
//! | time | INTEGER: 100 ns since midnight |
//! | datetimeoffset | BLOB: UTC ticks and offset, big-endian; compared by `t_utc`, its instant |

mod convert;
pub mod cp1252;
pub mod datetime;
mod format;

pub use convert::{assign, convert, int_range, parse_exact, text_of};
pub use rusqlite::types::Value;

use std::cmp::Ordering;

/// Stored form of an exact number.
pub fn exact_to_blob(n: i128) -> Vec<u8> {
    (n.cast_unsigned() ^ (1 << 127)).to_be_bytes().to_vec()
}

/// Exact number of a stored form; zero for a blob of another length, which STRICT tables and static types keep away.
pub fn exact_from_blob(b: &[u8]) -> i128 {
    b.try_into().map_or(0, |b: [u8; 16]| (u128::from_be_bytes(b) ^ (1 << 127)).cast_signed())
}

/// Wire bytes of a GUID into stored order.
pub fn guid_store(w: &[u8; 16]) -> Vec<u8> {
    const ORDER: [usize; 16] = [10, 11, 12, 13, 14, 15, 8, 9, 6, 7, 4, 5, 0, 1, 2, 3];
    ORDER.iter().map(|i| w[*i]).collect()
}

/// Stored order into wire bytes.
pub fn guid_wire(s: &[u8]) -> [u8; 16] {
    const ORDER: [usize; 16] = [10, 11, 12, 13, 14, 15, 8, 9, 6, 7, 4, 5, 0, 1, 2, 3];
    let mut w = [0; 16];
    for (i, at) in ORDER.iter().enumerate() {
        w[*at] = s.get(i).copied().unwrap_or(0);
    }
    w
}

/// The comparison of the default collation: case-insensitive, accents count, trailing blanks do not.
pub fn collate(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_end_matches(' '), b.trim_end_matches(' '));
    if a.is_ascii() && b.is_ascii() {
        return a.bytes().map(|c| c.to_ascii_lowercase()).cmp(b.bytes().map(|c| c.to_ascii_lowercase()));
    }
    a.chars().flat_map(char::to_lowercase).cmp(b.chars().flat_map(char::to_lowercase))
}

/// Ten to the power of `n`, for scales up to 38.
pub fn pow10(n: u8) -> i128 {
    10i128.pow(u32::from(n.min(38)))
}

/// Moves a scaled integer from one scale to another, rounding half away from zero; `None` on overflow of 38 digits.
pub fn rescale(n: i128, from: u8, to: u8) -> Option<i128> {
    let r = match from.cmp(&to) {
        Ordering::Equal => n,
        Ordering::Less => n.checked_mul(pow10(to - from))?,
        Ordering::Greater => {
            let d = pow10(from - to);
            let (q, r) = (n / d, n % d);
            if r.unsigned_abs() * 2 >= d.unsigned_abs() { q + n.signum() } else { q }
        }
    };
    (r.unsigned_abs() < pow10(38).unsigned_abs()).then_some(r)
}

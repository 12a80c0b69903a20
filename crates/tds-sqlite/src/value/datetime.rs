//! Calendar arithmetic on ticks of 100 ns since 0001-01-01 in the proleptic Gregorian calendar.

use std::time::{SystemTime, UNIX_EPOCH};

/// Ticks a second.
pub const SECOND: i64 = 10_000_000;
/// Ticks a day.
pub const DAY: i64 = 86_400 * SECOND;
/// Days from 0001-01-01 to 1900-01-01, the epoch of datetime.
pub const DAYS_1900: i64 = 693_595;
/// Days from 0001-01-01 to 1970-01-01.
pub const DAYS_1970: i64 = 719_162;
/// First tick after 9999-12-31.
pub const END: i64 = 3_652_059 * DAY;

/// Now in UTC.
pub fn now() -> i64 {
    let d = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    DAYS_1970 * DAY + i64::try_from(d.as_nanos() / 100).unwrap_or(0)
}

/// Days since 0001-01-01 of a civil date (Howard Hinnant's algorithm, shifted).
pub fn days(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (m + if m > 2 { -3 } else { 9 }) + 2) / 5 + d - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 306
}

/// Year, month, day of a day number.
pub fn civil(day: i64) -> (i64, i64, i64) {
    let z = day + 306;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(m <= 2), m, d)
}

/// Days of a month.
pub fn month_len(y: i64, m: i64) -> i64 {
    let (ny, nm) = if m == 12 { (y + 1, 1) } else { (y, m + 1) };
    days(ny, nm, 1) - days(y, m, 1)
}

/// Rounds ticks to a scale of fractional digits.
pub fn round(ticks: i64, scale: u8) -> i64 {
    let unit = 10i64.pow(7 - u32::from(scale.min(7)));
    (ticks + unit / 2).div_euclid(unit) * unit
}

/// Rounds ticks to datetime's 1/300 s.
pub fn round_300(ticks: i64) -> i64 {
    let day = ticks.div_euclid(DAY) * DAY;
    let t = to_300(ticks.rem_euclid(DAY));
    day + from_300(t)
}

/// Ticks of a day to 1/300 s, rounded.
pub fn to_300(ticks: i64) -> i64 {
    (ticks * 3 + 50_000) / 100_000
}

/// 1/300 s to ticks, rounded.
pub fn from_300(t: i64) -> i64 {
    (t * 100_000 + 1) / 3
}

/// Rounds to datetime's minute, for smalldatetime.
pub fn round_minute(ticks: i64) -> i64 {
    (ticks + 30 * SECOND).div_euclid(60 * SECOND) * 60 * SECOND
}

/// A parsed date and time: ticks, and the offset in minutes if one was written.
pub fn parse(s: &str) -> Option<(i64, Option<i16>)> {
    let s = s.trim();
    if s.is_empty() {
        return Some((DAYS_1900 * DAY, None));
    }
    let (date, rest) = parse_date(s)?;
    let day = date.unwrap_or(DAYS_1900);
    let rest = rest.strip_prefix('T').or_else(|| rest.strip_prefix('t')).unwrap_or(rest).trim();
    if rest.is_empty() {
        return date.map(|d| (d * DAY, None));
    }
    let (time, offset) = parse_time(rest)?;
    Some((day * DAY + time, offset))
}

fn parse_date(s: &str) -> Option<(Option<i64>, &str)> {
    let b = s.as_bytes();
    let digits = b.iter().take_while(|c| c.is_ascii_digit()).count();
    if digits == 8 {
        let n = |r: std::ops::Range<usize>| s[r].parse::<i64>().ok();
        return Some((Some(check(n(0..4)?, n(4..6)?, n(6..8)?)?), &s[8..]));
    }
    if digits == 4 && matches!(b.get(4), Some(b'-' | b'/' | b'.')) {
        let end = s.find(['T', 't', ' ']).unwrap_or(s.len());
        let parts: Vec<i64> = s[..end].split(['-', '/', '.']).map(|p| p.parse().ok()).collect::<Option<_>>()?;
        let [y, m, d] = parts[..] else { return None };
        return Some((Some(check(y, m, d)?), &s[end..]));
    }
    if matches!(b.get(digits), Some(b'/' | b'-')) && (1..=2).contains(&digits) {
        let end = s.find(' ').unwrap_or(s.len());
        let parts: Vec<i64> = s[..end].split(['-', '/']).map(|p| p.parse().ok()).collect::<Option<_>>()?;
        let [m, d, y] = parts[..] else { return None };
        return Some((Some(check(y, m, d)?), &s[end..]));
    }
    if matches!(b.get(digits), Some(b':')) {
        return Some((None, s));
    }
    None
}

fn check(y: i64, m: i64, d: i64) -> Option<i64> {
    ((1..=9999).contains(&y) && (1..=12).contains(&m) && d >= 1 && d <= month_len(y, m)).then(|| days(y, m, d))
}

fn parse_time(s: &str) -> Option<(i64, Option<i16>)> {
    let (body, offset) = if let Some(b) = s.strip_suffix(['Z', 'z']) {
        (b, Some(0))
    } else if let Some(at) = s.rfind(['+', '-']) {
        let (h, m) = s[at + 1..].split_once(':')?;
        let (h, m) = (h.parse::<u8>().ok()?, m.parse::<u8>().ok()?);
        let minutes = i16::from(h) * 60 + i16::from(m);
        if m > 59 || minutes > 840 {
            return None;
        }
        (&s[..at], Some(if s.as_bytes()[at] == b'-' { -minutes } else { minutes }))
    } else {
        (s, None)
    };
    let mut body = body.trim().to_ascii_uppercase();
    let mut pm = None;
    for (suffix, p) in [("AM", false), ("PM", true)] {
        if let Some(b) = body.strip_suffix(suffix) {
            body = b.trim().to_owned();
            pm = Some(p);
            break;
        }
    }
    let (hms, frac) = body.split_once('.').unwrap_or((&body, ""));
    let parts: Vec<i64> = hms.split(':').map(|p| p.parse().ok()).collect::<Option<_>>()?;
    let (mut h, m, sec) = match parts[..] {
        [h, m] => (h, m, 0),
        [h, m, s] => (h, m, s),
        _ => return None,
    };
    if let Some(p) = pm {
        if !(1..=12).contains(&h) {
            return None;
        }
        h = h % 12 + if p { 12 } else { 0 };
    }
    if !(0..24).contains(&h)
        || !(0..60).contains(&m)
        || !(0..60).contains(&sec)
        || frac.len() > 9
        || !frac.bytes().all(|c| c.is_ascii_digit())
    {
        return None;
    }
    let padded = format!("{frac:0<7}");
    let ticks: i64 = padded[..7].parse().ok()?;
    Some((((h * 60 + m) * 60 + sec) * SECOND + ticks, offset))
}

/// Stored form of a datetimeoffset.
pub fn offset_to_blob(utc: i64, minutes: i16) -> Vec<u8> {
    let mut b = utc.to_be_bytes().to_vec();
    b.extend_from_slice(&(i32::from(minutes) + 0x4000).to_be_bytes()[2..]);
    b
}

/// UTC ticks and minutes of a stored datetimeoffset.
pub fn offset_from_blob(b: &[u8]) -> (i64, i16) {
    let utc = b.get(..8).and_then(|b| b.try_into().ok()).map_or(0, i64::from_be_bytes);
    let min = b.get(8..10).and_then(|b| b.try_into().ok()).map_or(0, |m| i16::from_be_bytes(m) - 0x4000);
    (utc, min)
}

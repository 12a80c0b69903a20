//! The entry points of the fuzz targets over their kept corpus and seeded mutations of it, for two seconds each or for `CHAOS_FUZZ_SECONDS`.

#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// An input that takes this long could stop a server. Far more than any takes, since the machine may be busy.
const SLOW: Duration = Duration::from_secs(10);
/// Inputs longer than this find nothing that shorter ones do not.
const LEN_MAX: usize = 8 << 10;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn length() -> Duration {
    let seconds = std::env::var("CHAOS_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(Duration::from_secs(2), Duration::from_secs)
}

/// A range of `bytes`, at most `longest` long.
fn piece(rng: &mut StdRng, bytes: &[u8], longest: usize) -> std::ops::Range<usize> {
    let from = rng.random_range(0..=bytes.len());
    let to = rng.random_range(from..=bytes.len().min(from + longest));
    from..to
}

fn mutate(rng: &mut StdRng, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    for _ in 0..rng.random_range(1..=4) {
        let range = piece(rng, input, 32);
        match rng.random_range(0..6) {
            0 if !range.is_empty() => input[range.start] = rng.random(),
            1 if !range.is_empty() => input[range.start] ^= 1 << rng.random_range(0..8),
            2 => drop(input.drain(range)),
            3 => {
                let copy = input[range.clone()].to_vec();
                drop(input.splice(range.end..range.end, copy));
            }
            4 => {
                let other = &corpus[rng.random_range(0..corpus.len())];
                let part = other[piece(rng, other, 64)].to_vec();
                drop(input.splice(range, part));
            }
            _ => {
                // Lengths and numbers at their bounds.
                let edge = [0, 1, 0x7F, 0x80, 0xFE, 0xFF][rng.random_range(0..6)];
                input[range].fill(edge);
            }
        }
    }
    input.truncate(LEN_MAX);
}

/// Also joins what text is made of, word by word, which bytes hit too rarely.
fn shuffle_words(rng: &mut StdRng, input: &mut Vec<u8>, words: &[Vec<u8>]) {
    let mut own: Vec<Vec<u8>> = input.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect();
    for _ in 0..rng.random_range(1..=3) {
        let at = rng.random_range(0..=own.len());
        match rng.random_range(0..3) {
            0 if at < own.len() => drop(own.remove(at)),
            1 if at < own.len() => own[at].clone_from(&words[rng.random_range(0..words.len())]),
            _ => own.insert(at, words[rng.random_range(0..words.len())].clone()),
        }
    }
    *input = own.join(&b' ');
    input.truncate(LEN_MAX);
}

fn hold(target: &str, entry: fn(&[u8]), text: bool) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    let words: Vec<Vec<u8>> = corpus.iter().flat_map(|input| input.split(|byte| *byte == b' ')).map(<[u8]>::to_vec).collect();
    let try_one = |input: &[u8]| {
        let begun = Instant::now();
        let caught = catch_unwind(AssertUnwindSafe(|| entry(input)));
        let shown = || format!("{target} on {} bytes: {}", input.len(), input.escape_ascii());
        assert!(caught.is_ok(), "{}", shown());
        assert!(begun.elapsed() < SLOW, "{:?} for {}", begun.elapsed(), shown());
    };
    corpus.iter().for_each(|input| try_one(input));
    let mut rng = StdRng::seed_from_u64(7);
    let end = Instant::now() + length();
    let mut tried = 0u64;
    while Instant::now() < end {
        let mut input = corpus[rng.random_range(0..corpus.len())].clone();
        if text && rng.random_bool(0.7) {
            shuffle_words(&mut rng, &mut input, &words);
        } else {
            mutate(&mut rng, &mut input, &corpus);
        }
        try_one(&input);
        tried += 1;
    }
    assert!(tried > 0, "{target}: nothing was tried");
}

#[test]
fn packets() {
    hold("packets", tds_sqlite::fuzz::packets, false);
}

#[test]
fn login7() {
    hold("login7", tds_sqlite::fuzz::login7, false);
}

#[test]
fn sql() {
    hold("sql", tds_sqlite::fuzz::sql, true);
}

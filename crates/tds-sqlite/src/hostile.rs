//! Hostile input: whatever arrives, the decoders answer and do not panic.

use crate::proto::{login, params, prelogin};
use crate::session::program::compile;
use crate::sql::parser::parse_params;
use crate::value::datetime;

const BATCHES: &[&str] = &[
    "IF OBJECT_ID(N'dbo.t', N'U') IS NULL BEGIN CREATE TABLE dbo.t (id INT IDENTITY(1,1) PRIMARY KEY, s NVARCHAR(MAX) NOT NULL DEFAULT N'ż', CONSTRAINT c CHECK (id > 0)) END",
    "WITH x(a) AS (SELECT TOP (5) [a]]b] FROM t WITH (UPDLOCK) ORDER BY 1 DESC OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY) SELECT CASE a WHEN 1 THEN -.5e3 ELSE 0xAB END FROM x /* c /* d */ */ -- e",
    "BEGIN TRY INSERT INTO t OUTPUT inserted.* VALUES (1, DEFAULT), (@p, @@ROWCOUNT) END TRY BEGIN CATCH THROW 50001, 'x', 1; ROLLBACK TRAN s END CATCH",
    "DECLARE @a DECIMAL(10, 2) = 1.5, @b DATETIME2(3) SET @a += 1 WHILE @a < 5 BEGIN BREAK CONTINUE END RAISERROR('%d', 16, 1, 5) WITH NOWAIT",
    "UPDATE TOP (1) x SET c = x.c * 2 FROM t AS x LEFT OUTER JOIN (SELECT 1 UNION ALL SELECT 2) AS y(z) ON y.z = x.id WHERE x.s LIKE '[^a-c]%' ESCAPE '!' AND NOT EXISTS (SELECT 1)",
];

/// A small generator, so that a failure comes again.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % n.max(1)
    }
}

#[test]
fn batches_cut_and_shuffled() {
    let mut rng = Lcg(1);
    let mut parsed = 0;
    for text in BATCHES {
        assert!(compile(text, &[("@p".to_owned(), crate::sql::types::Ty::Int, false)]).is_ok(), "{text}");
        for (at, _) in text.char_indices() {
            let _ = compile(&text[..at], &[]);
            let _ = compile(&text[at..], &[]);
        }
        let words: Vec<&str> = BATCHES.iter().flat_map(|b| b.split(' ')).collect();
        for _ in 0..2000 {
            let n = rng.below(12);
            let sql: Vec<&str> = (0..n).map(|_| words[rng.below(words.len())]).collect();
            parsed += usize::from(compile(&sql.join(" "), &[]).is_ok());
        }
    }
    assert!(parsed > 0, "some shuffles are statements");
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("(", ")"), ("CASE WHEN 1 = 1 THEN ", " END"), ("- ", ""), ("NOT ", ""), ("ABS(", ")")] {
        let sql = format!("SELECT {}1{}", open.repeat(20_000), close.repeat(20_000));
        assert_eq!(compile(&sql, &[]).err().map(|e| e.number), Some(191), "{open}");
    }
    for chain in [" + 1", " * 1", " IS NULL", " = 1", " UNION SELECT 1"] {
        let sql = format!("SELECT 1{}", chain.repeat(20_000));
        assert_eq!(compile(&sql, &[]).err().map(|e| e.number), Some(191), "{chain}");
    }
    let wide = format!("SELECT 1 WHERE 1 = 1{}", " OR 1 = 2 AND 3 = 4".repeat(10_000));
    assert!(compile(&wide, &[]).is_ok(), "a wide condition is not a deep one");
    let blocks = format!("{} SELECT 1 {}", "BEGIN ".repeat(20_000), "END ".repeat(20_000));
    assert_eq!(compile(&blocks, &[]).err().map(|e| e.number), Some(191));
}

#[test]
fn messages_cut_and_flipped() {
    let mut rng = Lcg(2);
    let mut seed = vec![0u8; 120];
    seed[0] = 120;
    for at in [36, 40, 44, 48, 52, 56, 60, 64, 68] {
        seed[at] = 94;
        seed[at + 2] = 3;
    }
    assert!(login::parse(&seed).is_some());
    let rpc = [
        255, 255, 10, 0, 0, 0, 0, 0, 0xE7, 100, 0, 9, 4, 0xD0, 0, 0x34, 2, 0, 65, 0, 0, 0, 0x26, 4, 4, 1, 0, 0, 0, 0, 0, 0x6C, 17, 38, 2,
        5, 1, 9, 9, 9, 9,
    ];
    assert_eq!(params::parse(&rpc).map(|r| r[0].params.len()), Ok(3));
    for _ in 0..20_000 {
        for (base, which) in [(&seed[..], 0), (&rpc[..], 1)] {
            let mut b = base[..rng.below(base.len() + 1)].to_vec();
            for _ in 0..rng.below(4) {
                if !b.is_empty() {
                    let at = rng.below(b.len());
                    b[at] = u8::try_from(rng.below(256)).unwrap_or(0);
                }
            }
            if which == 0 {
                let _ = login::parse(&b);
                let _ = prelogin::parse(&b);
            } else {
                let _ = params::parse(&b);
                let _ = params::skip_headers(&b);
            }
        }
    }
}

#[test]
fn dates_of_all_shapes() {
    let mut rng = Lcg(3);
    let alphabet: Vec<char> = "0123456789-/:. TZ+APMż".chars().collect();
    for _ in 0..50_000 {
        let s: String = (0..rng.below(24)).map(|_| alphabet[rng.below(alphabet.len())]).collect();
        let _ = datetime::parse(&s);
        let _ = parse_params(&s);
    }
    for day in (0..3_652_059).step_by(97) {
        let (y, m, d) = datetime::civil(day);
        assert_eq!(datetime::days(y, m, d), day);
    }
}

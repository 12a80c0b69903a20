//! Every type there and back: as a literal, as a parameter, through a column, NULL included.

use crate::support::{Rig, code, maybe, one, run};
use tiberius::numeric::Numeric;
use tiberius::{ColumnData, ToSql, Uuid, time};

/// A parameter exactly as the wire has it.
struct Raw(ColumnData<'static>);

impl ToSql for Raw {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

#[tokio::test]
async fn literals_have_their_types() {
    let rig = Rig::new().await;
    let mut c = rig.client().await;
    assert_eq!(one::<i32>(&mut c, "SELECT 1").await, 1);
    assert_eq!(one::<i64>(&mut c, "SELECT CAST(9000000000 AS BIGINT)").await, 9_000_000_000);
    assert_eq!(one::<i16>(&mut c, "SELECT CAST(-3 AS SMALLINT)").await, -3);
    assert_eq!(one::<u8>(&mut c, "SELECT CAST(200 AS TINYINT)").await, 200);
    assert!(one::<bool>(&mut c, "SELECT CAST(1 AS BIT)").await);
    assert!((one::<f64>(&mut c, "SELECT 1.5e0").await - 1.5).abs() < 1e-12);
    assert!((one::<f32>(&mut c, "SELECT CAST(0.25 AS REAL)").await - 0.25).abs() < 1e-6);
    assert_eq!(one::<Numeric>(&mut c, "SELECT 12.345").await, Numeric::new_with_scale(12_345, 3));
    assert_eq!(one::<Numeric>(&mut c, "SELECT CAST('-0.01' AS DECIMAL(38, 2))").await, Numeric::new_with_scale(-1, 2));
    assert_eq!(one::<String>(&mut c, "SELECT N'zażółć 🦀'").await, "zażółć 🦀");
    assert_eq!(one::<String>(&mut c, "SELECT 'café €'").await, "café €");
    assert_eq!(one::<String>(&mut c, "SELECT CAST('ab' AS CHAR(4))").await, "ab  ");
    assert_eq!(one::<Vec<u8>>(&mut c, "SELECT 0x00FF10").await, vec![0, 255, 16]);
    assert_eq!(one::<Vec<u8>>(&mut c, "SELECT CAST(0x01 AS BINARY(3))").await, vec![1, 0, 0]);
    let id = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
    assert_eq!(one::<Uuid>(&mut c, &format!("SELECT CAST('{id}' AS UNIQUEIDENTIFIER)")).await, Uuid::parse_str(id).unwrap());
    assert_eq!(one::<String>(&mut c, &format!("SELECT CAST(CAST('{id}' AS UNIQUEIDENTIFIER) AS VARCHAR(36))")).await, id);
    assert_eq!(maybe::<i32>(&mut c, "SELECT NULL").await, None);
    assert_eq!(
        one::<String>(&mut c, "SELECT CONVERT(VARCHAR(30), CAST('2026-02-28T23:59:58.1234567' AS DATETIME2), 121)").await,
        "2026-02-28 23:59:58.1234567"
    );
    assert_eq!(
        one::<String>(&mut c, "SELECT CONVERT(VARCHAR(30), CAST('2026-02-28 23:59:58.999' AS DATETIME), 121)").await,
        "2026-02-28 23:59:59.000"
    );
    assert_eq!(one::<String>(&mut c, "SELECT CONVERT(VARCHAR(20), 0xDEAD, 1)").await, "0xDEAD");
    assert_eq!(one::<f64>(&mut c, "SELECT CAST(CAST(3.50 AS MONEY) AS FLOAT)").await, 3.5);
}

const TABLE: &str = "CREATE TABLE t (
    id INT NOT NULL PRIMARY KEY, b BIT, ti TINYINT, si SMALLINT, i INT, bi BIGINT, r REAL, f FLOAT, d DECIMAL(20, 4), m MONEY,
    vc VARCHAR(50), nv NVARCHAR(50), nvm NVARCHAR(MAX), vb VARBINARY(50), vbm VARBINARY(MAX), g UNIQUEIDENTIFIER,
    dt DATE, tm TIME(7), dt2 DATETIME2(7), dto DATETIMEOFFSET(7), old DATETIME)";

#[tokio::test]
async fn parameters_through_columns() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, TABLE).await.unwrap();
    let big = "x".repeat(100_000);
    let bytes = vec![7u8; 70_000];
    let uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let date = time::Date::new(739_000);
    let clock = time::Time::new(863_999_999_999, 7);
    let dt2 = time::DateTime2::new(date, clock);
    let dto = time::DateTimeOffset::new(dt2, 120);
    let old = time::DateTime::new(46_000, 25_919_999);
    let num = Numeric::new_with_scale(-123_456_789_012, 4);
    let raw = [
        Raw(ColumnData::Date(Some(date))),
        Raw(ColumnData::Time(Some(clock))),
        Raw(ColumnData::DateTime2(Some(dt2))),
        Raw(ColumnData::DateTimeOffset(Some(dto))),
        Raw(ColumnData::DateTime(Some(old))),
    ];
    let p: Vec<&dyn ToSql> = vec![
        &true,
        &200u8,
        &-5i16,
        &-70_000i32,
        &-9_000_000_000i64,
        &0.5f32,
        &-2.25f64,
        &num,
        &1.5f64,
        &"plain",
        &"zażółć",
        &big,
        &bytes,
        &uuid,
        &raw[0],
        &raw[1],
        &raw[2],
        &raw[3],
        &raw[4],
    ];
    let sql = "INSERT INTO t (id, b, ti, si, i, bi, r, f, d, m, vc, nv, nvm, vb, vbm, g, dt, tm, dt2, dto, old)
        VALUES (1, @P1, @P2, @P3, @P4, @P5, @P6, @P7, @P8, @P9, @P10, @P11, @P12, 0x0102, @P13, @P14, @P15, @P16, @P17, @P18, @P19)";
    c.execute(sql, &p).await.unwrap();
    run(&mut c, "INSERT INTO t (id) VALUES (2)").await.unwrap();
    let rows = c.query("SELECT * FROM t ORDER BY id", &[]).await.unwrap().into_first_result().await.unwrap();
    let r = &rows[0];
    assert_eq!(r.get::<bool, _>("b"), Some(true));
    assert_eq!(r.get::<u8, _>("ti"), Some(200));
    assert_eq!(r.get::<i16, _>("si"), Some(-5));
    assert_eq!(r.get::<i32, _>("i"), Some(-70_000));
    assert_eq!(r.get::<i64, _>("bi"), Some(-9_000_000_000));
    assert_eq!(r.get::<f32, _>("r"), Some(0.5));
    assert_eq!(r.get::<f64, _>("f"), Some(-2.25));
    assert_eq!(r.get::<Numeric, _>("d"), Some(num));
    assert_eq!(r.get::<f64, _>("m"), Some(1.5));
    assert_eq!(r.get::<&str, _>("vc"), Some("plain"));
    assert_eq!(r.get::<&str, _>("nv"), Some("zażółć"));
    assert_eq!(r.get::<&str, _>("nvm"), Some(big.as_str()));
    assert_eq!(r.get::<&[u8], _>("vb"), Some(&[1u8, 2][..]));
    assert_eq!(r.get::<&[u8], _>("vbm"), Some(&bytes[..]));
    assert_eq!(r.get::<Uuid, _>("g"), Some(uuid));
    let cells: Vec<_> = rows[0].cells().map(|(_, d)| d.clone()).collect();
    assert_eq!(cells[16], ColumnData::Date(Some(date)));
    assert_eq!(cells[17], ColumnData::Time(Some(clock)));
    assert_eq!(cells[18], ColumnData::DateTime2(Some(dt2)));
    assert_eq!(cells[19], ColumnData::DateTimeOffset(Some(dto)));
    assert_eq!(cells[20], ColumnData::DateTime(Some(old)));
    for (col, data) in rows[1].cells().skip(1) {
        assert!(format!("{data:?}").contains("None"), "column {} is not NULL: {data:?}", col.name());
    }
}

#[tokio::test]
async fn arithmetic_has_sql_servers_types() {
    let rig = Rig::new().await;
    let mut c = rig.client().await;
    assert_eq!(one::<i32>(&mut c, "SELECT 7 / 2").await, 3);
    assert_eq!(one::<i32>(&mut c, "SELECT -7 % 3").await, -1);
    assert_eq!(one::<Numeric>(&mut c, "SELECT 7 / 2.0").await, Numeric::new_with_scale(3_500_000, 6));
    assert_eq!(one::<Numeric>(&mut c, "SELECT 1.10 + 2.205").await, Numeric::new_with_scale(3305, 3));
    assert_eq!(one::<Numeric>(&mut c, "SELECT 1.5 * 1.5").await, Numeric::new_with_scale(225, 2));
    assert_eq!(one::<i32>(&mut c, "SELECT '2' + 3").await, 5);
    assert_eq!(one::<String>(&mut c, "SELECT 'a' + N'b'").await, "ab");
    assert_eq!(one::<i64>(&mut c, "SELECT SUM(x) FROM (VALUES (CAST(1 AS BIGINT)), (2)) AS v(x)").await, 3);
    assert_eq!(one::<i32>(&mut c, "SELECT AVG(x) FROM (VALUES (1), (2), (4)) AS v(x)").await, 2);
    assert_eq!(one::<Numeric>(&mut c, "SELECT SUM(x) FROM (VALUES (1.5), (2.25)) AS v(x)").await, Numeric::new_with_scale(375, 2));
    assert_eq!(one::<i32>(&mut c, "SELECT 5 & 3 | 8 ^ 1").await, 8);
}

#[tokio::test]
async fn a_datetimeoffset_is_its_instant() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE w (id INT PRIMARY KEY, at DATETIMEOFFSET NULL, s DATETIMEOFFSET(0) NULL, utc DATETIME2 NULL)").await.unwrap();
    run(
        &mut c,
        "INSERT INTO w VALUES (1, '2024-01-01 10:00 +02:00', '2024-01-01 10:00 +02:00', '2024-01-01 08:00'),
         (2, '2024-01-01 08:00 +00:00', '2024-01-01 08:00 +00:00', NULL), (3, '2024-01-01 08:00:01 +00:00', NULL, NULL), (4, NULL, NULL, NULL)",
    )
    .await
    .unwrap();
    for (sql, want) in [
        (
            "SELECT COUNT(*) FROM w WHERE CAST('2024-01-01 10:00 +02:00' AS DATETIMEOFFSET) = CAST('2024-01-01 08:00 +00:00' AS DATETIMEOFFSET)",
            4,
        ),
        ("SELECT COUNT(*) FROM w WHERE at = '2024-01-01 03:00 -05:00'", 2),
        ("SELECT COUNT(*) FROM w WHERE at <> '2024-01-01 03:00 -05:00'", 1),
        ("SELECT COUNT(*) FROM w WHERE at >= '2024-01-01 03:00 -05:00' AND at <= '2024-01-01 03:00 -05:00'", 2),
        ("SELECT COUNT(*) FROM w WHERE at BETWEEN '2024-01-01 13:00 +05:00' AND '2024-01-01 03:00 -05:00'", 2),
        ("SELECT COUNT(*) FROM w WHERE at IN ('2024-01-01 03:00 -05:00', '2020-01-01')", 2),
        ("SELECT COUNT(*) FROM w WHERE at IN (SELECT s FROM w WHERE id = 1)", 2),
        ("SELECT COUNT(*) FROM w AS a JOIN w AS b ON a.at = b.s", 4),
        ("SELECT COUNT(*) FROM w AS a JOIN w AS b ON a.at = b.utc", 2),
        ("SELECT COUNT(DISTINCT at) FROM w", 2),
        ("SELECT COUNT(*) FROM (SELECT at, COUNT(*) AS n FROM w GROUP BY at) AS g", 3),
        ("SELECT MAX(n) FROM (SELECT at, COUNT(*) AS n FROM w GROUP BY at HAVING at < '2024-01-02') AS g", 2),
        ("SELECT TOP 1 id FROM w WHERE at IS NOT NULL ORDER BY at, id", 1),
        ("SELECT TOP 1 id FROM w WHERE at IS NOT NULL ORDER BY at DESC, id", 3),
        ("SELECT CAST(MAX(n) AS INT) FROM (SELECT ROW_NUMBER() OVER (PARTITION BY at ORDER BY id) AS n FROM w) AS g", 2),
        ("SELECT COUNT(*) FROM w WHERE CASE at WHEN '2024-01-01 03:00 -05:00' THEN 1 ELSE 0 END = 1", 2),
        ("SELECT COUNT(*) FROM w WHERE id < 4 AND NULLIF(at, '2024-01-01 03:00 -05:00') IS NULL", 2),
    ] {
        assert_eq!(one::<i32>(&mut c, sql).await, want, "{sql}");
    }
    for sql in [
        "SELECT DISTINCT at FROM w",
        "SELECT at FROM w UNION SELECT s FROM w",
        "SELECT at FROM w EXCEPT SELECT s FROM w",
        "CREATE TABLE k (at DATETIMEOFFSET PRIMARY KEY)",
        "CREATE TABLE k (id INT, at DATETIMEOFFSET UNIQUE)",
        "CREATE UNIQUE INDEX ux ON w(at)",
    ] {
        assert_eq!(code(&mut c, sql).await, 40_510, "{sql}");
    }
    run(&mut c, "CREATE INDEX ix ON w(at); SELECT at FROM w UNION ALL SELECT s FROM w").await.unwrap();
    assert_eq!(code(&mut c, "SELECT 1 FROM w WHERE at = 1").await, 206);
}

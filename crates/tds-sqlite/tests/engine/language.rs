//! The language: control flow, variables, TRY/CATCH, queries, built-in functions.

use crate::support::{Rig, code, maybe, one, run};

#[tokio::test]
async fn control_flow() {
    let rig = Rig::new().await;
    let mut c = rig.client().await;
    let sql = "SET NOCOUNT ON DECLARE @i INT = 0, @s NVARCHAR(50) = N'' WHILE @i < 10 BEGIN SET @i += 1 IF @i = 3 CONTINUE IF @i > 5 BREAK SET @s = @s + CAST(@i AS NVARCHAR(5)) END SELECT @s";
    assert_eq!(one::<String>(&mut c, sql).await, "1245");
    assert_eq!(one::<i32>(&mut c, "IF 1 = 2 SELECT 1 ELSE IF 2 = 2 BEGIN SELECT 2 END ELSE SELECT 3").await, 2);
    let sql = "BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT CONCAT(ERROR_NUMBER(), ':', ERROR_MESSAGE()) END CATCH";
    assert_eq!(one::<String>(&mut c, sql).await, "8134:Divide by zero error encountered.");
    assert_eq!(code(&mut c, "BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH THROW END CATCH").await, 8134);
    assert_eq!(code(&mut c, "BEGIN TRY THROW 50001, N'x', 7; END TRY BEGIN CATCH BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH PRINT 'inner' END CATCH; THROW; END CATCH").await, 50_001);
    assert_eq!(one::<i32>(&mut c, "EXEC sp_executesql N'SELECT @a + @b', N'@a INT, @b INT', @a = 1, @b = 2").await, 3);
    assert_eq!(one::<i32>(&mut c, "EXEC('SELECT 42')").await, 42);
    assert_eq!(one::<i32>(&mut c, "WAITFOR DELAY '00:00:00.01' SELECT 1").await, 1);
    assert_eq!(run(&mut c, "PRINT 'x'; RETURN; SELECT 1").await.unwrap().len(), 0);
    assert_eq!(run(&mut c, "SELECT 1; SELECT 2 SELECT 3").await.unwrap().len(), 3);
    assert_eq!(code(&mut c, "BREAK").await, 135);
    assert_eq!(code(&mut c, "DECLARE @a INT DECLARE @a INT").await, 134);
}

const DATA: &str = "CREATE TABLE a (id INT PRIMARY KEY, name NVARCHAR(20) NOT NULL, grp INT NULL);
    CREATE TABLE b (id INT IDENTITY(10, 5) PRIMARY KEY, a_id INT NOT NULL REFERENCES a(id), qty DECIMAL(9, 2) NOT NULL DEFAULT 1);
    INSERT INTO a VALUES (1, N'one', 1), (2, N'Two', 1), (3, N'three', NULL);
    INSERT INTO b (a_id, qty) VALUES (1, 2.5), (1, 3), (2, 1.25)";

#[tokio::test]
async fn queries() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, DATA).await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT TOP 1 a.id FROM a LEFT JOIN b ON b.a_id = a.id WHERE b.id IS NULL").await, 3);
    assert_eq!(one::<String>(&mut c, "SELECT name FROM a WHERE name = 'TWO '").await, "Two");
    assert_eq!(
        one::<i32>(&mut c, "SELECT COUNT(*) FROM (SELECT a_id, SUM(qty) AS s FROM b GROUP BY a_id HAVING SUM(qty) > 5) AS x").await,
        1
    );
    assert_eq!(one::<i32>(&mut c, "SELECT id FROM a ORDER BY id DESC OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY").await, 2);
    assert_eq!(
        one::<i32>(&mut c, "WITH x AS (SELECT id, ROW_NUMBER() OVER (ORDER BY name) AS n FROM a) SELECT id FROM x WHERE n = 2").await,
        3
    );
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(DISTINCT grp) FROM a").await, 1);
    assert_eq!(maybe::<i32>(&mut c, "SELECT MAX(grp) FROM a WHERE id = 3").await, None);
    assert_eq!(one::<i32>(&mut c, "SELECT id FROM a AS x WHERE EXISTS (SELECT 1 FROM b WHERE b.a_id = x.id AND b.qty < 2)").await, 2);
    assert_eq!(one::<i32>(&mut c, "SELECT id FROM a WHERE id IN (SELECT a_id FROM b) AND id NOT IN (2, 3)").await, 1);
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM (SELECT id FROM a UNION ALL SELECT id FROM b EXCEPT SELECT 1) AS u").await, 5);
    assert_eq!(
        one::<i32>(&mut c, "SELECT x.id FROM a AS x WITH (UPDLOCK, HOLDLOCK) CROSS JOIN b AS y WHERE x.name LIKE N't[h-k]%' AND y.id = 10")
            .await,
        3
    );
    assert_eq!(one::<i32>(&mut c, "DECLARE @m INT SELECT @m = MAX(id) FROM b SELECT @m").await, 20);
    assert_eq!(code(&mut c, "INSERT INTO b (a_id) VALUES (99)").await, 547);
    assert_eq!(code(&mut c, "DELETE FROM a WHERE id = 1").await, 547);
}

#[tokio::test]
async fn changes_and_their_output() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, DATA).await.unwrap();
    let rows = c
        .query("INSERT INTO b (a_id, qty) OUTPUT inserted.id, inserted.* VALUES (@P1, 7), (@P1, 8)", &[&3i32])
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|r| r.get::<i32, _>(0).unwrap()).collect::<Vec<_>>(), [25, 30]);
    assert_eq!(one::<tiberius::numeric::Numeric>(&mut c, "SELECT SCOPE_IDENTITY()").await.value(), 30);
    assert_eq!(one::<i32>(&mut c, "UPDATE b SET qty += 1 WHERE a_id = 3; SELECT @@ROWCOUNT").await, 2);
    assert_eq!(one::<i32>(&mut c, "UPDATE x SET qty = x.qty * 2 FROM b AS x JOIN a ON a.id = x.a_id WHERE a.name = N'two'; SELECT CAST(qty * 100 AS INT) FROM b WHERE id = 20").await, 250);
    assert_eq!(one::<i32>(&mut c, "DELETE TOP (1) FROM b WHERE a_id = 3; SELECT COUNT(*) FROM b").await, 4);
    assert_eq!(one::<i32>(&mut c, "DELETE FROM b OUTPUT deleted.id WHERE id = 10").await, 10);
    assert_eq!(one::<i32>(&mut c, "DELETE x FROM b AS x JOIN a ON a.id = x.a_id WHERE a.id = 2; SELECT @@ROWCOUNT").await, 1);
    let n = c.execute("INSERT INTO a (id, name) SELECT id + 100, name FROM a", &[]).await.unwrap().total();
    assert_eq!(n, 3);
    run(&mut c, "TRUNCATE TABLE b; DROP TABLE IF EXISTS b, nope; CREATE UNIQUE INDEX ux ON a(name, id)").await.unwrap();
    assert_eq!(code(&mut c, "SELECT * FROM b").await, 208);
    assert_eq!(one::<i32>(&mut c, "CREATE TABLE d (x INT NULL, at DATETIME2 NOT NULL DEFAULT SYSUTCDATETIME()); INSERT INTO d DEFAULT VALUES; SELECT COUNT(*) FROM d WHERE at <= SYSUTCDATETIME() AND at > DATEADD(minute, -5, SYSUTCDATETIME())").await, 1);
    assert_eq!(code(&mut c, "BEGIN TRAN; CREATE TABLE e (x INT); INSERT INTO e VALUES (1); ROLLBACK; SELECT * FROM e").await, 208);
}

#[tokio::test]
async fn functions() {
    let rig = Rig::new().await;
    let mut c = rig.client().await;
    for (sql, want) in [
        ("ISNULL(NULL, 'x')", "x"),
        ("COALESCE(NULL, NULL, 'y')", "y"),
        ("NULLIF('a', 'b')", "a"),
        ("SUBSTRING('hello', 2, 3)", "ell"),
        ("UPPER('aé') + LOWER('B')", "AÉb"),
        ("CONCAT('a', 1, NULL, 2.5)", "a12.5"),
        ("REPLICATE('ab', 3)", "ababab"),
        ("LEFT('hello', 2) + RIGHT('hello', 2)", "helo"),
        ("REPLACE('aXbx', 'x', '-')", "a-b-"),
        ("LTRIM(RTRIM('  a '))", "a"),
        ("CONVERT(VARCHAR(8), CAST('2026-03-04' AS DATE), 112)", "20260304"),
        ("CASE 2 WHEN 1 THEN 'one' WHEN 2 THEN 'two' END", "two"),
        ("IIF(1 = 1, 'yes', 'no')", "yes"),
        ("CONVERT(VARCHAR(64), HASHBYTES('SHA2_256', 'abc'), 2)", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"),
        ("CONVERT(VARCHAR(23), DATEADD(month, 1, CAST('2026-01-31T10:00:00' AS DATETIME2(3))), 126)", "2026-02-28T10:00:00"),
    ] {
        assert_eq!(one::<String>(&mut c, &format!("SELECT {sql}")).await, want, "{sql}");
    }
    for (sql, want) in [
        ("LEN('abc  ')", 3),
        ("DATALENGTH(N'abc')", 6),
        ("DATEDIFF(day, '2026-01-01', '2026-02-01')", 31),
        ("DATEDIFF(millisecond, CAST('2026-01-01T00:00:00' AS DATETIME2), CAST('2026-01-01T00:00:01.5' AS DATETIME2))", 1500),
        ("DATEPART(year, CAST('2026-05-06' AS DATE))", 2026),
        ("CHARINDEX('l', 'hello')", 3),
        ("TRY_CONVERT(INT, '12')", 12),
        ("ISNULL(TRY_CAST('x' AS INT), -1)", -1),
        ("ABS(-5)", 5),
        ("@@TRANCOUNT", 0),
    ] {
        assert_eq!(one::<i32>(&mut c, &format!("SELECT {sql}")).await, want, "{sql}");
    }
    assert_ne!(one::<tiberius::Uuid>(&mut c, "SELECT NEWID()").await, one::<tiberius::Uuid>(&mut c, "SELECT NEWID()").await);
}

#[tokio::test]
async fn the_deepest_statements_that_parse_also_run() {
    let rig = Rig::new().await;
    let mut c = rig.client().await;
    for (open, close) in [("(", ")"), ("ABS(", ")"), ("CASE WHEN 1 = 1 THEN ", " END"), ("- ", ""), ("(SELECT ", ")")] {
        let mut n = 8;
        while run(&mut c, &format!("SELECT {}1{}", open.repeat(n), close.repeat(n))).await.is_ok() {
            n += 1;
        }
        assert!(n > 10, "{open}: {n}");
        assert_eq!(code(&mut c, &format!("SELECT {}1{}", open.repeat(n), close.repeat(n))).await, 191, "{open}: {n}");
    }
    assert_eq!(one::<i32>(&mut c, &format!("SELECT 1{}", " + 1".repeat(200))).await, 201);
    let views = format!("SELECT COUNT(*) FROM (VALUES {}(0)) AS v(x)", "(1), ".repeat(900));
    assert_eq!(one::<i32>(&mut c, &views).await, 901);
    let wide = format!("SELECT 7 WHERE 1 = 2{}", " OR 2 = 2 AND 3 = 3".repeat(3_000));
    let answer = run(&mut c, &wide).await;
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn implicit_transactions() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    run(&mut c, "SET IMPLICIT_TRANSACTIONS ON").await.unwrap();
    for sql in ["SELECT 1", "SELECT @@VERSION", "DECLARE @x INT = 1; SELECT @x += 1", "SELECT x FROM (VALUES (1)) AS v(x)"] {
        assert_eq!(one::<i32>(&mut c, &format!("{sql}; SELECT @@TRANCOUNT")).await, 0, "{sql}");
    }
    for sql in [
        "SELECT id FROM t",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET id = 1",
        "DELETE FROM t",
        "TRUNCATE TABLE t",
        "CREATE TABLE u (id INT)",
    ] {
        assert_eq!(one::<i32>(&mut c, &format!("{sql}; SELECT @@TRANCOUNT")).await, 1, "{sql}");
        run(&mut c, "ROLLBACK").await.unwrap();
    }
    run(&mut c, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT").await.unwrap();
    assert_eq!(one::<i32>(&mut c, "INSERT INTO t VALUES (3); ROLLBACK; SELECT COUNT(*) FROM t").await, 2);
    assert_eq!(one::<i32>(&mut c, "ROLLBACK; SET IMPLICIT_TRANSACTIONS OFF; DELETE FROM t; SELECT @@TRANCOUNT").await, 0);
    for (sql, want) in [("IMPLICIT_TRANSACTIONS, NOCOUNT ON", 1), ("IMPLICIT_TRANSACTIONS, NOCOUNT OFF", 0), ("ANSI_DEFAULTS ON", 1)] {
        assert_eq!(one::<i32>(&mut c, &format!("SET {sql}; DELETE FROM t; SELECT @@TRANCOUNT")).await, want, "{sql}");
        run(&mut c, "IF @@TRANCOUNT > 0 ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn truncate_starts_the_identity_again() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, DATA).await.unwrap();
    let next = "INSERT INTO b (a_id) OUTPUT inserted.id VALUES (1)";
    assert_eq!(one::<i32>(&mut c, "BEGIN TRAN; TRUNCATE TABLE b; INSERT INTO b (a_id) OUTPUT inserted.id VALUES (2)").await, 10);
    assert_eq!(one::<i32>(&mut c, next).await, 15);
    assert_eq!(one::<i32>(&mut c, "TRUNCATE TABLE b; INSERT INTO b (a_id) OUTPUT inserted.id VALUES (2)").await, 10);
    assert_eq!(one::<i32>(&mut c, "ROLLBACK; SELECT COUNT(*) FROM b").await, 3);
    assert_eq!(one::<i32>(&mut c, next).await, 25, "a rollback brings the identity back");
    let sql = "BEGIN TRAN; SAVE TRAN s; TRUNCATE TABLE b; CREATE TABLE e (x INT); ROLLBACK TRAN s";
    assert_eq!(one::<i32>(&mut c, &format!("{sql}; {next}")).await, 30, "so does one to a savepoint");
    assert_eq!(code(&mut c, "COMMIT; SELECT * FROM e").await, 208);
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM b").await, 5);
    assert_eq!(one::<i32>(&mut c, &format!("TRUNCATE TABLE b; {next}")).await, 10);
    assert_eq!(one::<i32>(&mut c, &format!("DELETE FROM b; {next}")).await, 15, "DELETE lets it go on");
    for (want, sql) in [(4712, "TRUNCATE TABLE a"), (4701, "TRUNCATE TABLE nope"), (3726, "DROP TABLE a")] {
        assert_eq!(code(&mut c, sql).await, want, "{sql}");
    }
    let e = run(&mut c, "DROP TABLE a").await.unwrap_err();
    assert!(e.to_string().contains("object 'a'"), "{e}");
    run(&mut c, "CREATE TABLE own (id INT PRIMARY KEY, up INT NULL REFERENCES own(id)); INSERT INTO own VALUES (1, NULL), (2, 1)")
        .await
        .unwrap();
    assert_eq!(one::<i32>(&mut c, "TRUNCATE TABLE own; SELECT COUNT(*) FROM own").await, 0, "a reference to itself is no hindrance");
}

//! Errors by number: the honest answer to everything that cannot be done.

use crate::support::{Rig, code, number, one, run};

#[tokio::test]
async fn by_number() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE p (id INT NOT NULL PRIMARY KEY, s VARCHAR(3) NOT NULL, n INT NULL UNIQUE, CONSTRAINT ck_n CHECK (n > 0)); INSERT INTO p VALUES (1, 'a', 1)").await.unwrap();
    let cases = [
        (102, "SELEC 1"),
        (102, "SELECT 1 +"),
        (156, "SELECT FROM p"),
        (105, "SELECT 'open"),
        (137, "SELECT @nope"),
        (168, "INSERT INTO p VALUES (1e400, 'x', 9)"),
        (168, "SELECT -1e400"),
        (195, "SELECT NO_SUCH_FUNCTION(1)"),
        (207, "SELECT nope FROM p"),
        (208, "SELECT * FROM nope"),
        (208, "INSERT INTO other.nope VALUES (1)"),
        (209, "SELECT id FROM p AS a JOIN p AS b ON a.id = b.id"),
        (245, "SELECT CAST('abc' AS INT)"),
        (245, "SELECT 1 WHERE 'abc' = 1"),
        (241, "SELECT CAST('abc' AS DATETIME2)"),
        (8114, "SELECT CAST('abc' AS DECIMAL(5,2))"),
        (8169, "SELECT CAST('abc' AS UNIQUEIDENTIFIER)"),
        (206, "SELECT CAST('2020-01-01' AS DATE) + 1"),
        (515, "INSERT INTO p (id, s) VALUES (NULL, 'x')"),
        (515, "INSERT INTO p (id) VALUES (5)"),
        (515, "INSERT INTO p (id, s) VALUES (5, NULL)"),
        (547, "INSERT INTO p VALUES (6, 'x', -1)"),
        (911, "USE nope"),
        (2627, "INSERT INTO p VALUES (1, 'x', 9)"),
        (2627, "INSERT INTO p VALUES (9, 'x', 1)"),
        (2627, "INSERT INTO p VALUES (10, 'x', 10), (10, 'y', 11)"),
        (2628, "INSERT INTO p VALUES (7, 'toolong', 9)"),
        (2714, "CREATE TABLE p (id INT)"),
        (1801, "CREATE DATABASE chaos"),
        (3701, "DROP TABLE nope"),
        (3701, "DROP DATABASE nope"),
        (3708, "DROP DATABASE master"),
        (8115, "SELECT 2147483647 + 1"),
        (8115, "SELECT CAST(1000 AS DECIMAL(3,1))"),
        (8134, "SELECT 1 / 0"),
        (8134, "SELECT 1.0 / 0"),
        (8120, "SELECT id, COUNT(*) FROM p"),
        (512, "INSERT INTO p VALUES (20, 'x', 20); SELECT (SELECT id FROM p)"),
        (544, "CREATE TABLE i (id INT IDENTITY, x INT); INSERT INTO i (id, x) VALUES (1, 1)"),
        (2812, "EXEC no_such_proc 1"),
        (4145, "SELECT 1 WHERE 1"),
        (40_510, "MERGE INTO p USING p AS q ON 1 = 1 WHEN MATCHED THEN DELETE"),
        (40_510, "CREATE PROCEDURE x AS SELECT 1"),
        (40_510, "ALTER TABLE p ADD z INT"),
        (40_510, "SET ROWCOUNT 5"),
        (40_510, "SET ANSI_WARNINGS OFF"),
        (40_510, "BACKUP DATABASE chaos TO DISK = 'x'"),
        (40_510, "CREATE TABLE #t (id INT)"),
        (50_000, "RAISERROR('no %s of %d', 16, 1, 'sort', 5)"),
        (51_000, "THROW 51000, 'thrown', 1"),
        (164, "SELECT COUNT(*) FROM p GROUP BY 1"),
        (40_510, "SELECT 1 FROM p WHERE EXISTS (SELECT AVG(p.id))"),
    ];
    for (want, sql) in cases {
        assert_eq!(code(&mut c, sql).await, want, "{sql}");
    }
    let e = run(&mut c, "RAISERROR('no %s of %d', 16, 1, 'sort', 5)").await.unwrap_err();
    assert!(e.to_string().contains("no sort of 5"), "{e}");
    let e = c.execute("SELECT @P1 + @P2", &[&1i32]).await.unwrap_err();
    assert_eq!(number(&e), 137, "an undeclared parameter is an undeclared variable");
}

#[tokio::test]
async fn lines_and_statements_after_an_error() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE p (id INT PRIMARY KEY)").await.unwrap();
    let e = run(&mut c, "INSERT INTO p VALUES (1)\nINSERT INTO p\nVALUES (1)").await.unwrap_err();
    let tiberius::error::Error::Server(t) = &e else { panic!("{e}") };
    assert_eq!((t.code(), t.line(), t.class()), (2627, 2, 14));
    assert_eq!(code(&mut c, "INSERT INTO p VALUES (1); INSERT INTO p VALUES (2)").await, 2627);
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM p").await, 2, "a statement's error leaves the rest of the batch to run");
    assert_eq!(code(&mut c, "SELECT * FROM nope; INSERT INTO p VALUES (3)").await, 208);
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM p").await, 2, "a missing object ends the batch");
    assert_eq!(code(&mut c, "INSERT INTO p VALUES (4); SELEC").await, 102);
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM p").await, 2, "nothing of a batch with a syntax error runs");
}

#[tokio::test]
async fn dynamic_sql_fails_where_it_was_executed() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE p (id INT PRIMARY KEY)").await.unwrap();
    let caught = [
        (2627, "EXEC(N'INSERT p VALUES (1)')"),
        (2627, "EXEC sp_executesql N'INSERT p VALUES (@id)', N'@id INT', @id = 1"),
        (2627, "EXEC(N'EXEC(N''INSERT p VALUES (1)'')')"),
        (515, "EXEC(N'INSERT p VALUES (NULL)')"),
        (8134, "EXEC(N'SELECT 1 / 0')"),
        (245, "EXEC(N'SELECT CAST(''x'' AS INT)')"),
        (208, "EXEC(N'SELECT * FROM nope')"),
        (102, "EXEC(N'SELEC')"),
        (50_001, "EXEC(N'THROW 50001, N''x'', 1')"),
        (50_000, "EXEC(N'RAISERROR(N''x'', 16, 1)')"),
    ];
    for (want, sql) in caught {
        let sql = format!(
            "BEGIN TRY BEGIN TRAN; INSERT p VALUES (1); {sql}; INSERT p VALUES (2); COMMIT END TRY
             BEGIN CATCH DECLARE @n INT = ERROR_NUMBER(); IF @@TRANCOUNT > 0 ROLLBACK; SELECT @n END CATCH"
        );
        assert_eq!(one::<i32>(&mut c, &sql).await, want, "{sql}");
        assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM p").await, 0, "{sql}");
    }
    let inner = "EXEC(N'BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH INSERT p VALUES (7) END CATCH')";
    assert_eq!(one::<i32>(&mut c, &format!("BEGIN TRY {inner}; SELECT 1 END TRY BEGIN CATCH SELECT 2 END CATCH")).await, 1);
    for (want, sql) in [(245, "SELECT CAST(''x'' AS INT)"), (50_001, "THROW 50001, N''x'', 1"), (40_510, "ALTER TABLE p ADD z INT")] {
        assert_eq!(code(&mut c, &format!("BEGIN TRAN; INSERT p VALUES (11); EXEC(N'{sql}'); INSERT p VALUES (12); COMMIT")).await, want);
        run(&mut c, "IF @@TRANCOUNT > 0 ROLLBACK").await.unwrap();
        assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM p WHERE id > 10").await, 0, "{sql} ends the batch around it");
    }
    for (at, (want, sql)) in
        [(8134, "SELECT 1 / 0"), (2627, "INSERT p VALUES (7)"), (208, "SELECT * FROM nope"), (102, "SELEC")].into_iter().enumerate()
    {
        assert_eq!(code(&mut c, &format!("EXEC(N'{sql}'); INSERT p VALUES (@@ERROR * 10 + {at})")).await, want);
        let seen = one::<i32>(&mut c, "SELECT id / 10 FROM p WHERE id > 100").await;
        assert_eq!(u32::try_from(seen).unwrap(), want, "{sql} leaves the batch around it to run, with its number in @@ERROR");
        run(&mut c, "DELETE p WHERE id > 100").await.unwrap();
    }
    let sql = "SET XACT_ABORT ON; BEGIN TRAN; INSERT p VALUES (21); EXEC(N'INSERT p VALUES (7)'); INSERT p VALUES (22); COMMIT";
    assert_eq!(code(&mut c, sql).await, 2627);
    assert_eq!(one::<i32>(&mut c, "SET XACT_ABORT OFF; SELECT COUNT(*) FROM p WHERE id > 20").await, 0);
}

#[tokio::test]
async fn an_update_of_keys_accuses_no_row_that_is_about_to_change() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE k (id INT PRIMARY KEY, name NVARCHAR(10) NOT NULL UNIQUE, n INT NULL); CREATE UNIQUE INDEX ux ON k(n)")
        .await
        .unwrap();
    run(&mut c, "INSERT INTO k VALUES (1, N'a', 1), (2, N'b', 2), (3, N'c', 3)").await.unwrap();
    for (want, sql) in [
        (40_510, "UPDATE k SET id = id + 1"),
        (40_510, "UPDATE k SET id = 3 - id WHERE id < 3"),
        (40_510, "UPDATE k SET name = CASE name WHEN N'a' THEN N'b' ELSE N'a' END WHERE name <> N'c'"),
        (40_510, "UPDATE k SET n = n + 1"),
        (40_510, "UPDATE x SET id = x.id + 1 FROM k AS x JOIN k AS y ON x.id >= y.id"),
        (2627, "UPDATE k SET id = id + 1 WHERE id = 1"),
        (2627, "UPDATE k SET id = 9"),
        (2627, "UPDATE k SET name = N'B ' WHERE id = 1"),
        (2601, "UPDATE k SET n = 3 WHERE id = 1"),
        (2601, "UPDATE k SET n = NULL"),
        (2627, "UPDATE x SET id = 3 FROM k AS x JOIN k AS y ON x.id = y.id WHERE y.name = N'a'"),
        (2627, "UPDATE TOP (2) k SET name = N'z'"),
    ] {
        assert_eq!(code(&mut c, sql).await, want, "{sql}");
        assert_eq!(
            one::<i32>(&mut c, "SELECT COUNT(*) FROM k WHERE id = n AND id IN (1, 2, 3) AND name <> N'z'").await,
            3,
            "{sql} changed nothing"
        );
    }
    let e = run(&mut c, "UPDATE k SET id = id + 1 WHERE id = 1").await.unwrap_err();
    assert!(e.to_string().contains("The duplicate key value is (2)"), "{e}");
    let e = c.execute("UPDATE k SET name = @P2 WHERE id = @P1", &[&1i32, &"C"]).await.unwrap_err();
    assert!(number(&e) == 2627 && e.to_string().contains("The duplicate key value is (C)"), "{e}");
    run(&mut c, "UPDATE k SET id = id - 1; UPDATE k SET id = id + 10, n = n + 10").await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT SUM(id) FROM k").await, 33);
}

//! The statements that a harness needs, through tiberius as it sends them.

use crate::support::{self};
use crate::support::{Rig, code, maybe, one, run};

#[tokio::test]
async fn ledger_of_a_harness() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    let create = "IF OBJECT_ID(N'dbo.ledger', N'U') IS NULL
        CREATE TABLE dbo.ledger (id BIGINT NOT NULL PRIMARY KEY, client INT NOT NULL, payload NVARCHAR(200) NOT NULL,
            digest VARBINARY(32) NOT NULL, at DATETIME2(7) NOT NULL DEFAULT SYSUTCDATETIME())
        CREATE INDEX ix_client ON dbo.ledger (client)";
    run(&mut c, create).await.unwrap();
    let n = c
        .execute(
            "INSERT INTO dbo.ledger (id, client, payload, digest) VALUES (@P1, @P2, @P3, HASHBYTES('SHA2_256', @P3))",
            &[&1i64, &7i32, &"hello"],
        )
        .await
        .unwrap()
        .total();
    assert_eq!(n, 1);
    let rows = c
        .query("SELECT TOP (10) id, client, payload, CASE WHEN digest = HASHBYTES('SHA2_256', payload) THEN 1 ELSE 0 END FROM dbo.ledger WHERE id >= @P1 ORDER BY id", &[&0i64])
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<i64, _>(0), Some(1));
    assert_eq!(rows[0].get::<i32, _>(1), Some(7));
    assert_eq!(rows[0].get::<&str, _>(2), Some("hello"));
    assert_eq!(rows[0].get::<i32, _>(3), Some(1));
    let e = c.execute("INSERT INTO dbo.ledger (id, client, payload, digest) VALUES (@P1, 1, N'x', 0x00)", &[&1i64]).await.unwrap_err();
    assert_eq!(support::number(&e), 2627);
    assert!(e.to_string().contains("The duplicate key value is (1)."), "{e}");
    assert_eq!(one::<i64>(&mut c, "SELECT COUNT_BIG(*) FROM chaos.dbo.ledger").await, 1);
}

#[tokio::test]
async fn update_then_insert() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)").await.unwrap();
    let upsert = "UPDATE kv SET v = 5 WHERE k = 1; IF @@ROWCOUNT = 0 INSERT INTO kv (k, v) VALUES (1, 4)";
    run(&mut c, upsert).await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT v FROM kv WHERE k = 1").await, 4);
    run(&mut c, upsert).await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT v FROM kv WHERE k = 1").await, 5);
}

#[tokio::test]
async fn transactions() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    run(&mut c, "BEGIN TRAN").await.unwrap();
    c.execute("INSERT INTO t VALUES (@P1)", &[&1i32]).await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT @@TRANCOUNT").await, 1);
    run(&mut c, "COMMIT").await.unwrap();
    run(&mut c, "BEGIN TRAN INSERT INTO t VALUES (2) SELECT COUNT(*) FROM t ROLLBACK").await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM t").await, 1);
    assert_eq!(code(&mut c, "COMMIT").await, 3902);
    assert_eq!(code(&mut c, "ROLLBACK").await, 3903);
    let e = c.execute("BEGIN TRAN", &[]).await.unwrap_err();
    assert_eq!(support::number(&e), 266);
    assert_eq!(one::<i32>(&mut c, "SELECT @@TRANCOUNT").await, 1, "266 leaves the transaction open");
    run(&mut c, "INSERT INTO t VALUES (3)").await.unwrap();
    drop(c);
    let mut d = rig.chaos().await;
    assert_eq!(
        one::<i32>(&mut d, "SET LOCK_TIMEOUT 5000; INSERT INTO t VALUES (4); SELECT COUNT(*) FROM t").await,
        2,
        "a disconnect rolls back"
    );
    run(
        &mut d,
        "SET XACT_ABORT OFF; BEGIN TRAN; INSERT INTO t VALUES (10); SAVE TRAN s; INSERT INTO t VALUES (11); ROLLBACK TRAN s; COMMIT",
    )
    .await
    .unwrap();
    assert_eq!(one::<i32>(&mut d, "SELECT COUNT(*) FROM t WHERE id >= 10").await, 1);
    assert_eq!(code(&mut d, "SET XACT_ABORT ON; BEGIN TRAN; INSERT INTO t VALUES (20); INSERT INTO t VALUES (20); COMMIT").await, 2627);
    assert_eq!(one::<i32>(&mut d, "SELECT @@TRANCOUNT").await, 0, "XACT_ABORT rolls back");
    assert_eq!(maybe::<i32>(&mut d, "SELECT id FROM t WHERE id = 20 UNION ALL SELECT NULL").await, None);
}

#[tokio::test]
async fn shutdown_and_start_again() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE t (id INT IDENTITY(1,1) PRIMARY KEY, s VARCHAR(10) NULL, CONSTRAINT ck CHECK (id > 0)); INSERT INTO t (s) VALUES ('a'), ('b')").await.unwrap();
    drop(c);
    let Rig { dir, server } = rig;
    server.shutdown().await;
    let server = tds_sqlite::Server::start(tds_sqlite::Config::new(dir.path(), support::PASSWORD)).await.unwrap();
    let rig = Rig { dir, server };
    let mut c = rig.chaos().await;
    run(&mut c, "INSERT INTO t (s) VALUES ('c')").await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT MAX(id) FROM t").await, 3);
}

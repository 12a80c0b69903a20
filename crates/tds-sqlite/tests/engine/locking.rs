//! Sessions beside each other.

use crate::support::{Rig, code, connect, number, one, run};
use std::time::Duration;
use tiberius::EncryptionLevel;

#[tokio::test]
async fn a_writer_blocks_a_writer_and_no_reader() {
    let rig = Rig::new().await;
    let mut a = rig.chaos().await;
    run(&mut a, "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 0)").await.unwrap();
    let mut b = connect(rig.port(), "chaos", EncryptionLevel::NotSupported).await.unwrap();
    run(&mut a, "BEGIN TRAN; UPDATE t SET v = 1").await.unwrap();
    assert_eq!(one::<i32>(&mut b, "SELECT v FROM t").await, 0, "readers see what is committed");
    assert_eq!(code(&mut b, "SET LOCK_TIMEOUT 50; UPDATE t SET v = 2").await, 1222);
    assert_eq!(code(&mut b, "SET LOCK_TIMEOUT 0; BEGIN TRAN; SELECT v FROM t WITH (UPDLOCK, HOLDLOCK)").await, 1222);
    assert_eq!(one::<i32>(&mut b, "ROLLBACK; SET LOCK_TIMEOUT -1; SELECT @@TRANCOUNT").await, 0);
    let waiting = tokio::spawn(async move {
        run(&mut b, "UPDATE t SET v = v + 10").await.unwrap();
        b
    });
    run(&mut a, "COMMIT").await.unwrap();
    let mut b = waiting.await.unwrap();
    assert_eq!(one::<i32>(&mut b, "SELECT v FROM t").await, 11, "the waiter goes on after the commit and sees it");
}

#[tokio::test]
async fn serializable_increments_are_not_lost() {
    let rig = Rig::new().await;
    let mut a = rig.chaos().await;
    run(&mut a, "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 0)").await.unwrap();
    let port = rig.port();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(tokio::spawn(async move {
            let mut c = connect(port, "chaos", EncryptionLevel::NotSupported).await.unwrap();
            for _ in 0..10 {
                let sql = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE BEGIN TRAN DECLARE @v INT SELECT @v = v FROM t WHERE id = 1 UPDATE t SET v = @v + 1 COMMIT";
                // Two that have read and both want to write deadlock, and one of them tries again.
                while let Err(e) = run(&mut c, sql).await {
                    assert_eq!(number(&e), 1205);
                }
            }
        }));
    }
    for t in tasks {
        t.await.unwrap();
    }
    assert_eq!(one::<i32>(&mut a, "SELECT v FROM t").await, 40);
}

#[tokio::test]
async fn an_idle_transaction_is_ended() {
    let rig = Rig::with(|c| c.idle_transaction = Duration::from_millis(50)).await;
    let mut a = rig.chaos().await;
    run(&mut a, "CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    run(&mut a, "BEGIN TRAN; INSERT INTO t VALUES (1)").await.unwrap();
    let mut b = connect(rig.port(), "chaos", EncryptionLevel::NotSupported).await.unwrap();
    run(&mut b, "INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(code(&mut a, "INSERT INTO t VALUES (3)").await, 1205, "the owner learns that it was rolled back");
    assert_eq!(one::<i32>(&mut a, "SELECT @@TRANCOUNT").await, 0);
    assert_eq!(one::<i32>(&mut b, "SELECT COUNT(*) FROM t").await, 1);
}

#[tokio::test]
async fn doomed_transactions_only_roll_back() {
    let rig = Rig::new().await;
    let mut a = rig.chaos().await;
    run(&mut a, "CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    let sql = "SET XACT_ABORT ON BEGIN TRY BEGIN TRAN INSERT INTO t VALUES (1) INSERT INTO t VALUES (1) COMMIT END TRY
        BEGIN CATCH SELECT XACT_STATE(); ROLLBACK END CATCH";
    assert_eq!(one::<i16>(&mut a, sql).await, -1);
    assert_eq!(
        code(
            &mut a,
            "SET XACT_ABORT ON BEGIN TRY BEGIN TRAN INSERT INTO t VALUES (1) INSERT INTO t VALUES (1) END TRY BEGIN CATCH COMMIT END CATCH"
        )
        .await,
        3930
    );
    assert_eq!(one::<i32>(&mut a, "SELECT @@TRANCOUNT + COUNT(*) FROM t").await, 0);
}

const SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN;";

#[tokio::test]
async fn a_snapshot_sees_one_instant_and_does_not_overwrite_what_came_later() {
    let rig = Rig::new().await;
    let mut a = rig.chaos().await;
    run(&mut a, "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 0), (2, 0)").await.unwrap();
    let mut b = connect(rig.port(), "chaos", EncryptionLevel::NotSupported).await.unwrap();
    assert_eq!(one::<i32>(&mut a, &format!("{SNAPSHOT} SELECT v FROM t WHERE id = 1")).await, 0);
    run(&mut b, "UPDATE t SET v = 5 WHERE id = 1").await.unwrap();
    assert_eq!(one::<i32>(&mut a, "SELECT v FROM t WHERE id = 1").await, 0, "its instant is before the update");
    assert_eq!(code(&mut a, "UPDATE t SET v = 1 WHERE id = 1").await, 3960);
    assert_eq!(one::<i32>(&mut a, "SELECT @@TRANCOUNT").await, 0, "a conflict ends the transaction");
    assert_eq!(one::<i32>(&mut a, "SELECT v FROM t WHERE id = 1").await, 5);

    // A row that nobody changed since may be written, although another was.
    assert_eq!(one::<i32>(&mut a, "BEGIN TRAN; SELECT v FROM t WHERE id = 1").await, 5);
    run(&mut b, "UPDATE t SET v = 6 WHERE id = 1").await.unwrap();
    run(&mut a, "UPDATE t SET v = 9 WHERE id = 2; COMMIT").await.unwrap();
    assert_eq!(one::<i32>(&mut b, "SELECT SUM(v) FROM t").await, 15);

    // After a write it would see what was committed since, which a snapshot must not.
    assert_eq!(one::<i32>(&mut a, "BEGIN TRAN; SELECT v FROM t WHERE id = 1").await, 6);
    run(&mut b, "UPDATE t SET v = 7 WHERE id = 1").await.unwrap();
    run(&mut a, "UPDATE t SET v = 10 WHERE id = 2").await.unwrap();
    assert_eq!(code(&mut a, "SELECT v FROM t WHERE id = 1").await, 3960);
    assert_eq!(one::<i32>(&mut b, "SELECT SUM(v) FROM t").await, 16, "it was rolled back");

    // Alone it reads its own writes.
    assert_eq!(one::<i32>(&mut a, "BEGIN TRAN; SELECT v FROM t WHERE id = 2").await, 9);
    assert_eq!(one::<i32>(&mut a, "UPDATE t SET v = 1 WHERE id = 2; SELECT v FROM t WHERE id = 2").await, 1);
    run(&mut a, "COMMIT").await.unwrap();
}

#[tokio::test]
async fn write_skew_is_possible_at_snapshot_and_not_at_serializable() {
    let rig = Rig::new().await;
    let mut a = rig.chaos().await;
    run(&mut a, "CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 1), (2, 1)").await.unwrap();
    let mut b = connect(rig.port(), "chaos", EncryptionLevel::NotSupported).await.unwrap();
    for c in [&mut a, &mut b] {
        assert_eq!(one::<i32>(c, &format!("{SNAPSHOT} SELECT SUM(v) FROM t")).await, 2);
    }
    run(&mut a, "UPDATE t SET v = 0 WHERE id = 1; COMMIT").await.unwrap();
    run(&mut b, "UPDATE t SET v = 0 WHERE id = 2; COMMIT").await.unwrap();
    assert_eq!(one::<i32>(&mut a, "SELECT SUM(v) FROM t").await, 0);

    let serializable = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN TRAN; SELECT SUM(v) FROM t";
    for c in [&mut a, &mut b] {
        assert_eq!(one::<i32>(c, serializable).await, 0);
    }
    assert_eq!(code(&mut a, "SET LOCK_TIMEOUT 50; UPDATE t SET v = 1 WHERE id = 1").await, 1222, "what the other has read stays");
    run(&mut b, "COMMIT").await.unwrap();
    run(&mut a, "UPDATE t SET v = 1 WHERE id = 1; COMMIT").await.unwrap();
    assert_eq!(one::<i32>(&mut a, "SELECT SUM(v) FROM t").await, 1);
}

#[tokio::test]
async fn a_savepoint_undoes_what_came_after_it_and_keeps_the_lock() {
    let rig = Rig::new().await;
    let mut a = rig.chaos().await;
    run(&mut a, "CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    let mut b = connect(rig.port(), "chaos", EncryptionLevel::NotSupported).await.unwrap();
    run(&mut a, "BEGIN TRAN; INSERT INTO t VALUES (1); SAVE TRAN one; INSERT INTO t VALUES (2); SAVE TRAN two; INSERT INTO t VALUES (3)")
        .await
        .unwrap();
    assert_eq!(one::<i32>(&mut a, "ROLLBACK TRAN one; SELECT COUNT(*) FROM t").await, 1);
    assert_eq!(code(&mut a, "ROLLBACK TRAN two").await, 6401, "a savepoint after the one that was gone back to is no more");
    assert_eq!(code(&mut b, "SET LOCK_TIMEOUT 50; INSERT INTO t VALUES (9)").await, 1222);
    assert_eq!(one::<i32>(&mut a, "SELECT @@TRANCOUNT").await, 1, "a savepoint that is not there does not end the transaction");
    run(&mut a, "INSERT INTO t VALUES (4); COMMIT").await.unwrap();
    assert_eq!(one::<i32>(&mut b, "SELECT SUM(id) FROM t").await, 5);
}

/// A timeout is an error of the statement alone: the transaction goes on, also through a handler, unless XACT_ABORT says otherwise.
#[tokio::test]
async fn a_lock_timeout_can_be_handled() {
    let rig = Rig::new().await;
    let mut a = rig.chaos().await;
    run(&mut a, "CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    let mut b = connect(rig.port(), "chaos", EncryptionLevel::NotSupported).await.unwrap();
    run(&mut a, "BEGIN TRAN; INSERT INTO t VALUES (1)").await.unwrap();
    let sql = "SET LOCK_TIMEOUT 20; BEGIN TRAN; BEGIN TRY INSERT INTO t VALUES (2) END TRY BEGIN CATCH SELECT ERROR_NUMBER() * 10 + XACT_STATE() END CATCH";
    assert_eq!(one::<i32>(&mut b, sql).await, 12_221);
    run(&mut a, "COMMIT").await.unwrap();
    run(&mut b, "INSERT INTO t VALUES (3); COMMIT").await.unwrap();
    assert_eq!(one::<i32>(&mut b, "SELECT SUM(id) FROM t").await, 4);
    run(&mut a, "BEGIN TRAN; INSERT INTO t VALUES (5)").await.unwrap();
    assert_eq!(code(&mut b, "SET XACT_ABORT ON; BEGIN TRAN; INSERT INTO t VALUES (6)").await, 1222);
    assert_eq!(one::<i32>(&mut b, "SELECT @@TRANCOUNT").await, 0);
}

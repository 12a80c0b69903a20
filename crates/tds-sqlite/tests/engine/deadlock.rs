//! Transactions that wait for each other, and the one of them that has to give way.

use crate::support::{Conn, Rig, code, connect, number, one, run};
use std::time::Duration;
use tiberius::EncryptionLevel;
use tokio::task::JoinHandle;

const SERIALIZABLE: &str = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN TRAN;";

/// Sessions in one database with the tables a, b and c, each with the rows 1 and 2.
async fn sessions<const N: usize>(rig: &Rig) -> [Conn; N] {
    let mut first = rig.chaos().await;
    for table in ["a", "b", "c"] {
        run(&mut first, &format!("CREATE TABLE {table} (id INT PRIMARY KEY, v INT); INSERT INTO {table} VALUES (1, 0), (2, 0)"))
            .await
            .unwrap();
    }
    let mut list = Vec::new();
    for _ in 0..N {
        list.push(connect(rig.port(), "chaos", EncryptionLevel::NotSupported).await.unwrap());
    }
    list.try_into().ok().unwrap()
}

/// Sends a batch that is going to wait, and gives it time to begin with that.
async fn waiting(mut c: Conn, sql: &'static str) -> JoinHandle<(Conn, Option<u32>)> {
    let task = tokio::spawn(async move {
        let failed = run(&mut c, sql).await.err().map(|e| number(&e));
        (c, failed)
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!task.is_finished(), "{sql} waits");
    task
}

#[tokio::test]
async fn two_that_read_a_table_and_then_write_it_have_one_victim_and_the_other_commits() {
    let rig = Rig::new().await;
    let [mut a, mut b] = sessions(&rig).await;
    for level in ["SERIALIZABLE", "REPEATABLE READ"] {
        let read = format!("SET TRANSACTION ISOLATION LEVEL {level}; BEGIN TRAN; SELECT SUM(v) FROM a");
        for c in [&mut a, &mut b] {
            assert_eq!(one::<i32>(c, &read).await, 0, "readers do not exclude each other");
        }
        let first = waiting(a, "UPDATE a SET v = 1 WHERE id = 1; COMMIT").await;
        let error = run(&mut b, "UPDATE a SET v = 1 WHERE id = 2; SELECT 1").await.unwrap_err();
        let tiberius::error::Error::Server(token) = &error else { panic!("{error}") };
        assert_eq!((token.code(), token.class(), token.state()), (1205, 13, 51));
        let spid = one::<i16>(&mut b, "SELECT @@SPID").await;
        assert_eq!(
            token.message(),
            format!(
                "Transaction (Process ID {spid}) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction."
            )
        );
        assert_eq!(one::<i32>(&mut b, "SELECT @@TRANCOUNT").await, 0, "it has been rolled back");
        let (other, failed) = first.await.unwrap();
        (a, b) = (other, b);
        assert_eq!(failed, None);
        assert_eq!(
            one::<i32>(&mut b, "SELECT v FROM a WHERE id = 1").await,
            1,
            "the victim's session goes on, and sees what the other did"
        );
        run(&mut b, "BEGIN TRAN; UPDATE a SET v = 0; COMMIT").await.unwrap();
    }
}

#[tokio::test]
async fn two_that_write_two_tables_in_opposite_order_have_one_victim() {
    let rig = Rig::new().await;
    let [mut a, b] = sessions(&rig).await;
    let mut b = Some(b);
    // Rows of one table are no different from two tables.
    for (first, second) in [
        ("UPDATE a SET v = v + 1", "UPDATE b SET v = v + 1"),
        ("UPDATE a SET v = v + 1 WHERE id = 1", "UPDATE a SET v = v + 1 WHERE id = 2"),
    ] {
        run(&mut a, &format!("BEGIN TRAN; {first}")).await.unwrap();
        let sql = format!("BEGIN TRAN; {second}; {first}; COMMIT");
        let other = waiting(b.take().unwrap(), sql.leak()).await;
        run(&mut a, &format!("{second}; COMMIT")).await.unwrap();
        let (mut other, failed) = other.await.unwrap();
        assert_eq!(failed, Some(1205), "{second}");
        assert_eq!(one::<i32>(&mut other, "SELECT (SELECT SUM(v) FROM a) + (SELECT SUM(v) FROM b) + @@TRANCOUNT").await % 2, 0);
        b = Some(other);
    }
    assert_eq!(one::<i32>(&mut a, "SELECT (SELECT SUM(v) FROM a) + (SELECT SUM(v) FROM b)").await, 6, "what the victims wrote is gone");

    // Who does not want back what the other has is no victim.
    run(&mut a, "BEGIN TRAN; UPDATE a SET v = 0").await.unwrap();
    let other = waiting(b.take().unwrap(), "BEGIN TRAN; UPDATE b SET v = 5; UPDATE c SET v = 5; COMMIT").await;
    run(&mut a, "UPDATE b SET v = 4; COMMIT").await.unwrap();
    assert_eq!(other.await.unwrap().1, None);
    assert_eq!(one::<i32>(&mut a, "SELECT (SELECT SUM(v) FROM b) + (SELECT SUM(v) FROM c)").await, 20);
}

#[tokio::test]
async fn what_one_has_read_and_the_other_wants_to_write_crosses_as_well() {
    let rig = Rig::new().await;
    let [mut a, mut b] = sessions(&rig).await;
    assert_eq!(one::<i32>(&mut a, &format!("{SERIALIZABLE} SELECT v FROM a WHERE id = 1")).await, 0);
    assert_eq!(one::<i32>(&mut b, &format!("{SERIALIZABLE} SELECT v FROM a WHERE id = 2")).await, 0);
    let first = waiting(a, "UPDATE a SET v = 1 WHERE id = 2; COMMIT").await;
    assert_eq!(code(&mut b, "UPDATE a SET v = 1 WHERE id = 1").await, 1205);
    assert_eq!(first.await.unwrap().1, None);
    assert_eq!(one::<i32>(&mut b, "SELECT SUM(v) FROM a").await, 1);
}

#[tokio::test]
async fn rows_that_are_told_apart_by_their_keys_do_not_meet() {
    let rig = Rig::new().await;
    let [mut a, mut b] = sessions(&rig).await;
    // The row 3 is not there, and stays away for the one who looked.
    assert_eq!(one::<i32>(&mut a, &format!("{SERIALIZABLE} SELECT COUNT(*) FROM a WHERE id = 3")).await, 0);
    run(&mut b, "UPDATE a SET v = 7 WHERE id = 1").await.unwrap();
    run(&mut b, "SET LOCK_TIMEOUT 20; BEGIN TRAN; UPDATE a SET v = 8 WHERE 2 = id AND v = 0; COMMIT").await.unwrap();
    assert_eq!(code(&mut b, "INSERT INTO a (v, id) VALUES (9, 3)").await, 1222);
    for sql in [
        "INSERT INTO a VALUES (4, 9), (5, 9)",
        "UPDATE a SET id = 6 WHERE id = 1",
        "DELETE FROM a WHERE id = 1 OR v = 8",
        "TRUNCATE TABLE a",
    ] {
        assert_eq!(code(&mut b, sql).await, 1222, "{sql} may touch any row");
    }
    run(&mut a, "COMMIT").await.unwrap();
    run(&mut b, "INSERT INTO a (v, id) VALUES (9, 3)").await.unwrap();
    assert_eq!(one::<i32>(&mut a, "SELECT SUM(v) FROM a").await, 24);
}

#[tokio::test]
async fn three_in_a_circle_have_one_victim() {
    let rig = Rig::new().await;
    let [mut a, mut b, mut c] = sessions(&rig).await;
    for (session, table) in [(&mut a, "a"), (&mut b, "b"), (&mut c, "c")] {
        assert_eq!(one::<i32>(session, &format!("{SERIALIZABLE} SELECT SUM(v) FROM {table}")).await, 0);
    }
    let first = waiting(a, "UPDATE b SET v = 1; COMMIT").await;
    let second = waiting(b, "UPDATE c SET v = 1; COMMIT").await;
    assert_eq!(code(&mut c, "UPDATE a SET v = 1").await, 1205);
    assert_eq!((first.await.unwrap().1, second.await.unwrap().1), (None, None));
    assert_eq!(one::<i32>(&mut c, "SELECT (SELECT SUM(v) FROM a) * 100 + (SELECT SUM(v) FROM b) * 10 + (SELECT SUM(v) FROM c)").await, 22);
}

#[tokio::test]
async fn the_victim_is_of_the_lower_priority_and_then_the_one_that_wrote_less() {
    let rig = Rig::new().await;
    let [mut a, mut b] = sessions(&rig).await;
    for (of_a, of_b, first_dies) in [("LOW", "NORMAL", true), ("-3", "-4", false), ("NORMAL", "HIGH", true), ("10", "HIGH", false)] {
        for (c, level) in [(&mut a, of_a), (&mut b, of_b)] {
            run(c, &format!("SET DEADLOCK_PRIORITY {level}; {SERIALIZABLE} SELECT SUM(v) FROM a")).await.unwrap();
        }
        let first = waiting(a, "UPDATE a SET v = 1; COMMIT").await;
        let second = run(&mut b, "UPDATE a SET v = 2; COMMIT").await.err().map(|e| number(&e));
        let (other, failed) = first.await.unwrap();
        a = other;
        assert_eq!((failed, second), if first_dies { (Some(1205), None) } else { (None, Some(1205)) }, "{of_a} {of_b}");
    }
    // The first holds the writer, because it has written, and the second closes the cycle or is waited for: it dies either way.
    run(&mut a, &format!("SET DEADLOCK_PRIORITY 0; {SERIALIZABLE} UPDATE c SET v = 1")).await.unwrap();
    run(&mut b, &format!("DECLARE @p INT = 0; SET DEADLOCK_PRIORITY @p; {SERIALIZABLE} SELECT SUM(v) FROM a")).await.unwrap();
    let second = waiting(b, "UPDATE b SET v = 1; COMMIT").await;
    run(&mut a, "UPDATE a SET v = 3; COMMIT").await.unwrap();
    let (mut b, failed) = second.await.unwrap();
    assert_eq!(failed, Some(1205));
    assert_eq!(code(&mut b, "SET DEADLOCK_PRIORITY 11").await, 40_510);
}

#[tokio::test]
async fn a_handler_sees_the_victims_error_in_a_transaction_that_can_only_roll_back() {
    let rig = Rig::new().await;
    let [mut a, mut b] = sessions(&rig).await;
    for c in [&mut a, &mut b] {
        run(c, &format!("{SERIALIZABLE} SELECT SUM(v) FROM a")).await.unwrap();
    }
    let first = waiting(a, "UPDATE a SET v = 1; COMMIT").await;
    let sql = "BEGIN TRY UPDATE a SET v = 2 END TRY BEGIN CATCH
        DECLARE @state INT = XACT_STATE(), @number INT = ERROR_NUMBER(), @open INT = @@TRANCOUNT
        ROLLBACK
        SELECT @number * 100 + @state * 10 + @open + XACT_STATE() END CATCH";
    assert_eq!(one::<i32>(&mut b, sql).await, 120_500 - 10 + 1);
    assert_eq!(first.await.unwrap().1, None);
    for c in [&mut b] {
        run(c, &format!("{SERIALIZABLE} SELECT SUM(v) FROM a; COMMIT")).await.unwrap();
    }
}

#[tokio::test]
async fn update_locks_exclude_each_other_and_no_reader() {
    let rig = Rig::new().await;
    let [mut a, mut b, mut c] = sessions(&rig).await;
    let read = "BEGIN TRAN; SELECT v FROM a WITH (UPDLOCK) WHERE id = 1";
    assert_eq!(one::<i32>(&mut a, read).await, 0);
    assert_eq!(one::<i32>(&mut b, &format!("{SERIALIZABLE} SELECT v FROM a WHERE id = 1; COMMIT")).await, 0);
    let second = waiting(
        b,
        "BEGIN TRAN; DECLARE @v INT; SELECT @v = v FROM a WITH (UPDLOCK) WHERE id = 1; UPDATE a SET v = @v + 1 WHERE id = 1; COMMIT",
    )
    .await;
    assert_eq!(code(&mut c, "SET LOCK_TIMEOUT 0; UPDATE a SET v = 9 WHERE id = 1").await, 1222);
    run(&mut c, "UPDATE a SET v = 9 WHERE id = 2").await.unwrap();
    run(&mut a, "UPDATE a SET v = 1 WHERE id = 1; COMMIT").await.unwrap();
    assert_eq!(second.await.unwrap().1, None);
    assert_eq!(one::<i32>(&mut c, "SELECT SUM(v) FROM a").await, 11, "what was read to be written was not changed by another in between");
}

#[tokio::test]
async fn a_wait_ends_with_its_timeout_or_its_client() {
    let rig = Rig::new().await;
    let [mut a, b, mut c] = sessions(&rig).await;
    run(&mut a, &format!("{SERIALIZABLE} SELECT SUM(v) FROM a")).await.unwrap();
    assert_eq!(code(&mut c, "SET LOCK_TIMEOUT 20; BEGIN TRAN; UPDATE b SET v = 1; UPDATE a SET v = 1").await, 1222);
    assert_eq!(one::<i32>(&mut c, "SELECT @@TRANCOUNT").await, 1, "a timeout is an error of the statement alone");
    run(&mut c, "COMMIT").await.unwrap();

    // A client that goes away while it waits leaves neither a wait nor a lock behind.
    let mut b = b;
    run(&mut b, &format!("{SERIALIZABLE} SELECT SUM(v) FROM b")).await.unwrap();
    let gone = waiting(b, "UPDATE a SET v = 5").await;
    gone.abort();
    assert!(gone.await.is_err());
    run(&mut c, "SET LOCK_TIMEOUT 10000; UPDATE b SET v = 2").await.unwrap();
    run(&mut a, "UPDATE a SET v = 3; COMMIT").await.unwrap();
    assert_eq!(one::<i32>(&mut c, "SELECT (SELECT SUM(v) FROM a) * 10 + (SELECT SUM(v) FROM b)").await, 64);
}

#[tokio::test]
async fn what_was_only_read_is_released_by_the_idle_limit_too() {
    let rig = Rig::with(|c| c.idle_transaction = Duration::from_millis(200)).await;
    let [mut a, mut b] = sessions(&rig).await;
    run(&mut a, &format!("{SERIALIZABLE} SELECT SUM(v) FROM a")).await.unwrap();
    run(&mut b, "UPDATE a SET v = 1").await.unwrap();
    assert_eq!(code(&mut a, "SELECT SUM(v) FROM a").await, 1205);
    assert_eq!(one::<i32>(&mut a, "SELECT SUM(v) + @@TRANCOUNT FROM a").await, 2);
}

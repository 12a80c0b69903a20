#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use super::super::conn::Sink;
use super::super::functions::NoFacts;
use super::*;
use crate::translate::Translated;

/// A statement that its session has given up: the writer takes it from the queue, which begins a group, and runs nothing.
fn given_up() -> Msg {
    let stmt = Translated {
        kind: Kind::Insert,
        db: None,
        sql: String::new(),
        params: Vec::new(),
        columns: Vec::new(),
        assigns: Vec::new(),
        cacheable: false,
        locks: Vec::new(),
        target: None,
        probes: Vec::new(),
        probe_columns: Vec::new(),
    };
    let job = Job { stmt: Arc::new(stmt), values: Vec::new(), sink: Sink::Last, cancel: Arc::new(AtomicBool::new(false)) };
    Msg::Auto(Box::new(Auto { job, version: 0, reply: oneshot::channel().0 }))
}

/// Both messages wait before the writer begins, so the order to end is always taken inside the group. The sender stays, as it does in a server, so that
/// nothing but the order ends the writer. A writer that missed it waits for ever: ten seconds say no more than that it ended at all.
#[test]
fn an_order_to_end_that_arrives_behind_a_statement_is_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let conn = Conn::open(&dir.path().join("t.mdf"), true, Arc::new(NoFacts)).unwrap();
    let set =
        Settings { sabotage: None, fatal: tokio::sync::mpsc::channel(1).0, catalog: Arc::default(), changes: Arc::default(), cache: None };
    let (queue, rx) = channel();
    queue.send(given_up()).unwrap();
    queue.send(Msg::Close).unwrap();
    let (ended, wait) = sync_channel(1);
    std::thread::spawn(move || {
        run(conn, rx, set);
        let _ = ended.send(());
    });
    assert!(wait.recv_timeout(Duration::from_secs(10)).is_ok(), "the writer still waits");
    drop(queue);
}

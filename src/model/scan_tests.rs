#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::op::OpError;
use super::super::view::MopView;
use super::*;

fn owned(view: &OpView<'_>) -> Op {
    Op {
        index: view.index,
        time_ns: view.time_ns,
        kind: view.kind,
        process: view.process,
        f: view.f,
        value: view.value.map(<[_]>::to_vec, <[_]>::to_vec, |txn| {
            let mop = |mop| match mop {
                MopView::Append(key, element) => Mop::Append(key, element),
                MopView::Read(key, list) => Mop::Read(key, list.map(<[u64]>::to_vec)),
            };
            txn.mops().map(mop).collect()
        }),
        error: view.error.map(|error| OpError { kind: error.kind, number: error.number, message: String::new() }),
        intended_ns: view.intended_ns,
    }
}

fn any_value() -> impl Strategy<Value = (F, Value)> {
    let row = (any::<u64>(), any::<u64>()).prop_map(|(k, d)| (k, Digest(d)));
    prop_oneof![
        row.clone().prop_map(|(k, d)| (F::LedgerAdd, Value::Row(k, d))),
        row.clone().prop_map(|(k, d)| (F::Probe, Value::Row(k, d))),
        Just((F::LedgerAdd, Value::None)),
        any::<u64>().prop_map(|k| (F::LedgerRead, Value::Key(k))),
        proptest::collection::vec(row, 0..5).prop_map(|r| (F::LedgerRead, Value::Rows(r))),
        (any::<u32>(), any::<u32>(), any::<i64>()).prop_map(|(from, to, amount)| (F::BankTransfer, Value::Transfer { from, to, amount })),
        proptest::collection::vec(any::<i64>(), 1..5).prop_map(|b| (F::BankRead, Value::Numbers(b))),
        any::<(u32, u64, u64)>().prop_map(|(statement, key, client)| (F::Sql, Value::Statement { statement, key, client })),
        any::<u64>().prop_map(|item| (F::Enqueue, Value::Key(item))),
        proptest::collection::vec(any::<i64>(), 1..5).prop_map(|items| (F::QueueFinal, Value::Numbers(items))),
        proptest::collection::vec(any_mop(), 0..5).prop_map(|mops| (F::Txn, Value::Txn(mops))),
        any::<(u64, i64, i64)>().prop_map(|(key, expected, new)| (F::RegisterCas, Value::Cas { key, expected, new })),
        any::<(u64, Option<i64>)>().prop_map(|(key, value)| (F::RegisterRead, Value::Register { key, value })),
    ]
}

fn any_mop() -> impl Strategy<Value = Mop> {
    prop_oneof![
        any::<(u64, u64)>().prop_map(|(key, element)| Mop::Append(key, element)),
        (any::<u64>(), proptest::option::of(proptest::collection::vec(any::<u64>(), 0..4))).prop_map(|(key, list)| Mop::Read(key, list)),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let error = proptest::option::of((any::<bool>(), "[a-z\"\\\\é]{0,6}").prop_map(|(numbered, message)| OpError {
        kind: ErrorKind::NotSent,
        number: numbered.then_some(2627),
        message,
    }));
    let kind = prop_oneof![Just(OpType::Invoke), Just(OpType::Ok), Just(OpType::Fail), Just(OpType::Info)];
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>());
    (numbers, kind, any_value(), error).prop_map(|(n, kind, (f, value), error)| Op {
        index: n.0,
        time_ns: n.1,
        kind,
        process: n.2,
        f,
        value,
        error,
        intended_ns: n.3,
    })
}

proptest! {
    /// The scanner and the general parser agree on every op, whatever its values, and on where its line ends.
    #[test]
    fn the_scanner_reads_what_is_written(mut op in any_op(), spaced in any::<bool>()) {
        let mut line = Vec::new();
        op.write_line(&mut line);
        if spaced {
            line.insert(1, b' ');
        }
        let length = line.len();
        line.extend_from_slice(b"{\"index\":");
        let mut scanner = Scanner::new();
        let (taken, view) = scanner.scan(&line);
        if let Some(error) = &mut op.error {
            error.message = String::new();
        }
        prop_assert_eq!(taken, length);
        prop_assert_eq!(owned(&view.unwrap()), op);
    }

    /// Whatever a line became in one place, the fast way takes it only where the general parser does, and reads the same op.
    #[test]
    fn what_the_fast_way_takes_means_the_same_to_the_general_parser(op in any_op(), at in any::<proptest::sample::Index>(), to in other_bytes()) {
        let mut line = Vec::new();
        op.write_line(&mut line);
        let at = at.index(line.len() - 1);
        line.splice(at..at + 1, to);
        let mut fast = Long::default();
        if let Some(head) = fast.canonical(&mut Cursor::new(&line)) {
            let mut general = Long::default();
            let op = Op::parse(&line);
            prop_assert!(op.is_ok(), "{}", String::from_utf8_lossy(&line));
            let kept = general.keep(op.unwrap());
            prop_assert_eq!(fast.view(&head), general.view(&kept));
        }
    }

    /// No cut of a line is read as a whole op.
    #[test]
    fn a_torn_line_is_not_an_op(op in any_op(), cut in any::<proptest::sample::Index>()) {
        let mut line = Vec::new();
        op.write_line(&mut line);
        let cut = cut.index(line.len() - 1);
        prop_assert!(Scanner::new().scan(&line[..cut]).1.is_err());
    }
}

/// What a byte may become: nothing, another one that lines hold, or any.
fn other_bytes() -> impl Strategy<Value = Vec<u8>> {
    let near = proptest::sample::select(b"0123456789abcdefkrw-+.,:[]{}\" \\".to_vec());
    prop_oneof![
        Just(Vec::new()),
        near.clone().prop_map(|byte| vec![byte]),
        proptest::collection::vec(near, 2),
        any::<u8>().prop_map(|byte| vec![byte])
    ]
    .prop_filter("a line has one end", |bytes| !bytes.contains(&b'\n'))
}

#[test]
fn the_canonical_spelling_takes_the_fast_path() {
    let line = b"{\"index\":7,\"time\":12,\"type\":\"info\",\"process\":3,\"f\":\"ledger-add\",\"value\":[42,\"9f86d081884c7d65\"],\
        \"error\":{\"kind\":\"server\",\"number\":1205,\"message\":\"deadlock\"},\"intended\":11}\n";
    let mut cursor = Cursor::new(line);
    assert!(Long::default().canonical(&mut cursor).is_some());
    assert!(cursor.rest.is_empty());
}

#[test]
fn ops_stand_side_by_side_until_they_are_cleared() {
    let lines = b"{\"index\":0,\"time\":1,\"type\":\"ok\",\"process\":3,\"f\":\"txn\",\"value\":[[\"r\",1,[5,6]],[\"append\",2,7]],\"intended\":1}\n\
        {\"index\":1,\"time\":1,\"type\":\"ok\",\"process\":4,\"f\":\"txn\",\"value\":[[\"r\",2,[7]], [\"r\",3,[]]],\"intended\":1}\n\
        {\"index\":2,\"time\":1,\"type\":\"ok\",\"process\":5,\"f\":\"bank-read\",\"value\":[-1,2],\"intended\":1}\n";
    let mut ops = Ops::default();
    for _ in 0..2 {
        ops.clear();
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let (taken, read) = ops.scan(rest);
            read.unwrap();
            rest = &rest[taken..];
        }
        let values: Vec<Value> = ops.iter().map(|view| owned(&view).value).collect();
        let read = |key, list: &[u64]| Mop::Read(key, Some(list.to_vec()));
        assert_eq!(
            values,
            [
                Value::Txn(vec![read(1, &[5, 6]), Mop::Append(2, 7)]),
                Value::Txn(vec![read(2, &[7]), read(3, &[])]),
                Value::Numbers(vec![-1, 2])
            ]
        );
    }
}

//! What the fuzz targets call (`fuzz/`, and `tests/fuzz.rs` over the kept corpus): each takes any bytes at all. Not for other use.
//!
//! An entry point fails by a panic. For the decoders that is any panic; for the T-SQL front end it is also a translation that SQLite does not accept.

use crate::engine::catalog::Catalog;
use crate::engine::functions::{self, NoFacts};
use crate::error::SqlResult;
use crate::proto::packet::{MESSAGE_MAX, Reader, kind};
use crate::proto::{self, login, params, prelogin};
use crate::session::program::{Op, Program, compile};
use crate::sql::ast::StmtKind;
use crate::sql::types::Ty;
use crate::translate::{self, Names, SystemView, Translated};
use rusqlite::Connection;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A connection's bytes: packets, the messages that they make, and the decoder of each message's kind.
pub fn packets(bytes: &[u8]) {
    let mut reader = Reader::new(bytes, MESSAGE_MAX);
    // The bytes are all there, so nothing is ever waited for.
    while let Poll::Ready(Ok(Some(message))) = pin!(reader.message()).poll(&mut Context::from_waker(Waker::noop())) {
        let body = &message.body[..];
        match message.kind {
            kind::PRELOGIN => drop(prelogin::parse(body)),
            kind::LOGIN => drop(login::parse(body)),
            kind::RPC => drop(params::parse(body)),
            kind::BATCH => drop(params::skip_headers(body).map(proto::utf16)),
            _ => drop(params::skip_headers(body)),
        }
    }
}

/// The body of a LOGIN7 message.
pub fn login7(bytes: &[u8]) {
    drop(login::parse(bytes));
}

/// A batch: compiled, and its statements translated for a database with a few tables. What is translated must be SQLite's SQL.
pub fn sql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let declared = [("@p".to_owned(), Ty::Int, false), ("@s".to_owned(), Ty::NVarChar(100), false)];
    let Ok(program) = compile(text, &declared) else { return };
    BENCH.with_borrow(|bench| program.ops.iter().for_each(|op| bench.check(&program, op)));
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new().expect("the tables are those of this file"));
}

const TABLES: &str = "CREATE TABLE t (id INT IDENTITY(1,1) PRIMARY KEY, s NVARCHAR(100) NOT NULL DEFAULT N'x', d DECIMAL(18,4) NULL, b VARBINARY(MAX) NULL, at DATETIME2 NULL)
    CREATE TABLE u (a BIGINT, b VARCHAR(10), c FLOAT NULL, g UNIQUEIDENTIFIER NULL, CONSTRAINT k PRIMARY KEY (a, b), CONSTRAINT c CHECK (a > 0))";

/// A database that a translation is prepared in.
struct Bench {
    db: Connection,
    catalog: Arc<Catalog>,
}

impl Bench {
    fn new() -> SqlResult<Self> {
        let internal = |e: rusqlite::Error| crate::engine::conn::storage_error(&e);
        let mut catalog = Catalog::default();
        let mut tables = Vec::new();
        for op in compile(TABLES, &[])?.ops {
            if let Op::Do(_, StmtKind::CreateTable(table), _) = op {
                tables.push(catalog.create_table(&table, 0)?);
            }
        }
        let bench = Self { db: Connection::open_in_memory().map_err(internal)?, catalog: Arc::new(catalog) };
        functions::register(&bench.db, Arc::new(NoFacts), Arc::default()).map_err(internal)?;
        let names = Known { bench: &bench, vars: &BTreeMap::new() };
        for table in tables {
            for sql in translate::create_table(&names, &table)? {
                bench.db.execute_batch(&sql).map_err(internal)?;
            }
        }
        Ok(bench)
    }

    fn check(&self, program: &Program, op: &Op) {
        let names = Known { bench: self, vars: &program.vars };
        match op {
            Op::Unless(_, condition, ..) => self.accepts(translate::translate_condition(&names, condition)),
            Op::Do(_, StmtKind::SetVar(_, value), _) => self.accepts(translate::translate_scalar(&names, value, None)),
            Op::Do(_, StmtKind::CreateTable(table), _) => {
                let mut catalog = Catalog::default();
                if let Ok(table) = catalog.create_table(table, 0) {
                    let _ = translate::create_table(&names, &table);
                }
            }
            Op::Do(_, kind @ (StmtKind::Select(_) | StmtKind::Insert(_) | StmtKind::Update(_) | StmtKind::Delete(_)), _) => {
                self.accepts(translate::translate(&names, kind));
            }
            _ => {}
        }
    }

    fn accepts(&self, translated: SqlResult<Translated>) {
        let Ok(translated) = translated else { return };
        if let Err(e) = self.db.prepare(&translated.sql) {
            let text = e.to_string();
            assert!(LIMITS.iter().any(|limit| text.contains(limit)), "SQLite does not accept the translation: {text}\n{}", translated.sql);
        }
    }
}

/// SQLite's bounds, which reach the client as an error.
const LIMITS: [&str; 4] = ["too many", "too large", "too deep", "parser stack overflow"];

struct Known<'a> {
    bench: &'a Bench,
    vars: &'a BTreeMap<String, Ty>,
}

impl Names for Known<'_> {
    fn current_db(&self) -> &str {
        "fuzz"
    }
    fn catalog(&self, db: &str) -> Option<Arc<Catalog>> {
        db.eq_ignore_ascii_case("fuzz").then(|| self.bench.catalog.clone())
    }
    fn variable(&self, name: &str) -> Option<Ty> {
        self.vars.get(name).copied()
    }
    fn system_view(&self, _: &str, schema: &str, name: &str) -> Option<SystemView> {
        let row = vec![rusqlite::types::Value::Text("t".to_owned()), rusqlite::types::Value::Integer(1)];
        ((schema, name) == ("sys", "tables"))
            .then(|| SystemView { columns: vec![("name", Ty::NVarChar(128)), ("object_id", Ty::Int)], rows: vec![row] })
    }
}

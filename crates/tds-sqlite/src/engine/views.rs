//! The system views that health checks read: `sys.databases`, `sys.tables` and their like, as snapshots.

use super::store::{Database, Store};
use crate::sql::ast::Isolation;
use crate::sql::types::{MAX, Ty};
use crate::translate::SystemView;
use crate::value::Value;
use std::sync::Arc;

/// A connected session, for `sys.dm_exec_sessions`.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// session_id.
    pub spid: u16,
    /// Login.
    pub login: String,
    /// Host name that the client sent.
    pub host: String,
    /// Program name that the client sent.
    pub program: String,
    /// Ticks at login.
    pub login_time: i64,
    /// Database.
    pub database: i64,
    /// Isolation level.
    pub isolation: Isolation,
}

fn t(s: impl Into<String>) -> Value {
    Value::Text(s.into())
}

const fn n(i: i64) -> Value {
    Value::Integer(i)
}

const NAME: Ty = Ty::NVarChar(128);

fn view(columns: &[(&'static str, Ty)], rows: Vec<Vec<Value>>) -> Option<SystemView> {
    Some(SystemView { columns: columns.to_vec(), rows })
}

/// A view by database, schema and name, all lower case.
pub fn find(store: &Store, sessions: &[SessionRow], db: &str, schema: &str, name: &str) -> Option<SystemView> {
    match (schema, name) {
        ("dbo", "suspect_pages") if db == "msdb" => view(
            &[
                ("database_id", Ty::Int),
                ("file_id", Ty::Int),
                ("page_id", Ty::BigInt),
                ("event_type", Ty::Int),
                ("error_count", Ty::Int),
                ("last_update_date", Ty::DateTime),
            ],
            vec![],
        ),
        ("sys", "databases") => databases(store),
        ("sys", "master_files") => files(&store.databases(), true),
        ("sys", "database_files") => files(&[store.database(db)?], false),
        ("sys", "tables" | "objects") | ("information_schema", "tables") => tables(store.database(db)?.as_ref(), schema),
        ("sys", "columns") => columns(store.database(db)?.as_ref()),
        ("sys", "schemas") => view(&[("name", NAME), ("schema_id", Ty::Int)], vec![vec![t("dbo"), n(1)], vec![t("sys"), n(4)]]),
        ("sys", "dm_os_sys_info") => view(
            &[("sqlserver_start_time", Ty::DateTime), ("cpu_count", Ty::Int), ("ms_ticks", Ty::BigInt), ("physical_memory_kb", Ty::BigInt)],
            vec![vec![
                n(crate::value::datetime::round_300(store.started)),
                n(std::thread::available_parallelism().map_or(1, |c| i64::try_from(c.get()).unwrap_or(1))),
                n((store.now() - store.started) / 10_000),
                Value::Null,
            ]],
        ),
        ("sys", "dm_os_host_info") => view(
            &[("host_platform", NAME), ("host_distribution", NAME), ("host_release", NAME), ("host_service_pack_level", NAME)],
            vec![vec![t("Linux"), t("tds-sqlite"), t(""), t("")]],
        ),
        ("sys", "dm_exec_sessions") => view(
            &[
                ("session_id", Ty::SmallInt),
                ("login_name", NAME),
                ("host_name", NAME),
                ("program_name", NAME),
                ("login_time", Ty::DateTime),
                ("database_id", Ty::SmallInt),
                ("is_user_process", Ty::Bit),
                ("status", Ty::NVarChar(30)),
                ("transaction_isolation_level", Ty::SmallInt),
            ],
            sessions
                .iter()
                .map(|s| {
                    vec![
                        n(i64::from(s.spid)),
                        t(&s.login),
                        t(&s.host),
                        t(&s.program),
                        n(crate::value::datetime::round_300(s.login_time)),
                        n(s.database),
                        n(1),
                        t("running"),
                        n(match s.isolation {
                            Isolation::ReadUncommitted => 1,
                            Isolation::ReadCommitted => 2,
                            Isolation::RepeatableRead => 3,
                            Isolation::Serializable => 4,
                            Isolation::Snapshot => 5,
                        }),
                    ]
                })
                .collect(),
        ),
        _ => None,
    }
}

fn databases(store: &Store) -> Option<SystemView> {
    let list = store.databases();
    let rows = list.iter().map(|d| {
        vec![
            t(&d.name),
            n(d.id),
            n(crate::value::datetime::round_300(d.created)),
            n(160),
            t("SQL_Latin1_General_CP1_CI_AS"),
            n(0),
            t("ONLINE"),
            n(0),
            t("MULTI_USER"),
            n(3),
            t("SIMPLE"),
            n(1),
            n(1),
            n(0),
        ]
    });
    view(
        &[
            ("name", NAME),
            ("database_id", Ty::Int),
            ("create_date", Ty::DateTime),
            ("compatibility_level", Ty::TinyInt),
            ("collation_name", NAME),
            ("state", Ty::TinyInt),
            ("state_desc", Ty::NVarChar(60)),
            ("user_access", Ty::TinyInt),
            ("user_access_desc", Ty::NVarChar(60)),
            ("recovery_model", Ty::TinyInt),
            ("recovery_model_desc", Ty::NVarChar(60)),
            ("is_read_committed_snapshot_on", Ty::Bit),
            ("snapshot_isolation_state", Ty::TinyInt),
            ("is_read_only", Ty::Bit),
        ],
        rows.collect(),
    )
}

fn files(list: &[Arc<Database>], with_db: bool) -> Option<SystemView> {
    let mut rows = Vec::new();
    for d in list {
        let path = d.path.display().to_string();
        for (id, kind, desc, file, suffix) in [(1, 0, "ROWS", path.clone(), ""), (2, 1, "LOG", format!("{path}-wal"), "_log")] {
            let pages = std::fs::metadata(&file).map_or(0, |m| m.len() / 8192);
            let mut r = vec![
                n(d.id),
                n(id),
                n(kind),
                t(desc),
                t(format!("{}{suffix}", d.name)),
                t(&file),
                n(0),
                t("ONLINE"),
                n(i64::try_from(pages).unwrap_or(0)),
            ];
            if !with_db {
                r.remove(0);
            }
            rows.push(r);
        }
    }
    let mut columns = vec![
        ("database_id", Ty::Int),
        ("file_id", Ty::Int),
        ("type", Ty::TinyInt),
        ("type_desc", Ty::NVarChar(60)),
        ("name", NAME),
        ("physical_name", Ty::NVarChar(260)),
        ("state", Ty::TinyInt),
        ("state_desc", Ty::NVarChar(60)),
        ("size", Ty::Int),
    ];
    if !with_db {
        columns.remove(0);
    }
    Some(SystemView { columns, rows })
}

fn tables(db: &Database, schema: &str) -> Option<SystemView> {
    let c = db.catalog();
    if schema == "information_schema" {
        let rows = c.tables().map(|x| vec![t(&db.name), t(&x.schema), t(&x.name), t("BASE TABLE")]).collect();
        return view(&[("TABLE_CATALOG", NAME), ("TABLE_SCHEMA", NAME), ("TABLE_NAME", NAME), ("TABLE_TYPE", Ty::VarChar(10))], rows);
    }
    let rows = c
        .tables()
        .map(|x| vec![t(&x.name), n(x.id), n(1), t("U "), t("USER_TABLE"), n(crate::value::datetime::round_300(x.created)), n(0)])
        .collect();
    view(
        &[
            ("name", NAME),
            ("object_id", Ty::Int),
            ("schema_id", Ty::Int),
            ("type", Ty::Char(2)),
            ("type_desc", Ty::NVarChar(60)),
            ("create_date", Ty::DateTime),
            ("is_ms_shipped", Ty::Bit),
        ],
        rows,
    )
}

/// system_type_id, max_length, precision and scale of a type, as `sys.types` and `sys.columns` have them.
fn measures(ty: Ty) -> (i64, i64, i64, i64) {
    let units = |n: u16, bytes: i64| if n == MAX { -1 } else { i64::from(n) * bytes };
    // What digits of the seconds' fraction add: in bytes, and in text with the point before them.
    let bytes = |n: u8| i64::from(n > 2) + i64::from(n > 4);
    let text = |n: u8| i64::from(if n == 0 { 0 } else { n + 1 });
    match ty {
        Ty::Null => (0, 0, 0, 0),
        Ty::Bit => (104, 1, 1, 0),
        Ty::TinyInt => (48, 1, 3, 0),
        Ty::SmallInt => (52, 2, 5, 0),
        Ty::Int => (56, 4, 10, 0),
        Ty::BigInt => (127, 8, 19, 0),
        Ty::Decimal(p, s) => (
            106,
            match p {
                0..=9 => 5,
                10..=19 => 9,
                20..=28 => 13,
                _ => 17,
            },
            i64::from(p),
            i64::from(s),
        ),
        Ty::Money => (60, 8, 19, 4),
        Ty::SmallMoney => (122, 4, 10, 4),
        Ty::Real => (59, 4, 24, 0),
        Ty::Float => (62, 8, 53, 0),
        Ty::Date => (40, 3, 10, 0),
        Ty::Time(n) => (41, 3 + bytes(n), 8 + text(n), i64::from(n)),
        Ty::SmallDateTime => (58, 4, 16, 0),
        Ty::DateTime => (61, 8, 23, 3),
        Ty::DateTime2(n) => (42, 6 + bytes(n), 19 + text(n), i64::from(n)),
        Ty::DateTimeOffset(n) => (43, 8 + bytes(n), 26 + text(n), i64::from(n)),
        Ty::Char(n) => (175, units(n, 1), 0, 0),
        Ty::VarChar(n) => (167, units(n, 1), 0, 0),
        Ty::NChar(n) => (239, units(n, 2), 0, 0),
        Ty::NVarChar(n) => (231, units(n, 2), 0, 0),
        Ty::Binary(n) => (173, units(n, 1), 0, 0),
        Ty::VarBinary(n) => (165, units(n, 1), 0, 0),
        Ty::Guid => (36, 16, 0, 0),
    }
}

fn columns(db: &Database) -> Option<SystemView> {
    let c = db.catalog();
    let mut rows = Vec::new();
    for x in c.tables() {
        for (i, col) in x.columns.iter().enumerate() {
            let (system_type, max_length, precision, scale) = measures(col.ty);
            rows.push(vec![
                n(x.id),
                t(&col.name),
                n(i64::try_from(i + 1).unwrap_or(0)),
                n(system_type),
                n(max_length),
                n(precision),
                n(scale),
                n(i64::from(col.nullable)),
                n(i64::from(col.identity.is_some())),
            ]);
        }
    }
    view(
        &[
            ("object_id", Ty::Int),
            ("name", NAME),
            ("column_id", Ty::Int),
            ("system_type_id", Ty::TinyInt),
            ("max_length", Ty::SmallInt),
            ("precision", Ty::TinyInt),
            ("scale", Ty::TinyInt),
            ("is_nullable", Ty::Bit),
            ("is_identity", Ty::Bit),
        ],
        rows,
    )
}

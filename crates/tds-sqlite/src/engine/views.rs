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

fn columns(db: &Database) -> Option<SystemView> {
    let c = db.catalog();
    let mut rows = Vec::new();
    for x in c.tables() {
        for (i, col) in x.columns.iter().enumerate() {
            let wide = if col.ty.is_national() && col.ty.len() != MAX { 2 } else { 1 };
            let len = if col.ty.len() == MAX { -1 } else { i64::from(col.ty.len()) * wide };
            rows.push(vec![
                n(x.id),
                t(&col.name),
                n(i64::try_from(i + 1).unwrap_or(0)),
                n(len),
                n(i64::from(col.ty.exact().0)),
                n(i64::from(col.ty.scale())),
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
            ("max_length", Ty::SmallInt),
            ("precision", Ty::TinyInt),
            ("scale", Ty::TinyInt),
            ("is_nullable", Ty::Bit),
            ("is_identity", Ty::Bit),
        ],
        rows,
    )
}

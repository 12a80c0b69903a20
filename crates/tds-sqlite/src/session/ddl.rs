//! Definitions: databases, tables, indexes; and DBCC.

use super::Session;
use super::program::{Program, Slot};
use super::run::Vars;
use crate::engine::catalog::Catalog;
use crate::engine::orders::TxOp;
use crate::engine::store::{Database, ddl_key};
use crate::error::{SqlError, SqlResult};
use crate::sql::ast::{Expr, ObjName, StmtKind};
use crate::translate;
use crate::value::{Value, text_of};
use std::sync::Arc;

fn lit(s: &str) -> String {
    format!("'{}'", s.replace('\'', "''"))
}

impl Session {
    pub(super) async fn definition(&mut self, program: &Arc<Program>, vars: &mut Vars, kind: &StmtKind) -> SqlResult<()> {
        match kind {
            StmtKind::CreateDatabase(name) => self.create_database(name).await,
            StmtKind::DropDatabase(names, lenient) => {
                for n in names {
                    self.drop_database(n, *lenient).await?;
                }
                Ok(())
            }
            StmtKind::AlterDatabase(name) => {
                if name.is_empty() || self.shared.store.database(name).is_some() {
                    Ok(())
                } else {
                    Err(SqlError::new(5011, format!("User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks.")).class(14))
                }
            }
            StmtKind::Checkpoint => Ok(()),
            StmtKind::Dbcc(name, args) => self.dbcc(program, vars, name, args).await,
            StmtKind::CreateTable(t) => {
                let db = self.database_of(&t.name)?;
                self.change(&db, None, |s, c| {
                    let created = s.shared.store.now();
                    let table = c.create_table(t, created)?;
                    let mut sql = s.with_names(&program.vars, |n| translate::create_table(n, &table))?;
                    sql.push(record(&ddl_key(&t.name), &t.text, created));
                    db.add_identity(&table);
                    Ok(sql)
                })
                .await
            }
            StmtKind::CreateIndex(i) => {
                let db = self.database_of(&i.table)?;
                self.change(&db, Some(&i.table), |s, c| {
                    let table = c.create_index(i)?;
                    let mut sql = s.with_names(&program.vars, |n| translate::create_index(n, &table, i))?;
                    sql.push(record(&index_key(&i.table, &i.name), &i.text, s.shared.store.now()));
                    Ok(sql)
                })
                .await
            }
            StmtKind::DropIndex(name, table, lenient) => {
                let db = self.database_of(table)?;
                self.change(&db, Some(table), |_, c| match c.drop_index(name, table) {
                    Some(t) => Ok(vec![
                        format!("DROP INDEX {}", translate::index_name(&t, name)),
                        format!("DROP INDEX IF EXISTS {}", translate::index_name(&t, &format!("{name}.null"))),
                        format!("DELETE FROM \"tds.ddl\" WHERE object = {}", lit(&index_key(table, name))),
                    ]),
                    None if *lenient => Ok(vec![]),
                    None => Err(SqlError::new(
                        3701,
                        format!(
                            "Cannot drop the index '{}.{name}', because it does not exist or you do not have permission.",
                            table.shown()
                        ),
                    )
                    .class(11)
                    .state(5)),
                })
                .await
            }
            StmtKind::DropTable(names, lenient) => {
                for n in names {
                    self.drop_table(n, *lenient).await?;
                }
                Ok(())
            }
            StmtKind::Truncate(name) => {
                let db = self.database_of(name)?;
                self.change(&db, Some(name), |_, c| {
                    let t = c.truncate(name)?;
                    db.add_identity(&t);
                    Ok(vec![format!("DELETE FROM {}", t.quoted())])
                })
                .await
            }
            _ => Err(SqlError::unsupported("statement")),
        }
    }

    fn database_of(&self, name: &ObjName) -> SqlResult<Arc<Database>> {
        match &name.db {
            None => Ok(self.db.clone()),
            Some(d) => {
                self.shared.store.database(d).ok_or_else(|| {
                    SqlError::new(911, format!("Database '{d}' does not exist. Make sure that the name is entered correctly."))
                })
            }
        }
    }

    /// Changes a catalog, one of its tables if it is about one, and its file in one transaction: the session's own if it has one.
    async fn change(
        &mut self,
        db: &Arc<Database>,
        table: Option<&ObjName>,
        f: impl FnOnce(&Self, &mut Catalog) -> SqlResult<Vec<String>>,
    ) -> SqlResult<()> {
        self.start_implicit();
        if self.tran.doomed {
            return Err(SqlError::new(
                3930,
                "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
            ));
        }
        let alone = self.tran.count == 0;
        if alone {
            self.tran.count = 1;
        }
        let result = self.change_inside(db, table, f).await;
        if !alone {
            return result;
        }
        // An autocommit definition: nobody was told of its transaction.
        let tran = std::mem::take(&mut self.tran);
        result?;
        match &tran.handle {
            Some(h) => h.call(|reply| TxOp::Commit(tran.catalog, tran.locks, reply)).await?,
            None => Ok(()),
        }
    }

    async fn change_inside(
        &mut self,
        db: &Arc<Database>,
        table: Option<&ObjName>,
        f: impl FnOnce(&Self, &mut Catalog) -> SqlResult<Vec<String>>,
    ) -> SqlResult<()> {
        self.own_writer(db, self.wants_table(db, table)).await?;
        // Another of that name may have come in its place meanwhile.
        self.lock(&self.wants_table(db, table)).await?;
        let mut catalog = (*self.catalog_of(db)).clone();
        let sql = f(self, &mut catalog)?;
        let Some(h) = &self.tran.handle else { return Err(db.unavailable()) };
        let savepoint = |verb: &str| vec![format!("{verb} d")];
        h.call(|r| TxOp::Script(savepoint("SAVEPOINT"), r)).await??;
        let done = h.call(|r| TxOp::Script(sql, r)).await?;
        if done.is_err() {
            h.call(|r| TxOp::Script(savepoint("ROLLBACK TO"), r)).await??;
        }
        h.call(|r| TxOp::Script(savepoint("RELEASE"), r)).await??;
        done.map_err(duplicate_in_index)?;
        self.tran.catalog = Some(Arc::new(catalog));
        Ok(())
    }

    async fn drop_table(&mut self, name: &ObjName, lenient: bool) -> SqlResult<()> {
        let db = self.database_of(name)?;
        if lenient && self.catalog_of(&db).table(name).is_none() {
            return Ok(());
        }
        self.change(&db, Some(name), |_, c| {
            if c.is_referenced(name) {
                return Err(SqlError::new(
                    3726,
                    format!("Could not drop object '{}' because it is referenced by a FOREIGN KEY constraint.", name.shown()),
                ));
            }
            match c.drop_table(name) {
                Some(t) => Ok(vec![
                    format!("DROP TABLE {}", t.quoted()),
                    format!(
                        "DELETE FROM \"tds.ddl\" WHERE object = {0} OR object GLOB {1}",
                        lit(&ddl_key(name)),
                        lit(&format!("{}/*", ddl_key(name)))
                    ),
                ]),
                None if lenient => Ok(vec![]),
                None => Err(SqlError::new(
                    3701,
                    format!("Cannot drop the table '{}', because it does not exist or you do not have permission.", name.shown()),
                )
                .class(11)
                .state(5)),
            }
        })
        .await
    }

    async fn create_database(&mut self, name: &str) -> SqlResult<()> {
        if self.tran.count > 0 {
            return Err(SqlError::new(226, "CREATE DATABASE statement not allowed within multi-statement transaction.").state(6));
        }
        let _one_at_a_time = self.shared.databases_lock.clone().lock_owned().await;
        let store = self.shared.store.clone();
        let owned = name.to_owned();
        let (db, file) =
            tokio::task::spawn_blocking(move || store.create_database(&owned)).await.map_err(|e| SqlError::new(5123, e.to_string()))??;
        let sql = format!(
            "INSERT INTO \"tds.databases\"(name, id, file, created) VALUES ({}, {}, {}, {})",
            lit(&db.name),
            db.id,
            lit(&file),
            db.created
        );
        self.in_master(sql).await
    }

    async fn drop_database(&mut self, name: &str, lenient: bool) -> SqlResult<()> {
        if self.tran.count > 0 {
            return Err(SqlError::new(226, "DROP DATABASE statement not allowed within multi-statement transaction.").state(6));
        }
        let _one_at_a_time = self.shared.databases_lock.clone().lock_owned().await;
        let Some(db) = self.shared.store.database(name) else {
            return if lenient {
                Ok(())
            } else {
                Err(SqlError::new(
                    3701,
                    format!("Cannot drop the database '{name}', because it does not exist or you do not have permission."),
                )
                .class(11))
            };
        };
        if db.id < 5 {
            return Err(SqlError::new(3708, format!("Cannot drop the database '{name}' because it is a system database.")).state(5));
        }
        if self.shared.sessions().iter().any(|s| s.database == db.id) {
            return Err(SqlError::new(3702, format!("Cannot drop database \"{name}\" because it is currently in use.")).state(3));
        }
        self.in_master(format!("DELETE FROM \"tds.databases\" WHERE id = {}", db.id)).await?;
        let store = self.shared.store.clone();
        tokio::task::spawn_blocking(move || store.drop_database(&db)).await.map_err(|e| SqlError::new(3701, e.to_string()))
    }

    async fn in_master(&mut self, sql: String) -> SqlResult<()> {
        let master = self.shared.store.database("master").ok_or_else(|| SqlError::new(911, "master is missing"))?;
        self.change(&master, None, |_, _| Ok(vec![sql])).await
    }

    async fn dbcc(&mut self, program: &Arc<Program>, vars: &mut Vars, name: &str, args: &[Expr]) -> SqlResult<()> {
        if name != "CHECKDB" {
            return Err(SqlError::unsupported(format!("DBCC {name}")));
        }
        let db = match args.first() {
            None | Some(Expr::Int(0)) => self.db.clone(),
            Some(e) => {
                let (v, ty) = self.scalar(program, vars, e, None, &Slot::default()).await?;
                let name = text_of(&v, ty);
                let found = match v {
                    Value::Integer(id) => self.shared.store.databases().into_iter().find(|d| d.id == id),
                    _ => self.shared.store.database(&name),
                };
                found.ok_or_else(|| SqlError::new(2520, format!("Could not find database '{name}'. The database either does not exist, or was dropped before a statement tried to use it. Verify if the database exists by querying the sys.databases catalog view.")))?
            }
        };
        let check = {
            let db = db.clone();
            move || -> rusqlite::Result<Vec<String>> {
                let conn = db.open_reader()?;
                let mut s = conn.db.prepare("PRAGMA integrity_check(100)")?;
                let rows = s.query_map([], |r| r.get(0))?;
                rows.collect()
            }
        };
        let found = tokio::task::spawn_blocking(check).await.map_err(|e| SqlError::new(5030, e.to_string()))?;
        let problems = match found {
            Ok(list) if list == ["ok"] => return Ok(()),
            Ok(list) => list,
            Err(e) => vec![e.to_string()],
        };
        for p in &problems {
            self.report(&SqlError::new(8939, format!("Table error: Database '{}'. {p}.", db.name)).state(98));
        }
        Err(SqlError::new(
            8921,
            format!("Check terminated. CHECKDB found {} consistency errors in database '{}'.", problems.len(), db.name),
        ))
    }
}

fn index_key(table: &ObjName, index: &str) -> String {
    format!("{}/{}", ddl_key(table), index.to_lowercase())
}

fn record(key: &str, text: &str, created: i64) -> String {
    format!("INSERT INTO \"tds.ddl\"(object, sql, created) VALUES ({}, {}, {created})", lit(key), lit(text))
}

/// A unique index over rows that are not.
fn duplicate_in_index(e: SqlError) -> SqlError {
    if e.number == 8624 && e.message.contains("UNIQUE constraint failed") {
        return SqlError::new(1505, "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object.");
    }
    e
}

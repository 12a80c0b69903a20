//! RPC: sp_executesql and the prepare family; and transaction manager requests.

use super::program::Prepared;
use super::run::Vars;
use super::{PREPARED_MAX, Session};
use crate::error::{SqlError, SqlResult};
use crate::proto::Cursor;
use crate::proto::params::{Proc, Rpc, RpcParam, parse, skip_headers};
use crate::proto::token::{self, done};
use crate::sql::ast::Isolation;
use crate::sql::types::Ty;
use crate::value::{Value, convert, text_of};
use std::collections::HashMap;
use std::sync::Arc;

/// Well-known procedures (MS-TDS 2.2.6.6).
const WELL_KNOWN: [(u16, &str); 15] = [
    (1, "sp_cursor"),
    (2, "sp_cursoropen"),
    (3, "sp_cursorprepare"),
    (4, "sp_cursorexecute"),
    (5, "sp_cursorprepexec"),
    (6, "sp_cursorunprepare"),
    (7, "sp_cursorfetch"),
    (8, "sp_cursoroption"),
    (9, "sp_cursorclose"),
    (10, "sp_executesql"),
    (11, "sp_prepare"),
    (12, "sp_execute"),
    (13, "sp_prepexec"),
    (14, "sp_prepexecrpc"),
    (15, "sp_unprepare"),
];

/// Gives declared parameters their values.
///
/// # Errors
/// 8144, 8145, 8178 and conversion errors.
pub(super) fn bind(declared: &[(String, Ty, bool)], given: Vec<RpcParam>) -> SqlResult<Vars> {
    if given.len() > declared.len() {
        return Err(SqlError::new(8144, "Procedure or function  has too many arguments specified.").state(2));
    }
    let mut vars = HashMap::new();
    for (i, p) in given.into_iter().enumerate() {
        let (name, ty, _) = if p.name.is_empty() {
            &declared[i]
        } else {
            declared
                .iter()
                .find(|d| d.0 == p.name)
                .ok_or_else(|| SqlError::new(8145, format!("{} is not a parameter for procedure .", p.name)).state(2))?
        };
        vars.insert(name.clone(), convert(p.value, p.ty, *ty, 0)?);
    }
    for (name, ..) in declared {
        if !vars.contains_key(name) {
            return Err(SqlError::new(8178, format!("The parameterized query expects the parameter '{name}', which was not supplied.")));
        }
    }
    Ok(vars)
}

fn text_arg(p: Option<&RpcParam>) -> String {
    p.map_or(String::new(), |p| text_of(&p.value, p.ty))
}

impl Session {
    pub(super) async fn rpc(&mut self, body: &[u8]) -> SqlResult<()> {
        let body = skip_headers(body).ok_or_else(|| {
            SqlError::new(4002, "The incoming tabular data stream (TDS) protocol stream is incorrect. The stream ended unexpectedly.")
        })?;
        let calls = parse(body)?;
        for call in calls {
            self.out.in_proc = true;
            let before = self.tran.count;
            let result = self.call(call).await;
            self.out.in_proc = false;
            let mut status = 0;
            if let Err(e) = &result {
                self.report(e);
                status = done::ERROR;
            }
            if self.tran.doomed {
                self.rollback_all().await?;
                self.report(&SqlError::new(
                    3998,
                    "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
                ));
                status = done::ERROR;
            }
            if self.tran.count != before && result.is_ok() {
                self.report(
                    &SqlError::new(
                        266,
                        format!(
                            "Transaction count after EXECUTE indicates a mismatching number of BEGIN and COMMIT statements. Previous count = {before}, current count = {}.",
                            self.tran.count
                        ),
                    )
                    .state(2),
                );
                status = done::ERROR;
            }
            self.out.release(true);
            if result.is_err() {
                token::put_return_status(&mut self.out.w.buf, self.error);
            }
            self.out.held = Some((token::DONEPROC, status, 0xE0, 0));
        }
        Ok(())
    }

    async fn call(&mut self, call: Rpc) -> SqlResult<()> {
        let name = match &call.proc {
            Proc::Id(id) => WELL_KNOWN.iter().find(|p| p.0 == *id).map_or_else(|| format!("#{id}"), |p| p.1.to_owned()),
            Proc::Name(n) => {
                n.to_lowercase().trim_start_matches("[sys].").trim_start_matches("sys.").trim_start_matches("master..").to_owned()
            }
        };
        let mut params = call.params;
        match name.as_str() {
            "sp_executesql" => {
                let text = text_arg(params.first());
                let decl = text_arg(params.get(1));
                let given = params.split_off(params.len().min(2));
                let prepared = self.shared.programs.get(&text, &decl)?;
                self.execute(&prepared, given, 2).await
            }
            "sp_prepare" => {
                let decl = text_arg(params.get(1));
                let text = text_arg(params.get(2));
                let handle = self.prepare(&text, &decl)?;
                token::put_return_status(&mut self.out.w.buf, 0);
                self.return_value(0, &params.first().map_or(String::new(), |p| p.name.clone()), Ty::Int, &Value::Integer(i64::from(handle)))
            }
            "sp_prepexec" => {
                let decl = text_arg(params.get(1));
                let text = text_arg(params.get(2));
                let out_name = params.first().map_or(String::new(), |p| p.name.clone());
                let given = params.split_off(params.len().min(3));
                let handle = self.prepare(&text, &decl)?;
                let result = self.run_prepared(handle, given, 3).await;
                self.return_value(0, &out_name, Ty::Int, &Value::Integer(i64::from(handle)))?;
                result
            }
            "sp_execute" => {
                let handle = match params.first() {
                    Some(RpcParam { value: Value::Integer(n), .. }) => i32::try_from(*n).unwrap_or(0),
                    _ => 0,
                };
                let given = params.split_off(params.len().min(1));
                self.run_prepared(handle, given, 1).await
            }
            "sp_unprepare" => {
                if let Some(RpcParam { value: Value::Integer(n), .. }) = params.first()
                    && let Ok(n) = i32::try_from(*n)
                {
                    self.prepared.remove(&n);
                }
                token::put_return_status(&mut self.out.w.buf, 0);
                Ok(())
            }
            "sp_reset_connection" => {
                self.reset().await;
                Ok(())
            }
            n if n.starts_with("sp_cursor") => Err(SqlError::unsupported(n)),
            "sp_prepexecrpc" => Err(SqlError::unsupported("sp_prepexecrpc")),
            n => Err(SqlError::new(2812, format!("Could not find stored procedure '{n}'.")).state(62)),
        }
    }

    fn prepare(&mut self, text: &str, decl: &str) -> SqlResult<i32> {
        if self.prepared.len() >= PREPARED_MAX {
            return Err(SqlError::new(701, "There is insufficient system memory in resource pool 'default' to run this query.").class(17));
        }
        let prepared = self.shared.programs.get(text, decl)?;
        self.next_handle += 1;
        self.prepared.insert(self.next_handle, prepared);
        Ok(self.next_handle)
    }

    async fn run_prepared(&mut self, handle: i32, given: Vec<RpcParam>, first: usize) -> SqlResult<()> {
        let p = self
            .prepared
            .get(&handle)
            .cloned()
            .ok_or_else(|| SqlError::new(8179, format!("Could not find prepared statement with handle {handle}.")))?;
        self.execute(&p, given, first).await
    }

    async fn execute(&mut self, p: &Prepared, given: Vec<RpcParam>, first: usize) -> SqlResult<()> {
        let outputs: Vec<(usize, String)> = given
            .iter()
            .enumerate()
            .filter(|(_, g)| g.output)
            .map(|(i, g)| {
                (first + i, if g.name.is_empty() { p.params.get(i).map_or(String::new(), |d| d.0.clone()) } else { g.name.clone() })
            })
            .collect();
        let mut vars = bind(&p.params, given)?;
        self.run(&Arc::clone(&p.program), &mut vars).await?;
        self.out.release(true);
        token::put_return_status(&mut self.out.w.buf, 0);
        for (ordinal, name) in outputs {
            if let Some((_, ty, _)) = p.params.iter().find(|d| d.0 == name) {
                let v = vars.remove(&name).unwrap_or(Value::Null);
                self.return_value(ordinal, &name, *ty, &v)?;
            }
        }
        Ok(())
    }

    /// MS-TDS 2.2.6.9.
    pub(super) async fn transaction_request(&mut self, body: &[u8]) -> SqlResult<()> {
        let malformed =
            || SqlError::new(4002, "The incoming tabular data stream (TDS) protocol stream is incorrect. The stream ended unexpectedly.");
        let mut c = Cursor(skip_headers(body).ok_or_else(malformed)?);
        let kind = c.u16().ok_or_else(malformed)?;
        self.out.in_proc = false;
        match kind {
            5 => {
                self.isolation(c.u8().unwrap_or(0));
                self.begin();
            }
            7 | 8 => {
                let n = c.u8().unwrap_or(0);
                let name = c.utf16(usize::from(n)).unwrap_or_default();
                let again = c.u8().unwrap_or(0) & 1 != 0;
                let level = c.u8().unwrap_or(0);
                if kind == 7 {
                    self.commit().await?;
                } else {
                    let name = Some(name.as_str()).filter(|n| !n.is_empty());
                    self.rollback(name).await?;
                }
                if again {
                    self.isolation(level);
                    self.begin();
                }
            }
            9 => {
                let n = c.u8().unwrap_or(0);
                let name = c.utf16(usize::from(n)).ok_or_else(malformed)?;
                self.save(&name).await?;
            }
            _ => return Err(SqlError::unsupported("distributed transaction")),
        }
        self.out.done(0, 0xFD, 0);
        Ok(())
    }

    fn isolation(&mut self, level: u8) {
        let level = match level {
            1 => Isolation::ReadUncommitted,
            2 => Isolation::ReadCommitted,
            3 => Isolation::RepeatableRead,
            4 => Isolation::Serializable,
            5 => Isolation::Snapshot,
            _ => return,
        };
        self.set_isolation(level);
    }

    pub(super) fn set_isolation(&mut self, level: Isolation) {
        self.set.isolation = level;
        self.shared.update(self.spid, self.db.id, level);
    }
}

//! A batch flattened into steps with jumps, so that the interpreter is a loop and not a recursion, and can be kept for the next time the same text comes.

use crate::engine::store::Database;
use crate::error::{SqlError, SqlResult};
use crate::sql::ast::{Expr, Stmt, StmtKind};
use crate::sql::parser::{parse_batch, parse_params};
use crate::sql::types::Ty;
use crate::translate::Translated;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// A translation, valid while the session is in the same database and its catalog has the same version.
pub struct Cached {
    /// database_id of the session's database.
    pub current: i64,
    /// The database that the statement runs in.
    pub db: Arc<Database>,
    /// Its catalog's version.
    pub version: u64,
    /// The translation.
    pub stmt: Arc<Translated>,
    /// It has been found not to be over at once.
    pub long: AtomicBool,
}

/// Place for a translation.
pub type Slot = Mutex<Option<Arc<Cached>>>;

/// A step of a program.
pub enum Op {
    /// A statement without control flow.
    Do(u32, StmtKind, Slot),
    /// Jumps when the condition is not true.
    Unless(u32, Expr, usize, Slot),
    /// Jumps.
    Jump(usize),
    /// Errors from here on go to the handler.
    Try(usize),
    /// End of the guarded part; goes on behind the handler.
    EndTry(usize),
    /// End of the handler.
    EndCatch,
}

/// A compiled batch.
pub struct Program {
    /// Steps.
    pub ops: Vec<Op>,
    /// Variables with their types.
    pub vars: BTreeMap<String, Ty>,
}

/// Compiles a batch; `params` are variables that exist from the start.
///
/// # Errors
/// The parser's, 134 for a variable declared twice, 135 and 136 for BREAK and CONTINUE outside of WHILE.
pub fn compile(text: &str, params: &[(String, Ty, bool)]) -> SqlResult<Program> {
    let mut c = Compiler { ops: vec![], vars: params.iter().map(|(n, t, _)| (n.clone(), *t)).collect(), loops: vec![] };
    for s in parse_batch(text)? {
        c.stmt(s)?;
    }
    Ok(Program { ops: c.ops, vars: c.vars })
}

struct Compiler {
    ops: Vec<Op>,
    vars: BTreeMap<String, Ty>,
    /// Start of each open loop, and the jumps that leave it.
    loops: Vec<(usize, Vec<usize>)>,
}

impl Compiler {
    fn land(&mut self, at: usize) {
        let here = self.ops.len();
        match &mut self.ops[at] {
            Op::Unless(_, _, to, _) | Op::Jump(to) | Op::Try(to) | Op::EndTry(to) => *to = here,
            Op::Do(..) | Op::EndCatch => {}
        }
    }

    fn push(&mut self, op: Op) -> usize {
        self.ops.push(op);
        self.ops.len() - 1
    }

    fn stmt(&mut self, s: Stmt) -> SqlResult<()> {
        let line = s.line;
        match s.kind {
            StmtKind::Block(list) => list.into_iter().try_for_each(|s| self.stmt(s))?,
            StmtKind::If(c, then, other) => {
                let skip = self.push(Op::Unless(line, c, 0, Slot::default()));
                self.stmt(*then)?;
                match other {
                    None => self.land(skip),
                    Some(e) => {
                        let end = self.push(Op::Jump(0));
                        self.land(skip);
                        self.stmt(*e)?;
                        self.land(end);
                    }
                }
            }
            StmtKind::While(c, body) => {
                let start = self.ops.len();
                let exit = self.push(Op::Unless(line, c, 0, Slot::default()));
                self.loops.push((start, vec![exit]));
                self.stmt(*body)?;
                self.push(Op::Jump(start));
                for j in self.loops.pop().map(|l| l.1).unwrap_or_default() {
                    self.land(j);
                }
            }
            StmtKind::Break => {
                let at = self.push(Op::Jump(0));
                self.loops
                    .last_mut()
                    .ok_or_else(|| {
                        SqlError::new(135, "Cannot use a BREAK statement outside the scope of a WHILE statement.").class(15).at(line)
                    })?
                    .1
                    .push(at);
            }
            StmtKind::Continue => {
                let start = self
                    .loops
                    .last()
                    .ok_or_else(|| {
                        SqlError::new(136, "Cannot use a CONTINUE statement outside the scope of a WHILE statement.").class(15).at(line)
                    })?
                    .0;
                self.push(Op::Jump(start));
            }
            StmtKind::Try(body, handler) => {
                let start = self.push(Op::Try(0));
                body.into_iter().try_for_each(|s| self.stmt(s))?;
                let end = self.push(Op::EndTry(0));
                self.land(start);
                handler.into_iter().try_for_each(|s| self.stmt(s))?;
                self.push(Op::EndCatch);
                self.land(end);
            }
            StmtKind::Declare(list) => {
                for (name, ty, init) in list {
                    if self.vars.insert(name.clone(), ty).is_some() {
                        let m = format!(
                            "The variable name '{name}' has already been declared. Variable names must be unique within a query batch or stored procedure."
                        );
                        return Err(SqlError::new(134, m).class(15).at(line));
                    }
                    if let Some(e) = init {
                        self.push(Op::Do(line, StmtKind::SetVar(name, e), Slot::default()));
                    }
                }
            }
            kind => {
                self.push(Op::Do(line, kind, Slot::default()));
            }
        }
        Ok(())
    }
}

/// Programs kept at most; beyond it the cache starts over.
const CACHE_MAX: usize = 1000;
/// Declarations kept of one text at most: a client that declares strings as long as they are makes many.
const DECLARATIONS_MAX: usize = 16;
/// Longest text that is kept.
const CACHE_TEXT_MAX: usize = 16 << 10;

/// A compiled batch with its parameters: name, type, whether for output.
#[derive(Clone)]
pub struct Prepared {
    /// What it does.
    pub program: Arc<Program>,
    /// Its parameters in order.
    pub params: Arc<[(String, Ty, bool)]>,
}

/// Compiled batches by text and, for each, by parameter declaration.
#[derive(Default)]
pub struct ProgramCache(Mutex<HashMap<String, Vec<(String, Prepared)>>>);

impl ProgramCache {
    /// Compiles or remembers.
    ///
    /// # Errors
    /// As [`compile`], and the parser's for the declaration.
    pub fn get(&self, text: &str, declared: &str) -> SqlResult<Prepared> {
        if let Ok(kept) = self.0.lock()
            && let Some((_, prepared)) = kept.get(text).and_then(|list| list.iter().find(|(of, _)| of == declared))
        {
            return Ok(prepared.clone());
        }
        let params = parse_params(declared)?;
        let prepared = Prepared { program: Arc::new(compile(text, &params)?), params: params.into() };
        if text.len() + declared.len() <= CACHE_TEXT_MAX
            && let Ok(mut kept) = self.0.lock()
        {
            if kept.len() >= CACHE_MAX {
                kept.clear();
            }
            let list = kept.entry(text.to_owned()).or_default();
            list.truncate(DECLARATIONS_MAX - 1);
            list.push((declared.to_owned(), prepared.clone()));
        }
        Ok(prepared)
    }
}

//! The T-SQL front end: text → tokens → syntax tree → SQLite text with static types.
//!
//! Why not `sqlparser` with its MsSql dialect: it can read statements without semicolons, but its tree is the union of every dialect it knows
//! and accepts much that SQL Server refuses. Here an unknown statement must be an error with SQL Server's number, severity, line and offending word
//! (102 and 156 are raised by the parser itself), and whatever is parsed must be either served or refused, never skipped. A tree of a few dozen
//! node types makes that a property the compiler checks: the translator matches every variant. Table hints, TRY/CATCH, WAITFOR, DBCC and OUTPUT,
//! which clients of this server use, would need patches there.

pub mod ast;
pub mod lexer;
mod parse_ddl;
mod parse_expr;
mod parse_query;
mod parse_stmt;
pub mod parser;
pub mod types;

//! Parameters and rows, so that the driver's types stay inside this module.

use std::borrow::Cow;

use tiberius::{ColumnData, ToSql};

use super::error::{Cause, SqlError, Stage};

/// A parameter of a statement, `@P1` and so on.
#[derive(Debug, Clone, Copy)]
pub enum Param<'a> {
    /// INT.
    I32(i32),
    /// BIGINT.
    I64(i64),
    /// NVARCHAR.
    Text(&'a str),
    /// VARBINARY.
    Bytes(&'a [u8]),
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> ColumnData<'_> {
        match *self {
            Param::I32(value) => ColumnData::I32(Some(value)),
            Param::I64(value) => ColumnData::I64(Some(value)),
            Param::Text(value) => ColumnData::String(Some(Cow::Borrowed(value))),
            Param::Bytes(value) => ColumnData::Binary(Some(Cow::Borrowed(value))),
        }
    }
}

/// A row of an answer. Columns are counted from 0.
#[derive(Debug)]
pub struct Row(pub(super) tiberius::Row);

impl Row {
    fn cell(&self, column: usize) -> Result<&ColumnData<'static>, SqlError> {
        self.0.cells().nth(column).map(|(_, data)| data).ok_or_else(|| unexpected(column, "is missing"))
    }

    /// An integer of any width; `None` for NULL.
    ///
    /// # Errors
    /// When the column is not there or is of another type.
    pub fn integer(&self, column: usize) -> Result<Option<i64>, SqlError> {
        Ok(match self.cell(column)? {
            ColumnData::U8(value) => value.map(i64::from),
            ColumnData::I16(value) => value.map(i64::from),
            ColumnData::I32(value) => value.map(i64::from),
            ColumnData::I64(value) => *value,
            ColumnData::Bit(value) => value.map(i64::from),
            _ => return Err(unexpected(column, "is not an integer")),
        })
    }

    /// An integer that cannot be NULL.
    ///
    /// # Errors
    /// When the column is not there, is NULL or is of another type.
    pub fn whole(&self, column: usize) -> Result<i64, SqlError> {
        self.integer(column)?.ok_or_else(|| unexpected(column, "is NULL"))
    }

    /// A text; `None` for NULL.
    ///
    /// # Errors
    /// When the column is not there or is of another type.
    pub fn text(&self, column: usize) -> Result<Option<&str>, SqlError> {
        match self.cell(column)? {
            ColumnData::String(value) => Ok(value.as_deref()),
            _ => Err(unexpected(column, "is not a text")),
        }
    }

    /// Bytes; `None` for NULL.
    ///
    /// # Errors
    /// When the column is not there or is of another type.
    pub fn bytes(&self, column: usize) -> Result<Option<&[u8]>, SqlError> {
        match self.cell(column)? {
            ColumnData::Binary(value) => Ok(value.as_deref()),
            _ => Err(unexpected(column, "is not binary")),
        }
    }
}

fn unexpected(column: usize, what: &str) -> SqlError {
    SqlError { stage: Stage::Request, cause: Cause::Protocol { message: format!("column {column} of the answer {what}") } }
}

//! CREATE TABLE and CREATE INDEX for SQLite.

use super::query::table_columns;
use super::{Names, Scope, Tr};
use crate::engine::catalog::{Table, quote};
use crate::error::{SqlError, SqlResult};
use crate::sql::ast::CreateIndex;
use crate::sql::types::Ty;

/// SQLite statements that make a table.
///
/// # Errors
/// Those of the CHECK expressions.
pub fn create_table(names: &dyn Names, t: &Table) -> SqlResult<Vec<String>> {
    let mut parts = Vec::new();
    for (i, c) in t.columns.iter().enumerate() {
        let mut s = format!("{} {}", quote(&c.name), c.ty.storage());
        if !c.nullable {
            s.push_str(" NOT NULL");
        }
        if t.rowid_column() == Some(i) {
            s.push_str(" PRIMARY KEY");
        }
        if c.ty.is_text() {
            s.push_str(" COLLATE TSQL");
        }
        parts.push(s);
    }
    let list = |cols: &[usize]| cols.iter().map(|c| quote(&t.columns[*c].name)).collect::<Vec<_>>().join(", ");
    let mut extra = Vec::new();
    for k in &t.keys {
        told_apart(t, &k.columns)?;
        if k.primary {
            if t.rowid_column().is_none() {
                parts.push(format!("PRIMARY KEY ({})", list(&k.columns)));
            }
        } else {
            parts.push(format!("UNIQUE ({})", list(&k.columns)));
            extra.extend(one_null(t, &k.name, &k.columns));
        }
    }
    for c in &t.checks {
        parts.push(format!("CONSTRAINT {} CHECK ({})", quote(&c.name), predicate(names, t, &c.expr)?));
    }
    for f in &t.foreign {
        let refs: Vec<String> = f.refs.iter().map(|r| quote(r)).collect();
        parts.push(format!(
            "FOREIGN KEY ({}) REFERENCES {}({})",
            list(&f.columns),
            quote(&format!("{}.{}", f.table.0, f.table.1)),
            refs.join(", ")
        ));
    }
    let mut out = vec![format!("CREATE TABLE {} ({}) STRICT", t.quoted(), parts.join(", "))];
    out.append(&mut extra);
    Ok(out)
}

/// SQLite tells keys apart by what is stored, and the same instant is stored with each offset.
fn told_apart(t: &Table, key: &[usize]) -> SqlResult<()> {
    if key.iter().any(|c| matches!(t.columns[*c].ty, Ty::DateTimeOffset(_))) {
        return Err(SqlError::unsupported("key of datetimeoffset"));
    }
    Ok(())
}

/// T-SQL's UNIQUE lets one NULL in, SQLite's any number: a second index on the NULLs alone.
fn one_null(t: &Table, key: &str, columns: &[usize]) -> Option<String> {
    let [c] = columns else { return None };
    t.columns[*c].nullable.then(|| {
        let name = quote(&format!("{}.{key}.null", t.sqlite_name()));
        format!(
            "CREATE UNIQUE INDEX {name} ON {}(({} IS NULL)) WHERE {} IS NULL",
            t.quoted(),
            quote(&t.columns[*c].name),
            quote(&t.columns[*c].name)
        )
    })
}

/// SQLite statements that make an index.
///
/// # Errors
/// Those of the filter.
pub fn create_index(names: &dyn Names, t: &Table, def: &CreateIndex) -> SqlResult<Vec<String>> {
    let cols: Vec<String> = def.columns.iter().map(|(c, desc)| format!("{}{}", quote(c), if *desc { " DESC" } else { "" })).collect();
    let filter = match &def.filter {
        Some(e) => format!(" WHERE {}", predicate(names, t, e)?),
        None => String::new(),
    };
    let columns: Vec<usize> = def.columns.iter().filter_map(|(c, _)| t.column(c)).collect();
    if def.unique {
        told_apart(t, &columns)?;
    }
    let unique = if def.unique { "UNIQUE " } else { "" };
    let mut out = vec![format!("CREATE {unique}INDEX {} ON {}({}){filter}", index_name(t, &def.name), t.quoted(), cols.join(", "))];
    if def.unique && def.filter.is_none() {
        out.extend(one_null(t, &def.name, &columns));
    }
    Ok(out)
}

/// The quoted name of an index in SQLite, where index names are not scoped by table.
pub fn index_name(t: &Table, name: &str) -> String {
    quote(&format!("{}.{name}", t.sqlite_name()))
}

fn predicate(names: &dyn Names, t: &Table, e: &crate::sql::ast::Expr) -> SqlResult<String> {
    let mut tr = Tr::new(names);
    tr.scopes.push(Scope::default());
    let columns = t.columns.iter().map(|c| quote(&c.name)).collect();
    tr.add_source(&t.name, "", table_columns(t), Some(columns))?;
    let sql = tr.pred(e)?;
    if !tr.params.is_empty() {
        return Err(SqlError::unsupported("constraint or index filter that depends on more than the row"));
    }
    Ok(sql)
}

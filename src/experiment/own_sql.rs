//! The user's own statements: what the file says of them, and what their text gives away.

use std::fmt::{self, Write};

use super::names::Named;
use super::plan::WorkloadKind;
use super::reader::{Fields, Log};
use super::write::quote;
use super::yaml::join;

/// The user's own schema, statements and checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSql {
    /// Batches that make the schema, in order.
    pub setup: Vec<String>,
    /// What the clients run; one at the least.
    pub statements: Vec<Statement>,
    /// What must hold after everything has healed; one at the least.
    pub checks: Vec<OwnCheck>,
}

/// One statement of the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// T-SQL over `@key`, `@client`, `@value` and `@text`. It runs in a transaction of its own.
    pub run: String,
    /// Its share among the statements, in any unit.
    pub weight: u32,
}

impl Statement {
    /// Whether it writes its key, so that a check can look for it.
    pub fn uses_key(&self) -> bool {
        words(&self.run).iter().any(|word| word == "@KEY")
    }
}

/// A question after the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCheck {
    /// T-SQL.
    pub query: String,
    /// What it must return.
    pub returns: Returns,
}

/// What a check's query must return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Returns {
    /// The key of every acknowledged statement that uses `@key`, each once.
    Acknowledged,
    /// No rows.
    Nothing,
}

/// Reads `workload.sql`, and holds it against the mix.
pub(super) fn read(log: &Log, workload: &Fields<'_>, in_mix: bool) -> Option<OwnSql> {
    let Some(entry) = workload.entry("sql") else {
        if in_mix {
            workload.missing("sql", "the statements of the sql workload, which the mix has");
        }
        return None;
    };
    let path = join(workload.path(), "sql");
    if !in_mix {
        log.note(entry.key_at, &path, format!("is not used, expected a share of it in the mix, such as {}: 1", WorkloadKind::Sql));
    }
    let fields = workload.section("sql");
    let setup = fields.statements("setup");
    let mut statements = Vec::new();
    for item in fields.items("statements") {
        let run = item.text("run");
        if let Some(word) = ends_transaction(&run.value) {
            let what =
                format!("has {word}, but each statement runs in a transaction of its own; expected a statement without, THROW rolls back");
            log.note(run.at, &run.path, what);
        }
        let weight = u32::try_from(item.integer("weight").value).unwrap_or(u32::MAX);
        statements.push(Statement { run: run.value, weight });
        item.close();
    }
    let mut checks = Vec::new();
    for item in fields.items("checks") {
        let (query, returns) = (item.text("query").value, item.choice::<Returns>("returns"));
        if returns.sound && returns.value == Returns::Acknowledged && !statements.iter().any(Statement::uses_key) {
            let what = format!("is {}, but no statement uses @key; expected {} or a statement with @key", returns.value, Returns::Nothing);
            log.note(returns.at, &returns.path, what);
        }
        checks.push(OwnCheck { query, returns: returns.value });
        item.close();
    }
    for (name, expected, empty) in [
        ("statements", "a list such as `- run: INSERT INTO dbo.orders (id) VALUES (@key)`", statements.is_empty()),
        ("checks", "a list such as `- { query: SELECT id FROM dbo.orders, returns: acknowledged }`", checks.is_empty()),
    ] {
        if empty && fields.entry(name).is_none() {
            fields.missing(name, expected);
        }
    }
    fields.close();
    Some(OwnSql { setup, statements, checks })
}

impl OwnSql {
    /// Writes it as it is read, in the place that it has in the file.
    pub(super) fn write(&self, to: &mut String) -> fmt::Result {
        writeln!(to, "  sql:")?;
        if !self.setup.is_empty() {
            writeln!(to, "    setup:")?;
            for batch in &self.setup {
                writeln!(to, "      - {}", quote(batch))?;
            }
        }
        writeln!(to, "    statements:")?;
        for Statement { run, weight } in &self.statements {
            writeln!(to, "      - run: {}\n        weight: {weight}", quote(run))?;
        }
        writeln!(to, "    checks:")?;
        for OwnCheck { query, returns } in &self.checks {
            writeln!(to, "      - query: {}\n        returns: {}", quote(query), returns.id())?;
        }
        Ok(())
    }
}

/// The words of T-SQL in capitals, without what stands in strings, quoted names and comments.
fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = sql.chars().peekable();
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$');
    while let Some(c) = rest.next() {
        if is_word(c) {
            word.extend(c.to_uppercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        match (c, rest.peek()) {
            // A quote that is doubled ends one string and begins the next, which comes to the same.
            ('\'' | '"', _) => while rest.next().is_some_and(|inner| inner != c) {},
            ('[', _) => while rest.next().is_some_and(|inner| inner != ']') {},
            ('-', Some('-')) => while rest.next().is_some_and(|inner| inner != '\n') {},
            ('/', Some('*')) => skip_comment(&mut rest),
            _ => {}
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// Skips the rest of a block comment behind its `/`; they nest.
fn skip_comment(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    rest.next();
    let mut depth = 1;
    while depth > 0
        && let Some(c) = rest.next()
    {
        match (c, rest.peek()) {
            ('*', Some('/')) => depth -= 1,
            ('/', Some('*')) => depth += 1,
            _ => continue,
        }
        rest.next();
    }
}

/// The word that would begin or end a transaction inside of ours.
fn ends_transaction(sql: &str) -> Option<&'static str> {
    let words = words(sql);
    let begins = words.windows(2).any(|pair| pair[0] == "BEGIN" && matches!(pair[1].as_str(), "TRAN" | "TRANSACTION" | "DISTRIBUTED"));
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    ["COMMIT", "ROLLBACK"].into_iter().find(|word| has(word)).or(begins.then_some("BEGIN TRAN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses_key(run: &str) -> bool {
        Statement { run: run.to_owned(), weight: 1 }.uses_key()
    }

    #[test]
    fn a_key_counts_where_it_is_a_word_of_the_statement() {
        assert!(uses_key("INSERT INTO t VALUES (@Key, 'x')"));
        assert!(uses_key("SELECT '@k''ey', @key"));
        assert!(uses_key("/* a /* nested */ one */ SELECT @key"));
        for run in ["SELECT '@key'", "SELECT @keys, @@key", "SELECT 1 -- @key", "SELECT [@key], \"@key\"", "SELECT /* @key /* */ @key */ 1"]
        {
            assert!(!uses_key(run), "{run}");
        }
    }

    #[test]
    fn what_would_end_the_transaction_is_told_from_text_that_looks_like_it() {
        assert_eq!(ends_transaction("update t set a = 1; commit"), Some("COMMIT"));
        assert_eq!(ends_transaction("BEGIN TRY SELECT 1 END TRY BEGIN CATCH ROLLBACK END CATCH"), Some("ROLLBACK"));
        assert_eq!(ends_transaction("begin\ntransaction; select 1"), Some("BEGIN TRAN"));
        assert_eq!(ends_transaction("BEGIN INSERT INTO t VALUES ('commit') END -- rollback"), None);
    }
}

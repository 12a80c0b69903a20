//! The user's own statements in the file.

use super::*;

const OWN: &str = "name: x
target: { engine: tds-sqlite }
workload:
  mix: { sql: 1 }
  sql:
    setup: [CREATE TABLE dbo.t (id BIGINT)]
    statements:
      - run: INSERT INTO dbo.t (id) VALUES (@key)
    checks:
      - query: SELECT id FROM dbo.t
        returns: acknowledged
faults:
  - pod-kill:
";

#[test]
fn own_statements_are_read_and_written_back() {
    let plan = parse("x.yaml", OWN).unwrap();
    let own = plan.workload.sql.as_ref().unwrap();
    assert_eq!((own.setup.len(), own.statements[0].weight, own.checks[0].returns), (1, 1, Returns::Acknowledged));
    assert_eq!(parse("written.yaml", &to_yaml(&plan)).unwrap(), plan);
}

#[test]
fn what_is_wrong_with_own_statements_is_told_with_its_place() {
    let without_key = OWN.replace("@key", "1");
    for (text, told) in [
        (OWN.replace("{ sql: 1 }", "{ ledger: 1 }"), "5:3: workload.sql: is not used, expected a share of it in the mix, such as sql: 1"),
        (
            OWN.replace("returns: acknowledged", "returns: rows"),
            "11:18: workload.sql.checks[0].returns: unknown value `rows`, expected acknowledged or nothing",
        ),
        (
            without_key,
            "11:18: workload.sql.checks[0].returns: is acknowledged, but no statement uses @key; expected nothing or a statement with @key",
        ),
        (
            OWN.replace("(@key)", "(@key); COMMIT"),
            "8:14: workload.sql.statements[0].run: has COMMIT, but each statement runs in a transaction of its own; expected a statement without, THROW rolls back",
        ),
        (
            OWN.replace("      - run:", "      - weight: 0\n        run:"),
            "8:17: workload.sql.statements[0].weight: is `0`, expected a whole number from 1 to 1000000",
        ),
        (
            OWN.replace("[CREATE TABLE dbo.t (id BIGINT)]", "[]"),
            "6:12: workload.sql.setup: has 0 items, expected a list of T-SQL statements of 1 to 100",
        ),
        (
            OWN.replace("    checks:\n      - query: SELECT id FROM dbo.t\n        returns: acknowledged\n", ""),
            "6:5: workload.sql.checks: is missing, expected a list such as `- { query: SELECT id FROM dbo.orders, returns: acknowledged }`",
        ),
    ] {
        assert_eq!(mistakes(&text), [told], "{text}");
    }
    minimal_and(
        "workload: { mix: { sql: 1 } }\n",
        "6:11: workload.sql: is missing, expected the statements of the sql workload, which the mix has",
    );
}

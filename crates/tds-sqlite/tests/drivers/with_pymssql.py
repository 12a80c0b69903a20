"""What a user of pymssql (FreeTDS' DB-Library) does, against the server on 127.0.0.1 at the port and with the password of the arguments."""

import datetime as dt
import decimal
import sys
import uuid

try:
    import pymssql
except ImportError:
    sys.exit(77)

PORT, PASSWORD = sys.argv[1], sys.argv[2]
D = decimal.Decimal


def connect(**more):
    options = {"server": "127.0.0.1", "port": PORT, "user": "sa", "password": PASSWORD, "login_timeout": 20, **more}
    return pymssql.connect(**options)


def number(f):
    """The number of the server's error that this ends with."""
    try:
        f()
    except pymssql.Error as e:
        first = e.args[0]
        return first[0] if isinstance(first, tuple) else first
    raise AssertionError("no error")


assert number(lambda: connect(password="wrong")) == 18456
assert number(lambda: connect(user="nobody")) == 18456
assert number(lambda: connect(database="nowhere")) in (4060, 18456)

admin = connect(autocommit=True)
cursor = admin.cursor()
cursor.execute("CREATE DATABASE drivers_pymssql")
cursor.execute("USE drivers_pymssql")


def rows(sql, parameters=()):
    cursor.execute(sql, parameters)
    return cursor.fetchall()


assert rows(
    "SELECT CAST(1 AS BIT), CAST(255 AS TINYINT), CAST(-3 AS SMALLINT), CAST(-2147483648 AS INT), CAST(9223372036854775807 AS BIGINT),"
    " CAST(1.5 AS REAL), CAST(2.25 AS FLOAT), CAST(-123.45 AS DECIMAL(10,2)), CAST(1.2345 AS MONEY), CAST(NULL AS INT)"
) == [(True, 255, -3, -(2**31), 2**63 - 1, 1.5, 2.25, D("-123.45"), D("1.2345"), None)]
assert rows("SELECT CAST('99999999999999999999999999999999999999' AS DECIMAL(38,0)), CAST(0.00000000000000000001 AS DECIMAL(38,20))") == [
    (D("9" * 38), D("0.00000000000000000001"))
]
assert rows("SELECT 'abc', N'žluťoučký 🐎', CAST('x' AS CHAR(3)), CAST(N'y' AS NCHAR(3)), 0x00FF, CAST('' AS VARCHAR(10))") == [
    ("abc", "žluťoučký 🐎", "x  ", "y  ", b"\x00\xff", "")
]
guid = uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF")
assert rows(f"SELECT CAST('{guid}' AS UNIQUEIDENTIFIER)") == [(guid,)]
assert rows("SELECT NEWID()")[0][0].version == 4
assert rows(
    "SELECT CAST('2024-02-29' AS DATE), CAST('23:59:59.9999999' AS TIME), CAST('1753-01-01' AS DATETIME), CAST('2024-02-29T12:34:56.123' AS DATETIME),"
    " CAST('0001-01-01 00:00:00.0000001' AS DATETIME2), CAST('2024-02-29T12:34:00' AS SMALLDATETIME)"
) == [
    (
        dt.date(2024, 2, 29),
        dt.time(23, 59, 59, 999999),
        dt.datetime(1753, 1, 1),
        dt.datetime(2024, 2, 29, 12, 34, 56, 123000),
        dt.datetime(1, 1, 1),
        dt.datetime(2024, 2, 29, 12, 34),
    )
]
moment = rows("SELECT CAST('2024-02-29 12:34:56 +02:00' AS DATETIMEOFFSET)")[0][0]
assert moment == dt.datetime(2024, 2, 29, 12, 34, 56, tzinfo=dt.timezone(dt.timedelta(hours=2))), moment

cursor.execute("CREATE TABLE t (id INT PRIMARY KEY, s NVARCHAR(100), d DECIMAL(18,4), b VARBINARY(MAX), at DATETIME2, m NVARCHAR(MAX))")
large = "ž" * 1_000_000
cursor.execute(
    "INSERT INTO t VALUES (%s, %s, %s, %s, %s, %s)",
    (1, "it's 'ž'", D("12.3456"), b"\x00\x01'", dt.datetime(2024, 1, 2, 3, 4, 5, 678000), large),
)
assert cursor.rowcount == 1
assert rows("SELECT * FROM t") == [(1, "it's 'ž'", D("12.3456"), b"\x00\x01'", dt.datetime(2024, 1, 2, 3, 4, 5, 678000), large)]

assert number(lambda: rows("INSERT INTO t (id) VALUES (1)")) == 2627
assert number(lambda: rows("SELEC 1")) == 102
assert number(lambda: rows("SELECT * FROM nowhere")) == 208
assert number(lambda: rows("SELECT nothing FROM t")) == 207
assert number(lambda: rows("SELECT 1 / 0")) == 8134
assert number(lambda: rows("SELECT CAST('abc' AS INT)")) == 245
assert number(lambda: rows("THROW 50001, N'own', 1")) == 50001
assert number(lambda: rows("RAISERROR(N'own', 16, 1)")) == 50000
assert rows("SELECT COUNT(*) FROM t") == [(1,)], "a failed statement leaves the connection usable"

# Without autocommit pymssql opens a transaction by itself.
session = connect(database="drivers_pymssql")
inside = session.cursor()
inside.execute("INSERT INTO t (id, s) VALUES (2, 'rolled back')")
session.rollback()
inside.execute("INSERT INTO t (id, s) VALUES (3, 'committed')")
session.commit()
inside.executemany("INSERT INTO t (id, s) VALUES (%d, %s)", [(n, f"row {n}") for n in range(10, 60)])
session.commit()
assert rows("SELECT id FROM t WHERE id < 10 ORDER BY id") == [(1,), (3,)]
assert rows("SELECT COUNT(*), MIN(s) FROM t WHERE id >= 10") == [(50, "row 10")]

cursor.execute("SELECT 1 AS a; SELECT 2 AS b, 3 AS c")
assert [column[0] for column in cursor.description] == ["a"] and cursor.fetchall() == [(1,)]
assert cursor.nextset() and [column[0] for column in cursor.description] == ["b", "c"] and cursor.fetchall() == [(2, 3)]
cursor.execute("CREATE TABLE i (n INT IDENTITY(5,2), v INT)")
cursor.execute("INSERT INTO i (v) VALUES (7)")
assert cursor.lastrowid == 5
named = connect(as_dict=True, database="drivers_pymssql").cursor()
named.execute("SELECT id, s FROM t WHERE id = 3")
assert named.fetchall() == [{"id": 3, "s": "committed"}]

for version in ("7.2", "7.3", "7.4"):
    probe = connect(tds_version=version).cursor()
    probe.execute("SELECT 1")
    assert probe.fetchall() == [(1,)], version
for encryption in ("off", "request", "require"):
    probe = connect(encryption=encryption).cursor()
    probe.execute("SELECT REPLICATE('x', 8000)")
    assert probe.fetchall() == [("x" * 8000,)], encryption

"""What a user of python-tds (written in Python alone) does, against the server on 127.0.0.1 at the port and with the password of the arguments."""

import datetime as dt
import decimal
import sys
import uuid

try:
    import pytds
except ImportError:
    sys.exit(77)

PORT, PASSWORD = int(sys.argv[1]), sys.argv[2]
D = decimal.Decimal


def connect(**more):
    options = {"dsn": "127.0.0.1", "port": PORT, "user": "sa", "password": PASSWORD, "login_timeout": 20, "timeout": 60, **more}
    return pytds.connect(**options)


def number(f):
    """The number of the server's error that this ends with."""
    try:
        f()
    except pytds.Error as e:
        return e.number
    raise AssertionError("no error")


assert number(lambda: connect(password="wrong")) == 18456
assert number(lambda: connect(database="nowhere")) in (4060, 18456)

admin = connect(autocommit=True)
cursor = admin.cursor()
cursor.execute("CREATE DATABASE drivers_pytds")
cursor.execute("USE drivers_pytds")


def rows(sql, parameters=()):
    cursor.execute(sql, parameters)
    return cursor.fetchall()


guid = uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF")
values = (
    1,
    2**40,
    -1.5,
    True,
    None,
    "žluťoučký 🐎",
    "x" * 9_000,
    "ž" * 500_000,
    D("12.3456"),
    D("-0.00001"),
    D("9" * 38),
    pytds.Binary(b"\x00\xff"),
    pytds.Binary(bytes(range(256)) * 400),
    dt.datetime(2024, 1, 2, 3, 4, 5, 678000),
    dt.date(2024, 2, 29),
    dt.time(23, 59, 59, 999999),
    guid,
)
asked = rows("SELECT " + ", ".join(["%s"] * len(values)), values)[0]
for sent, came in zip(values, asked):
    assert came == sent, (str(sent)[:50], str(came)[:50])
moment = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))
assert rows("SELECT %s", (moment,)) == [(moment,)]
assert rows("SELECT CAST(1.5 AS REAL), CAST(1.2345 AS MONEY), CAST(N'y' AS NCHAR(3)), 0x00FF") == [(1.5, D("1.2345"), "y  ", b"\x00\xff")]

cursor.execute("CREATE TABLE t (id INT PRIMARY KEY, s NVARCHAR(100))")
cursor.execute("INSERT INTO t VALUES (%s, %s)", (1, "one"))
assert number(lambda: cursor.execute("INSERT INTO t (id) VALUES (%s)", (1,))) == 2627
assert number(lambda: cursor.execute("SELEC 1")) == 102
assert number(lambda: cursor.execute("SELECT * FROM nowhere")) == 208
assert number(lambda: rows("SELECT 1 / 0")) == 8134
assert number(lambda: cursor.execute("THROW 50001, N'own', 1")) == 50001
assert number(lambda: cursor.execute("INSERT BULK t (id INT)")) == 40510
assert rows("BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_MESSAGE() END CATCH")[-1] == (
    8134,
    "Divide by zero error encountered.",
)
cursor.callproc("sp_executesql", ["SELECT @p + 1", "@p INT", 5])
assert cursor.fetchall() == [(6,)]

# Without autocommit python-tds asks for its transactions by the requests of a transaction manager.
for level, name in [(2, "READ COMMITTED"), (3, "REPEATABLE READ"), (4, "SERIALIZABLE"), (5, "SNAPSHOT")]:
    session = connect(database="drivers_pytds", isolation_level=level)
    inside = session.cursor()
    inside.execute("SELECT transaction_isolation_level, @@TRANCOUNT FROM sys.dm_exec_sessions WHERE session_id = @@SPID")
    assert inside.fetchall() == [(level, 1)], name
    inside.execute("INSERT INTO t VALUES (%s, %s)", (100 * level, "rolled back"))
    session.rollback()
    inside.executemany("INSERT INTO t VALUES (%s, %s)", [(10 * level, name), (10 * level + 1, name)])
    session.commit()
    session.close()
assert rows("SELECT COUNT(*), MAX(id) FROM t") == [(9, 51)]

cursor.execute("SELECT 1 AS a; SELECT 2 AS b, 3 AS c")
assert cursor.fetchall() == [(1,)] and cursor.nextset() and cursor.fetchall() == [(2, 3)]
for size in (512, 4096, 32_767):
    probe = connect(blocksize=size).cursor()
    probe.execute("SELECT REPLICATE('x', 7000), %s", ("y" * 20_000,))
    assert probe.fetchall() == [("x" * 7000, "y" * 20_000)], size
for version in ("TDS72", "TDS73A", "TDS73B", "TDS74"):
    probe = connect(tds_version=getattr(pytds.tds_base, version)).cursor()
    probe.execute("SELECT 1")
    assert probe.fetchall() == [(1,)], version
# A client of SQL Server 2000 gets an answer that it can read.
try:
    connect(tds_version=pytds.tds_base.TDS71, login_timeout=1)
    raise AssertionError("TDS 7.1 is not served")
except pytds.Error as e:
    assert e.number == 40510
except TimeoutError as e:
    assert e.__cause__.number == 40510, "it was tried again until the time was over"

# A question that is given up is cancelled by an attention, and the connection goes on.
impatient = connect(timeout=1, autocommit=True)
probe = impatient.cursor()
try:
    probe.execute("WAITFOR DELAY '00:00:20'")
    raise AssertionError("no timeout")
except pytds.TimeoutError:
    pass
probe.execute("SELECT 1")
assert probe.fetchall() == [(1,)]
# MARS is refused in PRELOGIN, and the client does without.
probe = connect(use_mars=True).cursor()
probe.execute("SELECT 1")
assert probe.fetchall() == [(1,)]

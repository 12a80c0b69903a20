CREATE DATABASE drivers_tsql
go
USE drivers_tsql
CREATE TABLE t (id INT PRIMARY KEY, s NVARCHAR(50), d DECIMAL(10,2), at DATETIME)
INSERT INTO t VALUES (1, N'žluť', -12.5, '2024-02-29T12:34:56.123')
go
SELECT id, s, d, CONVERT(VARCHAR(30), at, 121) AS at, CAST(NULL AS INT) AS nothing, 0x00FF AS bytes FROM t
go
SELECT 1 / 0
go
INSERT INTO t (id) VALUES (1)
go
SELECT * FROM nowhere
go
BEGIN TRAN
INSERT INTO t (id) VALUES (2)
ROLLBACK
SELECT 'rows', COUNT(*) FROM t
go
PRINT N'printed ž'
go
EXEC sp_executesql N'SELECT ''doubled'', @n * 2', N'@n INT', @n = 21
go
SELECT 'long', LEN(REPLICATE(CAST('x' AS VARCHAR(MAX)), 100000))
go
exit

//! What a health check asks.

use crate::support::{Rig, code, maybe, one, run};

#[tokio::test]
async fn catalog_and_health() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    run(&mut c, "CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    assert_eq!(one::<String>(&mut c, "SELECT state_desc FROM sys.databases WHERE name = N'chaos'").await, "ONLINE");
    let path = one::<String>(&mut c, "SELECT physical_name FROM sys.master_files WHERE database_id = DB_ID(N'chaos') AND type = 0").await;
    assert!(std::path::Path::new(&path).starts_with(rig.dir.path()) && std::path::Path::new(&path).exists(), "{path}");
    assert_eq!(one::<String>(&mut c, "SELECT name FROM chaos.sys.tables").await, "t");
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM msdb.dbo.suspect_pages").await, 0);
    assert_eq!(one::<i32>(&mut c, "SELECT DATEDIFF(minute, sqlserver_start_time, GETDATE()) FROM sys.dm_os_sys_info").await, 0);
    assert_eq!(one::<String>(&mut c, "SELECT host_platform FROM sys.dm_os_host_info").await, "Linux");
    assert_eq!(one::<i32>(&mut c, "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE session_id = @@SPID").await, 1);
    assert_eq!(one::<String>(&mut c, "SELECT CAST(SERVERPROPERTY('ProductVersion') AS NVARCHAR(128))").await, "16.0.1000.6");
    assert!(one::<String>(&mut c, "SELECT @@VERSION").await.contains("tds-sqlite"));
    assert_eq!(one::<String>(&mut c, "SELECT DB_NAME() + N'/' + SUSER_SNAME()").await, "chaos/sa");
    assert_eq!(maybe::<i32>(&mut c, "SELECT OBJECT_ID(N'dbo.nope', N'U')").await, None);
    run(&mut c, "DBCC CHECKDB (N'chaos') WITH NO_INFOMSGS").await.unwrap();
    assert_eq!(code(&mut c, "DBCC CHECKDB (N'nope') WITH NO_INFOMSGS").await, 2520);
    assert_eq!(code(&mut c, "DROP DATABASE chaos").await, 3702);
    run(&mut c, "USE master; DROP DATABASE chaos").await.unwrap();
    assert!(!std::path::Path::new(&path).exists());
    assert_eq!(maybe::<i16>(&mut c, "SELECT DB_ID(N'chaos')").await, None);
}

#[tokio::test]
async fn columns_have_sql_servers_measures() {
    let rig = Rig::new().await;
    let mut c = rig.chaos().await;
    let types = [
        ("INT", "56 4 10 0"),
        ("BIGINT", "127 8 19 0"),
        ("SMALLINT", "52 2 5 0"),
        ("TINYINT", "48 1 3 0"),
        ("BIT", "104 1 1 0"),
        ("DECIMAL(9,2)", "106 5 9 2"),
        ("DECIMAL(19,4)", "106 9 19 4"),
        ("DECIMAL(28,0)", "106 13 28 0"),
        ("DECIMAL(38,10)", "106 17 38 10"),
        ("MONEY", "60 8 19 4"),
        ("SMALLMONEY", "122 4 10 4"),
        ("REAL", "59 4 24 0"),
        ("FLOAT", "62 8 53 0"),
        ("DATE", "40 3 10 0"),
        ("TIME(0)", "41 3 8 0"),
        ("TIME(3)", "41 4 12 3"),
        ("TIME(7)", "41 5 16 7"),
        ("SMALLDATETIME", "58 4 16 0"),
        ("DATETIME", "61 8 23 3"),
        ("DATETIME2(2)", "42 6 22 2"),
        ("DATETIME2(4)", "42 7 24 4"),
        ("DATETIME2", "42 8 27 7"),
        ("DATETIMEOFFSET(0)", "43 8 26 0"),
        ("DATETIMEOFFSET", "43 10 34 7"),
        ("CHAR(5)", "175 5 0 0"),
        ("VARCHAR(20)", "167 20 0 0"),
        ("VARCHAR(MAX)", "167 -1 0 0"),
        ("NCHAR(5)", "239 10 0 0"),
        ("NVARCHAR(20)", "231 40 0 0"),
        ("NVARCHAR(MAX)", "231 -1 0 0"),
        ("BINARY(8)", "173 8 0 0"),
        ("VARBINARY(MAX)", "165 -1 0 0"),
        ("UNIQUEIDENTIFIER", "36 16 0 0"),
    ];
    let columns: Vec<String> = types.iter().enumerate().map(|(i, (ty, _))| format!("c{i} {ty} NULL")).collect();
    run(&mut c, &format!("CREATE TABLE w ({})", columns.join(", "))).await.unwrap();
    for (i, (ty, want)) in types.iter().enumerate() {
        let sql =
            format!("SELECT CONCAT(system_type_id, ' ', max_length, ' ', precision, ' ', scale) FROM sys.columns WHERE name = 'c{i}'");
        assert_eq!(one::<String>(&mut c, &sql).await, *want, "{ty}");
    }
}

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

//! The command line, and a whole process around a [`Server`].

use crate::engine::cache::CacheMode;
use crate::log::Log;
use crate::sabotage::Sabotage;
use crate::server::{Config, Server, StartError, TlsMode};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A TDS 7.4 server over SQLite.
///
/// The password of `sa` comes from MSSQL_SA_PASSWORD; ACCEPT_EULA, MSSQL_PID and MSSQL_MEMORY_LIMIT_MB are accepted and have no effect.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "tds-sqlite", version)]
pub struct Args {
    /// Address to listen on; port 0 picks one, which the log names.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:1433")]
    pub listen: SocketAddr,
    /// Directory for the data.
    #[arg(long, value_name = "DIR", default_value = "/var/opt/mssql")]
    pub data: PathBuf,
    /// Encryption: as clients want, never, or always.
    #[arg(long, value_name = "MODE", default_value = "on")]
    pub tls: TlsMode,
    /// Go on after SIGTERM, as an engine whose entrypoint does not forward it.
    #[arg(long)]
    pub ignore_sigterm: bool,
    /// What a SIGKILL leaves of what was written and not synced.
    #[arg(long, value_name = "MODE", default_value = "kernel")]
    pub cache: CacheMode,
    /// Be wrong on purpose, to show that a check finds it.
    #[arg(long, value_name = "MODE")]
    pub sabotage: Option<Sabotage>,
    /// Simulated recovery time in milliseconds; nothing listens until it is over.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub startup_delay: u64,
    /// Milliseconds that an explicit transaction may hold locks without a request.
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    pub idle_transaction: u64,
}

/// How long the runtime may take to let go of its tasks at the end.
const RUNTIME_TIME: Duration = Duration::from_millis(500);

/// Runs a server until SIGTERM, SIGINT or a fatal error. 0 after a clean shutdown, 1 otherwise.
pub fn main_with(args: Args) -> ExitCode {
    let log = Log::new(std::io::stdout());
    let password = match std::env::var("MSSQL_SA_PASSWORD") {
        Ok(p) => Some(p),
        Err(_) => {
            std::env::var("SA_PASSWORD").ok().inspect(|_| log.line("Server", "WARNING: SA_PASSWORD is deprecated, use MSSQL_SA_PASSWORD."))
        }
    };
    let Some(password) = password.filter(|p| !p.is_empty()) else {
        log.line("Server", "ERROR: the password of sa must be given in MSSQL_SA_PASSWORD.");
        return ExitCode::FAILURE;
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => {
            log.line("Server", &format!("ERROR: cannot start the runtime: {e}"));
            return ExitCode::FAILURE;
        }
    };
    if let Some(mode) = args.sabotage
        && std::io::stderr().is_terminal()
    {
        let _ = writeln!(std::io::stderr(), "\x1b[1;31mSABOTAGE ({}): this server is wrong on purpose.\x1b[0m", mode.name());
    }
    let code = runtime.block_on(run(args, password, log));
    runtime.shutdown_timeout(RUNTIME_TIME);
    code
}

async fn run(args: Args, password: String, log: Log) -> ExitCode {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut term), Ok(mut int)) = handlers else {
        log.line("Server", "ERROR: cannot install signal handlers.");
        return ExitCode::FAILURE;
    };
    let config = Config {
        listen: args.listen,
        tls: args.tls,
        sabotage: args.sabotage,
        cache: args.cache,
        startup_delay: Duration::from_millis(args.startup_delay),
        idle_transaction: Duration::from_millis(args.idle_transaction),
        log: log.clone(),
        ..Config::new(args.data, password)
    };
    let starting = Server::start(config);
    tokio::pin!(starting);
    let started = tokio::select! {
        s = &mut starting => s,
        _ = term.recv(), if !args.ignore_sigterm => return ExitCode::SUCCESS,
        _ = int.recv() => return ExitCode::SUCCESS,
    };
    let mut server = match started {
        Ok(s) => s,
        Err(e) => {
            if matches!(e, StartError::Tls(_)) {
                log.line("Server", &format!("ERROR: {e}"));
            }
            return ExitCode::FAILURE;
        }
    };
    loop {
        tokio::select! {
            _ = term.recv() => {
                if args.ignore_sigterm {
                    log.line("Server", "SIGTERM ignored.");
                    continue;
                }
                break;
            }
            _ = int.recv() => break,
            e = server.fatal() => {
                log.error("Server", 9001, 21, 4, &format!("The log for the database is not available: {e}. The server ends, because nothing can be acknowledged any more."));
                server.give_up().await;
                return ExitCode::FAILURE;
            }
        }
    }
    server.shutdown().await;
    ExitCode::SUCCESS
}

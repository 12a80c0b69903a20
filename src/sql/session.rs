//! A session: one TCP connection, one login, one request at a time, every wait bounded.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, ToSql};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::error::{Cause, SqlError, Stage, from_driver, from_io};
use super::value::{Param, Row};
use super::wire::{Socket, Wire};
use crate::experiment::Tls;
use crate::model::Secret;

/// Where and as whom to log in.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port` of the Service; an IPv6 host stands in brackets.
    pub address: String,
    /// The login.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// The database that the session begins in.
    pub database: String,
    /// Whether the connection is encrypted.
    pub tls: Tls,
}

impl Target {
    /// The same target, in another database.
    #[must_use]
    pub fn in_database(&self, database: &str) -> Target {
        Target { database: database.to_owned(), ..self.clone() }
    }

    fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The addresses behind the name. A literal one needs no resolver and no thread.
    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.address.parse::<SocketAddr>() {
            return Ok(vec![address]);
        }
        Ok(tokio::net::lookup_host(&self.address).await?.collect())
    }
}

/// How long the two steps to a session may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// The TCP connection, name resolution included.
    pub connect: Duration,
    /// PRELOGIN, TLS and LOGIN7.
    pub login: Duration,
}

impl Default for Deadlines {
    /// What a client on the same network can expect of a healthy server, with a wide margin.
    fn default() -> Self {
        Deadlines { connect: Duration::from_secs(1), login: Duration::from_secs(2) }
    }
}

/// A TCP connection that is not logged in yet.
#[derive(Debug)]
pub struct Dialed {
    stream: TcpStream,
    connected_at: Instant,
}

impl Dialed {
    /// Connects to the target's address, to each address of its name in turn.
    ///
    /// # Errors
    /// With stage [`Stage::Connect`]: nothing was sent.
    pub async fn connect(target: &Target, limit: Duration) -> Result<Dialed, SqlError> {
        let dial = async {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in target.resolve().await? {
                match dial(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        match timeout(limit, dial).await {
            Ok(Ok(stream)) => Ok(Dialed { stream, connected_at: Instant::now() }),
            Ok(Err(error)) => Err(from_io(Stage::Connect, &error)),
            Err(_) => Err(late(Stage::Connect, limit)),
        }
    }

    /// When the connection stood.
    pub fn connected_at(&self) -> Instant {
        self.connected_at
    }

    /// Logs in.
    ///
    /// # Errors
    /// With stage [`Stage::Login`]: no request was sent.
    pub async fn login(self, target: &Target, limit: Duration) -> Result<Session, SqlError> {
        let mut config = Config::new();
        config.host(target.host());
        config.application_name("chaos");
        config.database(&target.database);
        config.authentication(AuthMethod::sql_server(&target.user, target.password.reveal()));
        match target.tls {
            Tls::Off => config.encryption(EncryptionLevel::NotSupported),
            Tls::TrustServerCertificate => {
                config.encryption(EncryptionLevel::Required);
                config.trust_cert();
            }
        }
        // The driver's own deadlines would start a timer thread; ours bound the same waits.
        config.handshake_timeout(None);
        config.command_timeout(None);
        let socket = Socket::new(self.stream);
        match timeout(limit, Client::connect(config, Wire(Arc::clone(&socket)))).await {
            Ok(Ok(client)) => {
                Ok(Session { live: Some(Live { client, socket }), connected_at: self.connected_at, logged_in_at: Instant::now() })
            }
            Ok(Err(error)) => Err(from_driver(Stage::Login, error, &socket)),
            Err(_) => Err(late(Stage::Login, limit)),
        }
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let raw = SockRef::from(&stream);
    // A peer that vanished without a word, such as a node that lost power, is noticed by these two: keepalive on an idle connection, the user timeout
    // on one with unacknowledged data.
    raw.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(2)).with_retries(3))?;
    #[cfg(target_os = "linux")]
    raw.set_tcp_user_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// The open connection: the driver's end of it, and the handle that watches it.
#[derive(Debug)]
struct Live {
    client: Client<Wire>,
    socket: Arc<Socket>,
}

/// A logged-in session. After any error that leaves its state unknown it is closed, and every further call fails with [`Cause::NotConnected`].
#[derive(Debug)]
pub struct Session {
    live: Option<Live>,
    connected_at: Instant,
    logged_in_at: Instant,
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// The stage tells how far it came; no request was sent.
    pub async fn connect(target: &Target, deadlines: Deadlines) -> Result<Session, SqlError> {
        Dialed::connect(target, deadlines.connect).await?.login(target, deadlines.login).await
    }

    /// When the TCP connection stood.
    pub fn connected_at(&self) -> Instant {
        self.connected_at
    }

    /// When the login was accepted.
    pub fn logged_in_at(&self) -> Instant {
        self.logged_in_at
    }

    /// Whether the session can take a request.
    pub fn is_open(&self) -> bool {
        self.live.is_some()
    }

    /// Closes the session at once; an open transaction is rolled back by the server.
    pub fn close(&mut self) {
        self.live = None;
    }

    /// Waits until the other side is gone, and says how. Only for a session that waits for no answer: a server has nothing to say then, so that
    /// anything that arrives is taken for its goodbye.
    pub async fn gone(&self) -> SqlError {
        let Some(live) = &self.live else {
            return SqlError { stage: Stage::Request, cause: Cause::NotConnected };
        };
        from_io(Stage::Request, &live.socket.gone().await)
    }

    /// Runs one statement and returns how many rows it changed.
    ///
    /// # Errors
    /// See [`SqlError::classify`].
    pub async fn execute(&mut self, sql: &str, params: &[Param<'_>], limit: Duration) -> Result<u64, SqlError> {
        let mut live = self.take()?;
        let socket = Arc::clone(&live.socket);
        let params: Vec<&dyn ToSql> = params.iter().map(|param| param as &dyn ToSql).collect();
        let answer = bounded(limit, &socket, async {
            let done = live.client.execute(Cow::Borrowed(sql), &params).await?;
            Ok(done.total())
        })
        .await;
        self.give_back(live, answer)
    }

    /// Runs one query and returns the rows of its first result set.
    ///
    /// # Errors
    /// See [`SqlError::classify`].
    pub async fn query_rows(&mut self, sql: &str, params: &[Param<'_>], limit: Duration) -> Result<Vec<Row>, SqlError> {
        let mut live = self.take()?;
        let socket = Arc::clone(&live.socket);
        let params: Vec<&dyn ToSql> = params.iter().map(|param| param as &dyn ToSql).collect();
        let answer = bounded(limit, &socket, async {
            let stream = live.client.query(Cow::Borrowed(sql), &params).await?;
            // To the end: an error that follows a result set shows only there.
            Ok(rows(stream.into_results().await?))
        })
        .await;
        self.give_back(live, answer)
    }

    /// Runs a batch without parameters, outside `sp_executesql`, which is where BEGIN, COMMIT and ROLLBACK must be; returns the rows of its first result set.
    ///
    /// # Errors
    /// See [`SqlError::classify`].
    pub async fn batch(&mut self, sql: &str, limit: Duration) -> Result<Vec<Row>, SqlError> {
        let mut live = self.take()?;
        let socket = Arc::clone(&live.socket);
        let answer = bounded(limit, &socket, async {
            let stream = live.client.simple_query(Cow::Borrowed(sql)).await?;
            Ok(rows(stream.into_results().await?))
        })
        .await;
        self.give_back(live, answer)
    }

    /// Takes the connection out while it is in use: whoever drops a request in the middle drops the connection with it.
    fn take(&mut self) -> Result<Live, SqlError> {
        self.live.take().ok_or(SqlError { stage: Stage::Request, cause: Cause::NotConnected })
    }

    /// Keeps the connection for the next request when its state is certain.
    fn give_back<T>(&mut self, live: Live, answer: Result<T, SqlError>) -> Result<T, SqlError> {
        let usable = match &answer {
            Ok(_) => true,
            Err(error) => error.leaves_session_usable(),
        };
        if usable {
            self.live = Some(live);
        }
        answer
    }
}

async fn bounded<T>(limit: Duration, socket: &Socket, request: impl Future<Output = tiberius::Result<T>>) -> Result<T, SqlError> {
    match timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(from_driver(Stage::Request, error, socket)),
        Err(_) => Err(late(Stage::Request, limit)),
    }
}

fn rows(results: Vec<Vec<tiberius::Row>>) -> Vec<Row> {
    let first = results.into_iter().next().unwrap_or_default();
    first.into_iter().map(Row).collect()
}

fn late(stage: Stage, after: Duration) -> SqlError {
    SqlError { stage, cause: Cause::Timeout { after } }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use std::sync::atomic::Ordering;

    use super::super::Sent;
    use super::super::fake::FakeServer;
    use super::*;
    use crate::model::{ErrorKind, OpType};

    fn target(address: String) -> Target {
        Target { address, user: "sa".to_owned(), password: Secret::new("x".to_owned()), database: "master".to_owned(), tls: Tls::Off }
    }

    #[tokio::test]
    async fn a_refused_connection_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let error = Session::connect(&target(address), Deadlines::default()).await.expect_err("nobody listens");
        assert_eq!(error.stage, Stage::Connect);
        assert_eq!(error.op_error().kind, ErrorKind::Refused);
    }

    #[tokio::test]
    async fn a_server_that_never_speaks_is_a_late_login() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let deadlines = Deadlines { connect: Duration::from_secs(5), login: Duration::from_millis(50) };
        let error = Session::connect(&target(address), deadlines).await.expect_err("nobody answers");
        assert_eq!(error.stage, Stage::Login);
        assert_eq!(error.op_error().kind, ErrorKind::Timeout);
        drop(listener);
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_during_the_login_is_closed_or_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let server = tokio::spawn(async move {
            drop(listener.accept().await.expect("one client"));
        });
        let error = Session::connect(&target(address), Deadlines::default()).await.expect_err("the server hangs up");
        assert_eq!(error.stage, Stage::Login);
        assert!(matches!(error.op_error().kind, ErrorKind::Closed | ErrorKind::Reset));
        server.await.expect("the server task ends");
    }

    #[tokio::test]
    async fn an_unknown_name_was_not_sent_anywhere() {
        let error = Session::connect(
            &target("no-such-host.invalid:1433".to_owned()),
            Deadlines { connect: Duration::from_secs(20), login: Duration::from_secs(1) },
        )
        .await
        .expect_err("a reserved name does not resolve");
        assert_eq!(error.stage, Stage::Connect);
    }

    const LIMIT: Duration = Duration::from_secs(10);

    async fn session(server: &FakeServer) -> Session {
        Session::connect(&server.target(), Deadlines::default()).await.expect("the fake logs everybody in")
    }

    #[tokio::test]
    async fn a_session_survives_a_mild_error_and_nothing_else() {
        let server = FakeServer::start().await;
        let mut session = session(&server).await;
        assert!(session.connected_at() <= session.logged_in_at());
        server.behaviour.error.store(2627, Ordering::SeqCst);
        let error = session.execute("x", &[Param::I64(1)], LIMIT).await.expect_err("told to fail");
        assert_eq!(error.number(), Some(2627));
        server.behaviour.error.store(0, Ordering::SeqCst);
        assert_eq!(session.execute("x", &[], LIMIT).await, Ok(1));

        server.stall();
        let error = session.execute("x", &[], Duration::from_millis(50)).await.expect_err("no answer comes");
        assert_eq!(error.classify(Sent::Commit).0, OpType::Info);
        assert!(!session.is_open());
        let error = session.execute("x", &[], LIMIT).await.expect_err("closed");
        assert_eq!(error.classify(Sent::Commit), (OpType::Fail, error.op_error()));
        assert_eq!(error.op_error().kind, ErrorKind::NotSent);
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_closes_its_session() {
        let server = FakeServer::start().await;
        let mut session = session(&server).await;
        server.stall();
        tokio::select! {
            _ = session.execute("x", &[], LIMIT) => panic!("no answer comes"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        assert!(!session.is_open());
    }

    #[tokio::test]
    async fn a_reset_is_noticed_while_idle_and_in_flight() {
        let server = FakeServer::start().await;
        let idle = session(&server).await;
        let mut busy = session(&server).await;
        server.stall();
        let arrived = Arc::clone(&server.behaviour);
        let kill = async move {
            while arrived.requests.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            drop(server);
        };
        let (error, ()) = tokio::join!(busy.execute("x", &[], LIMIT), kill);
        let (outcome, seen) = error.expect_err("the server is gone").classify(Sent::Commit);
        assert_eq!((outcome, seen.kind), (OpType::Info, ErrorKind::Reset));
        let noticed = tokio::time::timeout(LIMIT, idle.gone()).await.expect("at once");
        assert_eq!(noticed.op_error().kind, ErrorKind::Reset);
    }

    #[tokio::test]
    async fn a_refused_login_has_its_number() {
        let server = FakeServer::start().await;
        server.behaviour.login_error.store(18456, Ordering::SeqCst);
        let error = Session::connect(&server.target(), Deadlines::default()).await.expect_err("told to refuse");
        assert_eq!((error.stage, error.number()), (Stage::Login, Some(18456)));
    }
}

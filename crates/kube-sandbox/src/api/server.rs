//! Connections: accepting, limits, authentication, orderly end.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::identity::{Identity, kubeconfig};
use super::listing::Snapshots;
use super::request::Call;
use super::respond::{self, Reply};
use super::{Hooks, budgets, route};
use crate::config::StartError;
use crate::store::{ApiError, Store};

/// Connections open at once; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 512;
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
const HEADERS_WAIT: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What every request may need.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) hooks: Hooks,
    pub(super) snapshots: Snapshots,
    pub(super) ending: CancellationToken,
    token: String,
}

/// A running API server.
pub struct ApiServer {
    url: String,
    authority_pem: String,
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").field("url", &self.url).finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Listens on a free port of 127.0.0.1. Must be called within a Tokio runtime. Without `token` a random one is made.
    ///
    /// # Errors
    /// When no port or no certificate can be had.
    pub fn start(store: Store, hooks: Hooks, token: Option<String>) -> Result<ApiServer, StartError> {
        let token = token.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            return Err(StartError::Config("a token consists of letters, digits and -._~".to_owned()));
        }
        let identity = Identity::create()?;
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| StartError::Io { what, source }
        };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("cannot listen on 127.0.0.1"))?;
        listener.set_nonblocking(true).map_err(io("cannot listen without blocking"))?;
        let address: SocketAddr = listener.local_addr().map_err(io("cannot learn the port"))?;
        let listener = TcpListener::from_std(listener).map_err(io("cannot register the listener"))?;
        let shared = Arc::new(Shared { store, hooks, snapshots: Snapshots::default(), ending: CancellationToken::new(), token });
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, identity.acceptor, Arc::clone(&shared), tasks.clone()));
        tasks.spawn(budgets::keep(shared.store.clone(), shared.ending.clone()));
        Ok(ApiServer { url: format!("https://{address}"), authority_pem: identity.authority_pem, shared, tasks })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The bearer token that it wants to see.
    pub fn token(&self) -> &str {
        &self.shared.token
    }

    /// The kubeconfig that leads to it, as YAML.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&self.url, &self.authority_pem, &self.shared.token)
    }

    /// Ends it and every open connection.
    pub async fn shutdown(self) {
        self.shared.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.shared.ending.cancel();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let (slot, accepted) = tokio::select! {
            () = shared.ending.cancelled() => return,
            next = next => match next { Some(next) => next, None => return },
        };
        match accepted {
            Ok((stream, _)) => {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
                tasks.spawn(async move {
                    tokio::select! {
                        () = shared.ending.cancelled() => {}
                        () = converse(stream, acceptor, Arc::clone(&shared)) => {}
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors or a connection that died in the queue: neither gets better by spinning.
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WAIT, acceptor.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let open = matches!(request.uri().path(), "/healthz" | "/livez" | "/readyz");
    if !open && !authenticated(&request, &shared.token) {
        return respond::failure(&ApiError::new(401, "Unauthorized", "Unauthorized"));
    }
    let started = std::time::Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let reply = match Call::new(request) {
        Ok(mut call) => route::dispatch(shared, &mut call).await,
        Err(error) => Err(error),
    };
    let reply = reply.unwrap_or_else(|error| respond::failure(&error));
    tracing::debug!(%method, %uri, status = reply.status().as_u16(), micros = started.elapsed().as_micros(), "request");
    reply
}

/// Compares all bytes whatever differs, so that the time taken tells nothing about the token.
fn authenticated(request: &Request<Incoming>, token: &str) -> bool {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(shown) = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer ")) else {
        return false;
    };
    let shown = shown.trim();
    shown.len() == token.len() && shown.bytes().zip(token.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

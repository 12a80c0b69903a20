//! The listeners of the proxies: opened when a Service gains its first endpoint, closed when it loses its last.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Cuts, relay};

/// Connections that may wait to be accepted, as many as the kernel allows by default.
const BACKLOG: u32 = 4096;
/// How long a pod's kernel may take to answer. Loopback answers at once unless the pod's accept queue is full, and a client of
/// a real cluster would retry its SYN for longer than this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// How long the kernel of a pod may take that was removed from the endpoints while the connection was being made.
const REMOVED_DEADLINE: Duration = Duration::from_millis(200);

type Backends = Arc<Vec<SocketAddr>>;

/// What should listen where, and who is behind it.
pub(super) type Wanted = BTreeMap<SocketAddr, Vec<SocketAddr>>;

/// All listeners of one sandbox.
#[derive(Debug)]
pub(super) struct Frontends {
    open: BTreeMap<SocketAddr, Frontend>,
    cuts: watch::Receiver<Cuts>,
}

#[derive(Debug)]
struct Frontend {
    backends: watch::Sender<Backends>,
    accepting: JoinHandle<()>,
}

impl Frontends {
    /// No listener yet.
    pub(super) fn new(cuts: watch::Receiver<Cuts>) -> Self {
        Frontends { open: BTreeMap::new(), cuts }
    }

    /// Opens, changes and closes listeners until they are as wanted; returns those that could not be opened, and why.
    pub(super) async fn apply(&mut self, wanted: Wanted) -> Vec<(SocketAddr, io::Error)> {
        let closing: Vec<SocketAddr> = self.open.keys().filter(|at| wanted.get(at).is_none_or(Vec::is_empty)).copied().collect();
        for at in closing {
            if let Some(frontend) = self.open.remove(&at) {
                frontend.close().await;
            }
        }
        let mut failed = Vec::new();
        for (at, backends) in wanted {
            if backends.is_empty() {
                continue;
            }
            if let Some(frontend) = self.open.get(&at) {
                frontend.backends.send_if_modified(|current| {
                    let differs = **current != backends;
                    if differs {
                        *current = Arc::new(backends);
                    }
                    differs
                });
                continue;
            }
            match listen(at) {
                Ok(listener) => {
                    let frontend = Frontend::open(listener, backends, self.cuts.clone());
                    self.open.insert(at, frontend);
                }
                Err(error) => failed.push((at, error)),
            }
        }
        failed
    }
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections of an earlier listener may linger in TIME_WAIT on the same address.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

impl Frontend {
    fn open(listener: TcpListener, backends: Vec<SocketAddr>, cuts: watch::Receiver<Cuts>) -> Self {
        let (backends, current) = watch::channel(Arc::new(backends));
        let accepting = tokio::spawn(accept(listener, current, cuts));
        Self { backends, accepting }
    }

    /// Returns once the listener is closed: from then on the kernel refuses, and the address can be listened on again.
    async fn close(self) {
        self.backends.send_replace(Arc::default());
        self.accepting.abort();
        let _cancelled = self.accepting.await;
    }
}

async fn accept(listener: TcpListener, backends: watch::Receiver<Backends>, cuts: watch::Receiver<Cuts>) {
    let turn = AtomicUsize::new(0);
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let pick = turn.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(client, backends.clone(), cuts.clone(), pick));
            }
            Err(error) => {
                // Out of file descriptors, most likely; without a pause this would spin until there are some again.
                tracing::warn!(%error, "a service proxy cannot accept");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// One connection, from its acceptance to its end.
async fn serve(client: TcpStream, mut backends: watch::Receiver<Backends>, mut cuts: watch::Receiver<Cuts>, pick: usize) {
    let chosen = {
        let current = backends.borrow_and_update();
        current.get(pick % current.len().max(1)).copied()
    };
    let Some(backend) = chosen else {
        return relay::reset(client);
    };
    let gone = async {
        // Whoever waits for a pod that stops to be an endpoint is told soon, instead of waiting for the deadline. Not at once: a pod
        // that terminates still answers, and a packet rule would have let this connection through to it.
        while backends.changed().await.is_ok() {
            if !backends.borrow_and_update().contains(&backend) {
                break;
            }
        }
        tokio::time::sleep(REMOVED_DEADLINE).await;
    };
    let connect = async {
        // A client whose SYN is dropped sends it again. Here its connection is accepted, and goes nowhere until the cut is taken back.
        until_cut(&mut cuts, backend, false).await;
        relay::connect(backend, CONNECT_DEADLINE).await
    };
    let connected = tokio::select! {
        biased;
        connected = connect => connected,
        () = gone => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    match connected {
        Ok(server) if client.set_nodelay(true).is_ok() => relay::relay(client, server, cuts, backend).await,
        _ => relay::reset(client),
    }
}

/// Waits until a pod is cut off, or is not any more. For ever when nobody can cut any more and it is not as wanted.
pub(super) async fn until_cut(cuts: &mut watch::Receiver<Cuts>, pod: SocketAddr, cut: bool) {
    let as_wanted = cuts.wait_for(|cuts| cuts.values().any(|one| *one == pod) == cut).await.is_ok();
    if !as_wanted {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::super::addresses::AddressBlock;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Rig {
        block: AddressBlock,
        frontends: Frontends,
        cuts: watch::Sender<Cuts>,
        at: SocketAddr,
    }

    fn rig() -> Rig {
        let block = AddressBlock::lease().unwrap();
        let at = SocketAddr::new(block.take_service().unwrap().into(), 1433);
        let cuts = watch::Sender::default();
        Rig { block, frontends: Frontends::new(cuts.subscribe()), cuts, at }
    }

    impl Rig {
        async fn pod(&self) -> TcpListener {
            TcpListener::bind((self.block.take_pod(1).unwrap(), 1433)).await.unwrap()
        }

        async fn point_to(&mut self, pods: &[&TcpListener]) {
            let backends = pods.iter().map(|pod| pod.local_addr().unwrap()).collect();
            let failed = self.frontends.apply(Wanted::from([(self.at, backends)])).await;
            assert!(failed.is_empty(), "{failed:?}");
        }

        async fn pair(&self, pod: &TcpListener) -> (TcpStream, TcpStream) {
            let (client, server) = tokio::join!(TcpStream::connect(self.at), pod.accept());
            (client.unwrap(), server.unwrap().0)
        }
    }

    #[tokio::test]
    async fn no_endpoint_is_a_refusal_and_one_endpoint_opens_the_address_again() {
        let mut rig = rig();
        let pod = rig.pod().await;
        for _ in 0..50 {
            rig.point_to(&[]).await;
            let refused = TcpStream::connect(rig.at).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            rig.point_to(&[&pod]).await;
            drop(rig.pair(&pod).await);
        }
    }

    #[tokio::test]
    async fn a_half_close_loses_nothing_in_either_direction() {
        let mut rig = rig();
        let pod = rig.pod().await;
        rig.point_to(&[&pod]).await;
        let (mut client, mut server) = rig.pair(&pod).await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            client.write_all(&copy).await.unwrap();
            client.shutdown().await.unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).await.unwrap();
            back
        });
        let mut seen = Vec::new();
        server.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, sent);
        server.write_all(&seen).await.unwrap();
        drop(server);
        assert_eq!(writing.await.unwrap(), sent);
    }

    #[tokio::test]
    async fn a_reset_on_one_side_is_a_reset_on_the_other() {
        let mut rig = rig();
        let pod = rig.pod().await;
        rig.point_to(&[&pod]).await;
        let (mut client, server) = rig.pair(&pod).await;
        relay::reset(server);
        let seen = client.read_u8().await.unwrap_err();
        assert_eq!(seen.kind(), io::ErrorKind::ConnectionReset);
        let (client, mut server) = rig.pair(&pod).await;
        relay::reset(client);
        assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn established_connections_stay_while_new_ones_go_to_the_new_endpoint() {
        let mut rig = rig();
        let (old, new) = (rig.pod().await, rig.pod().await);
        rig.point_to(&[&old]).await;
        let (mut kept, mut old_side) = rig.pair(&old).await;
        rig.point_to(&[&new]).await;
        let _second = rig.pair(&new).await;
        rig.point_to(&[]).await;
        kept.write_all(b"x").await.unwrap();
        assert_eq!(old_side.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn an_address_that_somebody_else_holds_is_reported() {
        let mut rig = rig();
        let _holder = TcpListener::bind(rig.at).await.unwrap();
        let failed = rig.frontends.apply(Wanted::from([(rig.at, vec![rig.at])])).await;
        assert_eq!(failed.len(), 1);
    }

    #[tokio::test]
    async fn a_pod_that_is_cut_off_is_not_heard_of_and_everything_arrives_once_it_is_back() {
        let mut rig = rig();
        let pod = rig.pod().await;
        rig.point_to(&[&pod]).await;
        let (mut client, mut server) = rig.pair(&pod).await;
        rig.cuts.send_replace(Cuts::from([("a".to_owned(), pod.local_addr().unwrap())]));
        client.write_u8(7).await.unwrap();
        let mut newcomer = TcpStream::connect(rig.at).await.unwrap();
        newcomer.write_u8(8).await.unwrap();
        let silence = Duration::from_millis(200);
        assert!(tokio::time::timeout(silence, server.read_u8()).await.is_err(), "a byte went through the cut");
        assert!(tokio::time::timeout(silence, pod.accept()).await.is_err(), "a connection went through the cut");
        rig.cuts.send_replace(Cuts::new());
        assert_eq!(server.read_u8().await.unwrap(), 7);
        let (mut late, _) = pod.accept().await.unwrap();
        assert_eq!(late.read_u8().await.unwrap(), 8);
    }

    #[tokio::test]
    async fn hundreds_of_connections_are_served_together() {
        let mut rig = rig();
        let pod = rig.pod().await;
        rig.point_to(&[&pod]).await;
        let echo = tokio::spawn(async move {
            loop {
                let (mut stream, _) = pod.accept().await.unwrap();
                tokio::spawn(async move {
                    let byte = stream.read_u8().await.unwrap();
                    stream.write_u8(byte.wrapping_add(1)).await.unwrap();
                });
            }
        });
        let at = rig.at;
        let clients: Vec<_> = (0..400_u32)
            .map(|n| {
                tokio::spawn(async move {
                    let byte = n.to_le_bytes()[0];
                    let mut stream = TcpStream::connect(at).await.unwrap();
                    stream.write_u8(byte).await.unwrap();
                    assert_eq!(stream.read_u8().await.unwrap(), byte.wrapping_add(1));
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        echo.abort();
    }

    /// The median of many round trips of one connection, in microseconds.
    async fn round_trip_us(at: SocketAddr) -> u128 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut taken = Vec::new();
        let mut buffer = [0; 64];
        for _ in 0..1000 {
            let began = std::time::Instant::now();
            stream.write_all(&[1; 64]).await.unwrap();
            stream.read_exact(&mut buffer).await.unwrap();
            taken.push(began.elapsed().as_micros());
        }
        taken.sort_unstable();
        taken[taken.len() / 2]
    }

    /// The bound is twenty times what a quiet machine needs (some 20 µs): a proxy that waits for a timer or for Nagle would take 40 ms.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_round_trip_through_the_proxy_costs_microseconds() {
        let mut rig = rig();
        let pod = rig.pod().await;
        let direct = pod.local_addr().unwrap();
        rig.point_to(&[&pod]).await;
        let echo = tokio::spawn(async move {
            loop {
                let (mut stream, _) = pod.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let mut buffer = [0; 64];
                    while stream.read_exact(&mut buffer).await.is_ok() {
                        stream.write_all(&buffer).await.unwrap();
                    }
                });
            }
        });
        let (direct, proxied) = (round_trip_us(direct).await, round_trip_us(rig.at).await);
        assert!(proxied < direct + 1000, "direct {direct} us, through the proxy {proxied} us");
        echo.abort();
    }
}

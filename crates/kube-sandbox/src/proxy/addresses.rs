//! The loopback addresses of one sandbox.
//!
//! Every sandbox leases a block `127.A.0.0/16` of its own, so that several run side by side and every pod may listen on the port that its
//! image is used to. The lease is a bound datagram socket inside the block: it ends with the process, however the process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The port of the socket whose binding is the lease. Nothing is ever sent to it.
const LEASE_PORT: u16 = 47_001;
/// First and last third octet of the addresses that Services get; the ones below belong to nodes and their pods.
const SERVICE_RANGE: (u8, u8) = (240, 243);
/// The third octet of the addresses that load balancers get.
const BALANCER_OCTET: u8 = 244;
/// The node ports that the API server hands out by default in every Kubernetes.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;
/// Nodes a block has room for: one /24 of pod addresses each.
pub const NODES_MAX: u8 = 32;

/// A leased block of loopback addresses. Clones share the lease, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct AddressBlock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    second_octet: u8,
    _lease: UdpSocket,
    taken: Mutex<BTreeSet<Ipv4Addr>>,
    /// Where the next search begins, by the third octet of the range.
    next: Mutex<BTreeMap<u8, usize>>,
}

impl AddressBlock {
    /// Leases a block that no other sandbox of this machine holds.
    ///
    /// # Errors
    /// `AddrInUse` when every block is taken; any other error of binding a socket on loopback.
    pub fn lease() -> io::Result<Self> {
        // Starting anywhere keeps two sandboxes that start together from racing for the same block, and the walk ends after one round.
        let start: u8 = rand::random_range(1..=254);
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for step in 0..254_u16 {
            let second_octet = u8::try_from((u16::from(start) - 1 + step) % 254 + 1).unwrap_or(1);
            match UdpSocket::bind((Ipv4Addr::new(127, second_octet, 0, 1), LEASE_PORT)) {
                Ok(socket) => {
                    let inner = Inner { second_octet, _lease: socket, taken: Mutex::default(), next: Mutex::default() };
                    return Ok(Self { inner: Arc::new(inner) });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The address of the node with this index; node 0 is the control plane.
    #[must_use]
    pub fn node(&self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.inner.second_octet, 0, 2 + index)
    }

    /// The pod network of a node, as its `spec.podCIDR` shows it.
    #[must_use]
    pub fn pod_cidr(&self, index: u8) -> String {
        format!("127.{}.{}.0/24", self.inner.second_octet, pod_octet(index))
    }

    /// The addresses of Services, as messages show them.
    #[must_use]
    pub fn service_range(&self) -> String {
        format!("127.{}.{}.0/22", self.inner.second_octet, SERVICE_RANGE.0)
    }

    /// Takes a free pod address of a node; `None` when all are in use.
    #[must_use]
    pub fn take_pod(&self, index: u8) -> Option<Ipv4Addr> {
        let octet = pod_octet(index);
        self.take(octet, 254, |turn| Ipv4Addr::new(127, self.inner.second_octet, octet, last_octet(turn)))
    }

    /// Takes a free Service address; `None` when all are in use.
    #[must_use]
    pub fn take_service(&self) -> Option<Ipv4Addr> {
        let (first, last) = SERVICE_RANGE;
        let size = 254 * usize::from(last - first + 1);
        self.take(first, size, |turn| {
            let third = first + u8::try_from(turn / 254).unwrap_or(0);
            Ipv4Addr::new(127, self.inner.second_octet, third, last_octet(turn))
        })
    }

    /// Takes a free address for a load balancer; `None` when all are in use.
    #[must_use]
    pub fn take_balancer(&self) -> Option<Ipv4Addr> {
        self.take(BALANCER_OCTET, 254, |turn| Ipv4Addr::new(127, self.inner.second_octet, BALANCER_OCTET, last_octet(turn)))
    }

    /// Takes this very Service address; false when it is in use or not of the Services' range.
    #[must_use]
    pub fn claim_service(&self, address: Ipv4Addr) -> bool {
        let [_, second, third, _] = address.octets();
        let ours = second == self.inner.second_octet && (SERVICE_RANGE.0..=SERVICE_RANGE.1).contains(&third);
        ours && self.taken().insert(address)
    }

    /// Gives an address back.
    pub fn release(&self, address: Ipv4Addr) {
        self.taken().remove(&address);
    }

    /// Addresses are handed out in turn, so that one that was just given back is not at once somebody else's: a client with an old
    /// address must find nobody there, as it would in a cluster.
    fn take(&self, lane: u8, size: usize, address: impl Fn(usize) -> Ipv4Addr) -> Option<Ipv4Addr> {
        let mut lanes = self.inner.next.lock().unwrap_or_else(PoisonError::into_inner);
        let next = lanes.entry(lane).or_default();
        let mut taken = self.taken();
        for _ in 0..size {
            let candidate = address(*next);
            *next = (*next + 1) % size;
            if taken.insert(candidate) {
                return Some(candidate);
            }
        }
        None
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<Ipv4Addr>> {
        self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pod_octet(index: u8) -> u8 {
    10 + index.min(NODES_MAX)
}

fn last_octet(turn: usize) -> u8 {
    u8::try_from(turn % 254).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    #[test]
    fn two_sandboxes_never_share_a_block() {
        let blocks: Vec<_> = (0..8).map(|_| AddressBlock::lease().unwrap()).collect();
        let distinct: BTreeSet<_> = blocks.iter().map(|block| block.node(0)).collect();
        assert_eq!(distinct.len(), blocks.len());
    }

    #[test]
    fn an_address_given_back_is_not_the_next_one_handed_out() {
        let block = AddressBlock::lease().unwrap();
        let first = block.take_pod(1).unwrap();
        block.release(first);
        assert_ne!(block.take_pod(1).unwrap(), first);
    }

    #[test]
    fn a_full_node_has_no_address_left_and_its_neighbour_has() {
        let block = AddressBlock::lease().unwrap();
        let all: BTreeSet<_> = (0..254).map(|_| block.take_pod(1).unwrap()).collect();
        assert_eq!(all.len(), 254);
        assert_eq!(block.take_pod(1), None);
        assert!(block.take_pod(2).is_some());
        let freed = *all.first().unwrap();
        block.release(freed);
        assert_eq!(block.take_pod(1), Some(freed));
    }

    #[test]
    fn a_service_address_can_be_asked_for_once() {
        let block = AddressBlock::lease().unwrap();
        let address = block.take_service().unwrap();
        assert!(!block.claim_service(address));
        block.release(address);
        assert!(block.claim_service(address));
        assert!(!block.claim_service(Ipv4Addr::LOCALHOST));
    }
}

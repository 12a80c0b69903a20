//! Cluster IPs and node ports for Services, out of the sandbox's own address block.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use super::addresses::{AddressBlock, NODE_PORTS};
use crate::hooks::Allocator;

/// Hands out what no other Service of this sandbox has.
#[derive(Debug)]
pub(crate) struct ServiceAddresses {
    block: AddressBlock,
    ports: Mutex<BTreeSet<u16>>,
}

impl ServiceAddresses {
    pub(crate) fn new(block: AddressBlock) -> Self {
        Self { block, ports: Mutex::default() }
    }
}

impl Allocator for ServiceAddresses {
    fn cluster_ip(&self, requested: Option<&str>) -> Result<String, String> {
        let Some(requested) = requested else {
            return self.block.take_service().map(|address| address.to_string()).ok_or_else(|| "range is full".to_owned());
        };
        let address: Ipv4Addr = requested.parse().map_err(|_invalid| "not a valid IPv4 address".to_owned())?;
        if self.block.claim_service(address) {
            return Ok(requested.to_owned());
        }
        let range = self.block.service_range();
        Err(format!("the provided IP is already allocated or not in the valid range. The range of valid IPs is {range}"))
    }

    fn node_port(&self, requested: Option<u16>) -> Result<u16, String> {
        let mut taken = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = requested {
            if !NODE_PORTS.contains(&port) {
                return Err("provided port is not in the valid range. The range of valid ports is 30000-32767".to_owned());
            }
            return if taken.insert(port) { Ok(port) } else { Err("provided port is already allocated".to_owned()) };
        }
        // At random, as the real one does, so that nobody comes to rely on a number.
        let size = NODE_PORTS.end() - NODE_PORTS.start() + 1;
        let start: u16 = rand::random_range(0..size);
        let free = (0..size).map(|step| NODE_PORTS.start() + (start + step) % size).find(|port| !taken.contains(port));
        let port = free.ok_or_else(|| "range is full".to_owned())?;
        taken.insert(port);
        Ok(port)
    }

    fn release_cluster_ip(&self, address: &str) {
        if let Ok(address) = address.parse() {
            self.block.release(address);
        }
    }

    fn release_node_port(&self, port: u16) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
    }
}

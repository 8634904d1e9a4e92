//! Addresses of hollow nodes and of the Pods on them. Nodes are in TEST-NET-1 (RFC 5737), where nothing real can be met;
//! every node has a range of its own for Pods.

use std::{collections::BTreeMap, net::Ipv4Addr};

use parking_lot::Mutex;

/// How many Pods fit into a node's range of 256, its network, its gateway and its broadcast address left out.
const HOSTS: std::ops::Range<u32> = 2..255;

/// The Pods' addresses that are in use.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<BTreeMap<u32, BTreeMap<Box<str>, u32>>>);

/// The address of the node with this number (from 0).
pub fn node(number: usize) -> Ipv4Addr {
    let last = u8::try_from(1 + number % 254).unwrap_or(1);
    Ipv4Addr::new(192, 0, 2, last)
}

/// The range of Pods on the node with this number.
pub fn pod_cidr(number: usize) -> String {
    format!("{}/24", Ipv4Addr::from_bits(base(number)))
}

fn base(number: usize) -> u32 {
    let number = u32::try_from(number).unwrap_or_default();
    Ipv4Addr::new(10, 244, 0, 0).to_bits() + ((number % 0xf000) << 8)
}

// === impl Addresses ===

impl Addresses {
    /// The address of a Pod on a node: the one it has, or the lowest that is free. `None` when the range is full.
    pub fn assign(&self, node: usize, uid: &str, has: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let base = base(node);
        let mut ranges = self.0.lock();
        let used = ranges.entry(base).or_default();
        if let Some(has) = has {
            used.insert(uid.into(), has.to_bits());
            return Some(has);
        }
        if let Some(&given) = used.get(uid) {
            return Some(Ipv4Addr::from_bits(given));
        }
        let taken: std::collections::BTreeSet<u32> = used.values().copied().collect();
        let free = HOSTS.map(|host| base + host).find(|address| !taken.contains(address))?;
        used.insert(uid.into(), free);
        Some(Ipv4Addr::from_bits(free))
    }

    /// Takes a Pod's address back.
    pub fn release(&self, node: usize, uid: &str) {
        if let Some(used) = self.0.lock().get_mut(&base(node)) {
            used.remove(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_keeps_its_address_and_a_free_one_is_used_again() {
        let addresses = Addresses::default();
        let first = addresses.assign(0, "a", None);
        assert_eq!(first, Some(Ipv4Addr::new(10, 244, 0, 2)));
        assert_eq!(addresses.assign(0, "a", None), first);
        assert_eq!(addresses.assign(0, "b", None), Some(Ipv4Addr::new(10, 244, 0, 3)));
        assert_eq!(addresses.assign(1, "c", None), Some(Ipv4Addr::new(10, 244, 1, 2)));
        addresses.release(0, "a");
        assert_eq!(addresses.assign(0, "d", None), first);
    }

    #[test]
    fn an_address_from_before_a_restart_is_not_given_twice() {
        let addresses = Addresses::default();
        let has = Some(Ipv4Addr::new(10, 244, 0, 2));
        assert_eq!(addresses.assign(0, "old", has), has);
        assert_eq!(addresses.assign(0, "new", None), Some(Ipv4Addr::new(10, 244, 0, 3)));
    }
}

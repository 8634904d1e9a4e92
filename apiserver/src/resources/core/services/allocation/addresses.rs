//! Ranges of cluster addresses and how one is chosen.
//!
//! A range has two bands: the lower one is left to those who ask for a certain address as long as the upper one lasts
//! (KEP-3070).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use runtime::Random;

use super::{Family, Pool};
use crate::resources::shared::addresses::parse_cidr_sloppy;

/// The shortest prefix of a range of IPv6.
const V6_PREFIX_MIN: u8 = 64;

/// A range that addresses are handed out of: one of a ServiceCIDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    network: u128,
    length: u8,
    family: Family,
    /// Whether new addresses may be handed out: not if all ServiceCIDRs that have the range are not ready or going.
    pub ready: bool,
}

// === impl AddressRange ===

impl AddressRange {
    /// The range of this text; `None` if it is none that addresses can be handed out of.
    pub fn new(text: &str, ready: bool) -> Option<Self> {
        let range = parse_cidr_sloppy(text)?;
        let (network, family) = match range.network() {
            IpAddr::V4(network) => (u128::from(network.to_bits()), Family::V4),
            IpAddr::V6(network) => (network.to_bits(), Family::V6),
        };
        let too_big = family == Family::V6 && range.length < V6_PREFIX_MIN;
        (!too_big).then_some(Self { network, length: range.length, family, ready })
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether the address is in the range and can be handed out: the network's own and IPv4's broadcast cannot.
    pub fn contains(&self, ip: IpAddr) -> bool {
        Family::of(ip) == self.family && (self.first()..=self.last()).contains(&bits(ip))
    }

    fn host_bits(&self) -> u32 {
        let width: u32 = if self.family == Family::V4 { 32 } else { 128 };
        width.saturating_sub(self.length.into())
    }

    fn first(&self) -> u128 {
        self.network + 1
    }

    /// Below [`Self::first`] if there are no addresses.
    fn last(&self) -> u128 {
        let all = self.network + ((1_u128 << self.host_bits()) - 1);
        if self.family == Family::V4 { all.saturating_sub(1) } else { all }
    }

    /// How many addresses the lower band has.
    fn lower_band(&self) -> u128 {
        const MIN: u128 = 16;
        const MAX: u128 = 256;
        const STEP: u128 = 16;
        let size = 1_u128 << self.host_bits();
        if size <= MIN { 0 } else { (size / STEP).clamp(MIN, MAX) }
    }

    /// An address that is free, `None` if there is none.
    fn choose(&self, is_taken: &dyn Fn(IpAddr) -> bool, random: &Random) -> Option<IpAddr> {
        let (first, last) = (self.first(), self.last());
        let border = first + self.lower_band();
        self.search(border, last, is_taken, random)
            .or_else(|| self.search(first, border.saturating_sub(1), is_taken, random))
    }

    /// Looks at all addresses of a band, beginning somewhere.
    fn search(
        &self,
        first: u128,
        last: u128,
        is_taken: &dyn Fn(IpAddr) -> bool,
        random: &Random,
    ) -> Option<IpAddr> {
        let size = last.checked_sub(first)? + 1;
        let start = first + u128::from(random.below(u64::try_from(size).unwrap_or(u64::MAX)));
        (start..=last).chain(first..start).map(|bits| self.address(bits)).find(|&ip| !is_taken(ip))
    }

    fn address(&self, bits: u128) -> IpAddr {
        match self.family {
            // The network is IPv4's, and no band leaves it.
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default())),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address(self.network), self.length)
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// Any free address of the family, `None` if all are taken.
pub(super) fn choose(family: Family, pool: &Pool<'_>) -> Option<IpAddr> {
    let mut ranges = pool.ranges.iter().filter(|range| range.family == family);
    if pool.dry_run {
        return ranges.next().map(|range| range.address(range.network));
    }
    ranges.filter(|range| range.ready).find_map(|range| range.choose(pool.is_taken, pool.random))
}

/// Why this address cannot be had, if it cannot.
pub(super) fn check(ip: IpAddr, pool: &Pool<'_>) -> Result<(), String> {
    if pool.dry_run {
        let mut of_family = pool.ranges.iter().filter(|range| range.family == Family::of(ip));
        return match of_family.clone().any(|range| range.contains(ip)) {
            true => Ok(()),
            false => Err(match of_family.next() {
                Some(range) => {
                    format!(
                        "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
                    )
                }
                None => "the provided network does not match the current range".to_owned(),
            }),
        };
    }
    if !pool.ranges.iter().any(|range| range.ready && range.contains(ip)) {
        return Err("the provided network does not match the current range".to_owned());
    }
    if (pool.is_taken)(ip) {
        return Err("provided IP is already allocated".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(range: &str) -> Vec<IpAddr> {
        let range = AddressRange::new(range, true).unwrap();
        let random = Random::from_seed(3);
        let mut taken: BTreeSet<IpAddr> = BTreeSet::new();
        let mut order = Vec::new();
        while let Some(ip) = range.choose(&|ip| taken.contains(&ip), &random) {
            taken.insert(ip);
            order.push(ip);
        }
        order
    }

    #[test]
    fn every_address_of_a_range_is_handed_out_once() {
        for (range, size) in [
            ("10.0.0.0/32", 0),
            ("10.0.0.0/31", 0),
            ("10.0.0.0/30", 2),
            ("10.0.0.0/28", 14),
            ("10.0.0.0/24", 254),
            ("255.255.255.0/24", 254),
            ("2001:db8::/120", 255),
            ("2001:db8::/127", 1),
        ] {
            assert_eq!(all(range).len(), size, "{range}");
        }
    }

    #[test]
    fn the_lower_band_is_used_last() {
        let order = all("10.0.0.0/24");
        let lower: Vec<bool> = order.iter().map(|ip| bits(*ip) & 0xff <= 16).collect();
        assert_eq!(lower.iter().position(|&lower| lower), Some(254 - 16));
        assert!(lower[254 - 16..].iter().all(|&lower| lower));
    }

    #[test]
    fn neither_the_network_nor_the_broadcast_address_can_be_asked_for() {
        let range = AddressRange::new("10.0.0.0/24", true).unwrap();
        for (ip, contained) in [
            ("10.0.0.0", false),
            ("10.0.0.1", true),
            ("10.0.0.254", true),
            ("10.0.0.255", false),
            ("::1", false),
        ] {
            assert_eq!(range.contains(ip.parse().unwrap()), contained, "{ip}");
        }
        assert!(AddressRange::new("2001:db8::/120", true).unwrap().contains("2001:db8::ff".parse().unwrap()));
        assert_eq!(AddressRange::new("2001:db8::/63", true), None);
    }
}

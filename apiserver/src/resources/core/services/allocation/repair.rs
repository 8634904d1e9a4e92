//! Making taken ports and addresses agree with the Services that have them.
//!
//! Crashes between a write of a Service and those around it leave ports or addresses that nobody has, rarely a
//! Service with one that is not marked taken. What only seems to have leaked may belong to a write that is under way:
//! it gets time before it is cleaned up.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Service, ServiceSpec},
    networking::v1::{IPAddress, ParentReference},
};

use super::{
    super::spec_of, AddressRange, Family, LABEL_FAMILY, LABEL_MANAGED_BY, MANAGER, NONE, Ports,
    needs_cluster_ip,
};
use crate::resources::shared::{
    addresses::parse_sloppy,
    optional::{Entries, Items, Text},
};

/// How many rounds a port may seem to have leaked before it is cleaned up.
const ROUNDS_BEFORE_CLEANUP: u32 = 3;
/// How long an address may have no Service.
const ADDRESS_GRACE: Duration = Duration::from_secs(60);
/// How long a Service may take to say that an address is its own.
const CLAIM_GRACE: Duration = Duration::from_secs(5);

/// How many more rounds each port that nobody has may stay.
pub type Leaks = BTreeMap<u16, u32>;

/// What the watchers of a Service or an address should hear of: an event of type Warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The event's reason.
    pub reason: &'static str,
    /// The event's action.
    pub action: &'static str,
    /// The event's note.
    pub note: String,
}

fn report(reason: &'static str, action: &'static str, note: impl Into<String>) -> Report {
    Report { reason, action, note: note.into() }
}

/// The ports as the Services have them, and what to tell each Service, by its place in `services`.
///
/// `leaks` is what the last round left behind. Ports in it, or new in it, stay taken until their rounds are over.
pub fn repair_ports(
    services: &[Service],
    stored: &Ports,
    leaks: &mut Leaks,
) -> (Ports, Vec<(usize, Report)>) {
    let mut stored = stored.clone();
    let mut rebuilt = Ports::new(stored.range());
    let mut reports = Vec::new();
    for (index, service) in services.iter().enumerate() {
        for port in ports_of(spec_of(service)) {
            let in_range = u16::try_from(port).ok();
            let found = match rebuilt.take(port) {
                Ok(taken) => {
                    leaks.remove(&taken);
                    if stored.has(port) {
                        stored.release(port);
                        continue;
                    }
                    ("PortNotAllocated", format!("Port {port} is not allocated; repairing"))
                }
                Err(_) if rebuilt.has(port) && in_range.is_some() => (
                    "PortAlreadyAllocated",
                    format!("Port {port} was assigned to multiple services; please recreate service"),
                ),
                Err(_) => (
                    "PortOutOfRange",
                    format!(
                        "Port {port} is not within the port range {}; please recreate service",
                        stored.range()
                    ),
                ),
            };
            reports.push((index, report(found.0, "PortAllocation", found.1)));
        }
    }
    for port in stored.taken() {
        let rounds = leaks.get(&port).copied().unwrap_or(ROUNDS_BEFORE_CLEANUP - 1);
        if !leaks.contains_key(&port) || rounds > 0 {
            leaks.insert(port, rounds.saturating_sub(1));
            // It is in range and free: whoever has it would have taken it from `stored`.
            let _ = rebuilt.take(port.into());
        }
    }
    (rebuilt, reports)
}

/// The node ports of a Service. Protocols may share one; the same port twice for one protocol counts twice.
fn ports_of(spec: &ServiceSpec) -> Vec<i32> {
    let mut ports = Vec::new();
    let mut seen: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    for port in spec.ports.items() {
        let Some(number) = port.node_port.filter(|&number| number != 0) else { continue };
        let protocols = seen.entry(number).or_default();
        let protocol = port.protocol.text();
        if protocols.is_empty() || protocols.contains(&protocol) {
            ports.push(number);
        }
        protocols.push(protocol);
    }
    if let Some(number) = spec.health_check_node_port.filter(|&number| number != 0)
        && seen.get(&number).is_none_or(|protocols| protocols.contains(&"TCP"))
    {
        ports.push(number);
    }
    ports
}

/// What to do about an address of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressRepair {
    /// Nothing can be done but tell.
    Tell(Report),
    /// There is no IPAddress: make it.
    Create(IpAddr, Report),
    /// The IPAddress is not this Service's, nor anybody's: delete it and make it again.
    Recreate(IpAddr, Option<Report>),
}

/// What to do about the addresses of a Service. `address` finds an IPAddress, `service` another Service by namespace
/// and name.
pub fn repair_service<'a>(
    service: &Service,
    ranges: &[AddressRange],
    address: impl Fn(IpAddr) -> Option<&'a IPAddress>,
    other: impl Fn(&str, &str) -> Option<&'a Service>,
) -> Vec<AddressRepair> {
    let spec = spec_of(service);
    let (namespace, name) = (service.metadata.namespace.text(), service.metadata.name.text());
    if !needs_cluster_ip(spec) || matches!(spec.cluster_ip.text(), "" | NONE) {
        return Vec::new();
    }
    let tell = |reason, note: String| report(reason, "ClusterIPAllocation", note);
    let mut repairs = Vec::new();
    for text in spec.cluster_ips.items() {
        let Some(ip) = parse_sloppy(text) else {
            repairs.push(AddressRepair::Tell(report(
                "ClusterIPNotValid",
                "ClusterIPValidation",
                "Cluster IP <nil> is not a valid IP; please recreate Service",
            )));
            continue;
        };
        let family = Family::of(ip).name();
        if !ranges.iter().any(|range| range.contains(ip)) {
            repairs.push(AddressRepair::Tell(tell(
                "ClusterIPOutOfRange",
                format!(
                    "Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
                ),
            )));
            continue;
        }
        let Some(object) = address(ip) else {
            let note = format!("Cluster IP [{family}]: {ip} is not allocated; repairing");
            repairs.push(AddressRepair::Create(ip, tell("ClusterIPNotAllocated", note)));
            continue;
        };
        let wrong = || {
            tell(
                "ClusterIPNotAllocated",
                format!(
                    "the ClusterIP [{family}]: {ip} for Service {namespace}/{name} has a wrong reference; repairing"
                ),
            )
        };
        let parent = &object.spec.parent_ref;
        if !is_of_services(parent) {
            repairs.push(AddressRepair::Recreate(ip, Some(wrong())));
            continue;
        }
        if parent.namespace.text() != namespace || parent.name != name {
            let Some(other) = other(parent.namespace.text(), &parent.name) else {
                repairs.push(AddressRepair::Recreate(ip, Some(wrong())));
                continue;
            };
            if spec_of(other).cluster_ips.items().iter().any(|it| it == object.metadata.name.text()) {
                repairs.push(AddressRepair::Tell(tell(
                    "ClusterIPAlreadyAllocated",
                    format!(
                        "Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service"
                    ),
                )));
            }
        }
        let labels = &object.metadata.labels;
        let labelled = labels.at(LABEL_FAMILY).is_some_and(|it| it == family)
            && labels.at(LABEL_MANAGED_BY).is_some_and(|it| it == MANAGER);
        if !labelled {
            repairs.push(AddressRepair::Recreate(ip, None));
        }
    }
    repairs
}

fn is_of_services(parent: &ParentReference) -> bool {
    parent.group.text().is_empty() && parent.resource == "services"
}

/// What to do about an IPAddress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is somebody's, or none of ours.
    Keep,
    /// It may still become somebody's: look again later.
    LookAgain(Duration),
    /// It is nobody's.
    Delete(Report),
}

/// What to do about an IPAddress, given the Service it names, if that exists.
pub fn repair_address(address: &IPAddress, service: Option<&Service>, now: Timestamp) -> Verdict {
    if address.metadata.labels.at(LABEL_MANAGED_BY).is_none_or(|it| it != MANAGER) {
        return Verdict::Keep;
    }
    let ip = address.metadata.name.text();
    let delete = |reason, note: String| Verdict::Delete(report(reason, "IPAddressAllocation", note));
    let parent = &address.spec.parent_ref;
    if !is_of_services(parent) {
        let (group, resource) = (parent.group.text(), &parent.resource);
        return delete(
            "IPAddressNotAllocated",
            format!(
                "IPAddress {ip} appears to have been modified, not referencing a Service {group}/{resource}: cleaning up"
            ),
        );
    }
    let (namespace, name) = (parent.namespace.text(), parent.name.as_str());
    let created = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    let born = created(&address.metadata.creation_timestamp);
    let age = Duration::try_from(now.duration_since(born)).unwrap_or_default();
    let Some(service) = service else {
        if age <= ADDRESS_GRACE {
            return Verdict::LookAgain(ADDRESS_GRACE.saturating_sub(age));
        }
        return delete(
            "IPAddressNotAllocated",
            format!("IPAddress: {ip} for Service {namespace}/{name} appears to have leaked: cleaning up"),
        );
    };
    let spec = spec_of(service);
    if spec.cluster_ips.items().iter().any(|it| it == ip) {
        return Verdict::Keep;
    }
    // A Service that is about to stop being an external name takes its address before it is written.
    if !needs_cluster_ip(spec) && age < ADDRESS_GRACE {
        return Verdict::LookAgain(ADDRESS_GRACE.saturating_sub(age));
    }
    if born > created(&service.metadata.creation_timestamp) && age < CLAIM_GRACE {
        return Verdict::LookAgain(CLAIM_GRACE);
    }
    delete(
        "IPAddressWrongReference",
        format!("IPAddress: {ip} for Service {namespace}/{name} has a wrong reference; cleaning up"),
    )
}

#[cfg(test)]
mod tests {
    use api_types::typed::Typed;
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::core::services::allocation::{PortRange, ip_address_object};

    fn service(name: &str, spec: Value) -> Service {
        Service::from_value(&json!({
            "metadata": {"name": name, "namespace": "n", "creationTimestamp": "2024-01-01T00:00:00Z"}, "spec": spec
        }))
        .unwrap()
    }

    #[test]
    fn ports_that_nobody_has_go_after_three_rounds() {
        let mut stored = Ports::new(PortRange::default());
        for port in [30_001, 30_002] {
            stored.take(port).unwrap();
        }
        let services = [service("a", json!({"ports": [{"port": 1, "nodePort": 30_001}]}))];
        let mut leaks = Leaks::new();
        let mut rounds = Vec::new();
        for _round in 0..4 {
            let reports;
            (stored, reports) = repair_ports(&services, &stored, &mut leaks);
            assert_eq!(reports, []);
            rounds.push(stored.has(30_002));
            assert!(stored.has(30_001));
        }
        assert_eq!(rounds, [true, true, false, false]);
    }

    #[test]
    fn services_hear_of_ports_that_are_not_theirs_alone() {
        let services = [
            service("a", json!({"ports": [{"port": 1, "nodePort": 30_001}, {"port": 2, "nodePort": 1}]})),
            service(
                "b",
                json!({"ports": [
                {"port": 1, "nodePort": 30_001, "protocol": "TCP"}, {"port": 2, "nodePort": 30_001, "protocol": "UDP"}]}),
            ),
        ];
        let (ports, reports) = repair_ports(&services, &Ports::new(PortRange::default()), &mut Leaks::new());
        assert!(ports.has(30_001));
        let notes: Vec<_> = reports.iter().map(|(index, it)| (*index, it.reason, it.note.as_str())).collect();
        assert_eq!(
            notes,
            [
                (0, "PortNotAllocated", "Port 30001 is not allocated; repairing"),
                (
                    0,
                    "PortOutOfRange",
                    "Port 1 is not within the port range 30000-32767; please recreate service"
                ),
                (
                    1,
                    "PortAlreadyAllocated",
                    "Port 30001 was assigned to multiple services; please recreate service"
                ),
            ]
        );
    }

    #[test]
    fn an_address_without_its_object_is_given_one() {
        let ranges = [AddressRange::new("10.0.0.0/24", true).unwrap()];
        let ours = service("a", json!({"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]}));
        let ip: IpAddr = "10.0.0.5".parse().unwrap();
        let good = ip_address_object(ip, &ours);
        let other = service("b", json!({"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]}));
        let stolen = ip_address_object(ip, &other);
        let repairs = |object: Option<&IPAddress>, others: &[&Service]| {
            let found = repair_service(
                &ours,
                &ranges,
                |_| object.map(|it| Box::leak(Box::new(it.clone())) as &IPAddress),
                |_, _| others.first().map(|it| Box::leak(Box::new((*it).clone())) as &Service),
            );
            match found.as_slice() {
                [] => "fine",
                [AddressRepair::Create(..)] => "create",
                [AddressRepair::Recreate(..)] => "recreate",
                [AddressRepair::Tell(report)] => report.reason,
                _ => "several",
            }
        };
        assert_eq!(repairs(Some(&good), &[]), "fine");
        assert_eq!(repairs(None, &[]), "create");
        assert_eq!(repairs(Some(&stolen), &[]), "recreate");
        assert_eq!(repairs(Some(&stolen), &[&other]), "ClusterIPAlreadyAllocated");
    }

    #[test]
    fn an_address_of_nobody_goes_when_its_time_is_over() {
        let ours = service("a", json!({"clusterIPs": ["10.0.0.5"]}));
        let moved = service("a", json!({"clusterIPs": ["10.0.0.6"]}));
        let mut address = ip_address_object("10.0.0.5".parse().unwrap(), &ours);
        let born: Timestamp = "2024-01-01T00:10:00Z".parse().unwrap();
        address.metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(born));
        let after = |seconds: u64| born + Duration::from_secs(seconds);
        assert_eq!(repair_address(&address, Some(&ours), after(1000)), Verdict::Keep);
        assert_eq!(repair_address(&address, None, after(20)), Verdict::LookAgain(Duration::from_secs(40)));
        assert!(matches!(repair_address(&address, None, after(61)), Verdict::Delete(_)));
        assert!(matches!(repair_address(&address, Some(&moved), after(1)), Verdict::LookAgain(_)));
        assert!(matches!(repair_address(&address, Some(&moved), after(6)), Verdict::Delete(_)));
    }
}

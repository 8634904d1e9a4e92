//! Handing out cluster addresses and node ports: what a Service gets, keeps and gives back.
//!
//! All of it is functions of values: a [`Pool`] says what there is and what is taken, a [`Plan`] what must be written
//! before the Service is and what afterwards. The registry carries plans out: each address is an IPAddress object,
//! created if absent; ports are one bitmap, written if unchanged. When a write loses a race the registry asks again
//! with the new state. Runs before the Service's own preparation and validation, since those judge the result.

mod addresses;
mod ports;
mod repair;

use std::{collections::BTreeMap, net::IpAddr};

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::{
        core::v1::{Service, ServiceSpec},
        networking::v1::{IPAddress, IPAddressSpec, ParentReference},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use runtime::Random;

pub use self::{
    addresses::AddressRange,
    ports::{PortRange, Ports},
    repair::{AddressRepair, Leaks, Report, Verdict, repair_address, repair_ports, repair_service},
};
use super::{NONE, needs_cluster_ip, needs_health_check, rules::family_faults, spec_of};
pub use crate::resources::shared::net::Family;
use crate::resources::shared::{
    addresses::parse_sloppy,
    net::family,
    optional::{Items, Text},
};

/// Who manages the addresses of Services, as a label of theirs says.
pub const MANAGER: &str = "ipallocator.k8s.io";
/// The label that says who manages an address.
pub const LABEL_MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// The label that says the family of an address.
pub const LABEL_FAMILY: &str = "ipaddress.kubernetes.io/ip-family";

/// Which families Services can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// The one that is meant when none is named.
    pub primary: Family,
    /// Whether the other one can be had too.
    pub dual: bool,
}

/// What can be handed out.
pub struct Pool<'a> {
    /// Which families there are.
    pub families: Families,
    /// Where addresses come from: the ranges of all ServiceCIDRs.
    pub ranges: &'a [AddressRange],
    /// Whether there is an IPAddress of this address.
    pub is_taken: &'a dyn Fn(IpAddr) -> bool,
    /// Node ports and which of them are taken.
    pub ports: &'a Ports,
    /// Where a search begins.
    pub random: &'a Random,
    /// Whether nothing will be written: then what is handed out is only an example.
    pub dry_run: bool,
}

/// An address to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub ip: IpAddr,
    /// Whether we chose it: if it turns out to be taken, another one does as well.
    pub chosen: bool,
}

/// What is to be written around a write of a Service. If that fails, what was taken is given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Addresses to take before.
    pub take: Vec<Claim>,
    /// Ports to take before.
    pub take_ports: Vec<u16>,
    /// Addresses to give back afterwards.
    pub release: Vec<IpAddr>,
    /// Ports to give back afterwards.
    pub release_ports: Vec<u16>,
}

/// Why nothing is handed out.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The Service asks for what it cannot have: 422 Invalid.
    Invalid(Faults),
    /// There is nothing left: 500 InternalError with this text.
    Internal(String),
    /// Upstream returns a bare error here: 500 without a reason.
    Bare(String),
}

// === impl Families ===

impl Families {
    fn has(self, family: Family) -> bool {
        self.dual || family == self.primary
    }
}

// === impl Refusal ===

impl Refusal {
    fn invalid(path: &Path, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault::invalid(path, value, detail)])
    }

    /// The address that the Service asks for was taken by somebody else.
    pub fn already_taken(service: &Service, ip: &str) -> Self {
        let detail = format!("failed to allocate IP {ip}: provided IP is already allocated");
        Self::invalid(&Path::new("spec.clusterIPs"), BadValue::json(&spec_of(service).cluster_ips), detail)
    }
}

/// The object that says an address is a Service's.
pub fn ip_address_object(ip: IpAddr, service: &Service) -> IPAddress {
    let labels = BTreeMap::from([
        (LABEL_FAMILY.to_owned(), Family::of(ip).name().to_owned()),
        (LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned()),
    ]);
    IPAddress {
        metadata: ObjectMeta { name: Some(ip.to_string()), labels: Some(labels), ..ObjectMeta::default() },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: None,
                resource: "services".to_owned(),
                namespace: service.metadata.namespace.clone(),
                name: service.metadata.name.clone().unwrap_or_default(),
            },
        },
    }
}

/// Gives a new Service what it needs.
///
/// # Errors
/// When it cannot have it.
pub fn begin_create(service: &mut Service, pool: &Pool<'_>) -> Result<Plan, Refusal> {
    let name = service.metadata.name.clone().unwrap_or_default();
    let spec = service.spec.get_or_insert_default();
    if !spec.cluster_ip.text().is_empty() && spec.cluster_ips.items().is_empty() {
        spec.cluster_ips = Some(vec![spec.cluster_ip.text().to_owned()]);
    }
    settle_families(spec, None, pool.families)?;
    let mut plan = Plan { take: take_addresses(&name, spec, pool)?, ..Plan::default() };
    let mut desk = ports::Desk::new(pool.ports, pool.random, pool.dry_run);
    if matches!(spec.type_.text(), "NodePort" | "LoadBalancer") {
        first_node_ports(spec, &mut desk)?;
    }
    if needs_health_check(spec) {
        take_health_check_port(spec, &mut desk)?;
    }
    (plan.take_ports, plan.release_ports) = desk.close();
    Ok(plan)
}

/// Lets a changed Service keep what it has, gives it what it needs now, and takes back what it does not.
///
/// # Errors
/// When it cannot have what it asks for.
pub fn begin_update(service: &mut Service, old: &Service, pool: &Pool<'_>) -> Result<Plan, Refusal> {
    let mut old = old.clone();
    default_on_read(&mut old, pool.families);
    let was = spec_of(&old);
    let name = service.metadata.name.clone().unwrap_or_default();
    let spec = service.spec.get_or_insert_default();
    keep_what_it_has(spec, was);
    align_addresses(spec, was);
    settle_families(spec, Some(was), pool.families)?;
    let mut plan = change_addresses(&name, spec, was, pool)?;
    let mut desk = ports::Desk::new(pool.ports, pool.random, pool.dry_run);
    let on_nodes = |spec: &ServiceSpec| matches!(spec.type_.text(), "NodePort" | "LoadBalancer");
    if on_nodes(was) && matches!(spec.type_.text(), "ExternalName" | "ClusterIP") {
        desk.give_back(node_ports(was));
    }
    if on_nodes(spec) {
        next_node_ports(spec, was, &mut desk)?;
    }
    match (needs_health_check(was), needs_health_check(spec)) {
        (false, true) => take_health_check_port(spec, &mut desk)?,
        (true, false) => desk.give_back(was.health_check_node_port),
        _ => {}
    }
    (plan.take_ports, plan.release_ports) = desk.close();
    if pool.dry_run {
        plan = Plan::default();
    }
    Ok(plan)
}

/// What a Service that is gone gives back.
pub fn after_delete(service: &Service, families: Families) -> Plan {
    let mut service = service.clone();
    default_on_read(&mut service, families);
    let spec = spec_of(&service);
    let ips = spec.cluster_ips.items();
    let has_ips = needs_cluster_ip(spec) && ips.first().is_none_or(|ip| ip != NONE);
    let release = if has_ips { ips.iter().filter_map(|ip| parse_sloppy(ip)).collect() } else { Vec::new() };
    let check_port = spec.health_check_node_port.filter(|_| needs_health_check(spec));
    let ports = node_ports(spec).chain(check_port.filter(|&port| port > 0));
    Plan {
        release,
        release_ports: ports.filter_map(|port| port.try_into().ok()).collect(),
        ..Plan::default()
    }
}

/// Brings a Service that an older server stored into the form that is served today.
pub fn default_on_read(service: &mut Service, families: Families) {
    let spec = service.spec.get_or_insert_default();
    if !spec.cluster_ip.text().is_empty() && spec.cluster_ips.items().is_empty() {
        spec.cluster_ips = Some(vec![spec.cluster_ip.text().to_owned()]);
    }
    if needs_cluster_ip(spec) && spec.ip_families.items().is_empty() {
        let (policy, list) = if spec.cluster_ip.text() != NONE {
            let list: Vec<Family> =
                spec.cluster_ips.items().iter().map(|ip| family(ip).unwrap_or(Family::V4)).collect();
            let policy = match list.len() {
                1 => Some("SingleStack"),
                2 => Some("RequireDualStack"),
                _ => None,
            };
            (policy, list)
        } else if has_selector(spec) {
            (Some("SingleStack"), vec![families.primary])
        } else {
            (Some("RequireDualStack"), vec![families.primary, families.primary.other()])
        };
        if let Some(policy) = policy {
            spec.ip_family_policy = Some(policy.to_owned());
        }
        spec.ip_families = Some(list.into_iter().map(|family| family.name().to_owned()).collect());
    }
    if !needs_cluster_ip(spec) {
        spec.internal_traffic_policy = None;
    }
}

fn has_selector(spec: &ServiceSpec) -> bool {
    spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
}

fn node_ports(spec: &ServiceSpec) -> impl Iterator<Item = i32> {
    spec.ports.items().iter().filter_map(|port| port.node_port).filter(|&port| port != 0)
}

/// Fills in from the old spec what the server once filled in and the writer left out.
fn keep_what_it_has(spec: &mut ServiceSpec, was: &ServiceSpec) {
    if needs_cluster_ip(was) && needs_cluster_ip(spec) {
        if spec.cluster_ip.text().is_empty() {
            spec.cluster_ip = was.cluster_ip.clone();
        }
        if spec.cluster_ips.items().is_empty() && !was.cluster_ips.items().is_empty() {
            spec.cluster_ips = was.cluster_ips.clone();
        }
    }
    if wants_node_ports(was) && wants_node_ports(spec) {
        let used: Vec<i32> = node_ports(was).filter(|&port| node_ports(spec).any(|it| it == port)).collect();
        let by_name: BTreeMap<&str, Option<i32>> =
            was.ports.items().iter().map(|port| (port.name.text(), port.node_port)).collect();
        for port in spec.ports.items_mut() {
            if port.node_port.unwrap_or_default() == 0 {
                let had = by_name.get(port.name.text()).copied().flatten();
                port.node_port = had.filter(|had| !used.contains(had));
            }
        }
    }
    if needs_health_check(was)
        && needs_health_check(spec)
        && spec.health_check_node_port.unwrap_or_default() == 0
    {
        spec.health_check_node_port = was.health_check_node_port;
    }
}

/// Whether each port of the spec gets one on the nodes.
fn wants_node_ports(spec: &ServiceSpec) -> bool {
    match spec.type_.text() {
        "NodePort" => true,
        "LoadBalancer" => spec.allocate_load_balancer_node_ports.unwrap_or(true),
        _ => false,
    }
}

/// Writers that know only `clusterIP` change only that: `clusterIPs` follows.
fn align_addresses(spec: &mut ServiceSpec, was: &ServiceSpec) {
    let same_ip = was.cluster_ip.text() == spec.cluster_ip.text();
    if spec.cluster_ips.items().is_empty() && !was.cluster_ips.items().is_empty() && same_ip {
        spec.cluster_ips = was.cluster_ips.clone();
    }
    if !same_ip && was.cluster_ips.items() == spec.cluster_ips.items() {
        let cleared = !was.cluster_ip.text().is_empty() && spec.cluster_ip.text().is_empty();
        spec.cluster_ips = (!cleared).then(|| vec![spec.cluster_ip.text().to_owned()]);
    }
}

/// Whether nothing changed about a Service that takes two families if it can get them.
fn still_prefers_dual_stack(spec: &ServiceSpec, was: Option<&ServiceSpec>) -> bool {
    was.is_some_and(|was| {
        spec.ip_family_policy.text() == "PreferDualStack"
            && was.type_.text() == spec.type_.text()
            && matches!(spec.type_.text(), "ClusterIP" | "NodePort" | "LoadBalancer")
            && was.ip_family_policy.as_deref().is_none_or(|policy| policy == "PreferDualStack")
            && was.cluster_ips.items() == spec.cluster_ips.items()
            && was.ip_families.items() == spec.ip_families.items()
    })
}

/// Decides the policy and the families from what is said of either, of addresses, and of what the cluster has.
fn settle_families(
    spec: &mut ServiceSpec,
    was: Option<&ServiceSpec>,
    families: Families,
) -> Result<(), Refusal> {
    if !needs_cluster_ip(spec) || still_prefers_dual_stack(spec, was) {
        return Ok(());
    }
    let is_bare_headless = spec.cluster_ip.text() == NONE && !has_selector(spec);
    if spec.ip_family_policy.is_none() {
        let default = if is_bare_headless { "RequireDualStack" } else { "SingleStack" };
        spec.ip_family_policy =
            was.and_then(|was| was.ip_family_policy.clone()).or_else(|| Some(default.to_owned()));
    }
    let faults = family_faults(spec, was);
    if !faults.is_empty() {
        return Err(Refusal::Invalid(faults));
    }
    let policy = spec.ip_family_policy.text().to_owned();
    let single = policy == "SingleStack";
    let mut faults = Vec::new();
    let path = Path::new("spec");
    let policy_path = path.child("ipFamilyPolicy");
    let mut wrong_policy = |wrong: bool, detail: &str| {
        if wrong {
            faults.push(Fault::invalid(&policy_path, policy.as_str(), detail));
        }
    };
    let count = |list: &Option<Vec<String>>| list.items().len();
    if let Some(was) = was {
        if single {
            // One family is asked for and the rest is as it was: the second address and family go.
            if was.cluster_ips.items() == spec.cluster_ips.items() {
                spec.cluster_ips.iter_mut().for_each(|list| list.truncate(1));
            }
            if was.ip_families.items() == spec.ip_families.items() {
                spec.ip_families.iter_mut().for_each(|list| list.truncate(1));
            }
        } else {
            let reduced = |new, old| new > 0 && new < old;
            wrong_policy(
                reduced(count(&spec.cluster_ips), count(&was.cluster_ips)),
                "must be 'SingleStack' to release the secondary cluster IP",
            );
            wrong_policy(
                reduced(count(&spec.ip_families), count(&was.ip_families)),
                "must be 'SingleStack' to release the secondary IP family",
            );
        }
    }
    wrong_policy(
        single && count(&spec.cluster_ips) == 2,
        "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
    );
    wrong_policy(
        single && count(&spec.ip_families) == 2,
        "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
    );
    let mut list: Vec<String> = spec.ip_families.items().to_vec();
    for (index, ip) in spec.cluster_ips.items().iter().enumerate() {
        if ip == NONE {
            break;
        }
        if index < list.len() {
            continue;
        }
        match family(ip) {
            Some(family) if families.has(family) => list.push(family.name().to_owned()),
            other => {
                let name = other.map_or("unknown", Family::name);
                faults.push(Fault::invalid(
                    &path.child("clusterIPs").index(index),
                    BadValue::json(&spec.cluster_ips),
                    format!("{name} is not configured on this cluster"),
                ));
            }
        }
    }
    if !faults.is_empty() {
        return Err(Refusal::Invalid(faults));
    }
    // Nobody selects the endpoints of a bare headless service: it may have families that the cluster has not.
    if !is_bare_headless {
        if policy == "RequireDualStack" && !families.dual {
            faults.push(Fault::invalid(
                &policy_path,
                policy.as_str(),
                "this cluster is not configured for dual-stack services",
            ));
        }
        for (index, name) in list.iter().enumerate() {
            if !Family::named(name).is_some_and(|family| families.has(family)) {
                faults.push(Fault::invalid(
                    &path.child("ipFamilies").index(index),
                    name,
                    "not configured on this cluster",
                ));
            }
        }
        if !faults.is_empty() {
            return Err(Refusal::Invalid(faults));
        }
    }
    if list.is_empty() {
        list.push(families.primary.name().to_owned());
    }
    if let [only] = list.as_slice()
        && !single
        && (is_bare_headless || families.dual)
        && let Some(family) = Family::named(only)
    {
        list.push(family.other().name().to_owned());
    }
    spec.ip_families = Some(list);
    Ok(())
}

/// Takes an address for each family: the one that is asked for, or any.
fn take_addresses(name: &str, spec: &mut ServiceSpec, pool: &Pool<'_>) -> Result<Vec<Claim>, Refusal> {
    let is_headless = spec.cluster_ips.items().first().is_some_and(|ip| ip == NONE);
    if !needs_cluster_ip(spec) || is_headless {
        return Ok(Vec::new());
    }
    let families: Vec<Family> = spec.ip_families.items().iter().filter_map(|it| Family::named(it)).collect();
    let mut ips = spec.cluster_ips.items().to_vec();
    if ips.len() < families.len() {
        ips.resize(families.len(), String::new());
    }
    // What is still to be chosen stands as empty in the messages.
    spec.cluster_ips = Some(ips.clone());
    let mut claims = Vec::new();
    for (index, family) in families.into_iter().enumerate() {
        let Some(slot) = ips.get_mut(index) else { break };
        let claim = take_address(name, spec, family, slot, pool)?;
        if claim.chosen {
            *slot = claim.ip.to_string();
        }
        claims.push(claim);
    }
    spec.cluster_ip = ips.first().cloned();
    spec.cluster_ips = Some(ips);
    Ok(if pool.dry_run { Vec::new() } else { claims })
}

fn take_address(
    name: &str,
    spec: &ServiceSpec,
    family: Family,
    wanted: &str,
    pool: &Pool<'_>,
) -> Result<Claim, Refusal> {
    if wanted.is_empty() {
        return match addresses::choose(family, pool) {
            Some(ip) => Ok(Claim { ip, chosen: true }),
            None => Err(Refusal::Internal(format!(
                "failed to allocate a serviceIP for Service {}: range is full",
                api_types::field::go_quote(name)
            ))),
        };
    }
    let Some(ip) = parse_sloppy(wanted) else {
        let wanted = api_types::field::go_quote(wanted);
        return Err(Refusal::Internal(format!("failed to parse service IP {wanted}")));
    };
    addresses::check(ip, pool).map_err(|why| {
        Refusal::invalid(
            &Path::new("spec.clusterIPs"),
            BadValue::json(&spec.cluster_ips),
            format!("failed to allocate IP {wanted}: {why}"),
        )
    })?;
    Ok(Claim { ip, chosen: false })
}

/// What changes about addresses when a Service changes.
fn change_addresses(
    name: &str,
    spec: &mut ServiceSpec,
    was: &ServiceSpec,
    pool: &Pool<'_>,
) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    if still_prefers_dual_stack(spec, Some(was)) {
        return Ok(plan);
    }
    if !needs_cluster_ip(was) && needs_cluster_ip(spec) {
        plan.take = take_addresses(name, spec, pool)?;
        return Ok(plan);
    }
    let (were, had) = (was.cluster_ips.items(), was.ip_families.items().len());
    if were.first().is_some_and(|ip| ip == NONE) {
        return Ok(plan);
    }
    let parsed = |ips: &[String]| ips.iter().filter_map(|ip| parse_sloppy(ip)).collect();
    if needs_cluster_ip(was) && !needs_cluster_ip(spec) {
        plan.release = parsed(were);
        return Ok(plan);
    }
    match (had, spec.ip_families.items()) {
        (1, [_, second]) => {
            let Some(family) = Family::named(second) else { return Ok(plan) };
            let ips = spec.cluster_ips.get_or_insert_default();
            if ips.len() < 2 {
                ips.push(String::new());
            }
            let wanted = ips.get(1).cloned().unwrap_or_default();
            let claim = take_address(name, spec, family, &wanted, pool)?;
            if claim.chosen
                && let Some(slot) = spec.cluster_ips.items_mut().get_mut(1)
            {
                *slot = claim.ip.to_string();
            }
            plan.take = vec![claim];
        }
        (2, [_]) => plan.release = parsed(were.get(1..2).unwrap_or_default()),
        _ => {}
    }
    Ok(plan)
}

fn node_port_path(index: usize) -> Path {
    Path::new("spec.ports").index(index).child("nodePort")
}

/// Node ports of a new Service. Ports of the same number, for two protocols, share one on the nodes.
fn first_node_ports(spec: &mut ServiceSpec, desk: &mut ports::Desk<'_>) -> Result<(), Refusal> {
    let wants = wants_node_ports(spec);
    let mut by_port: BTreeMap<i32, i32> = BTreeMap::new();
    let asked: Vec<(i32, i32)> = spec
        .ports
        .items()
        .iter()
        .filter_map(|port| Some((port.port, port.node_port.filter(|&port| port != 0)?)))
        .collect();
    for (index, port) in spec.ports.items_mut().iter_mut().enumerate() {
        let own = port.node_port.unwrap_or_default();
        if own == 0 && !wants {
            continue;
        }
        let take = |desk: &mut ports::Desk<'_>, number: i32| {
            desk.take(number).map_err(|why| Refusal::invalid(&node_port_path(index), number, why))
        };
        match by_port.get(&port.port) {
            None => {
                let number = match asked.iter().find(|(it, _)| *it == port.port) {
                    Some((_, number)) => {
                        take(desk, *number)?;
                        *number
                    }
                    None => desk
                        .take_any()
                        .map_err(|why| Refusal::Internal(format!("failed to allocate a nodePort: {why}")))?,
                };
                port.node_port = Some(number);
                by_port.insert(port.port, number);
            }
            Some(&number) if own == 0 => port.node_port = Some(number),
            Some(&number) if own != number => take(desk, own)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Node ports of a changed Service.
fn next_node_ports(
    spec: &mut ServiceSpec,
    was: &ServiceSpec,
    desk: &mut ports::Desk<'_>,
) -> Result<(), Refusal> {
    let wants = wants_node_ports(spec);
    let had: Vec<i32> = node_ports(was).collect();
    let mut taken: Vec<i32> = Vec::new();
    let mut pairs: Vec<(String, i32)> = Vec::new();
    for (index, port) in spec.ports.items_mut().iter_mut().enumerate() {
        let own = port.node_port.unwrap_or_default();
        if own == 0 && !wants {
            continue;
        }
        let number = if own == 0 {
            desk.take_any()
                .map_err(|why| Refusal::Internal(format!("failed to allocate a nodePort: {why}")))?
        } else {
            if !had.contains(&own) && !taken.contains(&own) {
                desk.take(own).map_err(|why| Refusal::invalid(&node_port_path(index), own, why))?;
                taken.push(own);
            }
            own
        };
        port.node_port = Some(number);
        let pair = (port.protocol.text().to_owned(), number);
        if pairs.contains(&pair) {
            return Err(Refusal::Bare(format!("duplicate nodePort: {{{} {}}}", pair.0, pair.1)));
        }
        pairs.push(pair);
    }
    let have: Vec<i32> = node_ports(spec).collect();
    desk.give_back(had.into_iter().filter(|port| !have.contains(port)));
    Ok(())
}

fn take_health_check_port(spec: &mut ServiceSpec, desk: &mut ports::Desk<'_>) -> Result<(), Refusal> {
    match spec.health_check_node_port.unwrap_or_default() {
        0 => {
            let number = desk.take_any().map_err(|why| {
                Refusal::Internal(format!("failed to allocate a HealthCheck NodePort 0: {why}"))
            })?;
            spec.health_check_node_port = Some(number);
        }
        asked => desk.take(asked).map_err(|why| {
            Refusal::Internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
        })?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::{
        core::services::Services,
        shared::testing::{defaulted, updated},
    };

    const V4: Families = Families { primary: Family::V4, dual: false };
    const DUAL: Families = Families { primary: Family::V4, dual: true };

    fn ranges() -> Vec<AddressRange> {
        ["10.0.0.0/24", "2001:db8::/112"]
            .iter()
            .map(|range| AddressRange::new(range, true).expect("a good range"))
            .collect()
    }

    /// Runs with a pool in which these addresses and ports are taken.
    fn with_pool<T>(families: Families, ips: &[&str], ports: &[i32], run: impl FnOnce(&Pool<'_>) -> T) -> T {
        let ranges = ranges();
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut taken = Ports::new(PortRange::default());
        for &port in ports {
            taken.take(port).unwrap();
        }
        run(&Pool {
            families,
            ranges: &ranges,
            is_taken: &|ip| ips.contains(&ip),
            ports: &taken,
            random: &Random::from_seed(1),
            dry_run: false,
        })
    }

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|&it| it.to_owned()).collect()
    }

    fn service(spec: Value) -> Service {
        defaulted::<Services>(json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec}))
    }

    fn create(families: Families, spec: Value) -> Result<(ServiceSpec, Plan), Vec<String>> {
        with_pool(families, &["10.0.0.1"], &[30_000], |pool| {
            let mut service = service(spec);
            match begin_create(&mut service, pool) {
                Ok(plan) => Ok((service.spec.unwrap(), plan)),
                Err(Refusal::Invalid(faults)) => Err(faults.iter().map(ToString::to_string).collect()),
                Err(Refusal::Internal(text) | Refusal::Bare(text)) => Err(vec![text]),
            }
        })
    }

    #[test]
    fn the_object_of_an_address_names_its_service() {
        let object = ip_address_object("10.0.0.9".parse().unwrap(), &service(json!({})));
        assert_eq!(
            serde_json::to_value(object).unwrap(),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
                "metadata": {"name": "10.0.0.9", "labels": {"ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}},
                "spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}})
        );
    }

    #[test]
    fn a_new_service_gets_addresses_of_the_families_its_policy_asks_for() {
        for (families, spec, policy, list) in [
            (V4, json!({}), "SingleStack", vec!["IPv4"]),
            (V4, json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", vec!["IPv4"]),
            (DUAL, json!({}), "SingleStack", vec!["IPv4"]),
            (DUAL, json!({"ipFamilies": ["IPv6"]}), "SingleStack", vec!["IPv6"]),
            (DUAL, json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", vec!["IPv4", "IPv6"]),
            (
                DUAL,
                json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "2001:db8::5"}),
                "RequireDualStack",
                vec!["IPv6", "IPv4"],
            ),
        ] {
            let (got, plan) = create(families, spec).unwrap();
            assert_eq!(
                (got.ip_family_policy.text(), got.ip_families.clone().unwrap()),
                (policy, owned(&list))
            );
            let families: Vec<_> = plan.take.iter().map(|claim| Family::of(claim.ip).name()).collect();
            assert_eq!(families, list);
            assert_eq!(got.cluster_ip.as_ref(), got.cluster_ips.items().first());
            assert_eq!(got.cluster_ips.items().len(), list.len());
        }
    }

    #[test]
    fn a_headless_service_gets_families_but_no_address() {
        for (spec, policy, list) in [
            (json!({"clusterIP": "None", "selector": {"a": "b"}}), "SingleStack", vec!["IPv4"]),
            (json!({"clusterIP": "None"}), "RequireDualStack", vec!["IPv4", "IPv6"]),
            (
                json!({"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack"}),
                "PreferDualStack",
                vec!["IPv4", "IPv6"],
            ),
            (json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}), "SingleStack", vec!["IPv4"]),
        ] {
            let (got, plan) = create(V4, spec).unwrap();
            assert_eq!(got.cluster_ips.items(), ["None"]);
            assert_eq!((got.ip_family_policy.text(), got.ip_families.unwrap()), (policy, owned(&list)));
            assert_eq!(plan, Plan::default());
        }
    }

    #[test]
    fn what_the_cluster_cannot_give_is_refused() {
        for (spec, fault) in [
            (
                json!({"clusterIP": "10.1.0.5"}),
                r#"spec.clusterIPs: Invalid value: ["10.1.0.5"]: failed to allocate IP 10.1.0.5: the provided network does not match the current range"#,
            ),
            (
                json!({"clusterIP": "10.0.0.255"}),
                r#"spec.clusterIPs: Invalid value: ["10.0.0.255"]: failed to allocate IP 10.0.0.255: the provided network does not match the current range"#,
            ),
            (
                json!({"clusterIP": "10.0.0.1"}),
                r#"spec.clusterIPs: Invalid value: ["10.0.0.1"]: failed to allocate IP 10.0.0.1: provided IP is already allocated"#,
            ),
            (
                json!({"clusterIP": "2001:db8::1"}),
                r#"spec.clusterIPs[0]: Invalid value: ["2001:db8::1"]: IPv6 is not configured on this cluster"#,
            ),
            (
                json!({"ipFamilyPolicy": "RequireDualStack"}),
                r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#,
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#,
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv6"]}),
                r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"#,
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
                "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}),
                "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated",
            ),
            (
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30000}),
                "failed to allocate requested HealthCheck NodePort 30000: provided port is already allocated",
            ),
        ] {
            assert_eq!(create(V4, spec).unwrap_err(), [fault]);
        }
    }

    #[test]
    fn protocols_on_one_port_share_a_node_port() {
        let (spec, plan) = create(
            V4,
            json!({"type": "NodePort", "ports": [
                {"name": "a", "port": 53, "protocol": "TCP"}, {"name": "b", "port": 53, "protocol": "UDP"},
                {"name": "c", "port": 80}]}),
        )
        .unwrap();
        let ports: Vec<i32> = node_ports(&spec).collect();
        assert_eq!((ports.len(), ports[0]), (3, ports[1]));
        assert_ne!(ports[0], ports[2]);
        assert_eq!(plan.take_ports.len(), 2);
    }

    #[test]
    fn a_balancer_may_do_without_node_ports_but_not_without_a_health_check() {
        let (spec, plan) = create(
            V4,
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "externalTrafficPolicy": "Local",
                "ports": [{"port": 80}]}),
        )
        .unwrap();
        assert_eq!(node_ports(&spec).count(), 0);
        assert!(spec.health_check_node_port.is_some());
        assert_eq!(plan.take_ports.len(), 1);
    }

    /// A created Service, changed by the merge of `change` into its spec.
    fn change(families: Families, spec: Value, change: Value) -> Result<(Value, Plan), Vec<String>> {
        let (old, _) = create(families, spec).unwrap();
        let old = Service { spec: Some(old), ..service(json!({})) };
        let mut new = serde_json::to_value(&old).unwrap();
        if let (Some(Value::Object(spec)), Value::Object(change)) = (new.get_mut("spec"), change) {
            for (field, value) in change {
                if value.is_null() {
                    spec.remove(&field)
                } else {
                    spec.insert(field, value)
                };
            }
        }
        with_pool(families, &["10.0.0.1"], &[30_000], |pool| {
            let mut new = defaulted::<Services>(new);
            match begin_update(&mut new, &old, pool) {
                Ok(plan) => {
                    let value = |it: &Service| serde_json::to_value(it).unwrap();
                    let stored = updated::<Services>(value(&new), value(&old));
                    Ok((stored["spec"].clone(), plan))
                }
                Err(Refusal::Invalid(faults)) => Err(faults.iter().map(ToString::to_string).collect()),
                Err(Refusal::Internal(text) | Refusal::Bare(text)) => Err(vec![text]),
            }
        })
    }

    #[test]
    fn what_the_writer_leaves_out_is_kept() {
        let ports = json!([{"name": "a", "port": 80}]);
        let (old, _) = create(V4, json!({"type": "NodePort", "ports": ports})).unwrap();
        let (new, plan) = change(
            V4,
            json!({"type": "NodePort", "ports": ports}),
            json!({"clusterIP": null, "clusterIPs": null, "ports": [{"name": "a", "port": 81}]}),
        )
        .unwrap();
        assert_eq!(plan, Plan::default());
        assert_eq!(new["clusterIP"], json!(old.cluster_ip));
        assert_eq!(new["ports"][0]["nodePort"], json!(old.ports.items()[0].node_port));
    }

    #[test]
    fn a_change_of_type_gives_back_and_takes() {
        let node_port = json!({"type": "NodePort", "ports": [{"port": 80}]});
        let (spec, plan) = change(V4, node_port.clone(), json!({"type": "ClusterIP"})).unwrap();
        assert_eq!((plan.release_ports.len(), plan.release.len()), (1, 0));
        assert_eq!(spec.pointer("/ports/0/nodePort"), None);
        let (spec, plan) =
            change(V4, node_port, json!({"type": "ExternalName", "externalName": "a"})).unwrap();
        assert_eq!((plan.release_ports.len(), plan.release.len()), (1, 1));
        assert_eq!(spec.get("clusterIP"), None);
        let (spec, plan) = change(
            V4,
            json!({"type": "ExternalName", "externalName": "a", "ports": [{"port": 80}]}),
            json!({"type": "ClusterIP"}),
        )
        .unwrap();
        assert_eq!(plan.take.len(), 1);
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    }

    #[test]
    fn the_second_family_comes_and_goes_with_the_policy() {
        let (spec, plan) = change(DUAL, json!({}), json!({"ipFamilyPolicy": "RequireDualStack"})).unwrap();
        assert_eq!((plan.take.len(), plan.release.len()), (1, 0));
        assert_eq!(spec["ipFamilies"], json!(["IPv4", "IPv6"]));
        assert_eq!(spec["clusterIPs"].as_array().map(Vec::len), Some(2));
        let dual = json!({"ipFamilyPolicy": "RequireDualStack"});
        let (spec, plan) = change(DUAL, dual.clone(), json!({"ipFamilyPolicy": "SingleStack"})).unwrap();
        assert_eq!((plan.take.len(), plan.release.len()), (0, 1));
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
        assert_eq!(
            change(DUAL, dual, json!({"ipFamilies": ["IPv4"]})).unwrap_err(),
            [
                r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be 'SingleStack' to release the secondary IP family"#
            ]
        );
    }

    #[test]
    fn a_policy_that_only_prefers_changes_nothing_on_a_cluster_with_one_family() {
        let (spec, plan) = change(V4, json!({}), json!({"ipFamilyPolicy": "PreferDualStack"})).unwrap();
        assert_eq!(plan, Plan::default());
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    }

    #[test]
    fn a_deleted_service_gives_everything_back() {
        let (spec, _) = create(
            DUAL,
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}],
                "ipFamilyPolicy": "RequireDualStack"}),
        )
        .unwrap();
        let plan = after_delete(&Service { spec: Some(spec), ..Service::default() }, DUAL);
        assert_eq!((plan.release.len(), plan.release_ports.len()), (2, 2));
    }

    #[test]
    fn services_of_older_servers_are_read_as_single_stack() {
        let mut old = service(json!({"clusterIP": "10.0.0.7"}));
        default_on_read(&mut old, V4);
        let spec = old.spec.unwrap();
        assert_eq!(spec.cluster_ips.items(), ["10.0.0.7"]);
        assert_eq!(
            (spec.ip_families.items(), spec.ip_family_policy.text()),
            (["IPv4".to_owned()].as_slice(), "SingleStack")
        );
    }

    #[test]
    fn a_dry_run_plans_nothing() {
        with_pool(V4, &[], &[], |pool| {
            let pool = Pool { dry_run: true, ..*pool };
            let mut service = service(json!({"type": "NodePort", "ports": [{"port": 80}]}));
            assert_eq!(begin_create(&mut service, &pool), Ok(Plan::default()));
            let spec = service.spec.unwrap();
            assert_eq!(spec.cluster_ip.text(), "10.0.0.0");
            assert_eq!(node_ports(&spec).collect::<Vec<_>>(), [32_769]);
        });
    }
}

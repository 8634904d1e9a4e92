//! Hints that keep traffic within zones (KEP-2433), for Services whose annotation asks for them; `trafficDistribution` has
//! replaced it, and is simpler.
//!
//! Each zone shall have about as large a part of the endpoints as it has of the CPUs of all nodes, so that no endpoint has
//! more than a fifth more to do than it should. Endpoints serve their own zone, but for some that are lent to zones that
//! have too few. What is hinted already stays unless a zone would have too little of it, or somebody new comes.
//!
//! Amounts are whole numbers throughout: of endpoints, in parts of all CPUs. Of zones that are equal the first in the
//! alphabet counts.

use std::{collections::BTreeMap, sync::Arc};

use super::{Identity, identity};
use crate::kinds::{
    Node, Service,
    endpoint_slice::{Endpoint, Hints, Named},
};

/// How a Service asks for hints, and how it did before.
const ANNOTATIONS: [&str; 2] =
    ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"];
/// Nodes with one of these labels run no Pods of users.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// The CPUs of each zone, in thousandths; `None` if they cannot be told, or there is one zone only.
pub(super) type Capacity = Option<BTreeMap<Box<str>, i64>>;

/// How many endpoints a zone shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    minimum: i64,
    maximum: i64,
    /// In parts of all CPUs.
    desired: i64,
}

/// Whether a Service asks for hints.
pub(super) fn is_wanted(service: &Service) -> bool {
    let annotations = &service.metadata.annotations;
    let mode = ANNOTATIONS.iter().find_map(|name| annotations.get(name));
    matches!(mode, Some("Auto" | "auto"))
}

/// What of a node matters: where it is and how much it can do; `None` if it does not count.
pub(super) fn part_of(node: &Node) -> Option<(Option<&str>, i64)> {
    let labels = &node.metadata.labels;
    if EXCLUDED.iter().any(|label| labels.get(label).is_some()) || !node.is_ready() {
        return None;
    }
    let cpu = node.status.allocatable.cpu.as_ref().map_or(0, api_types::quantity::Quantity::milli_value);
    Some((labels.get(super::ZONE).filter(|zone| !zone.is_empty()), cpu))
}

/// What all zones can do.
pub(super) fn capacity(nodes: &[Arc<Node>]) -> Capacity {
    let mut zones = BTreeMap::<Box<str>, i64>::new();
    for (zone, cpu) in nodes.iter().filter_map(|node| part_of(node)) {
        // One node of which nothing is known makes all shares wrong.
        let zone = zone.filter(|_| cpu > 0)?;
        let sum = zones.entry(zone.into()).or_default();
        *sum = sum.saturating_add(cpu);
    }
    (zones.len() > 1).then_some(zones)
}

/// Hints to which zone each of these endpoints is to be used from.
///
/// # Errors
/// Why that cannot be; then nobody is hinted anywhere.
pub(super) fn distribute(
    endpoints: &mut [&mut Endpoint],
    before: &BTreeMap<Identity, Box<str>>,
    capacity: &Capacity,
) -> Result<(), String> {
    let outcome = allot(endpoints, before, capacity);
    if outcome.is_err() {
        endpoints.iter_mut().for_each(|endpoint| endpoint.hints = None);
    }
    outcome
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.ready == Some(true)
}

fn allot(
    endpoints: &mut [&mut Endpoint],
    before: &BTreeMap<Identity, Box<str>>,
    capacity: &Capacity,
) -> Result<(), String> {
    let mut ready: Vec<&mut Endpoint> = Vec::new();
    for endpoint in endpoints.iter_mut() {
        endpoint.hints = None;
        if is_ready(endpoint) {
            ready.push(endpoint);
        }
    }
    let (total, shares) = shares(capacity, ready.len())?;
    if ready.iter().any(|endpoint| endpoint.zone.is_none()) {
        return Err("One or more endpoints do not have a zone specified".to_owned());
    }
    let mut somebody_is_new = false;
    let mut hinted: Vec<Box<str>> = Vec::new();
    for endpoint in &ready {
        let known = before.get(&identity(endpoint)).filter(|zone| shares.contains_key(&***zone)).cloned();
        somebody_is_new |= known.is_none();
        hinted.extend(known.or_else(|| endpoint.zone.clone()));
    }
    let counts = |hinted: &[Box<str>]| {
        let mut counts: BTreeMap<Box<str>, i64> = shares.keys().map(|zone| (Box::from(*zone), 0)).collect();
        hinted.iter().for_each(|zone| *counts.entry(zone.clone()).or_default() += 1);
        counts
    };
    let now = counts(&hinted);
    let is_off = |(zone, share): (&&str, &Share)| {
        let count = now.get(*zone).copied().unwrap_or_default();
        count < share.minimum || count > share.maximum
    };
    if somebody_is_new || shares.iter().any(is_off) {
        lend(&mut hinted, &now, &shares, total);
    }
    for (endpoint, zone) in ready.into_iter().zip(hinted) {
        endpoint.hints = Some(Hints { for_zones: vec![Named { name: zone }], for_nodes: Vec::new() });
    }
    Ok(())
}

/// How many of so many endpoints each zone shall have, and the parts that all CPUs have.
fn shares(capacity: &Capacity, endpoints: usize) -> Result<(i64, BTreeMap<&str, Share>), String> {
    let Some(zones) = capacity else {
        return Err(
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
                .to_owned(),
        );
    };
    let numbers = format!("({endpoints} endpoints, {} zones)", zones.len());
    if zones.len() > endpoints {
        return Err(format!("Insufficient number of endpoints {numbers}"));
    }
    let endpoints = i64::try_from(endpoints).unwrap_or(i64::MAX);
    let total: i64 = zones.values().sum();
    // No endpoint shall have more than 6/5 of its part to do.
    let minimum = |cpu: i64| {
        let (part, whole) = (endpoints.saturating_mul(cpu).saturating_mul(5), total.saturating_mul(6));
        part / whole + i64::from(part % whole > 0)
    };
    let left = endpoints - zones.values().map(|cpu| minimum(*cpu)).sum::<i64>();
    if left < 0 {
        return Err(format!(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold {numbers}"
        ));
    }
    let share = |cpu: i64| {
        let minimum = minimum(cpu);
        let desired = endpoints.saturating_mul(cpu).max(minimum.saturating_mul(total));
        Share { minimum, maximum: minimum + left, desired }
    };
    Ok((total, zones.iter().map(|(zone, cpu)| (&**zone, share(*cpu))).collect()))
}

/// Lends endpoints of zones that have too many to zones that have too few.
fn lend(hinted: &mut [Box<str>], now: &BTreeMap<Box<str>, i64>, shares: &BTreeMap<&str, Share>, total: i64) {
    let (mut gives, mut receives) = (BTreeMap::<&str, i64>::new(), BTreeMap::<&str, i64>::new());
    for (zone, share) in shares {
        let has = now.get(*zone).copied().unwrap_or_default().saturating_mul(total);
        if has > share.desired {
            gives.insert(zone, has - share.desired);
        } else if has < share.desired {
            receives.insert(zone, share.desired - has);
        }
    }
    let most = |of: &BTreeMap<&str, i64>| -> Option<(String, i64)> {
        let (zone, amount) = of.iter().rev().max_by_key(|(_, amount)| **amount)?;
        (*amount > 0).then(|| ((*zone).to_owned(), *amount))
    };
    while let (Some((from, too_many)), Some((to, too_few))) = (most(&gives), most(&receives)) {
        let is_worth_it = too_many.max(too_few) >= total && too_many.min(too_few).saturating_mul(2) >= total;
        let Some(lent) = hinted.iter_mut().find(|zone| ***zone == *from).filter(|_| is_worth_it) else {
            break;
        };
        *lent = to.as_str().into();
        gives.entry(shares.get_key_value(&*from).map_or("", |(zone, _)| zone)).and_modify(|it| *it -= total);
        receives.entry(shares.get_key_value(&*to).map_or("", |(zone, _)| zone)).and_modify(|it| *it -= total);
    }
}

#[cfg(test)]
mod topology_tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(zone: &str, cpu: &str, change: &Value) -> Arc<Node> {
        let mut node = json!({"metadata": {"name": "n", "labels": {super::super::ZONE: zone}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": cpu}}});
        for (part, fields) in change.as_object().unwrap() {
            for (name, value) in fields.as_object().unwrap() {
                node[part][name] = value.clone();
            }
        }
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn zones(cpus: &[(&str, &str)]) -> Capacity {
        let nodes: Vec<_> = cpus.iter().map(|(zone, cpu)| node(zone, cpu, &json!({}))).collect();
        capacity(&nodes)
    }

    #[test]
    fn what_zones_can_do_is_told_by_nodes_that_are_ready_and_say_it() {
        let two = [node("a", "2", &json!({})), node("b", "500m", &json!({}))];
        let told = |more: Arc<Node>| capacity(&[&two[..], &[more]].concat());
        let sum = |a: i64, b: i64| Some(BTreeMap::from([("a".into(), a), ("b".into(), b)]));
        assert_eq!(told(node("a", "1", &json!({}))), sum(3000, 500));
        assert_eq!(told(node("a", "1", &json!({"status": {"conditions": []}}))), sum(2000, 500));
        let control = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
        assert_eq!(told(node("", "1", &control)), sum(2000, 500));
        assert_eq!(told(node("", "1", &json!({}))), None);
        assert_eq!(told(node("a", "0", &json!({}))), None);
        assert_eq!(capacity(&two[..1]), None);
    }

    /// So many ready endpoints in each zone; to how many zones each is hinted then.
    fn hints(there: &[(&str, usize)], capacity: &Capacity) -> Result<Vec<(String, usize)>, String> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (zone, count) in there {
            for at in 0..*count {
                let endpoint = json!({"addresses": [format!("{zone}{at}")], "zone": zone, "conditions": {"ready": true}});
                endpoints.push(serde_json::from_value(endpoint).unwrap());
            }
        }
        let mut refs: Vec<&mut Endpoint> = endpoints.iter_mut().collect();
        distribute(&mut refs, &BTreeMap::new(), capacity)?;
        let zone = |it: &Endpoint| it.hints.as_ref().unwrap().for_zones[0].name.to_string();
        let mut counts = BTreeMap::<String, usize>::new();
        endpoints.iter().for_each(|it| *counts.entry(zone(it)).or_default() += 1);
        let before: BTreeMap<_, _> =
            endpoints.iter().map(|it| (identity(it), zone(it).as_str().into())).collect();
        // What is hinted stays.
        let told = endpoints.clone();
        distribute(&mut endpoints.iter_mut().collect::<Vec<_>>(), &before, capacity)?;
        assert_eq!(told, endpoints, "settled");
        Ok(counts.into_iter().collect())
    }

    #[test]
    fn zones_get_endpoints_as_they_have_cpus() {
        let equal = zones(&[("a", "2"), ("b", "2"), ("c", "2")]);
        let unequal = zones(&[("a", "3"), ("b", "1")]);
        for (there, capacity, expected) in [
            (vec![("a", 2), ("b", 2), ("c", 2)], &equal, Ok(vec![("a", 2), ("b", 2), ("c", 2)])),
            (vec![("a", 5), ("b", 1), ("c", 0)], &equal, Ok(vec![("a", 2), ("b", 2), ("c", 2)])),
            (vec![("a", 4), ("b", 4)], &unequal, Ok(vec![("a", 6), ("b", 2)])),
            (
                vec![("a", 1), ("b", 1)],
                &equal,
                Err("Insufficient number of endpoints (2 endpoints, 3 zones)"),
            ),
            (
                vec![("a", 1), ("b", 1)],
                &unequal,
                Err(
                    "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (2 endpoints, 2 zones)",
                ),
            ),
            (
                vec![("a", 3)],
                &None,
                Err(
                    "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
                ),
            ),
        ] {
            let expected = expected
                .map(|counts| counts.into_iter().map(|(zone, count)| (zone.to_owned(), count)).collect())
                .map_err(str::to_owned);
            assert_eq!(hints(&there, capacity), expected, "{there:?}");
        }
    }
}

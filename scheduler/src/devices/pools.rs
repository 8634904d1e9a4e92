//! The pools that have devices for a node.
//!
//! Of a pool only the slices of its newest generation count, and only when all of them are there: until then a driver is
//! about to change it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Devices,
    slice::{CounterSet, Device, PoolId, Slice},
};
use crate::node::Node;

/// A pool, as a node sees it.
#[derive(Debug)]
pub struct Pool<'a> {
    /// Which.
    pub id: &'a PoolId,
    /// Whether its devices may be given out.
    pub state: State,
    /// The slices with devices that the node may reach.
    pub slices: Vec<&'a Arc<Slice>>,
    /// All slices of the pool.
    pub all_slices: Vec<&'a Arc<Slice>>,
    /// What its devices share.
    pub counters: BTreeMap<&'a str, &'a CounterSet>,
}

/// Whether devices of a pool may be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They may.
    Whole,
    /// Its driver is about to change it.
    Incomplete,
    /// Its driver has made a mistake.
    Invalid,
}

/// The pools that have devices for a node, those first whose devices need nothing done before a Pod is bound.
pub fn gather<'a>(devices: &'a Devices, node: &Node) -> Vec<Pool<'a>> {
    let mut pools: Vec<Pool<'a>> = devices
        .pools_for(node.name())
        .filter_map(|(id, slices)| pool(id, slices.values().collect(), node))
        .collect();
    pools.sort_by_key(Pool::needs_something_done);
    pools
}

fn is_relevant(slice: &Slice, node: &Node) -> bool {
    if !slice.counters.is_empty() {
        return true;
    }
    if !slice.reach.is_unsaid() {
        return slice.reach.reaches(node);
    }
    slice.reach_by_device && slice.devices.iter().any(|device| device.reach.reaches(node))
}

fn pool<'a>(id: &'a PoolId, all: Vec<&'a Arc<Slice>>, node: &Node) -> Option<Pool<'a>> {
    let relevant = || all.iter().copied().filter(|slice| is_relevant(slice, node));
    let generation = relevant().map(|slice| slice.generation).max()?;
    let mut slices: Vec<&Arc<Slice>> = relevant().filter(|slice| slice.generation == generation).collect();
    let expected = slices.first().map_or(0, |slice| slice.slices);
    let count = |slices: usize| i64::try_from(slices).unwrap_or(i64::MAX);
    let mut all_slices = slices.clone();
    if count(slices.len()) != expected {
        // What the node does not reach says whether the pool is whole.
        if all.iter().any(|slice| slice.generation > generation) {
            return None;
        }
        all_slices = all.into_iter().filter(|slice| slice.generation == generation).collect();
        if count(all_slices.len()) != expected {
            return Some(Pool::closed(id, State::Incomplete));
        }
    }
    let mut counters = BTreeMap::new();
    for set in slices.iter().flat_map(|slice| &slice.counters) {
        if counters.insert(&*set.name, set).is_some() {
            return Some(Pool::closed(id, State::Invalid));
        }
    }
    slices.retain(|slice| slice.counters.is_empty());
    let mut names = BTreeSet::new();
    let has_names_of_their_own =
        slices.iter().flat_map(|slice| &slice.devices).all(|it| names.insert(&it.name));
    let knows = |set: &CounterSet| {
        counters
            .get(&*set.name)
            .is_some_and(|known| set.counters.keys().all(|it| known.counters.contains_key(it)))
    };
    let mut consumed = all_slices.iter().flat_map(|slice| &slice.devices).flat_map(|device| &device.consumes);
    if !has_names_of_their_own || !consumed.all(knows) {
        return Some(Pool::closed(id, State::Invalid));
    }
    Some(Pool { id, state: State::Whole, slices, all_slices, counters })
}

// === impl Pool ===

impl<'a> Pool<'a> {
    fn closed(id: &'a PoolId, state: State) -> Self {
        Self { id, state, slices: Vec::new(), all_slices: Vec::new(), counters: BTreeMap::new() }
    }

    fn needs_something_done(&self) -> bool {
        let mut devices = self.slices.iter().flat_map(|slice| &slice.devices);
        devices.any(|device: &Device| !device.binding_conditions.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use client::Change;
    use serde_json::{Value, json};

    use super::*;

    fn slice(name: &str, generation: i64, count: i64, mut spec: Value) -> Value {
        spec["driver"] = json!("d");
        spec["pool"] = json!({"name": "p", "generation": generation, "resourceSliceCount": count});
        json!({"metadata": {"name": name}, "spec": spec})
    }

    /// The pools that node `a` sees: their state and devices.
    fn check(slices: Vec<Value>) -> String {
        let mut devices = Devices::default();
        for value in slices {
            devices.take_slice(&Change::Added(Arc::new(serde_json::from_value(value).unwrap())));
        }
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "a", "labels": {"zone": "1"}}})).unwrap();
        let pools = gather(&devices, &node);
        let shown = pools.iter().map(|pool| {
            let names = pool.slices.iter().flat_map(|slice| &slice.devices).map(|device| &*device.name);
            format!("{} {:?} {}", pool.id, pool.state, names.collect::<Vec<_>>().join(","))
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_node_sees_what_it_reaches_of_whole_pools() {
        let device = |name: &str| json!([{"name": name}]);
        let on = |node: &str, name: &str| json!({"nodeName": node, "devices": device(name)});
        let zone = |zone: &str| {
            json!({"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "zone", "operator": "In", "values": [zone]}]}]})
        };
        for (slices, expected) in [
            (vec![], ""),
            (vec![slice("1", 1, 1, on("a", "x"))], "d/p Whole x"),
            (vec![slice("1", 1, 1, on("b", "x"))], ""),
            (vec![slice("1", 1, 1, json!({"allNodes": true, "devices": device("x")}))], "d/p Whole x"),
            (
                vec![slice("1", 1, 1, json!({"nodeSelector": zone("1"), "devices": device("x")}))],
                "d/p Whole x",
            ),
            (vec![slice("1", 1, 1, json!({"nodeSelector": zone("2"), "devices": device("x")}))], ""),
            (vec![slice("1", 1, 2, on("a", "x"))], "d/p Incomplete "),
            (vec![slice("1", 1, 2, on("a", "x")), slice("2", 1, 2, on("a", "y"))], "d/p Whole x,y"),
            // What other nodes reach makes the pool whole, too.
            (vec![slice("1", 1, 2, on("a", "x")), slice("2", 1, 2, on("b", "y"))], "d/p Whole x"),
            // A newer generation replaces all of the older ones.
            (vec![slice("1", 1, 1, on("a", "x")), slice("2", 2, 1, on("a", "y"))], "d/p Whole y"),
            (vec![slice("1", 1, 2, on("a", "x")), slice("2", 2, 1, on("b", "y"))], ""),
            // Names are unique.
            (vec![slice("1", 1, 2, on("a", "x")), slice("2", 1, 2, on("a", "x"))], "d/p Invalid "),
            (
                vec![slice(
                    "1",
                    1,
                    1,
                    json!({"perDeviceNodeSelection": true, "devices": [
                    {"name": "x", "nodeName": "b"}, {"name": "y", "nodeSelector": zone("1")}]}),
                )],
                "d/p Whole x,y",
            ),
            (
                vec![slice(
                    "1",
                    1,
                    1,
                    json!({"perDeviceNodeSelection": true, "devices": [
                    {"name": "x", "nodeName": "b"}]}),
                )],
                "",
            ),
            (
                vec![
                    slice(
                        "1",
                        1,
                        2,
                        json!({"nodeName": "a", "devices": [
                        {"name": "x", "consumesCounters": [{"counterSet": "s", "counters": {"m": {"value": "1"}}}]}]}),
                    ),
                    slice(
                        "2",
                        1,
                        2,
                        json!({"nodeName": "a", "sharedCounters": [
                        {"name": "s", "counters": {"m": {"value": "4"}}}]}),
                    ),
                ],
                "d/p Whole x",
            ),
            (
                vec![slice(
                    "1",
                    1,
                    1,
                    json!({"nodeName": "a", "devices": [
                    {"name": "x", "consumesCounters": [{"counterSet": "s", "counters": {"m": {"value": "1"}}}]}]}),
                )],
                "d/p Invalid ",
            ),
            (
                vec![slice(
                    "1",
                    1,
                    1,
                    json!({"nodeName": "a", "sharedCounters": [
                    {"name": "s", "counters": {}}, {"name": "s", "counters": {}}]}),
                )],
                "d/p Invalid ",
            ),
        ] {
            let shown = format!("{slices:?}");
            assert_eq!(check(slices), expected, "{shown}");
        }
    }

    #[test]
    fn pools_whose_devices_need_nothing_done_come_first() {
        let mut first = slice(
            "1",
            1,
            1,
            json!({"allNodes": true, "devices": [
            {"name": "x", "bindingConditions": ["attached"]}]}),
        );
        first["spec"]["pool"]["name"] = json!("a");
        let second = slice("2", 1, 1, json!({"allNodes": true, "devices": [{"name": "y"}]}));
        assert_eq!(check(vec![first, second]), "d/p Whole y; d/a Whole x");
    }
}

//! NodeIPAM: gives each node a range of addresses for its Pods, out of the cluster's.
//!
//! The lowest free range is next. What was given to a node is remembered until the node is gone, so that it is given to no
//! other one before the caches show it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use client::{
    Caches, Controller, Key, Kind, Plan, Triggers, Write,
    controller::{Patch, Request},
    events::{Note, ObjectRef},
    resource::NODES,
};
use ipnet::IpNet;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

use crate::kinds::Node;

/// Out of which range, and how large the part of a node is: the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The cluster's range.
    pub range: IpNet,
    /// The length of the prefix of a node's part.
    pub node_prefix: u8,
}

/// Gives nodes their ranges.
pub struct NodeIpam {
    pools: Vec<Pool>,
    /// What each node has or will have.
    given: Mutex<BTreeMap<Arc<str>, Vec<IpNet>>>,
}

/// All that matters to a node.
#[derive(Debug)]
pub struct Observed {
    node: Arc<Node>,
    /// What it gets; `None` if nothing is left.
    gets: Option<Vec<IpNet>>,
}

// === impl NodeIpam ===

impl fmt::Debug for NodeIpam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIpam").field("pools", &self.pools).finish_non_exhaustive()
    }
}

impl NodeIpam {
    /// Gives each node one range of each pool.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self { pools, given: Mutex::default() }
    }

    /// What a node that has none gets.
    fn give(&self, node: &Node, all: &[Arc<Node>]) -> Option<Vec<IpNet>> {
        let mut given = self.given.lock();
        given.retain(|name, _| all.iter().any(|it| it.metadata.name == *name));
        for other in all {
            let has: Vec<IpNet> = other.spec.pod_cidrs.iter().filter_map(|text| text.parse().ok()).collect();
            if !has.is_empty() {
                given.insert(Arc::clone(&other.metadata.name), has);
            }
        }
        if let Some(mine) = given.get(&node.metadata.name) {
            return Some(mine.clone());
        }
        let taken: Vec<IpNet> = given.values().flatten().copied().collect();
        let overlaps = |it: &IpNet| taken.iter().any(|other| other.contains(it) || it.contains(other));
        let free = |pool: &Pool| pool.range.subnets(pool.node_prefix).ok()?.find(|it| !overlaps(it));
        let gets: Vec<IpNet> = self.pools.iter().map(free).collect::<Option<_>>()?;
        given.insert(Arc::clone(&node.metadata.name), gets.clone());
        Some(gets)
    }
}

impl Controller for NodeIpam {
    type Root = Node;
    type Observed = Observed;
    const NAME: &'static str = "cidrAllocator";

    fn triggers(&self, on: &mut Triggers<Node>) {
        on.changes::<Node>(|change, caches| match change.after() {
            Some(node) if node.spec.pod_cidrs.is_empty() => vec![node.key()],
            Some(_) => Vec::new(),
            // There is room again for those that have none.
            None => {
                let nodes = caches.read::<Node>().list();
                nodes.iter().filter(|it| it.spec.pod_cidrs.is_empty()).map(|it| it.key()).collect()
            }
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let nodes = caches.read::<Node>();
        let node = nodes.get(root)?;
        if !node.spec.pod_cidrs.is_empty() {
            return None;
        }
        let gets = self.give(&node, &nodes.list());
        Some(Observed { node, gets })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let node = &observed.node;
        let Some(gets) = &observed.gets else {
            let message = format!("Node {} status is now: CIDRNotAvailable", node.metadata.name);
            return Plan::because("no range of addresses is left for the node")
                .then(Write::event(ObjectRef::to(&**node), Note::normal("CIDRNotAvailable", message)));
        };
        let ranges: Vec<String> = gets.iter().map(ToString::to_string).collect();
        let patch = json!({"spec": {"podCIDR": ranges.first(), "podCIDRs": ranges}});
        Plan::because("the node has no addresses for its Pods")
            .then(Request::patch(NODES, node.key(), Patch::strategic(patch)).if_same(&node.metadata.uid))
    }
}

#[cfg(test)]
mod tests {
    use client::{controller::Verb, testing::Filled};
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_node_gets_a_range_of_its_own() {
        let pool = |range: &str, node_prefix| Pool { range: range.parse().unwrap(), node_prefix };
        let ipam = NodeIpam::new(vec![pool("10.0.0.0/22", 24), pool("fd00::/62", 64)]);
        let node = |name: &str, cidr: Value| json!({"metadata": {"name": name, "uid": name}, "spec": {"podCIDRs": cidr}});
        let look = |ipam: &NodeIpam, name: &str, nodes: Vec<Value>| {
            let caches = Filled::new().with::<Node>(nodes).caches();
            let observed = ipam.observe(&Key::cluster(name), &caches).unwrap();
            match ipam.reconcile(&observed, Timestamp::UNIX_EPOCH).writes.as_slice() {
                [Write::Request(request)] => match &request.verb {
                    Verb::Patch(patch) => patch.document()["spec"]["podCIDRs"].clone(),
                    _ => panic!("{request:?}"),
                },
                [Write::Event { note, .. }] => json!(note.reason),
                other => panic!("{other:?}"),
            }
        };
        let all = || {
            vec![
                node("a", json!(["10.0.1.0/24", "fd00::/64"])),
                node("b", json!([])),
                node("c", json!([])),
                node("d", json!([])),
                node("e", json!([])),
            ]
        };
        assert_eq!(look(&ipam, "b", all()), json!(["10.0.0.0/24", "fd00:0:0:1::/64"]));
        assert_eq!(
            look(&ipam, "b", all()),
            json!(["10.0.0.0/24", "fd00:0:0:1::/64"]),
            "a second look gives the same"
        );
        assert_eq!(look(&ipam, "c", all()), json!(["10.0.2.0/24", "fd00:0:0:2::/64"]));
        look(&ipam, "d", all());
        assert_eq!(look(&ipam, "e", all()), json!("CIDRNotAvailable"));
        let without_b = all().into_iter().filter(|node| node["metadata"]["name"] != "b").collect();
        assert_eq!(
            look(&ipam, "e", without_b),
            json!(["10.0.0.0/24", "fd00:0:0:1::/64"]),
            "what is free is given again"
        );
    }
}

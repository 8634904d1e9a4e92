//! The owner of the columns: takes in what happens to nodes and Pods, and gives out snapshots.
//!
//! A Pod is **assumed** on a node from the moment that is decided until the cluster says so itself, or the binding fails.
//!
//! Invariant: whatever order news comes in, the columns are those of a cluster built afresh from the objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use client::Meta;

use super::{Others, Row, Snapshot};
use crate::{node::Node, pod::Pod};

/// The owner of the columns.
#[derive(Debug, Default)]
pub struct Cluster {
    snapshot: Snapshot,
    rows_used: usize,
    rows_free: Vec<Row>,
    /// Zones and their nodes, each in the order they came.
    zones: Vec<(String, Vec<Arc<str>>)>,
    order_is_old: bool,
    /// By uid.
    placed: BTreeMap<Box<str>, Placement>,
    /// The uids of the Pods of a node, whether it is known or not.
    by_node: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// The nodes that are kept free for Pods, by their uid.
    nominations: BTreeMap<Box<str>, Box<str>>,
    /// How many of those placed are assumed.
    assumed: usize,
    changes: u64,
}

#[derive(Debug)]
struct Placement {
    pod: Arc<Pod>,
    node: Box<str>,
    assumed: bool,
}

impl Cluster {
    /// The cluster as it is.
    pub fn snapshot(&mut self) -> Snapshot {
        if std::mem::take(&mut self.order_is_old) {
            self.snapshot.order = Arc::new(self.in_turns());
        }
        self.snapshot.clone()
    }

    /// One node of each zone in turn.
    fn in_turns(&self) -> Vec<Row> {
        let longest = self.zones.iter().map(|(_, names)| names.len()).max().unwrap_or_default();
        (0..longest)
            .flat_map(|turn| self.zones.iter().filter_map(move |(_, names)| names.get(turn)))
            .filter_map(|name| self.snapshot.row(name))
            .collect()
    }

    /// Something about a node is not as it was.
    fn touch(&mut self, row: Row) {
        self.changes += 1;
        *self.snapshot.versions.at(row) = self.changes;
    }

    fn touch_named(&mut self, node: &str) {
        if let Some(row) = self.snapshot.row(node) {
            self.touch(row);
        }
    }

    /// A node came or changed.
    pub fn set_node(&mut self, node: &Arc<Node>) {
        let known = self.snapshot.row(node.name());
        let row = known.unwrap_or_else(|| self.new_row());
        self.touch(row);
        let old = self.snapshot.nodes.at(row).replace(Arc::clone(node));
        if let Some(old) = &old {
            self.snapshot.allocatable.add(row, &old.allocatable, old.pods_max, -1);
        }
        self.snapshot.allocatable.add(row, &node.allocatable, node.pods_max, 1);
        if old.as_ref().is_none_or(|old| old.metadata.labels != node.metadata.labels) {
            self.snapshot.topologies = Arc::default();
        }
        if old.as_ref().is_none_or(|old| old.images != node.images) {
            self.count_images(old.as_deref(), Some(node));
        }
        if old.as_ref().is_none_or(|old| old.zone() != node.zone()) {
            if let Some(old) = &old {
                self.leave_zone(old);
            }
            self.enter_zone(node);
        }
        if known.is_none() {
            Arc::make_mut(&mut self.snapshot.by_name).insert(Arc::clone(&node.metadata.name), row);
            for uid in self.by_node.get(node.name()).cloned().unwrap_or_default() {
                if let Some(placement) = self.placed.get(&uid) {
                    let pod = Arc::clone(&placement.pod);
                    self.count(row, &pod, 1);
                }
            }
        }
    }

    /// A node went. Its Pods are remembered until they go themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(row) = Arc::make_mut(&mut self.snapshot.by_name).remove(name) else { return };
        let pods: Vec<Arc<Pod>> = self.snapshot.pods(row).cloned().collect();
        for pod in &pods {
            self.count(row, pod, -1);
        }
        if let Some(old) = self.snapshot.nodes.at(row).take() {
            self.snapshot.allocatable.add(row, &old.allocatable, old.pods_max, -1);
            self.count_images(Some(&old), None);
            self.leave_zone(&old);
        }
        self.snapshot.topologies = Arc::default();
        self.touch(row);
        self.rows_free.push(row);
    }

    /// What else there is.
    pub fn others(&self) -> &Others {
        &self.snapshot.others
    }

    /// What else there is, to be changed.
    pub fn others_mut(&mut self) -> &mut Others {
        &mut self.snapshot.others
    }

    /// A node is kept free for a Pod, as it is now; no node if the name is empty. Returns whether another one was before, or
    /// one at all.
    pub fn nominate(&mut self, pod: &Arc<Pod>, node: &str) -> bool {
        let before = self.nominations.get(pod.uid()).cloned();
        let same = before.as_deref().unwrap_or_default() == node;
        if before.is_some() {
            self.unlist(pod.uid());
        }
        if !node.is_empty() {
            self.touch_named(node);
            self.nominations.insert(pod.uid().into(), node.into());
            Arc::make_mut(&mut self.snapshot.nominated).entry(node.into()).or_default().push(Arc::clone(pod));
        }
        before.is_some() && !same
    }

    fn unlist(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let node = self.nominations.remove(uid)?;
        self.touch_named(&node);
        let nominated = Arc::make_mut(&mut self.snapshot.nominated);
        let pods = nominated.get_mut(&node)?;
        let at = pods.iter().position(|pod| pod.uid() == uid)?;
        let pod = pods.remove(at);
        if pods.is_empty() {
            nominated.remove(&node);
        }
        Some(pod)
    }

    /// No node is kept free for a Pod any more. Returns the Pod if one was.
    pub fn forget_nomination(&mut self, uid: &str) -> Option<Arc<Pod>> {
        self.unlist(uid)
    }

    /// The node that is kept free for a Pod.
    pub fn nomination(&self, uid: &str) -> Option<&str> {
        self.nominations.get(uid).map(|node| &**node)
    }

    /// The Pods less important than that for which a node is kept free.
    pub fn less_important_nominated(&self, node: &str, priority: i32) -> Vec<Arc<Pod>> {
        let nominated = self.snapshot.nominated.get(node).into_iter().flatten();
        nominated.filter(|pod| pod.priority < priority).cloned().collect()
    }

    /// A namespace came or changed.
    pub fn set_namespace(&mut self, meta: &Meta) {
        Arc::make_mut(&mut self.snapshot.namespaces).insert(Arc::clone(&meta.name), meta.labels.clone());
    }

    /// A namespace went.
    pub fn remove_namespace(&mut self, name: &str) {
        Arc::make_mut(&mut self.snapshot.namespaces).remove(name);
    }

    fn new_row(&mut self) -> Row {
        self.rows_free.pop().unwrap_or_else(|| {
            self.rows_used += 1;
            Row(self.rows_used - 1)
        })
    }

    fn enter_zone(&mut self, node: &Node) {
        let zone = node.zone();
        let name = Arc::clone(&node.metadata.name);
        match self.zones.iter_mut().find(|(candidate, _)| *candidate == zone) {
            Some((_, names)) => names.push(name),
            None => self.zones.push((zone, vec![name])),
        }
        self.order_is_old = true;
    }

    fn leave_zone(&mut self, node: &Node) {
        let zone = node.zone();
        if let Some((_, names)) = self.zones.iter_mut().find(|(candidate, _)| *candidate == zone) {
            names.retain(|name| **name != *node.metadata.name);
        }
        self.zones.retain(|(_, names)| !names.is_empty());
        self.order_is_old = true;
    }

    fn count_images(&mut self, old: Option<&Node>, new: Option<&Node>) {
        let images = Arc::make_mut(&mut self.snapshot.images);
        for (image, _) in old.into_iter().flat_map(|node| &node.images) {
            if let Some(count) = images.get_mut(image) {
                *count -= 1;
                if *count == 0 {
                    images.remove(image);
                }
            }
        }
        for (image, _) in new.into_iter().flat_map(|node| &node.images) {
            *images.entry(image.clone()).or_default() += 1;
        }
    }

    /// The cluster says that a Pod is on the node it names, as it is now. Ends an assumption.
    pub fn place(&mut self, pod: &Arc<Pod>) {
        self.put(pod, &pod.node_name, false);
    }

    /// It was decided that a Pod goes to a node.
    pub fn assume(&mut self, pod: &Arc<Pod>, node: &str) {
        self.put(pod, node, true);
    }

    fn put(&mut self, pod: &Arc<Pod>, node: &str, assumed: bool) {
        self.remove(pod.uid());
        let uid: Box<str> = pod.uid().into();
        self.by_node.entry(node.into()).or_default().insert(uid.clone());
        if let Some(row) = self.snapshot.row(node) {
            self.count(row, pod, 1);
        }
        self.assumed += usize::from(assumed);
        self.placed.insert(uid, Placement { pod: Arc::clone(pod), node: node.into(), assumed });
    }

    /// A Pod went. Returns it if it took a place.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let Placement { pod, node, assumed } = self.placed.remove(uid)?;
        self.assumed -= usize::from(assumed);
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.remove(uid);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
        if let Some(row) = self.snapshot.row(&node) {
            self.count(row, &pod, -1);
        }
        Some(pod)
    }

    /// An assumption was wrong. Returns the Pod unless the cluster has placed it meanwhile.
    pub fn forget(&mut self, uid: &str) -> Option<Arc<Pod>> {
        if self.is_assumed(uid) { self.remove(uid) } else { None }
    }

    /// Whether a Pod is assumed somewhere.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.placed.get(uid).is_some_and(|placement| placement.assumed)
    }

    /// How many Pods take a place, and how many of them are assumed.
    pub fn pods(&self) -> (usize, usize) {
        (self.placed.len(), self.assumed)
    }

    /// Adds a Pod to a row, or takes it away.
    fn count(&mut self, row: Row, pod: &Arc<Pod>, sign: i64) {
        self.touch(row);
        let snapshot = &mut self.snapshot;
        snapshot.requested.add(row, &pod.requests, 1, sign);
        let (cpu, memory) = pod.scored;
        *snapshot.scored_cpu.at(row) += cpu.saturating_mul(sign);
        *snapshot.scored_memory.at(row) += memory.saturating_mul(sign);
        if pod.is_choosy() {
            *snapshot.choosy.at(row) += sign;
        }
        snapshot.crowds.count(row, pod, sign > 0);
        let pods = Arc::make_mut(snapshot.pods.at(row));
        if sign > 0 {
            pods.insert(pod.uid().into(), Arc::clone(pod));
        } else {
            pods.remove(pod.uid());
        }
        if !pod.host_ports.is_empty() {
            let ports = Arc::make_mut(snapshot.ports.at(row));
            for port in &pod.host_ports {
                let count = ports.entry(port.clone()).or_default();
                *count = count.saturating_add_signed(if sign > 0 { 1 } else { -1 });
                if *count == 0 {
                    ports.remove(port);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn node(number: u8, cpu: u8, zone: u8) -> Arc<Node> {
        let node = json!({
            "metadata": {"name": format!("n{number}"), "labels": {"topology.kubernetes.io/zone": format!("z{zone}")}},
            "status": {
                "allocatable": {"cpu": cpu.to_string(), "pods": "10", "example.com/gpu": "2"},
                "images": [{"names": [format!("i{cpu}")], "sizeBytes": 5}],
            },
        });
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(number: u8, cpu: u8, node: u8) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": format!("p{number}"), "uid": format!("u{number}")},
            "spec": {"nodeName": format!("n{node}"), "containers": [{
                "resources": {"requests": {"cpu": cpu.to_string(), "example.com/gpu": "1"}},
                "ports": [{"hostPort": cpu}],
            }]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// What a cycle can see of each node, by name.
    fn seen(cluster: &mut Cluster) -> Vec<String> {
        let snapshot = cluster.snapshot();
        let mut lines: Vec<String> = snapshot
            .rows()
            .iter()
            .map(|row| {
                let (has, asked) = (snapshot.allocatable(*row), snapshot.requested(*row));
                format!(
                    "{} cpu {}/{} pods {}/{} gpu {}/{} scored {:?} image {} ports {:?} {:?}",
                    snapshot.name(*row),
                    asked.cpu(),
                    has.cpu(),
                    asked.pods(),
                    has.pods(),
                    asked.extended("example.com/gpu"),
                    has.extended("example.com/gpu"),
                    snapshot.scored(*row),
                    snapshot
                        .node(*row)
                        .images
                        .iter()
                        .map(|(name, _)| snapshot.nodes_with_image(name))
                        .sum::<usize>(),
                    snapshot.ports.get(*row).map(|ports| ports.len()).unwrap_or_default(),
                    snapshot.pods(*row).map(|pod| pod.uid().to_owned()).collect::<Vec<_>>(),
                )
            })
            .collect();
        lines.sort();
        lines
    }

    #[derive(Clone, Debug)]
    enum News {
        Node(u8, u8, u8),
        NodeGone(u8),
        Pod(u8, u8, u8),
        Assumed(u8, u8, u8),
        Forgotten(u8),
        PodGone(u8),
    }

    fn news() -> impl Strategy<Value = News> {
        prop_oneof![
            (0..4u8, 1..4u8, 0..2u8).prop_map(|(number, cpu, zone)| News::Node(number, cpu, zone)),
            (0..4u8).prop_map(News::NodeGone),
            (0..6u8, 1..4u8, 0..4u8).prop_map(|(number, cpu, node)| News::Pod(number, cpu, node)),
            (0..6u8, 1..4u8, 0..4u8).prop_map(|(number, cpu, node)| News::Assumed(number, cpu, node)),
            (0..6u8).prop_map(News::Forgotten),
            (0..6u8).prop_map(News::PodGone),
        ]
    }

    proptest! {
        #[test]
        fn however_news_comes_the_columns_are_those_of_a_fresh_cluster(news in prop::collection::vec(news(), 0..60)) {
            let mut cluster = Cluster::default();
            let mut nodes = BTreeMap::new();
            let mut pods = BTreeMap::new();
            let mut held = Vec::new();
            for item in news {
                match item {
                    News::Node(number, cpu, zone) => {
                        nodes.insert(number, node(number, cpu, zone));
                        cluster.set_node(&nodes[&number]);
                    }
                    News::NodeGone(number) => {
                        nodes.remove(&number);
                        cluster.remove_node(&format!("n{number}"));
                    }
                    News::Pod(number, cpu, node) => {
                        pods.insert(number, (pod(number, cpu, node), false));
                        cluster.place(&pods[&number].0);
                    }
                    News::Assumed(number, cpu, node) => {
                        pods.insert(number, (pod(number, cpu, node), true));
                        cluster.assume(&pods[&number].0, &format!("n{node}"));
                    }
                    News::Forgotten(number) => {
                        let assumed = pods.get(&number).is_some_and(|(_, assumed)| *assumed);
                        prop_assert_eq!(cluster.forget(&format!("u{number}")).is_some(), assumed);
                        if assumed {
                            pods.remove(&number);
                        }
                    }
                    News::PodGone(number) => {
                        let known = pods.remove(&number).is_some();
                        prop_assert_eq!(cluster.remove(&format!("u{number}")).is_some(), known);
                    }
                }
                // A snapshot that is held does not change under its reader.
                let before = seen(&mut cluster);
                held.push((cluster.snapshot(), before));
            }
            let mut fresh = Cluster::default();
            nodes.values().for_each(|node| fresh.set_node(node));
            pods.values().for_each(|(pod, _)| fresh.place(pod));
            prop_assert_eq!(seen(&mut cluster), seen(&mut fresh));
            for (snapshot, before) in held {
                let mut reader = Cluster { snapshot, ..Cluster::default() };
                prop_assert_eq!(seen(&mut reader), before);
            }
        }
    }

    #[test]
    fn nodes_are_visited_zone_by_zone_in_turns() {
        let mut cluster = Cluster::default();
        for (number, zone) in [(1, 1), (2, 1), (3, 2), (4, 1), (5, 3)] {
            cluster.set_node(&node(number, 1, zone));
        }
        let names = |cluster: &mut Cluster| {
            let snapshot = cluster.snapshot();
            snapshot.rows().iter().map(|row| snapshot.name(*row).to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&mut cluster), "n1 n3 n5 n2 n4");
        cluster.remove_node("n3");
        cluster.set_node(&node(4, 1, 3));
        assert_eq!(names(&mut cluster), "n1 n5 n2 n4");
    }
}

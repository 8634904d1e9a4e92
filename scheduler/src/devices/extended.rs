//! Extended resources that are devices (KEP-5004): what a Pod asks for by a resource's name, as requests of a claim.
//!
//! Where a node has none of a resource itself, and a DeviceClass says it is that resource, the scheduler makes a claim for the
//! Pod. A container that is done before others start lends them its devices.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Devices,
    claim::{Amount, Ask, Request, ResourceClaim},
};
use crate::{
    node::Node,
    pod::{ContainerAsk, Pod},
};

/// The name of the claim before it is made: no object can have it.
pub const NAME: &str = "<extended-resources>";

/// What is asked for on a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The requests of the claim.
    pub requests: Vec<Wish>,
    /// Which request is for which container.
    mappings: Vec<Mapping>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    name: String,
    class: Box<str>,
    count: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    container: Box<str>,
    resource: Box<str>,
    request: String,
}

/// Whether something a Pod asks for is devices.
pub fn concerns(pod: &Pod, devices: &Devices) -> bool {
    pod.requests
        .extended
        .iter()
        .any(|(name, amount)| *amount != 0 && is_extended(name) && devices.class_of_resource(name).is_some())
}

/// Whether a resource may be devices: not one of Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.starts_with(super::class::IMPLICIT_PREFIX)
        || (name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests."))
}

/// What a Pod needs of devices on a node; nothing if the node has all of it itself.
///
/// # Errors
/// A resource that the node does not have, and devices are not.
pub fn wanted(pod: &Pod, devices: &Devices, node: &Node) -> Result<Wanted, &'static str> {
    let mut resources: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, amount) in &pod.requests.extended {
        if *amount == 0 || !is_extended(name) {
            continue;
        }
        let has_key = node.allocatable.extended.iter().any(|(known, _)| known == name);
        match devices.class_of_resource(name) {
            Some(class) if node.allocatable.extended(name) == 0 => {
                resources.insert(name, &class.metadata.name);
            }
            _ if has_key => {}
            _ => return Err("cannot fit resource"),
        }
    }
    let mut wanted = Wanted::default();
    for (resource, class) in resources {
        add(&mut wanted, &pod.extended, resource, class);
    }
    wanted.requests.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(wanted)
}

/// Adds what containers ask of one resource.
fn add(wanted: &mut Wanted, containers: &[ContainerAsk], resource: &str, class: &str) {
    let mapping = |container: &ContainerAsk, request: &str| Mapping {
        container: container.name.clone(),
        resource: resource.into(),
        request: request.to_owned(),
    };
    // Containers that stay have devices of their own.
    let mut staying: Vec<(usize, Wish)> = Vec::new();
    for container in containers.iter().filter(|container| !container.ends_before_others) {
        if let Some(wish) = container.wish(resource, class, 0) {
            wanted.mappings.push(mapping(container, &wish.name));
            staying.push((container.number, wish));
        }
    }
    // Those that end first may use devices of those that begin later, and share what they need beyond.
    let mut largest: Option<Wish> = None;
    let mut beyond: Vec<(String, usize)> = Vec::new();
    let mut lent = Vec::new();
    for container in containers.iter().filter(|container| container.ends_before_others) {
        let Some(needs) = container.amount(resource) else { continue };
        let mut has = 0_i64;
        for (_, wish) in staying.iter().filter(|(number, _)| *number >= container.number) {
            if has >= needs {
                break;
            }
            has = has.saturating_add(wish.count);
            lent.push(mapping(container, &wish.name));
        }
        if has >= needs {
            continue;
        }
        if let Some(wish) = container.wish(resource, class, has) {
            beyond.push((wish.name.clone(), lent.len()));
            lent.push(mapping(container, &wish.name));
            if largest.as_ref().is_none_or(|largest| largest.count < wish.count) {
                largest = Some(wish);
            }
        }
    }
    if let Some(largest) = largest {
        for (_, at) in beyond {
            if let Some(mapping) = lent.get_mut(at) {
                mapping.request.clone_from(&largest.name);
            }
        }
        wanted.requests.push(largest);
    }
    wanted.requests.extend(staying.into_iter().map(|(_, wish)| wish));
    wanted.mappings.extend(lent);
}

// === impl ContainerAsk ===

impl ContainerAsk {
    fn amount(&self, resource: &str) -> Option<i64> {
        let (_, amount) = self.requests.iter().find(|(name, _)| **name == *resource)?;
        (*amount > 0).then_some(*amount)
    }

    /// What it needs of a resource beyond what it has, as a request.
    fn wish(&self, resource: &str, class: &str, has: i64) -> Option<Wish> {
        let amount = self.amount(resource)?;
        // Its requests are sorted by name.
        let at = self.requests.iter().position(|(name, _)| **name == *resource)?;
        let name = format!("container-{}-request-{at}", self.number);
        Some(Wish { name, class: class.into(), count: amount - has })
    }
}

// === impl Wanted ===

impl Wanted {
    /// Whether devices are needed at all.
    pub fn is_nothing(&self) -> bool {
        self.requests.is_empty()
    }

    /// A claim for it, as the allocator takes it.
    pub fn claim(&self, pod: &Pod) -> ResourceClaim {
        let request = |wish: &Wish| {
            let name: Box<str> = wish.name.as_str().into();
            let ask = Ask {
                name: name.clone(),
                class: (*wish.class).into(),
                amount: Amount::Exactly(wish.count),
                ..Ask::default()
            };
            Request { name, alternatives: [ask].into(), has_choice: false }
        };
        let mut claim = ResourceClaim {
            requests: self.requests.iter().map(request).collect(),
            ..ResourceClaim::default()
        };
        claim.metadata.namespace = pod.metadata.namespace.clone();
        claim.metadata.name = NAME.into();
        claim
    }

    /// The requests, as a claim's spec has them.
    pub fn written(&self) -> Value {
        let request = |wish: &Wish| {
            json!({"name": wish.name, "exactly": {
                "deviceClassName": wish.class, "allocationMode": "ExactCount", "count": wish.count}})
        };
        self.requests.iter().map(request).collect()
    }

    /// Which request is for which container, as a Pod's status has it.
    pub fn written_mappings(&self) -> Value {
        let mapping = |it: &Mapping| json!({"containerName": it.container, "resourceName": it.resource, "requestName": it.request});
        self.mappings.iter().map(mapping).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use client::Change;

    use super::*;
    use crate::devices::class::DeviceClass;

    fn devices() -> Devices {
        let mut devices = Devices::default();
        let class = json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}});
        let class: DeviceClass = serde_json::from_value(class).unwrap();
        devices.take_class(&Change::Added(Arc::new(class)));
        devices
    }

    fn container(name: &str, requests: Value) -> Value {
        json!({"name": name, "resources": {"requests": requests}})
    }

    fn sidecar(name: &str, requests: Value) -> Value {
        json!({"name": name, "restartPolicy": "Always", "resources": {"requests": requests}})
    }

    fn check(init: Value, containers: Value, has: Value) -> String {
        let pod = json!({"metadata": {"namespace": "ns", "name": "p"},
            "spec": {"initContainers": init, "containers": containers}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"allocatable": has}}))
                .unwrap();
        match wanted(&pod, &devices(), &node) {
            Err(why) => why.to_owned(),
            Ok(wanted) => {
                let requests = wanted.requests.iter().map(|it| format!("{}={}", it.name, it.count));
                let mappings = wanted.mappings.iter().map(|it| format!("{}:{}", it.container, it.request));
                let short = |text: String| text.replace("container-", "c").replace("-request-", "r");
                short(requests.chain(mappings).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn what_a_node_does_not_have_itself_is_asked_of_devices() {
        let gpus = |count: i64| json!({"cpu": "1", "example.com/gpu": count});
        let none = || json!({});
        for (init, containers, has, expected) in [
            (json!([]), json!([container("a", gpus(2))]), none(), "c0r1=2 a:c0r1"),
            (json!([]), json!([container("a", gpus(2))]), json!({"example.com/gpu": "0"}), "c0r1=2 a:c0r1"),
            (json!([]), json!([container("a", gpus(2))]), json!({"example.com/gpu": "4"}), ""),
            (
                json!([]),
                json!([container("a", json!({"example.com/other": 1}))]),
                none(),
                "cannot fit resource",
            ),
            (
                json!([]),
                json!([container("a", json!({"deviceclass.resource.kubernetes.io/gpu": 1}))]),
                none(),
                "c0r0=1 a:c0r0",
            ),
            (
                json!([]),
                json!([container("a", gpus(1)), container("b", none()), container("c", gpus(3))]),
                none(),
                "c0r1=1 c2r1=3 a:c0r1 c:c2r1",
            ),
            // Who ends first uses what others will have.
            (
                json!([container("i", gpus(1))]),
                json!([container("a", gpus(2))]),
                none(),
                "c1r1=2 a:c1r1 i:c1r1",
            ),
            (
                json!([container("i", gpus(5)), container("j", gpus(3))]),
                json!([container("a", gpus(2))]),
                none(),
                "c0r1=3 c2r1=2 a:c2r1 i:c2r1 i:c0r1 j:c2r1 j:c0r1",
            ),
            // But not what began before.
            (
                json!([sidecar("s", gpus(1)), container("i", gpus(1))]),
                json!([container("a", none())]),
                none(),
                "c0r1=1 c1r1=1 s:c0r1 i:c1r1",
            ),
        ] {
            let shown = format!("{init} {containers} {has}");
            assert_eq!(check(init, containers, has), expected, "{shown}");
        }
    }
}

//! Amounts of resources by name, and what a Pod asks for of them.
//!
//! Invariant: values only. A Pod asks for what its containers need together, or its init containers one after the other,
//! if that is more (KEP-753 for sidecars, KEP-2837 for amounts of the whole Pod, KEP-688 for overhead).

use std::collections::BTreeMap;

use api_types::quantity::Quantity;
use client::meta::null_is_default;
use serde::Deserialize;

use crate::kinds::Pod;

/// Amounts by the name of a resource.
pub type Amounts = BTreeMap<Box<str>, Quantity>;

/// What a container, or a Pod as a whole, asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Requirements {
    /// What it needs.
    #[serde(deserialize_with = "null_is_default")]
    pub requests: Amounts,
    /// What it may not exceed.
    #[serde(deserialize_with = "null_is_default")]
    pub limits: Amounts,
}

// === impl Requirements ===

impl Requirements {
    /// Reads what a projection keeps as it came.
    pub fn read(json: &str) -> Self {
        if json.is_empty() { Self::default() } else { serde_json::from_str(json).unwrap_or_default() }
    }

    /// What a Pod asks for as a whole.
    pub fn of_pod(pod: &Pod) -> Self {
        let whole = Self::read(&pod.spec.resources);
        let overhead: Amounts = serde_json::from_str(&pod.spec.overhead).unwrap_or_default();
        let mut requests = together(pod, |it| it.requests);
        let mut limits = together(pod, |it| it.limits);
        requests.extend(whole.requests.into_iter().filter(|(name, _)| is_of_pods(name)));
        limits.extend(whole.limits.into_iter().filter(|(name, _)| is_of_pods(name)));
        for (name, amount) in &overhead {
            *requests.entry(name.clone()).or_default() += amount;
            if let Some(limit) = limits.get_mut(name).filter(|limit| !limit.is_zero()) {
                *limit += amount;
            }
        }
        Self { requests, limits }
    }
}

/// Whether a Pod can ask for a resource as a whole.
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Adds amounts.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += amount;
    }
}

fn raise(most: &mut Amounts, to: Amounts) {
    for (name, amount) in to {
        let there = most.entry(name).or_default();
        if amount > *there {
            *there = amount;
        }
    }
}

/// What the containers of a Pod ask for together.
fn together(pod: &Pod, part: impl Fn(Requirements) -> Amounts) -> Amounts {
    let mut sum = Amounts::new();
    for container in &pod.spec.containers {
        add(&mut sum, &part(Requirements::read(&container.resources)));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in &pod.spec.init_containers {
        let own = part(Requirements::read(&container.resources));
        if &*container.restart_policy == "Always" {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut most, sidecars.clone());
        } else {
            let mut now = own;
            add(&mut now, &sidecars);
            raise(&mut most, now);
        }
    }
    raise(&mut sum, most);
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_its_containers_or_for_its_greediest_init_container() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}, "limits": {"cpu": amount}});
        for (spec, requests, limits) in [
            (json!({"containers": [{"resources": cpu("100m")}, {"resources": cpu("200m")}]}), "300m", "300m"),
            (
                json!({"containers": [{"resources": cpu("100m")}], "initContainers": [{"resources": cpu("1")}, {"resources": cpu("2")}]}),
                "2",
                "2",
            ),
            (
                json!({"containers": [{"resources": cpu("1")}],
                    "initContainers": [{"restartPolicy": "Always", "resources": cpu("500m")}, {"resources": cpu("700m")}]}),
                "1500m",
                "1500m",
            ),
            (json!({"containers": [{"resources": cpu("1")}], "overhead": {"cpu": "250m"}}), "1250m", "1250m"),
            (
                json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}], "overhead": {"cpu": "250m"}}),
                "1250m",
                "0",
            ),
            (
                json!({"containers": [{"resources": cpu("1")}], "resources": {"requests": {"cpu": "3"}}}),
                "3",
                "1",
            ),
        ] {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            let all = Requirements::of_pod(&pod);
            let of = |amounts: &Amounts| amounts.get("cpu").map_or("0".to_owned(), ToString::to_string);
            let parse = |text: &str| text.parse::<Quantity>().unwrap();
            assert_eq!(parse(&of(&all.requests)), parse(requests), "{spec}");
            assert_eq!(parse(&of(&all.limits)), parse(limits), "{spec}");
        }
    }
}

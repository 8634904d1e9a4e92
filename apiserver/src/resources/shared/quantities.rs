//! Amounts of resources and their names: what may be counted, and how the amounts of containers add up to a pod's.

use std::collections::BTreeMap;

use api_types::{
    field::{Fault, Faults, Path},
    quantity::Quantity,
};
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity as QuantityText,
};

use super::{
    metadata::invalid_each,
    names::qualified_name,
    optional::{Items, Text},
};

/// Amounts by resource, as the API writes them.
pub(crate) type ResourceList = BTreeMap<String, QuantityText>;
/// Amounts by resource, as one counts with them.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

const HUGE_PAGES: &str = "hugepages-";
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// The amount that a text says; nothing if it says none (decoding has refused such texts).
pub(crate) fn amount(text: &QuantityText) -> Quantity {
    text.0.parse().unwrap_or_default()
}

/// As [`amount`], for all of a list.
pub(crate) fn amounts(list: Option<&ResourceList>) -> Amounts {
    list.into_iter().flatten().map(|(name, text)| (name.clone(), amount(text))).collect()
}

/// Rounds what is finer than a thousandth up to that.
pub(crate) fn round_up(list: Option<&mut ResourceList>) {
    for text in list.into_iter().flat_map(BTreeMap::values_mut) {
        let exact = amount(text);
        let milli = exact.milli_value();
        if exact.as_i64().is_some() || milli == i64::MAX || milli == i64::MIN {
            continue;
        }
        let rounded = Quantity::from_milli(milli, exact.format());
        if rounded != exact {
            text.0 = rounded.to_string();
        }
    }
}

/// Whether the amount is not a whole number.
pub(crate) fn is_fractional(text: &QuantityText) -> bool {
    amount(text).milli_value() % 1000 != 0
}

// --- names

/// Whether the resource is a size of memory pages.
pub(crate) fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Whether the name is Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether the name is that of a device or another resource that nodes advertise.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether requests may be below limits.
pub(crate) fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// Whether the resource comes in whole numbers only.
pub(crate) fn is_integer(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// Whether a pod as a whole can request the resource.
pub(crate) fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_pages(name)
}

/// Faults of the name of a resource.
pub(crate) fn name_faults(name: &str, path: &Path) -> Faults {
    let faults = invalid_each(path, name, qualified_name(name));
    if !faults.is_empty() || name.contains('/') {
        return faults;
    }
    if STANDARD.contains(&name) || is_huge_pages(name) || name.starts_with("requests.hugepages-") {
        return faults;
    }
    vec![Fault::invalid(path, name, "must be a standard resource type or fully qualified")]
}

/// Faults of the name of a resource that a container asks for.
pub(crate) fn container_name_faults(name: &str, path: &Path) -> Faults {
    let mut faults = name_faults(name, path);
    if !name.contains('/') {
        if !(matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_pages(name)) {
            faults.push(Fault::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        faults.push(Fault::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    faults
}

/// Faults of the name of a resource that a pod as a whole asks for.
pub(crate) fn pod_name_faults(name: &str, path: &Path) -> Faults {
    let mut faults = name_faults(name, path);
    if faults.is_empty() && !is_pod_level(name) {
        faults.push(Fault::not_supported(path, name, &["cpu", HUGE_PAGES, "memory"]));
    }
    faults
}

// --- amounts

/// Faults of the amount of a resource: below nothing, or a fraction where only whole ones count.
pub(crate) fn amount_faults(name: &str, text: &QuantityText, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let value = amount(text);
    if value.sign() < 0 {
        faults.push(Fault::invalid(path, value.to_string(), "must be greater than or equal to 0"));
    }
    if is_integer(name) && value.milli_value() % 1000 != 0 {
        faults.push(Fault::invalid(path, value.to_string(), "must be an integer"));
    }
    faults
}

/// The fault of an amount that is not above zero.
pub(crate) fn not_positive(text: &QuantityText, path: &Path) -> Option<Fault> {
    let value = amount(text);
    (value.sign() <= 0).then(|| Fault::invalid(path, value.to_string(), "must be greater than zero"))
}

/// Whether the amount of huge pages is a whole number of pages.
pub(crate) fn is_whole_pages(name: &str, value: &Quantity) -> bool {
    let Some(page) = name.strip_prefix(HUGE_PAGES).and_then(|size| size.parse::<Quantity>().ok()) else {
        return false;
    };
    page.sign() > 0 && page.milli_value() % 1000 == 0 && value.value() % page.value() == 0
}

// --- sums over containers

/// What the containers of a pod request together: all that run at once, or more if starting up takes more.
pub(crate) fn requests_of_containers(spec: &PodSpec) -> Amounts {
    over_containers(spec, |container| {
        amounts(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    })
}

/// What a pod requests of its node: what is said of it as a whole, else its containers', and its overhead.
pub(crate) fn requests_of_pod(spec: &PodSpec) -> Amounts {
    let mut requests = requests_of_pod_without_overhead(spec);
    add(&mut requests, &amounts(spec.overhead.as_ref()));
    requests
}

/// What is requested for a pod: what is said of it as a whole, else its containers' requests.
pub(crate) fn requests_of_pod_without_overhead(spec: &PodSpec) -> Amounts {
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    over(requests_of_containers(spec), amounts(whole))
}

/// What a pod is limited to: what is said of it as a whole, else its containers' limits.
pub(crate) fn limits_of_pod(spec: &PodSpec) -> Amounts {
    let whole = spec.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    over(limits_of_containers(spec), amounts(whole))
}

/// The amounts of the containers with those of the whole pod over them, where there can be such.
fn over(mut of_containers: Amounts, whole: Amounts) -> Amounts {
    of_containers.extend(whole.into_iter().filter(|(name, _)| is_pod_level(name)));
    of_containers
}

/// What the containers of a pod are limited to together, counted as [`requests_of_containers`].
pub(crate) fn limits_of_containers(spec: &PodSpec) -> Amounts {
    over_containers(spec, |container| {
        amounts(container.resources.as_ref().and_then(|resources| resources.limits.as_ref()))
    })
}

/// Whether an init container keeps running beside the pod's containers.
pub(crate) fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.text() == "Always"
}

fn over_containers(spec: &PodSpec, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut starting = Amounts::new();
    for container in spec.init_containers.items() {
        let own = of(container);
        if is_sidecar(container) {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut together = own;
            add(&mut together, &sidecars);
            raise(&mut starting, &together);
        }
    }
    raise(&mut running, &starting);
    running
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match sum.get_mut(name) {
            Some(sum) => *sum += amount,
            None => {
                sum.insert(name.clone(), amount.clone());
            }
        }
    }
}

fn raise(max: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        match max.get_mut(name) {
            Some(max) if *amount > *max => *max = amount.clone(),
            Some(_) => {}
            None => {
                max.insert(name.clone(), amount.clone());
            }
        }
    }
}

// --- quality of service

/// The quality of service class that a pod's requests and limits earn it.
pub(crate) fn qos_class(spec: &PodSpec) -> &'static str {
    const COMPUTE: [&str; 2] = ["cpu", "memory"];
    let mut requests = Amounts::new();
    let mut limits = Amounts::new();
    let mut guaranteed = true;
    let positive = |list: Option<&ResourceList>| -> Amounts {
        amounts(list)
            .into_iter()
            .filter(|(name, amount)| COMPUTE.contains(&name.as_str()) && amount.sign() > 0)
            .collect()
    };
    let mut count = |resources: Option<&k8s_openapi::api::core::v1::ResourceRequirements>, whole: bool| {
        add(&mut requests, &positive(resources.and_then(|it| it.requests.as_ref())));
        let limited = resources.and_then(|it| it.limits.as_ref());
        let own = positive(limited);
        if !(whole && limited.is_none_or(BTreeMap::is_empty)) && own.len() < COMPUTE.len() {
            guaranteed = false;
        }
        add(&mut limits, &own);
    };
    match &spec.resources {
        Some(resources) => count(Some(resources), true),
        None => {
            for container in spec.containers.iter().chain(spec.init_containers.items()) {
                count(container.resources.as_ref(), false);
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed
        && requests.len() == limits.len()
        && requests.iter().all(|(name, request)| limits.get(name) == Some(request))
    {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn with(requests: Value, limits: Value) -> Value {
        json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn amounts_finer_than_thousandths_are_rounded_up() {
        for (text, expected) in
            [("0.5m", "1m"), ("1500u", "2m"), ("1", "1"), ("100m", "100m"), ("1.1Ki", "1.1Ki")]
        {
            let mut list = ResourceList::from([("cpu".to_owned(), QuantityText(text.to_owned()))]);
            round_up(Some(&mut list));
            assert_eq!(list.get("cpu").unwrap().0, expected, "{text}");
        }
    }

    #[test]
    fn names_of_resources_are_standard_or_qualified() {
        let path = Path::new("r");
        for (name, of_any, of_container, of_pod) in [
            ("cpu", true, true, true),
            ("hugepages-2Mi", true, true, true),
            ("storage", true, false, false),
            ("pods", true, false, false),
            ("odd", false, false, false),
            ("example.com/gpu", true, true, false),
            ("kubernetes.io/x", true, true, false),
            ("requests.example.com/gpu", true, false, false),
            ("a b", false, false, false),
        ] {
            assert_eq!(name_faults(name, &path).is_empty(), of_any, "{name}");
            assert_eq!(container_name_faults(name, &path).is_empty(), of_container, "{name}");
            assert_eq!(pod_name_faults(name, &path).is_empty(), of_pod, "{name}");
        }
    }

    #[test]
    fn starting_up_counts_if_it_takes_more_than_running() {
        let spec = spec(json!({
            "containers": [with(json!({"cpu": "1", "memory": "10"}), json!({})), with(json!({"cpu": "500m"}), json!({}))],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "2", "memory": "5"}}},
            ],
        }));
        let requests = requests_of_containers(&spec);
        assert_eq!(requests.get("cpu").unwrap().to_string(), "2100m");
        assert_eq!(requests.get("memory").unwrap().to_string(), "10");
    }

    #[test]
    fn quality_of_service_is_earned() {
        let full = json!({"cpu": "1", "memory": "1Gi"});
        for (containers, resources, expected) in [
            (json!([{"name": "c"}]), json!(null), "BestEffort"),
            (json!([with(json!({"cpu": "0"}), json!({}))]), json!(null), "BestEffort"),
            (json!([with(full.clone(), full.clone())]), json!(null), "Guaranteed"),
            (json!([with(json!({"cpu": "1"}), full.clone())]), json!(null), "Burstable"),
            (json!([with(full.clone(), full.clone()), {"name": "d"}]), json!(null), "Burstable"),
            (json!([{"name": "c"}]), json!({"requests": full, "limits": full}), "Guaranteed"),
            (json!([{"name": "c"}]), json!({"requests": {"cpu": "1"}}), "Burstable"),
        ] {
            let spec = spec(json!({"containers": containers, "resources": resources}));
            assert_eq!(qos_class(&spec), expected, "{spec:?}");
        }
    }
}

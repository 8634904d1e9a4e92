//! Which of its own labels a node may set: not those that keep workloads apart from nodes like it.

use std::collections::{BTreeMap, BTreeSet};

use api_types::object::ObjectExt as _;
use serde_json::Value;

/// Labels of Kubernetes' own that kubelets set.
const OF_KUBELETS: &[&str] = &[
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Prefixes that are left to them.
const PREFIXES_OF_KUBELETS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The prefix that is there to keep nodes from labelling themselves.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// The labels that are not the same and that a node must not touch, sorted.
pub(super) fn forbidden(now: &Value, before: &Value) -> Vec<String> {
    let (now, before) = (labels(now), labels(before));
    let keys: BTreeSet<&str> = now.keys().chain(before.keys()).copied().collect();
    keys.into_iter()
        .filter(|key| now.get(key) != before.get(key) && is_restricted(key))
        .map(str::to_owned)
        .collect()
}

/// The labels of an object.
pub(super) fn labels(object: &Value) -> BTreeMap<&str, &str> {
    let labels = object.meta().and_then(|meta| meta.get("labels")).and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        .collect()
}

fn is_restricted(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    let is_in =
        |domain: &str| prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let of_kubelets = OF_KUBELETS.contains(&key) || PREFIXES_OF_KUBELETS.iter().any(|it| is_in(it));
    is_in(RESTRICTED) || (is_in("kubernetes.io") || is_in("k8s.io")) && !of_kubelets
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubelets_set_their_own_labels_and_nobodys_else() {
        for (key, restricted) in [
            ("example.com/a", false),
            ("plain", false),
            ("kubernetes.io/hostname", false),
            ("node.kubernetes.io/instance-type", false),
            ("node.kubernetes.io/anything", false),
            ("sub.kubelet.kubernetes.io/anything", false),
            ("kubernetes.io/anything", true),
            ("node-role.kubernetes.io/control-plane", true),
            ("x.k8s.io/a", true),
            ("notk8s.io/a", false),
            ("node-restriction.kubernetes.io/a", true),
            ("fips.node-restriction.kubernetes.io/a", true),
        ] {
            assert_eq!(is_restricted(key), restricted, "{key}");
        }
    }

    #[test]
    fn what_stays_as_it_is_does_not_matter() {
        let with = |labels: Value| json!({"metadata": {"labels": labels}});
        let before =
            with(json!({"kubernetes.io/a": "1", "kubernetes.io/b": "1", "kubernetes.io/c": "1", "d": "1"}));
        let now = with(json!({"kubernetes.io/a": "1", "kubernetes.io/b": "2", "kubernetes.io/e": "1"}));
        assert_eq!(forbidden(&now, &before), ["kubernetes.io/b", "kubernetes.io/c", "kubernetes.io/e"]);
        assert_eq!(forbidden(&before, &before), Vec::<String>::new());
        assert_eq!(forbidden(&Value::Null, &Value::Null), Vec::<String>::new());
    }
}

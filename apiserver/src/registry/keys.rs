//! Where objects lie in the store: upstream's keys, so that each can read what the other wrote.

use api_types::kind::GroupResource;

/// Resources whose place is not `/registry/<plural>/`, for reasons of history.
const HISTORIC: &[(&str, &str, &str)] = &[
    ("", "services", "services/specs"),
    ("", "endpoints", "services/endpoints"),
    ("", "nodes", "minions"),
    ("", "replicationcontrollers", "controllers"),
    ("networking.k8s.io", "ingresses", "ingress"),
];

/// The prefix of all keys of a resource, with a slash at the end.
pub fn prefix(resource: &GroupResource) -> String {
    let historic =
        HISTORIC.iter().find(|(group, plural, _)| *group == resource.group && *plural == resource.resource);
    match historic {
        Some((_, _, place)) => format!("/registry/{place}/"),
        // Groups that were born outside the core apiserver carry their name.
        None if matches!(resource.group.as_str(), "apiextensions.k8s.io" | "apiregistration.k8s.io") => {
            format!("/registry/{}/{}/", resource.group, resource.resource)
        }
        None => format!("/registry/{}/", resource.resource),
    }
}

/// Whether upstream stores a resource as JSON, as it does with those of its outer servers.
pub fn is_stored_as_json(resource: &GroupResource) -> bool {
    matches!(resource.group.as_str(), "apiextensions.k8s.io" | "apiregistration.k8s.io")
}

/// The prefix of the keys of a custom resource.
pub fn custom_prefix(resource: &GroupResource) -> String {
    format!("/registry/{}/{}/", resource.group, resource.resource)
}

/// The key of one object; cluster-scoped objects have no namespace.
pub fn object(prefix: &str, namespace: &str, name: &str) -> String {
    if namespace.is_empty() { format!("{prefix}{name}") } else { format!("{prefix}{namespace}/{name}") }
}

/// The prefix of the keys of one namespace, or of all.
pub fn namespace(prefix: &str, namespace: &str) -> String {
    if namespace.is_empty() { prefix.to_owned() } else { format!("{prefix}{namespace}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_upstreams() {
        for (group, plural, namespace, name, key) in [
            ("", "pods", "default", "web", "/registry/pods/default/web"),
            ("", "services", "default", "web", "/registry/services/specs/default/web"),
            ("", "nodes", "", "n1", "/registry/minions/n1"),
            ("apps", "deployments", "a", "b", "/registry/deployments/a/b"),
            (
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                "",
                "x",
                "/registry/apiextensions.k8s.io/customresourcedefinitions/x",
            ),
        ] {
            assert_eq!(object(&prefix(&GroupResource::new(group, plural)), namespace, name), key);
        }
    }
}

//! What kubelets may do: read what the pods bound to their node refer to, and write what is their own.
//!
//! The NodeRestriction admission plugin narrows the writes further; here only names and the graph of references are
//! known. Reference page: "Using Node Authorization".

mod graph;
mod references;

use std::{collections::BTreeSet, fmt};

use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

use api_types::{
    field::go_quote,
    selectors::fields::{Operator, Selector},
};

pub(crate) use self::references::refers_to;
use self::{
    graph::{Graph, Thing},
    references::{ClaimedVolume, OnNode, PodReferences},
};
use super::{
    attributes::Attributes,
    decision::{Authorizer, Decision, Rules},
    rbac::rule::Rule,
};
use crate::authn::user::{User, node};

/// Where kubelets keep their leases.
const NODE_LEASES: &str = "kube-node-lease";

/// The kinds whose objects tie others to nodes: feed all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ties itself and all it refers to.
    Pod,
    /// Ties itself and its secrets to the claim it is bound to.
    PersistentVolume,
    /// Ties itself.
    VolumeAttachment,
    /// Ties itself.
    ResourceSlice,
}

/// Decides on requests of nodes; has no opinion on others.
pub struct NodeAuthorizer {
    graph: RwLock<Graph>,
    /// What every node may do, whatever runs on it.
    rules: Vec<Rule>,
}

// === impl Kind ===

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Pod, Self::PersistentVolume, Self::VolumeAttachment, Self::ResourceSlice];

    /// The kind of a group and plural name.
    pub fn of_resource(group: &str, resource: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.resource() == (group, resource))
    }

    /// The group and plural name.
    pub fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::Pod => ("", "pods"),
            Self::PersistentVolume => ("", "persistentvolumes"),
            Self::VolumeAttachment => ("storage.k8s.io", "volumeattachments"),
            Self::ResourceSlice => ("resource.k8s.io", "resourceslices"),
        }
    }
}

// === impl NodeAuthorizer ===

impl NodeAuthorizer {
    /// Knows no pod yet. `rules` are those of the role `system:node`.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { graph: RwLock::default(), rules }
    }

    /// Takes in a change: the object as it is now, or that it is gone. What cannot be read ties nothing.
    pub fn update(&self, kind: Kind, namespace: &str, name: &str, object: Option<&Value>) {
        self.change(kind, namespace, name, object);
    }

    /// Like [`NodeAuthorizer::update`], from the object's encoded bytes. Reads only what it needs of a pod.
    pub fn update_encoded(&self, kind: Kind, namespace: &str, name: &str, object: Option<&[u8]>) {
        let mut object = object.map(serde_json::Deserializer::from_slice);
        self.change(kind, namespace, name, object.as_mut());
    }

    /// Forgets all objects of the kind but these, by namespace and name. For a feed that begins again: it sees what there
    /// is, and not what went away meanwhile.
    pub fn keep_only(&self, kind: Kind, known: &BTreeSet<(String, String)>) {
        let keys = self.graph.read().keys(kind);
        for (namespace, name) in keys.into_iter().filter(|key| !known.contains(key)) {
            self.update(kind, &namespace, &name, None);
        }
    }

    fn change<'de, D>(&self, kind: Kind, namespace: &str, name: &str, object: Option<D>)
    where
        D: serde::Deserializer<'de>,
        D::Error: fmt::Display,
    {
        // Read before the lock is taken.
        match kind {
            Kind::Pod => {
                let pod: Option<PodReferences> = read(namespace, name, object);
                self.graph.write().set_pod(namespace, name, pod);
            }
            Kind::PersistentVolume => {
                let volume: Option<ClaimedVolume> = read(namespace, name, object);
                self.graph.write().set_volume(name, volume);
            }
            Kind::VolumeAttachment => {
                let attachment: Option<OnNode> = read(namespace, name, object);
                self.graph.write().set_on_node(Thing::VolumeAttachment, name, attachment);
            }
            Kind::ResourceSlice => {
                let slice: Option<OnNode> = read(namespace, name, object);
                self.graph.write().set_on_node(Thing::ResourceSlice, name, slice);
            }
        }
    }

    fn related(&self, node: &str, thing: Thing, asked: &Attributes) -> Decision {
        if asked.name.is_empty() {
            return no("No Object name found");
        }
        self.tied(node, thing, asked)
    }

    fn tied(&self, node: &str, thing: Thing, asked: &Attributes) -> Decision {
        if self.graph.read().reaches(thing, &asked.namespace, &asked.name, node) {
            Decision::ALLOW
        } else {
            no(format!("no relationship found between node '{node}' and this object"))
        }
    }

    fn get_only(&self, node: &str, thing: Thing, asked: &Attributes) -> Decision {
        if asked.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !asked.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related(node, thing, asked)
    }

    fn read_namespaced(&self, node: &str, thing: Thing, asked: &Attributes) -> Decision {
        if !matches!(asked.verb.as_str(), "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !asked.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if asked.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(node, thing, asked)
    }

    fn claim(&self, node: &str, asked: &Attributes) -> Decision {
        if asked.subresource != "status" {
            return self.get_only(node, Thing::PersistentVolumeClaim, asked);
        }
        if !matches!(asked.verb.as_str(), "update" | "patch") {
            return no("can only get/update/patch this type");
        }
        self.related(node, Thing::PersistentVolumeClaim, asked)
    }

    fn service_account(&self, node: &str, asked: &Attributes) -> Decision {
        if asked.verb == "get" && asked.subresource.is_empty() {
            return self.read_namespaced(node, Thing::ServiceAccount, asked);
        }
        if asked.verb != "create" || asked.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if asked.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.tied(node, Thing::ServiceAccount, asked)
    }

    fn resource_slice(&self, node: &str, asked: &Attributes) -> Decision {
        if !asked.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match asked.verb.as_str() {
            "create" => Decision::ALLOW,
            "get" | "update" | "patch" | "delete" => self.related(node, Thing::ResourceSlice, asked),
            "watch" | "list" | "deletecollection" if selects(asked, "spec.nodeName", node) => Decision::ALLOW,
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn pod(&self, node: &str, asked: &Attributes) -> Decision {
        match (asked.subresource.as_str(), asked.verb.as_str()) {
            ("", "get") => self.get_only(node, Thing::Pod, asked),
            ("", "list" | "watch") if selects(asked, "spec.nodeName", node) => Decision::ALLOW,
            ("", "list" | "watch") if !asked.name.is_empty() => self.related(node, Thing::Pod, asked),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Decision::ALLOW
            }
            _ => Decision::NO_OPINION,
        }
    }
}

impl fmt::Debug for NodeAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeAuthorizer")
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, asked: &Attributes) -> Decision {
        let Some(node) = node::identify(&asked.user) else { return Decision::NO_OPINION };
        if node.is_empty() {
            return no(format!("unknown node for user {}", go_quote(&asked.user.name)));
        }
        if asked.resource_request {
            match (asked.group.as_str(), asked.resource.as_str()) {
                ("", "secrets") => return self.read_namespaced(node, Thing::Secret, asked),
                ("", "configmaps") => return self.read_namespaced(node, Thing::ConfigMap, asked),
                ("", "persistentvolumeclaims") => return self.claim(node, asked),
                ("", "persistentvolumes") => return self.get_only(node, Thing::PersistentVolume, asked),
                ("resource.k8s.io", "resourceclaims") => {
                    return self.get_only(node, Thing::ResourceClaim, asked);
                }
                ("storage.k8s.io", "volumeattachments") => {
                    return self.get_only(node, Thing::VolumeAttachment, asked);
                }
                ("", "serviceaccounts") => return self.service_account(node, asked),
                ("coordination.k8s.io", "leases") => return lease(node, asked),
                ("storage.k8s.io", "csinodes") => return csi_node(node, asked),
                ("resource.k8s.io", "resourceslices") => return self.resource_slice(node, asked),
                ("", "nodes") => return own_node(node, asked),
                ("", "pods") => return self.pod(node, asked),
                // Behind a feature gate that is off.
                ("certificates.k8s.io", "podcertificaterequests") => return Decision::NO_OPINION,
                _ => {}
            }
        }
        if self.rules.iter().any(|rule| rule.allows(asked)) { Decision::ALLOW } else { Decision::NO_OPINION }
    }

    fn rules_for(&self, user: &User, _: &str) -> Rules {
        if node::identify(user).is_none() {
            return Rules::default();
        }
        Rules {
            rules: Vec::new(),
            incomplete: true,
            errors: vec!["node authorizer does not support user rule resolution".to_owned()],
        }
    }
}

fn lease(node: &str, asked: &Attributes) -> Decision {
    if !is_own_object_verb(&asked.verb) {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if asked.namespace != NODE_LEASES {
        return no(format!("can only access leases in the {NODE_LEASES:?} system namespace"));
    }
    // A create's name is in its body: admission looks at that.
    if asked.verb != "create" && asked.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    Decision::ALLOW
}

fn csi_node(node: &str, asked: &Attributes) -> Decision {
    if !is_own_object_verb(&asked.verb) {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !asked.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if asked.verb != "create" && asked.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    Decision::ALLOW
}

fn is_own_object_verb(verb: &str) -> bool {
    matches!(verb, "get" | "create" | "update" | "patch" | "delete")
}

fn own_node(node: &str, asked: &Attributes) -> Decision {
    match (asked.subresource.as_str(), asked.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Decision::ALLOW,
        // By name and not by the graph: a kubelet looks for its node before there is one.
        ("", "get" | "list" | "watch") if asked.name == node => Decision::ALLOW,
        ("", "get" | "list" | "watch") if asked.name.is_empty() => {
            no(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            no(format!("node '{node}' cannot read '{}', only its own Node object", asked.name))
        }
        _ => Decision::NO_OPINION,
    }
}

/// Whether the request is limited to objects whose field has this value.
fn selects(asked: &Attributes, field: &str, value: &str) -> bool {
    Selector::parse(&asked.field_selector).is_ok_and(|selector| {
        selector
            .terms()
            .iter()
            .any(|term| term.operator == Operator::Equals && term.field == field && term.value == value)
    })
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into().into())
}

fn read<'de, T, D>(namespace: &str, name: &str, object: Option<D>) -> Option<T>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
    D::Error: fmt::Display,
{
    // The store holds only what validation let in, so this is a bug or a foreign writer; it must not grant anything.
    object.and_then(|object| {
        T::deserialize(object)
            .inspect_err(
                |error| tracing::warn!(namespace, name, %error, "cannot read an object; it ties nothing to nodes"),
            )
            .ok()
    })
}

#[cfg(test)]
mod tests;

//! The objects that a cluster begins with, and how they are kept as they should be.
//!
//! At start-up the server goes through [`items`], looks at what is stored and does what [`Item::step`] says. Invariant:
//! everything here is a value or a function of values; who writes them, and through what, is not known.

pub mod flow_control;
pub mod rbac;

mod cluster;
mod services;

use api_types::kind::GroupVersion;
use serde_json::Value;

pub use self::{
    cluster::{Cluster, service_ip},
    services::{custom_api_service, endpoint_slice, endpoints},
};

/// The field manager of most objects.
const MANAGER: &str = "kube-apiserver";

/// An object that the server sees to.
#[derive(Clone, Debug)]
pub struct Item {
    /// The group and version of its kind.
    pub version: GroupVersion,
    /// The plural name of its kind.
    pub resource: &'static str,
    /// The object as a fresh cluster has it, with kind and apiVersion.
    pub object: Value,
    /// Its status, to be written after it was created.
    pub status: Option<Value>,
    /// Who is told to have set its fields.
    pub manager: &'static str,
    /// Who is told to have set its status.
    pub status_manager: &'static str,
    /// Whether it is looked at again and again, and not at start-up alone.
    pub recurring: bool,
    rule: Rule,
}

/// What to do about an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// Create this.
    Create(Value),
    /// Update to this, which carries the resourceVersion it was made from.
    Update(Value),
    /// Delete what is there and create this: what differs cannot be updated.
    Recreate(Value),
}

/// How an item is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// It is made if it is not there. What people make of it is theirs.
    IfMissing,
    /// Rules are added, never taken away.
    Role,
    /// Subjects are added, never taken away.
    Binding,
    /// Its spec is ours, whatever people make of it.
    FlowMandatory,
    /// Its spec is ours until people change it.
    FlowSuggested,
    /// Its spec is ours as long as it bears our mark.
    ApiService,
    /// A second address range is added to the first.
    ServiceCidr,
    /// What several servers know is there together.
    Authentication,
    /// It says where this server is; a cluster has one.
    Addresses,
}

/// All objects of a fresh cluster, in the order they are to be made.
pub fn items(cluster: &Cluster<'_>) -> Vec<Item> {
    let mut items = cluster::namespaces();
    items.extend(rbac::items());
    items.extend(cluster::priority_classes());
    items.extend(flow_control::items(cluster.now));
    items.extend(services::items(cluster));
    items.extend(cluster::config_maps(cluster));
    items
}

// === impl Item ===

impl Item {
    fn new(version: GroupVersion, resource: &'static str, object: Value, rule: Rule) -> Self {
        Self {
            version,
            resource,
            object,
            status: None,
            manager: MANAGER,
            status_manager: MANAGER,
            recurring: false,
            rule,
        }
    }

    fn with_status(self, status: Value, status_manager: &'static str) -> Self {
        Self { status: Some(status), status_manager, ..self }
    }

    fn recurring(self) -> Self {
        Self { recurring: true, ..self }
    }

    /// What to do, given the object as it is stored now.
    pub fn step(&self, existing: Option<&Value>) -> Step {
        let Some(existing) = existing else { return Step::Create(self.object.clone()) };
        match self.rule {
            Rule::IfMissing => Step::Keep,
            Rule::Role => rbac::reconcile_role(existing, &self.object),
            Rule::Binding => rbac::reconcile_binding(existing, &self.object),
            Rule::FlowMandatory => flow_control::reconcile(existing, &self.object, true),
            Rule::FlowSuggested => flow_control::reconcile(existing, &self.object, false),
            Rule::ApiService => services::reconcile_api_service(existing, &self.object),
            Rule::ServiceCidr => services::reconcile_cidr(existing, &self.object),
            Rule::Authentication => cluster::reconcile_authentication(existing, &self.object),
            Rule::Addresses => services::reconcile_addresses(existing, &self.object),
        }
    }
}

/// An update, or nothing if it would change nothing.
fn update_unless_same(existing: &Value, wanted: Value) -> Step {
    if *existing == wanted { Step::Keep } else { Step::Update(wanted) }
}

#[cfg(test)]
mod tests;

//! What may change or refuse a write after its author was let in: the admission chain, in upstream's order.
//!
//! First every plugin may change the object, then, when the registry has prepared and validated it, every plugin may
//! refuse it. A plugin sees objects as JSON in the version they are stored in.

mod always;
mod always_pull_images;
mod certificate_approval;
mod certificate_signing;
mod certificate_subject_restriction;
mod conditions;
mod default_class;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod deny_service_external_ips;
mod device_access;
mod event_rate_limit;
mod extended_resource_toleration;
mod limit_pod_hard_anti_affinity_topology;
mod limit_ranger;
mod mutating_policy;
mod mutating_webhook;
mod namespace_lifecycle;
mod namespace_provision;
mod node_declared_feature_validator;
mod node_restriction;
mod owner_references_permission_enforcement;
mod persistent_volume_claim_resize;
mod pod_node_selector;
mod pod_resize_validator;
mod pod_security;
mod pod_toleration_restriction;
mod pod_topology_labels;
mod policies;
mod policy_parameters;
mod priority;
mod resource_quota;
mod role_escalation;
mod runtime_class;
mod seen;
mod selection;
mod service_account;
mod signers;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;
#[cfg(test)]
mod testing;
mod validating_policy;
mod validating_webhook;
mod webhook;

use std::{
    fmt,
    sync::{Arc, Weak},
};

use api_types::{
    kind::{GroupResource, GroupVersionKind},
    object::ObjectExt as _,
    status::Status,
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

pub use self::mutating_webhook::Reinvocation;
use crate::{
    audit::Record,
    authn::user::User,
    registry::{Call, warnings::Warnings},
    server::Server,
};
pub use selection::Selection;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed one.
    Update,
    /// One that goes.
    Delete,
    /// A connection to one (exec, proxy).
    Connect,
}

/// A write in the eyes of a plugin.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// What is being done.
    pub operation: Operation,
    /// The kind of `object`.
    pub kind: GroupVersionKind,
    /// The resource addressed.
    pub resource: GroupResource,
    /// Its version.
    pub version: String,
    /// Such as `status`; empty for the main resource.
    pub subresource: String,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// May be empty for creates with a generated name.
    pub name: String,
    /// The new object; null for deletes.
    pub object: Value,
    /// The object as it was; null for creates.
    pub old: Arc<Value>,
    /// The options of the request.
    pub options: Value,
    /// Who.
    pub user: User,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// When.
    pub now: Timestamp,
    /// What the writer should know; plugins add to it.
    pub warnings: Warnings,
    /// What the request is put on record with; plugins annotate it.
    pub audit: Record,
    /// Whether the changes are gone through a second time, and why.
    pub reinvocation: Reinvocation,
}

/// One admission plugin.
pub trait Plugin: fmt::Debug + Send + Sync + 'static {
    /// Upstream's name, as flags and metrics have it.
    fn name(&self) -> &'static str;

    /// May change the object.
    fn admit<'a>(&'a self, _attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// May refuse the object.
    fn validate<'a>(&'a self, _attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Is told when a write that passed [`Plugin::validate`] failed or succeeded after all (quota gives back).
    fn settle<'a>(&'a self, _attributes: &'a Attributes, _stored: bool) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The plugins, in the order they run.
#[derive(Clone, Debug, Default)]
pub struct Chain(Arc<Vec<Box<dyn Plugin>>>);

/// The plugins that are on, in upstream's order.
pub fn chain(server: &Weak<Server>, selection: &Selection) -> Chain {
    let mut plugins = all(server, &selection.configured);
    plugins.retain(|plugin| selection.is_on(plugin.name()));
    Chain::new(plugins)
}

/// All plugins there are, in upstream's order.
fn all(server: &Weak<Server>, configured: &selection::Configurations) -> Vec<Box<dyn Plugin>> {
    let server = server.clone();
    vec![
        Box::new(always::AlwaysAdmit),
        Box::new(namespace_provision::NamespaceAutoProvision(server.clone())),
        Box::new(namespace_lifecycle::NamespaceLifecycle::new(server.clone())),
        Box::new(namespace_provision::NamespaceExists(server.clone())),
        Box::new(limit_pod_hard_anti_affinity_topology::LimitPodHardAntiAffinityTopology),
        Box::new(limit_ranger::LimitRanger(server.clone())),
        Box::new(service_account::ServiceAccount(server.clone())),
        Box::new(node_restriction::NodeRestriction(server.clone())),
        Box::new(taint_nodes_by_condition::TaintNodesByCondition),
        Box::new(always_pull_images::AlwaysPullImages),
        Box::new(pod_security::PodSecurity(server.clone())),
        Box::new(pod_node_selector::PodNodeSelector(server.clone(), configured.pod_node_selector.clone())),
        Box::new(priority::Priority(server.clone())),
        Box::new(default_toleration_seconds::DefaultTolerationSeconds),
        Box::new(pod_toleration_restriction::PodTolerationRestriction(
            server.clone(),
            configured.pod_toleration_restriction.clone(),
        )),
        Box::new(event_rate_limit::EventRateLimit::new(configured.event_rate_limit.clone())),
        Box::new(extended_resource_toleration::ExtendedResourceToleration),
        Box::new(default_storage_class::DefaultStorageClass(server.clone())),
        Box::new(storage_object_in_use_protection::StorageObjectInUseProtection),
        Box::new(owner_references_permission_enforcement::OwnerReferencesPermissionEnforcement(
            server.clone(),
        )),
        Box::new(persistent_volume_claim_resize::PersistentVolumeClaimResize(server.clone())),
        Box::new(runtime_class::RuntimeClass(server.clone())),
        Box::new(certificate_approval::CertificateApproval(server.clone())),
        Box::new(certificate_signing::CertificateSigning(server.clone())),
        Box::new(certificate_subject_restriction::CertificateSubjectRestriction),
        Box::new(default_ingress_class::DefaultIngressClass(server.clone())),
        Box::new(deny_service_external_ips::DenyServiceExternalIps),
        Box::new(pod_topology_labels::PodTopologyLabels(server.clone())),
        Box::new(node_declared_feature_validator::NodeDeclaredFeatureValidator(server.clone())),
        Box::new(pod_resize_validator::PodResizeValidator(server.clone())),
        Box::new(role_escalation::RoleEscalation(server.clone())),
        Box::new(device_access::DeviceAccess(server.clone())),
        Box::new(policy_parameters::PolicyParameters(server.clone())),
        Box::new(mutating_policy::MutatingPolicy::new(server.clone())),
        Box::new(mutating_webhook::MutatingWebhook::new(server.clone())),
        Box::new(validating_policy::ValidatingPolicy::new(server.clone())),
        Box::new(validating_webhook::ValidatingWebhook::new(server.clone())),
        Box::new(resource_quota::ResourceQuota::new(server, configured.resource_quota.clone())),
        Box::new(always::AlwaysDeny),
    ]
}

/// An object as the cache has it now, which may be a moment ago: for plugins that upstream lets look at such, too. Costs
/// no decoding where the labels will do.
pub(crate) async fn cached(
    server: &Server,
    (group, plural): (&str, &str),
    namespace: &str,
    name: &str,
) -> Option<Arc<store::cache::Object>> {
    let served = server.registry.catalogue.find(group, "v1", plural)?;
    let key = crate::registry::keys::object(&served.storage.prefix, namespace, name);
    served.storage.cache().get(&key, false).await.ok().flatten()
}

// === impl Operation ===

impl Operation {
    /// As rules and reviews name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

// === impl Attributes ===

impl Attributes {
    /// The attributes of a call.
    pub fn of(call: &Call, operation: Operation, object: Value, old: Arc<Value>) -> Self {
        Self {
            operation,
            kind: call.served.rules().kind(),
            resource: call.served.resource.resource(),
            version: call.served.names().version.to_owned(),
            subresource: call.subresource.clone(),
            namespace: if call.served.names().namespaced || call.is_namespace() {
                call.namespace.clone()
            } else {
                String::new()
            },
            name: call.name.clone(),
            object,
            old,
            options: call.options.clone(),
            user: call.user.clone(),
            dry_run: call.dry_run,
            now: call.now,
            warnings: call.warnings.clone(),
            audit: call.audit.clone(),
            reinvocation: Reinvocation::default(),
        }
    }

    /// Whether this is about the main resource or a subresource of that group and name.
    pub fn is(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.resource.group == group && self.resource.resource == resource && self.subresource == subresource
    }

    /// 403, in upstream's words. What has no name yet is told of by the prefix its name will have.
    pub fn forbidden(&self, why: impl fmt::Display) -> Status {
        let known = [self.name.as_str(), self.object.name(), self.object.meta_str("generateName")];
        let name = known.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown");
        Status::forbidden(&self.resource, name, why)
    }
}

// === impl Chain ===

impl Chain {
    /// A chain of these plugins.
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self(Arc::new(plugins))
    }

    /// Lets every plugin change the object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn admit(&self, attributes: &mut Attributes) -> Result<(), Status> {
        for plugin in self.0.iter() {
            plugin.admit(attributes).await?;
        }
        // What a webhook changed, the plugins before it have not seen.
        if attributes.reinvocation.begin() {
            for plugin in self.0.iter() {
                plugin.admit(attributes).await?;
            }
        }
        Ok(())
    }

    /// Lets every plugin refuse the object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, attributes: &Attributes) -> Result<(), Status> {
        for (index, plugin) in self.0.iter().enumerate() {
            if let Err(status) = plugin.validate(attributes).await {
                for plugin in self.0.iter().take(index) {
                    plugin.settle(attributes, false).await;
                }
                return Err(status);
            }
        }
        Ok(())
    }

    /// Tells every plugin how a validated write ended.
    pub async fn settle(&self, attributes: &Attributes, stored: bool) {
        for plugin in self.0.iter() {
            plugin.settle(attributes, stored).await;
        }
    }
}

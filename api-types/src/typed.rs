//! The bridge between an object as JSON value and as the typed struct of `k8s_openapi`.
//!
//! The conversions are instantiated here, once, so that no other crate compiles serde code for Kubernetes' types.

mod bare;
mod in_place;

use k8s_openapi::{
    api::{
        admissionregistration::v1 as admissionregistration, apps::v1 as apps,
        authentication::v1 as authentication, authorization::v1 as authorization,
        autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling_v2, batch::v1 as batch,
        certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
        discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol,
        networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
        resource::v1 as resource, scheduling::v1 as scheduling, storage::v1 as storage,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration,
};
use serde_json::Value;

use self::bare::Bare;
use crate::object::ObjectExt as _;

/// A typed object that comes from and goes to JSON.
pub trait Typed: Sized + Send + Sync + 'static {
    /// Reads the value.
    ///
    /// # Errors
    /// What serde says when the value does not fit.
    fn from_value(value: &Value) -> Result<Self, serde_json::Error>;

    /// Reads the value, but for its managed fields, which the struct then has none of.
    ///
    /// # Errors
    /// As [`Typed::from_value`].
    fn from_value_bare(value: &Value) -> Result<Self, serde_json::Error> {
        let mut bare = value.clone();
        bare.meta_mut().remove("managedFields");
        Self::from_value(&bare)
    }

    /// The JSON form.
    fn to_value(&self) -> Value;

    /// Makes a value the JSON form of this, leaving alone what is so already. With `keep_nulls`, a null stays where this has
    /// nothing.
    fn write_to(&self, value: &mut Value, keep_nulls: bool) {
        in_place::write(&self.to_value(), value, keep_nulls);
    }
}

/// Go's time that was never set.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
/// The same, in seconds of our count.
const ZERO_TIME_SECONDS: i64 = -62_135_596_800;

/// The times that the typed structs must have, and that are null on the wire when nobody set them.
const REQUIRED_TIMES: [&str; 2] = ["lastTransitionTime", "lastObservedTime"];

/// Whether this is the time that was never set, where a struct has to have one.
pub fn is_unset(time: jiff::Timestamp) -> bool {
    time.as_second() == ZERO_TIME_SECONDS && time.subsec_nanosecond() == 0
}

/// The value as the structs can read it. What they cannot do without and Go writes as null is put in: times, and the
/// lists of what is known of a user besides; encoding makes them null again. And templates of claims are claims,
/// whatever they say: upstream overwrites it.
fn mended(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let value = match (key.as_str(), value) {
                    (key, Value::Null) if REQUIRED_TIMES.contains(&key) => Value::from(ZERO_TIME),
                    ("extra", Value::Object(extra)) => filled(extra, &Value::Array(Vec::new())),
                    ("disruptedPods", Value::Object(pods)) => filled(pods, &Value::from(ZERO_TIME)),
                    ("volumeClaimTemplates", Value::Array(claims)) => {
                        claims.iter().map(without_kind).collect()
                    }
                    (_, value) => mended(value),
                };
                (key.clone(), value)
            })
            .collect(),
        Value::Array(list) => list.iter().map(mended).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn without_kind(value: &Value) -> Value {
    let mut value = mended(value);
    if let Value::Object(map) = &mut value {
        map.remove("apiVersion");
        map.remove("kind");
    }
    value
}

/// The map with this in place of nulls.
fn filled(map: &serde_json::Map<String, Value>, nothing: &Value) -> Value {
    map.iter()
        .map(|(key, value)| (key.clone(), if value.is_null() { nothing } else { value }.clone()))
        .collect()
}

macro_rules! typed {
    ($($kind:ty),* $(,)?) => {$(
        impl Typed for $kind {
            fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
                <Self as serde::Deserialize>::deserialize(value)
                    .or_else(|_| <Self as serde::Deserialize>::deserialize(&mended(value)))
            }

            fn from_value_bare(value: &Value) -> Result<Self, serde_json::Error> {
                let Value::Object(fields) = value else { return Self::from_value(value) };
                <Self as serde::Deserialize>::deserialize(Bare::object(fields)).or_else(|_| {
                    let mut mended = mended(value);
                    mended.meta_mut().remove("managedFields");
                    <Self as serde::Deserialize>::deserialize(&mended)
                })
            }

            fn to_value(&self) -> Value {
                // Only maps with keys that are no strings can fail, and there are none.
                serde_json::to_value(self).unwrap_or_default()
            }

            fn write_to(&self, value: &mut Value, keep_nulls: bool) {
                in_place::write(self, value, keep_nulls);
            }
        }
    )*};
}

typed! {
    core::Binding, core::ComponentStatus, core::ConfigMap, core::Endpoints, core::Event, core::LimitRange,
    core::Namespace, core::Node, core::PersistentVolume, core::PersistentVolumeClaim, core::Pod, core::PodTemplate,
    core::PodTemplateSpec, core::PodSpec, core::ReplicationController, core::ResourceQuota, core::Secret,
    core::Service, core::ServiceAccount,
    apps::ControllerRevision, apps::DaemonSet, apps::Deployment, apps::ReplicaSet, apps::StatefulSet,
    batch::CronJob, batch::Job,
    autoscaling_v1::HorizontalPodAutoscaler, autoscaling_v1::Scale, autoscaling_v2::HorizontalPodAutoscaler,
    authentication::SelfSubjectReview, authentication::TokenRequest, authentication::TokenReview,
    authorization::LocalSubjectAccessReview, authorization::SelfSubjectAccessReview,
    authorization::SelfSubjectRulesReview, authorization::SubjectAccessReview,
    certificates::CertificateSigningRequest,
    coordination::Lease,
    discovery::EndpointSlice,
    events::Event,
    flowcontrol::FlowSchema, flowcontrol::PriorityLevelConfiguration,
    networking::IPAddress, networking::Ingress, networking::IngressClass, networking::NetworkPolicy,
    networking::ServiceCIDR,
    node::RuntimeClass,
    policy::Eviction, policy::PodDisruptionBudget,
    rbac::ClusterRole, rbac::ClusterRoleBinding, rbac::Role, rbac::RoleBinding,
    resource::DeviceClass, resource::ResourceClaim, resource::ResourceClaimTemplate, resource::ResourceSlice,
    scheduling::PriorityClass,
    storage::CSIDriver, storage::CSINode, storage::CSIStorageCapacity, storage::StorageClass,
    storage::VolumeAttachment, storage::VolumeAttributesClass,
    admissionregistration::MutatingAdmissionPolicy, admissionregistration::MutatingAdmissionPolicyBinding,
    admissionregistration::MutatingWebhookConfiguration, admissionregistration::ValidatingAdmissionPolicy,
    admissionregistration::ValidatingAdmissionPolicyBinding, admissionregistration::ValidatingWebhookConfiguration,
    apiextensions::CustomResourceDefinition,
    apiregistration::APIService,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_can_be_read_without_its_managed_fields() {
        let pod = json!({"metadata": {"name": "a", "labels": {"managedFields": "no"},
            "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:metadata": {}}}]},
            "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate":
                {"metadata": {"managedFields": [{"manager": "kept"}]}, "spec": {}}}}]}});
        let mut without = core::Pod::from_value(&pod).unwrap();
        without.metadata.managed_fields = None;
        assert_eq!(core::Pod::from_value_bare(&pod).unwrap(), without);
        // What is mended is so here, too.
        let budget = json!({"metadata": {"managedFields": [{}]}, "status": {"currentHealthy": 0, "disruptedPods": {"a": null}}});
        let budget = policy::PodDisruptionBudget::from_value_bare(&budget).unwrap();
        assert_eq!(budget.metadata.managed_fields, None);
        assert!(core::Pod::from_value_bare(&json!([])).is_err());
    }

    #[test]
    fn what_the_structs_cannot_read_is_mended() {
        let event =
            events::Event::from_value(&json!({"series": {"count": 2, "lastObservedTime": null}})).unwrap();
        assert!(is_unset(event.series.unwrap().last_observed_time.0));
        let budget = policy::PodDisruptionBudget::from_value(&json!({"status": {"currentHealthy": 0,
            "conditions": [{"type": "a", "lastTransitionTime": null}]}}))
        .unwrap();
        let conditions = budget.status.unwrap().conditions.unwrap();
        assert!(is_unset(conditions[0].last_transition_time.0));
        assert!(!is_unset(jiff::Timestamp::UNIX_EPOCH));
        let budget = json!({"status": {"currentHealthy": 0, "disruptedPods": {"a": null}}});
        let budget = policy::PodDisruptionBudget::from_value(&budget).unwrap();
        assert!(is_unset(budget.status.unwrap().disrupted_pods.unwrap()["a"].0));
        let set = json!({"spec": {"volumeClaimTemplates": [{"kind": "X", "metadata": {"name": "a"}}]}});
        let set = apps::StatefulSet::from_value(&set).unwrap().to_value();
        let path = "/spec/volumeClaimTemplates/0/kind";
        assert_eq!(set.pointer(path), Some(&json!("PersistentVolumeClaim")));
        let review =
            authorization::SubjectAccessReview::from_value(&json!({"spec": {"extra": {"a": null}}})).unwrap();
        assert_eq!(review.spec.extra.unwrap().get("a"), Some(&Vec::new()));
    }
}

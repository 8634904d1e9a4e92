//! The names of resources, as constants: one table for every built-in kind.
//!
//! Invariant: names only. What a kind means is nobody's business here; a resource found at run time is an equal.

use std::{borrow::Cow, fmt};

use api_types::kind::{GroupResource, GroupVersionKind};

/// A resource and the kind of its objects, in one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// The group, empty for core.
    pub group: Cow<'static, str>,
    /// The version, such as `v1`.
    pub version: Cow<'static, str>,
    /// The resource's name in paths, such as `pods`.
    pub plural: Cow<'static, str>,
    /// The kind of its objects, such as `Pod`.
    pub kind: Cow<'static, str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// A built-in resource.
    pub const fn new(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    /// A resource found at run time.
    pub fn discovered(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            plural: Cow::Owned(plural.to_owned()),
            kind: Cow::Owned(kind.to_owned()),
            namespaced,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone().into_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path above the resource's name: `/api/v1` or `/apis/apps/v1`.
    pub fn base_path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// The resource whatever its version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.plural)
    }

    /// The kind of its objects.
    pub fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(&self.group, &self.version, &self.kind)
    }

    /// Whether an owner reference of this `apiVersion` and kind means an object of this resource, in whatever version.
    pub fn is_kind(&self, api_version: &str, kind: &str) -> bool {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.kind == kind && self.group == group
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plural)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

macro_rules! resources {
    ($($name:ident = $group:literal $version:literal $plural:literal $kind:literal $namespaced:literal;)*) => {
        $(
            #[doc = concat!("`", $plural, "` of group `", $group, "`")]
            pub const $name: Resource = Resource::new($group, $version, $plural, $kind, $namespaced);
        )*

        /// Every resource of the table.
        pub fn all() -> Vec<Resource> {
            vec![$($name),*]
        }
    };
}

resources! {
    CONFIG_MAPS = "" "v1" "configmaps" "ConfigMap" true;
    ENDPOINTS = "" "v1" "endpoints" "Endpoints" true;
    EVENTS = "" "v1" "events" "Event" true;
    LIMIT_RANGES = "" "v1" "limitranges" "LimitRange" true;
    NAMESPACES = "" "v1" "namespaces" "Namespace" false;
    NODES = "" "v1" "nodes" "Node" false;
    PERSISTENT_VOLUME_CLAIMS = "" "v1" "persistentvolumeclaims" "PersistentVolumeClaim" true;
    PERSISTENT_VOLUMES = "" "v1" "persistentvolumes" "PersistentVolume" false;
    PODS = "" "v1" "pods" "Pod" true;
    POD_TEMPLATES = "" "v1" "podtemplates" "PodTemplate" true;
    REPLICATION_CONTROLLERS = "" "v1" "replicationcontrollers" "ReplicationController" true;
    RESOURCE_QUOTAS = "" "v1" "resourcequotas" "ResourceQuota" true;
    SECRETS = "" "v1" "secrets" "Secret" true;
    SERVICE_ACCOUNTS = "" "v1" "serviceaccounts" "ServiceAccount" true;
    SERVICES = "" "v1" "services" "Service" true;
    API_SERVICES = "apiregistration.k8s.io" "v1" "apiservices" "APIService" false;
    CONTROLLER_REVISIONS = "apps" "v1" "controllerrevisions" "ControllerRevision" true;
    DAEMON_SETS = "apps" "v1" "daemonsets" "DaemonSet" true;
    DEPLOYMENTS = "apps" "v1" "deployments" "Deployment" true;
    REPLICA_SETS = "apps" "v1" "replicasets" "ReplicaSet" true;
    STATEFUL_SETS = "apps" "v1" "statefulsets" "StatefulSet" true;
    NEW_EVENTS = "events.k8s.io" "v1" "events" "Event" true;
    TOKEN_REVIEWS = "authentication.k8s.io" "v1" "tokenreviews" "TokenReview" false;
    SUBJECT_ACCESS_REVIEWS = "authorization.k8s.io" "v1" "subjectaccessreviews" "SubjectAccessReview" false;
    HORIZONTAL_POD_AUTOSCALERS = "autoscaling" "v2" "horizontalpodautoscalers" "HorizontalPodAutoscaler" true;
    CRON_JOBS = "batch" "v1" "cronjobs" "CronJob" true;
    JOBS = "batch" "v1" "jobs" "Job" true;
    CERTIFICATE_SIGNING_REQUESTS = "certificates.k8s.io" "v1" "certificatesigningrequests" "CertificateSigningRequest" false;
    INGRESS_CLASSES = "networking.k8s.io" "v1" "ingressclasses" "IngressClass" false;
    INGRESSES = "networking.k8s.io" "v1" "ingresses" "Ingress" true;
    IP_ADDRESSES = "networking.k8s.io" "v1" "ipaddresses" "IPAddress" false;
    NETWORK_POLICIES = "networking.k8s.io" "v1" "networkpolicies" "NetworkPolicy" true;
    SERVICE_CIDRS = "networking.k8s.io" "v1" "servicecidrs" "ServiceCIDR" false;
    POD_DISRUPTION_BUDGETS = "policy" "v1" "poddisruptionbudgets" "PodDisruptionBudget" true;
    CLUSTER_ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "clusterrolebindings" "ClusterRoleBinding" false;
    CLUSTER_ROLES = "rbac.authorization.k8s.io" "v1" "clusterroles" "ClusterRole" false;
    ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "rolebindings" "RoleBinding" true;
    ROLES = "rbac.authorization.k8s.io" "v1" "roles" "Role" true;
    CSI_DRIVERS = "storage.k8s.io" "v1" "csidrivers" "CSIDriver" false;
    CSI_NODES = "storage.k8s.io" "v1" "csinodes" "CSINode" false;
    CSI_STORAGE_CAPACITIES = "storage.k8s.io" "v1" "csistoragecapacities" "CSIStorageCapacity" true;
    STORAGE_CLASSES = "storage.k8s.io" "v1" "storageclasses" "StorageClass" false;
    VOLUME_ATTACHMENTS = "storage.k8s.io" "v1" "volumeattachments" "VolumeAttachment" false;
    VOLUME_ATTRIBUTES_CLASSES = "storage.k8s.io" "v1" "volumeattributesclasses" "VolumeAttributesClass" false;
    MUTATING_ADMISSION_POLICIES = "admissionregistration.k8s.io" "v1" "mutatingadmissionpolicies" "MutatingAdmissionPolicy" false;
    MUTATING_WEBHOOK_CONFIGURATIONS = "admissionregistration.k8s.io" "v1" "mutatingwebhookconfigurations" "MutatingWebhookConfiguration" false;
    VALIDATING_ADMISSION_POLICIES = "admissionregistration.k8s.io" "v1" "validatingadmissionpolicies" "ValidatingAdmissionPolicy" false;
    VALIDATING_ADMISSION_POLICY_BINDINGS = "admissionregistration.k8s.io" "v1" "validatingadmissionpolicybindings" "ValidatingAdmissionPolicyBinding" false;
    VALIDATING_WEBHOOK_CONFIGURATIONS = "admissionregistration.k8s.io" "v1" "validatingwebhookconfigurations" "ValidatingWebhookConfiguration" false;
    CUSTOM_RESOURCE_DEFINITIONS = "apiextensions.k8s.io" "v1" "customresourcedefinitions" "CustomResourceDefinition" false;
    PRIORITY_CLASSES = "scheduling.k8s.io" "v1" "priorityclasses" "PriorityClass" false;
    LEASES = "coordination.k8s.io" "v1" "leases" "Lease" true;
    RUNTIME_CLASSES = "node.k8s.io" "v1" "runtimeclasses" "RuntimeClass" false;
    ENDPOINT_SLICES = "discovery.k8s.io" "v1" "endpointslices" "EndpointSlice" true;
    DEVICE_CLASSES = "resource.k8s.io" "v1" "deviceclasses" "DeviceClass" false;
    RESOURCE_CLAIMS = "resource.k8s.io" "v1" "resourceclaims" "ResourceClaim" true;
    RESOURCE_CLAIM_TEMPLATES = "resource.k8s.io" "v1" "resourceclaimtemplates" "ResourceClaimTemplate" true;
    RESOURCE_SLICES = "resource.k8s.io" "v1" "resourceslices" "ResourceSlice" false;
    FLOW_SCHEMAS = "flowcontrol.apiserver.k8s.io" "v1" "flowschemas" "FlowSchema" false;
    PRIORITY_LEVEL_CONFIGURATIONS = "flowcontrol.apiserver.k8s.io" "v1" "prioritylevelconfigurations" "PriorityLevelConfiguration" false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_of_the_table_is_named_once() {
        let mut seen = std::collections::BTreeSet::new();
        for resource in all() {
            assert!(seen.insert(resource.to_string()), "{resource} twice");
            assert_eq!(resource.plural, resource.plural.to_lowercase());
        }
    }

    #[test]
    fn an_owner_reference_names_a_kind_in_whatever_version() {
        assert!(REPLICA_SETS.is_kind("apps/v1beta2", "ReplicaSet"));
        assert!(!REPLICA_SETS.is_kind("extensions/v1beta1", "ReplicaSet"));
        assert!(PODS.is_kind("v1", "Pod"));
        assert!(!PODS.is_kind("apps/v1", "Pod"));
    }

    #[test]
    fn paths_follow_the_group() {
        assert_eq!(PODS.base_path(), "/api/v1");
        assert_eq!(DEPLOYMENTS.base_path(), "/apis/apps/v1");
        assert_eq!(DEPLOYMENTS.to_string(), "deployments.apps");
    }
}

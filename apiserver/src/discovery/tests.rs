//! Snapshots against what a default apiserver 1.36 says.

use serde_json::{Value, json};

use super::*;
use crate::resources;

fn built_in() -> Discovery {
    builtin::discovery(&resources::all())
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Group and version, name, singular, kind, scope, verbs (`*`: all eight), short names, categories.
const RESOURCES: &[&str] = &[
    "v1 bindings binding Binding ns create - -",
    "v1 componentstatuses componentstatus ComponentStatus cluster get,list cs -",
    "v1 configmaps configmap ConfigMap ns * cm -",
    "v1 endpoints endpoints Endpoints ns * ep -",
    "v1 events event Event ns * ev -",
    "v1 limitranges limitrange LimitRange ns * limits -",
    "v1 namespaces namespace Namespace cluster create,delete,get,list,patch,update,watch ns -",
    "v1 namespaces/finalize - Namespace cluster update - -",
    "v1 namespaces/status - Namespace cluster get,patch,update - -",
    "v1 nodes node Node cluster * no -",
    "v1 nodes/proxy - NodeProxyOptions cluster create,delete,get,patch,update - -",
    "v1 nodes/status - Node cluster get,patch,update - -",
    "v1 persistentvolumeclaims persistentvolumeclaim PersistentVolumeClaim ns * pvc -",
    "v1 persistentvolumeclaims/status - PersistentVolumeClaim ns get,patch,update - -",
    "v1 persistentvolumes persistentvolume PersistentVolume cluster * pv -",
    "v1 persistentvolumes/status - PersistentVolume cluster get,patch,update - -",
    "v1 pods pod Pod ns * po all",
    "v1 pods/attach - PodAttachOptions ns create,get - -",
    "v1 pods/binding - Binding ns create - -",
    "v1 pods/ephemeralcontainers - Pod ns get,patch,update - -",
    "v1 pods/eviction - policy/v1.Eviction ns create - -",
    "v1 pods/exec - PodExecOptions ns create,get - -",
    "v1 pods/log - Pod ns get - -",
    "v1 pods/portforward - PodPortForwardOptions ns create,get - -",
    "v1 pods/proxy - PodProxyOptions ns create,delete,get,patch,update - -",
    "v1 pods/resize - Pod ns get,patch,update - -",
    "v1 pods/status - Pod ns get,patch,update - -",
    "v1 podtemplates podtemplate PodTemplate ns * - -",
    "v1 replicationcontrollers replicationcontroller ReplicationController ns * rc all",
    "v1 replicationcontrollers/scale - autoscaling/v1.Scale ns get,patch,update - -",
    "v1 replicationcontrollers/status - ReplicationController ns get,patch,update - -",
    "v1 resourcequotas resourcequota ResourceQuota ns * quota -",
    "v1 resourcequotas/status - ResourceQuota ns get,patch,update - -",
    "v1 secrets secret Secret ns * - -",
    "v1 serviceaccounts serviceaccount ServiceAccount ns * sa -",
    "v1 serviceaccounts/token - authentication.k8s.io/v1.TokenRequest ns create - -",
    "v1 services service Service ns * svc all",
    "v1 services/proxy - ServiceProxyOptions ns create,delete,get,patch,update - -",
    "v1 services/status - Service ns get,patch,update - -",
    "apiregistration.k8s.io/v1 apiservices apiservice APIService cluster * - api-extensions",
    "apiregistration.k8s.io/v1 apiservices/status - APIService cluster get,patch,update - -",
    "apps/v1 controllerrevisions controllerrevision ControllerRevision ns * - -",
    "apps/v1 daemonsets daemonset DaemonSet ns * ds all",
    "apps/v1 daemonsets/status - DaemonSet ns get,patch,update - -",
    "apps/v1 deployments deployment Deployment ns * deploy all",
    "apps/v1 deployments/scale - autoscaling/v1.Scale ns get,patch,update - -",
    "apps/v1 deployments/status - Deployment ns get,patch,update - -",
    "apps/v1 replicasets replicaset ReplicaSet ns * rs all",
    "apps/v1 replicasets/scale - autoscaling/v1.Scale ns get,patch,update - -",
    "apps/v1 replicasets/status - ReplicaSet ns get,patch,update - -",
    "apps/v1 statefulsets statefulset StatefulSet ns * sts all",
    "apps/v1 statefulsets/scale - autoscaling/v1.Scale ns get,patch,update - -",
    "apps/v1 statefulsets/status - StatefulSet ns get,patch,update - -",
    "events.k8s.io/v1 events event Event ns * ev -",
    "authentication.k8s.io/v1 selfsubjectreviews selfsubjectreview SelfSubjectReview cluster create - -",
    "authentication.k8s.io/v1 tokenreviews tokenreview TokenReview cluster create - -",
    "authorization.k8s.io/v1 localsubjectaccessreviews localsubjectaccessreview LocalSubjectAccessReview ns create - -",
    "authorization.k8s.io/v1 selfsubjectaccessreviews selfsubjectaccessreview SelfSubjectAccessReview cluster create - -",
    "authorization.k8s.io/v1 selfsubjectrulesreviews selfsubjectrulesreview SelfSubjectRulesReview cluster create - -",
    "authorization.k8s.io/v1 subjectaccessreviews subjectaccessreview SubjectAccessReview cluster create - -",
    "autoscaling/v2 horizontalpodautoscalers horizontalpodautoscaler HorizontalPodAutoscaler ns * hpa all",
    "autoscaling/v2 horizontalpodautoscalers/status - HorizontalPodAutoscaler ns get,patch,update - -",
    "autoscaling/v1 horizontalpodautoscalers horizontalpodautoscaler HorizontalPodAutoscaler ns * hpa all",
    "autoscaling/v1 horizontalpodautoscalers/status - HorizontalPodAutoscaler ns get,patch,update - -",
    "batch/v1 cronjobs cronjob CronJob ns * cj all",
    "batch/v1 cronjobs/status - CronJob ns get,patch,update - -",
    "batch/v1 jobs job Job ns * - all",
    "batch/v1 jobs/status - Job ns get,patch,update - -",
    "certificates.k8s.io/v1 certificatesigningrequests certificatesigningrequest CertificateSigningRequest cluster * csr -",
    "certificates.k8s.io/v1 certificatesigningrequests/approval - CertificateSigningRequest cluster get,patch,update - -",
    "certificates.k8s.io/v1 certificatesigningrequests/status - CertificateSigningRequest cluster get,patch,update - -",
    "networking.k8s.io/v1 ingressclasses ingressclass IngressClass cluster * - -",
    "networking.k8s.io/v1 ingresses ingress Ingress ns * ing -",
    "networking.k8s.io/v1 ingresses/status - Ingress ns get,patch,update - -",
    "networking.k8s.io/v1 ipaddresses ipaddress IPAddress cluster * ip -",
    "networking.k8s.io/v1 networkpolicies networkpolicy NetworkPolicy ns * netpol -",
    "networking.k8s.io/v1 servicecidrs servicecidr ServiceCIDR cluster * - -",
    "networking.k8s.io/v1 servicecidrs/status - ServiceCIDR cluster get,patch,update - -",
    "policy/v1 poddisruptionbudgets poddisruptionbudget PodDisruptionBudget ns * pdb -",
    "policy/v1 poddisruptionbudgets/status - PodDisruptionBudget ns get,patch,update - -",
    "rbac.authorization.k8s.io/v1 clusterrolebindings clusterrolebinding ClusterRoleBinding cluster * - -",
    "rbac.authorization.k8s.io/v1 clusterroles clusterrole ClusterRole cluster * - -",
    "rbac.authorization.k8s.io/v1 rolebindings rolebinding RoleBinding ns * - -",
    "rbac.authorization.k8s.io/v1 roles role Role ns * - -",
    "storage.k8s.io/v1 csidrivers csidriver CSIDriver cluster * - -",
    "storage.k8s.io/v1 csinodes csinode CSINode cluster * - -",
    "storage.k8s.io/v1 csistoragecapacities csistoragecapacity CSIStorageCapacity ns * - -",
    "storage.k8s.io/v1 storageclasses storageclass StorageClass cluster * sc -",
    "storage.k8s.io/v1 volumeattachments volumeattachment VolumeAttachment cluster * - -",
    "storage.k8s.io/v1 volumeattachments/status - VolumeAttachment cluster get,patch,update - -",
    "storage.k8s.io/v1 volumeattributesclasses volumeattributesclass VolumeAttributesClass cluster * vac -",
    "admissionregistration.k8s.io/v1 mutatingadmissionpolicies mutatingadmissionpolicy MutatingAdmissionPolicy cluster * - api-extensions",
    "admissionregistration.k8s.io/v1 mutatingadmissionpolicybindings mutatingadmissionpolicybinding MutatingAdmissionPolicyBinding cluster * - api-extensions",
    "admissionregistration.k8s.io/v1 mutatingwebhookconfigurations mutatingwebhookconfiguration MutatingWebhookConfiguration cluster * - api-extensions",
    "admissionregistration.k8s.io/v1 validatingadmissionpolicies validatingadmissionpolicy ValidatingAdmissionPolicy cluster * - api-extensions",
    "admissionregistration.k8s.io/v1 validatingadmissionpolicies/status - ValidatingAdmissionPolicy cluster get,patch,update - -",
    "admissionregistration.k8s.io/v1 validatingadmissionpolicybindings validatingadmissionpolicybinding ValidatingAdmissionPolicyBinding cluster * - api-extensions",
    "admissionregistration.k8s.io/v1 validatingwebhookconfigurations validatingwebhookconfiguration ValidatingWebhookConfiguration cluster * - api-extensions",
    "apiextensions.k8s.io/v1 customresourcedefinitions customresourcedefinition CustomResourceDefinition cluster * crd,crds api-extensions",
    "apiextensions.k8s.io/v1 customresourcedefinitions/status - CustomResourceDefinition cluster get,patch,update - -",
    "scheduling.k8s.io/v1 priorityclasses priorityclass PriorityClass cluster * pc -",
    "coordination.k8s.io/v1 leases lease Lease ns * - -",
    "node.k8s.io/v1 runtimeclasses runtimeclass RuntimeClass cluster * - -",
    "discovery.k8s.io/v1 endpointslices endpointslice EndpointSlice ns * - -",
    "resource.k8s.io/v1 deviceclasses deviceclass DeviceClass cluster * - -",
    "resource.k8s.io/v1 resourceclaims resourceclaim ResourceClaim ns * - -",
    "resource.k8s.io/v1 resourceclaims/status - ResourceClaim ns get,patch,update - -",
    "resource.k8s.io/v1 resourceclaimtemplates resourceclaimtemplate ResourceClaimTemplate ns * - -",
    "resource.k8s.io/v1 resourceslices resourceslice ResourceSlice cluster * - -",
    "flowcontrol.apiserver.k8s.io/v1 flowschemas flowschema FlowSchema cluster * - -",
    "flowcontrol.apiserver.k8s.io/v1 flowschemas/status - FlowSchema cluster get,patch,update - -",
    "flowcontrol.apiserver.k8s.io/v1 prioritylevelconfigurations prioritylevelconfiguration PriorityLevelConfiguration cluster * - -",
    "flowcontrol.apiserver.k8s.io/v1 prioritylevelconfigurations/status - PriorityLevelConfiguration cluster get,patch,update - -",
];

fn words(list: &Value) -> String {
    let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match words.join(",").as_str() {
        "" => "-".to_owned(),
        "create,delete,deletecollection,get,list,patch,update,watch" => "*".to_owned(),
        other => other.to_owned(),
    }
}

fn name_or_dash(value: &Value) -> &str {
    value.as_str().filter(|it| !it.is_empty()).unwrap_or("-")
}

#[test]
fn every_resource_and_part_is_listed_as_upstream_lists_it() {
    let discovery = built_in();
    let mut listed = Vec::new();
    for version in discovery.versions() {
        let GroupVersion { group, version } = version.group_version();
        let list = parse(&discovery.resource_list(group, version).unwrap());
        assert_eq!(list["kind"], "APIResourceList");
        assert_eq!(list["apiVersion"], if group.is_empty() { Value::Null } else { json!("v1") });
        for it in list["resources"].as_array().unwrap() {
            let kind = match it["group"].as_str() {
                None => it["kind"].as_str().unwrap().to_owned(),
                Some(group) => {
                    format!("{group}/{}.{}", it["version"].as_str().unwrap(), it["kind"].as_str().unwrap())
                }
            };
            listed.push(
                [
                    list["groupVersion"].as_str().unwrap(),
                    it["name"].as_str().unwrap(),
                    name_or_dash(&it["singularName"]),
                    &kind,
                    if it["namespaced"] == true { "ns" } else { "cluster" },
                    &words(&it["verbs"]),
                    &words(&it["shortNames"]),
                    &words(&it["categories"]),
                ]
                .join(" "),
            );
        }
    }
    let mut expected: Vec<&str> = RESOURCES.to_vec();
    expected.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, expected);
}

#[test]
fn the_hash_of_a_stored_version_is_upstreams() {
    let discovery = built_in();
    for (group, resource, hash) in [
        ("", "pods", "xPOwRZ+Yhw8="),
        ("", "namespaces", "Q3oi5N2YM8M="),
        ("apps", "deployments", "8aSe+NMegvE="),
        // Stored in another version or group than served.
        ("events.k8s.io", "events", "r2yiGXH7wu8="),
        ("autoscaling", "horizontalpodautoscalers", "qwQve8ut294="),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies", "LYmCf+UMVdg="),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", "90V5FRZZ3Zg="),
        ("apiextensions.k8s.io", "customresourcedefinitions", "jfWCUB31mvA="),
    ] {
        for version in discovery.versions().filter(|it| it.group_version().group == group) {
            let list = parse(&discovery.resource_list(group, &version.group_version().version).unwrap());
            let found =
                list["resources"].as_array().unwrap().iter().find(|it| it["name"] == resource).unwrap();
            assert_eq!(found["storageVersionHash"], hash, "{resource}.{group}");
        }
    }
    let core = parse(&discovery.resource_list("", "v1").unwrap());
    for it in core["resources"].as_array().unwrap() {
        let name = it["name"].as_str().unwrap();
        let stored = !name.contains('/') && !["bindings", "componentstatuses"].contains(&name);
        assert_eq!(it["storageVersionHash"].is_string(), stored, "{name}");
    }
}

#[test]
fn fields_stand_in_the_order_of_the_wire() {
    let discovery = built_in();
    assert_eq!(
        discovery.group("node.k8s.io").unwrap(),
        r#"{"kind":"APIGroup","apiVersion":"v1","name":"node.k8s.io","versions":[{"groupVersion":"node.k8s.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"node.k8s.io/v1","version":"v1"}}"#
    );
    assert_eq!(
        discovery.resource_list("node.k8s.io", "v1").unwrap(),
        r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"node.k8s.io/v1","resources":[{"name":"runtimeclasses","singularName":"runtimeclass","namespaced":false,"kind":"RuntimeClass","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"storageVersionHash":"WQTu1GL3T2Q="}]}"#
    );
    assert_eq!(
        discovery.api_versions("10.0.0.1:6443"),
        r#"{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"10.0.0.1:6443"}]}"#
    );
}

#[test]
fn groups_stand_in_the_order_of_their_priority() {
    let discovery = built_in();
    let expected = [
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "node.k8s.io",
        "discovery.k8s.io",
        "resource.k8s.io",
        "flowcontrol.apiserver.k8s.io",
    ];
    let list = parse(&discovery.group_list());
    let names: Vec<&Value> = list["groups"].as_array().unwrap().iter().map(|group| &group["name"]).collect();
    assert_eq!(names, expected);
    let aggregated = parse(&discovery.aggregated_groups().body);
    let names: Vec<&Value> =
        aggregated["items"].as_array().unwrap().iter().map(|group| &group["metadata"]["name"]).collect();
    assert_eq!(names, expected);
}

#[test]
fn a_group_prefers_its_most_important_version() {
    let group = parse(&built_in().group("autoscaling").unwrap());
    assert_eq!(group["preferredVersion"], json!({"groupVersion": "autoscaling/v2", "version": "v2"}));
    assert_eq!(group["versions"][1]["version"], "v1");
}

#[test]
fn only_groups_that_are_served_answer() {
    let discovery = built_in();
    assert!(discovery.group("nosuch").is_none());
    assert!(discovery.group("").is_none(), "the core group is not under /apis");
    assert!(discovery.resource_list("apps", "v1beta1").is_none());
}

#[test]
fn the_aggregated_form_nests_parts_in_resources() {
    let core = parse(&built_in().aggregated_core().body);
    assert_eq!(core["kind"], "APIGroupDiscoveryList");
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
    assert_eq!(core["metadata"], json!({}));
    assert_eq!(core["items"].as_array().unwrap().len(), 1);
    assert_eq!(core["items"][0]["metadata"], json!({}));
    let version = &core["items"][0]["versions"][0];
    assert_eq!((&version["version"], &version["freshness"]), (&json!("v1"), &json!("Current")));
    let resource = |name: &str| {
        version["resources"].as_array().unwrap().iter().find(|it| it["resource"] == name).unwrap()
    };
    assert_eq!(
        resource("serviceaccounts"),
        &json!({
            "resource": "serviceaccounts",
            "responseKind": {"group": "", "version": "", "kind": "ServiceAccount"},
            "scope": "Namespaced",
            "singularResource": "serviceaccount",
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "shortNames": ["sa"],
            "subresources": [{
                "subresource": "token",
                "responseKind": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"},
                "verbs": ["create"],
            }],
        })
    );
    assert_eq!(resource("nodes")["scope"], "Cluster");
}

fn custom(group: &str, version: &str, kind: &str) -> Arc<ServedVersion> {
    let resource = ServedResource {
        name: format!("{}s", kind.to_lowercase()),
        kind: kind.to_owned(),
        spells_out_kind: true,
        subresources: vec![ServedSubresource {
            name: "status".to_owned(),
            kind: kind.to_owned(),
            group_version: None,
            verbs: vec!["get".to_owned()],
        }],
        ..ServedResource::default()
    };
    let group_version = GroupVersion::new(group, version);
    Arc::new(ServedVersion::new(group_version, CUSTOM_PRIORITY, Freshness::Current, vec![resource]))
}

#[test]
fn versions_join_and_leave_without_disturbing_the_others() {
    let one = built_in();
    let list = one.resource_list("apps", "v1").unwrap();
    let two = one
        .exchange(&[], vec![custom("b.example.com", "v1beta1", "Foo"), custom("b.example.com", "v1", "Foo")]);
    let group = parse(&two.group("b.example.com").unwrap());
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(group["versions"].as_array().unwrap().len(), 2);
    assert_ne!(one.aggregated_groups().etag, two.aggregated_groups().etag);
    let again = two.resource_list("apps", "v1").unwrap();
    assert_eq!(list.as_ptr(), again.as_ptr(), "shared, not rendered again");

    let aggregated = parse(&two.aggregated_groups().body);
    let last = aggregated["items"].as_array().unwrap().last().unwrap();
    let response_kind = json!({"group": "b.example.com", "version": "v1", "kind": "Foo"});
    assert_eq!(last["versions"][0]["resources"][0]["responseKind"], response_kind);
    assert_eq!(last["versions"][0]["resources"][0]["subresources"][0]["responseKind"], response_kind);

    let replaced = two.exchange(&[], vec![custom("b.example.com", "v1", "Bar")]);
    let list = parse(&replaced.resource_list("b.example.com", "v1").unwrap());
    assert_eq!(list["resources"][0]["kind"], "Bar");

    let three = two.exchange(
        &[GroupVersion::new("b.example.com", "v1"), GroupVersion::new("b.example.com", "v1beta1")],
        Vec::new(),
    );
    assert!(three.group("b.example.com").is_none());
    assert_eq!(three.aggregated_groups(), one.aggregated_groups());
}

#[test]
fn groups_of_the_same_priority_stand_by_service_name_or_group_name() {
    let discovery = Discovery::new([custom("z.io", "v1", "A"), custom("a.io", "v2", "A")]);
    let list = parse(&discovery.group_list());
    assert_eq!(list["groups"][0]["name"], "z.io", "v1.z.io comes before v2.a.io");
    let aggregated = parse(&discovery.aggregated_groups().body);
    assert_eq!(aggregated["items"][0]["metadata"]["name"], "a.io");
}

#[test]
fn a_document_is_tagged_with_its_digest() {
    let document = built_in().aggregated_groups();
    let tag = document.etag.trim_matches('"');
    assert_eq!(tag.len(), 128);
    assert!(tag.bytes().all(|it| it.is_ascii_hexdigit() && !it.is_ascii_lowercase()));
    assert_eq!(document, built_in().aggregated_groups(), "the same content has the same tag");
}

#[test]
fn the_root_lists_paths_in_order() {
    let discovery = built_in();
    let paths = root_paths(discovery.paths().into_iter().chain(["/version".to_owned(), "/api".to_owned()]));
    let text = String::from_utf8(paths.to_vec()).unwrap();
    assert!(text.starts_with(
        "{\n  \"paths\": [\n    \"/api\",\n    \"/api/v1\",\n    \"/apis\",\n    \"/apis/\",\n"
    ));
    assert!(text.ends_with("    \"/version\"\n  ]\n}"), "{text}");
}

#[test]
fn only_version_two_of_the_aggregated_form_is_served() {
    assert!(is_aggregated("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"));
    assert!(!is_aggregated("apidiscovery.k8s.io", "v2beta1", "APIGroupDiscoveryList"));
    assert!(!is_aggregated("meta.k8s.io", "v1", "Table"));
}

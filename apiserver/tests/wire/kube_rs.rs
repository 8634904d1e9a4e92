//! kube-rs's client, over TLS, as others in Rust would use it: every kind goes there and back through its struct.

use std::{fmt::Debug, time::Duration};

use api_types::object::ObjectExt as _;
use apiserver::{flags::Flags, launch};
use clap::Parser;
use kube::{
    Api, Client, Config, Resource,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use runtime::Runtime;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::objects::{full, lost};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

/// Creates, reads, lists and deletes (dry) the object of one kind.
async fn there_and_back<K>(key: &str, api: Api<K>)
where
    K: Resource + Clone + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let object = full(key).object;
    let typed: K = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{key}: {error}"));
    let made =
        api.create(&PostParams::default(), &typed).await.unwrap_or_else(|error| panic!("{key}: {error}"));
    let got = api.get(object.name()).await.unwrap_or_else(|error| panic!("{key}: {error}"));
    // The server itself may have written meanwhile what it thinks of the object.
    if got.meta().resource_version == made.meta().resource_version {
        assert_eq!(got, made, "{key}");
    }
    let mut json = serde_json::to_value(&got).unwrap();
    assert_eq!(lost(&object, &json), Vec::<String>::new(), "{key}");
    let listed = api.list(&ListParams::default().fields(&format!("metadata.name={}", object.name()))).await;
    let listed = listed.unwrap_or_else(|error| panic!("{key}: {error}"));
    json.as_object_mut().unwrap().retain(|name, _| name != "kind" && name != "apiVersion");
    let items: Vec<Value> = listed.items.iter().map(|item| serde_json::to_value(item).unwrap()).collect();
    let version = json.resource_version().to_owned();
    let is_it = |item: &Value| {
        if item.resource_version() == version {
            without_kind(item) == json
        } else {
            item.name() == object.name() && lost(&without_kind(&object), item).is_empty()
        }
    };
    assert!(items.iter().any(is_it), "{key} is not in its list");
    let gone = api.delete(object.name(), &DeleteParams::default().dry_run()).await;
    gone.unwrap_or_else(|error| panic!("{key}: {error}"));
}

fn without_kind(item: &Value) -> Value {
    let mut item = item.clone();
    item.as_object_mut().unwrap().retain(|name, _| name != "kind" && name != "apiVersion");
    item
}

macro_rules! each {
    ($client:expr, namespaced: {$($key:literal: $kind:ty),* $(,)?}, cluster: {$($of:literal: $global:ty),* $(,)?}) => {{
        $( there_and_back::<$kind>($key, Api::namespaced($client.clone(), "default")).await; )*
        $( there_and_back::<$global>($of, Api::all($client.clone())).await; )*
        [$($key,)* $($of),*].len()
    }};
}

#[test]
fn every_kind_goes_there_and_back_through_kube_rs() {
    let reactor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    reactor.block_on(async {
        let home = tempfile::tempdir().unwrap();
        let flags = ["apiserver", "--secure-port", "0", "--store", "memory", "--data-dir"];
        let flags = flags.iter().map(Into::into).chain([home.path().as_os_str().to_owned()]);
        let flags = Arguments::parse_from(flags).flags;
        let runtime = Runtime::system();
        let launched = launch::launch(&flags, &runtime).await.unwrap();
        let kubeconfig = launched.write_kubeconfigs(&flags, None, runtime.clock.now()).unwrap();
        runtime.tasks.spawn_draining("serve", launched.serve());
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        for (api, body) in [
            ("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})),
            (
                "/apis/scheduling.k8s.io/v1/priorityclasses",
                json!({"metadata": {"name": "high"}, "value": 1000}),
            ),
        ] {
            let request = http::Request::post(api).body(body.to_string().into_bytes()).unwrap();
            client.request_text(request).await.unwrap();
        }
        let kinds = every_kind(client).await;
        assert!(kinds >= 59, "only {kinds} kinds");
        runtime.tasks.drain(Duration::from_secs(5)).await;
    });
}

async fn every_kind(client: Client) -> usize {
    use k8s_openapi::{
        api::{
            admissionregistration::v1 as admissionregistration, apps::v1 as apps,
            autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling_v2, batch::v1 as batch,
            certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
            discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol,
            networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
            resource::v1 as resource, scheduling::v1 as scheduling, storage::v1 as storage,
        },
        apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
        kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration,
    };
    each!(
        client,
        namespaced: {
            "/v1/configmaps": core::ConfigMap,
            "/v1/endpoints": core::Endpoints,
            "/v1/events": core::Event,
            "/v1/persistentvolumeclaims": core::PersistentVolumeClaim,
            "/v1/pods": core::Pod,
            "/v1/podtemplates": core::PodTemplate,
            "/v1/replicationcontrollers": core::ReplicationController,
            "/v1/secrets": core::Secret,
            "/v1/serviceaccounts": core::ServiceAccount,
            "/v1/services": core::Service,
            "apps/v1/controllerrevisions": apps::ControllerRevision,
            "apps/v1/daemonsets": apps::DaemonSet,
            "apps/v1/deployments": apps::Deployment,
            "apps/v1/replicasets": apps::ReplicaSet,
            "apps/v1/statefulsets": apps::StatefulSet,
            "autoscaling/v1/horizontalpodautoscalers": autoscaling_v1::HorizontalPodAutoscaler,
            "autoscaling/v2/horizontalpodautoscalers": autoscaling_v2::HorizontalPodAutoscaler,
            "batch/v1/cronjobs": batch::CronJob,
            "batch/v1/jobs": batch::Job,
            "coordination.k8s.io/v1/leases": coordination::Lease,
            "discovery.k8s.io/v1/endpointslices": discovery::EndpointSlice,
            "events.k8s.io/v1/events": events::Event,
            "networking.k8s.io/v1/ingresses": networking::Ingress,
            "networking.k8s.io/v1/networkpolicies": networking::NetworkPolicy,
            "policy/v1/poddisruptionbudgets": policy::PodDisruptionBudget,
            "rbac.authorization.k8s.io/v1/rolebindings": rbac::RoleBinding,
            "rbac.authorization.k8s.io/v1/roles": rbac::Role,
            "resource.k8s.io/v1/resourceclaims": resource::ResourceClaim,
            "resource.k8s.io/v1/resourceclaimtemplates": resource::ResourceClaimTemplate,
            "storage.k8s.io/v1/csistoragecapacities": storage::CSIStorageCapacity,
            // What limits others comes last.
            "/v1/limitranges": core::LimitRange,
            "/v1/resourcequotas": core::ResourceQuota,
        },
        cluster: {
            "/v1/namespaces": core::Namespace,
            "/v1/nodes": core::Node,
            "/v1/persistentvolumes": core::PersistentVolume,
            "admissionregistration.k8s.io/v1/mutatingadmissionpolicies": admissionregistration::MutatingAdmissionPolicy,
            "admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings": admissionregistration::MutatingAdmissionPolicyBinding,
            "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations": admissionregistration::MutatingWebhookConfiguration,
            "admissionregistration.k8s.io/v1/validatingadmissionpolicies": admissionregistration::ValidatingAdmissionPolicy,
            "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings": admissionregistration::ValidatingAdmissionPolicyBinding,
            "admissionregistration.k8s.io/v1/validatingwebhookconfigurations": admissionregistration::ValidatingWebhookConfiguration,
            "apiextensions.k8s.io/v1/customresourcedefinitions": apiextensions::CustomResourceDefinition,
            "apiregistration.k8s.io/v1/apiservices": apiregistration::APIService,
            "certificates.k8s.io/v1/certificatesigningrequests": certificates::CertificateSigningRequest,
            "flowcontrol.apiserver.k8s.io/v1/flowschemas": flowcontrol::FlowSchema,
            "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": flowcontrol::PriorityLevelConfiguration,
            "networking.k8s.io/v1/ingressclasses": networking::IngressClass,
            "networking.k8s.io/v1/ipaddresses": networking::IPAddress,
            "networking.k8s.io/v1/servicecidrs": networking::ServiceCIDR,
            "node.k8s.io/v1/runtimeclasses": node::RuntimeClass,
            "rbac.authorization.k8s.io/v1/clusterrolebindings": rbac::ClusterRoleBinding,
            "rbac.authorization.k8s.io/v1/clusterroles": rbac::ClusterRole,
            "resource.k8s.io/v1/deviceclasses": resource::DeviceClass,
            "resource.k8s.io/v1/resourceslices": resource::ResourceSlice,
            "scheduling.k8s.io/v1/priorityclasses": scheduling::PriorityClass,
            "storage.k8s.io/v1/csidrivers": storage::CSIDriver,
            "storage.k8s.io/v1/csinodes": storage::CSINode,
            "storage.k8s.io/v1/storageclasses": storage::StorageClass,
            "storage.k8s.io/v1/volumeattachments": storage::VolumeAttachment,
            "storage.k8s.io/v1/volumeattributesclasses": storage::VolumeAttributesClass,
        }
    )
}

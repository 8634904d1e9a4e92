//! Goal: metrics come from a server beside ours, as metrics-server is one: `kubectl top` shows them, and autoscalers heed them.
//!
//! Method: an extension server in this process, behind an APIService and a Service, that says what the test wants.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use e2e::{Cluster, eventually, tools};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::https;

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "/apis/metrics.k8s.io/v1beta1";
const HOST: &str = "metrics-server.kube-system.svc";

/// What the extension server knows.
struct Metrics {
    client: Client,
    /// How many thousandths of a core each Pod is said to use.
    each: AtomicU64,
}

impl Metrics {
    async fn answer(self: Arc<Self>, asked: https::Asked) -> Option<Value> {
        let rest = asked.path.strip_prefix(GROUP)?.trim_matches('/').to_owned();
        let usage = |cpu: u64| json!({"cpu": format!("{cpu}m"), "memory": "64Mi"});
        // Later than anything: what was measured before a Pod was ready counts for nothing.
        let stamp = json!({"timestamp": "2099-01-01T00:00:00Z", "window": "15s"});
        let with = |mut object: Value| {
            object.as_object_mut().unwrap().extend(stamp.as_object().unwrap().clone());
            object
        };
        match rest.split('/').collect::<Vec<_>>().as_slice() {
            [""] => Some(resources()),
            ["nodes"] => {
                let node = |name: &str| with(json!({"metadata": {"name": name}, "usage": usage(250)}));
                let items = [node("node-1"), node("node-2")];
                Some(
                    json!({"kind": "NodeMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}),
                )
            }
            ["namespaces", namespace, "pods"] => {
                let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
                let pods = pods.list(&ListParams::default()).await.ok()?;
                let each = self.each.load(Ordering::Relaxed);
                let metrics = |pod: &Pod| {
                    let metadata =
                        json!({"name": pod.name_any(), "namespace": namespace, "labels": pod.labels()});
                    let containers = json!([{"name": "web", "usage": usage(each)}]);
                    with(json!({"metadata": metadata, "containers": containers}))
                };
                let items: Vec<Value> = pods.iter().map(metrics).collect();
                Some(
                    json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}),
                )
            }
            _ => None,
        }
    }
}

fn resources() -> Value {
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": ["get", "list"]});
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
        "resources": [resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)]})
}

fn manifests(serving: &https::Serving) -> String {
    let authority = k8s_openapi::ByteString(serving.authority.clone().into_bytes());
    let list = json!([
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics-server", "namespace": "kube-system"},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": serving.port}]}},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"name": "metrics-server", "namespace": "kube-system", "port": serving.port}, "caBundle": authority}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web", "resources": {"requests": {"cpu": "100m"}}}]}}}},
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": list}).to_string()
}

#[test]
fn top_and_autoscalers_read_the_metrics_of_another_server() {
    let cluster = Cluster::up(&tools::kubectl().unwrap(), &["--store=memory", "--nodes", "2"]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    });
    let metrics = Arc::new(Metrics { client, each: AtomicU64::new(50) });
    let of = Arc::clone(&metrics);
    let serving = https::serve(&runtime, HOST, move |asked| Arc::clone(&of).answer(asked));

    let said = cluster.try_kubectl_with(&["create", "-f", "-"], &manifests(&serving)).unwrap();
    assert!(said.status.success(), "{}", said.whole());
    cluster.kubectl("wait --for=condition=Available apiservice/v1beta1.metrics.k8s.io --timeout=30s");
    cluster.kubectl("rollout status deployment/web --timeout=30s");

    let shows = |words: &str, wanted: &[&str]| {
        eventually(words, PATIENCE, || {
            let said = cluster.try_kubectl(words).map_err(|error| error.to_string())?;
            if wanted.iter().all(|it| said.out.contains(it)) { Ok(()) } else { Err(said.whole()) }
        });
    };
    shows("top nodes", &["node-1", "node-2", "250m", "64Mi"]);
    shows("top pods --containers", &["web-", "50m", "64Mi"]);

    cluster.kubectl("autoscale deployment web --cpu-percent=50 --min=1 --max=4");
    metrics.each.store(100, Ordering::Relaxed);
    // Each uses all that it asked for, and half of it is wanted, however many there are.
    shows("get deployment web -o jsonpath={.spec.replicas}", &["4"]);
    let scaler = cluster.get("hpa web");
    assert_eq!(scaler["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"], 100);
}

//! Goal: an operator written with kube-rs, as its users write one, lives its life: it installs its kind, keeps what the objects
//! of it ask for, tells how they are, lets nothing go before it has cleaned up, and judges them by a webhook.
//!
//! Method: the operator runs in this process, over the API alone; kubectl is its user.

use std::{sync::Arc, time::Duration};

use e2e::{Cluster, eventually, tools};
use futures::StreamExt as _;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::ValidatingWebhookConfiguration, apps::v1::Deployment, core::v1::ConfigMap,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, CustomResource, CustomResourceExt as _, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{
        Controller,
        controller::Action,
        finalizer::{self, Event, finalizer},
        wait::{await_condition, conditions},
        watcher,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::https;

const PATIENCE: Duration = Duration::from_secs(30);
const MANAGER: &str = "guestbook-operator";

/// What a guest book shall be.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "example.com",
    version = "v1",
    kind = "Guestbook",
    namespaced,
    shortname = "gb",
    status = "GuestbookStatus",
    printcolumn = r#"{"name":"Ready","type":"integer","jsonPath":".status.ready"}"#
)]
struct GuestbookSpec {
    /// What is said to guests.
    greeting: String,
    #[serde(default = "one")]
    replicas: i32,
}

/// How it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct GuestbookStatus {
    ready: i32,
    observed_generation: Option<i64>,
}

fn one() -> i32 {
    1
}

#[test]
fn an_operator_of_kube_rs_lives_its_life() {
    let cluster = Cluster::up(&tools::kubectl().unwrap(), &["--store=memory", "--nodes", "2"]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let webhook = https::serve(&runtime, "127.0.0.1", judge);
    runtime.block_on(async {
        let client = client(&cluster).await;
        install(&client).await;
        register(&client, &webhook).await;
        runtime.spawn(operate(client));
    });
    let apply = |greeting: &str, replicas: i32| {
        let book = json!({"apiVersion": "example.com/v1", "kind": "Guestbook",
            "metadata": {"name": "visitors", "namespace": "default"},
            "spec": {"greeting": greeting, "replicas": replicas}});
        cluster.try_kubectl_with(&["apply", "-f", "-"], &book.to_string()).unwrap()
    };
    let refused = apply("", 1);
    assert!(
        refused
            .whole()
            .contains(r#"admission webhook "guestbooks.example.com" denied the request: say something"#),
        "{}",
        refused.whole()
    );

    let said = apply("welcome", 2);
    assert!(said.status.success(), "{}", said.whole());
    is_ready(&cluster, 2);
    assert!(cluster.kubectl("get gb visitors").contains("READY"), "its own column");
    let book = cluster.get("guestbook visitors");
    assert_eq!(book["metadata"]["finalizers"], json!(["example.com/farewell"]));
    let deployment = cluster.get("deployment visitors --show-managed-fields");
    assert_eq!(deployment["metadata"]["ownerReferences"][0]["name"], "visitors");
    assert_eq!(deployment["metadata"]["managedFields"][0]["manager"], MANAGER);

    cluster.kubectl("patch guestbook visitors --type=merge -p {\"spec\":{\"replicas\":3}}");
    is_ready(&cluster, 3);
    // What it keeps comes back, since it watches what it owns.
    cluster.kubectl("delete deployment visitors");
    is_ready(&cluster, 3);

    cluster.kubectl("delete guestbook visitors --timeout=30s");
    let farewell = cluster.get("configmap farewell-visitors");
    assert_eq!(farewell["data"]["said"], "goodbye", "it cleaned up before the guest book went");
    eventually("what it owned is collected", PATIENCE, || {
        let left = cluster.kubectl("get deployments,pods -o name");
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    });
}

/// Waits until the guest book says that so many Pods serve.
fn is_ready(cluster: &Cluster, ready: i64) {
    eventually("it is ready", PATIENCE, || {
        let book = cluster.get("guestbook visitors");
        let deployment = cluster.try_kubectl("get deployment visitors -o jsonpath={.status.readyReplicas}");
        let serving = deployment.map_err(|error| error.to_string())?.out;
        let told = book["status"]["observedGeneration"] == book["metadata"]["generation"];
        let is_ready = told && book["status"]["ready"] == ready && serving.trim() == ready.to_string();
        if is_ready { Ok(()) } else { Err(format!("{serving} serve, and it is {}", book["status"])) }
    });
}

// === the operator ===

async fn client(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Installs the kind, and waits until the server has it.
async fn install(client: &Client) {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let (name, how) = (Guestbook::crd_name(), PatchParams::apply(MANAGER));
    definitions.patch(name, &how, &Patch::Apply(Guestbook::crd())).await.unwrap();
    let established = await_condition(definitions, name, conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
}

async fn operate(client: Client) {
    let books = Api::<Guestbook>::all(client.clone());
    let deployments = Api::<Deployment>::all(client.clone());
    let failed = |_: Arc<Guestbook>, _: &finalizer::Error<kube::Error>, _: Arc<Client>| {
        Action::requeue(Duration::from_millis(200))
    };
    Controller::new(books, watcher::Config::default())
        .owns(deployments, watcher::Config::default())
        .run(reconcile, failed, Arc::new(client))
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile(
    book: Arc<Guestbook>,
    client: Arc<Client>,
) -> Result<Action, finalizer::Error<kube::Error>> {
    let books = Api::<Guestbook>::namespaced((*client).clone(), &book.namespace().unwrap());
    finalizer(&books, "example.com/farewell", book, |event| async {
        match event {
            Event::Apply(book) => keep(&client, &book).await,
            Event::Cleanup(book) => say_goodbye(&client, &book).await,
        }
    })
    .await
}

/// Keeps the Deployment of a guest book, and tells how many Pods of it serve.
async fn keep(client: &Client, book: &Guestbook) -> Result<Action, kube::Error> {
    let (name, namespace) = (book.name_any(), book.namespace().unwrap());
    let labels = json!({"guestbook": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "ownerReferences": [book.controller_owner_ref(&())]},
        "spec": {"replicas": book.spec.replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "book", "image": "book",
                "env": [{"name": "GREETING", "value": book.spec.greeting}]}]},
        }},
    });
    let how = PatchParams::apply(MANAGER).force();
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let deployment = deployments.patch(&name, &how, &Patch::Apply(deployment)).await?;
    let ready = deployment.status.and_then(|status| status.ready_replicas).unwrap_or_default();
    let status = GuestbookStatus { ready, observed_generation: book.metadata.generation };
    let books = Api::<Guestbook>::namespaced(client.clone(), &namespace);
    books.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    Ok(Action::await_change())
}

/// Leaves something behind that the guest book does not own.
async fn say_goodbye(client: &Client, book: &Guestbook) -> Result<Action, kube::Error> {
    let name = format!("farewell-{}", book.name_any());
    let farewell = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"said": "goodbye"}});
    let farewells = Api::<ConfigMap>::namespaced(client.clone(), &book.namespace().unwrap());
    farewells.patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(farewell)).await?;
    Ok(Action::await_change())
}

// === its webhook ===

async fn register(client: &Client, webhook: &https::Serving) {
    let address = format!("https://127.0.0.1:{}/judge", webhook.port);
    let authority = ByteString(webhook.authority.clone().into_bytes());
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": MANAGER},
        "webhooks": [{
            "name": "guestbooks.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"url": address, "caBundle": authority},
            "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["guestbooks"],
                "operations": ["CREATE", "UPDATE"]}],
        }],
    });
    let configurations = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    configurations.patch(MANAGER, &PatchParams::apply(MANAGER), &Patch::Apply(configuration)).await.unwrap();
}

/// Nobody is greeted with nothing.
async fn judge(asked: https::Asked) -> Option<Value> {
    let review: Value = serde_json::from_slice(&asked.body).ok()?;
    let greeting = review["request"]["object"]["spec"]["greeting"].as_str().unwrap_or_default();
    Some(json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": !greeting.is_empty(),
            "status": {"message": "say something"}},
    }))
}

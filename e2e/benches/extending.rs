//! How the cluster bears those who extend it: two thousand definitions of custom resources, and suites of envtest that start
//! it anew each time. The release binaries, over TLS, on the embedded store.
//!
//! ```text
//! cargo build --release --workspace && cargo bench -p e2e --bench extending
//! ```
//!
//! `DEFINITIONS=5000` for more of them.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use e2e::{Cluster, binaries, say, tools};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::BodyExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Config,
    api::PostParams,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::{await_condition, conditions},
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How many are written at a time.
const AT_A_TIME: usize = 16;
const DISCOVERY: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
/// So long a program may take to be ready, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a short thing is done.
const ROUNDS: usize = 21;

/// A program that is ended when it is not needed any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let count = std::env::var("DEFINITIONS").ok().and_then(|it| it.parse().ok()).unwrap_or(2000);
    runtime.block_on(definitions(count))?;
    runtime.block_on(test_environments())
}

async fn definitions(count: usize) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let data = home.path().join("data");
    let start = || Cluster::start("apiserver", &tools::kubectl()?, &data, &["--store", "embedded"]);
    let mut cluster = start()?;
    let client = client(&cluster).await?;
    let empty = memory(&cluster)?;
    let api = Api::<CustomResourceDefinition>::all(client.clone());

    let began = Instant::now();
    stream::iter(0..count)
        .map(Ok)
        .try_for_each_concurrent(AT_A_TIME, |number| {
            let (api, definition) = (api.clone(), definition(number));
            async move {
                api.create(&PostParams::default(), &definition?).await.map(drop).map_err(anyhow::Error::from)
            }
        })
        .await?;
    let taken_in = began.elapsed().as_secs_f64();
    for number in 0..count {
        let name = definition(number)?.metadata.name.context("a name")?;
        await_condition(api.clone(), &name, conditions::is_crd_established()).await?;
    }
    let established = began.elapsed().as_secs_f64();
    println!(
        "{count} definitions: taken in after {taken_in:.1} s, all Established and looked at one by one after {established:.1} s"
    );

    let mut waits = Vec::new();
    for number in count..count + ROUNDS {
        let definition = definition(number)?;
        let name = definition.metadata.name.clone().context("a name")?;
        let began = Instant::now();
        api.create(&PostParams::default(), &definition).await?;
        await_condition(api.clone(), &name, conditions::is_crd_established()).await?;
        waits.push(began.elapsed());
    }
    told("one more, from the request to Established", waits);
    println!("memory: {empty} MiB without, {} MiB with them", memory(&cluster)?);
    told("aggregated discovery of all", rounds(async || get(&client, "/apis", DISCOVERY).await).await?);
    cluster.kubectl("create namespace use");
    let thing = json!({"apiVersion": "g7.example.com/v1", "kind": "Thing77",
        "metadata": {"name": "one", "namespace": "use"}, "spec": {"field1": "x"}});
    let said = cluster.try_kubectl_with(&["create", "-f", "-"], &thing.to_string())?;
    ensure!(said.status.success(), "{}", said.whole());
    let kubectl = async || {
        let said = cluster.kubectl("get things77.g7.example.com one -n use");
        ensure!(said.contains("one"), "{said}");
        Ok(())
    };
    told("kubectl get of one, its own start included", rounds(&kubectl).await?);

    cluster.interrupt()?;
    let began = Instant::now();
    cluster = start()?;
    println!(
        "started again with them: {:.0} ms, {} MiB",
        1000.0 * began.elapsed().as_secs_f64(),
        memory(&cluster)?
    );
    Ok(())
}

/// What envtest does before the first test of a suite.
async fn test_environments() -> anyhow::Result<()> {
    let mut waits = Vec::new();
    for _ in 0..ROUNDS {
        let home = tempfile::tempdir()?;
        let mut lay_out = Command::new(binaries().join("binnacle"));
        lay_out.arg("envtest").arg(home.path().join("assets")).arg("--kubectl").arg(tools::kubectl()?);
        let said = say(lay_out, "")?;
        ensure!(said.status.success(), "{}", said.whole());
        let assets = Path::new(said.out.trim_end()).to_owned();
        let key = home.path().join("signer.key");
        std::fs::write(&key, rcgen::KeyPair::generate()?.serialize_pem())?;
        let (key, certificates) = (key.display(), home.path().join("certificates"));
        std::fs::create_dir(&certificates)?;
        let (store, port) = (free_port()?, free_port()?);

        let began = Instant::now();
        let etcd = [
            format!("--advertise-client-urls=http://127.0.0.1:{store}"),
            format!("--listen-client-urls=http://127.0.0.1:{store}"),
            format!("--listen-peer-urls=http://127.0.0.1:{}", free_port()?),
            format!("--data-dir={}", home.path().join("etcd").display()),
        ];
        let _etcd = run(&assets.join("etcd"), &etcd, &home.path().join("etcd.log"))?;
        ready(&format!("http://127.0.0.1:{store}"), "/health").await?;
        let server = [
            "--authorization-mode=RBAC".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!("--cert-dir={}", certificates.display()),
            format!("--etcd-servers=http://127.0.0.1:{store}"),
            format!("--secure-port={port}"),
            format!("--service-account-issuer=https://127.0.0.1:{port}/"),
            format!("--service-account-key-file={key}"),
            format!("--service-account-signing-key-file={key}"),
        ];
        let log = home.path().join("apiserver.log");
        let _server = run(&assets.join("kube-apiserver"), &server, &log)?;
        ready(&format!("https://127.0.0.1:{port}"), "/readyz")
            .await
            .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        waits.push(began.elapsed());
    }
    told("etcd and kube-apiserver of envtest, until both are ready", waits);
    Ok(())
}

fn run(program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Running> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?);
    Ok(Running(command.spawn()?))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Asks until the answer is that all is well.
async fn ready(server: &str, path: &str) -> anyhow::Result<()> {
    let mut config = Config::new(server.parse()?);
    config.accept_invalid_certs = true;
    let client = Client::try_from(config)?;
    let asked = async {
        while get(&client, path, "*/*").await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.with_context(|| format!("{server}{path} is not well"))
}

async fn client(cluster: &Cluster) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn get(client: &Client, path: &str, accept: &str) -> anyhow::Result<()> {
    let request = http::Request::get(path).header(http::header::ACCEPT, accept).body(Body::empty())?;
    let answer = client.send(request).await?;
    ensure!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.into_body().collect().await?;
    Ok(())
}

/// How long something takes, some times.
async fn rounds(what: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<Vec<Duration>> {
    let mut waits = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        what().await?;
        waits.push(began.elapsed());
    }
    Ok(waits)
}

fn told(what: &str, mut waits: Vec<Duration>) {
    waits.sort();
    let at = |place: usize| waits.get(place).copied().unwrap_or_default().as_secs_f64() * 1000.0;
    println!(
        "{what}: {:.1} ms at best, {:.1} in the middle, {:.1} at worst",
        at(0),
        at(waits.len() / 2),
        at(waits.len().saturating_sub(1))
    );
}

/// Resident, in MiB.
fn memory(cluster: &Cluster) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("odd /proc")?;
    let kib: u64 = line.split_whitespace().next().context("odd /proc")?.parse()?;
    Ok(kib / 1024)
}

/// One of ten in its group, with a schema of about 10 KB.
fn definition(number: usize) -> anyhow::Result<CustomResourceDefinition> {
    let group = format!("g{}.example.com", number / 10);
    let property = |at: usize| {
        let description = "What a field of its kind is for, in about as many words as people take for it.";
        (format!("field{at}"), json!({"type": "string", "description": description, "maxLength": 253}))
    };
    let fields: serde_json::Map<String, Value> = (0..70).map(property).collect();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}});
    Ok(serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things{number}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": format!("things{number}"), "kind": format!("Thing{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    }))?)
}

//! How the API server bears load: the release binary, a client with as many connections as it wants, and figures as the
//! rows of a table. On the embedded store, and on etcd where one is installed.
//!
//! ```text
//! cargo build --release --workspace && cargo bench -p e2e --bench load
//! ```
//!
//! CPU is the server's (and etcd's) own, from the system's books, divided by the operations; of a noisy machine it is the
//! figure to trust most. `--quick` does a tenth, to see that everything still runs.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use e2e::{Cluster, etcd::Etcd, tools};
use http_body_util::BodyExt as _;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// What is measured, and by whom.
struct Bench {
    client: Client,
    /// Whose CPU counts.
    pids: Vec<u32>,
    /// What a tenth of everything is to be done for.
    share: usize,
    store: &'static str,
}

/// How many events all watchers together have heard of.
#[derive(Default)]
struct Heard {
    count: AtomicUsize,
    more: Notify,
}

/// What a scenario came to.
struct Row {
    scenario: &'static str,
    operations: usize,
    took: Duration,
    /// How long each took.
    latencies: Vec<Duration>,
    cpu: Duration,
}

fn main() -> anyhow::Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    say("| store | scenario | per s | p50 ms | p99 ms | CPU us each | RSS MiB |");
    say("|---|---|---|---|---|---|---|");
    run(&runtime, "embedded", &["--store", "embedded"], &[], quick)?;
    if let Some(etcd) = Etcd::start()? {
        run(&runtime, "etcd", &["--etcd-servers", &etcd.url()], &[etcd.pid()?], quick)?;
    }
    Ok(())
}

fn run(
    runtime: &tokio::runtime::Runtime,
    store: &'static str,
    flags: &[&str],
    others: &[u32],
    quick: bool,
) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let cluster = Cluster::start("apiserver", &tools::kubectl()?, &home.path().join("data"), flags)?;
    cluster.kubectl("create serviceaccount default");
    let mut pids = vec![cluster.pid()];
    pids.extend(others);
    runtime.block_on(async {
        let client = client(cluster.kubeconfig()).await?;
        let bench = Bench { client, pids, share: if quick { 10 } else { 1 }, store };
        bench.writes().await?;
        bench.reads().await?;
        bench.watches().await?;
        bench.kubelets().await
    })
}

async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

// === impl Bench ===

impl Bench {
    async fn writes(&self) -> anyhow::Result<()> {
        self.many("create, 1 writer", 1, 500, |n| request("POST", PODS, "application/json", &pod("one", n)))
            .await?;
        self.many("create, 16 writers", 16, 4000, |n| {
            request("POST", PODS, "application/json", &pod("many", n))
        })
        .await?;
        self.many("patch of a status, 16 writers", 16, 2000, |n| {
            let path = format!("{PODS}/many-{}/status", n % 400);
            let status = json!({"status": {"phase": "Running", "message": format!("{n}")}});
            request("PATCH", &path, "application/strategic-merge-patch+json", &status)
        })
        .await?;
        self.many("apply, 16 writers", 16, 2000, |n| {
            let path = format!("{PODS}/many-{}?fieldManager=load&force=true", n % 400);
            let applied = json!({"apiVersion": "v1", "kind": "Pod", "metadata":
                {"name": format!("many-{}", n % 400), "annotations": {"load": format!("{n}")}}});
            request("PATCH", &path, "application/apply-patch+yaml", &applied)
        })
        .await
    }

    async fn reads(&self) -> anyhow::Result<()> {
        self.many("get, 16 readers", 16, 20_000, |n| get(&format!("{PODS}/many-{}", n % 400))).await?;
        self.many("list of all", 2, 40, |_| get(PODS)).await?;
        self.many("list of all in protobuf", 2, 40, |_| {
            let mut request = get(PODS)?;
            let accept = http::HeaderValue::from_static("application/vnd.kubernetes.protobuf");
            request.headers_mut().insert(http::header::ACCEPT, accept);
            Ok(request)
        })
        .await?;
        self.many("list of a hundredth, by a label", 2, 400, |n| {
            get(&format!("{PODS}?labelSelector=hundredth%3Dh{}", n % 100))
        })
        .await
    }

    /// All watchers hear of every write; then all come back at once.
    async fn watches(&self) -> anyhow::Result<()> {
        let (watchers, writes) = (500 / self.share.min(5), 200 / self.share);
        let heard = Arc::new(Heard::default());
        let latest = Arc::new(AtomicU64::new(self.revision().await?));
        let mut following = self.follow(watchers, &latest, &heard).await?;
        let (began, before) = (Instant::now(), self.cpu()?);
        let mut latencies = Vec::new();
        for n in 0..writes {
            let path = format!("{PODS}/many-{}/status", n % 40);
            let status = json!({"status": {"message": format!("heard {n}")}});
            let sent = Instant::now();
            self.answer(request("PATCH", &path, "application/strategic-merge-patch+json", &status)?).await?;
            heard.reaches((n + 1) * watchers).await?;
            latencies.push(sent.elapsed());
        }
        self.tell(Row {
            scenario: "an event heard by all of 500 watchers",
            operations: watchers * writes,
            took: began.elapsed(),
            latencies,
            cpu: self.cpu()?.saturating_sub(before),
        })?;

        let (mut latencies, mut took, mut cpu) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        let rounds = 5;
        for round in 0..rounds {
            following.shutdown().await;
            let path = format!("{PODS}/many-{round}/status");
            let status = json!({"status": {"message": format!("missed {round}")}});
            self.answer(request("PATCH", &path, "application/strategic-merge-patch+json", &status)?).await?;
            heard.count.store(0, Ordering::Relaxed);
            let (began, before) = (Instant::now(), self.cpu()?);
            following = self.follow(watchers, &latest, &heard).await?;
            heard.reaches(watchers).await?;
            latencies.push(began.elapsed());
            took += began.elapsed();
            cpu += self.cpu()?.saturating_sub(before);
            latest.store(self.revision().await?, Ordering::Relaxed);
        }
        following.shutdown().await;
        self.tell(Row {
            scenario: "500 watchers come back at once",
            operations: watchers * rounds,
            took,
            latencies,
            cpu,
        })
    }

    /// Nodes that renew their leases and tell of their Pods, at a pace.
    async fn kubelets(&self) -> anyhow::Result<()> {
        let nodes = 300 / self.share;
        let lease = |n: usize| {
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": format!("node-{n}")},
                "spec": {"holderIdentity": format!("node-{n}"), "leaseDurationSeconds": 40}})
        };
        const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
        for n in 0..nodes {
            self.answer(request("POST", LEASES, "application/json", &lease(n))?).await?;
        }
        let (began, before) = (Instant::now(), self.cpu()?);
        let (mut running, mut latencies) = (JoinSet::new(), Vec::new());
        let operations = 2000 / self.share;
        for n in 0..operations {
            let due = began + Duration::from_millis(5) * u32::try_from(n)?;
            tokio::time::sleep_until(due).await;
            // Two leases to one status.
            let request = if n % 3 == 0 {
                let status = json!({"status": {"message": format!("mixed {n}")}});
                let path = format!("{PODS}/many-{}/status", n % 400);
                request("PATCH", &path, "application/strategic-merge-patch+json", &status)?
            } else {
                let renewed = json!({"spec": {"leaseTransitions": n}});
                let path = format!("{LEASES}/node-{}", n % nodes);
                request("PATCH", &path, "application/merge-patch+json", &renewed)?
            };
            let client = self.client.clone();
            running.spawn(async move { answer(&client, request).await.map(|_| due.elapsed()) });
        }
        while let Some(done) = running.join_next().await {
            latencies.push(done??);
        }
        self.tell(Row {
            scenario: "leases and statuses of kubelets, 200 per s",
            operations,
            took: began.elapsed(),
            latencies,
            cpu: self.cpu()?.saturating_sub(before),
        })
    }

    /// The same request, with a number, many times by several clients at once.
    async fn many(
        &self,
        scenario: &'static str,
        clients: usize,
        operations: usize,
        make: impl Fn(usize) -> anyhow::Result<http::Request<Body>> + Copy + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        let operations = (operations / self.share).max(clients);
        let next = Arc::new(AtomicUsize::new(0));
        let (began, before) = (Instant::now(), self.cpu()?);
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let (client, next) = (self.client.clone(), Arc::clone(&next));
            running.spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= operations {
                        return anyhow::Ok(latencies);
                    }
                    let sent = Instant::now();
                    answer(&client, make(n)?).await?;
                    latencies.push(sent.elapsed());
                }
            });
        }
        let mut latencies = Vec::new();
        while let Some(done) = running.join_next().await {
            latencies.extend(done??);
        }
        let (took, cpu) = (began.elapsed(), self.cpu()?.saturating_sub(before));
        self.tell(Row { scenario, operations, took, latencies, cpu })
    }

    /// So many watches from a revision on; each counts what it hears. All are open when it returns.
    async fn follow(
        &self,
        watchers: usize,
        from: &AtomicU64,
        heard: &Arc<Heard>,
    ) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
        let from = from.load(Ordering::Relaxed);
        let mut opening = JoinSet::new();
        for _ in 0..watchers {
            let client = self.client.clone();
            opening.spawn(async move {
                let request = get(&format!("{PODS}?watch=1&resourceVersion={from}"))?;
                anyhow::Ok(client.send(request).await?.into_body())
            });
        }
        let mut following = JoinSet::new();
        while let Some(body) = opening.join_next().await {
            let (mut body, heard) = (body??, Arc::clone(heard));
            following.spawn(async move {
                while let Some(frame) = body.frame().await {
                    let frame = frame?;
                    let lines =
                        frame.data_ref().map(|data| data.iter().filter(|&&byte| byte == b'\n').count());
                    heard.add(lines.unwrap_or_default());
                }
                Ok(())
            });
        }
        Ok(following)
    }

    async fn revision(&self) -> anyhow::Result<u64> {
        let list: Value = serde_json::from_str(&self.answer(get(&format!("{PODS}?limit=1"))?).await?)?;
        let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        Ok(version.context("a list without a version")?.parse()?)
    }

    async fn answer(&self, request: http::Request<Body>) -> anyhow::Result<String> {
        answer(&self.client, request).await
    }

    /// What the servers have computed so far.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for pid in &self.pids {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let (_, fields) = stat.rsplit_once(')').context("odd /proc")?;
            // utime and stime, of which there are a hundred in a second.
            ticks += fields
                .split_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|it| it.parse::<u64>().ok())
                .sum::<u64>();
        }
        Ok(Duration::from_millis(10 * ticks))
    }

    fn memory(&self) -> anyhow::Result<u64> {
        let mut kib = 0;
        for pid in &self.pids {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            kib +=
                line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(kib / 1024)
    }

    fn tell(&self, mut row: Row) -> anyhow::Result<()> {
        row.latencies.sort();
        let at = |share: usize| {
            let place = (row.latencies.len() * share / 100).min(row.latencies.len().saturating_sub(1));
            row.latencies.get(place).copied().unwrap_or_default().as_secs_f64() * 1000.0
        };
        let operations = f64::from(u32::try_from(row.operations)?);
        say(&format!(
            "| {} | {} | {:.0} | {:.2} | {:.2} | {:.1} | {} |",
            self.store,
            row.scenario,
            operations / row.took.as_secs_f64(),
            at(50),
            at(99),
            row.cpu.as_secs_f64() * 1e6 / operations,
            self.memory()?,
        ));
        Ok(())
    }
}

async fn answer(client: &Client, request: http::Request<Body>) -> anyhow::Result<String> {
    let shown = format!("{} {}", request.method(), request.uri());
    let answer = client.send(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    ensure!(status.is_success(), "{shown}: {status}: {body}");
    Ok(body)
}

// === impl Heard ===

impl Heard {
    fn add(&self, count: usize) {
        self.count.fetch_add(count, Ordering::Relaxed);
        self.more.notify_one();
    }

    async fn reaches(&self, count: usize) -> anyhow::Result<()> {
        let heard = async {
            while self.count.load(Ordering::Relaxed) < count {
                self.more.notified().await;
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(60), heard).await;
        heard.with_context(|| format!("{} of {count} events were heard", self.count.load(Ordering::Relaxed)))
    }
}

fn get(path: &str) -> anyhow::Result<http::Request<Body>> {
    Ok(http::Request::get(path).body(Body::empty())?)
}

fn request(
    method: &str,
    path: &str,
    content_type: &str,
    body: &Value,
) -> anyhow::Result<http::Request<Body>> {
    let request = http::Request::builder().method(method).uri(path);
    Ok(request
        .header(http::header::CONTENT_TYPE, content_type)
        .body(Body::from(body.to_string().into_bytes()))?)
}

/// A Pod as workloads have them: two containers, with environment, resources and probes.
fn pod(name: &str, n: usize) -> Value {
    let container = |name: &str| {
        let env: Vec<Value> = (0..12)
            .map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("value of {n}")}))
            .collect();
        json!({
            "name": name, "image": "registry.example.com/app:1.2.3", "env": env,
            "ports": [{"name": format!("p-{name}"), "containerPort": 8080}],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{name}-{n}"), "labels":
            {"app": "load", "hundredth": format!("h{}", n % 100), "pod-template-hash": "abcdef"}},
        "spec": {"containers": [container("main"), container("side")],
            "tolerations": [{"key": "a", "operator": "Exists"}]},
    })
}

#[expect(clippy::print_stdout, reason = "the table is what this is for")]
fn say(line: &str) {
    println!("{line}");
}

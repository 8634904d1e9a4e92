//! The separate binaries make one cluster over TLS: each with the kubeconfig that the API server wrote for it, none of them
//! an administrator.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use e2e::{Cluster, binaries, eventually, tools};

const PATIENCE: Duration = Duration::from_secs(60);

/// A program beside the API server, ended with the test.
struct Component(Child);

impl Drop for Component {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn start(binary: &str, words: &[&str], data: &Path) -> Component {
    let log = File::create(data.join(format!("{binary}.log"))).unwrap();
    let mut command = Command::new(binaries().join(binary));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Component(command.spawn().unwrap())
}

/// A port that is free now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks a component at its port, as whoever a kubeconfig says or as nobody.
fn ask(port: u16, kubeconfig: Option<&str>, path: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server: http::Uri = format!("https://127.0.0.1:{port}").parse().unwrap();
        let mut config = match kubeconfig {
            Some(file) => {
                let kubeconfig = kube::config::Kubeconfig::read_from(file).unwrap();
                kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap()
            }
            None => kube::Config::new(server.clone()),
        };
        config.cluster_url = server;
        // Its certificate is of its own making.
        config.accept_invalid_certs = true;
        let client = kube::Client::try_from(config).unwrap();
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        client.request_text(request).await.map_err(|error| error.to_string())
    })
}

#[test]
fn the_separate_binaries_work_together_with_their_own_kubeconfigs() {
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let cluster = Cluster::start("apiserver", &kubectl, &data, &["--store", "embedded"]).unwrap();
    let file = |name: &str| format!("{}/{name}", data.display());
    let kubeconfig = |name: &str| format!("--kubeconfig={}", file(name));
    let authority = format!("--root-ca-file={}", file("pki/ca.crt"));
    let (scheduler_port, manager_port) = (free_port(), free_port());
    let serving = |name: &str, port: u16| {
        let file = file(name);
        let reviews = ["authentication", "authorization"].map(|it| format!("--{it}-kubeconfig={file}"));
        let [tokens, access] = reviews;
        [
            kubeconfig(name),
            tokens,
            access,
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
        ]
    };
    let words = serving("scheduler.kubeconfig", scheduler_port);
    let _scheduler = start("scheduler", &words.each_ref().map(String::as_str), &data);
    let words = serving("controller-manager.kubeconfig", manager_port);
    let manager: Vec<&str> = words.iter().chain([&authority]).map(String::as_str).collect();
    let mut leader = start("controller-manager", &manager, &data);
    let _nodes = start("binnacle", &["nodes", "--nodes=2", &kubeconfig("admin.kubeconfig")], &data);

    eventually("the nodes are ready", PATIENCE, || {
        let nodes = cluster.kubectl("get nodes --no-headers");
        if nodes.matches(" Ready ").count() == 2 { Ok(()) } else { Err(nodes) }
    });
    cluster.kubectl("create deployment web --image=nginx --replicas=3");
    let rolled_out = cluster.kubectl("rollout status deployment/web --timeout=60s");
    assert!(rolled_out.contains("successfully rolled out"), "{rolled_out}");
    cluster.kubectl("expose deployment web --port=80");
    cluster.kubectl("create job pi --image=perl");
    cluster.kubectl("wait --for=condition=complete job/pi --timeout=60s");
    eventually("the Pods are endpoints", PATIENCE, || {
        let slices = cluster.get("endpointslices -l kubernetes.io/service-name=web");
        match slices.pointer("/items/0/endpoints").and_then(|it| it.as_array()) {
            Some(endpoints) if endpoints.len() == 3 => Ok(()),
            _ => Err(slices.to_string()),
        }
    });
    let maps = cluster.get("configmap kube-root-ca.crt");
    let published = maps.pointer("/data/ca.crt").and_then(|it| it.as_str()).unwrap_or_default();
    assert_eq!(published, std::fs::read_to_string(data.join("pki/ca.crt")).unwrap());

    // Health is for everybody, metrics for whom the API server lets.
    let admin = file("admin.kubeconfig");
    for (port, metric) in
        [(scheduler_port, "scheduler_schedule_attempts_total"), (manager_port, "workqueue_adds_total")]
    {
        for path in ["/healthz", "/livez", "/readyz"] {
            assert_eq!(ask(port, None, path).as_deref(), Ok("ok"), "{path} of {port}");
        }
        let refused = ask(port, None, "/metrics").unwrap_err();
        assert!(refused.contains("User \"system:anonymous\" cannot get path \"/metrics\""), "{refused}");
        let metrics = ask(port, Some(&admin), "/metrics").unwrap();
        for name in [metric, "rest_client_requests_total", "leader_election_master_status"] {
            assert!(metrics.contains(name), "{name} is not among\n{metrics}");
        }
        let token = ask(port, Some(&file("scheduler.kubeconfig")), "/metrics").unwrap_err();
        assert!(token.contains("User \"system:kube-scheduler\" cannot get"), "{token}");
    }
    // What they remember joins into one story.
    let story = Command::new(binaries().join("binnacle"))
        .args(["why", "deployment/web", "--kubeconfig", &admin])
        .arg(format!("--scheduler=https://127.0.0.1:{scheduler_port}"))
        .arg(format!("--controller-manager=https://127.0.0.1:{manager_port}"))
        .output()
        .unwrap();
    let (story, errors) =
        (String::from_utf8(story.stdout).unwrap(), String::from_utf8(story.stderr).unwrap());
    for part in ["deployment-controller", "replicaset-controller", "nodes would do", "kubectl-create"] {
        assert!(story.contains(part), "no {part} in\n{story}{errors}");
    }

    // A controller manager that comes anew takes the lead when the other's lease is over, and goes on.
    leader.0.kill().unwrap();
    leader.0.wait().unwrap();
    leader = start("controller-manager", &manager, &data);
    cluster.kubectl("set image deployment/web nginx=nginx:2");
    let rolled_out = cluster.kubectl("rollout status deployment/web --timeout=60s");
    assert!(rolled_out.contains("successfully rolled out"), "{rolled_out}");
    cluster.kubectl("create namespace gone");
    cluster.kubectl("create configmap a -n gone");
    cluster.kubectl("delete namespace gone --timeout=60s");
    for component in ["scheduler", "controller-manager", "binnacle"] {
        let log = std::fs::read_to_string(data.join(format!("{component}.log"))).unwrap();
        assert!(!log.contains("forbidden"), "{component} wanted more than it may:\n{log}");
    }
    drop(leader);
}

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

#[test]
fn the_separate_binaries_work_together_with_their_own_kubeconfigs() {
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let cluster = Cluster::start("apiserver", &kubectl, &data, &["--store", "embedded"]).unwrap();
    let file = |name: &str| format!("{}/{name}", data.display());
    let kubeconfig = |name: &str| format!("--kubeconfig={}", file(name));
    let authority = format!("--root-ca-file={}", file("pki/ca.crt"));
    let _scheduler = start("scheduler", &[&kubeconfig("scheduler.kubeconfig")], &data);
    let manager = [&*kubeconfig("controller-manager.kubeconfig"), &authority];
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

//! Disks as they are: they fill up, they stall, they lose bits. What the server says then, and that it goes on when they
//! are well again.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use e2e::{
    Cluster,
    api::{self, Watch, ask},
    binaries,
    disk::Disk,
    eventually, tools,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"test": "disk"}}})
}

fn start(home: &Path, disk: &Disk) -> Cluster {
    let kubectl = tools::kubectl().unwrap();
    let tokens = api::token_file(home).unwrap();
    let environment = disk.environment();
    let environment: Vec<(&str, &OsStr)> =
        environment.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
    let flags = ["--store", "embedded", "--token-auth-file", tokens.to_str().unwrap()];
    Cluster::start_in("apiserver", &kubectl, &home.join("data"), &flags, &environment).unwrap()
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_takes_writes_again_once_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::of(&home.path().join("data/store"), home.path()).unwrap() else { return };
    let mut cluster = start(home.path(), &disk);
    let url = cluster.url().unwrap();
    assert_eq!(ask(&url, "POST", MAPS, Some(&map("before"))).0, 201);
    let mut watch = Watch::open(&url, &format!("{MAPS}?watch=1&labelSelector=test%3Ddisk")).unwrap();
    disk.fill().unwrap();
    for _ in 0..3 {
        let (status, told) = ask(&url, "POST", MAPS, Some(&map("during")));
        let message = told["message"].as_str().unwrap_or_default();
        assert_eq!(status, 500, "{told}");
        assert!(message.starts_with("the disk of the store is full: "), "{message}");
        assert!(message.contains("No space left on device"), "{message}");
    }
    let (status, list) = ask(&url, "GET", &format!("{MAPS}?labelSelector=test%3Ddisk"), None);
    assert_eq!((status, list["items"].as_array().map(Vec::len)), (200, Some(1)), "{list}");
    assert_eq!(ask(&url, "GET", "/livez", None).0, 200, "nothing that a restart would mend");
    disk.recover().unwrap();
    assert_eq!(ask(&url, "POST", MAPS, Some(&map("after"))).0, 201, "without a restart, and at once");
    let seen: Vec<String> = (0..2)
        .map(|_| watch.next(PATIENCE).unwrap().expect("an event"))
        .map(|event| event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(seen, ["before", "after"]);
    cluster.kill();
    let cluster = start(home.path(), &disk);
    let (_, list) = ask(&cluster.url().unwrap(), "GET", &format!("{MAPS}?labelSelector=test%3Ddisk"), None);
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["after", "before"], "what was refused did not happen");
}

/// A program beside the API server, ended with the test.
struct Component(Child);

impl Drop for Component {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn leaders_and_nodes_keep_their_leases_on_a_disk_that_takes_two_seconds_for_each_sync() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let Some(disk) = Disk::of(&data.join("store"), home.path()).unwrap() else { return };
    let cluster = start(home.path(), &disk);
    let component = |binary: &str, words: &[&str]| {
        let log = File::create(home.path().join(format!("{binary}.log"))).unwrap();
        let mut command = Command::new(binaries().join(binary));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Component(command.spawn().unwrap())
    };
    let kubeconfig = |name: &str| format!("--kubeconfig={}/{name}.kubeconfig", data.display());
    let mut manager = component("controller-manager", &[&kubeconfig("controller-manager")]);
    let _nodes = component("binnacle", &["nodes", "--nodes=2", &kubeconfig("admin")]);
    eventually("the nodes are ready", PATIENCE, || {
        let nodes = cluster.kubectl("get nodes --no-headers");
        if nodes.matches(" Ready ").count() == 2 { Ok(()) } else { Err(nodes) }
    });
    let leader = |cluster: &Cluster| {
        let lease = cluster.get("lease kube-controller-manager -n kube-system");
        let of = |field: &str| lease["spec"][field].clone();
        (of("holderIdentity"), of("leaseTransitions"), of("renewTime"))
    };
    let (holder, transitions, renewed) = eventually("there is a leader", PATIENCE, || {
        match cluster.try_kubectl("get lease kube-controller-manager -n kube-system") {
            Ok(said) if said.status.success() => Ok(leader(&cluster)),
            said => Err(format!("{said:?}")),
        }
    });
    disk.stall(2000).unwrap();
    let url = cluster.url().unwrap();
    let (status, told) = ask(&url, "POST", MAPS, Some(&map("slow")));
    assert_eq!(status, 201, "it takes long, and is done: {told}");
    // Longer than a lease lasts, twice.
    for _ in 0..32 {
        thread::sleep(Duration::from_secs(1));
        let (now, _, _) = leader(&cluster);
        assert_eq!(now, holder, "the lead does not change");
        assert!(manager.0.try_wait().unwrap().is_none(), "the leader goes on");
        let nodes = cluster.kubectl("get nodes --no-headers");
        assert_eq!(nodes.matches(" Ready ").count(), 2, "{nodes}");
    }
    let now = leader(&cluster);
    assert_eq!((&now.0, &now.1), (&holder, &transitions));
    assert_ne!(now.2, renewed, "it was renewed meanwhile");
    disk.recover().unwrap();
    assert_eq!(ask(&url, "POST", MAPS, Some(&map("quick"))).0, 201);
}

/// What the server says when it does not start: one line.
fn refused(data: &Path) -> String {
    let output = Command::new(binaries().join("apiserver"))
        .arg("--data-dir")
        .arg(data)
        .args(["--secure-port", "0"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "one line says what is wrong: {said}");
    errors.concat()
}

fn log_of(data: &Path) -> PathBuf {
    let names = fs::read_dir(data.join("store")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("log-")).max().unwrap()
}

#[test]
fn a_damaged_file_is_named_and_not_served_and_an_unfinished_end_is_cut_off() {
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut cluster = Cluster::start("apiserver", &kubectl, &data, &["--store", "embedded"]).unwrap();
    cluster.kubectl("create configmap kept --from-literal=a=b");
    cluster.interrupt().unwrap();
    let log = log_of(&data);
    let good = fs::read(&log).unwrap();
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        fs::write(&log, &bytes).unwrap();
    };
    // In the header, in the middle, and in the last write, which is not the end of a log that was closed.
    for (at, what) in [
        (9, "has a damaged header"),
        (good.len() / 2, "is damaged at byte"),
        (good.len() - 60, "is damaged at byte"),
    ] {
        flip(at);
        let said = refused(&data);
        assert!(
            said.contains(what) && said.contains("restore the directory from a backup"),
            "byte {at}: {said}"
        );
        assert!(said.contains(log.file_name().unwrap().to_str().unwrap()), "{said}");
        let verified =
            Command::new(binaries().join("binnacle")).args(["store", "verify"]).arg(&data).output();
        assert!(!verified.unwrap().status.success());
    }
    // As after a crash in the middle of a write.
    let torn = [&good[..], &[40, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]].concat();
    fs::write(&log, torn).unwrap();
    let cluster = Cluster::start("apiserver", &kubectl, &data, &["--store", "embedded"]).unwrap();
    assert_eq!(cluster.get("configmap kept").pointer("/data/a").and_then(Value::as_str), Some("b"));
    assert!(cluster.log().contains("unfinished write"), "{}", cluster.log());
}

//! What was acknowledged is there after the process was killed, whatever it was doing; and what is wrong at a start is
//! told in one line.
//!
//! Method: writers create ConfigMaps as fast as they can and note each that the server acknowledged; the server is
//! killed with SIGKILL in the middle, started again on the same data, and must have all that was noted, each whole.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use e2e::{Cluster, tools};
use serde_json::Value;

/// How often the server is killed; more by the environment for a long run.
fn rounds() -> usize {
    std::env::var("CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5)
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let tokens = home.path().join("tokens.csv");
    std::fs::write(&tokens, "crash-token,crash,crash,\"system:masters\"\n").unwrap();
    let flags = ["--store", "embedded", "--token-auth-file", tokens.to_str().unwrap()];
    let mut acknowledged = BTreeSet::new();
    for round in 0..rounds() {
        let mut cluster = Cluster::start("apiserver", &kubectl, &data, &flags).unwrap();
        let found = stored(&cluster);
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?}\n{}", cluster.log());
        acknowledged.extend(write_until_killed(&mut cluster, round));
    }
    let cluster = Cluster::start("apiserver", &kubectl, &data, &flags).unwrap();
    let found = stored(&cluster);
    assert!(
        acknowledged.is_subset(&found),
        "lost: {:?}",
        acknowledged.difference(&found).collect::<Vec<_>>()
    );
    assert!(acknowledged.len() > rounds() * 20, "too few writes to mean anything: {}", acknowledged.len());
}

/// The names that are stored; every object must be whole.
fn stored(cluster: &Cluster) -> BTreeSet<String> {
    // Raw: with many rounds there are tens of thousands, and kubectl takes long to read them all.
    let text = cluster.kubectl("get --raw /api/v1/namespaces/default/configmaps?labelSelector=crash%3Dtest");
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default();
    items
        .iter()
        .map(|item| {
            let name = item.pointer("/metadata/name").and_then(Value::as_str).unwrap();
            assert_eq!(item.pointer("/data/name").and_then(Value::as_str), Some(name), "an object is whole");
            name.to_owned()
        })
        .collect()
}

/// Writes from several clients until the server is killed; what it acknowledged.
fn write_until_killed(cluster: &mut Cluster, round: usize) -> BTreeSet<String> {
    let url = cluster.url().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (url, over) = (url.clone(), Arc::clone(&over));
            thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for batch in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let names: Vec<String> =
                        (0..20).map(|number| format!("c-{round}-{writer}-{batch}-{number}")).collect();
                    acknowledged.extend(post(&url, &names));
                }
                acknowledged
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(1500));
    cluster.kill();
    over.store(true, Ordering::Relaxed);
    writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
}

/// Creates objects over one connection; the names of those the server acknowledged.
fn post(url: &str, names: &[String]) -> Vec<String> {
    let mut command = Command::new("curl");
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            command.arg("--next");
        }
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","labels":{{"crash":"test"}}}},"data":{{"name":"{name}"}}}}"#
        );
        command
            .args(["--silent", "--insecure", "--max-time", "10"])
            .args([
                "--header",
                "Authorization: Bearer crash-token",
                "--header",
                "Content-Type: application/json",
            ])
            .args(["--output", "/dev/null", "--write-out", "%{http_code}\n", "--data", &body])
            .arg(format!("{url}/api/v1/namespaces/default/configmaps"));
    }
    let Ok(output) = command.output() else { return Vec::new() };
    let codes = String::from_utf8_lossy(&output.stdout).into_owned();
    names.iter().zip(codes.lines()).filter(|(_, code)| *code == "201").map(|(name, _)| name.clone()).collect()
}

#[test]
fn a_second_process_on_the_same_data_is_told_who_is_there() {
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let _first = Cluster::start("apiserver", &kubectl, &data, &[]).unwrap();
    let said = refused(&data, &["--secure-port", "0"]);
    assert!(said.contains(data.to_str().unwrap()), "the directory is named: {said}");
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let said = refused(&home.path().join("data"), &["--secure-port", &port]);
    assert!(said.contains("taken by another process") && said.contains("--secure-port"), "{said}");
}

#[test]
fn a_flag_that_makes_no_sense_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let said = refused(&home.path().join("data"), &["--authorization-mode", "Nonsense"]);
    assert!(said.contains("--authorization-mode"), "{said}");
    assert!(!home.path().join("data/store").exists(), "nothing was written");
}

#[test]
fn an_interrupted_cluster_drains_and_resumes() {
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut cluster = Cluster::start("binnacle", &kubectl, &data, &[]).unwrap();
    cluster.kubectl("create configmap kept --from-literal=a=b");
    assert!(cluster.interrupt().unwrap().success(), "{}", cluster.log());
    drop(cluster);
    let cluster = Cluster::start("binnacle", &kubectl, &data, &[]).unwrap();
    assert_eq!(cluster.get("configmap kept").pointer("/data/a").and_then(Value::as_str), Some("b"));
}

/// What the server prints when it does not start: one line, and a failing exit code.
fn refused(data: &Path, flags: &[&str]) -> String {
    let output = Command::new(e2e::binaries().join("apiserver"))
        .arg("--data-dir")
        .arg(data)
        .args(flags)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "one line says what is wrong: {said}");
    said
}

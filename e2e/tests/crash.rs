//! What was acknowledged is there after the process was killed, whatever it was doing, and who watched goes on where it was;
//! and what is wrong at a start is told in one line.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![expect(clippy::print_stdout, reason = "a long run says how much it did")]

use std::{path::Path, process::Command, thread, time::Duration};

use e2e::{Cluster, api, etcd::Etcd, history::History, tools};
use serde_json::Value;

/// How often the server is killed; more by the environment for a long run:
/// `CRASH_ROUNDS=1000 cargo test -p e2e --test crash kill_9`.
fn rounds(usual: usize) -> usize {
    std::env::var("CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// Method: a server is killed while clients write and watch, again and again, each time a little later in what it does.
fn kill_again_and_again(rounds: usize, flags: &[&str]) {
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let tokens = api::token_file(home.path()).unwrap();
    let flags = [flags, &["--token-auth-file", tokens.to_str().unwrap()]].concat();
    let start = || Cluster::start("apiserver", &kubectl, &data, &flags).unwrap();
    let mut cluster = start();
    let history = History::begin(&[cluster.url().unwrap()]);
    for round in 0..rounds {
        let before = history.acknowledged();
        e2e::eventually("writes are acknowledged", Duration::from_secs(60), || {
            if history.acknowledged() > before + 20 {
                Ok(())
            } else {
                Err(format!("round {round}: {before}"))
            }
        });
        thread::sleep(Duration::from_millis(u64::try_from(round * 67 % 400).unwrap()));
        history.move_to(&[]);
        cluster.kill();
        cluster = start();
        history.move_to(&[cluster.url().unwrap()]);
    }
    let summary = history.end();
    println!("{rounds} rounds: {summary:?}");
    assert!(summary.acknowledged > rounds * 20, "{summary:?}");
    assert!(summary.resumptions >= rounds, "who watched was cut off each time: {summary:?}");
}

#[test]
fn nothing_is_lost_made_up_missed_or_doubled_by_kill_9() {
    kill_again_and_again(rounds(20), &["--store", "embedded"]);
}

#[test]
fn nothing_is_lost_made_up_missed_or_doubled_by_kill_9_on_etcd() {
    let Some(etcd) = Etcd::start().unwrap() else { return };
    kill_again_and_again(rounds(5), &["--etcd-servers", &etcd.url()]);
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

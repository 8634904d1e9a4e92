//! The official Python client, whose typed models are made from the published OpenAPI: every kind goes there and back. And
//! its library for WebSockets, which follows a watch.
//!
//! Skipped, and said so, where the client cannot be had.

use std::{path::Path, process::Command};

use e2e::{Cluster, say, tools};

/// A server alone, so that no controller changes what is compared, and a script of `e2e/tests` in the client's company.
fn run(script: &str, prepare: impl FnOnce(&Cluster), arguments: &[&Path]) {
    let packages = match tools::python_client() {
        Ok(packages) => packages,
        Err(why) => {
            println!("skipped: no Python client: {why:#}");
            return;
        }
    };
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let cluster =
        Cluster::start("apiserver", &tools::kubectl().unwrap(), &data, &["--store", "memory"]).unwrap();
    prepare(&cluster);
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", packages)
        .arg(tools::workspace().join("e2e/tests").join(script))
        .arg(cluster.kubeconfig())
        .args(arguments);
    let said = say(command, "").unwrap();
    assert!(said.status.success(), "{}", said.whole());
    println!("{}", said.out);
}

#[test]
fn every_kind_goes_there_and_back_through_pythons_models() {
    let prepare = |cluster: &Cluster| {
        cluster.kubectl("create serviceaccount default");
        cluster.kubectl("create priorityclass high --value=1000");
    };
    run("round_trip.py", prepare, &[&tools::workspace().join("apiserver/tests/wire/objects")]);
}

#[test]
fn a_watch_over_websocket_tells_each_event_as_a_message() {
    run("websocket_watch.py", |_| {}, &[]);
}

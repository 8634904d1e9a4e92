//! The official Python client, whose typed models are made from the published OpenAPI: every kind goes there and back. And
//! its library for WebSockets, which follows a watch.
//!
//! Skipped, and said so, where the client cannot be had.

use std::{path::Path, process::Command};

use e2e::{Cluster, say, tools};

/// What a script of `e2e/tests` says in the client's company about a server alone, so that no controller changes what is
/// compared. Nothing was done, and that is said, where the client cannot be had.
fn run(script: &str, prepare: impl FnOnce(&Cluster), arguments: &[&Path]) -> anyhow::Result<String> {
    let packages = match tools::python_client() {
        Ok(packages) => packages,
        Err(why) => return Ok(format!("skipped: no Python client: {why:#}")),
    };
    let home = tempfile::tempdir()?;
    let data = home.path().join("data");
    let cluster = Cluster::start("apiserver", &tools::kubectl()?, &data, &["--store", "memory"])?;
    prepare(&cluster);
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", packages)
        .arg(tools::workspace().join("e2e/tests").join(script))
        .arg(cluster.kubeconfig())
        .args(arguments);
    let said = say(command, "")?;
    anyhow::ensure!(said.status.success(), "{}", said.whole());
    Ok(said.out)
}

#[test]
fn every_kind_goes_there_and_back_through_pythons_models() {
    let prepare = |cluster: &Cluster| {
        cluster.kubectl("create serviceaccount default");
        cluster.kubectl("create priorityclass high --value=1000");
    };
    let objects = tools::workspace().join("apiserver/tests/wire/objects");
    println!("{}", run("round_trip.py", prepare, &[&objects]).unwrap());
}

#[test]
fn a_watch_over_websocket_tells_each_event_as_a_message() {
    println!("{}", run("websocket_watch.py", |_| {}, &[]).unwrap());
}

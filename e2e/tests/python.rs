//! The official Python client, whose typed models are made from the published OpenAPI: every kind goes there and back.
//!
//! Skipped, and said so, where the client cannot be had.

use std::process::Command;

use e2e::{Cluster, say, tools};

#[test]
fn every_kind_goes_there_and_back_through_pythons_models() {
    let packages = match tools::python_client() {
        Ok(packages) => packages,
        Err(why) => {
            println!("skipped: no Python client: {why:#}");
            return;
        }
    };
    let home = tempfile::tempdir().unwrap();
    // The server alone: no controller changes what is compared.
    let cluster = Cluster::start(
        "apiserver",
        &tools::kubectl().unwrap(),
        &home.path().join("data"),
        &["--store", "memory"],
    )
    .unwrap();
    cluster.kubectl("create serviceaccount default");
    cluster.kubectl("create priorityclass high --value=1000");
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", packages)
        .arg(tools::workspace().join("e2e/tests/round_trip.py"))
        .arg(cluster.kubeconfig())
        .arg(tools::workspace().join("apiserver/tests/wire/objects"));
    let said = say(command, "").unwrap();
    assert!(said.status.success(), "{}", said.whole());
    println!("{}", said.out);
}

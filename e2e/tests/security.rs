//! What an operator turns on for safety's sake, with a real kubectl, real files and a real etcd: the audit log, and encryption of
//! what is stored.
//!
//! Method: one server each, a few commands, and then a look at the file or at the store itself.

use std::{fs, time::Duration};

use e2e::{Cluster, etcd::Etcd, eventually, tools};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const ENCRYPTION: &str = "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aescbc: {keys: [{name: key1, secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=}]}
  - identity: {}
";

#[test]
fn what_kubectl_does_is_in_the_audit_log() {
    let home = tempfile::tempdir().unwrap();
    let (policy, log) = (home.path().join("policy.yaml"), home.path().join("audit.log"));
    let rules = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
                 - {level: Metadata, resources: [{resources: [secrets]}]}\n\
                 - {level: RequestResponse, users: [kubernetes-admin], resources: [{resources: [configmaps]}]}\n";
    fs::write(&policy, rules).unwrap();
    let flags = [
        "--store",
        "memory",
        "--audit-policy-file",
        policy.to_str().unwrap(),
        "--audit-log-path",
        log.to_str().unwrap(),
    ];
    let data = home.path().join("data");
    let cluster = Cluster::start("apiserver", &tools::kubectl().unwrap(), &data, &flags).unwrap();
    cluster.kubectl("create configmap c --from-literal=a=shown");
    cluster.kubectl("create secret generic s --from-literal=a=very-private");
    cluster.kubectl("get secret s --as=jane --as-group=system:masters");
    let text = fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |verb: &str, resource: &str, name: &str| {
        let found = events.iter().find(|event| {
            event["verb"] == verb
                && event["objectRef"]["resource"] == resource
                && event["objectRef"]["name"] == name
        });
        found.unwrap_or_else(|| panic!("no {verb} of {resource} {name} in:\n{text}"))
    };
    let made = find("create", "configmaps", "c");
    assert_eq!(made["requestObject"]["data"]["a"], "shown");
    assert_eq!(made["responseStatus"]["code"], 201);
    assert!(made["userAgent"].as_str().unwrap().starts_with("kubectl"));
    assert_eq!(made["sourceIPs"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(find("create", "secrets", "s")["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(find("get", "secrets", "s")["impersonatedUser"]["username"], "jane");
    assert!(!text.contains("very-private") && !text.contains("dmVyeS1wcml2YXRl"));
}

#[test]
fn a_secret_lies_encrypted_in_etcd_and_one_that_was_there_is_encrypted_by_a_write_that_changes_nothing() {
    let Some(etcd) = Etcd::start().unwrap() else { return };
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("encryption.yaml");
    fs::write(&file, ENCRYPTION).unwrap();
    let kubectl = tools::kubectl().unwrap();
    let url = etcd.url();
    let data = home.path().join("data");
    let stored = |name: &str| {
        let key = format!("/registry/secrets/default/{name}");
        etcd.control(&["get", "--print-value-only", &key], "").unwrap().out
    };
    let mut plain = Cluster::start("apiserver", &kubectl, &data, &["--etcd-servers", &url]).unwrap();
    plain.kubectl("create secret generic old --from-literal=a=very-private");
    assert!(stored("old").contains("dmVyeS1wcml2YXRl"));
    plain.kill();
    let flags = ["--etcd-servers", &url, "--encryption-provider-config", file.to_str().unwrap()];
    let cluster = Cluster::start("apiserver", &kubectl, &data, &flags).unwrap();
    cluster.kubectl("create secret generic new --from-literal=a=very-private");
    let old = cluster.kubectl("get secret old -o json");
    let replaced = cluster.try_kubectl_with(&["replace", "-f", "-"], &old).unwrap();
    assert!(replaced.status.success(), "{}", replaced.whole());
    for name in ["old", "new"] {
        eventually("it is encrypted", PATIENCE, || {
            let text = stored(name);
            let is_encrypted =
                text.starts_with("k8s:enc:aescbc:v1:key1:") && !text.contains("dmVyeS1wcml2YXRl");
            if is_encrypted { Ok(()) } else { Err(text) }
        });
        assert_eq!(cluster.get(&format!("secret {name}"))["data"]["a"], "dmVyeS1wcml2YXRl");
    }
}

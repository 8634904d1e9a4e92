//! `ServiceAccount`: a Pod runs as a service account that exists, and carries its token unless it says otherwise.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{
    field::go_quote,
    object::{ObjectExt, object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};
use crate::server::Server;

/// Where containers find the token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the token's volume is named, before a generated suffix.
const VOLUME: &str = "kube-api-access-";
/// Seconds a token lives; the odd seconds tell tokens for Pods from others.
const TOKEN_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";
/// How often a missing default service account is looked for again: a controller makes it with the namespace.
const ATTEMPTS: u32 = 10;

/// The plugin.
#[derive(Debug)]
pub(super) struct ServiceAccount(pub(super) Weak<Server>);

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }
}

impl ServiceAccount {
    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !attributes.is("", "pods", "") {
            return Ok(());
        }
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let pod = &attributes.object;
        if pod.annotation(MIRROR).is_some() {
            return mirror(pod).map_err(|why| attributes.forbidden(why));
        }
        let name = pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or_default();
        let name = if name.is_empty() { "default".to_owned() } else { name.to_owned() };
        let namespace = attributes.namespace.clone();
        let Some(account) = find(&server, &namespace, &name).await? else {
            return Err(attributes.forbidden(format!(
                "error looking up service account {namespace}/{name}: serviceaccount {} not found",
                go_quote(&name)
            )));
        };
        let suffix = server.runtime.random.name_suffix(5);
        let pod = &mut attributes.object;
        let spec = object_at(object_of(pod), "spec");
        spec.insert("serviceAccountName".to_owned(), json!(name));
        // The deprecated alias is kept equal.
        spec.insert("serviceAccount".to_owned(), json!(name));
        if mounts(pod, &account) {
            mount(pod, &format!("{VOLUME}{suffix}"));
        }
        let spec = object_at(object_of(pod), "spec");
        let given =
            spec.get("imagePullSecrets").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        if let (false, Some(secrets)) = (given, account.get("imagePullSecrets").and_then(Value::as_array)) {
            let names: Vec<Value> = secrets.iter().map(|it| json!({"name": it.get("name")})).collect();
            if !names.is_empty() {
                spec.insert("imagePullSecrets".to_owned(), json!(names));
            }
        }
        Ok(())
    }
}

async fn find(server: &Server, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
    let attempts = if name == "default" { ATTEMPTS } else { 1 };
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(100 + server.runtime.random.below(100))).await;
        }
        if let Some(account) = server.try_get("", "v1", "serviceaccounts", namespace, name).await? {
            return Ok(Some(account));
        }
    }
    Ok(None)
}

/// What a mirror Pod may not have, since no secret reaches a static Pod through the API.
fn mirror(pod: &Value) -> Result<(), &'static str> {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if !text("/spec/serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    let printed = serde_json::to_string(pod.get("spec").unwrap_or(&Value::Null)).unwrap_or_default();
    let secrets = volumes.iter().any(|volume| volume.get("secret").is_some())
        || printed.contains(r#""secretKeyRef""#)
        || printed.contains(r#""secretRef""#)
        || printed.contains(r#""imagePullSecrets":[{"#);
    if secrets {
        return Err("a mirror pod may not reference secrets");
    }
    let tokens = volumes.iter().any(|volume| {
        volume
            .pointer("/projected/sources")
            .and_then(Value::as_array)
            .is_some_and(|sources| sources.iter().any(|source| source.get("serviceAccountToken").is_some()))
    });
    if tokens {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Whether the Pod gets a token: its own word, then the account's, then yes.
fn mounts(pod: &Value, account: &Value) -> bool {
    pod.pointer("/spec/automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"))
        .and_then(Value::as_bool)
        .unwrap_or(true)
}

fn mount(pod: &mut Value, fresh: &str) {
    let spec = object_at(object_of(pod), "spec");
    let present = spec.get("volumes").and_then(Value::as_array).and_then(|volumes| {
        volumes
            .iter()
            .filter_map(|volume| volume.get("name").and_then(Value::as_str))
            .find(|name| name.starts_with(VOLUME))
            .map(str::to_owned)
    });
    let name = present.clone().unwrap_or_else(|| fresh.to_owned());
    let mut needed = false;
    for field in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(field).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let mounts = object_of(container).entry("volumeMounts").or_insert_with(|| json!([]));
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if !mounts.iter().any(|mount| mount.get("mountPath").and_then(Value::as_str) == Some(MOUNT_PATH))
            {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                needed = true;
            }
        }
    }
    if present.is_none() && needed {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if volumes.is_null() {
            *volumes = json!([]);
        }
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(token_volume(&name));
        }
    }
}

/// The volume with the token, the cluster's CA and the namespace's name.
fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_mounted_once_where_nothing_else_is() {
        let mut pod = json!({"spec": {"containers": [
            {"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]},
        ]}});
        mount(&mut pod, "kube-api-access-x");
        mount(&mut pod, "kube-api-access-y");
        assert_eq!(pod.pointer("/spec/volumes").and_then(Value::as_array).map(Vec::len), Some(1));
        assert_eq!(pod.pointer("/spec/containers/0/volumeMounts/0/name"), Some(&json!("kube-api-access-x")));
        assert_eq!(pod.pointer("/spec/containers/1/volumeMounts/0/name"), Some(&json!("own")));
    }

    #[test]
    fn the_pods_word_on_tokens_goes_before_the_accounts() {
        let pod = |word: Value| json!({"spec": {"automountServiceAccountToken": word}});
        let account = json!({"automountServiceAccountToken": false});
        assert!(mounts(&pod(json!(true)), &account));
        assert!(!mounts(&json!({}), &account));
        assert!(mounts(&json!({}), &json!({})));
    }
}

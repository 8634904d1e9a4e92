//! `PodNodeSelector`: the Pods of a namespace run on the nodes that the namespace, or the cluster, has for it.

use std::{collections::BTreeMap, sync::Weak};

use api_types::{
    object::{ObjectExt as _, object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};
use crate::{resources::shared::names, server::Server};

/// What a namespace says of its nodes.
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// What the configuration says of the nodes of namespaces that say nothing.
const DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

/// The nodes of namespaces that say nothing, and those beyond which namespaces do not go, by namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Configuration {
    pod_node_selector_plugin_config: BTreeMap<String, String>,
}

/// The plugin.
#[derive(Debug)]
pub(super) struct PodNodeSelector(pub(super) Weak<Server>, pub(super) Configuration);

impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if let Some(annotation) = self.annotation(attributes).await? {
                let merged = self.1.select(&attributes.namespace, annotation.as_deref(), &attributes.object);
                let merged = merged.map_err(|why| told(attributes, why))?;
                if !merged.is_empty() {
                    object_at(object_of(&mut attributes.object), "spec")
                        .insert("nodeSelector".to_owned(), json!(merged));
                }
            }
            Ok(())
        })
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if let Some(annotation) = self.annotation(attributes).await? {
                let merged = self.1.select(&attributes.namespace, annotation.as_deref(), &attributes.object);
                merged.map_err(|why| told(attributes, why))?;
            }
            Ok(())
        })
    }
}

/// Why a Pod may not be.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Forbidden(&'static str),
    /// What the namespace or the configuration says makes no sense.
    Senseless(String),
}

fn told(attributes: &Attributes, refusal: Refusal) -> Status {
    match refusal {
        Refusal::Forbidden(why) => Status::forbidden(&attributes.resource, attributes.object.name(), why),
        Refusal::Senseless(why) => Status::failure(500, "", why),
    }
}

impl PodNodeSelector {
    /// What the namespace of a new Pod says of its nodes, if this is a new Pod.
    async fn annotation(&self, attributes: &Attributes) -> Result<Option<Option<String>>, Status> {
        if attributes.operation != Operation::Create || !attributes.is("", "pods", "") {
            return Ok(None);
        }
        let Some(server) = self.0.upgrade() else { return Ok(None) };
        let name = &attributes.namespace;
        let namespace = server.try_get("", "v1", "namespaces", "", name).await?;
        let namespace =
            namespace.ok_or_else(|| Status::internal(format!("namespace {name} does not exist")))?;
        Ok(Some(namespace.annotation(ANNOTATION).map(str::to_owned)))
    }
}

impl Configuration {
    /// Reads a configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(value: Value) -> Result<Self, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// The labels of the nodes a Pod runs on: those of its namespace and its own.
    fn select(&self, namespace: &str, annotation: Option<&str>, pod: &Value) -> Result<Labels, Refusal> {
        let said = |name: &str| self.pod_node_selector_plugin_config.get(name).map_or("", String::as_str);
        let mut selector = labels(annotation.unwrap_or_else(|| said(DEFAULT)))?;
        let own = pod.pointer("/spec/nodeSelector").and_then(Value::as_object);
        for (key, value) in own.into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            if selector.get(key).is_some_and(|there| there != value) {
                return Err(Refusal::Forbidden(
                    "pod node label selector conflicts with its namespace node label selector",
                ));
            }
            selector.insert(key.clone(), value.to_owned());
        }
        let allowed = labels(said(namespace))?;
        if !allowed.is_empty() && !selector.iter().all(|(key, value)| allowed.get(key) == Some(value)) {
            return Err(Refusal::Forbidden(
                "pod node label selector labels conflict with its namespace whitelist",
            ));
        }
        Ok(selector)
    }
}

/// Reads `key=value,key=value`.
fn labels(text: &str) -> Result<Labels, Refusal> {
    let mut labels = Labels::new();
    for pair in text.split(',').filter(|_| !text.is_empty()) {
        let parts: Vec<&str> = pair.split('=').collect();
        let [key, value] = parts.as_slice() else {
            return Err(Refusal::Senseless(format!("invalid selector: [{}]", parts.join(" "))));
        };
        let (key, value) = (key.trim(), value.trim());
        let faults = [names::qualified_name(key), names::label_value(value)].concat();
        if !faults.is_empty() {
            return Err(Refusal::Senseless(format!("invalid selector: {pair}: {}", faults.join("; "))));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_namespace_and_pod_are_put_together_where_they_do_not_conflict() {
        let configuration = Configuration::read(json!({"podNodeSelectorPluginConfig": {
            "clusterDefaultNodeSelector": "pool=any", "narrow": "pool=any, zone=a"}}))
        .unwrap();
        let of = |namespace: &str, annotation: Option<&str>, own: Value| {
            let pod = json!({"spec": {"nodeSelector": own}});
            match configuration.select(namespace, annotation, &pod) {
                Ok(labels) => {
                    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
                }
                Err(Refusal::Forbidden(why)) => why.to_owned(),
                Err(Refusal::Senseless(why)) => format!("500 {why}"),
            }
        };
        for (namespace, annotation, own, expected) in [
            ("a", None, Value::Null, "pool=any"),
            ("a", Some("pool=own,fast=yes"), json!({"zone": "b"}), "fast=yes,pool=own,zone=b"),
            ("a", Some(""), json!({}), ""),
            (
                "a",
                None,
                json!({"pool": "other"}),
                "pod node label selector conflicts with its namespace node label selector",
            ),
            ("narrow", None, json!({"zone": "a"}), "pool=any,zone=a"),
            (
                "narrow",
                None,
                json!({"zone": "b"}),
                "pod node label selector labels conflict with its namespace whitelist",
            ),
            ("a", Some("pool"), json!({}), "500 invalid selector: [pool]"),
        ] {
            assert_eq!(of(namespace, annotation, own), expected);
        }
        assert!(Configuration::read(json!({"other": 1})).is_err());
    }
}

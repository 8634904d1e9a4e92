//! `PodTolerationRestriction`: the Pods of a namespace put up with the taints that the namespace, or the cluster, says, and
//! with none beyond those it allows.

use std::sync::Weak;

use api_types::{
    field::Path,
    object::{ObjectExt as _, object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{PodSpec, Toleration};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};
use crate::{
    resources::shared::{
        optional::Text as _,
        pod_spec::{rules::Rules, scheduling},
        quantities::qos_class,
    },
    server::Server,
};

/// What the Pods of a namespace put up with.
const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
/// What they may put up with.
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// The same for namespaces that say nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Configuration {
    kind: String,
    api_version: String,
    default: Vec<Toleration>,
    whitelist: Vec<Toleration>,
}

/// The plugin.
#[derive(Debug)]
pub(super) struct PodTolerationRestriction(pub(super) Weak<Server>, pub(super) Configuration);

impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.complete(attributes))
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            match self.namespace(attributes).await? {
                Some(namespace) => self.check(&namespace, &own(&attributes.object)?),
                None => Ok(()),
            }
        })
    }
}

fn senseless(why: impl std::fmt::Display) -> Status {
    Status::failure(500, "", why.to_string())
}

fn own(pod: &Value) -> Result<Vec<Toleration>, Status> {
    let tolerations = pod.pointer("/spec/tolerations").filter(|it| !it.is_null());
    tolerations.map_or(Ok(Vec::new()), Vec::deserialize).map_err(Status::internal)
}

/// What a namespace says, if anything; an empty text says that there is none.
fn said(namespace: &Value, annotation: &str) -> Result<Option<Vec<Toleration>>, Status> {
    match namespace.annotation(annotation) {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => serde_json::from_str::<Option<Vec<Toleration>>>(text).map_err(senseless),
    }
}

impl PodTolerationRestriction {
    /// The namespace of a Pod that is made or changed.
    async fn namespace(&self, attributes: &Attributes) -> Result<Option<std::sync::Arc<Value>>, Status> {
        if !matches!(attributes.operation, Operation::Create | Operation::Update)
            || !attributes.is("", "pods", "")
        {
            return Ok(None);
        }
        let Some(server) = self.0.upgrade() else { return Ok(None) };
        let found = server.try_get("", "v1", "namespaces", "", &attributes.namespace).await?;
        let resource = api_types::kind::GroupResource::new("", "namespaces");
        found.map(Some).ok_or_else(|| Status::not_found(&resource, &attributes.namespace))
    }

    async fn complete(&self, attributes: &mut Attributes) -> Result<(), Status> {
        let Some(namespace) = self.namespace(attributes).await? else { return Ok(()) };
        let mut more = Vec::new();
        if attributes.operation == Operation::Create {
            more = said(&namespace, DEFAULTS)?.unwrap_or_else(|| self.1.default.clone());
        }
        if quality(&attributes.object)? != "BestEffort" {
            more.push(Toleration {
                key: Some("node.kubernetes.io/memory-pressure".to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoSchedule".to_owned()),
                ..Toleration::default()
            });
        }
        let mut tolerations = own(&attributes.object)?;
        if !more.is_empty() {
            tolerations.extend(more);
            tolerations = merged(&tolerations);
            object_at(object_of(&mut attributes.object), "spec")
                .insert("tolerations".to_owned(), json!(tolerations));
        }
        self.check(&namespace, &tolerations)
    }

    fn check(&self, namespace: &Value, tolerations: &[Toleration]) -> Result<(), Status> {
        if tolerations.is_empty() {
            return Ok(());
        }
        let (allowed, whose) = match said(namespace, ALLOWED)? {
            Some(allowed) => (allowed, "namespace"),
            None => (self.1.whitelist.clone(), "cluster"),
        };
        let is_allowed = |it: &Toleration| allowed.iter().any(|allowed| includes(allowed, it));
        if allowed.is_empty() || tolerations.iter().all(is_allowed) {
            return Ok(());
        }
        Err(senseless(format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
        )))
    }
}

fn quality(pod: &Value) -> Result<String, Status> {
    if let Some(told) = pod.pointer("/status/qosClass").and_then(Value::as_str).filter(|it| !it.is_empty()) {
        return Ok(told.to_owned());
    }
    let spec = pod.get("spec").filter(|it| !it.is_null());
    let spec = spec.map_or(Ok(PodSpec::default()), PodSpec::deserialize).map_err(Status::internal)?;
    Ok(qos_class(&spec).to_owned())
}

/// Those that no other includes; of equal ones the first.
fn merged(all: &[Toleration]) -> Vec<Toleration> {
    let mut merged: Vec<Toleration> = Vec::new();
    for (index, it) in all.iter().enumerate() {
        let later = all.get(index + 1..).unwrap_or_default();
        if !merged.iter().any(|other| includes(other, it))
            && !later.iter().any(|other| other != it && includes(other, it))
        {
            merged.push(it.clone());
        }
    }
    merged
}

/// Whether whoever puts up with the first does so with the second.
fn includes(wide: &Toleration, narrow: &Toleration) -> bool {
    if wide == narrow {
        return true;
    }
    let operator = wide.operator.text();
    if wide.key.text() != narrow.key.text() && !(wide.key.text().is_empty() && operator == "Exists") {
        return false;
    }
    if wide.effect.text() != narrow.effect.text() && !wide.effect.text().is_empty() {
        return false;
    }
    if wide.effect.text() == "NoExecute"
        && let Some(seconds) = wide.toleration_seconds
        && narrow.toleration_seconds.is_none_or(|its| its > seconds)
    {
        return false;
    }
    match operator {
        "Equal" | "" => narrow.operator.text() == "Equal" && narrow.value.text() == wide.value.text(),
        "Exists" => true,
        _ => false,
    }
}

impl Configuration {
    /// Reads a configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(value: Value) -> Result<Self, String> {
        let read: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let (version, kind) = (read.api_version.as_str(), read.kind.as_str());
        if (version, kind) != ("podtolerationrestriction.admission.k8s.io/v1alpha1", "Configuration") {
            return Err(format!("no kind {kind:?} is registered for version {version:?}"));
        }
        let path = Path::new("podtolerationrestriction");
        let mut faults = scheduling::tolerations(&read.default, &Rules::default(), &path.child("default"));
        faults.extend(scheduling::tolerations(&read.whitelist, &Rules::default(), &path.child("whitelist")));
        if faults.is_empty() {
            Ok(read)
        } else {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(format!("invalid config: {}", faults.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: Value) -> Toleration {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_toleration_includes_narrower_ones() {
        let narrow = json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": 5});
        for (wide, expected) in [
            (narrow.clone(), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "j", "operator": "Exists"}), false),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "operator": "Equal", "value": "w"}), false),
            (json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), false),
            (json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 4}), false),
            (json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 6}), true),
        ] {
            assert_eq!(includes(&of(wide.clone()), &of(narrow.clone())), expected, "{wide}");
        }
    }

    #[test]
    fn of_tolerations_that_include_others_only_those_are_kept() {
        let (a, b) = (
            json!({"key": "a", "operator": "Exists", "effect": "NoSchedule"}),
            json!({"key": "b", "operator": "Exists"}),
        );
        let wide = json!({"key": "a", "operator": "Exists"});
        let all = [a.clone(), b.clone(), b.clone(), wide.clone()].map(of);
        assert_eq!(merged(&all), [b, wide].map(of));
        assert_eq!(merged(&[of(a.clone()), of(a.clone())]), [of(a)]);
    }

    #[test]
    fn a_namespace_says_before_the_cluster_does() {
        let configuration =
            Configuration::read(json!({"apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1",
            "kind": "Configuration", "whitelist": [{"key": "cluster", "operator": "Exists"}]}));
        let plugin = PodTolerationRestriction(Weak::new(), configuration.unwrap());
        let check = |annotation: Option<&str>, key: &str| {
            let annotations = annotation.map_or(json!({}), |text| json!({ALLOWED: text}));
            let tolerations = [of(json!({"key": key, "operator": "Exists"}))];
            plugin
                .check(&json!({"metadata": {"annotations": annotations}}), &tolerations)
                .map_err(|it| it.message)
        };
        let conflict = |whose: &str| {
            Err(format!(
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
            ))
        };
        assert_eq!(check(None, "cluster"), Ok(()));
        assert_eq!(check(None, "other"), conflict("cluster"));
        assert_eq!(check(Some(""), "other"), Ok(()));
        assert_eq!(check(Some(r#"[{"key": "own", "operator": "Exists"}]"#), "own"), Ok(()));
        assert_eq!(
            check(Some(r#"[{"key": "own", "operator": "Exists"}]"#), "cluster"),
            conflict("namespace")
        );
        assert!(check(Some("{"), "own").is_err());
    }

    #[test]
    fn a_configuration_is_of_its_kind_and_its_tolerations_make_sense() {
        let read = |kind: &str, operator: &str| {
            Configuration::read(
                json!({"apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": kind,
                "default": [{"key": "a", "operator": operator}]}),
            )
        };
        assert!(read("Configuration", "Exists").is_ok());
        assert!(read("Other", "Exists").is_err());
        assert!(
            read("Configuration", "Nonsense")
                .unwrap_err()
                .starts_with("invalid config: podtolerationrestriction.default[0]")
        );
    }
}

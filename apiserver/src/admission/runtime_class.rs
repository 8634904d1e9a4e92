//! `RuntimeClass`: a Pod that names a runtime class pays its overhead and goes where its nodes are.

use std::{
    collections::BTreeMap,
    str::FromStr as _,
    sync::{Arc, Weak},
};

use api_types::{
    field::go_quote,
    object::{object_at, object_of},
    quantity::Quantity,
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};
use crate::server::Server;

const OVERHEAD_DIFFERS: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const OVERHEAD_OF_NO_CLASS: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

/// The plugin.
#[derive(Debug)]
pub(super) struct RuntimeClass(pub(super) Weak<Server>);

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl RuntimeClass {
    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !attributes.is("", "pods", "") {
            return Ok(());
        }
        let Some(class) = self.class(attributes).await? else { return Ok(()) };
        let mut spec = attributes.object.get("spec").cloned().unwrap_or_default();
        lay_on(&class, &mut spec).map_err(|why| attributes.forbidden(why))?;
        object_of(&mut attributes.object).insert("spec".to_owned(), spec);
        Ok(())
    }

    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Create || !attributes.is("", "pods", "") {
            return Ok(());
        }
        let class = self.class(attributes).await?;
        let overhead = attributes.object.pointer("/spec/overhead");
        match class.as_ref().and_then(|class| class.get("overhead")) {
            Some(of_class) if amounts(of_class.get("podFixed")) != amounts(overhead) => {
                Err(attributes.forbidden(OVERHEAD_DIFFERS))
            }
            None if overhead.is_some_and(|overhead| !overhead.is_null()) => {
                Err(attributes.forbidden(OVERHEAD_OF_NO_CLASS))
            }
            _ => Ok(()),
        }
    }

    /// The class the Pod names, if it names one.
    async fn class(&self, attributes: &Attributes) -> Result<Option<Arc<Value>>, Status> {
        let name = attributes.object.pointer("/spec/runtimeClassName").and_then(Value::as_str);
        let (Some(name), Some(server)) = (name, self.0.upgrade()) else { return Ok(None) };
        match server.try_get("node.k8s.io", "v1", "runtimeclasses", "", name).await? {
            Some(class) => Ok(Some(class)),
            None => {
                Err(attributes.forbidden(format!("pod rejected: RuntimeClass {} not found", go_quote(name))))
            }
        }
    }
}

/// Puts the class's overhead and scheduling into a Pod's spec.
fn lay_on(class: &Value, spec: &mut Value) -> Result<(), String> {
    if let Some(overhead) = class.get("overhead").filter(|it| !it.is_null()) {
        let fixed = overhead.get("podFixed");
        let given = amounts(spec.get("overhead"));
        if !given.is_empty() && given != amounts(fixed) {
            return Err(OVERHEAD_DIFFERS.to_owned());
        }
        match fixed {
            Some(fixed) => object_of(spec).insert("overhead".to_owned(), fixed.clone()),
            None => object_of(spec).remove("overhead"),
        };
    }
    let Some(scheduling) = class.get("scheduling").filter(|it| !it.is_null()) else { return Ok(()) };
    if let Some(selector) = scheduling.get("nodeSelector").and_then(Value::as_object) {
        let of_pod = object_at(object_of(spec), "nodeSelector");
        for (key, value) in selector {
            if let Some(other) = of_pod.get(key).filter(|other| *other != value) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(other)
                ));
            }
            of_pod.insert(key.clone(), value.clone());
        }
    }
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut tolerations = list(spec.get("tolerations"));
    tolerations.extend(list(scheduling.get("tolerations")));
    if !tolerations.is_empty() {
        object_of(spec).insert("tolerations".to_owned(), json!(widest(&tolerations)));
    }
    Ok(())
}

fn amounts(list: Option<&Value>) -> BTreeMap<&str, Quantity> {
    let entries = list.and_then(Value::as_object).into_iter().flatten();
    entries
        .map(|(name, amount)| {
            (name.as_str(), Quantity::from_str(amount.as_str().unwrap_or_default()).unwrap_or_default())
        })
        .collect()
}

/// The tolerations without those that others include; of equal ones the first stays.
fn widest(all: &[Value]) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let mut later = all.iter().skip(index + 1);
        if kept.iter().any(|it| includes(it, toleration))
            || later.any(|it| it != toleration && includes(it, toleration))
        {
            continue;
        }
        kept.push(toleration.clone());
    }
    kept
}

/// Whether `wide` tolerates all that `narrow` does.
fn includes(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let text = |of: &Value, field: &str| of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let seconds = |of: &Value| of.get("tolerationSeconds").and_then(Value::as_i64);
    let operator = text(wide, "operator");
    // No key at all, with Exists, is every key.
    if text(narrow, "key") != text(wide, "key") && (!text(wide, "key").is_empty() || operator != "Exists") {
        return false;
    }
    if text(narrow, "effect") != text(wide, "effect") && !text(wide, "effect").is_empty() {
        return false;
    }
    if text(wide, "effect") == "NoExecute"
        && let Some(most) = seconds(wide)
        && seconds(narrow).is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match operator.as_str() {
        "Equal" | "" => text(narrow, "operator") == "Equal" && text(narrow, "value") == text(wide, "value"),
        operator => operator == "Exists",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class() -> Value {
        json!({"overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "r", "operator": "Exists"}]}})
    }

    #[test]
    fn a_pod_takes_over_what_its_class_says() {
        let mut spec = json!({"nodeSelector": {"c": "d"}, "tolerations": [{"key": "r", "operator": "Equal", "value": "v"}]});
        assert_eq!(lay_on(&class(), &mut spec), Ok(()));
        assert_eq!(
            spec,
            json!({"overhead": {"cpu": "250m"}, "nodeSelector": {"a": "b", "c": "d"},
                "tolerations": [{"key": "r", "operator": "Exists"}]})
        );
        let mut bare = json!({});
        assert_eq!(lay_on(&json!({}), &mut bare), Ok(()));
        assert_eq!(bare, json!({}));
    }

    #[test]
    fn a_pod_that_says_otherwise_is_refused() {
        assert_eq!(lay_on(&class(), &mut json!({"overhead": {"cpu": "0.25"}})), Ok(()));
        assert_eq!(
            lay_on(&class(), &mut json!({"overhead": {"cpu": "1"}})),
            Err(OVERHEAD_DIFFERS.to_owned())
        );
        assert_eq!(
            lay_on(&class(), &mut json!({"nodeSelector": {"a": "c"}})),
            Err("conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c"
                .to_owned())
        );
    }

    #[test]
    fn the_widest_tolerations_stay() {
        let exists = json!({"key": "k", "operator": "Exists"});
        let short = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9});
        let other = json!({"key": "o", "operator": "Equal", "value": "v", "effect": "NoSchedule"});
        assert_eq!(widest(&[short, long.clone()]), std::slice::from_ref(&long));
        let expected = [other.clone(), exists.clone()];
        assert_eq!(widest(&[long, other.clone(), exists.clone()]), expected);
        assert_eq!(widest(&[exists.clone(), exists.clone()]), [exists]);
        assert_eq!(widest(&[other, json!({"operator": "Exists"})]), [json!({"operator": "Exists"})]);
    }
}

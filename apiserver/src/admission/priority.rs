//! `Priority`: a Pod's priority class becomes a number, and there is one default class at the most.

use std::sync::{Arc, Weak};

use api_types::{
    object::{ObjectExt, object_at, object_of},
    status::Status,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};
use crate::{resources::scheduling::priorityclasses::is_system_class, server::Server};

const GROUP: &str = "scheduling.k8s.io";

/// The plugin.
#[derive(Debug)]
pub(super) struct Priority(pub(super) Weak<Server>);

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.change(attributes))
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl Priority {
    async fn change(&self, attributes: &mut Attributes) -> Result<(), Status> {
        if !attributes.is("", "pods", "") {
            return Ok(());
        }
        match attributes.operation {
            Operation::Create => {}
            Operation::Update => {
                for field in ["priority", "preemptionPolicy"] {
                    let old = attributes.old.get("spec").and_then(|spec| spec.get(field)).cloned();
                    let spec = object_at(object_of(&mut attributes.object), "spec");
                    if let (None, Some(old)) = (spec.get(field), old) {
                        spec.insert(field.to_owned(), old);
                    }
                }
                return Ok(());
            }
            Operation::Delete | Operation::Connect => return Ok(()),
        }
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let asked = attributes.object.pointer("/spec/priorityClassName");
        let asked = asked.and_then(Value::as_str).unwrap_or_default();
        let class = if asked.is_empty() {
            default_class(&server.list(GROUP, "v1", "priorityclasses", "").await?)
        } else {
            let Some(class) = server.try_get(GROUP, "v1", "priorityclasses", "", asked).await? else {
                return Err(attributes.forbidden(format!("no PriorityClass with name {asked} was found")));
            };
            Some(class)
        };
        let given = |field: &str| attributes.object.get("spec").and_then(|spec| spec.get(field));
        let field = |name: &str| class.as_ref().and_then(|class| class.get(name)).cloned();
        let value = field("value").and_then(|value| value.as_i64()).unwrap_or_default();
        let policy = field("preemptionPolicy")
            .and_then(|it| it.as_str().map(str::to_owned))
            .unwrap_or_else(|| "PreemptLowerPriority".to_owned());
        if let Some(given) = given("priority").and_then(Value::as_i64).filter(|&given| given != value) {
            return Err(attributes.forbidden(format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            )));
        }
        if let Some(given) =
            given("preemptionPolicy").and_then(Value::as_str).filter(|&given| given != policy)
        {
            return Err(attributes.forbidden(format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            )));
        }
        let spec = object_at(object_of(&mut attributes.object), "spec");
        if let Some(class) = &class {
            spec.insert("priorityClassName".to_owned(), json!(class.name()));
        }
        spec.insert("priority".to_owned(), json!(value));
        spec.insert("preemptionPolicy".to_owned(), json!(policy));
        Ok(())
    }

    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        // Upstream has this in the storage of the kind, which comes to the same.
        if attributes.operation == Operation::Delete
            && attributes.is(GROUP, "priorityclasses", "")
            && is_system_class(&attributes.name)
        {
            return Err(attributes.forbidden("this is a system priority class and cannot be deleted"));
        }
        if !attributes.is(GROUP, "priorityclasses", "")
            || !matches!(attributes.operation, Operation::Create | Operation::Update)
            || attributes.object.get("globalDefault").and_then(Value::as_bool) != Some(true)
        {
            return Ok(());
        }
        let Some(server) = self.0.upgrade() else { return Ok(()) };
        let classes = server.list(GROUP, "v1", "priorityclasses", "").await?;
        match default_class(&classes) {
            Some(class)
                if attributes.operation == Operation::Create || class.name() != attributes.object.name() =>
            {
                Err(attributes.forbidden(format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    class.name()
                )))
            }
            _ => Ok(()),
        }
    }
}

/// The class of Pods that name none; of several the lowest.
fn default_class(classes: &[Arc<Value>]) -> Option<Arc<Value>> {
    classes
        .iter()
        .filter(|class| class.get("globalDefault").and_then(Value::as_bool) == Some(true))
        .min_by_key(|class| class.get("value").and_then(Value::as_i64))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_default_classes_the_lowest_counts() {
        let class = |name: &str, value: i64, default: bool| {
            Arc::new(json!({"metadata": {"name": name}, "value": value, "globalDefault": default}))
        };
        let classes = [class("a", 1, false), class("b", 9, true), class("c", 5, true)];
        assert_eq!(default_class(&classes).map(|class| class.name().to_owned()), Some("c".to_owned()));
    }
}

//! `pods/eviction`: a delete that respects disruption budgets.

use std::{collections::BTreeMap, sync::Arc};

use api_types::{
    kind::GroupResource,
    object::{ObjectExt, object_at, object_of},
    schema::schema,
    selectors::labels,
    status::{Cause, Details, Status},
};
use serde_json::{Value, json};

use super::super::{
    Asked,
    decode::{self, Decoded, Expected},
    method_not_allowed,
    options::Write,
};
use crate::{
    http::respond::Answer,
    registry::{Call, delete, strategy::Part, time, update::Plan},
    server::Server,
};

/// How many evictions may wait for the budget's controller to notice.
const UNCONFIRMED_MAX: usize = 2000;

/// What the budget says.
enum Verdict {
    /// Go ahead.
    Free,
    /// Go ahead if the Pod is still as it was looked at.
    Unchanged,
    /// Go ahead once the budget has been written as it is now.
    Charge(Value),
}

pub(super) async fn run(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    if asked.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let options = Write::read(&asked.query, "CreateOptions", false)?;
    let format = asked.body_format()?;
    let body = asked.body().await?;
    let expected = Expected {
        kind: api_types::kind::GroupVersionKind::new("policy", "v1", "Eviction"),
        schema: schema().type_of("policy", "v1", "Eviction"),
    };
    let Decoded { object, .. } =
        decode::decode(&server.registry.catalogue, &body, format, &expected, options.field_validation)?;
    let mut call = asked.call(server, &options);
    if object.name() != call.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let raw = object.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    let mut how = delete::options(&raw)?;
    call.dry_run |= raw.get("dryRun").and_then(Value::as_array).is_some_and(|values| !values.is_empty());
    let pod = server.registry.current(&call).await?.object;
    if !ignores_budgets(&pod) {
        match verdict(server, &call, &pod).await? {
            Verdict::Free => {}
            Verdict::Unchanged if how.resource_version.is_some() => {}
            Verdict::Unchanged => how.resource_version = Some(pod.resource_version().to_owned()),
            Verdict::Charge(budget) => charge(server, &call, budget).await?,
        }
    }
    evict(server, &call, &how).await?;
    Ok(super::success(&asked, 201))
}

/// Pods that are done, not started or going anyway cost nobody anything.
fn ignores_budgets(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || pod.is_terminating()
}

async fn verdict(server: &Server, call: &Call, pod: &Value) -> Result<Verdict, Status> {
    let mut budgets = Vec::new();
    for budget in server.list("policy", "v1", "poddisruptionbudgets", &call.namespace).await? {
        if covers(&budget, pod) {
            budgets.push(budget);
        }
    }
    let mut budgets = budgets.into_iter();
    let Some(budget) = budgets.next() else { return Ok(Verdict::Free) };
    if budgets.next().is_some() {
        return Err(Status::failure(
            500,
            "",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    let number = |path: &str| budget.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    if !is_ready(pod) {
        let policy = budget.pointer("/spec/unhealthyPodEvictionPolicy").and_then(Value::as_str);
        let healthy = number("/status/currentHealthy") >= number("/status/desiredHealthy")
            && number("/status/desiredHealthy") > 0;
        if policy == Some("AlwaysAllow") || healthy {
            return Ok(Verdict::Unchanged);
        }
    }
    spend(&budget, pod.name(), &time(call.now)).map(Verdict::Charge)
}

fn covers(budget: &Value, pod: &Value) -> bool {
    let selector = budget.pointer("/spec/selector").cloned().and_then(|it| serde_json::from_value(it).ok());
    let labels: BTreeMap<String, String> = pod
        .meta()
        .and_then(|meta| meta.get("labels"))
        .cloned()
        .and_then(|it| serde_json::from_value(it).ok())
        .unwrap_or_default();
    labels::Selector::of_object(selector.as_ref()).is_ok_and(|selector| selector.matches(&labels))
}

fn is_ready(pod: &Value) -> bool {
    pod.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|conditions| {
        conditions.iter().any(|it| {
            it.get("type").and_then(Value::as_str) == Some("Ready")
                && it.get("status").and_then(Value::as_str) == Some("True")
        })
    })
}

/// The budget with one disruption less, or why there is none left.
fn spend(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let number = |path: &str| budget.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let resource = GroupResource::new("policy", "poddisruptionbudget");
    let name = budget.name();
    let refuse = |message: String, retry_after_seconds: u32| {
        Status::failure(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        )
        .with_details(Details {
            causes: vec![Cause { reason: "DisruptionBudget".to_owned(), message, field: String::new() }],
            retry_after_seconds,
            ..Details::default()
        })
    };
    if number("/status/observedGeneration") < budget.generation() {
        return Err(refuse(
            format!("The disruption budget {name} is still being processed by the server."),
            10,
        ));
    }
    let allowed = number("/status/disruptionsAllowed");
    if allowed < 0 {
        return Err(Status::forbidden(&resource, name, "pdb disruptions allowed is negative"));
    }
    let unconfirmed =
        budget.pointer("/status/disruptedPods").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    if unconfirmed > UNCONFIRMED_MAX {
        return Err(Status::forbidden(
            &resource,
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let condition = budget.pointer("/status/conditions").and_then(Value::as_array).and_then(|all| {
            all.iter().find(|it| it.get("type").and_then(Value::as_str) == Some("DisruptionAllowed"))
        });
        let text =
            |field: &str| condition.and_then(|it| it.get(field)).and_then(Value::as_str).unwrap_or_default();
        let refused = text("status") == "False" && !text("message").is_empty();
        let (desired, current) = (number("/status/desiredHealthy"), number("/status/currentHealthy"));
        let message = if refused && text("reason") == "SyncFailed" {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                text("message")
            )
        } else if current <= desired {
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
        } else if refused {
            format!(
                "The disruption budget {name} does not allow evicting pods currently ({}): {}",
                text("reason"),
                text("message")
            )
        } else {
            format!("The disruption budget {name} does not allow evicting pods currently")
        };
        return Err(refuse(message, 0));
    }
    let mut budget = budget.clone();
    let status = object_at(object_of(&mut budget), "status");
    status.insert("disruptionsAllowed".to_owned(), json!(allowed - 1));
    object_at(status, "disruptedPods").insert(pod.to_owned(), json!(now));
    if allowed == 1 {
        let generation = status.get("observedGeneration").cloned().unwrap_or_default();
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "lastTransitionTime": now, "observedGeneration": generation,
        });
        let conditions = status.entry("conditions").or_insert_with(|| json!([]));
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        if let Some(conditions) = conditions.as_array_mut() {
            conditions.retain(|it| it.get("type").and_then(Value::as_str) != Some("DisruptionAllowed"));
            conditions.push(condition);
        }
    }
    Ok(budget)
}

async fn charge(server: &Server, call: &Call, budget: Value) -> Result<(), Status> {
    if call.dry_run {
        return Ok(());
    }
    let Some(served) = server.registry.catalogue.find("policy", "v1", "poddisruptionbudgets") else {
        return Ok(());
    };
    let write =
        Call { served, name: budget.name().to_owned(), subresource: "status".to_owned(), ..call.clone() };
    let plan = Plan { part: Part::Status, create_missing: false, uid_precondition: false, owned: false };
    let now = time(call.now);
    server
        .registry
        .update(&write, plan, &|old| {
            let old = old.ok_or_else(|| write.not_found())?;
            // Spent from the newest state, whatever other evictions did meanwhile.
            let mut spent = spend(old, &call.name, &now)?;
            spent.set_meta("resourceVersion", Value::Null);
            Ok(spent)
        })
        .await
        .map(|_| ())
}

/// Says on the Pod why it goes, then deletes it.
async fn evict(server: &Server, call: &Call, how: &delete::Options) -> Result<(), Status> {
    if !call.dry_run {
        let marked = Call { subresource: "status".to_owned(), ..call.clone() };
        let plan = Plan { part: Part::Status, create_missing: false, uid_precondition: false, owned: false };
        let checked = server.registry.current(call).await?;
        delete::check(call, how, &checked)?;
        let written = server
            .registry
            .update(&marked, plan, &|old| {
                let mut pod = old.cloned().ok_or_else(|| call.not_found())?;
                target(&mut pod, &time(call.now));
                Ok(pod)
            })
            .await?;
        let mut how = how.clone();
        if how.resource_version.is_some() {
            how.resource_version = Some(written.object.resource_version().to_owned());
        }
        return server.registry.delete(call, &how).await.map(|_| ());
    }
    server.registry.delete(call, how).await.map(|_| ())
}

/// The condition of a Pod that is evicted.
fn target(pod: &mut Value, now: &str) {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": now, "lastProbeTime": null,
    });
    let status = object_at(object_of(pod), "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|it| it.get("type").and_then(Value::as_str) != Some("DisruptionTarget"));
        conditions.push(condition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_or_says_why_not() {
        let budget = |status: Value| json!({"metadata": {"name": "p", "generation": 1}, "status": status});
        let check = |status: Value| match spend(&budget(status), "a", "now") {
            Ok(budget) => budget["status"].to_string(),
            Err(status) => status
                .details
                .unwrap_or_default()
                .causes
                .first()
                .map(|it| it.message.clone())
                .unwrap_or_default(),
        };
        assert_eq!(check(json!({})), "The disruption budget p is still being processed by the server.");
        assert_eq!(
            check(json!({"observedGeneration": 1, "desiredHealthy": 2, "currentHealthy": 1})),
            "The disruption budget p needs 2 healthy pods and has 1 currently"
        );
        assert_eq!(
            check(json!({"observedGeneration": 1, "disruptionsAllowed": 2})),
            r#"{"disruptedPods":{"a":"now"},"disruptionsAllowed":1,"observedGeneration":1}"#
        );
    }
}

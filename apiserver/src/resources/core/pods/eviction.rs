//! Evictions: deletes of pods that ask the disruption budgets first.

use api_types::{
    field::{Fault, Path},
    kind::{GroupResource, GroupVersionKind},
    status::{Cause, Status},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{Pod, PodCondition},
        policy::v1::{Eviction, PodDisruptionBudget},
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};

use super::status;
use crate::resources::shared::{
    optional::{Entries, Items, Switch, Text},
    pod_template::Selection,
};

/// How many pods a budget remembers as evicted and not yet gone.
const DISRUPTED_PODS_MAX: usize = 2000;
/// What a dry run is asked for with.
const DRY_RUN: &str = "All";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Whether this eviction of the pod of that name is a dry run; `dry_run` says what the request's query asks for.
///
/// # Errors
/// When the eviction is about another pod, or contradicts the query.
pub(crate) fn check_eviction(eviction: &Eviction, name: &str, dry_run: bool) -> Result<bool, Status> {
    if eviction.metadata.name.text() != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let Some(options) = &eviction.delete_options else { return Ok(dry_run) };
    if options.ignore_store_read_error_with_cluster_breaking_potential.is_on() {
        let fault = Fault::invalid(
            &Path::new("deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential"),
            true,
            "can not be set for pod eviction, try after removing the option",
        );
        let kind = GroupVersionKind::new("policy", "v1", "Eviction");
        return Err(Status::invalid(&kind, name, &[fault]));
    }
    let own = options.dry_run.items();
    if dry_run && !own.is_empty() && own != [DRY_RUN] {
        let message = format!(
            "Non-matching dry-run options in request and content: [{DRY_RUN}] and [{}]",
            own.join(" ")
        );
        return Err(Status::failure(500, "", message));
    }
    Ok(dry_run || !own.is_empty())
}

/// Whether the pod is deleted without asking the budgets: it does nothing for anybody, or goes already.
pub(crate) fn ignores_budgets(pod: &Pod) -> bool {
    has_ended(pod) || pod.status.as_ref().is_some_and(|status| status.phase.text() == "Pending")
}

/// Whether a pod that [`ignores_budgets`] must not have changed when it is deleted.
pub(crate) fn must_not_change(pod: &Pod) -> bool {
    !has_ended(pod)
}

fn has_ended(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || pod.status.as_ref().is_some_and(|status| matches!(status.phase.text(), "Succeeded" | "Failed"))
}

/// The budget, of those of the pod's namespace, that guards the pod.
///
/// # Errors
/// When there are several.
pub(crate) fn budget_of<'a>(
    pod: &Pod,
    budgets: &'a [PodDisruptionBudget],
) -> Result<Option<&'a PodDisruptionBudget>, Status> {
    let mut guarding = budgets.iter().filter(|budget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.map(Selection::of).is_some_and(|selection| {
            matches!(selection, Selection::Of(_)) && selection.matches(&pod.metadata.labels)
        })
    });
    match (guarding.next(), guarding.next()) {
        (found, None) => Ok(found),
        (_, Some(_)) => Err(Status::failure(
            500,
            "",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
    }
}

/// Whether the budget lets this pod go without counting it: it is not ready, and either that is enough for the
/// budget, or the others are. The pod must then not have changed when it is deleted; if it did, the answer is
/// [`refused_for_now`].
pub(crate) fn goes_uncounted(pod: &Pod, budget: &PodDisruptionBudget) -> bool {
    let conditions = pod.status.as_ref().map(|status| status.conditions.items()).unwrap_or_default();
    if conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True") {
        return false;
    }
    let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    policy == Some("AlwaysAllow")
        || budget.status.as_ref().is_some_and(|status| {
            let desired = status.desired_healthy.unwrap_or_default();
            desired > 0 && status.current_healthy.unwrap_or_default() >= desired
        })
}

/// Takes one disruption from the budget, for this pod.
///
/// # Errors
/// When the budget has none, or is not up to date.
pub(crate) fn take_from_budget(
    budget: &mut PodDisruptionBudget,
    pod: &str,
    now: Timestamp,
) -> Result<(), Status> {
    let name = budget.metadata.name.text().to_owned();
    let generation = budget.metadata.generation.unwrap_or_default();
    let status = budget.status.get_or_insert_default();
    if status.observed_generation.unwrap_or_default() < generation {
        return Err(refused_for_now(&name));
    }
    let forbidden =
        |why: &str| Err(Status::forbidden(&GroupResource::new("policy", "poddisruptionbudget"), &name, why));
    let allowed = status.disruptions_allowed.unwrap_or_default();
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status.disrupted_pods.entries().count() > DISRUPTED_PODS_MAX {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let condition = status
            .conditions
            .items()
            .iter()
            .find(|it| it.type_ == "DisruptionAllowed")
            .filter(|it| it.status == "False" && !it.message.is_empty());
        let (healthy, desired) =
            (status.current_healthy.unwrap_or_default(), status.desired_healthy.unwrap_or_default());
        let plain = format!("The disruption budget {name} does not allow evicting pods currently");
        // Where the sync failed, the counts cannot be trusted.
        let why = match condition {
            Some(it) if it.reason == "SyncFailed" => {
                format!("{plain} because it failed sync: {}", it.message)
            }
            _ if healthy <= desired => {
                format!(
                    "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
                )
            }
            Some(it) => format!("{plain} ({}): {}", it.reason, it.message),
            None => plain,
        };
        return Err(refused(why, 0));
    }
    status.disruptions_allowed = Some(allowed - 1);
    if allowed == 1 {
        let generation = status.observed_generation;
        exhaust(status.conditions.get_or_insert_default(), generation, now);
    }
    status.disrupted_pods.get_or_insert_default().insert(pod.to_owned(), status::time(now));
    Ok(())
}

/// 429: the budget of this name is not up to date.
pub(crate) fn refused_for_now(budget: &str) -> Status {
    refused(format!("The disruption budget {budget} is still being processed by the server."), 10)
}

fn refused(why: String, retry_after_seconds: u32) -> Status {
    let mut status = Status::too_many_requests(REFUSED, retry_after_seconds);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "DisruptionBudget".to_owned(),
            message: why,
            field: String::new(),
        });
    }
    status
}

/// Says that the budget is used up.
fn exhaust(conditions: &mut Vec<Condition>, generation: Option<i64>, now: Timestamp) {
    let condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: "False".to_owned(),
        reason: "InsufficientPods".to_owned(),
        message: String::new(),
        observed_generation: generation,
        last_transition_time: status::time(now),
    };
    match conditions.iter_mut().find(|it| it.type_ == condition.type_) {
        None => conditions.push(condition),
        Some(old) => {
            let since = match old.status == condition.status {
                true => old.last_transition_time.clone(),
                false => condition.last_transition_time.clone(),
            };
            *old = Condition { last_transition_time: since, ..condition };
        }
    }
}

/// Says in the pod's status why it is deleted.
pub(crate) fn mark_evicted(pod: &mut Pod, now: Timestamp) {
    let condition = PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("EvictionByEvictionAPI".to_owned()),
        message: Some("Eviction API: evicting".to_owned()),
        ..PodCondition::default()
    };
    status::set_condition(pod.status.get_or_insert_default(), condition, now);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn budget(selector: Value, status: Value) -> PodDisruptionBudget {
        read(
            json!({"metadata": {"name": "b", "generation": 2}, "spec": {"selector": selector}, "status": status}),
        )
    }

    #[test]
    fn pods_that_serve_nobody_go_without_asking() {
        for (pod, ignores, must_stay) in [
            (json!({"status": {"phase": "Running"}}), false, true),
            (json!({"status": {"phase": "Pending"}}), true, true),
            (json!({"status": {"phase": "Failed"}}), true, false),
            (json!({"metadata": {"deletionTimestamp": "2025-01-01T00:00:00Z"}}), true, false),
        ] {
            let read: Pod = read(pod.clone());
            assert_eq!((ignores_budgets(&read), must_not_change(&read)), (ignores, must_stay), "{pod}");
        }
    }

    #[test]
    fn a_pod_has_at_most_one_budget() {
        let pod: Pod = read(json!({"metadata": {"labels": {"a": "b"}}}));
        let of = |selectors: &[Value]| {
            let budgets: Vec<_> = selectors.iter().map(|it| budget(it.clone(), json!(null))).collect();
            budget_of(&pod, &budgets).map(|it| it.is_some()).map_err(|status| (status.code, status.reason))
        };
        let matching = json!({"matchLabels": {"a": "b"}});
        assert_eq!(of(&[Value::Null, json!({"matchLabels": {"a": "c"}})]), Ok(false));
        assert_eq!(of(&[Value::Null, matching.clone()]), Ok(true));
        assert_eq!(of(&[json!({})]), Ok(true), "an empty selector selects all");
        assert_eq!(of(&[json!({}), matching]), Err((500, String::new())));
    }

    #[test]
    fn pods_that_are_not_ready_go_if_that_harms_nobody() {
        let pod = |ready: &str| read(json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}}));
        let status = |current: i32, desired: i32| {
            json!({
                "currentHealthy": current, "desiredHealthy": desired,
                "disruptionsAllowed": 0, "expectedPods": 3,
            })
        };
        assert!(!goes_uncounted(&pod("True"), &budget(json!({}), status(3, 2))));
        assert!(goes_uncounted(&pod("False"), &budget(json!({}), status(2, 2))));
        assert!(!goes_uncounted(&pod("False"), &budget(json!({}), status(1, 2))));
        assert!(!goes_uncounted(&pod("False"), &budget(json!({}), status(0, 0))));
        let mut always = budget(json!({}), status(1, 2));
        always.spec.as_mut().unwrap().unhealthy_pod_eviction_policy = Some("AlwaysAllow".to_owned());
        assert!(goes_uncounted(&pod("False"), &always));
    }

    #[test]
    fn budgets_say_why_they_refuse() {
        let status = |more: Value| {
            let mut status = json!({
                "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1,
                "observedGeneration": 2,
            });
            status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            status
        };
        let condition = |reason: &str| {
            json!([{
                "type": "DisruptionAllowed", "status": "False", "reason": reason, "message": "m",
                "lastTransitionTime": "2025-01-01T00:00:00Z",
            }])
        };
        for (more, code, seconds, why) in [
            (
                json!({"observedGeneration": 1}),
                429,
                10,
                "The disruption budget b is still being processed by the server.",
            ),
            (json!({}), 429, 0, "The disruption budget b needs 1 healthy pods and has 1 currently"),
            (
                json!({"conditions": condition("SyncFailed")}),
                429,
                0,
                "The disruption budget b does not allow evicting pods currently because it failed sync: m",
            ),
            (
                json!({"currentHealthy": 2, "conditions": condition("Other")}),
                429,
                0,
                "The disruption budget b does not allow evicting pods currently (Other): m",
            ),
            (
                json!({"currentHealthy": 2}),
                429,
                0,
                "The disruption budget b does not allow evicting pods currently",
            ),
        ] {
            let mut budget = budget(json!({}), status(more));
            let status = take_from_budget(&mut budget, "p", Timestamp::UNIX_EPOCH).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, REFUSED));
            let details = status.details.unwrap();
            assert_eq!(details.retry_after_seconds, seconds);
            assert_eq!(details.causes.first().unwrap().message, why);
        }
        let mut negative = budget(json!({}), status(json!({"disruptionsAllowed": -1})));
        assert_eq!(
            take_from_budget(&mut negative, "p", Timestamp::UNIX_EPOCH).unwrap_err().message,
            r#"poddisruptionbudget.policy "b" is forbidden: pdb disruptions allowed is negative"#
        );
    }

    #[test]
    fn an_eviction_is_counted() {
        let mut budget = budget(
            json!({}),
            json!({
                "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 2,
                "observedGeneration": 2,
            }),
        );
        take_from_budget(&mut budget, "p", "2025-01-01T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(
            serde_json::to_value(budget.status).unwrap(),
            json!({
                "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 2,
                "observedGeneration": 2,
                "disruptedPods": {"p": "2025-01-01T00:00:00Z"},
                "conditions": [{
                    "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
                    "observedGeneration": 2, "lastTransitionTime": "2025-01-01T00:00:00Z",
                }],
            })
        );
    }

    #[test]
    fn an_eviction_may_not_contradict_the_request() {
        let check = |value: Value, name: &str, dry_run: bool| {
            check_eviction(&read(value), name, dry_run).map_err(|status| (status.code, status.message))
        };
        let named = |options: Value| json!({"metadata": {"name": "p"}, "deleteOptions": options});
        assert_eq!(check(named(Value::Null), "p", true), Ok(true));
        assert_eq!(check(named(json!({"gracePeriodSeconds": 3})), "p", false), Ok(false));
        assert_eq!(check(named(json!({"dryRun": ["All"]})), "p", false), Ok(true));
        assert_eq!(
            check(named(Value::Null), "q", false),
            Err((400, "name in URL does not match name in Eviction object".to_owned()))
        );
        assert_eq!(
            check(named(json!({"dryRun": ["Other"]})), "p", true),
            Err((500, "Non-matching dry-run options in request and content: [All] and [Other]".to_owned()))
        );
    }
}

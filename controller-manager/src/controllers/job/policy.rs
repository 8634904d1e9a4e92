//! What a failed Pod means for a Job, and which successes are enough.

use super::indexes::Indexes;
use crate::kinds::{
    Job, Pod,
    job::{OnExitCodes, OnPodCondition, SuccessRule},
    pod::ContainerStatus,
};

/// What a failed Pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the limits.
    Counts,
    /// It does not.
    Ignored,
    /// It counts, and its index has failed.
    FailsIndex,
    /// It counts, and the Job has failed: why.
    FailsJob(String),
}

/// What a failed Pod means, by the first rule that matches.
pub(super) fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let rules = job.spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (index, rule) in rules.enumerate() {
        let place = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
        let why = if let Some(requirement) = &rule.on_exit_codes {
            let statuses = [&pod.status.container_statuses, &pod.status.init_container_statuses];
            statuses
                .iter()
                .find_map(|statuses| ended_so(statuses, requirement))
                .map(|(name, code)| format!("Container {name} for pod {place} failed with exit code {code}"))
        } else {
            let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
            has_condition(pod, patterns).map(|which| format!("Pod {place} has condition {which}"))
        };
        let Some(why) = why else { continue };
        match &*rule.action {
            "Ignore" => return Verdict::Ignored,
            "FailIndex" => return Verdict::FailsIndex,
            "Count" => return Verdict::Counts,
            "FailJob" => return Verdict::FailsJob(format!("{why} matching FailJob rule at index {index}")),
            _ => {}
        }
    }
    Verdict::Counts
}

/// The first container that ended as required, and how.
fn ended_so<'a>(statuses: &'a [ContainerStatus], requirement: &OnExitCodes) -> Option<(&'a str, i32)> {
    statuses.iter().find_map(|status| {
        let code = status.state.terminated.as_ref()?.exit_code;
        let named = requirement.container_name.as_ref().is_none_or(|name| *name == status.name);
        let listed = requirement.values.contains(&code);
        let matches = match &*requirement.operator {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        (named && code != 0 && matches).then_some((&*status.name, code))
    })
}

fn has_condition<'a>(pod: &'a Pod, patterns: &[OnPodCondition]) -> Option<&'a str> {
    let matches = |condition: &&crate::kinds::pod::Condition| {
        patterns
            .iter()
            .any(|pattern| pattern.r#type == condition.r#type && pattern.status == condition.status)
    };
    pod.status.conditions.iter().find(matches).map(|condition| &*condition.r#type)
}

/// Whether the successes are enough by a rule of the success policy; says which.
pub(super) fn enough(job: &Job, succeeded: &Indexes) -> Option<String> {
    let rules = &job.spec.success_policy.as_ref()?.rules;
    let met = |rule: &SuccessRule| match (&rule.succeeded_indexes, rule.succeeded_count) {
        (Some(text), count) => {
            let required = Indexes::parse(text, job.indexes());
            let have = required.overlap(succeeded);
            required.count() > 0 && (have == required.count() || count.is_some_and(|count| have >= count))
        }
        (None, Some(count)) => succeeded.count() >= count,
        (None, None) => false,
    };
    let index = rules.iter().position(|rule| succeeded.count() > 0 && met(rule))?;
    Some(format!("Matched rules at index {index}"))
}

#[cfg(test)]
mod policy_tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(spec: Value) -> Job {
        serde_json::from_value(json!({ "spec": spec })).unwrap()
    }

    #[test]
    fn the_first_rule_that_matches_says_what_a_failed_pod_means() {
        let rules = json!({"podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42, 43]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
        ]}});
        for (status, expected) in [
            (json!({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}), Verdict::Ignored),
            (
                json!({"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 42}}}]}),
                Verdict::FailsJob(
                    "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 1"
                        .to_owned(),
                ),
            ),
            (
                json!({"containerStatuses": [{"name": "side", "state": {"terminated": {"exitCode": 42}}}]}),
                Verdict::FailsIndex,
            ),
            (
                json!({"containerStatuses": [{"name": "side", "state": {"terminated": {"exitCode": 1}}}]}),
                Verdict::Counts,
            ),
            (
                json!({"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0}}}]}),
                Verdict::Counts,
            ),
            (json!({}), Verdict::Counts),
        ] {
            let pod = json!({"metadata": {"namespace": "ns", "name": "p"}, "status": status});
            assert_eq!(
                verdict(&job(rules.clone()), &serde_json::from_value(pod).unwrap()),
                expected,
                "{status}"
            );
        }
    }

    #[test]
    fn successes_are_enough_by_index_by_count_or_both() {
        for (rules, succeeded, expected) in [
            (json!([{"succeededIndexes": "0,2-3"}]), "0,2,3", Some("Matched rules at index 0")),
            (json!([{"succeededIndexes": "0,2-3"}]), "0,1,3", None),
            (
                json!([{"succeededIndexes": "0-4", "succeededCount": 2}]),
                "1,4,7",
                Some("Matched rules at index 0"),
            ),
            (
                json!([{"succeededIndexes": "9"}, {"succeededCount": 3}]),
                "1,4,7",
                Some("Matched rules at index 1"),
            ),
            (json!([{"succeededCount": 1}]), "", None),
        ] {
            let job = job(json!({"completions": 10, "successPolicy": {"rules": rules}}));
            assert_eq!(
                enough(&job, &Indexes::parse(succeeded, 10)).as_deref(),
                expected,
                "{rules} {succeeded}"
            );
        }
    }
}

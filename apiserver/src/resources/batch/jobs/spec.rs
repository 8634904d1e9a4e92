//! The spec of a Job, which CronJobs have a template of.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule, SuccessPolicy, SuccessPolicyRule,
};

use crate::resources::shared::{
    forms::domain_prefixed_path,
    internal::printed,
    metadata::invalid_each,
    names::qualified_name,
    optional::{Items, Text, negative, one_of},
    pod_spec::Rules,
    pod_template,
};

/// The completion mode in which each pod has an index.
pub(super) const INDEXED: &str = "Indexed";
const MODES: [&str; 2] = ["NonIndexed", INDEXED];
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// How many pods of an indexed job may run at once, and how many of its indexes may fail.
const INDEXED_MAX: i32 = 100_000;
/// From how many completions on the limits below hold.
const MANY_COMPLETIONS: i32 = 100_000;
const OF_MANY_MAX: i32 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const MANAGED_BY_LENGTH_MAX: usize = 63;
const INDEXES_LENGTH_MAX: usize = 64 * 1024;

/// Whether each pod has an index.
pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.text() == INDEXED
}

/// Fills in what was left out, of what a template of a Job has filled in as well.
pub(in super::super) fn default(spec: &mut JobSpec) {
    pod_template::default(&mut spec.template);
    let rules = spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules);
    for condition in rules.flat_map(|rule| rule.on_pod_conditions.items_mut()) {
        condition.status.or_set("True");
    }
}

/// What the writer of a spec should know.
pub(in super::super) fn warnings(spec: &JobSpec, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let many = spec.completions.unwrap_or_default() > MANY_COMPLETIONS
        && spec.parallelism.unwrap_or_default() > OF_MANY_MAX;
    if is_indexed(spec) && many {
        warnings.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    warnings.extend(pod_template::warnings(&spec.template, &path.child("template")));
    warnings
}

/// Everything that is wrong with a spec, the selector excepted.
pub(in super::super) fn validate(spec: &JobSpec, rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (field, count) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        faults.extend(count.and_then(|count| negative(&path.child(field), count)));
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        faults
            .push(Fault::required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = &spec.managed_by {
        let path = path.child("managedBy");
        faults.extend(domain_prefixed_path(&path, manager));
        if manager.len() > MANAGED_BY_LENGTH_MAX {
            faults.push(Fault::too_long(&path, MANAGED_BY_LENGTH_MAX));
        }
    }
    faults.extend(mode(spec, path));
    if let Some(policy) = &spec.pod_failure_policy {
        faults.extend(failure_policy(policy, spec, &path.child("podFailurePolicy")));
    }
    if let Some(policy) = &spec.success_policy {
        let path = path.child("successPolicy");
        if is_indexed(spec) {
            faults.extend(success_policy(policy, spec, &path));
        } else {
            faults.push(Fault::invalid(
                &path,
                printed("batch.SuccessPolicy", policy),
                "requires indexed completion mode",
            ));
        }
    }
    if let Some(policy) = &spec.pod_replacement_policy {
        let supported: &[&str] =
            if spec.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        faults.extend(one_of(&path.child("podReplacementPolicy"), policy, supported));
    }
    let template_path = path.child("template");
    faults.extend(pod_template::validate(&spec.template, rules, &template_path));
    faults.extend(restart_policy(spec, &template_path.child("spec.restartPolicy")));
    faults
}

fn mode(spec: &JobSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mode = spec.completion_mode.as_deref().unwrap_or("NonIndexed");
    if !MODES.contains(&mode) {
        faults.push(Fault::not_supported(&path.child("completionMode"), mode, &MODES));
    }
    if mode == INDEXED {
        faults.extend(indexed(spec, path));
    }
    if mode == "NonIndexed" {
        for (field, count) in [
            ("backoffLimitPerIndex", spec.backoff_limit_per_index),
            ("maxFailedIndexes", spec.max_failed_indexes),
        ] {
            faults.extend(
                count.map(|count| {
                    Fault::invalid(&path.child(field), count, "requires indexed completion mode")
                }),
            );
        }
    }
    faults
}

fn indexed(spec: &JobSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (parallelism_path, failed_path) = (path.child("parallelism"), path.child("maxFailedIndexes"));
    let (parallelism, failed) = (spec.parallelism, spec.max_failed_indexes);
    let above = |count: Option<i32>, max: i32| count.filter(|count| *count > max);
    if spec.completions.is_none() {
        faults.push(Fault::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    if let Some(count) = above(parallelism, INDEXED_MAX) {
        let why = format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed");
        faults.push(Fault::invalid(&parallelism_path, count, why));
    }
    if let Some(count) = spec.completions.and_then(|completions| above(failed, completions)) {
        faults.push(Fault::invalid(&failed_path, count, "must be less than or equal to completions"));
    }
    if let Some(count) = above(failed, INDEXED_MAX) {
        let why = format!("must be less than or equal to {INDEXED_MAX}");
        faults.push(Fault::invalid(&failed_path, count, why));
    }
    if above(spec.completions, MANY_COMPLETIONS).is_some() && spec.backoff_limit_per_index.is_some() {
        if failed.is_none() {
            let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            faults.push(Fault::required(&failed_path, why));
        }
        for (path, count) in [(&parallelism_path, parallelism), (&failed_path, failed)] {
            if let Some(count) = above(count, OF_MANY_MAX) {
                let why = format!(
                    "must be less than or equal to {OF_MANY_MAX} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
                );
                faults.push(Fault::invalid(path, count, why));
            }
        }
    }
    faults
}

/// A field that must have one of these values, and whose absence upstream tells in other words.
fn required_one_of(path: &Path, value: &str, supported: &[&str]) -> Option<Fault> {
    if value.is_empty() {
        return Some(Fault::required(path, valid_values(supported)));
    }
    one_of(path, value, supported)
}

fn valid_values(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

fn failure_policy(policy: &PodFailurePolicy, spec: &JobSpec, path: &Path) -> Faults {
    let path = path.child("rules");
    let mut faults = Vec::new();
    if policy.rules.len() > RULES_MAX {
        faults.push(Fault::too_many(&path, policy.rules.len(), RULES_MAX));
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        faults.extend(failure_rule(rule, spec, &path.index(index)));
    }
    faults
}

fn failure_rule(rule: &PodFailurePolicyRule, spec: &JobSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let action_path = path.child("action");
    if rule.action == "FailIndex" && spec.backoff_limit_per_index.is_none() {
        faults.push(Fault::invalid(
            &action_path,
            rule.action.as_str(),
            "requires the backoffLimitPerIndex to be set",
        ));
    }
    faults.extend(required_one_of(&action_path, &rule.action, &ACTIONS));
    let conditions = rule.on_pod_conditions.items();
    if let Some(codes) = &rule.on_exit_codes {
        faults.extend(exit_codes(codes, spec, &path.child("onExitCodes")));
    }
    faults.extend(pod_conditions(conditions, &path.child("onPodConditions")));
    let why = match (rule.on_exit_codes.is_some(), conditions.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return faults,
    };
    faults.push(Fault::invalid(path, BadValue::Omitted, why));
    faults
}

fn pod_conditions(patterns: &[PodFailurePolicyOnPodConditionsPattern], path: &Path) -> Faults {
    let mut faults = Vec::new();
    if patterns.len() > CONDITIONS_MAX {
        faults.push(Fault::too_many(path, patterns.len(), CONDITIONS_MAX));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path.index(index);
        faults.extend(invalid_each(&path.child("type"), &pattern.type_, qualified_name(&pattern.type_)));
        faults.extend(required_one_of(&path.child("status"), pattern.status.text(), &STATUSES));
    }
    faults
}

fn exit_codes(codes: &PodFailurePolicyOnExitCodesRequirement, spec: &JobSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    faults.extend(required_one_of(&path.child("operator"), &codes.operator, &OPERATORS));
    if let Some(name) = &codes.container_name {
        let is_known = spec.template.spec.as_ref().is_some_and(|spec| {
            spec.containers.iter().chain(spec.init_containers.items()).any(|it| it.name == *name)
        });
        if !is_known {
            faults.push(Fault::invalid(
                &path.child("containerName"),
                name,
                "must be one of the container or initContainer names in the pod template",
            ));
        }
    }
    let path = path.child("values");
    let values = &codes.values;
    if values.is_empty() {
        faults.push(Fault::invalid(&path, BadValue::json(values), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        faults.push(Fault::too_many(&path, values.len(), EXIT_CODES_MAX));
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let path = path.index(index);
        if codes.operator == "In" && *value == 0 {
            faults.push(Fault::invalid(&path, *value, "must not be 0 for the In operator"));
        }
        if !seen.insert(value) {
            faults.push(Fault::duplicate(&path, *value));
        }
    }
    if !values.is_sorted() {
        faults.push(Fault::invalid(&path, BadValue::json(values), "must be ordered"));
    }
    faults
}

fn success_policy(policy: &SuccessPolicy, spec: &JobSpec, path: &Path) -> Faults {
    let path = path.child("rules");
    let mut faults = Vec::new();
    if policy.rules.is_empty() {
        faults.push(Fault::required(
            &path,
            "at least one rules must be specified when the successPolicy is specified",
        ));
    }
    if policy.rules.len() > RULES_MAX {
        faults.push(Fault::too_many(&path, policy.rules.len(), RULES_MAX));
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        faults.extend(success_rule(rule, spec.completions.unwrap_or_default(), &path.index(index)));
    }
    faults
}

fn success_rule(rule: &SuccessPolicyRule, completions: i32, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        faults.push(Fault::required(
            path,
            "at least one of succeededCount or succeededIndexes must be specified",
        ));
    }
    let mut total = 0;
    if let Some(text) = &rule.succeeded_indexes {
        let path = path.child("succeededIndexes");
        if text.len() > INDEXES_LENGTH_MAX {
            faults.push(Fault::too_long(&path, INDEXES_LENGTH_MAX));
        }
        match count_indexes(text, completions) {
            Ok(count) => total = count,
            Err(why) => {
                faults.push(Fault::invalid(&path, text, format!("error parsing succeededIndexes: {why}")));
            }
        }
    }
    if let Some(count) = rule.succeeded_count {
        let path = path.child("succeededCount");
        faults.extend(negative(&path, count));
        if count > completions {
            let why =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            faults.push(Fault::invalid(&path, count, why));
        }
        if rule.succeeded_indexes.is_some() && i64::from(count) > total {
            let why = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            faults.push(Fault::invalid(&path, count, why));
        }
    }
    faults
}

fn restart_policy(spec: &JobSpec, path: &Path) -> Option<Fault> {
    let policy = spec.template.spec.as_ref().map(|spec| spec.restart_policy.text()).unwrap_or_default();
    match policy {
        "" | "Always" => Some(Fault::required(path, r#"valid values: "OnFailure", "Never""#)),
        "Never" => None,
        "OnFailure" => spec.pod_failure_policy.is_some().then(|| {
            Fault::invalid(path, policy, r#"only "Never" is supported when podFailurePolicy is specified"#)
        }),
        _ => Some(Fault::not_supported(path, policy, &["OnFailure", "Never"])),
    }
}

// --- indexes, such as `0,3-5`

/// How many indexes these are.
///
/// # Errors
/// When they cannot be read, are too large or not in order.
pub(super) fn count_indexes(text: &str, completions: i32) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let mut total = 0;
    let mut last: Option<i64> = None;
    for interval in text.split(',') {
        let (first, end) = index_interval(interval, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The first and the last index of an interval.
///
/// # Errors
/// As [`count_indexes`].
pub(super) fn index_interval(text: &str, completions: i32) -> Result<(i64, i64), String> {
    let mut parts = text.split('-');
    let (first, last, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if more.is_some() {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let number = |text: &str| {
        let number: i64 = text
            .parse()
            .ok()
            .ok_or_else(|| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= i64::from(completions) {
            return Err(format!("too large index: {text:?}"));
        }
        Ok(number)
    };
    let first = number(first)?;
    let Some(last) = last else { return Ok((first, first)) };
    let last = number(last)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

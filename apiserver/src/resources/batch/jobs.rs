//! Jobs: `jobs` of `batch/v1`.

pub(super) mod spec;
mod status;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::{
    batch::v1::{Job, JobSpec, JobStatus},
    core::v1::{Affinity, Container, PodSpec, PodTemplateSpec},
};

use self::spec::{INDEXED, is_indexed};
use crate::{
    registry::strategy::{Context, Dependents, Generation, Names, SelectableField, Strategy},
    resources::shared::{
        internal,
        names::dns1123_label,
        optional::{Entries, Items, Switch, Text, immutable, same},
        pod_spec::Rules,
        pod_template::{self, Pairs, Selection},
        selectors, workloads,
    },
};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";

/// The strategy of Jobs.
pub(crate) struct Jobs;

impl Strategy for Jobs {
    type Object = Job;

    const NAMES: Names = Names {
        group: "batch",
        version: "v1",
        kind: "Job",
        plural: "jobs",
        singular: "job",
        short: &[],
        categories: &["all"],
        namespaced: true,
    };
    const DEPENDENTS: Dependents = Dependents::Orphan;
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField { label: "status.successful", path: "status.succeeded", absent: "0" }];

    fn default(job: &mut Job) {
        let spec = job.spec.get_or_insert_default();
        spec::default(spec);
        if spec.completions.is_none() && spec.parallelism.is_none() {
            spec.completions = Some(1);
        }
        spec.parallelism.get_or_insert(1);
        let limit = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 };
        spec.backoff_limit.get_or_insert(limit);
        spec.completion_mode.get_or_insert_with(|| "NonIndexed".to_owned());
        spec.suspend.get_or_insert(false);
        let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
        spec.pod_replacement_policy.get_or_insert_with(|| replacement.to_owned());
        spec.manual_selector.get_or_insert(false);
        label(job);
    }

    fn prepare_for_create(_cx: &Context<'_>, job: &mut Job) {
        let (name, uid) = identity(job);
        let spec = job.spec.get_or_insert_default();
        if !spec.manual_selector.is_on() {
            generate_selector(spec, &name, &uid);
        }
        job.status = None;
        pod_template::prepare(&mut spec.template, None);
        label(job);
    }

    fn validate(cx: &Context<'_>, job: &Job) -> Faults {
        validate(job, &Rules::default().under(cx), true)
    }

    fn prepare_for_update(_cx: &Context<'_>, job: &mut Job, old: &Job) {
        let old_template = old.spec.as_ref().map(|spec| &spec.template);
        pod_template::prepare(&mut job.spec.get_or_insert_default().template, old_template);
        label(job);
    }

    fn validate_update(cx: &Context<'_>, job: &Job, old: &Job) -> Faults {
        let (no_spec, no_status) = (JobSpec::default(), JobStatus::default());
        let (new, was) = (job.spec.as_ref().unwrap_or(&no_spec), old.spec.as_ref().unwrap_or(&no_spec));
        let mut rules = pod_template::rules(Some(&was.template)).under(cx);
        // Once the selector has bad values, those of affinities may be bad as well.
        rules.invalid_affinity_values |= selectors::has_invalid_value(was.selector.as_ref());
        let labels = pod_template::labels(&was.template);
        let has_labels = [NAME_LABEL, UID_LABEL].iter().all(|label| labels.at(label).is_some());
        let mut faults = validate(job, &rules, has_labels);
        // Upstream looks at the spec twice.
        let path = Path::new("spec");
        faults.extend(validate_spec(new, &rules, &path));
        faults.extend(completions(new, was, &path));
        faults.extend(internal::immutable(
            "*meta.LabelSelector",
            &path.child("selector"),
            &new.selector,
            &was.selector,
        ));
        let status = old.status.as_ref().unwrap_or(&no_status);
        faults.extend(template_update(new, was, status, &path));
        let field = |name: &str| path.child(name);
        faults.extend(immutable(&field("completionMode"), &new.completion_mode, &was.completion_mode));
        faults.extend(internal::immutable(
            "*batch.PodFailurePolicy",
            &field("podFailurePolicy"),
            &new.pod_failure_policy,
            &was.pod_failure_policy,
        ));
        faults.extend(immutable(
            &field("backoffLimitPerIndex"),
            &new.backoff_limit_per_index,
            &was.backoff_limit_per_index,
        ));
        faults.extend(immutable(&field("managedBy"), &new.managed_by, &was.managed_by));
        faults.extend(internal::immutable(
            "*batch.SuccessPolicy",
            &field("successPolicy"),
            &new.success_policy,
            &was.success_policy,
        ));
        faults
    }

    fn prepare_for_status_update(_cx: &Context<'_>, job: &mut Job, _old: &Job) {
        label(job);
    }

    fn validate_status_update(_cx: &Context<'_>, job: &Job, old: &Job) -> Faults {
        status::validate(job, old)
    }

    fn warnings(_cx: &Context<'_>, job: &Job, old: Option<&Job>) -> Vec<String> {
        let of_spec =
            || job.spec.as_ref().map(|it| spec::warnings(it, &Path::new("spec"))).unwrap_or_default();
        match old {
            None => {
                let name = workloads::name_warning(job.metadata.name.as_deref());
                name.into_iter().chain(of_spec()).collect()
            }
            Some(old) if same(&job.spec, &old.spec) => Vec::new(),
            Some(_) => of_spec(),
        }
    }
}

fn identity(job: &Job) -> (String, String) {
    (job.metadata.name.text().to_owned(), job.metadata.uid.text().to_owned())
}

/// Gives a job without labels those of its pods.
fn label(job: &mut Job) {
    if job.metadata.labels.entries().next().is_none()
        && let Some(spec) = &job.spec
    {
        let labels = pod_template::labels(&spec.template);
        if labels.is_some() {
            job.metadata.labels.clone_from(labels);
        }
    }
}

/// Labels the pods with what identifies the job, and selects them by its uid. What contradicts is found later.
fn generate_selector(spec: &mut JobSpec, name: &str, uid: &str) {
    let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for (label, value) in [(OLD_NAME_LABEL, name), (NAME_LABEL, name), (OLD_UID_LABEL, uid), (UID_LABEL, uid)]
    {
        labels.entry(label.to_owned()).or_insert_with(|| value.to_owned());
    }
    let selector = spec.selector.get_or_insert_default();
    let labels = selector.match_labels.get_or_insert_default();
    labels.entry(UID_LABEL.to_owned()).or_insert_with(|| uid.to_owned());
}

fn validate(job: &Job, rules: &Rules, prefixed_labels: bool) -> Faults {
    let nothing = JobSpec::default();
    let spec = job.spec.as_ref().unwrap_or(&nothing);
    let mut faults = generated_selector(job, spec, prefixed_labels);
    faults.extend(validate_spec(spec, rules, &Path::new("spec")));
    if let Some(completions) = spec.completions.filter(|count| *count > 0 && is_indexed(spec)) {
        let name = job.metadata.name.text();
        let host = format!("{name}-{}", completions - 1);
        if !dns1123_label(&host).is_empty() {
            faults.push(Fault::invalid(
                &Path::new("metadata.name"),
                name,
                format!("will not able to create pod with invalid DNS label: {host}"),
            ));
        }
    }
    faults
}

fn validate_spec(spec: &JobSpec, rules: &Rules, path: &Path) -> Faults {
    let mut faults = spec::validate(spec, rules, path);
    let selector_path = path.child("selector");
    match &spec.selector {
        None => faults.push(Fault::required(&selector_path, "")),
        Some(selector) => {
            let leniency = selectors::Leniency {
                invalid_values: rules.invalid_affinity_values,
                ..selectors::Leniency::default()
            };
            faults.extend(selectors::validate(Some(selector), leniency, &selector_path));
        }
    }
    let selection = spec.selector.as_ref().map_or(Selection::Absent, Selection::of);
    if !selection.matches(pod_template::labels(&spec.template)) {
        faults.push(pod_template::unmatched(&spec.template, &path.child("template")));
    }
    faults
}

/// Faults of a selector that was to be generated and is not as it would have been.
fn generated_selector(job: &Job, spec: &JobSpec, prefixed_labels: bool) -> Faults {
    let Some(selector) = spec.selector.as_ref().filter(|_| !spec.manual_selector.is_on()) else {
        return Vec::new();
    };
    let (name, uid) = identity(job);
    let mut faults = Vec::new();
    if uid.is_empty() {
        faults.push(Fault::required(&Path::new("metadata.uid"), ""));
    }
    let labels = pod_template::labels(&spec.template);
    let path = Path::new("spec.template.metadata.labels");
    let mut expected = vec![(OLD_UID_LABEL, &uid), (OLD_NAME_LABEL, &name)];
    if prefixed_labels {
        expected.extend([(UID_LABEL, &uid), (NAME_LABEL, &name)]);
    }
    for (label, value) in &expected {
        let why = format!("must be '{value}'");
        match labels.at(label) {
            None => faults.push(Fault::required(&path.key(label), why)),
            Some(actual) if actual != *value => {
                faults.push(Fault::invalid(&path.key(label), BadValue::json(labels), why));
            }
            Some(_) => {}
        }
    }
    let expected: Pairs =
        Some(expected.into_iter().map(|(label, value)| (label.to_owned(), value.clone())).collect());
    if !Selection::of(selector).matches(&expected) {
        faults.push(Fault::invalid(
            &Path::new("spec.selector"),
            selectors::printed(selector),
            "`selector` not auto-generated",
        ));
    }
    faults
}

/// Faults of a change of how many pods must succeed: only indexed jobs may, together with the parallelism.
fn completions(new: &JobSpec, old: &JobSpec, path: &Path) -> Option<Fault> {
    let here = path.child("completions");
    if new.completion_mode.text() != INDEXED {
        return immutable(&here, &new.completions, &old.completions);
    }
    let count = new.completions.filter(|_| new.completions != old.completions)?;
    (Some(count) != new.parallelism).then(|| {
        Fault::invalid(
            &here,
            count,
            format!("can only be modified in tandem with {}", path.child("parallelism")),
        )
    })
}

/// Faults of a changed template. While a job is suspended and has no pods, where they will run and what resources they
/// get may change.
fn template_update(new: &JobSpec, old: &JobSpec, status: &JobStatus, path: &Path) -> Option<Fault> {
    let path = path.child("template");
    let is_suspended = old.suspend.is_on();
    let is_still = status.start_time.is_none()
        || status.conditions.items().iter().any(|it| it.type_ == "Suspended" && it.status == "True");
    if !(is_suspended && is_still && status.active.unwrap_or_default() == 0) {
        return internal::immutable("core.PodTemplateSpec", &path, &new.template, &old.template);
    }
    let nothing = PodSpec::default();
    let mut expected = directed_as(&old.template, &new.template).spec.unwrap_or_default();
    let spec = new.template.spec.as_ref().unwrap_or(&nothing);
    provide_as(&mut expected.containers, &spec.containers);
    if let Some(containers) = &mut expected.init_containers {
        provide_as(containers, spec.init_containers.items());
    }
    internal::immutable("core.PodSpec", &path.child("spec"), spec, &expected)
}

/// The old template, with what decides on where pods run taken from the new one.
fn directed_as(old: &PodTemplateSpec, new: &PodTemplateSpec) -> PodTemplateSpec {
    let mut directed = old.clone();
    let nothing = PodSpec::default();
    let from = new.spec.as_ref().unwrap_or(&nothing);
    let spec = directed.spec.get_or_insert_default();
    match (&from.affinity, &mut spec.affinity) {
        (None, Some(affinity)) => {
            affinity.node_affinity = None;
            if affinity.pod_affinity.is_none() && affinity.pod_anti_affinity.is_none() {
                spec.affinity = None;
            }
        }
        (Some(from), None) => {
            spec.affinity =
                Some(Affinity { node_affinity: from.node_affinity.clone(), ..Affinity::default() });
        }
        (Some(from), Some(affinity)) => affinity.node_affinity.clone_from(&from.node_affinity),
        (None, None) => {}
    }
    spec.node_selector.clone_from(&from.node_selector);
    spec.tolerations.clone_from(&from.tolerations);
    spec.scheduling_gates.clone_from(&from.scheduling_gates);
    directed
}

/// Gives containers the resources of those of the same place and name.
fn provide_as(containers: &mut [Container], from: &[Container]) {
    if containers.len() != from.len() {
        return;
    }
    for (container, from) in containers.iter_mut().zip(from) {
        if container.name == from.name {
            container.resources.clone_from(&from.resources);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{
        check_create, check_update, created, defaulted, merge, merged, warnings,
    };

    fn job(more: Value) -> Value {
        let mut job = json!({
            "metadata": {"name": "j", "namespace": "default", "uid": "u"},
            "spec": {"template": {"spec": {
                "containers": [{"name": "c", "image": "i"}],
                "restartPolicy": "Never",
            }}},
        });
        merge(&mut job["spec"], more);
        job
    }

    #[test]
    fn a_new_job_gets_labels_and_a_selector() {
        let created = created::<Jobs>(job(json!({})));
        let labels = json!({
            "batch.kubernetes.io/controller-uid": "u",
            "batch.kubernetes.io/job-name": "j",
            "controller-uid": "u",
            "job-name": "j",
        });
        assert_eq!(created["metadata"]["labels"], labels);
        assert_eq!(created["spec"]["template"]["metadata"]["labels"], labels);
        assert_eq!(
            created["spec"]["selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
        );
        assert_eq!(
            [
                &created["spec"]["parallelism"],
                &created["spec"]["completions"],
                &created["spec"]["backoffLimit"]
            ],
            [&json!(1), &json!(1), &json!(6)]
        );
    }

    #[test]
    fn labels_that_a_job_has_stay() {
        let mut object = job(json!({"template": {"metadata": {"labels": {"a": "b"}}}}));
        object["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(created::<Jobs>(object)["metadata"]["labels"], json!({"a": "b"}));
    }

    #[test]
    fn defaults_depend_on_each_other() {
        for (more, path, expected) in [
            (json!({"parallelism": 3}), "completions", Value::Null),
            (json!({"completions": 3}), "parallelism", json!(1)),
            (json!({"backoffLimitPerIndex": 3}), "backoffLimit", json!(i32::MAX)),
            (json!({}), "podReplacementPolicy", json!("TerminatingOrFailed")),
            (json!({"podFailurePolicy": {"rules": []}}), "podReplacementPolicy", json!("Failed")),
        ] {
            let spec = serde_json::to_value(defaulted::<Jobs>(job(more.clone())).spec).unwrap();
            assert_eq!(spec.get(path).cloned().unwrap_or_default(), expected, "{more}");
        }
    }

    #[test]
    fn faults_of_new_jobs_are_upstreams() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"parallelism": -1}),
                vec!["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"completionMode": "Odd"}),
                vec![
                    r#"spec.completionMode: Unsupported value: "Odd": supported values: "NonIndexed", "Indexed""#,
                ],
            ),
            (
                json!({"backoffLimitPerIndex": 1}),
                vec!["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
            ),
            (
                json!({"maxFailedIndexes": 1}),
                vec![
                    "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                    "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
                ],
            ),
            (
                json!({"completionMode": "Indexed", "parallelism": 2}),
                vec!["spec.completions: Required value: when completion mode is Indexed"],
            ),
            (
                json!({"managedBy": "nodomain"}),
                vec![
                    r#"spec.managedBy: Invalid value: "nodomain": must be a domain-prefixed path (such as "acme.io/foo")"#,
                ],
            ),
            (
                json!({"template": {"spec": {"restartPolicy": "Always"}}}),
                vec![
                    r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#,
                ],
            ),
            (
                json!({"template": {"metadata": {"labels": {"job-name": "x"}}}}),
                vec![
                    r#"spec.template.metadata.labels[job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"j","controller-uid":"u","job-name":"x"}: must be 'j'"#,
                ],
            ),
            (
                json!({"selector": {"matchLabels": {"a": "b"}}}),
                vec![
                    r#"spec.selector: Invalid value: {"matchLabels":{"a":"b","batch.kubernetes.io/controller-uid":"u"}}: `selector` not auto-generated"#,
                    r#"spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"j","controller-uid":"u","job-name":"j"}: `selector` does not match template `labels`"#,
                ],
            ),
            (
                json!({"manualSelector": true}),
                vec![
                    "spec.selector: Required value",
                    "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"podFailurePolicy": {"rules": [
                    {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [0, 3, 2, 2]}},
                    {"action": "Go", "onPodConditions": [{"type": "A b"}]},
                    {"action": "Ignore"},
                ]}}),
                vec![
                    r#"spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#,
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[3]: Duplicate value: 2",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,3,2,2]: must be ordered",
                    r#"spec.podFailurePolicy.rules[1].action: Unsupported value: "Go": supported values: "Count", "FailIndex", "FailJob", "Ignore""#,
                    r#"spec.podFailurePolicy.rules[1].onPodConditions[0].type: Invalid value: "A b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
                    "spec.podFailurePolicy.rules[2]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
                ],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 4, "successPolicy": {"rules": [
                    {"succeededIndexes": "0,2-3", "succeededCount": 4},
                    {"succeededIndexes": "2,1"},
                    {"succeededIndexes": "4"},
                    {},
                ]}}),
                vec![
                    "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of indexes in the specified succeededIndexes field)",
                    r#"spec.successPolicy.rules[1].succeededIndexes: Invalid value: "2,1": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1"#,
                    r#"spec.successPolicy.rules[2].succeededIndexes: Invalid value: "4": error parsing succeededIndexes: too large index: "4""#,
                    "spec.successPolicy.rules[3]: Required value: at least one of succeededCount or succeededIndexes must be specified",
                ],
            ),
        ] {
            assert_eq!(check_create::<Jobs>(job(more.clone())), expected, "{more}");
        }
    }

    #[test]
    fn little_may_change_of_a_job() {
        let old = || created::<Jobs>(job(json!({"completions": 2, "parallelism": 1})));
        let new = |more: Value| {
            let mut new = old();
            merge(&mut new["spec"], more);
            check_update::<Jobs>(new, old())
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(new(json!({"parallelism": 5, "suspend": true, "ttlSecondsAfterFinished": 3})), none);
        assert_eq!(
            new(json!({"completions": 3})),
            ["spec.completions: Invalid value: 3: field is immutable"]
        );
        assert_eq!(
            new(json!({"completionMode": "Indexed"})),
            [r#"spec.completionMode: Invalid value: "Indexed": field is immutable"#]
        );
        let faults = new(json!({"template": {"spec": {"containers": [{"name": "c", "image": "other"}]}}}));
        assert_eq!(faults.len(), 1);
        assert!(faults.concat().starts_with("spec.template: Invalid value: "), "{faults:?}");
    }

    #[test]
    fn a_suspended_job_may_be_directed_elsewhere() {
        let old = || created::<Jobs>(job(json!({"suspend": true})));
        let new = |more: Value| {
            let mut new = old();
            merge(&mut new["spec"], json!({"template": {"spec": more}}));
            check_update::<Jobs>(new, old()).iter().map(|fault| fault[..27].to_owned()).collect::<Vec<_>>()
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(new(json!({"nodeSelector": {"a": "b"}, "schedulingGates": [{"name": "g"}]})), none);
        assert_eq!(
            new(
                json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]})
            ),
            none
        );
        assert_eq!(
            new(json!({"containers": [{"name": "c", "image": "other"}]})),
            ["spec.template.spec: Invalid"]
        );
    }

    #[test]
    fn indexed_jobs_scale_as_a_whole() {
        let old =
            || created::<Jobs>(job(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2})));
        let new = |completions: i32, parallelism: i32| {
            let mut new = old();
            merge(&mut new["spec"], json!({"completions": completions, "parallelism": parallelism}));
            check_update::<Jobs>(new, old())
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(new(3, 3), none);
        assert_eq!(
            new(3, 2),
            ["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]
        );
    }

    #[test]
    fn names_that_make_bad_host_names_are_warned_of() {
        let mut object = job(json!({}));
        assert_eq!(warnings::<Jobs>(object.clone()), Vec::<String>::new());
        object["metadata"]["name"] = json!("a.b");
        assert_eq!(warnings::<Jobs>(object).len(), 1);
    }

    #[test]
    fn bad_values_of_the_selector_excuse_those_of_affinity() {
        let odd = json!([{"key": "a", "operator": "NotIn", "values": ["x x"]}]);
        let term = json!({"labelSelector": {"matchExpressions": odd}, "topologyKey": "t"});
        let affine =
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        for (old, count) in [(json!({}), 2), (json!({"selector": {"matchExpressions": odd}}), 0)] {
            let old = job(merged(
                json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}}}),
                old,
            ));
            let new = merged(old.clone(), json!({"spec": {"template": {"spec": affine.clone()}}}));
            let faults = check_update::<Jobs>(new, old);
            let of_affinity =
                faults.iter().filter(|it| it.starts_with("spec.template.spec.affinity")).count();
            let of_selector = faults.iter().filter(|it| it.starts_with("spec.selector")).count();
            assert_eq!((of_affinity, of_selector), (count, 0), "{faults:?}");
        }
    }
}

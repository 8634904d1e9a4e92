//! DaemonSets: `daemonsets` of `apps/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::{
    api::apps::v1::{
        DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::Value;

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        internal::printed,
        optional::{Entries, Text, negative, same},
        pod_spec::Rules,
        pod_template,
        selectors::{self, Leniency},
        workloads::{self, Counts, Workload as _},
    },
};

/// Counts the changes of the template; once a field, now an annotation that the server keeps.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The strategy of DaemonSets.
pub(crate) struct DaemonSets;

impl Strategy for DaemonSets {
    type Object = DaemonSet;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short: &["ds"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const REJUDGES_METADATA: bool = false;

    fn mark(raw: &Value, set: &mut DaemonSet) {
        workloads::mark_selector(raw, set);
    }

    fn default(set: &mut DaemonSet) {
        let spec = set.spec.get_or_insert_default();
        let strategy = spec.update_strategy.get_or_insert_default();
        strategy.type_.or_set("RollingUpdate");
        if strategy.type_.text() == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        spec.revision_history_limit.get_or_insert(10);
        pod_template::default(&mut spec.template);
    }

    fn prepare_for_create(_cx: &Context<'_>, set: &mut DaemonSet) {
        set_template_generation(set, template_generation(set).max(1));
        workloads::prepare_template(set, None);
        set.status = None;
    }

    fn validate(cx: &Context<'_>, set: &DaemonSet) -> Faults {
        validate_spec(set, &Rules::default().under(cx))
    }

    fn prepare_for_update(_cx: &Context<'_>, set: &mut DaemonSet, old: &DaemonSet) {
        workloads::prepare_template(set, Some(old));
        let changed = old.template().is_none_or(|old| !same(set.template_mut(), old));
        set_template_generation(set, template_generation(old) + i64::from(changed));
    }

    fn validate_update(cx: &Context<'_>, set: &DaemonSet, old: &DaemonSet) -> Faults {
        let mut faults: Faults = workloads::selector_changed(set, old).into_iter().collect();
        let mut rules = workloads::template_rules(cx, Some(old));
        // Once the selector has bad values, those of affinities may be bad as well.
        rules.invalid_affinity_values |= selectors::has_invalid_value(old.selector());
        faults.extend(validate_spec(set, &rules));
        faults
    }

    fn prepare_for_status_update(_cx: &Context<'_>, set: &mut DaemonSet, old: &DaemonSet) {
        set_template_generation(set, template_generation(old));
    }

    fn validate_status_update(_cx: &Context<'_>, set: &DaemonSet, old: &DaemonSet) -> Faults {
        let nothing = DaemonSetStatus::default();
        validate_status(set.status.as_ref().unwrap_or(&nothing), old.status.as_ref().unwrap_or(&nothing))
    }

    fn warnings(_cx: &Context<'_>, set: &DaemonSet, old: Option<&DaemonSet>) -> Vec<String> {
        if old.is_some_and(|old| template_generation(set) == template_generation(old)) {
            return Vec::new();
        }
        workloads::template_warnings(set)
    }
}

fn template_generation(set: &DaemonSet) -> i64 {
    let annotations = &set.metadata.annotations;
    annotations.at(TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn set_template_generation(set: &mut DaemonSet, generation: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
}

fn validate_spec(set: &DaemonSet, rules: &Rules) -> Faults {
    let nothing = DaemonSetSpec::default();
    let spec = set.spec.as_ref().unwrap_or(&nothing);
    let path = Path::new("spec");
    let leniency = Leniency { invalid_values: rules.invalid_affinity_values, ..Leniency::default() };
    let selector = (!pod_template::is_absent(&spec.selector)).then_some(&spec.selector);
    let selector_path = path.child("selector");
    let mut faults = selectors::validate(selector, leniency, &selector_path);
    let template_path = path.child("template");
    if !pod_template::Selection::of(&spec.selector).matches(pod_template::labels(&spec.template)) {
        faults.push(pod_template::unmatched(&spec.template, &template_path));
    }
    if selector.is_some_and(selectors::is_empty) {
        faults.push(Fault::invalid(
            &selector_path,
            selectors::printed(&spec.selector),
            "empty selector is invalid for daemonset",
        ));
    }
    faults.extend(pod_template::validate(&spec.template, rules, &template_path));
    faults.extend(pod_template::runs_on(&spec.template, "DaemonSet", &template_path));
    faults.extend(negative(&path.child("minReadySeconds"), spec.min_ready_seconds.unwrap_or_default()));
    faults.extend(negative(&path.child("templateGeneration"), template_generation(set)));
    if let Some(strategy) = &spec.update_strategy {
        faults.extend(validate_strategy(strategy, &path.child("updateStrategy")));
    }
    faults
        .extend(spec.revision_history_limit.and_then(|it| negative(&path.child("revisionHistoryLimit"), it)));
    faults
}

fn validate_strategy(strategy: &DaemonSetUpdateStrategy, path: &Path) -> Faults {
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.text(), &strategy.rolling_update) {
        ("OnDelete", _) => Vec::new(),
        ("RollingUpdate", None) => vec![Fault::required(&rolling_path, "")],
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, &rolling_path),
        _ => {
            vec![Fault::not_supported(
                path,
                printed("apps.DaemonSetUpdateStrategy", strategy),
                &["RollingUpdate", "OnDelete"],
            )]
        }
    }
}

fn validate_rolling(rolling: &RollingUpdateDaemonSet, path: &Path) -> Faults {
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let (unavailable_path, surge_path) = (path.child("maxUnavailable"), path.child("maxSurge"));
    let mut faults = workloads::int_or_percent(unavailable, &unavailable_path);
    faults.extend(workloads::int_or_percent(surge, &surge_path));
    faults.extend(workloads::above_all(unavailable, &unavailable_path));
    faults.extend(workloads::above_all(surge, &surge_path));
    match (workloads::amount(unavailable) != 0, workloads::amount(surge) != 0) {
        (true, true) => faults.push(Fault::invalid(
            &surge_path,
            workloads::printed(surge),
            "may not be set when maxUnavailable is non-zero",
        )),
        (false, false) => {
            faults.push(Fault::required(&unavailable_path, "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
    faults
}

fn validate_status(status: &DaemonSetStatus, old: &DaemonSetStatus) -> Faults {
    let wide = |count: Option<i32>| i64::from(count.unwrap_or_default());
    Counts::new(&Path::new("status"))
        .counted(&[
            ("currentNumberScheduled", i64::from(status.current_number_scheduled)),
            ("numberMisscheduled", i64::from(status.number_misscheduled)),
            ("desiredNumberScheduled", i64::from(status.desired_number_scheduled)),
            ("numberReady", i64::from(status.number_ready)),
            ("observedGeneration", status.observed_generation.unwrap_or_default()),
            ("updatedNumberScheduled", wide(status.updated_number_scheduled)),
            ("numberAvailable", wide(status.number_available)),
            ("numberUnavailable", wide(status.number_unavailable)),
            ("collisionCount", wide(status.collision_count)),
        ])
        .growing("collisionCount", status.collision_count, old.collision_count)
        .faults()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{
        check_create, check_update, created, defaulted, merged, updated,
    };

    fn set(more: Value) -> Value {
        let base = json!({
            "metadata": {"name": "w", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            },
        });
        merged(base, json!({"spec": more}))
    }

    #[test]
    fn defaults_are_upstreams() {
        let set = defaulted::<DaemonSets>(set(json!({})));
        let mut spec = serde_json::to_value(set.spec).unwrap();
        spec.as_object_mut().unwrap().remove("template");
        assert_eq!(
            spec,
            json!({
                "revisionHistoryLimit": 10,
                "selector": {"matchLabels": {"a": "b"}},
                "updateStrategy": {
                    "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
                },
            })
        );
    }

    #[test]
    fn faults_of_new_sets_are_upstreams() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"selector": {"matchLabels": {"a": null, "c": "d"}}}),
                vec![
                    r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#,
                ],
            ),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
                ],
            ),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
                ],
            ),
        ] {
            assert_eq!(check_create::<DaemonSets>(set(more.clone())), expected, "{more}");
        }
    }

    #[test]
    fn changes_of_the_template_are_counted() {
        let generation = |set: &Value| set["metadata"]["annotations"][TEMPLATE_GENERATION].clone();
        let old = created::<DaemonSets>(set(json!({})));
        assert_eq!(generation(&old), "1");
        let same =
            updated::<DaemonSets>(merged(old.clone(), json!({"spec": {"minReadySeconds": 1}})), old.clone());
        assert_eq!(generation(&same), "1");
        let more = json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}});
        let changed = updated::<DaemonSets>(merged(old.clone(), more), old);
        assert_eq!(generation(&changed), "2");
    }

    #[test]
    fn bad_values_of_the_selector_excuse_those_of_affinity() {
        let odd = json!([{"key": "a", "operator": "NotIn", "values": ["x x"]}]);
        let term = json!({"labelSelector": {"matchExpressions": odd}, "topologyKey": "t"});
        let affine =
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        for (old, count) in [(json!({}), 1), (json!({"selector": {"matchExpressions": odd}}), 0)] {
            let old = set(old);
            let new = merged(old.clone(), json!({"spec": {"template": {"spec": affine.clone()}}}));
            let faults = check_update::<DaemonSets>(new, old);
            let of_affinity =
                faults.iter().filter(|it| it.starts_with("spec.template.spec.affinity")).count();
            let of_selector = faults.iter().filter(|it| it.starts_with("spec.selector")).count();
            assert_eq!((of_affinity, of_selector), (count, 0), "{faults:?}");
        }
    }
}

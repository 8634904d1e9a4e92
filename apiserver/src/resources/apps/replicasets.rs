//! ReplicaSets: `replicasets` of `apps/v1`.

use api_types::field::{Faults, Path};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus},
    core::v1::PodTemplateSpec,
};
use serde_json::Value;

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        optional::{negative, same},
        pod_spec::Rules,
        pod_template,
        workloads::{self, Counts},
    },
};

/// The strategy of ReplicaSets.
pub(crate) struct ReplicaSets;

impl Strategy for ReplicaSets {
    type Object = ReplicaSet;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short: &["rs"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const REJUDGES_METADATA: bool = false;

    fn mark(raw: &Value, set: &mut ReplicaSet) {
        workloads::mark_selector(raw, set);
    }

    fn default(set: &mut ReplicaSet) {
        let spec = set.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        pod_template::default(spec.template.get_or_insert_default());
    }

    fn prepare_for_create(_cx: &Context<'_>, set: &mut ReplicaSet) {
        workloads::prepare_template(set, None);
        set.status = None;
    }

    fn validate(cx: &Context<'_>, set: &ReplicaSet) -> Faults {
        validate_spec(set, &Rules::default().under(cx))
    }

    fn prepare_for_update(_cx: &Context<'_>, set: &mut ReplicaSet, old: &ReplicaSet) {
        workloads::prepare_template(set, Some(old));
    }

    fn validate_update(cx: &Context<'_>, set: &ReplicaSet, old: &ReplicaSet) -> Faults {
        let mut faults = validate_spec(set, &workloads::template_rules(cx, Some(old)));
        faults.extend(workloads::selector_changed(set, old));
        faults
    }

    fn validate_status_update(_cx: &Context<'_>, set: &ReplicaSet, _old: &ReplicaSet) -> Faults {
        set.status.as_ref().map(validate_status).unwrap_or_default()
    }

    fn warnings(_cx: &Context<'_>, set: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        let of_template = || workloads::template_warnings(set);
        match old {
            None => {
                let name = workloads::name_warning(set.metadata.name.as_deref());
                name.into_iter().chain(of_template()).collect()
            }
            Some(old) if same(&set.spec, &old.spec) => Vec::new(),
            Some(_) => of_template(),
        }
    }
}

fn validate_spec(set: &ReplicaSet, rules: &Rules) -> Faults {
    let (nothing, no_template) = (ReplicaSetSpec::default(), PodTemplateSpec::default());
    let spec = set.spec.as_ref().unwrap_or(&nothing);
    let template = spec.template.as_ref().unwrap_or(&no_template);
    let path = Path::new("spec");
    let mut faults = Vec::new();
    faults.extend(negative(&path.child("replicas"), spec.replicas.unwrap_or_default()));
    faults.extend(negative(&path.child("minReadySeconds"), spec.min_ready_seconds.unwrap_or_default()));
    faults.extend(workloads::replicas_selected(&spec.selector, template, rules, &path));
    faults
}

fn validate_status(status: &ReplicaSetStatus) -> Faults {
    let wide = |count: Option<i32>| i64::from(count.unwrap_or_default());
    let parts = [
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    Counts::new(&Path::new("status"))
        .counted(&[
            ("replicas", i64::from(status.replicas)),
            ("fullyLabeledReplicas", wide(status.fully_labeled_replicas)),
            ("readyReplicas", wide(status.ready_replicas)),
            ("availableReplicas", wide(status.available_replicas)),
            ("observedGeneration", status.observed_generation.unwrap_or_default()),
            ("terminatingReplicas", wide(status.terminating_replicas)),
        ])
        .replicas(
            &parts,
            status.replicas,
            ("readyReplicas", status.ready_replicas),
            status.available_replicas,
        )
        .faults()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{check_create, check_status_update, merged};

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
    fn faults_of_new_sets_are_upstreams() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"replicas": -1, "minReadySeconds": -1}),
                vec![
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                    "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
                vec![
                    r#"spec.selector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator"#,
                    r#"spec.selector: Invalid value: {"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"Near"}]}: invalid label selector"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<ReplicaSets>(set(more.clone())), expected, "{more}");
        }
    }

    #[test]
    fn counts_of_a_status_fit_together() {
        let with = |status: Value| merged(set(json!({})), json!({"status": status}));
        assert_eq!(
            check_status_update::<ReplicaSets>(
                with(json!({"replicas": 1, "fullyLabeledReplicas": 2, "availableReplicas": -1})),
                with(json!({"replicas": 0})),
            ),
            [
                "status.availableReplicas: Invalid value: -1: must be greater than or equal to 0",
                "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
            ]
        );
    }
}

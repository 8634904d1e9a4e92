//! ReplicationControllers: `replicationcontrollers` of `v1`.

use std::collections::BTreeMap;

use api_types::field::{BadValue, Fault, FaultKind, Faults, Path};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus,
};

use crate::{
    registry::strategy::{Context, Dependents, Generation, Names, SelectableField, Strategy},
    resources::shared::{
        names,
        optional::{Entries, negative, same},
        pod_spec::Rules,
        pod_template,
        workloads::{self, Counts},
    },
};

/// Marks fields of an object that could not be converted to this kind.
const NON_CONVERTIBLE: &str = "non-convertible.kubernetes.io";

/// The strategy of ReplicationControllers.
pub(crate) struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    type Object = ReplicationController;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        short: &["rc"],
        categories: &["all"],
        namespaced: true,
    };
    const DEPENDENTS: Dependents = Dependents::Orphan;
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const REJUDGES_METADATA: bool = false;
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField { label: "status.replicas", path: "status.replicas", absent: "0" }];

    fn default(controller: &mut ReplicationController) {
        let spec = controller.spec.get_or_insert_default();
        let labels = spec.template.as_ref().and_then(|it| pod_template::labels(it).clone());
        if let Some(labels) = labels {
            if spec.selector.as_ref().is_none_or(BTreeMap::is_empty) {
                spec.selector = Some(labels.clone());
            }
            if controller.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty) {
                controller.metadata.labels = Some(labels);
            }
        }
        spec.replicas.get_or_insert(1);
        if let Some(template) = &mut spec.template {
            pod_template::default(template);
        }
    }

    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        // Only the whole name is judged here, once it is generated.
        if prefix { Vec::new() } else { names::long_name(name) }
    }

    fn prepare_for_create(_cx: &Context<'_>, controller: &mut ReplicationController) {
        if let Some(template) = controller.spec.as_mut().and_then(|spec| spec.template.as_mut()) {
            pod_template::prepare(template, None);
        }
        controller.status = None;
    }

    fn validate(cx: &Context<'_>, controller: &ReplicationController) -> Faults {
        validate_spec(controller, &Rules::default().under(cx))
    }

    fn prepare_for_update(
        _cx: &Context<'_>,
        controller: &mut ReplicationController,
        old: &ReplicationController,
    ) {
        if let Some(template) = controller.spec.as_mut().and_then(|spec| spec.template.as_mut()) {
            pod_template::prepare(template, self::template(old));
        }
    }

    fn validate_update(
        cx: &Context<'_>,
        controller: &ReplicationController,
        old: &ReplicationController,
    ) -> Faults {
        let mut faults = validate_spec(controller, &pod_template::rules(template(old)).under(cx));
        for (key, value) in old.metadata.annotations.entries() {
            let Some((prefix, field)) = key.split_once('/').filter(|(_, field)| !field.contains('/')) else {
                continue;
            };
            if !prefix.starts_with(NON_CONVERTIBLE) {
                continue;
            }
            if field.contains("selector") {
                let selector =
                    |it: &ReplicationController| it.spec.as_ref().and_then(|spec| spec.selector.clone());
                if !same(&selector(controller), &selector(old)) {
                    faults.push(Fault::invalid(
                        &Path::new("spec.selector"),
                        BadValue::json(&selector(controller)),
                        "cannot update non-convertible selector",
                    ));
                }
            } else {
                faults.push(Fault {
                    kind: FaultKind::NotFound,
                    field: field.to_owned(),
                    value: value.into(),
                    detail: "unknown non-convertible field".to_owned(),
                });
            }
        }
        faults
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        controller: &ReplicationController,
        _old: &ReplicationController,
    ) -> Faults {
        controller.status.as_ref().map(validate_status).unwrap_or_default()
    }

    fn warnings(
        _cx: &Context<'_>,
        controller: &ReplicationController,
        old: Option<&ReplicationController>,
    ) -> Vec<String> {
        let of_template = |controller| {
            let template = template(controller);
            template.map(|it| pod_template::warnings(it, &Path::new("spec.template"))).unwrap_or_default()
        };
        match old {
            None => {
                let name = workloads::name_warning(controller.metadata.name.as_deref());
                name.into_iter().chain(of_template(controller)).collect()
            }
            Some(old) if same(&controller.spec, &old.spec) => Vec::new(),
            // Upstream looks at the old template.
            Some(old) => of_template(old),
        }
    }
}

fn template(controller: &ReplicationController) -> Option<&PodTemplateSpec> {
    controller.spec.as_ref()?.template.as_ref()
}

fn validate_spec(controller: &ReplicationController, rules: &Rules) -> Faults {
    let nothing = ReplicationControllerSpec::default();
    let spec = controller.spec.as_ref().unwrap_or(&nothing);
    let path = Path::new("spec");
    let mut faults = Vec::new();
    faults.extend(negative(&path.child("minReadySeconds"), spec.min_ready_seconds.unwrap_or_default()));
    if spec.selector.as_ref().is_none_or(BTreeMap::is_empty) {
        faults.push(Fault::required(&path.child("selector"), ""));
    }
    match spec.replicas {
        None => faults.push(Fault::required(&path.child("replicas"), "")),
        Some(replicas) => faults.extend(negative(&path.child("replicas"), replicas)),
    }
    let path = path.child("template");
    let Some(template) = &spec.template else {
        faults.push(Fault::required(&path, ""));
        return faults;
    };
    let labels = pod_template::labels(template);
    if spec.selector.entries().any(|(key, value)| labels.at(key) != Some(value)) {
        faults.push(pod_template::unmatched(template, &path));
    }
    faults.extend(pod_template::validate(template, rules, &path));
    faults.extend(pod_template::runs_on(template, "ReplicationController", &path));
    faults
}

fn validate_status(status: &ReplicationControllerStatus) -> Faults {
    let count = |count: Option<i32>| count.unwrap_or_default();
    let wide = |count: Option<i32>| i64::from(count.unwrap_or_default());
    let parts = [
        ("fullyLabeledReplicas", count(status.fully_labeled_replicas)),
        ("readyReplicas", count(status.ready_replicas)),
        ("availableReplicas", count(status.available_replicas)),
    ];
    Counts::new(&Path::new("status"))
        .counted(&[
            ("replicas", i64::from(status.replicas)),
            ("fullyLabeledReplicas", wide(status.fully_labeled_replicas)),
            ("readyReplicas", wide(status.ready_replicas)),
            ("availableReplicas", wide(status.available_replicas)),
            ("observedGeneration", status.observed_generation.unwrap_or_default()),
        ])
        .within(&parts, status.replicas, "status.replicas")
        .within(
            &[("availableReplicas", count(status.available_replicas))],
            count(status.ready_replicas),
            "readyReplicas",
        )
        .faults()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{check_create, defaulted, merged};

    fn controller(more: Value) -> Value {
        let base = json!({
            "metadata": {"name": "w", "namespace": "default"},
            "spec": {"template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }},
        });
        merged(base, json!({"spec": more}))
    }

    #[test]
    fn labels_and_selector_are_those_of_the_template() {
        let controller = defaulted::<ReplicationControllers>(controller(json!({})));
        let spec = controller.spec.unwrap();
        assert_eq!(serde_json::to_value(spec.selector).unwrap(), json!({"a": "b"}));
        assert_eq!(serde_json::to_value(controller.metadata.labels).unwrap(), json!({"a": "b"}));
        assert_eq!(spec.replicas, Some(1));
    }

    #[test]
    fn faults_of_new_controllers_are_upstreams() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"template": null}),
                vec!["spec.selector: Required value", "spec.template: Required value"],
            ),
            (
                json!({"selector": {"x": "y"}, "replicas": -1}),
                vec![
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                    r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<ReplicationControllers>(controller(more.clone())), expected, "{more}");
        }
    }
}

//! Deployments: `deployments` of `apps/v1`.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::apps::v1::{
        Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::Value;

use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Generation, Names, Part, Strategy},
    resources::shared::{
        internal::printed,
        optional::{Text, negative, same},
        pod_spec::Rules,
        pod_template,
        workloads::{self, Counts},
    },
};

/// The strategy of Deployments.
pub(crate) struct Deployments;

impl Strategy for Deployments {
    type Object = Deployment;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short: &["deploy"],
        categories: &["all"],
        namespaced: true,
    };
    const RESETS: &'static [(Part, Reset<'static>)] =
        &[(Part::Status, Reset::Fields(&[&["spec"], &["metadata", "labels"]]))];
    const GENERATION: Generation = Generation::SpecOrAnnotations;
    const STATUS: bool = true;
    const REJUDGES_METADATA: bool = false;

    fn mark(raw: &Value, deployment: &mut Deployment) {
        workloads::mark_selector(raw, deployment);
    }

    fn default(deployment: &mut Deployment) {
        let spec = deployment.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        let strategy = spec.strategy.get_or_insert_default();
        strategy.type_.or_set("RollingUpdate");
        if strategy.type_.text() == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert_with(quarter);
            rolling.max_surge.get_or_insert_with(quarter);
        }
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        pod_template::default(&mut spec.template);
    }

    fn prepare_for_create(_cx: &Context<'_>, deployment: &mut Deployment) {
        workloads::prepare_template(deployment, None);
        deployment.status = None;
    }

    fn validate(cx: &Context<'_>, deployment: &Deployment) -> Faults {
        validate_spec(deployment, &Rules::default().under(cx))
    }

    fn prepare_for_update(_cx: &Context<'_>, deployment: &mut Deployment, old: &Deployment) {
        workloads::prepare_template(deployment, Some(old));
    }

    fn validate_update(cx: &Context<'_>, deployment: &Deployment, old: &Deployment) -> Faults {
        let mut faults = validate_spec(deployment, &workloads::template_rules(cx, Some(old)));
        faults.extend(workloads::selector_changed(deployment, old));
        faults
    }

    fn prepare_for_status_update(_cx: &Context<'_>, deployment: &mut Deployment, old: &Deployment) {
        deployment.metadata.labels.clone_from(&old.metadata.labels);
    }

    fn validate_status_update(_cx: &Context<'_>, deployment: &Deployment, old: &Deployment) -> Faults {
        let nothing = DeploymentStatus::default();
        let status = deployment.status.as_ref().unwrap_or(&nothing);
        validate_status(status, old.status.as_ref().unwrap_or(&nothing))
    }

    fn warnings(_cx: &Context<'_>, deployment: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        let template = || workloads::template_warnings(deployment);
        match old {
            None => {
                let name = workloads::name_warning(deployment.metadata.name.as_deref());
                name.into_iter().chain(template()).collect()
            }
            Some(old)
                if same(&deployment.spec, &old.spec)
                    && deployment.metadata.annotations == old.metadata.annotations =>
            {
                Vec::new()
            }
            Some(_) => template(),
        }
    }
}

fn quarter() -> IntOrString {
    IntOrString::String("25%".to_owned())
}

fn validate_spec(deployment: &Deployment, rules: &Rules) -> Faults {
    let nothing = DeploymentSpec::default();
    let spec = deployment.spec.as_ref().unwrap_or(&nothing);
    let path = Path::new("spec");
    let mut faults = Vec::new();
    faults.extend(negative(&path.child("replicas"), spec.replicas.unwrap_or_default()));
    faults.extend(workloads::replicas_selected(&spec.selector, &spec.template, rules, &path));
    if let Some(strategy) = &spec.strategy {
        faults.extend(validate_strategy(strategy, &path.child("strategy")));
    }
    let ready = spec.min_ready_seconds.unwrap_or_default();
    faults.extend(negative(&path.child("minReadySeconds"), ready));
    faults
        .extend(spec.revision_history_limit.and_then(|it| negative(&path.child("revisionHistoryLimit"), it)));
    if let Some(deadline) = spec.progress_deadline_seconds {
        let path = path.child("progressDeadlineSeconds");
        faults.extend(negative(&path, deadline));
        if deadline <= ready {
            faults.push(Fault::invalid(&path, deadline, "must be greater than minReadySeconds"));
        }
    }
    faults
}

fn validate_strategy(strategy: &DeploymentStrategy, path: &Path) -> Faults {
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.text(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            vec![Fault::forbidden(&rolling_path, "may not be specified when strategy `type` is 'Recreate'")]
        }
        ("Recreate", None) => Vec::new(),
        ("RollingUpdate", None) => {
            vec![Fault::required(&rolling_path, "this should be defaulted and never be nil")]
        }
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, &rolling_path),
        _ => {
            let printed = printed("apps.DeploymentStrategy", strategy);
            vec![Fault::not_supported(path, printed, &["Recreate", "RollingUpdate"])]
        }
    }
}

fn validate_rolling(rolling: &RollingUpdateDeployment, path: &Path) -> Faults {
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let unavailable_path = path.child("maxUnavailable");
    let mut faults = workloads::int_or_percent(unavailable, &unavailable_path);
    faults.extend(workloads::int_or_percent(surge, &path.child("maxSurge")));
    if workloads::amount(unavailable) == 0 && workloads::amount(surge) == 0 {
        let value: BadValue = workloads::printed(unavailable);
        faults.push(Fault::invalid(&unavailable_path, value, "may not be 0 when `maxSurge` is 0"));
    }
    faults.extend(workloads::above_all(unavailable, &unavailable_path));
    faults
}

fn validate_status(status: &DeploymentStatus, old: &DeploymentStatus) -> Faults {
    let wide = |count: Option<i32>| i64::from(count.unwrap_or_default());
    let parts = [
        ("updatedReplicas", status.updated_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    Counts::new(&Path::new("status"))
        .counted(&[
            ("observedGeneration", status.observed_generation.unwrap_or_default()),
            ("replicas", wide(status.replicas)),
            ("updatedReplicas", wide(status.updated_replicas)),
            ("readyReplicas", wide(status.ready_replicas)),
            ("availableReplicas", wide(status.available_replicas)),
            ("unavailableReplicas", wide(status.unavailable_replicas)),
            ("terminatingReplicas", wide(status.terminating_replicas)),
            ("collisionCount", wide(status.collision_count)),
        ])
        .replicas(
            &parts,
            status.replicas.unwrap_or_default(),
            ("readyReplicas", status.ready_replicas),
            status.available_replicas,
        )
        .growing("collisionCount", status.collision_count, old.collision_count)
        .faults()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{
        check_create, check_status_update, check_update, created, defaulted, merged,
    };

    fn deployment(more: Value) -> Value {
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
        let deployment = defaulted::<Deployments>(deployment(json!({"template": null, "selector": null})));
        let mut spec = serde_json::to_value(deployment.spec).unwrap();
        spec.as_object_mut().unwrap().remove("template");
        assert_eq!(
            spec,
            json!({
                "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "selector": {"matchExpressions": []},
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
                },
            })
        );
    }

    #[test]
    fn faults_of_new_deployments_are_upstreams() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"selector": null}),
                vec![
                    "spec.selector: Required value",
                    r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#,
                ],
            ),
            (
                json!({"selector": {"matchLabels": null}}),
                vec!["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
            ),
            (
                json!({"selector": {"matchLabels": {"a": "c"}}}),
                vec![
                    r#"spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`"#,
                ],
            ),
            (
                json!({
                    "replicas": -1, "minReadySeconds": 5, "progressDeadlineSeconds": 5, "revisionHistoryLimit": -1,
                }),
                vec![
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                    "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
                    "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
                ],
            ),
            (
                json!({"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 5}}}),
                vec![
                    r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
                ],
            ),
            (
                json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
                vec![
                    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
                ],
            ),
            (
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}),
                vec![
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
                ],
            ),
            (
                json!({"strategy": {"rollingUpdate": {"maxSurge": "x", "maxUnavailable": "101%"}}}),
                vec![
                    r#"spec.strategy.rollingUpdate.maxSurge: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"#,
                    r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#,
                ],
            ),
        ] {
            let mut object = deployment(json!({}));
            object["spec"] = merged(object["spec"].take(), more.clone());
            if more["selector"]["matchLabels"].is_null() && more.get("selector").is_some_and(Value::is_object)
            {
                object["spec"]["selector"] = json!({});
            }
            assert_eq!(check_create::<Deployments>(object), expected, "{more}");
        }
    }

    #[test]
    fn the_selector_is_for_ever() {
        let old = || created::<Deployments>(deployment(json!({})));
        let new = merged(
            old(),
            json!({"spec": {
                "selector": {"matchLabels": {"c": "d"}},
                "template": {"metadata": {"labels": {"c": "d"}}},
            }}),
        );
        assert_eq!(
            check_update::<Deployments>(new, old()),
            [r#"spec.selector: Invalid value: {"matchLabels":{"a":"b","c":"d"}}: field is immutable"#]
        );
    }

    #[test]
    fn counts_of_a_status_fit_together() {
        let with = |status: Value| merged(deployment(json!({})), json!({"status": status}));
        assert_eq!(
            check_status_update::<Deployments>(
                with(json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 3, "collisionCount": 1})),
                with(json!({"collisionCount": 2})),
            ),
            [
                "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
                "status.collisionCount: Invalid value: 1: cannot be decremented",
            ]
        );
    }
}

//! StatefulSets: `statefulsets` of `apps/v1`.

use std::collections::BTreeMap;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::{
    apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec, StatefulSetStatus},
    core::v1::{PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume},
};
use serde_json::Value;

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::{
        claims,
        internal::printed,
        metadata::{invalid_each, validate_annotations},
        names::{self, dns1123_label},
        optional::{Items, Text, negative, one_of_or_empty_fault, same},
        pod_spec::{Rules, annotations, defaults},
        pod_template,
        selectors::validate_labels,
        workloads::{self, Counts},
    },
};

/// The strategy of StatefulSets.
pub(crate) struct StatefulSets;

impl Strategy for StatefulSets {
    type Object = StatefulSet;

    const NAMES: Names = Names {
        group: "apps",
        version: "v1",
        kind: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        short: &["sts"],
        categories: &["all"],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;
    const REJUDGES_METADATA: bool = false;

    fn mark(raw: &Value, set: &mut StatefulSet) {
        workloads::mark_selector(raw, set);
    }

    fn default(set: &mut StatefulSet) {
        let spec = set.spec.get_or_insert_default();
        spec.pod_management_policy.or_set("OrderedReady");
        let strategy = spec.update_strategy.get_or_insert_default();
        if strategy.type_.text().is_empty() {
            strategy.type_ = Some("RollingUpdate".to_owned());
            strategy.rolling_update.get_or_insert_default();
        }
        if strategy.type_.text() == "RollingUpdate"
            && let Some(rolling) = &mut strategy.rolling_update
        {
            rolling.partition.get_or_insert(0);
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        retention.when_deleted.or_set("Retain");
        retention.when_scaled.or_set("Retain");
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        pod_template::default(&mut spec.template);
        for claim in spec.volume_claim_templates.items_mut() {
            claim.status.get_or_insert_default().phase.or_set("Pending");
            defaults::claim(claim.spec.get_or_insert_default());
        }
    }

    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }

    fn prepare_for_create(_cx: &Context<'_>, set: &mut StatefulSet) {
        drop_disabled(set.spec.get_or_insert_default(), None);
        workloads::prepare_template(set, None);
        set.status = None;
    }

    fn validate(cx: &Context<'_>, set: &StatefulSet) -> Faults {
        let nothing = StatefulSetSpec::default();
        let spec = set.spec.as_ref().unwrap_or(&nothing);
        validate_spec(spec, &Rules::default().under(cx), Leniency::default(), &Path::new("spec"))
    }

    fn prepare_for_update(_cx: &Context<'_>, set: &mut StatefulSet, old: &StatefulSet) {
        drop_disabled(set.spec.get_or_insert_default(), old.spec.as_ref());
        workloads::prepare_template(set, Some(old));
    }

    fn validate_update(cx: &Context<'_>, set: &StatefulSet, old: &StatefulSet) -> Faults {
        let nothing = StatefulSetSpec::default();
        let rules = workloads::template_rules(cx, Some(old));
        let (spec, old) = (set.spec.as_ref().unwrap_or(&nothing), old.spec.as_ref().unwrap_or(&nothing));
        let path = Path::new("spec");
        let mut leniency = Leniency { template: false, claims: true, service_name: true };
        leniency.template = !validate_spec(old, &rules, leniency, &path).is_empty();
        let mut faults = validate_spec(spec, &rules, leniency, &path);
        if !same(&unchangeable(spec), &unchangeable(old)) {
            faults.push(Fault::forbidden(
                &path,
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            ));
        }
        faults
    }

    fn validate_status_update(_cx: &Context<'_>, set: &StatefulSet, old: &StatefulSet) -> Faults {
        let nothing = StatefulSetStatus::default();
        validate_status(set.status.as_ref().unwrap_or(&nothing), old.status.as_ref().unwrap_or(&nothing))
    }

    fn warnings(_cx: &Context<'_>, set: &StatefulSet, old: Option<&StatefulSet>) -> Vec<String> {
        let Some(spec) = &set.spec else { return Vec::new() };
        let mut warnings = Vec::new();
        if !old.is_some_and(|old| same(&set.spec, &old.spec)) {
            warnings.extend(workloads::template_warnings(set));
        }
        for (index, claim) in spec.volume_claim_templates.items().iter().enumerate() {
            let path = Path::new("spec.volumeClaimTemplates").index(index);
            // The two paths differ upstream, too.
            let path = if old.is_some() { path.child("Spec") } else { path };
            warnings.extend(claim.spec.iter().flat_map(|spec| claims::warnings(spec, &path)));
        }
        if spec.revision_history_limit.is_some_and(|limit| limit < 0) {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                    .to_owned(),
            );
        }
        warnings
    }
}

/// What an update may leave as it is, though it would not pass today.
#[derive(Clone, Copy, Debug, Default)]
struct Leniency {
    template: bool,
    claims: bool,
    service_name: bool,
}

/// Takes out what this version keeps behind a switch, unless it is used already.
fn drop_disabled(spec: &mut StatefulSetSpec, old: Option<&StatefulSetSpec>) {
    let rolling =
        |spec: &StatefulSetSpec| spec.update_strategy.as_ref().and_then(|it| it.rolling_update.clone());
    if old.and_then(rolling).is_some_and(|old| old.max_unavailable.is_some()) {
        return;
    }
    if let Some(rolling) = spec.update_strategy.as_mut().and_then(|it| it.rolling_update.as_mut()) {
        rolling.max_unavailable = None;
    }
}

/// The spec without what may change.
fn unchangeable(spec: &StatefulSetSpec) -> StatefulSetSpec {
    StatefulSetSpec {
        replicas: None,
        template: PodTemplateSpec::default(),
        update_strategy: None,
        min_ready_seconds: None,
        ordinals: None,
        revision_history_limit: None,
        persistent_volume_claim_retention_policy: None,
        ..spec.clone()
    }
}

fn validate_spec(spec: &StatefulSetSpec, rules: &Rules, leniency: Leniency, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let policy_path = path.child("podManagementPolicy");
    match spec.pod_management_policy.text() {
        "" => faults.push(Fault::required(&policy_path, "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            faults.push(Fault::invalid(&policy_path, other, "must be 'OrderedReady' or 'Parallel'"));
        }
    }
    faults.extend(validate_strategy(spec, &path.child("updateStrategy")));
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        for (field, policy) in
            [("whenDeleted", &retention.when_deleted), ("whenScaled", &retention.when_scaled)]
        {
            faults.extend(one_of_or_empty_fault(&path.child(field), policy.text(), &["Retain", "Delete"]));
        }
    }
    if !leniency.claims {
        for (index, claim) in spec.volume_claim_templates.items().iter().enumerate() {
            let path = path.child("volumeClaimTemplates").index(index).child("spec");
            let nothing = k8s_openapi::api::core::v1::PersistentVolumeClaimSpec::default();
            faults.extend(claims::validate(
                claim.spec.as_ref().unwrap_or(&nothing),
                claims::Leniency::default(),
                &path,
            ));
        }
    }
    faults.extend(negative(&path.child("replicas"), spec.replicas.unwrap_or_default()));
    faults.extend(negative(&path.child("minReadySeconds"), spec.min_ready_seconds.unwrap_or_default()));
    if let Some(ordinals) = &spec.ordinals {
        faults.extend(negative(&path.child("ordinals.start"), ordinals.start.unwrap_or_default()));
    }
    let service = spec.service_name.text();
    if !(leniency.service_name || service.is_empty()) {
        faults.extend(invalid_each(&path.child("serviceName"), service, dns1123_label(service)));
    }
    faults.extend(workloads::selected(&spec.selector, &spec.template, "statefulset", "", path, |path| {
        validate_template(spec, rules, leniency, path)
    }));
    faults.extend(pod_template::runs_on(&spec.template, "StatefulSet", &path.child("template")));
    faults
}

/// Faults of the template as the controller will use it: names are its own, and claims are volumes.
fn validate_template(spec: &StatefulSetSpec, rules: &Rules, leniency: Leniency, path: &Path) -> Faults {
    let mut template = spec.template.clone();
    let pod = template.spec.get_or_insert_default();
    pod.subdomain = None;
    pod.hostname = None;
    let claimed: BTreeMap<&str, Volume> = spec
        .volume_claim_templates
        .items()
        .iter()
        .map(|claim| {
            let name = claim.metadata.name.text();
            let source = PersistentVolumeClaimVolumeSource { claim_name: name.to_owned(), read_only: None };
            let volume =
                Volume { name: name.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() };
            (name, volume)
        })
        .collect();
    if !claimed.is_empty() {
        let own = pod.volumes.take().into_iter().flatten();
        let own: Vec<Volume> = own.filter(|volume| !claimed.contains_key(volume.name.as_str())).collect();
        pod.volumes = Some(claimed.into_values().chain(own).collect());
    }
    let mut faults = Vec::new();
    if !leniency.template {
        faults.extend(pod_template::validate(&template, rules, path));
    }
    // Upstream looks at these once more.
    let (labels, annotations) =
        (pod_template::labels(&template), pod_template::template_annotations(&template));
    let annotations_path = path.child("annotations");
    faults.extend(validate_labels(labels.as_ref(), &path.child("labels")));
    faults.extend(validate_annotations(annotations.as_ref(), &annotations_path));
    if let Some(pod) = &template.spec {
        faults.extend(annotations::validate(annotations, pod, rules, &annotations_path));
    }
    faults
}

fn validate_strategy(spec: &StatefulSetSpec, path: &Path) -> Faults {
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.text(), &strategy.rolling_update) {
        ("", _) => vec![Fault::required(path, "")],
        ("OnDelete", Some(rolling)) => vec![Fault::invalid(
            &rolling_path,
            printed("apps.RollingUpdateStatefulSetStrategy", rolling),
            "only allowed for updateStrategy 'RollingUpdate'",
        )],
        ("OnDelete" | "RollingUpdate", None) => Vec::new(),
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, &rolling_path),
        _ => vec![Fault::invalid(
            path,
            printed("apps.StatefulSetUpdateStrategy", &strategy),
            "must be 'RollingUpdate' or 'OnDelete'",
        )],
    }
}

fn validate_rolling(rolling: &RollingUpdateStatefulSetStrategy, path: &Path) -> Faults {
    let mut faults: Faults =
        negative(&path.child("partition"), rolling.partition.unwrap_or_default()).into_iter().collect();
    let Some(unavailable) = &rolling.max_unavailable else { return faults };
    let path = path.child("maxUnavailable");
    faults.extend(workloads::int_or_percent(unavailable, &path));
    if workloads::amount(unavailable) == 0 {
        faults.push(Fault::invalid(&path, workloads::printed(unavailable), "cannot be 0"));
    }
    faults.extend(workloads::above_all(unavailable, &path));
    faults
}

fn validate_status(status: &StatefulSetStatus, old: &StatefulSetStatus) -> Faults {
    let wide = |count: Option<i32>| i64::from(count.unwrap_or_default());
    let parts = [
        ("readyReplicas", status.ready_replicas),
        ("currentReplicas", status.current_replicas),
        ("updatedReplicas", status.updated_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    Counts::new(&Path::new("status"))
        .counted(&[
            ("replicas", i64::from(status.replicas)),
            ("readyReplicas", wide(status.ready_replicas)),
            ("currentReplicas", wide(status.current_replicas)),
            ("updatedReplicas", wide(status.updated_replicas)),
            ("availableReplicas", wide(status.available_replicas)),
            ("observedGeneration", status.observed_generation.unwrap_or_default()),
            ("collisionCount", wide(status.collision_count)),
        ])
        .replicas(
            &parts,
            status.replicas,
            ("status.readyReplicas", status.ready_replicas),
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
        check_create, check_update, created, defaulted, merged, warnings,
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
        let set = defaulted::<StatefulSets>(set(json!({
            "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {}}],
        })));
        let mut spec = serde_json::to_value(set.spec).unwrap();
        spec.as_object_mut().unwrap().remove("template");
        assert_eq!(
            spec,
            json!({
                "replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
                "selector": {"matchLabels": {"a": "b"}},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "volumeClaimTemplates": [{
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "v"}, "spec": {"volumeMode": "Filesystem"},
                    "status": {"phase": "Pending"},
                }],
            })
        );
    }

    #[test]
    fn faults_of_new_sets_are_upstreams() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"podManagementPolicy": "Odd", "updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}}),
                vec![
                    r#"spec.podManagementPolicy: Invalid value: "Odd": must be 'OrderedReady' or 'Parallel'"#,
                    "spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":0,\"MaxUnavailable\":null}: only allowed for updateStrategy 'RollingUpdate'",
                ],
            ),
            (
                json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Odd"}}),
                vec![
                    r#"spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Odd": supported values: "Retain", "Delete""#,
                ],
            ),
            (
                json!({"ordinals": {"start": -1}, "replicas": -1}),
                vec![
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                    "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
        ] {
            assert_eq!(check_create::<StatefulSets>(set(more.clone())), expected, "{more}");
        }
    }

    #[test]
    fn claims_are_volumes_that_containers_may_mount() {
        let with_claim = |name: &str| {
            set(json!({
                "template": {"spec": {"containers": [{
                    "name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }]}},
                "volumeClaimTemplates": [{
                    "metadata": {"name": name},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }],
            }))
        };
        assert_eq!(check_create::<StatefulSets>(with_claim("data")), Vec::<String>::new());
        assert_eq!(
            check_create::<StatefulSets>(with_claim("other")),
            [r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#]
        );
    }

    #[test]
    fn most_of_a_set_is_for_ever() {
        let old = || created::<StatefulSets>(set(json!({"serviceName": "s"})));
        let change = |more: Value| check_update::<StatefulSets>(merged(old(), json!({"spec": more})), old());
        assert_eq!(
            change(
                json!({"replicas": 3, "minReadySeconds": 1, "template": {"spec": {"nodeSelector": {"a": "b"}}}})
            ),
            Vec::<String>::new()
        );
        for more in [json!({"serviceName": "t"}), json!({"podManagementPolicy": "Parallel"})] {
            assert_eq!(
                change(more.clone()),
                [
                    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
                ],
                "{more}"
            );
        }
    }

    #[test]
    fn an_endless_history_is_warned_of() {
        assert_eq!(
            warnings::<StatefulSets>(set(json!({"revisionHistoryLimit": -1}))),
            [
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
            ]
        );
    }
}

//! What may change of a pod that is there: images, deadlines, tolerations added, gates taken away.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::core::v1::{
    Affinity, Container, NodeAffinity, NodeSelectorTerm, Pod, PodSchedulingGate, PodSpec, Toleration,
};

use super::{rules, validate_spec};
use crate::registry::strategy::Context;
use crate::resources::shared::{
    internal::{difference, printed},
    names::between,
    optional::{Entries, Items, Text, same},
    pod_spec::{Rules, annotations, scheduling},
};

const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Everything that is wrong with a changed pod and with the change.
pub(super) fn validate(cx: &Context<'_>, pod: &Pod, old: &Pod) -> Faults {
    let rules = rules(cx, old);
    let mut faults = validate_spec(pod, &rules);
    let nothing = PodSpec::default();
    let (spec, old_spec) = (pod.spec.as_ref().unwrap_or(&nothing), old.spec.as_ref().unwrap_or(&nothing));
    let annotations_path = Path::new("metadata.annotations");
    let (annotations, old_annotations) = (&pod.metadata.annotations, &old.metadata.annotations);
    faults.extend(annotations::validate_update(annotations, old_annotations, &annotations_path));
    faults.extend(annotations::validate(annotations, spec, &rules, &annotations_path));
    let path = Path::new("spec");
    let (init, old_init) = (spec.init_containers.items(), old_spec.init_containers.items());
    for (containers, old, field) in [
        (spec.containers.as_slice(), old_spec.containers.as_slice(), "containers"),
        (init, old_init, "initContainers"),
    ] {
        let path = path.child(field);
        if containers.len() != old.len() {
            faults.push(Fault::forbidden(&path, "pod updates may not add or remove containers"));
            return faults;
        }
        faults.extend(images(containers, &path));
    }
    let deadline_path = path.child("activeDeadlineSeconds");
    match (spec.active_deadline_seconds, old_spec.active_deadline_seconds) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            faults.push(Fault::invalid(&deadline_path, new, between(0, i64::from(i32::MAX))));
            return faults;
        }
        (Some(new), Some(old)) if old < new => {
            faults.push(Fault::invalid(&deadline_path, new, "must be less than or equal to previous value"));
            return faults;
        }
        (None, Some(_)) => faults.push(Fault::invalid(
            &deadline_path,
            serde_json::Value::Null,
            "must not update from a positive integer to nil value",
        )),
        _ => {}
    }
    faults.extend(only_added_tolerations(
        spec.tolerations.items(),
        old_spec.tolerations.items(),
        &rules,
        &path.child("tolerations"),
    ));
    faults.extend(only_deleted_gates(
        spec.scheduling_gates.items(),
        old_spec.scheduling_gates.items(),
        &path.child("schedulingGates"),
    ));
    if same(spec, old_spec) {
        return faults;
    }
    let mut rest = with_changeable_of(spec, old_spec);
    if !old_spec.scheduling_gates.items().is_empty() {
        faults.extend(change_of_gated(&mut rest, old_spec, &path));
    }
    if !same(&rest, old_spec) {
        let differences = difference("core.PodSpec", old_spec, &rest);
        faults.push(Fault::forbidden(
            &path,
            format!("pod updates may not change fields other than {CHANGEABLE}\n{differences}"),
        ));
    }
    faults
}

/// The new spec with the old values of what may change.
fn with_changeable_of(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let with_image_of = |new: &[Container], old: &[Container]| -> Vec<Container> {
        new.iter().zip(old).map(|(new, old)| Container { image: old.image.clone(), ..new.clone() }).collect()
    };
    let mut rest = new.clone();
    rest.containers = with_image_of(&new.containers, &old.containers);
    if rest.init_containers.is_some() {
        rest.init_containers = Some(with_image_of(new.init_containers.items(), old.init_containers.items()));
    }
    rest.active_deadline_seconds = old.active_deadline_seconds;
    rest.scheduling_gates.clone_from(&old.scheduling_gates);
    rest.tolerations.clone_from(&old.tolerations);
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && rest.termination_grace_period_seconds == Some(1)
    {
        rest.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    rest
}

fn images(containers: &[Container], path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index).child("image");
        let image = container.image.text();
        if image.is_empty() {
            faults.push(Fault::required(&path, ""));
        }
        if image.trim() != image {
            faults.push(Fault::invalid(&path, image, "must not have leading or trailing whitespace"));
        }
    }
    faults
}

fn only_added_tolerations(new: &[Toleration], old: &[Toleration], rules: &Rules, path: &Path) -> Faults {
    let kept = |old: &Toleration| {
        new.iter().any(|new| {
            let seconds = new.toleration_seconds;
            *new == Toleration { toleration_seconds: seconds, ..old.clone() }
        })
    };
    if !old.iter().all(kept) {
        return vec![Fault::forbidden(
            path,
            "existing toleration can not be modified except its tolerationSeconds",
        )];
    }
    scheduling::tolerations(new, rules, path)
}

fn only_deleted_gates(new: &[PodSchedulingGate], old: &[PodSchedulingGate], path: &Path) -> Faults {
    new.iter()
        .enumerate()
        .filter(|(_, gate)| !old.contains(gate))
        .map(|(index, gate)| {
            Fault::forbidden(
                &path.index(index).child("name"),
                format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name),
            )
        })
        .collect()
}

/// Faults of what may change, within bounds, as long as a pod is not scheduled; then takes the change out.
fn change_of_gated(rest: &mut PodSpec, old: &PodSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if !same(&rest.node_selector, &old.node_selector) {
        let kept = old.node_selector.entries().all(|(key, value)| rest.node_selector.at(key) == Some(value));
        if !kept {
            faults.push(Fault::invalid(
                &path.child("nodeSelector"),
                BadValue::json(&rest.node_selector),
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            ));
        }
        rest.node_selector.clone_from(&old.node_selector);
    }
    let of_nodes =
        |spec: &PodSpec| spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
    let (new_affinity, old_affinity) = (of_nodes(rest), of_nodes(old));
    if same(&new_affinity, &old_affinity) {
        return faults;
    }
    faults.extend(only_stricter_affinity(
        new_affinity.as_ref(),
        old_affinity.as_ref(),
        &path.child("affinity.nodeAffinity"),
    ));
    match (&mut rest.affinity, &old.affinity) {
        (None, _) if old_affinity.is_none() => {}
        (None, _) => rest.affinity = Some(Affinity { node_affinity: old_affinity, ..Affinity::default() }),
        (Some(affinity), None) if affinity.pod_affinity.is_none() && affinity.pod_anti_affinity.is_none() => {
            rest.affinity = None;
        }
        (Some(affinity), _) => affinity.node_affinity = old_affinity,
    }
    faults
}

fn only_stricter_affinity(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, path: &Path) -> Faults {
    let terms = |affinity: Option<&NodeAffinity>| -> Vec<NodeSelectorTerm> {
        affinity
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref())
            .map(|selector| selector.node_selector_terms.clone())
            .unwrap_or_default()
    };
    let path = path.child("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let (new, old) = (terms(new), terms(old));
    if old.is_empty() {
        return Vec::new();
    }
    if old.len() != new.len() {
        return vec![Fault::invalid(
            &path,
            printed("[core.NodeSelectorTerm", &new),
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        )];
    }
    new.iter()
        .zip(&old)
        .enumerate()
        .filter(|(_, (new, old))| !has_only_additions(new, old))
        .map(|(index, (new, _))| {
            Fault::invalid(
                &path.index(index),
                printed("core.NodeSelectorTerm", new),
                "only additions are allowed (no mutations or deletions)",
            )
        })
        .collect()
}

fn has_only_additions(new: &NodeSelectorTerm, old: &NodeSelectorTerm) -> bool {
    let (expressions, fields) = (new.match_expressions.items(), new.match_fields.items());
    let (old_expressions, old_fields) = (old.match_expressions.items(), old.match_fields.items());
    // A term that requires nothing matches nothing, so that any requirement would loosen it.
    if old_expressions.is_empty() && old_fields.is_empty() {
        return expressions.is_empty() && fields.is_empty();
    }
    expressions.starts_with(old_expressions) && fields.starts_with(old_fields)
}

//! Going back to an earlier template because an annotation says so: what the field `rollbackTo` of the API of old has
//! become. kubectl does without it.

use client::{
    Plan, Write,
    controller::{Report, Request},
    events::{Note, ObjectRef},
    resource::DEPLOYMENTS,
};
use serde_json::{Map, Value, json};

use super::{Set, Work, history};
use crate::{kinds::Deployment, template::HASH_LABEL};

/// To which revision; to the last one if 0.
pub(super) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// The revision to go back to, if somebody wants that. What is no number is ignored.
pub(super) fn wanted(root: &Deployment) -> Option<i64> {
    root.metadata.annotations.get(ROLLBACK_TO)?.parse().ok()
}

/// Goes back to a revision, or says why not; either way that is no longer wanted afterwards.
pub(super) fn roll_back(root: &Deployment, work: &Work<'_>, revision: i64) -> Plan {
    let warn = |why: &'static str, reason: &'static str, message: String| {
        let note = Note::warning(reason, message);
        let forget = json!({"metadata": {"annotations": {ROLLBACK_TO: null}}});
        Plan::because(why)
            .then(Write::event(ObjectRef::to(root), note))
            .then(Request::merge(DEPLOYMENTS, root.metadata.key(), forget).if_unchanged(&root.metadata))
    };
    let not_found = |message: &str| {
        warn(
            "there is no such revision to go back to",
            "DeploymentRollbackRevisionNotFound",
            message.to_owned(),
        )
    };
    let revision = match revision {
        0 => match last_revision(work.all()) {
            0 => return not_found("Unable to find last revision."),
            last => last,
        },
        revision => revision,
    };
    let Some(set) = work.all().find(|set| history::revision(set) == Some(revision)) else {
        return not_found("Unable to find the revision to rollback to.");
    };
    let name = &root.metadata.name;
    if set.is.spec.template.is_like(&root.spec.template) {
        let message =
            format!("The rollback revision contains the same template as current deployment \"{name}\"");
        return warn("the Deployment is at that revision", "DeploymentRollbackTemplateUnchanged", message);
    }
    let mut wanted = set.is.spec.template.to_value();
    if let Some(labels) = wanted.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    let document = json!({
        "metadata": {"annotations": annotations(root, set)},
        "spec": {"template": difference(&root.spec.template.to_value(), &wanted)},
    });
    let message = format!("Rolled back deployment \"{name}\" to revision {revision}");
    let done = Some(Note::normal("DeploymentRollback", message));
    let request = Request::merge(DEPLOYMENTS, root.metadata.key(), document)
        .if_unchanged(&root.metadata)
        .reporting(Report { about: ObjectRef::to(root), done, failed: None });
    Plan::because(format!("the Deployment goes back to revision {revision}")).then(request)
}

/// The revision before the newest.
fn last_revision<'a>(sets: impl Iterator<Item = &'a Set>) -> i64 {
    let mut all: Vec<i64> = sets.filter_map(history::revision).collect();
    all.sort_unstable();
    all.iter().rev().nth(1).copied().unwrap_or_default()
}

/// The annotations of the revision come back with it, its change-cause among them, and the Deployment's own go.
fn annotations(root: &Deployment, set: &Set) -> Value {
    let gone = root.metadata.annotations.iter().filter(|(name, _)| history::is_of_template(name));
    let mut all: Map<String, Value> = gone.map(|(name, _)| (name.to_owned(), Value::Null)).collect();
    let back = set.is.metadata.annotations.iter().filter(|(name, _)| history::is_of_template(name));
    all.extend(back.map(|(name, value)| (name.to_owned(), value.into())));
    all.insert(ROLLBACK_TO.to_owned(), Value::Null);
    all.into()
}

/// The merge patch (RFC 7396) that makes one value of another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (from, to) else { return to.clone() };
    let mut patch: Map<String, Value> =
        old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null)).collect();
    for (name, value) in new {
        match old.get(name) {
            Some(same) if same == value => {}
            Some(other) => drop(patch.insert(name.clone(), difference(other, value))),
            None => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    patch.into()
}

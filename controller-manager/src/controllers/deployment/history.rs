//! Revisions: each template a Deployment has had is a number, kept on its ReplicaSet; `kubectl rollout` reads them.

use super::Set;
use crate::kinds::Deployment;

/// The number of a template.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers a template had before, when the Deployment has come back to it.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many Pods the Deployment wanted when the ReplicaSet was sized: another number means that it was scaled since.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many Pods it allowed then.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// The history is at most so long, about a hundred revisions.
const HISTORY_MAX: usize = 2000;

/// Annotations that are not a template's, so that its ReplicaSet does not get them.
const NOT_COPIED: [&str; 6] =
    [client::meta::LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED, MAX, super::rollback::ROLLBACK_TO];

/// Whether an annotation belongs to a template: it goes with that to the ReplicaSet, and comes back with it.
pub(super) fn is_of_template(name: &str) -> bool {
    !NOT_COPIED.contains(&name)
}

/// The number of a ReplicaSet's template; `None` if what stands there is none.
pub(super) fn revision(set: &Set) -> Option<i64> {
    set.annotation(REVISION).map_or(Some(0), |text| text.parse().ok())
}

/// The greatest number.
pub(super) fn max_revision<'a>(sets: impl Iterator<Item = &'a Set>) -> i64 {
    sets.filter_map(revision).max().unwrap_or_default().max(0)
}

/// Gives the new ReplicaSet the Deployment's annotations (the change-cause among them), and the newest number. A number it
/// had before goes into its history.
pub(super) fn annotate_new(root: &Deployment, new: &mut Set, newest: i64) {
    for (name, value) in root.metadata.annotations.iter() {
        if is_of_template(name) {
            new.annotate(name, value);
        }
    }
    let before = new.annotation(REVISION).map(str::to_owned);
    // One that is no number is left to whoever wrote it.
    let Some(number) = revision(new) else { return };
    if number >= newest {
        return;
    }
    new.annotate(REVISION, &newest.to_string());
    if let Some(before) = before {
        let history = longer(new.annotation(REVISION_HISTORY).unwrap_or_default(), &before);
        if let Some(history) = history {
            new.annotate(REVISION_HISTORY, &history);
        }
    }
}

/// Notes for what size of the Deployment a ReplicaSet is sized.
pub(super) fn annotate_size(root: &Deployment, set: &mut Set) {
    set.annotate(DESIRED, &root.spec.replicas.to_string());
    set.annotate(MAX, &(root.spec.replicas + root.max_surge()).to_string());
}

/// A history with one more number, and without as many of the oldest as it then has too many.
fn longer(history: &str, number: &str) -> Option<String> {
    if history.is_empty() {
        return Some(number.to_owned());
    }
    let mut rest = history;
    while rest.len() + 1 + number.len() > HISTORY_MAX {
        match rest.split_once(',') {
            Some((_, newer)) => rest = newer,
            None => return (number.len() <= HISTORY_MAX).then(|| number.to_owned()),
        }
    }
    Some(format!("{rest},{number}"))
}

/// How many Pods the Deployment wanted, or allowed, when a ReplicaSet was sized.
pub(super) fn size(set: &Set, annotation: &str) -> Option<i32> {
    set.annotation(annotation)?.parse().ok().filter(|size| *size >= 0)
}

#[cfg(test)]
mod history_tests {
    use super::*;

    #[test]
    fn a_history_grows_until_it_is_too_long_and_then_forgets_the_oldest() {
        assert_eq!(longer("", "3").as_deref(), Some("3"));
        assert_eq!(longer("1,2", "3").as_deref(), Some("1,2,3"));
        let long = vec!["12345"; 333].join(",");
        assert_eq!(long.len(), 1997);
        let after = longer(&long, "99999").unwrap();
        assert!(after.len() <= HISTORY_MAX && after.ends_with(",99999") && after.starts_with("12345,"));
        assert_eq!(after.split(',').count(), 333);
    }
}

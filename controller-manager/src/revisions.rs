//! The history of a DaemonSet or StatefulSet: one ControllerRevision a template, numbered; `kubectl rollout` reads it.
//!
//! A revision holds the patch that brings its template back. The newest number is the wanted template's; one that comes
//! back gets a new number and keeps its object and name.
//!
//! Invariant: values only. Names are made of a hash of the template ([`Template::hash`]), and of how often that hash was
//! taken by another one.

use std::sync::Arc;

use client::{
    Caches, Key, Meta, Owner, Resource,
    controller::{Patch, Request},
    resource::CONTROLLER_REVISIONS,
};
use serde_json::{Value, json};

use crate::{kinds::ControllerRevision, template::Template};

/// A name's prefix is cut to this, so that a hash fits behind it.
const PREFIX_MAX: usize = 223;

/// The revision of the wanted template, among those there are.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// It is the newest.
    Newest(Arc<ControllerRevision>),
    /// It is there from before and gets this number.
    Back(Arc<ControllerRevision>, i64),
    /// It is to be made with this number.
    Missing(i64),
}

/// A name for a revision that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Free {
    /// The name.
    pub name: String,
    /// The hash in it.
    pub hash: String,
    /// How often the hash was taken already.
    pub collisions: Option<i32>,
}

/// Puts the oldest first.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by_cached_key(|it| {
        (it.revision, it.metadata.creation_timestamp, Arc::clone(&it.metadata.name))
    });
}

/// Finds the revision of a template among those of one owner, oldest first.
pub fn wanted(revisions: &[Arc<ControllerRevision>], template: &Template) -> Wanted {
    let Some(newest) = revisions.last() else { return Wanted::Missing(1) };
    match revisions.iter().rev().find(|it| it.is_of(template)) {
        Some(same) if same.revision >= newest.revision => Wanted::Newest(Arc::clone(same)),
        Some(same) => Wanted::Back(Arc::clone(same), newest.revision + 1),
        None => Wanted::Missing(newest.revision + 1),
    }
}

/// A name that no revision of the namespace has.
pub fn free(owner: &Meta, template: &Template, collisions: Option<i32>, caches: &Caches) -> Free {
    let there = caches.read::<ControllerRevision>();
    let mut free = Free { name: String::new(), hash: String::new(), collisions };
    loop {
        free.hash = template.hash(free.collisions);
        free.name = name(&owner.name, &free.hash);
        if there.get(&Key::new(&owner.namespace, &free.name)).is_none() {
            return free;
        }
        free.collisions = Some(free.collisions.unwrap_or_default().saturating_add(1));
    }
}

fn name(prefix: &str, hash: &str) -> String {
    // Names are ASCII; what is not is left whole and refused by the server.
    format!("{}-{hash}", prefix.get(..PREFIX_MAX).unwrap_or(prefix))
}

/// Makes a revision of a template for an owner; `label` names the label that carries the hash.
pub fn create(
    resource: &Resource,
    owner: &Meta,
    template: &Template,
    free: &Free,
    number: i64,
    label: &str,
) -> Request {
    let mut patch = template.to_value();
    patch["$patch"] = "replace".into();
    let mut labels = json!(template.labels());
    labels[label] = free.hash.as_str().into();
    let mut metadata = json!({
        "name": free.name,
        "namespace": owner.namespace,
        "labels": labels,
        "ownerReferences": [Owner::controller_of(resource, owner)],
    });
    if !owner.annotations.is_empty() {
        metadata["annotations"] = json!(owner.annotations);
    }
    let object = json!({"metadata": metadata, "data": {"spec": {"template": patch}}, "revision": number});
    Request::create(CONTROLLER_REVISIONS, &owner.namespace, object)
}

/// Gives a revision another number.
pub fn renumber(revision: &ControllerRevision, number: i64) -> Request {
    patch(revision, json!({"revision": number}))
}

/// Changes a revision as it was seen.
pub fn patch(revision: &ControllerRevision, change: Value) -> Request {
    Request::patch(CONTROLLER_REVISIONS, revision.metadata.key(), Patch::merge(change))
        .if_unchanged(&revision.metadata)
}

/// Deletes so many of these revisions, the oldest first, but none that is needed.
pub fn truncate(
    old: &[Arc<ControllerRevision>],
    surplus: usize,
    needed: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Request> {
    let deletable = old.iter().filter(|it| !needed(it) && !it.metadata.is_terminating());
    deletable.take(surplus).map(|it| Request::delete(CONTROLLER_REVISIONS, &it.metadata)).collect()
}

#[cfg(test)]
mod tests {
    use client::{controller::Verb, resource::DAEMON_SETS, testing::Filled};

    use super::*;

    fn template(image: &str) -> Template {
        serde_json::from_value(json!({
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]},
        }))
        .unwrap()
    }

    fn revision(name: &str, number: i64, image: &str) -> Arc<ControllerRevision> {
        let mut patch = template(image).to_value();
        patch["$patch"] = "replace".into();
        let object = json!({
            "metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": "1"},
            "revision": number, "data": {"spec": {"template": patch}},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_template_that_comes_back_gets_a_new_number() {
        let all = [revision("a", 1, "one"), revision("b", 2, "two"), revision("c", 3, "three")];
        assert!(matches!(wanted(&all, &template("three")), Wanted::Newest(it) if &*it.metadata.name == "c"));
        assert!(matches!(wanted(&all, &template("one")), Wanted::Back(it, 4) if &*it.metadata.name == "a"));
        assert!(matches!(wanted(&all, &template("four")), Wanted::Missing(4)));
        assert!(matches!(wanted(&[], &template("one")), Wanted::Missing(1)));
    }

    #[test]
    fn what_is_made_is_recognised_and_a_taken_name_is_left_alone() {
        let owner = Meta { namespace: "ns".into(), name: "web".into(), uid: "u".into(), ..Meta::default() };
        let empty = Filled::new().with::<ControllerRevision>([]).caches();
        let first = free(&owner, &template("one"), None, &empty);
        assert_eq!((first.name, first.collisions), (format!("web-{}", first.hash), None));
        let taken = json!({"metadata": {"namespace": "ns", "name": format!("web-{}", first.hash)}});
        let taken = Filled::new().with::<ControllerRevision>([taken]).caches();
        let second = free(&owner, &template("one"), None, &taken);
        assert_eq!(second.collisions, Some(1));
        assert_ne!(second.hash, first.hash);

        let made = create(&DAEMON_SETS, &owner, &template("one"), &second, 7, "hash");
        let Verb::Create(object) = made.verb else { panic!("a create") };
        assert_eq!(object["metadata"]["labels"], json!({"a": "b", "hash": second.hash}));
        assert_eq!(object["data"]["spec"]["template"]["$patch"], "replace");
        let read: ControllerRevision = serde_json::from_value((*object).clone()).unwrap();
        assert!(read.is_of(&template("one")) && !read.is_of(&template("two")) && read.revision == 7);
    }

    #[test]
    fn the_oldest_that_nobody_needs_go() {
        let all = [revision("a", 1, "one"), revision("b", 2, "two"), revision("c", 3, "three")];
        let gone = truncate(&all, 1, |it| it.revision == 1);
        assert_eq!(gone.iter().map(|it| &*it.key.name).collect::<Vec<_>>(), ["b"]);
        assert!(truncate(&all, 0, |_| false).is_empty());
    }
}

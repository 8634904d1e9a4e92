//! What becomes of an object.
//!
//! Invariant: values only; whom to ask is part of the answer.

use client::{
    Owner, Plan, Write,
    controller::{DeleteOptions, Patch, Preconditions, Propagation, Request},
    events::{Note, ObjectRef},
};
use serde_json::{Value, json};

use super::{
    FOREGROUND, ORPHAN,
    graph::{Node, Uid, View, deletes_dependents, orphans_dependents},
    without_owners,
};

/// An owner at the place where a reference looks for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Absent {
    pub(super) namespace: Box<str>,
    pub(super) api_version: Box<str>,
    pub(super) kind: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
}

/// What becomes of an object.
#[derive(Debug)]
pub(super) enum Decision {
    /// It stays, and why.
    Nothing(&'static str),
    /// Ask the server whether this owner is there, and decide again.
    Ask(Absent),
    /// Do this, then look at these.
    Do { plan: Plan, then: Vec<Uid> },
}

/// What an owner is to the object that names it.
enum Standing {
    /// It is there, or cannot be told not to be.
    Solid,
    /// It is gone.
    Dangling,
    /// It is going, and waits for the object to go first.
    Waiting,
}

/// Decides what becomes of an object. `asked` tells what the server said of an owner, if it was asked.
pub(super) fn decide(view: &View, asked: &dyn Fn(&Absent) -> Option<bool>) -> Decision {
    let meta = &view.object.metadata;
    if orphans_dependents(meta) {
        return orphan(view);
    }
    if deletes_dependents(meta) {
        return wait_for_dependents(view);
    }
    if meta.is_terminating() {
        return Decision::Nothing("the object is on its way out");
    }
    let mut dangling = Vec::new();
    let mut waiting = Vec::new();
    let mut solid = 0_usize;
    for (owner, known) in meta.owners.iter().zip(&view.owners) {
        match standing(view, owner, known.as_ref(), asked) {
            Ok(Standing::Solid) => solid += 1,
            Ok(Standing::Dangling) => dangling.push(&*owner.uid),
            Ok(Standing::Waiting) => waiting.push(&*owner.uid),
            Err(decision) => return decision,
        }
    }
    let gone: Vec<_> = dangling.into_iter().chain(waiting.iter().copied()).collect();
    if gone.is_empty() {
        return Decision::Nothing("all owners are there");
    }
    if solid > 0 {
        let plan = Plan::because("some owners are gone or going, others are there").then(without_owners(
            &view.resource,
            meta,
            &gone,
        ));
        return Decision::Do { plan, then: Vec::new() };
    }
    if !waiting.is_empty() && !view.dependents.is_empty() {
        let mut plan = Plan::because("its owners wait for it to go, and it owns others itself");
        if view.dependents.iter().any(Node::deletes_dependents) {
            // Owners in a circle would wait for each other for ever.
            plan.why = "its owners wait for it to go, and it waits in a circle with what it owns".into();
            plan = plan.then(unblock(view));
            return Decision::Do {
                plan: plan.then(delete(view, Propagation::Foreground, false)),
                then: Vec::new(),
            };
        }
        return Decision::Do {
            plan: plan.then(delete(view, Propagation::Foreground, true)),
            then: Vec::new(),
        };
    }
    let propagation = if meta.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if meta.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let why = if waiting.is_empty() { "all its owners are gone" } else { "its owners wait for it to go" };
    let plan = Plan::because(why).then(delete(view, propagation, true));
    Decision::Do { plan, then: Vec::new() }
}

fn standing(
    view: &View,
    owner: &Owner,
    known: Option<&Node>,
    asked: &dyn Fn(&Absent) -> Option<bool>,
) -> Result<Standing, Decision> {
    let meta = &view.object.metadata;
    if let Some(node) = known {
        let there = &node.object.metadata;
        if node.resource.namespaced && meta.namespace.is_empty() {
            // Nobody can say in which namespace to look for it.
            return Err(unresolvable(view, owner));
        }
        let in_place = node.resource.is_kind(&owner.api_version, &owner.kind)
            && *there.name == *owner.name
            && (!node.resource.namespaced || there.namespace == meta.namespace);
        if in_place {
            return Ok(if node.deletes_dependents() { Standing::Waiting } else { Standing::Solid });
        }
    }
    let place = Absent {
        namespace: meta.namespace.as_ref().into(),
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    };
    match asked(&place) {
        None => Err(Decision::Ask(place)),
        Some(true) => Ok(Standing::Solid),
        Some(false) => Ok(Standing::Dangling),
    }
}

/// The owner is namespaced and the object is not: upstream tells, and leaves it alone.
fn unresolvable(view: &View, owner: &Owner) -> Decision {
    let meta = &view.object.metadata;
    let message = format!(
        "ownerRef [{}/{}, namespace: , name: {}, uid: {}] does not exist in namespace \"\"",
        owner.api_version, owner.kind, owner.name, owner.uid
    );
    let plan = Plan::because("it names a namespaced owner without being in a namespace").then(Write::event(
        ObjectRef::new(&view.resource, meta),
        Note::warning("OwnerRefInvalidNamespace", message),
    ));
    Decision::Do { plan, then: Vec::new() }
}

/// Lets go of what an object owns, then lets it go itself.
fn orphan(view: &View) -> Decision {
    let meta = &view.object.metadata;
    let released = view.dependents.iter().map(|dependent| {
        without_owners(&dependent.resource, &dependent.object.metadata, &[&meta.uid]).conflict_is_fine()
    });
    let released: Vec<_> = released.collect();
    let why = format!("{} objects it owns are let go of before it goes", released.len());
    let plan = Plan::because(why).then(Write::all(released)).then(without_finalizer(view, ORPHAN));
    Decision::Do { plan, then: Vec::new() }
}

/// Waits for the objects that hold up the deletion of their owner, and sees to it that they go.
fn wait_for_dependents(view: &View) -> Decision {
    let uid = &view.object.metadata.uid;
    let blocking: Vec<_> = view.dependents.iter().filter(|dependent| dependent.blocks(uid)).collect();
    if blocking.is_empty() {
        let plan =
            Plan::because("nothing it owns holds it up any more").then(without_finalizer(view, FOREGROUND));
        return Decision::Do { plan, then: Vec::new() };
    }
    let then = blocking.iter().filter(|dependent| !dependent.object.metadata.is_terminating());
    let then = then.map(|dependent| dependent.uid()).collect();
    Decision::Do { plan: Plan::because(format!("{} objects it owns must go first", blocking.len())), then }
}

fn without_finalizer(view: &View, finalizer: &str) -> Request {
    let meta = &view.object.metadata;
    let kept: Vec<_> = meta.finalizers.iter().filter(|it| ***it != *finalizer).collect();
    let patch = Patch::merge(json!({"metadata": {"finalizers": kept}}));
    Request::patch((*view.resource).clone(), meta.key(), patch).if_unchanged(meta)
}

/// Its references no longer hold up the owners.
fn unblock(view: &View) -> Request {
    let meta = &view.object.metadata;
    let references: Vec<_> =
        meta.owners.iter().map(|owner| json!({"uid": owner.uid, "blockOwnerDeletion": false})).collect();
    let patch = Patch::strategic(json!({"metadata": {"ownerReferences": references}}));
    Request::patch((*view.resource).clone(), meta.key(), patch).if_same(&meta.uid)
}

fn delete(view: &View, propagation: Propagation, if_unchanged: bool) -> Request {
    let meta = &view.object.metadata;
    let preconditions = Preconditions {
        uid: Some(meta.uid.as_ref().to_owned()),
        resource_version: if_unchanged.then(|| meta.revision.to_string()),
    };
    let options =
        DeleteOptions { preconditions, propagation_policy: Some(propagation), grace_period_seconds: None };
    Request::delete_with((*view.resource).clone(), meta.key(), options)
}

/// What a strategic merge patch of ours does to owner references, for kinds that know no such patches.
#[derive(Debug)]
pub(super) struct Patched<'a>(&'a Value);

impl<'a> Patched<'a> {
    /// Reads a patch of ours.
    pub(super) fn of(document: &'a Value) -> Option<Self> {
        document.pointer("/metadata/ownerReferences").is_some().then_some(Self(document))
    }

    /// The same as a merge patch of the object as it is now; `None` if nothing changes, or if it is another object.
    pub(super) fn merge(&self, live: &Value) -> Option<Value> {
        let meta = live.get("metadata")?;
        let wanted = self.0.get("metadata")?;
        if wanted.get("uid").is_some() && wanted.get("uid") != meta.get("uid") {
            return None;
        }
        let changes = wanted.get("ownerReferences")?.as_array()?;
        let old = meta.get("ownerReferences")?.as_array()?;
        let new: Vec<_> = old
            .iter()
            .filter_map(|reference| {
                let Some(change) = changes.iter().find(|change| change.get("uid") == reference.get("uid"))
                else {
                    return Some(reference.clone());
                };
                if change.get("$patch").is_some() {
                    return None;
                }
                let mut reference = reference.clone();
                if let (Value::Object(fields), Value::Object(change)) = (&mut reference, change) {
                    fields.extend(change.clone());
                }
                Some(reference)
            })
            .collect();
        (new != *old).then(|| {
            json!({"metadata": {"uid": meta.get("uid"), "resourceVersion": meta.get("resourceVersion"),
                "ownerReferences": new}})
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use client::{controller::Verb, resource};

    use super::{
        super::graph::tests::{object, waiting},
        *,
    };

    fn node(object: Arc<client::reflector::Metadata>) -> Node {
        Node { resource: Arc::new(resource::CONFIG_MAPS), object }
    }

    fn view(
        object: Arc<client::reflector::Metadata>,
        owners: Vec<Option<Node>>,
        dependents: Vec<Node>,
    ) -> View {
        View { resource: Arc::new(resource::CONFIG_MAPS), object, owners, dependents }
    }

    fn told(decision: &Decision) -> String {
        match decision {
            Decision::Nothing(why) => (*why).to_owned(),
            Decision::Ask(owner) => format!("ask {}", owner.uid),
            Decision::Do { plan, then } => {
                let mut told = plan.why.to_string();
                for write in &plan.writes {
                    let requests = match write {
                        Write::Request(request) => vec![(**request).clone()],
                        Write::Batch { requests, .. } => requests.clone(),
                        Write::Event { .. } => Vec::new(),
                    };
                    for request in requests {
                        told += &match &request.verb {
                            Verb::Delete(options) => format!(
                                "; delete {} {:?}",
                                request.key.name,
                                options.propagation_policy.unwrap()
                            ),
                            Verb::Patch(patch) => {
                                let metadata = &patch.document()["metadata"];
                                format!(
                                    "; patch {} {}{}",
                                    request.key.name, metadata["ownerReferences"], metadata["finalizers"]
                                )
                            }
                            other => panic!("{other:?}"),
                        };
                    }
                }
                for uid in then {
                    told += &format!("; then {uid}");
                }
                told
            }
        }
    }

    #[test]
    fn what_becomes_of_an_object() {
        let plain = |uid: &str, owners: &[&str]| object(uid, owners, &json!({}));
        let there = || Some(node(plain("x", &[])));
        let going = || Some(node(object("x", &[], &waiting())));
        let orphaning =
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["orphan", "other"]});
        for (view, answer, expected) in [
            (view(plain("a", &["x"]), vec![None], vec![]), None, "ask x"),
            (view(plain("a", &["x"]), vec![None], vec![]), Some(true), "all owners are there"),
            (
                view(plain("a", &["x"]), vec![None], vec![]),
                Some(false),
                "all its owners are gone; delete a Background",
            ),
            (view(plain("a", &["x"]), vec![there()], vec![]), None, "all owners are there"),
            (
                view(plain("a", &["x", "y"]), vec![there(), None], vec![]),
                Some(false),
                r#"some owners are gone or going, others are there; patch a [{"$patch":"delete","uid":"y"}]null"#,
            ),
            (
                view(plain("a", &["x"]), vec![going()], vec![]),
                None,
                "its owners wait for it to go; delete a Background",
            ),
            (
                view(plain("a", &["x"]), vec![going()], vec![node(plain("b", &["a"]))]),
                None,
                "its owners wait for it to go, and it owns others itself; delete a Foreground",
            ),
            (
                view(plain("a", &["x"]), vec![going()], vec![node(object("b", &["a"], &waiting()))]),
                None,
                r#"its owners wait for it to go, and it waits in a circle with what it owns; patch a [{"blockOwnerDeletion":false,"uid":"x"}]null; delete a Foreground"#,
            ),
            (
                view(object("x", &[], &waiting()), vec![], vec![node(plain("b", &["x"]))]),
                None,
                "1 objects it owns must go first; then b",
            ),
            (
                view(object("x", &[], &waiting()), vec![], vec![]),
                None,
                "nothing it owns holds it up any more; patch x null[]",
            ),
            (
                view(object("x", &[], &orphaning), vec![], vec![node(plain("b", &["x"]))]),
                None,
                r#"1 objects it owns are let go of before it goes; patch b [{"$patch":"delete","uid":"x"}]null; patch x null["other"]"#,
            ),
        ] {
            assert_eq!(told(&decide(&view, &|_| answer)), expected);
        }
    }

    #[test]
    fn a_strategic_merge_of_owners_has_a_merge_that_does_the_same() {
        let live = json!({"metadata": {"uid": "a", "resourceVersion": "7", "ownerReferences": [
            {"uid": "x", "name": "x"}, {"uid": "y", "name": "y", "blockOwnerDeletion": true}]}});
        for (references, expected) in [
            (
                json!([{"$patch": "delete", "uid": "x"}]),
                Some(json!([{"uid": "y", "name": "y", "blockOwnerDeletion": true}])),
            ),
            (
                json!([{"uid": "y", "blockOwnerDeletion": false}]),
                Some(
                    json!([{"uid": "x", "name": "x"}, {"uid": "y", "name": "y", "blockOwnerDeletion": false}]),
                ),
            ),
            (json!([{"$patch": "delete", "uid": "z"}]), None),
        ] {
            let document = json!({"metadata": {"uid": "a", "ownerReferences": references}});
            let merge = Patched::of(&document).unwrap().merge(&live);
            assert_eq!(merge.map(|merge| merge["metadata"]["ownerReferences"].clone()), expected);
        }
        let other =
            json!({"metadata": {"uid": "other", "ownerReferences": [{"$patch": "delete", "uid": "x"}]}});
        assert!(Patched::of(&other).unwrap().merge(&live).is_none());
    }
}

//! A finalizer that keeps an object for as long as something uses it.
//!
//! Admission puts it on what is made; this is for what was made before, and takes it away once the object is to go and
//! nothing uses it.
//!
//! Invariant: values only.

use client::{Kind, Meta, Plan, Resource, controller::Request};
use serde_json::json;

/// What the finalizer of an object needs. `user` says what uses the object, if something does.
pub fn protect<K: Kind>(object: &K, finalizer: &'static str, user: Option<String>) -> Plan {
    let meta = object.meta();
    match (meta.is_terminating(), meta.has_finalizer(finalizer), user) {
        (true, true, None) => {
            Plan::because("it is to go, and nothing uses it").then(without(&K::RESOURCE, meta, finalizer))
        }
        (true, true, Some(user)) => Plan::because(format!("it is to go, and stays because {user} uses it")),
        (true, false, _) => Plan::because("it is on its way out"),
        (false, true, _) => Plan::because("it is protected"),
        (false, false, _) => {
            let mut all: Vec<&str> = meta.finalizers.iter().map(|it| &**it).collect();
            all.push(finalizer);
            Plan::because("it is not protected yet").then(set(&K::RESOURCE, meta, &all))
        }
    }
}

/// Whether something is to be done about the finalizer of an object at all.
pub fn concerns(meta: &Meta, finalizer: &str) -> bool {
    meta.is_terminating() == meta.has_finalizer(finalizer)
}

/// Takes a finalizer away, if nothing else has changed.
pub fn without(resource: &Resource, meta: &Meta, finalizer: &str) -> Request {
    set(resource, meta, &rest(meta, finalizer))
}

/// Takes a finalizer away, whatever else has changed: for plans that have written the object before.
pub fn without_then(resource: &Resource, meta: &Meta, finalizer: &str) -> Request {
    merge(resource, meta, &rest(meta, finalizer)).if_same(&meta.uid)
}

fn rest<'a>(meta: &'a Meta, finalizer: &str) -> Vec<&'a str> {
    meta.finalizers.iter().map(|it| &**it).filter(|it| *it != finalizer).collect()
}

fn set(resource: &Resource, meta: &Meta, finalizers: &[&str]) -> Request {
    merge(resource, meta, finalizers).if_unchanged(meta)
}

fn merge(resource: &Resource, meta: &Meta, finalizers: &[&str]) -> Request {
    Request::merge(resource.clone(), meta.key(), json!({"metadata": {"finalizers": finalizers}}))
}

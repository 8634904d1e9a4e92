//! The objects, their history, and what each verb does to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use api_types::{
    object::{ObjectExt, object_at, object_of},
    status::Status,
};
use http::Method;
use runtime::Runtime;
use serde_json::{Map, Value, json};

use super::{Fault, target::Target};
use crate::{Key, Resource};

#[derive(Default)]
pub(super) struct Objects {
    pub(super) revision: u64,
    pub(super) objects: BTreeMap<GroupResourceKey, BTreeMap<Key, Value>>,
    /// Resources beside the built-in ones.
    pub(super) defined: Vec<Resource>,
    pub(super) history: Vec<Entry>,
    /// What happened up to here is forgotten.
    pub(super) compacted: u64,
    pub(super) held: BTreeSet<String>,
    pub(super) streams_refused: bool,
    pub(super) faults: Vec<(String, Fault)>,
    pub(super) latency: Duration,
    pub(super) requests: Vec<String>,
    pub(super) watches: usize,
}

pub(super) type GroupResourceKey = (String, String);

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) of: GroupResourceKey,
    pub(super) object: Value,
    pub(super) previous: Option<Value>,
    pub(super) deleted: bool,
}

// === impl Objects ===

impl Objects {
    pub(super) fn get(&self, of: &GroupResourceKey, key: &Key) -> Option<Value> {
        self.objects.get(of)?.get(key).cloned()
    }

    pub(super) fn selected(&self, target: &Target) -> Vec<Value> {
        let all = self.objects.get(&target.of).into_iter().flat_map(BTreeMap::values);
        all.filter(|object| target.selects(object)).cloned().collect()
    }

    pub(super) fn insert(
        &mut self,
        of: &GroupResourceKey,
        key: Key,
        mut object: Value,
        runtime: &Runtime,
    ) -> Value {
        self.revision += 1;
        if object.uid().is_empty() {
            object.set_meta("uid", runtime.random.uuid().to_string());
        }
        object.set_meta("creationTimestamp", crate::meta::time(runtime.clock.now()));
        object.set_meta("resourceVersion", self.revision.to_string());
        if object.get("spec").is_some() && object.generation() == 0 {
            object.set_meta("generation", 1);
        }
        self.record(of, object.clone(), None, false);
        self.objects.entry(of.clone()).or_default().insert(key, object.clone());
        object
    }

    /// Stores a change, unless it is none. An object marked for deletion that nothing holds any more goes.
    pub(super) fn replace(&mut self, of: &GroupResourceKey, key: &Key, old: Value, mut new: Value) -> Value {
        new.set_meta("resourceVersion", old.resource_version());
        if new == old {
            return old;
        }
        if new.get("spec") != old.get("spec") {
            new.set_meta("generation", old.generation() + 1);
        }
        let graceful =
            new.meta().and_then(|meta| meta.get("deletionGracePeriodSeconds")).and_then(Value::as_i64);
        if new.is_terminating() && new.finalizers().is_empty() && graceful.unwrap_or_default() == 0 {
            self.objects.entry(of.clone()).or_default().insert(key.clone(), new);
            return self.remove(of, key).unwrap_or_default();
        }
        self.revision += 1;
        new.set_meta("resourceVersion", self.revision.to_string());
        self.record(of, new.clone(), Some(old), false);
        self.objects.entry(of.clone()).or_default().insert(key.clone(), new.clone());
        new
    }

    pub(super) fn remove(&mut self, of: &GroupResourceKey, key: &Key) -> Option<Value> {
        let last = self.objects.get_mut(of)?.remove(key)?;
        self.revision += 1;
        self.record(of, last.clone(), Some(last.clone()), true);
        Some(last)
    }

    pub(super) fn record(
        &mut self,
        of: &GroupResourceKey,
        object: Value,
        previous: Option<Value>,
        deleted: bool,
    ) {
        self.history.push(Entry { revision: self.revision, of: of.clone(), object, previous, deleted });
    }

    pub(super) fn serve(
        &mut self,
        method: &Method,
        target: &Target,
        content_type: &str,
        body: &[u8],
        runtime: &Runtime,
    ) -> Result<(u16, Value), Status> {
        let parsed =
            || serde_json::from_slice::<Value>(body).map_err(|error| Status::bad_request(error.to_string()));
        let (key, resource) = (target.key(), target.resource());
        let existing =
            || self.get(&target.of, &key).ok_or_else(|| Status::not_found(&resource, &target.name));
        match (method.as_str(), target.name.is_empty(), target.subresource.as_str()) {
            ("GET", true, _) => self.list(target),
            ("GET", false, "" | "status") => Ok((200, target.shown(&existing()?))),
            ("POST", true, _) => self.create(target, parsed()?, runtime),
            ("POST", false, "binding") => {
                let pod = existing()?;
                let binding = parsed()?;
                if !field(&pod, "spec.nodeName").is_empty() {
                    return Err(Status::conflict(
                        &resource,
                        &target.name,
                        "pod is already assigned to a node",
                    ));
                }
                let node = field(&binding, "target.name");
                let mut new = pod.clone();
                json_patch::merge(&mut new, &json!({"spec": {"nodeName": node}}));
                self.replace(&target.of, &key, pod, new);
                Ok((201, Status::success(None).to_value()))
            }
            ("POST", false, "eviction") => {
                let pod = existing()?;
                self.delete(target, pod, &json!({}), runtime)?;
                Ok((201, Status::success(None).to_value()))
            }
            ("PUT", false, subresource @ ("" | "status" | "finalize")) => {
                let old = existing()?;
                let new = merged(&old, parsed()?, subresource);
                self.update(target, old, new)
            }
            ("PATCH", false, subresource @ ("" | "status")) => {
                let patch = parsed()?;
                if content_type.contains("apply") && self.get(&target.of, &key).is_none() {
                    return self.create(target, patch, runtime);
                }
                let old =
                    self.get(&target.of, &key).ok_or_else(|| Status::not_found(&resource, &target.name))?;
                let mut new = old.clone();
                if content_type.contains("json-patch") {
                    let operations: json_patch::Patch = serde_json::from_value(patch)
                        .map_err(|error| Status::bad_request(error.to_string()))?;
                    json_patch::patch(&mut new, &operations)
                        .map_err(|error| Status::failure(422, "Invalid", error.to_string()))?;
                } else if content_type.contains("strategic-merge-patch") {
                    strategic(&mut new, patch);
                } else {
                    json_patch::merge(&mut new, &patch);
                }
                let new = merged(&old, new, subresource);
                self.update(target, old, new)
            }
            ("DELETE", false, "") => {
                let old = existing()?;
                let options = if body.is_empty() { json!({}) } else { parsed()? };
                self.delete(target, old, &options, runtime)
            }
            ("DELETE", true, _) => {
                for object in self.selected(target) {
                    let one = Target {
                        name: object.name().to_owned(),
                        namespace: object.namespace().to_owned(),
                        ..target.clone()
                    };
                    self.delete(&one, object, &json!({}), runtime)?;
                }
                Ok((200, Status::success(None).to_value()))
            }
            _ => Err(Status::method_not_supported(&resource, method.as_str())),
        }
    }

    pub(super) fn list(&self, target: &Target) -> Result<(u16, Value), Status> {
        let mut objects = self.selected(target);
        let limit =
            target.query.get("limit").and_then(|text| text.parse::<usize>().ok()).unwrap_or(usize::MAX);
        let mut revision = self.revision;
        // A token is the revision of the first page and the key after which to go on.
        if let Some((at, after)) = target.query.get("continue").and_then(|token| token.split_once(' ')) {
            revision = at.parse().unwrap_or_default();
            if revision < self.compacted {
                return Err(Status::expired("The provided continue parameter is too old"));
            }
            let after = Key::parse(after);
            objects.retain(|object| Key::new(object.namespace(), object.name()) > after);
        }
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if objects.len() > limit {
            objects.truncate(limit);
            if let Some(last) = objects.last() {
                let after = Key::new(last.namespace(), last.name());
                object_of(&mut metadata).insert("continue".to_owned(), format!("{revision} {after}").into());
            }
        }
        let items: Vec<Value> = objects.iter().map(|object| target.shown(object)).collect();
        Ok((200, json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items})))
    }

    pub(super) fn create(
        &mut self,
        target: &Target,
        mut object: Value,
        runtime: &Runtime,
    ) -> Result<(u16, Value), Status> {
        if !target.namespace.is_empty() {
            object.set_meta("namespace", target.namespace.as_str());
        }
        if object.name().is_empty() {
            let name = match object.meta_str("generateName") {
                "" => target.name.clone(),
                prefix => format!("{prefix}{}", runtime.random.name_suffix(5)),
            };
            object.set_meta("name", name);
        }
        for field in ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"] {
            object.set_meta(field, Value::Null);
        }
        object_of(&mut object).remove("status");
        let key = Key::new(object.namespace(), object.name());
        if self.get(&target.of, &key).is_some() {
            return Err(Status::already_exists(&target.resource(), object.name()));
        }
        Ok((201, self.insert(&target.of, key, object, runtime)))
    }

    pub(super) fn update(&mut self, target: &Target, old: Value, new: Value) -> Result<(u16, Value), Status> {
        let wanted = |field: &str| (new.meta_str(field).to_owned(), old.meta_str(field).to_owned());
        let (revision, now) = wanted("resourceVersion");
        if !revision.is_empty() && revision != now {
            return Err(Status::modified(&target.resource(), &target.name));
        }
        let (uid, now) = wanted("uid");
        if !uid.is_empty() && uid != now {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {now}");
            return Err(Status::conflict(&target.resource(), &target.name, why));
        }
        Ok((200, self.replace(&target.of, &target.key(), old, new)))
    }

    pub(super) fn delete(
        &mut self,
        target: &Target,
        old: Value,
        options: &Value,
        runtime: &Runtime,
    ) -> Result<(u16, Value), Status> {
        let required =
            |name: &str| options.get("preconditions").and_then(|it| it.get(name)).and_then(Value::as_str);
        for (precondition, actual) in [("uid", old.uid()), ("resourceVersion", old.resource_version())] {
            if required(precondition).is_some_and(|wanted| wanted != actual) {
                let why = format!("the {precondition} in the precondition does not match {actual}");
                return Err(Status::conflict(&target.resource(), &target.name, why));
            }
        }
        let grace = match options.get("gracePeriodSeconds").and_then(Value::as_i64) {
            _ if target.of.1 != "pods" || field(&old, "spec.nodeName").is_empty() => 0,
            Some(asked) => asked,
            None => 30,
        };
        let mut new = old.clone();
        let finalizer = match options.get("propagationPolicy").and_then(Value::as_str) {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            let meta: &mut Map<String, Value> = object_at(object_of(&mut new), "metadata");
            if let Value::Array(list) = meta.entry("finalizers").or_insert_with(|| json!([])) {
                list.push(finalizer.into());
            }
        }
        if new.finalizers().is_empty() && grace == 0 {
            let last = self.remove(&target.of, &target.key()).unwrap_or_default();
            let details = api_types::status::Details {
                name: last.name().to_owned(),
                group: target.of.0.clone(),
                kind: target.of.1.clone(),
                uid: last.uid().to_owned(),
                ..Default::default()
            };
            return Ok((200, Status::success(Some(details)).to_value()));
        }
        if !old.is_terminating() {
            new.set_meta("deletionTimestamp", crate::meta::time(runtime.clock.now()));
        }
        new.set_meta("deletionGracePeriodSeconds", grace);
        Ok((200, self.replace(&target.of, &target.key(), old, new)))
    }
}

/// The new object as a write through a subresource may make it: status alone, or all but status.
pub(super) fn merged(old: &Value, mut new: Value, subresource: &str) -> Value {
    let take_status = |from: &Value, to: &mut Value| match from.get("status") {
        Some(status) => {
            object_of(to).insert("status".to_owned(), status.clone());
        }
        None => {
            object_of(to).remove("status");
        }
    };
    for field in ["namespace", "creationTimestamp", "deletionTimestamp", "generation"] {
        let value = old.meta().and_then(|meta| meta.get(field)).cloned().unwrap_or_default();
        new.set_meta(field, value);
    }
    if subresource == "status" {
        let mut whole = old.clone();
        take_status(&new, &mut whole);
        for precondition in ["uid", "resourceVersion"] {
            if !new.meta_str(precondition).is_empty() {
                whole.set_meta(precondition, new.meta_str(precondition).to_owned());
            }
        }
        return whole;
    }
    take_status(old, &mut new);
    if new.uid().is_empty() {
        new.set_meta("uid", old.uid());
    }
    new
}

pub(super) fn field(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |here, step| here.get(step));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(other) if !other.is_null() => other.to_string(),
        _ => String::new(),
    }
}

pub(super) fn group_resource_key(resource: &Resource) -> GroupResourceKey {
    (resource.group.clone().into_owned(), resource.plural.clone().into_owned())
}

/// A merge that knows the lists of the metadata: owners merge by uid, finalizers by value. Other lists are replaced.
fn strategic(object: &mut Value, mut patch: Value) {
    const DELETED_FINALIZERS: &str = "$deleteFromPrimitiveList/finalizers";

    let list = |from: &Value, name: &str| {
        from.meta().and_then(|meta| meta.get(name)).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (mut owners, mut finalizers) = (list(object, "ownerReferences"), list(object, "finalizers"));
    for change in list(&patch, "ownerReferences") {
        owners.retain(|owner| owner.get("uid") != change.get("uid"));
        if change.get("$patch").is_none() {
            owners.push(change);
        }
    }
    let deleted = list(&patch, DELETED_FINALIZERS);
    finalizers.retain(|finalizer| !deleted.contains(finalizer));
    for finalizer in list(&patch, "finalizers") {
        if !finalizers.contains(&finalizer) {
            finalizers.push(finalizer);
        }
    }
    patch.meta_mut().remove(DELETED_FINALIZERS);
    patch.set_meta("ownerReferences", owners);
    patch.set_meta("finalizers", finalizers);
    json_patch::merge(object, &patch);
    for name in ["ownerReferences", "finalizers"] {
        if list(object, name).is_empty() {
            object.set_meta(name, Value::Null);
        }
    }
}

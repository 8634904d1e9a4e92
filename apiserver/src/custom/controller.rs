//! Follows the definitions: each change is served at once, and what its status needs is written after.
//!
//! Two tasks. One follows the watch and serves; it never waits for a write. The other takes the names of definitions that may
//! need something, one after the other. Both look at the state, not at the news: on several servers all do the same, and
//! whoever is second finds it done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{
    object::{object_at, object_of},
    status::Status,
    wire,
};
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::Signal;
use serde_json::{Value, json};
use store::cache::{Filter, Object, WatchEvent, WatchFrom};
use tokio::time::Instant;

use super::{
    condition::{self, Change, Taken},
    definition::{Condition, Definition, NameSet},
    finalizer,
    serving::Serving,
};
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    registry::{
        Call,
        catalogue::{Served, Storage},
        keys,
        strategy::Part,
        time,
        update::Plan,
        warnings::Warnings,
    },
    server::Server,
};

/// The group of definitions.
pub const GROUP: &str = "apiextensions.k8s.io";
/// Their plural name.
pub const PLURAL: &str = "customresourcedefinitions";

/// How long before the watch begins again, if it broke, and before a definition is looked at again that could not be written.
const PAUSE: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_secs(1);
/// How long a request waits for a definition that another server has accepted.
const PATIENCE: Duration = Duration::from_secs(3);

/// The definitions there are and what is made of them.
#[derive(Debug, Default)]
pub struct Definitions {
    state: Mutex<State>,
    /// Counts what was seen; 0 until everything that was there at the start is served.
    seen: Signal<u64>,
    /// Counts what was put into the queue.
    queued: Signal<u64>,
}

#[derive(Debug, Default)]
struct State {
    serving: Serving,
    /// As they were last seen, or written here.
    known: BTreeMap<String, Arc<Definition>>,
    /// Names of definitions that may need something. As many as there are definitions at the most.
    queue: BTreeSet<String>,
    /// Uids of definitions whose objects are being deleted.
    finalizing: BTreeSet<String>,
}

/// Begins to follow, and waits until everything that is there is served.
pub(crate) async fn start(server: &Arc<Server>) {
    let Some(served) = server.registry.catalogue.find(GROUP, "v1", PLURAL) else { return };
    let storage = Arc::clone(&served.storage);
    let weak = Arc::downgrade(server);
    server.runtime.tasks.spawn("definitions", async move {
        loop {
            follow(&weak, &storage).await;
            tokio::time::sleep(PAUSE).await;
        }
    });
    server.definitions.seen.wait(|seen| *seen > 0).await;
    let definitions = Arc::clone(&server.definitions);
    server.runtime.tasks.spawn("conditions of definitions", work(definitions, Arc::downgrade(server)));
}

async fn follow(server: &Weak<Server>, storage: &Storage) {
    let cache = storage.cache();
    cache.ready().await;
    let Ok(mut watcher) = cache.watch(WatchFrom::InitialState, Filter::prefix(&storage.prefix)) else {
        return;
    };
    // What there is at the beginning is taken in at once: others describe themselves by group.
    let mut first = Some(Vec::new());
    while let Some(Ok(event)) = watcher.next().await {
        let Some(server) = server.upgrade() else { return };
        let definitions = &server.definitions;
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let Some(definition) = read(&object) else { continue };
                match &mut first {
                    Some(first) => first.push(definition),
                    None => definitions.take(&server, vec![(definition.name.clone(), Some(definition))]),
                }
            }
            WatchEvent::Deleted { object, .. } => {
                definitions.take(&server, vec![(object.header.name.to_string(), None)]);
            }
            WatchEvent::InitialEventsEnd(_) => {
                if let Some(first) = first.take() {
                    definitions.take_all(&server, first);
                }
            }
            WatchEvent::Bookmark(_) => {}
        }
    }
}

fn read(object: &Object) -> Option<Arc<Definition>> {
    Definition::read(&object.bytes)
        .inspect_err(|error| tracing::error!(key = %object.key, %error, "definition cannot be read"))
        .ok()
        .map(Arc::new)
}

// === impl Definitions ===

impl Definitions {
    fn take(&self, server: &Arc<Server>, changes: Vec<(String, Option<Arc<Definition>>)>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut versions = BTreeSet::new();
        for (name, now) in &changes {
            for definition in state.known.get(name).into_iter().chain(now) {
                let group = &definition.group;
                versions.extend(definition.versions.iter().map(|it| (group.clone(), it.name.clone())));
            }
            match now {
                Some(definition) => {
                    let older = |known: &Arc<Definition>| known.revision() <= definition.revision();
                    if state.known.get(name).is_none_or(older) {
                        state.known.insert(name.clone(), Arc::clone(definition));
                    }
                }
                None => drop(state.known.remove(name)),
            }
        }
        state.queue.extend(changes.iter().map(|(name, _)| name.clone()));
        state.serving.adopt(server, changes);
        drop(guard);
        server.aggregation.definitions_changed(versions);
        self.seen.update(|seen| *seen += 1);
        self.queued.update(|queued| *queued += 1);
    }

    /// Everything there is: what is not among it is gone.
    fn take_all(&self, server: &Arc<Server>, all: Vec<Arc<Definition>>) {
        let gone: Vec<String> = {
            let state = self.state.lock();
            let there: BTreeSet<&str> = all.iter().map(|definition| definition.name.as_str()).collect();
            state.known.keys().filter(|name| !there.contains(name.as_str())).cloned().collect()
        };
        let gone = gone.into_iter().map(|name| (name, None));
        let there = all.into_iter().map(|definition| (definition.name.clone(), Some(definition)));
        self.take(server, gone.chain(there).collect());
    }

    /// The resource of a request that none is found for, if a definition of it was accepted a moment ago, perhaps by
    /// another server.
    pub async fn find_late(
        &self,
        server: &Server,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<Arc<Served>> {
        if !group.contains('.') {
            return None;
        }
        let definitions = server.registry.catalogue.find(GROUP, "v1", PLURAL)?;
        let name = format!("{plural}.{group}");
        let key = keys::object(&definitions.storage.prefix, "", &name);
        let object = definitions.storage.cache().get(&key, true).await.ok()??;
        let revision = object.revision.0;
        let is_seen = || {
            let state = self.state.lock();
            state.serving.definition(group, &name).is_some_and(|known| known.revision() >= revision)
        };
        let seen = self.seen.wait(|_| is_seen());
        // Whoever waits in vain is told that there is nothing.
        let _late = tokio::time::timeout_at(Instant::now() + PATIENCE, seen).await;
        server.registry.catalogue.find(group, version, plural)
    }

    /// The resource of a definition in the version it is stored in.
    pub(super) fn stored(&self, name: &str) -> Option<Arc<Served>> {
        self.state.lock().serving.stored(name)
    }

    /// The definition as it is known now.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Definition>> {
        self.state.lock().known.get(name).cloned()
    }

    /// Whether any definition serves that version of its group.
    pub(crate) fn serve(&self, group: &str, version: &str) -> bool {
        let state = self.state.lock();
        let mut versions = state.serving.group(group).flat_map(|definition| &definition.versions);
        versions.any(|it| it.served && it.name == version)
    }

    fn enqueue(&self, names: impl IntoIterator<Item = String>) {
        self.state.lock().queue.extend(names);
        self.queued.update(|queued| *queued += 1);
    }

    fn enqueue_group(&self, group: &str, but: &str) {
        let names: Vec<String> = {
            let state = self.state.lock();
            let others = state.serving.group(group).filter(|it| it.name != but);
            others.map(|it| it.name.clone()).collect()
        };
        self.enqueue(names);
    }

    /// The names that the others of a definition's group have.
    fn taken(&self, definition: &Definition) -> Taken {
        let state = self.state.lock();
        let mut taken = Taken::default();
        for other in state.serving.group(&definition.group).filter(|it| it.name != definition.name) {
            // What was written here a moment ago may not have been seen yet.
            let newest = state.known.get(&other.name).unwrap_or(other);
            taken.add(&newest.accepted);
        }
        // Its own names are taken too, for whoever asks for them in another place.
        taken.add(&definition.accepted);
        taken
    }

    fn remember(&self, definition: Definition) {
        let mut state = self.state.lock();
        let older = |known: &mut Arc<Definition>| known.revision() < definition.revision();
        if state.known.get_mut(&definition.name).is_some_and(older) {
            state.known.insert(definition.name.clone(), Arc::new(definition));
        }
    }

    /// Begins with the deletion of a definition's objects; false if that has begun.
    fn begin_finalizing(&self, uid: &str) -> bool {
        self.state.lock().finalizing.insert(uid.to_owned())
    }

    pub(super) fn end_finalizing(&self, uid: &str) {
        self.state.lock().finalizing.remove(uid);
    }
}

/// Sees to one definition after the other.
async fn work(definitions: Arc<Definitions>, server: Weak<Server>) {
    loop {
        let seen = definitions.queued.get();
        let next = definitions.state.lock().queue.pop_first();
        let Some(name) = next else {
            definitions.queued.wait(|queued| *queued != seen).await;
            continue;
        };
        let Some(server) = server.upgrade() else { return };
        if let Err(error) = see_to(&server, &name).await {
            tracing::warn!(definition = name, %error, "cannot write the status of a definition");
            later(&server, name);
        }
    }
}

fn later(server: &Arc<Server>, name: String) {
    let weak = Arc::downgrade(server);
    server.runtime.tasks.spawn("definition again", async move {
        tokio::time::sleep(AGAIN).await;
        if let Some(server) = weak.upgrade() {
            server.definitions.enqueue([name]);
        }
    });
}

async fn see_to(server: &Arc<Server>, name: &str) -> Result<(), Status> {
    let definitions = &server.definitions;
    let Some(definition) = definitions.get(name) else {
        // What it was called others may be called now.
        let group = name.split_once('.').map(|(_, group)| group).unwrap_or_default();
        definitions.enqueue_group(group, name);
        return Ok(());
    };
    if definition.deleting && definition.cleans_up && definitions.begin_finalizing(&definition.uid) {
        finalizer::begin(server, name, &definition.uid);
    }
    let mut definition = definition;
    loop {
        let taken = definitions.taken(&definition);
        let is_served = definitions.state.lock().serving.serves(&definition);
        if condition::next(&definition, &taken, is_served).is_none() {
            return Ok(());
        }
        let before = definition.accepted.clone();
        let decide = |now: &Definition| {
            let served = now.serves_as(&definition) && is_served;
            condition::next(now, &taken, served)
        };
        let Some(now) = change(server, name, &decide).await? else { return Ok(()) };
        if now.resource_version == definition.resource_version {
            return Ok(());
        }
        if now.accepted != before {
            definitions.enqueue_group(&now.group, name);
        }
        definitions.remember(now.clone());
        definition = Arc::new(now);
    }
}

/// Changes the status of a definition as `decide` says of its newest state. `None` if it is gone.
pub(super) async fn change(
    server: &Server,
    name: &str,
    decide: &(dyn Fn(&Definition) -> Option<Change> + Send + Sync),
) -> Result<Option<Definition>, Status> {
    rewrite(server, name, &|object, definition, now| {
        if let Some(change) = decide(definition) {
            apply(object, &change, now);
        }
    })
    .await
}

/// Changes status or finalizers of a definition. `None` if it is gone.
pub(super) async fn rewrite(
    server: &Server,
    name: &str,
    write: &(dyn Fn(&mut Value, &Definition, Timestamp) + Send + Sync),
) -> Result<Option<Definition>, Status> {
    let Some(served) = server.registry.catalogue.find(GROUP, "v1", PLURAL) else { return Ok(None) };
    let now = server.runtime.clock.now();
    let call = Call {
        served,
        namespace: String::new(),
        name: name.to_owned(),
        subresource: "status".to_owned(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        now,
        dry_run: false,
        manager: "kube-apiserver".to_owned(),
        options: Value::Null,
        warnings: Warnings::default(),
        answers: super::ownership::Answers::default(),
        audit: crate::audit::Record::default(),
    };
    let plan = Plan::of(Part::Status);
    let read = |object: &Value| {
        Definition::read(&Bytes::from(wire::json::encode_untyped(object))).map_err(Status::internal)
    };
    let written = server
        .registry
        .update(&call, plan, &|old| {
            let mut object = old.cloned().unwrap_or_default();
            let definition = read(&object)?;
            write(&mut object, &definition, now);
            Ok(object)
        })
        .await;
    match written {
        Ok(written) => read(&written.object).map(Some),
        Err(status) if status.is("NotFound") => Ok(None),
        Err(status) => Err(status),
    }
}

/// Puts a change into the status of an object.
pub(crate) fn apply(object: &mut Value, change: &Change, now: Timestamp) {
    let status = object_at(object_of(object), "status");
    if let Some(names) = &change.accepted {
        status.insert("acceptedNames".to_owned(), names_of(names));
    }
    let conditions = status.entry("conditions").or_insert(Value::Null);
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    if let Some(kind) = change.remove {
        conditions.retain(|it| it.get("type").and_then(Value::as_str) != Some(kind));
    }
    for condition in &change.set {
        set(conditions, condition, now);
    }
}

fn set(conditions: &mut Vec<Value>, condition: &Condition, now: Timestamp) {
    let Condition { kind, status, reason, message, .. } = condition;
    let known = conditions.iter_mut().find(|it| it.get("type").and_then(Value::as_str) == Some(kind));
    let since = known
        .as_ref()
        .filter(|it| it.get("status").and_then(Value::as_str) == Some(status))
        .and_then(|it| it.get("lastTransitionTime")?.as_str())
        .map_or_else(|| time(now), str::to_owned);
    let mut value = json!({
        "type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    match known {
        Some(known) => {
            if let Some(generation) = known.get("observedGeneration").cloned() {
                value["observedGeneration"] = generation;
            }
            *known = value;
        }
        None => conditions.push(value),
    }
}

fn names_of(names: &NameSet) -> Value {
    let NameSet { plural, singular, short_names, kind, list_kind, categories } = names;
    let mut value = json!({"plural": plural, "kind": kind});
    for (field, text) in [("singular", singular), ("listKind", list_kind)] {
        if !text.is_empty() {
            value[field] = json!(text);
        }
    }
    for (field, list) in [("shortNames", short_names), ("categories", categories)] {
        if !list.is_empty() {
            value[field] = json!(list);
        }
    }
    value
}

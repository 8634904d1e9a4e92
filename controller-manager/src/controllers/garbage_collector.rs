//! Garbage collector: deletes what nobody owns any more, and lets owners go once what they own is gone, or let go of.
//!
//! The [`graph`] knows who owns whom, by uid, of everything in the cluster; a change of it names the objects to look at.
//! What to do about one is decided in [`decide`] from the graph and from what the server said of owners that the graph
//! does not know: an object is only deleted after the server itself has said that its owners are gone.

mod decide;
mod graph;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, LazyLock},
};

use api_types::object::ObjectExt;
use client::{
    Api, Key, Meta, Plan, Resource, Write,
    controller::{Executor, Manager, Options as Workers, Patch, Request, Verb},
    events::Recorder,
    queue::Queue,
    reflector::Metadata,
};
use futures::FutureExt;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

use self::{
    decide::{Absent, Decision, Patched, decide},
    graph::{Graph, Uid},
};
use crate::{
    inventory::Inventory,
    shell::{self, Look, Looks},
};

/// Waits for the foreground deletion of what it owns.
const FOREGROUND: &str = "foregroundDeletion";
/// Waits until what it owns has been let go of.
const ORPHAN: &str = "orphan";

/// So many owners known to be gone are remembered. When full: the oldest is forgotten, and asked for again.
const ABSENT_MAX: usize = 4096;

/// Collects.
pub struct Collector {
    api: Api,
    executor: Executor,
    inventory: Inventory,
    graph: Arc<RwLock<Graph>>,
    absent: Mutex<Remembered>,
    queue: Queue<Uid>,
}

#[derive(Debug, Default)]
struct Remembered {
    set: BTreeSet<Absent>,
    order: VecDeque<Absent>,
}

/// Starts the controller.
pub fn start(manager: &Manager, workers: Workers, inventory: &Inventory) {
    inventory.start(manager);
    let api = workers.api.unwrap_or_else(|| manager.api.clone());
    let events = Recorder::start(&manager.runtime, api.clone(), Collector::NAME);
    let queue = Queue::named("garbage_collector_attempt_to_delete", &manager.metrics);
    let graph = Arc::new(RwLock::new(Graph::default()));
    let collector = Collector {
        executor: Executor::new(api.clone(), events),
        api,
        inventory: inventory.clone(),
        graph: Arc::clone(&graph),
        absent: Mutex::default(),
        queue: queue.clone(),
    };
    let inbox = queue.clone();
    inventory.watch(move |resource, cache| {
        let Some(cache) = cache else {
            graph.write().forget(resource).into_iter().for_each(|uid| inbox.add(uid));
            return;
        };
        let resource = Arc::new(resource.clone());
        let (graph, inbox) = (Arc::clone(&graph), inbox.clone());
        cache.subscribe(move |change| {
            let concerned = graph.write().apply(&resource, change);
            concerned.into_iter().for_each(|uid| inbox.add(uid));
        });
    });
    // Before everything is listed, owners seem to be gone that are not.
    let complete = inventory.clone();
    let ready = async move { complete.complete().await }.boxed().shared();
    shell::start(manager, workers.workers, &queue, &Arc::new(collector), ready);
}

// === impl Remembered ===

impl Remembered {
    fn add(&mut self, absent: Absent) {
        if self.set.insert(absent.clone()) {
            self.order.push_back(absent);
            if self.order.len() > ABSENT_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.set.remove(&oldest);
            }
        }
    }
}

// === impl Collector ===

impl Looks for Collector {
    type Key = Uid;
    const NAME: &'static str = "garbage-collector-controller";

    async fn look(&self, uid: &Uid) -> Look {
        // Owners that the graph does not know are asked for; then the decision is made anew.
        let mut solid = BTreeSet::new();
        loop {
            let Some(view) = self.graph.read().view(uid) else {
                return Look::because(Key::cluster(""), "the object is gone");
            };
            let key = view.object.metadata.key();
            let asked = |absent: &Absent| {
                if solid.contains(absent) {
                    Some(true)
                } else {
                    self.absent.lock().set.contains(absent).then_some(false)
                }
            };
            match decide(&view, &asked) {
                Decision::Nothing(why) => return Look::because(key, why),
                Decision::Ask(owner) => match self.ask(&owner).await {
                    Ok(true) => drop(solid.insert(owner)),
                    Ok(false) => self.absent.lock().add(owner),
                    Err(failure) => {
                        return Look {
                            failure: Some(failure),
                            ..Look::because(key, "cannot tell whether an owner is there")
                        };
                    }
                },
                Decision::Do { plan, then } => {
                    then.into_iter().for_each(|uid| self.queue.add(uid));
                    return self.carry_out(key, &plan).await;
                }
            }
        }
    }
}

impl Collector {
    async fn carry_out(&self, key: Key, plan: &Plan) -> Look {
        let mut plan = plan.clone();
        for write in &mut plan.writes {
            let requests = match write {
                Write::Request(request) => std::slice::from_mut(&mut **request),
                Write::Batch { requests, .. } => requests.as_mut_slice(),
                Write::Event { .. } => &mut [],
            };
            for request in requests.iter_mut().filter(|request| !knows_strategic_merge(&request.resource)) {
                if let Err(error) = self.without_strategic_merge(request).await {
                    return Look {
                        failure: Some(error.to_string()),
                        ..Look::because(key, plan.why.to_string())
                    };
                }
            }
        }
        let execution = self.executor.execute(&plan).await;
        Look { execution, ..Look::because(key, plan.why.to_string()) }
    }

    /// Makes a merge patch of what is there now from a strategic one.
    async fn without_strategic_merge(&self, request: &mut Request) -> Result<(), client::Error> {
        let Verb::Patch(Patch::Strategic(document)) = &request.verb else { return Ok(()) };
        let Some(patched) = Patched::of(document) else { return Ok(()) };
        match self.api.get::<Value>(&request.resource, &request.key).await {
            Ok(live) => {
                // If there is nothing to change, an empty patch says whether it is still the same object.
                let nothing = || json!({"metadata": {"uid": document.uid()}});
                request.verb = Verb::Patch(Patch::merge(patched.merge(&live).unwrap_or_else(nothing)));
                Ok(())
            }
            // The request itself will find that the object is gone.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks the server whether an owner is there.
    async fn ask(&self, owner: &Absent) -> Result<bool, String> {
        let Some(resource) = self.inventory.resource_of(&owner.api_version, &owner.kind) else {
            return Err(format!(
                "no matches for kind \"{}\" in version \"{}\"",
                owner.kind, owner.api_version
            ));
        };
        let namespace = if resource.namespaced { &*owner.namespace } else { "" };
        let key = Key::new(namespace, &owner.name);
        match self.api.get::<Metadata>(&resource, &key).await {
            Ok(object) => Ok(object.metadata.uid == owner.uid),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Built-in kinds do; those that somebody defined have their lists replaced as a whole.
fn knows_strategic_merge(resource: &Resource) -> bool {
    static BUILT_IN: LazyLock<BTreeSet<Resource>> =
        LazyLock::new(|| client::resource::all().into_iter().collect());
    BUILT_IN.contains(resource)
}

/// A patch that takes owners off an object.
fn without_owners(resource: &Resource, meta: &Meta, owners: &[&str]) -> Request {
    let references: Vec<_> = owners.iter().map(|uid| json!({"$patch": "delete", "uid": uid})).collect();
    let patch = Patch::strategic(json!({"metadata": {"ownerReferences": references}}));
    Request::patch(resource.clone(), meta.key(), patch).if_same(&meta.uid)
}

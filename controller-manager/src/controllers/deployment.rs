//! Deployment: Pods of the newest template replace those of older ones, one ReplicaSet a template.
//!
//! A look finds the ReplicaSet of the wanted template among its own (making it if there is none), then takes one step:
//! [`rollout`] says which, [`history`] numbers the revisions, [`status`] tells how far it is. What a look changes of a
//! ReplicaSet is gathered and written once, under the condition that nobody else has changed it.

mod history;
mod rollback;
mod rollout;
mod status;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use client::{
    Caches, Change, Controller, Key, Kind, Owner, Plan, Triggers, Write,
    controller::{OnFailure, Patch, Report, Request},
    events::{Note, ObjectRef},
    resource::{DEPLOYMENTS, REPLICA_SETS},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::status::Standing;
use crate::{
    claim::{self, Claimed},
    conditions::Condition,
    kinds::{Deployment, Pod, ReplicaSet, deployment::DeploymentStatus},
    template::HASH_LABEL,
};

/// Names are at most so long.
const NAME_MAX: usize = 253;

/// Keeps Deployments.
#[derive(Debug)]
pub struct Deployments;

/// All that matters to a Deployment.
#[derive(Debug)]
pub struct Observed {
    root: Arc<Deployment>,
    /// Its ReplicaSets, and those it might adopt.
    candidates: Vec<Arc<ReplicaSet>>,
    /// The hash of its template.
    hash: String,
    /// Whatever ReplicaSet has the name that one of this template would get.
    namesake: Option<Arc<ReplicaSet>>,
    /// The ReplicaSets, by uid, that have Pods which are not finished. Looked at for `Recreate` only.
    with_pods: Vec<Box<str>>,
    last_failure: Option<String>,
}

/// A ReplicaSet and what this look changes of it.
#[derive(Clone, Debug)]
struct Set {
    is: Arc<ReplicaSet>,
    /// How many Pods it shall have.
    replicas: i32,
    /// Annotations it shall have.
    annotations: BTreeMap<String, String>,
    min_ready_seconds: i32,
}

/// A Deployment in the course of a look.
struct Work<'a> {
    root: &'a Deployment,
    now: Timestamp,
    /// The ReplicaSet of the wanted template.
    new: Option<Set>,
    /// All others.
    old: Vec<Set>,
    /// The status as the look has changed it so far.
    status: DeploymentStatus,
    /// The revision the Deployment shall tell.
    revision: Option<String>,
    /// The new ReplicaSet is made in this look.
    creates: Option<Box<Request>>,
    /// The finished revisions that nobody needs any more.
    deletes: Vec<Request>,
    why: String,
}

// === impl Deployments ===

impl Controller for Deployments {
    type Root = Deployment;
    type Observed = Observed;
    const NAME: &'static str = "deployment-controller";

    fn triggers(&self, on: &mut Triggers<Deployment>) {
        claim::triggers::<Deployment, ReplicaSet>(on);
        // A Deployment that recreates waits for the last old Pod to go.
        on.changes::<Pod>(|change, caches| {
            let Change::Deleted { last, .. } = change else { return Vec::new() };
            recreating(last, caches).into_iter().collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let root = caches.read::<Deployment>().get(root)?;
        let candidates = claim::candidates::<ReplicaSet>(&root.metadata, caches);
        let has_new = candidates.iter().any(|set| {
            set.metadata.is_controlled_by(&root.metadata.uid)
                && set.spec.template.is_like(&root.spec.template)
        });
        let (mut hash, mut namesake) = (String::new(), None);
        if !has_new {
            hash = root.spec.template.hash(root.status.collision_count);
            let key = Key::new(&root.metadata.namespace, &name_of_new(&root, &hash));
            namesake = caches.read::<ReplicaSet>().get(&key);
        }
        let with_pods = if &*root.spec.strategy.r#type == "Recreate" {
            let pods = caches.read::<Pod>();
            let busy = |set: &&Arc<ReplicaSet>| {
                pods.controlled_by(&set.metadata.uid).iter().any(|pod| !pod.is_finished())
            };
            candidates.iter().filter(busy).map(|set| set.metadata.uid.clone()).collect()
        } else {
            Vec::new()
        };
        let last_failure = caches.last_failure().map(str::to_owned);
        Some(Observed { root, candidates, hash, namesake, with_pods, last_failure })
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let root = &*observed.root;
        let Claimed { objects, writes: claims } = claim::claim(root, &observed.candidates, &[]);
        let mut work = Work::new(root, objects, now);
        let standing = if root.metadata.is_terminating() {
            work.meet_new();
            work.why =
                "the Deployment is being deleted; its ReplicaSets are the garbage collector's".to_owned();
            Standing::Counted
        } else if let Some(plan) = collision(observed, &work) {
            return plan;
        } else if let Some(revision) =
            rollback::wanted(root).filter(|_| !root.spec.paused && work.new.is_some())
        {
            return rollback::roll_back(root, &work, revision);
        } else {
            work.step(observed)
        };
        let progress_check = work.tell(standing);
        let mut plan = work.into_plan(claims, observed.last_failure.as_deref());
        if let Some(after) = progress_check {
            plan = plan.look_again(after);
        }
        plan
    }
}

/// The Deployment that waits for this Pod to go.
fn recreating(pod: &Pod, caches: &Caches) -> Option<Key> {
    let namespace = &pod.metadata.namespace;
    let owner = pod.metadata.controller()?;
    let set = caches.read::<ReplicaSet>().get_same(&Key::new(namespace, &owner.name), &owner.uid)?;
    let owner = set.metadata.controller()?;
    let root = caches.read::<Deployment>().get_same(&Key::new(namespace, &owner.name), &owner.uid)?;
    (&*root.spec.strategy.r#type == "Recreate").then(|| root.key())
}

/// What to do if the name of the ReplicaSet to make is taken by one of another template: a different name is needed.
fn collision(observed: &Observed, work: &Work<'_>) -> Option<Plan> {
    let (root, namesake) = (work.root, observed.namesake.as_ref()?);
    if work.new.is_some() || root.spec.paused {
        return None;
    }
    let count = root.status.collision_count.unwrap_or_default() + 1;
    let status = Request::status(DEPLOYMENTS, root.key(), json!({"collisionCount": count}));
    Some(
        Plan::because(format!("{} is taken by a ReplicaSet of another template", namesake.metadata.name))
            .then(status.if_unchanged(&root.metadata)),
    )
}

fn name_of_new(root: &Deployment, hash: &str) -> String {
    let mut name: &str = &root.metadata.name;
    let max = NAME_MAX - 1 - hash.len();
    name = name.get(..max).unwrap_or(name);
    format!("{name}-{hash}")
}

// === impl Set ===

impl Set {
    fn of(is: Arc<ReplicaSet>) -> Self {
        Self {
            replicas: is.spec.replicas,
            annotations: BTreeMap::new(),
            min_ready_seconds: is.spec.min_ready_seconds,
            is,
        }
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str).or_else(|| self.is.metadata.annotations.get(name))
    }

    /// Sets an annotation; true if that changes it.
    fn annotate(&mut self, name: &str, value: &str) -> bool {
        let changes = self.annotation(name) != Some(value);
        if changes {
            self.annotations.insert(name.to_owned(), value.to_owned());
        }
        changes
    }

    fn is_active(&self) -> bool {
        self.replicas > 0
    }

    /// Older ones first.
    fn age(&self) -> (Option<Timestamp>, Arc<str>) {
        (self.is.metadata.creation_timestamp, Arc::clone(&self.is.metadata.name))
    }

    /// What must be written for it to be so.
    fn change(&self, about: &ObjectRef) -> Option<Request> {
        let (was, name) = (&self.is.spec, &self.is.metadata.name);
        let mut patch = json!({});
        if !self.annotations.is_empty() {
            patch["metadata"] = json!({"annotations": self.annotations});
        }
        if self.replicas != was.replicas {
            patch["spec"]["replicas"] = self.replicas.into();
        }
        if self.min_ready_seconds != was.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = self.min_ready_seconds.into();
        }
        if patch == json!({}) {
            return None;
        }
        let request =
            Request::patch(REPLICA_SETS, self.is.key(), Patch::merge(patch)).if_unchanged(&self.is.metadata);
        if self.replicas == was.replicas {
            return Some(request);
        }
        let way = if self.replicas > was.replicas { "up" } else { "down" };
        let note = format!("Scaled {way} replica set {name} from {} to {}", was.replicas, self.replicas);
        Some(request.reporting(Report {
            about: about.clone(),
            done: Some(Note::normal("ScalingReplicaSet", note)),
            failed: None,
        }))
    }
}

// === impl Work ===

impl<'a> Work<'a> {
    fn new(root: &'a Deployment, mut sets: Vec<Arc<ReplicaSet>>, now: Timestamp) -> Self {
        sets.sort_by_cached_key(|set| (set.metadata.creation_timestamp, Arc::clone(&set.metadata.name)));
        // Of several with the wanted template, such as after an upgrade, the oldest is the one.
        let new = sets.iter().position(|set| set.spec.template.is_like(&root.spec.template));
        let new = new.map(|at| Set::of(sets.remove(at)));
        Self {
            root,
            now,
            new,
            old: sets.into_iter().map(Set::of).collect(),
            status: root.status.clone(),
            revision: None,
            creates: None,
            deletes: Vec::new(),
            why: String::new(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    /// How many Pods all ReplicaSets shall have together.
    fn total(&self) -> i32 {
        self.all().map(|set| set.replicas).sum()
    }

    /// How many Pods there are or will be, of all ReplicaSets: what one no longer shall have goes a little later, and has
    /// its place until then. `None` while nobody knows: an old one has not heard yet how many it shall have.
    fn present(&self) -> Option<i32> {
        let has_heard = |set: &Set| set.is.metadata.generation <= set.is.status.observed_generation;
        let present = self.all().map(|set| set.replicas.max(set.is.status.replicas)).sum();
        self.old.iter().all(has_heard).then_some(present)
    }

    /// Brings what the new ReplicaSet tells about itself up to date, if there is one.
    fn meet_new(&mut self) {
        let newest_old = history::max_revision(self.old.iter());
        let Some(new) = &mut self.new else { return };
        history::annotate_new(self.root, new, newest_old + 1);
        new.min_ready_seconds = self.root.spec.min_ready_seconds;
        self.revision = new.annotation(history::REVISION).map(str::to_owned);
        if self.root.has_progress_deadline() && status::progressing(&self.status).is_none() {
            let message = format!("Found new replica set \"{}\"", new.is.metadata.name);
            self.set_progressing("True", "FoundNewReplicaSet", message);
        }
    }

    /// Makes the new ReplicaSet.
    fn make_new(&mut self, observed: &Observed) {
        let root = self.root;
        let name = name_of_new(root, &observed.hash);
        let mut template = root.spec.template.with_hash(&observed.hash);
        let labels = template["metadata"]["labels"].take();
        template["metadata"]["labels"] = labels.clone();
        let mut selector = root.spec.selector.to_value();
        selector["matchLabels"][HASH_LABEL] = observed.hash.as_str().into();
        let replicas = rollout::wanted_of_new(root, self.present(), 0);

        let is = ReplicaSet {
            metadata: client::Meta { name: name.as_str().into(), ..Default::default() },
            ..Default::default()
        };
        let mut new = Set::of(Arc::new(is));
        new.replicas = replicas;
        let revision = history::max_revision(self.old.iter()) + 1;
        history::annotate_new(root, &mut new, revision);
        history::annotate_size(root, &mut new);

        let mut object = json!({
            "metadata": {
                "name": name,
                "namespace": root.metadata.namespace,
                "labels": labels,
                "annotations": new.annotations,
                "ownerReferences": [Owner::controller_of(&DEPLOYMENTS, &root.metadata)],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        });
        if root.spec.min_ready_seconds != 0 {
            object["spec"]["minReadySeconds"] = root.spec.min_ready_seconds.into();
        }
        let scaled = format!("Scaled up replica set {name} from 0 to {replicas}");
        let report = Report {
            about: ObjectRef::to(root),
            done: (replicas > 0).then(|| Note::normal("ScalingReplicaSet", scaled)),
            failed: Some(Note::warning("ReplicaSetCreateError", failed_to_create(&name, "{error}"))),
        };
        let request = Request::create(REPLICA_SETS, &root.metadata.namespace, object).reporting(report);
        self.creates = Some(Box::new(request));
        self.revision = Some(revision.to_string());
        if root.has_progress_deadline() {
            self.set_progressing(
                "True",
                "NewReplicaSetCreated",
                format!("Created new replica set \"{name}\""),
            );
        }
        self.new = Some(new);
    }

    fn set_progressing(&mut self, status: &'static str, reason: &'static str, message: String) {
        let condition = status::condition("Progressing", status, reason, message, self.now);
        crate::conditions::set(&mut self.status.conditions, condition);
    }

    /// All that the look has come to.
    fn into_plan(self, claims: Vec<Request>, last_failure: Option<&str>) -> Plan {
        let Self { root, new, old, status, revision, creates, deletes, why, now } = self;
        let about = ObjectRef::to(root);
        let mut plan = Plan::because(why);
        plan.writes.extend(claims.into_iter().map(Write::from));
        match creates {
            Some(create) => {
                // What the last attempt failed with is told until one succeeds: then the status below is written too.
                if let Some(told) = last_failure.and_then(|error| create_failed(root, &create, error, now)) {
                    plan = plan.then(told);
                }
                plan = plan.then(*create);
            }
            None => {
                plan.writes.extend(new.iter().filter_map(|set| set.change(&about)).map(Write::from));
            }
        }
        plan.writes.extend(old.iter().filter_map(|set| set.change(&about)).map(Write::from));
        plan.writes.extend(deletes.into_iter().map(Write::from));

        let mut patch = json!({});
        if status != root.status {
            patch["status"] = status::to_value(&status);
        }
        if let Some(revision) =
            revision.filter(|it| root.metadata.annotations.get(history::REVISION) != Some(it))
        {
            patch["metadata"]["annotations"][history::REVISION] = revision.into();
        }
        if patch != json!({}) {
            plan = plan.then(write_status(root, patch));
        }
        plan
    }
}

fn write_status(root: &Deployment, patch: Value) -> Request {
    Request::merge(DEPLOYMENTS, root.key(), patch).on("status").if_same(&root.metadata.uid)
}

fn failed_to_create(name: &str, error: &str) -> String {
    format!("Failed to create new replica set \"{name}\": {error}")
}

/// Tells that the new ReplicaSet could not be made, unless that is told already.
fn create_failed(root: &Deployment, create: &Request, error: &str, now: Timestamp) -> Option<Request> {
    let Condition { status, reason, .. } = status::progressing(&root.status).cloned().unwrap_or_default();
    if !root.has_progress_deadline() || (status == "False" && reason == "ReplicaSetCreateError") {
        return None;
    }
    let message = failed_to_create(&create.key.name, error);
    let mut told = root.status.clone();
    let condition = status::condition("Progressing", "False", "ReplicaSetCreateError", message, now);
    crate::conditions::set(&mut told.conditions, condition);
    let conditions = crate::conditions::to_value(&told.conditions);
    Some(write_status(root, json!({"status": {"conditions": conditions}})).on_failure(OnFailure::GoOn))
}

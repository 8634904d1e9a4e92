//! `ResourceQuota`: nobody makes more of something than the quotas of the namespace allow.
//!
//! What a write uses is charged to the quotas' status before the object is stored, and each quota is written over the
//! revision that was looked at; so that two writers, here or at another server, cannot both have the last of it. The
//! writes of a namespace that come at the same time are checked one after the other and charged together. What was
//! charged for an object that then was not stored, or is gone, the controller gives back.

mod configuration;
mod evaluate;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{
    object::{ObjectExt, object_at, object_of},
    quota::{self, Amounts, claims::Claim, devices, pods, services::Service},
    status::Status,
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

pub(super) use self::configuration::Configuration;
use self::evaluate::{Measured, Quota, Refusal, What, Write};
use super::{Attributes, Operation, Plugin};
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    registry::{Call, keys, strategy::Part, update::Plan, warnings::Warnings},
    server::Server,
};

/// How long a write waits for its turn. Upstream's figure.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often quotas that somebody else wrote meanwhile are looked at again. Upstream's figure.
const RETRIES: usize = 3;

/// The plugin.
#[derive(Clone, Debug)]
pub(super) struct ResourceQuota(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    server: Weak<Server>,
    configuration: Configuration,
    /// The writes that wait for their turn, by namespace. A namespace is here as long as somebody works on it. There are
    /// at most as many waiters as there are requests in hand.
    waiting: Mutex<BTreeMap<String, Vec<Waiter>>>,
}

/// A write that waits to be charged.
#[derive(Debug)]
struct Waiter {
    write: Write,
    /// Nothing will be stored, so nothing is charged.
    dry_run: bool,
    answer: oneshot::Sender<Result<(), Answer>>,
}

/// Why a write may not be, or could not be looked at.
#[derive(Clone, Debug)]
enum Answer {
    Refused(Refusal),
    Failed(Status),
}

/// A quota as it was read, and what is known of it.
#[derive(Clone, Debug)]
struct Read {
    object: Arc<Value>,
    quota: Quota,
}

/// Takes a namespace from those that are worked on even if the work breaks off; who waits is told so.
struct Turn<'a> {
    shared: &'a Shared,
    namespace: &'a str,
    over: bool,
}

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.charge(attributes))
    }
}

/// Whether a write can make more used of something.
fn matters(attributes: &Attributes) -> bool {
    let resource = &attributes.resource;
    let (created, updated) =
        (attributes.operation == Operation::Create, attributes.operation == Operation::Update);
    if attributes.namespace.is_empty()
        || !(created || updated)
        || quota::is_ignored(resource)
        || attributes.is("", "namespaces", "")
    {
        return false;
    }
    match (resource.group.as_str(), resource.resource.as_str(), attributes.subresource.as_str()) {
        ("", "pods", "") => {
            created || is_limited_in_time(&attributes.object) != is_limited_in_time(&attributes.old)
        }
        ("", "pods", "resize") => updated,
        ("", "services", "") | ("resource.k8s.io", "resourceclaims", "") => true,
        ("", "persistentvolumeclaims", subresource) => matches!(subresource, "" | "status"),
        (_, _, "") => created,
        _ => false,
    }
}

fn is_limited_in_time(pod: &Value) -> bool {
    pod.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds >= 0)
}

// === impl ResourceQuota ===

impl ResourceQuota {
    /// Charges quotas of this server.
    pub(super) fn new(server: Weak<Server>, configuration: Configuration) -> Self {
        Self(Arc::new(Shared { server, configuration, waiting: Mutex::default() }))
    }

    async fn charge(&self, attributes: &Attributes) -> Result<(), Status> {
        let (true, Some(server)) = (matters(attributes), self.0.server.upgrade()) else { return Ok(()) };
        let namespace = &attributes.namespace;
        if self.0.configuration.limited_resources.is_empty() && !has_quotas(&server, namespace).await {
            return Ok(());
        }
        let now = measure(&server, attributes, &attributes.object).await?;
        let before = match attributes.operation {
            Operation::Update if !attributes.old.is_null() => {
                Some(measure(&server, attributes, &attributes.old).await?)
            }
            _ => None,
        };
        let is_report = attributes.subresource == "status";
        let write = Write { resource: attributes.resource.clone(), now, before, is_report };
        let (answer, answered) = oneshot::channel();
        self.queue(&server, namespace, Waiter { write, dry_run: attributes.dry_run, answer });
        drop(server);
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(Answer::Refused(Refusal::Forbidden(why))))) => Err(attributes.forbidden(why)),
            Ok(Ok(Err(Answer::Refused(Refusal::Failure(why))))) => Err(Status::failure(500, "", why)),
            Ok(Ok(Err(Answer::Failed(status)))) => Err(status),
            Ok(Err(_broken_off)) => Err(Status::internal("resource quota evaluation was broken off")),
            Err(_elapsed) => Err(Status::internal("resource quota evaluation timed out")),
        }
    }

    fn queue(&self, server: &Server, namespace: &str, waiter: Waiter) {
        let mut waiting = self.0.waiting.lock();
        if let Some(others) = waiting.get_mut(namespace) {
            others.push(waiter);
            return;
        }
        waiting.insert(namespace.to_owned(), vec![waiter]);
        drop(waiting);
        let (shared, namespace) = (Arc::clone(&self.0), namespace.to_owned());
        // A task of its own, so that a caller who goes away does not take along those who wait with it.
        server.runtime.tasks.spawn("resource quota", async move { shared.work(&namespace).await });
    }
}

// === impl Shared ===

impl Shared {
    /// Charges the writes of a namespace until there are none.
    async fn work(&self, namespace: &str) {
        let mut turn = Turn { shared: self, namespace, over: false };
        loop {
            let waiters = {
                let mut waiting = self.waiting.lock();
                match waiting.get_mut(namespace) {
                    Some(waiters) if !waiters.is_empty() => std::mem::take(waiters),
                    _ => {
                        waiting.remove(namespace);
                        turn.over = true;
                        return;
                    }
                }
            };
            self.charge_all(namespace, waiters).await;
        }
    }

    async fn charge_all(&self, namespace: &str, mut waiters: Vec<Waiter>) {
        let Some(server) = self.server.upgrade() else { return };
        let mut quotas = match read(&server, namespace).await {
            Ok(quotas) => quotas,
            Err(status) => return Waiter::tell_all(waiters, &Err(Answer::Failed(status))),
        };
        let mut retries = RETRIES;
        loop {
            let (charged, changed) = self.check_all(&mut quotas, waiters);
            let mut refused = BTreeMap::new();
            for quota in quotas.iter().filter(|it| changed.contains(&it.quota.name)) {
                if let Err(status) = write(&server, namespace, quota).await {
                    refused.insert(quota.quota.name.clone(), status);
                }
            }
            let Some(status) = refused.values().next_back().cloned() else {
                return Waiter::tell_all(charged, &Ok(()));
            };
            let newer = if retries > 0 { read(&server, namespace).await.ok() } else { None };
            let Some(newer) = newer else {
                return Waiter::tell_all(charged, &Err(Answer::Failed(status)));
            };
            retries -= 1;
            // The others have been charged already. What is gone meanwhile limits nothing any more.
            quotas = newer.into_iter().filter(|it| refused.contains_key(&it.quota.name)).collect();
            waiters = charged;
        }
    }

    /// Notes in the quotas what the writes come to, one after the other. Gives the writes that wait for quotas to be
    /// written, and the names of these; all others have their answer.
    fn check_all(&self, quotas: &mut [Read], waiters: Vec<Waiter>) -> (Vec<Waiter>, BTreeSet<String>) {
        let mut running: Vec<Quota> = quotas.iter().map(|it| it.quota.clone()).collect();
        let (mut charged, mut changed) = (Vec::new(), BTreeSet::new());
        // Whoever has gone away needs nothing.
        for waiter in waiters.into_iter().filter(|waiter| !waiter.answer.is_closed()) {
            match evaluate::check(&running, &waiter.write, &self.configuration.limited_resources) {
                Err(refusal) => waiter.tell(Err(Answer::Refused(refusal))),
                Ok(changes) if changes.is_empty() || waiter.dry_run => waiter.tell(Ok(())),
                Ok(changes) => {
                    for (place, used) in changes {
                        if let Some(quota) = running.get_mut(place) {
                            quota.used = used;
                            changed.insert(quota.name.clone());
                        }
                    }
                    charged.push(waiter);
                }
            }
        }
        for (quota, running) in quotas.iter_mut().zip(running) {
            quota.quota = running;
        }
        (charged, changed)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.shared.waiting.lock().remove(self.namespace);
        }
    }
}

// === impl Waiter ===

impl Waiter {
    fn tell(self, answer: Result<(), Answer>) {
        // Whoever has gone away does not want to know.
        let _gone = self.answer.send(answer);
    }

    fn tell_all(waiters: Vec<Self>, answer: &Result<(), Answer>) {
        waiters.into_iter().for_each(|waiter| waiter.tell(answer.clone()));
    }
}

// --- what there is

/// Whether there are quotas, as the cache has it now: a new one counts for nothing anyway until the controller has seen it.
async fn has_quotas(server: &Server, namespace: &str) -> bool {
    let Some(served) = server.registry.catalogue.find("", "v1", "resourcequotas") else { return false };
    let cache = served.storage.cache();
    cache.ready().await;
    cache.snapshot().count(&keys::namespace(&served.storage.prefix, namespace)) > 0
}

async fn read(server: &Server, namespace: &str) -> Result<Vec<Read>, Status> {
    let objects = server.list("", "v1", "resourcequotas", namespace).await?;
    let read = |object: Arc<Value>| {
        let quota = Quota::read(&object).map_err(Status::internal)?;
        Ok(Read { object, quota })
    };
    objects.into_iter().map(read).collect()
}

/// Writes what is used, if the quota is still the one that was read.
async fn write(server: &Server, namespace: &str, read: &Read) -> Result<(), Status> {
    let Some(served) = server.registry.catalogue.find("", "v1", "resourcequotas") else { return Ok(()) };
    let call = Call {
        served,
        namespace: namespace.to_owned(),
        name: read.quota.name.clone(),
        subresource: "status".to_owned(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        now: server.runtime.clock.now(),
        dry_run: false,
        manager: "kube-apiserver".to_owned(),
        options: Value::Null,
        warnings: Warnings::default(),
        answers: crate::custom::ownership::Answers::default(),
        audit: crate::audit::Record::default(),
    };
    let plan = Plan { uid_precondition: true, ..Plan::of(Part::Status) };
    let mut object = (*read.object).clone();
    object_at(object_of(&mut object), "status").insert("used".to_owned(), json!(read.quota.used));
    server.registry.update(&call, plan, &|_| Ok(object.clone())).await.map(drop)
}

/// An object as quotas look at it.
async fn measure(server: &Server, attributes: &Attributes, object: &Value) -> Result<Measured, Status> {
    let resource = &attributes.resource;
    Ok(match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "pods") => {
            let pod = pods::Pod::read(object).map_err(Status::internal)?;
            Measured { usage: pod.usage(attributes.now), what: What::Pod(Box::new(pod)) }
        }
        ("", "services") => {
            let service = Service::deserialize(object).map_err(Status::internal)?;
            Measured { usage: service.usage(), what: What::Service }
        }
        ("", "persistentvolumeclaims") => {
            let claim = Claim::read(object).map_err(Status::internal)?;
            Measured { usage: claim.usage(), what: What::claim(&claim) }
        }
        ("resource.k8s.io", "resourceclaims") => {
            let classes = classes(server).await?;
            let spec = object.get("spec").unwrap_or(&Value::Null);
            let wanted = devices::Wanted::deserialize(spec).map_err(Status::internal)?;
            let pod = counted_for_pod(server, &attributes.namespace, object, attributes.now).await?;
            Measured { usage: devices::usage(&wanted, &classes, &pod), what: What::Devices(classes) }
        }
        (group, plural) => {
            let names = quota::count_names(group, plural);
            let usage = names.iter().map(|name| (name.clone(), quota::number(1))).collect();
            Measured { usage, what: What::Counted(names) }
        }
    })
}

/// The classes of devices.
async fn classes(server: &Server) -> Result<devices::Classes, Status> {
    let classes = server.list("resource.k8s.io", "v1", "deviceclasses", "").await?;
    let by_name = |class: &Value| {
        class.pointer("/spec/extendedResourceName").and_then(Value::as_str).unwrap_or_default().into()
    };
    Ok(classes.iter().map(|class| (class.name().into(), by_name(class))).collect())
}

/// What was counted already for the Pod that a claim was made for, because that asks for devices as plain resources.
async fn counted_for_pod(
    server: &Server,
    namespace: &str,
    claim: &Value,
    now: Timestamp,
) -> Result<Amounts, Status> {
    let Some((pod_name, uid)) = made_for(claim) else { return Ok(Amounts::new()) };
    let pod = server.get("", "v1", "pods", namespace, pod_name).await.filter(|pod| pod.uid() == uid);
    let Some(pod) = pod else { return Ok(Amounts::new()) };
    let claims = server.list("resource.k8s.io", "v1", "resourceclaims", namespace).await?;
    let rivals = claims.iter().filter(|it| made_for(it).is_some_and(|(_, of)| of == uid));
    let named = pod.pointer("/status/extendedResourceClaimStatus/resourceClaimName");
    let named = named.and_then(Value::as_str).unwrap_or_default();
    if !devices::is_the_pods(age(claim), named, rivals.map(|it| age(it))) {
        return Ok(Amounts::new());
    }
    Ok(pods::Pod::read(&pod).map_err(Status::internal)?.usage(now))
}

/// The name and uid of the Pod that a claim was made for, because that asks for devices as plain resources.
fn made_for(claim: &Value) -> Option<(&str, &str)> {
    if claim.annotation(devices::EXTENDED) != Some("true") {
        return None;
    }
    let owners = claim.meta()?.get("ownerReferences")?.as_array()?;
    let is = |owner: &Value, field: &str, text: &str| owner.get(field).and_then(Value::as_str) == Some(text);
    let owner = owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
    let is_pod = is(owner, "kind", "Pod") && is(owner, "apiVersion", "v1");
    if is_pod { Some((owner.get("name")?.as_str()?, owner.get("uid")?.as_str()?)) } else { None }
}

fn age(claim: &Value) -> (Option<Timestamp>, &str) {
    (claim.meta_str("creationTimestamp").parse().ok(), claim.name())
}

#[cfg(test)]
mod tests;

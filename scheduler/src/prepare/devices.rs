//! Claims get the devices that are held for them, and the Pod a right to use them; then it is waited until these are ready.
//!
//! Every write is on condition of the revision it was decided on. When an answer is lost, the same is sent again until there
//! is one: either that it is so, or that the claim has changed, and then the lost one cannot come to be any more. Meanwhile
//! the devices are taken, and they stay so if there never is an answer.

use std::{sync::Arc, time::Duration};

use client::{
    Error, Key, Revision,
    api::{DeleteOptions, Patch, Preconditions},
    events::Note,
    resource::{PODS, RESOURCE_CLAIMS},
};
use jiff::SignedDuration;
use parking_lot::Mutex;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use crate::{
    devices::{
        account::Ticket,
        claim::{EXTENDED, FINALIZER, Readiness, ResourceClaim},
    },
    plugin::{DeviceHolding, ExtendedClaim, Holding, Remedy},
    pod::Pod,
    run::Shared,
};

/// A claim that changes meanwhile is tried so often.
const ATTEMPTS: u32 = 5;
/// When an answer was lost, the same is sent so often, so far apart.
const RESENDS: u32 = 30;
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// It is looked so often whether devices are ready.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A claim that was made here is seen after so long, or it is asked for.
const SEEN_AFTER: Duration = Duration::from_secs(120);

/// A claim that was reserved for a Pod.
#[derive(Clone, Debug)]
pub(crate) struct Reserved {
    key: Key,
    uid: Box<str>,
    /// It was made for the Pod.
    made: bool,
}

/// What came of a write.
enum Written {
    /// It is so.
    So(Box<Value>),
    /// The claim has changed.
    Conflict,
}

fn revision(object: &Value) -> Revision {
    Revision::parse(object["metadata"]["resourceVersion"].as_str().unwrap_or_default())
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn has_finalizer(claim: &Value) -> bool {
    let finalizers = claim["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|all| all.iter().any(|finalizer| finalizer == FINALIZER))
}

fn consumers(claim: &Value) -> &[Value] {
    claim["status"]["reservedFor"].as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Shared {
    /// Gets the claims of a Pod their devices, and waits until these are ready.
    ///
    /// # Errors
    /// What failed, for people.
    pub(crate) async fn prepare_devices(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        node: &str,
        holdings: &[Holding],
        patience: Duration,
        reserved: &Mutex<Vec<Reserved>>,
    ) -> Result<(), String> {
        let mut claims = Vec::new();
        for holding in holdings {
            if let Holding::Devices(holding) = holding {
                claims.push(self.bind_claim(pod, holding, reserved).await?);
            }
        }
        if !claims.iter().any(ResourceClaim::has_binding_conditions) {
            return Ok(());
        }
        let message = format!("waiting for binding conditions for device on node {node}");
        self.tell(pod, &Note::normal("BindingConditionsPending", message).action("Scheduling"));
        let ready = async {
            while !self.are_ready(&claims, patience)? {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        match tokio::time::timeout(patience, ready).await {
            Ok(result) => result,
            Err(_elapsed) => Err("device binding timeout: context deadline exceeded".to_owned()),
        }
    }

    /// Whether the devices of all claims are ready, as far as is known.
    fn are_ready(&self, claims: &[ResourceClaim], patience: Duration) -> Result<bool, String> {
        let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
        for written in claims {
            let key = written.key();
            let seen = self.device_claims.get_same(&key, &written.metadata.uid);
            let claim = match &seen {
                Some(seen) if seen.metadata.revision >= written.metadata.revision => seen,
                Some(_) => written,
                None if self.device_claims.revision() < written.metadata.revision => written,
                None => return Err(format!("could not find ResourceClaim \"{key}\"")),
            };
            match claim.readiness() {
                Readiness::Ready => {}
                Readiness::Failed(why) => return Err(why),
                Readiness::Waiting if claim.is_overdue(patience, self.runtime.clock.now()) => {
                    return Err(format!("device binding timeout: claim={}", claim.metadata.name));
                }
                Readiness::Waiting => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Gets a claim its devices, and the Pod a right to use them.
    async fn bind_claim(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        holding: &DeviceHolding,
        reserved: &Mutex<Vec<Reserved>>,
    ) -> Result<ResourceClaim, String> {
        let key = match &holding.extended {
            Some(extended) => self.make_claim(pod, extended, reserved).await?,
            None => holding.key.clone(),
        };
        let allocation = holding
            .plan
            .as_ref()
            .map(|plan| plan.written(|| self.runtime.random.uuid().to_string(), self.runtime.clock.now()));
        let what = if allocation.is_some() {
            format!("add allocation and reservation to claim {key}")
        } else {
            format!("add reservation to claim {key}")
        };
        let mut conflicts = 0;
        let claim = loop {
            let claim: Value = self
                .api
                .get(&RESOURCE_CLAIMS, &key)
                .await
                .map_err(|error| format!("get updated claim {key} after conflict: {error}"))?;
            if holding.extended.is_none() && uid(&claim) != &*holding.uid {
                return Err(format!("claim {key} got deleted in the meantime"));
            }
            if self.is_ours(&claim, pod, allocation.as_ref()) {
                break claim;
            }
            match self.write_claim(pod, holding, &key, claim, allocation.as_ref()).await {
                Ok(Written::So(claim)) => break *claim,
                Ok(Written::Conflict) if conflicts < ATTEMPTS => conflicts += 1,
                Ok(Written::Conflict) => return Err(format!("{what}: the claim has been modified")),
                Err(why) => return Err(why),
            }
        };
        if holding.extended.is_none() {
            let reservation = Reserved { key: key.clone(), uid: uid(&claim).into(), made: false };
            reserved.lock().push(reservation);
        }
        if let Some(extended) = &holding.extended {
            self.tell_of_claim(pod, &key, extended).await?;
            self.runtime
                .tasks
                .spawn("device-claims", Arc::clone(self).watch_over(key.clone(), uid(&claim).into()));
        }
        ResourceClaim::deserialize(&claim).map_err(|error| format!("cannot read claim {key}: {error}"))
    }

    /// Whether a claim is as it is to be.
    fn is_ours(&self, claim: &Value, pod: &Pod, allocation: Option<&Value>) -> bool {
        let is_reserved = consumers(claim).iter().any(|consumer| consumer["uid"] == pod.uid());
        let has = &claim["status"]["allocation"];
        is_reserved
            && match allocation {
                None => has.is_object(),
                Some(allocation) => has["devices"]["results"] == allocation["devices"]["results"],
            }
    }

    /// Writes a claim as it is to be, on condition that it is still as it was read.
    async fn write_claim(
        &self,
        pod: &Pod,
        holding: &DeviceHolding,
        key: &Key,
        mut claim: Value,
        allocation: Option<&Value>,
    ) -> Result<Written, String> {
        if claim["metadata"]["deletionTimestamp"].is_string() {
            return Err(format!("claim {key} got deleted in the meantime"));
        }
        let has_devices = claim["status"]["allocation"].is_object();
        match allocation {
            Some(_) if has_devices => {
                return Err(format!("claim {key} got allocated elsewhere in the meantime"));
            }
            None if !has_devices => {
                return Err(format!("claim {key} got deallocated elsewhere in the meantime"));
            }
            Some(_) if !has_finalizer(&claim) => {
                match &mut claim["metadata"]["finalizers"] {
                    Value::Array(all) => all.push(FINALIZER.into()),
                    none => *none = json!([FINALIZER]),
                }
                let answer: Result<Value, Error> = self.api.update(&RESOURCE_CLAIMS, key, "", &claim).await;
                claim = match answer {
                    Ok(claim) => claim,
                    // Whether it came to be or not: what is read next tells.
                    Err(error) if error.is_conflict() || error.may_have_happened() => {
                        return Ok(Written::Conflict);
                    }
                    Err(error) => return Err(format!("add finalizer to claim {key}: {error}")),
                };
            }
            _ => {}
        }
        let on = revision(&claim);
        let ticket = match allocation {
            None => None,
            Some(_) => {
                let mut state = self.state.lock();
                let devices = &mut state.cluster.others_mut().devices;
                let ticket = devices.will_send(pod.uid(), holding, uid(&claim), on);
                Some(ticket.ok_or_else(|| format!("pod {} gave up its devices", pod.key()))?)
            }
        };
        let mut consumers = consumers(&claim).to_vec();
        consumers.push(json!({"resource": "pods", "name": &*pod.metadata.name, "uid": pod.uid()}));
        if !claim["status"].is_object() {
            claim["status"] = json!({});
        }
        claim["status"]["reservedFor"] = consumers.into();
        if let Some(allocation) = allocation {
            claim["status"]["allocation"] = allocation.clone();
        } else if claim["status"]["allocation"]["allocationTimestamp"].is_null() {
            let now = client::meta::time(self.runtime.clock.now());
            claim["status"]["allocation"]["allocationTimestamp"] = now.into();
        }
        self.send_status(key, &claim, ticket.as_ref()).await
    }

    /// Sends the status of a claim until there is an answer.
    async fn send_status(
        &self,
        key: &Key,
        claim: &Value,
        ticket: Option<&Ticket>,
    ) -> Result<Written, String> {
        let mut sent = 0;
        loop {
            let answer: Result<Value, Error> = self.api.update(&RESOURCE_CLAIMS, key, "status", claim).await;
            match answer {
                Ok(written) => {
                    self.settle(ticket, Some((key, revision(&written))));
                    return Ok(Written::So(Box::new(written)));
                }
                // Either the one before came to be, or neither ever will: what is read next tells.
                Err(error) if error.is_conflict() => {
                    return self.after_conflict(key, claim, ticket).await;
                }
                Err(error) if error.may_have_happened() && sent < RESENDS => {
                    sent += 1;
                    tokio::time::sleep(RESEND_AFTER).await;
                }
                Err(error) if error.may_have_happened() => {
                    // The devices stay taken until the claim is seen to have changed.
                    return Err(format!("add allocation and reservation to claim {key}: {error}"));
                }
                Err(error) => {
                    if sent == 0 {
                        self.settle(ticket, None);
                    }
                    let what = if ticket.is_some() { "allocation and reservation" } else { "reservation" };
                    return Err(format!("add {what} to claim {key}: {error}"));
                }
            }
        }
    }

    /// A claim is of another revision than that on condition of which something was sent, maybe because that came to be.
    async fn after_conflict(
        &self,
        key: &Key,
        claim: &Value,
        ticket: Option<&Ticket>,
    ) -> Result<Written, String> {
        for _ in 0..RESENDS {
            let answer: Result<Value, Error> = self.api.get(&RESOURCE_CLAIMS, key).await;
            match answer {
                Ok(now) => {
                    let (wanted, has) = (&claim["status"]["allocation"], &now["status"]["allocation"]);
                    let is_so = uid(&now) == uid(claim)
                        && wanted["devices"]["results"] == has["devices"]["results"]
                        && consumers(claim).last().is_some_and(|last| consumers(&now).contains(last));
                    if is_so {
                        self.settle(ticket, Some((key, revision(&now))));
                        return Ok(Written::So(Box::new(now)));
                    }
                    self.settle(ticket, None);
                    return Ok(Written::Conflict);
                }
                Err(error) if error.is_not_found() => {
                    self.settle(ticket, None);
                    return Err(format!("claim {key} got deleted in the meantime"));
                }
                Err(_) => tokio::time::sleep(RESEND_AFTER).await,
            }
        }
        Err(format!("get updated claim {key} after conflict: no answer"))
    }

    /// What was sent is so since a revision, or will never be.
    fn settle(&self, ticket: Option<&Ticket>, written: Option<(&Key, Revision)>) {
        let Some(ticket) = ticket else { return };
        let mut state = self.state.lock();
        let devices = &mut state.cluster.others_mut().devices;
        match written {
            Some((key, at)) => devices.is_written(ticket, key, at),
            None => devices.is_refused(ticket),
        }
    }

    /// Makes the claim for the extended resources of a Pod.
    async fn make_claim(
        &self,
        pod: &Pod,
        extended: &ExtendedClaim,
        reserved: &Mutex<Vec<Reserved>>,
    ) -> Result<Key, String> {
        let namespace = &*pod.metadata.namespace;
        let object = json!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {
                "namespace": namespace,
                "generateName": format!("{}-extended-resources-", pod.metadata.name),
                "annotations": {EXTENDED: "true"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": &*pod.metadata.name,
                    "uid": pod.uid(), "controller": true}],
            },
            "spec": {"devices": {"requests": extended.requests}},
        });
        let answer: Result<Value, Error> = self.api.create(&RESOURCE_CLAIMS, namespace, &object).await;
        self.metrics.made_claim(answer.is_ok());
        let made = answer.map_err(|error| {
            format!("create claim for extended resources {}/: {error}", pod.metadata.namespace)
        })?;
        let key = Key::new(namespace, made["metadata"]["name"].as_str().unwrap_or_default());
        reserved.lock().push(Reserved { key: key.clone(), uid: uid(&made).into(), made: true });
        Ok(key)
    }

    /// Tells a Pod which claim was made for its extended resources.
    async fn tell_of_claim(&self, pod: &Pod, key: &Key, extended: &ExtendedClaim) -> Result<(), String> {
        let patch = Patch::strategic(json!({
            "metadata": {"uid": pod.uid()},
            "status": {"extendedResourceClaimStatus": {
                "requestMappings": extended.mappings,
                "resourceClaimName": &*key.name,
            }},
        }));
        let answer: Result<IgnoredAny, Error> = self.api.patch(&PODS, &pod.key(), "status", &patch).await;
        answer
            .map(drop)
            .map_err(|error| format!("update pod {} ExtendedResourceClaimStatus: {error}", pod.key()))
    }

    /// A claim that was made here may go before it is ever seen: then nobody tells that its devices are free.
    async fn watch_over(self: Arc<Self>, key: Key, uid: Box<str>) {
        loop {
            tokio::time::sleep(SEEN_AFTER).await;
            if self.device_claims.get_same(&key, &uid).is_some() {
                return;
            }
            let answer: Result<ResourceClaim, Error> = self.api.get(&RESOURCE_CLAIMS, &key).await;
            let is_gone = match answer {
                Ok(claim) => claim.metadata.uid != uid,
                Err(error) => error.is_not_found(),
            };
            if is_gone {
                self.state.lock().cluster.others_mut().devices.forget_claim(&uid);
                return;
            }
        }
    }

    /// A Pod does not get there: it gives back its right to use claims, and what was made for it goes. Devices stay with their
    /// claims.
    pub(crate) async fn give_back_devices(&self, pod: &Pod, reserved: Vec<Reserved>) {
        for Reserved { key, uid, made } in reserved {
            if made {
                self.delete_claim(&key, &uid).await;
                continue;
            }
            let patch = Patch::strategic(json!({
                "metadata": {"uid": uid},
                "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid()}]},
            }));
            let answer: Result<IgnoredAny, Error> =
                self.api.patch(&RESOURCE_CLAIMS, &key, "status", &patch).await;
            if let Err(error) = answer {
                tracing::warn!(claim = %key, %error, "cannot give back the reservation of a claim");
            }
        }
    }

    /// Does what may help a Pod later.
    pub(crate) async fn remedy(self: Arc<Self>, pod: Arc<Pod>, remedy: Remedy) {
        match remedy {
            Remedy::Delete(key, uid) => self.delete_claim(&key, &uid).await,
            Remedy::Deallocate(key, uid) => {
                // On condition that it is as it was when nobody used it.
                let Some(claim) = self.device_claims.get_same(&key, &uid) else { return };
                let patch = Patch::merge(json!({
                    "metadata": {"uid": uid, "resourceVersion": claim.metadata.revision},
                    "status": {"reservedFor": null, "allocation": null, "devices": null},
                }));
                let answer: Result<IgnoredAny, Error> =
                    self.api.patch(&RESOURCE_CLAIMS, &key, "status", &patch).await;
                if let Err(error) = answer {
                    tracing::warn!(claim = %key, pod = %pod.key(), %error, "cannot deallocate the claim");
                }
            }
        }
    }

    async fn delete_claim(&self, key: &Key, expected: &str) {
        for _ in 0..ATTEMPTS {
            let claim: Result<Value, Error> = self.api.get(&RESOURCE_CLAIMS, key).await;
            let Ok(mut claim) = claim else { return };
            if uid(&claim) != expected {
                return;
            }
            if has_finalizer(&claim) {
                if let Some(all) = claim["metadata"]["finalizers"].as_array_mut() {
                    all.retain(|finalizer| finalizer != FINALIZER);
                }
                let answer: Result<IgnoredAny, Error> =
                    self.api.update(&RESOURCE_CLAIMS, key, "", &claim).await;
                match answer {
                    Ok(_) => {}
                    Err(error) if error.is_conflict() || error.may_have_happened() => continue,
                    Err(error) => {
                        tracing::warn!(claim = %key, %error, "cannot take the finalizer from a claim");
                        return;
                    }
                }
            }
            let options =
                DeleteOptions { preconditions: Preconditions::uid(expected), ..DeleteOptions::default() };
            if let Err(error) = self.api.delete(&RESOURCE_CLAIMS, key, &options).await
                && !error.is_not_found()
            {
                tracing::warn!(claim = %key, %error, "cannot delete a claim");
            }
            return;
        }
    }
}

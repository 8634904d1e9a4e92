//! Leader election by a Lease: of several copies of a component one works, the others stand by.
//!
//! As client-go does it: a candidate trusts its own watch, not the holder's. It notes when it last saw the Lease change, and
//! takes it over once that is longer ago than the Lease lasts; so clocks need not agree, only run at about one speed.
//!
//! Invariant: [`decide`] is pure; the loop around it only carries it out. Leading ends when it cannot be renewed for
//! `renew_deadline`, which is earlier than anyone else may take over.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{
    IntGauge, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use runtime::Runtime;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    Api, Error, Key,
    events::{Note, ObjectRef, Recorder},
    meta::micro_time,
    reflector::list_watch::chain,
    resource::LEASES,
};

/// Retries of a candidate are stretched by up to this part of the period, so that candidates do not move in step.
const JITTER: f64 = 1.2;

/// Who is a candidate for what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Lease, such as `kube-system/kube-scheduler`.
    pub lease: Key,
    /// This candidate's name: the host's and something that no other process has.
    pub identity: String,
    /// A Lease that has not changed for so long may be taken over.
    pub lease_duration: Duration,
    /// A leader that could not renew for so long stops.
    pub renew_deadline: Duration,
    /// How often to try.
    pub retry_period: Duration,
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The leader; empty if it was released.
    #[serde(deserialize_with = "crate::meta::null_is_default")]
    pub holder_identity: String,
    /// How long it lasts from its last change.
    #[serde(deserialize_with = "crate::meta::null_is_default")]
    pub lease_duration_seconds: u64,
    /// Since when the holder leads.
    pub acquire_time: Option<Timestamp>,
    /// When the holder renewed it last.
    pub renew_time: Option<Timestamp>,
    /// How often it has changed hands.
    #[serde(deserialize_with = "crate::meta::null_is_default")]
    pub lease_transitions: u64,
}

/// A Lease as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What it said.
    pub spec: Spec,
    /// The whole object, to be written back.
    object: Value,
    /// When it was first seen to say so.
    at: Instant,
}

/// What a candidate does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Make the Lease.
    Create(Spec),
    /// Take it or renew it.
    Write(Spec),
    /// Another one leads.
    StandBy,
}

/// Why leading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The Lease could not be renewed, or another one has it. Whatever was led must be over now.
    Lost,
    /// The process is stopping; the Lease was released.
    Stopped,
}

/// A candidate.
#[derive(Debug)]
pub struct Election {
    api: Api,
    runtime: Runtime,
    settings: Settings,
    events: Option<Recorder>,
    status: Option<IntGauge>,
    seen: Option<Seen>,
}

/// Who leads what, under upstream's name. Cheap to clone; register it once.
#[derive(Clone, Debug)]
pub struct Metrics(IntGaugeVec);

/// What to do, given the Lease as it was seen, how long it has not changed, and the time.
pub fn decide(settings: &Settings, seen: Option<(&Spec, Duration)>, now: Timestamp) -> Move {
    let fresh = Spec {
        holder_identity: settings.identity.clone(),
        lease_duration_seconds: settings.lease_duration.as_secs(),
        acquire_time: Some(now),
        renew_time: Some(now),
        lease_transitions: 0,
    };
    let Some((lease, unchanged)) = seen else { return Move::Create(fresh) };
    if lease.holder_identity == settings.identity {
        return Move::Write(Spec {
            acquire_time: lease.acquire_time,
            lease_transitions: lease.lease_transitions,
            ..fresh
        });
    }
    if !lease.holder_identity.is_empty() && unchanged < Duration::from_secs(lease.lease_duration_seconds) {
        return Move::StandBy;
    }
    Move::Write(Spec { lease_transitions: lease.lease_transitions + 1, ..fresh })
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nobody leads yet.
    ///
    /// # Panics
    /// Never: name and label are constants that fit.
    pub fn new() -> Self {
        let help = "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates \
                    master. 'name' is the string used to identify the lease. Please make sure to group by name.";
        let opts = Opts::new("leader_election_master_status", help);
        Self(IntGaugeVec::new(opts, &["name"]).expect("name and label are constants that fit"))
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

// === impl Settings ===

impl Settings {
    /// Upstream's defaults: the Lease lasts 15 seconds, a leader gives up after 10, everyone tries every 2.
    pub fn new(lease: Key, identity: String) -> Self {
        Self {
            lease,
            identity,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

// === impl Spec ===

impl Spec {
    fn to_value(&self) -> Value {
        json!({
            "holderIdentity": self.holder_identity,
            "leaseDurationSeconds": self.lease_duration_seconds,
            "acquireTime": self.acquire_time.map(micro_time),
            "renewTime": self.renew_time.map(micro_time),
            "leaseTransitions": self.lease_transitions,
        })
    }
}

// === impl Election ===

impl Election {
    /// A candidate that does not lead yet.
    pub fn new(api: Api, runtime: &Runtime, settings: Settings) -> Self {
        Self { api, runtime: runtime.clone(), settings, events: None, status: None, seen: None }
    }

    /// A candidate that tells people when it leads.
    #[must_use]
    pub fn telling(mut self, events: Recorder) -> Self {
        self.events = Some(events);
        self
    }

    /// A candidate whose lead is measured.
    #[must_use]
    pub fn measured(mut self, metrics: &Metrics) -> Self {
        let status = metrics.0.with_label_values(&[&*self.settings.lease.name]);
        status.set(0);
        self.status = Some(status);
        self
    }

    /// Who leads, as far as this candidate has seen.
    pub fn leader(&self) -> Option<&str> {
        self.seen.as_ref().map(|seen| seen.spec.holder_identity.as_str()).filter(|holder| !holder.is_empty())
    }

    /// Waits to lead, then does `work` in a runtime whose tasks end with the lead, and holds on to the lead until it is lost
    /// or the process stops. After `Lost` a process had better exit: it starts anew with empty hands.
    ///
    /// Run it in a task that drains, so that the lead can be released.
    pub async fn run(mut self, work: impl FnOnce(Runtime)) -> Ended {
        let stopping = self.runtime.tasks.stopping();
        tokio::select! {
            biased;
            () = stopping.cancelled() => return Ended::Stopped,
            () = self.acquire() => {}
        }
        let led = Runtime { tasks: self.runtime.tasks.child(), ..self.runtime.clone() };
        let tasks = led.tasks.clone();
        work(led);
        let ended = tokio::select! {
            biased;
            () = stopping.cancelled() => Ended::Stopped,
            () = self.hold() => Ended::Lost,
        };
        // What is in hand may be finished as long as nobody else can lead.
        tasks.drain(self.settings.lease_duration.saturating_sub(self.settings.renew_deadline)).await;
        if ended == Ended::Stopped {
            self.release().await;
        }
        ended
    }

    /// Waits to lead.
    pub async fn acquire(&mut self) {
        tracing::info!(lease = %self.settings.lease, "waiting to lead");
        loop {
            let before = self.leader().map(str::to_owned);
            match self.attempt().await {
                Ok(true) => break,
                Ok(false) => {
                    if self.leader() != before.as_deref() {
                        tracing::info!(lease = %self.settings.lease, leader = self.leader(), "another leads");
                    }
                }
                Err(error) => {
                    tracing::warn!(lease = %self.settings.lease, error = %chain(&error), "cannot try to lead");
                }
            }
            tokio::time::sleep(self.runtime.random.jitter(self.settings.retry_period, JITTER)).await;
        }
        tracing::info!(lease = %self.settings.lease, identity = self.settings.identity, "leading");
        self.leads(true);
    }

    /// Holds on to the lead; returns when it is lost.
    pub async fn hold(&mut self) {
        loop {
            let renewed = timeout(self.settings.renew_deadline, self.renew()).await;
            if renewed != Ok(true) {
                tracing::error!(lease = %self.settings.lease, "lost the lead");
                self.leads(false);
                return;
            }
            tokio::time::sleep(self.settings.retry_period).await;
        }
    }

    /// Tries until it has renewed, or another one leads.
    async fn renew(&mut self) -> bool {
        loop {
            match self.attempt().await {
                Ok(true) => return true,
                Ok(false) => return false,
                Err(error) => {
                    tracing::warn!(lease = %self.settings.lease, error = %chain(&error), "cannot renew");
                }
            }
            tokio::time::sleep(self.settings.retry_period).await;
        }
    }

    /// Gives up the lead, so that another one need not wait for it to run out.
    pub async fn release(&mut self) {
        let Some(seen) = &self.seen else { return };
        if seen.spec.holder_identity != self.settings.identity {
            return;
        }
        let now = self.runtime.clock.now();
        let spec = Spec {
            holder_identity: String::new(),
            lease_duration_seconds: 1,
            acquire_time: Some(now),
            renew_time: Some(now),
            lease_transitions: seen.spec.lease_transitions,
        };
        match timeout(self.settings.renew_deadline, self.write(&spec)).await {
            Ok(Ok(())) => {
                tracing::info!(lease = %self.settings.lease, "released the lead");
                if let Some(status) = &self.status {
                    status.set(0);
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(lease = %self.settings.lease, error = %chain(&error), "cannot release the lead");
            }
            Err(_elapsed) => tracing::warn!(lease = %self.settings.lease, "cannot release the lead in time"),
        }
    }

    /// One look and one move. True if this candidate leads.
    async fn attempt(&mut self) -> Result<bool, Error> {
        let leads = self.leader() == Some(self.settings.identity.as_str());
        if leads && self.make_move().await.is_ok_and(|leads| leads) {
            // The Lease was as we left it: no need to read it first.
            return Ok(true);
        }
        match self.api.get::<Value>(&LEASES, &self.settings.lease).await {
            Ok(object) => self.see(object)?,
            Err(error) if error.is_not_found() => self.seen = None,
            Err(error) => return Err(error),
        }
        self.make_move().await
    }

    async fn make_move(&mut self) -> Result<bool, Error> {
        let seen = self.seen.as_ref().map(|seen| (&seen.spec, seen.at.elapsed()));
        match decide(&self.settings, seen, self.runtime.clock.now()) {
            Move::StandBy => Ok(false),
            Move::Write(spec) => self.write(&spec).await.map(|()| true),
            Move::Create(spec) => {
                let object = json!({
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"namespace": self.settings.lease.namespace, "name": self.settings.lease.name},
                    "spec": spec.to_value(),
                });
                let made = self.api.create(&LEASES, &self.settings.lease.namespace, &object).await?;
                self.see(made)?;
                Ok(true)
            }
        }
    }

    /// Writes the Lease as seen, with another spec; its resourceVersion is the precondition.
    async fn write(&mut self, spec: &Spec) -> Result<(), Error> {
        let Some(seen) = &self.seen else { return Ok(()) };
        let mut object = seen.object.clone();
        // Fields of the spec that are not ours stay as they are.
        let fields = api_types::object::object_at(api_types::object::object_of(&mut object), "spec");
        if let Value::Object(ours) = spec.to_value() {
            fields.extend(ours);
        }
        let written = self.api.update(&LEASES, &self.settings.lease, "", &object).await?;
        self.see(written)
    }

    /// Notes what the Lease says, and when it began to say so.
    fn see(&mut self, object: Value) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Lease {
            #[serde(default)]
            spec: Spec,
        }

        let lease = Lease::deserialize(&object)
            .map_err(|source| Error::Decode { what: format!("lease {}", self.settings.lease), source })?;
        let at = match &self.seen {
            Some(seen) if seen.spec == lease.spec => seen.at,
            _ => Instant::now(),
        };
        self.seen = Some(Seen { spec: lease.spec, object, at });
        Ok(())
    }

    fn leads(&self, leads: bool) {
        use api_types::object::ObjectExt;

        if let Some(status) = &self.status {
            status.set(i64::from(leads));
        }

        let (Some(events), Some(seen)) = (&self.events, &self.seen) else { return };
        let about = ObjectRef {
            api_version: LEASES.api_version(),
            kind: "Lease".to_owned(),
            namespace: self.settings.lease.namespace.as_ref().to_owned(),
            name: self.settings.lease.name.as_ref().to_owned(),
            uid: seen.object.uid().to_owned(),
            resource_version: seen.object.resource_version().to_owned(),
            field_path: String::new(),
        };
        let what = if leads { "became leader" } else { "stopped leading" };
        let message = format!("{} {what}", self.settings.identity);
        events.record(&about, &Note::normal("LeaderElection", message));
    }
}

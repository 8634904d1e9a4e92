//! `DynamicResources`: a Pod goes where its claims have devices, or can get them (KEP-4381).
//!
//! Claims that have devices must be within reach of the node; for those that have none, there must be devices. These are held
//! until the claim has them; then the Pod is bound, once the devices are ready.

use std::{sync::Arc, time::Duration};

use client::Key;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::{
    config::go_duration,
    cycle::Verdict,
    devices::{
        Devices,
        allocator::{Allocator, Failure, Selectors},
        claim::{Allocation, Plan, Readiness, ResourceClaim},
        extended::{self, Wanted},
    },
    node::Node,
    plugin::{
        ClusterEvent, DeviceEvent, DeviceHolding, ExtendedClaim, Filter, Filtering, Holding, Plugin, Point,
        Preparation, Rejection, Relief, Remedy, Score, Trouble, WhatIf, normalise,
    },
    pod::{DeviceClaim, Pod},
    snapshot::{Others, Row, Snapshot},
};

/// As configuration and messages name it.
pub const NAME: &str = "DynamicResources";

/// Upstream looks for devices on a node for a time, which would make decisions depend on how busy the machine is. Here a second
/// of that is so many steps: more than a second has.
const STEPS_PER_SECOND: f64 = 200_000.0;
/// A request has so many alternatives at most: the first is worth that.
const ALTERNATIVES_MAX: usize = 8;

const UNAVAILABLE: &str = "resourceclaim not available on the node";

/// Brings Pods and devices together.
#[derive(Debug)]
pub struct DynamicResources {
    steps_max: Option<u64>,
    patience: Duration,
    selectors: Selectors,
}

/// What can be set of it (`DynamicResourcesArgs`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    filter_timeout: Option<String>,
    binding_timeout: Option<String>,
}

/// The claims of a Pod, and what is to be done about them.
struct Claims<'a> {
    pod: &'a Pod,
    devices: &'a Devices,
    named: Vec<&'a Arc<ResourceClaim>>,
    /// It asks for extended resources that are devices.
    wants_extended: bool,
    /// What was made for that before.
    made: Option<&'a Arc<ResourceClaim>>,
    patience: SignedDuration,
}

/// What a Pod's claims get on a node.
struct Found {
    /// Those without devices, in their order.
    plans: Vec<Plan>,
    /// For its extended resources, after the others.
    extended: Option<(Wanted, Plan)>,
}

/// Judges and compares nodes.
struct Finder<'a> {
    claims: Claims<'a>,
    allocator: Allocator<'a>,
    snapshot: &'a Snapshot,
}

// === impl DynamicResources ===

impl DynamicResources {
    /// With settings.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let read = |name: &str, text: Option<String>, unsaid: Duration| match text {
            None => Ok(unsaid),
            Some(text) => go_duration(&text).map_err(|why| format!("{name}: Invalid value: {why}")),
        };
        let filter = read("filterTimeout", settings.filter_timeout, Duration::from_secs(10))?;
        let patience = read("bindingTimeout", settings.binding_timeout, Duration::from_secs(600))?;
        if patience < Duration::from_secs(1) {
            return Err("bindingTimeout: Invalid value: must be at least 1 second".to_owned());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float keeps within the range of the integer"
        )]
        let steps = (filter.as_secs_f64() * STEPS_PER_SECOND) as u64;
        // None at all is as long as it takes.
        let steps_max = (!filter.is_zero()).then_some(steps.max(1));
        Ok(Self { steps_max, patience, selectors: Selectors::default() })
    }

    fn claims<'a>(&self, pod: &'a Pod, others: &'a Others) -> Result<Claims<'a>, String> {
        let devices = &others.devices;
        let named =
            pod.claims.iter().map(|claim| resolve(pod, claim, devices)).collect::<Result<Vec<_>, _>>()?;
        let wants_extended = extended::concerns(pod, devices);
        let made = if wants_extended {
            let mut mine = devices.claims.in_namespace(&pod.metadata.namespace);
            mine.find(|claim| claim.is_extended_of(pod))
        } else {
            None
        };
        let patience = SignedDuration::try_from(self.patience).unwrap_or(SignedDuration::MAX);
        Ok(Claims { pod, devices, named, wants_extended, made, patience })
    }

    fn finder<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Option<Finder<'a>>, Rejection> {
        if pod.claims.is_empty() && pod.extended.is_empty() {
            return Ok(None);
        }
        let claims = self.claims(pod, &snapshot.others).map_err(Rejection::for_good)?;
        if claims.named.is_empty() && !claims.wants_extended {
            return Ok(None);
        }
        claims.check()?;
        let allocator = Allocator::new(&snapshot.others.devices, &self.selectors, self.steps_max);
        Ok(Some(Finder { claims, allocator, snapshot }))
    }
}

/// The object that a Pod means.
fn resolve<'a>(
    pod: &Pod,
    claim: &DeviceClaim,
    devices: &'a Devices,
) -> Result<&'a Arc<ResourceClaim>, String> {
    let pod_key = pod.key();
    let Some(name) = &claim.object else {
        return Err(format!("pod \"{pod_key}\": ResourceClaim not created yet"));
    };
    let key = Key::new(&pod.metadata.namespace, name);
    let object = devices.claims.get(&key).ok_or_else(|| format!("could not find ResourceClaim \"{key}\""))?;
    if object.metadata.is_terminating() {
        return Err(format!("resourceclaim {:?} is being deleted", object.metadata.name));
    }
    if claim.is_of_pod && !object.metadata.is_controlled_by(pod.uid()) {
        return Err(format!("ResourceClaim {key} was not created for Pod {pod_key} (Pod is not owner)"));
    }
    Ok(object)
}

// === impl Claims ===

impl Claims<'_> {
    /// What holds wherever the Pod goes.
    fn check(&self) -> Result<(), Rejection> {
        for claim in self.named.iter().copied().chain(self.made) {
            if claim.allocation().is_some() {
                if !claim.has_room() && !claim.is_reserved_for(self.pod) {
                    return Err(Rejection::for_good("resourceclaim in use"));
                }
                continue;
            }
            let key = claim.key();
            if self.devices.is_pending(&claim.metadata.uid) {
                return Err(Rejection::for_good(format!(
                    "resource claim {key} is in the process of being allocated"
                )));
            }
            if self.made.is_some_and(|made| Arc::ptr_eq(made, claim)) {
                continue;
            }
            for request in &claim.requests {
                if request.alternatives.is_empty() {
                    return Err(Rejection::for_good(format!(
                        "resource claim {key}, request {}: unknown request type",
                        request.name
                    )));
                }
                for ask in &request.alternatives {
                    let name = request.name_of(ask);
                    if ask.class.is_empty() {
                        return Err(Rejection::error(format!("request {name}: unsupported request type")));
                    }
                    if self.devices.class(&ask.class).is_none() {
                        return Err(Rejection::for_good(format!(
                            "request {name}: device class {} does not exist",
                            ask.class
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a claim's devices cannot be used on a node, or will not be ready.
    fn is_unavailable(&self, claim: &ResourceClaim, node: &Node) -> bool {
        let Some(allocation) = claim.allocation() else { return false };
        let is_out_of_reach =
            |given: &Allocation| given.nodes.as_ref().is_some_and(|nodes| !nodes.have(node));
        is_out_of_reach(allocation)
            || match claim.readiness() {
                Readiness::Ready => false,
                Readiness::Waiting => claim.is_overdue(self.patience, self.devices.as_of),
                Readiness::Failed(_) => true,
            }
    }

    fn bare(&self) -> impl Iterator<Item = &Arc<ResourceClaim>> {
        self.named.iter().copied().filter(|claim| claim.allocation().is_none())
    }
}

// === impl Finder ===

impl Finder<'_> {
    /// What the Pod's claims get on a node.
    fn find(&self, node: &Node) -> Result<Found, Rejection> {
        let claims = &self.claims;
        // What was made in another turn need not be what is needed now: it goes, and then there is another turn.
        if claims.made.is_some() {
            return Err(Rejection::for_good("cannot schedule extended resource claim"));
        }
        let wanted = if claims.wants_extended {
            extended::wanted(claims.pod, claims.devices, node).map_err(Rejection::for_good)?
        } else {
            Wanted::default()
        };
        let made = wanted.claim(claims.pod);
        let mut bare: Vec<&ResourceClaim> = claims.bare().map(|claim| &**claim).collect();
        if !wanted.is_nothing() {
            bare.push(&made);
        }
        let mut plans = Vec::new();
        if !bare.is_empty() {
            match self.allocator.allocate(node, &bare) {
                Ok(Some(found)) => plans = found,
                Ok(None) if self.is_unavailable(node) => return Err(Rejection::for_good(UNAVAILABLE)),
                Ok(None) => return Err(Rejection::for_good("cannot allocate all claims")),
                Err(Failure::Here(why)) => return Err(Rejection::for_good(why)),
                Err(Failure::Error(why)) if why.starts_with("timed out") => {
                    return Err(Rejection::error(format!("node {}: {why}", node.name())));
                }
                Err(Failure::Error(why)) => return Err(Rejection::error(why)),
            }
        }
        if self.is_unavailable(node) {
            return Err(Rejection::for_good(UNAVAILABLE));
        }
        let extended = if wanted.is_nothing() { None } else { plans.pop().map(|plan| (wanted, plan)) };
        Ok(Found { plans, extended })
    }

    fn is_unavailable(&self, node: &Node) -> bool {
        self.claims.named.iter().any(|claim| self.claims.is_unavailable(claim, node))
    }

    /// What the Pod holds on a node.
    fn holdings(&self, found: Found) -> Vec<Holding> {
        let mut plans = found.plans.into_iter();
        let mut holdings = Vec::new();
        for claim in &self.claims.named {
            let plan = if claim.allocation().is_none() { plans.next() } else { None };
            let uid = claim.metadata.uid.clone();
            holdings.push(DeviceHolding { key: claim.key(), uid, plan, extended: None });
        }
        if let Some((wanted, plan)) = found.extended {
            let pod = self.claims.pod;
            holdings.push(DeviceHolding {
                key: Key::new(&pod.metadata.namespace, ""),
                uid: format!("{}/extended", pod.uid()).into(),
                plan: Some(plan),
                extended: Some(ExtendedClaim {
                    requests: wanted.written(),
                    mappings: wanted.written_mappings(),
                }),
            });
        }
        holdings.into_iter().map(|holding| Holding::Devices(Arc::new(holding))).collect()
    }
}

impl Filter for Finder<'_> {
    fn judge(&self, row: Row, _what_if: &WhatIf<'_>) -> Result<(), Rejection> {
        self.find(self.snapshot.node(row)).map(drop)
    }
}

impl Score for Finder<'_> {
    fn rate(&self, row: Row) -> i64 {
        let Ok(found) = self.find(self.snapshot.node(row)) else { return 0 };
        let mut plans = found.plans.iter();
        let mut sum = 0;
        for claim in &self.claims.named {
            let allocation = match claim.allocation() {
                Some(allocation) => Some(allocation),
                None => plans.next().map(|plan| &plan.allocation),
            };
            sum += allocation.map_or(0, |allocation| worth(claim, allocation));
        }
        i64::try_from(sum).unwrap_or(i64::MAX)
    }

    fn normalise(&self, scores: &mut [i64]) {
        normalise(scores, false);
    }
}

/// How early the alternatives are that a claim got.
fn worth(claim: &ResourceClaim, allocation: &Allocation) -> usize {
    let mut sum = 0;
    for request in claim.requests.iter().filter(|request| request.has_choice) {
        for (at, ask) in request.alternatives.iter().enumerate() {
            let name = request.name_of(ask);
            if allocation.results.iter().any(|given| given.request == name) {
                sum += ALTERNATIVES_MAX.saturating_sub(at);
            }
        }
    }
    sum
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[
            Point::PreEnqueue,
            Point::PreFilter,
            Point::Filter,
            Point::PostFilter,
            Point::Score,
            Point::Reserve,
            Point::PreBind,
        ]
    }

    fn gate(&self, pod: &Pod, others: &Others) -> Option<String> {
        pod.claims.iter().find_map(|claim| resolve(pod, claim, &others.devices).err())
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Result<Filtering<'a>, Rejection> {
        Ok(match self.finder(pod, snapshot)? {
            None => Filtering::Skip,
            Some(finder) => Filtering::All(Box::new(finder)),
        })
    }

    fn relieve(&self, trouble: &Trouble<'_>) -> Relief {
        if trouble.ruled_out_by.is_some_and(|plugin| plugin != NAME) {
            // Nodes were ruled out before devices were thought of, which upstream takes for a fault.
            return Relief::Failed { message: "not found".to_owned() };
        }
        let nothing = || Relief::none(false, "no new claims to deallocate");
        let (pod, snapshot) = (trouble.pod, trouble.snapshot);
        if trouble.ruled_out_by.is_some() {
            return nothing();
        }
        let Ok(Some(finder)) = self.finder(pod, snapshot) else { return nothing() };
        let claims = &finder.claims;
        if let Some(made) = claims.made {
            return Relief::Later {
                remedy: Remedy::Delete(made.key(), made.metadata.uid.clone()),
                message: "deletion of ResourceClaim completed".to_owned(),
            };
        }
        let mut ours = trouble.rejected.iter().filter(|verdict| verdict.plugin == NAME);
        let idle = ours.find_map(|Verdict { row, .. }| {
            let node = snapshot.node(*row);
            claims.named.iter().find(|claim| claim.is_idle_but_for(pod) && claims.is_unavailable(claim, node))
        });
        match idle {
            Some(claim) => Relief::Later {
                remedy: Remedy::Deallocate(claim.key(), claim.metadata.uid.clone()),
                message: "deallocation of ResourceClaim completed".to_owned(),
            },
            None => Relief::none(false, "still not schedulable"),
        }
    }

    fn score<'a>(
        &'a self,
        pod: &'a Pod,
        snapshot: &'a Snapshot,
        _feasible: &'a [Row],
    ) -> Option<Box<dyn Score + 'a>> {
        let finder = self.finder(pod, snapshot).ok()??;
        let mut requests = finder.claims.named.iter().flat_map(|claim| &claim.requests);
        // Without a choice, nodes are alike.
        if requests.any(|request| request.has_choice) { Some(Box::new(finder)) } else { None }
    }

    fn weight(&self) -> i64 {
        2
    }

    fn reserve(&self, pod: &Pod, row: Row, snapshot: &Snapshot) -> Result<Vec<Holding>, Rejection> {
        let Some(finder) = self.finder(pod, snapshot)? else { return Ok(Vec::new()) };
        let found = finder.find(snapshot.node(row))?;
        Ok(finder.holdings(found))
    }

    fn before_binding(&self, _pod: &Pod, _node: &str, held: &[Holding]) -> Vec<Preparation> {
        if held.iter().any(|holding| matches!(holding, Holding::Devices(_))) {
            vec![Preparation::Devices { patience: self.patience }]
        } else {
            Vec::new()
        }
    }

    fn may_help(&self, pod: &Pod, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => {
                old.metadata.labels != new.metadata.labels || old.allocatable != new.allocatable
            }
            ClusterEvent::Devices(DeviceEvent::Claim { old, new }) => {
                claim_may_help(pod, old.as_deref(), new)
            }
            ClusterEvent::Devices(DeviceEvent::Slice | DeviceEvent::Class { .. } | DeviceEvent::Freed) => {
                true
            }
            // What a Pod held that did not get there is free again.
            ClusterEvent::PodRemoved(gone) => {
                let held_something = !gone.claims.is_empty() || !gone.extended.is_empty();
                !gone.is_assigned() && held_something
            }
            ClusterEvent::OwnUpdate { old, new } => old.claims != new.claims,
            _ => false,
        }
    }
}

fn claim_may_help(pod: &Pod, old: Option<&ResourceClaim>, new: &ResourceClaim) -> bool {
    if old.is_some_and(|old| old.allocation().is_some() && new.allocation().is_none()) {
        return true;
    }
    let is_used = new.metadata.namespace == pod.metadata.namespace
        && pod.claims.iter().any(|claim| claim.object.as_deref() == Some(&*new.metadata.name));
    is_used && old.is_none_or(|old| old.status != new.status)
}

#[cfg(test)]
mod tests;

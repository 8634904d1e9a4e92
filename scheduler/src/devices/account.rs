//! The account of devices: what there is, what claims have, and what is on its way to be theirs.
//!
//! A device is taken from the moment that is decided until its claim, as the cluster tells it, has it or will not have it. In
//! between the decision is **pending**: first it is only ours; then it is *sent*, and no answer or a lost one leaves open
//! whether it holds; then it is *written*, and the cluster has yet to tell. What was sent is believed to hold until the
//! claim is seen past the revision that it was sent on condition of.
//!
//! Invariant: what is taken is the sum over all claims that are known and all that is pending; so nothing is given out twice,
//! however old the news is.

use std::{collections::BTreeMap, sync::Arc};

use client::{Change, Key, Revision};
use jiff::Timestamp;

use super::{
    DeviceId,
    capacity::{self, Amounts},
    claim::{Allocation, ResourceClaim},
    class::{DeviceClass, IMPLICIT_PREFIX},
    slice::{PoolId, Slice},
};
use crate::{plugin::DeviceHolding, snapshot::Objects};

/// The account. Copies share everything until one of them changes.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// ResourceClaims.
    pub claims: Objects<ResourceClaim>,
    /// DeviceClasses.
    pub classes: Objects<DeviceClass>,
    /// When the account was looked at: conditions of devices have their time.
    pub as_of: Timestamp,
    pools: Arc<Pools>,
    /// Classes by the extended resource they are.
    by_resource: Arc<BTreeMap<Box<str>, Arc<DeviceClass>>>,
    taken: Arc<BTreeMap<DeviceId, Taken>>,
    pending: Arc<BTreeMap<Ticket, Pending>>,
    tickets: u64,
}

/// The slices, by pool; and which pools may have devices for which nodes.
#[derive(Clone, Debug, Default)]
struct Pools {
    slices: BTreeMap<PoolId, BTreeMap<Arc<str>, Arc<Slice>>>,
    of_node: BTreeMap<Box<str>, BTreeMap<PoolId, usize>>,
    of_several: BTreeMap<PoolId, usize>,
}

/// How a device is taken.
#[derive(Clone, Debug, Default)]
struct Taken {
    /// By how many who have all of it: one at most, but for what is told twice.
    whole: usize,
    /// By how many who have parts of it.
    shares: usize,
    /// The parts.
    parts: Amounts,
}

/// Tells one pending decision from another. Orders by claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    claim: Box<str>,
    number: u64,
}

/// A decision that the cluster does not tell yet.
#[derive(Clone, Debug)]
struct Pending {
    pod: Box<str>,
    allocation: Arc<Allocation>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody else knows.
    Ours,
    /// It was sent on condition that the claim is of this revision.
    Sent(Revision),
    /// It is so since this revision.
    Written(Revision),
}

// === impl Devices ===

impl Devices {
    /// Takes in what happened to a claim. Returns whether devices are free now that were believed to be taken.
    pub fn take_claim(&mut self, change: &Change<ResourceClaim>) -> bool {
        let before = self.claims.get(&change.object().key()).and_then(|claim| claim.allocation().cloned());
        let after = change.after().and_then(|claim| claim.allocation().cloned());
        self.claims.take(change);
        if before != after {
            if let Some(before) = before {
                self.count(&before, false);
            }
            if let Some(after) = &after {
                self.count(after, true);
            }
        }
        let revision = change.revision();
        let is_gone = change.after().is_none();
        let settled = |pending: &Pending| match pending.stage {
            Stage::Ours => false,
            Stage::Sent(on) => is_gone || revision > on,
            Stage::Written(at) => is_gone || revision >= at,
        };
        let uid = &*change.object().metadata.uid;
        let settled: Vec<Ticket> = self
            .of_claim(uid)
            .filter(|(_, pending)| settled(pending))
            .map(|(ticket, _)| ticket.clone())
            .collect();
        for ticket in &settled {
            self.drop_pending(ticket);
        }
        !settled.is_empty() && after.is_none()
    }

    /// Takes in what happened to a slice.
    pub fn take_slice(&mut self, change: &Change<Slice>) {
        let pools = Arc::make_mut(&mut self.pools);
        if let Some(old) = change.before() {
            pools.remove(old);
        }
        if let Some(new) = change.after() {
            pools.add(new);
        }
    }

    /// Takes in what happened to a class.
    pub fn take_class(&mut self, change: &Change<DeviceClass>) {
        self.classes.take(change);
        let mut by_resource: BTreeMap<Box<str>, Arc<DeviceClass>> = BTreeMap::new();
        for class in self.classes.iter() {
            let implicit = format!("{IMPLICIT_PREFIX}{}", class.metadata.name);
            by_resource.insert(implicit.into(), Arc::clone(class));
            if class.extended_resource.is_empty() {
                continue;
            }
            let known = by_resource.get(&class.extended_resource);
            if known.is_none_or(|known| class.wins_over(known)) {
                by_resource.insert(class.extended_resource.clone(), Arc::clone(class));
            }
        }
        self.by_resource = Arc::new(by_resource);
    }

    /// The class that is an extended resource.
    pub fn class_of_resource(&self, resource: &str) -> Option<&Arc<DeviceClass>> {
        if self.by_resource.is_empty() { None } else { self.by_resource.get(resource) }
    }

    /// Whether there are classes at all.
    pub fn has_classes(&self) -> bool {
        !self.by_resource.is_empty()
    }

    /// A class by name.
    pub fn class(&self, name: &str) -> Option<&Arc<DeviceClass>> {
        self.classes.get(&Key::cluster(name))
    }

    /// The pools that may have devices for a node, in order.
    pub(super) fn pools_for<'a>(
        &'a self,
        node: &str,
    ) -> impl Iterator<Item = (&'a PoolId, &'a BTreeMap<Arc<str>, Arc<Slice>>)> {
        let mut ids: Vec<&PoolId> = self.pools.of_several.keys().collect();
        ids.extend(self.pools.of_node.get(node).into_iter().flat_map(BTreeMap::keys));
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(|id| self.pools.slices.get_key_value(id))
    }

    /// Whether somebody has all of a device.
    pub fn is_taken(&self, id: &DeviceId) -> bool {
        self.taken.get(id).is_some_and(|taken| taken.whole > 0)
    }

    /// Whether somebody has a device, or a part of it.
    pub fn is_used(&self, id: &DeviceId) -> bool {
        self.taken.contains_key(id)
    }

    /// The parts of a device that are taken.
    pub fn parts_taken(&self, id: &DeviceId) -> Option<&Amounts> {
        self.taken.get(id).filter(|taken| taken.shares > 0).map(|taken| &taken.parts)
    }

    /// Whether devices are on their way to a claim.
    pub fn is_pending(&self, claim_uid: &str) -> bool {
        self.of_claim(claim_uid).any(|(_, pending)| !matches!(pending.stage, Stage::Sent(_)))
    }

    fn of_claim<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = (&'a Ticket, &'a Pending)> {
        let first = Ticket { claim: uid.into(), number: 0 };
        self.pending.range(first..).take_while(move |(ticket, _)| *ticket.claim == *uid)
    }

    /// Devices are on their way to a claim of a Pod.
    pub fn hold(&mut self, pod: &str, holding: &DeviceHolding) {
        let Some(plan) = &holding.plan else { return };
        self.tickets += 1;
        let ticket = Ticket { claim: holding.uid.clone(), number: self.tickets };
        self.count(&plan.allocation, true);
        let pending =
            Pending { pod: pod.into(), allocation: Arc::clone(&plan.allocation), stage: Stage::Ours };
        Arc::make_mut(&mut self.pending).insert(ticket, pending);
    }

    /// What nobody else knows of a Pod's devices is taken back: it is bound, or does not get there.
    pub fn release(&mut self, pod: &str) {
        if self.pending.is_empty() {
            return;
        }
        let is_ours = |pending: &Pending| pending.stage == Stage::Ours && *pending.pod == *pod;
        let tickets: Vec<Ticket> =
            self.pending.iter().filter(|(_, it)| is_ours(it)).map(|(ticket, _)| ticket.clone()).collect();
        for ticket in &tickets {
            self.drop_pending(ticket);
        }
    }

    /// What is on its way to a claim for a Pod will be sent, on condition that the claim is of a revision; the claim may have
    /// got its uid only now. Nothing if it was taken back: then it must not be sent.
    pub fn will_send(
        &mut self,
        pod: &str,
        holding: &DeviceHolding,
        uid: &str,
        on: Revision,
    ) -> Option<Ticket> {
        let is_it = |(_, pending): &(&Ticket, &Pending)| *pending.pod == *pod;
        let found = self
            .of_claim(&holding.uid)
            .chain(self.of_claim(uid))
            .filter(is_it)
            .map(|(ticket, _)| ticket.clone())
            .last()?;
        let pending = Arc::make_mut(&mut self.pending);
        let mut entry = pending.remove(&found)?;
        entry.stage = Stage::Sent(on);
        let ticket = Ticket { claim: uid.into(), number: found.number };
        pending.insert(ticket.clone(), entry);
        Some(ticket)
    }

    /// What was sent is so since a revision.
    pub fn is_written(&mut self, ticket: &Ticket, key: &Key, at: Revision) {
        let known = self.claims.get(key).filter(|claim| *claim.metadata.uid == *ticket.claim);
        if known.is_some_and(|known| known.metadata.revision >= at) {
            self.drop_pending(ticket);
        } else if let Some(pending) = Arc::make_mut(&mut self.pending).get_mut(ticket) {
            pending.stage = Stage::Written(at);
        }
    }

    /// What was sent has certainly not come to be.
    pub fn is_refused(&mut self, ticket: &Ticket) {
        if let Some(pending) = Arc::make_mut(&mut self.pending).get_mut(ticket) {
            pending.stage = Stage::Ours;
        }
    }

    /// A claim that was never seen is gone.
    pub fn forget_claim(&mut self, uid: &str) {
        let tickets: Vec<Ticket> = self.of_claim(uid).map(|(ticket, _)| ticket.clone()).collect();
        for ticket in &tickets {
            self.drop_pending(ticket);
        }
    }

    fn drop_pending(&mut self, ticket: &Ticket) {
        if let Some(pending) = Arc::make_mut(&mut self.pending).remove(ticket) {
            self.count(&pending.allocation, false);
        }
    }

    fn count(&mut self, allocation: &Allocation, comes: bool) {
        let taken = Arc::make_mut(&mut self.taken);
        // Who looks after a device does not take it from anybody.
        for given in allocation.results.iter().filter(|given| !given.is_admin) {
            let entry = taken.entry(given.id.clone()).or_default();
            match (given.is_shared, comes) {
                (true, true) => {
                    entry.shares += 1;
                    capacity::add(&mut entry.parts, &given.consumed);
                }
                (true, false) => {
                    entry.shares = entry.shares.saturating_sub(1);
                    capacity::subtract(&mut entry.parts, &given.consumed);
                }
                (false, true) => entry.whole += 1,
                (false, false) => entry.whole = entry.whole.saturating_sub(1),
            }
            if entry.whole == 0 && entry.shares == 0 {
                taken.remove(&given.id);
            }
        }
    }

    /// How many devices are taken, and how many decisions are pending.
    pub fn sizes(&self) -> (usize, usize) {
        (self.taken.len(), self.pending.len())
    }
}

// === impl Pools ===

impl Pools {
    fn places<'a>(&'a mut self, slice: &Slice) -> &'a mut BTreeMap<PoolId, usize> {
        // Counters are the whole pool's, wherever its devices are.
        if slice.reach.node.is_empty() {
            &mut self.of_several
        } else {
            self.of_node.entry(slice.reach.node.clone()).or_default()
        }
    }

    fn add(&mut self, slice: &Arc<Slice>) {
        *self.places(slice).entry(slice.pool.clone()).or_default() += 1;
        let of_pool = self.slices.entry(slice.pool.clone()).or_default();
        of_pool.insert(Arc::clone(&slice.metadata.name), Arc::clone(slice));
    }

    fn remove(&mut self, slice: &Slice) {
        let places = self.places(slice);
        if let Some(count) = places.get_mut(&slice.pool) {
            *count -= 1;
            if *count == 0 {
                places.remove(&slice.pool);
            }
        }
        if places.is_empty() {
            self.of_node.remove(&slice.reach.node);
        }
        if let Some(of_pool) = self.slices.get_mut(&slice.pool) {
            of_pool.remove(&slice.metadata.name);
            if of_pool.is_empty() {
                self.slices.remove(&slice.pool);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::devices::claim::Plan;

    fn claim(uid: &str, revision: u64, devices: Value) -> Arc<ResourceClaim> {
        let mut claim = json!({"metadata": {"namespace": "ns", "name": uid, "uid": uid,
            "resourceVersion": revision.to_string()}});
        if !devices.is_null() {
            claim["status"] = json!({"allocation": {"devices": {"results": devices}}});
        }
        Arc::new(serde_json::from_value(claim).unwrap())
    }

    fn given(device: &str) -> Value {
        json!([{"request": "r", "driver": "d", "pool": "p", "device": device}])
    }

    fn id(device: &str) -> DeviceId {
        DeviceId { driver: "d".into(), pool: "p".into(), device: device.into() }
    }

    fn holding(uid: &str, device: &str) -> DeviceHolding {
        let allocation = claim("x", 0, given(device)).allocation().unwrap().clone();
        DeviceHolding {
            key: Key::new("ns", uid),
            uid: uid.into(),
            plan: Some(Plan { allocation, config: Vec::new() }),
            extended: None,
        }
    }

    #[test]
    fn a_device_is_taken_while_its_claim_has_it() {
        let mut devices = Devices::default();
        let (bare, full) = (claim("c", 1, Value::Null), claim("c", 2, given("a")));
        devices.take_claim(&Change::Added(Arc::clone(&bare)));
        assert!(!devices.is_taken(&id("a")));
        devices.take_claim(&Change::Modified { old: Arc::clone(&bare), new: Arc::clone(&full) });
        assert!(devices.is_taken(&id("a")) && !devices.is_taken(&id("b")));
        let bare = claim("c", 3, Value::Null);
        devices.take_claim(&Change::Modified { old: full, new: bare });
        assert_eq!(devices.sizes(), (0, 0));
        let admin = json!([{"request": "r", "driver": "d", "pool": "p", "device": "a", "adminAccess": true}]);
        devices.take_claim(&Change::Added(claim("e", 4, admin)));
        assert!(!devices.is_used(&id("a")));
    }

    #[test]
    fn parts_of_a_device_add_up() {
        let mut devices = Devices::default();
        let share = |amount: &str| {
            json!([{"request": "r", "driver": "d", "pool": "p", "device": "a", "shareID": amount,
                "consumedCapacity": {"memory": amount}}])
        };
        devices.take_claim(&Change::Added(claim("c", 1, share("1Gi"))));
        devices.take_claim(&Change::Added(claim("e", 2, share("2Gi"))));
        assert!(!devices.is_taken(&id("a")) && devices.is_used(&id("a")));
        assert_eq!(devices.parts_taken(&id("a")).unwrap()["memory"].to_string(), "3Gi");
        let last = claim("c", 1, share("1Gi"));
        devices.take_claim(&Change::Deleted { last, revision: Revision(3) });
        assert_eq!(devices.parts_taken(&id("a")).unwrap()["memory"].to_string(), "2Gi");
    }

    #[test]
    fn what_is_pending_is_taken_until_the_cluster_tells_what_came_of_it() {
        // (what happens to the decision, what is seen of the claim, whether the device is free then)
        type Step = fn(&mut Devices);
        let send: Step = |devices| {
            devices.will_send("pod", &holding("c", "a"), "c", Revision(5)).unwrap();
        };
        let write: Step = |devices| {
            let ticket = devices.will_send("pod", &holding("c", "a"), "c", Revision(5)).unwrap();
            devices.is_written(&ticket, &Key::new("ns", "c"), Revision(7));
        };
        let refuse: Step = |devices| {
            let ticket = devices.will_send("pod", &holding("c", "a"), "c", Revision(5)).unwrap();
            devices.is_refused(&ticket);
        };
        let release: Step = |devices| devices.release("pod");
        let old: Step = |devices| {
            devices.take_claim(&Change::Added(claim("c", 5, Value::Null)));
        };
        let bare_later: Step = |devices| {
            devices.take_claim(&Change::Added(claim("c", 6, Value::Null)));
        };
        let full: Step = |devices| {
            devices.take_claim(&Change::Added(claim("c", 7, given("a"))));
        };
        let gone: Step = |devices| {
            let last = claim("c", 7, Value::Null);
            devices.take_claim(&Change::Deleted { last, revision: Revision(9) });
        };
        for (steps, taken, pending) in [
            (vec![], 1, 1),
            (vec![release], 0, 0),
            (vec![old, bare_later], 1, 1),
            (vec![refuse], 1, 1),
            (vec![refuse, release], 0, 0),
            // Nobody knows whether it came to be.
            (vec![send, release], 1, 1),
            (vec![send, release, old], 1, 1),
            (vec![send, release, bare_later], 0, 0),
            (vec![send, release, full], 1, 0),
            (vec![send, release, gone], 0, 0),
            // It came to be, but that is not seen yet.
            (vec![write, release], 1, 1),
            (vec![write, release, bare_later], 1, 1),
            (vec![write, release, full], 1, 0),
            (vec![write, full, release], 1, 0),
            (vec![full, write, release], 1, 0),
            (vec![write, gone], 0, 0),
        ] {
            let mut devices = Devices::default();
            devices.hold("pod", &holding("c", "a"));
            steps.iter().for_each(|step| step(&mut devices));
            assert_eq!(devices.sizes(), (taken, pending), "{steps:?}");
        }
    }

    #[test]
    fn what_was_taken_back_is_not_sent_any_more() {
        let mut devices = Devices::default();
        devices.hold("pod", &holding("c", "a"));
        devices.release("pod");
        assert!(devices.will_send("pod", &holding("c", "a"), "c", Revision(5)).is_none());
    }

    #[test]
    fn an_extended_resource_is_the_newest_class_that_says_so() {
        let class = |name: &str, at: &str, resource: &str| {
            let class = json!({"metadata": {"name": name, "creationTimestamp": at},
                "spec": {"extendedResourceName": resource}});
            Arc::new(serde_json::from_value::<DeviceClass>(class).unwrap())
        };
        let mut devices = Devices::default();
        for class in [
            class("b", "2026-01-01T00:00:00Z", "example.com/gpu"),
            class("c", "2026-01-02T00:00:00Z", "example.com/gpu"),
            class("d", "2026-01-02T00:00:00Z", "example.com/gpu"),
            class("e", "2026-01-01T00:00:00Z", ""),
        ] {
            devices.take_class(&Change::Added(class));
        }
        let of = |name: &str| devices.class_of_resource(name).map(|class| class.metadata.name.to_string());
        assert_eq!(of("example.com/gpu").as_deref(), Some("c"));
        assert_eq!(of("deviceclass.resource.kubernetes.io/e").as_deref(), Some("e"));
        assert_eq!(of("example.com/other"), None);
    }
}

//! Which devices claims get on a node: the first that fit, claim by claim, request by request, device by device, with every
//! other choice tried before it is given up.
//!
//! Invariants: pure, and the same arguments give the same devices. Bounded: after so many steps it is an error, since the
//! search is exhaustive and claims can be made that take for ever.

#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use api_types::quantity::Quantity;
use cel::device::Selector;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    DeviceId, Devices, Nodes,
    capacity::{self, Amounts},
    claim::{Allocation, Amount, Ask, Given, Plan, Request, ResourceClaim, Rule},
    class::DeviceClass,
    pools::{self, Pool, State},
    slice::{Attribute, Device, Slice},
};
use crate::node::Node;

/// A claim can have so many devices.
const DEVICES_MAX: usize = 32;
/// So many devices are given at a time.
const DEPTH_MAX: usize = 400;
/// So many selectors are kept compiled. When full: all are forgotten.
const SELECTORS_MAX: usize = 200;

/// Selectors that were compiled before.
#[derive(Debug, Default)]
pub struct Selectors(Mutex<BTreeMap<Arc<str>, Compiled>>);

type Compiled = Arc<Result<Selector, String>>;

/// Gives devices to claims, on one node or another.
#[derive(Debug)]
pub struct Allocator<'a> {
    devices: &'a Devices,
    selectors: &'a Selectors,
    steps_max: Option<u64>,
    /// Whether devices are selected: the same on every node.
    selected: RefCell<BTreeMap<Question<'a>, bool>>,
}

/// Whether a device, by its slice and its place there, is of a class or what an alternative of a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question<'a> {
    OfClass(Arc<str>, &'a str, usize),
    AskedFor([usize; 3], &'a str, usize),
}

/// Why claims cannot have devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Something is wrong with them, or it cannot be found out.
    Error(String),
    /// Not on this node, because.
    Here(String),
}

/// A device that the node reaches, of a pool that is whole.
#[derive(Debug)]
struct Candidate<'a> {
    pool: usize,
    slice: &'a Slice,
    at: usize,
    device: &'a Device,
    id: DeviceId,
}

/// An alternative of a request, with what is known of it before the search.
#[derive(Debug)]
struct Prepared<'a> {
    ask: &'a Ask,
    class: &'a DeviceClass,
    full_name: Box<str>,
    /// How many devices.
    count: usize,
    /// Which, if all.
    all: Option<Vec<usize>>,
}

/// A search, as far as it has come.
struct Search<'s, 'a> {
    allocator: &'s Allocator<'a>,
    claims: &'s [&'s ResourceClaim],
    pools: Vec<Pool<'a>>,
    candidates: Vec<Candidate<'a>>,
    /// By claim, request and alternative.
    asks: Vec<Vec<Vec<Prepared<'s>>>>,
    /// The alternatives, by claim and request.
    picked: Vec<Vec<usize>>,
    /// By claim.
    results: Vec<Vec<Picked>>,
    /// The values of attributes, by claim and constraint.
    constrained: Vec<Vec<Vec<&'a Attribute>>>,
    /// The claims that have all of a candidate.
    whole: BTreeMap<usize, Vec<usize>>,
    /// The parts of candidates that are given.
    parts: BTreeMap<usize, Vec<Amounts>>,
    /// What is left of the counters of a pool, once it was asked.
    counters: BTreeMap<usize, Counters<'a>>,
    steps: u64,
}

/// By set and counter.
type Counters<'a> = BTreeMap<(&'a str, &'a str), Quantity>;

/// A device that is given for now, and what is to be taken back.
#[derive(Debug)]
struct Picked {
    candidate: usize,
    place: [usize; 3],
    part: Option<Amounts>,
    takes_counters: bool,
}

/// What came of a part of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All have what they ask for.
    Done,
    /// Not so.
    Stuck,
    /// Not so, since the claim would have too many: another device will not help, only an alternative that needs fewer.
    TooMany,
}

// === impl Selectors ===

impl Selectors {
    fn get(&self, expression: &Arc<str>) -> Compiled {
        let mut compiled = self.0.lock();
        if let Some(known) = compiled.get(expression) {
            return Arc::clone(known);
        }
        if compiled.len() >= SELECTORS_MAX {
            compiled.clear();
        }
        let new = Arc::new(Selector::compile(expression));
        compiled.insert(Arc::clone(expression), Arc::clone(&new));
        new
    }
}

// === impl Allocator ===

impl<'a> Allocator<'a> {
    /// Gives what is not taken; after so many steps on a node it gives up.
    pub fn new(devices: &'a Devices, selectors: &'a Selectors, steps_max: Option<u64>) -> Self {
        Self { devices, selectors, steps_max, selected: RefCell::default() }
    }

    /// What claims get on a node; none if there is not enough. Claims are told apart by their places: those of one Pod always
    /// come in the same order.
    ///
    /// # Errors
    /// Something is wrong with the claims, or the search takes too long.
    pub fn allocate(&self, node: &Node, claims: &[&ResourceClaim]) -> Result<Option<Vec<Plan>>, Failure> {
        let pools = pools::gather(self.devices, node);
        let candidates = candidates(&pools, node);
        let mut asks = Vec::new();
        for (at, claim) in claims.iter().enumerate() {
            asks.push(self.prepare(at, claim, &pools, &candidates)?);
        }
        let mut search = Search {
            allocator: self,
            claims,
            picked: claims.iter().map(|claim| vec![0; claim.requests.len()]).collect(),
            results: claims.iter().map(|_| Vec::new()).collect(),
            constrained: claims.iter().map(|claim| vec![Vec::new(); claim.constraints.len()]).collect(),
            pools,
            candidates,
            asks,
            whole: BTreeMap::new(),
            parts: BTreeMap::new(),
            counters: BTreeMap::new(),
            steps: 0,
        };
        if search.request(0, 0, 0)? == Outcome::Done {
            return search.plans(node).map(Some);
        }
        if search.pools.iter().any(|pool| pool.state == State::Invalid) {
            return Err(Failure::Here("invalid resource pools were encountered".to_owned()));
        }
        Ok(None)
    }

    fn prepare<'s>(
        &'s self,
        at: usize,
        claim: &'s ResourceClaim,
        pools: &[Pool<'a>],
        candidates: &[Candidate<'a>],
    ) -> Result<Vec<Vec<Prepared<'s>>>, Failure> {
        let mut requests = Vec::new();
        let mut least = 0_usize;
        for (number, request) in claim.requests.iter().enumerate() {
            let mut alternatives = Vec::new();
            for (alternative, ask) in request.alternatives.iter().enumerate() {
                let place = [at, number, alternative];
                alternatives.push(self.prepare_ask(claim, request, ask, place, pools, candidates)?);
            }
            least = least.saturating_add(alternatives.iter().map(|ask| ask.count).min().unwrap_or_default());
            requests.push(alternatives);
        }
        let key = claim.key();
        if least > DEVICES_MAX {
            return Err(Failure::Error(format!(
                "claim {key}: number of requested devices {least} exceeds the claim limit of {DEVICES_MAX}"
            )));
        }
        if let Some(at) = claim.constraints.iter().position(|constraint| constraint.rule == Rule::Unknown) {
            return Err(Failure::Error(format!(
                "claim {key}, constraint #{at}: empty constraint (unsupported constraint type?)"
            )));
        }
        Ok(requests)
    }

    fn prepare_ask<'s>(
        &'s self,
        claim: &'s ResourceClaim,
        request: &'s Request,
        ask: &'s Ask,
        place: [usize; 3],
        pools: &[Pool<'a>],
        candidates: &[Candidate<'a>],
    ) -> Result<Prepared<'s>, Failure> {
        let wrong = |why: String| Failure::Error(format!("claim {}, request {}{why}", claim.key(), ask.name));
        if let Some(at) = ask.selectors.iter().position(Option::is_none) {
            return Err(wrong(format!(
                ", selector #{at}: CEL expression empty (unsupported selector type?)"
            )));
        }
        let name = &ask.class;
        if name.is_empty() {
            return Err(wrong(": missing device class name (unsupported request type?)".to_owned()));
        }
        let class = self.devices.class(name).ok_or_else(|| {
            wrong(format!(
                ": could not retrieve device class {name}: deviceclass.resource.k8s.io {name:?} not found"
            ))
        })?;
        let mut prepared = Prepared { ask, class, full_name: request.name_of(ask), count: 0, all: None };
        match &ask.amount {
            Amount::Exactly(count) => {
                // Those that need too many are told so later.
                prepared.count = usize::try_from(*count).unwrap_or_default();
            }
            Amount::All => {
                let mut open = pools.iter().filter(|pool| pool.state != State::Whole);
                if let Some(pool) = open.next() {
                    let state = if pool.state == State::Invalid { "invalid" } else { "being updated" };
                    return Err(wrong(format!(
                        ": asks for all devices, but resource pool {} is currently {state}",
                        pool.id
                    )));
                }
                let mut all = Vec::new();
                for (at, candidate) in candidates.iter().enumerate() {
                    if self.is_selected(claim, &prepared, place, candidate)?
                        && self.part(ask, candidate, &[]).is_some()
                    {
                        all.push(at);
                    }
                }
                prepared.count = all.len();
                prepared.all = Some(all);
            }
            Amount::Unknown(mode) => return Err(wrong(format!(": unsupported count mode {mode}"))),
        }
        Ok(prepared)
    }

    /// What somebody who asks so takes of a device, beside what is taken.
    fn part(&self, ask: &Ask, candidate: &Candidate<'_>, given: &[Amounts]) -> Option<Amounts> {
        let taken: Vec<&Amounts> = self.devices.parts_taken(&candidate.id).into_iter().chain(given).collect();
        capacity::part(candidate.device, &ask.capacity, &taken)
    }

    /// Whether a device is of the class that is asked for, and what else it must be.
    fn is_selected(
        &self,
        claim: &ResourceClaim,
        prepared: &Prepared<'_>,
        place: [usize; 3],
        candidate: &Candidate<'a>,
    ) -> Result<bool, Failure> {
        let (class, slice) = (prepared.class, &*candidate.slice.metadata.name);
        let of_class = || {
            self.select(&class.selectors, candidate)
                .map_err(|(at, why)| format!("class {}: selector #{at}{why}", class.metadata.name))
        };
        let asked_for = || {
            self.select(&prepared.ask.selectors, candidate)
                .map_err(|(at, why)| format!("claim {}: selector #{at}{why}", claim.key()))
        };
        let question = Question::OfClass(Arc::clone(&class.metadata.name), slice, candidate.at);
        Ok(self.remembered(class.selectors.is_empty(), question, of_class)?
            && self.remembered(
                prepared.ask.selectors.is_empty(),
                Question::AskedFor(place, slice, candidate.at),
                asked_for,
            )?)
    }

    fn remembered(
        &self,
        is_trivial: bool,
        question: Question<'a>,
        answer: impl FnOnce() -> Result<bool, String>,
    ) -> Result<bool, Failure> {
        if is_trivial {
            return Ok(true);
        }
        if let Some(known) = self.selected.borrow().get(&question) {
            return Ok(*known);
        }
        let answer = answer().map_err(Failure::Error)?;
        self.selected.borrow_mut().insert(question, answer);
        Ok(answer)
    }

    /// Whether all selectors select a device. An error tells which does not work, and why.
    fn select(
        &self,
        selectors: &[Option<Arc<str>>],
        candidate: &Candidate<'_>,
    ) -> Result<bool, (usize, String)> {
        for (at, selector) in selectors.iter().enumerate() {
            let Some(expression) = selector else {
                return Err((at, ": CEL expression empty (unsupported selector type?)".to_owned()));
            };
            let compiled = self.selectors.get(expression);
            let selector =
                compiled.as_ref().as_ref().map_err(|why| (at, format!(": CEL compile error: {why}")))?;
            let device = candidate.device.seen_by_selectors(&candidate.id.driver);
            let selects =
                selector.selects(&device).map_err(|why| (at, format!(": CEL runtime error: {why}")))?;
            if !selects {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn candidates<'a>(pools: &[Pool<'a>], node: &Node) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for (pool, of) in pools.iter().enumerate() {
        for slice in &of.slices {
            for (at, device) in slice.devices.iter().enumerate() {
                // What a slice says was asked when pools were gathered.
                if slice.reach_by_device && !device.reach.reaches(node) {
                    continue;
                }
                let id = DeviceId {
                    driver: Arc::clone(&of.id.driver),
                    pool: Arc::clone(&of.id.pool),
                    device: Arc::clone(&device.name),
                };
                candidates.push(Candidate { pool, slice, at, device, id });
            }
        }
    }
    candidates
}

// === impl Search ===

impl<'s, 'a> Search<'s, 'a> {
    /// From a request of a claim on.
    fn request(&mut self, claim: usize, request: usize, depth: usize) -> Result<Outcome, Failure> {
        let Some(of_claim) = self.asks.get(claim) else { return Ok(Outcome::Done) };
        let Some(alternatives) = of_claim.get(request).map(Vec::len) else {
            // What is too much for the next claim may be less if this one takes another alternative.
            return Ok(match self.request(claim + 1, 0, depth)? {
                Outcome::Done => Outcome::Done,
                Outcome::Stuck | Outcome::TooMany => Outcome::Stuck,
            });
        };
        let mut worst = Outcome::TooMany;
        for alternative in 0..alternatives {
            match self.device([claim, request, alternative], 0, 0, depth)? {
                Outcome::Done => {
                    if let Some(picked) = self.picked.get_mut(claim).and_then(|it| it.get_mut(request)) {
                        *picked = alternative;
                    }
                    return Ok(Outcome::Done);
                }
                Outcome::Stuck => worst = Outcome::Stuck,
                Outcome::TooMany => {}
            }
        }
        Ok(if alternatives == 0 { Outcome::Stuck } else { worst })
    }

    /// From a device of a request on, when `has` were given for it; `from` says where to look for more.
    fn device(
        &mut self,
        place: [usize; 3],
        has: usize,
        from: usize,
        depth: usize,
    ) -> Result<Outcome, Failure> {
        self.steps += 1;
        if depth > DEPTH_MAX {
            return Err(Failure::Error(format!("more than {DEPTH_MAX} devices are asked for at a time")));
        }
        if self.allocator.steps_max.is_some_and(|max| self.steps > max) {
            return Err(Failure::Error("timed out trying to allocate devices".to_owned()));
        }
        let [claim, request, _] = place;
        let Some(prepared) = self.prepared(place) else { return Ok(Outcome::Stuck) };
        let (count, is_all) = (prepared.count, prepared.all.is_some());
        if is_all && count == 0 {
            return Ok(Outcome::Stuck);
        }
        if has >= count {
            return self.request(claim, request + 1, depth + 1);
        }
        if self.results.get(claim).map_or(0, Vec::len) + count - has > DEVICES_MAX {
            return Ok(Outcome::TooMany);
        }
        if is_all {
            let next = self.prepared(place).and_then(|it| it.all.as_ref()?.get(has).copied());
            let Some(candidate) = next else { return Ok(Outcome::Stuck) };
            // In which order they are given does not matter: it is all or nothing.
            if !self.give(place, candidate, true)? {
                return Ok(Outcome::Stuck);
            }
            let outcome = self.device(place, has + 1, 0, depth + 1)?;
            if outcome != Outcome::Done {
                self.take_back(claim);
            }
            return Ok(outcome);
        }
        let mut was_counted = false;
        for candidate in from..self.candidates.len() {
            if self.candidates.len() - candidate < count - has {
                break;
            }
            if !self.may_have(place, candidate)? || !self.give(place, candidate, false)? {
                continue;
            }
            match self.device(place, has + 1, candidate + 1, depth + 1)? {
                Outcome::Stuck => self.take_back(claim),
                Outcome::TooMany => {
                    self.take_back(claim);
                    return Ok(Outcome::TooMany);
                }
                Outcome::Done => return Ok(Outcome::Done),
            }
            // Before all sets of too few devices are tried.
            if !was_counted && count - has > 1 {
                was_counted = true;
                let mut left = 0;
                for candidate in candidate + 1..self.candidates.len() {
                    left += usize::from(self.may_have(place, candidate).unwrap_or(true));
                }
                if left < count - has {
                    break;
                }
            }
        }
        Ok(Outcome::Stuck)
    }

    fn prepared(&self, [claim, request, alternative]: [usize; 3]) -> Option<&Prepared<'s>> {
        self.asks.get(claim)?.get(request)?.get(alternative)
    }

    /// Whether a device is one that was asked for, and nobody has.
    fn may_have(&self, place: [usize; 3], candidate: usize) -> Result<bool, Failure> {
        let (Some(prepared), Some(of), Some(claim)) =
            (self.prepared(place), self.candidates.get(candidate), self.claims.get(place[0]))
        else {
            return Ok(false);
        };
        if !self.is_free(prepared.ask, place[0], candidate) {
            return Ok(false);
        }
        let parts = self.parts.get(&candidate).map(Vec::as_slice).unwrap_or_default();
        Ok(self.allocator.is_selected(claim, prepared, place, of)?
            && self.allocator.part(prepared.ask, of, parts).is_some())
    }

    fn is_free(&self, ask: &Ask, claim: usize, candidate: usize) -> bool {
        let given = self.whole.get(&candidate);
        if ask.is_admin {
            return !given.is_some_and(|claims| claims.contains(&claim));
        }
        let is_taken =
            self.candidates.get(candidate).is_none_or(|it| self.allocator.devices.is_taken(&it.id));
        !is_taken && given.is_none_or(Vec::is_empty)
    }

    /// Gives a device, if nothing speaks against it; if it must be this one, what never can be is an error.
    fn give(&mut self, place: [usize; 3], at: usize, must: bool) -> Result<bool, Failure> {
        let claim = place[0];
        let (Some(prepared), Some(candidate)) = (self.prepared(place), self.candidates.get(at)) else {
            return Ok(false);
        };
        let (ask, device) = (prepared.ask, candidate.device);
        if !self.is_free(ask, claim, at) {
            return Ok(false);
        }
        let taints = device.taints.iter().filter(|taint| taint.forbids());
        for taint in taints {
            if !ask.tolerations.iter().any(|toleration| toleration.tolerates(taint)) {
                return Ok(false);
            }
        }
        let values = match self.constraint_values(place, candidate) {
            Ok(values) => values,
            Err(()) if must => {
                return Err(Failure::Error(format!(
                    "claim {}, request {}: cannot add device {} because a claim constraint would not be satisfied",
                    self.claims.get(claim).map(|claim| claim.key().to_string()).unwrap_or_default(),
                    ask.name,
                    candidate.id
                )));
            }
            Err(()) => return Ok(false),
        };
        let parts = self.parts.get(&at).map(Vec::as_slice).unwrap_or_default();
        let Some(part) = self.allocator.part(ask, candidate, parts) else { return Ok(false) };
        // Whoever has a part already has taken what the whole needs.
        let has_begun = device.is_divisible
            && (!parts.is_empty() || self.allocator.devices.parts_taken(&candidate.id).is_some());
        let takes_counters = !device.consumes.is_empty() && !has_begun;
        let part = device.is_divisible.then_some(part);
        if takes_counters && !self.take_counters(at) {
            return Ok(false);
        }
        for (constraint, value) in values {
            if let Some(values) = self.constrained.get_mut(claim).and_then(|it| it.get_mut(constraint)) {
                values.push(value);
            }
        }
        match &part {
            Some(part) => self.parts.entry(at).or_default().push(part.clone()),
            None => self.whole.entry(at).or_default().push(claim),
        }
        if let Some(results) = self.results.get_mut(claim) {
            results.push(Picked { candidate: at, place, part, takes_counters });
        }
        Ok(true)
    }

    /// The values of the attributes that constraints are about; an error if one of these would not hold.
    fn constraint_values(
        &self,
        place: [usize; 3],
        candidate: &Candidate<'a>,
    ) -> Result<Vec<(usize, &'a Attribute)>, ()> {
        let [claim, request, _] = place;
        let (Some(of), Some(prepared)) = (self.claims.get(claim), self.prepared(place)) else {
            return Err(());
        };
        let Some(request) = of.requests.get(request) else { return Err(()) };
        let mut values = Vec::new();
        for (at, constraint) in of.constraints.iter().enumerate() {
            if !constraint.is_about(request, &prepared.full_name) {
                continue;
            }
            let known = self.constrained.get(claim).and_then(|it| it.get(at)).ok_or(())?;
            let holds = |name: &str, rule: &dyn Fn(&&Attribute, &Attribute) -> bool| {
                let value = candidate.device.attribute(&candidate.id.driver, name)?;
                known.iter().all(|other| rule(other, value)).then_some(value)
            };
            let value = match &constraint.rule {
                Rule::Match(name) => {
                    holds(name, &|other, value| *other == value && *value != Attribute::Unknown)
                }
                Rule::Distinct(name) => {
                    holds(name, &|other, value| *other != value && **other != Attribute::Unknown)
                }
                Rule::Unknown => None,
            };
            values.push((at, value.ok_or(())?));
        }
        Ok(values)
    }

    /// Takes what a device needs of what its pool shares, if there is so much left.
    fn take_counters(&mut self, at: usize) -> bool {
        let Some(candidate) = self.candidates.get(at) else { return false };
        let pool = candidate.pool;
        if !self.counters.contains_key(&pool) {
            let left = self.pools.get(pool).map(|pool| left(self.allocator.devices, pool));
            self.counters.insert(pool, left.unwrap_or_default());
        }
        self.count(at, false);
        let enough =
            self.counters.get(&pool).is_some_and(|counters| counters.values().all(|left| left.sign() >= 0));
        if !enough {
            self.count(at, true);
        }
        enough
    }

    fn count(&mut self, at: usize, comes_back: bool) {
        let Some(candidate) = self.candidates.get(at) else { return };
        let Some(counters) = self.counters.get_mut(&candidate.pool) else { return };
        for set in &candidate.device.consumes {
            for (name, amount) in &set.counters {
                match counters.get_mut(&(&*set.name, &**name)) {
                    Some(left) if comes_back => *left += amount,
                    Some(left) => *left -= amount,
                    None => {}
                }
            }
        }
    }

    /// Takes back what was given to a claim last.
    fn take_back(&mut self, claim: usize) {
        let Some(picked) = self.results.get_mut(claim).and_then(Vec::pop) else { return };
        let names = self.prepared(picked.place).map(|prepared| prepared.full_name.clone());
        if let (Some(of), Some(full_name)) = (self.claims.get(claim), names)
            && let Some(request) = of.requests.get(picked.place[1])
            && let Some(constrained) = self.constrained.get_mut(claim)
        {
            for (constraint, values) in of.constraints.iter().zip(constrained) {
                if constraint.is_about(request, &full_name) {
                    values.pop();
                }
            }
        }
        let at = picked.candidate;
        if picked.part.is_some() {
            pop(&mut self.parts, at);
        } else {
            pop(&mut self.whole, at);
        }
        if picked.takes_counters {
            self.count(at, true);
        }
    }

    /// What was found, as it is to be written.
    fn plans(&self, node: &Node) -> Result<Vec<Plan>, Failure> {
        let mut plans = Vec::new();
        for (at, claim) in self.claims.iter().enumerate() {
            let picked = self.results.get(at).map(Vec::as_slice).unwrap_or_default();
            let results = picked.iter().filter_map(|picked| self.given(picked)).collect();
            let nodes = self.nodes(picked, node).map_err(|why| {
                Failure::Error(format!("create NodeSelector for claim {}: {why}", claim.metadata.name))
            })?;
            let allocation = Arc::new(Allocation { results, nodes, since: None });
            plans.push(Plan { allocation, config: self.config(at, claim) });
        }
        Ok(plans)
    }

    fn given(&self, picked: &Picked) -> Option<Given> {
        let (candidate, prepared) = (self.candidates.get(picked.candidate)?, self.prepared(picked.place)?);
        Some(Given {
            request: prepared.full_name.clone(),
            id: candidate.id.clone(),
            is_admin: prepared.ask.is_admin,
            is_shared: picked.part.is_some(),
            consumed: picked.part.clone().unwrap_or_default(),
            binding_conditions: candidate.device.binding_conditions.clone(),
            binding_failure_conditions: candidate.device.binding_failure_conditions.clone(),
            tolerations: prepared.ask.tolerations_written.clone(),
        })
    }

    /// What the devices of a claim are told: by their classes, each once, then by the claim.
    fn config(&self, at: usize, claim: &ResourceClaim) -> Vec<Value> {
        let mut all: Vec<(&str, Vec<String>, &Value)> = Vec::new();
        let mut of_class: BTreeMap<&str, std::ops::Range<usize>> = BTreeMap::new();
        let picked = |request: usize| self.picked.get(at).and_then(|it| it.get(request)).copied();
        for request in 0..claim.requests.len() {
            let Some(prepared) = picked(request).and_then(|it| self.prepared([at, request, it])) else {
                continue;
            };
            let name = prepared.full_name.to_string();
            let class = prepared.class;
            if let Some(range) = of_class.get(&*class.metadata.name) {
                for (_, requests, _) in all.get_mut(range.clone()).into_iter().flatten() {
                    requests.push(name.clone());
                }
                continue;
            }
            let start = all.len();
            all.extend(class.config.iter().map(|config| ("FromClass", vec![name.clone()], config)));
            of_class.insert(&class.metadata.name, start..all.len());
        }
        for config in &claim.config {
            let listed = config.get("requests").and_then(Value::as_array);
            let requests: Vec<String> =
                listed.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
            if requests.is_empty() {
                all.push(("FromClaim", requests, config));
                continue;
            }
            for (number, request) in claim.requests.iter().enumerate() {
                let full = picked(number).and_then(|it| self.prepared([at, number, it]));
                let is_meant = |name: &String| {
                    **name == *request.name || full.is_some_and(|full| **name == *full.full_name)
                };
                if requests.iter().any(is_meant) {
                    all.push(("FromClaim", requests.clone(), config));
                }
            }
        }
        let written = |(source, requests, config): (&str, Vec<String>, &Value)| {
            let mut value = config.clone();
            if let Some(object) = value.as_object_mut() {
                object.remove("requests");
                object.insert("source".to_owned(), source.into());
                // No requests are all of them.
                if !requests.is_empty() && requests.len() != claim.requests.len() {
                    object.insert("requests".to_owned(), requests.into());
                }
            }
            value
        };
        all.into_iter().map(written).collect()
    }

    /// Which nodes reach all devices of a claim; all if nothing limits them.
    fn nodes(&self, picked: &[Picked], node: &Node) -> Result<Option<Nodes>, String> {
        let (mut fields, mut expressions): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for candidate in picked.iter().filter_map(|picked| self.candidates.get(picked.candidate)) {
            let reach = candidate.slice.reach_of(candidate.device);
            if !reach.node.is_empty() || candidate.device.binds_to_node {
                let only = json!({"nodeSelectorTerms": [{"matchFields": [
                    {"key": "metadata.name", "operator": "In", "values": [node.name()]}]}]});
                return Nodes::of(only).map(Some).map_err(|error| error.to_string());
            }
            let Some(nodes) = &reach.nodes else { continue };
            let terms = nodes.written.get("nodeSelectorTerms").and_then(Value::as_array);
            match terms.map(Vec::as_slice).unwrap_or_default() {
                [] => {}
                [term] => {
                    for (name, all) in [("matchFields", &mut fields), ("matchExpressions", &mut expressions)]
                    {
                        for requirement in term.get(name).and_then(Value::as_array).into_iter().flatten() {
                            if !all.contains(requirement) {
                                all.push(requirement.clone());
                            }
                        }
                    }
                }
                several => {
                    return Err(format!(
                        "unsupported ResourceSlice.NodeSelector with {} terms",
                        several.len()
                    ));
                }
            }
        }
        let mut term = serde_json::Map::new();
        for (name, all) in [("matchExpressions", expressions), ("matchFields", fields)] {
            if !all.is_empty() {
                term.insert(name.to_owned(), all.into());
            }
        }
        if term.is_empty() {
            return Ok(None);
        }
        Nodes::of(json!({"nodeSelectorTerms": [term]})).map(Some).map_err(|error| error.to_string())
    }
}

/// What is left of the counters of a pool; may be less than nothing.
fn left<'a>(devices: &Devices, pool: &Pool<'a>) -> Counters<'a> {
    let mut left = Counters::new();
    for (name, set) in &pool.counters {
        left.extend(set.counters.iter().map(|(counter, amount)| ((*name, &**counter), amount.clone())));
    }
    for slice in &pool.all_slices {
        for device in &slice.devices {
            let id = DeviceId {
                driver: Arc::clone(&pool.id.driver),
                pool: Arc::clone(&pool.id.pool),
                device: Arc::clone(&device.name),
            };
            if device.consumes.is_empty() || !devices.is_used(&id) {
                continue;
            }
            for set in &device.consumes {
                for (counter, amount) in &set.counters {
                    if let Some(left) = left.get_mut(&(&*set.name, &**counter)) {
                        *left -= amount;
                    }
                }
            }
        }
    }
    left
}

fn pop<T>(lists: &mut BTreeMap<usize, Vec<T>>, at: usize) {
    if let Some(list) = lists.get_mut(&at) {
        list.pop();
        if list.is_empty() {
            lists.remove(&at);
        }
    }
}

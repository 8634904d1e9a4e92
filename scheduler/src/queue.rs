//! Which Pod is next.
//!
//! ```text
//! added ──> active ──pop──> in flight ──done──> (leaves)
//!    gated ─┘  ↑ ↑               │ rejected by plugins
//!              │ └─ time ─ backoff <── something may have helped ── unschedulable
//! ```
//!
//! A Pod that plugins rejected waits until something happens that one of them says may help (queueing hints), and no less
//! than its backoff; when nothing else is to be done, it is tried before that. One that failed for another reason is tried
//! again after its backoff. What happens while a Pod is in flight is remembered and looked at when it returns, so that no
//! wake-up is lost between its decision and its waiting.
//!
//! Invariant: a data structure. Time is an argument, counted from any fixed moment; what plugins say comes through
//! [`Rules`].

mod places;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use self::places::{Place, Places};
use crate::{plugin::ClusterEvent, pod::Pod, snapshot::Others};

/// When backoffs end is rounded down to this, so that Pods of one burst are ordered by urgency, not by milliseconds.
const WINDOW: Duration = Duration::from_secs(1);

/// What plugins say.
pub trait Rules {
    /// Who holds a Pod back from being looked at at all.
    fn gate(&self, pod: &Pod, others: &Others) -> Option<&'static str>;
    /// More goes first.
    fn urgency(&self, pod: &Pod) -> i64;
    /// Whether something that happened may undo a plugin's rejection.
    fn may_help(&self, plugin: &str, pod: &Pod, event: &ClusterEvent) -> bool;
}

/// How long Pods wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// After the first failure.
    pub backoff_initial: Duration,
    /// After any; none if 0.
    pub backoff_max: Duration,
    /// However little happens, a Pod is tried again after that.
    pub unschedulable_max: Duration,
}

/// The queue.
#[derive(Debug)]
pub struct Queue<R> {
    rules: R,
    waits: Waits,
    waiting: BTreeMap<Box<str>, Waiting>,
    places: Places,
    /// By uid: the Pod as it is now, and the events it has seen before it was popped.
    in_flight: BTreeMap<Box<str>, InFlight>,
    /// By uid: Pods that must not be popped, and who says so.
    held_back: BTreeMap<Box<str>, &'static str>,
    /// What happened since the first of those in flight was popped.
    events: VecDeque<ClusterEvent>,
    /// How many events there were before the first of `events`.
    events_gone: u64,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiting {
    turn: Turn,
    place: Place,
}

#[derive(Debug)]
struct InFlight {
    pod: Arc<Pod>,
    events_seen: u64,
}

/// A Pod and its history in the queue.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The Pod.
    pub pod: Arc<Pod>,
    /// How often it was popped.
    pub attempts: u32,
    /// When it came first.
    pub since: Duration,
    /// How often plugins rejected it.
    rejections: u32,
    /// How often in a row it failed otherwise.
    errors: u32,
    /// When it last came back.
    returned: Duration,
    rejected_by: BTreeSet<&'static str>,
}

/// How many Pods are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready.
    pub active: usize,
    /// Waiting for time to pass.
    pub backoff: usize,
    /// Waiting for something to happen.
    pub unschedulable: usize,
    /// Held back.
    pub gated: usize,
    /// Being decided on.
    pub in_flight: usize,
}

// === impl Waits ===

impl Default for Waits {
    fn default() -> Self {
        Self {
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10),
            unschedulable_max: Duration::from_secs(300),
        }
    }
}

impl Waits {
    /// When a Pod that came back may be tried again.
    fn backoff_ends(&self, turn: &Turn) -> Duration {
        let failures = if turn.errors > 0 { turn.errors } else { turn.rejections };
        if failures == 0 || self.backoff_max.is_zero() {
            return Duration::ZERO;
        }
        let doublings = (failures - 1).min(31);
        let backoff = self.backoff_initial.saturating_mul(1 << doublings).min(self.backoff_max);
        down_to_window(turn.returned + backoff)
    }
}

fn down_to_window(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() / WINDOW.as_secs() * WINDOW.as_secs())
}

// === impl Turn ===

impl Turn {
    fn new(pod: Arc<Pod>, now: Duration) -> Self {
        Self {
            pod,
            attempts: 0,
            since: now,
            rejections: 0,
            errors: 0,
            returned: now,
            rejected_by: BTreeSet::new(),
        }
    }
}

// === impl Queue ===

impl<R: Rules> Queue<R> {
    /// Nobody waits.
    pub fn new(rules: R, waits: Waits) -> Self {
        Self {
            rules,
            waits,
            waiting: BTreeMap::new(),
            places: Places::default(),
            in_flight: BTreeMap::new(),
            held_back: BTreeMap::new(),
            events: VecDeque::new(),
            events_gone: 0,
            arrivals: 0,
        }
    }

    /// A Pod came, or changed, and has no node.
    pub fn set(&mut self, pod: &Arc<Pod>, now: Duration, others: &Others) {
        let uid = pod.uid();
        if let Some(flight) = self.in_flight.get_mut(uid) {
            let old = std::mem::replace(&mut flight.pod, Arc::clone(pod));
            // It may matter if the Pod comes back.
            self.events.push_back(ClusterEvent::OwnUpdate { old, new: Arc::clone(pod) });
            return;
        }
        let Some(waiting) = self.waiting.get_mut(uid) else {
            self.enter_at(Turn::new(Arc::clone(pod), now), None, others);
            return;
        };
        let old = std::mem::replace(&mut waiting.turn.pod, Arc::clone(pod));
        match waiting.place {
            Place::Gated(_) => self.again(uid, now, others),
            Place::Unschedulable(_) => {
                let event = ClusterEvent::OwnUpdate { old, new: Arc::clone(pod) };
                if self.helps(uid, &event) {
                    self.again(uid, now, others);
                }
            }
            // Its urgency may be another.
            Place::Active(_) | Place::Backoff(_) | Place::Errors(_) => self.move_in_place(uid),
        }
    }

    /// A Pod went, or has a node.
    pub fn remove(&mut self, uid: &str) {
        if let Some(waiting) = self.waiting.remove(uid) {
            self.places.leave(&waiting.place);
        }
        self.held_back.remove(uid);
        self.done(uid);
    }

    /// A Pod must not be popped, whatever happens, until it is let go.
    pub fn hold_back(&mut self, uid: &str, plugin: &'static str) {
        self.held_back.insert(uid.into(), plugin);
    }

    /// A Pod may be popped again: at once, after its backoff, if something has helped it meanwhile, or if it is `urged` to.
    pub fn let_go(&mut self, uid: &str, urged: bool, now: Duration, others: &Others) {
        if self.held_back.remove(uid).is_none() {
            return;
        }
        let moves = self.waiting.get(uid).is_some_and(|waiting| match waiting.place {
            Place::Gated(_) => true,
            Place::Unschedulable(_) => urged,
            Place::Active(_) | Place::Backoff(_) | Place::Errors(_) => false,
        });
        if moves {
            self.again(uid, now, others);
        }
    }

    /// Something happened that may help Pods that wait. Returns how many it moved.
    pub fn happened(&mut self, event: &ClusterEvent, now: Duration, others: &Others) -> usize {
        if !self.in_flight.is_empty() {
            self.events.push_back(event.clone());
        }
        let candidates: Vec<Box<str>> = self.places.unschedulable().map(|(_, uid)| uid.clone()).collect();
        let mut helped: Vec<Box<str>> = candidates.into_iter().filter(|uid| self.helps(uid, event)).collect();
        // Who is gated is gated again if that is no help.
        let ungated = self.places.gated().filter(|(plugin, uid)| {
            let waiting = self.waiting.get(uid);
            waiting.is_some_and(|waiting| self.rules.may_help(plugin, &waiting.turn.pod, event))
        });
        helped.extend(ungated.map(|(_, uid)| uid.clone()));
        for uid in &helped {
            self.again(uid, now, others);
        }
        helped.len()
    }

    /// The next Pod, if it is anybody's turn.
    pub fn pop(&mut self, now: Duration, others: &Others) -> Option<Turn> {
        self.pass_time(now, others);
        let uid = self.places.next()?;
        let Waiting { mut turn, place } = self.waiting.remove(&uid)?;
        self.places.leave(&place);
        turn.attempts = turn.attempts.saturating_add(1);
        let events_seen = self.events_gone + u64::try_from(self.events.len()).unwrap_or_default();
        self.in_flight.insert(uid, InFlight { pod: Arc::clone(&turn.pod), events_seen });
        Some(turn)
    }

    /// When somebody's turn will come by itself: ask [`Queue::pop`] then. Something may happen before.
    pub fn next_at(&self) -> Option<Duration> {
        let unschedulable =
            self.places.waits_longest().map(|(since, _)| since + self.waits.unschedulable_max);
        self.places.backoff_ends().into_iter().chain(unschedulable).min()
    }

    /// A popped Pod needs no further decision.
    pub fn done(&mut self, uid: &str) {
        if self.in_flight.remove(uid).is_none() {
            return;
        }
        let needed = self.in_flight.values().map(|flight| flight.events_seen).min();
        while !self.events.is_empty() && needed.is_none_or(|needed| self.events_gone < needed) {
            self.events.pop_front();
            self.events_gone += 1;
        }
    }

    /// A popped Pod found no node because these plugins rejected it, or, if there are none, for a passing reason. Returns
    /// the Pod as it is now, unless it has gone meanwhile.
    pub fn give_back(
        &mut self,
        turn: Turn,
        rejected_by: BTreeSet<&'static str>,
        now: Duration,
        others: &Others,
    ) -> Option<Arc<Pod>> {
        let flight = self.in_flight.get(turn.pod.uid())?;
        let (pod, seen) = (Arc::clone(&flight.pod), flight.events_seen);
        let skip = usize::try_from(seen.saturating_sub(self.events_gone)).unwrap_or(usize::MAX);
        let turn = Turn { pod: Arc::clone(&pod), ..turn };
        let own = |event: &ClusterEvent| match event {
            ClusterEvent::OwnUpdate { new, .. } => new.uid() == turn.pod.uid(),
            _ => true,
        };
        let helped = rejected_by.is_empty()
            || self
                .events
                .iter()
                .skip(skip)
                .filter(|event| own(event))
                .any(|event| rejected_by.iter().any(|plugin| self.rules.may_help(plugin, &pod, event)));
        self.done(pod.uid());
        self.return_turn(turn, rejected_by, helped, now, others);
        Some(pod)
    }

    /// A Pod that was done failed after all: because of plugins, or, if there are none, for a passing reason. It must not be
    /// waiting.
    pub fn come_back(
        &mut self,
        turn: Turn,
        rejected_by: BTreeSet<&'static str>,
        now: Duration,
        others: &Others,
    ) {
        if !self.waiting.contains_key(turn.pod.uid()) && !self.in_flight.contains_key(turn.pod.uid()) {
            // What happened meanwhile was not remembered for it, so it does not wait for more.
            self.return_turn(turn, rejected_by, true, now, others);
        }
    }

    fn return_turn(
        &mut self,
        mut turn: Turn,
        rejected_by: BTreeSet<&'static str>,
        helped: bool,
        now: Duration,
        others: &Others,
    ) {
        if rejected_by.is_empty() {
            turn.errors = turn.errors.saturating_add(1);
        } else {
            turn.errors = 0;
            turn.rejections = turn.rejections.saturating_add(1);
        }
        turn.rejected_by = rejected_by;
        turn.returned = now;
        if helped {
            self.enter_at(turn, Some(now), others);
        } else {
            let place = Place::Unschedulable((now, turn.pod.uid().into()));
            self.wait(turn, place);
        }
    }

    /// Whether a Pod is being decided on.
    pub fn is_in_flight(&self, uid: &str) -> bool {
        self.in_flight.contains_key(uid)
    }

    /// How many Pods are where.
    pub fn counts(&self) -> Counts {
        Counts { in_flight: self.in_flight.len(), ..self.places.counts() }
    }

    /// Whether a plugin that rejected the waiting Pod says that something may have helped it.
    fn helps(&self, uid: &str, event: &ClusterEvent) -> bool {
        self.waiting.get(uid).is_some_and(|waiting| {
            let turn = &waiting.turn;
            turn.rejected_by.is_empty()
                || turn.rejected_by.iter().any(|plugin| self.rules.may_help(plugin, &turn.pod, event))
        })
    }

    /// A waiting Pod shall have another turn, after its backoff.
    fn again(&mut self, uid: &str, now: Duration, others: &Others) {
        if let Some(waiting) = self.waiting.remove(uid) {
            self.places.leave(&waiting.place);
            self.enter_at(waiting.turn, Some(now), others);
        }
    }

    /// Puts a Pod where it can be popped: at once, or after its backoff if that is not over at a time. Or holds it back.
    fn enter_at(&mut self, turn: Turn, now: Option<Duration>, others: &Others) {
        let uid: Box<str> = turn.pod.uid().into();
        let urgency = self.rules.urgency(&turn.pod);
        self.arrivals += 1;
        let key = places::Order::new(urgency, turn.returned, self.arrivals, uid.clone());
        let held_back = self.held_back.get(&uid).copied();
        let place = if let Some(plugin) = held_back.or_else(|| self.rules.gate(&turn.pod, others)) {
            Place::Gated((plugin, uid))
        } else {
            let ends = self.waits.backoff_ends(&turn);
            match now {
                Some(now) if ends > down_to_window(now) => {
                    if turn.errors > 0 {
                        Place::Errors((ends, key))
                    } else {
                        Place::Backoff((ends, key))
                    }
                }
                _ => Place::Active(key),
            }
        };
        self.wait(turn, place);
    }

    fn move_in_place(&mut self, uid: &str) {
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        let urgency = self.rules.urgency(&waiting.turn.pod);
        if let Some(order) = waiting.place.order_mut() {
            let old = order.clone();
            let new = old.with_urgency(urgency);
            if new != old {
                self.places.leave(&waiting.place);
                if let Some(order) = waiting.place.order_mut() {
                    *order = new;
                }
                self.places.enter(&waiting.place);
            }
        }
    }

    fn wait(&mut self, turn: Turn, place: Place) {
        self.places.enter(&place);
        self.waiting.insert(turn.pod.uid().into(), Waiting { turn, place });
    }

    /// Backoffs end; who has waited too long is tried again.
    fn pass_time(&mut self, now: Duration, others: &Others) {
        for uid in self.places.backoff_over(down_to_window(now)) {
            if let Some(mut waiting) = self.waiting.remove(&uid) {
                self.places.leave(&waiting.place);
                if let Some(order) = waiting.place.order_mut() {
                    waiting.place = Place::Active(order.clone());
                }
                self.wait(waiting.turn, waiting.place);
            }
        }
        while let Some((since, uid)) = self.places.waits_longest() {
            if since + self.waits.unschedulable_max > now {
                break;
            }
            self.again(&uid, now, others);
        }
    }
}

#[cfg(test)]
mod tests;

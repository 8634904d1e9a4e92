//! The queues of one priority level: who waits, who is served, and who is next.
//!
//! Fair queuing as KEP-1040 has it: each queue has a virtual time at which its next request would begin if seats were given
//! out a grain at a time, round and round; the request that would be through first goes first. A request's length is
//! guessed before, and set right after it was served.
//!
//! Pure: time is told, nothing is woken. Whoever drives it looks into [`QueueSet::turns`] after each step, for requests
//! whose turn has come, and calls [`QueueSet::pass`] at [`QueueSet::next`].

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    demand::{Demand, Seen},
    shuffle::Hand,
    work::{Estimate, GUESS, Work, work},
};

/// How a level treats requests beyond its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// There is no limit.
    Exempt,
    /// They are refused.
    Reject,
    /// They wait.
    Queue {
        /// In how many queues.
        queues: usize,
        /// In how many of these those of one flow.
        hand: usize,
        /// How many in one.
        length: usize,
    },
}

/// A request in a level. Numbers are not used twice.
pub type Ticket = u64;

/// What becomes of a request that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is its turn.
    Served(Ticket),
    /// It waits.
    Waits(Ticket),
    /// It is sent away; the reason is the label it is counted under.
    Refused(&'static str),
}

/// A request that waits or is served.
#[derive(Clone, Debug)]
pub struct Request<T> {
    /// What the driver knows it by.
    pub payload: T,
    /// How much work it is.
    pub estimate: Estimate,
    /// The queue it is or was in.
    pub queue: Option<usize>,
    /// When it came.
    pub arrived: Duration,
    /// When its turn came.
    pub started: Option<Duration>,
    arrived_at: Work,
}

/// One queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Ticket>,
    /// How many of its requests are served.
    pub executing: u32,
    /// Seats of requests of it that are served, or linger.
    pub seats_in_use: u32,
    /// Sums over those that wait.
    pub initial_seats_waiting: u32,
    /// Likewise.
    pub seats_waiting: u32,
    /// Likewise.
    pub work_waiting: Work,
    /// The virtual time at which its next request would begin.
    pub next_dispatch: Work,
}

/// What has happened since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests whose turn came.
    pub dispatched: u64,
    /// Requests that were refused, at once or in the end.
    pub rejected: u64,
    /// Of these, those who waited in vain.
    pub cancelled: u64,
}

/// The queues of a priority level. `T` is what the driver knows requests by.
#[derive(Debug)]
pub struct QueueSet<T> {
    discipline: Discipline,
    limit: u32,
    queues: Vec<Queue>,
    requests: BTreeMap<Ticket, Request<T>>,
    /// Seats that are still taken after the answer: until when, of which queue, how many.
    lingering: BTreeMap<(Duration, Ticket), (Option<usize>, u32)>,
    last: Ticket,
    /// Virtual time: how many seat-nanoseconds a queue that never was empty would have had by now.
    progress: Work,
    now: Duration,
    /// The queue that was last served.
    robin: usize,
    enqueued: usize,
    waiting: u32,
    executing: u32,
    seats_in_use: u32,
    seats_waiting: u32,
    /// Queues with requests that wait or are served.
    active: u32,
    tally: Tally,
    demand: Demand,
    turns: Vec<Ticket>,
}

// === impl Queue ===

impl Queue {
    /// Those who wait, the next one first.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = Ticket> {
        self.waiting.iter().copied()
    }

    fn is_active(&self) -> bool {
        self.executing > 0 || !self.waiting.is_empty()
    }

    fn leave(&mut self, estimate: &Estimate) {
        self.initial_seats_waiting = self.initial_seats_waiting.saturating_sub(estimate.initial_seats);
        self.seats_waiting = self.seats_waiting.saturating_sub(estimate.seats_max());
        self.work_waiting -= estimate.work();
    }
}

// === impl QueueSet ===

impl<T> QueueSet<T> {
    /// Nobody there yet.
    pub fn new(now: Duration, discipline: Discipline, limit: u32) -> Self {
        let mut set = Self {
            discipline,
            limit,
            queues: Vec::new(),
            requests: BTreeMap::new(),
            lingering: BTreeMap::new(),
            last: 0,
            progress: 0,
            now,
            robin: 0,
            enqueued: 0,
            waiting: 0,
            executing: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            active: 0,
            tally: Tally::default(),
            demand: Demand::new(now),
            turns: Vec::new(),
        };
        set.resize();
        set
    }

    /// Changes how requests are treated. Those who wait go on waiting; queues that are too many go when they are empty.
    pub fn configure(&mut self, now: Duration, discipline: Discipline) {
        self.pass(now);
        self.discipline = discipline;
        self.resize();
        self.dispatch();
    }

    /// Changes how many seats there are.
    pub fn limit_to(&mut self, now: Duration, limit: u32) {
        self.pass(now);
        self.limit = limit;
        self.dispatch();
    }

    /// A request comes. `flow` is the number of its flow.
    pub fn arrive(&mut self, now: Duration, estimate: Estimate, flow: u64, payload: T) -> Arrival {
        self.pass(now);
        let queue = match self.discipline {
            Discipline::Exempt => None,
            Discipline::Reject if self.has_room(estimate.seats_max()) => None,
            Discipline::Reject => {
                self.tally.rejected += 1;
                return Arrival::Refused("concurrency-limit");
            }
            Discipline::Queue { queues, hand, length } => {
                let index = self.choose(Hand::deal(flow, queues, hand));
                let waiting = self.queues.get(index).map_or(0, |queue| queue.waiting.len());
                if self.seats_in_use >= self.limit && waiting >= length {
                    self.tally.rejected += 1;
                    return Arrival::Refused("queue-full");
                }
                Some(index)
            }
        };
        self.last += 1;
        let ticket = self.last;
        let request = Request {
            payload,
            estimate,
            queue,
            arrived: now,
            started: queue.is_none().then_some(now),
            arrived_at: self.progress,
        };
        self.requests.insert(ticket, request);
        let Some(index) = queue else {
            self.executing += 1;
            self.seats_in_use += estimate.seats_max();
            self.tally.dispatched += 1;
            self.note_demand();
            return Arrival::Served(ticket);
        };
        self.enqueue(index, ticket, &estimate);
        let alone = (self.waiting == 1).then_some(index);
        if self.seats_in_use < self.limit && self.dispatch_one(alone) {
            self.dispatch();
        }
        self.note_demand();
        match self.requests.get(&ticket) {
            Some(request) if request.started.is_some() => {
                self.turns.retain(|turn| *turn != ticket);
                Arrival::Served(ticket)
            }
            _ => Arrival::Waits(ticket),
        }
    }

    /// A request was served.
    pub fn finish(&mut self, now: Duration, ticket: Ticket) {
        self.pass(now);
        let Some(request) = self.requests.remove(&ticket) else { return };
        let Some(started) = request.started else {
            // Not its turn yet: it can only give up.
            self.requests.insert(ticket, request);
            return;
        };
        self.executing = self.executing.saturating_sub(1);
        let Request { estimate, queue, .. } = request;
        if let Some(queue) = queue.and_then(|index| self.queues.get_mut(index)) {
            // Its queue was charged what was guessed; now it is known.
            let took = work(estimate.initial_seats, now.saturating_sub(started));
            queue.next_dispatch -= work(estimate.initial_seats, GUESS) - took;
            queue.executing = queue.executing.saturating_sub(1);
            if !queue.is_active() {
                self.active = self.active.saturating_sub(1);
            }
        }
        if let Some(index) = queue {
            self.bound(index);
        }
        if estimate.additional_latency.is_zero() {
            self.release(queue, estimate.seats_max());
        } else {
            let until = now.saturating_add(estimate.additional_latency);
            self.lingering.insert((until, ticket), (queue, estimate.seats_max()));
        }
        self.dispatch();
    }

    /// A request does not wait any longer. False if its turn has come: it must be finished then.
    pub fn give_up(&mut self, now: Duration, ticket: Ticket) -> bool {
        self.pass(now);
        if self.requests.get(&ticket).is_none_or(|request| request.started.is_some()) {
            return false;
        }
        let Some(request) = self.requests.remove(&ticket) else { return false };
        if let Some(index) = request.queue
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.waiting.retain(|waiting| *waiting != ticket);
            queue.leave(&request.estimate);
            if !queue.is_active() {
                self.active = self.active.saturating_sub(1);
            }
            self.bound(index);
        }
        self.waiting = self.waiting.saturating_sub(1);
        self.seats_waiting = self.seats_waiting.saturating_sub(request.estimate.seats_max());
        self.tally.rejected += 1;
        self.tally.cancelled += 1;
        self.note_demand();
        // Who was behind a request that needs more seats than are free may need fewer.
        self.dispatch();
        true
    }

    /// Lets time pass: seats that lingered until now are free.
    pub fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now);
        if self.active > 0 && !passed.is_zero() {
            let seats = self.seats_in_use.saturating_add(self.seats_waiting).min(self.limit);
            self.progress += work(seats, passed) / i128::from(self.active);
        }
        self.now = now.max(self.now);
        let mut freed = false;
        while let Some(first) = self.lingering.first_entry()
            && first.key().0 <= self.now
        {
            let (queue, seats) = first.remove();
            self.release(queue, seats);
            freed = true;
        }
        if freed {
            self.dispatch();
        }
    }

    /// When seats that linger will be free next.
    pub fn next(&self) -> Option<Duration> {
        self.lingering.first_key_value().map(|(key, _)| key.0)
    }

    /// Those whose turn has come since this was last asked, and who had to wait for it.
    pub fn turns(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.turns)
    }

    /// A request.
    pub fn get(&self, ticket: Ticket) -> Option<&Request<T>> {
        self.requests.get(&ticket)
    }

    /// The same, for its payload to be changed.
    pub fn payload_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.requests.get_mut(&ticket).map(|request| &mut request.payload)
    }

    /// All who wait or are served.
    pub fn requests(&self) -> impl Iterator<Item = (Ticket, &Request<T>)> {
        self.requests.iter().map(|(ticket, request)| (*ticket, request))
    }

    /// The queues.
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// Whether nobody waits or is served.
    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How many are served.
    pub fn executing(&self) -> u32 {
        self.executing
    }

    /// How many seats are taken, with those that linger.
    pub fn seats_in_use(&self) -> u32 {
        self.seats_in_use
    }

    /// How many seats there are.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Virtual time.
    pub fn progress(&self) -> Work {
        self.progress
    }

    /// What has happened.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many seats were wanted since this was last asked.
    pub fn take_demand(&mut self, now: Duration) -> Seen {
        self.pass(now);
        self.demand.take(now)
    }

    fn note_demand(&mut self) {
        self.demand.set(self.now, self.seats_in_use.saturating_add(self.seats_waiting));
    }

    fn wanted(&self) -> usize {
        match self.discipline {
            Discipline::Queue { queues, .. } => queues.max(1),
            Discipline::Exempt | Discipline::Reject => 0,
        }
    }

    /// Adds the queues that are missing and drops those that are too many, as far as they are empty.
    fn resize(&mut self) {
        let wanted = self.wanted();
        while self.queues.len() < wanted {
            self.queues.push(Queue::default());
        }
        let mut index = self.queues.len();
        while index > wanted.min(index) && self.queues.len() > wanted && index > 0 {
            index -= 1;
            self.remove_if_empty(index);
        }
    }

    /// Drops a queue if it is empty and there are too many.
    fn remove_if_empty(&mut self, index: usize) {
        let empty = self.queues.get(index).is_some_and(|it| !it.is_active() && it.seats_in_use == 0);
        if !empty || self.queues.len() <= self.wanted() {
            return;
        }
        self.queues.remove(index);
        let move_up = |queue: &mut Option<usize>| match queue {
            Some(at) if *at > index => *at -= 1,
            _ => {}
        };
        self.requests.values_mut().for_each(|request| move_up(&mut request.queue));
        self.lingering.values_mut().for_each(|lingering| move_up(&mut lingering.0));
        if self.robin >= index {
            self.robin = self.robin.saturating_sub(1);
        }
    }

    /// The queue of a hand with the least work in it. The one that is looked at first changes, so that hands that have
    /// queues in common do not all prefer the same.
    fn choose(&mut self, hand: Hand) -> usize {
        let cards = hand.cards();
        let offset = self.enqueued % cards.len().max(1);
        self.enqueued = self.enqueued.wrapping_add(1);
        let turned = cards.iter().skip(offset).chain(cards.iter().take(offset)).copied();
        turned.min_by_key(|&index| self.queues.get(index).map_or(0, |it| it.work_waiting)).unwrap_or_default()
    }

    fn enqueue(&mut self, index: usize, ticket: Ticket, estimate: &Estimate) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        if !queue.is_active() {
            queue.next_dispatch = self.progress;
            self.active += 1;
        }
        queue.waiting.push_back(ticket);
        queue.initial_seats_waiting += estimate.initial_seats;
        queue.seats_waiting += estimate.seats_max();
        queue.work_waiting += estimate.work();
        self.waiting += 1;
        self.seats_waiting += estimate.seats_max();
        self.bound(index);
    }

    /// A queue that could not use all it was given must not save that up: nothing begins before it came.
    fn bound(&mut self, index: usize) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        let oldest = queue.waiting.front().and_then(|ticket| self.requests.get(ticket));
        if let Some(oldest) = oldest {
            queue.next_dispatch = queue.next_dispatch.max(oldest.arrived_at);
        }
    }

    fn has_room(&self, seats: u32) -> bool {
        if seats > self.limit {
            // It would never fit: it goes alone.
            return self.executing == 0;
        }
        self.seats_in_use.saturating_add(seats) <= self.limit
    }

    fn release(&mut self, queue: Option<usize>, seats: u32) {
        self.seats_in_use = self.seats_in_use.saturating_sub(seats);
        if let Some(index) = queue {
            if let Some(queue) = self.queues.get_mut(index) {
                queue.seats_in_use = queue.seats_in_use.saturating_sub(seats);
            }
            if self.queues.len() > self.wanted() {
                self.remove_if_empty(index);
            }
        }
        self.note_demand();
    }

    fn dispatch(&mut self) {
        while self.waiting > 0 && self.seats_in_use < self.limit && self.dispatch_one(None) {}
    }

    /// The queue whose next request would be through first, those after the last one served first if there are several.
    fn next_queue(&self) -> Option<usize> {
        let (before, after) = self.queues.split_at_checked(self.robin + 1).unwrap_or((&self.queues, &[]));
        let after = after.iter().enumerate().map(|(at, queue)| (before.len() + at, queue));
        let all = after.chain(before.iter().enumerate());
        all.filter_map(|(index, queue)| {
            let oldest = self.requests.get(queue.waiting.front()?)?;
            Some((queue.next_dispatch + oldest.estimate.work(), index))
        })
        .min_by_key(|(through, _)| *through)
        .map(|(_, index)| index)
    }

    /// Serves the next one if there are seats for it.
    fn dispatch_one(&mut self, known: Option<usize>) -> bool {
        let Some(index) = known.or_else(|| self.next_queue()) else { return false };
        let Some(queue) = self.queues.get(index) else { return false };
        let Some(&ticket) = queue.waiting.front() else { return false };
        let Some(seats) = self.requests.get(&ticket).map(|request| request.estimate.seats_max()) else {
            return false;
        };
        if !self.has_room(seats) {
            return false;
        }
        let (Some(queue), Some(request)) = (self.queues.get_mut(index), self.requests.get_mut(&ticket))
        else {
            return false;
        };
        queue.waiting.pop_front();
        queue.leave(&request.estimate);
        self.waiting -= 1;
        self.seats_waiting = self.seats_waiting.saturating_sub(seats);
        request.estimate = request.estimate.narrowed(self.limit);
        request.started = Some(self.now);
        let seats = request.estimate.seats_max();
        queue.next_dispatch += request.estimate.work();
        queue.executing += 1;
        queue.seats_in_use += seats;
        self.executing += 1;
        self.seats_in_use += seats;
        self.tally.dispatched += 1;
        self.robin = index;
        self.turns.push(ticket);
        self.bound(index);
        self.note_demand();
        true
    }
}

#[cfg(test)]
mod tests;

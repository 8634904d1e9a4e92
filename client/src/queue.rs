//! The queue of keys to look at: each waits once, in the order it came, and is in no two hands at a time.
//!
//! A key added while in hand waits until it is handed back, then is looked at again. A key may be added for later, or
//! after a failure with a delay that grows. What is queued is a key, never news: whoever takes it looks at the state.
//!
//! Invariant: no task of its own and no clock but tokio's, so that time can be paused.

pub mod metrics;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use self::metrics::{Metrics, Series};
use crate::backoff::doubled;

/// The delay after the first failure of a key; it doubles with each (client-go's default limiter).
pub const BACKOFF_INITIAL: Duration = Duration::from_millis(5);

/// The longest delay after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(1000);

/// A queue. Cheap to clone: all clones are the same queue.
pub struct Queue<K: Ord + Clone>(Arc<Shared<K>>);

/// A key in hand. Dropping it hands it back, whether the work was done or not.
pub struct Turn<K: Ord + Clone> {
    key: K,
    queue: Queue<K>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    /// Wakes one taker for each key that becomes ready.
    ready: Notify,
    /// Wakes whoever waits until nothing is left.
    idle: Notify,
    series: Arc<Series>,
    backoff: (Duration, Duration),
}

struct State<K> {
    /// Keys to hand out, in order, with the time they were added.
    ready: VecDeque<(K, Instant)>,
    /// Keys that wait in `ready` or will when handed back.
    dirty: BTreeSet<K>,
    /// Keys in hand, since when, and when they were added again meanwhile.
    in_hand: BTreeMap<K, (Instant, Option<Instant>)>,
    /// Keys for later, in order; the number keeps equal times in the order they came.
    later: BTreeSet<(Instant, u64, K)>,
    later_of: BTreeMap<K, (Instant, u64)>,
    sequence: u64,
    failures: BTreeMap<K, u32>,
    closed: bool,
}

impl<K: Ord + Clone> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// === impl Queue ===

impl<K: Ord + Clone + Send + 'static> Queue<K> {
    /// An empty queue whose metrics nobody gathers.
    pub fn new() -> Self {
        Self::with_backoff(Arc::default(), BACKOFF_INITIAL, BACKOFF_MAX)
    }

    /// An empty queue under a name in the metrics.
    pub fn named(name: &str, metrics: &Metrics) -> Self {
        let queue = Self::with_backoff(metrics.series(name), BACKOFF_INITIAL, BACKOFF_MAX);
        let watched = Arc::downgrade(&queue.0);
        metrics.watch(name, move || watched.upgrade().map(|shared| shared.state.lock().load()));
        queue
    }

    /// An empty queue with its own delays after failures.
    pub fn with_backoff(series: Arc<Series>, initial: Duration, max: Duration) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::new()),
            ready: Notify::new(),
            idle: Notify::new(),
            series,
            backoff: (initial, max),
        }))
    }

    /// Adds a key. It waits once, however often it is added.
    pub fn add(&self, key: K) {
        if self.0.state.lock().add(key, Instant::now(), &self.0.series) {
            self.0.ready.notify_one();
        }
    }

    /// Adds a key after a delay. Of several delays of a key the shortest counts; adding it at once meanwhile leaves the
    /// delay as it is.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.0.state.lock();
        if state.closed {
            return;
        }
        self.0.series.retried();
        let at = Instant::now().checked_add(delay).unwrap_or_else(far_future);
        if let Some((earlier, sequence)) = state.later_of.get(&key).copied() {
            if earlier <= at {
                return;
            }
            state.later.remove(&(earlier, sequence, key.clone()));
        }
        state.sequence += 1;
        let sequence = state.sequence;
        let first = state.later.first().is_none_or(|(first, ..)| at < *first);
        state.later.insert((at, sequence, key.clone()));
        state.later_of.insert(key, (at, sequence));
        drop(state);
        if first {
            // Whoever sleeps until the first of the later keys must now sleep shorter.
            self.0.ready.notify_one();
        }
    }

    /// Adds a key again after a failure: each failure in a row doubles the delay.
    pub fn add_failed(&self, key: K) {
        let delay = self.next_delay(&key);
        self.add_after(key, delay);
    }

    /// Counts a failure of a key and says how long to wait for it.
    pub fn next_delay(&self, key: &K) -> Duration {
        let mut state = self.0.state.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let delay = doubled(self.0.backoff.0, *failures, self.0.backoff.1);
        *failures = failures.saturating_add(1);
        delay
    }

    /// How often a key failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.0.state.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// A key has succeeded: its next failure is its first.
    pub fn forget_failures(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }

    /// Takes the next key, waiting for one; `None` once the queue is closed and nothing is ready. Safe to cancel.
    pub async fn take(&self) -> Option<Turn<K>> {
        loop {
            let woken = self.0.ready.notified();
            let wake_at = {
                let mut state = self.0.state.lock();
                state.promote(Instant::now(), &self.0.series);
                if let Some(key) = state.hand_out(Instant::now(), &self.0.series) {
                    let more = !state.ready.is_empty() || !state.later.is_empty();
                    drop(state);
                    if more {
                        // One wake-up may have stood for several keys; and who slept until the next of the later keys may
                        // now be the one with a key in hand.
                        self.0.ready.notify_one();
                    }
                    return Some(Turn { key, queue: self.clone() });
                }
                if state.closed {
                    drop(state);
                    self.0.ready.notify_one();
                    return None;
                }
                state.later.first().map(|(at, ..)| *at)
            };
            match wake_at {
                None => woken.await,
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = woken => {}
                        () = sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// No key is accepted any more; those ready are still handed out, those for later are dropped.
    pub fn close(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.later.clear();
        state.later_of.clear();
        drop(state);
        self.0.ready.notify_one();
        self.0.idle.notify_waiters();
    }

    /// Closes the queue and waits until every key has been handed back.
    pub async fn drain(&self) {
        self.close();
        loop {
            let mut woken = std::pin::pin!(self.0.idle.notified());
            woken.as_mut().enable();
            {
                let state = self.0.state.lock();
                if state.ready.is_empty() && state.in_hand.is_empty() {
                    return;
                }
            }
            woken.await;
        }
    }

    /// How many keys are ready.
    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is ready and nothing in hand; something may still wait for later.
    pub fn is_idle(&self) -> bool {
        let state = self.0.state.lock();
        state.ready.is_empty() && state.in_hand.is_empty()
    }

    /// Whether the key waits for later.
    pub fn is_later(&self, key: &K) -> bool {
        self.0.state.lock().later_of.contains_key(key)
    }

    /// When the first of the keys for later becomes ready.
    pub fn next_later(&self) -> Option<Instant> {
        self.0.state.lock().later.first().map(|(at, ..)| *at)
    }
}

impl<K: Ord + Clone + Send + 'static> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// As far off as makes no difference: 30 years.
fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(30 * 365 * 24 * 3600)
}

// === impl State ===

impl<K: Ord + Clone> State<K> {
    fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            dirty: BTreeSet::new(),
            in_hand: BTreeMap::new(),
            later: BTreeSet::new(),
            later_of: BTreeMap::new(),
            sequence: 0,
            failures: BTreeMap::new(),
            closed: false,
        }
    }

    /// True if the key became ready.
    fn add(&mut self, key: K, now: Instant, series: &Series) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) {
            return false;
        }
        series.added();
        if let Some((_, again)) = self.in_hand.get_mut(&key) {
            *again = Some(now);
            return false;
        }
        self.ready.push_back((key, now));
        true
    }

    /// Makes the keys ready whose time has come.
    fn promote(&mut self, now: Instant, series: &Series) {
        while let Some((at, _, _)) = self.later.first() {
            if *at > now {
                break;
            }
            if let Some((_, _, key)) = self.later.pop_first() {
                self.later_of.remove(&key);
                self.add(key, now, series);
            }
        }
    }

    fn hand_out(&mut self, now: Instant, series: &Series) -> Option<K> {
        let (key, added) = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.in_hand.insert(key.clone(), (now, None));
        series.taken(now.saturating_duration_since(added));
        Some(key)
    }

    /// True if the key is ready again at once.
    fn hand_back(&mut self, key: &K, now: Instant, series: &Series) -> bool {
        let Some((since, again)) = self.in_hand.remove(key) else { return false };
        series.done(now.saturating_duration_since(since));
        match again {
            Some(added) => {
                self.ready.push_back((key.clone(), added));
                true
            }
            None => false,
        }
    }

    fn load(&self) -> metrics::Load {
        let now = Instant::now();
        let held = self.in_hand.values().map(|(since, _)| now.saturating_duration_since(*since));
        metrics::Load {
            depth: self.ready.len(),
            unfinished: held.clone().sum(),
            longest: held.max().unwrap_or_default(),
        }
    }
}

// === impl Turn ===

impl<K: Ord + Clone> Turn<K> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Ord + Clone> Drop for Turn<K> {
    fn drop(&mut self) {
        let shared = &self.queue.0;
        let mut state = shared.state.lock();
        let again = state.hand_back(&self.key, Instant::now(), &shared.series);
        let idle = state.ready.is_empty() && state.in_hand.is_empty();
        drop(state);
        if again {
            shared.ready.notify_one();
        }
        if idle {
            shared.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn now_or_never(queue: &Queue<u8>) -> Option<Turn<u8>> {
        queue.take().now_or_never().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_in_no_two_hands() {
        let queue = Queue::new();
        queue.add(1);
        queue.add(2);
        queue.add(1);
        let one = now_or_never(&queue).unwrap();
        assert_eq!(*one.key(), 1);
        queue.add(1);
        let two = now_or_never(&queue).unwrap();
        assert_eq!(*two.key(), 2);
        assert!(now_or_never(&queue).is_none(), "1 is in hand");
        drop(one);
        assert_eq!(*now_or_never(&queue).unwrap().key(), 1);
        assert!(now_or_never(&queue).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_always_added_again_does_not_keep_others_waiting() {
        let queue = Queue::new();
        queue.add(0);
        let mut taken = Vec::new();
        for others in 1..=5 {
            let turn = queue.take().await.unwrap();
            // The hot key changes while it is looked at, again and again; others come later.
            queue.add(0);
            queue.add(others);
            queue.add(0);
            taken.push(*turn.key());
        }
        // Whoever came while it was in hand goes first.
        assert_eq!(taken, [0, 1, 0, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_delay_counts() {
        let queue = Queue::new();
        queue.add_after(1, Duration::from_secs(10));
        queue.add_after(1, Duration::from_secs(3));
        queue.add_after(1, Duration::from_secs(60));
        queue.add_after(2, Duration::from_secs(3));
        let start = Instant::now();
        assert_eq!(*queue.take().await.unwrap().key(), 1);
        assert_eq!(*queue.take().await.unwrap().key(), 2);
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert_eq!(queue.next_later(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_delay_wakes_who_sleeps_for_a_longer_one() {
        let queue = Queue::new();
        queue.add_after(1, Duration::from_secs(100));
        let start = Instant::now();
        let add = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.add_after(2, Duration::from_secs(1));
            std::future::pending::<()>().await
        };
        let turn = tokio::select! { biased; turn = queue.take() => turn, () = add => None };
        assert_eq!(*turn.unwrap().key(), 2);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_a_key_delay_it_ever_longer_until_it_succeeds() {
        let queue = Queue::new();
        let mut delays = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            queue.add_failed(1);
            drop(queue.take().await);
            delays.push(start.elapsed().as_millis());
        }
        assert_eq!(delays, [5, 10, 20, 40]);
        assert_eq!(queue.failures(&1), 4);
        queue.forget_failures(&1);
        assert_eq!(queue.next_delay(&1), BACKOFF_INITIAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_hands_out_what_is_ready_and_drains() {
        let queue = Queue::new();
        queue.add(1);
        queue.add_after(2, Duration::from_secs(1));
        let held = queue.take().await.unwrap();
        queue.add(3);
        let mut drain = Box::pin(queue.drain());
        assert!(futures::poll!(&mut drain).is_pending());
        queue.add(4);
        assert_eq!(*queue.take().await.unwrap().key(), 3);
        assert!(queue.take().await.is_none() && queue.take().await.is_none());
        assert!(futures::poll!(&mut drain).is_pending(), "1 is in hand");
        drop(held);
        drain.await;
    }

    #[tokio::test(start_paused = true)]
    async fn every_taker_gets_a_key_when_several_become_ready_at_once() {
        let queue = Queue::new();
        for key in 0..3 {
            queue.add_after(key, Duration::from_secs(1));
        }
        let (a, b, c) = tokio::join!(queue.take(), queue.take(), queue.take());
        let mut keys: Vec<u8> = [a, b, c].into_iter().map(|turn| *turn.unwrap().key()).collect();
        keys.sort_unstable();
        assert_eq!(keys, [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_for_later_is_not_forgotten_while_who_slept_for_it_is_busy() {
        let queue = Queue::new();
        let busy = |queue: Queue<u8>| async move {
            let turn = queue.take().await;
            let at = Instant::now();
            tokio::time::sleep(Duration::from_secs(60)).await;
            (*turn.unwrap().key(), at)
        };
        let start = Instant::now();
        let adds = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.add_after(1, Duration::from_secs(10));
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.add(2);
        };
        let (one, two, ()) = tokio::join!(busy(queue.clone()), busy(queue.clone()), adds);
        let mut taken = [one, two].map(|(key, at)| (key, at.duration_since(start).as_secs()));
        taken.sort_unstable();
        assert_eq!(taken, [(1, 11), (2, 2)]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(u8),
        Take,
        Done(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(0_u8..5).prop_map(Step::Add), Just(Step::Take), (0_usize..4).prop_map(Step::Done)]
    }

    proptest! {
        /// Goal: nothing is lost, nothing is in two hands. Method: a model that counts, beside random steps.
        #[test]
        fn what_is_added_is_looked_at_after(steps in prop::collection::vec(step(), 0..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let queue = Queue::new();
                let mut held: Vec<Turn<u8>> = Vec::new();
                let mut unseen = BTreeSet::new();
                for step in steps {
                    match step {
                        Step::Add(key) => {
                            queue.add(key);
                            unseen.insert(key);
                        }
                        Step::Take => {
                            if let Some(turn) = now_or_never(&queue) {
                                assert!(held.iter().all(|other| other.key() != turn.key()));
                                assert!(unseen.remove(turn.key()), "handed out without having been added");
                                held.push(turn);
                            } else {
                                assert!(unseen.iter().all(|key| held.iter().any(|turn| turn.key() == key)));
                            }
                        }
                        Step::Done(at) => {
                            if at < held.len() {
                                held.remove(at);
                            }
                        }
                    }
                }
                held.clear();
                while let Some(turn) = now_or_never(&queue) {
                    unseen.remove(turn.key());
                }
                assert!(unseen.is_empty(), "never handed out: {unseen:?}");
            });
        }
    }
}

//! A store in memory, for tests and simulation: the whole contract, and nothing survives the process.
//!
//! It has no threads, and its only timer is tokio's: under a paused clock it replays exactly.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use runtime::Tasks;
use tokio::{sync::Notify, time::Instant};

use super::{
    Backend, Entry, EventStream, Page, Range, Result, Revision,
    mvcc::{Batch, Deadline, Op, Shared, State},
};

/// How many keys expire in one go at the most.
const EXPIRE_MAX: usize = 1000;

/// A store in memory. Its history is kept until [`Backend::compact`] is called.
#[derive(Debug)]
pub struct Memory {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    shared: Arc<Shared>,
    /// Deadlines count from here.
    origin: Instant,
    /// Rung when a deadline may have become the next one.
    alarm: Notify,
}

// === impl Memory ===

impl Memory {
    /// An empty store. Its task, in `tasks`, deletes what has outlived its time to live.
    pub fn new(tasks: &Tasks) -> Self {
        let core = Arc::new(Core { shared: Arc::default(), origin: Instant::now(), alarm: Notify::new() });
        tasks.spawn("store/memory/expiry", Arc::clone(&core).expire_on_time());
        Self { core }
    }

    fn write(&self, op: Op) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move {
            let alarm =
                matches!(op, Op::Create { expires: Some(_), .. } | Op::Update { expires: Some(_), .. });
            let written = self.core.current().write(|state| {
                let mut batch = Batch::on(state);
                let result = batch.push(op);
                (batch.into_changes(), result)
            });
            if alarm {
                self.core.alarm.notify_one();
            }
            written
        })
    }
}

impl Backend for Memory {
    fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision>> {
        self.write(Op::Create { key: key.into(), value, expires: self.core.deadline(ttl) })
    }

    fn update(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<Revision>> {
        self.write(Op::Update { key: key.into(), expected, value, expires: self.core.deadline(ttl) })
    }

    fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<Revision>> {
        self.write(Op::Delete { key: key.into(), expected })
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>> {
        let key = key.to_owned();
        Box::pin(async move { Ok(self.core.current().get(&key)) })
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page>> {
        Box::pin(async move { self.core.current().range(&range) })
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<EventStream>> {
        let prefix = prefix.to_owned();
        Box::pin(async move { self.core.current().watch(&prefix, after) })
    }

    fn request_progress(&self, prefix: &str) {
        self.core.current().request_progress(prefix, Revision::FIRST);
    }

    fn times_to_live(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, Duration)>>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let now = self.core.now();
            Ok(self.core.current().read(|state| state.times_to_live(&prefix, now)))
        })
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move { Ok(self.core.current().revision()) })
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.core.current().compact(revision) })
    }
}

// === impl Core ===

impl Core {
    fn now(&self) -> Deadline {
        Deadline(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn deadline(&self, ttl: Option<Duration>) -> Option<Deadline> {
        let millis = u64::try_from(ttl?.as_millis()).unwrap_or(u64::MAX);
        Some(Deadline(self.now().0.saturating_add(millis)))
    }

    /// The state without what has expired: no operation sees a key that outlived its time, however late the timer is.
    fn current(&self) -> &Arc<Shared> {
        let now = self.now();
        while self.shared.read(State::next_deadline).is_some_and(|deadline| deadline <= now) {
            self.shared.write(|state| {
                let mut batch = Batch::on(state);
                for op in state.expired(now, EXPIRE_MAX) {
                    let decided = batch.push(op);
                    debug_assert!(decided.is_ok(), "an expired record is there at its own revision");
                }
                (batch.into_changes(), ())
            });
        }
        &self.shared
    }

    async fn expire_on_time(self: Arc<Self>) {
        loop {
            let next = self.current().read(State::next_deadline);
            let due = async {
                match next.and_then(|Deadline(at)| self.origin.checked_add(Duration::from_millis(at))) {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.alarm.notified() => {}
                () = due => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[tokio::test(start_paused = true)]
    async fn memory_means_what_a_store_means() {
        let tasks = Tasks::new();
        conformance::run(async || Arc::new(Memory::new(&tasks))).await;
    }

    proptest::proptest! {
        #[test]
        fn memory_agrees_with_the_model(steps in conformance::steps()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                conformance::check_against_model(Arc::new(Memory::new(&Tasks::new())), steps).await;
            });
        }
    }

    #[derive(Debug)]
    struct Steady(Arc<Memory>);

    impl conformance::histories::Place for Steady {
        fn store(&self) -> Option<Arc<dyn Backend>> {
            Some(Arc::clone(&self.0) as Arc<dyn Backend>)
        }

        fn fault(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn histories_fit_together() {
        let place = Arc::new(Steady(Arc::new(Memory::new(&Tasks::new()))));
        let summary = conformance::histories::check(place, conformance::histories::length()).await;
        summary.tried();
        assert!(summary.listed > 0, "{summary:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_of_expiries_passes_at_once() {
        let memory = Memory::new(&Tasks::new());
        for hour in 1..=24 {
            let ttl = Some(Duration::from_secs(3600 * hour));
            memory.create(&format!("/e/{hour}"), Bytes::new(), ttl).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3600 * 12)).await;
        assert_eq!(
            memory.range(Range { prefix: "/e/".into(), ..Range::default() }).await.unwrap().entries.len(),
            12
        );
    }
}

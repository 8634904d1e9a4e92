//! Whether the store answers: asked when somebody wants to know, seldom enough not to be a burden, and never for long.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use store::Backend;
use tokio::time::Instant;

use crate::observe::health::Verdict;

/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(1);
/// What is read: upstream's key for it, which need not exist.
const KEY: &str = "/registry/health";

/// Asks a store whether it is well.
#[derive(Debug)]
pub struct StoreProbe {
    backend: Arc<dyn Backend>,
    patience: Duration,
    fresh: Duration,
    last: Mutex<Option<(Instant, Verdict)>>,
}

// === impl StoreProbe ===

impl StoreProbe {
    /// Over this store.
    pub fn new(backend: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self { backend, patience: PATIENCE, fresh: FRESH, last: Mutex::new(None) })
    }

    /// Reads from the store, unless that was done a moment ago.
    ///
    /// # Errors
    /// What the store says, or that it says nothing.
    pub async fn ask(&self) -> Verdict {
        let now = Instant::now();
        if let Some((at, verdict)) = &*self.last.lock()
            && now.saturating_duration_since(*at) < self.fresh
        {
            return verdict.clone();
        }
        let verdict = match tokio::time::timeout(self.patience, self.backend.get(KEY)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("context deadline exceeded".to_owned()),
        };
        *self.last.lock() = Some((Instant::now(), verdict.clone()));
        verdict
    }

    /// What was last found.
    ///
    /// # Errors
    /// As [`StoreProbe::ask`]; or that nobody has asked yet.
    pub fn last(&self) -> Verdict {
        match &*self.last.lock() {
            Some((_, verdict)) => verdict.clone(),
            None => Err("etcd client connection not yet established".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures::future::BoxFuture;
    use store::{
        Entry, Memory, Page, Range, Revision,
        backend::{EventStream, Result},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// A store that counts how often it is read, and then does as it is told. All else is as in memory.
    #[derive(Debug)]
    struct Fake {
        answer: fn() -> Option<Result<Option<Entry>>>,
        reads: AtomicUsize,
        memory: Memory,
    }

    impl Backend for Fake {
        fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision>> {
            self.memory.create(key, value, ttl)
        }
        fn update(
            &self,
            key: &str,
            expected: Revision,
            value: Bytes,
            ttl: Option<Duration>,
        ) -> BoxFuture<'_, Result<Revision>> {
            self.memory.update(key, expected, value, ttl)
        }
        fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<Revision>> {
            self.memory.delete(key, expected)
        }
        fn get(&self, _: &str) -> BoxFuture<'_, Result<Option<Entry>>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            match (self.answer)() {
                Some(answer) => Box::pin(std::future::ready(answer)),
                None => Box::pin(std::future::pending()),
            }
        }
        fn range(&self, range: Range) -> BoxFuture<'_, Result<Page>> {
            self.memory.range(range)
        }
        fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<EventStream>> {
            self.memory.watch(prefix, after)
        }
        fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
            self.memory.revision()
        }
        fn compact(&self, before: Revision) -> BoxFuture<'_, Result<()>> {
            self.memory.compact(before)
        }
    }

    fn probe(
        answer: fn() -> Option<Result<Option<Entry>>>,
        patience: Duration,
        fresh: Duration,
    ) -> (Arc<Fake>, StoreProbe) {
        let memory = Memory::new(&runtime::Tasks::new());
        let store = Arc::new(Fake { answer, reads: AtomicUsize::new(0), memory });
        (Arc::clone(&store), StoreProbe { backend: store, patience, fresh, last: Mutex::new(None) })
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_not_waited_for() {
        let (_, probe) = probe(|| None, Duration::from_millis(1), LONG);
        assert!(probe.last().is_err(), "nobody has asked yet");
        assert_eq!(probe.ask().await, Err("context deadline exceeded".to_owned()));
        assert_eq!(probe.last(), Err("context deadline exceeded".to_owned()));
    }

    #[tokio::test]
    async fn the_store_is_asked_again_only_once_the_last_answer_is_old() {
        for (fresh, reads) in [(LONG, 1), (Duration::ZERO, 3)] {
            let (store, probe) = probe(|| Some(Ok(None)), LONG, fresh);
            for _ in 0..3 {
                assert_eq!(probe.ask().await, Ok(()));
            }
            assert_eq!(store.reads.load(Ordering::Relaxed), reads, "{fresh:?}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_store_is_told() {
        let corrupt = || Some(Err(store::Error::Corrupt("bad page".to_owned())));
        let (_, probe) = probe(corrupt, LONG, LONG);
        assert_eq!(probe.ask().await, Err("store corrupt: bad page".to_owned()));
    }
}

//! A store whose answers are timed, under upstream's names for what it asks of etcd.
//!
//! The names stay for the other stores: a dashboard that shows how fast the store is need not know which one it is.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use store::{
    Backend, Entry, Page, Range, Revision,
    backend::{Error, EventStream, Result},
};
use tokio::time::Instant;

use super::whose::Resources;
use crate::observe::metrics::Storage;

/// A store, and where it is counted.
#[derive(Debug)]
pub(crate) struct Measured {
    backend: Arc<dyn Backend>,
    metrics: Storage,
    resources: Resources,
}

// === impl Measured ===

impl Measured {
    /// The same store, counted.
    pub(crate) fn over(backend: Arc<dyn Backend>, metrics: Storage) -> Arc<dyn Backend> {
        let resources = Resources::built_in();
        Arc::new(Self { backend, metrics, resources })
    }

    async fn time<T>(
        &self,
        operation: &'static str,
        key: &str,
        asked: BoxFuture<'_, Result<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let answer = asked.await;
        // A refusal is an answer.
        let ok = !matches!(
            answer,
            Err(Error::Unavailable { .. }
                | Error::NoSpace { .. }
                | Error::TooLarge(_)
                | Error::Corrupt(_)
                | Error::Unreadable(_)
                | Error::Compacted { .. }
                | Error::Future { .. })
        );
        let (group, resource) = self.resources.resource(key);
        self.metrics.asked(operation, group, resource, ok, begun.elapsed());
        answer
    }
}

impl Backend for Measured {
    fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> BoxFuture<'_, Result<Revision>> {
        let (asked, key) = (self.backend.create(key, value, ttl), key.to_owned());
        Box::pin(async move { self.time("create", &key, asked).await })
    }

    fn update(
        &self,
        key: &str,
        expected: Revision,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> BoxFuture<'_, Result<Revision>> {
        let (asked, key) = (self.backend.update(key, expected, value, ttl), key.to_owned());
        Box::pin(async move { self.time("update", &key, asked).await })
    }

    fn delete(&self, key: &str, expected: Revision) -> BoxFuture<'_, Result<Revision>> {
        let (asked, key) = (self.backend.delete(key, expected), key.to_owned());
        Box::pin(async move { self.time("delete", &key, asked).await })
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>> {
        let (asked, key) = (self.backend.get(key), key.to_owned());
        Box::pin(async move { self.time("get", &key, asked).await })
    }

    fn is_stale(&self, key: &str) -> BoxFuture<'_, Result<bool>> {
        self.backend.is_stale(key)
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Page>> {
        let key = range.prefix.clone();
        let asked = self.backend.range(range);
        Box::pin(async move { self.time("list", &key, asked).await })
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<EventStream>> {
        self.backend.watch(prefix, after)
    }

    fn request_progress(&self, prefix: &str) {
        self.backend.request_progress(prefix);
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision>> {
        self.backend.revision()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<()>> {
        self.backend.compact(revision)
    }

    fn times_to_live(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, Duration)>>> {
        self.backend.times_to_live(prefix)
    }

    fn size(&self) -> Option<u64> {
        self.backend.size()
    }
}

#[cfg(test)]
mod tests {
    use runtime::Tasks;
    use store::Memory;

    use super::*;
    use crate::observe::metrics::Metrics;

    #[tokio::test]
    async fn what_the_store_is_asked_is_counted_by_resource_and_refusals_are_no_errors() {
        let metrics = Metrics::new();
        let store = Measured::over(Arc::new(Memory::new(&Tasks::new())), metrics.storage.clone());
        let make = |key: &'static str| store.create(key, Bytes::new(), None);
        make("/registry/pods/default/a").await.unwrap();
        make("/registry/pods/default/a").await.unwrap_err();
        make("/registry/services/specs/default/a").await.unwrap();
        make("/registry/deployments/default/a").await.unwrap();
        make("/registry/example.com/boats/default/a").await.unwrap();
        make("/registry/ranges/nodeports").await.unwrap();
        store.range(Range { prefix: "/registry/minions/".to_owned(), ..Range::default() }).await.unwrap();
        store
            .range(Range {
                prefix: "/registry/minions/".to_owned(),
                at: Some(Revision(99)),
                ..Range::default()
            })
            .await
            .unwrap_err();
        let text = String::from_utf8(metrics.render()).unwrap();
        let shown: Vec<&str> = text.lines().filter(|line| line.starts_with("etcd_request")).collect();
        for (labels, count) in [
            (r#"total{group="",operation="create",resource="pods"}"#, 2),
            (r#"total{group="",operation="create",resource="services"}"#, 1),
            (r#"total{group="apps",operation="create",resource="deployments"}"#, 1),
            (r#"total{group="example.com",operation="create",resource="boats"}"#, 1),
            (r#"total{group="",operation="create",resource=""}"#, 1),
            (r#"total{group="",operation="list",resource="nodes"}"#, 2),
        ] {
            assert!(
                shown.contains(&format!("etcd_requests_{labels} {count}").as_str()),
                "{labels}: {shown:#?}"
            );
        }
        let errors: Vec<&&str> = shown.iter().filter(|line| line.contains("errors")).collect();
        assert_eq!(errors, [&r#"etcd_request_errors_total{group="",operation="list",resource="nodes"} 1"#]);
    }
}

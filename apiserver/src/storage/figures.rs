//! How much is stored, counted when somebody looks.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use parking_lot::Mutex;
use store::Range;
use tokio::time::Instant;

use crate::{registry::catalogue::Storage, server::Server};

/// What costs more than a look is not counted more often than that, which is how often upstream counts.
const PERIOD: Duration = Duration::from_secs(60);
/// Upstream's name for the one store there is.
const STORE: &str = "etcd-0";

/// When it was last counted.
#[derive(Debug, Default)]
pub struct Figures {
    counted: Mutex<Option<Instant>>,
}

// === impl Figures ===

impl Figures {
    /// Brings the metrics of the store up to date.
    pub(crate) async fn publish(&self, server: &Arc<Server>) {
        let metrics = &server.metrics.storage;
        if let Some(bytes) = server.registry.backend.size() {
            // Exact up to nine petabytes.
            #[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
            metrics.size(STORE).set(bytes as f64);
        }
        let due = self.due(Instant::now());
        let served = server.registry.catalogue.all();
        let places = served.iter().filter(|served| served.conversion.is_none()).map(|served| &served.storage);
        let mut unknown = Vec::new();
        for storage in places {
            let resource = storage.resource.resource();
            match storage.started().filter(store::Cache::is_ready) {
                Some(cache) => {
                    let snapshot = cache.snapshot();
                    metrics.stored(&resource, snapshot.len());
                    if due {
                        let bytes =
                            snapshot.range(&storage.prefix, None).map(|object| object.bytes.len()).sum();
                        metrics.estimated(&resource, bytes);
                    }
                }
                None => unknown.push(storage),
            }
        }
        if due {
            join_all(unknown.into_iter().map(|storage| count(server, storage))).await;
        }
    }

    fn due(&self, now: Instant) -> bool {
        let mut counted = self.counted.lock();
        let due = counted.is_none_or(|at| now.saturating_duration_since(at) >= PERIOD);
        if due {
            *counted = Some(now);
        }
        due
    }
}

/// What no cache holds is counted by the store.
async fn count(server: &Server, storage: &Storage) {
    let range = Range { prefix: storage.prefix.clone(), limit: 1, ..Range::default() };
    if let Ok(page) = server.registry.backend.range(range).await {
        let rest = usize::try_from(page.remaining).unwrap_or(usize::MAX);
        let objects = page.entries.len().saturating_add(rest);
        server.metrics.storage.stored(&storage.resource.resource(), objects);
    }
}

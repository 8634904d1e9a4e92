//! What caches count, under upstream's names.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

/// The counters of all caches of a process, by group and resource. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    initializations: IntCounterVec,
    init_events: IntCounterVec,
    received: IntCounterVec,
    stored: IntCounterVec,
    progress: IntCounterVec,
    dispatched: IntCounterVec,
    terminated: IntCounterVec,
    unreadable: IntCounterVec,
    consistent_reads: IntCounterVec,
    read_wait: HistogramVec,
    resource_version: IntGaugeVec,
    lists: IntCounterVec,
    list_fetched: IntCounterVec,
    list_evaluated: IntCounterVec,
    list_returned: IntCounterVec,
}

/// The counters of one cache.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) initializations: IntCounter,
    pub(super) init_events: IntCounter,
    received: IntCounter,
    stored: IntCounter,
    pub(super) progress: IntCounter,
    pub(super) dispatched: IntCounter,
    pub(super) terminated: IntCounter,
    pub(super) unreadable: IntCounter,
    pub(super) consistent_reads: IntCounter,
    pub(super) failed_reads: IntCounter,
    pub(super) read_wait: Histogram,
    pub(super) resource_version: IntGauge,
    lists: IntCounter,
    list_fetched: IntCounter,
    list_evaluated: IntCounter,
    list_returned: IntCounter,
}

const LABELS: &[&str] = &["group", "resource"];
// Upstream's.
const READ_WAIT_SECONDS: &[f64] = &[0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0];

// === impl Metrics ===

impl Default for Metrics {
    #[expect(clippy::expect_used, reason = "the names are constants, and a test makes them")]
    fn default() -> Self {
        let counter =
            |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), LABELS).expect("a valid name");
        Self {
            initializations: counter(
                "apiserver_watch_cache_initializations_total",
                "[ALPHA] Times a watch cache was filled.",
            ),
            init_events: counter(
                "apiserver_init_events_total",
                "[ALPHA] Objects that a watch cache was filled with.",
            ),
            received: counter(
                "apiserver_watch_cache_events_received_total",
                "[ALPHA] Events that a watch cache got.",
            ),
            stored: counter(
                "apiserver_storage_events_received_total",
                "[BETA] Events that came from the store.",
            ),
            progress: counter(
                "etcd_bookmark_total",
                "[ALPHA] Times the store said how far a watch of it is.",
            ),
            dispatched: counter(
                "apiserver_watch_cache_events_dispatched_total",
                "[ALPHA] Events that a watch cache gave to its watchers.",
            ),
            terminated: counter(
                "apiserver_terminated_watchers_total",
                "[ALPHA] Watchers that were closed because they did not keep up.",
            ),
            unreadable: counter(
                "apiserver_watch_cache_unreadable_objects_total",
                "[ALPHA] Stored objects that the watch cache could not read and left out.",
            ),
            lists: counter("apiserver_storage_list_total", "[ALPHA] Lists that were read from the store."),
            list_fetched: counter(
                "apiserver_storage_list_fetched_objects_total",
                "[ALPHA] Objects that lists read from the store.",
            ),
            list_evaluated: counter(
                "apiserver_storage_list_evaluated_objects_total",
                "[ALPHA] Objects that lists from the store looked at.",
            ),
            list_returned: counter(
                "apiserver_storage_list_returned_objects_total",
                "[ALPHA] Objects that lists from the store returned.",
            ),
            consistent_reads: IntCounterVec::new(
                Opts::new(
                    "apiserver_watch_cache_consistent_read_total",
                    "[ALPHA] Reads of the watch cache that had to be fresh.",
                ),
                &["group", "resource", "success", "fallback"],
            )
            .expect("a valid name"),
            read_wait: HistogramVec::new(
                HistogramOpts::new(
                    "apiserver_watch_cache_read_wait_seconds",
                    "[ALPHA] Seconds that a read waited for the watch cache to be fresh.",
                )
                .buckets(READ_WAIT_SECONDS.to_vec()),
                LABELS,
            )
            .expect("a valid name"),
            resource_version: IntGaugeVec::new(
                Opts::new(
                    "apiserver_watch_cache_resource_version",
                    "[ALPHA] The revision that the watch cache has seen, its last 15 digits.",
                ),
                LABELS,
            )
            .expect("a valid name"),
        }
    }
}

impl Metrics {
    /// Counters that `registry` shows.
    ///
    /// # Errors
    /// If it shows some of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::default();
        let all: [Box<dyn Collector>; 15] = [
            Box::new(metrics.initializations.clone()),
            Box::new(metrics.init_events.clone()),
            Box::new(metrics.received.clone()),
            Box::new(metrics.stored.clone()),
            Box::new(metrics.progress.clone()),
            Box::new(metrics.dispatched.clone()),
            Box::new(metrics.terminated.clone()),
            Box::new(metrics.unreadable.clone()),
            Box::new(metrics.consistent_reads.clone()),
            Box::new(metrics.read_wait.clone()),
            Box::new(metrics.resource_version.clone()),
            Box::new(metrics.lists.clone()),
            Box::new(metrics.list_fetched.clone()),
            Box::new(metrics.list_evaluated.clone()),
            Box::new(metrics.list_returned.clone()),
        ];
        for collector in all {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Shows the counters of a cache before it has counted anything.
    pub fn announce(&self, name: &str) {
        let _ = self.of(name);
    }

    /// Of a cache named as `resource.group`.
    pub(super) fn of(&self, name: &str) -> Counts {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        let labels = &[group, resource];
        Counts {
            initializations: self.initializations.with_label_values(labels),
            init_events: self.init_events.with_label_values(labels),
            received: self.received.with_label_values(labels),
            stored: self.stored.with_label_values(labels),
            progress: self.progress.with_label_values(labels),
            dispatched: self.dispatched.with_label_values(labels),
            terminated: self.terminated.with_label_values(labels),
            unreadable: self.unreadable.with_label_values(labels),
            consistent_reads: self.consistent_reads.with_label_values(&[group, resource, "true", "false"]),
            failed_reads: self.consistent_reads.with_label_values(&[group, resource, "false", "false"]),
            read_wait: self.read_wait.with_label_values(labels),
            resource_version: self.resource_version.with_label_values(labels),
            lists: self.lists.with_label_values(labels),
            list_fetched: self.list_fetched.with_label_values(labels),
            list_evaluated: self.list_evaluated.with_label_values(labels),
            list_returned: self.list_returned.with_label_values(labels),
        }
    }
}

// === impl Counts ===

impl Counts {
    /// Events came from the store, which is where all events of a cache come from.
    pub(super) fn received(&self, events: usize) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.received.inc_by(events);
        self.stored.inc_by(events);
    }

    /// The whole prefix was read from the store. All that is read is looked at and returned: the cache selects later.
    pub(super) fn listed(&self, objects: usize) {
        let objects = u64::try_from(objects).unwrap_or(u64::MAX);
        self.lists.inc();
        self.list_fetched.inc_by(objects);
        self.list_evaluated.inc_by(objects);
        self.list_returned.inc_by(objects);
    }
}

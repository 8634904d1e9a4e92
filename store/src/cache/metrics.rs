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
    dispatched: IntCounterVec,
    terminated: IntCounterVec,
    unreadable: IntCounterVec,
    consistent_reads: IntCounterVec,
    read_wait: HistogramVec,
    resource_version: IntGaugeVec,
}

/// The counters of one cache.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) initializations: IntCounter,
    pub(super) init_events: IntCounter,
    pub(super) received: IntCounter,
    pub(super) dispatched: IntCounter,
    pub(super) terminated: IntCounter,
    pub(super) unreadable: IntCounter,
    pub(super) consistent_reads: IntCounter,
    pub(super) failed_reads: IntCounter,
    pub(super) read_wait: Histogram,
    pub(super) resource_version: IntGauge,
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
                "Counter of watch cache initializations broken by resource type.",
            ),
            init_events: counter(
                "apiserver_init_events_total",
                "Counter of init events processed in watch cache broken by resource type.",
            ),
            received: counter(
                "apiserver_watch_cache_events_received_total",
                "Counter of events received in watch cache broken by resource type.",
            ),
            dispatched: counter(
                "apiserver_watch_cache_events_dispatched_total",
                "Counter of events dispatched in watch cache broken by resource type.",
            ),
            terminated: counter(
                "apiserver_terminated_watchers_total",
                "Counter of watchers closed due to unresponsiveness broken by resource type.",
            ),
            unreadable: counter(
                "apiserver_watch_cache_unreadable_objects_total",
                "Counter of stored objects the watch cache could not read and left out, broken by resource type.",
            ),
            consistent_reads: IntCounterVec::new(
                Opts::new("apiserver_watch_cache_consistent_read_total", "Counter for consistent reads from cache."),
                &["group", "resource", "success", "fallback"],
            )
            .expect("a valid name"),
            read_wait: HistogramVec::new(
                HistogramOpts::new(
                    "apiserver_watch_cache_read_wait_seconds",
                    "Histogram of time spent waiting for a watch cache to become fresh.",
                )
                .buckets(READ_WAIT_SECONDS.to_vec()),
                LABELS,
            )
            .expect("a valid name"),
            resource_version: IntGaugeVec::new(
                Opts::new(
                    "apiserver_watch_cache_resource_version",
                    "Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.",
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
        let all: [Box<dyn Collector>; 9] = [
            Box::new(metrics.initializations.clone()),
            Box::new(metrics.init_events.clone()),
            Box::new(metrics.received.clone()),
            Box::new(metrics.dispatched.clone()),
            Box::new(metrics.terminated.clone()),
            Box::new(metrics.unreadable.clone()),
            Box::new(metrics.consistent_reads.clone()),
            Box::new(metrics.read_wait.clone()),
            Box::new(metrics.resource_version.clone()),
        ];
        for collector in all {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Of a cache named as `resource.group`.
    pub(super) fn of(&self, name: &str) -> Counts {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        let labels = &[group, resource];
        Counts {
            initializations: self.initializations.with_label_values(labels),
            init_events: self.init_events.with_label_values(labels),
            received: self.received.with_label_values(labels),
            dispatched: self.dispatched.with_label_values(labels),
            terminated: self.terminated.with_label_values(labels),
            unreadable: self.unreadable.with_label_values(labels),
            consistent_reads: self.consistent_reads.with_label_values(&[group, resource, "true", "false"]),
            failed_reads: self.consistent_reads.with_label_values(&[group, resource, "false", "false"]),
            read_wait: self.read_wait.with_label_values(labels),
            resource_version: self.resource_version.with_label_values(labels),
        }
    }
}

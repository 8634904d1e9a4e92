//! What a queue tells of itself, under upstream's names, so that its dashboards fit.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// The metrics of all queues of a process. Cheap to clone; register it once.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

/// The metrics of one queue.
#[derive(Default)]
pub struct Series(Option<Counted>);

/// What a queue holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Keys ready.
    pub(super) depth: usize,
    /// How long the keys in hand have been there, together.
    pub(super) unfinished: Duration,
    /// How long the one that has been there longest.
    pub(super) longest: Duration,
}

struct Counted {
    adds: IntCounter,
    retries: IntCounter,
    waited: Histogram,
    worked: Histogram,
}

struct Families {
    depth: IntGaugeVec,
    adds: IntCounterVec,
    retries: IntCounterVec,
    waited: HistogramVec,
    worked: HistogramVec,
    unfinished: GaugeVec,
    longest: GaugeVec,
    watched: Mutex<Vec<(String, Watched)>>,
}

/// Tells a queue's load as long as the queue lives.
type Watched = Box<dyn Fn() -> Option<Load> + Send>;

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Metrics of no queue yet.
    ///
    /// # Panics
    /// Never: names and labels are constants that fit.
    pub fn new() -> Self {
        const FITS: &str = "names and labels are constants that fit";
        let opts = |name: &str, help: &str| Opts::new(format!("workqueue_{name}"), help);
        // From 10 nanoseconds in 12 steps of ten, as upstream.
        let buckets: Vec<f64> = (0..12).map(|step| 1e-8 * 10_f64.powi(step)).collect();
        let histogram = |name: &str, help: &str| {
            let opts = HistogramOpts::new(format!("workqueue_{name}"), help).buckets(buckets.clone());
            HistogramVec::new(opts, &["name"]).expect(FITS)
        };
        Self(Arc::new(Families {
            depth: IntGaugeVec::new(opts("depth", "Keys that are ready to be taken"), &["name"]).expect(FITS),
            adds: IntCounterVec::new(opts("adds_total", "Keys added"), &["name"]).expect(FITS),
            retries: IntCounterVec::new(opts("retries_total", "Keys added for later"), &["name"])
                .expect(FITS),
            waited: histogram("queue_duration_seconds", "How long keys were ready before they were taken"),
            worked: histogram("work_duration_seconds", "How long keys were in hand"),
            unfinished: GaugeVec::new(
                opts("unfinished_work_seconds", "How long keys in hand have been there, together"),
                &["name"],
            )
            .expect(FITS),
            longest: GaugeVec::new(
                opts("longest_running_processor_seconds", "How long the key longest in hand has been there"),
                &["name"],
            )
            .expect(FITS),
            watched: Mutex::default(),
        }))
    }

    /// The metrics of the queue of that name.
    pub fn series(&self, name: &str) -> Arc<Series> {
        let families = &self.0;
        Arc::new(Series(Some(Counted {
            adds: families.adds.with_label_values(&[name]),
            retries: families.retries.with_label_values(&[name]),
            waited: families.waited.with_label_values(&[name]),
            worked: families.worked.with_label_values(&[name]),
        })))
    }

    pub(super) fn watch(&self, name: &str, load: impl Fn() -> Option<Load> + Send + 'static) {
        self.0.watched.lock().push((name.to_owned(), Box::new(load)));
    }

    fn parts(&self) -> [&dyn Collector; 7] {
        let it = &*self.0;
        [&it.depth, &it.adds, &it.retries, &it.waited, &it.worked, &it.unfinished, &it.longest]
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let set = |gauge: Gauge, value: Duration| gauge.set(value.as_secs_f64());
        self.0.watched.lock().retain(|(name, load)| {
            let Some(load) = load() else { return false };
            let name = &[name.as_str()];
            self.0.depth.with_label_values(name).set(i64::try_from(load.depth).unwrap_or(i64::MAX));
            set(self.0.unfinished.with_label_values(name), load.unfinished);
            set(self.0.longest.with_label_values(name), load.longest);
            true
        });
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

// === impl Series ===

impl Series {
    pub(super) fn added(&self) {
        if let Some(counted) = &self.0 {
            counted.adds.inc();
        }
    }

    pub(super) fn retried(&self) {
        if let Some(counted) = &self.0 {
            counted.retries.inc();
        }
    }

    pub(super) fn taken(&self, waited: Duration) {
        if let Some(counted) = &self.0 {
            counted.waited.observe(waited.as_secs_f64());
        }
    }

    pub(super) fn done(&self, worked: Duration) {
        if let Some(counted) = &self.0 {
            counted.worked.observe(worked.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_told_by_upstreams_names() {
        let metrics = Metrics::new();
        let registry = prometheus::Registry::new();
        registry.register(Box::new(metrics.clone())).unwrap();
        let queue = Queue::named("replicaset", &metrics);
        queue.add(1);
        queue.add(2);
        queue.add_failed(3);
        let turn = queue.take().await.unwrap();
        tokio::time::advance(Duration::from_secs(3)).await;
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "workqueue_adds_total{name=\"replicaset\"} 2",
            "workqueue_depth{name=\"replicaset\"} 1",
            "workqueue_retries_total{name=\"replicaset\"} 1",
            "workqueue_queue_duration_seconds_count{name=\"replicaset\"} 1",
            "workqueue_unfinished_work_seconds{name=\"replicaset\"} 3",
            "workqueue_longest_running_processor_seconds{name=\"replicaset\"} 3",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
        drop(turn);
        drop(queue);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("workqueue_work_duration_seconds_sum{name=\"replicaset\"} 3"), "{text}");
    }
}

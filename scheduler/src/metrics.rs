//! How scheduling goes, under upstream's names.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

use crate::{plugin::Relief, queue::Counts};

/// So many attempts and more are told together.
const ATTEMPTS_MAX: u32 = 15;

/// The metrics of a scheduler. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) schedule_attempts: IntCounterVec,
    pub(crate) attempt_duration: HistogramVec,
    pub(crate) algorithm_duration: Histogram,
    pod_attempts: Histogram,
    sli_duration: HistogramVec,
    preemption_attempts: IntCounter,
    preemption_victims: Histogram,
    pending: IntGaugeVec,
    cache_size: IntGaugeVec,
    claim_creates: IntCounterVec,
    event_duration: HistogramVec,
    preemption_duration: HistogramVec,
    preemption_executions: IntCounterVec,
    goroutines: IntGaugeVec,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing has happened.
    ///
    /// # Panics
    /// Never: names, labels and buckets are constants that fit.
    pub fn new() -> Self {
        let fits = "names, labels and buckets are constants that fit";
        let opts = |name: &str, help: &str| Opts::new(format!("scheduler_{name}"), help);
        let histogram = |name: &str, help: &str, start: f64, count: usize| {
            let buckets = exponential_buckets(start, 2.0, count).expect(fits);
            HistogramOpts::new(format!("scheduler_{name}"), help).buckets(buckets)
        };
        Self {
            schedule_attempts: IntCounterVec::new(
                opts(
                    "schedule_attempts_total",
                    "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be \
                     scheduled, while 'error' means an internal scheduler problem.",
                ),
                &["result", "profile"],
            )
            .expect(fits),
            attempt_duration: HistogramVec::new(
                histogram(
                    "scheduling_attempt_duration_seconds",
                    "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
                    0.001,
                    15,
                ),
                &["result", "profile"],
            )
            .expect(fits),
            algorithm_duration: Histogram::with_opts(histogram(
                "scheduling_algorithm_duration_seconds",
                "Scheduling algorithm latency in seconds",
                0.001,
                15,
            ))
            .expect(fits),
            pod_attempts: Histogram::with_opts(histogram(
                "pod_scheduling_attempts",
                "Number of attempts to successfully schedule a pod.",
                1.0,
                5,
            ))
            .expect(fits),
            sli_duration: HistogramVec::new(
                histogram(
                    "pod_scheduling_sli_duration_seconds",
                    "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might \
                     involve multiple scheduling attempts.",
                    0.01,
                    20,
                ),
                &["attempts"],
            )
            .expect(fits),
            preemption_attempts: IntCounter::with_opts(opts(
                "preemption_attempts_total",
                "Total preemption attempts in the cluster till now",
            ))
            .expect(fits),
            preemption_victims: Histogram::with_opts(histogram(
                "preemption_victims",
                "Number of selected preemption victims",
                1.0,
                7,
            ))
            .expect(fits),
            pending: IntGaugeVec::new(
                opts(
                    "pending_pods",
                    "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' \
                     means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that \
                     the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that \
                     the scheduler never attempted to schedule because they are gated.",
                ),
                &["queue"],
            )
            .expect(fits),
            cache_size: IntGaugeVec::new(
                opts("cache_size", "Number of nodes, pods, and assumed (bound) pods in the scheduler cache."),
                &["type"],
            )
            .expect(fits),
            event_duration: HistogramVec::new(
                histogram("event_handling_duration_seconds", "Event handling latency in seconds.", 0.0001, 12),
                &["event"],
            )
            .expect(fits),
            preemption_duration: HistogramVec::new(
                histogram(
                    "preemption_goroutines_duration_seconds",
                    "Duration in seconds for running goroutines for the preemption.",
                    0.01,
                    20,
                ),
                &["result"],
            )
            .expect(fits),
            preemption_executions: IntCounterVec::new(
                opts("preemption_goroutines_execution_total", "Number of preemption goroutines executed."),
                &["result"],
            )
            .expect(fits),
            goroutines: IntGaugeVec::new(
                opts("goroutines", "Number of running goroutines split by the work they do such as binding."),
                &["operation"],
            )
            .expect(fits),
            claim_creates: IntCounterVec::new(
                opts(
                    "resourceclaim_creates_total",
                    "Number of ResourceClaims creation requests within scheduler",
                ),
                &["status"],
            )
            .expect(fits),
        }
    }

    /// Registers them all.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.schedule_attempts.clone()))?;
        registry.register(Box::new(self.attempt_duration.clone()))?;
        registry.register(Box::new(self.algorithm_duration.clone()))?;
        registry.register(Box::new(self.pod_attempts.clone()))?;
        registry.register(Box::new(self.sli_duration.clone()))?;
        registry.register(Box::new(self.preemption_attempts.clone()))?;
        registry.register(Box::new(self.preemption_victims.clone()))?;
        registry.register(Box::new(self.pending.clone()))?;
        registry.register(Box::new(self.cache_size.clone()))?;
        registry.register(Box::new(self.claim_creates.clone()))?;
        registry.register(Box::new(self.event_duration.clone()))?;
        registry.register(Box::new(self.preemption_duration.clone()))?;
        registry.register(Box::new(self.preemption_executions.clone()))?;
        registry.register(Box::new(self.goroutines.clone()))
    }

    /// A Pod was bound, after so many attempts and so long.
    pub(crate) fn bound(&self, attempts: u32, since_arrival: Duration) {
        self.pod_attempts.observe(attempts.into());
        // Labels are few: more attempts than that are one.
        let label = if attempts >= ATTEMPTS_MAX { format!("{ATTEMPTS_MAX}+") } else { attempts.to_string() };
        self.sli_duration.with_label_values(&[&*label]).observe(since_arrival.as_secs_f64());
    }

    /// Something that happened was looked at for those who wait.
    pub(crate) fn handled(&self, event: &'static str, took: Duration) {
        self.event_duration.with_label_values(&[event]).observe(took.as_secs_f64());
    }

    /// Pods were told to go, or could not be.
    pub(crate) fn told_to_go(&self, is_done: bool, took: Duration) {
        let result = if is_done { "success" } else { "error" };
        self.preemption_duration.with_label_values(&[result]).observe(took.as_secs_f64());
        self.preemption_executions.with_label_values(&[result]).inc();
    }

    /// So many bindings are on their way.
    pub(crate) fn bindings(&self, count: usize) {
        self.goroutines.with_label_values(&["binding"]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A claim was made for extended resources, or could not be.
    pub(crate) fn made_claim(&self, is_made: bool) {
        let status = if is_made { "success" } else { "failure" };
        self.claim_creates.with_label_values(&[status]).inc();
    }

    /// A way out was looked for.
    #[expect(clippy::cast_precision_loss, reason = "a number of Pods of one node")]
    pub(crate) fn tried_preemption(&self, relief: &Relief) {
        self.preemption_attempts.inc();
        if let Relief::Room(eviction) = relief {
            self.preemption_victims.observe(eviction.victims.len() as f64);
        }
    }

    /// The queue and the cluster as they are.
    pub(crate) fn sizes(&self, counts: Counts, nodes: usize, pods: usize, assumed: usize) {
        let set = |gauge: &IntGaugeVec, label: &str, size: usize| {
            gauge.with_label_values(&[label]).set(i64::try_from(size).unwrap_or(i64::MAX));
        };
        set(&self.pending, "active", counts.active);
        set(&self.pending, "backoff", counts.backoff);
        set(&self.pending, "unschedulable", counts.unschedulable);
        set(&self.pending, "gated", counts.gated);
        set(&self.cache_size, "nodes", nodes);
        set(&self.cache_size, "pods", pods);
        set(&self.cache_size, "assumed_pods", assumed);
    }
}

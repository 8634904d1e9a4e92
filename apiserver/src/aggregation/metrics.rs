//! Which other servers cannot be reached, under upstream's names.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, core::Collector};

/// What is counted.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    unavailable: IntGaugeVec,
    became_unavailable: IntCounterVec,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let gauges = IntGaugeVec::new(
            Opts::new(
                "aggregator_unavailable_apiservice",
                "[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name.",
            ),
            &["name"],
        );
        let counts = IntCounterVec::new(
            Opts::new(
                "aggregator_unavailable_apiservice_total",
                "[ALPHA] Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
            ),
            &["name", "reason"],
        );
        Self {
            unavailable: gauges.expect("names and labels are constants"),
            became_unavailable: counts.expect("names and labels are constants"),
        }
    }

    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.unavailable.clone()), Box::new(self.became_unavailable.clone())]
    }

    /// What was found.
    pub(super) fn found(&self, name: &str, is_available: bool) {
        self.unavailable.with_label_values(&[name]).set(i64::from(!is_available));
    }

    /// It was available until now.
    pub(super) fn lost(&self, name: &str, reason: &str) {
        self.became_unavailable.with_label_values(&[name, reason]).inc();
    }

    pub(super) fn forget(&self, name: &str) {
        // It may never have been looked at.
        let _unknown = self.unavailable.remove_label_values(&[name]);
    }
}

//! What is counted, under upstream's names and labels.
//!
//! [`Metrics`] is a bundle of handles, one group a part of the server; cloning shares the counts. Only what the server
//! can honestly fill is here: a metric that would always be zero is left out, so that a dashboard shows its absence.
//! See the "Kubernetes Metrics Reference".

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use prometheus::{
    Encoder as _, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector, exponential_buckets, linear_buckets,
};

use crate::discovery::version;

/// The `Content-Type` of the text formats.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The component that all request metrics name.
const COMPONENT: &str = "apiserver";

/// All handles.
#[derive(Clone)]
pub struct Metrics {
    /// Requests.
    pub requests: Requests,
    /// Who they are from.
    pub authentication: Authentication,
    /// Whether they may.
    pub authorization: Authorization,
    /// Whose turn it is.
    pub flow: Flow,
    /// What is let in.
    pub admission: Admission,
    /// What is on record.
    pub audit: Audit,
    /// The watch caches.
    pub cache: Cache,
    /// What is beneath them.
    pub storage: Storage,
    /// Results of health checks, served apart.
    pub slis: Slis,
    registry: Registry,
}

/// What a request is counted under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestLabels<'a> {
    /// `GET`, `LIST`, `WATCH`, `POST`, `PUT`, `PATCH`, `APPLY`, `DELETE`, `DELETECOLLECTION`, `CONNECT`.
    pub verb: &'a str,
    /// The group; all of these are empty for requests that are not about resources.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// The part of it; the path of requests that are not about resources.
    pub subresource: &'a str,
    /// `cluster`, `namespace`, `resource`, or empty.
    pub scope: &'a str,
}

/// How a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The status code.
    pub code: u16,
    /// The `dryRun` of the query.
    pub dry_run: &'a str,
    /// The user agent, if it is one of the system's own components.
    pub system_client: &'a str,
    /// From the first byte to the last.
    pub elapsed: Duration,
    /// Of these, how much went by in queues and webhooks: not our doing.
    pub elsewhere: Duration,
    /// The size of the answer; `None` for streams.
    pub response_bytes: Option<usize>,
}

/// Whether a request may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// It only reads.
    ReadOnly,
    /// It may write.
    Mutating,
}

/// Requests.
#[derive(Clone, Debug)]
pub struct Requests {
    total: IntCounterVec,
    duration: HistogramVec,
    sli_duration: HistogramVec,
    response_sizes: HistogramVec,
    long_running: IntGaugeVec,
    current: IntGaugeVec,
    body_size: HistogramVec,
    terminations: IntCounterVec,
    watch_events: IntCounterVec,
    watch_event_sizes: HistogramVec,
    watch_list_duration: HistogramVec,
    in_flight: Arc<[InFlight; 2]>,
    /// Connections whose TLS handshake failed.
    pub tls_handshake_errors: IntCounter,
}

/// How many requests of a kind are being served, and at most were since this was last published.
#[derive(Debug, Default)]
struct InFlight {
    now: AtomicI64,
    peak: AtomicI64,
}

/// A request that is being served; dropped when it is not any more.
#[derive(Debug)]
pub struct Serving {
    in_flight: Arc<[InFlight; 2]>,
    kind: RequestKind,
}

/// A request that lasts; dropped when it ends.
#[derive(Debug)]
pub struct Lasting(prometheus::IntGauge);

/// Who requests are from.
#[derive(Clone, Debug)]
pub struct Authentication {
    /// By `result`: `success`, `failure`, `error`.
    attempts: IntCounterVec,
    duration: HistogramVec,
    users: IntCounterVec,
}

/// Whether requests may.
#[derive(Clone, Debug)]
pub struct Authorization {
    attempts: IntCounterVec,
    duration: HistogramVec,
}

/// Priority and fairness. The handles are public, since its state machine is what knows when to move them.
#[derive(Clone, Debug)]
pub struct Flow {
    /// `priority_level`, `flow_schema`
    pub dispatched: IntCounterVec,
    /// `priority_level`, `flow_schema`, `reason`
    pub rejected: IntCounterVec,
    /// `priority_level`, `flow_schema`
    pub in_queue: IntGaugeVec,
    /// `priority_level`, `flow_schema`
    pub executing: IntGaugeVec,
    /// `priority_level`, `flow_schema`
    pub executing_seats: IntGaugeVec,
    /// Likewise.
    pub in_queue_seats: IntGaugeVec,
    /// `request_kind`
    pub in_queue_by_kind: IntGaugeVec,
    /// `priority_level`, `flow_schema`; how many waited in a queue after each came
    pub queue_length: HistogramVec,
    /// Likewise; how many seats a request was taken to need
    pub estimated_seats: HistogramVec,
    /// Likewise; how many watched what a request wrote
    pub watchers: HistogramVec,
    /// `priority_level`; virtual time, in seat-seconds
    pub progress: GaugeVec,
    /// `priority_level`
    pub lower_limit_seats: IntGaugeVec,
    /// `priority_level`
    pub upper_limit_seats: IntGaugeVec,
    /// Which part of what it could use each level gets.
    pub fair_fraction: Gauge,
    /// What levels could use.
    pub demand: Demand,
    /// `priority_level`
    pub nominal_limit_seats: IntGaugeVec,
    /// `priority_level`
    pub current_limit_seats: IntGaugeVec,
    /// `priority_level`, `flow_schema`, `execute`; seconds
    pub wait: HistogramVec,
    /// `priority_level`, `flow_schema`, `type`; seconds
    pub execution: HistogramVec,
}

/// How many seats priority levels could have used, each by `priority_level`.
#[derive(Clone, Debug)]
pub struct Demand {
    /// At most.
    pub high_watermark: GaugeVec,
    /// On average.
    pub average: GaugeVec,
    /// The standard deviation.
    pub deviation: GaugeVec,
    /// What is expected from now on.
    pub smoothed: GaugeVec,
    /// What each should get if there were enough.
    pub target: GaugeVec,
}

/// What is let in.
#[derive(Clone, Debug)]
pub struct Admission {
    controllers: HistogramVec,
    steps: HistogramVec,
    webhooks: HistogramVec,
    webhook_requests: IntCounterVec,
    webhook_rejections: IntCounterVec,
    webhook_fail_open: IntCounterVec,
    condition_errors: IntCounterVec,
    condition_exclusions: IntCounterVec,
    condition_durations: HistogramVec,
    validating_checks: IntCounterVec,
    validating_durations: HistogramVec,
    mutating_checks: IntCounterVec,
    mutating_durations: HistogramVec,
}

/// Whose match conditions these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionLabels<'a> {
    /// The name of the webhook or policy.
    pub name: &'a str,
    /// `webhook` or `policy`.
    pub kind: &'a str,
    /// `admit` or `validating` for webhooks, `validate` for policies of both sorts.
    pub of: &'a str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`.
    pub operation: &'a str,
}

/// One look of a policy at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyLabels<'a> {
    /// The policy.
    pub policy: &'a str,
    /// Its binding.
    pub binding: &'a str,
    /// `no_error`, `compile_error`, `out_of_budget`, `invalid_error`.
    pub error: &'a str,
}

/// One answer of an admission controller or webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLabels<'a> {
    /// The name of the controller or webhook; empty for the step as a whole.
    pub name: &'a str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`.
    pub operation: &'a str,
    /// `admit` (mutating) or `validate`; for webhooks `admit` or `validating`.
    pub kind: &'a str,
    /// Whether it said no.
    pub rejected: bool,
}

/// What is on record.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Events given to the backends.
    pub events: IntCounter,
    /// By `plugin`: events that were lost.
    pub errors: IntCounterVec,
    /// By `level`: one a request.
    pub levels: IntCounterVec,
    /// Requests refused because they could not be put on record.
    pub rejected: IntCounter,
}

/// The watch caches, by `group` and `resource`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// What the caches count themselves.
    pub watch: store::cache::Metrics,
    lists: IntCounterVec,
    list_fetched: IntCounterVec,
    list_returned: IntCounterVec,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Storage {
    objects: IntGaugeVec,
    objects_by_group: IntGaugeVec,
    size_estimate: IntGaugeVec,
    size: GaugeVec,
    request_duration: HistogramVec,
    requests: IntCounterVec,
    request_errors: IntCounterVec,
}

/// Results of health checks.
#[derive(Clone)]
pub struct Slis {
    state: GaugeVec,
    total: IntCounterVec,
    registry: Registry,
}

/// Makes metrics and puts them into a registry. Names and labels are constants, so a refusal is a bug.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("metric names and labels are well-formed constants");
        self.0.register(Box::new(collector.clone())).expect("every metric is registered once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn real_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn real_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> HistogramVec {
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
    }
}

/// Bucket bounds of expressions of policies, in seconds.
const POLICY: &[f64] = &[0.000_000_5, 0.001, 0.01, 0.1, 1.0];
/// The same for match conditions.
const CONDITION: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];
/// Bucket bounds of request latencies, in seconds: fine where the service level objectives are.
const LATENCY: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
/// The same for indicators, which begin at 50 milliseconds.
const INDICATOR: &[f64] = &[
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
const WATCH_LIST: &[f64] =
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
const ADMISSION: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOK: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
const FLOW: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

/// From `start`, each `factor` times the one before.
fn growing(start: f64, factor: f64, count: usize) -> Vec<f64> {
    exponential_buckets(start, factor, count).expect("constant bounds that grow")
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Shows what somebody else counts, but for names that are taken.
    pub fn show(&self, collectors: Vec<Box<dyn prometheus::core::Collector>>) {
        for collector in collectors {
            if let Err(error) = self.registry.register(collector) {
                tracing::error!(%error, "a metric is not shown");
            }
        }
    }

    /// Handles that have counted nothing yet. Metrics of the process are of the process this runs in.
    pub fn new() -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("every metric is registered once");
        let build = version::labels();
        let names: Vec<&str> = build.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = build.iter().map(|(_, value)| value.as_str()).collect();
        make.real_gauges("kubernetes_build_info", "[ALPHA] Always 1; the labels say what was built.", &names)
            .with_label_values(&values)
            .set(1.0);
        Self {
            requests: Requests::new(&make),
            authentication: Authentication::new(&make),
            authorization: Authorization::new(&make),
            flow: Flow::new(&make),
            admission: Admission::new(&make),
            audit: Audit::new(&make),
            cache: Cache::new(&make),
            storage: Storage::new(&make),
            slis: Slis::new(),
            registry,
        }
    }

    /// Where other components of the process register theirs.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// `/metrics`, of type [`CONTENT_TYPE`].
    pub fn render(&self) -> Vec<u8> {
        render(&self.registry)
    }
}

fn render(registry: &Registry) -> Vec<u8> {
    let mut text = Vec::with_capacity(64 * 1024);
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        // Only a family without metrics can fail, and the registry gathers none such.
        tracing::error!(%error, "cannot render metrics");
    }
    text
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

// === impl Requests ===

const REQUEST: &[&str] = &["verb", "group", "version", "resource", "subresource", "scope", "component"];

impl Requests {
    fn new(make: &Maker<'_>) -> Self {
        let with_dry_run =
            ["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"];
        let total = [&with_dry_run[..], &["code", "system_client"]].concat();
        Self {
            total: make.counters("apiserver_request_total", "[STABLE] Requests that were answered.", &total),
            duration: make.histograms(
                "apiserver_request_duration_seconds",
                "[STABLE] Seconds from the beginning of a request to the end of its answer.",
                &with_dry_run,
                LATENCY.to_vec(),
            ),
            sli_duration: make.histograms(
                "apiserver_request_sli_duration_seconds",
                "[ALPHA] The same without the time in webhooks and queues.",
                REQUEST,
                INDICATOR.to_vec(),
            ),
            response_sizes: make.histograms(
                "apiserver_response_sizes",
                "[STABLE] Bytes of an answer.",
                REQUEST,
                growing(1000.0, 10.0, 7),
            ),
            long_running: make.gauges(
                "apiserver_longrunning_requests",
                "[STABLE] Watches, logs, proxied and upgraded requests that go on.",
                REQUEST,
            ),
            current: make.gauges(
                "apiserver_current_inflight_requests",
                "[STABLE] At most so many requests were served at once in the last second.",
                &["request_kind"],
            ),
            body_size: make.histograms(
                "apiserver_request_body_size_bytes",
                "[ALPHA] Bytes of the body of a request.",
                &["resource", "verb", "group"],
                linear_buckets(50_000.0, 100_000.0, 31).expect("constant bounds that grow"),
            ),
            terminations: make.counters(
                "apiserver_request_terminations_total",
                "[ALPHA] Requests that were ended in self-defence.",
                &[REQUEST, &["code"]].concat(),
            ),
            watch_events: make.counters(
                "apiserver_watch_events_total",
                "[ALPHA] Events sent to watching clients.",
                &["group", "version", "resource"],
            ),
            watch_event_sizes: make.histograms(
                "apiserver_watch_events_sizes",
                "[ALPHA] Bytes of an event sent to a watching client.",
                &["group", "version", "resource"],
                growing(1024.0, 2.0, 8),
            ),
            watch_list_duration: make.histograms(
                "apiserver_watch_list_duration_seconds",
                "[BETA] Seconds until a watch that began with all objects had sent them.",
                &["group", "version", "resource", "scope"],
                WATCH_LIST.to_vec(),
            ),
            tls_handshake_errors: make.counter(
                "apiserver_tls_handshake_errors_total",
                "[ALPHA] Connections whose TLS handshake failed.",
            ),
            in_flight: Arc::default(),
        }
    }

    /// A request of this kind is served from now until the answer is dropped. Not for those that last.
    pub fn serve(&self, kind: RequestKind) -> Serving {
        let serving = Serving { in_flight: Arc::clone(&self.in_flight), kind };
        let of_kind = serving.of_kind();
        let now = of_kind.now.fetch_add(1, Ordering::Relaxed) + 1;
        of_kind.peak.fetch_max(now, Ordering::Relaxed);
        serving
    }

    /// Publishes how many requests were served at once since this was last called. Call it every second.
    pub fn publish_in_flight(&self) {
        for (kind, of_kind) in ["readOnly", "mutating"].iter().zip(self.in_flight.iter()) {
            let now = of_kind.now.load(Ordering::Relaxed);
            let peak = of_kind.peak.swap(now, Ordering::Relaxed);
            self.current.with_label_values(&[kind]).set(peak.max(now));
        }
    }

    /// A request that lasts goes on from now until the answer is dropped.
    pub fn last(&self, labels: RequestLabels<'_>) -> Lasting {
        let gauge = self.long_running.with_label_values(&labels.values());
        gauge.inc();
        Lasting(gauge)
    }

    /// A request was answered.
    pub fn answered(&self, labels: RequestLabels<'_>, outcome: Outcome<'_>) {
        let RequestLabels { verb, group, version, resource, subresource, scope } = labels;
        let with_dry_run = [verb, outcome.dry_run, group, version, resource, subresource, scope, COMPONENT];
        let code = outcome.code.to_string();
        let total = [&with_dry_run[..], &[&code, outcome.system_client]].concat();
        self.total.with_label_values(&total).inc();
        self.duration.with_label_values(&with_dry_run).observe(outcome.elapsed.as_secs_f64());
        if outcome.dry_run.is_empty() {
            let ours = outcome.elapsed.saturating_sub(outcome.elsewhere);
            self.sli_duration.with_label_values(&labels.values()).observe(ours.as_secs_f64());
        }
        if let Some(bytes) = outcome.response_bytes {
            self.response_sizes.with_label_values(&labels.values()).observe(real(bytes));
        }
    }

    /// A body was read.
    pub fn body_read(&self, labels: RequestLabels<'_>, bytes: usize) {
        let RequestLabels { verb, group, resource, .. } = labels;
        self.body_size.with_label_values(&[resource, verb, group]).observe(real(bytes));
    }

    /// A request was ended in self-defence, with this code.
    pub fn terminated(&self, labels: RequestLabels<'_>, code: u16) {
        let code = code.to_string();
        self.terminations.with_label_values(&[&labels.values()[..], &[&code]].concat()).inc();
    }

    /// An event was sent to a watching client.
    pub fn event_sent(&self, labels: RequestLabels<'_>, bytes: usize) {
        let RequestLabels { group, version, resource, .. } = labels;
        self.watch_events.with_label_values(&[group, version, resource]).inc();
        self.watch_event_sizes.with_label_values(&[group, version, resource]).observe(real(bytes));
    }

    /// A watch that began with all objects has sent them.
    pub fn initial_events_sent(&self, labels: RequestLabels<'_>, elapsed: Duration) {
        let RequestLabels { group, version, resource, scope, .. } = labels;
        self.watch_list_duration
            .with_label_values(&[group, version, resource, scope])
            .observe(elapsed.as_secs_f64());
    }
}

/// Sizes as Prometheus has them.
#[expect(clippy::cast_precision_loss, reason = "sizes far beyond what is counted exactly do not occur")]
pub(crate) fn real(bytes: usize) -> f64 {
    bytes as f64
}

impl<'a> RequestLabels<'a> {
    fn values(self) -> [&'a str; 7] {
        [self.verb, self.group, self.version, self.resource, self.subresource, self.scope, COMPONENT]
    }
}

// === impl Serving ===

impl Serving {
    fn of_kind(&self) -> &InFlight {
        let [read_only, mutating] = self.in_flight.as_ref();
        match self.kind {
            RequestKind::ReadOnly => read_only,
            RequestKind::Mutating => mutating,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.of_kind().now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Authentication ===

impl Authentication {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            attempts: make.counters(
                "authentication_attempts",
                "[ALPHA] Requests whose sender was looked for.",
                &["result"],
            ),
            duration: make.histograms(
                "authentication_duration_seconds",
                "[ALPHA] Seconds until the sender of a request was known.",
                &["result"],
                growing(0.001, 2.0, 15),
            ),
            users: make.counters(
                "authenticated_user_requests",
                "[ALPHA] Requests by their sender; all but a few are `email_id` or `other`.",
                &["username"],
            ),
        }
    }

    /// The sender of a request was looked for. `result`: `success`, `failure`, `error`.
    pub fn attempted(&self, result: &str, user: Option<&str>, elapsed: Duration) {
        self.attempts.with_label_values(&[result]).inc();
        self.duration.with_label_values(&[result]).observe(elapsed.as_secs_f64());
        if let Some(user) = user {
            self.users.with_label_values(&[compress(user)]).inc();
        }
    }
}

/// Names of users are many; only the system's few are told apart.
fn compress(user: &str) -> &str {
    let known = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];
    match user {
        user if known.contains(&user) => user,
        address if address.contains('@') => "email_id",
        _ => "other",
    }
}

// === impl Authorization ===

impl Authorization {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            attempts: make.counters(
                "authorization_attempts_total",
                "[ALPHA] Requests that were judged: allowed, denied, no-opinion, error.",
                &["result"],
            ),
            duration: make.histograms(
                "authorization_duration_seconds",
                "[ALPHA] Seconds until a request was judged.",
                &["result"],
                growing(0.001, 2.0, 15),
            ),
        }
    }

    /// A request was judged. `result`: `allowed`, `denied`, `no-opinion`, `error`.
    pub fn attempted(&self, result: &str, elapsed: Duration) {
        self.attempts.with_label_values(&[result]).inc();
        self.duration.with_label_values(&[result]).observe(elapsed.as_secs_f64());
    }
}

// === impl Flow ===

impl Flow {
    fn new(make: &Maker<'_>) -> Self {
        let of_flow = &["priority_level", "flow_schema"];
        let of_level = &["priority_level"];
        Self {
            dispatched: make.counters(
                "apiserver_flowcontrol_dispatched_requests_total",
                "[BETA] Requests whose turn came.",
                of_flow,
            ),
            rejected: make.counters(
                "apiserver_flowcontrol_rejected_requests_total",
                "[BETA] Requests whose turn did not come.",
                &["priority_level", "flow_schema", "reason"],
            ),
            in_queue: make.gauges(
                "apiserver_flowcontrol_current_inqueue_requests",
                "[BETA] Requests that wait.",
                of_flow,
            ),
            executing: make.gauges(
                "apiserver_flowcontrol_current_executing_requests",
                "[BETA] Requests that are served.",
                of_flow,
            ),
            executing_seats: make.gauges(
                "apiserver_flowcontrol_current_executing_seats",
                "[BETA] Seats that requests being served take.",
                of_flow,
            ),
            in_queue_seats: make.gauges(
                "apiserver_flowcontrol_current_inqueue_seats",
                "[ALPHA] Seats that requests that wait will take.",
                of_flow,
            ),
            in_queue_by_kind: make.gauges(
                "apiserver_current_inqueue_requests",
                "[ALPHA] Requests that wait, when this was asked.",
                &["request_kind"],
            ),
            queue_length: make.histograms(
                "apiserver_flowcontrol_request_queue_length_after_enqueue",
                "[ALPHA] How many waited in a queue after a request came to it.",
                of_flow,
                vec![0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0],
            ),
            estimated_seats: make.histograms(
                "apiserver_flowcontrol_work_estimated_seats",
                "[ALPHA] Seats that a request was taken to need.",
                of_flow,
                vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0],
            ),
            watchers: make.histograms(
                "apiserver_flowcontrol_watch_count_samples",
                "[ALPHA] Watches of what a request wrote.",
                of_flow,
                vec![0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0],
            ),
            progress: make.real_gauges(
                "apiserver_flowcontrol_current_r",
                "[ALPHA] Seat-seconds that a queue which was never empty would have had.",
                of_level,
            ),
            lower_limit_seats: make.gauges(
                "apiserver_flowcontrol_lower_limit_seats",
                "[ALPHA] Seats that a priority level does not lend.",
                of_level,
            ),
            upper_limit_seats: make.gauges(
                "apiserver_flowcontrol_upper_limit_seats",
                "[ALPHA] Seats that a priority level has when it has borrowed all it may.",
                of_level,
            ),
            fair_fraction: make.real_gauge(
                "apiserver_flowcontrol_seat_fair_frac",
                "[ALPHA] Which part of what it could use each priority level gets.",
            ),
            demand: Demand {
                high_watermark: make.real_gauges(
                    "apiserver_flowcontrol_demand_seats_high_watermark",
                    "[ALPHA] Seats a priority level could have used lately, at most.",
                    of_level,
                ),
                average: make.real_gauges(
                    "apiserver_flowcontrol_demand_seats_average",
                    "[ALPHA] The same on average.",
                    of_level,
                ),
                deviation: make.real_gauges(
                    "apiserver_flowcontrol_demand_seats_stdev",
                    "[ALPHA] Its standard deviation.",
                    of_level,
                ),
                smoothed: make.real_gauges(
                    "apiserver_flowcontrol_demand_seats_smoothed",
                    "[ALPHA] The same over a longer time.",
                    of_level,
                ),
                target: make.real_gauges(
                    "apiserver_flowcontrol_target_seats",
                    "[ALPHA] Seats a priority level should get if there were enough.",
                    of_level,
                ),
            },
            nominal_limit_seats: make.gauges(
                "apiserver_flowcontrol_nominal_limit_seats",
                "[BETA] Seats that a priority level has by its configuration.",
                &["priority_level"],
            ),
            current_limit_seats: make.gauges(
                "apiserver_flowcontrol_current_limit_seats",
                "[ALPHA] Seats that a priority level has, with those it borrowed and without those it lent.",
                &["priority_level"],
            ),
            wait: make.histograms(
                "apiserver_flowcontrol_request_wait_duration_seconds",
                "[BETA] Seconds that a request waited.",
                &["priority_level", "flow_schema", "execute"],
                FLOW.to_vec(),
            ),
            execution: make.histograms(
                "apiserver_flowcontrol_request_execution_seconds",
                "[ALPHA] Seconds that a request was served.",
                &["priority_level", "flow_schema", "type"],
                FLOW.to_vec(),
            ),
        }
    }
}

// === impl Admission ===

impl Admission {
    fn new(make: &Maker<'_>) -> Self {
        let named = &["name", "type", "operation", "rejected"];
        let condition = &["name", "kind", "type", "operation"];
        Self {
            controllers: make.histograms(
                "apiserver_admission_controller_admission_duration_seconds",
                "[STABLE] Seconds that an admission controller took.",
                named,
                ADMISSION.to_vec(),
            ),
            steps: make.histograms(
                "apiserver_admission_step_admission_duration_seconds",
                "[STABLE] Seconds that all admission controllers of a step took.",
                &["type", "operation", "rejected"],
                ADMISSION.to_vec(),
            ),
            webhooks: make.histograms(
                "apiserver_admission_webhook_admission_duration_seconds",
                "[STABLE] Seconds that an admission webhook took.",
                named,
                WEBHOOK.to_vec(),
            ),
            webhook_requests: make.counters(
                "apiserver_admission_webhook_request_total",
                "[ALPHA] Calls of admission webhooks.",
                &["name", "type", "operation", "code", "rejected"],
            ),
            webhook_rejections: make.counters(
                "apiserver_admission_webhook_rejection_count",
                "[ALPHA] Requests that admission webhooks, or failures to call them, stopped.",
                &["name", "type", "operation", "error_type", "rejection_code"],
            ),
            webhook_fail_open: make.counters(
                "apiserver_admission_webhook_fail_open_count",
                "[ALPHA] Failures to call admission webhooks that were passed over.",
                &["name", "type"],
            ),
            condition_errors: make.counters(
                "apiserver_admission_match_condition_evaluation_errors_total",
                "[ALPHA] Match conditions of webhooks and policies that went wrong.",
                condition,
            ),
            condition_exclusions: make.counters(
                "apiserver_admission_match_condition_exclusions_total",
                "[ALPHA] Writes that webhooks were not asked about, by their match conditions.",
                condition,
            ),
            condition_durations: make.histograms(
                "apiserver_admission_match_condition_evaluation_seconds",
                "[ALPHA] Seconds that match conditions took that did not all hold.",
                condition,
                CONDITION.to_vec(),
            ),
            validating_checks: make.counters(
                "apiserver_validating_admission_policy_check_total",
                "[BETA] Validations of policies that did not hold or went wrong, by what was done about it.",
                &["policy", "policy_binding", "error_type", "enforcement_action"],
            ),
            validating_durations: make.histograms(
                "apiserver_validating_admission_policy_check_duration_seconds",
                "[BETA] Seconds that those validations took.",
                &["policy", "policy_binding", "error_type", "enforcement_action"],
                POLICY.to_vec(),
            ),
            mutating_checks: make.counters(
                "apiserver_mutating_admission_policy_check_total",
                "[ALPHA] Mutations of policies that were carried out or went wrong.",
                &["policy", "policy_binding", "error_type"],
            ),
            mutating_durations: make.histograms(
                "apiserver_mutating_admission_policy_check_duration_seconds",
                "[ALPHA] Seconds that those mutations took.",
                &["policy", "policy_binding", "error_type"],
                POLICY.to_vec(),
            ),
        }
    }

    /// Match conditions were evaluated; so many of them went wrong. How long that took is told if they did not all hold.
    pub fn conditions(&self, labels: ConditionLabels<'_>, errors: usize, elapsed: Option<Duration>) {
        let labels = labels.values();
        if errors > 0 {
            let errors = u64::try_from(errors).unwrap_or(u64::MAX);
            self.condition_errors.with_label_values(&labels).inc_by(errors);
        }
        if let Some(elapsed) = elapsed {
            self.condition_durations.with_label_values(&labels).observe(elapsed.as_secs_f64());
        }
    }

    /// A webhook is not asked because of its match conditions.
    pub fn excluded(&self, labels: ConditionLabels<'_>) {
        self.condition_exclusions.with_label_values(&labels.values()).inc();
    }

    /// A validation did not hold, or could not be told. `action`: `allow`, `deny`, `warn`, `audit`.
    pub fn validated(&self, labels: PolicyLabels<'_>, action: &str, elapsed: Duration) {
        let PolicyLabels { policy, binding, error } = labels;
        let labels = [policy, binding, error, action];
        self.validating_checks.with_label_values(&labels).inc();
        self.validating_durations.with_label_values(&labels).observe(elapsed.as_secs_f64());
    }

    /// A policy changed an object, left it as it was, or could not tell.
    pub fn mutated(&self, labels: PolicyLabels<'_>, elapsed: Duration) {
        let PolicyLabels { policy, binding, error } = labels;
        let labels = [policy, binding, error];
        self.mutating_checks.with_label_values(&labels).inc();
        self.mutating_durations.with_label_values(&labels).observe(elapsed.as_secs_f64());
    }

    /// A controller said what it thinks.
    pub fn controller(&self, labels: AdmissionLabels<'_>, elapsed: Duration) {
        self.controllers.with_label_values(&labels.values()).observe(elapsed.as_secs_f64());
    }

    /// All controllers of a step did; `name` is not looked at.
    pub fn step(&self, labels: AdmissionLabels<'_>, elapsed: Duration) {
        let [_, step @ ..] = labels.values();
        self.steps.with_label_values(&step).observe(elapsed.as_secs_f64());
    }

    /// A webhook answered with this code; 0 if it did not answer.
    pub fn webhook(&self, labels: AdmissionLabels<'_>, code: u16, elapsed: Duration) {
        let [name, kind, operation, rejected] = labels.values();
        self.webhooks.with_label_values(&[name, kind, operation, rejected]).observe(elapsed.as_secs_f64());
        let code = bounded(code);
        self.webhook_requests.with_label_values(&[name, kind, operation, &code, rejected]).inc();
    }

    /// A webhook stopped a request. `error`: `no_error`, `calling_webhook_error`, `apiserver_internal_error`.
    pub fn webhook_rejected(&self, labels: AdmissionLabels<'_>, error: &str, code: u16) {
        let [name, kind, operation, _] = labels.values();
        let code = bounded(code);
        self.webhook_rejections.with_label_values(&[name, kind, operation, error, &code]).inc();
    }

    /// A webhook could not be called, and its policy is to ignore that.
    pub fn webhook_failed_open(&self, labels: AdmissionLabels<'_>) {
        self.webhook_fail_open.with_label_values(&[labels.name, labels.kind]).inc();
    }
}

/// Webhooks may answer with any number; labels must not be any number.
fn bounded(code: u16) -> String {
    code.min(600).to_string()
}

impl<'a> AdmissionLabels<'a> {
    fn values(self) -> [&'a str; 4] {
        [self.name, self.kind, self.operation, if self.rejected { "true" } else { "false" }]
    }
}

impl<'a> ConditionLabels<'a> {
    fn values(self) -> [&'a str; 4] {
        [self.name, self.kind, self.of, self.operation]
    }
}

// === impl Audit ===

impl Audit {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            events: make.counter(
                "apiserver_audit_event_total",
                "[ALPHA] Audit events that were made and given to the backends.",
            ),
            errors: make.counters(
                "apiserver_audit_error_total",
                "[ALPHA] Audit events that were lost, by the backend that lost them.",
                &["plugin"],
            ),
            levels: make.counters(
                "apiserver_audit_level_total",
                "[ALPHA] Requests by the level of their audit.",
                &["level"],
            ),
            rejected: make.counter(
                "apiserver_audit_requests_rejected_total",
                "[ALPHA] Requests that were refused because their audit failed.",
            ),
        }
    }
}

// === impl Cache ===

impl Cache {
    fn new(make: &Maker<'_>) -> Self {
        let of_resource = &["group", "resource"];
        Self {
            watch: store::cache::Metrics::register(make.0).expect("every metric is registered once"),
            lists: make.counters(
                "apiserver_cache_list_total",
                "[ALPHA] Lists that the watch cache served.",
                &["group", "resource", "index"],
            ),
            list_fetched: make.counters(
                "apiserver_cache_list_fetched_objects_total",
                "[ALPHA] Objects that lists looked at in the watch cache.",
                &["group", "resource", "index"],
            ),
            list_returned: make.counters(
                "apiserver_cache_list_returned_objects_total",
                "[ALPHA] Objects that lists returned from the watch cache.",
                of_resource,
            ),
        }
    }

    /// A list was served; `index` names what narrowed it down, if anything did.
    pub fn listed(&self, group: &str, resource: &str, index: &str, fetched: usize, returned: usize) {
        let count = |objects: usize| u64::try_from(objects).unwrap_or(u64::MAX);
        self.lists.with_label_values(&[group, resource, index]).inc();
        self.list_fetched.with_label_values(&[group, resource, index]).inc_by(count(fetched));
        self.list_returned.with_label_values(&[group, resource]).inc_by(count(returned));
    }
}

// === impl Storage ===

impl Storage {
    fn new(make: &Maker<'_>) -> Self {
        let operation = &["operation", "group", "resource"];
        Self {
            objects: make.gauges(
                "apiserver_storage_objects",
                "[STABLE] Stored objects, by resource and group in one.",
                &["resource"],
            ),
            objects_by_group: make.gauges(
                "apiserver_resource_objects",
                "[ALPHA] Stored objects.",
                &["group", "resource"],
            ),
            size_estimate: make.gauges(
                "apiserver_resource_size_estimate_bytes",
                "[ALPHA] Bytes that the stored objects of a resource have, about.",
                &["group", "resource"],
            ),
            size: make.real_gauges(
                "apiserver_storage_size_bytes",
                "[STABLE] Bytes that the store takes on disk.",
                &["storage_cluster_id"],
            ),
            request_duration: make.histograms(
                "etcd_request_duration_seconds",
                "[ALPHA] Seconds that a request to the store took.",
                operation,
                LATENCY.to_vec(),
            ),
            requests: make.counters("etcd_requests_total", "[ALPHA] Requests to the store.", operation),
            request_errors: make.counters(
                "etcd_request_errors_total",
                "[ALPHA] Requests to the store that failed.",
                operation,
            ),
        }
    }

    /// So many objects of a resource are stored.
    pub fn stored(&self, resource: &api_types::kind::GroupResource, objects: usize) {
        let objects = i64::try_from(objects).unwrap_or(i64::MAX);
        self.objects.with_label_values(&[&resource.to_string()]).set(objects);
        self.objects_by_group.with_label_values(&[&resource.group, &resource.resource]).set(objects);
    }

    /// The store takes so many bytes on disk.
    pub fn size(&self, cluster: &str) -> Gauge {
        self.size.with_label_values(&[cluster])
    }

    /// The objects of a resource have so many bytes.
    pub fn estimated(&self, resource: &api_types::kind::GroupResource, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.size_estimate.with_label_values(&[&resource.group, &resource.resource]).set(bytes);
    }

    /// The store was asked, whichever it is: dashboards look here for how fast it is and whether it fails.
    pub fn asked(&self, operation: &str, group: &str, resource: &str, ok: bool, elapsed: Duration) {
        let labels = [operation, group, resource];
        self.requests.with_label_values(&labels).inc();
        self.request_duration.with_label_values(&labels).observe(elapsed.as_secs_f64());
        if !ok {
            self.request_errors.with_label_values(&labels).inc();
        }
    }
}

// === impl Slis ===

impl Slis {
    fn new() -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        Self {
            state: make.real_gauges(
                "kubernetes_healthcheck",
                "[STABLE] Whether a health check passed when it was last asked.",
                &["name", "type"],
            ),
            total: make.counters(
                "kubernetes_healthchecks_total",
                "[STABLE] Results of health checks.",
                &["name", "type", "status"],
            ),
            registry,
        }
    }

    /// A health check passed or failed.
    pub(super) fn observe(&self, name: &str, endpoint: &str, ok: bool) {
        self.state.with_label_values(&[name, endpoint]).set(if ok { 1.0 } else { 0.0 });
        let status = if ok { "success" } else { "error" };
        self.total.with_label_values(&[name, endpoint, status]).inc();
    }

    /// `/metrics/slis`, of type [`CONTENT_TYPE`].
    pub fn render(&self) -> Vec<u8> {
        render(&self.registry)
    }
}

impl fmt::Debug for Slis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slis").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

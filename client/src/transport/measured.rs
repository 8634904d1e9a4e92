//! Counts and times requests, under upstream's names, around any transport.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::Method;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tokio::time::Instant;

use super::{Body, Transport, TransportError};

/// The metrics of all requests of a process. Cheap to clone; register it once.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    latency: HistogramVec,
}

/// A transport that is measured.
pub struct Measured {
    inner: Arc<dyn Transport>,
    metrics: Metrics,
    host: String,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing was requested yet.
    ///
    /// # Panics
    /// Never: names and labels are constants that fit.
    pub fn new() -> Self {
        const FITS: &str = "names and labels are constants that fit";
        let requests = Opts::new(
            "rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
        );
        let latency = HistogramOpts::new(
            "rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host.",
        )
        .buckets(vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0]);
        Self {
            requests: IntCounterVec::new(requests, &["code", "host", "method"]).expect(FITS),
            latency: HistogramVec::new(latency, &["host", "verb"]).expect(FITS),
        }
    }

    /// Measures what goes through a transport to a host (`10.0.0.1:6443`).
    pub fn measure(&self, inner: Arc<dyn Transport>, host: &str) -> Measured {
        Measured { inner, metrics: self.clone(), host: host.to_owned() }
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.requests.desc().into_iter().chain(self.latency.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.requests.collect().into_iter().chain(self.latency.collect()).collect()
    }
}

// === impl Measured ===

impl Transport for Measured {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        async move {
            let method = request.method().clone();
            let started = Instant::now();
            let answer = self.inner.send(request).await;
            let code = match &answer {
                Ok(response) => response.status().as_str().to_owned(),
                Err(_) => "<error>".to_owned(),
            };
            let took = started.elapsed().as_secs_f64();
            let host = self.host.as_str();
            self.metrics.requests.with_label_values(&[&code, host, method.as_str()]).inc();
            self.metrics.latency.with_label_values(&[host, verb(&method)]).observe(took);
            answer
        }
        .boxed()
    }
}

/// The method as a label: whatever it is, it is one of few.
fn verb(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE") => known,
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use runtime::Runtime;
    use serde_json::Value;

    use super::*;
    use crate::{
        Api, Key,
        resource::PODS,
        testing::{FakeServer, Fault},
    };

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_by_what_came_of_them() {
        let runtime = Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1);
        let server = FakeServer::new(&runtime);
        server.set_latency(Duration::from_secs(3));
        server.fail_next("twice", Fault::Unreachable);
        let metrics = Metrics::new();
        let api = Api::new(Arc::new(metrics.measure(Arc::new(server), "here:6443")), "test");
        for name in ["once", "twice"] {
            assert!(api.get::<Value>(&PODS, &Key::new("ns", name)).await.is_err());
        }
        let registry = prometheus::Registry::new();
        registry.register(Box::new(metrics)).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"rest_client_requests_total{code="404",host="here:6443",method="GET"} 1"#,
            r#"rest_client_requests_total{code="<error>",host="here:6443",method="GET"} 1"#,
            r#"rest_client_request_duration_seconds_sum{host="here:6443",verb="GET"} 6"#,
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}

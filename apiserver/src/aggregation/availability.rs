//! Keeps an eye on one APIService that leads to a Service: whether it can be reached, told in its condition, and what it
//! serves, told in discovery and OpenAPI.
//!
//! It is looked at when it, its Service or its endpoints change, half a minute after it was found well, and sooner and
//! sooner less often while it is not. See upstream's remote availability controller.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use api_types::{
    field::go_quote,
    object::{object_at, object_of},
    status::Status,
};
use axum::body::Body;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, Request, Version};
use runtime::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    describe, forward, resolve,
    target::{self, Spec, Target},
};
use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    proxy::transport::Transport,
    registry::{Call, strategy::Part, update::Plan, warnings::Warnings},
    server::Server,
};

/// How long after a look that found all well comes the next.
const PERIOD: Duration = Duration::from_secs(30);
/// How long after the first look that did not, and how long at the most after many.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// How old a description may become.
const DESCRIBED: Duration = Duration::from_secs(60);
/// How long the other server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often it is asked at a time: one answer is enough.
const ATTEMPTS: usize = 5;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// Looks again and again, until the tasks of the APIService are stopped.
pub(super) async fn keep(server: Weak<Server>, spec: Spec, wake: Arc<Signal<u64>>) {
    let mut failures: u32 = 0;
    let mut described: Option<Instant> = None;
    loop {
        let seen = wake.get();
        let pause = {
            let Some(server) = server.upgrade() else { return };
            let Some(target) = server.aggregation.target(&spec) else { return };
            let finding = look(&server, &target).await;
            let is_well = finding.status == "True";
            if let Err(error) = tell(&server, &spec, &finding).await {
                tracing::warn!(service = spec.name, %error, "cannot say whether an APIService is available");
            }
            server.aggregation.metrics.found(&spec.name, is_well);
            if !is_well {
                describe::stale(&server, &spec);
                described = None;
            } else if described.is_none_or(|at| at.elapsed() >= DESCRIBED) {
                described = describe::describe(&server, &target).await.then(Instant::now);
            }
            if is_well && described.is_some() {
                failures = 0;
                PERIOD
            } else {
                failures = failures.saturating_add(1);
                BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(PERIOD)
            }
        };
        // Whether it was woken or slept enough, the next look finds out all there is.
        let _either = tokio::time::timeout(pause, wake.wait(|count| *count != seen)).await;
    }
}

/// Finds out whether a server can be reached.
async fn look(server: &Arc<Server>, target: &Target) -> Finding {
    let spec = &target.spec;
    let place = format!("service/{} in {}", spec.service, go_quote(&spec.namespace));
    let unknown = |reason, why: String| Finding {
        status: "Unknown",
        reason,
        message: format!("{place} cannot be checked due to: {why}"),
    };
    let service = match server.try_get("", "v1", "services", &spec.namespace, &spec.service).await {
        Ok(service) => service,
        Err(status) => return unknown("ServiceAccessError", status.message),
    };
    let slices = match resolve::slices(server, spec).await {
        Ok(slices) => slices,
        Err(why) => return unknown("EndpointsAccessError", why),
    };
    if let Some(obstacle) = obstacle(spec, service.as_deref(), &slices) {
        return obstacle;
    }
    match reach(server, target).await {
        Ok(()) => Finding { status: "True", reason: "Passed", message: "all checks passed".to_owned() },
        Err(message) => Finding { status: "False", reason: "FailedDiscoveryCheck", message },
    }
}

/// What is in the way of requests before anybody is asked.
fn obstacle(spec: &Spec, service: Option<&Value>, slices: &[Arc<Value>]) -> Option<Finding> {
    let place = format!("service/{} in {}", spec.service, go_quote(&spec.namespace));
    let blocked = |reason, message| Some(Finding { status: "False", reason, message });
    let Some(service) = service else {
        return blocked("ServiceNotFound", format!("{place} is not present"));
    };
    if service.pointer("/spec/type").and_then(Value::as_str) != Some("ClusterIP") {
        return None;
    }
    let Some(port) = resolve::port(service, spec.port) else {
        return blocked("ServicePortError", format!("{place} is not listening on port {}", spec.port));
    };
    if slices.is_empty() {
        return blocked("EndpointsNotFound", format!("cannot find endpointslices for {place}"));
    }
    let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
    if !slices.iter().any(|slice| leads_somewhere(slice, name)) {
        let message =
            format!("endpointslices for {place} have no addresses with port name {}", go_quote(name));
        return blocked("MissingEndpoints", message);
    }
    None
}

/// Whether a slice has an endpoint that is ready, with a port of that name.
fn leads_somewhere(slice: &Value, port: &str) -> bool {
    let list = |field: &str| slice.get(field).and_then(Value::as_array).into_iter().flatten();
    list("endpoints").any(resolve::is_ready)
        && list("ports").any(|it| {
            it.get("name").and_then(Value::as_str) == Some(port)
                && it.get("port").is_some_and(|port| !port.is_null())
        })
}

/// Asks for what every server of a group and version must answer.
async fn reach(server: &Arc<Server>, target: &Target) -> Result<(), String> {
    let transport = target.unverified.as_ref().map_err(Clone::clone)?;
    let mut attempts: FuturesUnordered<_> =
        (0..ATTEMPTS).map(|_| attempt(server, &target.spec, transport)).collect();
    let mut last = Ok(());
    while let Some(result) = attempts.next().await {
        if result.is_ok() {
            return Ok(());
        }
        last = result;
    }
    last
}

async fn attempt(server: &Arc<Server>, spec: &Spec, transport: &Transport) -> Result<(), String> {
    let location = resolve::location(server, spec).await?;
    let url = format!("https://{location}{}", spec.root());
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let request = document(&url, &[]).ok_or_else(|| failed("invalid URL".to_owned()))?;
    let get = |why: &str| failed(format!("Get {}: {why}", go_quote(&url)));
    match tokio::time::timeout(ANSWER, transport.get(request)).await {
        Err(_late) => Err(get("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")),
        Ok(Err(why)) => Err(get(&why)),
        Ok(Ok((head, _))) if head.status.is_success() => Ok(()),
        Ok(Ok((head, _))) => Err(failed(format!("bad status from {url}: {}", head.status.as_u16()))),
    }
}

/// A request of this server's own, which may read everything.
pub(super) fn document(url: &str, accept: &[(http::HeaderName, http::HeaderValue)]) -> Option<Request<Body>> {
    let mut headers: HeaderMap = accept.iter().cloned().collect();
    forward::identify(&mut headers, &User::new("system:kube-aggregator", &[MASTERS]));
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = url.parse().ok()?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Some(request)
}

/// Writes the condition, unless it stands there. Its time is that of the change of its status.
async fn tell(server: &Server, spec: &Spec, finding: &Finding) -> Result<(), Status> {
    let Some(served) = server.registry.catalogue.find(super::GROUP, "v1", super::PLURAL) else {
        return Ok(());
    };
    let known = server.try_get(super::GROUP, "v1", super::PLURAL, "", &spec.name).await?;
    if known.as_deref().is_none_or(|it| is_told(it, finding)) {
        return Ok(());
    }
    let was_available = known.as_deref().is_some_and(target::is_available);
    let now = server.runtime.clock.now();
    let call = Call {
        served,
        namespace: String::new(),
        name: spec.name.clone(),
        subresource: "status".to_owned(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        now,
        dry_run: false,
        manager: "kube-apiserver".to_owned(),
        options: Value::Null,
        warnings: Warnings::default(),
        answers: crate::custom::ownership::Answers::default(),
        audit: crate::audit::Record::default(),
    };
    let plan = Plan::of(Part::Status);
    let time = json!(crate::registry::time(now));
    let change = |old: Option<&Value>| Ok(with(old.cloned().unwrap_or_default(), finding, &time));
    match server.registry.update(&call, plan, &change).await {
        // It is gone: there is nothing to tell.
        Err(status) if status.is("NotFound") => return Ok(()),
        result => drop(result?),
    }
    if was_available && finding.status != "True" {
        server.aggregation.metrics.lost(&spec.name, finding.reason);
    }
    Ok(())
}

fn is_told(object: &Value, finding: &Finding) -> bool {
    target::condition(object).is_some_and(|condition| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        (text("status"), text("reason"), text("message"))
            == (finding.status, finding.reason, finding.message.as_str())
    })
}

/// An APIService that says what was found.
fn with(mut object: Value, finding: &Finding, now: &Value) -> Value {
    let since = target::condition(&object)
        .filter(|it| it.get("status").and_then(Value::as_str) == Some(finding.status))
        .and_then(|it| it.get("lastTransitionTime").cloned())
        .unwrap_or_else(|| now.clone());
    let told = json!({"type": "Available", "status": finding.status, "lastTransitionTime": since,
        "reason": finding.reason, "message": finding.message});
    let status = object_at(object_of(&mut object), "status");
    let mut conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    conditions.retain(|it| it.get("type").and_then(Value::as_str) != Some("Available"));
    conditions.push(told);
    status.insert("conditions".to_owned(), json!(conditions));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_told_in_the_order_it_is_met() {
        let spec =
            Spec::read(&json!({"spec": {"service": {"namespace": "n", "name": "s", "port": 443}}})).unwrap();
        let service = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}});
        let other = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        let elsewhere = json!({"spec": {"type": "ExternalName"}});
        let slice = |ready: bool, port: &str| json!({"endpoints": [{"conditions": {"ready": ready}}], "ports": [{"name": port, "port": 8443}]});
        for (service, slices, expected) in [
            (None, vec![], Some(("ServiceNotFound", r#"service/s in "n" is not present"#))),
            (
                Some(&other),
                vec![],
                Some(("ServicePortError", r#"service/s in "n" is not listening on port 443"#)),
            ),
            (
                Some(&service),
                vec![],
                Some(("EndpointsNotFound", r#"cannot find endpointslices for service/s in "n""#)),
            ),
            (
                Some(&service),
                vec![slice(false, "https"), slice(true, "http")],
                Some((
                    "MissingEndpoints",
                    r#"endpointslices for service/s in "n" have no addresses with port name "https""#,
                )),
            ),
            (Some(&service), vec![slice(true, "https")], None),
            (Some(&elsewhere), vec![], None),
        ] {
            let slices: Vec<_> = slices.into_iter().map(Arc::new).collect();
            let found = obstacle(&spec, service, &slices);
            let found = found.as_ref().map(|it| (it.reason, it.message.as_str()));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_told_already_is_not_told_again_and_its_time_is_that_of_the_change() {
        let finding = |status| Finding { status, reason: "R", message: "m".to_owned() };
        let told = with(json!({}), &finding("False"), &json!("t1"));
        assert!(is_told(&told, &finding("False")));
        assert!(!is_told(&told, &finding("True")));
        assert!(!is_told(&json!({}), &finding("False")));
        let again = with(told, &Finding { reason: "S", ..finding("False") }, &json!("t2"));
        assert_eq!(again["status"]["conditions"][0]["lastTransitionTime"], json!("t1"));
        let well = with(again, &finding("True"), &json!("t3"));
        assert_eq!(well["status"]["conditions"].as_array().unwrap().len(), 1);
        assert_eq!(well["status"]["conditions"][0]["lastTransitionTime"], json!("t3"));
    }
}

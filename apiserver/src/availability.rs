//! Says of every APIService whose requests go to a Service whether it can be reached: upstream's RemoteAvailability
//! controller, which runs in the API server too.
//!
//! Requests are not forwarded to other servers yet, so that an APIService whose Service is in order is told unavailable
//! for that reason. Those that this server answers itself are always available, and not this module's concern.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use api_types::{field::go_quote, object::ObjectExt, status::Status};
use serde_json::{Value, json};
use store::cache::{Filter, WatchFrom};

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    registry::{Call, strategy::Part, update::Plan, warnings::Warnings},
    server::Server,
};

const GROUP: &str = "apiregistration.k8s.io";
/// How upstream's API server names itself in records of field owners.
const MANAGER: &str = "kube-apiserver";
/// What decides: a change of any of these leads to a new look.
const WATCHED: [(&str, &str); 3] =
    [(GROUP, "apiservices"), ("", "services"), ("discovery.k8s.io", "endpointslices")];
/// How long a watch that ended waits before it begins again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why an APIService is not available.
#[derive(Debug, PartialEq, Eq)]
struct Obstacle {
    reason: &'static str,
    message: String,
}

/// Begins to look, whenever something changes that matters.
pub(crate) fn start(server: &Arc<Server>) {
    // Where no APIService leads to a Service, as in most clusters, Services may change as they like.
    let any = Arc::new(AtomicBool::new(true));
    for (group, plural) in WATCHED {
        let any = Arc::clone(&any);
        let Some(served) = server.registry.catalogue.find(group, "v1", plural) else { continue };
        let (storage, weak) = (Arc::clone(&served.storage), Arc::downgrade(server));
        server.runtime.tasks.spawn("availability of APIServices", async move {
            loop {
                let cache = storage.cache();
                cache.ready().await;
                if let Ok(mut watcher) = cache.watch(WatchFrom::Now, Filter::prefix(&storage.prefix)) {
                    let mut goes_on = true;
                    while goes_on {
                        if group == GROUP || any.load(Ordering::Relaxed) {
                            let Some(server) = weak.upgrade() else { return };
                            match see_to_all(&server).await {
                                Ok(some) => any.store(some, Ordering::Relaxed),
                                Err(error) => {
                                    tracing::warn!(%error, "cannot say whether an APIService is available");
                                }
                            }
                        }
                        goes_on = matches!(watcher.next().await, Some(Ok(_)));
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
}

/// Looks at every APIService that leads to a Service, and says whether there are such.
async fn see_to_all(server: &Server) -> Result<bool, Status> {
    let mut any = false;
    for service in server.list(GROUP, "v1", "apiservices", "").await? {
        let Some(target) = service.pointer("/spec/service").filter(|it| !it.is_null()) else { continue };
        any = true;
        let text = |field: &str| target.get(field).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let found = server.get("", "v1", "services", namespace, name).await;
        let slices = server.list("discovery.k8s.io", "v1", "endpointslices", namespace).await?;
        let obstacle = obstacle(target, found.as_deref(), &slices);
        if !is_told(&service, &obstacle) {
            tell(server, service.name(), &obstacle).await?;
        }
    }
    Ok(any)
}

/// What is in the way of requests to the Service of an APIService.
fn obstacle(target: &Value, service: Option<&Value>, slices: &[Arc<Value>]) -> Obstacle {
    let text = |field: &str| target.get(field).and_then(Value::as_str).unwrap_or_default();
    let place = format!("service/{} in {}", text("name"), go_quote(text("namespace")));
    let blocked = |reason, message| Obstacle { reason, message };
    let Some(service) = service else {
        return blocked("ServiceNotFound", format!("{place} is not present"));
    };
    if service.pointer("/spec/type").and_then(Value::as_str) == Some("ClusterIP") {
        let port = target.get("port").and_then(Value::as_i64).unwrap_or_default();
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        let found =
            ports.into_iter().flatten().find(|it| it.get("port").and_then(Value::as_i64) == Some(port));
        let Some(found) = found else {
            return blocked("ServicePortError", format!("{place} is not listening on port {port}"));
        };
        let port = found.get("name").and_then(Value::as_str).unwrap_or_default();
        let mut own = slices
            .iter()
            .filter(|it| it.label("kubernetes.io/service-name") == Some(text("name")))
            .peekable();
        if own.peek().is_none() {
            return blocked("EndpointsNotFound", format!("cannot find endpointslices for {place}"));
        }
        if !own.any(|slice| is_ready(slice, port)) {
            let message =
                format!("endpointslices for {place} have no addresses with port name {}", go_quote(port));
            return blocked("MissingEndpoints", message);
        }
    }
    blocked(
        "FailedDiscoveryCheck",
        format!("{place} cannot be asked: this API server forwards no requests to others"),
    )
}

/// Whether a slice has an endpoint that is ready, with a port of that name.
fn is_ready(slice: &Value, port: &str) -> bool {
    let list = |field: &str| slice.get(field).and_then(Value::as_array).into_iter().flatten();
    list("endpoints").any(|it| it.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false))
        && list("ports").any(|it| {
            it.get("name").and_then(Value::as_str) == Some(port)
                && it.get("port").is_some_and(|port| !port.is_null())
        })
}

fn condition(service: &Value) -> Option<&Value> {
    let conditions = service.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|it| it.get("type").and_then(Value::as_str) == Some("Available"))
}

fn is_told(service: &Value, obstacle: &Obstacle) -> bool {
    condition(service).is_some_and(|condition| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        (text("status"), text("reason"), text("message"))
            == ("False", obstacle.reason, obstacle.message.as_str())
    })
}

/// Writes the condition. Its time is that of the change of its status.
async fn tell(server: &Server, name: &str, obstacle: &Obstacle) -> Result<(), Status> {
    let Some(served) = server.registry.catalogue.find(GROUP, "v1", "apiservices") else { return Ok(()) };
    let now = server.runtime.clock.now();
    let call = Call {
        served,
        namespace: String::new(),
        name: name.to_owned(),
        subresource: "status".to_owned(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        now,
        dry_run: false,
        manager: MANAGER.to_owned(),
        options: Value::Null,
        warnings: Warnings::default(),
        answers: crate::custom::ownership::Answers::default(),
    };
    let plan = Plan { part: Part::Status, create_missing: false, uid_precondition: false, owned: false };
    let change = |old: Option<&Value>| {
        let mut service = old.cloned().unwrap_or_default();
        let since = condition(&service)
            .filter(|it| it.get("status").and_then(Value::as_str) == Some("False"))
            .and_then(|it| it.get("lastTransitionTime").cloned())
            .unwrap_or_else(|| json!(crate::registry::time(now)));
        let told = json!({"type": "Available", "status": "False", "lastTransitionTime": since,
            "reason": obstacle.reason, "message": obstacle.message});
        let status = api_types::object::object_at(api_types::object::object_of(&mut service), "status");
        let others = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut conditions: Vec<Value> = others
            .into_iter()
            .filter(|it| it.get("type").and_then(Value::as_str) != Some("Available"))
            .collect();
        conditions.push(told);
        status.insert("conditions".to_owned(), json!(conditions));
        Ok(service)
    };
    match server.registry.update(&call, plan, &change).await {
        // It is gone: there is nothing to tell.
        Err(status) if status.is("NotFound") => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_told_in_the_order_it_is_met() {
        let target = json!({"namespace": "n", "name": "s", "port": 443});
        let service = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}});
        let other = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        let slice = |ready: bool, port: &str| {
            json!({"metadata": {"labels": {"kubernetes.io/service-name": "s"}},
                "endpoints": [{"conditions": {"ready": ready}}], "ports": [{"name": port, "port": 8443}]})
        };
        for (service, slices, reason, message) in [
            (None, vec![], "ServiceNotFound", r#"service/s in "n" is not present"#),
            (Some(&other), vec![], "ServicePortError", r#"service/s in "n" is not listening on port 443"#),
            (
                Some(&service),
                vec![json!({})],
                "EndpointsNotFound",
                r#"cannot find endpointslices for service/s in "n""#,
            ),
            (
                Some(&service),
                vec![slice(false, "https"), slice(true, "http")],
                "MissingEndpoints",
                r#"endpointslices for service/s in "n" have no addresses with port name "https""#,
            ),
            (
                Some(&service),
                vec![slice(true, "https")],
                "FailedDiscoveryCheck",
                r#"service/s in "n" cannot be asked: this API server forwards no requests to others"#,
            ),
        ] {
            let expected = Obstacle { reason, message: message.to_owned() };
            let slices: Vec<_> = slices.into_iter().map(Arc::new).collect();
            assert_eq!(obstacle(&target, service, &slices), expected);
        }
    }

    #[test]
    fn what_is_told_already_is_not_told_again() {
        let obstacle = Obstacle { reason: "R", message: "m".to_owned() };
        let told = |status: &str, reason: &str| json!({"status": {"conditions": [{"type": "Available", "status": status, "reason": reason, "message": "m"}]}});
        assert!(is_told(&told("False", "R"), &obstacle));
        assert!(!is_told(&told("True", "R"), &obstacle));
        assert!(!is_told(&told("False", "S"), &obstacle));
        assert!(!is_told(&json!({}), &obstacle));
    }
}

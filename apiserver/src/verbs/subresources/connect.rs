//! Connections through the apiserver to a node: logs, exec, attach, port-forward and proxies.
//!
//! Here is found out what is meant and whether it can be; [`reach`] then asks the kubelet, or what runs on its node.

#[cfg(test)]
mod kubelet_tests;
mod reach;

use std::{net::IpAddr, num::IntErrorKind, sync::Arc};

use api_types::{
    field::{Fault, Faults, Path, go_quote},
    kind::{GroupResource, GroupVersionKind},
    schema::{Shape, schema},
    status::Status,
};
use serde_json::{Value, json};

use super::super::{Asked, method_not_allowed, options::Write};
use crate::{
    admission::Operation,
    http::{
        info::RequestInfo,
        query::Query,
        respond::{self, Answer},
    },
    kubelet::Place,
    server::Server,
};

pub(super) async fn run(server: &Arc<Server>, asked: Asked) -> Result<Answer, Status> {
    let allowed: &[&str] = match asked.info.subresource.as_str() {
        "log" => &["get"],
        "proxy" => &["get", "create", "update", "patch", "delete"],
        _ => &["get", "create"],
    };
    if !allowed.contains(&asked.info.verb.as_str()) {
        return Err(method_not_allowed());
    }
    if asked.info.subresource == "log" {
        return log(server, &asked).await;
    }
    let options = admitted(server, &asked).await?;
    match (asked.served.names().plural, asked.info.subresource.as_str()) {
        ("pods", "proxy") => proxy_to_pod(server, asked, &options).await,
        ("pods", _) => connect(server, asked, &options).await,
        ("services", _) => proxy_to_service(server, asked, &options).await,
        _ => proxy_to_node(server, asked, &options).await,
    }
}

/// What a connection is asked for with, as admission lets it be.
async fn admitted(server: &Server, asked: &Asked) -> Result<Value, Status> {
    if asked.query.get("dryRun").is_some() {
        return Err(Status::bad_request("dryRun is not supported"));
    }
    let kind = match (asked.served.names().plural, asked.info.subresource.as_str()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", _) => "PodProxyOptions",
        ("services", _) => "ServiceProxyOptions",
        _ => "NodeProxyOptions",
    };
    let kind = GroupVersionKind::new("", "v1", kind);
    let options = options(&kind, &asked.query, &path_behind(&asked.info)).map_err(Status::bad_request)?;
    let call = asked.call(server, &Write::default());
    let attributes = server.registry.admit(&call, kind, Operation::Connect, options).await?;
    server.registry.let_in(&attributes).await?;
    Ok(attributes.object)
}

/// The path that a proxy shall ask for.
fn path_behind(info: &RequestInfo) -> String {
    let path = info.rest.join("/");
    let path = if path.is_empty() || path.starts_with('/') { path } else { format!("/{path}") };
    if info.path.ends_with('/') && !path.ends_with('/') { path + "/" } else { path }
}

/// The options of a connection, out of the query.
///
/// # Errors
/// Upstream's text for what does not fit its field.
fn options(kind: &GroupVersionKind, query: &Query, path: &str) -> Result<Value, String> {
    let mut options = json!({"kind": kind.kind, "apiVersion": kind.api_version()});
    let of = schema().type_of(&kind.group, &kind.version, &kind.kind);
    for field in of.iter().flat_map(|&of| &schema().get(of).fields) {
        let name = field.json;
        let text = query.get(name).filter(|text| !text.is_empty());
        let value = match &field.shape {
            Shape::Bool => query.flag(name).then_some(json!(true)),
            Shape::String if matches!(name, "kind" | "apiVersion") => None,
            Shape::String if name == "path" => {
                Some(path).filter(|path| !path.is_empty()).map(|path| json!(path))
            }
            Shape::String => text.map(|text| json!(text)),
            Shape::List(of) if **of == Shape::String => {
                let all: Vec<&str> = query.all(name).collect();
                (!all.is_empty()).then(|| json!(all))
            }
            // Ports, which may be given one by one or with commas.
            Shape::List(_) => {
                let all = query.all(name).flat_map(|given| given.split(','));
                let all = all.map(port).collect::<Result<Vec<u16>, String>>()?;
                (!all.is_empty()).then(|| json!(all))
            }
            _ => None,
        };
        if let Some(value) = value {
            options[name] = value;
        } else if name == "command" {
            options[name] = Value::Null;
        }
    }
    Ok(options)
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("cannot convert to []int32: strconv.ParseUint: parsing {}: {why}", go_quote(text))
    })
}

async fn log(server: &Server, asked: &Asked) -> Result<Answer, Status> {
    log_options(asked)?;
    let pod = object(server, asked, "pods", &asked.info.name).await?;
    let container = container(&pod, &asked.info.name, asked.query.get("container"))?;
    let Some(node) = node_of(&pod) else {
        // A Pod without a node has said nothing yet.
        let mut answer = respond::text(204, String::new());
        answer.headers_mut().remove(http::header::CONTENT_TYPE);
        return Ok(answer);
    };
    let place = place(server, asked, node).await?;
    let path = format!("/containerLogs/{}/{}/{container}", asked.info.namespace, asked.info.name);
    let any = asked.query.flag("insecureSkipTLSVerifyBackend");
    reach::log(server, asked, &place, &path, any).await
}

/// `exec`, `attach` and `portforward`.
async fn connect(server: &Server, asked: Asked, options: &Value) -> Result<Answer, Status> {
    let name = asked.info.name.clone();
    let pod = object(server, &asked, "pods", &name).await?;
    let of = asked.info.subresource.as_str();
    let container = match of {
        "portforward" => None,
        _ => Some(container(&pod, &name, options.get("container").and_then(Value::as_str))?),
    };
    let node = node_of(&pod)
        .ok_or_else(|| Status::bad_request(format!("pod {name} does not have a host assigned")))?;
    let place = place(server, &asked, node).await?;
    let of = if of == "portforward" { "portForward" } else { of };
    let mut path = format!("/{of}/{}/{name}", asked.info.namespace);
    if let Some(container) = container {
        path = format!("{path}/{container}");
    }
    reach::stream(server, asked, &place, &path, options).await
}

async fn proxy_to_pod(server: &Server, asked: Asked, options: &Value) -> Result<Answer, Status> {
    let (scheme, name, port) = addressed(&asked, "pod")?;
    let pod = object(server, &asked, "pods", name).await?;
    let first = || {
        let ports = list(&pod, "/spec/containers").find_map(|it| list(it, "/ports").next());
        ports.and_then(|port| port.get("containerPort")?.as_u64()).map(|port| port.to_string())
    };
    let port = if port.is_empty() { first().unwrap_or_default() } else { port.to_owned() };
    let ip = pod.pointer("/status/podIP").and_then(Value::as_str).and_then(|ip| ip.parse().ok());
    let Some(ip) = ip.filter(|ip| is_global_unicast(*ip)) else {
        return Err(Status::bad_request("address not allowed"));
    };
    // What runs there is as simulated as its node. Pods of the network of their host need no kubelet.
    if let Some(node) = node_of(&pod) {
        server.kubelets.place(&*object_of_node(server, node).await?)?;
    }
    let to = reach::Target { scheme: scheme.to_owned(), host: ip.to_string(), port, to_kubelet: false };
    reach::proxy(server, asked, &to, options).await
}

async fn proxy_to_service(server: &Server, asked: Asked, options: &Value) -> Result<Answer, Status> {
    let (scheme, name, port) = addressed(&asked, "service")?;
    let service = object(server, &asked, "services", name).await?;
    // A port that is given by its number stands for the one of that number's name.
    let port = match port.parse::<i64>() {
        Err(_) => port.to_owned(),
        Ok(number) => list(&service, "/spec/ports")
            .find(|it| it.get("port").and_then(Value::as_i64) == Some(number))
            .map(|it| text(it, "name"))
            .ok_or_else(|| {
                Status::unavailable(format!("no service port {number} found for service {}", go_quote(name)))
            })?,
    };
    let endpoints = server
        .get("", "v1", "endpoints", &asked.info.namespace, name)
        .await
        .ok_or_else(|| Status::not_found(&GroupResource::new("", "endpoints"), name))?;
    let mut ready = Vec::new();
    for subset in list(&endpoints, "/subsets") {
        let port = list(subset, "/ports").find(|it| text(it, "name") == port);
        let Some(number) = port.and_then(|it| it.get("port")?.as_u64()) else { continue };
        ready.extend(list(subset, "/addresses").map(|address| (address, number)));
    }
    let any = server.runtime.random.below(u64::try_from(ready.len()).unwrap_or_default().max(1));
    let Some((address, number)) = usize::try_from(any).ok().and_then(|any| ready.get(any)) else {
        return Err(Status::unavailable(format!(
            "no endpoints available for service {}",
            go_quote(if list(&endpoints, "/subsets").next().is_none() { name } else { &asked.info.name })
        )));
    };
    let ip = text(address, "ip");
    if !ip.parse().is_ok_and(is_global_unicast) {
        return Err(Status::bad_request("address not allowed"));
    }
    if let Some(node) = address.get("nodeName").and_then(Value::as_str) {
        server.kubelets.place(&*object_of_node(server, node).await?)?;
    }
    let to =
        reach::Target { scheme: scheme.to_owned(), host: ip, port: number.to_string(), to_kubelet: false };
    reach::proxy(server, asked, &to, options).await
}

async fn proxy_to_node(server: &Server, asked: Asked, options: &Value) -> Result<Answer, Status> {
    let (scheme, name, port) = addressed(&asked, "node")?;
    let place = place(server, &asked, name).await?;
    let to_kubelet = port.is_empty() || port == place.port.to_string();
    let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
    let found = found.map_err(|error| Status::bad_request(format!("lookup {}: {error}", place.host)))?;
    if found.into_iter().any(|address| !is_global_unicast(address.ip())) {
        return Err(Status::bad_request("address not allowed"));
    }
    let scheme = if to_kubelet { "https" } else { scheme }.to_owned();
    let port = if to_kubelet { place.port.to_string() } else { port.to_owned() };
    reach::proxy(server, asked, &reach::Target { scheme, host: place.host, port, to_kubelet }, options).await
}

/// An object of the core group, in the namespace of the request if the kind has namespaces.
async fn object(server: &Server, asked: &Asked, plural: &str, name: &str) -> Result<Arc<Value>, Status> {
    let namespace = if plural == "nodes" { "" } else { asked.info.namespace.as_str() };
    server
        .get("", "v1", plural, namespace, name)
        .await
        .ok_or_else(|| Status::not_found(&GroupResource::new("", plural), name))
}

/// Where the kubelet of a node is.
async fn place(server: &Server, asked: &Asked, name: &str) -> Result<Place, Status> {
    server.kubelets.place(&*object(server, asked, "nodes", name).await?)
}

/// A node that something runs on.
async fn object_of_node(server: &Server, name: &str) -> Result<Arc<Value>, Status> {
    let node = server.get("", "v1", "nodes", "", name).await;
    node.ok_or_else(|| Status::not_found(&GroupResource::new("", "nodes"), name))
}

fn node_of(pod: &Value) -> Option<&str> {
    pod.pointer("/spec/nodeName").and_then(Value::as_str).filter(|name| !name.is_empty())
}

fn list<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn text(object: &Value, field: &str) -> String {
    object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Scheme, name and port that a proxy's URL means by `name`, `name:port` or `scheme:name:port`.
fn addressed<'a>(asked: &'a Asked, what: &str) -> Result<(&'a str, &'a str, &'a str), Status> {
    let id = asked.info.name.as_str();
    split(id).ok_or_else(|| Status::bad_request(format!("invalid {what} request {}", go_quote(id))))
}

fn split(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme @ ("" | "http" | "https"), name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (!name.is_empty()).then_some((if scheme == "https" { scheme } else { "http" }, name, port))
}

/// Whether Pods may have such an address: loopback and link-local ones would lead back to this machine.
fn is_global_unicast(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
}

/// The container that is meant: the one that is named, or the only one.
fn container(pod: &Value, name: &str, wanted: Option<&str>) -> Result<String, Status> {
    let names = |field: &str| list(pod, &format!("/spec/{field}")).map(|it| text(it, "name"));
    let all: Vec<String> =
        names("initContainers").chain(names("containers")).chain(names("ephemeralContainers")).collect();
    if let Some(wanted) = wanted.filter(|it| !it.is_empty()) {
        return match all.iter().any(|it| it == wanted) {
            true => Ok(wanted.to_owned()),
            false => Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}"))),
        };
    }
    let main: Vec<String> = names("containers").collect();
    let wanted = format!("a container name must be specified for pod {name}");
    match main.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Status::bad_request(wanted)),
        _ => Err(Status::bad_request(format!("{wanted}, choose one of: [{}]", all.join(" ")))),
    }
}

/// What is wrong with the options of a log request.
fn log_options(asked: &Asked) -> Result<(), Status> {
    let mut faults = Faults::new();
    let number = |name: &str| asked.query.number(name).map_err(Status::bad_request);
    if let Some(lines) = number("tailLines")?.filter(|&lines| lines < 0) {
        faults.push(Fault::invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0"));
    }
    if let Some(bytes) = number("limitBytes")?.filter(|&bytes| bytes < 1) {
        faults.push(Fault::invalid(&Path::new("limitBytes"), bytes, "must be greater than 0"));
    }
    let since = number("sinceSeconds")?;
    if since.is_some() && asked.query.get("sinceTime").is_some() {
        faults.push(Fault::forbidden(
            &Path::root(),
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    } else if let Some(seconds) = since.filter(|&seconds| seconds < 1) {
        faults.push(Fault::invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0"));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupVersionKind::new("", "v1", "PodLogOptions"), &asked.info.name, &faults))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_addressed_by_name_and_perhaps_port_and_scheme() {
        for (id, expected) in [
            ("web", Some(("http", "web", ""))),
            ("web:http", Some(("http", "web", "http"))),
            ("https:web:443", Some(("https", "web", "443"))),
            (":web:443", Some(("http", "web", "443"))),
            ("ftp:web:21", None),
            ("", None),
            (":80", None),
            ("a:b:c:d", None),
        ] {
            assert_eq!(split(id), expected, "{id}");
        }
    }

    #[test]
    fn options_of_connections_are_read_out_of_the_query() {
        let read = |kind: &str, query: &str| {
            options(&GroupVersionKind::new("", "v1", kind), &Query::parse(query), "/a/b")
        };
        for (kind, query, expected) in [
            (
                "PodExecOptions",
                "stdin&stdout=true&tty=false&container=c&command=sh&command=-c&path=x",
                json!({"stdin": true, "stdout": true, "container": "c", "command": ["sh", "-c"]}),
            ),
            ("PodExecOptions", "", json!({"command": null})),
            ("PodAttachOptions", "stderr=1&command=sh", json!({"stderr": true})),
            ("PodPortForwardOptions", "ports=80,81&ports=82", json!({"ports": [80, 81, 82]})),
            ("ServiceProxyOptions", "path=x", json!({"path": "/a/b"})),
        ] {
            let mut expected = expected;
            expected["kind"] = json!(kind);
            expected["apiVersion"] = json!("v1");
            assert_eq!(read(kind, query), Ok(expected), "{query}");
        }
        assert_eq!(
            read("PodPortForwardOptions", "ports=x").unwrap_err(),
            r#"cannot convert to []int32: strconv.ParseUint: parsing "x": invalid syntax"#
        );
    }

    #[test]
    fn proxies_do_not_lead_back_to_this_machine() {
        for (ip, global) in [
            ("10.1.2.3", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
        ] {
            assert_eq!(is_global_unicast(ip.parse().unwrap()), global, "{ip}");
        }
    }
}

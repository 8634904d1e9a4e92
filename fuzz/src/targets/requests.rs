//! Requests to a whole server: it answers, with an object or with a Status that says why not, and goes on answering.
//!
//! An input is a request as HTTP/1 writes it. What cannot stand in a request's line is escaped, and headers that are none are
//! left out, so that mutations reach the server and not only the parser before it.

use api_types::{
    kind::GroupVersion,
    schema::{Omit, Shape, TypeRef, schema},
    wire::{json as text_form, protobuf, typed},
};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use serde_json::{Map, Value, json};

use super::{Target, gist, text};
use crate::world::{Answer, World};

/// After so many requests the server is a new one, so that what they left behind does not count as growth.
const REQUESTS_A_WORLD: u64 = 3000;
/// After so many it must still answer.
const REQUESTS_A_CHECK: u64 = 50;

/// See the module.
pub(super) struct Requests {
    world: World,
    asked: u64,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { world: World::new(1), asked: 0 }
    }

    fn fresh(&mut self) {
        self.asked += 1;
        if self.asked.is_multiple_of(REQUESTS_A_WORLD) {
            self.world = World::new(self.asked);
        }
        if self.asked.is_multiple_of(REQUESTS_A_CHECK) {
            let answer = self.world.ask("GET", "/version", "", "");
            assert_eq!(answer.code, 200, "the server does not go on answering: {}", text(&answer.body));
        }
    }
}

impl Target for Requests {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let mut seeds: Vec<Vec<u8>> = OTHERS.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        for served in self.world.server().registry.catalogue.all() {
            let names = served.names();
            let kind = served.resource.kind();
            let version = GroupVersion::new(names.group, names.version).to_string();
            let prefix = if names.group.is_empty() { "/api/" } else { "/apis/" };
            let namespace = if names.namespaced { "/namespaces/default" } else { "" };
            let path = format!("{prefix}{version}{namespace}/{}", names.plural);
            let mut body = match (full(names.group, names.version, names.plural), served.resource.schema()) {
                (Some(full), _) => full,
                (None, Some(of)) => plausible(of, 0),
                (None, None) => Value::Object(Map::new()),
            };
            body["kind"] = json!(kind.kind);
            body["apiVersion"] = json!(version);
            // Some kinds are particular about names.
            let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("a").to_owned();
            body["metadata"] = json!({"name": name, "labels": {"a": "b"}});
            let here = format!("{path}/{name}");
            let mut add = |method: &str, path: &str, headers: &str, body: &[u8]| {
                seeds.push([format!("{method} {path}\n{headers}\n\n").as_bytes(), body].concat());
            };
            add("POST", &path, "content-type: application/json", body.to_string().as_bytes());
            add("PUT", &here, "content-type: application/json", body.to_string().as_bytes());
            if let Some(of) = served.resource.schema() {
                let message = protobuf::encode(&body, of);
                add("POST", &path, "content-type: application/vnd.kubernetes.protobuf", &message);
                add("GET", &here, "accept: application/vnd.kubernetes.protobuf", b"");
            }
            add(
                "GET",
                &format!("{path}?limit=1&labelSelector=a%3Db"),
                "accept: application/json;as=Table;v=v1;g=meta.k8s.io",
                b"",
            );
            add("GET", &format!("{path}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true"), "", b"");
            add(
                "PATCH",
                &format!("{here}?fieldManager=f&force=true"),
                "content-type: application/apply-patch+yaml",
                body.to_string().as_bytes(),
            );
            add(
                "PATCH",
                &format!("{here}/status"),
                "content-type: application/merge-patch+json",
                b"{\"status\":{}}",
            );
            add(
                "PATCH",
                &here,
                "content-type: application/json-patch+json",
                b"[{\"op\":\"remove\",\"path\":\"/metadata/labels\"}]",
            );
            add("DELETE", &format!("{here}?propagationPolicy=Background"), "", b"");
            add("DELETE", &format!("{path}?fieldSelector=metadata.name%3Da"), "", b"");
        }
        seeds
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "GET ",
            "POST ",
            "PUT ",
            "PATCH ",
            "DELETE ",
            "HEAD ",
            "OPTIONS ",
            "/",
            "/api/v1",
            "/apis/",
            "apps/v1/",
            "namespaces/",
            "default/",
            "pods",
            "/status",
            "/scale",
            "/binding",
            "/eviction",
            "/log",
            "/exec",
            "/proxy/",
            "?",
            "&",
            "=",
            "%00",
            "%2F",
            "watch=true",
            "limit=1",
            "continue=",
            "resourceVersion=0",
            "resourceVersionMatch=Exact",
            "sendInitialEvents=true",
            "allowWatchBookmarks=true",
            "labelSelector=",
            "fieldSelector=",
            "timeoutSeconds=1",
            "dryRun=All",
            "fieldValidation=Strict",
            "fieldManager=x",
            "force=true",
            "pretty=1",
            "\n",
            "content-type: ",
            "accept: ",
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            ";as=Table;v=v1;g=meta.k8s.io",
            ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            "application/apply-patch+yaml",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/json-patch+json",
            "authorization: Bearer x",
            "impersonate-user: a",
            "\"",
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "null",
            "\"metadata\":",
            "\"name\":",
            "\"spec\":",
            "\"status\":",
            "\"generateName\":",
            "\"finalizers\":[\"a/b\"]",
            "\"resourceVersion\":\"1\"",
            "\"managedFields\":",
            "-1",
            "\u{0}",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        self.fresh();
        let Some(request) = request(input) else { return "no request".to_owned() };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let answer = self.world.send(request);
        check(&method, &uri, &answer)
    }
}

/// What is asked besides the resources.
const OTHERS: &[&str] = &[
    "GET /\n\n",
    "GET /healthz?verbose\n\n",
    "GET /readyz/etcd\n\n",
    "GET /metrics\n\n",
    "GET /version\n\n",
    "GET /api\naccept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList\n\n",
    "GET /apis/apps/v1\n\n",
    "GET /api/v1/configmaps?watch=1&timeoutSeconds=9223372036854775807\n\n",
    "GET /openapi/v2\naccept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf\n\n",
    "GET /openapi/v3/apis/apps/v1\n\n",
    "POST /api/v1/namespaces/default/pods/a/eviction\n\n{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"a\"},\"deleteOptions\":{\"gracePeriodSeconds\":0}}",
    "POST /api/v1/namespaces/default/pods/a/binding\n\n{\"target\":{\"kind\":\"Node\",\"name\":\"n\"}}",
    "POST /api/v1/namespaces/default/serviceaccounts/default/token\n\n{\"spec\":{\"audiences\":[\"a\"],\"expirationSeconds\":600}}",
    "PUT /apis/apps/v1/namespaces/default/deployments/a/scale\n\n{\"metadata\":{\"name\":\"a\"},\"spec\":{\"replicas\":1}}",
    "PUT /api/v1/namespaces/default/finalize\n\n{\"metadata\":{\"name\":\"default\"},\"spec\":{\"finalizers\":[]}}",
    "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews\n\n{\"spec\":{\"resourceAttributes\":{\"verb\":\"get\",\"resource\":\"pods\"}}}",
    "DELETE /api/v1/namespaces/default/pods/a\n\n{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"preconditions\":{\"uid\":\"x\"}}",
];

fn request(input: &[u8]) -> Option<Request<Body>> {
    let (head, body) = split_at(input, b"\n\n");
    let head = text(head);
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
    *request.uri_mut() = uri(target)?;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.trim().as_bytes()), HeaderValue::from_bytes(value.trim().as_bytes()))
        {
            request.headers_mut().append(name, value);
        }
    }
    Some(request)
}

fn uri(target: &str) -> Option<Uri> {
    let mut escaped = String::new();
    for byte in target.trim().bytes().take(8000) {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~' => {
                escaped.push(char::from(byte))
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    if !escaped.starts_with('/') {
        escaped.insert(0, '/');
    }
    escaped.parse().ok()
}

fn split_at<'a>(input: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = input.windows(separator.len()).position(|window| window == separator);
    let at = at.unwrap_or(input.len());
    (input.get(..at).unwrap_or_default(), input.get(at + separator.len()..).unwrap_or_default())
}

fn check(method: &Method, uri: &Uri, answer: &Answer) -> String {
    let shown = || format!("{method} {uri}\n{}", text(answer.body.get(..2000).unwrap_or(&answer.body)));
    let content_type =
        answer.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    assert!((200..600).contains(&answer.code), "the code is {}: {}", answer.code, shown());
    if *method == Method::HEAD {
        return format!("HEAD\u{1f}{}", answer.code);
    }
    let value = match content_type {
        "application/json" if answer.whole && answer.code >= 400 || !text(&answer.body).contains("}\n{") => {
            match serde_json::from_slice(&answer.body) {
                Ok(value) => value,
                // A watch without events, or one that was not listened to until its end.
                Err(_) if answer.body.is_empty() || !answer.whole => Value::Null,
                Err(error) => panic!("no JSON ({error}): {}", shown()),
            }
        }
        "application/json" => {
            for line in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let event: Result<Value, _> = serde_json::from_slice(line);
                let event = event.unwrap_or_else(|error| panic!("no event ({error}): {}", shown()));
                assert!(event.get("type").is_some_and(Value::is_string), "no event: {}", shown());
            }
            return format!("{method} watch\u{1f}{}", answer.code);
        }
        "application/vnd.kubernetes.protobuf" => {
            from_protobuf(&answer.body).unwrap_or_else(|why| panic!("{why}: {}", shown()))
        }
        other => {
            assert!(answer.code < 500, "{}: {}", answer.code, shown());
            return format!("{method} {other}\u{1f}{}", answer.code);
        }
    };
    let string = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    if answer.code >= 400 {
        assert_eq!(string("kind"), "Status", "no Status: {}", shown());
        assert_eq!(value.get("code").and_then(Value::as_u64), Some(u64::from(answer.code)), "{}", shown());
        assert!(!string("message").is_empty(), "a failure without a word: {}", shown());
        assert!(string("reason") != "InternalError" || answer.code == 500, "{}", shown());
        let internal =
            if answer.code >= 500 { format!("\u{1f}{}", gist(string("message"))) } else { String::new() };
        return format!(
            "{method} {} {}\u{1f}{}{internal}",
            answer.code,
            string("reason"),
            gist(string("message"))
        );
    }
    fits(&value).unwrap_or_else(|why| panic!("{why}: {}", shown()));
    format!("{method} {}\u{1f}{}", answer.code, string("kind"))
}

fn from_protobuf(bytes: &[u8]) -> Result<Value, String> {
    let envelope = protobuf::open(bytes).map_err(|error| error.to_string())?;
    let version = GroupVersion::parse(&envelope.api_version).unwrap_or_default();
    let of = schema().type_of(&version.group, &version.version, &envelope.kind);
    let of = of.ok_or_else(|| format!("no kind {:?} of {:?}", envelope.kind, envelope.api_version))?;
    protobuf::decode(bytes, of).map_err(|error| error.to_string())
}

/// An object of a kind we know must be one.
fn fits(value: &Value) -> Result<(), String> {
    let string = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let version = GroupVersion::parse(string("apiVersion")).unwrap_or_default();
    let Some(of) = schema().type_of(&version.group, &version.version, string("kind")) else { return Ok(()) };
    let decoded = typed::decode(&text_form::encode_untyped(value), of)?;
    if decoded.strict.is_empty() { Ok(()) } else { Err(decoded.strict.join(", ")) }
}

/// The full-featured object that the tests of the wire keep of a resource.
fn full(group: &str, version: &str, plural: &str) -> Option<Value> {
    let name = format!("{group}.{version}.{plural}.json");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../apiserver/tests/wire/objects");
    let text = std::fs::read(format!("{folder}/{}", name.trim_start_matches('.'))).ok()?;
    serde_json::from_slice::<Value>(&text).ok()?.get("object").cloned()
}

/// An object with some of everything, which need not be valid.
fn plausible(of: TypeRef, depth: usize) -> Value {
    let mut object = Map::new();
    for field in &schema().get(of).fields {
        if matches!(field.json, "status" | "kind" | "apiVersion" | "metadata")
            || (depth > 1 && field.omit != Omit::Never)
        {
            continue;
        }
        let mut value = sample(&field.shape, depth);
        if let Some(first) = field.enumeration.first() {
            value = json!(first);
        }
        object.insert(field.json.to_owned(), value);
    }
    Value::Object(object)
}

fn sample(shape: &Shape, depth: usize) -> Value {
    match shape {
        Shape::String => json!("a"),
        Shape::Bool => json!(true),
        Shape::Int32 | Shape::Int64 => json!(1),
        Shape::Float64 => json!(1.5),
        Shape::Bytes => json!("AA=="),
        Shape::Time => json!("2026-01-01T00:00:00Z"),
        Shape::MicroTime => json!("2026-01-01T00:00:00.000001Z"),
        Shape::Quantity => json!("1"),
        Shape::IntOrString => json!("a"),
        Shape::RawExtension | Shape::Json | Shape::FieldsV1 => json!({"a": 1}),
        Shape::SchemaOrBool(_) => json!(true),
        Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_) => json!({"type": "string"}),
        Shape::Struct(of) if depth < 5 => plausible(*of, depth + 1),
        Shape::Struct(_) => json!({}),
        Shape::List(of) => json!([sample(of, depth)]),
        Shape::Map(of) => json!({"a": sample(of, depth)}),
    }
}

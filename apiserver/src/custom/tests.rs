//! Custom resources asked of a whole server without a socket: from the definition to the last of its objects.

mod samples;
mod webhook;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use futures::StreamExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::{Value, json};
use store::Memory;

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::{InProcess, Server},
};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A definition with two versions that differ in name only.
fn foos() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "color": {"type": "string"},
            "size": {"type": "integer", "default": 1},
            "replicas": {"type": "integer"},
        }},
        "status": {"type": "object", "properties": {
            "ready": {"type": "integer"}, "selector": {"type": "string"},
        }},
    }}});
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": schema,
            "subresources": {"status": {}, "scale": {
                "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.ready",
                "labelSelectorPath": ".status.selector",
            }},
            "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
            "selectableFields": [{"jsonPath": ".spec.color"}],
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo", "shortNames": ["fo"], "categories": ["all"]},
            "versions": [version("v1", true), version("v2", false)],
        },
    })
}

fn foo(version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}

fn path(version: &str, rest: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/foos{rest}")
}

/// A server, and what is said to it.
struct World {
    server: Arc<Server>,
}

impl World {
    async fn new() -> Self {
        Self { server: launch::in_memory(&Runtime::system()).await.unwrap() }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> http::Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
        Box::pin(self.server.serve(request)).await
    }

    async fn send(&self, method: &str, path: &str, form: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.ask(method, path, &[("content-type", form)], body).await;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, JSON, &Value::Null).await
    }

    async fn read(&self, path: &str) -> Value {
        let (code, body) = self.get(path).await;
        assert_eq!(code, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let (code, answer) = self.send("POST", path, JSON, body).await;
        assert_eq!(code, 201, "{path}: {answer}");
        answer
    }

    async fn patch(&self, path: &str, form: &str, body: &Value) -> Value {
        let (code, answer) = self.send("PATCH", path, form, body).await;
        assert!(code == 200 || code == 201, "{path}: {answer}");
        answer
    }

    /// Asks until the answer is right.
    async fn until(&self, path: &str, is_right: impl Fn(u16, &Value) -> bool) -> Value {
        let mut last = (0, Value::Null);
        for _ in 0..500 {
            last = self.get(path).await;
            if is_right(last.0, &last.1) {
                return last.1;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path}: {last:?}");
    }

    async fn define(&self, definition: &Value) {
        let made = self.post(DEFINITIONS, definition).await;
        self.established(made["metadata"]["name"].as_str().unwrap()).await;
    }

    async fn established(&self, name: &str) -> Value {
        let path = format!("{DEFINITIONS}/{name}");
        self.until(&path, |_, object| condition(object, "Established") == "True").await
    }

    /// The next events of a watch, as `TYPE apiVersion name`.
    async fn events(&self, path: &str, count: usize) -> Vec<String> {
        let mut body = self.ask("GET", path, &[], String::new()).await.into_body().into_data_stream();
        let (mut text, mut events) = (String::new(), Vec::new());
        while events.len() < count {
            let chunk = tokio::time::timeout(Duration::from_secs(20), body.next()).await.unwrap();
            let Some(chunk) = chunk else { break };
            text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
            while let Some((line, rest)) = text.split_once('\n') {
                let event: Value = serde_json::from_str(line).unwrap();
                let field =
                    |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                events.push(format!(
                    "{} {} {}",
                    field("/type"),
                    field("/object/apiVersion"),
                    field("/object/metadata/name")
                ));
                text = rest.to_owned();
            }
        }
        events
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .find(|it| it["type"] == kind)
        .and_then(|it| it["status"].as_str())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_definition_is_served_and_described_and_takes_its_objects_with_it() {
    let world = World::new().await;
    assert_eq!(world.get("/apis/example.com").await.0, 404);
    world.define(&foos()).await;

    let group = world.read("/apis/example.com").await;
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let list = world.read("/apis/example.com/v1").await;
    let names: Vec<&str> =
        list["resources"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["foos", "foos/status", "foos/scale"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["fo"]));
    let index = world.read("/openapi/v3").await;
    assert!(
        index["paths"]["apis/example.com/v1"].is_object() && index["paths"]["apis/example.com"].is_object()
    );
    let document = world.read("/openapi/v3/apis/example.com/v1").await;
    assert!(document["components"]["schemas"]["com.example.v1.Foo"]["properties"]["spec"].is_object());

    let made = world.post(&path("v1", ""), &foo("v1", "a", &json!({"color": "red", "odd": 1}))).await;
    assert_eq!(made["spec"], json!({"color": "red", "size": 1}));
    assert_eq!(made["metadata"]["generation"], 1);
    let listed = world.read(&path("v1", "")).await;
    assert_eq!((&listed["kind"], &listed["items"][0]["kind"]), (&json!("FooList"), &json!("Foo")));

    let (code, gone) =
        world.send("DELETE", &format!("{DEFINITIONS}/foos.example.com"), JSON, &Value::Null).await;
    assert_eq!((code, condition(&gone, "Terminating")), (200, "True"));
    world.until(&format!("{DEFINITIONS}/foos.example.com"), |code, _| code == 404).await;
    world.until(&path("v1", ""), |code, _| code == 404).await;
    assert_eq!(world.get("/apis/example.com").await.0, 404);
    assert_eq!(world.get("/openapi/v3/apis/example.com/v1").await.0, 404);

    // What is defined anew has none of the old objects.
    world.define(&foos()).await;
    assert_eq!(world.read(&path("v1", "")).await["items"], json!([]));
}

#[tokio::test]
async fn an_object_is_the_same_in_every_version_and_so_is_who_owns_its_fields() {
    let world = World::new().await;
    world.define(&foos()).await;
    world.post(&path("v2", ""), &foo("v2", "a", &json!({"color": "red"}))).await;
    for version in ["v1", "v2"] {
        let object = world.read(&path(version, "/a")).await;
        assert_eq!(object["apiVersion"], format!("example.com/{version}"));
        let list = world.read(&path(version, "")).await;
        assert_eq!(list["items"], json!([object]));
        let events = world.events(&path(version, "?watch=true"), 1).await;
        assert_eq!(events, [format!("ADDED example.com/{version} a")]);
    }
    let applied = foo("v1", "a", &json!({"size": 7}));
    world.patch(&path("v1", "/a?fieldManager=one&force=true"), APPLY, &applied).await;
    let (code, conflict) = world
        .send("PATCH", &path("v2", "/a?fieldManager=two"), APPLY, &foo("v2", "a", &json!({"size": 8})))
        .await;
    assert_eq!(code, 409, "{conflict}");
    assert_eq!(conflict["message"], r#"Apply failed with 1 conflict: conflict with "one": .spec.size"#);
    let again =
        world.patch(&path("v2", "/a?fieldManager=one"), APPLY, &foo("v2", "a", &json!({"size": 9}))).await;
    assert_eq!((&again["spec"]["size"], &again["metadata"]["generation"]), (&json!(9), &json!(3)));
}

#[tokio::test]
async fn parts_columns_and_selectors_are_those_of_the_definition() {
    let world = World::new().await;
    world.define(&foos()).await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        world.post(&path("v1", ""), &foo("v1", name, &json!({"color": color, "replicas": 2}))).await;
    }
    let status = json!({"status": {"ready": 1, "selector": "x=y"}, "spec": {"color": "green"}});
    let object = world.patch(&path("v1", "/a/status"), MERGE, &status).await;
    assert_eq!((&object["spec"]["color"], &object["status"]["ready"]), (&json!("red"), &json!(1)));
    assert_eq!(object["metadata"]["generation"], 1, "a status is no new generation");
    let object = world.patch(&path("v1", "/a"), MERGE, &json!({"status": {"ready": 5}})).await;
    assert_eq!(object["status"]["ready"], 1);

    let scale = world.read(&path("v2", "/a/scale")).await;
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 1, "selector": "x=y"}))
    );
    world.patch(&path("v2", "/a/scale"), MERGE, &json!({"spec": {"replicas": 4}})).await;
    let object = world.read(&path("v1", "/a")).await;
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(4), &json!(2)));
    world.post(&path("v1", ""), &foo("v1", "bare", &json!({"color": "red"}))).await;
    let (code, none) = world.get(&path("v1", "/bare/scale")).await;
    assert_eq!(code, 500);
    assert_eq!(
        none["message"],
        r#"Internal error occurred: the spec replicas field ".spec.replicas" does not exist"#
    );

    let red = world.read(&path("v2", "?fieldSelector=spec.color%3Dred")).await;
    assert_eq!(red["items"].as_array().unwrap().len(), 2);
    let (code, odd) = world.get(&path("v1", "?fieldSelector=spec.size%3D1")).await;
    assert_eq!((code, &odd["message"]), (400, &json!("field label not supported: spec.size")));

    let headers = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = world.ask("GET", &path("v1", ""), &headers, String::new()).await;
    let table = table.into_body().collect().await.unwrap().to_bytes();
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(table["columnDefinitions"][1]["name"], "Color");
    assert_eq!(table["rows"][0]["cells"], json!(["a", "red"]));

    let headers = [("accept", "application/vnd.kubernetes.protobuf")];
    for (rest, what) in [("/a", "Unstructured"), ("", "UnstructuredList")] {
        let answer = world.ask("GET", &path("v1", rest), &headers, String::new()).await;
        assert_eq!(answer.status(), 406, "{what}");
    }
}

#[tokio::test]
async fn a_change_of_the_definition_ends_watches_and_is_in_force_at_once() {
    let world = World::new().await;
    let mut definition = foos();
    // Selectable fields that versions have in common are looked for in a schema that they have in common, and here they are
    // to have none.
    for version in definition["spec"]["versions"].as_array_mut().unwrap() {
        version.as_object_mut().unwrap().remove("selectableFields");
    }
    world.define(&definition).await;
    world.post(&path("v1", ""), &foo("v1", "a", &json!({"color": "red"}))).await;
    let mut definition = world.established("foos.example.com").await;
    definition["spec"]["versions"][0]["storage"] = json!(false);
    definition["spec"]["versions"][1]["storage"] = json!(true);
    definition["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["new"] =
        json!({"type": "string", "default": "n"});
    let one = format!("{DEFINITIONS}/foos.example.com");
    let watch = path("v1", "?watch=true");
    let put = async {
        let (code, put) = world.send("PUT", &one, JSON, &definition).await;
        assert_eq!((code, &put["status"]["storedVersions"]), (200, &json!(["v1", "v2"])), "{put}");
    };
    let (ended, ()) = tokio::join!(world.events(&watch, 100), put);
    assert_eq!(ended, ["ADDED example.com/v1 a"], "and no more: it ended");

    // What lies there in the old version has the old version's defaults; a write gives it the new one's.
    let object = world.read(&path("v2", "/a")).await;
    assert_eq!(object["spec"], json!({"color": "red", "size": 1}));
    let object = world.patch(&path("v2", "/a"), MERGE, &json!({"spec": {"color": "blue"}})).await;
    assert_eq!(object["spec"], json!({"color": "blue", "size": 1, "new": "n"}));
    let object = world.read(&path("v1", "/a")).await;
    assert_eq!(object["spec"], json!({"color": "blue", "size": 1}), "the old version knows no such field");
    assert_eq!(world.read(&path("v2", "/a")).await["spec"]["new"], "n");

    let mut definition = world.read(&one).await;
    definition["spec"]["versions"][0]["served"] = json!(false);
    assert_eq!(world.send("PUT", &one, JSON, &definition).await.0, 200);
    world.until(&path("v1", "/a"), |code, _| code == 404).await;
    world.read(&path("v2", "/a")).await;
    world.until("/apis/example.com/v1", |code, _| code == 404).await;
}

#[tokio::test]
async fn a_name_that_is_free_again_goes_to_who_waits_for_it() {
    let world = World::new().await;
    world.define(&foos()).await;
    let mut other = foos();
    other["metadata"]["name"] = json!("bars.example.com");
    other["spec"]["names"] = json!({"plural": "bars", "kind": "Foo", "singular": "bar"});
    world.post(DEFINITIONS, &other).await;
    let path = format!("{DEFINITIONS}/bars.example.com");
    let waits = world.until(&path, |_, object| condition(object, "NamesAccepted") == "False").await;
    assert_eq!(condition(&waits, "Established"), "False");
    assert_eq!(waits["status"]["acceptedNames"], json!({"plural": "bars", "singular": "bar", "kind": ""}));
    world.send("DELETE", &format!("{DEFINITIONS}/foos.example.com"), JSON, &Value::Null).await;
    let accepted = world.established("bars.example.com").await;
    assert_eq!(accepted["status"]["acceptedNames"]["kind"], "Foo");
}

#[tokio::test]
async fn what_one_server_accepted_every_server_over_the_store_serves() {
    let runtime = Runtime::system();
    let store = Arc::new(Memory::new(&runtime.tasks));
    let one = World { server: launch::over(Arc::clone(&store) as _, &runtime).await.unwrap() };
    let two = World { server: launch::over(Arc::clone(&store) as _, &runtime).await.unwrap() };
    one.define(&foos()).await;
    // At once, without asking again.
    two.post(&path("v1", ""), &foo("v1", "a", &json!({}))).await;
    one.read(&path("v2", "/a")).await;
    // Written once, not by each of them.
    let definition = two.established("foos.example.com").await;
    assert_eq!(definition["status"]["conditions"].as_array().unwrap().len(), 2);
    two.send("DELETE", &format!("{DEFINITIONS}/foos.example.com"), JSON, &Value::Null).await;
    for world in [&one, &two] {
        world.until(&format!("{DEFINITIONS}/foos.example.com"), |code, _| code == 404).await;
        world.until(&path("v1", ""), |code, _| code == 404).await;
    }
    // A server that begins over what is there serves it from the start.
    one.define(&foos()).await;
    let three = World { server: launch::over(store as _, &runtime).await.unwrap() };
    three.read(&path("v1", "")).await;
    three.read("/apis/example.com/v1").await;
}

#[tokio::test]
async fn users_of_a_deprecated_version_are_told_of_the_next() {
    let world = World::new().await;
    let mut definition = foos();
    definition["spec"]["versions"][0]["deprecated"] = json!(true);
    world.define(&definition).await;
    let answer = world.ask("GET", &path("v1", ""), &[], String::new()).await;
    let warning = answer.headers().get("warning").and_then(|it| it.to_str().ok()).unwrap_or_default();
    assert_eq!(warning, r#"299 - "example.com/v1 Foo is deprecated; use example.com/v2 Foo""#);
    assert!(world.ask("GET", &path("v2", ""), &[], String::new()).await.headers().get("warning").is_none());
}

#[tokio::test]
async fn a_resource_is_found_in_its_scope_only() {
    let world = World::new().await;
    let mut definition = foos();
    definition["spec"]["scope"] = json!("Cluster");
    world.define(&definition).await;
    world.post("/apis/example.com/v1/foos", &foo("v1", "a", &json!({}))).await;
    world.read("/apis/example.com/v1/foos/a").await;
    assert_eq!(world.get(&path("v1", "/a")).await.0, 404);
    let (code, odd) = world
        .send(
            "POST",
            "/apis/example.com/v1/foos",
            JSON,
            &json!({
                "apiVersion": "example.com/v1", "kind": "Bar", "metadata": {"name": "b"}
            }),
        )
        .await;
    assert_eq!(code, 422);
    assert!(odd["message"].as_str().unwrap().ends_with("kind: Invalid value: \"Bar\": must be Foo"), "{odd}");
}

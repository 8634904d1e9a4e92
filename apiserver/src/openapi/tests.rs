//! The documents hold together, and say of selected things what upstream's say.

use std::sync::LazyLock;

use serde_json::Map;

use super::*;
use crate::{
    discovery::{CUSTOM_PRIORITY, Freshness, ServedResource, ServedSubresource, builtin},
    resources,
};

static BUILT_IN: LazyLock<OpenApi> =
    LazyLock::new(|| OpenApi::built_in(&builtin::discovery(&resources::all())));

fn body(answer: &Answer) -> Value {
    let Answer::Found { document, .. } = answer else { panic!("{answer:?}") };
    serde_json::from_slice(&document.plain()).unwrap()
}

fn part(path: &str) -> Value {
    body(&BUILT_IN.part(path, None, None))
}

fn schemas(document: &Value) -> &Map<String, Value> {
    document["components"]["schemas"].as_object().unwrap()
}

/// The targets of all references in a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                found.insert(target);
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn assert_no_reference_dangles(document: &Value, name: &str) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{name} refers to {target}");
    }
}

#[test]
fn the_index_names_every_group_and_version_by_its_hash() {
    let index = body(&BUILT_IN.index(None));
    let paths = index["paths"].as_object().unwrap();
    for path in ["api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "apis/autoscaling/v2", "version"] {
        let url = paths[path]["serverRelativeURL"].as_str().unwrap();
        let (place, hash) = url.split_once("?hash=").unwrap();
        assert_eq!(place, format!("/openapi/v3/{path}"));
        assert_eq!(hash.len(), 128, "{url}");
    }
}

#[test]
fn a_document_asked_for_by_its_hash_never_changes() {
    let hash = &BUILT_IN.parts["apis/apps/v1"].hash;
    let immutable = |hash| match BUILT_IN.part("apis/apps/v1", None, hash) {
        Answer::Found { immutable, document, .. } => {
            assert_eq!(document.etag, format!("\"{}\"", BUILT_IN.parts["apis/apps/v1"].hash));
            immutable
        }
        other => panic!("{other:?}"),
    };
    assert!(immutable(Some(hash)));
    assert!(!immutable(None));
    assert!(!immutable(Some("")));
    assert_eq!(
        BUILT_IN.part("apis/apps/v1", None, Some("OLD")),
        Answer::Moved { location: format!("/openapi/v3/apis/apps/v1?hash={hash}") }
    );
    assert_eq!(BUILT_IN.part("apis/apps/v9", None, None), Answer::NotFound);
}

#[test]
fn only_known_forms_are_given() {
    assert_eq!(BUILT_IN.index(Some("text/html")), Answer::NotAcceptable);
    assert_eq!(BUILT_IN.part("api/v1", Some("text/html"), None), Answer::NotAcceptable);
    assert_eq!(BUILT_IN.v2(Some("text/html")), Answer::NotAcceptable);
}

#[test]
fn a_document_of_v3_comes_as_protobuf_with_the_same_tag() {
    let accept = Some("application/com.github.proto-openapi.spec.v3@v1.0+protobuf");
    let Answer::Found { content_type, document, .. } = BUILT_IN.part("apis/apps/v1", accept, None) else {
        panic!("not found");
    };
    assert_eq!(content_type, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf");
    let Answer::Found { document: json, .. } = BUILT_IN.part("apis/apps/v1", None, None) else {
        panic!("not found");
    };
    assert_eq!(document.etag, json.etag);
    let version = api_types::wire::protobuf::bytes_field(&document.plain(), 1).unwrap().map(<[u8]>::to_vec);
    assert_eq!(version.as_deref(), Some(&b"3.0.0"[..]));
}

#[test]
fn no_reference_dangles_and_no_operation_is_named_twice() {
    let mut ids = BTreeSet::new();
    for path in BUILT_IN.parts.keys() {
        let document = part(path);
        assert_no_reference_dangles(&document, path);
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                if let Some(id) = operation.get("operationId") {
                    assert!(ids.insert(id.as_str().unwrap().to_owned()), "{id} is there twice");
                }
            }
        }
    }
    assert_no_reference_dangles(&body(&BUILT_IN.v2(None)), "2.0");
}

#[test]
fn every_kind_can_be_found_by_its_operations_and_has_its_words() {
    for resource in resources::all() {
        let kind = resource.kind();
        let document = part(&path_of(&GroupVersion::new(&kind.group, &kind.version)));
        let wanted = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let operations = document["paths"].as_object().unwrap().values();
        assert!(
            operations
                .flat_map(|item| item.as_object().unwrap().values())
                .any(|operation| operation["x-kubernetes-group-version-kind"] == wanted),
            "{kind}"
        );
        let (name, schema) = schemas(&document)
            .iter()
            .find(|(_, schema)| schema["x-kubernetes-group-version-kind"][0] == wanted)
            .unwrap_or_else(|| panic!("{kind} has no schema"));
        assert!(schema["description"].is_string(), "{name}");
        assert!(schema["properties"]["kind"]["description"].is_string(), "{name}");
    }
}

#[test]
fn a_field_says_how_it_is_merged() {
    let document = part("api/v1");
    let field = |kind: &str, field: &str| {
        let mut property =
            schemas(&document)[&format!("io.k8s.api.core.v1.{kind}")]["properties"][field].clone();
        property.as_object_mut().unwrap().remove("description");
        property
    };
    assert_eq!(
        field("ServiceSpec", "ports"),
        json!({
            "type": "array",
            "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "port",
        })
    );
    assert_eq!(field("PodSpec", "volumes")["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(
        field("ContainerPort", "protocol"),
        json!({"type": "string", "default": "TCP", "enum": ["SCTP", "TCP", "UDP"]})
    );
    assert_eq!(
        field("Pod", "metadata"),
        json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}], "default": {}})
    );
    assert_eq!(
        field("ResourceRequirements", "limits"),
        json!({"type": "object", "additionalProperties": {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"}})
    );
    assert_eq!(
        schemas(&document)["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["oneOf"],
        json!([{"type": "integer"}, {"type": "string"}])
    );
    assert_eq!(
        schemas(&document)["io.k8s.api.core.v1.ConfigMapKeySelector"]["x-kubernetes-map-type"],
        "atomic"
    );
}

#[test]
fn an_operation_says_what_it_takes_and_gives() {
    let document = part("apis/apps/v1");
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let names = |parameters: &Value| -> Vec<String> {
        let parameters = parameters.as_array().unwrap().iter();
        parameters.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&item["parameters"]), ["name", "namespace", "pretty"]);
    assert_eq!(names(&item["patch"]["parameters"]), ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(item["patch"]["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(item["patch"]["x-kubernetes-action"], "patch");
    assert_eq!(item["patch"]["tags"], json!(["apps_v1"]));
    let media: Vec<&String> = item["patch"]["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert_eq!(
        media,
        [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json"
        ]
    );
    assert!(item["get"].get("parameters").is_none(), "all of them are the path's");
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["operationId"], "readAppsV1NamespacedDeploymentScale");
    assert_eq!(scale["x-kubernetes-group-version-kind"]["group"], "autoscaling");
    assert_eq!(
        document["paths"]["/apis/apps/v1/deployments"]["get"]["operationId"],
        "listAppsV1DeploymentForAllNamespaces"
    );
}

#[test]
fn operations_are_named_after_group_version_and_kind() {
    for (path, place, method, id) in [
        ("api/v1", "/api/v1/", "get", "getCoreV1APIResources"),
        ("api/v1", "/api/v1/namespaces/{name}/finalize", "put", "replaceCoreV1NamespaceFinalize"),
        (
            "api/v1",
            "/api/v1/namespaces/{namespace}/pods/{name}/exec",
            "post",
            "connectCoreV1PostNamespacedPodExec",
        ),
        ("api/v1", "/api/v1/nodes/{name}/proxy/{path}", "head", "connectCoreV1HeadNodeProxyWithPath"),
        ("api/v1", "/api/v1/watch/namespaces/{namespace}/pods/{name}", "get", "watchCoreV1NamespacedPod"),
        ("api/v1", "/api/v1/watch/pods", "get", "watchCoreV1PodListForAllNamespaces"),
        (
            "apis/rbac.authorization.k8s.io/v1",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "delete",
            "deleteRbacAuthorizationV1CollectionClusterRole",
        ),
        ("apis/networking.k8s.io", "/apis/networking.k8s.io/", "get", "getNetworkingAPIGroup"),
    ] {
        assert_eq!(part(path)["paths"][place][method]["operationId"], id);
    }
}

#[test]
fn the_older_form_has_everything_in_one_document() {
    let document = body(&BUILT_IN.v2(None));
    assert_eq!(document["swagger"], "2.0");
    let mut paths = 0;
    for path in BUILT_IN.parts.keys() {
        let document_of_part = part(path);
        for place in document_of_part["paths"].as_object().unwrap().keys() {
            assert!(document["paths"].get(place).is_some(), "{place}");
            paths += 1;
        }
        for name in schemas(&document_of_part).keys() {
            assert!(document["definitions"].get(name).is_some(), "{name}");
        }
    }
    assert_eq!(document["paths"].as_object().unwrap().len(), paths);
    let port = &document["definitions"]["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert!(port.get("default").is_none(), "no defaults in 2.0");
    assert_eq!(
        document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]["x-kubernetes-group-version-kind"]
            [0],
        json!({"group": "", "version": "v1", "kind": "DeleteOptions"})
    );
}

/// The fields of a protobuf message: number and bytes, of those that have a length.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        match key & 7 {
            0 => {
                varint(&mut message);
            }
            1 => message = &message[8..],
            2 => {
                let length = usize::try_from(varint(&mut message)).unwrap();
                let (field, rest) = message.split_at(length);
                fields.push((key >> 3, field));
                message = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    fields
}

fn field(message: &[u8], number: u64) -> &[u8] {
    fields(message).into_iter().find(|(it, _)| *it == number).unwrap().1
}

#[test]
fn the_protobuf_form_has_what_the_json_form_has() {
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = BUILT_IN.v2(Some(accept));
    let Answer::Found { content_type, document, .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(*content_type, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    let bytes = document.plain();
    let json = body(&BUILT_IN.v2(None));

    assert_eq!(field(&bytes, 1), b"2.0");
    for (number, inner, section) in [(8, 2, "paths"), (9, 1, "definitions"), (10, 1, "parameters")] {
        let names: BTreeSet<&[u8]> = fields(field(&bytes, number))
            .into_iter()
            .filter(|(it, _)| *it == inner)
            .map(|(_, entry)| field(entry, 1))
            .collect();
        let expected: BTreeSet<&[u8]> =
            json[section].as_object().unwrap().keys().map(String::as_bytes).collect();
        assert_eq!(names, expected, "{section}");
    }
    // io.k8s.api.apps.v1.Deployment: its kind as an extension, and a property that refers to another definition.
    let definitions = fields(field(&bytes, 9));
    let deployment = definitions
        .iter()
        .map(|(_, entry)| *entry)
        .find(|entry| field(entry, 1) == b"io.k8s.api.apps.v1.Deployment")
        .unwrap();
    let schema = field(deployment, 2);
    let extension = field(schema, 31);
    assert_eq!(field(extension, 1), b"x-kubernetes-group-version-kind");
    let yaml: Value = serde_json::from_slice(field(field(extension, 2), 2)).unwrap();
    assert_eq!(yaml, json!([{"group": "apps", "version": "v1", "kind": "Deployment"}]));
    let properties = fields(field(schema, 25));
    let spec = properties.iter().map(|(_, entry)| *entry).find(|entry| field(entry, 1) == b"spec").unwrap();
    assert_eq!(field(field(spec, 2), 1), b"#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
}

fn foo(schema: Option<Value>) -> Part {
    let verbs = |list: &str| list.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let resource = ServedResource {
        name: "foos".to_owned(),
        singular: "foo".to_owned(),
        kind: "Foo".to_owned(),
        namespaced: true,
        verbs: verbs("delete deletecollection get list patch create update watch"),
        subresources: vec![
            ServedSubresource {
                name: "status".to_owned(),
                kind: "Foo".to_owned(),
                group_version: None,
                verbs: verbs("get patch update"),
            },
            ServedSubresource {
                name: "scale".to_owned(),
                kind: "Scale".to_owned(),
                group_version: Some(GroupVersion::new("autoscaling", "v1")),
                verbs: verbs("get patch update"),
            },
        ],
        ..ServedResource::default()
    };
    let group_version = GroupVersion::new("stable.example.com", "v1");
    let served = ServedVersion::new(group_version, CUSTOM_PRIORITY, Freshness::Current, vec![resource]);
    let kind = CustomKind {
        kind: "Foo".to_owned(),
        list_kind: "FooList".to_owned(),
        plural: "foos".to_owned(),
        schema: schema.map(|schema| schema.to_string().into()),
        selectable_fields: vec![".spec.color".to_owned()],
    };
    Part::custom(Arc::new(served), vec![kind])
}

fn schema_of_foo() -> Value {
    json!({
        "type": "object",
        "description": "A Foo.",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["maybe", "color"],
                "properties": {
                    "color": {"type": "string", "default": "red"},
                    "maybe": {"type": "string", "nullable": true},
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
                    "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": true},
                },
            },
        },
    })
}

#[test]
fn a_custom_kind_is_described_like_any_other() {
    let openapi = BUILT_IN.exchange(&[], [foo(Some(schema_of_foo()))]);
    let document = body(&openapi.part("apis/stable.example.com/v1", None, None));
    assert_no_reference_dangles(&document, "custom");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 5, "{:?}", paths.keys());
    let item = &paths["/apis/stable.example.com/v1/namespaces/{namespace}/foos/{name}"];
    assert_eq!(item["patch"]["operationId"], "patchStableExampleComV1NamespacedFoo");
    assert_eq!(item["get"]["tags"], json!(["stableExampleCom_v1"]));
    assert!(item["patch"]["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    let foo = &schemas(&document)["com.example.stable.v1.Foo"];
    assert_eq!(foo["description"], "A Foo.");
    assert_eq!(
        foo["x-kubernetes-group-version-kind"],
        json!([{"group": "stable.example.com", "version": "v1", "kind": "Foo"}])
    );
    assert_eq!(foo["x-kubernetes-selectable-fields"], json!([{"fieldPath": ".spec.color"}]));
    let properties = &foo["properties"];
    assert!(properties["metadata"]["allOf"].is_array() && properties["kind"]["description"].is_string());
    assert_eq!(properties["spec"]["properties"]["color"]["default"], "red");
    assert_eq!(properties["spec"]["properties"]["template"]["required"], json!(["kind", "apiVersion"]));
    let list = &schemas(&document)["com.example.stable.v1.FooList"];
    assert_eq!(
        list["properties"]["items"]["items"]["$ref"],
        "#/components/schemas/com.example.stable.v1.Foo"
    );

    let gone = openapi.exchange(&["apis/stable.example.com/v1".to_owned()], []);
    assert_eq!(gone.part("apis/stable.example.com/v1", None, None), Answer::NotFound);
}

#[test]
fn the_older_form_leaves_out_of_custom_kinds_what_kubectl_cannot_read() {
    let document = body(&BUILT_IN.exchange(&[], [foo(Some(schema_of_foo()))]).v2(None));
    assert_no_reference_dangles(&document, "custom 2.0");
    let spec = &document["definitions"]["com.example.stable.v1.Foo"]["properties"]["spec"];
    assert_eq!(spec["required"], json!(["color"]), "what may be null need not be there");
    assert_eq!(spec["properties"]["maybe"], json!({}));
    assert_eq!(spec["properties"]["any"], json!({"x-kubernetes-preserve-unknown-fields": true}));
    assert_eq!(spec["properties"]["port"], json!({"x-kubernetes-int-or-string": true}));
    let unknown = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    for (schema, openapi) in [
        (None, BUILT_IN.exchange(&[], [foo(None)])),
        (Some(()), BUILT_IN.exchange(&[], [foo(Some(unknown))])),
    ] {
        let document = body(&openapi.v2(None));
        let foo = &document["definitions"]["com.example.stable.v1.Foo"];
        assert!(foo.get("properties").is_none(), "{schema:?}");
    }
}

#[test]
fn a_change_of_a_custom_kind_changes_its_hash_and_no_other() {
    let one = BUILT_IN.exchange(&[], [foo(None)]);
    let two = one.exchange(&[], [foo(Some(schema_of_foo()))]);
    let hash = |openapi: &OpenApi, path: &str| openapi.parts[path].hash.clone();
    assert_ne!(hash(&one, "apis/stable.example.com/v1"), hash(&two, "apis/stable.example.com/v1"));
    assert_eq!(hash(&one, "apis/apps/v1"), hash(&two, "apis/apps/v1"));
    assert_ne!(one.index(None), two.index(None));
}

use serde_json::{Value, json};

use super::*;
use crate::resources::shared::testing::{
    check_create, check_status_update, check_update, created, updated, warnings,
};

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

fn definition(change: Value) -> Value {
    let mut spec = json!({"group": "g.example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
        "versions": [version("v1", true)]});
    merge(&mut spec, change);
    json!({"metadata": {"name": "foos.g.example.com"}, "spec": spec})
}

fn version(name: &str, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object"}}})
}

fn merge(into: &mut Value, change: Value) {
    if let (Value::Object(into), Value::Object(change)) = (into, change) {
        into.extend(change);
    }
}

/// A definition with one version that is changed.
fn with_version(change: Value) -> Value {
    let mut version = version("v1", true);
    merge(&mut version, change);
    definition(json!({"versions": [version]}))
}

fn with_schema(schema: Value) -> Value {
    with_version(json!({"schema": {"openAPIV3Schema": schema}}))
}

fn with_property(property: Value) -> Value {
    with_schema(json!({"type": "object", "properties": {"a": property}}))
}

#[track_caller]
fn check(object: Value, faults: &[&str]) {
    assert_eq!(check_create::<CustomResourceDefinitions>(object), faults);
}

#[test]
fn a_definition_is_completed() {
    let service = json!({"namespace": "n", "name": "s"});
    let object = created::<CustomResourceDefinitions>(definition(
        json!({"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"service": service}}}}),
    ));
    assert_eq!(
        object.pointer("/spec/names"),
        Some(&json!({"plural": "foos", "kind": "Foo", "singular": "foo", "listKind": "FooList"}))
    );
    assert_eq!(object.pointer("/spec/conversion/webhook/clientConfig/service/port"), Some(&json!(443)));
    assert_eq!(object.get("status"), Some(&json!({"storedVersions": ["v1"]})));
    assert_eq!(
        created::<CustomResourceDefinitions>(definition(json!({}))).pointer("/spec/conversion"),
        Some(&json!({"strategy": "None"}))
    );
}

#[test]
fn a_new_version_to_store_is_noted() {
    let mut old = definition(json!({}));
    old["status"] = json!({"storedVersions": ["v1"]});
    let mut new = definition(json!({"versions": [version("v1", false), version("v2", true)]}));
    new["status"] = old["status"].clone();
    assert_eq!(
        updated::<CustomResourceDefinitions>(new, old).get("status"),
        Some(&json!({"storedVersions": ["v1", "v2"]}))
    );
}

#[test]
fn a_definition_has_names_versions_and_schemas() {
    check(definition(json!({})), &[]);
    check(
        json!({"metadata": {"name": "foos.g.example.com"}, "spec": {"names": {}}}),
        &[
            r#"metadata.name: Invalid value: "foos.g.example.com": must be spec.names.plural+"."+spec.group"#,
            "spec.group: Required value",
            "spec.scope: Required value",
            "spec.versions: Invalid value: null: must have exactly one version marked as storage version",
            "spec.names.plural: Required value",
            "spec.names.singular: Required value",
            "spec.names.kind: Required value",
            "spec.names.listKind: Required value",
            "status.storedVersions: Invalid value: null: must have at least one stored version",
        ],
    );
    check(
        definition(json!({"versions": []})),
        &[
            "spec.versions: Invalid value: []: must have exactly one version marked as storage version",
            "status.storedVersions: Invalid value: null: must have at least one stored version",
        ],
    );
    check(
        definition(json!({"versions": [{"name": "v1", "served": true, "storage": true}]})),
        &["spec.versions[0].schema.openAPIV3Schema: Required value"],
    );
    let mut wrong = definition(json!({"group": "g", "scope": "Odd", "versions": [version("V1", true)],
        "names": {"plural": "Foos", "kind": "1", "listKind": "1", "shortNames": ["a", "A"], "categories": ["B"]}}));
    wrong["metadata"]["name"] = json!("Foos.g");
    check(
        wrong,
        &[
            r#"spec.group: Invalid value: "g": should be a domain with at least one dot"#,
            r#"spec.scope: Unsupported value: "Odd": supported values: "Cluster", "Namespaced""#,
            &format!(r#"spec.versions[0].name: Invalid value: "V1": {LABEL}"#),
            &format!(r#"spec.version: Invalid value: "V1": {LABEL}"#),
            &format!(r#"spec.names.plural: Invalid value: "Foos": {LABEL}"#),
            &format!(r#"spec.names.singular: Invalid value: "1": {LABEL}"#),
            &format!(
                r#"spec.names.kind: Invalid value: "1": may have mixed case, but should otherwise match: {LABEL}"#
            ),
            &format!(
                r#"spec.names.listKind: Invalid value: "1": may have mixed case, but should otherwise match: {LABEL}"#
            ),
            &format!(r#"spec.names.shortNames[1]: Invalid value: "A": {LABEL}"#),
            r#"spec.names.listKind: Invalid value: "1": kind and listKind may not be the same"#,
            &format!(r#"spec.names.categories[0]: Invalid value: "B": {LABEL}"#),
        ],
    );
}

#[test]
fn one_version_is_stored() {
    let found = check_create::<CustomResourceDefinitions>(definition(
        json!({"versions": [version("v1", true), version("v1", true)]}),
    ));
    let [unique, one, stored] = found.as_slice() else { panic!("{found:?}") };
    assert!(
        unique.starts_with("spec.versions: Invalid value: [{")
            && unique.ends_with("}]: must contain unique version names")
    );
    assert!(one.ends_with("}]: must have exactly one version marked as storage version"));
    assert_eq!(stored, r#"status.storedVersions: Invalid value: ["v1"]: must have the storage version v1"#);
}

#[test]
fn objects_may_still_be_stored_in_versions_of_before() {
    let mut old = definition(json!({}));
    old["status"] = json!({"storedVersions": ["v1"]});
    let mut new = definition(json!({"versions": [version("v2", true)]}));
    new["status"] = old["status"].clone();
    assert_eq!(
        check_update::<CustomResourceDefinitions>(new, old),
        [
            r#"status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"#
        ]
    );
}

#[test]
fn some_names_are_fixed_and_more_once_established() {
    let mut old = definition(json!({}));
    old["status"] = json!({"storedVersions": ["v1"]});
    let mut new = definition(
        json!({"group": "h.example.com", "scope": "Cluster", "names": {"plural": "bars", "kind": "Bar"}}),
    );
    new["status"] = old["status"].clone();
    let always = [
        r#"spec.group: Invalid value: "h.example.com": field is immutable"#,
        r#"spec.names.plural: Invalid value: "bars": field is immutable"#,
    ];
    assert_eq!(check_update::<CustomResourceDefinitions>(new.clone(), old.clone()), always);
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    assert_eq!(
        check_update::<CustomResourceDefinitions>(new, old),
        [
            r#"spec.scope: Invalid value: "Cluster": field is immutable"#,
            r#"spec.names.kind: Invalid value: "Bar": field is immutable"#,
            always[0],
            always[1],
        ]
    );
}

#[test]
fn groups_of_the_community_are_extended_with_its_leave() {
    let with = |annotation: Option<&str>| {
        let mut object = definition(json!({"group": "k8s.io"}));
        object["metadata"] = json!({"name": "foos.k8s.io"});
        if let Some(annotation) = annotation {
            object["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": annotation});
        }
        object
    };
    let missing = r#"metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111"#;
    check(with(None), &[missing]);
    check(with(Some("unapproved, experimental")), &[]);
    check(with(Some("https://github.com/kubernetes/x/pull/1")), &[]);
    check(
        with(Some("yes")),
        &[
            r#"metadata.annotations[api-approved.kubernetes.io]: Invalid value: "yes": protected groups must have approval annotation "api-approved.kubernetes.io" with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111"#,
        ],
    );
    assert_eq!(check_update::<CustomResourceDefinitions>(with(None), with(None)), [""; 0]);
}

#[test]
fn what_versions_have_in_common_stands_at_the_top() {
    let ref_ = json!({"type": "object", "properties": {"a": {"$ref": "#/x"}}});
    check(
        with_schema(ref_.clone()),
        &["spec.validation.openAPIV3Schema.properties[a].$ref: Forbidden: $ref is not supported"],
    );
    let mut second = version("v2", false);
    second["schema"]["openAPIV3Schema"] = ref_;
    check(
        definition(json!({"versions": [version("v1", true), second]})),
        &["spec.versions[1].schema.openAPIV3Schema.properties[a].$ref: Forbidden: $ref is not supported"],
    );
}

#[test]
fn a_schema_uses_what_is_supported() {
    let base = "spec.validation.openAPIV3Schema";
    for (property, faults) in [
        (json!({"type": "string", "default": "x"}), vec![]),
        (
            json!({"type": "odd"}),
            vec![
                r#".type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string""#,
            ],
        ),
        (
            json!({"id": "a", "additionalItems": true, "patternProperties": {"a": {}}, "definitions": {"a": {}}, "dependencies": {},
                "uniqueItems": true, "type": "null", "items": [{}]}),
            vec![
                r#".type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string""#,
                ".id: Forbidden: id is not supported",
                ".additionalItems: Forbidden: additionalItems is not supported",
                ".patternProperties: Forbidden: patternProperties is not supported",
                ".definitions: Forbidden: definitions is not supported",
                ".dependencies: Forbidden: dependencies is not supported",
                ".type: Forbidden: type cannot be set to null, use nullable as an alternative",
                ".items: Forbidden: items must be a schema object and not an array",
                ".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ],
        ),
        (
            json!({"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": false}),
            vec![
                ".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ],
        ),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            vec![".x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
        ),
        (
            json!({"type": "string", "x-kubernetes-map-type": "odd"}),
            vec![
                r#".type: Invalid value: "string": must be object if x-kubernetes-map-type is specified"#,
                r#".x-kubernetes-map-type: Unsupported value: "odd": supported values: "atomic", "granular""#,
            ],
        ),
        (
            json!({"x-kubernetes-list-type": "odd"}),
            vec![
                ".type: Required value: must not be empty for specified object fields",
                ".type: Required value: must be array if x-kubernetes-list-type is specified",
                r#".x-kubernetes-list-type: Unsupported value: "odd": supported values: "atomic", "set", "map""#,
            ],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "nullable": true}}),
            vec![
                ".items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
                ".items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set",
            ],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
            vec![
                ".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "l", "l", "m"],
                "items": {"type": "object", "properties": {"k": {"type": "string", "nullable": true}, "m": {"type": "array", "items": {"type": "string"}}}, "required": ["m"]}}),
            vec![
                r#".x-kubernetes-list-map-keys: Invalid value: ["k","l","l","m"]: entries must all be names of item properties"#,
                r#".x-kubernetes-list-map-keys: Invalid value: ["k","l","l","m"]: entries must all be names of item properties"#,
                r#".x-kubernetes-list-map-keys: Invalid value: ["k","l","l","m"]: must not contain duplicate entries"#,
                r#".items.properties[m].type: Invalid value: "object": must be a scalar type if parent array's x-kubernetes-list-type is map"#,
                ".items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                ".items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            ],
        ),
        (
            json!({"type": "object", "properties": {"b": {"type": "string"}}, "x-kubernetes-validations": [
                {"rule": " "}, {"rule": "a", "message": " ", "reason": "Odd", "fieldPath": ".c"}, {"rule": "a", "message": "a\nb", "fieldPath": ".b"},
                {"rule": "a\nb", "messageExpression": " "}]}),
            vec![
                ".x-kubernetes-validations[0].rule: Required value: rule is not specified",
                r#".x-kubernetes-validations[1].message: Invalid value: " ": must be non-empty if specified"#,
                r#".x-kubernetes-validations[1].reason: Unsupported value: "Odd": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired""#,
                r#".x-kubernetes-validations[1].fieldPath: Invalid value: ".c": must be a valid path"#,
                r#".x-kubernetes-validations[2].message: Invalid value: "a\nb": must not contain line breaks"#,
                ".x-kubernetes-validations[3].message: Required value: message must be specified if rule contains line breaks",
                ".x-kubernetes-validations[3].messageExpression: Required value: messageExpression must be non-empty if specified",
            ],
        ),
    ] {
        let faults: Vec<String> =
            faults.into_iter().map(|fault| format!("{base}.properties[a]{fault}")).collect();
        assert_eq!(check_create::<CustomResourceDefinitions>(with_property(property)), faults);
    }
}

#[test]
fn a_schema_is_structural_unless_it_never_was() {
    let base = "spec.validation.openAPIV3Schema";
    let odd = json!({"type": "object", "properties": {"a": {"description": "anything"}}});
    let missing =
        format!("{base}.properties[a].type: Required value: must not be empty for specified object fields");
    check(with_schema(odd.clone()), &[&missing]);
    check(
        with_schema(json!({"type": "object", "$schema": "x"})),
        &[&format!(r#"{base}: Invalid value: "": OpenAPIV3Schema 'schema' is not supported"#)],
    );
    let keeping = |schema: Value| {
        let mut object = with_schema(schema);
        object["spec"]["preserveUnknownFields"] = json!(true);
        object
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(check_update::<CustomResourceDefinitions>(keeping(odd.clone()), keeping(odd.clone())), none);
    assert_eq!(check_update::<CustomResourceDefinitions>(with_schema(odd.clone()), keeping(odd)), [missing]);
}

#[test]
fn metadata_takes_no_defaults() {
    let base = "spec.validation.openAPIV3Schema";
    check(
        with_schema(json!({"type": "object", "nullable": true, "properties": {
            "metadata": {"type": "object", "default": {}, "x-kubernetes-embedded-resource": true}}})),
        &[
            &format!("{base}.nullable: Forbidden: nullable cannot be true at the root"),
            &format!(
                "{base}.properties[metadata].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            ),
            &format!(
                "{base}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"
            ),
            &format!("{base}.properties[metadata].default: Forbidden: must not be set in top-level metadata"),
            &format!(
                "{base}.properties[metadata].x-kubernetes-embedded-resource: Forbidden: must not be used inside of resource meta"
            ),
        ],
    );
}

#[test]
fn a_schema_next_to_a_status_is_of_an_object() {
    let object = |schema: Value| {
        with_version(json!({"subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}))
    };
    check(object(json!({"type": "object", "properties": {}, "required": ["a"]})), &[]);
    check(
        object(json!({"type": "array"})),
        &[
            r#"spec.validation.openAPIV3Schema.type: Invalid value: "array": only "object" is allowed as the type at the root of the schema if the status subresource is enabled"#,
            "spec.validation.openAPIV3Schema.items: Required value: must be specified",
            r#"spec.validation.openAPIV3Schema.type: Invalid value: "array": must be object at the root"#,
        ],
    );
    check(
        object(json!({"type": "object", "not": {}})),
        &[
            r#"spec.validation.openAPIV3Schema: Invalid value: {"not":{},"type":"object"}: only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled"#,
        ],
    );
}

#[test]
fn subresources_columns_and_fields_point_somewhere() {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"a": {"type": "string"}, "l": {"type": "array", "items": {"type": "string"}}}}}}});
    check(
        with_version(json!({"schema": schema,
            "subresources": {"scale": {"specReplicasPath": "spec.replicas", "statusReplicasPath": ".spec.replicas", "labelSelectorPath": ".a"}},
            "additionalPrinterColumns": [{"name": "", "type": "string", "jsonPath": "spec"}, {"name": "a", "type": "odd", "format": "odd"}],
            "selectableFields": [{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.nosuch"}, {"jsonPath": ".spec.l"}, {"jsonPath": ".spec.a"}, {"jsonPath": ""}]})),
        &[
            r#"spec.subresources.scale.specReplicasPath: Invalid value: "spec.replicas": must be a simple json path starting with ."#,
            r#"spec.subresources.scale.statusReplicasPath: Invalid value: ".spec.replicas": should be a json path under .status"#,
            r#"spec.subresources.scale.labelSelectorPath: Invalid value: ".a": should be a json path under either .spec or .status"#,
            "spec.additionalPrinterColumns[0].name: Required value",
            r#"spec.additionalPrinterColumns[0].JSONPath: Invalid value: "spec": must be a simple json path starting with ."#,
            r#"spec.additionalPrinterColumns[1].type: Invalid value: "odd": must be one of boolean,date,integer,number,string"#,
            r#"spec.additionalPrinterColumns[1].format: Invalid value: "odd": must be one of byte,date,date-time,double,float,int32,int64,password"#,
            "spec.additionalPrinterColumns[1].JSONPath: Required value",
            r#"spec.selectableFields[1].jsonPath: Invalid value: ".spec.nosuch": is an invalid path: does not refer to a valid field"#,
            r#"spec.selectableFields[2].jsonPath: Invalid value: ".spec.l": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."#,
            r#"spec.selectableFields[3].jsonPath: Duplicate value: ".spec.a""#,
            "spec.selectableFields[4].jsonPath: Required value",
        ],
    );
}

#[test]
fn a_version_is_deprecated_in_printable_words() {
    check(with_version(json!({"deprecated": true, "deprecationWarning": "use \"v2\""})), &[]);
    check(
        with_version(json!({"deprecationWarning": "a"})),
        &[
            r#"spec.versions[0].deprecationWarning: Invalid value: "a": can only be set for deprecated versions"#,
        ],
    );
    check(
        with_version(json!({"deprecated": true, "deprecationWarning": "a\n"})),
        &[
            r#"spec.versions[0].deprecationWarning: Invalid value: "a\n": must only contain printable UTF-8 characters; non-printable character found at index 1"#,
        ],
    );
}

#[test]
fn conversion_by_webhook_says_where_and_in_which_versions() {
    let with = |conversion: Value| definition(json!({"conversion": conversion}));
    check(
        with(json!({"strategy": "Webhook"})),
        &[
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.conversion.conversionReviewVersions: Required value",
        ],
    );
    check(
        with(
            json!({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "http://a/"}, "conversionReviewVersions": ["v2"]}}),
        ),
        &[
            r#"spec.conversion.webhookClientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]"#,
            r#"spec.conversion.conversionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1"#,
        ],
    );
    check(
        with(
            json!({"strategy": "None", "webhook": {"clientConfig": {"url": "https://a/"}, "conversionReviewVersions": ["v1"]}}),
        ),
        &[
            "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
            "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
        ],
    );
    check(
        with(json!({"strategy": "Odd"})),
        &[r#"spec.conversion.strategy: Unsupported value: "Odd": supported values: "None", "Webhook""#],
    );
    let webhook = |bundle: &str| {
        let mut object = with(json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://a/", "caBundle": bundle}}}));
        object["status"] =
            json!({"storedVersions": ["v1"], "conditions": [{"type": "Established", "status": "True"}]});
        object
    };
    check(webhook("eA=="), &[]);
    assert_eq!(
        check_update::<CustomResourceDefinitions>(webhook("eA=="), webhook("")),
        [
            r#"spec.conversion.webhookClientConfig.caBundle: Invalid value: "eA==": unable to load root certificates: unable to parse bytes as PEM block"#
        ]
    );
    assert_eq!(check_update::<CustomResourceDefinitions>(webhook("eQ=="), webhook("eA==")), [""; 0]);
}

#[test]
fn unknown_fields_are_no_longer_kept_as_a_whole() {
    check(
        definition(json!({"preserveUnknownFields": true})),
        &[
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ],
    );
    let mut old = definition(
        json!({"preserveUnknownFields": true, "versions": [{"name": "v1", "storage": true, "served": true}]}),
    );
    old["status"] = json!({"storedVersions": ["v1"]});
    assert_eq!(check_update::<CustomResourceDefinitions>(old.clone(), old.clone()), [""; 0]);
    let mut new = old.clone();
    new["spec"]["preserveUnknownFields"] = json!(false);
    assert_eq!(
        check_update::<CustomResourceDefinitions>(new, old),
        ["spec.versions[0].schema.openAPIV3Schema: Required value: because otherwise all fields are pruned"]
    );
}

#[test]
fn formats_that_mean_nothing_are_pointed_out() {
    let format = |format: &str| with_property(json!({"type": "string", "format": format}));
    assert_eq!(warnings::<CustomResourceDefinitions>(format("date-time")), [""; 0]);
    assert_eq!(warnings::<CustomResourceDefinitions>(format("odd")), [r#"unrecognized format "odd""#]);
    assert_eq!(
        warnings::<CustomResourceDefinitions>(with_property(json!({"type": "integer", "format": "date"}))),
        [r#"unrecognized format "date""#]
    );
}

#[test]
fn accepted_names_are_names() {
    let mut new = definition(json!({}));
    new["status"] = json!({"acceptedNames": {"plural": "A"}, "storedVersions": []});
    assert_eq!(
        check_status_update::<CustomResourceDefinitions>(new, definition(json!({}))),
        [format!(r#"status.acceptedNames.plural: Invalid value: "A": {LABEL}"#)]
    );
}

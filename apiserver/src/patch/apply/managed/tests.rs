use serde_json::json;

use super::*;

fn entry(manager: &str, operation: &str, version: &str, time: &str, fields: Value) -> Value {
    json!({
        "manager": manager, "operation": operation, "apiVersion": version, "time": time, "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    })
}

#[test]
fn entries_are_sorted_by_operation_time_and_name() {
    let at = |second: u32| format!("2024-01-01T00:00:0{second}Z");
    let sorted = vec![
        json!({"manager": "z", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}),
        entry("b", "Apply", "v1", &at(1), json!({"f:a": {}})),
        entry("a", "Apply", "v1", &at(2), json!({})),
        entry("a", "Update", "v1", &at(1), json!({})),
        entry("a", "Update", "v2", &at(1), json!({})),
        entry("b", "Update", "v1", &at(1), json!({})),
    ];
    let mut shuffled = sorted.clone();
    shuffled.reverse();
    let read = Managed::sent(Some(Value::Array(shuffled))).unwrap();
    assert_eq!(read.encode(), Some(Value::Array(sorted)));
    assert_eq!(Managed::default().encode(), None);
}

#[test]
fn an_applier_is_the_same_in_every_version_an_updater_is_not() {
    let list = json!([
        entry("a", "Apply", "v1", "", json!({"f:x": {}})),
        entry("a", "Apply", "v2", "", json!({"f:y": {}})),
        entry("a", "Update", "v1", "", json!({})),
        entry("a", "Update", "v2", "", json!({})),
    ]);
    let read = Managed::sent(Some(list)).unwrap();
    let versions: Vec<&str> = read.entries.iter().map(|entry| entry.api_version.as_str()).collect();
    assert_eq!(versions, ["v2", "v1", "v2"]);
}

#[test]
fn what_cannot_be_a_record_is_refused() {
    let broken = |change: &dyn Fn(&mut Value)| {
        let mut entry = entry("a", "Apply", "v1", "", json!({}));
        change(&mut entry);
        validate(Some(&json!([entry]))).unwrap_err()
    };
    assert_eq!(broken(&|it| it["operation"] = "Patch".into()), "operation must be `Apply` or `Update`");
    assert_eq!(broken(&|it| it["apiVersion"] = "".into()), "apiVersion must not be empty");
    assert_eq!(broken(&|it| it["fieldsType"] = "".into()), "missing fieldsType in managed fields entry 0");
    assert_eq!(
        broken(&|it| it["fieldsType"] = "V2".into()),
        "invalid fieldsType \"V2\" in managed fields entry 0"
    );
    assert!(broken(&|it| it["fieldsV1"] = json!({"x": {}})).contains("error decoding set: key must be 2"));
    assert_eq!(validate(None), Ok(()));
}

#[test]
fn an_empty_list_and_a_list_with_an_empty_entry_reset_the_record() {
    for (list, resets) in [
        (json!([]), true),
        (json!([{}]), true),
        (json!([{"manager": "", "time": null}]), true),
        (json!([{}, {}]), false),
        (json!([{"manager": "a"}]), false),
        (json!(null), false),
        (json!({}), false),
    ] {
        assert_eq!(is_reset(&list), resets, "{list}");
    }
}

#[test]
fn the_oldest_updates_of_a_version_are_put_together() {
    let field = |name: &str| json!({format!("f:{name}"): {}});
    let mut list: Vec<Value> = (0..9)
        .map(|it| {
            entry(
                &format!("m{it}"),
                "Update",
                "v1",
                &format!("2024-01-01T00:00:1{it}Z"),
                field(&it.to_string()),
            )
        })
        .collect();
    list.push(entry("other", "Update", "v0", "2024-01-01T00:00:00Z", field("o")));
    list.push(entry("applier", "Apply", "v1", "2023-01-01T00:00:00Z", field("p")));
    let mut managed = Managed::sent(Some(Value::Array(list.clone()))).unwrap();
    managed.cap();
    assert_eq!(managed.entries.len(), 11, "ten updates are not too many");

    list.push(entry("m9", "Update", "v1", "2024-01-01T00:00:19Z", field("9")));
    list.push(entry("n", "Update", "v1", "2024-01-01T00:00:20Z", field("n")));
    let mut managed = Managed::sent(Some(Value::Array(list))).unwrap();
    managed.cap();
    let encoded = managed.encode().unwrap();
    let encoded = encoded.as_array().unwrap();
    assert_eq!(encoded.len(), 11);
    let ancient = json!({"f:0": {}, "f:1": {}, "f:2": {}});
    assert!(encoded.contains(&entry("ancient-changes", "Update", "v1", "2024-01-01T00:00:12Z", ancient)));
    assert!(encoded.contains(&entry("other", "Update", "v0", "2024-01-01T00:00:00Z", field("o"))));
}

#[test]
fn managers_are_named_with_subresource_and_for_updates_with_version() {
    for (identity, shown, key) in [
        (Identity::new("a", Operation::Apply, "", "v1"), r#""a""#, r#"{"manager":"a","operation":"Apply"}"#),
        (
            Identity::new("a", Operation::Apply, "scale", "v1"),
            r#""a" with subresource "scale""#,
            r#"{"manager":"a","operation":"Apply","subresource":"scale"}"#,
        ),
        (
            Identity::of_writer("", Operation::Update, "", "apps/v1"),
            r#""unknown" using apps/v1"#,
            r#"{"manager":"unknown","operation":"Update","apiVersion":"apps/v1"}"#,
        ),
    ] {
        assert_eq!(identity.to_string(), shown);
        assert_eq!(String::from_utf8(identity.sort_key()).unwrap(), key);
    }
}

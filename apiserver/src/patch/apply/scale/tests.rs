use serde_json::json;

use super::*;

const REPLICAS_OF_DEPLOYMENTS: Replicas<'static> =
    Replicas { api_version: "apps/v1", paths: &[("apps/v1", &["spec", "replicas"])] };

fn entry(manager: &str, version: &str, subresource: &str, fields: Value) -> Value {
    let mut entry = json!({
        "manager": manager, "operation": "Apply", "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields,
    });
    if !subresource.is_empty() {
        entry["subresource"] = subresource.into();
    }
    entry
}

#[test]
fn a_scale_shows_who_has_the_replica_count() {
    let object = json!([
        entry("a", "apps/v1", "", json!({"f:spec": {"f:replicas": {}, "f:selector": {}}})),
        entry("b", "apps/v1", "", json!({"f:spec": {"f:selector": {}}})),
        entry("c", "apps/v0", "", json!({"f:spec": {"f:replicas": {}}})),
    ]);
    assert_eq!(
        REPLICAS_OF_DEPLOYMENTS.of_scale(Some(&object)),
        Ok(Some(json!([entry("a", "autoscaling/v1", "", json!({"f:spec": {"f:replicas": {}}}))])))
    );
    assert_eq!(REPLICAS_OF_DEPLOYMENTS.of_scale(None), Ok(None));
}

#[test]
fn who_loses_the_replica_count_in_the_scale_loses_it_in_the_object() {
    let object = json!([
        entry("a", "apps/v1", "", json!({"f:spec": {"f:replicas": {}, "f:selector": {}}})),
        entry("only", "apps/v1", "", json!({"f:spec": {"f:replicas": {}}})),
        entry("keeps", "apps/v1", "", json!({"f:spec": {"f:replicas": {}, "f:x": {}}})),
    ]);
    let scale = json!([
        entry("b", "autoscaling/v1", "scale", json!({"f:spec": {"f:replicas": {}}})),
        entry("keeps", "autoscaling/v1", "", json!({"f:spec": {"f:replicas": {}}})),
    ]);
    assert_eq!(
        REPLICAS_OF_DEPLOYMENTS.of_object(Some(&object), Some(&scale)),
        Ok(Some(json!([
            entry("a", "apps/v1", "", json!({"f:spec": {"f:selector": {}}})),
            entry("b", "apps/v1", "scale", json!({"f:spec": {"f:replicas": {}}})),
            entry("keeps", "apps/v1", "", json!({"f:spec": {"f:replicas": {}, "f:x": {}}})),
        ])))
    );
}

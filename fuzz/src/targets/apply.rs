//! Server-side apply: the same configuration applied twice is one applied once, whoever else has applied something in between.
//!
//! An input is a kind's byte and configurations, one a line; each is applied by one of two managers, now and then by force.

use api_types::{
    kind::GroupVersionKind,
    object::{ObjectExt as _, object_of},
    wire::{json, typed, yaml},
};
use apiserver::patch::apply::{BuiltIn, FieldManager, Reset};
use jiff::Timestamp;
use serde_json::Value;

use super::{Target, gist, json as bodies};

/// See the module.
pub(super) struct Apply;

impl Target for Apply {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let more = [
            r#"{"metadata":{"labels":{"c":"d"}},"spec":{"containers":[{"name":"d","ports":[{"containerPort":1,"protocol":"UDP"}]}]}}"#,
            r#"{"metadata":{"finalizers":["a","b"],"ownerReferences":[{"uid":"u","name":"n"}]}}"#,
            r#"{"spec":{"ports":[{"port":1,"protocol":"TCP"},{"port":1,"protocol":"UDP"}],"selector":{"a":"b"}}}"#,
        ];
        let mut seeds = Vec::new();
        for (kind, object) in bodies::OBJECTS {
            for more in more {
                seeds.push(bodies::input(kind, format!("{object}\n{more}\n{object}").as_bytes()));
            }
        }
        seeds
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\n",
            "null",
            "0",
            "\"a\"",
            "\"metadata\":",
            "\"labels\":",
            "\"spec\":",
            "\"containers\":",
            "\"name\":",
            "\"ports\":",
            "\"containerPort\":",
            "\"protocol\":",
            "\"finalizers\":",
            "\"managedFields\":",
            "\"f:a\":{}",
            "\"k:{\\\"name\\\":\\\"c\\\"}\":",
            "{}",
            "[]",
            "\"uid\":",
            "\"data\":",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let Some((kind, _, rest)) = bodies::kind(input) else { return "nothing".to_owned() };
        let Some((group, version, _)) = bodies::KINDS.iter().find(|(_, _, name)| *name == kind) else {
            return "nothing".to_owned();
        };
        if matches!(kind, "DeleteOptions" | "Status" | "PodList") {
            return "not stored".to_owned();
        }
        let kind = GroupVersionKind::new(group, version, kind);
        let versions = BuiltIn { kind: &kind, convert: None };
        let manager = FieldManager {
            kind: &kind,
            versions: &versions,
            subresource: "",
            reset: Reset::Fields(&[&["status"]]),
            now: Timestamp::from_second(1_700_000_000).unwrap_or_default(),
        };
        let mut live: Option<Value> = None;
        let mut outcome = Vec::new();
        for (at, line) in rest.split(|byte| *byte == b'\n').take(6).enumerate() {
            let Ok(read) = yaml::to_value(line) else { continue };
            let mut applied = read.value;
            let fields = object_of(&mut applied);
            fields.insert("kind".to_owned(), kind.kind.clone().into());
            fields.insert("apiVersion".to_owned(), kind.api_version().into());
            let name = ["ann", "ben"][at % 2];
            let force = at % 3 == 2;
            match step(&manager, live.as_ref(), &applied, name, force) {
                Ok(mut next) => {
                    next.set_meta("uid", "1");
                    if says_nothing(&applied) {
                        live = Some(next);
                        outcome.push("nothing".to_owned());
                        continue;
                    }
                    let again = step(&manager, Some(&next), &applied, name, force);
                    let mut again =
                        again.unwrap_or_else(|why| panic!("applied twice: {why}\n{applied}\nto {next}"));
                    if next.meta().is_none_or(|meta| !meta.contains_key("managedFields")) {
                        // Who applies nothing is not on record, so what is there counts as older than any apply.
                        again.meta_mut().remove("managedFields");
                    }
                    assert_eq!(again, next, "applied twice\n{applied}");
                    live = Some(next);
                    outcome.push("applied".to_owned());
                }
                Err(why) => outcome.push(gist(&why)),
            }
        }
        outcome.join("\u{1f}")
    }
}

/// Whether nulls or empty things stand anywhere in a configuration: they are applied, and owned, but are not there when the
/// object is read again, so that a second apply adds them again, or meets those who own them too.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty() || map.values().any(says_nothing),
        Value::Array(items) => items.is_empty() || items.iter().any(says_nothing),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// One apply as the server does it: the outcome is fitted to its type.
fn step(
    manager: &FieldManager<'_>,
    live: Option<&Value>,
    applied: &Value,
    name: &str,
    force: bool,
) -> Result<Value, String> {
    let object = manager.apply(live, applied, name, force).map_err(|status| status.message)?;
    let kind = manager.kind;
    let Some(of) = api_types::schema::schema().type_of(&kind.group, &kind.version, &kind.kind) else {
        return Ok(object);
    };
    let fitted = typed::decode(&json::encode_untyped(&object), of)?;
    Ok(fitted.value)
}

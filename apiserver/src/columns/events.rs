//! Events, under both of their names: `v1` and `events.k8s.io/v1` are two spellings of the same objects.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use serde_json::Value;

use super::{
    TableDef,
    column::{NAME, of, text, wide, wider},
    human,
    read::{self, ObjectExt as _, at, integer},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "events").then_some(&EVENTS)
}

pub(super) static EVENTS: TableDef = TableDef::new(
    &[
        text("Last Seen", of::<Event>("lastTimestamp")),
        text("Type", of::<Event>("type")),
        text("Reason", of::<Event>("reason")),
        text("Object", of::<Event>("involvedObject")),
        wide("Subobject", of::<ObjectReference>("fieldPath")),
        wide("Source", of::<Event>("source")),
        text("Message", of::<Event>("message")),
        wide("First Seen", of::<Event>("firstTimestamp")),
        wide("Count", of::<Event>("count")),
        wider(NAME),
    ],
    cells,
);

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    // The first of the two spellings that says something.
    let either = |one: &str, other: &str| match read::text(event, one) {
        "" => read::text(event, other).to_owned(),
        text => text.to_owned(),
    };
    let first_seen = match either("firstTimestamp", "deprecatedFirstTimestamp").as_str() {
        "" => human::since(read::text(event, "eventTime"), now),
        first => human::since(first, now),
    };
    let series = at(event, "series");
    let (last_seen, count) = if series.is_object() {
        (human::since(read::text(series, "lastObservedTime"), now), integer(series, "count"))
    } else {
        let last_seen = match either("lastTimestamp", "deprecatedLastTimestamp").as_str() {
            "" => first_seen.clone(),
            last => human::since(last, now),
        };
        // Single events of the newer spelling have no count.
        (last_seen, (integer(event, "count") + integer(event, "deprecatedCount")).max(1))
    };
    let involved = match at(event, "involvedObject") {
        Value::Null => at(event, "regarding"),
        involved => involved,
    };
    let mut target = read::text(involved, "kind").to_lowercase();
    match read::text(involved, "name") {
        "" => {}
        name => target = format!("{target}/{name}"),
    }
    vec![
        last_seen.into(),
        read::text(event, "type").into(),
        read::text(event, "reason").into(),
        target.into(),
        read::text(involved, "fieldPath").into(),
        source(event).into(),
        either("message", "note").trim().into(),
        first_seen.into(),
        count.into(),
        event.name().into(),
    ]
}

fn source(event: &Value) -> String {
    let source = match at(event, "source") {
        Value::Null => at(event, "deprecatedSource"),
        source => source,
    };
    let first = |candidates: [&Value; 3]| -> String {
        candidates
            .iter()
            .find_map(|it| it.as_str().filter(|text| !text.is_empty()))
            .unwrap_or_default()
            .to_owned()
    };
    let component =
        first([at(source, "component"), at(event, "reportingComponent"), at(event, "reportingController")]);
    match first([at(source, "host"), at(event, "reportingInstance"), &Value::Null]).as_str() {
        "" => component,
        instance => format!("{component}, {instance}"),
    }
}

//! Events: `events` of `v1`, the form in which all events are stored.
//!
//! The same objects are served as `events.k8s.io/v1`; [`event_to_core`] and [`event_from_core`] translate. Events written through
//! `v1` meet only the old rules, those written through the newer group also [`strict_faults`].

use std::time::Duration;

use api_types::{
    field::{BadValue, Fault, Faults, Path},
    typed::is_unset,
};
use k8s_openapi::{
    api::core::v1::{Event, ObjectReference},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use serde_json::Value;

use crate::{
    registry::strategy::{Context, Dependents, NameRule, Names, SelectableField, Strategy},
    resources::shared::{
        internal::printed,
        metadata::invalid_each,
        names::{dns_subdomain, dns1123_subdomain, path_segment, qualified_name},
        optional::Text,
    },
};

/// The most bytes of an event's action, its reason and the instance that reports it.
const WORD_LENGTH_MAX: usize = 128;
/// The most bytes of an event's message.
const NOTE_LENGTH_MAX: usize = 1024;

/// What the newer group calls the fields of the older one.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

const fn selectable(label: &'static str, path: &'static str) -> SelectableField {
    SelectableField { label, path, absent: "" }
}

/// The strategy of Events.
pub(crate) struct Events;

impl Strategy for Events {
    type Object = Event;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Event",
        plural: "events",
        singular: "event",
        short: &["ev"],
        categories: &[],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const KNOWN_FINALIZERS: bool = false;
    const ALIAS_SELECTABLE: &'static [SelectableField] = &[
        selectable("regarding.kind", "involvedObject.kind"),
        selectable("regarding.namespace", "involvedObject.namespace"),
        selectable("regarding.name", "involvedObject.name"),
        selectable("regarding.uid", "involvedObject.uid"),
        selectable("regarding.apiVersion", "involvedObject.apiVersion"),
        selectable("regarding.resourceVersion", "involvedObject.resourceVersion"),
        selectable("regarding.fieldPath", "involvedObject.fieldPath"),
        selectable("reportingController", "reportingComponent"),
    ];
    const DEPENDENTS: Dependents = Dependents::Unsupported;
    const TIME_TO_LIVE: Option<Duration> = Some(Duration::from_secs(3600));
    const CREATE_ON_UPDATE: bool = true;
    const SELECTABLE: &'static [SelectableField] = &[
        selectable("involvedObject.kind", "involvedObject.kind"),
        selectable("involvedObject.namespace", "involvedObject.namespace"),
        selectable("involvedObject.name", "involvedObject.name"),
        selectable("involvedObject.uid", "involvedObject.uid"),
        selectable("involvedObject.apiVersion", "involvedObject.apiVersion"),
        selectable("involvedObject.resourceVersion", "involvedObject.resourceVersion"),
        selectable("involvedObject.fieldPath", "involvedObject.fieldPath"),
        selectable("reason", "reason"),
        selectable("reportingComponent", "reportingComponent"),
        selectable("source", "source.component|reportingComponent"),
        selectable("type", "type"),
    ];

    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        path_segment(name, prefix)
    }

    fn validate(cx: &Context<'_>, object: &Event) -> Faults {
        let mut faults = old_faults(object, reporter(cx));
        if is_strict(cx) {
            faults.extend(strict_faults(object));
        }
        faults
    }

    fn creation_faults(
        cx: &Context<'_>,
        object: &Event,
        metadata: &dyn Fn(NameRule<'_>) -> Faults,
    ) -> Faults {
        let mut faults = old_faults(object, reporter(cx));
        if is_strict(cx) {
            faults.extend(metadata(&dns_subdomain));
            faults.extend(strict_faults(object));
        }
        // The metadata of all events are looked at when nothing else is wrong.
        if faults.is_empty() { metadata(&path_segment) } else { faults }
    }

    fn validate_update(cx: &Context<'_>, object: &Event, old: &Event) -> Faults {
        let mut faults = old_faults(object, reporter(cx));
        if is_strict(cx) {
            faults.extend(strict_update_faults(object, old));
        }
        faults
    }
}

/// Whether the event is written through the newer group.
fn is_strict(cx: &Context<'_>) -> bool {
    cx.group == "events.k8s.io"
}

/// What the group that is written through calls the reporting controller.
fn reporter(cx: &Context<'_>) -> &'static str {
    if is_strict(cx) { "reportingController" } else { "reportingComponent" }
}

/// What is wrong by the rules that all events meet.
fn old_faults(event: &Event, reporter: &str) -> Faults {
    let mut faults = Vec::new();
    let namespace = event.metadata.namespace.text();
    let involved = event.involved_object.namespace.text();
    let mismatch =
        || Fault::invalid(&Path::new("involvedObject.namespace"), involved, "does not match event.namespace");
    if event.event_time.is_none() {
        let matches = match involved {
            "" => matches!(namespace, "" | "default"),
            involved => involved == namespace,
        };
        if !matches {
            faults.push(mismatch());
        }
    } else {
        if involved.is_empty() && !matches!(namespace, "default" | "kube-system") {
            faults.push(mismatch());
        }
        let controller = event.reporting_component.text();
        let path = Path::new(reporter);
        if controller.is_empty() {
            faults.push(Fault::required(&path, ""));
        }
        faults.extend(invalid_each(&path, controller, qualified_name(controller)));
        for (field, value) in [
            ("reportingInstance", &event.reporting_instance),
            ("action", &event.action),
            ("reason", &event.reason),
        ] {
            let (path, value) = (Path::new(field), value.text());
            if value.is_empty() {
                faults.push(Fault::required(&path, ""));
            }
            faults.extend(too_long(&path, value, WORD_LENGTH_MAX));
        }
        faults.extend(too_long(&Path::new("message"), event.message.text(), NOTE_LENGTH_MAX));
    }
    faults.extend(invalid_each(&Path::new("namespace"), namespace, dns1123_subdomain(namespace)));
    faults
}

fn too_long(path: &Path, value: &str, max: usize) -> Option<Fault> {
    (value.len() > max).then(|| Fault::invalid(path, "", format!("can have at most {max} characters")))
}

/// What else is wrong with a new event of the newer group. Paths are those of the stored form.
fn strict_faults(event: &Event) -> Faults {
    let mut faults = series_faults(event);
    if event.event_time.is_none() {
        faults.push(Fault::required(&Path::new("eventTime"), ""));
    }
    let kind = event.type_.text();
    if !matches!(kind, "Normal" | "Warning") {
        faults.push(Fault::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let source = event.source.as_ref();
    let source_given = source.is_some_and(|it| !it.component.text().is_empty() || !it.host.text().is_empty());
    for (given, field) in [
        (event.first_timestamp.is_some(), "firstTimestamp"),
        (event.last_timestamp.is_some(), "lastTimestamp"),
        (event.count.unwrap_or_default() != 0, "count"),
        (source_given, "source"),
    ] {
        if given {
            faults.push(Fault::invalid(&Path::new(field), "", "needs to be unset"));
        }
    }
    faults
}

/// What is wrong with a change of an event through the newer group: all but the series is fixed.
fn strict_update_faults(event: &Event, old: &Event) -> Faults {
    let mut faults = Vec::new();
    if event.series != old.series {
        faults.extend(series_faults(event));
    }
    let mut fixed = |same: bool, field: &str, value: BadValue| {
        if !same {
            faults.push(Fault::invalid(&Path::new(field), value, "field is immutable"));
        }
    };
    let word = |value: &Option<String>| value.text().to_owned();
    let same = |a: &Option<String>, b: &Option<String>| a.text() == b.text();
    let source = |event: &Event| {
        let source = event.source.clone().unwrap_or_default();
        (source.component.unwrap_or_default(), source.host.unwrap_or_default())
    };
    let reason = |fixed: &mut dyn FnMut(bool, &str, BadValue)| {
        fixed(same(&event.reason, &old.reason), "reason", word(&event.reason).into());
    };
    fixed(
        event.involved_object == old.involved_object,
        "involvedObject",
        reference(Some(&event.involved_object)),
    );
    reason(&mut fixed);
    fixed(same(&event.message, &old.message), "message", word(&event.message).into());
    fixed(source(event) == source(old), "source", printed("core.EventSource", &event.source));
    fixed(
        event.first_timestamp == old.first_timestamp,
        "firstTimestamp",
        BadValue::json(&event.first_timestamp),
    );
    fixed(event.last_timestamp == old.last_timestamp, "lastTimestamp", BadValue::json(&event.last_timestamp));
    let count = event.count.unwrap_or_default();
    fixed(count == old.count.unwrap_or_default(), "count", count.into());
    reason(&mut fixed);
    fixed(same(&event.type_, &old.type_), "type", word(&event.type_).into());
    // Clients may write times finer than they are stored.
    let micros = |time: &Option<MicroTime>| time.as_ref().map(|time| time.0.as_microsecond());
    fixed(
        micros(&event.event_time) == micros(&old.event_time),
        "eventTime",
        BadValue::json(&event.event_time),
    );
    fixed(same(&event.action, &old.action), "action", word(&event.action).into());
    fixed(event.related == old.related, "related", reference(event.related.as_ref()));
    fixed(
        same(&event.reporting_component, &old.reporting_component),
        "reportingController",
        word(&event.reporting_component).into(),
    );
    fixed(
        same(&event.reporting_instance, &old.reporting_instance),
        "reportingInstance",
        word(&event.reporting_instance).into(),
    );
    faults
}

fn series_faults(event: &Event) -> Faults {
    let mut faults = Vec::new();
    if let Some(series) = &event.series {
        if series.count.unwrap_or_default() < 2 {
            faults.push(Fault::invalid(&Path::new("series.count"), "", "should be at least 2"));
        }
        // The newer group's type cannot leave the time out.
        let unset = |time: &MicroTime| is_unset(time.0);
        if series.last_observed_time.as_ref().is_none_or(unset) {
            faults.push(Fault::required(&Path::new("series.lastObservedTime"), ""));
        }
    }
    faults
}

fn reference(reference: Option<&ObjectReference>) -> BadValue {
    printed("*core.ObjectReference", &reference)
}

/// An event of `events.k8s.io/v1` as one of `v1`. Values of any other shape are left as they are.
pub fn event_to_core(event: Value) -> Value {
    translate(event, "v1", |name| RENAMED.iter().find(|(_, new)| *new == name).map(|(old, _)| *old))
}

/// An event of `v1` as one of `events.k8s.io/v1`. Values of any other shape are left as they are.
pub fn event_from_core(event: Value) -> Value {
    translate(event, "events.k8s.io/v1", |name| {
        RENAMED.iter().find(|(old, _)| *old == name).map(|(_, new)| *new)
    })
}

fn translate(event: Value, api_version: &str, renamed: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(fields) = event else { return event };
    fields
        .into_iter()
        .map(|(name, value)| match renamed(&name) {
            Some(other) => (other.to_owned(), value),
            None if name == "apiVersion" => (name, Value::from(api_version)),
            None => (name, value),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use api_types::typed::Typed;
    use serde_json::json;

    use super::*;
    use crate::resources::shared::testing::{check_create, with_context};

    #[test]
    fn an_event_lives_in_the_namespace_of_what_it_is_about() {
        for (namespace, involved, time, fits) in [
            ("default", "", None, true),
            ("other", "", None, false),
            ("other", "other", None, true),
            ("other", "default", None, false),
            ("kube-system", "", Some("2024-01-01T00:00:00.000000Z"), true),
            ("other", "", Some("2024-01-01T00:00:00.000000Z"), false),
        ] {
            let faults = check_create::<Events>(json!({
                "metadata": {"namespace": namespace}, "involvedObject": {"namespace": involved}, "eventTime": time,
                "reportingComponent": "a", "reportingInstance": "b", "action": "c", "reason": "d",
            }));
            let text = format!(
                r#"involvedObject.namespace: Invalid value: "{involved}": does not match event.namespace"#
            );
            assert_eq!(faults, if fits { vec![] } else { vec![text] });
        }
    }

    #[test]
    fn an_event_with_a_time_says_who_saw_what() {
        assert_eq!(
            check_create::<Events>(json!({
                "metadata": {"namespace": "default"}, "involvedObject": {},
                "eventTime": "2024-01-01T00:00:00.000000Z", "action": "x".repeat(129), "message": "x".repeat(1025),
            })),
            [
                "reportingComponent: Required value",
                r#"reportingComponent: Invalid value: "": name part must be non-empty"#,
                r#"reportingComponent: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
                "reportingInstance: Required value",
                r#"action: Invalid value: "": can have at most 128 characters"#,
                "reason: Required value",
                r#"message: Invalid value: "": can have at most 1024 characters"#,
            ]
        );
    }

    /// The faults of writing events of the newer group, given in its form.
    fn strict(new: Value, old: Option<Value>) -> Vec<String> {
        let event = |event: Value| Event::from_value(&event_to_core(event)).unwrap();
        with_context(|cx| {
            let cx = Context { group: "events.k8s.io", ..cx.clone() };
            let faults = match old {
                None => Events::validate(&cx, &event(new)),
                Some(old) => Events::validate_update(&cx, &event(new), &event(old)),
            };
            faults.iter().map(ToString::to_string).collect()
        })
    }

    fn newer(change: impl FnOnce(&mut Value)) -> Value {
        let mut event = json!({
            "metadata": {"name": "e", "namespace": "default"}, "eventTime": "2024-01-01T00:00:00.000000Z", "type": "Normal",
            "reportingController": "example.com/a", "reportingInstance": "b", "action": "c", "reason": "d",
        });
        change(&mut event);
        event
    }

    #[test]
    fn a_new_event_of_the_newer_group_has_a_time_and_none_of_the_old_fields() {
        assert_eq!(strict(newer(|_| ()), None), [""; 0]);
        assert_eq!(
            strict(json!({"metadata": {"name": "e", "namespace": "default"}, "deprecatedCount": 1}), None),
            [
                "eventTime: Required value",
                r#"type: Invalid value: "": has invalid value: "#,
                r#"count: Invalid value: "": needs to be unset"#,
            ]
        );
    }

    #[test]
    fn metadata_of_new_events_are_judged_when_and_as_their_group_wants_it() {
        let told = |group: &str, event: &Value, name: &str| {
            let event = Event::from_value(&event_to_core(event.clone())).unwrap();
            let metadata =
                |rule: NameRule<'_>| invalid_each(&Path::new("metadata.name"), name, rule(name, false));
            with_context(|cx| {
                let cx = Context { group, ..cx.clone() };
                let faults = Events::creation_faults(&cx, &event, &metadata);
                faults
                    .iter()
                    .map(|fault| fault.to_string().split(':').next().unwrap().to_owned())
                    .collect::<Vec<_>>()
            })
        };
        let (good, untyped) = (newer(|_| ()), newer(|it| it["type"] = json!("Odd")));
        for (group, event, name, expected) in [
            ("events.k8s.io", &good, "a", &[][..]),
            ("events.k8s.io", &good, "A", &["metadata.name"]),
            ("events.k8s.io", &untyped, "A/B", &["metadata.name", "type"]),
            ("", &good, "A", &[]),
            ("", &good, "A/B", &["metadata.name"]),
            ("", &newer(|it| it["action"] = json!("")), "A/B", &["action"]),
        ] {
            assert_eq!(told(group, event, name), expected, "{group} {name}");
        }
    }

    #[test]
    fn only_the_series_of_an_event_of_the_newer_group_changes() {
        let series = |count| {
            newer(|it| {
                it["series"] = json!({"count": count, "lastObservedTime": "2024-01-01T00:00:01.000000Z"});
            })
        };
        assert_eq!(strict(series(2), Some(newer(|_| ()))), [""; 0]);
        assert_eq!(
            strict(series(1), Some(newer(|_| ()))),
            [r#"series.count: Invalid value: "": should be at least 2"#]
        );
        assert_eq!(
            strict(newer(|it| it["note"] = json!("x")), Some(newer(|_| ()))),
            [r#"message: Invalid value: "x": field is immutable"#]
        );
    }

    #[test]
    fn both_forms_say_the_same() {
        let old = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"},
            "involvedObject": {"name": "p"}, "message": "m", "source": {"component": "c"}, "count": 2,
            "firstTimestamp": null, "lastTimestamp": null, "reportingComponent": "r", "reportingInstance": "i"});
        let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"},
            "regarding": {"name": "p"}, "note": "m", "deprecatedSource": {"component": "c"}, "deprecatedCount": 2,
            "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null, "reportingController": "r",
            "reportingInstance": "i"});
        assert_eq!(event_from_core(old.clone()), new);
        assert_eq!(event_to_core(new), old);
    }
}

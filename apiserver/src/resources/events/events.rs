//! Events: `events` of `events.k8s.io/v1`, stored as events of `v1`.

use std::time::Duration;

use api_types::{field::Faults, typed::Typed};
use k8s_openapi::api::{core::v1::Event as Stored, events::v1::Event};

use crate::registry::catalogue::Conversion;
use crate::{
    registry::strategy::{Context, Dependents, Names, SelectableField, Strategy},
    resources::core::events::{
        event_from_core, event_to_core, old_faults, strict_faults, strict_update_faults,
    },
};

const fn selectable(label: &'static str) -> SelectableField {
    SelectableField { label, path: label, absent: "" }
}

/// The strategy of Events.
pub(crate) struct Events;

impl Strategy for Events {
    type Object = Event;

    const NAMES: Names = Names {
        group: "events.k8s.io",
        version: "v1",
        kind: "Event",
        plural: "events",
        singular: "event",
        short: &["ev"],
        categories: &[],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const DEPENDENTS: Dependents = Dependents::Unsupported;
    const TIME_TO_LIVE: Option<Duration> = Some(Duration::from_secs(3600));
    const CONVERSION: Option<Conversion> =
        Some(Conversion { stored_as: ("", "v1", "events"), store: event_to_core, serve: event_from_core });
    const CREATE_ON_UPDATE: bool = true;
    const SELECTABLE: &'static [SelectableField] = &[
        selectable("reason"),
        selectable("regarding.kind"),
        selectable("regarding.namespace"),
        selectable("regarding.name"),
        selectable("regarding.uid"),
        selectable("regarding.apiVersion"),
        selectable("regarding.resourceVersion"),
        selectable("regarding.fieldPath"),
        selectable("reportingController"),
        selectable("type"),
    ];

    fn validate(_cx: &Context<'_>, object: &Event) -> Faults {
        let event = stored(object);
        let mut faults = old_faults(&event, "reportingController");
        faults.extend(strict_faults(&event));
        faults
    }

    fn validate_update(_cx: &Context<'_>, object: &Event, old: &Event) -> Faults {
        let (event, old) = (stored(object), stored(old));
        let mut faults = old_faults(&event, "reportingController");
        faults.extend(strict_update_faults(&event, &old));
        faults
    }
}

/// The event as it is stored: the rules speak of that form.
fn stored(event: &Event) -> Stored {
    // The two forms differ in names only, so that what was read as one can be read as the other.
    Stored::from_value(&event_to_core(event.to_value())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Events;
    use crate::resources::shared::testing::{check_create, check_update};

    fn event(change: impl FnOnce(&mut Value)) -> Value {
        let mut event = json!({
            "metadata": {"namespace": "default"}, "eventTime": "2024-01-01T00:00:00.000000Z", "type": "Normal",
            "reportingController": "example.com/a", "reportingInstance": "b", "action": "c", "reason": "d",
        });
        change(&mut event);
        event
    }

    #[test]
    fn a_new_event_has_a_time_and_none_of_the_old_fields() {
        assert_eq!(check_create::<Events>(event(|_| ())), [""; 0]);
        assert_eq!(
            check_create::<Events>(json!({"metadata": {"namespace": "default"}, "deprecatedCount": 1})),
            [
                "eventTime: Required value",
                r#"type: Invalid value: "": has invalid value: "#,
                r#"count: Invalid value: "": needs to be unset"#,
            ]
        );
    }

    #[test]
    fn only_the_series_of_an_event_changes() {
        let series = |count| {
            event(|it| {
                it["series"] = json!({"count": count, "lastObservedTime": "2024-01-01T00:00:01.000000Z"});
            })
        };
        assert_eq!(check_update::<Events>(series(2), event(|_| ())), [""; 0]);
        assert_eq!(
            check_update::<Events>(series(1), event(|_| ())),
            [r#"series.count: Invalid value: "": should be at least 2"#]
        );
        assert_eq!(
            check_update::<Events>(event(|it| it["note"] = json!("x")), event(|_| ())),
            [r#"message: Invalid value: "x": field is immutable"#]
        );
    }
}

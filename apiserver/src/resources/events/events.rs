//! Events: `events` of `events.k8s.io/v1`, stored as events of `v1`, whose rules know through which group they are
//! written.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;

use crate::{
    registry::{
        catalogue::Conversion,
        strategy::{Dependents, Names, SelectableField, Strategy},
    },
    resources::core::events::{event_from_core, event_to_core},
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
}

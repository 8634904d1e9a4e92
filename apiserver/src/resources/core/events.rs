//! Events: `events` of `v1`.

use k8s_openapi::api::core::v1::Event;

use crate::registry::strategy::{Names, Strategy};

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
}

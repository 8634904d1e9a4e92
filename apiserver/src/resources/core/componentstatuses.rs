//! ComponentStatuss: `componentstatuses` of `v1`.

use k8s_openapi::api::core::v1::ComponentStatus;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of ComponentStatuss.
pub(crate) struct ComponentStatuses;

impl Strategy for ComponentStatuses {
    type Object = ComponentStatus;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ComponentStatus",
        plural: "componentstatuses",
        singular: "componentstatus",
        short: &["cs"],
        categories: &[],
        namespaced: false,
    };
    const DEPRECATED: Option<&'static str> = Some("v1 ComponentStatus is deprecated in v1.19+");
    const VERBS: &'static [&'static str] = &["get", "list"];
}

//! APIServices: `apiservices` of `apiregistration.k8s.io/v1`.

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use crate::{
    registry::strategy::{Names, Strategy},
    resources::shared::names,
};

/// The strategy of APIServices.
pub(crate) struct APIServices;

impl Strategy for APIServices {
    type Object = APIService;

    const NAMES: Names = Names {
        group: "apiregistration.k8s.io",
        version: "v1",
        kind: "APIService",
        plural: "apiservices",
        singular: "apiservice",
        short: &[],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const KNOWN_FINALIZERS: bool = false;
    const STATUS: bool = true;

    /// The core group's has a dot at its end.
    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
}

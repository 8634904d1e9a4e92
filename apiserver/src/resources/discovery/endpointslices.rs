//! EndpointSlices: `endpointslices` of `discovery.k8s.io/v1`.

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of EndpointSlices.
pub(crate) struct EndpointSlices;

impl Strategy for EndpointSlices {
    type Object = EndpointSlice;

    const NAMES: Names = Names {
        group: "discovery.k8s.io",
        version: "v1",
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const GENERATION: Generation = Generation::Content;
}

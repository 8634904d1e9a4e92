//! CustomResourceDefinitions: `customresourcedefinitions` of `apiextensions.k8s.io/v1`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::registry::strategy::{Generation, Names, Strategy};

/// The strategy of CustomResourceDefinitions.
pub(crate) struct CustomResourceDefinitions;

impl Strategy for CustomResourceDefinitions {
    type Object = CustomResourceDefinition;

    const NAMES: Names = Names {
        group: "apiextensions.k8s.io",
        version: "v1",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
    const KNOWN_FINALIZERS: bool = false;
    const STATUS: bool = true;
}

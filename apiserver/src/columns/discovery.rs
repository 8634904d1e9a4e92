//! Endpoint slices.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, of, text},
    read::{self, ObjectExt as _, age, at, first_three, list, optional_text, scalar},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "endpointslices").then_some(&ENDPOINT_SLICES)
}

static ENDPOINT_SLICES: TableDef = TableDef::new(
    &[
        NAME,
        text("AddressType", of::<EndpointSlice>("addressType")),
        text("Ports", of::<EndpointSlice>("ports")),
        text("Endpoints", of::<EndpointSlice>("endpoints")),
        AGE,
    ],
    |slice, now| {
        let ports = list(slice, "ports").iter().map(|port| {
            scalar(at(port, "port")).unwrap_or_else(|| optional_text(port, "name", "*").to_owned())
        });
        let addresses = list(slice, "endpoints")
            .iter()
            .flat_map(|endpoint| list(endpoint, "addresses"))
            .filter_map(Value::as_str)
            .map(str::to_owned);
        vec![
            slice.name().into(),
            read::text(slice, "addressType").into(),
            first_three(ports).into(),
            first_three(addresses).into(),
            age(slice, now),
        ]
    },
);

//! Leases.

use k8s_openapi::api::coordination::v1::LeaseSpec;

use super::{
    TableDef,
    column::{AGE, NAME, of, text},
    read::{self, ObjectExt as _, age},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "leases").then_some(&LEASES)
}

static LEASES: TableDef =
    TableDef::new(&[NAME, text("Holder", of::<LeaseSpec>("holderIdentity")), AGE], |lease, now| {
        vec![lease.name().into(), read::text(lease, "spec.holderIdentity").into(), age(lease, now)]
    });

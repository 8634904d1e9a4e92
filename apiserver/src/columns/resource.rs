//! Dynamic resource allocation.

use k8s_openapi::api::resource::v1::{ResourcePool, ResourceSliceSpec};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, of, says, text},
    read::{self, ObjectExt as _, age, at, list},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "deviceclasses" | "resourceclaimtemplates" => &NAME_AND_AGE,
        "resourceclaims" => &RESOURCE_CLAIMS,
        "resourceslices" => &RESOURCE_SLICES,
        _ => return None,
    })
}

static NAME_AND_AGE: TableDef =
    TableDef::new(&[NAME, AGE], |object, now| vec![object.name().into(), age(object, now)]);

static RESOURCE_CLAIMS: TableDef = TableDef::new(
    &[NAME, text("State", says("A summary of the current state (allocated, pending, reserved, etc.).")), AGE],
    |claim, now| vec![claim.name().into(), state(claim).into(), age(claim, now)],
);

fn state(claim: &Value) -> &'static str {
    let allocated = at(claim, "status.allocation").is_object();
    let reserved = allocated && !list(claim, "status.reservedFor").is_empty();
    match (claim.is_terminating(), allocated, reserved) {
        (false, false, _) => "pending",
        (false, true, false) => "allocated",
        (false, true, true) => "allocated,reserved",
        (true, false, _) => "deleted",
        (true, true, false) => "deleted,allocated",
        (true, true, true) => "deleted,allocated,reserved",
    }
}

static RESOURCE_SLICES: TableDef = TableDef::new(
    &[
        NAME,
        text("Node", of::<ResourceSliceSpec>("nodeName")),
        text("Driver", of::<ResourceSliceSpec>("driver")),
        text("Pool", of::<ResourcePool>("name")),
        AGE,
    ],
    |slice, now| {
        vec![
            slice.name().into(),
            read::text(slice, "spec.nodeName").into(),
            read::text(slice, "spec.driver").into(),
            read::text(slice, "spec.pool.name").into(),
            age(slice, now),
        ]
    },
);

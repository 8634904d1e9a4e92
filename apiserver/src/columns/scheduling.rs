//! Priority classes.

use k8s_openapi::api::scheduling::v1::PriorityClass;

use super::{
    TableDef,
    column::{AGE, NAME, boolean, integer, of, text},
    read::{self, ObjectExt as _, age, flag},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "priorityclasses").then_some(&PRIORITY_CLASSES)
}

static PRIORITY_CLASSES: TableDef = TableDef::new(
    &[
        NAME,
        integer("Value", of::<PriorityClass>("value")),
        boolean("Global-Default", of::<PriorityClass>("globalDefault")),
        AGE,
        text("PreemptionPolicy", of::<PriorityClass>("preemptionPolicy")),
    ],
    |class, now| {
        vec![
            class.name().into(),
            read::integer(class, "value").into(),
            flag(class, "globalDefault").into(),
            age(class, now),
            read::text(class, "preemptionPolicy").into(),
        ]
    },
);

//! Runtime classes.

use super::{
    TableDef,
    column::{AGE, NAME, says, text},
    read::{self, ObjectExt as _, age},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "runtimeclasses").then_some(&RUNTIME_CLASSES)
}

// Upstream looks the description of the handler up in the wrong type, and so has none.
static RUNTIME_CLASSES: TableDef = TableDef::new(&[NAME, text("Handler", says("")), AGE], |class, now| {
    vec![class.name().into(), read::text(class, "handler").into(), age(class, now)]
});

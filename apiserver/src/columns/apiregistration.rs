//! Services that serve parts of the API.

use super::{
    TableDef,
    column::{AGE, NAME, says, text},
    read::{self, ObjectExt as _, age, at, list},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "apiservices").then_some(&API_SERVICES)
}

static API_SERVICES: TableDef = TableDef::new(
    &[
        NAME,
        text("Service", says("The reference to the service that hosts this API endpoint.")),
        text("Available", says("Whether this service is available.")),
        AGE,
    ],
    |object, now| {
        let service = at(object, "spec.service");
        let service = if service.is_object() {
            format!("{}/{}", read::text(service, "namespace"), read::text(service, "name"))
        } else {
            "Local".to_owned()
        };
        let available =
            list(object, "status.conditions").iter().find(|it| read::text(it, "type") == "Available").map_or(
                "Unknown".to_owned(),
                |condition| match (read::text(condition, "status"), read::text(condition, "reason")) {
                    (status @ "True", _) | (status, "") => status.to_owned(),
                    (status, reason) => format!("{status} ({reason})"),
                },
            );
        vec![object.name().into(), service.into(), available.into(), age(object, now)]
    },
);

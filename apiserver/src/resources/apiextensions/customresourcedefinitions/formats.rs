//! Formats of values that no server knows: they are accepted and mean nothing.

use super::{json::text, schemas, spec::Spec};

/// The formats of strings, without dashes: those do not count.
const STRINGS: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// The unknown formats in the schemas, in order.
pub(super) fn unknown(spec: &Spec<'_>) -> Vec<String> {
    let mut unknown = Vec::new();
    for schema in spec.schemas() {
        schemas::visit(schema, &mut |schema| {
            let format = text(schema, "format");
            let known = match text(schema, "type") {
                "" | "string" => STRINGS.contains(&format.replace('-', "").as_str()),
                "integer" => matches!(format, "int32" | "int64"),
                "number" => matches!(format, "float" | "double"),
                _ => false,
            };
            if !format.is_empty() && !known {
                unknown.push(format.to_owned());
            }
        });
    }
    unknown
}

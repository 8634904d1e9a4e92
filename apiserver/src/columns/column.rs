//! What a column is called and means. Descriptions of columns that show a field are the field's own, read off the
//! published schemas when first asked for, so that they are said in one place.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

/// One column of a built-in table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading, such as `Ready`; kubectl prints it in capitals.
    pub name: &'static str,
    /// An OpenAPI type: `string`, `integer`, `number`, `boolean`, or `date`.
    pub kind: &'static str,
    /// An OpenAPI format; `name` marks the object's name.
    pub format: &'static str,
    /// What the column means.
    pub description: Doc,
    /// 0, or 1 for columns of `-o wide`.
    pub priority: i32,
}

/// One column of a table that is made at run time; the fields are those of [`Column`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CustomColumn {
    /// The heading.
    pub name: String,
    /// An OpenAPI type, or `date`.
    #[serde(rename = "type")]
    pub kind: String,
    /// An OpenAPI format.
    pub format: String,
    /// What the column means.
    pub description: String,
    /// 0 for the columns that are always shown.
    pub priority: i32,
}

/// Where a column's description is.
#[derive(Clone, Copy, Debug)]
pub enum Doc {
    /// Here.
    Text(&'static str),
    /// With a field of a type.
    Field(fn() -> Schema, &'static str),
}

/// The description of `metadata.creationTimestamp`.
pub(super) const BORN: Doc = of::<ObjectMeta>("creationTimestamp");

/// The object's name.
pub(super) const NAME: Column = name("Name", of::<ObjectMeta>("name"));

/// The object's age.
pub(super) const AGE: Column = text("Age", BORN);

/// The description of a field.
pub(super) const fn of<T: JsonSchema>(field: &'static str) -> Doc {
    Doc::Field(schema_of::<T>, field)
}

fn schema_of<T: JsonSchema>() -> Schema {
    T::json_schema(&mut SchemaGenerator::default())
}

/// A description of our own.
pub(super) const fn says(text: &'static str) -> Doc {
    Doc::Text(text)
}

const fn column(name: &'static str, kind: &'static str, format: &'static str, description: Doc) -> Column {
    Column { name, kind, format, description, priority: 0 }
}

pub(super) const fn name(name: &'static str, doc: Doc) -> Column {
    column(name, "string", "name", doc)
}

pub(super) const fn text(name: &'static str, doc: Doc) -> Column {
    column(name, "string", "", doc)
}

pub(super) const fn integer(name: &'static str, doc: Doc) -> Column {
    column(name, "integer", "", doc)
}

pub(super) const fn boolean(name: &'static str, doc: Doc) -> Column {
    column(name, "boolean", "", doc)
}

pub(super) const fn date(name: &'static str, doc: Doc) -> Column {
    column(name, "date", "", doc)
}

/// A column that only `-o wide` shows.
pub(super) const fn wide(name: &'static str, doc: Doc) -> Column {
    wider(text(name, doc))
}

/// The column, for `-o wide` only.
pub(super) const fn wider(mut column: Column) -> Column {
    column.priority = 1;
    column
}

// === impl Column ===

impl Column {
    /// The column with its description at hand.
    pub(super) fn described(&self) -> CustomColumn {
        CustomColumn {
            name: self.name.to_owned(),
            kind: self.kind.to_owned(),
            format: self.format.to_owned(),
            description: self.description.resolve().into_owned(),
            priority: self.priority,
        }
    }
}

// === impl Doc ===

impl Doc {
    /// The text; empty if the field has none.
    pub fn resolve(&self) -> Cow<'static, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Field(schema, field) => schema()
                .get("properties")
                .and_then(|properties| properties.get(field)?.get("description")?.as_str())
                .map(|text| Cow::Owned(text.to_owned()))
                .unwrap_or_default(),
        }
    }
}

//! The tables of custom resources: their names and the columns that their definitions add.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    TableDef,
    column::{Column, CustomColumn, NAME},
    human,
    json_path::JsonPath,
    read::{self, ObjectExt as _},
};

/// A column of `additionalPrinterColumns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrinterColumn {
    /// The heading.
    pub name: String,
    /// `integer`, `number`, `string`, `boolean` or `date`.
    #[serde(rename = "type")]
    pub kind: String,
    /// An OpenAPI format.
    pub format: String,
    /// What the column means.
    pub description: String,
    /// 0 for the columns that are always shown.
    pub priority: i32,
    /// Where the value is.
    pub json_path: String,
}

/// The table of a custom resource. Without columns of its own it shows the age. A column whose path cannot be read
/// ends the table: definitions with such paths are old, and what comes before is still good.
pub fn custom(columns: &[PrinterColumn]) -> TableDef {
    let age = [PrinterColumn {
        name: "Age".to_owned(),
        kind: "date".to_owned(),
        description: Column::described(&super::column::AGE).description,
        json_path: ".metadata.creationTimestamp".to_owned(),
        ..PrinterColumn::default()
    }];
    let columns = if columns.is_empty() { &age[..] } else { columns };
    let mut headers = vec![NAME.described()];
    let mut cells = Vec::new();
    for column in columns {
        let Ok(path) = JsonPath::parse(&column.json_path) else { break };
        headers.push(column.header());
        cells.push((path, column.kind.clone()));
    }
    TableDef::custom(&headers, move |object, now| {
        let mut row = vec![object.name().into()];
        row.extend(cells.iter().map(|(path, kind)| cell(path.first(object), kind, now)));
        row
    })
}

/// A value in a column of this type; null if it does not fit.
fn cell(value: Option<&Value>, kind: &str, now: Timestamp) -> Value {
    match (kind, value) {
        (_, None) => Value::Null,
        ("string", Some(value)) => text(value).into(),
        ("integer", Some(Value::Number(number))) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(real)) => {
                format!("{:.0}", real.trunc()).parse::<i64>().map_or(Value::Null, Value::from)
            }
            (None, None) => Value::Null,
        },
        ("number", Some(number @ Value::Number(_))) => number.clone(),
        ("boolean", Some(Value::Bool(boolean))) => (*boolean).into(),
        ("date", Some(Value::String(date))) => match date.as_str() {
            "" | "null" => "<unknown>".into(),
            date if date.parse::<Timestamp>().is_err() => "<invalid>".into(),
            date => human::since(date, now).into(),
        },
        _ => Value::Null,
    }
}

/// Any value as text.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Array(_) | Value::Object(_) | Value::Bool(_) => value.to_string(),
        scalar => read::scalar(scalar).unwrap_or_default(),
    }
}

// === impl PrinterColumn ===

impl PrinterColumn {
    fn header(&self) -> CustomColumn {
        let description = if self.description.is_empty() {
            format!("Custom resource definition column (in JSONPath format): {}", self.json_path)
        } else {
            self.description.clone()
        };
        CustomColumn {
            name: self.name.clone(),
            kind: self.kind.clone(),
            format: self.format.clone(),
            description,
            priority: self.priority,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::*, *};

    fn check(columns: Value, object: &Value) -> (Vec<Value>, Value) {
        let columns: Vec<PrinterColumn> = serde_json::from_value(columns).unwrap();
        let def = custom(&columns);
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let options = TableOptions::from_query(Some("None"), MetaVersion::V1).unwrap();
        let bytes = object.to_string();
        let table = table(&def, [bytes.as_bytes()], options, &ListMeta::default(), now).unwrap();
        let table: Value = serde_json::from_slice(&table).unwrap();
        (table["columnDefinitions"].as_array().unwrap().clone(), table["rows"][0]["cells"].clone())
    }

    #[test]
    fn a_definition_adds_columns_to_the_name() {
        let columns = json!([
            {"name": "A", "type": "string", "jsonPath": ".spec.a", "description": "the a"},
            {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
            {"name": "Wide", "type": "string", "jsonPath": ".spec.w", "priority": 1},
            {"name": "When", "type": "date", "jsonPath": ".spec.d"},
            {"name": "Cond", "type": "string", "jsonPath": ".spec.l[?(@.t==\"R\")].s"},
            {"name": "B", "type": "boolean", "jsonPath": ".spec.b"},
            {"name": "F", "type": "number", "jsonPath": ".spec.f"},
        ]);
        let full = json!({"metadata": {"name": "a"}, "spec": {
            "a": "x", "n": 5, "w": "wide", "d": "2026-03-01T11:59:00Z", "l": [{"t": "Q", "s": "1"}, {"t": "R", "s": "ok"}],
            "b": true, "f": 1.25,
        }});
        let (headers, cells) = check(columns.clone(), &full);
        assert_eq!(cells, json!(["a", "x", 5, "wide", "60s", "ok", true, 1.25]));
        assert_eq!(headers[0]["name"], "Name");
        assert_eq!(headers[1]["description"], "the a");
        assert_eq!(
            headers[2],
            json!({"name": "N", "type": "integer", "format": "", "priority": 0,
            "description": "Custom resource definition column (in JSONPath format): .spec.n"})
        );
        assert_eq!(headers[3]["priority"], 1);

        let odd = json!({"metadata": {"name": "b"}, "spec": {"a": {"obj": 1}, "n": "text", "d": "soon", "b": 1, "f": "x"}});
        let (_, cells) = check(columns.clone(), &odd);
        assert_eq!(cells, json!(["b", "{\"obj\":1}", null, null, "<invalid>", null, null, null]));
        let other = json!({"metadata": {"name": "c"}, "spec": {"a": 7, "n": 2.9, "w": null, "d": "2124-01-01T00:00:00Z"}});
        let (_, cells) = check(columns, &other);
        assert_eq!(cells, json!(["c", "7", 2, "<no value>", "<invalid>", null, null, null]));
    }

    #[test]
    fn without_columns_there_is_the_age() {
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2026-03-01T11:00:00Z"}});
        let (headers, cells) = check(json!([]), &object);
        assert_eq!(cells, json!(["a", "60m"]));
        assert_eq!((&headers[1]["name"], &headers[1]["type"]), (&json!("Age"), &json!("date")));
        assert_ne!(headers[1]["description"], "");
    }

    #[test]
    fn a_path_that_cannot_be_read_ends_the_table() {
        let columns = json!([
            {"name": "A", "type": "string", "jsonPath": ".spec.a"},
            {"name": "B", "type": "string", "jsonPath": "spec["},
            {"name": "C", "type": "string", "jsonPath": ".spec.c"},
        ]);
        let (headers, cells) = check(columns, &json!({"metadata": {"name": "a"}, "spec": {"a": "x"}}));
        assert_eq!(headers.len(), 2);
        assert_eq!(cells, json!(["a", "x"]));
    }
}

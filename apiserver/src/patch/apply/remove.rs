//! A value without some of its fields.

use serde_json::{Map as Object, Value};

use super::{
    element::Element,
    set::Set,
    shape::{Form, Items, Shape},
};

/// Takes the fields in the set out of a value. What has all its fields taken stays, empty; what is one piece cannot lose
/// a part, and loses all of them.
pub(super) fn remove(value: &Value, fields: &Set, shape: Shape<'_>) -> Value {
    match (shape.of(Some(value)), value) {
        (Form::Scalar(_), value) => value.clone(),
        (Form::List(list), Value::Array(items)) if !matches!(list.items, Items::Atomic) => {
            let mut out = Vec::with_capacity(items.len());
            let mut inside = false;
            for item in items {
                let element = Element::of_item(item, list).ok();
                if element.as_ref().is_some_and(|element| fields.contains(element)) {
                    continue;
                }
                match element.and_then(|element| fields.below(&element)) {
                    Some(below) => {
                        inside = true;
                        out.push(remove_inside(item, below, shape.item(list)));
                    }
                    None => out.push(item.clone()),
                }
            }
            if inside || !out.is_empty() { Value::Array(out) } else { Value::Null }
        }
        (Form::Map(map), Value::Object(values)) if !map.atomic => {
            let mut out = Object::new();
            let mut inside = false;
            for (name, value) in values {
                let element = Element::field(name);
                if fields.contains(&element) {
                    continue;
                }
                let kept = match (fields.below(&element), shape.field(map, name)) {
                    (Some(below), Some(of)) => {
                        inside = true;
                        remove_inside(value, below, of)
                    }
                    _ => value.clone(),
                };
                out.insert(name.clone(), kept);
            }
            if inside || !out.is_empty() { Value::Object(out) } else { Value::Null }
        }
        _ => Value::Null,
    }
}

fn remove_inside(value: &Value, fields: &Set, shape: Shape<'_>) -> Value {
    match (remove(value, fields, shape), value) {
        (Value::Null, Value::Object(_)) => Value::Object(Object::new()),
        (Value::Null, Value::Array(_)) => Value::Array(Vec::new()),
        (rest, _) => rest,
    }
}

#[cfg(test)]
mod tests;

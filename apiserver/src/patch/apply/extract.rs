//! Which fields a value has: the set its owner is on record for.

use serde_json::Value;

use super::{
    element::Element,
    set::{Part, Set},
    shape::{Form, Items, Shape},
};

/// The fields of an object. Structs are in the set only by their fields; entries of maps, items of lists and what is one
/// piece are in it themselves.
pub(super) fn fields_of(value: &Value, shape: Shape<'_>) -> Set {
    part_of(value, shape).below
}

fn part_of(value: &Value, shape: Shape<'_>) -> Part {
    let mut part = Part::default();
    match (shape.of(Some(value)), value) {
        (Form::Scalar(_), _) => part.member = true,
        (Form::Map(map), _) if map.atomic => part.member = true,
        (Form::Map(map), Value::Object(fields)) => {
            for (name, value) in fields {
                let Some(of) = shape.field(map, name) else { continue };
                let mut field = part_of(value, of);
                let is_empty = match value {
                    Value::Null => true,
                    Value::Object(fields) => fields.is_empty(),
                    _ => false,
                };
                field.member |= is_empty || !map.declares(name);
                part.below.add(Element::field(name), field);
            }
        }
        (Form::List(list), _) if matches!(list.items, Items::Atomic) => part.member = true,
        (Form::List(list), Value::Array(items)) => {
            let elements: Vec<Option<Element>> =
                items.iter().map(|item| Element::of_item(item, list).ok()).collect();
            let mut parts: Vec<(&Element, Part)> = Vec::with_capacity(items.len());
            for (element, item) in elements.iter().zip(items) {
                let Some(element) = element else { continue };
                // Items that are there twice are owned without their fields: there is no telling whose those are.
                let twice = elements.iter().flatten().filter(|other| *other == element).count() > 1;
                let below = if twice { Set::default() } else { part_of(item, shape.item(list)).below };
                parts.push((element, Part { member: true, below }));
            }
            parts.sort_by_key(|(element, _)| *element);
            for (element, item) in parts {
                part.below.add(element.clone(), item);
            }
        }
        _ => {}
    }
    part
}

#[cfg(test)]
mod tests;

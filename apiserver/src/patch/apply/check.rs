//! Whether a value fits its type: what an applied configuration must, field names included.

use std::collections::BTreeSet;

use serde_json::{Map as Object, Value};

use super::{
    element::Element,
    problem::{Problem, Problems},
    shape::{Form, Items, List, Map, Scalar, Shape},
};
use crate::patch::print::{Plain, Syntax, type_name};

/// Checks a value.
///
/// # Errors
/// All that is wrong with it. With `duplicates`, items of lists may be there twice.
pub(super) fn check(value: &Value, shape: Shape<'_>, duplicates: bool) -> Result<(), Problems> {
    let mut check = Check { duplicates, path: Vec::new(), problems: Problems::default() };
    check.value(value, shape);
    check.problems.into_result()
}

/// What is wrong with a scalar, if anything; null stands for any.
pub(super) fn scalar_problem(value: &Value, scalar: Scalar) -> Option<String> {
    // As upstream's wrapper of a value shows in its messages.
    match (scalar, value) {
        (_, Value::Null)
        | (Scalar::Any, Value::Number(_) | Value::String(_) | Value::Bool(_))
        | (Scalar::Number, Value::Number(_))
        | (Scalar::String, Value::String(_))
        | (Scalar::Boolean, Value::Bool(_)) => None,
        (Scalar::Number, other) => Some(format!("expected numeric (int or float), got {}", type_name(other))),
        (Scalar::String, other) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", Syntax(other)))
        }
        (Scalar::Boolean, other) => Some(format!("expected boolean, got &{{{}}}", Plain(other))),
        (Scalar::Any, other) => Some(format!("expected any scalar, got &{{{}}}", Plain(other))),
    }
}

struct Check {
    duplicates: bool,
    path: Vec<Element>,
    problems: Problems,
}

// === impl Check ===

impl Check {
    fn report(&mut self, text: impl Into<String>) {
        let problem = self.path.iter().rev().fold(Problem::new(text), Problem::under);
        self.problems.0.push(problem);
    }

    fn below(&mut self, element: Element, value: &Value, shape: Shape<'_>) {
        self.path.push(element);
        self.value(value, shape);
        self.path.pop();
    }

    fn value(&mut self, value: &Value, shape: Shape<'_>) {
        match (shape.of(Some(value)), value) {
            (Form::Scalar(scalar), value) => {
                if let Some(text) = scalar_problem(value, scalar) {
                    self.report(text);
                }
            }
            (Form::List(_) | Form::Map(_), Value::Null) => {}
            (Form::List(list), Value::Array(items)) => self.list(items, list, shape),
            (Form::List(_), other) => self.report(format!("expected list, got &{{{}}}", Plain(other))),
            (Form::Map(map), Value::Object(fields)) => self.map(fields, map, shape),
            (Form::Map(_), other) => self.report(format!("expected map, got &{{{}}}", Plain(other))),
            (Form::Undeclared, _) => self.report("schema error: invalid atom: inlined"),
        }
    }

    fn list(&mut self, items: &[Value], list: &List, shape: Shape<'_>) {
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let element = if matches!(list.items, Items::Atomic) {
                Element::index(index)
            } else {
                match Element::of_item(item, list) {
                    Ok(element) => {
                        if !seen.insert(element.clone()) && !self.duplicates {
                            self.report(format!("duplicate entries for key {element}"));
                        }
                        element
                    }
                    // Without a name for the item there is no telling what is wrong below it.
                    Err(text) => return self.report(format!("element {index}: {text}")),
                }
            };
            self.below(element, item, shape.item(list));
        }
    }

    fn map(&mut self, fields: &Object<String, Value>, map: &Map, shape: Shape<'_>) {
        for (name, value) in fields {
            let element = Element::field(name);
            match shape.field(map, name) {
                Some(of) => self.below(element, value, of),
                None => {
                    self.path.push(element);
                    self.report("field not declared in schema");
                    self.path.pop();
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

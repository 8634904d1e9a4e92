//! What a write changed.
//!
//! Runs on every write, so equal parts cost no more than the comparison: sets are built only of what differs.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::{Map as Object, Value};

use super::{
    check::scalar_problem,
    element::Element,
    problem::Problem,
    set::{Part, Set},
    shape::{Form, Items, List, Map, Shape},
};

/// The fields that differ between two objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Only the new one has them.
    pub(super) added: Set,
    /// Both have them, with different values.
    pub(super) modified: Set,
    /// Only the old one has them.
    pub(super) removed: Set,
}

/// The same, at and below one path.
#[derive(Default)]
struct Diff {
    added: Part,
    modified: Part,
    removed: Part,
}

/// Compares two objects of one type. Top-level fields in `skipped` are not looked at.
///
/// # Errors
/// When a value does not fit the type or an item of a list has no name.
pub(super) fn compare(
    old: &Value,
    new: &Value,
    shape: Shape<'_>,
    skipped: &[&str],
) -> Result<Changes, Problem> {
    let mut root = Diff::default();
    match (shape.of(Some(new)), old, new) {
        (Form::Map(map), Value::Object(old), Value::Object(new)) => {
            root.map(Some(old), Some(new), map, shape, skipped)?;
        }
        _ => root = diff(Some(old), Some(new), shape)?,
    }
    Ok(Changes { added: root.added.below, modified: root.modified.below, removed: root.removed.below })
}

fn diff(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>) -> Result<Diff, Problem> {
    let mut out = Diff::default();
    match (old, new) {
        (Some(old), Some(new)) => {
            let old_form = shape.of(Some(old));
            let new_form = shape.of(Some(new));
            out.form(old, new, old_form, shape)?;
            if !old_form.same_kind(&new_form) {
                out.form(old, new, new_form, shape)?;
            }
        }
        (Some(old), None) => out.removed = whole(old, shape)?,
        (None, Some(new)) => out.added = whole(new, shape)?,
        (None, None) => {}
    }
    Ok(out)
}

/// Everything in a value that has no counterpart, itself included.
fn whole(value: &Value, shape: Shape<'_>) -> Result<Part, Problem> {
    let mut part = Part { member: true, below: Set::default() };
    match (shape.of(Some(value)), value) {
        (Form::Map(map), Value::Object(fields)) if !map.atomic => {
            part.below = Set::with_capacity(fields.len());
            for (name, value) in fields {
                let element = Element::field(name);
                let of = shape.field(map, name).ok_or_else(undeclared).and_then(|of| whole(value, of));
                match of {
                    Ok(below) => part.below.add(element, below),
                    Err(problem) => return Err(problem.under(&element)),
                }
            }
        }
        (Form::List(list), Value::Array(items)) if !matches!(list.items, Items::Atomic) => {
            let mut seen: BTreeMap<Element, Option<&Value>> = BTreeMap::new();
            for (index, item) in items.iter().enumerate() {
                seen.entry(name(index, item, list)?).and_modify(|twice| *twice = None).or_insert(Some(item));
            }
            for (element, item) in seen {
                let of = match item {
                    Some(item) => whole(item, shape.item(list)).map_err(|problem| problem.under(&element))?,
                    // Items that are there twice are one piece.
                    None => Part { member: true, below: Set::default() },
                };
                part.below.add(element, of);
            }
        }
        (Form::Undeclared, _) => return Err(undeclared()),
        _ => {}
    }
    Ok(part)
}

fn name(index: usize, item: &Value, list: &List) -> Result<Element, Problem> {
    Element::of_item(item, list).map_err(|text| Problem::new(format!("element {index}: {text}")))
}

fn undeclared() -> Problem {
    Problem::new("schema error: invalid atom: inlined")
}

// === impl Diff ===

impl Diff {
    fn form(&mut self, old: &Value, new: &Value, form: Form<'_>, shape: Shape<'_>) -> Result<(), Problem> {
        match form {
            Form::Scalar(scalar) => {
                if let (Some(old), Some(_)) = (scalar_problem(old, scalar), scalar_problem(new, scalar)) {
                    return Err(Problem::new(format!("lhs: {old}")));
                }
                self.leaf(old, new);
            }
            Form::Map(map) => {
                let old_fields = old.as_object().filter(|fields| !fields.is_empty());
                let new_fields = new.as_object().filter(|fields| !fields.is_empty());
                // From empty to null is a change as well.
                if map.atomic || (old_fields.is_none() && new_fields.is_none()) {
                    self.leaf(old, new);
                } else {
                    self.map(old_fields, new_fields, map, shape, &[])?;
                }
            }
            Form::List(list) => {
                let old_items = old.as_array().map(Vec::as_slice).unwrap_or_default();
                let new_items = new.as_array().map(Vec::as_slice).unwrap_or_default();
                let atomic = matches!(list.items, Items::Atomic);
                if atomic || (old_items.is_empty() && new_items.is_empty()) {
                    self.leaf(old, new);
                } else {
                    self.list(old_items, new_items, list, shape)?;
                }
            }
            Form::Undeclared => return Err(undeclared()),
        }
        Ok(())
    }

    fn leaf(&mut self, old: &Value, new: &Value) {
        self.modified.member |= !same(old, new);
    }

    fn add(&mut self, element: impl FnOnce() -> Element, diff: Diff) {
        let Diff { added, modified, removed } = diff;
        let parts = [(&mut self.added, added), (&mut self.modified, modified), (&mut self.removed, removed)];
        let mut parts = parts.into_iter().filter(|(_, part)| *part != Part::default()).peekable();
        if parts.peek().is_some() {
            let element = element();
            parts.for_each(|(all, part)| all.below.add(element.clone(), part));
        }
    }

    fn map(
        &mut self,
        old: Option<&Object<String, Value>>,
        new: Option<&Object<String, Value>>,
        map: &Map,
        shape: Shape<'_>,
        skipped: &[&str],
    ) -> Result<(), Problem> {
        let (mut old, mut new) = (old.into_iter().flatten().peekable(), new.into_iter().flatten().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let old = if order.is_le() { old.next() } else { None };
            let new = if order.is_ge() { new.next() } else { None };
            let Some((name, _)) = old.or(new) else { continue };
            if skipped.contains(&name.as_str()) {
                continue;
            }
            let element = || Element::field(name);
            let found = shape
                .field(map, name)
                .ok_or_else(undeclared)
                .and_then(|of| diff(old.map(|(_, value)| value), new.map(|(_, value)| value), of));
            self.add(element, found.map_err(|problem| problem.under(&element()))?);
        }
    }

    fn list(&mut self, old: &[Value], new: &[Value], list: &List, shape: Shape<'_>) -> Result<(), Problem> {
        if old == new {
            return Ok(());
        }
        let mut items: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (is_new, side) in [(false, old), (true, new)] {
            for (index, item) in side.iter().enumerate() {
                let (old, new) = items.entry(name(index, item, list)?).or_default();
                if is_new { new.push(item) } else { old.push(item) }
            }
        }
        let of = shape.item(list);
        for (element, (old, new)) in items {
            let mut both = Diff::default();
            match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) => {
                    both = diff(old.first().copied(), new.first().copied(), of)
                        .map_err(|problem| problem.under(&element))?;
                }
                // Items that are there twice are compared as one piece.
                ([_, _, ..], [_, _, ..]) => both.modified.member = old != new,
                ([_, _, ..], _) => {
                    if let Some(new) = new.first() {
                        both = diff(None, Some(new), of).map_err(|problem| problem.under(&element))?;
                    }
                    both.removed.member = true;
                }
                (_, [_, _, ..]) => {
                    if let Some(old) = old.first() {
                        both = diff(Some(old), None, of).map_err(|problem| problem.under(&element))?;
                    }
                    both.added.member = true;
                }
            }
            self.add(|| element, both);
        }
        Ok(())
    }
}

/// Equal but for how numbers are written.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || ((one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| one.0 == other.0 && same(one.1, other.1))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;

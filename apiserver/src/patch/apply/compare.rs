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
    /// The value is one piece: it says itself whether it is there.
    leaf: bool,
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
    let old_form = shape.of(old);
    let new_form = shape.of(new);
    match (old, new) {
        (_, None) => out.form(old, new, old_form, shape)?,
        (None, _) => out.form(old, new, new_form, shape)?,
        _ if old_form.same_kind(&new_form) => out.form(old, new, new_form, shape)?,
        _ => {
            out.form(old, new, old_form, shape)?;
            out.leaf = false;
            out.form(old, new, new_form, shape)?;
        }
    }
    if !out.leaf {
        out.added.member |= old.is_none();
        out.removed.member |= new.is_none();
    }
    Ok(out)
}

// === impl Diff ===

impl Diff {
    fn form(
        &mut self,
        old: Option<&Value>,
        new: Option<&Value>,
        form: Form<'_>,
        shape: Shape<'_>,
    ) -> Result<(), Problem> {
        match form {
            Form::Scalar(scalar) => {
                let problem = |value: Option<&Value>| value.and_then(|value| scalar_problem(value, scalar));
                if let (Some(old), Some(_)) = (problem(old), problem(new)) {
                    return Err(Problem::new(format!("lhs: {old}")));
                }
                self.leaf(old, new);
            }
            Form::Map(map) => {
                let old_fields = old.and_then(Value::as_object).filter(|fields| !fields.is_empty());
                let new_fields = new.and_then(Value::as_object).filter(|fields| !fields.is_empty());
                if map.atomic || (old_fields.is_none() && new_fields.is_none()) {
                    self.leaf(old, new);
                } else {
                    self.map(old_fields, new_fields, map, shape, &[])?;
                }
            }
            Form::List(list) => {
                let old_items = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let new_items = new.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let atomic = matches!(list.items, Items::Atomic);
                if atomic || (old_items.is_empty() && new_items.is_empty()) {
                    self.leaf(old, new);
                } else {
                    self.list(old_items, new_items, list, shape)?;
                }
            }
            Form::Undeclared => return Err(Problem::new("schema error: invalid atom: inlined")),
        }
        Ok(())
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        self.leaf = true;
        match (old, new) {
            (None, _) => self.added.member = true,
            (_, None) => self.removed.member = true,
            (Some(old), Some(new)) => self.modified.member |= !same(old, new),
        }
    }

    fn add(&mut self, element: impl FnOnce() -> Element, diff: Diff) {
        let Diff { added, modified, removed, leaf: _ } = diff;
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
            let undeclared = || Problem::new("schema error: invalid atom: inlined");
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
                let element = Element::of_item(item, list)
                    .map_err(|text| Problem::new(format!("element {index}: {text}")))?;
                let (old, new) = items.entry(element).or_default();
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

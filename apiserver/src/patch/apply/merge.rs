//! An applied configuration laid over the object that is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map as Object, Value};

use super::{
    check::scalar_problem,
    element::Element,
    problem::Problem,
    shape::{Form, Items, List, Map, Shape},
};

/// The live value with everything the applied one says in its place.
///
/// # Errors
/// When neither value fits the type or an item of a list has no name.
pub(super) fn merge(live: &Value, applied: &Value, shape: Shape<'_>) -> Result<Value, Problem> {
    Ok(both(Some(live), Some(applied), shape)?.unwrap_or_default())
}

fn both(live: Option<&Value>, applied: Option<&Value>, shape: Shape<'_>) -> Result<Option<Value>, Problem> {
    let form = shape.of(applied.or(live));
    let leaf = || applied.or(live).cloned();
    match form {
        Form::Scalar(scalar) => {
            let problem = |value: Option<&Value>| value.and_then(|value| scalar_problem(value, scalar));
            match (problem(live), problem(applied)) {
                (Some(live), Some(_)) => Err(Problem::new(format!("lhs: {live}"))),
                _ => Ok(leaf()),
            }
        }
        Form::Map(map) => {
            let live_fields = live.and_then(Value::as_object).filter(|fields| !fields.is_empty());
            let applied_fields = applied.and_then(Value::as_object).filter(|fields| !fields.is_empty());
            if map.atomic || (live_fields.is_none() && applied_fields.is_none()) {
                return Ok(leaf());
            }
            maps(live_fields, applied_fields, map, shape)
        }
        Form::List(list) => {
            let live_items = live.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let applied_items = applied.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let atomic = matches!(list.items, Items::Atomic);
            if atomic || (live_items.is_empty() && applied_items.is_empty()) {
                return Ok(leaf());
            }
            lists(live_items, applied_items, list, shape)
        }
        Form::Undeclared => Err(Problem::new("schema error: invalid atom: inlined")),
    }
}

fn maps(
    live: Option<&Object<String, Value>>,
    applied: Option<&Object<String, Value>>,
    map: &Map,
    shape: Shape<'_>,
) -> Result<Option<Value>, Problem> {
    let names: BTreeSet<&String> = live.into_iter().chain(applied).flat_map(Object::keys).collect();
    let mut out = Object::new();
    for name in names {
        let here = |problem: Problem| problem.under(&Element::field(name));
        let undeclared = || here(Problem::new("schema error: invalid atom: inlined"));
        let of = shape.field(map, name).ok_or_else(undeclared)?;
        let value =
            |fields: Option<&'_ Object<String, Value>>| fields.and_then(|fields| fields.get(name)).cloned();
        let merged = match (live.and_then(|it| it.get(name)), applied.and_then(|it| it.get(name))) {
            // Most of an object is live only.
            (Some(_), None) => value(live),
            (live, applied) => both(live, applied, of).map_err(here)?,
        };
        if let Some(merged) = merged {
            out.insert(name.clone(), merged);
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// Items of both lists in the order of the applied one; items that are live only keep their place among those.
fn lists(live: &[Value], applied: &[Value], list: &List, shape: Shape<'_>) -> Result<Option<Value>, Problem> {
    let of = shape.item(list);
    let name = |(index, item): (usize, &Value)| {
        Element::of_item(item, list).map_err(|text| Problem::new(format!("element {index}: {text}")))
    };
    let applied_names: Vec<Element> = applied.iter().enumerate().map(name).collect::<Result<_, _>>()?;
    let live_names: Vec<Element> = live.iter().enumerate().map(name).collect::<Result<_, _>>()?;

    let mut applied_by_name: BTreeMap<&Element, &Value> = BTreeMap::new();
    for (name, item) in applied_names.iter().zip(applied) {
        if applied_by_name.insert(name, item).is_some() {
            return Err(Problem::new(format!("duplicate entries for key {name}")));
        }
    }
    // An item that is live twice is not merged with what is applied: that replaces both.
    let mut live_by_name: BTreeMap<&Element, Option<&Value>> = BTreeMap::new();
    for (name, item) in live_names.iter().zip(live) {
        live_by_name.entry(name).and_modify(|it| *it = None).or_insert(Some(item));
    }

    let shared = |name: &Element| live_by_name.contains_key(name);
    let mut next_shared: VecDeque<&Element> = applied_names.iter().filter(|name| shared(name)).collect();
    let mut merged: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    let mut add = |name: &Element, live: Option<&Value>, applied: Option<&Value>| {
        let item = both(live, applied, of).map_err(|problem| problem.under(name))?;
        out.extend(item);
        Ok::<_, Problem>(())
    };

    let mut live_items = live_names.iter().zip(live).peekable();
    let mut applied_items = applied_names.iter().zip(applied).peekable();
    loop {
        match (live_items.peek().copied(), applied_items.peek().copied()) {
            (None, None) => break,
            // An item of both lists, but another one is to come first: it will come with its applied twin.
            (Some((name, _)), Some((applied, _)))
                if name != applied
                    && applied_by_name.contains_key(name)
                    && next_shared.front().is_some_and(|next| *next != name) =>
            {
                live_items.next();
                continue;
            }
            (Some((name, item)), _) if !applied_by_name.contains_key(name) => {
                live_items.next();
                add(name, Some(item), None)?;
                continue;
            }
            // The item came already, or comes now.
            (Some((name, _)), applied)
                if merged.contains(name) || applied.is_some_and(|(applied, _)| applied == name) =>
            {
                live_items.next();
            }
            _ => {}
        }
        if let Some((name, item)) = applied_items.next() {
            merged.insert(name);
            let live = live_by_name.get(name).map(|live| live.unwrap_or(&Value::Null));
            add(name, live, Some(item))?;
            if next_shared.front().is_some_and(|next| *next == name) {
                next_shared.pop_front();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

#[cfg(test)]
mod tests;

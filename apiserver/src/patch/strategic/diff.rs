//! The patch a client makes of three objects, as `kubectl apply` does: for tests, which lay it over the live object and
//! look whether the wanted one comes out.

use std::collections::BTreeSet;

use serde_json::{Map as Object, Value, json};

use super::{DELETE_FROM, DIRECTIVE, ELEMENT_ORDER, Mark, RETAIN_KEYS, Type, position};

/// What turns `live` into `wanted`, and takes away what `last` had and `wanted` has not.
pub(super) fn three_way(last: &Value, wanted: &Value, live: &Value, of: api_types::schema::TypeRef) -> Value {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    Value::Object(maps(&fields(last), &fields(wanted), &fields(live), Type::Struct(of)))
}

fn maps(
    last: &Object<String, Value>,
    wanted: &Object<String, Value>,
    live: &Object<String, Value>,
    of: Type<'_>,
) -> Object<String, Value> {
    let mut patch = Object::new();
    for name in last.keys().filter(|name| !wanted.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, wanted) in wanted {
        let before = last.get(name).unwrap_or(&Value::Null);
        match (wanted, live.get(name)) {
            (Value::Object(wanted), Some(Value::Object(live))) => {
                let empty = Object::new();
                let before = before.as_object().unwrap_or(&empty);
                let (below, retain) = match of.map(name) {
                    Ok(mark) => (mark.of, mark.strategy.retain_keys),
                    Err(_) => (of, false),
                };
                let mut below = maps(before, wanted, live, below);
                if retain && (!below.is_empty() || live.keys().any(|name| !wanted.contains_key(name))) {
                    below.insert(RETAIN_KEYS.to_owned(), wanted.keys().cloned().collect());
                }
                if !below.is_empty() {
                    patch.insert(name.clone(), Value::Object(below));
                }
            }
            (Value::Array(wanted), Some(Value::Array(live))) => {
                let before = before.as_array().cloned().unwrap_or_default();
                match of.list(name) {
                    Ok(mark) if mark.strategy.merge => lists(name, &before, wanted, live, mark, &mut patch),
                    _ if wanted == live => {}
                    _ => drop(patch.insert(name.clone(), Value::Array(wanted.clone()))),
                }
            }
            (wanted, Some(live)) if wanted == live => {}
            (wanted, _) => drop(patch.insert(name.clone(), wanted.clone())),
        }
    }
    patch
}

fn lists(
    name: &str,
    last: &[Value],
    wanted: &[Value],
    live: &[Value],
    mark: Mark<'_>,
    patch: &mut Object<String, Value>,
) {
    if live.is_empty() {
        if !wanted.is_empty() {
            patch.insert(name.to_owned(), Value::Array(wanted.to_vec()));
        }
        return;
    }
    let key = mark.key();
    let (mut items, mut order) = (Vec::new(), Vec::new());
    if key.is_empty() {
        let gone: BTreeSet<String> =
            last.iter().filter(|it| !wanted.contains(it)).map(|it| it.as_str().unwrap().to_owned()).collect();
        if !gone.is_empty() {
            patch.insert(format!("{DELETE_FROM}/{name}"), gone.into_iter().collect());
        }
        items.extend(wanted.iter().filter(|it| !live.contains(it)).cloned());
        order.extend(wanted.iter().cloned());
    } else {
        for wanted in wanted {
            let called = &wanted[key];
            order.push(json!({key: called}));
            let find =
                |items: &[Value]| position(items, key, called).unwrap().and_then(|at| items.get(at).cloned());
            match find(live) {
                None => items.push(wanted.clone()),
                Some(live) => {
                    let last = find(last).unwrap_or_else(|| json!({}));
                    let fields = |value: &Value| value.as_object().cloned().unwrap();
                    let mut below = maps(&fields(&last), &fields(wanted), &fields(&live), mark.of);
                    if !below.is_empty() {
                        below.insert(key.to_owned(), called.clone());
                        items.push(Value::Object(below));
                    }
                }
            }
        }
        for gone in last.iter().filter(|it| position(wanted, key, &it[key]).unwrap().is_none()) {
            items.push(json!({key: gone[key], DIRECTIVE: "delete"}));
        }
    }
    if !items.is_empty() {
        patch.insert(name.to_owned(), Value::Array(items));
    }
    if wanted != live {
        patch.insert(format!("{ELEMENT_ORDER}/{name}"), Value::Array(order));
    }
}

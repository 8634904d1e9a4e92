//! Lists: Kubernetes' own functions, the library `lists` in version 3, and `sets`.

use std::{cmp::Ordering, sync::Arc};

use super::{Native, arithmetic, bounded, unsuited};
use crate::{
    equality,
    eval::{EvalError, Outcome},
    value::{Duration, List, Map, Value},
};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "max" => |args| extreme("max", args, Ordering::Less),
        "min" => |args| extreme("min", args, Ordering::Greater),
        "slice" => slice,
        "flatten" => flatten,
        "sort" => |args| match args {
            [Value::List(list)] => sorted(list, list),
            _ => unsuited("sort"),
        },
        "@sortByAssociatedKeys" => |args| match args {
            [Value::List(list), Value::List(keys)] => sorted(list, keys),
            _ => unsuited("@sortByAssociatedKeys"),
        },
        "lists.range" => range,
        "reverse" => |args| match args {
            [Value::List(list)] => {
                let mut items = list.to_vec()?;
                items.reverse();
                Ok(Value::list(items))
            }
            _ => unsuited("reverse"),
        },
        "distinct" => distinct,
        "sets.contains" => |args| match args {
            [Value::List(a), Value::List(b)] => has_all(a, b).map(Value::Bool),
            _ => unsuited("sets.contains"),
        },
        "sets.equivalent" => |args| match args {
            [Value::List(a), Value::List(b)] => Ok(Value::Bool(has_all(a, b)? && has_all(b, a)?)),
            _ => unsuited("sets.equivalent"),
        },
        "sets.intersects" => intersects,
        "cel.@mapInsert" => map_insert,
        _ => return None,
    })
}

fn is_sorted<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::List(list)] = args else { return unsuited("isSorted") };
    let mut before: Option<Value<'_>> = None;
    for element in list.iter() {
        let element = element?;
        if !arithmetic::comparable(&element) {
            return Err(EvalError::no_such_overload());
        }
        if let Some(before) = &before
            && equality::compare(before, &element)? == Ordering::Greater
        {
            return Ok(Value::Bool(false));
        }
        before = Some(element);
    }
    Ok(Value::Bool(true))
}

fn sum<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::List(list)] = args else { return unsuited("sum") };
    let add = arithmetic::find("_+_").ok_or_else(EvalError::no_such_overload)?;
    let mut total: Option<Value<'v>> = None;
    for element in list.iter() {
        let element = element?;
        total = Some(match (total, element) {
            (None, it @ (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_))) => it,
            (Some(total), element) => add(&[total, element])?,
            (None, _) => return Err(EvalError::no_such_overload()),
        });
    }
    // The sum of nothing is of the type of nothing: an integer, unless asked otherwise beforehand.
    Ok(total.unwrap_or(Value::Int(0)))
}

/// The sum of an empty list, by what its elements would be.
pub(crate) fn zero<'v>(overload: &str) -> Value<'v> {
    match overload {
        "list_uint_sum_uint" => Value::Uint(0),
        "list_double_sum_double" => Value::Double(0.0),
        "list_duration_sum_duration" => Value::Duration(Duration(0)),
        _ => Value::Int(0),
    }
}

fn extreme<'v>(name: &str, args: &[Value<'v>], give_way: Ordering) -> Outcome<'v> {
    let [Value::List(list)] = args else { return unsuited(name) };
    let mut best: Option<Value<'v>> = None;
    for element in list.iter() {
        let element = element?;
        if !arithmetic::comparable(&element) {
            return Err(EvalError::no_such_overload());
        }
        best = Some(match best {
            Some(best) if equality::compare(&best, &element)? != give_way => best,
            _ => element,
        });
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

pub(super) fn index_of<'v>(list: &List<'v>, item: &Value<'v>, last: bool) -> Outcome<'v> {
    let is = |at: &usize| {
        list.get(*at).is_some_and(|it| it.and_then(|it| equality::equal(&it, item)).unwrap_or_default())
    };
    let found = if last { (0..list.len()).rev().find(is) } else { (0..list.len()).find(is) };
    Ok(Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn slice<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = args else { return unsuited("slice") };
    let wrong = |what: String| Err(EvalError::new(format!("cannot slice({start}, {end}), {what}")));
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return wrong("negative indexes not supported".to_owned());
    };
    if from > to {
        return wrong("start index must be less than or equal to end index".to_owned());
    }
    if list.len() < to {
        return wrong(format!("list is length {}", list.len()));
    }
    let items = (from..to).filter_map(|at| list.get(at)).collect::<Result<_, _>>()?;
    Ok(Value::list(items))
}

fn flatten<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let (list, depth) = match args {
        [Value::List(list)] => (list, 1),
        [Value::List(list), Value::Int(depth)] => (list, *depth),
        _ => return unsuited("flatten"),
    };
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut items = Vec::new();
    flatten_into(list, depth, &mut items)?;
    Ok(Value::list(items))
}

fn flatten_into<'v>(list: &List<'v>, depth: i64, items: &mut Vec<Value<'v>>) -> Result<(), EvalError> {
    for element in list.iter() {
        match element? {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, items)?,
            other => items.push(other),
        }
        bounded(items.len().checked_mul(size_of::<Value<'_>>()))?;
    }
    Ok(())
}

fn sorted<'v>(list: &List<'v>, keys: &List<'v>) -> Outcome<'v> {
    if list.len() != keys.len() {
        return Err(EvalError::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            list.len(),
            keys.len()
        )));
    }
    let keys = keys.to_vec()?;
    if let Some(first) = keys.first() {
        if !arithmetic::comparable(first) {
            return Err(EvalError::new("list elements must be comparable"));
        }
        if keys.iter().any(|key| key.type_name() != first.type_name()) {
            return Err(EvalError::new("list elements must have the same type"));
        }
    }
    let mut pairs: Vec<(Value<'v>, Value<'v>)> = keys.into_iter().zip(list.to_vec()?).collect();
    let mut wrong = None;
    pairs.sort_by(|(a, _), (b, _)| {
        equality::compare(a, b).unwrap_or_else(|why| {
            wrong = Some(why);
            Ordering::Equal
        })
    });
    match wrong {
        Some(why) => Err(why),
        None => Ok(Value::list(pairs.into_iter().map(|(_, value)| value).collect())),
    }
}

fn range<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::Int(count)] = args else { return unsuited("lists.range") };
    let count = usize::try_from(*count).unwrap_or_default();
    bounded(count.checked_mul(size_of::<Value<'_>>()))?;
    Ok(Value::list((0_i64..).take(count).map(Value::Int).collect()))
}

fn distinct<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::List(list)] = args else { return unsuited("distinct") };
    let mut kept: Vec<Value<'v>> = Vec::new();
    for element in list.iter() {
        let element = element?;
        if !kept.iter().any(|it| equality::equal(it, &element).unwrap_or_default()) {
            kept.push(element);
        }
    }
    Ok(Value::list(kept))
}

fn has_all(list: &List<'_>, all: &List<'_>) -> Result<bool, EvalError> {
    for element in all.iter() {
        if !equality::contains(list, &element?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::List(a), Value::List(b)] = args else { return unsuited("sets.intersects") };
    for element in a.iter() {
        if equality::contains(b, &element?).unwrap_or_default() {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// What the macros that make maps gather with.
fn map_insert<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [Value::Map(Map::Made(made)), rest @ ..] => insert(Arc::clone(made), rest),
        _ => unsuited("cel.@mapInsert"),
    }
}

/// Adds an entry, or all of another map; in place if nobody else holds the map.
pub(crate) fn insert<'v>(mut made: Arc<crate::value::Made<'v>>, rest: &[Value<'v>]) -> Outcome<'v> {
    let entries = match rest {
        [key, value] => vec![(key.clone(), value.clone())],
        [Value::Map(other)] => {
            let mut entries = Vec::new();
            for key in other.keys() {
                if let Some(value) = other.get(&key) {
                    entries.push((key, value?));
                }
            }
            entries
        }
        _ => return unsuited("cel.@mapInsert"),
    };
    let map = Arc::make_mut(&mut made);
    for (key, value) in entries {
        if !map.insert(key.clone(), value)? {
            return Err(EvalError::new(format!("insert failed: key {key} already exists")));
        }
    }
    Ok(Value::Map(Map::Made(made)))
}

//! When values are equal and which is less: numbers across their types, lists and maps by what they hold.

use std::{cmp::Ordering, collections::BTreeSet};

use crate::{
    declared::ListKind,
    eval::EvalError,
    value::{List, Map, Value},
};

pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, EvalError> {
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => numbers(a, b) == Some(Ordering::Equal),
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a.key() == b.key(),
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::List(a), Value::List(b)) => lists(a, b)?,
        (Value::Map(a), Value::Map(b)) => maps(a, b)?,
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(a, b)?,
        (Value::Opaque(a), Value::Opaque(b)) => a.equals(b)?,
        _ => false,
    })
}

fn lists(a: &List<'_>, b: &List<'_>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    match a.kind() {
        Some(ListKind::Set) => {
            for element in b.iter() {
                if !contains(a, &element?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Some(ListKind::Map(keys)) => {
            for element in b.iter() {
                let element = element?;
                let same = find_by_keys(a, &element, keys)?;
                match same {
                    Some(same) if equal(&same, &element)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        _ => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(&a?, &b?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// The element with the same values in the key fields; the last one, should there be several.
fn find_by_keys<'v>(
    list: &List<'v>,
    like: &Value<'_>,
    keys: &[std::sync::Arc<str>],
) -> Result<Option<Value<'v>>, EvalError> {
    let mut found = None;
    for element in list.iter() {
        let element = element?;
        if same_keys(&element, like, keys)? {
            found = Some(element);
        }
    }
    Ok(found)
}

fn same_keys(a: &Value<'_>, b: &Value<'_>, keys: &[std::sync::Arc<str>]) -> Result<bool, EvalError> {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return Ok(false) };
    for key in keys {
        let same = match (a.field(key).transpose()?, b.field(key).transpose()?) {
            (Some(a), Some(b)) => equal(&a, &b)?,
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps(a: &Map<'_>, b: &Map<'_>) -> Result<bool, EvalError> {
    if let (Map::Json { fields: a, declared: None }, Map::Json { fields: b, declared: None }) = (a, b)
        && a == b
    {
        return Ok(true);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    let keys = a.keys();
    for key in &keys {
        let (Some(a), Some(b)) = (a.get(key), b.get(key)) else { return Ok(false) };
        if !equal(&a?, &b?)? {
            return Ok(false);
        }
    }
    // Fields nobody declared are compared as they are.
    if let (Map::Json { fields: a, declared: Some(_) }, Map::Json { fields: b, declared: Some(_) }) = (a, b)
        && keys.len() < a.len()
    {
        let known: BTreeSet<&str> = keys.iter().filter_map(Value::as_str).collect();
        let unknown = a.iter().filter(|(key, _)| !known.contains(key.as_str()));
        for (key, value) in unknown {
            if b.get(key).is_some_and(|other| other != value) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

pub(crate) fn contains(list: &List<'_>, value: &Value<'_>) -> Result<bool, EvalError> {
    let mut wrong = None;
    for element in list.iter() {
        match element.and_then(|element| equal(&element, value)) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(why) => wrong = wrong.or(Some(why)),
        }
    }
    wrong.map_or(Ok(false), Err)
}

/// One list and then the other, by the kind of the first.
pub(crate) fn added<'v>(a: &List<'v>, b: &List<'v>) -> Result<Value<'v>, EvalError> {
    let kind = a.kind();
    let mut items = a.to_vec()?;
    for element in b.iter() {
        let element = element?;
        let position = match kind {
            Some(ListKind::Set) => {
                let mut same = None;
                for (at, item) in items.iter().enumerate() {
                    if equal(item, &element)? {
                        same = Some(at);
                        break;
                    }
                }
                same
            }
            Some(ListKind::Map(keys)) => {
                let mut same = None;
                for (at, item) in items.iter().enumerate() {
                    if same_keys(item, &element, keys)? {
                        same = Some(at);
                    }
                }
                same
            }
            _ => None,
        };
        match position.and_then(|at| items.get_mut(at)) {
            Some(slot) => *slot = element,
            None => items.push(element),
        }
    }
    Ok(Value::List(List::Made(std::sync::Arc::new(items), kind)))
}

/// Which of two values is less.
///
/// # Errors
/// They have no order, or one is no number though it is of that type.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, EvalError> {
    match (a, b) {
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => numbers(a, b).ok_or_else(|| EvalError::new("NaN values cannot be ordered")),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Ok((**a).cmp(&**b)),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Ok(a.key().cmp(&b.key())),
        (Value::Duration(a), Value::Duration(b)) => Ok(a.cmp(b)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    let whole = |it: &Value<'_>| match it {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (whole(a), whole(b), a, b) {
        (Some(a), Some(b), _, _) => Some(a.cmp(&b)),
        (Some(a), None, _, Value::Double(b)) => whole_and_double(a, *b),
        (None, Some(b), Value::Double(a), _) => whole_and_double(b, *a).map(Ordering::reverse),
        (None, None, Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        _ => None,
    }
}

/// Exact: a number too large for the other type is greater, not rounded.
#[expect(clippy::cast_possible_truncation, reason = "larger numbers were told apart before")]
fn whole_and_double(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b >= 1e20 {
        return Some(Ordering::Less);
    }
    if b <= -1e20 {
        return Some(Ordering::Greater);
    }
    let floor = b.floor();
    Some(match a.cmp(&(floor as i128)) {
        Ordering::Equal if b > floor => Ordering::Less,
        order => order,
    })
}

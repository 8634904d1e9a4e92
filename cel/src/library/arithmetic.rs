//! `+ - * / %`, comparisons, `in`, `size` and `!`.

use std::{cmp::Ordering, sync::Arc};

use super::{Native, bounded, unsuited};
use crate::{
    equality,
    eval::{EvalError, Outcome},
    value::{Duration, List, Timestamp, Value},
};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "_+_" => add,
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => modulo,
        "-_" => negate,
        "!_" => not,
        "_<_" => |args| ordered("_<_", args, Ordering::is_lt),
        "_<=_" => |args| ordered("_<=_", args, Ordering::is_le),
        "_>_" => |args| ordered("_>_", args, Ordering::is_gt),
        "_>=_" => |args| ordered("_>=_", args, Ordering::is_ge),
        "@in" => contained,
        "size" => size,
        _ => return None,
    })
}

fn overflow<'v, T>(value: Option<T>, make: impl FnOnce(T) -> Value<'v>, kind: &'static str) -> Outcome<'v> {
    value.map(make).ok_or_else(|| EvalError::new(format!("{kind} overflow")))
}

const INT: &str = "integer";
const UINT: &str = "unsigned integer";

fn add<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_add(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => overflow(a.checked_add(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::String(a), Value::String(b)] => {
            bounded(a.len().checked_add(b.len()))?;
            Ok(Value::string([&**a, &**b].concat()))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            bounded(a.len().checked_add(b.len()))?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        [Value::Duration(a), Value::Duration(b)] => {
            overflow(a.0.checked_add(b.0), |it| Value::Duration(Duration(it)), "duration")
        }
        [Value::Timestamp(time), Value::Duration(by)] | [Value::Duration(by), Value::Timestamp(time)] => {
            overflow(shifted(*time, i128::from(by.0)), Value::Timestamp, "timestamp")
        }
        [Value::List(a), Value::List(b)] => append(a.clone(), b),
        _ => unsuited("_+_"),
    }
}

/// One list and then another. A list nobody else holds grows in place, so that gathering is not quadratic.
pub(crate) fn append<'v>(mut a: List<'v>, b: &List<'v>) -> Outcome<'v> {
    if let List::Made(items, None) = &mut a
        && let Some(items) = Arc::get_mut(items)
    {
        for element in b.iter() {
            items.push(element?);
        }
        return Ok(Value::List(a));
    }
    equality::added(&a, b)
}

fn shifted(time: Timestamp, by: i128) -> Option<Timestamp> {
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos) + by;
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    Timestamp::new(seconds, u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?, time.offset)
}

fn subtract<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_sub(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => overflow(a.checked_sub(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => {
            overflow(a.0.checked_sub(b.0), |it| Value::Duration(Duration(it)), "duration")
        }
        [Value::Timestamp(time), Value::Duration(by)] => {
            overflow(shifted(*time, -i128::from(by.0)), Value::Timestamp, "timestamp")
        }
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            let nanos = |it: &Timestamp| i128::from(it.seconds) * 1_000_000_000 + i128::from(it.nanos);
            let between = i64::try_from(nanos(a) - nanos(b)).ok();
            overflow(between, |it| Value::Duration(Duration(it)), "duration")
        }
        _ => unsuited("_-_"),
    }
}

fn multiply<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_mul(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => overflow(a.checked_mul(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => unsuited("_*_"),
    }
}

fn divide<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvalError::new("division by zero"))
        }
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_div(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => overflow(a.checked_div(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => unsuited("_/_"),
    }
}

fn modulo<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvalError::new("modulus by zero"))
        }
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_rem(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => overflow(a.checked_rem(*b), Value::Uint, UINT),
        _ => unsuited("_%_"),
    }
}

fn negate<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [Value::Int(a)] => overflow(a.checked_neg(), Value::Int, INT),
        [Value::Double(a)] => Ok(Value::Double(-a)),
        [Value::Bool(_)] => Err(EvalError::no_such_overload()),
        _ => unsuited("-_"),
    }
}

fn not<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn ordered<'v>(name: &str, args: &[Value<'v>], fits: fn(Ordering) -> bool) -> Outcome<'v> {
    match args {
        [a, b] if comparable(a) => equality::compare(a, b).map(|order| Value::Bool(fits(order))),
        _ => unsuited(name),
    }
}

/// It has an order at all.
pub(super) fn comparable(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Timestamp(_)
            | Value::Duration(_)
    )
}

fn contained<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [value, Value::List(list)] => equality::contains(list, value).map(Value::Bool),
        [key, Value::Map(map)] => match map.get(key) {
            Some(Err(why)) => Err(why),
            _ => Ok(Value::Bool(map.has(key))),
        },
        _ => Err(EvalError::no_such_overload()),
    }
}

fn size<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    match args {
        [value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))] => {
            Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX)))
        }
        _ => unsuited("size"),
    }
}

//! Values that may be absent. `or` and `orValue` are evaluated where their second argument may be left out.

use super::{Native, unsuited};
use crate::{
    eval::{EvalError, Outcome},
    value::{List, Value},
};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "optional.of" => |args| match args {
            [value] => Ok(Value::some(value.clone())),
            _ => unsuited("optional.of"),
        },
        "optional.ofNonZeroValue" => |args| match args {
            [value] if is_zero(value) => Ok(Value::Optional(None)),
            [value] => Ok(Value::some(value.clone())),
            _ => unsuited("optional.ofNonZeroValue"),
        },
        "optional.none" => |_| Ok(Value::Optional(None)),
        "hasValue" => |args| match args {
            [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
            _ => unsuited("hasValue"),
        },
        "value" => |args| match args {
            [Value::Optional(Some(value))] => Ok(value.as_ref().clone()),
            [Value::Optional(None)] => Err(EvalError::new("optional.none() dereference")),
            _ => unsuited("value"),
        },
        "first" => |args| match args {
            [Value::List(list)] => at(list, 0),
            _ => unsuited("first"),
        },
        "last" => |args| match args {
            [Value::List(list)] => at(list, list.len().wrapping_sub(1)),
            _ => unsuited("last"),
        },
        "optional.unwrap" | "unwrapOpt" => unwrap,
        _ => return None,
    })
}

fn at<'v>(list: &List<'v>, index: usize) -> Outcome<'v> {
    Ok(Value::Optional(list.get(index).transpose()?.map(std::sync::Arc::new)))
}

fn unwrap<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::List(list)] = args else { return unsuited("optional.unwrap") };
    let mut values = Vec::new();
    for element in list.iter() {
        match element? {
            Value::Optional(Some(value)) => values.push(value.as_ref().clone()),
            Value::Optional(None) => {}
            other => return Err(EvalError::new(format!("value {other} is not optional"))),
        }
    }
    Ok(Value::list(values))
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Duration(duration) => duration.0 == 0,
        Value::List(list) => list.len() == 0,
        Value::Map(map) => map.len() == 0,
        Value::Optional(value) => value.as_ref().is_none_or(|it| is_zero(it)),
        _ => false,
    }
}

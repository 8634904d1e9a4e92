//! Amounts of resources. Comparisons also take semantic versions, which share their names.

use std::{cmp::Ordering, sync::Arc};

use api_types::quantity::{Format, Quantity};

use super::{Native, Opaque, unsuited};
use crate::{
    eval::{EvalError, Outcome},
    value::Value,
};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "quantity" => |args| match args {
            [Value::String(text)] => parse(text),
            _ => unsuited("quantity"),
        },
        "isQuantity" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
            _ => unsuited("isQuantity"),
        },
        "sign" => |args| one("sign", args, |it| Ok(Value::Int(i64::from(it.sign())))),
        "isGreaterThan" => |args| order("isGreaterThan", args).map(|it| Value::Bool(it.is_gt())),
        "isLessThan" => |args| order("isLessThan", args).map(|it| Value::Bool(it.is_lt())),
        "compareTo" => |args| {
            order("compareTo", args).map(|it| {
                Value::Int(match it {
                    Ordering::Less => -1,
                    Ordering::Equal => 0,
                    Ordering::Greater => 1,
                })
            })
        },
        "asApproximateFloat" => |args| one("asApproximateFloat", args, |it| Ok(Value::Double(it.as_f64()))),
        "isInteger" => |args| one("isInteger", args, |it| Ok(Value::Bool(it.as_i64().is_some()))),
        "asInteger" => |args| {
            one("asInteger", args, |it| {
                it.as_i64().map(Value::Int).ok_or_else(|| EvalError::new("cannot convert value to integer"))
            })
        },
        "add" => |args| sum("add", args, |total, by| *total += by),
        "sub" => |args| sum("sub", args, |total, by| *total -= by),
        _ => return None,
    })
}

pub(crate) fn parse<'v>(text: &str) -> Outcome<'v> {
    let quantity: Quantity = text.parse().map_err(|why| EvalError::new(format!("{why}")))?;
    Ok(Value::Opaque(Opaque::Quantity(Arc::new(quantity))))
}

fn one<'v>(name: &str, args: &[Value<'v>], of: impl FnOnce(&Quantity) -> Outcome<'v>) -> Outcome<'v> {
    match args {
        [Value::Opaque(Opaque::Quantity(quantity))] => of(quantity),
        _ => unsuited(name),
    }
}

fn order(name: &str, args: &[Value<'_>]) -> Result<Ordering, EvalError> {
    match args {
        [Value::Opaque(Opaque::Quantity(a)), Value::Opaque(Opaque::Quantity(b))] => {
            Ok(a.partial_cmp(b).unwrap_or(Ordering::Equal))
        }
        [Value::Opaque(Opaque::Semver(a)), Value::Opaque(Opaque::Semver(b))] => Ok(a.compare(b)),
        _ => Err(EvalError::new(format!("no such overload: {name}"))),
    }
}

fn sum<'v>(name: &str, args: &[Value<'v>], change: fn(&mut Quantity, &Quantity)) -> Outcome<'v> {
    let (total, by) = match args {
        [Value::Opaque(Opaque::Quantity(total)), Value::Opaque(Opaque::Quantity(by))] => {
            (total, by.as_ref().clone())
        }
        [Value::Opaque(Opaque::Quantity(total)), Value::Int(by)] => {
            (total, Quantity::new(*by, Format::DecimalExponent))
        }
        _ => return unsuited(name),
    };
    let mut total = total.as_ref().clone();
    change(&mut total, &by);
    Ok(Value::Opaque(Opaque::Quantity(Arc::new(total))))
}

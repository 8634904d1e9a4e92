//! One door for the tables that test kinds: objects in as JSON, faults and warnings out as text.

use api_types::typed::Typed;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    authn::user::User,
    registry::strategy::{Context, Strategy},
};

/// Runs with a context at a fixed time.
pub(crate) fn with_context<T>(run: impl FnOnce(&Context<'_>) -> T) -> T {
    with_user(&User::default(), run)
}

/// Runs with a context of this user.
pub(crate) fn with_user<T>(user: &User, run: impl FnOnce(&Context<'_>) -> T) -> T {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    run(&Context { now, user, namespace: "default", group: "", dry_run: false, allow_privileged: true })
}

/// The object as the strategy's type, with defaults.
pub(crate) fn defaulted<S: Strategy>(object: Value) -> S::Object {
    let raw = object;
    let mut object = S::Object::from_value(&raw).unwrap();
    S::mark(&raw, &mut object);
    S::default(&mut object);
    object
}

/// Lays one value over another; `null` takes away.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// A copy of a value with another laid over it.
pub(crate) fn merged(mut value: Value, from: Value) -> Value {
    merge(&mut value, from);
    value
}

/// The faults of creating the object.
pub(crate) fn check_create<S: Strategy>(object: Value) -> Vec<String> {
    with_context(|cx| {
        let mut object = defaulted::<S>(object);
        S::prepare_for_create(cx, &mut object);
        S::validate(cx, &object).iter().map(ToString::to_string).collect()
    })
}

/// The faults of updating `old` to the object.
pub(crate) fn check_update<S: Strategy>(object: Value, old: Value) -> Vec<String> {
    with_context(|cx| {
        let old = defaulted::<S>(old);
        let mut object = defaulted::<S>(object);
        S::prepare_for_update(cx, &mut object, &old);
        let mut faults = S::validate_update(cx, &object, &old);
        faults.extend(S::validate_change(&object, &old));
        faults.iter().map(ToString::to_string).collect()
    })
}

/// The faults of updating the status of `old` to the object's.
pub(crate) fn check_status_update<S: Strategy>(object: Value, old: Value) -> Vec<String> {
    with_context(|cx| {
        let old = defaulted::<S>(old);
        let mut object = defaulted::<S>(object);
        S::prepare_for_status_update(cx, &mut object, &old);
        S::validate_status_update(cx, &object, &old).iter().map(ToString::to_string).collect()
    })
}

/// The object as created.
pub(crate) fn created<S: Strategy>(object: Value) -> Value {
    with_context(|cx| {
        let mut object = defaulted::<S>(object);
        S::prepare_for_create(cx, &mut object);
        object.to_value()
    })
}

/// The object as `old` is updated to it.
pub(crate) fn updated<S: Strategy>(object: Value, old: Value) -> Value {
    with_context(|cx| {
        let old = defaulted::<S>(old);
        let mut object = defaulted::<S>(object);
        S::prepare_for_update(cx, &mut object, &old);
        object.to_value()
    })
}

/// What the writer of a new object is warned about.
pub(crate) fn warnings<S: Strategy>(object: Value) -> Vec<String> {
    with_context(|cx| S::warnings(cx, &defaulted::<S>(object), None))
}

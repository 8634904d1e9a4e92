//! Strategic merge patch: a merge patch that knows which lists have items with a name
//! (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch>).
//!
//! Lists marked `patchStrategy: merge` merge item by item, by their merge key or as sets. A patch steers it with
//! directives: `$patch: replace|delete` in a map or an item, `$retainKeys`, `$deleteFromPrimitiveList/NAME` and
//! `$setElementOrder/NAME`. Only built-in kinds have the marks.

use api_types::{
    field::go_quote,
    schema::{Field, Patch, Shape, TypeRef, schema},
    status::Status,
};
use serde_json::{Map as Object, Value};

use super::print::{Plain, type_name};

#[cfg(test)]
mod diff;
mod order;

use order::{arrange, partition};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The patch is malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// The patch does not suit the object.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// What upstream has no kind of failure for.
    #[error("{0}")]
    Other(String),
}

const BAD_DELETE_LIST: Failure = Failure::Malformed("invalid patch format of primitive list");
const BAD_RETAIN_KEYS: Failure = Failure::Malformed("invalid patch format of retainKeys");
const BAD_ELEMENT_ORDER: Failure = Failure::Malformed("invalid patch format of setElementOrder list");
const LISTS_OF_LISTS: Failure = Failure::Unsuitable("lists of lists are not supported");

/// Why a custom resource takes no strategic merge patch.
pub const UNSUPPORTED: Failure = Failure::Malformed("strategic merge patch format is not supported");

/// What a value is an instance of, as far as merging goes.
#[derive(Clone, Copy)]
enum Type<'a> {
    Struct(TypeRef),
    Other(&'a Shape),
}

/// How a field is to be merged.
#[derive(Clone, Copy)]
struct Mark<'a> {
    of: Type<'a>,
    strategy: &'a Patch,
}

/// Reads the body of a request: the patch, and the duplicate fields in it.
///
/// # Errors
/// 400 with Go's message if it is no JSON object.
pub fn decode(body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    super::object(body).map_err(Status::bad_request)
}

/// An object with a patch laid over it.
///
/// # Errors
/// When the patch is malformed or does not suit the object.
pub fn merge(original: Value, patch: Value, of: TypeRef) -> Result<Value, Failure> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(Failure::Malformed("invalid JSON document"));
    };
    merge_map(original, patch, Type::Struct(of)).map(Value::Object)
}

// === impl Failure ===

impl Failure {
    fn argument(expected: &str, actual: &Value) -> Self {
        let actual = if actual.is_null() { "%!s(<nil>)" } else { type_name(actual) };
        Self::Other(format!("expected a {expected}, but received a {actual}"))
    }

    fn no_merge_key(item: &Object<String, Value>, key: &str) -> Self {
        let item = Value::Object(item.clone());
        Self::Other(format!("map: {} does not contain declared merge key: {key}", Plain(&item)))
    }

    fn directive(directive: &Value, map: &Object<String, Value>) -> Self {
        let map = Value::Object(map.clone());
        Self::Other(format!("unknown patch type: {} in map: {}", Plain(directive), Plain(&map)))
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Malformed(why) => Self::bad_request(why),
            Failure::Unsuitable(_) => super::rejected(),
            Failure::Other(why) => Self::failure(500, "", why),
        }
    }
}

// === impl Type ===

impl<'a> Type<'a> {
    fn of(shape: &'a Shape) -> Self {
        match shape {
            Shape::Struct(of) => Self::Struct(*of),
            other => Self::Other(other),
        }
    }

    fn field(self, name: &str) -> Result<&'a Field, Failure> {
        let of = match self {
            Self::Struct(of) => schema().get(of),
            Self::Other(_) => {
                return Err(Failure::Other(format!(
                    "merging an object in json but data type is not struct, instead is: {}",
                    self.go_kind()
                )));
            }
        };
        of.field(name).ok_or_else(|| {
            let name = go_quote(name);
            Failure::Other(format!(
                "unable to find api field in struct {} for the json field {name}",
                of.name
            ))
        })
    }

    /// How a field that holds a map is to be merged.
    fn map(self, name: &str) -> Result<Mark<'a>, Failure> {
        let field = self.field(name)?;
        Ok(Mark { of: Self::of(&field.shape), strategy: &field.patch })
    }

    /// How a field that holds a list is to be merged.
    fn list(self, name: &str) -> Result<Mark<'a>, Failure> {
        let field = self.field(name)?;
        match &field.shape {
            Shape::List(item) if matches!(**item, Shape::List(_)) => {
                Err(Failure::Other("unexpected slice of slice".to_owned()))
            }
            Shape::List(item) => Ok(Mark { of: Self::of(item), strategy: &field.patch }),
            _ => Err(Failure::Other(format!("expected slice or array type, but got: {}", self.go_kind()))),
        }
    }

    fn go_kind(self) -> &'static str {
        match self {
            Self::Struct(_) => "struct",
            Self::Other(shape) => match shape {
                Shape::String => "string",
                Shape::Bool => "bool",
                Shape::Int32 => "int32",
                Shape::Int64 => "int64",
                Shape::Float64 => "float64",
                Shape::Bytes | Shape::List(_) => "slice",
                Shape::Map(_) => "map",
                _ => "struct",
            },
        }
    }
}

// === impl Mark ===

impl<'a> Mark<'a> {
    /// The key that tells items apart; empty for sets.
    fn key(self) -> &'a str {
        self.strategy.merge_key.unwrap_or_default()
    }
}

fn merge_map(
    mut original: Object<String, Value>,
    mut patch: Object<String, Value>,
    of: Type<'_>,
) -> Result<Object<String, Value>, Failure> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(Failure::directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, of)?;

    for (name, value) in patch {
        let (name, deletes) = match name.starts_with(DELETE_FROM) {
            true => (list_name(&name, DELETE_FROM).ok_or(BAD_DELETE_LIST)?.to_owned(), true),
            false => (name, false),
        };
        if value.is_null() {
            original.remove(&name);
            continue;
        }
        let merged = match (original.remove(&name), value) {
            (Some(Value::Object(original)), Value::Object(patch)) => {
                let mark = of.map(&name)?;
                let replace = mark.strategy.replace;
                Some(Value::Object(if replace { patch } else { merge_map(original, patch, mark.of)? }))
            }
            (Some(Value::Array(original)), Value::Array(patch)) => {
                let mark = of.list(&name)?;
                Some(Value::Array(merge_list(original, patch, mark, deletes)?))
            }
            // There is nothing to delete from.
            (original, _) if deletes => original,
            (_, mut value) => {
                discard_nulls(&mut value);
                without_directives(value)
            }
        };
        if let Some(merged) = merged {
            original.insert(name, merged);
        }
    }
    Ok(original)
}

/// The list that a directive such as `$setElementOrder/containers` is about.
fn list_name<'n>(directive: &'n str, prefix: &str) -> Option<&'n str> {
    directive.strip_prefix(prefix)?.strip_prefix('/')
}

/// Drops from the original what the patch does not list as retained.
fn retain_keys(
    original: &mut Object<String, Value>,
    patch: &mut Object<String, Value>,
) -> Result<(), Failure> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(retained) = retained else { return Err(BAD_RETAIN_KEYS) };
    let is_retained = |name: &String| retained.iter().any(|it| it.as_str() == Some(name));
    let is_list_directive = |name: &String| name.starts_with(DELETE_FROM) || name.starts_with(ELEMENT_ORDER);
    let mut set = patch.iter().filter(|(name, value)| !value.is_null() && !is_list_directive(name));
    if !set.all(|(name, _)| is_retained(name)) {
        return Err(BAD_RETAIN_KEYS);
    }
    original.retain(|name, _| is_retained(name));
    Ok(())
}

/// Merges the lists for which the patch states an order, and takes them and the orders out of it.
///
/// The stated order counts before that of the patch, and that before the live one.
fn merge_ordered_lists(
    original: &mut Object<String, Value>,
    patch: &mut Object<String, Value>,
    of: Type<'_>,
) -> Result<(), Failure> {
    let directives: Vec<String> =
        patch.keys().filter(|name| name.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let stated = match patch.remove(&directive) {
            Some(Value::Array(stated)) => stated,
            other => return Err(Failure::argument("[]interface {}", &other.unwrap_or_default())),
        };
        let name = list_name(&directive, ELEMENT_ORDER).ok_or(BAD_ELEMENT_ORDER)?;
        let list = |value: Option<&Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(other) => Err(Failure::argument("[]interface {}", other)),
        };
        let live = list(original.get(name))?;
        let patched = list(patch.get(name))?;
        let mark = of.list(name)?;
        let key = mark.key();
        check_order(patched.as_deref().unwrap_or_default(), &stated, key)?;
        let merged = match (live.clone(), patched.clone()) {
            (None, None) => continue,
            (Some(live), None) => live,
            (None, Some(patched)) => patched.into_iter().filter_map(without_directives).collect(),
            (Some(live), Some(patched)) => merge_list(live, patched, mark, false)?,
        };
        let (ours, theirs) = partition(merged, &stated, key)?;
        let live = live.unwrap_or_default();
        items_type(&[&live, patched.as_deref().unwrap_or_default()])?;
        let arranged = arrange(ours, theirs, &stated, &live, key)?;
        original.insert(name.to_owned(), Value::Array(arranged));
        patch.remove(name);
    }
    Ok(())
}

/// The items of the patch must all be in the stated order, in that order.
fn check_order(patched: &[Value], stated: &[Value], key: &str) -> Result<(), Failure> {
    if stated.is_empty() || patched.is_empty() {
        return Ok(());
    }
    if let Some(item) = patched.iter().find(|item| !key.is_empty() && !item.is_object()) {
        return Err(Failure::argument("map[string]interface {}", item));
    }
    let directive = |item: &Value| item.get(DIRECTIVE).is_some();
    let deletes = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
    let mut items = patched.iter().filter(|item| !deletes(item)).peekable();
    let mut order = stated.iter().peekable();
    while let (Some(item), Some(next)) = (items.peek(), order.peek()) {
        if directive(item) {
            items.next();
            continue;
        }
        if same_item(item, next, key)? {
            items.next();
        }
        order.next();
    }
    if items.peek().is_some() && order.peek().is_none() {
        let (patched, stated) = (Value::Array(patched.to_vec()), Value::Array(stated.to_vec()));
        return Err(Failure::Other(format!(
            "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
            Plain(&patched),
            Plain(&stated)
        )));
    }
    Ok(())
}

/// Whether two items have the same name.
fn same_item(one: &Value, other: &Value, key: &str) -> Result<bool, Failure> {
    if key.is_empty() {
        return Ok(one == other);
    }
    Ok(name_of(one, key)? == name_of(other, key)?)
}

fn name_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value, Failure> {
    let Value::Object(fields) = item else { return Err(Failure::argument("map[string]interface {}", item)) };
    fields.get(key).ok_or_else(|| Failure::no_merge_key(fields, key))
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    mark: Mark<'_>,
    deletes: bool,
) -> Result<Vec<Value>, Failure> {
    if !(mark.strategy.merge || deletes) {
        return Ok(patch);
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let key = mark.key();
    if !items_type(&[&original, &patch])? {
        if deletes {
            return Ok(original.into_iter().filter(|item| !patch.contains(item)).collect());
        }
        let both = original.iter().chain(&patch).cloned().collect();
        let (ours, theirs) = partition(without_repetitions(both), &patch, key)?;
        return arrange(ours, theirs, &patch, &original, key);
    }
    if key.is_empty() {
        return Err(Failure::Other(format!(
            "cannot merge lists without merge key for {}",
            mark.of.go_kind()
        )));
    }
    let (original, patch) = apply_item_directives(original, patch, key)?;
    let mut merged = original.clone();
    for item in &patch {
        let Value::Object(fields) = item else { continue };
        let name = fields.get(key).ok_or_else(|| Failure::no_merge_key(fields, key))?;
        match position(&merged, key, name)? {
            Some(at) => {
                if let Some(place) = merged.get_mut(at) {
                    let live = place.as_object().cloned().unwrap_or_default();
                    *place = Value::Object(merge_map(live, fields.clone(), mark.of)?);
                }
            }
            None => merged.push(item.clone()),
        }
    }
    let (ours, theirs) = partition(merged, &patch, key)?;
    arrange(ours, theirs, &patch, &original, key)
}

/// Whether the items of the lists are maps. All must be of one type, and not lists.
fn items_type(lists: &[&[Value]]) -> Result<bool, Failure> {
    let mut items = lists.iter().copied().flatten();
    let Some(first) = items.next() else {
        return Err(Failure::Other("no elements in any of the given slices".to_owned()));
    };
    if first.is_array() {
        return Err(LISTS_OF_LISTS);
    }
    if items.any(|item| type_name(item) != type_name(first)) {
        let lists = Value::Array(lists.iter().map(|list| Value::Array(list.to_vec())).collect());
        return Err(Failure::Other(format!("list element types are not identical: {}", Plain(&lists))));
    }
    Ok(first.is_object())
}

/// Carries out the directives among the items of a patch, and takes them out of it.
fn apply_item_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let Value::Object(fields) = &item else { continue };
        let Some(directive) = fields.get(DIRECTIVE) else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let name = fields.get(key).ok_or_else(|| Failure::no_merge_key(fields, key))?;
                while let Some(at) = position(&original, key, name)? {
                    original.remove(at);
                }
            }
            // Directives after it are still looked at.
            Some("replace") => replace = true,
            Some("merge") => {
                let why = "merging lists cannot yet be specified in the patch";
                return Err(Failure::Other(why.to_owned()));
            }
            _ => return Err(Failure::directive(directive, fields)),
        }
    }
    Ok(if replace { (rest, Vec::new()) } else { (original, rest) })
}

fn position(items: &[Value], key: &str, name: &Value) -> Result<Option<usize>, Failure> {
    for (index, item) in items.iter().enumerate() {
        let Value::Object(fields) = item else {
            return Err(Failure::Other(format!("value for key {index} is not a map")));
        };
        if fields.get(key) == Some(name) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Each value once. A repetition gives its place to the last value, as upstream has it.
fn without_repetitions(mut items: Vec<Value>) -> Vec<Value> {
    let mut first = 0;
    while first < items.len() {
        let mut second = first + 1;
        while second < items.len() {
            if items.get(first) == items.get(second) {
                items.swap_remove(second);
            } else {
                second += 1;
            }
        }
        first += 1;
    }
    items
}

/// What a patch says where there is nothing to merge with; `None` if it is a directive through and through.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => Some(Value::Object(
            fields.into_iter().filter_map(|(name, value)| Some((name, without_directives(value)?))).collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        scalar => Some(scalar),
    }
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;

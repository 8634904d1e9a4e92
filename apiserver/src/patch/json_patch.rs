//! JSON patch (RFC 6902), with the liberties upstream's library takes: negative positions count from the end, a replace
//! may add, a field that is not there equals null, and what stands before a pointer's first slash is ignored.

use api_types::{
    status::Status,
    wire::{DEPTH_KEPT_MAX, json},
};
use serde_json::{Map as Object, Value};

/// A body may hold no more operations than this.
const OPERATIONS_MAX: usize = 10_000;
/// All copies of a patch together may have no more bytes than this: else twenty copies of a thing into itself fill the memory.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The operations of a patch, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(Vec<Value>);

/// Why an operation cannot be carried out. The client is not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("the operation has no {0}")]
    Incomplete(&'static str),
    #[error("unexpected kind: {0}")]
    Unknown(String),
    #[error("the document has nothing at {0}")]
    Missing(String),
    #[error("the value at {0} is another")]
    TestFailed(String),
    #[error("only an object or a list can replace the document")]
    NoDocument,
    #[error("the copies have more than {COPIED_BYTES_MAX} bytes")]
    Copies,
    #[error("exceeded max depth at {0}")]
    Depth(String),
}

/// A map or a list, and a step into it.
struct Place<'v> {
    container: Container<'v>,
    key: String,
}

enum Container<'v> {
    Map(&'v mut Object<String, Value>),
    List(&'v mut Vec<Value>),
}

// === impl Patch ===

impl Patch {
    /// Reads the body of a request: the patch, and what field validation objects to. `validated` is whether the client
    /// asked for it, strict or with warnings.
    ///
    /// # Errors
    /// 400 with Go's message if it is no list of operations, 413 if there are too many.
    pub fn decode(body: &[u8], validated: bool) -> Result<(Self, Vec<String>), Status> {
        let prefix = if validated { "error decoding patch: " } else { "" };
        let refuse = |why: String| Status::bad_request(format!("{prefix}{why}"));
        let (list, item) = if validated {
            ("value of type []handlers.jsonPatchOp", "value of type handlers.jsonPatchOp")
        } else {
            ("value of type jsonpatch.Patch", "value of type jsonpatch.Operation")
        };
        let (value, duplicates) = json::decode(body).map_err(|error| refuse(error.to_string()))?;
        let operations = match value {
            Value::Array(operations) => operations,
            Value::Null => Vec::new(),
            other => return Err(refuse(super::misfit(&other, list))),
        };
        let mut objections = duplicates;
        for (index, operation) in operations.iter().enumerate() {
            let fields = match operation {
                Value::Object(fields) => fields,
                Value::Null => continue,
                other => return Err(refuse(super::misfit(other, item))),
            };
            for (name, value) in fields.iter().filter(|_| validated) {
                match (name.as_str(), value) {
                    ("value", _) | ("op" | "path" | "from", Value::String(_) | Value::Null) => {}
                    ("op" | "path" | "from", other) => {
                        let into = format!("struct field jsonPatchOp.{name} of type string");
                        return Err(refuse(super::misfit(other, &into)));
                    }
                    _ => objections.push(format!("unknown field \"[{index}].{name}\"")),
                }
            }
        }
        if operations.len() > OPERATIONS_MAX {
            return Err(Status::too_large(format!(
                "Request entity is too large: The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                operations.len()
            )));
        }
        let objections = objections.iter().map(|objection| format!("json patch {objection}"));
        Ok((Self(operations), objections.collect()))
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The document after all operations, of somebody who is told what is wrong with them.
    ///
    /// # Errors
    /// Why one cannot be carried out.
    pub fn apply_telling(&self, document: Value) -> Result<Value, String> {
        self.run(document).map_err(|failure| failure.to_string())
    }

    /// The document after all operations.
    ///
    /// # Errors
    /// 422 if one cannot be carried out.
    pub fn apply(&self, document: Value) -> Result<Value, Status> {
        self.run(document).map_err(|failure| {
            tracing::debug!(%failure, "JSON patch rejected");
            super::rejected()
        })
    }

    fn run(&self, mut document: Value) -> Result<Value, Failure> {
        let mut copied_bytes = 0;
        for operation in &self.0 {
            let text = |name: &'static str| {
                operation.get(name).and_then(Value::as_str).ok_or(Failure::Incomplete(name))
            };
            let value = || operation.get("value").cloned().unwrap_or_default();
            match operation.get("op").and_then(Value::as_str).unwrap_or("unknown") {
                "add" => add(&mut document, text("path")?, value())?,
                "remove" => drop(find(&mut document, text("path")?)?.remove()?),
                "replace" if text("path")?.is_empty() => match value() {
                    whole @ (Value::Object(_) | Value::Array(_)) => document = whole,
                    _ => return Err(Failure::NoDocument),
                },
                "replace" => {
                    let (path, value) = (text("path")?, value());
                    check_depth(path, &value)?;
                    find(&mut document, path)?.replace(value)?;
                }
                "move" => {
                    let moved = find(&mut document, text("from")?)?.remove()?;
                    add(&mut document, text("path")?, moved)?;
                }
                "copy" => {
                    let copied = find(&mut document, text("from")?)?.get()?;
                    copied_bytes += json::encode_untyped(&copied).len();
                    if copied_bytes > COPIED_BYTES_MAX {
                        return Err(Failure::Copies);
                    }
                    add(&mut document, text("path")?, copied)?;
                }
                "test" => {
                    let path = text("path")?;
                    let found =
                        if path.is_empty() { document.clone() } else { find(&mut document, path)?.get()? };
                    let is_named = operation.get("value").is_some() || found.is_null();
                    if !is_named || found != value() {
                        return Err(Failure::TestFailed(path.to_owned()));
                    }
                }
                other => return Err(Failure::Unknown(other.to_owned())),
            }
        }
        Ok(document)
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), Failure> {
    check_depth(path, &value)?;
    find(document, path)?.add(value)
}

/// Finds that a value may stand at a path. Each addition may be shallow and the document deep all the same.
fn check_depth(path: &str, value: &Value) -> Result<(), Failure> {
    let above = path.bytes().filter(|byte| *byte == b'/').count();
    if above + depth(value) > DEPTH_KEPT_MAX { Err(Failure::Depth(path.to_owned())) } else { Ok(()) }
}

/// How deep a value nests, which is bounded wherever one can come from.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Where a pointer leads: all steps but the last must be there.
fn find<'v>(document: &'v mut Value, pointer: &str) -> Result<Place<'v>, Failure> {
    let missing = || Failure::Missing(pointer.to_owned());
    let unescape = |step: &str| step.replace("~1", "/").replace("~0", "~");
    let mut steps = pointer.split('/').skip(1).map(unescape).peekable();
    let mut at = document;
    loop {
        let step = steps.next().ok_or_else(missing)?;
        if steps.peek().is_none() {
            let container = match at {
                Value::Object(fields) => Container::Map(fields),
                Value::Array(items) => Container::List(items),
                _ => return Err(missing()),
            };
            return Ok(Place { container, key: step });
        }
        at = match at {
            Value::Object(fields) => fields.get_mut(&step),
            Value::Array(items) => {
                let index = index(&step, items.len());
                index.and_then(|index| items.get_mut(index))
            }
            _ => None,
        }
        .ok_or_else(missing)?;
    }
}

/// A position in a list of this length.
fn index(step: &str, length: usize) -> Option<usize> {
    let index: i64 = step.parse().ok()?;
    if index < 0 {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    } else {
        usize::try_from(index).ok()
    }
}

// === impl Place ===

impl Place<'_> {
    fn missing(&self) -> Failure {
        Failure::Missing(self.key.clone())
    }

    /// What is there; null for a field that is not.
    fn get(&self) -> Result<Value, Failure> {
        match &self.container {
            Container::Map(fields) => Ok(fields.get(&self.key).cloned().unwrap_or_default()),
            Container::List(items) => {
                let index = index(&self.key, items.len());
                index.and_then(|index| items.get(index)).cloned().ok_or_else(|| self.missing())
            }
        }
    }

    /// Sets a field, or puts an item in before the one that is there.
    fn add(self, value: Value) -> Result<(), Failure> {
        let missing = self.missing();
        match self.container {
            Container::Map(fields) => {
                fields.insert(self.key, value);
            }
            Container::List(items) if self.key == "-" => items.push(value),
            Container::List(items) => {
                // From the end, -1 is behind the last item.
                let index = index(&self.key, items.len() + 1).filter(|index| *index <= items.len());
                items.insert(index.ok_or(missing)?, value);
            }
        }
        Ok(())
    }

    fn replace(self, value: Value) -> Result<(), Failure> {
        let missing = self.missing();
        match self.container {
            Container::Map(fields) => {
                fields.insert(self.key, value);
            }
            Container::List(items) => {
                let index = index(&self.key, items.len());
                *index.and_then(|index| items.get_mut(index)).ok_or(missing)? = value;
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, Failure> {
        let missing = self.missing();
        match self.container {
            Container::Map(fields) => fields.remove(&self.key).ok_or(missing),
            Container::List(items) => match index(&self.key, items.len()) {
                Some(index) if index < items.len() => Ok(items.remove(index)),
                _ => Err(missing),
            },
        }
    }
}

#[cfg(test)]
mod tests;

//! `metadata.managedFields`: who wrote which fields, when, and in which version of the kind.

use std::fmt;

use api_types::{field::go_quote, wire::json};
use jiff::Timestamp;
use serde_json::{Map as Object, Value};

use super::set::Set;

/// More managers than this by updates, and the oldest are put together.
const UPDATE_MANAGERS_MAX: usize = 10;
/// Under which name they go on.
const ANCIENT: &str = "ancient-changes";
/// Who writes without a name.
const UNKNOWN: &str = "unknown";

/// How a manager came by its fields. In the order entries are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// By server-side apply: what it no longer applies goes, unless others have it too.
    Apply,
    /// By any other write.
    Update,
}

/// Who is on record for fields. Appliers are the same in every version of the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) subresource: String,
    /// Empty for appliers.
    api_version: String,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) identity: Identity,
    /// The version its paths are of.
    pub(super) api_version: String,
    /// As it was written.
    pub(super) time: Option<String>,
    pub(super) fields: Fields,
}

/// The paths of an entry, read only when someone needs to.
#[derive(Clone, Debug)]
pub(super) enum Fields {
    /// In the form we store.
    Stored(Value),
    Read(Set),
}

/// All entries of an object; no two of one identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Managed {
    pub(super) entries: Vec<Entry>,
}

// === impl Operation ===

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

// === impl Identity ===

impl Identity {
    pub(super) fn new(manager: &str, operation: Operation, subresource: &str, api_version: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self {
            manager: manager.to_owned(),
            operation,
            subresource: subresource.to_owned(),
            api_version: api_version.to_owned(),
        }
    }

    /// Of the writer of a request.
    pub(super) fn of_writer(
        manager: &str,
        operation: Operation,
        subresource: &str,
        api_version: &str,
    ) -> Self {
        let manager = if manager.is_empty() { UNKNOWN } else { manager };
        Self::new(manager, operation, subresource, api_version)
    }

    /// What upstream sorts managers by in messages: the entry's own fields as JSON.
    pub(super) fn sort_key(&self) -> Vec<u8> {
        let mut key = b"{".to_vec();
        let fields = [
            ("manager", self.manager.as_str()),
            ("operation", self.operation.as_str()),
            ("apiVersion", &self.api_version),
            ("subresource", &self.subresource),
        ];
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            if key.len() > 1 {
                key.push(b',');
            }
            json::push_string(&mut key, name);
            key.push(b':');
            json::push_string(&mut key, value);
        }
        key.push(b'}');
        key
    }
}

/// As messages name a manager.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&go_quote(&self.manager))?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {}", go_quote(&self.subresource))?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

// === impl Fields ===

impl Fields {
    /// The paths.
    pub(super) fn read(self) -> Set {
        match self {
            Self::Stored(stored) => Set::from_stored(stored),
            Self::Read(set) => set,
        }
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(identity: Identity, api_version: &str, time: Option<String>, set: Set) -> Self {
        Self { identity, api_version: api_version.to_owned(), time, fields: Fields::Read(set) }
    }

    /// Seconds since 1970; entries without a time are the oldest.
    fn seconds(&self) -> i64 {
        let time = self.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        time.map_or(0, Timestamp::as_second)
    }

    fn decode(index: usize, entry: Value) -> Result<Self, String> {
        let Value::Object(mut entry) = entry else { return Err("entry is no object".to_owned()) };
        let mut text = |name: &str| match entry.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType").as_str() {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
            other => {
                let other = go_quote(other);
                return Err(format!("invalid fieldsType {other} in managed fields entry {index}"));
            }
        }
        let identity = Identity::new(&text("manager"), operation, &text("subresource"), &api_version);
        let time = Some(text("time")).filter(|time| !time.is_empty());
        let fields = Fields::Stored(entry.remove("fieldsV1").unwrap_or_else(|| Value::Object(Object::new())));
        Ok(Self { identity, api_version, time, fields })
    }

    fn encode(self) -> Value {
        let mut entry = Object::new();
        let mut put = |name: &str, value: String| {
            if !value.is_empty() {
                entry.insert(name.to_owned(), Value::String(value));
            }
        };
        put("manager", self.identity.manager);
        put("operation", self.identity.operation.as_str().to_owned());
        put("apiVersion", self.api_version);
        put("time", self.time.unwrap_or_default());
        put("fieldsType", "FieldsV1".to_owned());
        put("subresource", self.identity.subresource);
        let fields = match self.fields {
            Fields::Stored(stored) => stored,
            Fields::Read(set) => set.into_value(),
        };
        entry.insert("fieldsV1".to_owned(), fields);
        Value::Object(entry)
    }
}

// === impl Managed ===

impl Managed {
    /// Reads the list. Paths are left unread, as the list was stored by us.
    ///
    /// # Errors
    /// When an entry lacks what it must have.
    pub(super) fn stored(list: Option<Value>) -> Result<Self, String> {
        let mut managed = Self::default();
        let Some(Value::Array(entries)) = list else { return Ok(managed) };
        for (index, entry) in entries.into_iter().enumerate() {
            let entry = Entry::decode(index, entry)?;
            match managed.entries.iter_mut().find(|other| other.identity == entry.identity) {
                Some(other) => *other = entry,
                None => managed.entries.push(entry),
            }
        }
        Ok(managed)
    }

    /// Reads a list a client sent, paths and all.
    ///
    /// # Errors
    /// When an entry lacks what it must have or its paths cannot be read.
    pub(super) fn sent(list: Option<Value>) -> Result<Self, String> {
        let mut managed = Self::stored(list)?;
        for entry in &mut managed.entries {
            if let Fields::Stored(fields) = &entry.fields {
                let set = Set::from_value(fields).map_err(|error| {
                    format!(
                        "error decoding versioned set from {}: error decoding set: {error}",
                        entry.identity
                    )
                })?;
                entry.fields = Fields::Read(set);
            }
        }
        Ok(managed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn find(&self, identity: &Identity) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.identity == *identity)
    }

    /// Takes an entry out.
    pub(super) fn take(&mut self, identity: &Identity) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.identity == *identity)?;
        Some(self.entries.remove(at))
    }

    /// The list as it stands in an object; `None` if there is nothing to say.
    pub(super) fn encode(mut self) -> Option<Value> {
        if self.is_empty() {
            return None;
        }
        self.entries.sort_by_cached_key(|entry| {
            let Identity { manager, operation, subresource, .. } = &entry.identity;
            let seconds = entry.seconds();
            (*operation, seconds, manager.clone(), entry.api_version.clone(), subresource.clone())
        });
        Some(Value::Array(self.entries.into_iter().map(Entry::encode).collect()))
    }

    /// Puts the oldest updates of each version together until there are few enough.
    pub(super) fn cap(&mut self) {
        let is_update = |entry: &&Entry| entry.identity.operation == Operation::Update;
        let mut updates = self.entries.iter().filter(is_update).count();
        if updates <= UPDATE_MANAGERS_MAX {
            return;
        }
        let mut oldest: Vec<Identity> =
            self.entries.iter().filter(is_update).map(|it| it.identity.clone()).collect();
        oldest.sort_by_cached_key(|identity| {
            (self.find(identity).map_or(0, Entry::seconds), identity.sort_key())
        });
        // The first of a version stays what it is unless a second one comes.
        let mut first: Vec<Identity> = Vec::new();
        for identity in oldest {
            if updates <= UPDATE_MANAGERS_MAX {
                break;
            }
            let Some(earlier) = first.iter().find(|it| it.api_version == identity.api_version).cloned()
            else {
                first.push(identity);
                continue;
            };
            let bucket = Identity::new(ANCIENT, Operation::Update, "", &identity.api_version);
            let base = if self.find(&bucket).is_some() { &bucket } else { &earlier };
            let sources = [Some(base), Some(&identity).filter(|it| *it != base)];
            let mut set = Set::default();
            let mut time = None;
            for entry in sources.into_iter().flatten().filter_map(|source| self.take(source)) {
                set.unite(entry.fields.read());
                time = entry.time;
            }
            self.entries.push(Entry::new(bucket, &identity.api_version, time, set));
            updates = self.entries.iter().filter(is_update).count();
        }
    }
}

/// Whether a record could have been written by us: for what comes back from mutating admission.
///
/// # Errors
/// What is wrong with it.
pub fn validate(list: Option<&Value>) -> Result<(), String> {
    Managed::sent(list.cloned()).map(|_| ())
}

/// Whether a client asks for the list to be forgotten: an empty one, or one with a single empty entry.
pub(super) fn is_reset(list: &Value) -> bool {
    match list.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(only)]) => only.values().all(|value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            _ => false,
        }),
        _ => false,
    }
}

/// A time as entries have it.
pub(super) fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;

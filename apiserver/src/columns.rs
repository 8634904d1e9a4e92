//! Objects as tables: what `kubectl get` prints, decided here and not in the client.
//!
//! One [`TableDef`] a resource says which columns there are and computes an object's cells. [`table`] renders a
//! list or a single object, [`partial`] and [`partial_list`] the metadata alone.
//!
//! Invariant: no I/O and no clock; objects come as the bytes the cache holds, the time is an argument. Columns,
//! texts and rules are those of the API's printers, since scripts read them.
//! See "Receiving resources as Tables" in the Kubernetes API concepts.

mod admissionregistration;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod column;
mod coordination;
mod core;
mod custom;
mod discovery;
mod events;
mod flowcontrol;
mod human;
pub mod json_path;
mod networking;
mod node;
mod pods;
mod policy;
mod rbac;
mod read;
mod resource;
mod scheduling;
mod selector;
mod storage;

use std::{cmp::Ordering, fmt, io::Write as _, sync::OnceLock};

use api_types::{
    field::{Fault, Path},
    kind::GroupVersionKind,
    object::ObjectExt,
    status::Status,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

pub use self::{
    column::{Column, CustomColumn, Doc},
    custom::{PrinterColumn, custom},
    human::human_duration,
};

/// The annotation of the bookmark that ends the initial events of a watch; its metadata is shown in any case.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// An object's cells at a time.
pub type Cells = fn(&Value, Timestamp) -> Vec<Value>;

type CustomCells = dyn Fn(&Value, Timestamp) -> Vec<Value> + Send + Sync;

/// The table of a resource.
pub struct TableDef {
    /// Empty for tables made at run time, whose header is given.
    columns: &'static [Column],
    cells: Printer,
    /// Why a row is done with, if it is: the row's `Completed` condition.
    completed: Option<fn(&Value) -> Option<Completed>>,
    /// For the few resources whose lists are not in the order of their keys.
    order: Option<fn(&Value, &Value) -> Ordering>,
    /// `columnDefinitions` as JSON, rendered when first asked for.
    header: OnceLock<String>,
}

enum Printer {
    BuiltIn(Cells),
    Custom(Box<CustomCells>),
}

/// Why a row is done with.
struct Completed {
    reason: &'static str,
    message: &'static str,
}

/// What a row carries besides its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// The metadata of the object (the default).
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    None,
}

/// The version of `meta.k8s.io` that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetaVersion {
    /// `v1`
    #[default]
    V1,
    /// `v1beta1`, which looks the same.
    V1beta1,
}

/// How a table was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// What rows carry.
    pub include: Include,
    /// Whether the columns are described; a watch describes them in its first event only.
    pub headers: bool,
    /// The version of the Table.
    pub version: MetaVersion,
}

/// The metadata of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// The revision of the list, or of the single object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// The token of the next page.
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
    /// How many items follow this page, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<i64>,
}

/// The table of a built-in resource. Those that nobody wrote columns for show their name and when they were made;
/// custom resources have [`custom`].
pub fn columns_for(group: &str, resource: &str) -> &'static TableDef {
    if resource.ends_with("/scale") {
        return &autoscaling::SCALE;
    }
    let resource = resource.split('/').next().unwrap_or(resource);
    let found = match group {
        "" => core::find(resource),
        "admissionregistration.k8s.io" => admissionregistration::find(resource),
        "apiregistration.k8s.io" => apiregistration::find(resource),
        "apps" => apps::find(resource),
        "autoscaling" => autoscaling::find(resource),
        "batch" => batch::find(resource),
        "certificates.k8s.io" => certificates::find(resource),
        "coordination.k8s.io" => coordination::find(resource),
        "discovery.k8s.io" => discovery::find(resource),
        "events.k8s.io" => events::find(resource),
        "flowcontrol.apiserver.k8s.io" => flowcontrol::find(resource),
        "networking.k8s.io" => networking::find(resource),
        "node.k8s.io" => node::find(resource),
        "policy" => policy::find(resource),
        "rbac.authorization.k8s.io" => rbac::find(resource),
        "resource.k8s.io" => resource::find(resource),
        "scheduling.k8s.io" => scheduling::find(resource),
        "storage.k8s.io" => storage::find(resource),
        _ => None,
    };
    found.unwrap_or(&DEFAULT)
}

static DEFAULT: TableDef =
    TableDef::new(&[column::NAME, column::date("Created At", column::BORN)], |object, _| {
        let born = match object.meta_str("creationTimestamp") {
            // The zero of Go's time, which is what shows for objects that were never stored.
            "" => "0001-01-01T00:00:00Z",
            born => born,
        };
        vec![object.name().into(), born.into()]
    });

/// A Table of objects given as JSON bytes, without a newline at the end.
///
/// # Errors
/// When an object is not JSON: what is stored is damaged.
pub fn table<'a>(
    def: &TableDef,
    objects: impl IntoIterator<Item = &'a [u8]>,
    options: TableOptions,
    meta: &ListMeta,
    now: Timestamp,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut objects = objects.into_iter().map(|bytes| Ok((read::without_managed_fields(bytes)?, bytes)));
    let mut sorted = Vec::new();
    if let Some(order) = def.order {
        sorted = objects.by_ref().collect::<Result<Vec<_>, serde_json::Error>>()?;
        sorted.sort_by(|(one, _), (other, _)| order(one, other));
    }
    let mut out = Vec::with_capacity(4096);
    start(&mut out, "Table", options.version);
    out.extend_from_slice(b",\"metadata\":");
    serde_json::to_writer(&mut out, meta)?;
    out.extend_from_slice(b",\"columnDefinitions\":");
    out.extend_from_slice(if options.headers { def.header().as_bytes() } else { b"null" });
    out.extend_from_slice(b",\"rows\":[");
    for (position, row) in sorted.into_iter().map(Ok).chain(objects).enumerate() {
        let (object, bytes) = row?;
        if position > 0 {
            out.push(b',');
        }
        def.row(&mut out, &object, bytes, options, now)?;
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// The metadata of an object, as `PartialObjectMetadata`; the object is sliced, not parsed.
///
/// # Errors
/// As [`table`].
pub fn partial(object: &[u8], version: MetaVersion) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(object.len().min(4096));
    write_partial(&mut out, object, version)?;
    Ok(out)
}

/// The metadata of many objects, as `PartialObjectMetadataList`.
///
/// # Errors
/// As [`table`].
pub fn partial_list<'a>(
    objects: impl IntoIterator<Item = &'a [u8]>,
    version: MetaVersion,
    meta: &ListMeta,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(4096);
    start(&mut out, "PartialObjectMetadataList", version);
    out.extend_from_slice(b",\"metadata\":");
    serde_json::to_writer(&mut out, meta)?;
    out.extend_from_slice(b",\"items\":");
    let mut objects = objects.into_iter().peekable();
    if objects.peek().is_none() {
        // Go's nil list; clients that compare see null here, unlike in typed lists.
        out.extend_from_slice(b"null}");
        return Ok(out);
    }
    for (position, object) in objects.enumerate() {
        out.push(if position == 0 { b'[' } else { b',' });
        write_partial(&mut out, object, version)?;
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// 406: a single object's metadata was asked of a list.
pub fn not_an_object(kind: &GroupVersionKind) -> Status {
    not_acceptable(format!(
        "you requested PartialObjectMetadata, but the requested object is a list ({}List)",
        internal_type(kind)
    ))
}

/// 406: a list of metadata was asked of a single object.
pub fn not_a_list(kind: &GroupVersionKind) -> Status {
    not_acceptable(format!(
        "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
        internal_type(kind)
    ))
}

fn not_acceptable(message: String) -> Status {
    Status::failure(406, "NotAcceptable", message)
}

/// The type as upstream names it in these two messages. Custom kinds are all the same type there.
fn internal_type(kind: &GroupVersionKind) -> String {
    let built_in = |group: &str| !group.contains('.') || group.ends_with(".k8s.io");
    match kind.group.as_str() {
        "" | "events.k8s.io" => format!("*core.{}", kind.kind),
        group if built_in(group) => {
            let package = group.split('.').next().unwrap_or(group);
            format!("*{package}.{}", kind.kind)
        }
        _ => "*unstructured.Unstructured".to_owned(),
    }
}

/// `columnDefinitions` as JSON.
fn render(columns: &[CustomColumn]) -> String {
    // Structs of strings and numbers always have a JSON form.
    serde_json::to_string(columns).unwrap_or_default()
}

fn start(out: &mut Vec<u8>, kind: &str, version: MetaVersion) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{{\"kind\":\"{kind}\",\"apiVersion\":\"{}\"", version.api_version());
}

fn write_partial(out: &mut Vec<u8>, object: &[u8], version: MetaVersion) -> Result<(), serde_json::Error> {
    #[derive(Deserialize)]
    struct Slices<'a> {
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
    }
    let slices: Slices<'_> = serde_json::from_slice(object)?;
    start(out, "PartialObjectMetadata", version);
    out.extend_from_slice(b",\"metadata\":");
    out.extend_from_slice(slices.metadata.map_or("{}", RawValue::get).as_bytes());
    out.push(b'}');
    Ok(())
}

// === impl TableDef ===

impl TableDef {
    const fn new(columns: &'static [Column], cells: Cells) -> Self {
        Self {
            columns,
            cells: Printer::BuiltIn(cells),
            completed: None,
            order: None,
            header: OnceLock::new(),
        }
    }

    const fn completed(mut self, completed: fn(&Value) -> Option<Completed>) -> Self {
        self.completed = Some(completed);
        self
    }

    const fn order(mut self, order: fn(&Value, &Value) -> Ordering) -> Self {
        self.order = Some(order);
        self
    }

    /// The table of a kind that is made at run time. `cells` must give one cell a column.
    pub fn custom(
        columns: &[CustomColumn],
        cells: impl Fn(&Value, Timestamp) -> Vec<Value> + Send + Sync + 'static,
    ) -> Self {
        Self {
            columns: &[],
            cells: Printer::Custom(Box::new(cells)),
            completed: None,
            order: None,
            header: OnceLock::from(render(columns)),
        }
    }

    /// An object's cells, one a column.
    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        match &self.cells {
            Printer::BuiltIn(cells) => cells(object, now),
            Printer::Custom(cells) => cells(object, now),
        }
    }

    fn header(&self) -> &str {
        self.header.get_or_init(|| render(&self.columns.iter().map(Column::described).collect::<Vec<_>>()))
    }

    fn row(
        &self,
        out: &mut Vec<u8>,
        object: &Value,
        bytes: &[u8],
        options: TableOptions,
        now: Timestamp,
    ) -> Result<(), serde_json::Error> {
        out.extend_from_slice(b"{\"cells\":");
        serde_json::to_writer(&mut *out, &self.cells(object, now))?;
        if let Some(Completed { reason, message }) = self.completed.and_then(|completed| completed(object)) {
            let _ = write!(
                out,
                ",\"conditions\":[{{\"type\":\"Completed\",\"status\":\"True\",\"reason\":\"{reason}\",\
                 \"message\":\"{message}\"}}]"
            );
        }
        out.extend_from_slice(b",\"object\":");
        match options.include {
            Include::Object => out.extend_from_slice(bytes),
            Include::None if object.annotation(INITIAL_EVENTS_END).is_none() => {
                out.extend_from_slice(b"null");
            }
            Include::Metadata | Include::None => write_partial(out, bytes, options.version)?,
        }
        out.push(b'}');
        Ok(())
    }
}

impl fmt::Debug for TableDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableDef").field("header", &self.header()).finish_non_exhaustive()
    }
}

// === impl TableOptions ===

impl TableOptions {
    /// From the query parameter `includeObject`.
    ///
    /// # Errors
    /// 400 for an unknown value.
    pub fn from_query(include_object: Option<&str>, version: MetaVersion) -> Result<Self, Status> {
        let include = match include_object.unwrap_or_default() {
            "" | "Metadata" => Include::Metadata,
            "Object" => Include::Object,
            "None" => Include::None,
            odd => {
                let fault = Fault::invalid(
                    &Path::new("includeObject"),
                    odd,
                    "must be 'Metadata', 'Object', 'None', or empty",
                );
                return Err(Status::bad_request(format!("Unable to convert to Table as requested: {fault}")));
            }
        };
        Ok(Self { include, headers: true, version })
    }

    /// The same without the description of the columns: for the later events of a watch.
    #[must_use]
    pub fn without_headers(self) -> Self {
        Self { headers: false, ..self }
    }
}

// === impl MetaVersion ===

impl MetaVersion {
    /// From the `v` of an `Accept` header whose `g` is `meta.k8s.io`.
    pub fn parse(version: &str) -> Option<Self> {
        match version {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        }
    }

    /// The `apiVersion` of what is rendered.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

// === impl ListMeta ===

impl ListMeta {
    /// What the table of a single object says: the object's own revision.
    ///
    /// # Errors
    /// As [`table`].
    pub fn of_object(object: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Meta {
            resource_version: String,
        }
        #[derive(Deserialize)]
        struct Slice {
            metadata: Option<Meta>,
        }
        let slice: Slice = serde_json::from_slice(object)?;
        Ok(Self { resource_version: slice.metadata.unwrap_or_default().resource_version, ..Self::default() })
    }
}

#[cfg(test)]
mod tests;

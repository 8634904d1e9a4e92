//! The options of writes and lists, read from the query with upstream's faults.

use api_types::{
    field::{BadValue, Fault, Faults, Path},
    kind::GroupVersionKind,
    selectors::{fields, labels},
    status::Status,
};
use serde_json::{Map, Value, json};

use crate::{
    http::query::Query,
    registry::{delete, strategy::Resource},
    resources::shared::metadata::validate_field_manager,
};

/// Options of a create, update, patch or apply.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// Whether nothing shall be stored.
    pub dry_run: bool,
    /// Who shall own what is set, if the caller said.
    pub field_manager: String,
    /// What happens to unknown and repeated fields.
    pub field_validation: FieldValidation,
    /// Whether an apply takes fields from other managers.
    pub force: Option<bool>,
    /// As an options object.
    pub raw: Value,
}

/// What happens to unknown and repeated fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// The write is refused.
    Strict,
}

/// Options of a list, watch or deletecollection.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Only objects with these labels.
    pub labels: labels::Selector,
    /// Only objects with these fields.
    pub fields: fields::Selector,
    /// How many at the most; 0 is all.
    pub limit: usize,
    /// Where to go on.
    pub continuation: String,
    /// As the caller gave it.
    pub resource_version: String,
    /// As the caller gave it.
    pub resource_version_match: String,
    /// A watch that begins with what is there.
    pub send_initial_events: Option<bool>,
    /// Whether a watch wants bookmarks.
    pub bookmarks: bool,
    /// How long a watch shall last.
    pub timeout_seconds: Option<u64>,
}

// === impl Write ===

impl Write {
    /// Reads and checks the options of `kind` (`CreateOptions`, `UpdateOptions`, `PatchOptions`).
    ///
    /// # Errors
    /// 422, 400
    pub fn read(query: &Query, kind: &str, apply: bool) -> Result<Self, Status> {
        let mut raw = Map::new();
        raw.insert("kind".to_owned(), json!(kind));
        raw.insert("apiVersion".to_owned(), json!("meta.k8s.io/v1"));
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        if !dry_run.is_empty() {
            raw.insert("dryRun".to_owned(), json!(dry_run));
        }
        let field_manager = query.get("fieldManager").unwrap_or_default().to_owned();
        let mut faults = Faults::new();
        let mut force = None;
        if kind == "PatchOptions" {
            force = query.get("force").map(|_| query.flag("force"));
            if apply && field_manager.is_empty() {
                faults.push(Fault::required(&Path::new("fieldManager"), "is required for apply patch"));
            }
            if !apply && force.is_some() {
                faults
                    .push(Fault::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
            }
        }
        if !field_manager.is_empty() {
            raw.insert("fieldManager".to_owned(), json!(field_manager));
        }
        faults.extend(validate_field_manager(&field_manager, &Path::new("fieldManager")));
        let mut raw = Value::Object(raw);
        faults.extend(delete::dry_run_faults(&raw));
        let validation = query.get("fieldValidation").unwrap_or_default();
        let field_validation = match validation {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                faults.push(Fault::not_supported(
                    &Path::new("fieldValidation"),
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if !validation.is_empty() {
            raw["fieldValidation"] = json!(validation);
        }
        if !faults.is_empty() {
            return Err(Status::invalid(&GroupVersionKind::new("meta.k8s.io", "v1", kind), "", &faults));
        }
        Ok(Self { dry_run: !dry_run.is_empty(), field_manager, field_validation, force, raw })
    }

    /// Who shall own what is set: what the caller said, or the first word of the user agent.
    pub fn manager(&self, user_agent: &str) -> String {
        if !self.field_manager.is_empty() {
            return self.field_manager.clone();
        }
        let mut name: String = user_agent.split('/').next().unwrap_or_default().to_owned();
        name.retain(|character| !character.is_control());
        while name.len() > 128 {
            name.pop();
        }
        name
    }
}

// === impl List ===

impl List {
    /// Reads and checks the options of a list, watch or deletecollection of that kind.
    ///
    /// # Errors
    /// 400 for what cannot be read, 422 for what makes no sense.
    pub fn read(query: &Query, kind: &dyn Resource, watch: bool) -> Result<Self, Status> {
        let labels = match query.get("labelSelector") {
            None => labels::Selector::everything(),
            Some(text) => {
                labels::Selector::parse(text).map_err(|error| Status::bad_request(error.to_string()))?
            }
        };
        let fields = match query.get("fieldSelector") {
            None => fields::Selector::everything(),
            Some(text) => {
                fields::Selector::parse(text).map_err(|error| Status::bad_request(error.to_string()))?
            }
        };
        for term in fields.terms() {
            let known = match term.field.as_str() {
                "metadata.name" => true,
                "metadata.namespace" => kind.names().namespaced || kind.schema().is_some(),
                other => kind.selects(other),
            };
            if !known {
                return Err(Status::bad_request(unknown_label(kind, &term.field)));
            }
        }
        let number = |name: &str| query.number(name).map_err(Status::bad_request);
        let limit = number("limit")?.unwrap_or_default();
        let send_initial_events = match query.get("sendInitialEvents") {
            None | Some("") => None,
            Some(_) => Some(query.flag("sendInitialEvents")),
        };
        let text = |name: &str| query.get(name).unwrap_or_default().to_owned();
        let mut options = Self {
            labels,
            fields,
            limit: usize::try_from(limit).unwrap_or_default(),
            continuation: text("continue"),
            resource_version: text("resourceVersion"),
            resource_version_match: text("resourceVersionMatch"),
            send_initial_events,
            bookmarks: query.flag("allowWatchBookmarks"),
            timeout_seconds: number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()),
        };
        // A watch from the latest or any version begins with what is there: upstream's default, spelled out.
        let anywhere = matches!(options.resource_version.as_str(), "" | "0");
        let asked = options.clone();
        if watch
            && anywhere
            && options.send_initial_events.is_none()
            && options.resource_version_match.is_empty()
        {
            options.send_initial_events = Some(true);
            "NotOlderThan".clone_into(&mut options.resource_version_match);
        }
        let faults = if watch { options.watch_faults() } else { options.list_faults() };
        if faults.is_empty() {
            return Ok(asked);
        }
        Err(Status::invalid(&GroupVersionKind::new("meta.k8s.io", "v1", "ListOptions"), "", &faults))
    }

    fn list_faults(&self) -> Faults {
        let mut faults = Faults::new();
        let path = Path::new("resourceVersionMatch");
        let wanted = self.resource_version_match.as_str();
        if !wanted.is_empty() {
            if self.resource_version.is_empty() {
                faults.push(Fault::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !self.continuation.is_empty() {
                faults.push(Fault::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if !matches!(wanted, "Exact" | "NotOlderThan") {
                faults.push(Fault::not_supported(&path, wanted, &["Exact", "NotOlderThan", ""]));
            }
            if wanted == "Exact" && self.resource_version == "0" {
                faults.push(Fault::forbidden(
                    &path,
                    r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#,
                ));
            }
        }
        if self.send_initial_events.is_some() {
            faults.push(Fault::forbidden(
                &Path::new("sendInitialEvents"),
                "sendInitialEvents is forbidden for list",
            ));
        }
        faults
    }

    fn watch_faults(&self) -> Faults {
        let mut faults = Faults::new();
        let path = Path::new("resourceVersionMatch");
        let wanted = self.resource_version_match.as_str();
        if self.send_initial_events.is_some() && wanted != "NotOlderThan" {
            faults.push(Fault::forbidden(
                &path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !wanted.is_empty() {
            if self.send_initial_events.is_none() {
                faults.push(Fault::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if wanted != "NotOlderThan" {
                faults.push(Fault::not_supported(&path, wanted, &["NotOlderThan"]));
            }
            if !self.continuation.is_empty() {
                faults.push(Fault::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
        }
        faults
    }

    /// Whether the selectors let everything through.
    pub fn selects_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }
}

/// The text for a field that cannot be selected by; kinds that can select by others too are named in it.
fn unknown_label(kind: &dyn Resource, field: &str) -> String {
    if kind.custom().is_some() {
        return format!("field label not supported: {field}");
    }
    if kind.selectable().is_empty() {
        return format!(
            "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            api_types::field::go_quote(field)
        );
    }
    match kind.kind().kind.as_str() {
        "Job" => format!("field label {} not supported for Job", api_types::field::go_quote(field)),
        "ResourceSlice" => format!("field label not supported for {}: {field}", kind.kind()),
        _ => format!("field label not supported: {field}"),
    }
}

/// A `dryRun` in a body or query as a bad value.
pub fn list_value(values: &[&str]) -> BadValue {
    BadValue::Json(json!(values))
}

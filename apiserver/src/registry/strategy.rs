//! The difference of a kind.
//!
//! [`Strategy`] is what the author of a kind writes, on typed objects, with a default for everything. [`Resource`] is
//! what the registry sees: the same on JSON values, so that kinds made at run time look no different. [`Kind`] turns
//! the first into the second.

use std::{fmt, marker::PhantomData, time::Duration};

use api_types::{
    field::{Fault, Faults},
    kind::{GroupResource, GroupVersion, GroupVersionKind},
    object::{ObjectExt, object_of},
    schema::{TypeRef, schema},
    typed::Typed,
    wire,
};
use jiff::Timestamp;
use serde_json::Value;

use super::catalogue::Conversion;
use crate::{authn::user::User, patch::apply::Reset, resources::shared::metadata};

/// What a built-in kind is called, where it lives and what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The group, empty for core.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// Such as `Deployment`.
    pub kind: &'static str,
    /// Such as `deployments`.
    pub plural: &'static str,
    /// Such as `deployment`.
    pub singular: &'static str,
    /// Such as `deploy`.
    pub short: &'static [&'static str],
    /// Such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

/// What a resource is called: [`Names`] in the registry's eyes, which may have been made at run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Called<'a> {
    /// The group, empty for core.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// Such as `Deployment`.
    pub kind: &'a str,
    /// Such as `deployments`.
    pub plural: &'a str,
    /// Such as `deployment`.
    pub singular: &'a str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

/// What is wrong with a name; or, if so said, with one to which more will be added.
pub type NameRule<'a> = &'a dyn Fn(&str, bool) -> Vec<String>;

/// When `metadata.generation` grows, and where it begins: see [`Generation::first`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The kind does not count.
    Uncounted,
    /// With every change of `spec`.
    Spec,
    /// With every change of `spec` or of the annotations (Deployments).
    SpecOrAnnotations,
    /// With every change of anything but metadata and status (kinds without `spec`).
    Content,
    /// As [`Generation::Content`], and with every change of the labels (EndpointSlices).
    ContentOrLabels,
    /// With every change of anything but metadata, unless it is a write of the status (custom kinds).
    AllButMetadata,
    /// Never: it stays what it was at first (PriorityClasses).
    Never,
    /// With every change of `spec`, though there is none at first (CSIDrivers).
    SpecFromNone,
}

/// A subresource that writes a part of the object under rules of its own (`pods/resize`, `namespaces/finalize`).
pub struct Subresource<O: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Takes the part from the new object: what else was sent is put back to the old.
    pub prepare: fn(&Context<'_>, &mut O, &O),
    /// What is wrong with the change.
    pub validate: fn(&Context<'_>, &O, &O) -> Faults,
}

/// What becomes of an object's dependents when it is deleted and the caller does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// The garbage collector deletes them.
    Collect,
    /// They are orphaned (ReplicationControllers, Jobs).
    Orphan,
    /// The kind knows no dependents, whatever the caller says (Events).
    Unsupported,
}

/// What surrounds a write while a strategy looks at it.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The time of the request.
    pub now: Timestamp,
    /// Who writes.
    pub user: &'a User,
    /// The namespace of the request; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The group of the request: of kinds that are served by two (Events) it says by which.
    pub group: &'a str,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// Whether containers may be privileged.
    pub allow_privileged: bool,
}

/// A field that field selectors and `--field-selector` can name, besides `metadata.name` and `metadata.namespace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectableField {
    /// As the selector names it.
    pub label: &'static str,
    /// Where it is in the object, dotted. Of alternatives separated by `|` the first that is not empty counts.
    pub path: &'static str,
    /// What an absent field reads as.
    pub absent: &'static str,
}

/// The difference of one built-in kind. Methods run in the order they stand here.
pub trait Strategy: Send + Sync + 'static {
    /// The typed object.
    type Object: Typed;

    /// What the kind is called.
    const NAMES: Names;
    /// The verbs the resource has; upstream's order (sorted).
    const VERBS: &'static [&'static str] =
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    /// When the generation grows.
    const GENERATION: Generation = Generation::Uncounted;
    /// Whether there is a `status` subresource: then plain writes leave `status` alone and status writes the rest.
    const STATUS: bool = false;
    /// Whether a create may bring a status (Nodes may).
    const STATUS_ON_CREATE: bool = false;
    /// Whether an update of a missing object creates it.
    const CREATE_ON_UPDATE: bool = false;
    /// Whether an update may leave `resourceVersion` out.
    const UNCONDITIONAL_UPDATE: bool = true;
    /// Subresources that write a part of the object, besides the status.
    const SUBRESOURCES: &'static [Subresource<Self::Object>] = &[];
    /// What the server puts back in writes of a part, where that is not the status in writes of the rest and the spec
    /// in writes of the status. Nobody is on record for it.
    const RESETS: &'static [(Part, Reset<'static>)] = &[];
    /// Fields that selectors can name.
    const SELECTABLE: &'static [SelectableField] = &[];
    /// What callers are told about the kind's own future, with every answer.
    const DEPRECATED: Option<&'static str> = None;
    /// Fields that selectors of the kind's other name can name.
    const ALIAS_SELECTABLE: &'static [SelectableField] = &[];
    /// How the kind is stored, if as another one.
    const CONVERSION: Option<Conversion> = None;
    /// What becomes of dependents when the deleting caller does not say.
    const DEPENDENTS: Dependents = Dependents::Collect;
    /// How long objects live after their last write (Events).
    const TIME_TO_LIVE: Option<Duration> = None;
    /// Whether a delete answers with the object instead of a Status.
    const RETURNS_DELETED: bool = false;

    /// Whether a change judges all of the metadata again, not only what changed of it: faults then come once more.
    const REJUDGES_METADATA: bool = true;
    /// Whether an update judges the change of the metadata again: faults then come once more.
    const REJUDGES_CHANGE: bool = true;
    /// Whether that comes after everything else, and not before.
    const CHANGE_COMES_LAST: bool = false;
    /// The same of writes of the status: whether the change of the metadata is judged again.
    const STATUS_REJUDGES_CHANGE: bool = true;
    /// Whether writes of the status and of other parts judge all of the metadata again.
    const STATUS_REJUDGES_METADATA: bool = false;
    /// Whether finalizers without a domain must be known ones.
    const KNOWN_FINALIZERS: bool = true;

    /// Says in the typed object what only the raw one shows, such as that a selector is absent and not empty. Runs
    /// before `default`.
    fn mark(_raw: &Value, _object: &mut Self::Object) {}

    /// Fills in what was left out. Runs on every write, before admission.
    fn default(_object: &mut Self::Object) {}

    /// What is wrong with this name, if anything; with `prefix`, of the prefix of a generated name.
    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        crate::resources::shared::names::dns_subdomain(name, prefix)
    }

    /// Sets and clears what the server owns. Runs after admission.
    fn prepare_for_create(_cx: &Context<'_>, _object: &mut Self::Object) {}

    /// Everything that is wrong with a new object, metadata excepted (the registry looks after that).
    fn validate(_cx: &Context<'_>, _object: &Self::Object) -> Faults {
        Vec::new()
    }

    /// Sets and clears what the server owns, given what was there.
    fn prepare_for_update(_cx: &Context<'_>, _object: &mut Self::Object, _old: &Self::Object) {}

    /// Everything that is wrong with a changed object and with the change. Immutable fields are checked here; most
    /// kinds call their `validate` too.
    fn validate_update(cx: &Context<'_>, object: &Self::Object, _old: &Self::Object) -> Faults {
        Self::validate(cx, object)
    }

    /// What is wrong with a new object in all: with its metadata, which is judged by a rule for names, and with the rest.
    fn creation_faults(
        cx: &Context<'_>,
        object: &Self::Object,
        metadata: &dyn Fn(NameRule<'_>) -> Faults,
    ) -> Faults {
        let mut faults = metadata(&Self::name_faults);
        faults.extend(Self::validate(cx, object));
        faults
    }

    /// What is wrong with the change alone, for kinds that tell it after what is wrong with the metadata.
    fn validate_change(_object: &Self::Object, _old: &Self::Object) -> Faults {
        Vec::new()
    }

    /// Sets and clears what the server owns in a write of the status; everything but `status` and metadata is the old
    /// object's already.
    fn prepare_for_status_update(_cx: &Context<'_>, _object: &mut Self::Object, _old: &Self::Object) {}

    /// Everything that is wrong with a changed status.
    fn validate_status_update(_cx: &Context<'_>, _object: &Self::Object, _old: &Self::Object) -> Faults {
        Vec::new()
    }

    /// What the writer of a status should know though the write is accepted.
    fn status_warnings(_cx: &Context<'_>, _object: &Self::Object, _old: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// What the writer should know though the write is accepted. `old` is there for updates.
    fn warnings(_cx: &Context<'_>, _object: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }

    /// Brings what passed into the form that is stored (after validation; must not be able to fail).
    fn canonicalize(_object: &mut Self::Object) {}

    /// For kinds that are deleted gracefully: how many seconds the object has, given what the caller asked for.
    /// `None`: the kind is deleted at once.
    fn grace_period(_object: &Self::Object, _asked: Option<i64>) -> Option<i64> {
        None
    }
}

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status.
    Status,
    /// What that subresource writes.
    Sub(&'static str),
}

/// An object that went through its strategy.
#[derive(Debug)]
pub struct Checked {
    /// As it will be stored, unless there are faults.
    pub object: Value,
    /// What is wrong with it.
    pub faults: Faults,
    /// What the writer should know.
    pub warnings: Vec<String>,
}

/// A kind as the registry sees it.
pub trait Resource: fmt::Debug + Send + Sync + 'static {
    /// Group, version and kind.
    fn kind(&self) -> GroupVersionKind;
    /// Group and plural.
    fn resource(&self) -> GroupResource;
    /// What it is called.
    fn names(&self) -> Called<'_>;
    /// Its short names, such as `deploy`.
    fn short(&self) -> Vec<&str>;
    /// The categories it is in, such as `all`.
    fn categories(&self) -> Vec<&str>;
    /// The kind of lists of it.
    fn list_kind(&self) -> String {
        format!("{}List", self.names().kind)
    }
    /// The schema of its objects; `None` for custom kinds, which bring their own.
    fn schema(&self) -> Option<TypeRef>;
    /// The verbs it has.
    fn verbs(&self) -> &'static [&'static str];
    /// Whether it has a status subresource.
    fn has_status(&self) -> bool;
    /// The subresource of that name that writes a part of the object.
    fn part(&self, subresource: &str) -> Option<Part>;
    /// What the server puts back in writes of a part, if that is special.
    fn resets(&self, part: Part) -> Option<Reset<'static>>;
    /// When the generation grows.
    fn generation(&self) -> Generation;
    /// Whether an update of a missing object creates it.
    fn creates_on_update(&self) -> bool;
    /// Whether an update may leave `resourceVersion` out.
    fn updates_unconditionally(&self) -> bool;
    /// Fields that selectors can name.
    fn selectable(&self) -> &'static [SelectableField];
    /// Whether selectors can name this field.
    fn selects(&self, label: &str) -> bool {
        self.selectable().iter().any(|field| field.label == label)
    }
    /// What callers are told with every answer.
    fn deprecated(&self) -> Option<&str>;
    /// Fields that selectors of the kind's other name can name.
    fn alias_selectable(&self) -> &'static [SelectableField];
    /// How the kind is stored, if as another one.
    fn conversion(&self) -> Option<Conversion>;
    /// What becomes of dependents by default.
    fn dependents(&self) -> Dependents;
    /// How long objects live after their last write.
    fn time_to_live(&self) -> Option<Duration>;
    /// Whether a delete answers with the object.
    fn returns_deleted(&self) -> bool;
    /// What is wrong with a name.
    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String>;
    /// Why there may be no new objects, if there may be none.
    fn refuses_new(&self) -> Option<&'static str> {
        None
    }
    /// What a kind made at run time has besides.
    fn custom(&self) -> Option<&crate::custom::kind::Kind> {
        None
    }
    /// What was read, fitted to the kind, and what strict validation has against it.
    ///
    /// # Errors
    /// Why it does not fit.
    fn coerce(&self, object: Value) -> Result<(Value, Vec<String>), String> {
        match self.schema() {
            Some(schema) => {
                wire::typed::coerce(object, schema).map(|decoded| (decoded.value, decoded.strict))
            }
            None => Ok((object, Vec::new())),
        }
    }
    /// The object with what was left out filled in.
    ///
    /// # Errors
    /// When the value does not fit the kind (after schema coercion: a bug or a hole in the schema).
    fn default(&self, object: Value) -> Result<Value, String>;
    /// A new object, prepared and checked.
    ///
    /// # Errors
    /// As [`Resource::default`].
    fn check_create(&self, cx: &Context<'_>, object: Value) -> Result<Checked, String>;
    /// A changed object, prepared and checked.
    ///
    /// # Errors
    /// As [`Resource::default`].
    fn check_update(
        &self,
        cx: &Context<'_>,
        part: Part,
        object: Value,
        old: &Value,
    ) -> Result<Checked, String>;
    /// Seconds until a deleted object goes; `None` if it goes at once.
    fn grace_period(&self, object: &Value, asked: Option<i64>) -> Option<i64>;
}

/// A built-in kind: a strategy in the registry's eyes.
pub struct Kind<S>(PhantomData<fn() -> S>);

// === impl Names ===

impl Names {
    /// The same in the registry's eyes.
    pub const fn called(&self) -> Called<'_> {
        Called {
            group: self.group,
            version: self.version,
            kind: self.kind,
            plural: self.plural,
            singular: self.singular,
            namespaced: self.namespaced,
        }
    }
}

// === impl Generation ===

impl Generation {
    /// The generation of a new object; `None` if it has none.
    pub fn first(self) -> Option<i64> {
        match self {
            Self::Uncounted | Self::SpecFromNone => None,
            Self::Spec
            | Self::SpecOrAnnotations
            | Self::Content
            | Self::ContentOrLabels
            | Self::AllButMetadata
            | Self::Never => Some(1),
        }
    }
}

// === impl Kind ===

impl<S: Strategy> Kind<S> {
    /// The kind of a strategy.
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    /// What a built-in kind has against metadata, besides what every kind has.
    fn metadata_faults(object: &Value, names: NameRule<'_>) -> Faults {
        let meta = object.get("metadata").unwrap_or(&Value::Null);
        let mut faults = metadata::validate(meta, S::NAMES.namespaced, names);
        if S::KNOWN_FINALIZERS {
            faults.extend(metadata::validate_known_finalizers(meta));
        }
        faults
    }

    fn metadata_change_faults(object: &Value, old: &Value) -> Faults {
        let meta = object.get("metadata").unwrap_or(&Value::Null);
        let mut faults = metadata::validate_update(meta, old.get("metadata").unwrap_or(&Value::Null));
        if S::KNOWN_FINALIZERS {
            faults.extend(metadata::validate_known_finalizers(meta));
        }
        faults
    }
}

impl<S: Strategy> Default for Kind<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Strategy> fmt::Debug for Kind<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::NAMES.kind)
    }
}

/// The object as its struct. Managed fields go another way, since no kind looks at them: see [`managed_fields`].
fn typed<T: Typed>(value: &Value) -> Result<T, String> {
    T::from_value_bare(value).map_err(|error| error.to_string())
}

/// Takes the managed fields of an object that becomes a struct.
fn managed_fields(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

/// The struct as an object again, written over the one it was read from, with the managed fields that one had.
fn untyped<T: Typed>(typed: &T, mut object: Value, managed: Option<Value>) -> Value {
    typed.write_to(&mut object, false);
    restore(&mut object, managed);
    object
}

/// Puts managed fields back.
fn restore(object: &mut Value, managed: Option<Value>) {
    if let Some(managed) = managed {
        object.meta_mut().insert("managedFields".to_owned(), managed);
    }
}

impl<S: Strategy> Resource for Kind<S> {
    fn kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(S::NAMES.group, S::NAMES.version, S::NAMES.kind)
    }

    fn resource(&self) -> GroupResource {
        GroupResource::new(S::NAMES.group, S::NAMES.plural)
    }

    fn names(&self) -> Called<'_> {
        const { &S::NAMES }.called()
    }

    fn short(&self) -> Vec<&str> {
        S::NAMES.short.to_vec()
    }

    fn categories(&self) -> Vec<&str> {
        S::NAMES.categories.to_vec()
    }

    fn schema(&self) -> Option<TypeRef> {
        schema().type_of(S::NAMES.group, S::NAMES.version, S::NAMES.kind)
    }

    fn verbs(&self) -> &'static [&'static str] {
        S::VERBS
    }

    fn has_status(&self) -> bool {
        S::STATUS
    }

    fn part(&self, subresource: &str) -> Option<Part> {
        if S::STATUS && subresource == "status" {
            return Some(Part::Status);
        }
        S::SUBRESOURCES.iter().find(|it| it.name == subresource).map(|it| Part::Sub(it.name))
    }

    fn resets(&self, part: Part) -> Option<Reset<'static>> {
        S::RESETS.iter().find(|(of, _)| *of == part).map(|(_, reset)| *reset)
    }

    fn generation(&self) -> Generation {
        S::GENERATION
    }

    fn creates_on_update(&self) -> bool {
        S::CREATE_ON_UPDATE
    }

    fn updates_unconditionally(&self) -> bool {
        S::UNCONDITIONAL_UPDATE
    }

    fn selectable(&self) -> &'static [SelectableField] {
        S::SELECTABLE
    }

    fn deprecated(&self) -> Option<&str> {
        S::DEPRECATED
    }

    fn alias_selectable(&self) -> &'static [SelectableField] {
        S::ALIAS_SELECTABLE
    }

    fn conversion(&self) -> Option<Conversion> {
        S::CONVERSION
    }

    fn dependents(&self) -> Dependents {
        S::DEPENDENTS
    }

    fn time_to_live(&self) -> Option<Duration> {
        S::TIME_TO_LIVE
    }

    fn returns_deleted(&self) -> bool {
        S::RETURNS_DELETED
    }

    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        S::name_faults(name, prefix)
    }

    fn default(&self, object: Value) -> Result<Value, String> {
        let mut value = object;
        let managed = managed_fields(&mut value);
        let mut object: S::Object = typed(&value)?;
        S::mark(&value, &mut object);
        S::default(&mut object);
        // Without the nulls of lists that are not there an object would look as if it had lost what it never had, and the
        // record of who set what lose it too.
        object.write_to(&mut value, true);
        restore(&mut value, managed);
        Ok(value)
    }

    fn check_create(&self, cx: &Context<'_>, mut value: Value) -> Result<Checked, String> {
        if S::STATUS && !S::STATUS_ON_CREATE {
            remove(&mut value, "status");
        }
        let mut object: S::Object = typed(&value)?;
        S::prepare_for_create(cx, &mut object);
        let faults = S::creation_faults(cx, &object, &|names| Self::metadata_faults(&value, names));
        let warnings = S::warnings(cx, &object, None);
        S::canonicalize(&mut object);
        let managed = managed_fields(&mut value);
        Ok(Checked { object: untyped(&object, value, managed), faults, warnings })
    }

    fn check_update(
        &self,
        cx: &Context<'_>,
        part: Part,
        mut value: Value,
        old: &Value,
    ) -> Result<Checked, String> {
        let old_typed: S::Object = typed(old)?;
        match part {
            Part::Main => {
                if S::STATUS {
                    copy(&mut value, old, "status");
                }
                let around = Around::of::<S>(&value, old, S::REJUDGES_CHANGE, S::REJUDGES_METADATA);
                let managed = managed_fields(&mut value);
                let mut object: S::Object = typed(&value)?;
                S::prepare_for_update(cx, &mut object, &old_typed);
                let mut faults = around.put(S::validate_update(cx, &object, &old_typed));
                faults.extend(S::validate_change(&object, &old_typed));
                let warnings = S::warnings(cx, &object, Some(&old_typed));
                S::canonicalize(&mut object);
                Ok(Checked { object: untyped(&object, value, managed), faults, warnings })
            }
            Part::Status => {
                let mut merged = with_status(old, value);
                let around =
                    Around::of::<S>(&merged, old, S::STATUS_REJUDGES_CHANGE, S::STATUS_REJUDGES_METADATA);
                let managed = managed_fields(&mut merged);
                let mut object: S::Object = typed(&merged)?;
                S::prepare_for_status_update(cx, &mut object, &old_typed);
                let faults = around.put(S::validate_status_update(cx, &object, &old_typed));
                let warnings = S::status_warnings(cx, &object, &old_typed);
                Ok(Checked { object: untyped(&object, merged, managed), faults, warnings })
            }
            Part::Sub(name) => {
                let rules = S::SUBRESOURCES.iter().find(|it| it.name == name).ok_or("no such subresource")?;
                let managed = managed_fields(&mut value);
                let mut object: S::Object = typed(&value)?;
                (rules.prepare)(cx, &mut object, &old_typed);
                let value = untyped(&object, value, managed);
                let around =
                    Around::of::<S>(&value, old, S::STATUS_REJUDGES_CHANGE, S::STATUS_REJUDGES_METADATA);
                let faults = around.put((rules.validate)(cx, &object, &old_typed));
                Ok(Checked { object: value, faults, warnings: Vec::new() })
            }
        }
    }

    fn grace_period(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        typed::<S::Object>(object).ok().and_then(|object| S::grace_period(&object, asked))
    }
}

/// What a write of a part tells of the metadata, around what it tells of the rest.
struct Around {
    before: Faults,
    after: Faults,
}

// === impl Around ===

impl Around {
    fn of<S: Strategy>(object: &Value, old: &Value, change: bool, whole: bool) -> Self {
        let change = if change { Kind::<S>::metadata_change_faults(object, old) } else { Vec::new() };
        let whole = if whole { Kind::<S>::metadata_faults(object, &S::name_faults) } else { Vec::new() };
        if S::CHANGE_COMES_LAST {
            return Self { before: whole, after: change };
        }
        Self { before: [change, whole].concat(), after: Vec::new() }
    }

    fn put(self, rest: Faults) -> Faults {
        [self.before, rest, self.after].concat()
    }
}

/// The old object with the status and the metadata of the new one.
fn with_status(old: &Value, new: Value) -> Value {
    let (mut merged, is_new) = (new, |field: &str| matches!(field, "status" | "metadata"));
    let fields = object_of(&mut merged);
    fields.retain(|field, _| is_new(field));
    let kept = old.as_object().into_iter().flatten().filter(|(field, _)| !is_new(field));
    fields.extend(kept.map(|(field, value)| (field.clone(), value.clone())));
    merged
}

fn remove(object: &mut Value, field: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => {
            if let Some(map) = to.as_object_mut() {
                map.insert(field.to_owned(), value.clone());
            }
        }
        None => remove(to, field),
    }
}

/// The group and version of a kind's names.
pub fn group_version(names: &Called<'_>) -> GroupVersion {
    GroupVersion::new(names.group, names.version)
}

/// Whether the change of `object` from `old` counts for the generation.
pub fn counts(rule: Generation, object: &Value, old: &Value) -> bool {
    match rule {
        Generation::Uncounted | Generation::Never => false,
        Generation::Spec | Generation::SpecFromNone => object.get("spec") != old.get("spec"),
        Generation::SpecOrAnnotations => {
            let annotations = |it: &Value| it.meta().and_then(|meta| meta.get("annotations")).cloned();
            object.get("spec") != old.get("spec") || annotations(object) != annotations(old)
        }
        Generation::AllButMetadata => {
            let content = |it: &Value| {
                it.as_object().map(|map| map.iter().filter(|(key, _)| *key != "metadata").count())
            };
            let same = |(key, value): (&String, &Value)| key == "metadata" || old.get(key) == Some(value);
            content(object) != content(old) || !object.as_object().is_some_and(|map| map.iter().all(same))
        }
        Generation::Content | Generation::ContentOrLabels => {
            let labels = |it: &Value| it.meta().and_then(|meta| meta.get("labels")).cloned();
            let content = |it: &Value| {
                it.as_object().map(|map| {
                    map.iter()
                        .filter(|(key, _)| {
                            !matches!(key.as_str(), "metadata" | "status" | "kind" | "apiVersion")
                        })
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect::<Vec<_>>()
                })
            };
            content(object) != content(old)
                || rule == Generation::ContentOrLabels && labels(object) != labels(old)
        }
    }
}

/// A fault for a field that must not change, in upstream's words.
pub fn immutable(path: &api_types::field::Path, value: &impl serde::Serialize) -> Fault {
    Fault::invalid(path, api_types::field::BadValue::json(value), "field is immutable")
}

#[cfg(test)]
mod tests;

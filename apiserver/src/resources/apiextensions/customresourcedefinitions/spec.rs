//! The spec of a definition, as upstream looks at it: what all versions have in common is taken out of them and stands
//! once at the top, and faults are found there.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use serde_json::Value;

use super::{
    conversions::{self, conversion_faults},
    json::{get, is_on, items, schema, text},
    parts::{column_faults, deprecation_faults, field_faults, name_faults, subresource_faults},
    schemas::{self, root_faults},
    structural::needs_structure,
};
use crate::resources::shared::names::{dns1035_label, dns1123_subdomain};

/// A spec.
#[derive(Clone, Copy)]
pub(super) struct Spec<'a> {
    value: &'a Value,
    versions: &'a [Value],
}

/// How strict the rules for a definition are, given what it was.
pub(super) struct Rules {
    pub(super) known_review_version: bool,
    pub(super) ca_bundle: bool,
    /// Whether every version needs a schema.
    schema: bool,
    pub(super) schemas: schemas::Rules,
    /// Versions that had too many selectable fields already; empty is what all versions have.
    many_fields: BTreeSet<String>,
}

fn has_default(schema: &Value) -> bool {
    get(schema, "default").is_some()
}

impl Rules {
    pub(super) fn of_new() -> Self {
        Self {
            known_review_version: true,
            ca_bundle: false,
            schema: true,
            schemas: schemas::Rules {
                types: true,
                atomic_sets: true,
                keys_and_sets: true,
                structural: true,
                pruned_defaults: true,
            },
            many_fields: BTreeSet::new(),
        }
    }

    pub(super) fn of_change(new: &Spec<'_>, old: &Spec<'_>, established: bool) -> Self {
        let many = |fields: &[Value]| fields.len() > super::parts::SELECTABLE_MAX;
        let mut many_fields = BTreeSet::new();
        if many(old.common_items("selectableFields"))
            && old.common("selectableFields") == new.common("selectableFields")
        {
            many_fields.insert(String::new());
        }
        for version in new.versions {
            let name = text(version, "name");
            let before = old.versions.iter().find(|it| text(it, "name") == name);
            if before.is_some_and(|before| {
                let fields = old.own(before, "selectableFields");
                fields == new.own(version, "selectableFields")
                    && fields.and_then(Value::as_array).is_some_and(|fields| many(fields))
            }) {
                many_fields.insert(name.to_owned());
            }
        }
        Self {
            known_review_version: conversions::had_known_review_version(old.value),
            ca_bundle: established && !conversions::had_bad_ca_bundle(old.value),
            schema: old.common_schema().is_some()
                || old.versions.iter().all(|version| old.own_schema(version).is_some()),
            schemas: schemas::Rules::of_change(&old.schemas()),
            many_fields,
        }
    }
}

impl<'a> Spec<'a> {
    pub(super) fn of(object: &'a Value) -> Self {
        let value = object.get("spec").unwrap_or(&Value::Null);
        Self { value, versions: items(value, "versions") }
    }

    pub(super) fn group(&self) -> &'a str {
        text(self.value, "group")
    }

    pub(super) fn scope(&self) -> &'a str {
        text(self.value, "scope")
    }

    pub(super) fn names(&self) -> &'a Value {
        get(self.value, "names").unwrap_or(&Value::Null)
    }

    /// A part that all versions have in common; `Some(None)` if they have in common that none has it.
    fn shared(&self, field: &str) -> Option<Option<&'a Value>> {
        let part = |version: &'a Value| get(version, field);
        let first = part(self.versions.first()?);
        self.versions.iter().all(|version| part(version) == first).then_some(first)
    }

    /// A part that all versions have in common.
    fn common(&self, field: &str) -> Option<&'a Value> {
        self.shared(field).flatten()
    }

    fn common_items(&self, field: &str) -> &'a [Value] {
        self.common(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// A part that a version has for itself.
    fn own(&self, version: &'a Value, field: &str) -> Option<&'a Value> {
        get(version, field).filter(|_| self.shared(field).is_none())
    }

    fn common_schema(&self) -> Option<&'a Value> {
        self.common("schema").and_then(|it| schema(it, "openAPIV3Schema"))
    }

    fn own_schema(&self, version: &'a Value) -> Option<&'a Value> {
        self.own(version, "schema").and_then(|it| schema(it, "openAPIV3Schema"))
    }

    /// All schemas, the common one once.
    pub(super) fn schemas(&self) -> Vec<&'a Value> {
        let own = self.versions.iter().filter_map(|version| self.own_schema(version));
        self.common_schema().into_iter().chain(own).collect()
    }

    /// Whether some schema, or one that is in it, is like that.
    fn has_schema(&self, is: &dyn Fn(&Value) -> bool) -> bool {
        self.schemas().into_iter().any(|it| schemas::any(it, is))
    }

    /// The rules for the schemas. One that was not structural may stay so if unknown fields are kept and nothing in it
    /// asks for a structure.
    fn schema_rules(&self, rules: &Rules) -> schemas::Rules {
        let asked_for = !is_on(self.value, "preserveUnknownFields")
            || self.has_schema(&has_default)
            || self.has_schema(&needs_structure);
        schemas::Rules { structural: rules.schemas.structural || asked_for, ..rules.schemas }
    }

    /// What is wrong with the spec.
    pub(super) fn faults(&self, rules: &Rules, path: &Path) -> Faults {
        let mut faults = self.group_faults(&path.child("group"));
        let scopes = ["Cluster", "Namespaced"];
        match self.scope() {
            "" => faults.push(Fault::required(&path.child("scope"), "")),
            scope if scopes.contains(&scope) => {}
            odd => faults.push(Fault::not_supported(&path.child("scope"), odd, &scopes)),
        }
        let keeps_unknown = is_on(self.value, "preserveUnknownFields");
        let versions_path = path.child("versions");
        faults.extend(self.missing_schema_faults(rules.schema, keeps_unknown, &versions_path));
        if keeps_unknown && self.has_schema(&has_default) {
            let detail = "must be false in order to use defaults in the schema";
            faults.push(Fault::invalid(&path.child("preserveUnknownFields"), true, detail));
        }
        faults.extend(self.version_faults(rules, path));
        let names_path = path.child("names");
        for field in ["plural", "singular", "kind", "listKind"] {
            if text(self.names(), field).is_empty() {
                faults.push(Fault::required(&names_path.child(field), ""));
            }
        }
        faults.extend(name_faults(self.names(), &names_path));
        let has_status = |it: &Value| get(it, "status").is_some();
        let status = self.versions.iter().filter_map(|version| get(version, "subresources")).any(has_status);
        if let Some(schema) = self.common_schema() {
            let path = path.child("validation.openAPIV3Schema");
            faults.extend(root_faults(schema, status, self.schema_rules(rules), &path));
        }
        if let Some(subresources) = self.common("subresources") {
            faults.extend(subresource_faults(subresources, &path.child("subresources")));
        }
        for (index, column) in self.common_items("additionalPrinterColumns").iter().enumerate() {
            faults.extend(column_faults(column, &path.child("additionalPrinterColumns").index(index)));
        }
        let (fields, fields_path) = (self.common_items("selectableFields"), path.child("selectableFields"));
        if !fields.is_empty() && self.common("schema").is_none() {
            let detail = "may only be set when validations.schema is included";
            faults.push(Fault::invalid(&fields_path, "", detail));
        } else if !fields.is_empty() {
            let many = rules.many_fields.contains("");
            faults.extend(field_faults(fields, self.common_schema(), many, &fields_path));
        }
        if let Some(conversion) = get(self.value, "conversion") {
            let path = path.child("conversion");
            faults.extend(conversion_faults(conversion, keeps_unknown, rules, &path));
        }
        faults
    }

    fn group_faults(&self, path: &Path) -> Faults {
        let group = self.group();
        let wrongs = dns1123_subdomain(group);
        if group.is_empty() {
            vec![Fault::required(path, "")]
        } else if !wrongs.is_empty() {
            vec![Fault::invalid(path, group, wrongs.join(","))]
        } else if !group.contains('.') {
            vec![Fault::invalid(path, group, "should be a domain with at least one dot")]
        } else {
            Vec::new()
        }
    }

    fn missing_schema_faults(&self, all: bool, keeps_unknown: bool, path: &Path) -> Faults {
        if self.common_schema().is_some() || !all && keeps_unknown {
            return Vec::new();
        }
        let versions = self.versions.iter().enumerate();
        versions
            .filter(|(_, version)| self.own_schema(version).is_none() && (all || is_on(version, "served")))
            .map(|(index, _)| {
                let detail = if all { "" } else { "because otherwise all fields are pruned" };
                Fault::required(&path.index(index).child("schema.openAPIV3Schema"), detail)
            })
            .collect()
    }

    fn version_faults(&self, rules: &Rules, path: &Path) -> Faults {
        let versions_path = path.child("versions");
        let mut names = BTreeSet::new();
        let mut faults = Vec::new();
        for (index, version) in self.versions.iter().enumerate() {
            let (name, path) = (text(version, "name"), versions_path.index(index));
            names.insert(name);
            let wrongs = dns1035_label(name);
            if !wrongs.is_empty() {
                faults.push(Fault::invalid(&path.child("name"), name, wrongs.join(",")));
            }
            faults.extend(self.own_faults(version, rules, &path));
        }
        let whole = || BadValue::Json(get(self.value, "versions").cloned().unwrap_or_default());
        if names.len() < self.versions.len() {
            faults.push(Fault::invalid(&versions_path, whole(), "must contain unique version names"));
        }
        if self.versions.iter().filter(|version| is_on(version, "storage")).count() != 1 {
            let detail = "must have exactly one version marked as storage version";
            faults.push(Fault::invalid(&versions_path, whole(), detail));
        }
        // The first version's name is the version of the whole too.
        let name = self.versions.first().map(|version| text(version, "name")).unwrap_or_default();
        let wrongs = dns1035_label(name);
        if !name.is_empty() && !wrongs.is_empty() {
            faults.push(Fault::invalid(&path.child("version"), name, wrongs.join(",")));
        }
        faults
    }

    /// What is wrong with what a version has for itself.
    fn own_faults(&self, version: &'a Value, rules: &Rules, path: &Path) -> Faults {
        let mut faults = deprecation_faults(version, &path.child("deprecationWarning"));
        let subresources = get(version, "subresources");
        if let Some(schema) = self.own_schema(version) {
            let status = subresources.is_some_and(|it| get(it, "status").is_some());
            let path = path.child("schema.openAPIV3Schema");
            faults.extend(root_faults(schema, status, self.schema_rules(rules), &path));
        }
        if let Some(subresources) = self.own(version, "subresources") {
            faults.extend(subresource_faults(subresources, &path.child("subresources")));
        }
        let list =
            |field| self.own(version, field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (index, column) in list("additionalPrinterColumns").iter().enumerate() {
            faults.extend(column_faults(column, &path.child("additionalPrinterColumns").index(index)));
        }
        let (fields, fields_path) = (list("selectableFields"), path.child("selectableFields"));
        if !fields.is_empty() {
            match self.own_schema(version) {
                None => {
                    let detail = "may only be set when `version.schema.openAPIV3Schema` is not included";
                    faults.push(Fault::invalid(&fields_path, "", detail));
                }
                some => {
                    let many = rules.many_fields.contains(text(version, "name"));
                    faults.extend(field_faults(fields, some, many, &fields_path));
                }
            }
        }
        faults
    }
}

//! What the API server knows of Kubernetes' types, read off upstream's sources: the text tables in
//! `api-types/src/schema/tables/`, one a group and version. `cargo xtask tables` writes them; `api_types::schema`
//! reads them and says what the words mean.
//!
//! Two sources are joined. The Go structs say what the wire looks like: fields in their order, JSON names, types, protobuf
//! numbers, the tags of strategic merge. The definitions that upstream generates for its OpenAPI say what is published:
//! defaults, enumerations, what is required, how apply merges. Which packages there are stands with
//! [the facts of protobuf](crate::facts); nothing is written by hand.

mod go;
mod openapi;

use anyhow::{Context as _, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Packages whose types have JSON of their own kind, which the reader of the tables knows by name.
const WITHOUT_TABLE: &[&str] =
    &["apimachinery/pkg/api/resource", "apimachinery/pkg/runtime", "apimachinery/pkg/util/intstr"];
/// Packages that are not on the wire of protobuf.
const WITHOUT_PROTOBUF: &[&str] = &["apimachinery/pkg/version"];

const HEAD: &str = "# Read off the sources of Kubernetes 1.36 by `cargo xtask tables`; not for editing.";

/// Where the tables stand in the workspace.
pub fn folder() -> PathBuf {
    crate::tools::workspace().join("api-types/src/schema/tables")
}

/// The tables that stand in the workspace, by file name.
///
/// # Errors
/// The folder cannot be read.
pub fn there() -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder()).context("cannot read the tables")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        found.insert(name, fs::read_to_string(&path)?);
    }
    Ok(found)
}

/// Makes the tables from the sources of Kubernetes in this folder; by file name.
///
/// # Errors
/// A source that is missing or reads unlike those of 1.36.
pub fn read(kubernetes: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let published = openapi::read(kubernetes)?;
    let packages = crate::facts::PACKAGES.iter().filter(|it| !WITHOUT_TABLE.contains(it));
    let mut tables = BTreeMap::new();
    for path in packages.chain(WITHOUT_PROTOBUF) {
        let package = go::read(kubernetes, path).with_context(|| (*path).to_owned())?;
        let text = table(&package, &published).with_context(|| (*path).to_owned())?;
        tables.insert(format!("{}.schema", package.id.replace('/', ".")), text);
    }
    Ok(tables)
}

fn table(package: &go::Package, published: &openapi::Published) -> anyhow::Result<String> {
    let own = package.id.rsplit('/').next().unwrap_or_default();
    let mut text = format!("{HEAD}\npackage {} io.k8s.{}\n", package.id, package.path.replace('/', "."));
    if let Some(group) = &package.group {
        writeln!(text, "group \"{group}\" {own}")?;
    }
    let used = used_names(package);
    let mut aliases = String::new();
    for alias in package.aliases.iter().filter(|alias| used.contains(alias.name.as_str())) {
        // A named list is a message of its own in protobuf, a named map is not.
        let message = if alias.text.starts_with("[]") && package.messages.contains(&alias.name) {
            " message"
        } else {
            ""
        };
        writeln!(aliases, "alias {own}.{} {}{message}", alias.name, alias.text)?;
    }
    if !aliases.is_empty() {
        write!(text, "\n{aliases}")?;
    }
    for of in &package.structs {
        let definition = published.get(&format!("k8s.io/{}.{}", package.path, of.name));
        let kind = if of.inlines_type_meta() { " kind" } else { "" };
        let atomic = definition.is_some_and(|it| it.extension("x-kubernetes-map-type") == Some("atomic"));
        let atomic = if atomic { " atomic" } else { "" };
        writeln!(text, "\ntype {own}.{}{kind}{atomic}", of.name)?;
        for union in definition.map(openapi::Definition::unions).unwrap_or_default() {
            writeln!(text, "  union {union}")?;
        }
        for field in &of.fields {
            let line =
                line(field, definition, package).with_context(|| format!("{}.{}", of.name, field.go))?;
            writeln!(text, "  {line}")?;
        }
    }
    Ok(text)
}

/// The named types that the fields of the package's structs speak of, and those that these speak of.
fn used_names(package: &go::Package) -> BTreeSet<&str> {
    let own = format!("{}.", package.id.rsplit('/').next().unwrap_or_default());
    let mut used = BTreeSet::new();
    let mut open: Vec<&str> =
        package.structs.iter().flat_map(|of| &of.fields).map(|field| field.text.as_str()).collect();
    while let Some(text) = open.pop() {
        for name in text.split(['*', '[', ']']).filter_map(|word| word.strip_prefix(own.as_str())) {
            if used.insert(name) {
                open.extend(package.aliases.iter().filter(|it| it.name == name).map(|it| it.text.as_str()));
            }
        }
    }
    used
}

/// The line of one field. The words are explained where they are read, in `api-types/src/schema/parse.rs`.
fn line(
    field: &go::Field,
    definition: Option<&openapi::Definition>,
    package: &go::Package,
) -> anyhow::Result<String> {
    if field.inline {
        return Ok(format!("inline {} {}", field.text, field.number));
    }
    let mut line = format!("{} {} {}", field.json, field.text, field.number);
    for word in ["omitempty", "omitzero"].iter().filter(|word| field.options.iter().any(|it| it == *word)) {
        write!(line, " {word}")?;
    }
    if capitalised(&field.json) != field.go {
        write!(line, " go={}", field.go)?;
    }
    let property = definition.and_then(|it| it.property(&field.json));
    if definition.is_some_and(|it| it.required().iter().any(|name| *name == field.json)) {
        line.push_str(" required");
    }
    let extension = |name: &str| property.and_then(|it| it.extension(name));
    match extension("x-kubernetes-list-type") {
        Some("map") => {
            let keys = property.map(openapi::Definition::list_map_keys).unwrap_or_default();
            ensure!(!keys.is_empty(), "a list that is a map has no keys");
            write!(line, " list=map({})", keys.join(","))?;
        }
        Some(kind) => write!(line, " list={kind}")?,
        None => {}
    }
    if let Some(kind) = extension("x-kubernetes-map-type") {
        write!(line, " map={kind}")?;
    }
    for (word, tag) in [("patch", &field.patch_strategy), ("key", &field.patch_merge_key)] {
        if let Some(value) = tag {
            write!(line, " {word}={value}")?;
        }
    }
    if let Some(default) = property.and_then(openapi::Definition::default_value) {
        let default = package
            .constants
            .get(default.rsplit('.').next().unwrap_or_default())
            .map_or(default, String::as_str);
        let implied = matches!(default, "\"\"" | "0" | "false") && !field.may_be_absent();
        // Structs are published with an empty object as their default.
        if !implied && !default.starts_with("map[") {
            ensure!(serde_json::from_str::<serde_json::Value>(default).is_ok(), "its default is {default}");
            write!(line, " default={default}")?;
        }
    }
    let values = property.map(openapi::Definition::enumeration).unwrap_or_default();
    if !values.is_empty() {
        write!(line, " enum={}", values.join("|"))?;
    }
    Ok(line)
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

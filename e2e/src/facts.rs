//! What upstream's sources say of the protobuf wire, boiled down to one text that `api-types` compares its table with.
//!
//! Of each message's fields: the number and type from `generated.proto`, the JSON name and whether Go has a pointer from the
//! tags in the Go sources beside it. Nothing but this task needs those sources.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

/// Where packages lie below `staging/src/k8s.io`.
pub(crate) const PACKAGES: &[&str] = &[
    "api/admission/v1",
    "api/admissionregistration/v1",
    "api/apidiscovery/v2",
    "api/apidiscovery/v2beta1",
    "api/apps/v1",
    "api/authentication/v1",
    "api/authorization/v1",
    "api/autoscaling/v1",
    "api/autoscaling/v2",
    "api/batch/v1",
    "api/certificates/v1",
    "api/coordination/v1",
    "api/core/v1",
    "api/discovery/v1",
    "api/events/v1",
    "api/flowcontrol/v1",
    "api/networking/v1",
    "api/node/v1",
    "api/policy/v1",
    "api/rbac/v1",
    "api/resource/v1",
    "api/scheduling/v1",
    "api/storage/v1",
    "apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "apiextensions-apiserver/pkg/apis/apiextensions/v1beta1",
    "apimachinery/pkg/api/resource",
    "apimachinery/pkg/apis/meta/v1",
    "apimachinery/pkg/apis/meta/v1beta1",
    "apimachinery/pkg/runtime",
    "apimachinery/pkg/util/intstr",
    "apiserver/pkg/apis/audit/v1",
    "kube-aggregator/pkg/apis/apiregistration/v1",
];

/// Where the text stands in the workspace.
pub fn file() -> PathBuf {
    crate::tools::workspace().join("api-types/src/schema/protobuf.facts")
}

/// Reads the facts off the sources of Kubernetes in this folder.
///
/// # Errors
/// A source that is missing or reads unlike those of 1.36.
pub fn read(kubernetes: &Path) -> anyhow::Result<String> {
    let mut facts = String::new();
    for package in PACKAGES {
        let folder = kubernetes.join("staging/src/k8s.io").join(package);
        let proto = folder.join("generated.proto");
        let proto = fs::read_to_string(&proto).with_context(|| format!("cannot read {}", proto.display()))?;
        let structs = structs(&folder)?;
        write!(facts, "{}", of_package(&proto, &structs).with_context(|| (*package).to_owned())?)?;
    }
    let sum: String = Sha256::digest(&facts).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(
        "# Read off the sources of Kubernetes 1.36 by `cargo xtask facts`; not for editing.\nsha256 {sum}\n{facts}"
    ))
}

/// What Go says of a field, by the struct's name and the field's number.
type Structs = BTreeMap<(String, u32), GoField>;

struct GoField {
    json: String,
    pointer: bool,
}

fn structs(folder: &Path) -> anyhow::Result<Structs> {
    let mut found = Structs::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let generated = name.starts_with("zz_") || name.contains("generated");
        if !name.ends_with(".go") || name.ends_with("_test.go") || generated {
            continue;
        }
        let mut current = None;
        for line in fs::read_to_string(&path)?.lines() {
            if let Some(name) = line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" struct {")) {
                current = Some(name.to_owned());
            } else if line == "}" {
                current = None;
            } else if let (Some(of), Some((number, field))) = (&current, go_field(line)) {
                found.insert((of.clone(), number), field);
            }
        }
    }
    Ok(found)
}

fn go_field(line: &str) -> Option<(u32, GoField)> {
    let line = line.trim_start();
    if line.starts_with("//") {
        return None;
    }
    let (declared, tags) = line.split_once('`')?;
    let tag = |name: &str| {
        let (_, rest) = tags.split_once(&format!("{name}:\""))?;
        rest.split('"').next()
    };
    let number = tag("protobuf")?.split(',').nth(1)?.parse().ok()?;
    let json = tag("json").unwrap_or_default();
    let name = json.split(',').next().unwrap_or_default();
    let json = if json.contains(",inline") { "(inline)".to_owned() } else { name.to_owned() };
    let pointer = declared.split_ascii_whitespace().last().is_some_and(|text| text.starts_with('*'));
    Some((number, GoField { json, pointer }))
}

fn of_package(proto: &str, structs: &Structs) -> anyhow::Result<String> {
    let mut facts = String::new();
    let mut message = "";
    let mut package = String::new();
    for line in proto.lines() {
        let text = line.trim();
        if let Some(name) = text.strip_prefix("package ").and_then(|rest| rest.strip_suffix(';')) {
            package = openapi_prefix(name);
            writeln!(facts, "package {package}")?;
        } else if let Some(name) = text.strip_prefix("message ") {
            message = name.split(' ').next().unwrap_or_default();
            writeln!(facts, "message {message}")?;
        } else if let Some((rest, number)) = text.split_once(" = ").filter(|_| line.starts_with("  ")) {
            if text.starts_with("//") || text.starts_with("reserved") {
                continue;
            }
            let number: u32 = number.split([';', ' ']).next().unwrap_or_default().parse()?;
            let (kind, name) = rest.rsplit_once(' ').context(text.to_owned())?;
            let kind = kind.replace("map<string, ", "map<string,");
            let go = structs.get(&(message.to_owned(), number));
            let json = go.map_or(name, |go| if go.json.is_empty() { name } else { &go.json });
            let star = if go.is_some_and(|go| go.pointer) { "*" } else { "" };
            let kind = match kind.split_once(' ').unwrap_or(("", &kind)) {
                ("optional" | "required", of) => format!("{star}{}", base(of, &package)),
                ("repeated", of) => format!("[]{}", base(of, &package)),
                (_, map) => {
                    let of = map.strip_prefix("map<string,").and_then(|rest| rest.strip_suffix('>'));
                    format!("map[]{}", base(of.context(text.to_owned())?, &package))
                }
            };
            writeln!(facts, "  {number} {json} {kind}")?;
        }
    }
    ensure!(!package.is_empty(), "it names no package");
    Ok(facts)
}

fn base(name: &str, package: &str) -> String {
    const SCALARS: &[&str] = &["string", "bool", "int32", "int64", "double", "bytes"];
    match name.strip_prefix('.').unwrap_or(name) {
        scalar if SCALARS.contains(&scalar) => scalar.to_owned(),
        whole if whole.contains('.') => openapi_prefix(whole),
        own => format!("{package}.{own}"),
    }
}

/// `k8s.io.kube_aggregator.pkg` as definitions of OpenAPI begin: `io.k8s.kube-aggregator.pkg`.
fn openapi_prefix(package: &str) -> String {
    let rest = package.strip_prefix("k8s.io.").unwrap_or(package);
    format!("io.k8s.{}", rest.replace('_', "-"))
}

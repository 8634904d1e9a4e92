//! Reads what upstream publishes of each type off the definitions that it generates for its OpenAPI,
//! `pkg/generated/openapi/zz_generated.openapi.go`: nested literals of Go, as gofmt writes them.

use anyhow::{Context as _, ensure};
use std::{collections::BTreeMap, fs, path::Path};

/// Definitions by the path and name of their type, `k8s.io/api/core/v1.Pod`.
pub(super) struct Published(BTreeMap<String, Definition>);

/// A literal with braces: what stands before the brace, and what is inside.
#[derive(Default)]
pub(super) struct Definition {
    label: String,
    /// What is in it and has no braces of its own, or those on the same line.
    leaves: Vec<String>,
    inside: Vec<Definition>,
}

pub(super) fn read(kubernetes: &Path) -> anyhow::Result<Published> {
    let file = kubernetes.join("pkg/generated/openapi/zz_generated.openapi.go");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let (mut packages, mut types, mut functions) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("func schema_").and_then(|rest| rest.split('(').next()) {
            functions.insert(name, literal(name, &mut lines));
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(first), Some(second), None) = (words.next(), words.next(), words.next()) else { continue };
        if let Some(path) = quoted(second) {
            packages.insert(first, path);
        } else if let (Some(of), Some(rest)) =
            (first.strip_suffix("{}.OpenAPIModelName():"), second.strip_prefix("schema_"))
        {
            types.push((of, rest.trim_end_matches("(ref),")));
        }
    }
    let mut found = BTreeMap::new();
    for (of, function) in types {
        let (package, name) = of.split_once('.').context(of.to_owned())?;
        let path = packages.get(package).with_context(|| format!("{package} is not imported"))?;
        let whole = functions.remove(function).with_context(|| format!("there is no schema_{function}"))?;
        if let Some(schema) = whole.take("Schema") {
            found.insert(format!("{path}.{name}"), schema);
        }
    }
    ensure!(!found.is_empty(), "{} defines nothing", file.display());
    Ok(Published(found))
}

/// Reads up to the line that closes the brace that was opened.
fn literal<'text>(label: &str, lines: &mut impl Iterator<Item = &'text str>) -> Definition {
    let mut of = Definition { label: label.to_owned(), ..Definition::default() };
    while let Some(line) = lines.next().map(str::trim) {
        if line.starts_with('}') {
            break;
        }
        match line.strip_suffix('{') {
            // `Properties: map[string]spec.Schema{` is called Properties, `"name": {` is called name.
            Some(opened) => {
                let label = opened.split(':').next().unwrap_or_default().trim_matches('"');
                of.inside.push(literal(label, lines));
            }
            // The last of the names of definitions that this one refers to closes their list.
            None if line.ends_with("()},") => break,
            None => of.leaves.push(line.trim_end_matches(',').to_owned()),
        }
    }
    of
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

/// The words in quotes of `[]string{"a", "b"}`. None of them has a quote or a comma in it.
fn words(list: &str) -> Vec<&str> {
    let inside = list.rsplit_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    inside.split(',').filter_map(|word| quoted(word.trim())).collect()
}

// === impl Published ===

impl Published {
    pub(super) fn get(&self, of: &str) -> Option<&Definition> {
        self.0.get(of)
    }
}

// === impl Definition ===

impl Definition {
    /// The definition of a field. An embedded struct has none.
    pub(super) fn property(&self, json: &str) -> Option<&Definition> {
        self.under("SchemaProps")?.under("Properties")?.under(json)
    }

    pub(super) fn required(&self) -> Vec<&str> {
        self.under("SchemaProps").and_then(|it| it.leaf("Required")).map(words).unwrap_or_default()
    }

    pub(super) fn enumeration(&self) -> Vec<&str> {
        self.under("SchemaProps").and_then(|it| it.leaf("Enum")).map(words).unwrap_or_default()
    }

    /// Its default, as a literal or the name of a constant.
    pub(super) fn default_value(&self) -> Option<&str> {
        self.under("SchemaProps")?.leaf("Default")
    }

    /// The text of an extension.
    pub(super) fn extension(&self, name: &str) -> Option<&str> {
        quoted(self.extensions()?.leaf(&format!("\"{name}\""))?)
    }

    pub(super) fn list_map_keys(&self) -> Vec<&str> {
        let keys = self.extensions().and_then(|it| it.under("x-kubernetes-list-map-keys"));
        keys.map(|it| it.leaves.iter().filter_map(|key| quoted(key)).collect()).unwrap_or_default()
    }

    /// Its unions, each as `discriminator=FIELD FIELD=VALUE ...`.
    pub(super) fn unions(&self) -> Vec<String> {
        let unions = self.extensions().and_then(|it| it.under("x-kubernetes-unions"));
        let pairs = |of: &Definition| -> Vec<String> {
            let pairs = of.leaves.iter().filter_map(|leaf| leaf.split_once(':'));
            pairs
                .map(|(key, value)| {
                    format!("{}={}", key.trim().trim_matches('"'), value.trim().trim_matches('"'))
                })
                .collect()
        };
        let text = |union: &Definition| {
            let members = union.under("fields-to-discriminateBy").map(pairs).unwrap_or_default();
            [pairs(union), members].concat().join(" ")
        };
        unions.map(|it| it.inside.iter().map(text).collect()).unwrap_or_default()
    }

    fn extensions(&self) -> Option<&Definition> {
        self.under("VendorExtensible")?.under("Extensions")
    }

    fn under(&self, label: &str) -> Option<&Definition> {
        self.inside.iter().find(|it| it.label == label)
    }

    fn leaf(&self, label: &str) -> Option<&str> {
        self.leaves.iter().find_map(|leaf| Some(leaf.strip_prefix(label)?.strip_prefix(':')?.trim()))
    }

    /// What is called so, however deep; the first of them.
    fn take(self, label: &str) -> Option<Definition> {
        if self.label == label { Some(self) } else { self.inside.into_iter().find_map(|it| it.take(label)) }
    }
}

//! Reads the declarations of types off the Go sources of a package of the API.
//!
//! It knows Go as gofmt writes it and no more: a declaration begins at the margin, a field is a line with one tab and its
//! tags in backquotes.

use anyhow::Context as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// What the tables need of a package.
pub(super) struct Package {
    /// Below `staging/src/k8s.io`.
    pub(super) path: String,
    /// Group and version as in `core/v1`, or the last part of the path.
    pub(super) id: String,
    /// The API group of its kinds, if it has kinds.
    pub(super) group: Option<String>,
    /// Structs that are JSON objects on the wire, in the order they are declared.
    pub(super) structs: Vec<Struct>,
    /// Other named types.
    pub(super) aliases: Vec<Alias>,
    /// Names of its protobuf messages.
    pub(super) messages: BTreeSet<String>,
    /// Constants with literal values, as the text of the literal.
    pub(super) constants: BTreeMap<String, String>,
}

pub(super) struct Struct {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

pub(super) struct Alias {
    pub(super) name: String,
    /// The type beneath, as the tables write it.
    pub(super) text: String,
}

pub(super) struct Field {
    pub(super) go: String,
    /// The type, as the tables write it.
    pub(super) text: String,
    pub(super) json: String,
    /// Words after the name in the JSON tag.
    pub(super) options: Vec<String>,
    /// The fields of its struct stand in the same JSON object.
    pub(super) inline: bool,
    /// 0 without a protobuf tag.
    pub(super) number: u32,
    pub(super) patch_strategy: Option<String>,
    pub(super) patch_merge_key: Option<String>,
}

/// What a line of a struct declares.
enum Declared {
    Field(Field),
    /// Its JSON tag is a dash.
    OffTheWire,
}

impl Struct {
    /// It has `apiVersion` and `kind`.
    pub(super) fn inlines_type_meta(&self) -> bool {
        self.fields.iter().any(|field| field.inline && field.go == "TypeMeta")
    }
}

impl Field {
    /// Its zero is not written, or is not the same as its absence.
    pub(super) fn may_be_absent(&self) -> bool {
        self.text.starts_with('*') || self.options.iter().any(|it| it == "omitempty")
    }
}

pub(super) fn read(kubernetes: &Path, path: &str) -> anyhow::Result<Package> {
    let folder = kubernetes.join("staging/src/k8s.io").join(path);
    let mut package = Package {
        path: path.to_owned(),
        id: id_of(path),
        group: None,
        structs: Vec::new(),
        aliases: Vec::new(),
        messages: messages(&folder),
        constants: BTreeMap::new(),
    };
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        names.push(entry?.file_name().into_string().unwrap_or_default());
    }
    names.sort_by_key(|name| (name != "types.go", name.clone()));
    for name in names.iter().filter(|name| is_source(name)) {
        let text = fs::read_to_string(folder.join(name)).with_context(|| name.clone())?;
        package.read_file(&text).with_context(|| name.clone())?;
    }
    Ok(package)
}

/// Written by people, and about more than the wire of protobuf.
fn is_source(name: &str) -> bool {
    let generated = name.starts_with("zz_") || name.contains("generated");
    name.ends_with(".go") && !name.ends_with("_test.go") && !name.ends_with("_proto.go") && !generated
}

/// `core/v1` of `api/core/v1` or `k8s.io/api/core/v1`; `resource` of `apimachinery/pkg/api/resource`.
fn id_of(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_version =
        last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()));
    if is_version { format!("{before}/{last}") } else { last.to_owned() }
}

fn messages(folder: &Path) -> BTreeSet<String> {
    let proto = fs::read_to_string(folder.join("generated.proto")).unwrap_or_default();
    let names = proto.lines().filter_map(|line| line.strip_prefix("message ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

// === impl Package ===

impl Package {
    fn read_file(&mut self, text: &str) -> anyhow::Result<()> {
        let imports = imports(text);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some((name, value)) = constant(line) {
                if name == "GroupName" {
                    self.group = Some(value.trim_matches('"').to_owned());
                }
                self.constants.insert(name.to_owned(), value.to_owned());
            }
            let Some((name, declared)) = line.strip_prefix("type ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            if !name.starts_with(|first: char| first.is_ascii_uppercase()) {
                continue;
            }
            match declared {
                "struct {" => {
                    let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
                    // One that has a field without a JSON name, or no other fields, encodes itself.
                    let declared: Option<Vec<Declared>> =
                        declarations(&body).map(|line| self.field(line, &imports)).collect();
                    let fields = declared.into_iter().flatten().filter_map(|it| match it {
                        Declared::Field(field) => Some(field),
                        Declared::OffTheWire => None,
                    });
                    let fields: Vec<Field> = fields.collect();
                    if !fields.is_empty() {
                        self.structs.push(Struct { name: name.to_owned(), fields });
                    }
                }
                "struct{}" => self.structs.push(Struct { name: name.to_owned(), fields: Vec::new() }),
                _ if declared.starts_with("= ")
                    || declared.starts_with("interface")
                    || declared.starts_with("func") => {}
                _ => {
                    let text = self.type_text(declared, &imports);
                    self.aliases.push(Alias { name: name.to_owned(), text });
                }
            }
        }
        Ok(())
    }

    fn field(&self, line: &str, imports: &BTreeMap<String, String>) -> Option<Declared> {
        let (declared, tags) = line.split_once('`')?;
        let tag = |name: &str| {
            let (_, rest) = tags.split_once(&format!("{name}:\""))?;
            rest.split('"').next()
        };
        let mut words = declared.split_ascii_whitespace();
        let first = words.next()?;
        // An embedded struct is named after its type.
        let text = words.next().unwrap_or(first);
        let go = first.rsplit(['.', '*']).next().unwrap_or_default().to_owned();
        let mut options = tag("json")?.split(',').map(str::to_owned);
        let json = options.next().unwrap_or_default();
        let options: Vec<String> = options.collect();
        let inline = options.iter().any(|it| it == "inline");
        if json == "-" {
            return Some(Declared::OffTheWire);
        }
        if json.is_empty() && !inline {
            return None;
        }
        let number = tag("protobuf").and_then(|it| it.split(',').nth(1)?.parse().ok()).unwrap_or(0);
        Some(Declared::Field(Field {
            go,
            text: self.type_text(text, imports),
            json,
            options,
            inline,
            number,
            patch_strategy: tag("patchStrategy").map(str::to_owned),
            patch_merge_key: tag("patchMergeKey").map(str::to_owned),
        }))
    }

    /// A Go type with the id of its package before each name.
    fn type_text(&self, text: &str, imports: &BTreeMap<String, String>) -> String {
        const BUILT_IN: &[&str] = &["string", "bool", "int32", "int64", "float64", "byte", "interface{}"];
        if let Some(of) = text.strip_prefix('*') {
            return format!("*{}", self.type_text(of, imports));
        }
        if let Some(of) = text.strip_prefix("[]") {
            return format!("[]{}", self.type_text(of, imports));
        }
        if let Some((key, value)) = text.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
            return format!("map[{}]{}", self.type_text(key, imports), self.type_text(value, imports));
        }
        match text.split_once('.') {
            _ if text == "interface{}" => "any".to_owned(),
            _ if BUILT_IN.contains(&text) => text.to_owned(),
            Some((package, name)) => {
                let id = imports.get(package).map_or(package, String::as_str);
                format!("{id}.{name}")
            }
            None => format!("{}.{text}", self.id.rsplit('/').next().unwrap_or_default()),
        }
    }
}

/// The lines of a struct that are no comments.
fn declarations<'text>(body: &[&'text str]) -> impl Iterator<Item = &'text str> {
    let mut commented = false;
    let lines = body.iter().map(|line| line.trim()).filter(move |line| {
        let skipped = commented || line.starts_with("/*");
        commented = skipped && !line.ends_with("*/");
        !skipped && !line.is_empty() && !line.starts_with("//")
    });
    lines.collect::<Vec<_>>().into_iter()
}

/// Package ids by the names the file gives them.
fn imports(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.lines().take_while(|line| !line.starts_with("type ")) {
        let words: Vec<&str> =
            line.trim().strip_prefix("import ").unwrap_or(line.trim()).split(' ').collect();
        let (name, quoted) = match words.as_slice() {
            [quoted] => (None, *quoted),
            [name, quoted] => (Some(*name), *quoted),
            _ => continue,
        };
        let Some(path) = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { continue };
        let last = path.rsplit('/').next().unwrap_or_default();
        found.insert(name.unwrap_or(last).to_owned(), id_of(path));
    }
    found
}

/// `Name Type = "value"` or `const Name = "value"`.
fn constant(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("const ").or_else(|| line.strip_prefix('\t'))?;
    let (declared, value) = line.split_once(" = ")?;
    let name = declared.split_ascii_whitespace().next()?;
    let literal = value.starts_with('"') && value.ends_with('"');
    let exported = name.starts_with(|first: char| first.is_ascii_uppercase());
    (literal && exported).then_some((name, value))
}

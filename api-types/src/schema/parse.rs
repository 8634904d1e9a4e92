//! Reads the text tables, which `cargo xtask tables` reads off the sources of Kubernetes.
//!
//! A file opens with `package ID OPENAPI-PREFIX` and, if it has one, `group "GROUP" VERSION`; then
//! `alias GO-NAME GO-TYPE [message]` for named types that are no structs, and
//!
//! ```text
//! type v1.Service kind atomic
//!   union discriminator=TYPE-FIELD FIELD=VALUE ...
//!   inline v1.VolumeSource 2
//!   name *int32 5 omitempty required go=GoName list=map(a,b) map=atomic patch=merge,retainKeys key=a default=JSON enum=A|B
//! ```
//!
//! Type names are Go's own text; one of another package has that package's id before it (`meta/v1.Time`).
//! The tables are part of this program, so a mistake in them is a bug: reading panics with the line.

use super::{Field, ListKind, Omit, Part, Patch, Schema, Shape, Type, TypeRef, Union, hash};
use std::collections::BTreeMap;

/// Where one type's lines are.
struct Entry {
    package: Package,
    header: &'static str,
    lines: Vec<&'static str>,
}

#[derive(Clone, Copy)]
struct Package {
    id: &'static str,
    /// The package's name in Go, which is the last part of its id.
    go: &'static str,
    openapi_prefix: &'static str,
    group_version: Option<(&'static str, &'static str)>,
}

/// Named types by (package id, name).
type Names<T> = BTreeMap<(&'static str, &'static str), T>;

struct Alias {
    text: &'static str,
    message: bool,
    package: Package,
}

struct Reader {
    structs: Names<TypeRef>,
    aliases: Names<Alias>,
}

/// A struct that is to be put in the place before this field of the type that inlines it.
struct Inline {
    before: usize,
    of: TypeRef,
    number: u32,
}

pub(super) fn parse(files: &[&'static str]) -> Schema {
    let mut entries = Vec::new();
    let mut reader = Reader { structs: BTreeMap::new(), aliases: BTreeMap::new() };
    for file in files {
        split(file, &mut entries, &mut reader);
    }

    let mut types = Vec::with_capacity(entries.len());
    let mut inlines = Vec::with_capacity(entries.len());
    for entry in &entries {
        let (of, its) = reader.read_type(entry);
        types.push(of);
        inlines.push(its);
    }
    let atomic: Vec<bool> = types.iter().map(|of| of.atomic).collect();
    for of in &mut types {
        of.fields.iter_mut().for_each(|field| settle_atomic(field, &atomic));
    }
    let inlined: BTreeMap<TypeRef, Vec<Field>> =
        inlines.iter().flatten().map(|inline| (inline.of, flattened(inline.of, &types, &inlines))).collect();
    for (of, its) in types.iter_mut().zip(inlines) {
        put_inlined(of, its, &inlined);
        of.by_name = sorted_positions(&of.fields);
        of.by_hash = guesses(of);
        let fields_by_name = of.by_name.iter().map(|at| &of.fields[usize::from(*at)]);
        let always = (0_u16..).zip(fields_by_name).filter(|(_, field)| field.is_always_written());
        of.always_written = always.map(|(rank, _)| rank).collect();
    }

    let mut by_kind = BTreeMap::new();
    let mut by_openapi_name = BTreeMap::new();
    for (at, of) in types.iter().enumerate() {
        let handle = reference(at);
        if let (true, Some((group, version))) = (of.is_kind, of.group_version) {
            by_kind.insert((group, version, of.name), handle);
        }
        by_openapi_name.insert(of.openapi_name.clone(), handle);
    }
    Schema { types, by_kind, by_openapi_name }
}

/// First pass: names, so that types may refer to later ones.
fn split(file: &'static str, entries: &mut Vec<Entry>, reader: &mut Reader) {
    let mut package = Package { id: "", go: "", openapi_prefix: "", group_version: None };
    for line in file.lines() {
        let mut words = line.split_ascii_whitespace();
        let mut word = || words.next().unwrap_or_default();
        if line.starts_with(' ') {
            let Some(entry) = entries.last_mut() else { panic!("a field before any type: {line}") };
            entry.lines.push(line);
            continue;
        }
        match word() {
            "" | "#" => {}
            "package" => {
                package = Package { id: word(), openapi_prefix: word(), ..package };
                package.go = package.id.rsplit('/').next().unwrap_or_default();
            }
            "group" => package.group_version = Some((word().trim_matches('"'), word())),
            "alias" => {
                let (name, text) = (own_name(word()), word());
                let message = word() == "message";
                reader.aliases.insert((package.id, name), Alias { text, message, package });
            }
            "type" => {
                let name = own_name(word());
                reader.structs.insert((package.id, name), reference(entries.len()));
                entries.push(Entry { package, header: line, lines: Vec::new() });
            }
            other => panic!("unknown word {other} in a schema table: {line}"),
        }
    }
}

/// `v1.Pod` without its package.
fn own_name(go_name: &'static str) -> &'static str {
    go_name.split_once('.').map_or(go_name, |(_, name)| name)
}

fn reference(at: usize) -> TypeRef {
    TypeRef(u16::try_from(at).unwrap_or_else(|_| panic!("more types than a handle can count")))
}

fn number(word: &str, line: &str) -> u32 {
    word.parse().unwrap_or_else(|_| panic!("no protobuf number in a schema table: {line}"))
}

// === impl Reader ===

impl Reader {
    fn read_type(&self, entry: &Entry) -> (Type, Vec<Inline>) {
        let mut words = entry.header.split_ascii_whitespace().skip(1);
        let go_name = words.next().unwrap_or_default();
        let name = own_name(go_name);
        let mut of = Type {
            go_name,
            name,
            openapi_name: format!("{}.{name}", entry.package.openapi_prefix),
            group_version: entry.package.group_version,
            is_kind: false,
            atomic: false,
            unions: Vec::new(),
            fields: Vec::with_capacity(entry.lines.len()),
            parts: Vec::new(),
            by_name: Vec::new(),
            by_hash: Vec::new(),
            always_written: Vec::new(),
        };
        for word in words {
            match word {
                "kind" => of.is_kind = true,
                "atomic" => of.atomic = true,
                _ => panic!("unknown word {word} in a schema table: {}", entry.header),
            }
        }
        let mut inlines = Vec::new();
        for line in &entry.lines {
            let mut words = line.split_ascii_whitespace();
            let first = words.next().unwrap_or_default();
            match first {
                "union" => of.unions.push(union(words)),
                "inline" => inlines.push(Inline {
                    before: of.fields.len(),
                    of: self.named_struct(words.next().unwrap_or_default(), entry.package),
                    number: number(words.next().unwrap_or_default(), line),
                }),
                json => of.fields.push(self.field(json, name, line, entry.package)),
            }
        }
        (of, inlines)
    }

    fn field(&self, json: &'static str, owner: &'static str, line: &'static str, package: Package) -> Field {
        let mut words = line.split_ascii_whitespace().skip(1);
        let text = words.next().unwrap_or_default();
        let (pointer, text) = text.strip_prefix('*').map_or((false, text), |text| (true, text));
        let mut go_types = Vec::new();
        let mut list_message = false;
        let shape = self.shape(text, package, &mut go_types, &mut list_message);
        let mut field = Field {
            json,
            own_go_name: None,
            owner_go_name: owner,
            number: number(words.next().unwrap_or_default(), line),
            shape,
            go_type: go_types.first().copied().unwrap_or_default(),
            go_types,
            pointer,
            omit: Omit::Never,
            list: ListKind::Atomic,
            list_declared: false,
            map_atomic: false,
            struct_atomic: false,
            map_type: None,
            patch: Patch::default(),
            default: None,
            required: false,
            enumeration: Vec::new(),
            list_message,
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "omitempty" => field.omit = Omit::Empty,
                "omitzero" => field.omit = Omit::Zero,
                "required" => field.required = true,
                "go" => field.own_go_name = Some(value),
                "list" => {
                    field.list_declared = true;
                    field.list = list_kind(value, line);
                }
                "map" => field.map_type = Some(value),
                "patch" => {
                    let has = |strategy| value.split(',').any(|it| it == strategy);
                    field.patch.merge = has("merge");
                    field.patch.retain_keys = has("retainKeys");
                    field.patch.replace = has("replace");
                }
                "key" => field.patch.merge_key = Some(value),
                "default" => {
                    let parsed = serde_json::from_str(value);
                    field.default =
                        Some(parsed.unwrap_or_else(|_| panic!("no JSON in a schema table: {line}")));
                }
                "enum" => field.enumeration = value.split('|').collect(),
                _ => panic!("unknown word {word} in a schema table: {line}"),
            }
        }
        field
    }

    /// What a Go type text means. Pushes its text, and that of its elements, onto `go_types`.
    fn shape(
        &self,
        text: &'static str,
        package: Package,
        go_types: &mut Vec<&'static str>,
        list_message: &mut bool,
    ) -> Shape {
        go_types.push(as_go_prints(text));
        match text {
            "string" | "types.UID" => return Shape::String,
            "bool" => return Shape::Bool,
            "int32" => return Shape::Int32,
            "int64" => return Shape::Int64,
            "float64" => return Shape::Float64,
            "[]byte" => return Shape::Bytes,
            "any" => return Shape::Json,
            "resource.Quantity" => return Shape::Quantity,
            "intstr.IntOrString" => return Shape::IntOrString,
            "runtime.RawExtension" | "runtime.Unknown" => return Shape::RawExtension,
            _ => {}
        }
        if let Some(element) = text.strip_prefix("[]") {
            return Shape::List(Box::new(self.shape(element, package, go_types, list_message)));
        }
        if let Some((_, element)) = text.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
            return Shape::Map(Box::new(self.shape(element, package, go_types, list_message)));
        }
        let (id, name) = resolve(text, package);
        match (id, name) {
            ("meta/v1", "Time") => Shape::Time,
            ("meta/v1", "MicroTime") => Shape::MicroTime,
            ("meta/v1", "FieldsV1") => Shape::FieldsV1,
            (of, "JSON") if is_definitions(of) => Shape::Json,
            (of, "JSONSchemaPropsOrBool") if is_definitions(of) => Shape::SchemaOrBool(self.json_schema(of)),
            (of, "JSONSchemaPropsOrArray") if is_definitions(of) => {
                Shape::SchemaOrArray(self.json_schema(of))
            }
            (of, "JSONSchemaPropsOrStringArray") if is_definitions(of) => {
                Shape::SchemaOrStrings(self.json_schema(of))
            }
            _ => match (self.structs.get(&(id, name)), self.aliases.get(&(id, name))) {
                (Some(of), _) => Shape::Struct(*of),
                (None, Some(alias)) => {
                    *list_message |= alias.message;
                    // The underlying type's own text is never printed: the name is.
                    let mut below = Vec::new();
                    let shape = self.shape(alias.text, alias.package, &mut below, list_message);
                    go_types.extend(below.into_iter().skip(1));
                    shape
                }
                (None, None) => panic!("{text} of {} is in no schema table", package.id),
            },
        }
    }

    fn json_schema(&self, package: &'static str) -> TypeRef {
        self.named(package, "JSONSchemaProps")
    }

    fn named_struct(&self, text: &'static str, package: Package) -> TypeRef {
        let (id, name) = resolve(text, package);
        self.named(id, name)
    }

    fn named(&self, id: &'static str, name: &'static str) -> TypeRef {
        *self.structs.get(&(id, name)).unwrap_or_else(|| panic!("{id}.{name} is in no schema table"))
    }
}

/// The packages of custom resource definitions.
fn is_definitions(package: &str) -> bool {
    package.starts_with("apiextensions/")
}

/// Package id and name of a named type.
fn resolve(text: &'static str, package: Package) -> (&'static str, &'static str) {
    let (id, name) = text.rsplit_once('.').unwrap_or_else(|| panic!("{text} is no type of a schema table"));
    if id == package.go { (package.id, name) } else { (id, name) }
}

/// `map[core/v1.ResourceName]meta/v1.Time` as Go prints it: packages by their last name.
fn as_go_prints(text: &'static str) -> &'static str {
    // Byte and any are names Go's reflection does not know.
    match text {
        "any" => return "interface {}",
        "[]any" => return "[]interface {}",
        "[]byte" => return "[]uint8",
        "map[string][]byte" => return "map[string][]uint8",
        _ => {}
    }
    let Some(slash) = text.rfind('/') else { return text };
    if !text.contains(['[', ']']) {
        return text.get(slash + 1..).unwrap_or_default();
    }
    let mut printed = String::with_capacity(text.len());
    for piece in text.split_inclusive(['[', ']']) {
        printed.push_str(piece.rsplit('/').next().unwrap_or_default());
    }
    // A handful, once in the life of the process.
    Box::leak(printed.into_boxed_str())
}

fn list_kind(value: &'static str, line: &str) -> ListKind {
    match value {
        "atomic" => ListKind::Atomic,
        "set" => ListKind::Set,
        _ => match value.strip_prefix("map(").and_then(|rest| rest.strip_suffix(')')) {
            Some(keys) => ListKind::Map(keys.split(',').collect()),
            None => panic!("unknown list type in a schema table: {line}"),
        },
    }
}

fn union(words: impl Iterator<Item = &'static str>) -> Union {
    let mut union = Union { discriminator: None, fields: Vec::new() };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        match key {
            "discriminator" => union.discriminator = Some(value),
            member => union.fields.push((member, value)),
        }
    }
    union
}

/// A field's own marker wins over its type's: `PersistentVolumeSpec.claimRef` is granular though its type is atomic.
fn settle_atomic(field: &mut Field, atomic: &[bool]) {
    match &field.shape {
        Shape::Struct(of) => {
            field.struct_atomic =
                field.map_type.map_or_else(|| atomic[usize::from(of.0)], |own| own == "atomic");
        }
        Shape::Map(_) => field.map_atomic = field.map_type == Some("atomic"),
        _ => {}
    }
}

/// The fields of a type with those of the structs it inlines.
fn flattened(of: TypeRef, types: &[Type], inlines: &[Vec<Inline>]) -> Vec<Field> {
    let at = usize::from(of.0);
    let mut all = Vec::new();
    let mut rest = inlines[at].iter().peekable();
    for (position, field) in types[at].fields.iter().enumerate() {
        while let Some(inline) = rest.next_if(|inline| inline.before == position) {
            all.extend(flattened(inline.of, types, inlines));
        }
        all.push(field.clone());
    }
    for inline in rest {
        all.extend(flattened(inline.of, types, inlines));
    }
    all
}

/// Puts the fields of inlined structs in their places, and lists the parts of the protobuf message.
fn put_inlined(of: &mut Type, inlines: Vec<Inline>, inlined: &BTreeMap<TypeRef, Vec<Field>>) {
    let own = std::mem::take(&mut of.fields);
    let count = own.len();
    let mut numbered: Vec<(u32, Part)> = Vec::with_capacity(count);
    let mut rest = inlines.into_iter().peekable();
    let mut own = own.into_iter();
    for position in 0..=count {
        while let Some(inline) = rest.next_if(|inline| inline.before == position) {
            of.fields.extend(inlined.get(&inline.of).into_iter().flatten().cloned());
            if inline.number > 0 {
                numbered.push((inline.number, Part::Inlined { number: inline.number, of: inline.of }));
            }
        }
        if let Some(field) = own.next() {
            if field.number > 0 {
                numbered.push((field.number, Part::Field(of.fields.len())));
            }
            of.fields.push(field);
        }
    }
    numbered.sort_by_key(|(number, _)| *number);
    of.parts = numbered.into_iter().map(|(_, part)| part).collect();
}

fn sorted_positions(fields: &[Field]) -> Vec<u16> {
    let mut positions: Vec<u16> = (0_u16..).take(fields.len()).collect();
    positions.sort_by_key(|at| fields[usize::from(*at)].json);
    positions
}

/// Of names with the same hash the first one is guessed.
fn guesses(of: &Type) -> Vec<u16> {
    let mut guesses = vec![u16::MAX; (of.by_name.len() * 4).next_power_of_two()];
    for (rank, at) in (0_u16..).zip(&of.by_name) {
        let slot = hash(of.fields[usize::from(*at)].json) & (guesses.len() - 1);
        if guesses[slot] == u16::MAX {
            guesses[slot] = rank;
        }
    }
    guesses
}

//! Reading a schema out of a definition.

use serde_json::Value;

use super::{Additional, Flags, Limit, ListType, Structural, Types, formats, rules::Rules};

impl Structural {
    /// The schema that a definition writes as `openAPIV3Schema`. What is not structural about it was refused when the
    /// definition was written, and is left out here.
    pub fn parse(schema: &Value) -> Self {
        let mut parsed = Self::read(schema);
        parsed.prune_defaults();
        parsed
    }

    /// The same with defaults as written.
    pub(super) fn read(it: &Value) -> Self {
        let mut flags = Flags::default();
        flags.set(Flags::NULLABLE, is_on(it, "nullable"));
        flags.set(Flags::PRESERVE_UNKNOWN, is_on(it, "x-kubernetes-preserve-unknown-fields"));
        flags.set(Flags::EMBEDDED, is_on(it, "x-kubernetes-embedded-resource"));
        flags.set(Flags::INT_OR_STRING, is_on(it, "x-kubernetes-int-or-string"));
        flags.set(Flags::ATOMIC_MAP, text(it, "x-kubernetes-map-type") == "atomic");
        let types = if flags.has(Flags::INT_OR_STRING) {
            Types::INTEGER_OR_STRING
        } else {
            Types::named(text(it, "type"))
        };
        let mut properties: Vec<(Box<str>, Self)> = get(it, "properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, property)| (name.as_str().into(), Self::read(property)))
            .collect();
        properties.sort_by(|(one, _), (other, _)| one.cmp(other));
        let schema =
            |field: &str| get(it, field).filter(|it| it.is_object()).map(|it| Box::new(Self::read(it)));
        let mut read = Self {
            types,
            flags,
            list_type: match text(it, "x-kubernetes-list-type") {
                "atomic" => ListType::Atomic,
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Unsaid,
            },
            additional: match get(it, "additionalProperties") {
                None => Additional::Unsaid,
                Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
                Some(schema) => Additional::Schema(Box::new(Self::read(schema))),
            },
            properties: properties.into(),
            items: schema("items"),
            default: get(it, "default").map(|default| Box::new(default.clone())),
            limits: limits(it, types).into(),
        };
        let has_rules = |schema: &Self| schema.flags.has(Flags::HAS_RULES);
        let any = !read.rules().is_empty()
            || read.properties().any(|(_, property)| has_rules(property))
            || read.items().is_some_and(has_rules)
            || read.additional_schema().is_some_and(has_rules);
        read.flags.set(Flags::HAS_RULES, any);
        read
    }

    /// About how many bytes the schema takes.
    pub fn size(&self) -> usize {
        let schemas = |list: &[Self]| list.iter().map(Self::size).sum::<usize>();
        let texts =
            |list: &[Box<str>]| list.iter().map(|text| size_of::<Box<str>>() + text.len()).sum::<usize>();
        let limits: usize = self
            .limits
            .iter()
            .map(|limit| {
                size_of::<Limit>()
                    + match limit {
                        Limit::Pattern(text) | Limit::Format(text) => text.len(),
                        Limit::Required(names) | Limit::ListMapKeys(names) => texts(names),
                        Limit::Enum(values) => values.iter().map(value_size).sum(),
                        Limit::Rules(rules) => rules.size(),
                        Limit::AllOf(list) | Limit::AnyOf(list) | Limit::OneOf(list) => schemas(list),
                        Limit::Not(schema) => schema.size(),
                        _ => 0,
                    }
            })
            .sum();
        let names: usize = self.properties.iter().map(|(name, _)| size_of::<Box<str>>() + name.len()).sum();
        size_of::<Self>()
            + limits
            + names
            + self.properties().map(|(_, property)| property.size()).sum::<usize>()
            + self.items().map_or(0, Self::size)
            + self.additional_schema().map_or(0, Self::size)
            + self.default_value().map_or(0, value_size)
    }
}

fn limits(it: &Value, types: Types) -> Vec<Limit> {
    let number = |field: &str| get(it, field).and_then(Value::as_f64);
    let count = |field: &str| get(it, field).and_then(Value::as_i64);
    let list = |field: &str| {
        get(it, field).and_then(Value::as_array).filter(|list| !list.is_empty()).map(Vec::as_slice)
    };
    let names = |field: &str| {
        list(field)
            .map(|list| list.iter().filter_map(Value::as_str).map(Into::into).collect::<Box<[Box<str>]>>())
    };
    let schemas = |field: &str| {
        list(field).map(|list| list.iter().map(Structural::read).collect::<Box<[Structural]>>())
    };
    let written = |field: &str| Some(text(it, field)).filter(|text| !text.is_empty());
    let mut limits = Vec::new();
    limits.extend(schemas("anyOf").map(Limit::AnyOf));
    limits.extend(schemas("oneOf").map(Limit::OneOf));
    limits.extend(schemas("allOf").map(Limit::AllOf));
    let not = get(it, "not").filter(|not| not.is_object());
    limits.extend(not.map(|not| Limit::Not(Box::new(Structural::read(not)))));
    limits.extend(count("maxLength").map(Limit::LengthMax));
    limits.extend(count("minLength").map(Limit::LengthMin));
    limits.extend(written("pattern").map(|pattern| Limit::Pattern(pattern.into())));
    let format = written("format").filter(|format| formats::is_known(format, types));
    limits.extend(format.map(|format| Limit::Format(format.into())));
    limits.extend(number("multipleOf").map(Limit::MultipleOf));
    let exclusive = is_on(it, "exclusiveMaximum");
    limits.extend(number("maximum").map(|bound| Limit::Maximum { bound, exclusive }));
    let exclusive = is_on(it, "exclusiveMinimum");
    limits.extend(number("minimum").map(|bound| Limit::Minimum { bound, exclusive }));
    limits.extend(count("minItems").map(Limit::ItemsMin));
    limits.extend(count("maxItems").map(Limit::ItemsMax));
    limits.extend(is_on(it, "uniqueItems").then_some(Limit::UniqueItems));
    limits.extend(list("enum").map(|values| Limit::Enum(values.into())));
    limits.extend(count("minProperties").map(Limit::PropertiesMin));
    limits.extend(count("maxProperties").map(Limit::PropertiesMax));
    limits.extend(names("required").map(Limit::Required));
    limits.extend(names("x-kubernetes-list-map-keys").map(Limit::ListMapKeys));
    limits.extend(list("x-kubernetes-validations").map(|rules| Limit::Rules(Box::new(Rules::of(rules)))));
    limits
}

fn get<'a>(it: &'a Value, field: &str) -> Option<&'a Value> {
    it.get(field).filter(|value| !value.is_null())
}

fn text<'a>(it: &'a Value, field: &str) -> &'a str {
    get(it, field).and_then(Value::as_str).unwrap_or_default()
}

fn is_on(it: &Value, field: &str) -> bool {
    get(it, field) == Some(&Value::Bool(true))
}

fn value_size(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(list) => list.iter().map(value_size).sum(),
            Value::Object(map) => {
                map.iter().map(|(key, value)| size_of::<String>() + key.len() + value_size(value)).sum()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

//! Which functions there are: a table of signatures, one line an overload, and how they are looked up.
//!
//! A line reads `function overload (arguments) -> result`, with `.` before the arguments for those called on their first
//! one. Capital letters stand for any one type. The order is that of upstream, since the first overload that fits
//! decides some results.

use std::{collections::BTreeMap, sync::LazyLock};

use crate::types::Type;

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<Overload>,
}

#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    /// How many types it leaves open; they are the variables from 0 in its signature.
    pub(crate) open: u32,
}

/// A function that every environment has.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    static FUNCTIONS: LazyLock<BTreeMap<&'static str, Function>> = LazyLock::new(|| read(TABLE));
    FUNCTIONS.get(name)
}

/// A function of `jsonpatch`, which only policies that change objects have.
pub(crate) fn find_json_patch(name: &str) -> Option<&'static Function> {
    static FUNCTIONS: LazyLock<BTreeMap<&'static str, Function>> =
        LazyLock::new(|| read("jsonpatch.escapeKey string_jsonpatch_escapeKey_string (string) -> string"));
    FUNCTIONS.get(name)
}

fn read(table: &'static str) -> BTreeMap<&'static str, Function> {
    let mut functions: BTreeMap<&'static str, Function> = BTreeMap::new();
    let mut add = |name: &'static str, id: &'static str, signature: &str| {
        let overload = signature_of(id, signature);
        functions
            .entry(name)
            .or_insert_with(|| Function { name, overloads: Vec::new() })
            .overloads
            .push(overload);
    };
    for line in table.lines().filter(|line| !line.is_empty()) {
        let Some((name, rest)) = line.split_once(' ') else { continue };
        let Some((id, signature)) = rest.split_once(' ') else { continue };
        add(name, id, signature);
    }
    functions
}

fn signature_of(id: &'static str, signature: &str) -> Overload {
    let member = signature.starts_with('.');
    let (args, result) = signature.trim_start_matches('.').split_once(" -> ").unwrap_or_default();
    let mut letters = Vec::new();
    let inner = args.strip_prefix('(').and_then(|it| it.strip_suffix(')')).unwrap_or_default();
    let args = split(inner).into_iter().map(|it| type_of(it, &mut letters)).collect();
    let result = type_of(result, &mut letters);
    Overload { id, member, args, result, open: u32::try_from(letters.len()).unwrap_or_default() }
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text.get(start..).unwrap_or_default().trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}

fn type_of<'t>(text: &'t str, letters: &mut Vec<&'t str>) -> Type {
    let (name, inner) = match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')').unwrap_or_default()),
        None => (text, ""),
    };
    let mut parts = split(inner).into_iter();
    let mut part = |letters: &mut Vec<&'t str>| type_of(parts.next().unwrap_or("dyn"), letters);
    match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "list" => Type::list(part(letters)),
        "map" => {
            let key = part(letters);
            Type::map(key, part(letters))
        }
        "optional" => Type::optional(part(letters)),
        "type" => Type::Type(Some(std::sync::Arc::new(part(letters)))),
        "IP" => Type::Opaque("net.IP", Vec::new()),
        "CIDR" => Type::Opaque("net.CIDR", Vec::new()),
        "URL" | "Quantity" | "Semver" | "NamedFormat" => Type::named(&format!("kubernetes.{name}")),
        "Authorizer" | "PathCheck" | "GroupCheck" | "ResourceCheck" | "Decision" => {
            Type::named(&format!("kubernetes.authorization.{name}"))
        }
        "A" | "B" | "K" | "V" | "T" => {
            let position = letters.iter().position(|it| *it == name).unwrap_or_else(|| {
                letters.push(name);
                letters.len() - 1
            });
            Type::Variable(u32::try_from(position).unwrap_or_default())
        }
        _ => Type::Dyn,
    }
}

const TABLE: &str = include_str!("functions.table");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        for line in TABLE.lines() {
            let name = line.split(' ').next().unwrap();
            let function = find(name).unwrap_or_else(|| panic!("{line}"));
            assert!(
                crate::library::implementation(name).is_some() || crate::plan::is_special(name),
                "{name}"
            );
            for overload in &function.overloads {
                assert!(
                    !matches!(overload.result, Type::Dyn) || line.ends_with("dyn") || line.contains("dyn"),
                    "{line}"
                );
            }
        }
        let function = find("_[_]").unwrap();
        assert_eq!(function.overloads[1].args[0].to_string(), "map(_var0, _var1)");
        assert_eq!(function.overloads[1].open, 2);
    }
}

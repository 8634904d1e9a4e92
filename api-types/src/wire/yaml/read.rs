//! From text to value.

use super::{
    Error,
    resolve::{Scalar, resolve, resolve_as},
};
use crate::wire::{DEPTH_KEPT_MAX, base64, go, json};
use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, StructureStyle, Tag};
use serde_json::{Map, Number, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What a text says.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The value. Of duplicate keys, the last one counts.
    pub value: Value,
    /// Upstream's message about duplicate keys, which strict field validation reports:
    /// `yaml: unmarshal errors:\n  line 7: key "a" already set in map`.
    pub duplicates: Option<String>,
}

/// Reads the first document of a text.
///
/// # Errors
/// The Go library's message.
pub fn to_value(text: &[u8]) -> Result<Read, Error> {
    let text = std::str::from_utf8(text).map_err(|_invalid| fault("invalid leading UTF-8 octet"))?;
    if !text.chars().all(is_allowed) {
        return Err(fault("control characters are not allowed"));
    }
    let nodes = Nodes::parse(text)?;
    let mut decoder =
        Decoder { nodes: &nodes, open: BTreeSet::new(), duplicates: Vec::new(), steps: 0, alias_steps: 0 };
    let value = match nodes.root {
        Some(root) => decoder.value(root, 0)?,
        None => Value::Null,
    };
    let duplicates = Some(decoder.duplicates.join("\n  ")).filter(|lines| !lines.is_empty());
    Ok(Read { value, duplicates: duplicates.map(|lines| format!("yaml: unmarshal errors:\n  {lines}")) })
}

fn fault(message: impl AsRef<str>) -> Error {
    Error(format!("yaml: {}", message.as_ref()))
}

fn is_allowed(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

// === nodes ===

struct Node {
    kind: Kind,
    /// Counted from one.
    line: usize,
}

enum Kind {
    Scalar {
        text: String,
        tag: Option<String>,
        is_plain: bool,
    },
    Sequence(Vec<usize>),
    /// Keys and values by turns.
    Mapping(Vec<usize>),
    Alias {
        to: usize,
        name: String,
    },
}

/// The first document as nodes that refer to each other by number.
struct Nodes {
    nodes: Vec<Node>,
    root: Option<usize>,
}

impl Nodes {
    fn parse(text: &str) -> Result<Self, Error> {
        let mut options = Options::default();
        options.emit_comments = false;
        options.emit_unresolved_aliases = true;
        options.flow_nesting_limit = DEPTH_KEPT_MAX;
        let mut it = Self { nodes: Vec::new(), root: None };
        let mut anchors = BTreeMap::new();
        let mut open: Vec<usize> = Vec::new();
        // How many collections were open when the outermost `[` or `{` began, if inside one.
        let mut flow_from: Option<usize> = None;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| Error(message(text, &error)))?;
            let line = span.start.line();
            let mut is_flow = false;
            let (kind, anchor, is_open) = match event {
                Event::DocumentEnd | Event::StreamEnd => return Ok(it),
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    flow_from = flow_from.filter(|from| *from < open.len());
                    continue;
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let (tag, is_plain) = (tag.as_deref().and_then(short), style == ScalarStyle::Plain);
                    (Kind::Scalar { text: text.into_owned(), tag, is_plain }, anchor, false)
                }
                Event::SequenceStart(style, anchor, _) => {
                    is_flow = style == StructureStyle::Flow;
                    (Kind::Sequence(Vec::new()), anchor, true)
                }
                Event::MappingStart(style, anchor, _) => {
                    is_flow = style == StructureStyle::Flow;
                    (Kind::Mapping(Vec::new()), anchor, true)
                }
                Event::Alias(anchor) => {
                    let name = text.get(span.byte_range().unwrap_or_default()).unwrap_or_default();
                    let name = name.trim_start_matches('*').to_owned();
                    let Some(to) = anchors.get(&anchor).copied() else {
                        return Err(fault(format!("unknown anchor '{name}' referenced")));
                    };
                    (Kind::Alias { to, name }, 0, false)
                }
                Event::UnresolvedAlias(name) => {
                    return Err(fault(format!("unknown anchor '{name}' referenced")));
                }
                _ => continue,
            };
            if flow_from.is_none() && is_indented_by_tab(text, span.start.byte_offset()) {
                let at = if line > 1 { format!("line {line}: ") } else { String::new() };
                return Err(fault(format!("{at}found character that cannot start any token")));
            }
            if is_flow {
                flow_from = flow_from.or(Some(open.len()));
            }
            let at = it.nodes.len();
            it.nodes.push(Node { kind, line });
            match open.last().and_then(|parent| it.nodes.get_mut(*parent)).map(|parent| &mut parent.kind) {
                Some(Kind::Sequence(children) | Kind::Mapping(children)) => children.push(at),
                _ => it.root = Some(at),
            }
            if anchor != 0 {
                anchors.insert(anchor, at);
            }
            if is_open {
                if open.len() >= DEPTH_KEPT_MAX {
                    return Err(fault("exceeded max depth"));
                }
                open.push(at);
            }
        }
        Ok(it)
    }

    fn get(&self, at: usize) -> &Node {
        // Numbers come from `parse` alone.
        &self.nodes[at]
    }

    /// An alias is what it stands for.
    fn is_mapping(&self, at: usize) -> bool {
        match &self.get(at).kind {
            Kind::Mapping(_) => true,
            Kind::Alias { to, .. } => matches!(self.get(*to).kind, Kind::Mapping(_)),
            Kind::Scalar { .. } | Kind::Sequence(_) => false,
        }
    }
}

/// A node begins its line behind a tab: this parser takes that, upstream's does not.
fn is_indented_by_tab(text: &str, start: Option<usize>) -> bool {
    let before = start.and_then(|start| text.get(..start)).unwrap_or_default();
    let line = before.rsplit(['\n', '\r']).next().unwrap_or_default();
    line.contains('\t') && line.trim().is_empty()
}

/// A tag as far as it matters: a core one without prefix, any other one as it is. The lone `!` says nothing.
fn short(tag: &Tag) -> Option<String> {
    let whole = format!("{}{}", tag.handle(), tag.suffix());
    match whole.strip_prefix("tag:yaml.org,2002:") {
        Some(core) => Some(core.to_owned()),
        None if whole == "!" => None,
        None => Some(format!("!{whole}")),
    }
}

// === decoding ===

struct Decoder<'n> {
    nodes: &'n Nodes,
    /// Aliases that are being expanded.
    open: BTreeSet<usize>,
    duplicates: Vec<String>,
    /// Values decoded, and those of them inside aliases.
    steps: usize,
    alias_steps: usize,
}

impl Decoder<'_> {
    fn value(&mut self, at: usize, depth: usize) -> Result<Value, Error> {
        if depth > DEPTH_KEPT_MAX {
            return Err(fault("exceeded max depth"));
        }
        self.count()?;
        let nodes = self.nodes;
        match &nodes.get(at).kind {
            Kind::Scalar { text, tag, is_plain } => json_scalar(scalar(text, tag.as_deref(), *is_plain)?),
            Kind::Sequence(children) => {
                let elements: Result<_, Error> =
                    children.iter().map(|child| self.value(*child, depth + 1)).collect();
                Ok(Value::Array(elements?))
            }
            Kind::Mapping(_) => {
                let mut into = Map::new();
                self.mapping(at, &mut into, &mut BTreeSet::new(), depth)?;
                Ok(Value::Object(into))
            }
            Kind::Alias { to, name } => self.inside_alias(at, name, |it| it.value(*to, depth + 1)),
        }
    }

    fn inside_alias<T>(
        &mut self,
        at: usize,
        name: &str,
        expand: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !self.open.insert(at) {
            return Err(fault(format!("anchor '{name}' value contains itself")));
        }
        let outcome = expand(self);
        self.open.remove(&at);
        outcome
    }

    /// Upstream's guard against a few lines that expand to gigabytes.
    fn count(&mut self) -> Result<(), Error> {
        const FEW: usize = 400_000;
        const MANY: usize = 4_000_000;
        self.steps += 1;
        if !self.open.is_empty() {
            self.alias_steps += 1;
        }
        // From 99 of 100 down to 10 of 100.
        let allowed_of_hundred = 99 - 89 * (self.steps.clamp(FEW, MANY) - FEW) / (MANY - FEW);
        if self.alias_steps > 100
            && self.steps > 1000
            && self.alias_steps * 100 > allowed_of_hundred * self.steps
        {
            return Err(fault("document contains excessive aliasing"));
        }
        Ok(())
    }

    /// Puts a mapping's keys into `into`. `seen` holds the keys as YAML has them, where 1 and "1" are two.
    fn mapping(
        &mut self,
        at: usize,
        into: &mut Map<String, Value>,
        seen: &mut BTreeSet<String>,
        depth: usize,
    ) -> Result<(), Error> {
        let nodes = self.nodes;
        let children = match &nodes.get(at).kind {
            Kind::Mapping(children) => children,
            Kind::Alias { to, name } => {
                return self.inside_alias(at, name, |it| it.mapping(*to, into, seen, depth + 1));
            }
            Kind::Scalar { .. } | Kind::Sequence(_) => return Err(want_map()),
        };
        for pair in children.chunks_exact(2) {
            let &[key, child] = pair else { continue };
            if self.is_merge(key) {
                self.merge(child, into, seen, depth)?;
                continue;
            }
            let (key, shown) = self.key(key, depth)?;
            let value = self.value(child, depth + 1)?;
            if !seen.insert(shown.clone()) {
                let line = nodes.get(child).line;
                self.duplicates.push(format!("line {line}: key {shown} already set in map"));
            }
            into.insert(key, value);
        }
        Ok(())
    }

    fn is_merge(&self, key: usize) -> bool {
        match &self.nodes.get(key).kind {
            Kind::Scalar { text, tag, is_plain } => {
                text == "<<" && (tag.as_deref() == Some("merge") || tag.is_none() && *is_plain)
            }
            _ => false,
        }
    }

    /// `<<`: the keys of another mapping, or of several, the first of which counts most.
    fn merge(
        &mut self,
        from: usize,
        into: &mut Map<String, Value>,
        seen: &mut BTreeSet<String>,
        depth: usize,
    ) -> Result<(), Error> {
        let nodes = self.nodes;
        if depth > DEPTH_KEPT_MAX {
            return Err(fault("exceeded max depth"));
        }
        self.count()?;
        let from = match &nodes.get(from).kind {
            Kind::Sequence(children) => children.clone(),
            _ => vec![from],
        };
        for one in from.into_iter().rev() {
            if !nodes.is_mapping(one) {
                return Err(want_map());
            }
            self.mapping(one, into, seen, depth + 1)?;
        }
        Ok(())
    }

    /// A key as JSON has it, and as Go shows it.
    fn key(&mut self, at: usize, depth: usize) -> Result<(String, String), Error> {
        let nodes = self.nodes;
        self.count()?;
        match &nodes.get(at).kind {
            Kind::Scalar { text, tag, is_plain } => Ok(match scalar(text, tag.as_deref(), *is_plain)? {
                Scalar::String(text) => {
                    let shown = go::quote(&text);
                    (text, shown)
                }
                Scalar::Bool(yes) => (yes.to_string(), yes.to_string()),
                Scalar::Int(number) => (number.to_string(), number.to_string()),
                Scalar::Uint(number) => return Err(unsupported_key("uint64", &format!("{number:#x}"))),
                Scalar::Float(number) => {
                    let shown = super::write::float(number);
                    (shown.clone(), shown)
                }
                Scalar::Null => return Err(unsupported_key("%!s(<nil>)", "<nil>")),
            }),
            Kind::Alias { to, name } => self.inside_alias(at, name, |it| it.key(*to, depth + 1)),
            Kind::Sequence(_) | Kind::Mapping(_) => {
                let shown = self.value(at, depth + 1)?;
                Err(fault(format!("invalid map key: {shown}")))
            }
        }
    }
}

fn want_map() -> Error {
    fault("map merge requires map or sequence of maps as the value")
}

fn unsupported_key(of: &str, key: &str) -> Error {
    Error(format!("unsupported map key of type: {of}, key: {key}"))
}

fn scalar(text: &str, tag: Option<&str>, is_plain: bool) -> Result<Scalar, Error> {
    match tag {
        None if is_plain => Ok(resolve(text)),
        None => Ok(Scalar::String(text.to_owned())),
        Some("binary") => {
            let bytes = base64::decode(text.as_bytes());
            let bytes = bytes.map_err(|_at| fault("!!binary value contains invalid base64 data"))?;
            Ok(Scalar::String(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Some(core @ ("str" | "bool" | "int" | "float" | "null" | "timestamp")) => {
            resolve_as(core, text).map_err(fault)
        }
        Some(_) => Ok(Scalar::String(text.to_owned())),
    }
}

fn json_scalar(scalar: Scalar) -> Result<Value, Error> {
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(yes) => Value::Bool(yes),
        Scalar::Int(number) => Value::from(number),
        Scalar::Uint(number) => Value::from(number),
        Scalar::String(text) => Value::String(text),
        Scalar::Float(number) => {
            let shown = match number {
                _ if number.is_nan() => "NaN",
                f64::INFINITY => "+Inf",
                _ => "-Inf",
            };
            let number: Option<Number> = json::from_float(number);
            Value::Number(number.ok_or_else(|| Error(format!("json: unsupported value: {shown}")))?)
        }
    })
}

// === errors ===

/// The Go library's words for what this parser found, as far as the two see the same thing.
fn message(text: &str, error: &ScanError) -> String {
    // Go's parser counts lines from zero and does not correct that; its scanner does, but not on the first line.
    let (found, is_parser) = match error.kind() {
        ErrorKind::ExpectedNodeContent => ("did not find expected node content".to_owned(), true),
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEof
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => (unclosed(text, error.kind()), true),
        ErrorKind::ExpectedBlockMappingKey => ("did not find expected key".to_owned(), true),
        ErrorKind::ExpectedFlowMappingSeparator => ("did not find expected ',' or '}'".to_owned(), true),
        ErrorKind::ExpectedFlowSequenceSeparator => ("did not find expected ',' or ']'".to_owned(), true),
        ErrorKind::ExpectedBlockSequenceEntry => ("did not find expected '-' indicator".to_owned(), true),
        ErrorKind::ExpectedDocumentStart => ("did not find expected <document start>".to_owned(), true),
        ErrorKind::UndeclaredTagHandle => ("found undefined tag handle".to_owned(), true),
        ErrorKind::DuplicateVersionDirective => ("found duplicate %YAML directive".to_owned(), true),
        ErrorKind::DuplicateTagDirective => ("found duplicate %TAG directive".to_owned(), true),
        ErrorKind::UnsupportedYamlMajorVersion => ("found incompatible YAML document".to_owned(), true),
        ErrorKind::MappingValueNotAllowed => {
            ("mapping values are not allowed in this context".to_owned(), false)
        }
        ErrorKind::MappingKeyNotAllowed => ("mapping keys are not allowed in this context".to_owned(), false),
        ErrorKind::BlockSequenceEntryNotAllowed => {
            ("block sequence entries are not allowed in this context".to_owned(), false)
        }
        ErrorKind::UnexpectedCharacter { .. }
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation => {
            ("found character that cannot start any token".to_owned(), false)
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("could not find expected ':'".to_owned(), false)
        }
        ErrorKind::UnclosedQuotedScalar => ("found unexpected end of stream".to_owned(), false),
        ErrorKind::DocumentIndicatorInQuotedScalar => {
            ("found unexpected document indicator".to_owned(), false)
        }
        ErrorKind::UnknownQuotedScalarEscape => ("found unknown escape character".to_owned(), false),
        ErrorKind::InvalidQuotedScalarHexEscape => {
            ("did not find expected hexdecimal number".to_owned(), false)
        }
        ErrorKind::MissingAnchorOrAliasName => {
            ("did not find expected alphabetic or numeric character".to_owned(), false)
        }
        ErrorKind::InvalidBlockScalarHeader => {
            ("did not find expected comment or line break".to_owned(), false)
        }
        ErrorKind::ZeroBlockScalarIndent => ("found an indentation indicator equal to 0".to_owned(), false),
        ErrorKind::RecursionLimitExceeded => ("exceeded max depth".to_owned(), false),
        other => (other.to_string(), false),
    };
    let lines_before = error.marker().line().saturating_sub(1);
    // Go ends the last line before it reports what is missing at the end.
    let at_end = error.marker().line() > text.lines().count() || is_end(text, error);
    let line = match (is_parser, lines_before) {
        (true, before) if at_end => text.lines().count().max(before),
        (true, before) => before,
        (false, 0) => 0,
        (false, before) => before + 1,
    };
    if line == 0 { format!("yaml: {found}") } else { format!("yaml: line {line}: {found}") }
}

/// What is missing in a bracket that the text does not close.
fn unclosed(text: &str, kind: &ErrorKind) -> String {
    if text.trim_end().ends_with(['[', '{', ',', ':']) {
        return "did not find expected node content".to_owned();
    }
    let close = match kind {
        ErrorKind::UnclosedFlowCollection { open: '{' }
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => '}',
        _ => ']',
    };
    format!("did not find expected ',' or '{close}'")
}

fn is_end(text: &str, error: &ScanError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnclosedFlowCollection { .. }
            | ErrorKind::UnexpectedEof
            | ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofImplicitFlowMapping
    ) || error.marker().byte_offset().is_some_and(|at| at >= text.trim_end().len())
}

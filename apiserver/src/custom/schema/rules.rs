//! The rules of `x-kubernetes-validations`: compiled when they are first needed, and evaluated on every write within a
//! budget.
//!
//! Texts, costs and what is let through for being unchanged are those of KEP-2876 (CRD validation expression language) and
//! KEP-4008 (ratcheting).

use std::sync::OnceLock;

use api_types::field::{BadValue, Fault, FaultKind, Faults, Path, go_quote};
use cel::{
    Activation, Declared, Environment, EvalError, LONGEST_MESSAGE, PER_CALL_LIMIT, Program, Type,
    Value as Expressed,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Additional, Flags, Limit, ListType, Structural,
    metadata::printed,
    ratchet::{Correlated, OldItems},
};

/// What all rules of an object may cost together.
const BUDGET: u64 = 10_000_000;
const SELF: &str = "self";
const OLD_SELF: &str = "oldSelf";
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of one schema.
#[derive(Debug)]
pub(super) struct Rules {
    written: Box<[Rule]>,
    compiled: OnceLock<Result<Set, String>>,
}

/// A rule as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) message: String,
    pub(super) message_expression: String,
    reason: Option<String>,
    field_path: String,
    pub(super) optional_old_self: Option<bool>,
}

/// The compiled rules of one schema, and the shape of what they look at.
#[derive(Debug)]
pub(super) struct Set {
    declared: std::sync::Arc<Declared>,
    pub(super) rules: Vec<Compiled>,
}

/// A compiled rule, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Compiled {
    /// None for a rule that says nothing.
    pub(super) program: Option<Result<Program, String>>,
    pub(super) message: Option<Result<Program, String>>,
    /// Where a fault is told of, from here.
    field: String,
}

impl Rules {
    pub(super) fn of(written: &[Value]) -> Self {
        let written = written.iter().map(|rule| serde_json::from_value(rule.clone()).unwrap_or_default());
        Self { written: written.collect(), compiled: OnceLock::new() }
    }

    pub(super) fn written(&self) -> &[Rule] {
        &self.written
    }

    pub(super) fn size(&self) -> usize {
        let texts = |rule: &Rule| rule.rule.len() + rule.message.len() + rule.message_expression.len();
        self.written.iter().map(|rule| size_of::<Rule>() + texts(rule)).sum()
    }

    fn compiled(&self, schema: &Structural, is_root: bool) -> &Result<Set, String> {
        self.compiled.get_or_init(|| Set::compile(schema, &self.written, is_root))
    }
}

// === impl Set ===

impl Set {
    /// Compiles the rules of a schema, each by itself.
    ///
    /// # Errors
    /// Why none can be.
    pub(super) fn compile(schema: &Structural, rules: &[Rule], is_root: bool) -> Result<Self, String> {
        let declared = cel::schema::declare(&schema.declaration(), is_root, "selfType")
            .ok_or("failed to convert to declType for CEL validation rules")?;
        let base = Environment::new().with_declared(SELF, &declared).with_type(&declared);
        let plain = base.clone().with_declared(OLD_SELF, &declared);
        let optional = base.with_optional(OLD_SELF, &declared);
        let rules = rules.iter().map(|rule| {
            let environment = if rule.optional_old_self == Some(true) { &optional } else { &plain };
            compile(environment, rule, schema)
        });
        Ok(Self { rules: rules.collect(), declared })
    }

    /// How often data of this shape can occur in a request.
    pub(super) fn cardinality_max(&self) -> u64 {
        cel::schema::max_cardinality(&self.declared)
    }
}

fn compile(environment: &Environment, rule: &Rule, schema: &Structural) -> Compiled {
    let mut compiled = Compiled { program: None, message: None, field: String::new() };
    if rule.rule.trim().is_empty() {
        return compiled;
    }
    let program = match environment.compile(&rule.rule) {
        Err(errors) => Err(format!("{}: {errors}", errors.stage())),
        Ok(program) if !program.output().is(&Type::Bool) => {
            Err("cel expression must evaluate to a bool".to_owned())
        }
        Ok(program) => Ok(program),
    };
    let fits = program.is_ok();
    compiled.program = Some(program);
    if !fits {
        return compiled;
    }
    if !rule.message_expression.is_empty() {
        compiled.message = Some(match environment.compile(&rule.message_expression) {
            Err(errors) => {
                let stage = errors.stage().strip_prefix("program ").unwrap_or(errors.stage());
                Err(format!("messageExpression {stage}: {errors}"))
            }
            Ok(program) if !program.output().is(&Type::String) => {
                Err("messageExpression must evaluate to a string".to_owned())
            }
            Ok(program) => Ok(program),
        });
    }
    compiled.field = normalized(&rule.field_path, schema);
    compiled
}

// === impl Compiled ===

impl Compiled {
    pub(super) fn program(&self) -> Option<&Program> {
        self.program.as_ref().and_then(|program| program.as_ref().ok())
    }

    pub(super) fn uses_old(&self) -> bool {
        self.program().is_some_and(|program| program.uses(OLD_SELF))
    }
}

// === impl Rule ===

impl Rule {
    /// The rule as messages call it.
    fn name(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }

    fn default_message(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.name()) } else { self.name().to_owned() }
    }

    fn fault(&self, path: &Path, value: BadValue, detail: String) -> Fault {
        match self.reason.as_deref() {
            Some("FieldValueForbidden") => Fault::forbidden(path, detail),
            Some("FieldValueRequired") => Fault::required(path, detail),
            Some("FieldValueDuplicate") => Fault::duplicate(path, value),
            _ => Fault::invalid(path, value, detail),
        }
    }

    /// The rule as upstream prints it when it refuses it: the fields of its struct.
    pub(super) fn printed(&self) -> BadValue {
        let text = |text: &str| Value::from(text).to_string();
        let reason = self.reason.as_deref().map_or("null".to_owned(), text);
        let optional = self.optional_old_self.map_or("null".to_owned(), |it| it.to_string());
        BadValue::Plain(format!(
            r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{reason},"FieldPath":{},"OptionalOldSelf":{optional}}}"#,
            text(&self.rule),
            text(&self.message),
            text(&self.message_expression),
            text(&self.field_path),
        ))
    }
}

/// A field path in the form that faults have: names after dots, keys of maps in brackets.
fn normalized(path: &str, schema: &Structural) -> String {
    let (mut rest, mut at, mut normalized) = (path, Some(schema), Path::root());
    while let Some(here) = at.filter(|_| !rest.is_empty()) {
        let name = if let Some(quoted) = rest.strip_prefix("['") {
            let Some((name, behind)) = quoted.split_once("']") else { break };
            rest = behind;
            name.replace("\\'", "'").replace("\\\\", "\\")
        } else {
            let Some(plain) = rest.strip_prefix('.') else { break };
            let end = plain.find(['.', '[']).unwrap_or(plain.len());
            let (name, behind) = plain.split_at(end);
            rest = behind;
            name.to_owned()
        };
        if here.properties.is_empty() {
            normalized = normalized.key(&name);
            at = here.additional_schema();
        } else {
            normalized = normalized.child(&name);
            at = here.property(&name);
        }
    }
    normalized.as_str().to_owned()
}

// === evaluation ===

/// What came of evaluating rules.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) faults: Faults,
    /// Faults that are let through, because nothing changed where they are.
    pub(super) let_through: Vec<String>,
}

/// What a value, or the nearest part around it that can be told, came from.
#[derive(Clone, Copy, Default)]
struct Ratchet<'a> {
    here: Option<Correlated<'a>>,
    around: Option<Correlated<'a>>,
}

/// A value on the way through an object.
struct At<'a> {
    schema: &'a Structural,
    value: &'a Value,
    old: Option<&'a Value>,
    path: Path,
    is_root: bool,
    ratchet: Ratchet<'a>,
}

/// Nothing more is evaluated.
struct Ended;

struct Walk {
    judged: Judged,
    left: u64,
}

impl Structural {
    /// What the rules have against a value. `ratcheted` if what was wrong with the old one too is let through.
    pub(super) fn judge_rules(
        &self,
        path: &Path,
        value: &Value,
        old: Option<&Value>,
        ratcheted: bool,
        is_root: bool,
    ) -> Judged {
        let mut walk = Walk { judged: Judged::default(), left: BUDGET };
        if self.flags.has(Flags::HAS_RULES) {
            let here = old.filter(|_| ratcheted).map(|old| Correlated { new: value, old, schema: self });
            let ratchet = Ratchet { here, around: None };
            let _ended = walk.visit(&At { schema: self, value, old, path: path.clone(), is_root, ratchet });
        }
        walk.judged
    }

    fn own_rules(&self) -> Option<&Rules> {
        self.limits
            .iter()
            .find_map(|limit| if let Limit::Rules(rules) = limit { Some(rules.as_ref()) } else { None })
    }

    /// The schema as far as expressions see of it.
    fn declaration(&self) -> Value {
        let mut declared = Map::new();
        let mut put = |field: &str, value: Value| {
            declared.insert(field.to_owned(), value);
        };
        if let Some(name) = self.type_name() {
            put("type", name.into());
        }
        for (field, flag) in [
            ("nullable", Flags::NULLABLE),
            ("x-kubernetes-embedded-resource", Flags::EMBEDDED),
            ("x-kubernetes-int-or-string", Flags::INT_OR_STRING),
            ("x-kubernetes-preserve-unknown-fields", Flags::PRESERVE_UNKNOWN),
        ] {
            if self.flags.has(flag) {
                put(field, true.into());
            }
        }
        match self.list_type {
            ListType::Set => put("x-kubernetes-list-type", "set".into()),
            ListType::Map => put("x-kubernetes-list-type", "map".into()),
            ListType::Unsaid | ListType::Atomic => {}
        }
        if !self.properties.is_empty() {
            let properties = self.properties().map(|(name, it)| (name.to_owned(), it.declaration()));
            put("properties", Value::Object(properties.collect()));
        }
        match &self.additional {
            Additional::Unsaid => {}
            Additional::Allowed(allowed) => put("additionalProperties", (*allowed).into()),
            Additional::Schema(schema) => put("additionalProperties", schema.declaration()),
        }
        if let Some(items) = self.items() {
            put("items", items.declaration());
        }
        if let Some(default) = self.default_value() {
            put("default", default.clone());
        }
        for limit in &self.limits {
            match limit {
                Limit::LengthMax(max) => put("maxLength", (*max).into()),
                Limit::ItemsMax(max) => put("maxItems", (*max).into()),
                Limit::PropertiesMax(max) => put("maxProperties", (*max).into()),
                Limit::Format(format) => put("format", format.as_ref().into()),
                Limit::Required(names) => put("required", json!(names)),
                Limit::ListMapKeys(keys) => put("x-kubernetes-list-map-keys", json!(keys)),
                Limit::Enum(values) => put("enum", json!(values)),
                _ => {}
            }
        }
        Value::Object(declared)
    }
}

// === impl Ratchet ===

impl<'a> Ratchet<'a> {
    fn is_unchanged(&self) -> bool {
        self.here.or(self.around).is_some_and(|correlated| correlated.is_unchanged())
    }

    fn field(&self, name: &str) -> Self {
        match self.here {
            None => *self,
            // Old and new are in one version here, so a change of these does not show.
            Some(_) if self.around.is_none() && matches!(name, "apiVersion" | "kind") => Self::default(),
            Some(here) => Self { here: here.field(name), around: Some(here) },
        }
    }

    fn item(&self, item: &'a Value, old: Option<&OldItems<'a>>) -> Self {
        match self.here {
            None => *self,
            Some(here) => Self { here: old.and_then(|old| old.of_item(item)), around: Some(here) },
        }
    }
}

// === impl Walk ===

impl Walk {
    fn visit(&mut self, at: &At<'_>) -> Result<(), Ended> {
        if at.value.is_null() || !at.schema.flags.has(Flags::HAS_RULES) {
            return Ok(());
        }
        if let Some(rules) = at.schema.own_rules() {
            self.evaluate(at, rules)?;
        }
        match at.value {
            Value::Array(list) => {
                let Some(items) = at.schema.items() else { return Ok(()) };
                let old = at.old.and_then(|old| OldItems::of(old, at.schema));
                let correlated = at.ratchet.here.and_then(|here| here.old_items());
                for (index, item) in list.iter().enumerate() {
                    self.visit(&At {
                        schema: items,
                        value: item,
                        old: old.as_ref().and_then(|old| old.of_item(item)).map(|found| found.old),
                        path: at.path.index(index),
                        is_root: items.is_embedded(),
                        ratchet: at.ratchet.item(item, correlated.as_ref()),
                    })?;
                }
                Ok(())
            }
            Value::Object(map) => {
                let field = |name: &str, schema, value, path| At {
                    schema,
                    value,
                    old: at.old.and_then(|old| old.get(name)),
                    path,
                    is_root: Structural::is_embedded(schema),
                    ratchet: at.ratchet.field(name),
                };
                if let Some(additional) = at.schema.additional_schema() {
                    for (name, value) in map {
                        self.visit(&field(name, additional, value, at.path.key(name)))?;
                    }
                }
                for (name, value) in map {
                    if let Some(property) = at.schema.property(name) {
                        self.visit(&field(name, property, value, at.path.child(name)))?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn evaluate(&mut self, at: &At<'_>, rules: &Rules) -> Result<(), Ended> {
        let kind = at.schema.type_name().unwrap_or_default();
        let invalid = |detail: String| Fault::invalid(&at.path, kind, detail);
        let set = match rules.compiled(at.schema, at.is_root) {
            Ok(set) => set,
            Err(why) => {
                self.judged.faults.push(invalid(format!("rule compiler initialization error: {why}")));
                return Ok(());
            }
        };
        if self.left == 0 {
            self.judged.faults.push(invalid(OUT_OF_BUDGET.to_owned()));
            return Err(Ended);
        }
        let old = at.old.filter(|old| !old.is_null());
        let this = Expressed::declared(at.value, &set.declared);
        let before = old.map(|old| Expressed::declared(old, &set.declared)).transpose();
        for (rule, compiled) in rules.written.iter().zip(&set.rules) {
            let program = match &compiled.program {
                None => continue,
                Some(Err(why)) => {
                    self.judged.faults.push(invalid(format!("rule compile error: {why}")));
                    continue;
                }
                Some(Ok(program)) => program,
            };
            let optional = rule.optional_old_self == Some(true);
            let uses_old = compiled.uses_old();
            if uses_old && old.is_none() && !optional {
                continue;
            }
            let activation = match (&this, &before) {
                (Ok(this), Ok(before)) => {
                    let activation = Activation::default().with(SELF, this.clone());
                    match (optional, before) {
                        (true, before) => activation
                            .with(OLD_SELF, Expressed::Optional(before.clone().map(std::sync::Arc::new))),
                        (false, Some(before)) => activation.with(OLD_SELF, before.clone()),
                        (false, None) => activation,
                    }
                }
                (Err(error), _) | (_, Err(error)) => {
                    self.judged.faults.push(invalid(format!("{error} evaluating rule: {}", rule.name())));
                    continue;
                }
            };
            let evaluation = program.evaluate_within(&activation, PER_CALL_LIMIT);
            let Some(left) = self.left.checked_sub(evaluation.cost) else {
                self.judged.faults.push(invalid(OUT_OF_BUDGET.to_owned()));
                return Err(Ended);
            };
            self.left = left;
            match evaluation.result {
                Ok(value) if value.as_bool() == Some(true) => continue,
                Ok(_) => {}
                Err(error) => {
                    let ends = error.is_cost_exceeded();
                    self.judged.faults.push(invalid(evaluation_error(&error, rule)));
                    if ends {
                        return Err(Ended);
                    }
                    continue;
                }
            }
            let path =
                if compiled.field.is_empty() { at.path.clone() } else { at.path.child(&compiled.field) };
            let let_through = !uses_old && at.ratchet.is_unchanged();
            let mut add = |fault: Fault| {
                if let_through {
                    self.judged.let_through.push(fault.to_string());
                } else {
                    self.judged.faults.push(fault);
                }
            };
            let message = match &compiled.message {
                Some(Ok(program)) => {
                    made_message(program, &rule.message_expression, &activation, &mut self.left)
                }
                _ => Message::Unsaid,
            };
            let detail = match message {
                Message::Said(text) => text,
                Message::Unsaid => rule.default_message(),
                Message::TooExpensive(why) => {
                    add(Fault::invalid(&path, kind, why));
                    return Err(Ended);
                }
            };
            let value = match kind {
                "object" | "array" => BadValue::Omitted,
                _ => printed(at.value),
            };
            add(rule.fault(&path, value, detail));
        }
        Ok(())
    }
}

fn evaluation_error(error: &EvalError, rule: &Rule) -> String {
    let (text, name) = (error.to_string(), rule.name());
    if text.starts_with("no such overload") {
        format!(
            "'{text}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
        )
    } else if error.is_cost_exceeded() {
        format!(
            "'{text}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
        )
    } else {
        format!("{text} evaluating rule: {name}")
    }
}

/// What a message expression made.
enum Message {
    Said(String),
    /// Nothing that could be told.
    Unsaid,
    /// It ends the evaluation.
    TooExpensive(String),
}

fn made_message(program: &Program, source: &str, activation: &Activation<'_>, left: &mut u64) -> Message {
    let evaluation = program.evaluate_within(activation, PER_CALL_LIMIT);
    let Some(rest) = left.checked_sub(evaluation.cost) else {
        let why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
        return Message::TooExpensive(why.to_owned());
    };
    let value = match evaluation.result {
        Err(error) if error.is_cost_exceeded() => {
            let source = go_quote(source);
            return Message::TooExpensive(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {source}"
            ));
        }
        value => value,
    };
    *left = rest;
    let text = value.ok().and_then(|value| value.as_str().map(|text| text.trim().to_owned()));
    match text {
        Some(text) if !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n') => {
            Message::Said(text)
        }
        _ => {
            tracing::debug!(source, "a message expression made no message");
            Message::Unsaid
        }
    }
}

/// The fault that tells that rules were not evaluated: types and sizes could not be relied on.
pub(super) fn not_checked() -> Fault {
    let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    Fault::invalid(&Path::root(), BadValue::Json(Value::Null), detail)
}

/// Whether rules are not evaluated because of a fault.
pub(super) fn is_blocking(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::NotSupported
            | FaultKind::Required
            | FaultKind::TooLong
            | FaultKind::TooMany
            | FaultKind::TypeInvalid
    )
}

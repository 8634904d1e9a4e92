//! Judging a value by its schema.
//!
//! The order of steps, what ends what, and which of several alternatives is told of are those of upstream's validator
//! (kube-openapi's `validate`): people and tests match on its messages.

use api_types::field::{Faults, Path, go_quote};
use serde_json::{Map, Number, Value};

use super::{
    Additional, Flags, Limit, Structural, Types, formats,
    messages::{BadFactor, Finding, Outcome},
    numbers::{self, Figure},
    pattern,
    ratchet::Correlated,
    rules,
};

/// What a write is, as validation sees it.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A new object.
    Create,
    /// A changed object, and what it was.
    Update(&'a Value),
    /// An object of which only the status changed, and what it was.
    Status(&'a Value),
}

/// Where in a value the walk is. Rendered only when something is wrong.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Property(&'a str),
    Additional(&'a str),
    Item(usize),
}

impl Structural {
    /// What is wrong with a custom object by its schema, in upstream's order. `before` are the faults of its metadata,
    /// `scale` those of what the scale subresource points at.
    pub fn validate(
        &self,
        object: &Value,
        change: Change<'_>,
        before: Faults,
        scale: impl FnOnce() -> Faults,
    ) -> Faults {
        self.validate_with_warnings(object, change, before, scale).0
    }

    /// The same, with what is let through because it was so before.
    pub fn validate_with_warnings(
        &self,
        object: &Value,
        change: Change<'_>,
        before: Faults,
        scale: impl FnOnce() -> Faults,
    ) -> (Faults, Vec<String>) {
        let mut faults = before;
        match change {
            Change::Create => faults.extend(self.value_faults(&Path::root(), object, None)),
            Change::Update(old) => faults.extend(self.value_faults(&Path::root(), object, Some(old))),
            Change::Status(old) => {
                if let (Some(status), Some(schema)) = (object.get("status"), self.property("status")) {
                    faults.extend(schema.value_faults(&Path::new("status"), status, old.get("status")));
                }
            }
        }
        faults.extend(scale());
        if !matches!(change, Change::Status(_)) {
            faults.extend(self.embedded_faults(&Path::root(), object, self.is_embedded()));
        }
        let repeated = self.list_faults(object);
        let was_repeated = |old: &Value| !self.list_faults(old).is_empty();
        match change {
            Change::Update(old) | Change::Status(old) if !repeated.is_empty() && was_repeated(old) => {}
            _ => faults.extend(repeated),
        }
        if !self.flags.has(Flags::HAS_RULES) {
            return (faults, Vec::new());
        }
        if faults.iter().any(rules::is_blocking) {
            faults.push(rules::not_checked());
            return (faults, Vec::new());
        }
        let old = match change {
            Change::Create => None,
            Change::Update(old) | Change::Status(old) => Some(old),
        };
        let judged = self.judge_rules(&Path::root(), object, old, true, true);
        faults.extend(judged.faults);
        (faults, judged.let_through)
    }

    /// What is wrong with a value. What was wrong with the old one too, and did not change, is let through.
    pub(super) fn value_faults(&self, base: &Path, value: &Value, old: Option<&Value>) -> Faults {
        let root = Place { parent: None, step: Step::Root };
        let correlated = old.map(|old| Correlated { new: value, old, schema: self });
        judge(self, value, root, correlated).into_faults(base)
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    fn within(&'a self, step: Step<'a>) -> Self {
        Self { parent: Some(self), step }
    }

    fn text(&self) -> String {
        let mut text = self.parent.map(Place::text).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Property(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            // At the root this begins with a dot, as upstream's does.
            Step::Additional(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
        text
    }

    fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }
}

// === the walk ===

fn judge(
    schema: &Structural,
    value: &Value,
    place: Place<'_>,
    correlated: Option<Correlated<'_>>,
) -> Outcome {
    let mut outcome = Outcome::default();
    if value.is_null() {
        outcome.merge(type_outcome(schema, value, &place));
        outcome.merge(enum_outcome(schema, value, &place));
    } else {
        let format = schema.format();
        if !schema.types.is_unsaid() || format.is_some() {
            step(&mut outcome, type_outcome(schema, value, &place));
        }
        step(&mut outcome, junctor_outcome(schema, value, &place));
        match value {
            Value::String(text) => {
                step(&mut outcome, text_outcome(schema, text, &place));
                if let Some(format) = format.filter(|format| formats::is_of_text(format)) {
                    step(&mut outcome, format_outcome(format, text, &place));
                }
            }
            Value::Number(number) => step(&mut outcome, number_outcome(schema, number, &place)),
            Value::Array(list) => step(&mut outcome, list_outcome(schema, list, &place, correlated.as_ref())),
            Value::Null | Value::Bool(_) | Value::Object(_) => {}
        }
        step(&mut outcome, enum_outcome(schema, value, &place));
        if let Value::Object(map) = value {
            step(&mut outcome, object_outcome(schema, map, &place, correlated.as_ref()));
        }
        outcome.matches += 1;
        if schema.has_junctor() {
            outcome.dedup();
        }
    }
    if !outcome.is_valid() && correlated.is_some_and(|correlated| correlated.is_unchanged()) {
        outcome.findings.clear();
    }
    outcome
}

fn step(outcome: &mut Outcome, of_step: Outcome) {
    outcome.merge(of_step);
    outcome.matches += 1;
}

impl Structural {
    fn format(&self) -> Option<&str> {
        self.limits
            .iter()
            .find_map(|limit| if let Limit::Format(format) = limit { Some(format.as_ref()) } else { None })
    }

    fn has_junctor(&self) -> bool {
        let is_junctor = |limit: &Limit| {
            matches!(limit, Limit::AllOf(_) | Limit::AnyOf(_) | Limit::OneOf(_) | Limit::Not(_))
        };
        self.limits.iter().any(is_junctor)
    }
}

/// The JSON type of a value, and the format that upstream takes it for.
fn type_of(value: &Value) -> (Types, &'static str) {
    match value {
        Value::Null => (Types::NULL, ""),
        Value::Bool(_) => (Types::BOOLEAN, ""),
        Value::Number(number) => match Figure::of(number) {
            Figure::Integer(_) => (Types::INTEGER, "int64"),
            Figure::Float(_) => (Types::NUMBER, "float64"),
        },
        Value::String(_) => (Types::STRING, ""),
        Value::Array(_) => (Types::ARRAY, ""),
        Value::Object(_) => (Types::OBJECT, ""),
    }
}

fn type_outcome(schema: &Structural, value: &Value, place: &Place<'_>) -> Outcome {
    let met = Outcome { findings: Vec::new(), matches: 1 };
    let wanted = schema.types;
    let wrong = |wanted: &str, given: &str| Outcome::of(Finding::wrong_type(place.text(), wanted, given));
    if value.is_null() {
        let fits = wanted.is_unsaid() || wanted.contains(Types::NULL) || schema.is_nullable();
        return if fits { met } else { wrong(&wanted.text(), "null") };
    }
    let (given, given_format) = type_of(value);
    let is_whole_float = matches!(value, Value::Number(number)
        if matches!(Figure::of(number), Figure::Float(float) if numbers::is_json_integer(float)))
        && wanted.contains(Types::INTEGER);
    let is_integer_as_number = given == Types::INTEGER && wanted.contains(Types::NUMBER);
    let fits = wanted.contains(given) || is_whole_float || is_integer_as_number;
    let is_text_or_list = given == Types::STRING || given == Types::ARRAY;
    if let Some(format) = schema.format() {
        if !is_text_or_list && !fits && format != given_format {
            return wrong(format, given_format);
        }
        if is_text_or_list && !wanted.contains(Types::NUMBER) && !wanted.contains(Types::INTEGER) {
            return met;
        }
    }
    if fits { met } else { wrong(&wanted.text(), &given.text()) }
}

fn enum_outcome(schema: &Structural, value: &Value, place: &Place<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for limit in &schema.limits {
        let Limit::Enum(allowed) = limit else { continue };
        if !allowed.iter().any(|allowed| is_same(value, allowed)) {
            outcome.findings.push(Finding::not_in_enum(place.text(), value, allowed));
        }
    }
    outcome
}

/// Whether a value is one of an enumeration, once it is brought into that one's type. Null never is.
fn is_same(value: &Value, allowed: &Value) -> bool {
    match (value, allowed) {
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Number(value), Value::Number(allowed)) => match (Figure::of(value), Figure::of(allowed)) {
            (value, Figure::Float(allowed)) => value.as_f64() == allowed,
            (Figure::Integer(value), Figure::Integer(allowed)) => value == allowed,
            (Figure::Float(value), Figure::Integer(allowed)) => numbers::truncated(value) == allowed,
        },
        (value, allowed) => value == allowed,
    }
}

fn text_outcome(schema: &Structural, text: &str, place: &Place<'_>) -> Outcome {
    // The first fault ends the step.
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    for limit in &schema.limits {
        match limit {
            Limit::LengthMax(max) if length > *max => {
                return Outcome::of(Finding::too_long(place.text(), *max));
            }
            Limit::LengthMin(min) if length < *min => {
                let says = format!("should be at least {min} chars long");
                return Outcome::of(Finding::invalid(place.text(), text.into(), &says));
            }
            Limit::Pattern(pattern) => {
                let says = match pattern::compile(pattern) {
                    Ok(regex) if regex.is_match(text) => continue,
                    Ok(_) => format!("should match '{pattern}'"),
                    Err(wrong) => format!("should match '{pattern}, but pattern is invalid: {wrong}'"),
                };
                return Outcome::of(Finding::invalid(place.text(), text.into(), &says));
            }
            _ => {}
        }
    }
    Outcome::default()
}

fn format_outcome(format: &str, text: &str, place: &Place<'_>) -> Outcome {
    if formats::keeps(format, text) {
        return Outcome::default();
    }
    Outcome::of(Finding::wrong_type(place.text(), format, text))
}

fn number_outcome(schema: &Structural, number: &Number, place: &Place<'_>) -> Outcome {
    let figure = Figure::of(number);
    let single = schema.types.single();
    let is_integer = single == Some(Types::INTEGER);
    let format = schema.format().filter(|format| match *format {
        "int32" | "int64" => is_integer,
        "float" | "double" => single == Some(Types::NUMBER),
        _ => false,
    });
    // What a bound must be itself to be compared as an integer.
    let out_of_range = |figure: Figure, what: &str| {
        let fits = match (is_integer, format) {
            (true, Some("int32")) => figure.is_integer_of(32),
            (true, _) => figure.is_integer_of(64),
            (false, Some("float")) => figure.is_single(),
            (false, _) => true,
        };
        let kind = if is_integer { "integer" } else { "number" };
        let shown =
            format.map_or_else(|| "(default format)".to_owned(), |format| format!("with format {format}"));
        (!fits).then(|| {
            Finding::plain(format!("{what} value must be of type {kind} {shown} in {}", place.text()))
        })
    };
    let mut outcome = Outcome { findings: Vec::new(), matches: 1 };
    outcome.findings.extend(out_of_range(figure, "Checked"));
    let value = || Value::Number(number.clone());
    let (mut of_maximum, mut of_minimum) = (Vec::new(), Vec::new());
    for limit in &schema.limits {
        match limit {
            Limit::MultipleOf(factor) => {
                let wrong = out_of_range(Figure::Float(*factor), "MultipleOf");
                let exact = wrong.is_none();
                outcome.findings.extend(wrong);
                outcome.findings.extend(multiple_finding(figure, *factor, exact, &value, place));
            }
            Limit::Maximum { bound, exclusive } => {
                let wrong = out_of_range(Figure::Float(*bound), "Maximum boundary");
                let bound = Bound::of(*bound, figure, wrong.is_none());
                of_maximum.extend(wrong);
                if bound.is_below(figure, *exclusive) {
                    let than = if *exclusive { "less than" } else { "less than or equal to" };
                    let says = format!("should be {than} {}", bound.text());
                    of_maximum.push(Finding::invalid(place.text(), value(), &says));
                }
            }
            Limit::Minimum { bound, exclusive } => {
                let wrong = out_of_range(Figure::Float(*bound), "Minimum boundary");
                let bound = Bound::of(*bound, figure, wrong.is_none());
                of_minimum.extend(wrong);
                if bound.is_above(figure, *exclusive) {
                    let than = if *exclusive { "greater than" } else { "greater than or equal to" };
                    let says = format!("should be {than} {}", bound.text());
                    of_minimum.push(Finding::invalid(place.text(), value(), &says));
                }
            }
            _ => {}
        }
    }
    outcome.findings.extend(of_minimum);
    outcome.findings.extend(of_maximum);
    outcome
}

/// A bound in the type in which it is compared: integers with integers, if the bound is one.
#[derive(Clone, Copy)]
struct Bound(Figure);

impl Bound {
    fn of(bound: f64, value: Figure, exact: bool) -> Self {
        Self(match value {
            Figure::Integer(_) if exact => Figure::Integer(numbers::truncated(bound)),
            _ => Figure::Float(bound),
        })
    }

    fn is_below(self, value: Figure, exclusive: bool) -> bool {
        match (self.0, value) {
            (Figure::Integer(bound), Figure::Integer(value)) => value > bound || exclusive && value == bound,
            (bound, value) => {
                let (bound, value) = (bound.as_f64(), value.as_f64());
                value > bound || exclusive && value >= bound
            }
        }
    }

    fn is_above(self, value: Figure, exclusive: bool) -> bool {
        match (self.0, value) {
            (Figure::Integer(bound), Figure::Integer(value)) => value < bound || exclusive && value == bound,
            (bound, value) => {
                let (bound, value) = (bound.as_f64(), value.as_f64());
                value < bound || exclusive && value <= bound
            }
        }
    }

    fn text(self) -> String {
        match self.0 {
            Figure::Integer(integer) => integer.to_string(),
            Figure::Float(float) => numbers::float_text(float),
        }
    }
}

fn multiple_finding(
    value: Figure,
    factor: f64,
    exact: bool,
    shown: &dyn Fn() -> Value,
    place: &Place<'_>,
) -> Option<Finding> {
    let not_multiple =
        |factor: &str| Finding::invalid(place.text(), shown(), &format!("should be a multiple of {factor}"));
    if let (Figure::Integer(value), true) = (value, exact) {
        let factor = numbers::truncated(factor);
        let text = factor.to_string();
        if factor <= 0 {
            return Some(Finding::negative_factor(
                place.text(),
                BadFactor { text: &text, value: factor.into() },
            ));
        }
        return (value.checked_rem(factor) != Some(0)).then(|| not_multiple(&text));
    }
    let text = numbers::float_text(factor);
    if factor <= 0.0 {
        return Some(Finding::negative_factor(place.text(), BadFactor { text: &text, value: factor.into() }));
    }
    let value = value.as_f64();
    let times = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
    (!numbers::is_json_integer(times)).then(|| not_multiple(&text))
}

fn list_outcome(
    schema: &Structural,
    list: &[Value],
    place: &Place<'_>,
    correlated: Option<&Correlated<'_>>,
) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(items) = schema.items() {
        let old = correlated.and_then(Correlated::old_items);
        for (index, item) in list.iter().enumerate() {
            let correlated = old.as_ref().and_then(|old| old.of_item(item));
            outcome.merge(judge(items, item, place.within(Step::Item(index)), correlated));
        }
    }
    let size = i64::try_from(list.len()).unwrap_or(i64::MAX);
    for limit in &schema.limits {
        match limit {
            Limit::ItemsMin(min) if size < *min => {
                let says = format!("should have at least {min} items");
                outcome.findings.push(Finding::invalid(place.text(), size.into(), &says));
            }
            Limit::ItemsMax(max) if size > *max => {
                outcome.findings.push(Finding::too_many_items(place.text(), list.len(), *max));
            }
            Limit::UniqueItems => {
                let mut seen = std::collections::BTreeSet::new();
                if !list.iter().all(|item| seen.insert(item.to_string())) {
                    let says = "shouldn't contain duplicates";
                    outcome.findings.push(Finding::invalid(place.text(), Value::Null, says));
                }
            }
            _ => {}
        }
    }
    outcome.matches += 1;
    outcome
}

fn object_outcome(
    schema: &Structural,
    map: &Map<String, Value>,
    place: &Place<'_>,
    correlated: Option<&Correlated<'_>>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
    for limit in &schema.limits {
        match limit {
            Limit::PropertiesMin(min) if size < *min => {
                let says = format!("should have at least {min} properties");
                outcome.findings.push(Finding::invalid(place.text(), size.into(), &says));
            }
            Limit::PropertiesMax(max) if size > *max => {
                outcome.findings.push(Finding::too_many_properties(place.text(), map.len(), *max));
            }
            _ => {}
        }
    }
    // Versions of the whole object differ between old and new without a change, so its type is never let through.
    let correlated = |name: &str| {
        let of_type = place.is_root() && matches!(name, "kind" | "apiVersion");
        correlated.filter(|_| !of_type).and_then(|correlated| correlated.field(name))
    };
    match schema.additional() {
        Additional::Unsaid | Additional::Allowed(true) => {}
        Additional::Allowed(false) => {
            for name in map.keys().filter(|name| schema.property(name).is_none()) {
                outcome.findings.push(Finding::forbidden_property(place.text(), name));
            }
        }
        Additional::Schema(additional) => {
            for (name, value) in map.iter().filter(|(name, _)| schema.property(name).is_none()) {
                let step = place.within(Step::Additional(name));
                outcome.merge(judge(additional, value, step, correlated(name)));
            }
        }
    }
    for (name, value) in map {
        if let Some(property) = schema.property(name) {
            outcome.merge(judge(property, value, place.within(Step::Property(name)), correlated(name)));
        }
    }
    for limit in &schema.limits {
        let Limit::Required(names) = limit else { continue };
        for name in names.iter().filter(|name| !map.contains_key(name.as_ref())) {
            outcome.findings.push(Finding::required(format!("{}.{name}", place.text())));
        }
    }
    outcome
}

/// What the junctors say. Nothing within them is let through for being unchanged by itself.
fn junctor_outcome(schema: &Structural, value: &Value, place: &Place<'_>) -> Outcome {
    let mut outcome = Outcome { findings: Vec::new(), matches: 1 };
    for limit in &schema.limits {
        match limit {
            Limit::AnyOf(schemas) => outcome.merge(any_of(schemas, value, place)),
            Limit::OneOf(schemas) => outcome.merge(one_of(schemas, value, place)),
            Limit::AllOf(schemas) => outcome.merge(all_of(schemas, value, place)),
            Limit::Not(schema) if judge(schema, value, *place, None).is_valid() => {
                outcome.findings.push(junctor_finding(place, "must not validate the schema (not)"));
            }
            _ => {}
        }
    }
    if schema.has_junctor() {
        outcome.dedup();
    }
    outcome
}

fn junctor_finding(place: &Place<'_>, says: &str) -> Finding {
    Finding::plain(format!("{} {says}", go_quote(&place.text())))
}

fn any_of(schemas: &[Structural], value: &Value, place: &Place<'_>) -> Outcome {
    let mut best: Option<Outcome> = None;
    for schema in schemas {
        let outcome = judge(schema, value, *place, None);
        if outcome.is_valid() {
            return outcome;
        }
        if best.as_ref().is_none_or(|best| outcome.matches > best.matches) {
            best = Some(outcome);
        }
    }
    let mut outcome = Outcome::of(junctor_finding(place, "must validate at least one schema (anyOf)"));
    outcome.merge(best.unwrap_or_default());
    outcome
}

fn one_of(schemas: &[Structural], value: &Value, place: &Place<'_>) -> Outcome {
    let (mut valid, mut first, mut best) = (0_usize, None, None::<Outcome>);
    for schema in schemas {
        let outcome = judge(schema, value, *place, None);
        if outcome.is_valid() {
            valid += 1;
            best = None;
            first.get_or_insert(outcome);
        } else if valid == 0 && best.as_ref().is_none_or(|best| outcome.matches > best.matches) {
            best = Some(outcome);
        }
    }
    if valid == 1 {
        return first.unwrap_or_default();
    }
    let found =
        if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
    let says = format!("must validate one and only one schema (oneOf). {found}");
    let mut outcome = Outcome::of(junctor_finding(place, &says));
    outcome.merge(best.unwrap_or_default());
    outcome
}

fn all_of(schemas: &[Structural], value: &Value, place: &Place<'_>) -> Outcome {
    let (mut outcome, mut valid) = (Outcome::default(), 0_usize);
    for schema in schemas {
        let part = judge(schema, value, *place, None);
        valid += usize::from(part.is_valid());
        outcome.merge(part);
    }
    if valid != schemas.len() {
        let none = if valid == 0 { ". None validated" } else { "" };
        outcome
            .findings
            .push(junctor_finding(place, &format!("must validate all the schemas (allOf){none}")));
    }
    outcome
}

//! Evaluation, with every step paid for. An expression that has spent what it may is stopped; everything else that goes
//! wrong is an error which `&&`, `||` and the macros made of them may still overrule.

use std::{fmt, rc::Rc, sync::Arc};

use crate::{
    cost, equality,
    library::{Opaque, arithmetic, lists, strings},
    plan::{self, Call, FoldNode, Node},
    value::{List, Made, MadeObject, Map, Value},
};

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    text: Arc<str>,
    cost_exceeded: bool,
}

impl EvalError {
    /// An error of that text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), cost_exceeded: false }
    }

    pub(crate) fn no_such_overload() -> Self {
        Self::new("no such overload")
    }

    /// More was spent than one evaluation may.
    pub(crate) fn cost_exceeded() -> Self {
        Self { text: "operation cancelled: actual cost limit exceeded".into(), cost_exceeded: true }
    }

    /// Whether more was spent than one evaluation may.
    pub fn is_cost_exceeded(&self) -> bool {
        self.cost_exceeded
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for EvalError {}

pub(crate) type Outcome<'v> = Result<Value<'v>, EvalError>;

/// Values that are only evaluated when an expression asks for them: the fields of [`Value::Lazy`].
pub trait Lazy<'v> {
    /// The field, or `None` if there is none of that name.
    fn field(&self, name: &str, activation: &Activation<'v>) -> Option<Result<Value<'v>, EvalError>>;
}

/// The values of variables.
#[derive(Clone, Default)]
pub struct Activation<'v> {
    variables: Vec<(Arc<str>, Value<'v>)>,
    lazy: Option<Rc<dyn Lazy<'v> + 'v>>,
}

impl fmt::Debug for Activation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation").field("variables", &self.variables).finish_non_exhaustive()
    }
}

impl<'v> Activation<'v> {
    /// Adds a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value<'v>) -> Self {
        self.variables.push((name.into(), value));
        self
    }

    /// Adds a variable whose fields are evaluated when they are asked for.
    #[must_use]
    pub fn with_lazy(mut self, name: &str, lazy: Rc<dyn Lazy<'v> + 'v>) -> Self {
        self.variables.push((name.into(), Value::Lazy));
        self.lazy = Some(lazy);
        self
    }

    fn get(&self, name: &str) -> Option<&Value<'v>> {
        self.variables.iter().rev().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }
}

/// A variable of a fold.
#[derive(Debug)]
enum Slot<'p, 'v> {
    Empty,
    /// Evaluated when first asked for.
    Init(&'p Node),
    Value(Outcome<'v>),
}

pub(crate) struct Evaluator<'p, 'a, 'v> {
    activation: &'a Activation<'v>,
    slots: Vec<Slot<'p, 'v>>,
    cost: u64,
    limit: u64,
}

impl<'p, 'a, 'v> Evaluator<'p, 'a, 'v> {
    pub(crate) fn new(activation: &'a Activation<'v>, slots: usize, limit: u64) -> Self {
        Self { activation, slots: (0..slots).map(|_| Slot::Empty).collect(), cost: 0, limit }
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::cost_exceeded()) } else { Ok(()) }
    }

    pub(crate) fn eval(&mut self, node: &'p Node) -> Outcome<'v> {
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Variable(name) => self.variable(name),
            Node::Local(slot) => self.local(*slot),
            Node::Field { operand, name, optional, surcharge } => {
                self.field(operand, name, *optional, *surcharge)
            }
            Node::Has { operand, name, surcharge } => self.has(operand, name, *surcharge),
            Node::Index { operand, index, optional, surcharge, index_cost } => {
                self.index(operand, index, *optional, *surcharge + *index_cost)
            }
            Node::And(terms) => self.logic(terms, false),
            Node::Or(terms) => self.logic(terms, true),
            Node::Conditional(parts, free) => self.conditional(parts, *free),
            Node::Equal(parts, wanted) => self.equal(parts, *wanted),
            Node::NotStrictlyFalse(inner) => self.not_strictly_false(inner),
            Node::InConstants(value, items) => {
                let value = self.eval(value)?;
                Ok(Value::Bool(plan::among(&value, items)))
            }
            Node::OrOptional(parts, unwrap) => self.or_optional(parts, *unwrap),
            Node::Call(call) => self.call(call),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Struct { name, fields } => self.structure(name, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind { slot, init, result } => self.bind(*slot, init, result),
        }
    }

    fn variable(&mut self, name: &str) -> Outcome<'v> {
        self.charge(1)?;
        match self.activation.get(name) {
            Some(value) => Ok(value.clone()),
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn local(&mut self, slot: usize) -> Outcome<'v> {
        self.charge(1)?;
        if let Some(Slot::Init(init)) = self.slots.get(slot) {
            let init = *init;
            let value = self.eval(init);
            if value.as_ref().is_err_and(EvalError::is_cost_exceeded) {
                return value;
            }
            self.put(slot, Slot::Value(value));
        }
        match self.slots.get(slot) {
            Some(Slot::Value(value)) => value.clone(),
            _ => Err(EvalError::new("no such attribute(s)")),
        }
    }

    fn put(&mut self, slot: usize, value: Slot<'p, 'v>) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = value;
        }
    }

    #[inline(never)]
    fn field(&mut self, operand: &'p Node, name: &Arc<str>, optional: bool, surcharge: u64) -> Outcome<'v> {
        let operand = self.eval(operand)?;
        self.charge(1 + surcharge)?;
        let (operand, is_optional) = match operand {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => (inner.as_ref().clone(), true),
            other => (other, optional),
        };
        let found = self.select(&operand, name)?;
        match (found, is_optional) {
            (Some(value), true) => Ok(Value::some(value)),
            (Some(value), false) => Ok(value),
            (None, true) => Ok(Value::Optional(None)),
            (None, false) => Err(EvalError::new(format!("no such key: {name}"))),
        }
    }

    fn select(&self, operand: &Value<'v>, name: &str) -> Result<Option<Value<'v>>, EvalError> {
        match operand {
            Value::Map(map) => map.field(name).transpose(),
            Value::Lazy => {
                let lazy = self.activation.lazy.as_ref();
                lazy.and_then(|lazy| lazy.field(name, self.activation)).transpose()
            }
            Value::List(_) => Err(EvalError::new("unsupported index type 'string' in list")),
            _ => Ok(None),
        }
    }

    #[inline(never)]
    fn has(&mut self, operand: &'p Node, name: &str, surcharge: u64) -> Outcome<'v> {
        let operand = self.eval(operand)?;
        self.charge(surcharge)?;
        let operand = match operand {
            Value::Optional(None) => return Ok(Value::Bool(false)),
            Value::Optional(Some(inner)) => inner.as_ref().clone(),
            other => other,
        };
        match &operand {
            Value::Map(map) => match map.field(name) {
                Some(Err(why)) => Err(why),
                found => Ok(Value::Bool(found.is_some())),
            },
            _ => Ok(Value::Bool(self.select(&operand, name)?.is_some())),
        }
    }

    #[inline(never)]
    fn index(&mut self, operand: &'p Node, index: &'p Node, optional: bool, cost: u64) -> Outcome<'v> {
        let operand = self.eval(operand)?;
        let index = self.eval(index)?;
        self.charge(cost)?;
        let (operand, is_optional) = match operand {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => (inner.as_ref().clone(), true),
            other => (other, optional),
        };
        let found = self.at(&operand, &index)?;
        match (found, is_optional) {
            (Some(value), true) => Ok(Value::some(value)),
            (Some(value), false) => Ok(value),
            (None, true) => Ok(Value::Optional(None)),
            (None, false) if matches!(operand, Value::List(_)) => {
                Err(EvalError::new(format!("index out of bounds: {index}")))
            }
            (None, false) => Err(EvalError::new(format!("no such key: {index}"))),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the number was found to be whole")]
    fn at(&self, operand: &Value<'v>, index: &Value<'v>) -> Result<Option<Value<'v>>, EvalError> {
        match (operand, index) {
            (Value::List(list), index) => {
                let at = match index {
                    Value::Int(at) => usize::try_from(*at).ok(),
                    Value::Uint(at) => usize::try_from(*at).ok(),
                    Value::Double(at) if at.fract() == 0.0 => usize::try_from(*at as i64).ok(),
                    Value::Double(_) => {
                        return Err(EvalError::new(format!("unsupported index value {index} in list")));
                    }
                    other => {
                        let name = other.type_name();
                        return Err(EvalError::new(format!("unsupported index type '{name}' in list")));
                    }
                };
                at.and_then(|at| list.get(at)).transpose()
            }
            (Value::Map(map), key) => map.get(key).transpose(),
            (Value::Lazy, Value::String(name)) => self.select(operand, name),
            _ => Ok(None),
        }
    }

    /// `&&` ends at the first false, `||` at the first true; errors count only if nothing ends it.
    #[inline(never)]
    fn logic(&mut self, terms: &'p [Node], end: bool) -> Outcome<'v> {
        let mut wrong = None;
        for term in terms {
            match self.eval(term) {
                Ok(Value::Bool(value)) if value == end => return Ok(Value::Bool(end)),
                Ok(Value::Bool(_)) => {}
                Err(why) if why.is_cost_exceeded() => return Err(why),
                Err(why) => wrong = wrong.or(Some(why)),
                Ok(_) => wrong = wrong.or_else(|| Some(EvalError::no_such_overload())),
            }
        }
        wrong.map_or(Ok(Value::Bool(!end)), Err)
    }

    #[inline(never)]
    fn conditional(&mut self, parts: &'p [Node; 3], free: [bool; 2]) -> Outcome<'v> {
        let [condition, then, otherwise] = parts;
        let [then_free, otherwise_free] = free;
        let (branch, free) = match self.eval(condition)? {
            Value::Bool(true) => (then, then_free),
            Value::Bool(false) => (otherwise, otherwise_free),
            _ => return Err(EvalError::no_such_overload()),
        };
        let value = self.eval(branch)?;
        // The attribute itself is resolved by the conditional, which costs nothing.
        self.cost = self.cost.saturating_sub(u64::from(free));
        Ok(value)
    }

    #[inline(never)]
    fn equal(&mut self, parts: &'p [Node; 2], wanted: bool) -> Outcome<'v> {
        let [a, b] = parts;
        let (a, b) = (self.eval(a), self.eval(b));
        if let Err(why) = &b
            && why.is_cost_exceeded()
        {
            return b;
        }
        let (a, b) = (a?, b?);
        let cost = match &a {
            Value::Opaque(_) if wanted => 1,
            _ => cost::scaled(a.size().min(b.size()), cost::TRAVERSAL),
        };
        self.charge(cost)?;
        equality::equal(&a, &b).map(|equal| Value::Bool(equal == wanted))
    }

    #[inline(never)]
    fn not_strictly_false(&mut self, inner: &'p Node) -> Outcome<'v> {
        let value = match self.eval(inner) {
            Err(why) if why.is_cost_exceeded() => return Err(why),
            Ok(Value::Bool(value)) => value,
            _ => true,
        };
        self.charge(1)?;
        Ok(Value::Bool(value))
    }

    #[inline(never)]
    fn or_optional(&mut self, parts: &'p [Node; 2], unwrap: bool) -> Outcome<'v> {
        let [first, second] = parts;
        match self.eval(first)? {
            Value::Optional(Some(value)) if unwrap => Ok(value.as_ref().clone()),
            Value::Optional(None) => self.eval(second),
            other => Ok(other),
        }
    }

    #[inline(never)]
    fn list(&mut self, elements: &'p [(Node, bool)]) -> Outcome<'v> {
        let mut values = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            match (self.eval(element)?, optional) {
                (Value::Optional(value), true) => values.extend(value.map(|it| it.as_ref().clone())),
                (other, true) => {
                    let message =
                        format!("cannot initialize optional list element from non-optional value {other}");
                    return Err(EvalError::new(message));
                }
                (value, false) => values.push(value),
            }
        }
        self.charge(cost::LIST)?;
        Ok(Value::list(values))
    }

    #[inline(never)]
    fn map(&mut self, entries: &'p [(Node, Node, bool)]) -> Outcome<'v> {
        let mut made = Made::default();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(Some(value)), true) => value.as_ref().clone(),
                (Value::Optional(None), true) => continue,
                (other, true) => {
                    let message =
                        format!("cannot initialize optional entry '{key}' from non-optional value {other}");
                    return Err(EvalError::new(message));
                }
                (value, false) => value,
            };
            if !made.insert(key.clone(), value)? {
                return Err(EvalError::new(format!("Failed with repeated key: {key}")));
            }
        }
        self.charge(cost::MAP)?;
        Ok(Value::Map(Map::Made(Arc::new(made))))
    }

    #[inline(never)]
    fn structure(&mut self, name: &Arc<str>, fields: &'p [(Arc<str>, Node, bool)]) -> Outcome<'v> {
        let mut made = MadeObject { name: Arc::clone(name), fields: Vec::with_capacity(fields.len()) };
        for (field, value, optional) in fields {
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(Some(value)), true) => value.as_ref().clone(),
                (Value::Optional(None), true) => continue,
                (other, true) => {
                    let message =
                        format!("cannot initialize optional entry '{field}' from non-optional value {other}");
                    return Err(EvalError::new(message));
                }
                (value, false) => value,
            };
            made.fields.push((Arc::clone(field), value));
        }
        self.charge(cost::STRUCT)?;
        Ok(Value::Map(Map::Object(Arc::new(made))))
    }

    #[inline(never)]
    fn bind(&mut self, slot: usize, init: &'p Node, result: &'p Node) -> Outcome<'v> {
        self.put(slot, Slot::Init(init));
        let value = self.eval(result);
        self.put(slot, Slot::Empty);
        value
    }

    #[inline(never)]
    fn fold(&mut self, fold: &'p FoldNode) -> Outcome<'v> {
        let range = self.eval(&fold.range)?;
        self.put(fold.accumulator, Slot::Init(&fold.init));
        match &range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let Some(element) = list.get(index) else { break };
                    let entry = match fold.second {
                        Some(_) => (Value::Int(i64::try_from(index).unwrap_or(i64::MAX)), Some(element)),
                        None => match element {
                            Ok(element) => (element, None),
                            Err(why) => return Err(why),
                        },
                    };
                    if !self.turn(fold, entry.0, entry.1)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let value = if fold.second.is_some() { map.get(&key) } else { None };
                    if !self.turn(fold, key, value)? {
                        break;
                    }
                }
            }
            other => {
                let message = format!("got '{}', expected iterable type", other.type_name());
                return Err(EvalError::new(message));
            }
        }
        let result = self.eval(&fold.result);
        self.put(fold.accumulator, Slot::Empty);
        result
    }

    /// One turn of a fold; `false` if it was the last.
    fn turn(
        &mut self,
        fold: &'p FoldNode,
        first: Value<'v>,
        second: Option<Outcome<'v>>,
    ) -> Result<bool, EvalError> {
        self.put(fold.var, Slot::Value(Ok(first)));
        if let (Some(slot), Some(value)) = (fold.second, second) {
            self.put(slot, Slot::Value(value));
        }
        match self.eval(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(why) if why.is_cost_exceeded() => return Err(why),
            _ => {}
        }
        let value = self.eval(&fold.step);
        if let Err(why) = &value
            && why.is_cost_exceeded()
        {
            return Err(why.clone());
        }
        self.put(fold.accumulator, Slot::Value(value));
        Ok(true)
    }

    #[inline(never)]
    fn call(&mut self, call: &'p Call) -> Outcome<'v> {
        let mut args = Vec::with_capacity(call.args.len());
        let mut wrong: Option<EvalError> = None;
        for (index, arg) in call.args.iter().enumerate() {
            let value = match (call.grows, index) {
                (Some(slot), 0) => self.take(slot),
                _ => self.eval(arg),
            };
            match value {
                Ok(value) => args.push(value),
                Err(why) if why.is_cost_exceeded() => return Err(why),
                Err(why) => wrong = wrong.or(Some(why)),
            }
        }
        if let Some(why) = wrong {
            return Err(why);
        }
        // What the arguments decide is paid before, so that no large work is done for nothing.
        let before = self.cost_before(call, &args);
        if let Some(cost) = before {
            self.charge(cost)?;
        }
        let value = self.apply(call, args)?;
        if before.is_none() {
            self.charge(cost_after(call, &value))?;
        }
        Ok(value)
    }

    /// The value of an accumulator, which is left empty: whoever takes it puts another there.
    fn take(&mut self, slot: usize) -> Outcome<'v> {
        if !matches!(self.slots.get(slot), Some(Slot::Value(_))) {
            return self.local(slot);
        }
        self.charge(1)?;
        match self.slots.get_mut(slot).map(|place| std::mem::replace(place, Slot::Empty)) {
            Some(Slot::Value(value)) => value,
            _ => Err(EvalError::new("no such attribute(s)")),
        }
    }

    fn apply(&self, call: &Call, mut args: Vec<Value<'v>>) -> Outcome<'v> {
        match call.function {
            "matches" | "find" | "findAll" => {
                strings::pattern_call(call.function, &args, call.pattern.as_ref())
            }
            "_+_" if call.grows.is_some() && matches!(args.as_slice(), [Value::List(_), Value::List(_)]) => {
                match (args.remove(0), args.pop()) {
                    (Value::List(a), Some(Value::List(b))) => arithmetic::append(a, &b),
                    _ => Err(EvalError::no_such_overload()),
                }
            }
            "cel.@mapInsert" if matches!(args.first(), Some(Value::Map(Map::Made(_)))) => {
                match args.remove(0) {
                    Value::Map(Map::Made(made)) => lists::insert(made, &args),
                    _ => Err(EvalError::no_such_overload()),
                }
            }
            "sum" if matches!(args.as_slice(), [Value::List(list)] if list.len() == 0) => {
                Ok(lists::zero(call.overload))
            }
            _ => match call.native {
                Some(native) => native(&args),
                None => Err(EvalError::new(format!("no such overload: {}", call.function))),
            },
        }
    }

    /// What a call costs, from its arguments; `None` if its result decides.
    fn cost_before(&self, call: &Call, args: &[Value<'v>]) -> Option<u64> {
        by_overload(call.overload, args)
            .or_else(|| by_function(call.function, call.overload, args))
            .unwrap_or_else(|| Some(standard(call.overload, args)))
    }
}

/// The libraries of cel-go: outer `None` if it is none of theirs, inner if the result decides.
#[expect(clippy::option_option, reason = "two different absences")]
fn by_overload(overload: &str, args: &[Value<'_>]) -> Option<Option<u64>> {
    let size = |index: usize| args.get(index).map_or(1, Value::size);
    let compared = |list: Option<&Value<'_>>| {
        let Some(Value::List(list)) = list else { return 1 + cost::LIST };
        let count = u64::try_from(list.len()).unwrap_or(u64::MAX);
        let text = matches!(list.get(0), Some(Ok(Value::String(_) | Value::Bytes(_))));
        let factor = if text { 2.0 + cost::TRAVERSAL } else { 2.0 };
        floor_scaled(count.saturating_mul(count), factor).saturating_add(1 + cost::LIST)
    };
    Some(Some(match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => 1 + size(0).saturating_mul(size(1)),
        "list_sets_equivalent_list" => 1 + size(0).saturating_mul(size(1)).saturating_mul(2),
        "list_slice" | "list_reverse" => return Some(None),
        "lists_range" => {
            let count = match args.first() {
                Some(Value::Int(count)) => u64::try_from(*count).unwrap_or_default(),
                _ => 0,
            };
            count.saturating_add(1 + cost::LIST)
        }
        "list_flatten" => size(0).saturating_add(1 + cost::LIST),
        "list_flatten_int" => {
            let depth = match args.get(1) {
                Some(Value::Int(depth)) => u64::try_from(*depth).unwrap_or_default(),
                _ => 1,
            };
            size(0).saturating_mul(depth).saturating_add(1 + cost::LIST)
        }
        "list_distinct" => compared(args.first()),
        sort if sort.starts_with("list_") && sort.ends_with("_sort") => compared(args.first()),
        sort if sort.ends_with("_sortByAssociatedKeys") => compared(args.get(1)),
        _ => return None,
    }))
}

/// Rounded down, as conversions from floats are.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "upstream goes through a float; conversion saturates"
)]
fn floor_scaled(value: u64, by: f64) -> u64 {
    (value as f64 * by) as u64
}

/// Kubernetes' own functions, by name.
#[expect(clippy::option_option, reason = "two different absences")]
fn by_function(function: &str, overload: &str, args: &[Value<'_>]) -> Option<Option<u64>> {
    let size = |index: usize| args.get(index).map_or(1, Value::size);
    let traversal = |times: f64| cost::scaled(size(0), times * cost::TRAVERSAL);
    let pattern = |text: u64, pattern: u64| {
        cost::scaled(text.saturating_add(1), cost::TRAVERSAL)
            .saturating_mul(cost::scaled(pattern, cost::PATTERN))
    };
    Some(Some(match function {
        "check" => cost::CHECK,
        "fieldSelector" | "labelSelector" => cost::selector(size(1)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversed),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => traversal(1.0),
        "replace" | "split" => traversal(2.0),
        "join" => return Some(None),
        "find" | "findAll" => pattern(size(0), size(1)),
        "ip" if overload == "cidr_ip" => 1,
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            traversal(1.0)
        }
        "ip.isCanonical" => traversal(2.0),
        "containsIP" | "containsCIDR" => {
            let mut cost = cost::scaled(size(0).saturating_mul(2), cost::TRAVERSAL);
            if function == "containsCIDR" {
                cost += traversal(1.0) + 1;
            }
            if overload.ends_with("_string") {
                cost += cost::scaled(size(1), cost::TRAVERSAL);
            }
            cost
        }
        "validate" => match args.first() {
            Some(Value::Opaque(Opaque::Format(format))) => pattern(size(1), format.pattern_size),
            _ => 1,
        },
        "serviceAccount"
        | "path"
        | "group"
        | "resource"
        | "subresource"
        | "namespace"
        | "name"
        | "allowed"
        | "reason"
        | "error"
        | "errored"
        | "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "format.named"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => 1,
        _ => return None,
    }))
}

/// cel-go's own functions.
fn standard(overload: &str, args: &[Value<'_>]) -> u64 {
    let size = |index: usize| args.get(index).map_or(1, Value::size);
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "strings_quote" | "string_format" => cost::scaled(size(0), cost::TRAVERSAL),
        "in_list" => size(1),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes" => cost::scaled(size(0).min(size(1)), cost::TRAVERSAL),
        "add_string" | "add_bytes" => cost::scaled(size(0).saturating_add(size(1)), cost::TRAVERSAL),
        "matches_string" => {
            let text = cost::scaled(size(0).saturating_add(1), cost::TRAVERSAL);
            text.saturating_mul(cost::scaled(size(1), cost::PATTERN))
        }
        "contains_string" => {
            cost::scaled(size(0), cost::TRAVERSAL).saturating_mul(cost::scaled(size(1), cost::TRAVERSAL))
        }
        _ => 1,
    }
}

/// What a call costs whose result decides.
fn cost_after(call: &Call, result: &Value<'_>) -> u64 {
    match call.function {
        "join" => cost::scaled(result.size(), 2.0 * cost::TRAVERSAL),
        _ => result.size().saturating_add(1 + cost::LIST),
    }
}

/// The cost of looking at all of a value.
fn traversed(value: &Value<'_>) -> u64 {
    let text = |length: usize| floor_scaled(u64::try_from(length).unwrap_or(u64::MAX), cost::TRAVERSAL);
    match value {
        Value::String(it) => text(it.len()),
        Value::Bytes(it) => text(it.len()),
        Value::List(list) => list_traversed(list),
        Value::Map(map) => map
            .keys()
            .iter()
            .map(|key| {
                let value = map.get(key).and_then(Result::ok);
                traversed(key).saturating_add(value.as_ref().map_or(1, traversed))
            })
            .fold(0, u64::saturating_add),
        _ => 1,
    }
}

fn list_traversed(list: &List<'_>) -> u64 {
    list.iter().map(|it| it.as_ref().map_or(1, traversed)).fold(0, u64::saturating_add)
}

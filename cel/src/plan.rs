//! From a checked tree to one that is quick to evaluate and knows what each step costs: names are resolved to slots,
//! literals made values, patterns compiled. What is constant is computed here once, which costs nothing later; upstream
//! does the same, so that the costs agree.

use std::{collections::BTreeSet, sync::Arc};

use regex::Regex;

use crate::{
    ast::{Expr, Fold, Kind, Literal, UNUSED},
    checker::Checked,
    cost::is_bind,
    equality,
    functions::Function,
    goregex,
    library::{self, Native},
    types::Type,
    value::{List, Made, Map, Text, Value},
};

#[derive(Debug)]
pub(crate) enum Node {
    Constant(Value<'static>),
    /// A list or map of constants, made anew as it is not to be borrowed for longer than the program.
    Variable(Arc<str>),
    /// A variable of a fold, by its place.
    Local(usize),
    Field {
        operand: Box<Node>,
        name: Arc<str>,
        optional: bool,
        surcharge: u64,
    },
    Has {
        operand: Box<Node>,
        name: Arc<str>,
        surcharge: u64,
    },
    Index {
        operand: Box<Node>,
        index: Box<Node>,
        optional: bool,
        surcharge: u64,
        index_cost: u64,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    Conditional(Box<[Node; 3]>, [bool; 2]),
    Equal(Box<[Node; 2]>, bool),
    NotStrictlyFalse(Box<Node>),
    /// `x in [...]` with a list of constants.
    InConstants(Box<Node>, Vec<Value<'static>>),
    OrOptional(Box<[Node; 2]>, bool),
    Call(Box<Call>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Struct {
        name: Arc<str>,
        fields: Vec<(Arc<str>, Node, bool)>,
    },
    Fold(Box<FoldNode>),
    Bind {
        slot: usize,
        init: Box<Node>,
        result: Box<Node>,
    },
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: &'static str,
    /// The one overload, or nothing if it depends on the values.
    pub(crate) overload: &'static str,
    pub(crate) native: Option<Native>,
    pub(crate) pattern: Option<Regex>,
    pub(crate) args: Vec<Node>,
    /// The first argument is an accumulator, which may be taken and grown in place.
    pub(crate) grows: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct FoldNode {
    pub(crate) range: Node,
    pub(crate) accumulator: usize,
    pub(crate) var: usize,
    pub(crate) second: Option<usize>,
    pub(crate) init: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

/// A function that evaluation itself knows.
pub(crate) fn is_special(name: &str) -> bool {
    matches!(
        name,
        "_?_:_"
            | "_&&_"
            | "_||_"
            | "@not_strictly_false"
            | "_==_"
            | "_!=_"
            | "_[_]"
            | "_[?_]"
            | "_?._"
            | "or"
            | "orValue"
            | "matches"
            | "find"
            | "findAll"
    )
}

pub(crate) struct Planner<'p> {
    pub(crate) checked: &'p Checked,
    pub(crate) function: &'p dyn Fn(&str) -> Option<&'static Function>,
    /// Local variables with their slots, innermost last.
    locals: Vec<String>,
    /// How many slots are needed.
    pub(crate) slots: usize,
    accumulators: BTreeSet<usize>,
}

impl<'p> Planner<'p> {
    pub(crate) fn new(checked: &'p Checked, function: &'p dyn Fn(&str) -> Option<&'static Function>) -> Self {
        Self { checked, function, locals: Vec::new(), slots: 0, accumulators: BTreeSet::new() }
    }

    /// # Errors
    /// A constant that cannot be computed, or a pattern that is none.
    pub(crate) fn plan(&mut self, expr: &Expr) -> Result<Node, String> {
        if let Some(named) = self.checked.type_names.get(&expr.id)
            && matches!(expr.kind, Kind::Ident(_))
        {
            return Ok(Node::Constant(Value::Type(named.bare_name().into())));
        }
        Ok(match &expr.kind {
            Kind::Literal(literal) => Node::Constant(constant(literal)),
            Kind::Ident(name) => match self.locals.iter().rposition(|known| known == name) {
                Some(slot) => Node::Local(slot),
                None => Node::Variable(name.as_str().into()),
            },
            Kind::Select { operand, field, test } => {
                let operand = Box::new(self.plan(operand)?);
                let (name, surcharge) = (field.as_str().into(), surcharge(&operand));
                if *test {
                    Node::Has { operand, name, surcharge }
                } else {
                    Node::Field { operand, name, optional: false, surcharge }
                }
            }
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args)?,
            Kind::List(elements) => {
                let mut nodes = Vec::new();
                for element in elements {
                    nodes.push((self.plan(&element.value)?, element.optional));
                }
                constant_list(nodes)
            }
            Kind::Map(entries) => {
                let mut nodes = Vec::new();
                for entry in entries {
                    nodes.push((self.plan(&entry.key)?, self.plan(&entry.value)?, entry.optional));
                }
                constant_map(nodes)
            }
            Kind::Struct { name, fields } => {
                let mut nodes = Vec::new();
                for field in fields {
                    nodes.push((field.name.as_str().into(), self.plan(&field.value)?, field.optional));
                }
                Node::Struct { name: name.as_str().into(), fields: nodes }
            }
            Kind::Fold(fold) => self.fold(fold)?,
        })
    }

    fn fold(&mut self, fold: &Fold) -> Result<Node, String> {
        let range = self.plan(&fold.range)?;
        let init = self.plan(&fold.init)?;
        let accumulator = self.push(&fold.accumulator);
        if is_bind(fold) && fold.var == UNUSED {
            let result = Box::new(self.plan(&fold.result)?);
            self.locals.pop();
            return Ok(Node::Bind { slot: accumulator, init: Box::new(init), result });
        }
        self.accumulators.insert(accumulator);
        let var = self.push(&fold.var);
        let second = fold.second.as_ref().map(|name| self.push(name));
        let condition = self.plan(&fold.condition)?;
        let step = self.plan(&fold.step)?;
        self.locals.truncate(accumulator + 1);
        let result = self.plan(&fold.result)?;
        self.locals.pop();
        self.accumulators.remove(&accumulator);
        Ok(Node::Fold(Box::new(FoldNode { range, accumulator, var, second, init, condition, step, result })))
    }

    fn push(&mut self, name: &str) -> usize {
        self.locals.push(name.to_owned());
        self.slots = self.slots.max(self.locals.len());
        self.locals.len() - 1
    }

    fn call(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Result<Node, String> {
        let mut nodes = Vec::new();
        for arg in target.into_iter().chain(args) {
            nodes.push(self.plan(arg)?);
        }
        let mut rest = nodes.into_iter();
        let mut next = || rest.next().unwrap_or(Node::Constant(Value::Null));
        Ok(match function {
            "_&&_" => Node::And(rest.collect()),
            "_||_" => Node::Or(rest.collect()),
            "_?_:_" => {
                let parts = [next(), next(), next()];
                let free = [is_attribute(&parts[1]), is_attribute(&parts[2])];
                Node::Conditional(Box::new(parts), free)
            }
            "_==_" | "_!=_" => Node::Equal(Box::new([next(), next()]), function == "_==_"),
            "@not_strictly_false" => Node::NotStrictlyFalse(Box::new(next())),
            "or" | "orValue" => Node::OrOptional(Box::new([next(), next()]), function == "orValue"),
            "_[_]" | "_[?_]" => {
                let (operand, index) = (Box::new(next()), Box::new(next()));
                let surcharge = surcharge(&operand);
                let index_cost = match &*index {
                    Node::Constant(_) => 1,
                    index if is_attribute(index) || matches!(index, Node::Conditional(..)) => 0,
                    _ => 1,
                };
                Node::Index { operand, index, optional: function == "_[?_]", surcharge, index_cost }
            }
            "_?._" => {
                let operand = Box::new(next());
                let surcharge = surcharge(&operand);
                let name = match next() {
                    Node::Constant(Value::String(name)) => (*name).into(),
                    _ => return Err("unsupported optional field selection".to_owned()),
                };
                Node::Field { operand, name, optional: true, surcharge }
            }
            _ => return self.native(expr, function, rest.collect()),
        })
    }

    fn native(&self, expr: &Expr, function: &str, args: Vec<Node>) -> Result<Node, String> {
        let Some(known) = (self.function)(function) else {
            return Err(format!("no such function: {function}"));
        };
        let overload = match self.checked.overloads_of(expr) {
            [only] => *only,
            _ => "",
        };
        let is_conversion = matches!(
            function,
            "bool"
                | "bytes"
                | "double"
                | "duration"
                | "dyn"
                | "int"
                | "string"
                | "timestamp"
                | "type"
                | "uint"
        );
        let native = library::implementation(known.name);
        if let ([Node::Constant(value)], Some(native), true) = (args.as_slice(), native, is_conversion) {
            return native(std::slice::from_ref(value)).map(Node::Constant).map_err(|why| why.to_string());
        }
        if overload == "in_list"
            && let [_, Node::Constant(Value::List(List::Made(items, None)))] = args.as_slice()
            && items.iter().all(|it| {
                matches!(
                    it,
                    Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_)
                )
            })
        {
            let items = items.as_ref().clone();
            let value = args.into_iter().next().unwrap_or(Node::Constant(Value::Null));
            return Ok(Node::InConstants(Box::new(value), items));
        }
        let mut pattern = None;
        if matches!(function, "matches" | "find" | "findAll")
            && let Some(Node::Constant(Value::String(text))) = args.get(1)
        {
            pattern = Some(goregex::compile(text)?);
        }
        let grows = match args.first() {
            Some(Node::Local(slot))
                if matches!(function, "_+_" | "cel.@mapInsert") && self.accumulators.contains(slot) =>
            {
                Some(*slot)
            }
            _ => None,
        };
        Ok(Node::Call(Box::new(Call { function: known.name, overload, native, pattern, args, grows })))
    }
}

/// What upstream plans as an attribute with qualifiers: selecting from anything else costs one more.
fn is_attribute(node: &Node) -> bool {
    matches!(node, Node::Variable(_) | Node::Local(_) | Node::Field { .. } | Node::Index { .. })
}

fn surcharge(operand: &Node) -> u64 {
    u64::from(!is_attribute(operand) && !matches!(operand, Node::Conditional(..)))
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Shared(Arc::clone(text))),
        Literal::Bytes(bytes) => Value::Bytes(Arc::clone(bytes)),
    }
}

fn constant_list(nodes: Vec<(Node, bool)>) -> Node {
    if nodes.iter().any(|(node, optional)| *optional || !matches!(node, Node::Constant(_)))
        || nodes.is_empty()
    {
        return if nodes.is_empty() { Node::Constant(Value::list(Vec::new())) } else { Node::List(nodes) };
    }
    let values = nodes.into_iter().filter_map(|(node, _)| match node {
        Node::Constant(value) => Some(value),
        _ => None,
    });
    Node::Constant(Value::list(values.collect()))
}

fn constant_map(nodes: Vec<(Node, Node, bool)>) -> Node {
    let mut made = Made::default();
    for (key, value, optional) in &nodes {
        match (key, value) {
            (Node::Constant(key), Node::Constant(value)) if !optional => {
                if !matches!(made.insert(key.clone(), value.clone()), Ok(true)) {
                    return Node::Map(nodes);
                }
            }
            _ => return Node::Map(nodes),
        }
    }
    Node::Constant(Value::Map(Map::Made(Arc::new(made))))
}

/// Whether a constant is among these.
pub(crate) fn among(value: &Value<'_>, items: &[Value<'static>]) -> bool {
    items.iter().any(|item| equality::equal(item, value).unwrap_or_default())
}

/// The type a program gives, for those who ask.
pub(crate) fn output(checked: &Checked, root: &Expr) -> Type {
    checked.type_of(root).clone()
}

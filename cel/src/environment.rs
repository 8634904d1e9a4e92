//! What an expression may name, and the programs made of expressions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    checker::{self, Names},
    cost,
    declared::Declared,
    eval::{Activation, EvalError, Evaluator},
    functions::{self, Function},
    library, literals,
    macros::Macros,
    parser,
    plan::{self, Node, Planner},
    source::CompileErrors,
    types::Type,
    value::Value,
};

/// What one evaluation may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all evaluations for one custom resource, or for one policy and binding, may cost together.
pub const RUNTIME_BUDGET: u64 = 10_000_000;
/// What all match conditions of one webhook or policy may cost together.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;
/// The longest message an expression may give, in bytes.
pub const LONGEST_MESSAGE: usize = 5 * 1024;

/// Functions that only some expressions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `jsonpatch.escapeKey`, for policies that change objects.
    JsonPatch,
    /// `cel.bind`, for device selectors.
    Bindings,
}

#[derive(Clone, Debug)]
struct Variable {
    of: Type,
    declared: Option<Arc<Declared>>,
}

/// The variables and types that expressions may name, with all functions of Kubernetes 1.36.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    types: BTreeMap<String, Type>,
    json_patch: bool,
    bindings: bool,
    open_objects: bool,
}

/// A checked expression, ready to be evaluated. May be shared between threads.
#[derive(Debug)]
pub struct Program {
    root: Node,
    slots: usize,
    output: Type,
    estimate: u64,
    variables: BTreeSet<String>,
}

/// What came of an evaluation.
#[derive(Debug)]
pub struct Evaluation<'v> {
    /// The value, or why there is none.
    pub result: Result<Value<'v>, EvalError>,
    /// What it cost.
    pub cost: u64,
}

impl Environment {
    /// One without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable of a type.
    #[must_use]
    pub fn with_variable(mut self, name: &str, of: Type) -> Self {
        self.variables.insert(name.to_owned(), Variable { of, declared: None });
        self
    }

    /// Adds a variable of a declared shape, whose limits costs are estimated from.
    #[must_use]
    pub fn with_declared(mut self, name: &str, declared: &Arc<Declared>) -> Self {
        let variable = Variable { of: declared.to_type(), declared: Some(Arc::clone(declared)) };
        self.variables.insert(name.to_owned(), variable);
        self
    }

    /// Adds a variable that may be absent, of a declared shape.
    #[must_use]
    pub fn with_optional(mut self, name: &str, declared: &Arc<Declared>) -> Self {
        let of = Type::optional(declared.to_type());
        self.variables.insert(name.to_owned(), Variable { of, declared: Some(Arc::clone(declared)) });
        self
    }

    /// Adds an object type that expressions may make values of.
    #[must_use]
    pub fn with_type(mut self, declared: &Arc<Declared>) -> Self {
        let of = declared.to_type();
        self.types.insert(of.bare_name().to_owned(), of);
        self
    }

    /// Adds `Object`, `Object.spec` and so on: objects with any fields, as policies that change objects make them.
    #[must_use]
    pub fn with_open_objects(mut self) -> Self {
        self.open_objects = true;
        self
    }

    /// Adds functions.
    #[must_use]
    pub fn with_library(mut self, library: Library) -> Self {
        match library {
            Library::JsonPatch => self.json_patch = true,
            Library::Bindings => self.bindings = true,
        }
        self
    }

    /// Parses, checks and plans an expression.
    ///
    /// # Errors
    /// What is wrong with it, as cel-go tells it.
    pub fn compile(&self, source: &str) -> Result<Program, CompileErrors> {
        let mut ast = parser::parse(source, Macros { bindings: self.bindings })?;
        let checked = checker::check(&mut ast, self).map_err(|issues| CompileErrors::new(source, issues))?;
        let issues = literals::check(&ast, &checked);
        if !issues.is_empty() {
            return Err(CompileErrors::new(source, issues));
        }
        let root = |name: &str| self.variables.get(name).and_then(|it| it.declared.clone());
        let estimate = cost::estimate(&ast.root, &checked, &root).max;
        let find = |name: &str| self.function(name);
        let mut planner = Planner::new(&checked, &find);
        let root = planner.plan(&ast.root).map_err(CompileErrors::instantiation)?;
        let slots = planner.slots;
        let output = plan::output(&checked, &ast.root);
        Ok(Program { root, slots, output, estimate, variables: checked.variables })
    }
}

impl Names for Environment {
    fn variable(&self, name: &str) -> Option<Type> {
        self.variables.get(name).map(|it| it.of.clone())
    }

    fn function(&self, name: &str) -> Option<&'static Function> {
        functions::find(name)
            .or_else(|| if self.json_patch { functions::find_json_patch(name) } else { None })
            .filter(|it| library::implementation(it.name).is_some() || plan::is_special(it.name))
    }

    fn named_type(&self, name: &str) -> Option<Type> {
        Some(match name {
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "null_type" => Type::Null,
            "list" => Type::list(Type::Dyn),
            "map" => Type::map(Type::Dyn, Type::Dyn),
            "type" => Type::Type(None),
            "google.protobuf.Timestamp" => Type::Timestamp,
            "google.protobuf.Duration" => Type::Duration,
            "net.IP" => Type::Opaque("net.IP", Vec::new()),
            "net.CIDR" => Type::Opaque("net.CIDR", Vec::new()),
            "optional_type" => Type::optional(Type::Dyn),
            _ if self.open_objects && (name == "Object" || name.starts_with("Object.")) => {
                Declared::open(name).to_type()
            }
            _ => return self.types.get(name).cloned(),
        })
    }
}

impl Program {
    /// The type of its value.
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// The most one evaluation may cost, from the limits of the declared variables; `u64::MAX` if there is no telling.
    pub fn estimate(&self) -> u64 {
        self.estimate
    }

    /// Whether it refers to a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    /// Evaluates it, at no more than [`PER_CALL_LIMIT`].
    pub fn evaluate<'v>(&self, activation: &Activation<'v>) -> Evaluation<'v> {
        self.evaluate_within(activation, PER_CALL_LIMIT)
    }

    /// Evaluates it, at no more than this.
    pub fn evaluate_within<'v>(&self, activation: &Activation<'v>, limit: u64) -> Evaluation<'v> {
        let mut evaluator = Evaluator::new(activation, self.slots, limit);
        let result = evaluator.eval(&self.root);
        Evaluation { result, cost: evaluator.cost() }
    }
}

#[cfg(test)]
mod tests;

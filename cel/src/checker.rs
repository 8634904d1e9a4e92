//! Gives every node a type and every call its overloads, or says why that cannot be.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ast::{Ast, Expr, Fold, Id, Kind, Literal},
    functions::Function,
    source::Issue,
    types::{OPTIONAL, Object, Type, Unifier, most_general},
};

/// What the checker asks of an environment.
pub(crate) trait Names {
    /// The type of a variable.
    fn variable(&self, name: &str) -> Option<Type>;
    /// A function by its full name.
    fn function(&self, name: &str) -> Option<&'static Function>;
    /// A type that an expression may name: to make one, or to compare `type(x)` with.
    fn named_type(&self, name: &str) -> Option<Type>;
}

/// What is known of a checked expression.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// By id.
    pub(crate) types: Vec<Type>,
    /// The overloads of each call that may apply.
    pub(crate) overloads: BTreeMap<Id, Vec<&'static str>>,
    /// The nodes that name a type.
    pub(crate) type_names: BTreeMap<Id, Type>,
    /// The variables it refers to, local ones left out.
    pub(crate) variables: std::collections::BTreeSet<String>,
}

impl Checked {
    pub(crate) fn type_of(&self, expr: &Expr) -> &Type {
        usize::try_from(expr.id).ok().and_then(|index| self.types.get(index)).unwrap_or(&Type::Error)
    }

    pub(crate) fn overloads_of(&self, expr: &Expr) -> &[&'static str] {
        self.overloads.get(&expr.id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Checks, and puts the full names into the tree.
pub(crate) fn check(ast: &mut Ast, names: &dyn Names) -> Result<Checked, Vec<Issue>> {
    let types = vec![Type::Error; ast.places.len()];
    let mut checker = Checker {
        names,
        places: &ast.places,
        checked: Checked { types, ..Checked::default() },
        unifier: Unifier::default(),
        scopes: Vec::new(),
        issues: Vec::new(),
    };
    checker.check(&mut ast.root);
    let Checker { mut checked, unifier, issues, .. } = checker;
    if !issues.is_empty() {
        return Err(issues);
    }
    for of in &mut checked.types {
        *of = unifier.resolve(of, true);
    }
    Ok(checked)
}

struct Checker<'c> {
    names: &'c dyn Names,
    places: &'c [usize],
    checked: Checked,
    unifier: Unifier,
    /// The variables of folds, innermost last.
    scopes: Vec<(String, Type)>,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn check(&mut self, expr: &mut Expr) -> Type {
        let found = match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => {
                let name = name.trim_start_matches('.').to_owned();
                match self.lookup(expr.id, &name) {
                    Some(found) => {
                        expr.kind = Kind::Ident(name);
                        found
                    }
                    None => {
                        self.undeclared(expr.id, &name);
                        Type::Error
                    }
                }
            }
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List(_) => self.list(expr),
            Kind::Map(_) => self.map(expr),
            Kind::Struct { .. } => self.structure(expr),
            Kind::Fold(fold) => self.fold(fold),
        };
        self.set(expr.id, found.clone());
        found
    }

    fn lookup(&mut self, id: Id, name: &str) -> Option<Type> {
        if let Some((_, found)) = self.scopes.iter().rev().find(|(known, _)| known == name) {
            return Some(found.clone());
        }
        if let Some(found) = self.names.variable(name) {
            self.checked.variables.insert(name.to_owned());
            return Some(found);
        }
        let named = self.names.named_type(name)?;
        self.checked.type_names.insert(id, named.clone());
        Some(Type::Type(Some(Arc::new(named))))
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = expr.qualified_name()
            && !self.is_local(&name)
            && let Some(found) = self.lookup(expr.id, name.trim_start_matches('.'))
        {
            expr.kind = Kind::Ident(name);
            return found;
        }
        let Kind::Select { operand, field, test } = &mut expr.kind else { return Type::Error };
        let (field, test) = (field.clone(), *test);
        let operand = self.check(operand);
        let found = self.field(expr.id, &operand, &field, false);
        if test { Type::Bool } else { self.unifier.resolve(&found, false) }
    }

    /// The first name is that of a loop variable, so the rest are fields.
    fn is_local(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or_default();
        self.scopes.iter().any(|(known, _)| known == first)
    }

    fn field(&mut self, id: Id, operand: &Type, field: &str, optional: bool) -> Type {
        let operand = self.unifier.resolve(operand, false);
        let (target, is_optional) = operand.unwrap_optional();
        let found = match &target {
            Type::Map(_, value) => value.as_ref().clone(),
            Type::Object(object) => self.object_field(id, object, field),
            Type::Variable(_) => {
                self.unifier.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.issue(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if is_optional || optional { Type::optional(found) } else { found }
    }

    fn object_field(&mut self, id: Id, object: &Object, field: &str) -> Type {
        match object.declared.as_ref().map(|declared| declared.field(field)) {
            Some(Some(field)) => field.of.to_type(),
            Some(None) => {
                self.issue(id, format!("undefined field '{field}'"));
                Type::Error
            }
            None => {
                self.issue(id, format!("unexpected failed resolution of '{}'", object.name));
                Type::Error
            }
        }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Call { function, target, args } = &mut expr.kind else { return Type::Error };
        if function == "_?._" {
            return self.optional_select(id, args);
        }
        let mut types: Vec<Type> = args.iter_mut().map(|arg| self.check(arg)).collect();
        let name = function.trim_start_matches('.').to_owned();
        let Some(receiver) = target else {
            let Some(found) = self.names.function(&name) else {
                self.undeclared(id, &name);
                return Type::Error;
            };
            *function = name;
            return self.resolve(id, found, false, &types, args);
        };
        if let Some(prefix) = receiver.qualified_name() {
            let qualified = format!("{}.{name}", prefix.trim_start_matches('.'));
            if let Some(found) = self.names.function(&qualified) {
                *function = qualified;
                let result = self.resolve(id, found, false, &types, args);
                *target = None;
                return result;
            }
        }
        types.insert(0, self.check(receiver));
        let Some(found) = self.names.function(&name) else {
            self.undeclared(id, &name);
            return Type::Error;
        };
        self.resolve(id, found, true, &types, args)
    }

    fn optional_select(&mut self, id: Id, args: &mut [Expr]) -> Type {
        let [operand, field] = args else { return Type::Error };
        let Kind::Literal(Literal::String(name)) = &field.kind else { return Type::Error };
        let name = Arc::clone(name);
        self.check(field);
        let operand = self.check(operand);
        let found = self.field(id, &operand, &name, true);
        self.checked.overloads.insert(id, vec!["select_optional_field"]);
        self.unifier.resolve(&found, false)
    }

    fn resolve(
        &mut self,
        id: Id,
        function: &'static Function,
        member: bool,
        types: &[Type],
        args: &[Expr],
    ) -> Type {
        if matches!(function.name, "_&&_" | "_||_") {
            let mut good = true;
            for (of, arg) in types.iter().zip(args) {
                if !self.unifier.assignable(of, &Type::Bool) {
                    let of = self.unifier.resolve(of, false);
                    self.issue(arg.id, format!("expected type 'bool' but found '{of}'"));
                    good = false;
                }
            }
            let ids = function.overloads.iter().map(|it| it.id).collect();
            self.checked.overloads.insert(id, ids);
            return if good { Type::Bool } else { Type::Error };
        }
        let mut ids = Vec::new();
        let mut result: Option<Type> = None;
        for overload in function.overloads.iter().filter(|it| it.member == member) {
            if overload.args.len() != types.len() {
                continue;
            }
            let open: Vec<Type> = (0..overload.open).map(|_| self.unifier.fresh()).collect();
            let wanted: Vec<Type> = overload.args.iter().map(|it| instantiate(it, &open)).collect();
            if !self.unifier.all_assignable(types, &wanted) {
                continue;
            }
            ids.push(overload.id);
            let gives = self.unifier.resolve(&instantiate(&overload.result, &open), false);
            result = Some(match result {
                None => gives,
                Some(before) if before.is_dyn() || gives.is(&before) => before,
                Some(_) => Type::Dyn,
            });
        }
        if let Some(result) = result {
            self.checked.overloads.insert(id, ids);
            return result;
        }
        let shown: Vec<String> = types.iter().map(|it| self.unifier.resolve(it, true).to_string()).collect();
        let signature = match (member, shown.split_first()) {
            (true, Some((target, rest))) => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.issue(
            id,
            format!("found no matching overload for '{}' applied to '{signature}'", function.name),
        );
        Type::Error
    }

    fn list(&mut self, expr: &mut Expr) -> Type {
        let Kind::List(elements) = &mut expr.kind else { return Type::Error };
        let mut of = None;
        for element in elements {
            let found = self.check(&mut element.value);
            let found = if element.optional { self.unwrap(element.value.id, &found) } else { found };
            of = Some(self.join(of, found));
        }
        Type::list(of.unwrap_or_else(|| self.unifier.fresh()))
    }

    fn map(&mut self, expr: &mut Expr) -> Type {
        let Kind::Map(entries) = &mut expr.kind else { return Type::Error };
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.check(&mut entry.key);
            keys = Some(self.join(keys, key));
            let value = self.check(&mut entry.value);
            let value = if entry.optional { self.unwrap(entry.value.id, &value) } else { value };
            values = Some(self.join(values, value));
        }
        match (keys, values) {
            (Some(keys), Some(values)) => Type::map(keys, values),
            _ => {
                let key = self.unifier.fresh();
                Type::map(key, self.unifier.fresh())
            }
        }
    }

    /// What stands where a `?` says that it is optional.
    fn unwrap(&mut self, id: Id, found: &Type) -> Type {
        let found = self.unifier.resolve(found, false);
        let (inner, is_optional) = found.unwrap_optional();
        if !is_optional && !found.is_dyn() {
            self.issue(id, format!("expected type '{OPTIONAL}({found})' but found '{found}'"));
        }
        inner
    }

    /// What mixes is dynamic; whether it may is for the literals' own check to say.
    fn join(&mut self, before: Option<Type>, found: Type) -> Type {
        match before {
            None => found,
            Some(before) if self.unifier.assignable(&before, &found) => most_general(&before, &found),
            Some(_) => Type::Dyn,
        }
    }

    fn structure(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Struct { name, fields } = &mut expr.kind else { return Type::Error };
        let full = name.trim_start_matches('.').to_owned();
        let Some(found) = self.names.named_type(&full) else {
            if self.names.variable(&full).is_some() {
                self.issue(id, format!("'{full}' is not a type"));
            } else {
                self.undeclared(id, &full);
            }
            return Type::Error;
        };
        *name = full;
        let Type::Object(object) = &found else {
            self.issue(id, format!("'{}' is not a message type", found.bare_name()));
            return Type::Error;
        };
        for field in fields {
            let value = self.check(&mut field.value);
            let wanted = self.object_field(field.id, object, &field.name);
            let value = if field.optional { self.unwrap(field.value.id, &value) } else { value };
            if !self.unifier.assignable(&wanted, &value) {
                let value = self.unifier.resolve(&value, false);
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{value}'",
                    field.name
                );
                self.issue(field.id, message);
            }
        }
        found
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.check(&mut fold.range);
        let init = self.check(&mut fold.init);
        let range = self.unifier.resolve(&range, false);
        let depth = self.scopes.len();
        self.scopes.push((fold.accumulator.clone(), init.clone()));
        let two = fold.second.is_some();
        let (first, second) = match &range {
            Type::List(of) if two => (Type::Int, of.as_ref().clone()),
            Type::List(of) => (of.as_ref().clone(), Type::Dyn),
            Type::Map(key, value) => (key.as_ref().clone(), value.as_ref().clone()),
            Type::Dyn | Type::Error | Type::Variable(_) => {
                self.unifier.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.scopes.push((fold.var.clone(), first));
        if let Some(name) = &fold.second {
            self.scopes.push((name.clone(), second));
        }
        let condition = self.check(&mut fold.condition);
        self.expect(fold.condition.id, &Type::Bool, &condition);
        let step = self.check(&mut fold.step);
        self.expect(fold.step.id, &init, &step);
        self.scopes.truncate(depth + 1);
        let result = self.check(&mut fold.result);
        self.scopes.truncate(depth);
        self.unifier.resolve(&result, false)
    }

    fn expect(&mut self, id: Id, wanted: &Type, found: &Type) {
        if !self.unifier.assignable(wanted, found) {
            let (wanted, found) = (self.unifier.resolve(wanted, false), self.unifier.resolve(found, false));
            self.issue(id, format!("expected type '{wanted}' but found '{found}'"));
        }
    }

    fn undeclared(&mut self, id: Id, name: &str) {
        self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn issue(&mut self, id: Id, message: String) {
        let place = usize::try_from(id).ok().and_then(|index| self.places.get(index)).copied();
        self.issues.push(Issue { place, message });
    }

    fn set(&mut self, id: Id, of: Type) {
        if let Some(slot) = usize::try_from(id).ok().and_then(|index| self.checked.types.get_mut(index)) {
            *slot = of;
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// A signature with types of its own for those it leaves open.
fn instantiate(of: &Type, open: &[Type]) -> Type {
    match of {
        Type::Variable(number) => {
            usize::try_from(*number).ok().and_then(|index| open.get(index)).cloned().unwrap_or(Type::Dyn)
        }
        Type::List(of) => Type::list(instantiate(of, open)),
        Type::Map(key, value) => Type::map(instantiate(key, open), instantiate(value, open)),
        Type::Opaque(name, parameters) => {
            Type::Opaque(name, parameters.iter().map(|it| instantiate(it, open)).collect())
        }
        Type::Type(Some(of)) => Type::Type(Some(Arc::new(instantiate(of, open)))),
        plain => plain.clone(),
    }
}

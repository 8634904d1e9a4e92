//! What is written like a call but is a loop, a binding or a test of presence: it becomes other nodes while parsing.

use crate::{
    ast::{ACCUMULATOR, Element, Expr, Fold, Id, Kind, Literal, UNUSED},
    parser::{Parsed, Parser, call},
};

/// Which macros there are beyond the usual ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Macros {
    /// `cel.bind(name, value, expression)`
    pub(crate) bindings: bool,
}

pub(crate) enum Expansion {
    Made(Expr),
    /// It was no macro: target and arguments as they were.
    None(Option<Expr>, Vec<Expr>),
}

/// A macro with arguments of the wrong form is noted, and stands for nothing.
pub(crate) fn expand(
    parser: &mut Parser,
    id: Id,
    function: &str,
    target: Option<Expr>,
    args: Vec<Expr>,
) -> Parsed<Expansion> {
    let place = parser.place_of(id);
    let mut make = Make { parser, place };
    let is_macro = match (&target, function, args.len()) {
        (None, "has", 1) => true,
        (Some(_), "all" | "exists" | "exists_one" | "existsOne" | "map", 2 | 3) => true,
        (Some(_), "filter" | "optMap" | "optFlatMap" | "sortBy", 2) => true,
        (Some(_), "transformList" | "transformMap" | "transformMapEntry", 3 | 4) => true,
        (Some(target), "bind", 3) => make.parser.macros().bindings && target.ident() == Some("cel"),
        _ => false,
    };
    if !is_macro {
        return Ok(Expansion::None(target, args));
    }
    let made = match (target, args.len()) {
        (None, _) => make.has(args),
        (Some(target), _) if function == "bind" => make.bind_macro(&target, args),
        (Some(target), _) if matches!(function, "optMap" | "optFlatMap") => {
            make.optional(function, target, args)
        }
        (Some(target), _) if function == "sortBy" => make.sort_by(target, args),
        (Some(target), 2) if function == "filter" => make.filter(target, args),
        (Some(target), _) if function == "map" => make.map(target, args),
        (Some(target), 2) => make.quantifier(function, target, args),
        (Some(target), _) => make.two_variables(function, target, args),
    }?;
    Ok(Expansion::Made(match made {
        Ok(expr) => expr,
        Err(Misuse { place, message }) => {
            make.parser.note(place, &message);
            make.literal(Literal::Null)?
        }
    }))
}

struct Misuse {
    place: usize,
    message: String,
}

type Made = Parsed<Result<Expr, Misuse>>;

/// Makes nodes that all stand where the macro does.
struct Make<'p> {
    parser: &'p mut Parser,
    place: usize,
}

/// The arguments of a macro, one after the other.
fn next(args: &mut std::vec::IntoIter<Expr>) -> Parsed<Expr> {
    args.next().ok_or(crate::parser::Abandoned)
}

impl Make<'_> {
    fn has(&mut self, args: Vec<Expr>) -> Made {
        let arg = next(&mut args.into_iter())?;
        let place = self.parser.place_of(arg.id);
        Ok(match arg.kind {
            Kind::Select { operand, field, .. } => {
                Ok(self.make(Kind::Select { operand, field, test: true })?)
            }
            _ => Err(Misuse { place, message: "invalid argument to has() macro".to_owned() }),
        })
    }

    fn quantifier(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Made {
        let mut args = args.into_iter();
        let var = match self.variable(&next(&mut args)?, "argument must be a simple name") {
            Ok(var) => var,
            Err(misuse) => return Ok(Err(misuse)),
        };
        let (init, condition, step, result) = self.quantified(function, next(&mut args)?)?;
        let fold = Fold {
            range: target,
            var,
            second: None,
            accumulator: ACCUMULATOR.to_owned(),
            init,
            condition,
            step,
            result,
        };
        self.fold(fold)
    }

    /// What all, exists and exists_one start from, go on while, do and give.
    fn quantified(&mut self, function: &str, predicate: Expr) -> Parsed<(Expr, Expr, Expr, Expr)> {
        Ok(match function {
            "all" => {
                let accumulator = self.accumulator()?;
                let condition = self.call("@not_strictly_false", vec![accumulator])?;
                let accumulator = self.accumulator()?;
                let step = self.call("_&&_", vec![accumulator, predicate])?;
                (self.literal(Literal::Bool(true))?, condition, step, self.accumulator()?)
            }
            "exists" => {
                let accumulator = self.accumulator()?;
                let not = self.call("!_", vec![accumulator])?;
                let condition = self.call("@not_strictly_false", vec![not])?;
                let accumulator = self.accumulator()?;
                let step = self.call("_||_", vec![accumulator, predicate])?;
                (self.literal(Literal::Bool(false))?, condition, step, self.accumulator()?)
            }
            _ => {
                let (accumulator, one) = (self.accumulator()?, self.literal(Literal::Int(1))?);
                let more = self.call("_+_", vec![accumulator, one])?;
                let same = self.accumulator()?;
                let step = self.call("_?_:_", vec![predicate, more, same])?;
                let (accumulator, one) = (self.accumulator()?, self.literal(Literal::Int(1))?);
                let result = self.call("_==_", vec![accumulator, one])?;
                (self.literal(Literal::Int(0))?, self.literal(Literal::Bool(true))?, step, result)
            }
        })
    }

    fn map(&mut self, target: Expr, args: Vec<Expr>) -> Made {
        let filtered = args.len() == 3;
        let mut args = args.into_iter();
        let var = match self.variable(&next(&mut args)?, "argument is not an identifier") {
            Ok(var) => var,
            Err(misuse) => return Ok(Err(misuse)),
        };
        let filter = if filtered { Some(next(&mut args)?) } else { None };
        let transform = next(&mut args)?;
        let step = self.append(transform)?;
        self.gather(target, var, None, filter, step, Kind::List(Vec::new()))
    }

    fn filter(&mut self, target: Expr, args: Vec<Expr>) -> Made {
        let mut args = args.into_iter();
        let element = next(&mut args)?;
        let var = match self.variable(&element, "argument is not an identifier") {
            Ok(var) => var,
            Err(misuse) => return Ok(Err(misuse)),
        };
        let predicate = next(&mut args)?;
        let step = self.append(element)?;
        self.gather(target, var, None, Some(predicate), step, Kind::List(Vec::new()))
    }

    fn two_variables(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Made {
        let filtered = args.len() == 4;
        let mut args = args.into_iter();
        let (first, second) = (next(&mut args)?, next(&mut args)?);
        let mut names = Vec::new();
        for variable in [&first, &second] {
            match variable.ident() {
                Some(name) => names.push(name.to_owned()),
                None => return Ok(Err(self.misuse(variable, "argument must be a simple name"))),
            }
        }
        let [var, other] = names.as_slice() else { return Err(crate::parser::Abandoned) };
        if var == other {
            return Ok(Err(self.misuse(&second, &format!("duplicate variable name: {var}"))));
        }
        for variable in [&first, &second] {
            if is_accumulator(variable.ident().unwrap_or_default()) {
                return Ok(Err(self.misuse(variable, "iteration variable overwrites accumulator variable")));
            }
        }
        let (var, other) = (var.clone(), other.clone());
        let filter = if filtered { Some(next(&mut args)?) } else { None };
        let transform = next(&mut args)?;
        match function {
            "transformList" => {
                let step = self.append(transform)?;
                self.gather(target, var, Some(other), filter, step, Kind::List(Vec::new()))
            }
            "transformMap" => {
                let accumulator = self.accumulator()?;
                let key = self.make(Kind::Ident(var.clone()))?;
                let step = self.call("cel.@mapInsert", vec![accumulator, key, transform])?;
                self.gather(target, var, Some(other), filter, step, Kind::Map(Vec::new()))
            }
            "transformMapEntry" => {
                let accumulator = self.accumulator()?;
                let step = self.call("cel.@mapInsert", vec![accumulator, transform])?;
                self.gather(target, var, Some(other), filter, step, Kind::Map(Vec::new()))
            }
            _ => {
                let (init, condition, step, result) = self.quantified(function, transform)?;
                let accumulator = ACCUMULATOR.to_owned();
                let second = Some(other);
                self.fold(Fold { range: target, var, second, accumulator, init, condition, step, result })
            }
        }
    }

    fn optional(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Made {
        let mut args = args.into_iter();
        let variable = next(&mut args)?;
        let Some(name) = variable.ident().map(str::to_owned) else {
            let message = format!("{function}() variable name must be a simple identifier");
            return Ok(Err(self.misuse(&variable, &message)));
        };
        let again = self.copy(&target)?;
        let value = self.make(call("value", Some(again), Vec::new()))?;
        let bound = self.bind(name, value, next(&mut args)?)?;
        let there = self.make(call("hasValue", Some(target), Vec::new()))?;
        let then = if function == "optMap" { self.call("optional.of", vec![bound])? } else { bound };
        let none = self.call("optional.none", Vec::new())?;
        Ok(Ok(self.call("_?_:_", vec![there, then, none])?))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Made {
        const INPUT: &str = "@__sortBy_input__";
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let message =
                "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Ok(Err(self.misuse(&target, message)));
        }
        let input = self.make(Kind::Ident(INPUT.to_owned()))?;
        let keys = match self.map(input, args)? {
            Ok(keys) => keys,
            Err(misuse) => return Ok(Err(misuse)),
        };
        let input = self.make(Kind::Ident(INPUT.to_owned()))?;
        let sorted = self.make(call("@sortByAssociatedKeys", Some(input), vec![keys]))?;
        Ok(Ok(self.bind(INPUT.to_owned(), target, sorted)?))
    }

    fn bind_macro(&mut self, _target: &Expr, args: Vec<Expr>) -> Made {
        let mut args = args.into_iter();
        let variable = next(&mut args)?;
        let Some(name) = variable.ident().map(str::to_owned) else {
            return Ok(Err(self.misuse(&variable, "cel.bind() variable names must be simple identifiers")));
        };
        let value = next(&mut args)?;
        Ok(Ok(self.bind(name, value, next(&mut args)?)?))
    }

    // === pieces ===

    /// A fold over nothing, whose accumulator is the bound name.
    fn bind(&mut self, name: String, value: Expr, result: Expr) -> Parsed<Expr> {
        let fold = Fold {
            range: self.make(Kind::List(Vec::new()))?,
            var: UNUSED.to_owned(),
            second: None,
            accumulator: name.clone(),
            init: value,
            condition: self.literal(Literal::Bool(false))?,
            step: self.make(Kind::Ident(name))?,
            result,
        };
        self.make(Kind::Fold(Box::new(fold)))
    }

    fn gather(
        &mut self,
        range: Expr,
        var: String,
        second: Option<String>,
        filter: Option<Expr>,
        step: Expr,
        init: Kind,
    ) -> Made {
        let step = match filter {
            None => step,
            Some(filter) => {
                let same = self.accumulator()?;
                self.call("_?_:_", vec![filter, step, same])?
            }
        };
        let init = self.make(init)?;
        let condition = self.literal(Literal::Bool(true))?;
        let result = self.accumulator()?;
        let accumulator = ACCUMULATOR.to_owned();
        self.fold(Fold { range, var, second, accumulator, init, condition, step, result })
    }

    fn append(&mut self, value: Expr) -> Parsed<Expr> {
        let accumulator = self.accumulator()?;
        let list = self.make(Kind::List(vec![Element { value, optional: false }]))?;
        self.call("_+_", vec![accumulator, list])
    }

    fn variable(&mut self, expr: &Expr, otherwise: &str) -> Result<String, Misuse> {
        match expr.ident() {
            None => Err(self.misuse(expr, otherwise)),
            Some(name) if is_accumulator(name) => {
                Err(self.misuse(expr, "iteration variable overwrites accumulator variable"))
            }
            Some(name) => Ok(name.to_owned()),
        }
    }

    fn misuse(&self, at: &Expr, message: &str) -> Misuse {
        Misuse { place: self.parser.place_of(at.id), message: message.to_owned() }
    }

    fn fold(&mut self, fold: Fold) -> Made {
        Ok(Ok(self.make(Kind::Fold(Box::new(fold)))?))
    }

    fn accumulator(&mut self) -> Parsed<Expr> {
        self.make(Kind::Ident(ACCUMULATOR.to_owned()))
    }

    fn literal(&mut self, literal: Literal) -> Parsed<Expr> {
        self.make(Kind::Literal(literal))
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Parsed<Expr> {
        self.make(call(function, None, args))
    }

    fn make(&mut self, kind: Kind) -> Parsed<Expr> {
        let id = self.parser.id(self.place)?;
        Ok(self.parser.node(id, kind))
    }

    /// The same once more, with ids of its own.
    fn copy(&mut self, expr: &Expr) -> Parsed<Expr> {
        let mut copy = expr.clone();
        self.renumber(&mut copy)?;
        Ok(copy)
    }

    fn renumber(&mut self, expr: &mut Expr) -> Parsed<()> {
        expr.id = self.parser.id(self.parser.place_of(expr.id))?;
        if let Kind::Struct { fields, .. } = &mut expr.kind {
            for field in fields {
                field.id = self.parser.id(self.parser.place_of(field.id))?;
            }
        }
        for child in expr.children_mut() {
            self.renumber(child)?;
        }
        Ok(())
    }
}

fn is_accumulator(name: &str) -> bool {
    name == ACCUMULATOR || name == "__result__"
}

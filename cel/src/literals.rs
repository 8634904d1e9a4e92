//! What is checked of literals after the types are: durations, times and regular expressions that are written down must
//! be good, elements of one literal must be of one type, and formats must suit their arguments.

use crate::{
    ast::{Ast, Expr, Id, Kind, Literal},
    checker::Checked,
    goregex, library,
    source::Issue,
    types::Type,
};

pub(crate) fn check(ast: &Ast, checked: &Checked) -> Vec<Issue> {
    let mut check = Check { ast, checked, issues: Vec::new() };
    check.walk(&ast.root, &Check::call_literals, false);
    check.walk(&ast.root, &Check::one_type, false);
    check.walk(&ast.root, &Check::format, false);
    check.issues
}

struct Check<'c> {
    ast: &'c Ast,
    checked: &'c Checked,
    issues: Vec<Issue>,
}

impl Check<'_> {
    fn walk(&mut self, expr: &Expr, visit: &dyn Fn(&mut Self, &Expr, bool), in_format: bool) {
        visit(self, expr, in_format);
        let in_format =
            in_format || matches!(&expr.kind, Kind::Call { function, .. } if function == "format");
        for child in expr.children() {
            self.walk(child, visit, in_format);
        }
    }

    fn issue(&mut self, id: Id, message: String) {
        self.issues.push(Issue { place: self.ast.place(id), message });
    }

    fn call_literals(&mut self, expr: &Expr, _: bool) {
        let Kind::Call { function, args, .. } = &expr.kind else { return };
        let Some(arg) = args.first() else { return };
        let Kind::Literal(literal) = &arg.kind else { return };
        let good = match (function.as_str(), literal) {
            ("duration", Literal::String(text)) => library::time::parse_duration(text).is_ok(),
            ("duration", Literal::Int(_)) => false,
            ("timestamp", Literal::String(text)) => library::time::parse_timestamp(text).is_ok(),
            ("timestamp", Literal::Int(seconds)) => crate::value::Timestamp::from_seconds(*seconds).is_some(),
            ("matches", Literal::String(pattern)) => goregex::compile(pattern).is_ok(),
            _ => true,
        };
        if !good {
            self.issue(arg.id, format!("invalid {function} argument"));
        }
    }

    fn one_type(&mut self, expr: &Expr, in_format: bool) {
        if in_format {
            return;
        }
        let of = |it: &Expr, optional: bool| {
            let of = self.checked.type_of(it).clone();
            if optional { of.unwrap_optional().0 } else { of }
        };
        let mut found: Vec<(Id, Type, Type)> = Vec::new();
        match &expr.kind {
            Kind::List(elements) => {
                let mut elements = elements.iter().map(|it| (it.value.id, of(&it.value, it.optional)));
                if let Some((_, first)) = elements.next() {
                    found.extend(
                        elements.find(|(_, of)| !equivalent(of, &first)).map(|(id, of)| (id, first, of)),
                    );
                }
            }
            Kind::Map(entries) => {
                let mut entries = entries.iter();
                if let Some(first) = entries.next() {
                    let (key, value) = (of(&first.key, false), of(&first.value, first.optional));
                    for entry in entries {
                        let pairs = [(&entry.key, &key, false), (&entry.value, &value, entry.optional)];
                        for (expr, first, optional) in pairs {
                            let of = of(expr, optional);
                            if !equivalent(&of, first) {
                                found.push((expr.id, first.clone(), of));
                            }
                        }
                    }
                }
            }
            _ => {}
        }
        for (id, wanted, of) in found {
            self.issue(id, format!("expected type '{wanted}' but found '{of}'"));
        }
    }

    fn format(&mut self, expr: &Expr, _: bool) {
        let Kind::Call { function, target: Some(target), args } = &expr.kind else { return };
        let (Kind::Literal(Literal::String(format)), [list]) = (&target.kind, args.as_slice()) else {
            return;
        };
        let Kind::List(elements) = &list.kind else { return };
        if function != "format" {
            return;
        }
        let args: Vec<&Expr> = elements.iter().map(|it| &it.value).collect();
        let mut wanted = 0;
        let result = library::format::each_clause(format, args.len(), |clause, index| {
            wanted += 1;
            let arg = args.get(index).copied();
            match arg.and_then(|arg| self.misfit(clause, arg)) {
                None => Ok(()),
                Some((id, of)) => Err((Some(id), library::format::misfit(clause, of.bare_name()))),
            }
        });
        match result {
            Err((id, message)) => self.issue(id.unwrap_or(expr.id), message),
            Ok(()) if args.len() > wanted => self.issue(
                expr.id,
                format!(
                    "too many arguments supplied to string.format (expected {wanted}, got {})",
                    args.len()
                ),
            ),
            Ok(()) => {}
        }
    }

    /// The part of an argument that the clause cannot show.
    fn misfit(&self, clause: char, arg: &Expr) -> Option<(Id, Type)> {
        let of = self.checked.type_of(arg);
        let fits = match (clause, of) {
            (_, Type::Dyn)
            | ('d' | 'o', Type::Int | Type::Uint)
            | ('f' | 'e', Type::Double | Type::String) => true,
            ('b', Type::Int | Type::Uint | Type::Bool) => true,
            ('x' | 'X', Type::Int | Type::Uint | Type::String | Type::Bytes) => true,
            ('s', Type::Opaque(..) | Type::Object(_) | Type::Error | Type::Variable(_)) => false,
            ('s', _) => {
                return match &arg.kind {
                    Kind::List(elements) => elements.iter().find_map(|it| self.misfit(clause, &it.value)),
                    Kind::Map(entries) => entries
                        .iter()
                        .flat_map(|it| [&it.key, &it.value])
                        .find_map(|it| self.misfit(clause, it)),
                    _ => None,
                };
            }
            _ => false,
        };
        (!fits).then(|| (arg.id, of.clone()))
    }
}

/// Nothing but the parameters of types that are not known may differ.
fn equivalent(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::List(a), Type::List(b)) => equivalent(a, b),
        (Type::Map(a, x), Type::Map(b, y)) => equivalent(a, b) && equivalent(x, y),
        (Type::Type(_), Type::Type(_)) => true,
        _ => a.is(b),
    }
}

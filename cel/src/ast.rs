//! The tree of an expression. Macros are already expanded: what loops is a [`Fold`].

use std::sync::Arc;

/// Tells a node from all others of its tree.
pub(crate) type Id = u32;

/// The variable that macros gather their result in; no source can name it.
pub(crate) const ACCUMULATOR: &str = "@result";
/// The loop variable of a fold that only binds a name.
pub(crate) const UNUSED: &str = "#unused";

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(String),
    Select { operand: Box<Expr>, field: String, test: bool },
    Call { function: String, target: Option<Box<Expr>>, args: Vec<Expr> },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct { name: String, fields: Vec<FieldInit> },
    Fold(Box<Fold>),
}

#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct FieldInit {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) range: Expr,
    pub(crate) var: String,
    pub(crate) second: Option<String>,
    pub(crate) accumulator: String,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

/// A parsed expression.
#[derive(Debug)]
pub(crate) struct Ast {
    pub(crate) root: Expr,
    /// Where each node stands, by its id.
    pub(crate) places: Vec<usize>,
}

impl Ast {
    pub(crate) fn place(&self, id: Id) -> crate::source::Place {
        self.places.get(usize::try_from(id).ok()?).copied()
    }
}

impl Expr {
    pub(crate) fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    /// `a.b.c`, if it is nothing but names.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }

    /// What stands directly under it.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { target, args, .. } => target.iter().map(AsRef::as_ref).chain(args).collect(),
            Kind::List(elements) => elements.iter().map(|it| &it.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|it| [&it.key, &it.value]).collect(),
            Kind::Struct { fields, .. } => fields.iter().map(|it| &it.value).collect(),
            Kind::Fold(fold) => {
                vec![&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]
            }
        }
    }

    pub(crate) fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { target, args, .. } => target.iter_mut().map(AsMut::as_mut).chain(args).collect(),
            Kind::List(elements) => elements.iter_mut().map(|it| &mut it.value).collect(),
            Kind::Map(entries) => entries.iter_mut().flat_map(|it| [&mut it.key, &mut it.value]).collect(),
            Kind::Struct { fields, .. } => fields.iter_mut().map(|it| &mut it.value).collect(),
            Kind::Fold(fold) => {
                let fold = fold.as_mut();
                vec![&mut fold.range, &mut fold.init, &mut fold.condition, &mut fold.step, &mut fold.result]
            }
        }
    }
}

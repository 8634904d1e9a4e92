//! Sets of field paths, the content of `fieldsV1`.

use std::cmp::Ordering;

use serde_json::{Map as Object, Value};

use super::{
    element::Element,
    shape::{Form, Shape},
};

/// A set of paths, as a tree: what is at a path and what is below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Sorted by element, each once; every branch has something in it.
    branches: Vec<Branch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Branch {
    element: Element,
    /// The path up to here is in the set.
    member: bool,
    below: Set,
}

/// The part of a set at and below one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The path itself is in the set.
    pub member: bool,
    /// The paths below it, seen from there.
    pub below: Set,
}

/// A path of fields, with `*` for any step. It stands for everything at and below it.
pub type Pattern = [&'static str];

// === impl Branch ===

impl Branch {
    fn part(&self) -> Part {
        Part { member: self.member, below: self.below.clone() }
    }
}

// === impl Part ===

impl Part {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

// === impl Set ===

impl Set {
    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        self.branches.is_empty()
    }

    /// A set of paths of fields.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let elements: Vec<Element> = path.iter().map(|name| Element::field(name)).collect();
            set.insert(&elements);
        }
        set
    }

    /// Puts a path in; the empty path, which is the whole object, belongs to nobody.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let part = match rest {
            [] => Part { member: true, below: Self::default() },
            rest => {
                let mut below = Self::default();
                below.insert(rest);
                Part { member: false, below }
            }
        };
        self.add(first.clone(), part);
    }

    /// Puts everything of a part in, under a step.
    pub(super) fn add(&mut self, element: Element, part: Part) {
        if part.is_empty() {
            return;
        }
        // What is added comes sorted in most cases.
        if self.branches.last().is_none_or(|last| last.element < element) {
            self.branches.push(Branch { element, member: part.member, below: part.below });
            return;
        }
        match self.branches.binary_search_by(|branch| branch.element.cmp(&element)) {
            Ok(at) => {
                if let Some(branch) = self.branches.get_mut(at) {
                    branch.member |= part.member;
                    branch.below = branch.below.union(&part.below);
                }
            }
            Err(at) => {
                self.branches.insert(at, Branch { element, member: part.member, below: part.below });
            }
        }
    }

    fn branch(&self, element: &Element) -> Option<&Branch> {
        let at = self.branches.binary_search_by(|branch| branch.element.cmp(element)).ok()?;
        self.branches.get(at)
    }

    /// Whether the path ends in this set with one step.
    pub(super) fn contains(&self, element: &Element) -> bool {
        self.branch(element).is_some_and(|branch| branch.member)
    }

    /// What is below a step, if anything is.
    pub(super) fn below(&self, element: &Element) -> Option<&Self> {
        self.branch(element).map(|branch| &branch.below).filter(|below| !below.is_empty())
    }

    /// Whether the path is in the set.
    pub fn has(&self, path: &[Element]) -> bool {
        match path.split_first() {
            None => false,
            Some((last, [])) => self.contains(last),
            Some((first, rest)) => self.branch(first).is_some_and(|branch| branch.below.has(rest)),
        }
    }

    /// The paths in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.combine(other, |one, other| match (one, other) {
            (Some(one), Some(other)) => {
                Part { member: one.member || other.member, below: one.below.union(&other.below) }
            }
            (Some(only), None) | (None, Some(only)) => only.part(),
            (None, None) => Part::default(),
        })
    }

    /// The paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |one, other| match (one, other) {
            (Some(one), Some(other)) => {
                Part { member: one.member && other.member, below: one.below.intersection(&other.below) }
            }
            _ => Part::default(),
        })
    }

    /// The paths in this one only. What is below a path that goes stays.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |one, other| match (one, other) {
            (Some(one), Some(other)) => {
                Part { member: one.member && !other.member, below: one.below.difference(&other.below) }
            }
            (Some(only), None) => only.part(),
            (None, _) => Part::default(),
        })
    }

    /// The paths in this one that are neither in the other nor below one of its paths.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combine(other, |one, other| match (one, other) {
            (Some(_), Some(other)) if other.member => Part::default(),
            (Some(one), Some(other)) => Part { member: one.member, below: one.below.without(&other.below) },
            (Some(only), None) => only.part(),
            (None, _) => Part::default(),
        })
    }

    /// The paths at or below one of the patterns.
    #[must_use]
    pub fn only(&self, patterns: &[&Pattern]) -> Self {
        let mut out = Self::default();
        for branch in &self.branches {
            let fits = |step: &str| step == "*" || branch.element.field_name() == Some(step);
            let mut member = false;
            let mut whole = false;
            let mut rest = Vec::new();
            for (first, after) in patterns.iter().filter_map(|pattern| pattern.split_first()) {
                if fits(first) {
                    member = branch.member;
                    whole |= after.is_empty();
                    rest.push(after);
                }
            }
            let below = if whole { branch.below.clone() } else { branch.below.only(&rest) };
            out.add(branch.element.clone(), Part { member, below });
        }
        out
    }

    fn combine(&self, other: &Self, part: impl Fn(Option<&Branch>, Option<&Branch>) -> Part) -> Self {
        let mut out = Self { branches: Vec::with_capacity(self.branches.len()) };
        let (mut one, mut other) = (self.branches.iter().peekable(), other.branches.iter().peekable());
        loop {
            let order = match (one.peek(), other.peek()) {
                (None, None) => return out,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.element.cmp(&other.element),
            };
            let left = if order.is_le() { one.next() } else { None };
            let right = if order.is_ge() { other.next() } else { None };
            if let Some(branch) = left.or(right) {
                let part = part(left, right);
                if !part.is_empty() {
                    let element = branch.element.clone();
                    out.branches.push(Branch { element, member: part.member, below: part.below });
                }
            }
        }
    }

    /// With every declared field on the way to a path put in too.
    #[must_use]
    pub(super) fn with_named_fields(&self, shape: Option<Shape<'_>>) -> Self {
        let node = shape.map(|shape| (shape, shape.node()));
        let branches = self.branches.iter().map(|branch| {
            let mut member = branch.member;
            let mut of = None;
            if let Some((shape, node)) = node {
                if let (Some(name), Some(map)) = (branch.element.field_name(), &node.map) {
                    member |= !branch.below.is_empty() && map.declares(name);
                    of = shape.field(map, name);
                } else if let (true, Some(list)) = (branch.element.is_keys(), &node.list) {
                    of = Some(shape.item(list));
                }
            }
            Branch { element: branch.element.clone(), member, below: branch.below.with_named_fields(of) }
        });
        Self { branches: branches.collect() }
    }

    /// Brought up to date with the type: where a map or list has become one piece since, whoever had parts of it has
    /// the whole.
    #[must_use]
    pub(super) fn reconciled(&self, shape: Shape<'_>) -> Self {
        let node = shape.of(None);
        let mut branches = Vec::with_capacity(self.branches.len());
        for branch in &self.branches {
            let of = match (node, branch.element.field_name()) {
                (Form::Map(map), _) if shape.is_deduced(map) => None,
                (Form::Map(map), Some(name)) => shape.field(map, name),
                (Form::List(list), _) => Some(shape.item(list)),
                _ => None,
            };
            let one_piece = of.is_some_and(|of| match of.of(None) {
                Form::Map(map) => map.atomic && !of.is_deduced(map) && !branch.below.is_empty(),
                Form::List(list) => {
                    matches!(list.items, super::shape::Items::Atomic) && !branch.below.is_empty()
                }
                Form::Scalar(_) | Form::Undeclared => false,
            });
            let (member, below) = match of {
                _ if one_piece => (true, Self::default()),
                Some(of) => (branch.member, branch.below.reconciled(of)),
                None => (branch.member, branch.below.clone()),
            };
            branches.push(Branch { element: branch.element.clone(), member, below });
        }
        Self { branches }
    }

    /// All paths in upstream's order: those that end here, then those of each branch.
    pub(super) fn paths(&self) -> Vec<Vec<Element>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<Element>, paths: &mut Vec<Vec<Element>>) {
        let mut branches: Vec<&Branch> = self.branches.iter().collect();
        branches.sort_by(|one, other| one.element.upstream_order(&other.element));
        for branch in branches.iter().filter(|branch| branch.member) {
            let mut path = prefix.clone();
            path.push(branch.element.clone());
            paths.push(path);
        }
        for branch in branches {
            prefix.push(branch.element.clone());
            branch.below.collect(prefix, paths);
            prefix.pop();
        }
    }

    /// Reads `fieldsV1`.
    ///
    /// # Errors
    /// When it is no object of steps.
    pub fn from_value(fields: &Value) -> Result<Self, String> {
        Self::read(fields).map(|(set, _)| set.unwrap_or_default())
    }

    /// What is below, if anything is, and whether the place itself is in the set.
    fn read(fields: &Value) -> Result<(Option<Self>, bool), String> {
        let fields = match fields {
            Value::Object(fields) => fields,
            Value::Null => return Ok((None, true)),
            _ => return Err("fields are no object".to_owned()),
        };
        let mut below: Option<Self> = None;
        let mut here = false;
        for (text, value) in fields {
            if text == "." {
                here = true;
                continue;
            }
            let Some(element) = Element::parse(text)? else { continue };
            let (deeper, member) = Self::read(value)?;
            let part = Part { member, below: deeper.unwrap_or_default() };
            below.get_or_insert_default().add(element, part);
        }
        here |= below.is_none();
        Ok((below, here))
    }

    /// As it stands in `fieldsV1`.
    pub fn to_value(&self) -> Value {
        Value::Object(self.write(false))
    }

    fn write(&self, member: bool) -> Object<String, Value> {
        let empty = || Value::Object(Object::new());
        let own = (member && !self.is_empty()).then(|| (".".to_owned(), empty()));
        let branches = self.branches.iter().map(|branch| {
            let below = Value::Object(branch.below.write(branch.member));
            (branch.element.as_str().to_owned(), below)
        });
        own.into_iter().chain(branches).collect()
    }

    /// Whether stored fields, in the form [`Self::to_value`] gives, have anything at or below a path of this set.
    pub(super) fn touches(&self, stored: &Value) -> bool {
        self.branches.iter().any(|branch| {
            let found = stored.get(branch.element.as_str());
            found.is_some_and(|found| branch.member || branch.below.touches(found))
        })
    }
}

#[cfg(test)]
mod tests;

//! Sets of field paths, the content of `fieldsV1`.

use serde_json::{Map as Object, Value};

use super::{
    element::Element,
    shape::{Form, Items, Shape},
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

    /// An empty set that will have this many steps at its root.
    pub(super) fn with_capacity(steps: usize) -> Self {
        Self { branches: Vec::with_capacity(steps) }
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
                    branch.below.unite(part.below);
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

    /// Puts all paths of another set in.
    pub fn unite(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        for branch in other.branches {
            self.add(branch.element, Part { member: branch.member, below: branch.below });
        }
    }

    /// Takes the paths of another set out. What is below a path that goes stays.
    pub fn subtract(&mut self, other: &Self) {
        self.reduce(other, |branch, other| {
            branch.member &= !other.member;
            branch.below.subtract(&other.below);
        });
    }

    /// Takes out the paths of another set and everything below them.
    pub fn subtract_deep(&mut self, other: &Self) {
        self.reduce(other, |branch, other| {
            if other.member {
                branch.member = false;
                branch.below = Self::default();
            } else {
                branch.below.subtract_deep(&other.below);
            }
        });
    }

    fn reduce(&mut self, other: &Self, reduce: impl Fn(&mut Branch, &Branch)) {
        let mut emptied = false;
        for other in &other.branches {
            let found = self.branches.binary_search_by(|branch| branch.element.cmp(&other.element));
            if let Some(branch) = found.ok().and_then(|at| self.branches.get_mut(at)) {
                reduce(branch, other);
                emptied |= !branch.member && branch.below.is_empty();
            }
        }
        if emptied {
            self.branches.retain(|branch| branch.member || !branch.below.is_empty());
        }
    }

    /// The paths in either.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        self.unite(other);
        self
    }

    /// The paths in this one only. What is below a path that goes stays.
    #[must_use]
    pub fn difference(mut self, other: &Self) -> Self {
        self.subtract(other);
        self
    }

    /// The paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::default();
        for branch in &self.branches {
            if let Some(other) = other.branch(&branch.element) {
                let below = branch.below.intersection(&other.below);
                let member = branch.member && other.member;
                out.add(branch.element.clone(), Part { member, below });
            }
        }
        out
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

    /// With every declared field on the way to a path put in too.
    #[must_use]
    pub(super) fn with_named_fields(mut self, shape: Option<Shape<'_>>) -> Self {
        self.add_named_fields(shape);
        self
    }

    fn add_named_fields(&mut self, shape: Option<Shape<'_>>) {
        let Some((shape, node)) = shape.map(|shape| (shape, shape.node())) else { return };
        for branch in self.branches.iter_mut().filter(|branch| !branch.below.is_empty()) {
            let mut of = None;
            if let (Some(name), Some(map)) = (branch.element.field_name(), &node.map) {
                branch.member |= map.declares(name);
                of = shape.field(map, name);
            } else if let (true, Some(list)) = (branch.element.is_keys(), &node.list) {
                of = Some(shape.item(list));
            }
            branch.below.add_named_fields(of);
        }
    }

    /// Brings the set up to date with the type: where a map or list has become one piece since, whoever had parts of it
    /// has the whole.
    pub(super) fn reconcile(&mut self, shape: Shape<'_>) {
        let form = shape.of(None);
        for branch in &mut self.branches {
            if branch.below.is_empty() {
                continue;
            }
            let of = match (form, branch.element.field_name()) {
                (Form::Map(map), _) if shape.is_deduced(map) => None,
                (Form::Map(map), Some(name)) => shape.field(map, name),
                (Form::List(list), _) => Some(shape.item(list)),
                _ => None,
            };
            let Some(of) = of else { continue };
            let one_piece = match of.of(None) {
                Form::Map(map) => map.atomic && !of.is_deduced(map),
                Form::List(list) => matches!(list.items, Items::Atomic),
                Form::Scalar(_) | Form::Undeclared => false,
            };
            if one_piece {
                branch.member = true;
                branch.below = Self::default();
            } else {
                branch.below.reconcile(of);
            }
        }
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

    /// Reads fields that [`Self::into_value`] wrote: their texts are taken as they are.
    pub(super) fn from_stored(fields: Value) -> Self {
        let Value::Object(fields) = fields else { return Self::default() };
        let mut branches = Vec::with_capacity(fields.len());
        // The keys of a JSON object are sorted, and so are branches.
        for (text, value) in fields.into_iter().filter(|(text, _)| text != ".") {
            let member = value.as_object().is_none_or(|below| below.is_empty() || below.contains_key("."));
            branches.push(Branch {
                element: Element::from_stored(text),
                member,
                below: Self::from_stored(value),
            });
        }
        Self { branches }
    }

    /// As it stands in `fieldsV1`.
    pub fn into_value(self) -> Value {
        Value::Object(self.write(false))
    }

    fn write(self, member: bool) -> Object<String, Value> {
        let own = member && !self.is_empty();
        let own = own.then(|| (".".to_owned(), Value::Object(Object::new())));
        let branches = self.branches.into_iter().map(|branch| {
            let below = Value::Object(branch.below.write(branch.member));
            (branch.element.into_string(), below)
        });
        own.into_iter().chain(branches).collect()
    }

    /// Whether stored fields, in the form [`Self::into_value`] gives, have anything at or below a path of this set.
    pub(super) fn touches(&self, stored: &Value) -> bool {
        self.branches.iter().any(|branch| {
            let found = stored.get(branch.element.as_str());
            found.is_some_and(|found| branch.member || branch.below.touches(found))
        })
    }
}

#[cfg(test)]
mod tests;

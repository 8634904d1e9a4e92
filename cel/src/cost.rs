//! What an expression may cost, told before it is ever evaluated, from the limits of the data it looks into: what decides
//! whether a rule is accepted. The numbers are those of cel-go's checker and of Kubernetes' libraries; any other number
//! would accept or refuse other rules.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ast::{ACCUMULATOR, Expr, Fold, Id, Kind, Literal},
    checker::Checked,
    declared::Declared,
    library::named_format::LONGEST_NAME_PATTERN,
    types::Type,
};

/// One traversal of a string, per character.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// One regular expression, per character of it.
pub(crate) const PATTERN: f64 = 0.25;
pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
pub(crate) const STRUCT: u64 = 40;
/// One question to the authorizer.
pub(crate) const CHECK: u64 = 350_000;

/// From the least to the most: of a size, or of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };

impl Range {
    pub(crate) const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scaled(self, by: f64) -> Self {
        Self { min: scaled(self.min, by), max: scaled(self.max, by) }
    }

    fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// Rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "upstream goes through a float; conversion saturates"
)]
pub(crate) fn scaled(value: u64, by: f64) -> u64 {
    (value as f64 * by).ceil() as u64
}

type Path = Vec<Arc<str>>;

#[derive(Clone, Copy)]
struct Entries {
    is_list: bool,
    key: Range,
    value: Range,
}

impl Entries {
    fn or(self, other: Self) -> Self {
        Self { is_list: self.is_list, key: self.key.or(other.key), value: self.value.or(other.value) }
    }
}

#[derive(Clone)]
struct Local {
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

/// What a node is to the estimate of a call it is an argument of.
struct Node<'e> {
    expr: Option<&'e Expr>,
    path: Path,
    of: Type,
    size: Option<Range>,
}

pub(crate) struct Estimator<'e> {
    checked: &'e Checked,
    root: &'e dyn Fn(&str) -> Option<Arc<Declared>>,
    paths: BTreeMap<Id, Path>,
    sizes: BTreeMap<Id, Range>,
    entries: BTreeMap<Id, Entries>,
    locals: Vec<(String, Local)>,
}

/// The most that evaluation may cost; `root` gives the declarations of variables.
pub(crate) fn estimate(
    expr: &Expr,
    checked: &Checked,
    root: &dyn Fn(&str) -> Option<Arc<Declared>>,
) -> Range {
    let mut estimator = Estimator {
        checked,
        root,
        paths: BTreeMap::new(),
        sizes: BTreeMap::new(),
        entries: BTreeMap::new(),
        locals: Vec::new(),
    };
    estimator.cost(expr)
}

struct Call {
    cost: Range,
    size: Option<Range>,
}

impl Call {
    fn of(cost: Range) -> Self {
        Self { cost, size: None }
    }

    fn sized(cost: Range, size: Range) -> Self {
        Self { cost, size: Some(size) }
    }
}

impl Estimator<'_> {
    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::fixed(0),
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => vec![name.as_str().into()],
                };
                self.paths.insert(expr.id, path);
                Range::fixed(1)
            }
            Kind::Select { operand, field, test } => {
                let mut sum = self.cost(operand);
                if *test {
                    return sum;
                }
                if matches!(
                    self.checked.type_of(operand),
                    Type::Map(..) | Type::Object(_) | Type::Variable(_)
                ) {
                    sum = sum.plus(Range::fixed(1));
                }
                let mut path = self.path(operand);
                path.push(field.as_str().into());
                self.paths.insert(expr.id, path);
                sum
            }
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            Kind::List(elements) => {
                let mut size = Range { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let mut sum = Range::fixed(LIST);
                for element in elements {
                    sum = sum.plus(self.cost(&element.value));
                    size = size.or(self.size_or_unknown(&element.value));
                }
                self.entries.insert(expr.id, Entries { is_list: true, key: Range::fixed(1), value: size });
                sum
            }
            Kind::Map(entries) => {
                let least = if entries.is_empty() { 0 } else { u64::MAX };
                let (mut keys, mut values) = (Range { min: least, max: 0 }, Range { min: least, max: 0 });
                let mut sum = Range::fixed(MAP);
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    keys = keys.or(self.size_or_unknown(&entry.key));
                    values = values.or(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, Entries { is_list: false, key: keys, value: values });
                sum
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Range::fixed(STRUCT), |sum, field| sum.plus(self.cost(&field.value)))
            }
            Kind::Fold(fold) if is_bind(fold) => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn bind(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_bound(&fold.accumulator, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        self.copy_size(expr.id, &fold.result);
        sum
    }

    fn push_bound(&mut self, name: &str, value: &Expr) {
        let local = Local { path: self.path(value), size: self.size(value), entries: self.entries_of(value) };
        self.locals.push((name.to_owned(), local));
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_bound(&fold.accumulator, &fold.init);
        let entries = self.entries_of(&fold.range);
        let is_list = entries
            .map_or_else(|| matches!(self.checked.type_of(&fold.range), Type::List(_)), |it| it.is_list);
        let path = self.path(&fold.range);
        let mut push = |name: &str, step: &str, size: Option<Range>| {
            let mut path = path.clone();
            path.push(step.into());
            self.locals.push((name.to_owned(), Local { path, size, entries: None }));
        };
        match &fold.second {
            Some(second) => {
                push(&fold.var, if is_list { "@indices" } else { "@keys" }, entries.map(|it| it.key));
                push(second, if is_list { "@items" } else { "@values" }, entries.map(|it| it.value));
            }
            None if is_list => push(&fold.var, "@items", entries.map(|it| it.value)),
            None => push(&fold.var, "@keys", entries.map(|it| it.key)),
        }
        let condition = self.cost(&fold.condition);
        let step = self.cost(&fold.step);
        self.locals.pop();
        if fold.second.is_some() {
            self.locals.pop();
        }
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(step.plus(condition)));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entries) = self.entries_of(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Range {
        if let ("dyn", [arg]) = (function, args) {
            let cost = self.cost(arg);
            self.copy_size(expr.id, arg);
            return cost.plus(Range::fixed(1));
        }
        let costs: Vec<Range> = args.iter().map(|arg| self.cost(arg)).collect();
        let nodes: Vec<Node<'_>> = args.iter().map(|arg| self.node(arg)).collect();
        let checked = self.checked;
        let overloads = checked.overloads_of(expr);
        if overloads.is_empty() {
            return Range::fixed(0);
        }
        let mut sum = Range::fixed(0);
        let target_node = target.map(|target| {
            sum = sum.plus(self.cost(target));
            self.node(target)
        });
        let args_cost = costs.iter().fold(Range::fixed(0), |sum, cost| sum.plus(*cost));
        let mut total = Range { min: u64::MAX, max: 0 };
        let mut result: Option<Range> = None;
        for overload in overloads {
            let this = match self.library(function, overload, target_node.as_ref(), &nodes) {
                Some(call) => Call { cost: call.cost.plus(args_cost), size: call.size },
                None => self.standard(expr, overload, target_node.as_ref(), &nodes, &costs, args_cost),
            };
            total = total.or(this.cost);
            if let Some(size) = this.size {
                result = Some(result.map_or(size, |it| it.or(size)));
            }
            if matches!(*overload, "index_list" | "index_map")
                && let Some(container) = args.first()
            {
                result = self.entries_of(container).map(|it| it.value);
                let mut path = self.path(container);
                path.push(if *overload == "index_list" { "@items" } else { "@values" }.into());
                self.paths.insert(expr.id, path);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if let Some(size) = result {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(total)
    }

    /// cel-go's own functions.
    fn standard(
        &mut self,
        expr: &Expr,
        overload: &str,
        target: Option<&Node<'_>>,
        args: &[Node<'_>],
        costs: &[Range],
        args_cost: Range,
    ) -> Call {
        let size = |node: &Node<'_>| node.size.unwrap_or(UNKNOWN);
        match (overload, target, args) {
            ("string_format", Some(target), _) => Call::of(size(target).scaled(TRAVERSAL).plus(args_cost)),
            ("string_to_bytes", _, [arg]) => {
                let size = size(arg);
                let made = Range { min: size.min, max: size.max.wrapping_mul(4) };
                Call::sized(size.scaled(TRAVERSAL).plus(args_cost), made)
            }
            ("bytes_to_string", _, [arg]) => {
                let size = size(arg);
                Call::sized(
                    size.scaled(TRAVERSAL).plus(args_cost),
                    Range { min: size.min / 4, max: size.max },
                )
            }
            ("strings_quote", _, [arg]) => {
                let size = size(arg);
                let made =
                    Range { min: size.min.wrapping_add(2), max: size.max.wrapping_mul(2).wrapping_add(2) };
                Call::sized(size.scaled(TRAVERSAL).plus(args_cost), made)
            }
            ("starts_with_string" | "ends_with_string", _, [arg]) => {
                Call::of(size(arg).scaled(TRAVERSAL).plus(args_cost))
            }
            ("in_list", _, [_, list]) => Call::of(size(list).scaled(1.0).plus(args_cost)),
            ("matches_string", Some(target), [pattern]) => {
                let text = size(target).plus(Range::fixed(1)).scaled(TRAVERSAL);
                Call::of(text.times(size(pattern).scaled(PATTERN)).plus(args_cost))
            }
            ("contains_string", Some(target), [part]) => {
                let cost = size(target).scaled(TRAVERSAL).times(size(part).scaled(TRAVERSAL));
                Call::of(cost.plus(args_cost))
            }
            ("logical_or" | "logical_and", _, _) => {
                Call::of(Range { min: costs.first().map_or(0, |it| it.min), max: args_cost.max })
            }
            ("conditional", _, [_, a, b]) => {
                let made = size(a).or(size(b));
                if let (Some(a), Some(b)) = (self.node_entries(a), self.node_entries(b)) {
                    self.entries.insert(expr.id, a.or(b));
                }
                match costs {
                    [condition, a, b] => Call::sized(condition.plus(a.or(*b)), made),
                    _ => Call::of(args_cost),
                }
            }
            ("add_string" | "add_bytes" | "add_list", _, [a, b]) => {
                let made = size(a).plus(size(b));
                if let (Some(a), Some(b)) = (self.node_entries(a), self.node_entries(b)) {
                    self.entries.insert(expr.id, a.or(b));
                }
                let cost = if overload == "add_list" { Range::fixed(1) } else { made.scaled(TRAVERSAL) };
                Call::sized(cost.plus(args_cost), made)
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                _,
                [a, b],
            ) => {
                let most = size(a).max.min(size(b).max);
                let cost = Range { min: u64::from(most > 0), max: most };
                Call::of(cost.scaled(TRAVERSAL).plus(args_cost))
            }
            _ => Call::of(Range::fixed(1).plus(args_cost)),
        }
    }

    /// The functions of libraries: first those of cel-go that estimate by overload, then those of Kubernetes.
    fn library(
        &self,
        function: &str,
        overload: &str,
        target: Option<&Node<'_>>,
        args: &[Node<'_>],
    ) -> Option<Call> {
        let size = |node: &Node<'_>| node.size.unwrap_or(UNKNOWN);
        let allocating =
            |factor: f64, made: Range| Call::sized(made.scaled(factor).plus(Range::fixed(1 + LIST)), made);
        match (overload, target, args) {
            ("list_sets_contains_list" | "list_sets_intersects_list", _, [a, b]) => {
                return Some(Call::of(size(a).times(size(b)).scaled(1.0).plus(Range::fixed(1))));
            }
            ("list_sets_equivalent_list", _, [a, b]) => {
                return Some(Call::of(size(a).times(size(b)).scaled(2.0).plus(Range::fixed(1))));
            }
            ("list_slice", Some(target), [start, end]) => {
                let (start, end) = (literal(start, 0), literal(end, size(target).max));
                return Some(allocating(1.0, Range::fixed(end.wrapping_sub(start))));
            }
            ("lists_range", None, [count]) => {
                return Some(allocating(1.0, Range::fixed(literal(count, u64::MAX))));
            }
            ("list_reverse", Some(target), []) => return Some(allocating(1.0, size(target))),
            ("list_flatten" | "list_flatten_int", Some(target), depth) => {
                let depth = depth.first().map_or(1, |it| literal(it, u64::MAX));
                #[expect(clippy::cast_precision_loss, reason = "upstream multiplies floats")]
                return Some(allocating(depth as f64, size(target)));
            }
            ("list_distinct", Some(target), []) => {
                return Some(allocating(2.0, size(target).times(size(target))));
            }
            (sort, Some(target), []) if sort.starts_with("list_") && sort.ends_with("_sort") => {
                let factor = if matches!(sort, "list_string_sort" | "list_bytes_sort") {
                    2.0 + TRAVERSAL
                } else {
                    2.0
                };
                return Some(allocating(factor, size(target).times(size(target))));
            }
            (sort, Some(_), [keys]) if sort.ends_with("_sortByAssociatedKeys") => {
                let text = sort.starts_with("list_string_") || sort.starts_with("list_bytes_");
                let factor = if text { 2.0 + TRAVERSAL } else { 2.0 };
                return Some(allocating(factor, size(keys).times(size(keys))));
            }
            _ => {}
        }
        self.kubernetes(function, overload, target, args)
    }

    fn kubernetes(
        &self,
        function: &str,
        overload: &str,
        target: Option<&Node<'_>>,
        args: &[Node<'_>],
    ) -> Option<Call> {
        let size = |node: &Node<'_>| node.size.or_else(|| self.declared_size(node)).unwrap_or(UNKNOWN);
        let traversal = |node: &Node<'_>| Call::of(size(node).scaled(TRAVERSAL));
        let one = || Some(Call::of(Range::fixed(1)));
        Some(match (function, target, args) {
            ("check", ..) => Call::of(Range::fixed(CHECK)),
            (
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
                | "getQuery",
                ..,
            ) => return one(),
            ("fieldSelector" | "labelSelector", _, [selector]) => Call::of(selector_cost(size(selector))),
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                match self.element(target) {
                    Some(element) => {
                        let mut each = Range::fixed(1);
                        if matches!(element.of, Type::String | Type::Bytes) {
                            each = each.plus(size(&element).scaled(TRAVERSAL));
                        }
                        Call::of(size(target).times(each))
                    }
                    None => traversal(target),
                }
            }
            ("url" | "jsonpatch.escapeKey", _, [arg]) => Call::sized(size(arg).scaled(TRAVERSAL), size(arg)),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => {
                Call::sized(size(target).scaled(TRAVERSAL), size(target))
            }
            ("replace", Some(target), [old, new, ..]) => replaced(size(target), size(old), size(new)),
            ("split", Some(target), _) => {
                let text = size(target);
                let max = match args {
                    [_, limit, ..] => signed_literal(limit).map_or(text.max, |it| it.cast_unsigned()),
                    _ => text.max,
                };
                Call::sized(text.scaled(2.0 * TRAVERSAL), Range { min: 0, max })
            }
            ("join", Some(target), _) => {
                let list = size(target);
                let mut made = Range::fixed(0);
                if let Some(element) = self.element(target) {
                    made = list.times(size(&element));
                }
                if let [separator, ..] = args {
                    let gaps = Range { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    made = made.plus(size(separator).times(gaps));
                }
                Call::sized(made.scaled(TRAVERSAL), made)
            }
            ("find" | "findAll", Some(target), [pattern, ..]) => {
                let text = size(target).plus(Range::fixed(1)).scaled(TRAVERSAL);
                let cost = text.times(size(pattern).scaled(PATTERN));
                Call::sized(cost, Range { min: 0, max: size(target).max })
            }
            ("ip", ..) if overload == "cidr_ip" => return one(),
            (
                "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver",
                _,
                [arg, ..],
            ) => traversal(arg),
            ("ip.isCanonical", _, [arg, ..]) => Call::of(size(arg).scaled(2.0 * TRAVERSAL)),
            ("containsIP" | "containsCIDR", _, [arg, ..]) => {
                let bytes = Range { min: 4, max: 16 };
                let mut cost = bytes.plus(bytes).scaled(TRAVERSAL);
                if function == "containsCIDR" {
                    cost = cost.plus(bytes.scaled(TRAVERSAL)).plus(Range::fixed(1));
                }
                if overload.ends_with("_string") {
                    cost = cost.plus(size(arg).scaled(TRAVERSAL));
                }
                Call::of(cost)
            }
            ("validate", _, [arg, ..]) => {
                Call::of(size(arg).scaled(TRAVERSAL).scaled(LONGEST_NAME_PATTERN * PATTERN))
            }
            ("_==_", _, [a, b]) if a.of.is(&b.of) => match a.of.bare_name() {
                "net.IP"
                | "net.CIDR"
                | "kubernetes.Quantity"
                | "kubernetes.Semver"
                | "kubernetes.authorization.Authorizer"
                | "kubernetes.authorization.PathCheck"
                | "kubernetes.authorization.GroupCheck"
                | "kubernetes.authorization.ResourceCheck"
                | "kubernetes.authorization.Decision" => return one(),
                "kubernetes.NamedFormat" => Call::of(Range { min: 1, max: 64 }.scaled(TRAVERSAL)),
                "kubernetes.URL" => {
                    let max = b.size.map_or(1, |it| it.max);
                    Call::of(Range { min: 1, max }.scaled(TRAVERSAL))
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    /// What a list holds.
    fn element<'n>(&self, list: &Node<'n>) -> Option<Node<'n>> {
        let (Type::List(of) | Type::Map(of, _)) = &list.of else { return None };
        let mut path = list.path.clone();
        if !path.is_empty() {
            path.push("@items".into());
        }
        Some(Node { expr: None, path, of: of.as_ref().clone(), size: None })
    }

    // === sizes ===

    fn node<'n>(&mut self, expr: &'n Expr) -> Node<'n> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|it| **it == *ACCUMULATOR) {
            path.clear();
        }
        let of = self.checked.type_of(expr).clone();
        Node { expr: Some(expr), path, of, size: self.size(expr) }
    }

    fn node_entries(&self, node: &Node<'_>) -> Option<Entries> {
        node.expr.and_then(|expr| self.entries_of(expr))
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|(known, _)| known == name).map(|(_, local)| local)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Some(local) = expr.ident().and_then(|name| self.local(name)) {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        let count = |it: usize| Range::fixed(u64::try_from(it).unwrap_or(u64::MAX));
        match &expr.kind {
            Kind::Literal(Literal::String(text)) => return Some(count(text.chars().count())),
            Kind::Literal(Literal::Bytes(bytes)) => return Some(count(bytes.len())),
            Kind::Literal(_) => return Some(Range::fixed(1)),
            Kind::List(elements) => return Some(count(elements.len())),
            Kind::Map(entries) => return Some(count(entries.len())),
            _ => {}
        }
        let of = self.checked.type_of(expr).clone();
        let node = Node { expr: None, path: self.path(expr), of, size: None };
        if let Some(size) = self.declared_size(&node) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(&node.of) {
            return Some(Range::fixed(1));
        }
        expr.ident().and_then(|name| self.local(name)).and_then(|local| local.size)
    }

    /// From the limits that were declared.
    fn declared_size(&self, node: &Node<'_>) -> Option<Range> {
        let (first, rest) = node.path.split_first()?;
        let mut declared = (self.root)(first)?;
        for step in rest {
            declared = declared.step(step)?;
        }
        Some(Range { min: 0, max: declared.max_elements })
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        self.entries
            .get(&expr.id)
            .copied()
            .or_else(|| expr.ident().and_then(|name| self.local(name)).and_then(|local| local.entries))
    }

    fn copy_size(&mut self, to: Id, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to, entries);
        }
    }
}

pub(crate) fn is_bind(fold: &Fold) -> bool {
    matches!(&fold.range.kind, Kind::List(elements) if elements.is_empty())
        && matches!(fold.condition.kind, Kind::Literal(Literal::Bool(false)))
        && fold.accumulator != ACCUMULATOR
}

fn is_scalar(of: &Type) -> bool {
    match of {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Opaque("optional_type", parameters) => parameters.first().is_some_and(is_scalar),
        _ => false,
    }
}

fn signed_literal(node: &Node<'_>) -> Option<i64> {
    match node.expr.map(|expr| &expr.kind) {
        Some(Kind::Literal(Literal::Int(value))) => Some(*value),
        _ => None,
    }
}

fn literal(node: &Node<'_>, otherwise: u64) -> u64 {
    signed_literal(node).map_or(otherwise, |it| u64::try_from(it).unwrap_or_default())
}

/// Parsing a selector and the requirements it may hold.
fn selector_cost(length: Range) -> Range {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let each = (LIST + STRUCT) as f64;
    Range::fixed(LIST).plus(length.scaled(TRAVERSAL)).plus(length.scaled(0.5).scaled(each))
}

/// The cost of `fieldSelector` and `labelSelector` with a selector of that length.
pub(crate) fn selector(length: u64) -> u64 {
    selector_cost(Range::fixed(length)).max
}

fn replaced(text: Range, old: Range, new: Range) -> Call {
    let (mut count, mut kept) = (Range::fixed(0), Range::fixed(0));
    let ratio = |all: u64, one: u64| {
        #[expect(clippy::cast_precision_loss, reason = "upstream divides floats")]
        let ratio = all as f64 / one as f64;
        scaled(1, ratio)
    };
    if old.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = ratio(text.max, old.min);
    }
    if old.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = ratio(text.min, old.max);
    }
    Call::sized(text.scaled(2.0 * TRAVERSAL), count.times(new).plus(kept))
}

//! Label selectors: `tier in (web,db),!legacy` in requests, and `LabelSelector` objects in specs.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::{Map, Value};

use super::Malformed;
use crate::field::{BadValue, Fault, Path, aggregate, go_quote};

mod lex;
mod parse;
mod rules;

pub use rules::{key_faults, value_faults};

/// What is demanded of labels. All requirements must hold; none means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Sorted by key; requirements of one key keep the order they were given in.
    requirements: Vec<Requirement>,
    /// The selector of an absent `LabelSelector` object matches no labels at all.
    nothing: bool,
}

/// What is demanded of one label. Only valid ones can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// For the operators that compare with one value, one; for the set operators, at least one; else none.
    values: Vec<String>,
}

/// How a label relates to the values of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `in`: there and among the values.
    In,
    /// `notin`: absent or none of the values.
    NotIn,
    /// `=`: there and the value.
    Equals,
    /// `==`: the same.
    DoubleEquals,
    /// `!=`: absent or another value.
    NotEquals,
    /// `>`: there, an integer and greater.
    GreaterThan,
    /// `<`: there, an integer and smaller.
    LessThan,
    /// The key alone: there.
    Exists,
    /// `!`: absent.
    DoesNotExist,
}

/// Where labels can be looked up.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

// === impl Labels ===

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

// === impl Operator ===

impl Operator {
    /// As it stands between key and values; empty where none does.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::NotIn => "notin",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::GreaterThan => ">",
            Self::LessThan => "<",
            Self::Exists => "",
            Self::DoesNotExist => "!",
        }
    }
}

// === impl Requirement ===

impl Requirement {
    /// A requirement, checked.
    ///
    /// # Errors
    /// When the key is no label key, a value no label value, or the values do not fit the operator.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, Malformed> {
        let mut faults = Vec::new();
        faults.extend(key_fault(key, &Path::new("key")));
        let path = Path::new("values");
        let given = || if values.is_empty() { BadValue::Json(Value::Null) } else { BadValue::json(&values) };
        let mut refuse = |detail: &str| faults.push(Fault::invalid(&path, given(), detail));
        match operator {
            Operator::In | Operator::NotIn => {
                if values.is_empty() {
                    refuse("for 'in', 'notin' operators, values set can't be empty");
                }
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals => {
                if values.len() != 1 {
                    refuse("exact-match compatibility requires one single value");
                }
            }
            Operator::Exists | Operator::DoesNotExist => {
                if !values.is_empty() {
                    refuse("values set must be empty for exists and does not exist");
                }
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    refuse("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (index, value) in values.iter().enumerate() {
                    if integer(value).is_none() {
                        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                        faults.push(Fault::invalid(&path.index(index), value, detail));
                    }
                }
            }
        }
        for (index, value) in values.iter().enumerate() {
            let wrong = value_faults(value);
            if !wrong.is_empty() {
                faults.push(Fault::invalid(&path.index(index).key(key), value, wrong.join("; ")));
            }
        }
        if faults.is_empty() {
            Ok(Self { key: key.to_owned(), operator, values })
        } else {
            Err(Malformed(aggregate(&faults)))
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the label relates to the values.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values, as given.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether these labels meet it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let label = labels.label(&self.key);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => {
                label.is_some_and(|label| self.has(label))
            }
            Operator::NotIn | Operator::NotEquals => label.is_none_or(|label| !self.has(label)),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let bound = self.values.first().and_then(|value| integer(value));
                match (label.and_then(integer), bound) {
                    (Some(label), Some(bound)) if self.operator == Operator::GreaterThan => label > bound,
                    (Some(label), Some(bound)) => label < bound,
                    _ => false,
                }
            }
        }
    }

    fn has(&self, label: &str) -> bool {
        self.values.iter().any(|value| value == label)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operator {
            Operator::Exists => return f.write_str(&self.key),
            Operator::DoesNotExist => return write!(f, "!{}", self.key),
            Operator::In | Operator::NotIn => write!(f, "{} {} (", self.key, self.operator.symbol())?,
            _ => write!(f, "{}{}", self.key, self.operator.symbol())?,
        }
        let mut values: Cow<'_, [String]> = Cow::Borrowed(&self.values);
        if !values.is_sorted() {
            values.to_mut().sort_unstable();
        }
        f.write_str(&values.join(","))?;
        if matches!(self.operator, Operator::In | Operator::NotIn) { f.write_str(")") } else { Ok(()) }
    }
}

// === impl Selector ===

impl Selector {
    /// Matches all labels.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches no labels, not even an empty set.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Reads the text of a `labelSelector` parameter.
    ///
    /// # Errors
    /// Upstream's words for what was found where something else was expected, or for an invalid key or value.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        parse::parse(text).map(Self::of)
    }

    /// The requirements together.
    pub fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|one, other| one.key.cmp(&other.key));
        Self { requirements, nothing: false }
    }

    /// Labels that have all these values, which are not checked: old objects may hold what is no longer valid.
    pub fn of_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        Self::of(
            labels
                .into_iter()
                .map(|(key, value)| Requirement {
                    key: key.clone(),
                    operator: Operator::Equals,
                    values: vec![value.clone()],
                })
                .collect(),
        )
    }

    /// What a `LabelSelector` object means: nothing if absent, everything if empty.
    ///
    /// # Errors
    /// When a key, an operator or a value is not valid.
    pub fn of_object(object: Option<&meta::LabelSelector>) -> Result<Self, Malformed> {
        let Some(object) = object else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in object.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()])?);
        }
        for expression in object.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let what = "is not a valid label selector operator";
                    return Err(Malformed(format!("{} {what}", go_quote(other))));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(Self::of(requirements))
    }

    /// What is demanded, sorted by key; nothing for [`Self::nothing`] and [`Self::everything`] alike.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it is known to match nothing.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Whether these labels meet it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// The value it demands of a label, if that is one value.
    pub fn exact(&self, key: &str) -> Option<&str> {
        let requirement = self.requirements.iter().find(|requirement| requirement.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [only]) => Some(only),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Selector {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text)
    }
}

/// A label value as an integer, read as Go's `ParseInt` reads base 10.
fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn key_fault(key: &str, path: &Path) -> Option<Fault> {
    let wrong = key_faults(key);
    (!wrong.is_empty()).then(|| Fault::invalid(path, key, wrong.join("; ")))
}

#[cfg(test)]
mod tests;

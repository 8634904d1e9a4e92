//! Scopes: which objects a quota is about.

use serde::Deserialize;

use super::or_default;

/// A requirement of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirement {
    /// Which scope.
    pub scope_name: Box<str>,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: Box<str>,
    /// The values.
    #[serde(deserialize_with = "or_default")]
    pub values: Vec<Box<str>>,
}

/// Requirements of scopes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// All of them must hold.
    #[serde(deserialize_with = "or_default")]
    pub match_expressions: Vec<Requirement>,
}

/// Every requirement of a quota: the scopes it names, as requirements that they hold, and its selector's.
pub fn requirements(named: &[Box<str>], selector: &Selector) -> Vec<Requirement> {
    let named = named.iter().map(|scope| Requirement {
        scope_name: scope.clone(),
        operator: "Exists".into(),
        values: Vec::new(),
    });
    named.chain(selector.match_expressions.iter().cloned()).collect()
}

// === impl Requirement ===

impl Requirement {
    /// Whether it holds of something that has these values, of which empty ones are none: of one of them, or of there
    /// being none.
    pub fn holds(&self, values: &[&str]) -> bool {
        let mut there = values.iter().filter(|value| !value.is_empty()).peekable();
        let among = |value: &&&str| self.values.iter().any(|it| **it == ***value);
        match &*self.operator {
            "Exists" => there.peek().is_some(),
            "DoesNotExist" => there.peek().is_none(),
            "In" => there.any(|value| among(&value)),
            "NotIn" => there.peek().is_none() || there.any(|value| !among(&value)),
            _ => false,
        }
    }
}

/// As Go prints it in a list.
impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{} {} [{}]}}", self.scope_name, self.operator, self.values.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_holds_of_one_value_or_of_there_being_none() {
        let requirement = |operator: &str| Requirement {
            scope_name: "PriorityClass".into(),
            operator: operator.into(),
            values: vec!["a".into()],
        };
        for (operator, none, a, b, both) in [
            ("In", false, true, false, true),
            ("NotIn", true, false, true, true),
            ("Exists", false, true, true, true),
            ("DoesNotExist", true, false, false, false),
            ("Nonsense", false, false, false, false),
        ] {
            let it = requirement(operator);
            let holds = (it.holds(&[""]), it.holds(&["a"]), it.holds(&["", "b"]), it.holds(&["a", "b"]));
            assert_eq!(holds, (none, a, b, both), "{operator}");
        }
        assert_eq!(requirement("In").to_string(), "{PriorityClass In [a]}");
    }
}

//! Taints of nodes and what Pods stand of them.

use client::meta::null_is_default;
use serde::Deserialize;

/// A taint of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// What is wrong with the node.
    pub key: Box<str>,
    /// More of it.
    #[serde(deserialize_with = "null_is_default")]
    pub value: Box<str>,
    /// What it does to Pods that do not stand it.
    pub effect: Effect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Effect {
    /// New Pods stay away.
    NoSchedule,
    /// New Pods stay away if they can.
    PreferNoSchedule,
    /// New Pods stay away, those there must go.
    NoExecute,
    /// Nothing we know of.
    #[default]
    #[serde(other)]
    Other,
}

/// What a Pod stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Toleration {
    /// Of which taints, all if empty.
    #[serde(deserialize_with = "null_is_default")]
    key: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    operator: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    value: Box<str>,
    /// Which effect; all if none, which may be written as an empty text.
    effect: Option<Effect>,
}

// === impl Toleration ===

impl Toleration {
    /// Whether it is for this taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.is_for(taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match &*self.operator {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                // Comparisons of numbers are behind a gate that is off.
                _ => false,
            }
    }

    /// Whether it is for taints of this effect.
    pub fn is_for(&self, effect: Effect) -> bool {
        match self.effect {
            None | Some(Effect::Other) => true,
            Some(mine) => mine == effect,
        }
    }
}

/// The first of these taints that keeps a Pod with these tolerations away.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| matches!(taint.effect, Effect::NoSchedule | Effect::NoExecute))
        .find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tolerates(toleration: Value) -> bool {
        let taint: Taint =
            serde_json::from_value(json!({"key": "k", "value": "v", "effect": "NoSchedule"})).unwrap();
        serde_json::from_value::<Toleration>(toleration).unwrap().tolerates(&taint)
    }

    #[test]
    fn a_toleration_is_for_a_taint_when_key_value_and_effect_are() {
        for (toleration, expected) in [
            (json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}), true),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "value": "v", "effect": ""}), true),
            (json!({"key": "k", "value": "w"}), false),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "l", "operator": "Exists"}), false),
            (json!({"key": "k", "operator": "Maybe", "value": "v"}), false),
        ] {
            assert_eq!(tolerates(toleration.clone()), expected, "{toleration}");
        }
    }

    #[test]
    fn only_hard_taints_keep_a_pod_away() {
        let taints: Vec<Taint> = serde_json::from_value(json!([
            {"key": "soft", "effect": "PreferNoSchedule"}, {"key": "hard", "effect": "NoExecute"}]))
        .unwrap();
        assert_eq!(untolerated(&taints, &[]).map(|taint| &*taint.key), Some("hard"));
    }
}

//! Whether the rules that a definition writes compile, and what they may cost by the limits of its schema.

use api_types::field::{Fault, Faults, Path};

use super::{
    Additional, Flags, Limit, ListType, Structural,
    rules::{Compiled, Rule, Set},
};

/// What a rule may cost, over all the data it may run on.
const COST_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost.
const COST_MAX_TOTAL: u64 = 100_000_000;
/// How many of the most expensive rules are told of.
const TOLD_MAX: usize = 4;
const RULES: &str = "x-kubernetes-validations";

/// What is wrong with the rules of a schema that is sound otherwise.
pub(crate) fn faults(schema: &serde_json::Value, path: &Path) -> Faults {
    let schema = Structural::read(schema);
    let mut walk = Walk { faults: Vec::new(), total: 0, expensive: Vec::new() };
    walk.visit(&schema, true, Place { cardinality: Some(1), uncorrelatable: None }, path);
    if walk.total > COST_MAX_TOTAL {
        let detail =
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        for (path, _) in &walk.expensive {
            walk.faults.push(Fault::forbidden(path, detail));
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        walk.faults.push(Fault::forbidden(path, cost_text(name, walk.total, COST_MAX_TOTAL)));
    }
    walk.faults
}

struct Walk {
    faults: Faults,
    total: u64,
    /// The most expensive first.
    expensive: Vec<(Path, u64)>,
}

/// Where in a schema the walk is.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// How often data may occur here, if the schemas around it bound that.
    cardinality: Option<u64>,
    /// The first part around it of which old and new values cannot be told to belong together.
    uncorrelatable: Option<&'a Path>,
}

impl Walk {
    fn visit(&mut self, schema: &Structural, is_root: bool, place: Place<'_>, path: &Path) {
        if !schema.flags.has(Flags::HAS_RULES) {
            return;
        }
        let inner = Place {
            cardinality: place
                .cardinality
                .zip(elements_max(schema))
                .map(|(by, most)| by.saturating_mul(most)),
            ..place
        };
        if let Some(additional) = schema.additional_schema() {
            self.visit(additional, false, inner, &path.child("additionalProperties"));
        }
        for (name, property) in schema.properties() {
            self.visit(property, false, inner, &path.child("properties").key(name));
        }
        if let Some(items) = schema.items() {
            let uncorrelatable = place.uncorrelatable.or((schema.list_type != ListType::Map).then_some(path));
            self.visit(items, false, Place { uncorrelatable, ..inner }, &path.child("items"));
        }
        self.judge(schema, is_root, place, path);
    }

    fn judge(&mut self, schema: &Structural, is_root: bool, place: Place<'_>, path: &Path) {
        let rules = schema.rules();
        if rules.is_empty() {
            return;
        }
        let path = path.child(RULES);
        let set = match Set::compile(schema, rules, is_root) {
            Ok(set) => set,
            Err(why) => {
                self.faults.push(Fault::internal(&path, why));
                return;
            }
        };
        let cardinality = place.cardinality.unwrap_or_else(|| set.cardinality_max());
        for (index, (rule, compiled)) in rules.iter().zip(&set.rules).enumerate() {
            self.judge_rule(rule, compiled, cardinality, place.uncorrelatable, &path.index(index));
        }
    }

    fn judge_rule(
        &mut self,
        rule: &Rule,
        compiled: &Compiled,
        cardinality: u64,
        uncorrelatable: Option<&Path>,
        path: &Path,
    ) {
        let rule_path = path.child("rule");
        let cost = compiled.program().map_or(0, |program| program.estimate().saturating_mul(cardinality));
        self.observe(&rule_path, "estimated rule cost", cost);
        if let Some(Err(why)) = &compiled.program {
            self.faults.push(Fault::invalid(&rule_path, rule.printed(), why.as_str()));
        }
        let message_path = path.child("messageExpression");
        match &compiled.message {
            None => {}
            Some(Err(why)) => {
                self.faults.push(Fault::invalid(&message_path, rule.printed(), why.as_str()));
            }
            Some(Ok(program)) => {
                self.observe(&message_path, "estimated messageExpression cost", program.estimate());
            }
        }
        if compiled.uses_old() {
            if let Some(within) = uncorrelatable {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
                );
                self.faults.push(Fault::invalid(&rule_path, rule.rule.as_str(), detail));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.faults.push(Fault::invalid(&path.child("optionalOldSelf"), optional, detail));
        }
    }

    fn observe(&mut self, path: &Path, name: &str, cost: u64) {
        if cost > COST_MAX {
            self.faults.push(Fault::forbidden(path, cost_text(name, cost, COST_MAX)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= COST_MAX_TOTAL / 100 {
            self.expensive.push((path.clone(), cost));
            self.expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.expensive.truncate(TOLD_MAX);
        }
    }
}

/// By how much a schema multiplies what is in it, if it bounds that.
fn elements_max(schema: &Structural) -> Option<u64> {
    let max = |find: fn(&Limit) -> Option<i64>| {
        schema.limits.iter().find_map(find).map(|max| u64::try_from(max).unwrap_or_default())
    };
    match schema.type_name() {
        Some("object") if !matches!(schema.additional, Additional::Unsaid) => {
            max(|limit| if let Limit::PropertiesMax(max) = limit { Some(*max) } else { None })
        }
        Some("array") => max(|limit| if let Limit::ItemsMax(max) = limit { Some(*max) } else { None }),
        _ => Some(1),
    }
}

fn cost_text(name: &str, cost: u64, max: u64) -> String {
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "told to one digit")]
    let factor = cost as f64 / max as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

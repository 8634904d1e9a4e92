//! LimitRanges: `limitranges` of `v1`.

use std::collections::BTreeSet;

use api_types::{
    field::{BadValue, Fault, Faults, Path},
    quantity::{Format, Quantity},
};
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        metadata::invalid_each,
        names::qualified_name,
        optional::Entries,
        quantities::{
            Amounts, ResourceList, amounts, container_name_faults, may_be_overcommitted, name_faults,
            round_up,
        },
    },
};

/// The largest number whose thousandths can be counted.
const COUNTABLE_MAX: i64 = i64::MAX / 1000;

/// The strategy of LimitRanges.
pub(crate) struct LimitRanges;

impl Strategy for LimitRanges {
    type Object = LimitRange;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short: &["limits"],
        categories: &[],
        namespaced: true,
    };
    const CREATE_ON_UPDATE: bool = true;

    fn default(object: &mut LimitRange) {
        for item in object.spec.iter_mut().flat_map(|spec| spec.limits.iter_mut()) {
            if item.type_ == "Container" {
                default_container(item);
            }
            for list in [
                &mut item.max,
                &mut item.min,
                &mut item.default,
                &mut item.default_request,
                &mut item.max_limit_request_ratio,
            ] {
                round_up(list.as_mut());
            }
        }
    }

    fn validate(_cx: &Context<'_>, object: &LimitRange) -> Faults {
        let path = Path::new("spec.limits");
        let items = object.spec.as_ref().map(|spec| spec.limits.as_slice()).unwrap_or_default();
        let mut faults = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            faults.extend(type_faults(&item.type_, &path.child("type")));
            if items.iter().take(index).any(|earlier| earlier.type_ == item.type_) {
                faults.push(Fault::duplicate(&path.child("type"), &item.type_));
            }
            faults.extend(item_faults(item, &path));
        }
        faults
    }
}

/// What a container gets follows from what it may have: the limit from the maximum, the request from the limit, or
/// else from the minimum.
fn default_container(item: &mut LimitRangeItem) {
    fn fill(into: &mut Option<ResourceList>, from: &Option<ResourceList>) {
        let into = into.get_or_insert_default();
        for (name, amount) in from.iter().flatten() {
            into.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    }
    fill(&mut item.default, &item.max);
    fill(&mut item.default_request, &item.default);
    fill(&mut item.default_request, &item.min);
}

fn type_faults(kind: &str, path: &Path) -> Faults {
    let faults = invalid_each(path, kind, qualified_name(kind));
    let is_standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if faults.is_empty() && !kind.contains('/') && !is_standard {
        return vec![Fault::invalid(path, kind, "must be a standard limit type or fully qualified")];
    }
    faults
}

fn item_faults(item: &LimitRangeItem, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut keys = BTreeSet::new();
    let mut read = |faults: &mut Faults, field: &str, list: &Option<ResourceList>| -> Amounts {
        for (name, _) in list.entries() {
            let path = path.child(field).key(name);
            faults.extend(match item.type_.as_str() {
                "Pod" | "Container" => container_name_faults(name, &path),
                _ => name_faults(name, &path),
            });
            keys.insert(name.to_owned());
        }
        amounts(list.as_ref())
    };
    let max = read(&mut faults, "max", &item.max);
    let min = read(&mut faults, "min", &item.min);
    let (mut default, mut request) = (Amounts::new(), Amounts::new());
    if item.type_ == "Pod" {
        for (field, list) in [("default", &item.default), ("defaultRequest", &item.default_request)] {
            if list.entries().next().is_some() {
                faults
                    .push(Fault::forbidden(&path.child(field), "may not be specified when `type` is 'Pod'"));
            }
        }
    } else {
        default = read(&mut faults, "default", &item.default);
        request = read(&mut faults, "defaultRequest", &item.default_request);
    }
    if item.type_ == "PersistentVolumeClaim" && !min.contains_key("storage") && !max.contains_key("storage") {
        faults.push(Fault::required(
            &path.child("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        ));
    }
    let ratio = read(&mut faults, "maxLimitRequestRatio", &item.max_limit_request_ratio);
    for name in &keys {
        let bounds = Bounds {
            min: min.get(name),
            max: max.get(name),
            default: default.get(name),
            request: request.get(name),
            ratio: ratio.get(name),
        };
        faults.extend(bounds.faults(name, path));
    }
    faults
}

/// What an item says of one resource.
struct Bounds<'a> {
    min: Option<&'a Quantity>,
    max: Option<&'a Quantity>,
    default: Option<&'a Quantity>,
    request: Option<&'a Quantity>,
    ratio: Option<&'a Quantity>,
}

// === impl Bounds ===

impl Bounds<'_> {
    fn faults(&self, name: &str, path: &Path) -> Faults {
        let mut faults = Vec::new();
        let mut wrong = |field: &str, value: &Quantity, detail: String| {
            let value = BadValue::from(value.to_string());
            faults.push(Fault::invalid(&path.child(field).key(name), value, detail));
        };
        let above = |a: Option<&Quantity>, b: Option<&Quantity>| match (a, b) {
            (Some(a), Some(b)) if a > b => Some((a.clone(), b.clone())),
            _ => None,
        };
        if let Some((min, max)) = above(self.min, self.max) {
            wrong("min", &min, format!("min value {min} is greater than max value {max}"));
        }
        if let Some((min, request)) = above(self.min, self.request) {
            let detail = format!("min value {min} is greater than default request value {request}");
            wrong("defaultRequest", &request, detail);
        }
        if let Some((request, max)) = above(self.request, self.max) {
            let detail = format!("default request value {request} is greater than max value {max}");
            wrong("defaultRequest", &request, detail);
        }
        if let Some((request, default)) = above(self.request, self.default) {
            let detail =
                format!("default request value {request} is greater than default limit value {default}");
            wrong("defaultRequest", &request, detail);
        }
        // In the next two the value is the bound, not the one that breaks it: upstream's slip.
        if let Some((min, default)) = above(self.min, self.default) {
            wrong("default", &min, format!("min value {min} is greater than default value {default}"));
        }
        if let Some((default, max)) = above(self.default, self.max) {
            wrong("default", &max, format!("default value {default} is greater than max value {max}"));
        }
        if let Some(ratio) = self.ratio {
            if *ratio < Quantity::new(1, Format::DecimalSi) {
                wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
            }
            if let (Some(min), Some(max)) = (self.min, self.max) {
                let (asked, possible) = ratios(ratio, min, max);
                if asked > possible {
                    let detail = format!("ratio {ratio} is greater than max/min = {possible:.6}");
                    wrong("maxLimitRequestRatio", ratio, detail);
                }
            }
        }
        if let (Some(default), Some(request)) = (self.default, self.request)
            && !may_be_overcommitted(name)
            && default != request
        {
            let detail =
                format!("default value {default} must equal to defaultRequest value {request} in {name}");
            wrong("defaultRequest", request, detail);
        }
        faults
    }
}

/// The ratio that is asked for, and the one that minimum and maximum allow.
fn ratios(ratio: &Quantity, min: &Quantity, max: &Quantity) -> (f64, f64) {
    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "ratios need not be exact")]
    let float = |value: i64| value as f64;
    if [ratio, min, max].iter().all(|it| it.value() < COUNTABLE_MAX) {
        let possible = float(max.milli_value()) / float(min.milli_value());
        return (float(ratio.milli_value()) / 1000.0, possible);
    }
    (float(ratio.value()), float(max.value()) / float(min.value()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::LimitRanges;
    use crate::resources::shared::testing::{check_create, created};

    fn limits(items: Value) -> Value {
        json!({"spec": {"limits": items}})
    }

    #[test]
    fn what_a_container_gets_follows_from_what_it_may_have() {
        let object = created::<LimitRanges>(limits(
            json!([{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "1.5m"}}]),
        ));
        assert_eq!(
            object.pointer("/spec/limits/0"),
            Some(&json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "2m"},
                "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2", "memory": "2m"}}))
        );
    }

    #[test]
    fn bounds_agree_with_each_other() {
        for (items, faults) in [
            (json!([{"type": "Container", "max": {"cpu": "1"}}]), vec![]),
            (
                json!([{"type": "Container", "default": {"cpu": "2"}, "max": {"cpu": "1"}}]),
                vec![
                    r#"spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than max value 1"#,
                    r#"spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1"#,
                ],
            ),
            (
                json!([{"type": "Pod", "default": {"cpu": "2"}}]),
                vec!["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
            ),
            (
                json!([{"type": "Container"}, {"type": "Container"}]),
                vec![r#"spec.limits[1].type: Duplicate value: "Container""#],
            ),
            (
                json!([{"type": "PersistentVolumeClaim"}]),
                vec![
                    "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                ],
            ),
            (
                json!([{"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}]),
                vec![
                    r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000"#,
                ],
            ),
            (
                json!([{"type": "Odd", "max": {"odd": "1"}}]),
                vec![
                    r#"spec.limits[0].type: Invalid value: "Odd": must be a standard limit type or fully qualified"#,
                    r#"spec.limits[0].max[odd]: Invalid value: "odd": must be a standard resource type or fully qualified"#,
                ],
            ),
            (
                json!([{"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}}]),
                vec![
                    r#"spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in example.com/gpu"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<LimitRanges>(limits(items)), faults);
        }
    }
}

//! Rules that the workloads of `apps` share: what selects pods and what pods are made from, how many at once, by how
//! much a status counts, what a name is for.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use serde_json::Value;

use super::{
    metadata::invalid_each,
    names::{dns1123_label, percent},
    optional::negative,
    pod_spec::Rules,
    pod_template::{self, Selection},
    selectors,
};
use crate::registry::strategy::Context;

/// A workload: it selects pods and makes them from a template. Without a spec it has neither.
pub(crate) trait Workload {
    /// What selects its pods.
    fn selector(&self) -> Option<&LabelSelector>;
    /// What its pods are made from.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// The selector to be changed, made if absent.
    fn selector_mut(&mut self) -> &mut LabelSelector;
    /// The template to be changed, made if absent.
    fn template_mut(&mut self) -> &mut PodTemplateSpec;
}

macro_rules! workloads {
    ($($kind:ident)*) => {$(
        impl Workload for $kind {
            fn selector(&self) -> Option<&LabelSelector> {
                self.spec.as_ref().map(|spec| &spec.selector)
            }

            fn template(&self) -> Option<&PodTemplateSpec> {
                self.spec.as_ref().map(|spec| &spec.template)
            }

            fn selector_mut(&mut self) -> &mut LabelSelector {
                &mut self.spec.get_or_insert_default().selector
            }

            fn template_mut(&mut self) -> &mut PodTemplateSpec {
                &mut self.spec.get_or_insert_default().template
            }
        }
    )*};
}
workloads!(DaemonSet Deployment StatefulSet);

// The template of this one is optional, though it must be given.
impl Workload for ReplicaSet {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref().map(|spec| &spec.selector)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn selector_mut(&mut self) -> &mut LabelSelector {
        &mut self.spec.get_or_insert_default().selector
    }

    fn template_mut(&mut self) -> &mut PodTemplateSpec {
        self.spec.get_or_insert_default().template.get_or_insert_default()
    }
}

/// Marks the selector as absent where the raw object has none, which the typed one cannot say.
pub(crate) fn mark_selector(raw: &Value, workload: &mut impl Workload) {
    if raw.pointer("/spec/selector").is_none_or(Value::is_null) {
        pod_template::mark_absent(workload.selector_mut());
    }
}

/// Takes fields out of the template that this version keeps behind switches.
pub(crate) fn prepare_template<W: Workload>(workload: &mut W, old: Option<&W>) {
    pod_template::prepare(workload.template_mut(), old.and_then(Workload::template));
}

/// What an update of the template may keep.
pub(crate) fn template_rules(cx: &Context<'_>, old: Option<&impl Workload>) -> Rules {
    pod_template::rules(old.and_then(Workload::template)).under(cx)
}

/// The fault of a selector that changed.
pub(crate) fn selector_changed<W: Workload>(new: &W, old: &W) -> Option<Fault> {
    let path = Path::new("spec.selector");
    pod_template::immutable_selector(new.selector()?, old.selector()?, &path)
}

/// What the writer of the template should know.
pub(crate) fn template_warnings(workload: &impl Workload) -> Vec<String> {
    let warnings = |template| pod_template::warnings(template, &Path::new("spec.template"));
    workload.template().map(warnings).unwrap_or_default()
}

/// Faults of a selector and of the template that it must select; a selector that cannot be made sense of is `malformed`
/// in these words, and the template not looked at.
pub(crate) fn selected(
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    kind: &str,
    malformed: &str,
    path: &Path,
    template_faults: impl FnOnce(&Path) -> Faults,
) -> Faults {
    let (selector_path, template_path) = (path.child("selector"), path.child("template"));
    let mut faults = pod_template::validate_selector(selector, kind, &selector_path);
    match Selection::of(selector) {
        Selection::Malformed => {
            faults.push(Fault::invalid(&selector_path, selectors::printed(selector), malformed));
        }
        selection => {
            if !selection.matches(pod_template::labels(template)) {
                faults.push(pod_template::unmatched(template, &template_path));
            }
            faults.extend(template_faults(&template_path));
        }
    }
    faults
}

/// Faults of the selector and the template of replicas that are kept running: of Deployments and ReplicaSets.
pub(crate) fn replicas_selected(
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    rules: &Rules,
    path: &Path,
) -> Faults {
    // Upstream speaks of deployments also where it means replica sets, and clients may know it so.
    selected(selector, template, "deployment", "invalid label selector", path, |path| {
        let mut faults = pod_template::validate(template, rules, path);
        faults.extend(pod_template::runs_on(template, "ReplicaSet", path));
        faults
    })
}

/// A number or a percentage as messages print it.
pub(crate) fn printed(value: &IntOrString) -> BadValue {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => text.into(),
    }
}

/// Faults of what must be a number not below zero, or a percentage.
pub(crate) fn int_or_percent(value: &IntOrString, path: &Path) -> Faults {
    match value {
        IntOrString::Int(number) => negative(path, *number).into_iter().collect(),
        IntOrString::String(text) => invalid_each(path, text, percent(text)),
    }
}

/// The fault of a percentage above a hundred.
pub(crate) fn above_all(value: &IntOrString, path: &Path) -> Option<Fault> {
    let IntOrString::String(text) = value else { return None };
    if !percent(text).is_empty() || amount(value) <= 100 {
        return None;
    }
    Some(Fault::invalid(path, text, "must not be greater than 100%"))
}

/// The number, be it one of pods or of percents; 0 for what is neither.
pub(crate) fn amount(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // Too many digits are too much, not nothing.
            let number = |text: &str| text.parse().unwrap_or(i64::MAX);
            match (text.strip_suffix('%'), text.strip_prefix(['+', '-'])) {
                (Some(percents), _) if digits(percents) => number(percents),
                (None, Some(signed)) if digits(signed) => {
                    if text.starts_with('-') {
                        -number(signed)
                    } else {
                        number(signed)
                    }
                }
                (None, None) if digits(text) => number(text),
                _ => 0,
            }
        }
    }
}

/// Faults of counts in a status: none below zero, none above the number of replicas, and no more available than ready.
pub(crate) struct Counts<'a> {
    path: &'a Path,
    faults: Faults,
}

impl<'a> Counts<'a> {
    /// Begins with nothing wrong.
    pub(crate) fn new(path: &'a Path) -> Self {
        Self { path, faults: Vec::new() }
    }

    /// Looks at counts, which must not be below zero.
    pub(crate) fn counted(mut self, counts: &[(&str, i64)]) -> Self {
        for (field, count) in counts {
            self.faults.extend(negative(&self.path.child(field), *count));
        }
        self
    }

    /// Looks at counts that are part of another.
    pub(crate) fn within(mut self, counts: &[(&str, i32)], whole: i32, whole_name: &str) -> Self {
        for (field, count) in counts {
            if *count > whole {
                self.faults.push(Fault::invalid(
                    &self.path.child(field),
                    *count,
                    format!("cannot be greater than {whole_name}"),
                ));
            }
        }
        self
    }

    /// Looks at counts of replicas: parts of the whole, and of those that are ready the available ones.
    pub(crate) fn replicas(
        self,
        parts: &[(&str, Option<i32>)],
        whole: i32,
        (ready_name, ready): (&str, Option<i32>),
        available: Option<i32>,
    ) -> Self {
        let parts: Vec<_> = parts.iter().map(|(field, count)| (*field, count.unwrap_or_default())).collect();
        let available = [("availableReplicas", available.unwrap_or_default())];
        self.within(&parts, whole, "status.replicas").within(
            &available,
            ready.unwrap_or_default(),
            ready_name,
        )
    }

    /// Looks at a count that only grows.
    pub(crate) fn growing(mut self, field: &str, new: Option<i32>, old: Option<i32>) -> Self {
        if new.unwrap_or_default() < old.unwrap_or_default() || (new.is_none() && old.is_some()) {
            let path = self.path.child(field);
            self.faults.push(Fault::invalid(&path, new.unwrap_or_default(), "cannot be decremented"));
        }
        self
    }

    /// What was found.
    pub(crate) fn faults(self) -> Faults {
        self.faults
    }
}

/// The warning for a name that will be part of host names and is not fit for that.
pub(crate) fn name_warning(name: Option<&str>) -> Option<String> {
    let sentences = dns1123_label(name.unwrap_or_default());
    (!sentences.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: {}",
            listed(&sentences)
        )
    })
}

/// A list the way Go prints it.
pub(crate) fn listed(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_of_all() {
        let path = Path::new("p");
        for (value, faults, above, expected) in [
            (IntOrString::Int(3), 0, false, 3),
            (IntOrString::Int(-1), 1, false, -1),
            (IntOrString::String("25%".to_owned()), 0, false, 25),
            (IntOrString::String("101%".to_owned()), 0, true, 101),
            (IntOrString::String("10".to_owned()), 1, false, 10),
            (IntOrString::String("x".to_owned()), 1, false, 0),
            (IntOrString::String("-5".to_owned()), 1, false, -5),
            (IntOrString::String("+5".to_owned()), 1, false, 5),
            (IntOrString::String("-5%".to_owned()), 1, false, 0),
        ] {
            assert_eq!(int_or_percent(&value, &path).len(), faults, "{value:?}");
            assert_eq!(above_all(&value, &path).is_some(), above, "{value:?}");
            assert_eq!(amount(&value), expected, "{value:?}");
        }
    }
}

//! The rules of the template that a workload makes pods from.

use std::collections::BTreeMap;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::core::v1::{PodSpec, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use super::{
    metadata::validate_annotations,
    optional::{Items, Text, same},
    pod_spec::{self, Rules, annotations},
    selectors::{self, Leniency, validate_labels},
};

/// Labels or annotations.
pub(crate) type Pairs = Option<BTreeMap<String, String>>;

/// Annotations by which init containers were once said; long without meaning, and kept out.
const OLD_INIT_CONTAINERS: [&str; 4] = [
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
];

/// Fills in what was left out.
pub(crate) fn default(template: &mut PodTemplateSpec) {
    drop_old_annotations(template.metadata.get_or_insert_default());
    pod_spec::defaults::default(template.spec.get_or_insert_default());
}

/// Takes out annotations that were once fields.
pub(crate) fn drop_old_annotations(metadata: &mut ObjectMeta) {
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|key, _| !OLD_INIT_CONTAINERS.contains(&key.as_str()));
    }
}

/// Takes out fields that this version keeps behind switches.
pub(crate) fn prepare(template: &mut PodTemplateSpec, old: Option<&PodTemplateSpec>) {
    let spec = template.spec.get_or_insert_default();
    pod_spec::defaults::alias_service_account(spec);
    pod_spec::gates::drop_disabled(spec, old.and_then(|old| old.spec.as_ref()));
}

/// What an update of the template may keep.
pub(crate) fn rules(old: Option<&PodTemplateSpec>) -> Rules {
    let Some(old) = old else { return Rules::default() };
    let annotations = old.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    old.spec.as_ref().map_or_else(Rules::default, |spec| Rules::of_template(Some((spec, annotations))))
}

/// Everything that is wrong with a template.
pub(crate) fn validate(template: &PodTemplateSpec, rules: &Rules, path: &Path) -> Faults {
    let (labels, annotations) = (labels(template), template_annotations(template));
    let nothing = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&nothing);
    let annotations_path = path.child("annotations");
    let mut faults = validate_labels(labels.as_ref(), &path.child("labels"));
    faults.extend(validate_annotations(annotations.as_ref(), &annotations_path));
    faults.extend(annotations::validate(annotations, spec, rules, &annotations_path));
    let spec_path = path.child("spec");
    faults.extend(pod_spec::validate(spec, None, rules, &spec_path));
    faults.extend(annotations::contradictions(annotations, spec, &spec_path));
    if !spec.ephemeral_containers.items().is_empty() {
        faults.push(Fault::forbidden(
            &spec_path.child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
    faults
}

/// Faults of a template whose pods the workload keeps running: they must restart, and have no deadline. `owner` names
/// the kind in the message.
pub(crate) fn runs_on(template: &PodTemplateSpec, owner: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let nothing = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&nothing);
    let path = path.child("spec");
    let policy = spec.restart_policy.text();
    if policy != "Always" {
        faults.push(Fault::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if spec.active_deadline_seconds.is_some() {
        faults.push(Fault::forbidden(
            &path.child("activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {owner} is not Supported"),
        ));
    }
    faults
}

/// The fault of labels that the selector does not match.
pub(crate) fn unmatched(template: &PodTemplateSpec, path: &Path) -> Fault {
    Fault::invalid(
        &path.child("metadata.labels"),
        BadValue::json(labels(template)),
        "`selector` does not match template `labels`",
    )
}

/// What the writer of a template should know.
pub(crate) fn warnings(template: &PodTemplateSpec, path: &Path) -> Vec<String> {
    let Some(spec) = &template.spec else { return Vec::new() };
    pod_spec::warnings::warnings(spec, template_annotations(template), Some(path))
}

/// The labels that pods will have.
pub(crate) fn labels(template: &PodTemplateSpec) -> &Pairs {
    template.metadata.as_ref().map_or(&None, |metadata| &metadata.labels)
}

/// The annotations that pods will have.
pub(crate) fn template_annotations(template: &PodTemplateSpec) -> &Pairs {
    template.metadata.as_ref().map_or(&None, |metadata| &metadata.annotations)
}

// --- selectors of workloads

/// How a workload of `apps` selects its pods. The API's type cannot say that there is no selector, so [`mark_absent`]
/// says it with an empty list, which decoding never leaves behind.
pub(crate) enum Selection<'a> {
    /// There is no selector: nothing matches.
    Absent,
    /// It cannot be made sense of.
    Malformed,
    /// It can.
    Of(&'a LabelSelector),
}

impl<'a> Selection<'a> {
    /// How this selector selects.
    pub(crate) fn of(selector: &'a LabelSelector) -> Self {
        if is_absent(selector) {
            return Self::Absent;
        }
        if selectors::validate(Some(selector), Leniency::default(), &Path::root()).is_empty() {
            Self::Of(selector)
        } else {
            Self::Malformed
        }
    }

    /// Whether it matches the labels. What is malformed is somebody else's fault, and taken to match.
    pub(crate) fn matches(&self, labels: &Pairs) -> bool {
        match self {
            Self::Absent => false,
            Self::Malformed => true,
            Self::Of(selector) => selectors::matches(Some(selector), labels.as_ref()),
        }
    }
}

/// Marks a selector as absent.
pub(crate) fn mark_absent(selector: &mut LabelSelector) {
    *selector = LabelSelector { match_labels: None, match_expressions: Some(Vec::new()) };
}

/// Whether the selector is marked as absent.
pub(crate) fn is_absent(selector: &LabelSelector) -> bool {
    selector.match_labels.is_none() && selector.match_expressions.as_ref().is_some_and(Vec::is_empty)
}

/// Faults of the selector of a workload that must select something; `kind` names the workload in the message.
pub(crate) fn validate_selector(selector: &LabelSelector, kind: &str, path: &Path) -> Faults {
    if is_absent(selector) {
        return vec![Fault::required(path, "")];
    }
    let mut faults = selectors::validate(Some(selector), Leniency::default(), path);
    if selectors::is_empty(selector) {
        faults.push(Fault::invalid(
            path,
            selectors::printed(selector),
            format!("empty selector is invalid for {kind}"),
        ));
    }
    faults
}

/// The fault of a selector that changed.
pub(crate) fn immutable_selector(new: &LabelSelector, old: &LabelSelector, path: &Path) -> Option<Fault> {
    (!same(new, old)).then(|| Fault::invalid(path, selectors::printed(new), "field is immutable"))
}

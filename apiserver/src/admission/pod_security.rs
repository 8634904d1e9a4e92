//! `PodSecurity`: Pods keep to the Pod Security Standard that the labels of their namespace name. A violation of
//! `enforce` refuses a Pod; one of `warn` is told to the writer, also of a template.

mod policy;
mod standards;

use std::sync::{Arc, Weak};

use api_types::{
    field::{Faults, aggregate, go_quote},
    object::ObjectExt,
    status::Status,
    typed::Typed as _,
};
use futures::future::BoxFuture;
use indexmap::IndexMap;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};
use serde_json::Value;

use self::{
    policy::{Level, Policy, Standard, policy},
    standards::{Subject, violations},
};
use super::{Attributes, Operation, Plugin, cached};
use crate::{resources::shared::optional::Items as _, server::Server};

/// Subresources of Pods that do not say what a Pod may do.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// So many Pods are looked at when a namespace gets stricter.
const PODS_CHECKED_MAX: usize = 3000;
/// Where kinds that make Pods have their template.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

/// The plugin.
#[derive(Debug)]
pub(super) struct PodSecurity(pub(super) Weak<Server>);

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(attributes))
    }
}

impl PodSecurity {
    async fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        if !matches!(attributes.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        if attributes.is("", "namespaces", "") {
            return self.namespace(attributes).await;
        }
        if attributes.is("", "pods", &attributes.subresource) {
            return self.pod(attributes).await;
        }
        let template = TEMPLATES.iter().find(|(group, resource, _)| attributes.is(group, resource, ""));
        match template {
            Some((_, _, path)) => self.template(attributes, path).await,
            None => Ok(()),
        }
    }

    async fn namespace(&self, attributes: &Attributes) -> Result<(), Status> {
        let (new, faults) = policy(|key| attributes.object.label(key));
        let invalid =
            |faults: &Faults| Err(Status::invalid(&attributes.kind, attributes.object.name(), faults));
        if attributes.operation == Operation::Create {
            return if faults.is_empty() { Ok(()) } else { invalid(&faults) };
        }
        let (old, old_faults) = policy(|key| attributes.old.label(key));
        // What is wrong already may stay so.
        if !faults.is_empty() && faults != old_faults {
            return invalid(&faults);
        }
        let (new, old) = (new.enforce, old.enforce);
        let no_stricter = new == old
            || new.level == Level::Privileged
            || new.version == old.version && new.level <= old.level;
        let (false, Some(server)) = (no_stricter, self.0.upgrade()) else { return Ok(()) };
        let name = attributes.object.name();
        let (pods, total) = server.list_some(("", "v1", "pods"), name, PODS_CHECKED_MAX).await?;
        attributes.warnings.extend(misfits(name, new, &pods, total)?);
        Ok(())
    }

    async fn pod(&self, attributes: &Attributes) -> Result<(), Status> {
        if IGNORED.contains(&attributes.subresource.as_str()) {
            return Ok(());
        }
        let Some((policy, faults)) = self.policy_of(attributes).await? else { return Ok(()) };
        if faults.is_empty() && policy.is_privileged() {
            note(attributes, "enforce-policy", "privileged:latest");
            return Ok(());
        }
        let pod = Pod::from_value(&attributes.object).map_err(Status::internal)?;
        if attributes.operation == Operation::Update {
            let old = Pod::from_value(&attributes.old).map_err(Status::internal)?;
            if !is_significant(&pod, &old) {
                return Ok(());
            }
        }
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let spec = pod.spec.unwrap_or_default();
        let subject = Subject { annotations: &annotations, spec: &spec };
        note(attributes, "enforce-policy", &policy.enforce.to_string());
        note_violations(attributes, policy.audit, &faults, subject);
        let violations = violations(policy.enforce, subject);
        if !violations.is_empty() {
            let details = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(
                attributes.forbidden(format!("violates PodSecurity \"{}\": {details}", policy.enforce))
            );
        }
        warn(attributes, policy.warn, subject);
        Ok(())
    }

    async fn template(&self, attributes: &Attributes, path: &str) -> Result<(), Status> {
        let Some((policy, faults)) = self.policy_of(attributes).await? else { return Ok(()) };
        let is_free = policy.warn.level == Level::Privileged
            && (policy.audit.level == Level::Privileged || !attributes.audit.is_open());
        if faults.is_empty() && is_free {
            return Ok(());
        }
        let Some(template) = attributes.object.pointer(path).filter(|it| !it.is_null()) else {
            return Ok(());
        };
        let template = PodTemplateSpec::from_value(template).map_err(Status::internal)?;
        let annotations = template.metadata.and_then(|metadata| metadata.annotations).unwrap_or_default();
        let spec = template.spec.unwrap_or_default();
        let subject = Subject { annotations: &annotations, spec: &spec };
        note_violations(attributes, policy.audit, &faults, subject);
        warn(attributes, policy.warn, subject);
        Ok(())
    }

    /// What the namespace of the object demands, and what is wrong with its labels.
    async fn policy_of(&self, attributes: &Attributes) -> Result<Option<(Policy, Faults)>, Status> {
        let Some(server) = self.0.upgrade() else { return Ok(None) };
        let name = &attributes.namespace;
        // It was there, freshly read, when the write was let in.
        match cached(&server, ("", "namespaces"), "", name).await {
            Some(namespace) => Ok(Some(policy(|key| namespace.header.labels.get(key)))),
            None => Err(Status::internal(format!("failed to lookup namespace {}", go_quote(name)))),
        }
    }
}

fn note(attributes: &Attributes, what: &str, value: &str) {
    if attributes.audit.is_open() {
        attributes.audit.annotate(format!("pod-security.kubernetes.io/{what}"), value);
    }
}

/// Notes what the standard for the audit has against a Pod, and what is wrong with the namespace's labels.
fn note_violations(attributes: &Attributes, standard: Standard, faults: &Faults, subject: Subject<'_>) {
    if !attributes.audit.is_open() {
        return;
    }
    if !faults.is_empty() {
        note(attributes, "error", &format!("Failed to parse policy: {}", aggregate(faults)));
    }
    let violations = violations(standard, subject);
    if !violations.is_empty() {
        let details = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        note(attributes, "audit", &format!("would violate PodSecurity \"{standard}\": {details}"));
    }
}

fn warn(attributes: &Attributes, standard: Standard, subject: Subject<'_>) {
    let violations = violations(standard, subject);
    if !violations.is_empty() {
        let details = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        attributes.warnings.add(format!("would violate PodSecurity \"{standard}\": {details}"));
    }
}

/// What to warn of when a namespace demands more: the Pods there that do not keep to it, one of each violation.
fn misfits(
    namespace: &str,
    standard: Standard,
    pods: &[Arc<Value>],
    total: usize,
) -> Result<Vec<String>, Status> {
    let mut found: IndexMap<String, (String, usize)> = IndexMap::new();
    for pod in pods {
        let pod = Pod::from_value(pod).map_err(Status::internal)?;
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let spec = pod.spec.unwrap_or_default();
        let violations = violations(standard, Subject { annotations: &annotations, spec: &spec });
        if violations.is_empty() {
            continue;
        }
        let reasons = violations.iter().map(|it| it.reason).collect::<Vec<_>>().join(", ");
        let name = pod.metadata.name.unwrap_or_default();
        let (first, count) = found.entry(reasons).or_insert_with(|| (name.clone(), 0));
        *count += 1;
        if name < *first {
            *first = name;
        }
    }
    let mut warnings = Vec::new();
    if total > pods.len() {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_CHECKED_MAX} of {} existing pods",
            total
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {} violate the new PodSecurity enforce level \"{standard}\"",
            go_quote(namespace)
        ));
    }
    let mut told: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            count => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    told.sort();
    warnings.extend(told);
    Ok(warnings)
}

/// Whether a changed Pod has to be judged again: it runs other images, or more containers.
fn is_significant(pod: &Pod, old: &Pod) -> bool {
    let nothing = PodSpec::default();
    let (new, old) = (pod.spec.as_ref().unwrap_or(&nothing), old.spec.as_ref().unwrap_or(&nothing));
    let differ = |new: &[Container], old: &[Container]| {
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| new.image != old.image)
    };
    differ(&new.containers, &old.containers)
        || differ(new.init_containers.items(), old.init_containers.items())
        || new.ephemeral_containers.items().iter().any(|new| {
            let old = old.ephemeral_containers.items().iter().find(|old| old.name == new.name);
            old.is_none_or(|old| old.image != new.image)
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_are_too_free_for_a_stricter_namespace_are_named() {
        let pod = |name: &str, spec: Value| Arc::new(json!({"metadata": {"name": name}, "spec": spec}));
        let pods = [
            pod("b", json!({"hostPID": true, "containers": []})),
            pod("a", json!({"hostIPC": true, "containers": []})),
            pod("c", json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]})),
            pod("d", json!({"containers": []})),
        ];
        let (policy, _) = policy(|key| (key == "pod-security.kubernetes.io/enforce").then_some("baseline"));
        assert_eq!(
            misfits("n", policy.enforce, &pods, 4),
            Ok(vec![
                r#"existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest""#
                    .to_owned(),
                "a (and 1 other pod): host namespaces".to_owned(),
                "c: privileged".to_owned(),
            ])
        );
        assert_eq!(misfits("n", policy.enforce, &[], 0), Ok(vec![]));
    }

    #[test]
    fn other_images_and_more_containers_are_judged_again() {
        let pod = |spec: Value| Pod::from_value(&json!({"spec": spec})).unwrap();
        let old = || pod(json!({"containers": [{"name": "a", "image": "x"}]}));
        assert!(!is_significant(&old(), &old()));
        let image = pod(json!({"containers": [{"name": "a", "image": "y"}]}));
        assert!(is_significant(&image, &old()));
        let ephemeral = pod(json!({"containers": [{"name": "a", "image": "x"}],
            "ephemeralContainers": [{"name": "e", "image": "y"}]}));
        assert!(is_significant(&ephemeral, &old()));
        assert!(!is_significant(&ephemeral, &ephemeral));
    }
}

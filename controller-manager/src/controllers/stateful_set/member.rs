//! The Pod of a number: its name, its labels, its revision and its volumes.

use api_types::object::{object_at, object_of};
use client::{
    controller::{Patch, Request},
    resource::{PODS, STATEFUL_SETS},
};
use serde_json::{Value, json};

use super::{REVISION, Work};
use crate::kinds::Pod;

/// The label with the name of a Pod, so that a Service can select just one.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label with the number of a Pod.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

// === impl Work ===

impl Work<'_> {
    /// Makes the Pod of a number.
    pub(super) fn create(&self, ordinal: i64) -> Request {
        let root = self.root;
        let version = if self.stays_back(ordinal) { &self.current } else { &self.update };
        let name = root.pod_name(ordinal);
        let mut pod = version.template.pod(&STATEFUL_SETS, &root.metadata);
        let metadata = object_at(object_of(&mut pod), "metadata");
        metadata.insert("name".to_owned(), name.as_str().into());
        metadata.insert("namespace".to_owned(), root.metadata.namespace.as_ref().into());
        let labels = object_at(metadata, "labels");
        labels.insert(POD_NAME.to_owned(), name.as_str().into());
        labels.insert(POD_INDEX.to_owned(), ordinal.to_string().into());
        labels.insert(REVISION.to_owned(), version.name.as_str().into());
        let spec = object_at(object_of(&mut pod), "spec");
        spec.insert("hostname".to_owned(), name.as_str().into());
        if !root.spec.service_name.is_empty() {
            spec.insert("subdomain".to_owned(), root.spec.service_name.as_ref().into());
        }
        self.mount(ordinal, spec.entry("volumes").or_insert(Value::Null));
        if spec.get("volumes").is_some_and(|volumes| volumes.as_array().is_none_or(Vec::is_empty)) {
            spec.remove("volumes");
        }
        let request = Request::create(PODS, &root.metadata.namespace, pod);
        self.reporting("Create", &name, request)
    }

    /// Whether a Pod of this number that is missing is made of the revision before the update.
    fn stays_back(&self, ordinal: i64) -> bool {
        let start = i64::from(self.root.spec.ordinals.start);
        let below = match &self.root.spec.update_strategy.rolling_update {
            Some(rolling) => rolling.partition.unwrap_or_default(),
            None if self.root.is_rolling() => self.root.status.current_replicas,
            None => return false,
        };
        ordinal < start + i64::from(below)
    }

    /// Adds the claims of a number to the volumes, in the place of those of the same name.
    fn mount(&self, ordinal: i64, volumes: &mut Value) {
        let templates = &self.root.spec.volume_claim_templates;
        let mut all: Vec<Value> = templates
            .iter()
            .map(|template| {
                let claim = self.root.claim_name(template, ordinal);
                json!({"name": template.name, "persistentVolumeClaim": {"claimName": claim}})
            })
            .collect();
        if let Value::Array(others) = volumes.take() {
            let is_claim = |volume: &Value| templates.iter().any(|it| volume["name"] == *it.name);
            all.extend(others.into_iter().filter(|volume| !is_claim(volume)));
        }
        *volumes = all.into();
    }

    /// Gives a Pod the label with its name, which one that was adopted may lack.
    pub(super) fn identify(&mut self, ordinal: i64, pod: &Pod) {
        let name = &pod.metadata.name;
        if pod.metadata.labels.get(POD_NAME) == Some(&**name) {
            return;
        }
        let labels = json!({"metadata": {"labels": {POD_NAME: name, POD_INDEX: ordinal.to_string()}}});
        let request =
            Request::patch(PODS, pod.metadata.key(), Patch::merge(labels)).if_same(&pod.metadata.uid);
        let request = self.reporting("Update", name, request);
        self.then(request);
    }
}

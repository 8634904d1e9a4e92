//! A ResourceClaim: what is asked for, what was given, and who may use it.

use std::{collections::BTreeMap, sync::Arc};

use api_types::quantity::Quantity;
use client::{Key, Kind, Meta, Resource, meta::null_is_default, resource};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{DeviceId, Nodes, Toleration};
use crate::pod::Pod;

/// What holds a claim that has devices.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// The annotation of a claim that was made for the extended resources of a Pod.
pub const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";
/// So many Pods may use one claim.
const CONSUMERS_MAX: usize = 256;

/// A ResourceClaim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Raw")]
pub struct ResourceClaim {
    /// The metadata.
    pub metadata: Meta,
    /// What is asked for.
    pub requests: Box<[Request]>,
    /// What must hold of what is given.
    pub constraints: Box<[Constraint]>,
    /// What devices are told, as it was written.
    pub config: Box<[Value]>,
    /// How it is.
    pub status: Status,
}

/// How a claim is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// What was given.
    pub allocation: Option<Arc<Allocation>>,
    /// Who may use it.
    #[serde(deserialize_with = "null_is_default")]
    pub reserved_for: Box<[Consumer]>,
    /// What drivers say of its devices.
    #[serde(deserialize_with = "null_is_default")]
    devices: Box<[DeviceStatus]>,
}

/// Somebody who may use a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Consumer {
    /// Its uid.
    pub uid: Box<str>,
}

/// What a driver says of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct DeviceStatus {
    driver: Box<str>,
    pool: Box<str>,
    device: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    conditions: Box<[Condition]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: Box<str>,
    status: Box<str>,
    reason: Box<str>,
    message: Box<str>,
}

/// How far devices are with what must hold before a Pod is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All holds.
    Ready,
    /// Not yet.
    Waiting,
    /// It never will, for that reason.
    Failed(String),
}

/// Something that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What the claim calls it.
    pub name: Box<str>,
    /// One of these, the first that can be had; none if it is asked in a way we do not know.
    pub alternatives: Box<[Ask]>,
    /// The alternatives have names of their own.
    pub has_choice: bool,
}

/// Devices of one sort.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// What the claim calls it; the request's name if there is no choice.
    pub name: Box<str>,
    /// The class.
    pub class: Arc<str>,
    /// What they must be; a selector of a sort we do not know is none.
    pub selectors: Box<[Option<Arc<str>>]>,
    /// How many.
    pub amount: Amount,
    /// To look after them, whoever has them.
    pub is_admin: bool,
    /// Which taints are put up with.
    pub tolerations: Box<[Toleration]>,
    /// The same, as it was written.
    pub tolerations_written: Option<Arc<Value>>,
    /// How much of each.
    pub capacity: BTreeMap<Box<str>, Quantity>,
}

/// How many devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Exactly(i64),
    /// All there are.
    All,
    /// A mode we do not know.
    Unknown(Box<str>),
}

/// What must hold of devices of some requests together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// The requests; all if empty.
    pub requests: Box<[Box<str>]>,
    /// What.
    pub rule: Rule,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// They are alike in this attribute.
    Match(Box<str>),
    /// They all differ in this attribute.
    Distinct(Box<str>),
    /// Something we do not know.
    Unknown,
}

/// What was given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "RawAllocation")]
pub struct Allocation {
    /// The devices.
    pub results: Vec<Given>,
    /// Which nodes reach them; all if it does not say.
    pub nodes: Option<Nodes>,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A device that was given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "RawGiven")]
pub struct Given {
    /// For which request, and which alternative of it.
    pub request: Box<str>,
    /// The device.
    pub id: DeviceId,
    /// To look after it, whoever has it.
    pub is_admin: bool,
    /// Others may have parts of it.
    pub is_shared: bool,
    /// How much of it.
    pub consumed: BTreeMap<Box<str>, Quantity>,
    /// What must hold of it before a Pod is bound.
    pub binding_conditions: Box<[Box<str>]>,
    /// What must not.
    pub binding_failure_conditions: Box<[Box<str>]>,
    /// Which taints are put up with, as it was written; only of what is yet to be given.
    pub tolerations: Option<Arc<Value>>,
}

/// What is to be given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The devices.
    pub allocation: Arc<Allocation>,
    /// What they are told, as it is to be written.
    pub config: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: Meta,
    spec: RawSpec,
    #[serde(deserialize_with = "null_is_default")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSpec {
    #[serde(deserialize_with = "null_is_default")]
    devices: RawDevices,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawDevices {
    #[serde(deserialize_with = "null_is_default")]
    requests: Vec<RawRequest>,
    #[serde(deserialize_with = "null_is_default")]
    constraints: Vec<RawConstraint>,
    #[serde(deserialize_with = "null_is_default")]
    config: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRequest {
    name: Box<str>,
    exactly: Option<RawAsk>,
    #[serde(deserialize_with = "null_is_default")]
    first_available: Vec<RawAsk>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawAsk {
    name: Box<str>,
    device_class_name: Arc<str>,
    #[serde(deserialize_with = "null_is_default")]
    selectors: Vec<RawSelector>,
    #[serde(deserialize_with = "null_is_default")]
    allocation_mode: Box<str>,
    #[serde(deserialize_with = "null_is_default")]
    count: i64,
    #[serde(deserialize_with = "null_is_default")]
    admin_access: bool,
    tolerations: Option<Value>,
    #[serde(deserialize_with = "null_is_default")]
    capacity: RawCapacity,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCapacity {
    #[serde(deserialize_with = "null_is_default")]
    requests: BTreeMap<Box<str>, Quantity>,
}

/// A selector of devices.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSelector {
    cel: Option<RawCel>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCel {
    expression: Arc<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawConstraint {
    #[serde(deserialize_with = "null_is_default")]
    requests: Vec<Box<str>>,
    match_attribute: Option<Box<str>>,
    distinct_attribute: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawAllocation {
    #[serde(deserialize_with = "null_is_default")]
    devices: RawResults,
    node_selector: Option<Nodes>,
    allocation_timestamp: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawResults {
    #[serde(deserialize_with = "null_is_default")]
    results: Vec<Given>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawGiven {
    request: Box<str>,
    driver: Arc<str>,
    pool: Arc<str>,
    device: Arc<str>,
    #[serde(deserialize_with = "null_is_default")]
    admin_access: bool,
    #[serde(rename = "shareID")]
    share_id: Option<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    consumed_capacity: BTreeMap<Box<str>, Quantity>,
    #[serde(deserialize_with = "null_is_default")]
    binding_conditions: Vec<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    binding_failure_conditions: Vec<Box<str>>,
}

pub(super) fn selectors(raw: Vec<RawSelector>) -> Box<[Option<Arc<str>>]> {
    raw.into_iter().map(|selector| selector.cel.map(|cel| cel.expression)).collect()
}

// === impl ResourceClaim ===

impl From<Raw> for ResourceClaim {
    fn from(raw: Raw) -> Self {
        let Raw { metadata, spec, status } = raw;
        Self {
            metadata,
            requests: spec.devices.requests.into_iter().map(Request::from).collect(),
            constraints: spec.devices.constraints.into_iter().map(Constraint::from).collect(),
            config: spec.devices.config.into(),
            status,
        }
    }
}

impl Kind for ResourceClaim {
    const RESOURCE: Resource = resource::RESOURCE_CLAIMS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl ResourceClaim {
    /// Its place.
    pub fn key(&self) -> Key {
        self.metadata.key()
    }

    /// What was given.
    pub fn allocation(&self) -> Option<&Arc<Allocation>> {
        self.status.allocation.as_ref()
    }

    /// Whether a Pod may use it.
    pub fn is_reserved_for(&self, pod: &Pod) -> bool {
        self.status.reserved_for.iter().any(|consumer| *consumer.uid == *pod.uid())
    }

    /// Whether one more may use it.
    pub fn has_room(&self) -> bool {
        self.status.reserved_for.len() < CONSUMERS_MAX
    }

    /// Whether nobody may use it, or this Pod alone.
    pub fn is_idle_but_for(&self, pod: &Pod) -> bool {
        match &*self.status.reserved_for {
            [] => true,
            [only] => *only.uid == *pod.uid(),
            _ => false,
        }
    }

    /// Whether it was made for the extended resources of a Pod.
    pub fn is_extended_of(&self, pod: &Pod) -> bool {
        self.metadata.annotations.get(EXTENDED) == Some("true") && self.metadata.is_controlled_by(pod.uid())
    }

    /// Whether something must hold of its devices before a Pod is bound.
    pub fn has_binding_conditions(&self) -> bool {
        self.allocation()
            .is_some_and(|given| given.results.iter().any(|it| !it.binding_conditions.is_empty()))
    }

    /// How far its devices are with that.
    pub fn readiness(&self) -> Readiness {
        let Some(allocation) = self.allocation() else { return Readiness::Waiting };
        for given in allocation.results.iter().filter(|given| !given.binding_conditions.is_empty()) {
            let is_of = |status: &&DeviceStatus| {
                *status.driver == *given.id.driver
                    && *status.pool == *given.id.pool
                    && *status.device == *given.id.device
            };
            let Some(status) = self.status.devices.iter().find(is_of) else { return Readiness::Waiting };
            let holds = |wanted: &str| {
                status.conditions.iter().find(|it| *it.r#type == *wanted && &*it.status == "True")
            };
            if let Some(failed) = given.binding_failure_conditions.iter().find_map(|wanted| holds(wanted)) {
                return Readiness::Failed(format!(
                    "device binding failed: claim={}, reason={}, message={:?}",
                    self.metadata.name, failed.reason, failed.message
                ));
            }
            if given.binding_conditions.iter().any(|wanted| holds(wanted).is_none()) {
                return Readiness::Waiting;
            }
        }
        Readiness::Ready
    }

    /// Whether devices had their time to do what must be done before a Pod is bound.
    pub fn is_overdue(&self, patience: jiff::SignedDuration, now: Timestamp) -> bool {
        let since = self.allocation().and_then(|allocation| allocation.since);
        self.has_binding_conditions()
            && since.and_then(|since| since.checked_add(patience).ok()).is_some_and(|ends| ends < now)
    }
}

// === impl Request ===

impl From<RawRequest> for Request {
    fn from(raw: RawRequest) -> Self {
        let RawRequest { name, exactly, first_available } = raw;
        match exactly {
            Some(ask) => {
                let ask = Ask { name: name.clone(), ..Ask::from(ask) };
                Self { name, alternatives: [ask].into(), has_choice: false }
            }
            None => {
                let alternatives = first_available.into_iter().map(Ask::from).collect();
                Self { name, alternatives, has_choice: true }
            }
        }
    }
}

impl Request {
    /// How a result names one of the alternatives.
    pub fn name_of(&self, ask: &Ask) -> Box<str> {
        if self.has_choice { format!("{}/{}", self.name, ask.name).into() } else { self.name.clone() }
    }
}

// === impl Ask ===

impl From<RawAsk> for Ask {
    fn from(raw: RawAsk) -> Self {
        let tolerations =
            raw.tolerations.filter(|written| written.as_array().is_some_and(|it| !it.is_empty()));
        Self {
            name: raw.name,
            class: raw.device_class_name,
            selectors: selectors(raw.selectors),
            amount: match &*raw.allocation_mode {
                // The server has set what is not said.
                "" | "ExactCount" => {
                    Amount::Exactly(raw.count.max(i64::from(raw.allocation_mode.is_empty())))
                }
                "All" => Amount::All,
                _ => Amount::Unknown(raw.allocation_mode),
            },
            is_admin: raw.admin_access,
            tolerations: tolerations
                .as_ref()
                .and_then(|written| Box::<[Toleration]>::deserialize(written).ok())
                .unwrap_or_default(),
            tolerations_written: tolerations.map(Arc::new),
            capacity: raw.capacity.requests,
        }
    }
}

// === impl Amount ===

impl Default for Amount {
    fn default() -> Self {
        Self::Exactly(1)
    }
}

// === impl Constraint ===

impl From<RawConstraint> for Constraint {
    fn from(raw: RawConstraint) -> Self {
        let rule = match (raw.match_attribute, raw.distinct_attribute) {
            (Some(name), _) => Rule::Match(name),
            (None, Some(name)) => Rule::Distinct(name),
            (None, None) => Rule::Unknown,
        };
        Self { requests: raw.requests.into(), rule }
    }
}

impl Constraint {
    /// Whether it is about a request, or about an alternative of it.
    pub fn is_about(&self, request: &Request, full_name: &str) -> bool {
        self.requests.is_empty()
            || self.requests.iter().any(|name| *name == request.name || **name == *full_name)
    }
}

// === impl Allocation ===

impl From<RawAllocation> for Allocation {
    fn from(raw: RawAllocation) -> Self {
        Self { results: raw.devices.results, nodes: raw.node_selector, since: raw.allocation_timestamp }
    }
}

// === impl Given ===

impl From<RawGiven> for Given {
    fn from(raw: RawGiven) -> Self {
        Self {
            request: raw.request,
            id: DeviceId { driver: raw.driver, pool: raw.pool, device: raw.device },
            is_admin: raw.admin_access,
            is_shared: raw.share_id.is_some(),
            consumed: raw.consumed_capacity,
            binding_conditions: raw.binding_conditions.into(),
            binding_failure_conditions: raw.binding_failure_conditions.into(),
            tolerations: None,
        }
    }
}

impl Given {
    fn written(&self, share: impl FnOnce() -> String) -> Value {
        let mut object = Map::new();
        let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
        set("request", json!(self.request));
        set("driver", json!(&*self.id.driver));
        set("pool", json!(&*self.id.pool));
        set("device", json!(&*self.id.device));
        if self.is_admin {
            set("adminAccess", json!(true));
        }
        if let Some(tolerations) = &self.tolerations {
            set("tolerations", (**tolerations).clone());
        }
        if !self.binding_conditions.is_empty() {
            set("bindingConditions", json!(self.binding_conditions));
        }
        if !self.binding_failure_conditions.is_empty() {
            set("bindingFailureConditions", json!(self.binding_failure_conditions));
        }
        if self.is_shared {
            set("shareID", json!(share()));
        }
        if !self.consumed.is_empty() {
            let consumed: BTreeMap<&str, String> =
                self.consumed.iter().map(|(name, amount)| (&**name, amount.to_string())).collect();
            set("consumedCapacity", json!(consumed));
        }
        object.into()
    }
}

// === impl Plan ===

impl Plan {
    /// As a claim's status has it. Each share of a device has a name of its own.
    pub fn written(&self, mut share: impl FnMut() -> String, now: Timestamp) -> Value {
        let results: Vec<Value> =
            self.allocation.results.iter().map(|given| given.written(&mut share)).collect();
        let mut devices = Map::new();
        if !results.is_empty() {
            devices.insert("results".to_owned(), results.into());
        }
        if !self.config.is_empty() {
            devices.insert("config".to_owned(), self.config.clone().into());
        }
        let mut allocation = json!({"devices": devices, "allocationTimestamp": client::meta::time(now)});
        if let Some(nodes) = &self.allocation.nodes {
            allocation["nodeSelector"] = (*nodes.written).clone();
        }
        allocation
    }
}

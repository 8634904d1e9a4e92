//! To which nodes a volume is attached.
//!
//! The key is the id of a volume, and not the name of a PersistentVolume, of which several may mean the same volume.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use client::{
    Caches, Change, Controller, Key, Plan, Triggers, Write,
    controller::Request,
    events::{Note, ObjectRef},
    resource::VOLUME_ATTACHMENTS,
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use runtime::SharedClock;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{NAME, Need, PLUGIN, claims_changed, is_managed, needs};
use crate::kinds::{
    CsiDriver, Node, PersistentVolume, PersistentVolumeClaim, Pod, VolumeAttachment, persistent_volume,
    volume_attachment::{self, VolumeError},
};

/// A node that is not well is waited for so long before a volume is taken from it that it may still have mounted.
const UNMOUNT_WAIT: SignedDuration = SignedDuration::from_mins(6);
/// A driver that has not attached a volume after so long is told of.
const ATTACH_WAIT: SignedDuration = SignedDuration::from_mins(2);
/// The taint by which people say that nothing runs on a node any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Attaches and detaches.
pub struct Volumes {
    clock: SharedClock,
    memory: Mutex<BTreeMap<Key, Memory>>,
}

/// What is remembered of a volume.
#[derive(Debug, Default)]
struct Memory {
    /// Since when it is attached to a node where nobody needs it.
    idle: BTreeMap<Arc<str>, Timestamp>,
    /// The nodes that said, when they were last seen, that they have it in use.
    in_use: BTreeSet<Arc<str>>,
    /// The nodes where it is needed, and of which it was not told yet that it is attached.
    awaited: BTreeSet<Arc<str>>,
    /// The nodes that it was told of that another one has it.
    blocked: BTreeSet<Arc<str>>,
    /// The last failure that was told of a node.
    failed: BTreeMap<Arc<str>, VolumeError>,
    /// When it was told last of a node that nothing happens.
    late: BTreeMap<Arc<str>, Timestamp>,
}

/// All that matters to a volume.
#[derive(Debug)]
pub struct Observed {
    id: Arc<str>,
    /// One node at a time.
    exclusive: bool,
    needs: BTreeMap<Arc<str>, Need>,
    /// By node.
    attachments: BTreeMap<Arc<str>, Arc<VolumeAttachment>>,
    nodes: BTreeMap<Arc<str>, NodeState>,
    /// Since when it is attached to a node where nobody needs it.
    idle: BTreeMap<Arc<str>, Timestamp>,
    /// What to tell the Pods of nodes.
    news: Vec<(Arc<str>, News)>,
    /// When something will have to be told if nothing happens.
    next_news: Option<Timestamp>,
}

/// What a node is to a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NodeState {
    is_there: bool,
    managed: bool,
    ready: bool,
    out_of_service: bool,
    /// It says that it has the volume mounted, or is about to.
    in_use: bool,
    /// It is told that the volume is attached.
    told: bool,
}

/// What Pods are told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    Attached,
    Failed(String),
    Blocked,
}

// === impl Volumes ===

impl fmt::Debug for Volumes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volumes").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Volumes {
    /// Counts time by this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, memory: Mutex::default() }
    }
}

impl Controller for Volumes {
    type Root = PersistentVolume;
    type Observed = Observed;
    const NAME: &'static str = NAME;

    fn triggers(&self, on: &mut Triggers<PersistentVolume>) {
        on.mapped::<PersistentVolume>(|volume, _| id_of(volume).into_iter().collect());
        on.mapped::<VolumeAttachment>(|it, caches| of_attachment(it, caches).into_iter().collect());
        on.mapped::<PersistentVolumeClaim>(|claim, caches| {
            of_volume(&claim.spec.volume_name, caches).into_iter().collect()
        });
        on.changes::<Pod>(|change, caches| {
            let claims = caches.read::<PersistentVolumeClaim>();
            let volume = |key: Key| Some(claims.get(&key)?.spec.volume_name.clone());
            let volumes = claims_changed(change).into_iter().filter_map(volume);
            volumes.filter_map(|volume| of_volume(&volume, caches)).collect()
        });
        on.changes::<Node>(|change, caches| {
            if let Change::Modified { old, new } = change
                && matters(old) == matters(new)
            {
                return Vec::new();
            }
            let node = change.object();
            let mut keys: Vec<Key> = node
                .status
                .volumes_in_use
                .iter()
                .chain(node.status.volumes_attached.iter().map(|it| &it.name))
                .filter_map(|name| name.strip_prefix(PLUGIN).map(Key::cluster))
                .collect();
            let attachments = caches.read::<VolumeAttachment>();
            let attached = attachments.by_index(volume_attachment::NODE, &node.metadata.name);
            keys.extend(attached.iter().filter_map(|it| of_attachment(it, caches)));
            let claims = caches.read::<PersistentVolumeClaim>();
            for pod in caches.read::<Pod>().by_index(crate::kinds::pod::NODE, &node.metadata.name) {
                let used =
                    pod.claims().filter_map(|name| claims.get(&Key::new(&pod.metadata.namespace, &name)));
                keys.extend(used.filter_map(|claim| of_volume(&claim.spec.volume_name, caches)));
            }
            keys
        });
        on.mapped::<CsiDriver>(|driver, caches| {
            let volumes = caches.read::<PersistentVolume>().list();
            let its = |volume: &&Arc<PersistentVolume>| {
                volume.spec.csi.as_ref().is_some_and(|csi| *csi.driver == *driver.metadata.name)
            };
            volumes.iter().filter(its).filter_map(|volume| id_of(volume)).collect()
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let volumes = caches.read::<PersistentVolume>().by_index(persistent_volume::CSI, &root.name);
        if volumes.is_empty() {
            self.memory.lock().remove(root);
            return None;
        }
        let needs = needs(&root.name, caches);
        let all = caches.read::<VolumeAttachment>();
        let attachments: BTreeMap<Arc<str>, Arc<VolumeAttachment>> = volumes
            .iter()
            .flat_map(|volume| all.by_index(volume_attachment::VOLUME, &volume.metadata.name))
            .map(|it| (it.spec.node_name.as_ref().into(), it))
            .collect();
        let name = format!("{PLUGIN}{}", root.name);
        let nodes = caches.read::<Node>();
        let mut all_memory = self.memory.lock();
        let memory = all_memory.entry(root.clone()).or_default();
        let states: BTreeMap<Arc<str>, NodeState> = needs
            .keys()
            .chain(attachments.keys())
            .map(|node| {
                let state = match nodes.get(&Key::cluster(node)) {
                    Some(node) => NodeState::of(&node, &name),
                    // What it said last counts.
                    None => NodeState { in_use: memory.in_use.contains(node), ..NodeState::default() },
                };
                (Arc::clone(node), state)
            })
            .collect();
        let mut observed = Observed {
            id: Arc::clone(&root.name),
            exclusive: volumes.iter().all(|volume| volume.is_exclusive()),
            needs,
            attachments,
            nodes: states,
            idle: BTreeMap::new(),
            news: Vec::new(),
            next_news: None,
        };
        memory.learn(&mut observed, self.clock.now());
        if observed.needs.is_empty() && observed.attachments.is_empty() {
            all_memory.remove(root);
        }
        Some(observed)
    }

    fn reconcile(&self, observed: &Observed, now: Timestamp) -> Plan {
        let mut plan = Plan::because("the volume is attached where it is needed");
        plan = observed.detach(plan, now);
        plan = observed.attach(plan);
        for (node, news) in &observed.news {
            plan = observed.tell(plan, node, news);
        }
        match observed.next_news {
            Some(at) => plan.look_again_at(at, now),
            None => plan,
        }
    }
}

fn id_of(volume: &PersistentVolume) -> Option<Key> {
    volume.spec.csi.as_ref().map(|csi| Key::cluster(&csi.id()))
}

fn of_volume(name: &str, caches: &Caches) -> Option<Key> {
    id_of(&*caches.read::<PersistentVolume>().get(&Key::cluster(name))?)
}

fn of_attachment(attachment: &VolumeAttachment, caches: &Caches) -> Option<Key> {
    of_volume(attachment.spec.source.persistent_volume_name.as_deref()?, caches)
}

/// The parts of a node that matter to volumes.
fn matters(node: &Node) -> impl PartialEq + '_ {
    let out_of_service = node.spec.taints.iter().any(|taint| &*taint.key == OUT_OF_SERVICE);
    let status = &node.status;
    (&status.volumes_in_use, &status.volumes_attached, is_managed(node), node.is_ready(), out_of_service)
}

/// The name of the attachment of a volume to a node, which the driver's attacher and the kubelet know too.
fn attachment_name(handle: &str, driver: &str, node: &str) -> String {
    let digest = Sha256::digest(format!("{handle}{driver}{node}"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("csi-{hex}")
}

// === impl NodeState ===

impl NodeState {
    fn of(node: &Node, volume: &str) -> Self {
        Self {
            is_there: true,
            managed: is_managed(node),
            ready: node.is_ready(),
            out_of_service: node.spec.taints.iter().any(|taint| &*taint.key == OUT_OF_SERVICE),
            in_use: node.status.volumes_in_use.iter().any(|it| **it == *volume),
            told: node.status.volumes_attached.iter().any(|it| *it.name == *volume),
        }
    }
}

// === impl Memory ===

impl Memory {
    /// Learns what there is now, and adds what is new about it.
    fn learn(&mut self, observed: &mut Observed, now: Timestamp) {
        let (needs, attachments) = (&observed.needs, &observed.attachments);
        self.in_use =
            observed.nodes.iter().filter(|(_, it)| it.in_use).map(|(node, _)| Arc::clone(node)).collect();
        self.idle.retain(|node, _| attachments.contains_key(node) && !needs.contains_key(node));
        for node in attachments.keys().filter(|node| !needs.contains_key(*node)) {
            self.idle.entry(Arc::clone(node)).or_insert(now);
        }
        observed.idle.clone_from(&self.idle);
        self.awaited.retain(|node| needs.contains_key(node));
        self.blocked.retain(|node| needs.contains_key(node));
        self.failed.retain(|node, _| needs.contains_key(node) && attachments.contains_key(node));
        self.late.retain(|node, _| needs.contains_key(node) && attachments.contains_key(node));
        for node in needs.keys() {
            let Some(attachment) = attachments.get(node) else {
                self.awaited.insert(Arc::clone(node));
                if observed.is_blocked(node) && self.blocked.insert(Arc::clone(node)) {
                    observed.news.push((Arc::clone(node), News::Blocked));
                }
                continue;
            };
            if attachment.metadata.is_terminating() {
                continue;
            }
            if attachment.status.attached {
                if self.awaited.remove(node) {
                    observed.news.push((Arc::clone(node), News::Attached));
                }
                continue;
            }
            self.awaited.insert(Arc::clone(node));
            if let Some(error) = &attachment.status.attach_error {
                if self.failed.get(node) != Some(error) {
                    self.failed.insert(Arc::clone(node), error.clone());
                    let message = error.message.as_ref().to_owned();
                    observed.news.push((Arc::clone(node), News::Failed(message)));
                }
                continue;
            }
            let since =
                self.late.get(node).copied().or(attachment.metadata.creation_timestamp).unwrap_or(now);
            let due = since.checked_add(ATTACH_WAIT).unwrap_or(Timestamp::MAX);
            if now >= due {
                self.late.insert(Arc::clone(node), now);
                let (driver, handle) = observed.id.split_once('^').unwrap_or_default();
                let message = format!(
                    "timed out waiting for external-attacher of {driver} CSI driver to attach volume {handle}"
                );
                observed.news.push((Arc::clone(node), News::Failed(message)));
            }
            let next = if now >= due { now.checked_add(ATTACH_WAIT).unwrap_or(Timestamp::MAX) } else { due };
            observed.next_news = Some(observed.next_news.map_or(next, |other| other.min(next)));
        }
    }
}

// === impl Observed ===

impl Observed {
    /// Another node has the volume, and it can have only one.
    fn is_blocked(&self, node: &str) -> bool {
        self.exclusive && self.attachments.keys().any(|other| **other != *node)
    }

    /// Takes the volume from nodes where nobody needs it, once that is safe.
    fn detach(&self, mut plan: Plan, now: Timestamp) -> Plan {
        for (node, since) in &self.idle {
            let Some(attachment) = self.attachments.get(node) else { continue };
            if attachment.metadata.is_terminating() {
                plan.why = format!("the driver detaches the volume from node {node}").into();
                continue;
            }
            let state = self.nodes.get(node).copied().unwrap_or_default();
            let patience = since.checked_add(UNMOUNT_WAIT).unwrap_or(Timestamp::MAX);
            let given_up = !state.ready && now > patience;
            let forced = given_up || state.out_of_service;
            if state.in_use && !forced {
                plan.why =
                    format!("the volume is no longer needed on node {node}, and still mounted there").into();
                if now <= patience {
                    let after =
                        patience.checked_add(SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX);
                    plan = plan.look_again_at(after, now);
                }
                continue;
            }
            if state.told && !forced {
                plan.why = format!("node {node} is told first that the volume goes").into();
                continue;
            }
            plan.why = if state.in_use {
                format!("the volume is taken from node {node}, which is lost").into()
            } else {
                format!("the volume is no longer needed on node {node}").into()
            };
            plan = plan.then(Request::delete(VOLUME_ATTACHMENTS, &attachment.metadata));
        }
        plan
    }

    /// Attaches the volume where it is needed.
    fn attach(&self, mut plan: Plan) -> Plan {
        let (driver, handle) = self.id.split_once('^').unwrap_or_default();
        let mut taken = false;
        for (node, need) in &self.needs {
            let state = self.nodes.get(node).copied().unwrap_or_default();
            if self.attachments.contains_key(node) || !state.is_there || !state.managed {
                continue;
            }
            if self.is_blocked(node) || (self.exclusive && taken) {
                plan.why = format!("another node than {node} has the volume").into();
                continue;
            }
            taken = true;
            plan.why = format!("the volume is needed on node {node}").into();
            let attachment = json!({
                "metadata": {"name": attachment_name(handle, driver, node)},
                "spec": {"attacher": driver, "nodeName": node, "source": {"persistentVolumeName": need.volume}},
            });
            plan = plan.then(Request::create(VOLUME_ATTACHMENTS, "", attachment));
        }
        plan
    }

    /// Tells the Pods of a node.
    fn tell(&self, mut plan: Plan, node: &str, news: &News) -> Plan {
        let Some(need) = self.needs.get(node) else { return plan };
        let volume = &need.volume;
        for pod in &need.pods {
            let note = match news {
                News::Attached => Note::normal(
                    "SuccessfulAttachVolume",
                    format!("AttachVolume.Attach succeeded for volume \"{volume}\" "),
                ),
                News::Failed(error) => Note::warning(
                    "FailedAttachVolume",
                    format!("AttachVolume.Attach failed for volume \"{volume}\" : {error}"),
                ),
                News::Blocked => Note::warning(
                    "FailedAttachVolume",
                    format!("Multi-Attach error for volume \"{volume}\" {}", self.rivals(node, pod)),
                ),
            };
            plan = plan.then(Write::event(ObjectRef::to(&**pod), note));
        }
        plan
    }

    /// Who has the volume instead, as far as somebody of a Pod's namespace may know.
    fn rivals(&self, node: &str, pod: &Pod) -> String {
        let rivals = self.attachments.keys().filter(|other| ***other != *node);
        let rivals: Vec<&Arc<Pod>> =
            rivals.filter_map(|other| self.needs.get(other)).flat_map(|need| &need.pods).collect();
        if rivals.is_empty() {
            return "Volume is already exclusively attached to one node and can't be attached to another"
                .to_owned();
        }
        let namespace = &pod.metadata.namespace;
        let (near, far): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) =
            rivals.into_iter().partition(|it| it.metadata.namespace == *namespace);
        let names: Vec<&str> = near.iter().map(|it| &*it.metadata.name).collect();
        match (names.is_empty(), far.len()) {
            (true, far) => format!("Volume is already used by {far} pod(s) in different namespaces"),
            (false, 0) => format!("Volume is already used by pod(s) {}", names.join(", ")),
            (false, far) => format!(
                "Volume is already used by pod(s) {} and {far} pod(s) in different namespaces",
                names.join(", ")
            ),
        }
    }
}

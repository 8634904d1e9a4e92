//! Carries out what `resources/core/services/allocation` decides: addresses and node ports are taken before a Service is
//! written and given back when it does not need them, or was not written after all.
//!
//! An address is taken by creating the IPAddress object of its name (KEP-1880), which only one writer can; node ports
//! are one bitmap, written only if nobody else wrote it meanwhile. A server that dies between the two writes leaks an
//! address and never gives one out twice.

use std::net::IpAddr;

use api_types::{object::ObjectExt, status::Status, typed::Typed};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use store::{Revision, cache::Snapshot};

use super::{ATTEMPTS, Call, Registry, keys, read_failure, store_failure, stored};
use crate::{
    resources::core::services::allocation::{
        self, AddressRange, Families, Family, Plan, Pool, PortRange, Ports, Refusal,
    },
    server::Config,
};

/// Where the bitmap of node ports lies, as upstream has it.
const PORTS_KEY: &str = "/registry/ranges/servicenodeports";

/// What Services can be given.
#[derive(Debug)]
pub struct Addresses {
    families: Families,
    /// The ranges of the flags, which are ready from the start.
    ranges: Vec<AddressRange>,
    ports: PortRange,
}

/// What was taken for a write in hand, and what it will give back.
#[derive(Debug, Default)]
pub(super) struct Claim(Option<Plan>);

// === impl Addresses ===

impl Addresses {
    /// What the server's flags allow.
    pub fn new(config: &Config) -> Self {
        let ranges: Vec<AddressRange> = config
            .service_cidrs
            .iter()
            .filter_map(|range| AddressRange::new(&range.to_string(), true))
            .collect();
        let primary = ranges.first().map_or(Family::V4, AddressRange::family);
        Self {
            families: Families { primary, dual: ranges.iter().any(|range| range.family() != primary) },
            ranges,
            ports: PortRange { first: *config.node_ports.start(), last: *config.node_ports.end() },
        }
    }
}

// === impl Registry ===

impl Registry {
    /// Gives a new Service what it needs.
    pub(super) async fn claim_for_create(&self, call: &Call, object: &mut Value) -> Result<Claim, Status> {
        if !is_service(call) {
            return Ok(Claim::default());
        }
        self.claim(call, object, allocation::begin_create).await
    }

    /// Gives a changed Service what it needs now.
    pub(super) async fn claim_for_update(
        &self,
        call: &Call,
        object: &mut Value,
        old: &Value,
    ) -> Result<Claim, Status> {
        if !is_service(call) || !call.subresource.is_empty() {
            return Ok(Claim::default());
        }
        let old = Service::from_value(old).map_err(Status::internal)?;
        self.claim(call, object, move |service, pool| allocation::begin_update(service, &old, pool)).await
    }

    /// After the write: gives back what is not needed any more, or, if nothing was written, what was taken for it.
    pub(super) async fn settle_claim(&self, claim: Claim, stored: bool) {
        let Some(plan) = claim.0 else { return };
        if stored {
            self.give_back(&plan.release, &plan.release_ports).await;
        } else {
            let taken: Vec<IpAddr> = plan.take.iter().map(|claim| claim.ip).collect();
            self.give_back(&taken, &plan.take_ports).await;
        }
    }

    /// Gives back what a deleted Service had.
    pub(super) async fn after_delete(&self, call: &Call, object: &Value) {
        if !is_service(call) {
            return;
        }
        if let Ok(service) = Service::from_value(object) {
            let plan = allocation::after_delete(&service, self.addresses.families);
            self.give_back(&plan.release, &plan.release_ports).await;
        }
    }

    /// Decides and takes, again when somebody else took the same.
    async fn claim(
        &self,
        call: &Call,
        object: &mut Value,
        decide: impl Fn(&mut Service, &Pool<'_>) -> Result<Plan, Refusal>,
    ) -> Result<Claim, Status> {
        let asked = Service::from_value(object).map_err(Status::internal)?;
        for _ in 0..ATTEMPTS {
            let (taken, ranges) = self.state().await?;
            let (ports, ports_revision) = self.ports().await?;
            let prefix = self.addresses_prefix()?;
            let is_taken = |ip: IpAddr| taken.get(&format!("{prefix}{ip}")).is_some();
            let mut service = asked.clone();
            let decided = {
                let pool = Pool {
                    families: self.addresses.families,
                    ranges: &ranges,
                    is_taken: &is_taken,
                    ports: &ports,
                    random: &self.runtime.random,
                    dry_run: call.dry_run,
                };
                decide(&mut service, &pool)
            };
            let plan = decided.map_err(|refusal| refused(call, &asked, refusal))?;
            if call.dry_run {
                *object = service.to_value();
                return Ok(Claim::default());
            }
            match self.take(call, &service, &plan, ports, ports_revision).await? {
                Taken::All => {
                    *object = service.to_value();
                    return Ok(Claim(Some(plan)));
                }
                Taken::RacedForPorts => {}
                Taken::RacedFor(claim) if claim.chosen => {}
                Taken::RacedFor(claim) => {
                    return Err(refused(call, &asked, Refusal::already_taken(&asked, &claim.ip.to_string())));
                }
            }
        }
        Err(Status::internal("addresses and node ports are in too much demand; try again"))
    }

    async fn take(
        &self,
        call: &Call,
        service: &Service,
        plan: &Plan,
        mut ports: Ports,
        ports_revision: Option<Revision>,
    ) -> Result<Taken, Status> {
        let mut taken = Vec::new();
        for claim in &plan.take {
            match self.take_address(call, claim.ip, service).await {
                Ok(true) => taken.push(claim.ip),
                Ok(false) => {
                    self.give_back(&taken, &[]).await;
                    return Ok(Taken::RacedFor(*claim));
                }
                Err(status) => {
                    self.give_back(&taken, &[]).await;
                    return Err(status);
                }
            }
        }
        if plan.take_ports.is_empty() {
            return Ok(Taken::All);
        }
        for &port in &plan.take_ports {
            // Free when the plan was made from this very bitmap.
            let _port = ports.take(i32::from(port));
        }
        if self.write_ports(&ports, ports_revision).await? {
            return Ok(Taken::All);
        }
        self.give_back(&taken, &[]).await;
        Ok(Taken::RacedForPorts)
    }

    /// Creates the object that says the address is this Service's. False if there is one already.
    async fn take_address(&self, call: &Call, ip: IpAddr, service: &Service) -> Result<bool, Status> {
        let served = self
            .catalogue
            .find("networking.k8s.io", "v1", "ipaddresses")
            .ok_or_else(|| Status::internal("IPAddresses are not served"))?;
        let call = Call { served, namespace: String::new(), name: ip.to_string(), ..call.clone() };
        let mut object = allocation::ip_address_object(ip, service).to_value();
        self.fill_new(&call, &mut object);
        let mut object = self.normalise(&call.served, object)?;
        let bytes = self.encode(&call.served, &mut object).await?;
        match self.backend.create(&call.key(&call.name), bytes, None).await {
            Ok(_) => Ok(true),
            Err(store::Error::Exists(_)) => Ok(false),
            Err(error) => Err(store_failure(&error)),
        }
    }

    /// The IPAddresses there are, and the ranges that addresses come from.
    async fn state(&self) -> Result<(Snapshot, Vec<AddressRange>), Status> {
        let snapshot = |plural: &'static str| async move {
            let served = self
                .catalogue
                .find("networking.k8s.io", "v1", plural)
                .ok_or_else(|| Status::internal(format!("{plural} are not served")))?;
            let cache = served.storage.cache();
            let snapshot = cache.fresh().await.map_err(|error| read_failure(&error))?;
            Ok::<_, Status>((snapshot, served.storage.prefix.clone()))
        };
        let (addresses, _) = snapshot("ipaddresses").await?;
        let (cidrs, prefix) = snapshot("servicecidrs").await?;
        let mut ranges = self.addresses.ranges.clone();
        for object in cidrs.range(&prefix, None) {
            let Ok(cidr) = serde_json::from_slice::<Value>(&object.bytes) else { continue };
            let ready = is_ready(&cidr) && !cidr.is_terminating();
            let texts = cidr.pointer("/spec/cidrs").and_then(Value::as_array).cloned().unwrap_or_default();
            for range in
                texts.iter().filter_map(Value::as_str).filter_map(|text| AddressRange::new(text, ready))
            {
                let same = |known: &&mut AddressRange| {
                    let mut known = **known;
                    known.ready = ready;
                    known == range
                };
                match ranges.iter_mut().find(same) {
                    Some(known) => known.ready |= ready,
                    None => ranges.push(range),
                }
            }
        }
        Ok((addresses, ranges))
    }

    fn addresses_prefix(&self) -> Result<String, Status> {
        self.catalogue
            .find("networking.k8s.io", "v1", "ipaddresses")
            .map(|served| served.storage.prefix.clone())
            .ok_or_else(|| Status::internal("IPAddresses are not served"))
    }

    async fn ports(&self) -> Result<(Ports, Option<Revision>), Status> {
        let entry = self.backend.get(PORTS_KEY).await.map_err(|error| store_failure(&error))?;
        let Some(entry) = entry else { return Ok((Ports::new(self.addresses.ports), None)) };
        let bytes = stored::range_allocation(&entry.value).map_err(Status::internal)?;
        Ok((Ports::from_bytes(self.addresses.ports, &bytes), Some(entry.revision)))
    }

    /// Writes the bitmap; false if somebody else wrote it since it was read.
    async fn write_ports(&self, ports: &Ports, expected: Option<Revision>) -> Result<bool, Status> {
        let stored = json!({
            "kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
            "range": ports.range().to_string(), "data": STANDARD.encode(ports.to_bytes()),
        });
        let bytes = Bytes::from(serde_json::to_vec(&stored).map_err(Status::internal)?);
        let written = match expected {
            None => self.backend.create(PORTS_KEY, bytes, None).await,
            Some(expected) => self.backend.update(PORTS_KEY, expected, bytes, None).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(store::Error::Exists(_) | store::Error::Conflict(_) | store::Error::NotFound(_)) => Ok(false),
            Err(error) => Err(store_failure(&error)),
        }
    }

    /// Best effort: what is not given back stays taken until the repair finds it.
    async fn give_back(&self, addresses: &[IpAddr], ports: &[u16]) {
        if let Ok(prefix) = self.addresses_prefix() {
            for ip in addresses {
                let key = keys::object(&prefix, "", &ip.to_string());
                if let Ok(Some(entry)) = self.backend.get(&key).await
                    && let Err(error) = self.backend.delete(&key, entry.revision).await
                {
                    tracing::warn!(%ip, %error, "an address was not given back");
                }
            }
        }
        if ports.is_empty() {
            return;
        }
        for _ in 0..ATTEMPTS {
            let Ok((mut bitmap, revision)) = self.ports().await else { break };
            for &port in ports {
                bitmap.release(i32::from(port));
            }
            match self.write_ports(&bitmap, revision).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => break,
            }
        }
        tracing::warn!(?ports, "node ports were not given back");
    }
}

/// How taking went.
enum Taken {
    All,
    RacedFor(allocation::Claim),
    RacedForPorts,
}

fn is_service(call: &Call) -> bool {
    let names = call.served.names();
    names.group.is_empty() && names.plural == "services"
}

fn is_ready(cidr: &Value) -> bool {
    cidr.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|conditions| {
        conditions.iter().any(|it| {
            it.get("type").and_then(Value::as_str) == Some("Ready")
                && it.get("status").and_then(Value::as_str) == Some("True")
        })
    })
}

fn refused(call: &Call, service: &Service, refusal: Refusal) -> Status {
    match refusal {
        Refusal::Invalid(faults) => {
            let name = service.metadata.name.as_deref().unwrap_or_default();
            Status::invalid(&call.served.resource.kind(), name, &faults)
        }
        Refusal::Internal(why) => Status::internal(why),
        Refusal::Bare(why) => Status::failure(500, "", why),
    }
}

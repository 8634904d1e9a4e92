//! A ResourceSlice, as far as controllers look at it: of its devices only those are kept that drive their users away.

use client::{Index, Kind, Meta, Resource, meta::null_is_default, resource};
use serde::{Deserialize, Deserializer};

use super::node::Taint;

/// The index of slices by driver and pool, `driver/pool`.
pub const POOL: &str = "pool";

/// A ResourceSlice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourceSlice {
    /// The metadata.
    pub metadata: Meta,
    /// What it says.
    pub spec: SliceSpec,
}

/// What a ResourceSlice says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SliceSpec {
    /// Whose devices they are.
    pub driver: Box<str>,
    /// The pool they are in.
    pub pool: Pool,
    /// The devices that have a taint `NoExecute`, with these.
    #[serde(deserialize_with = "tainted")]
    pub devices: Box<[Device]>,
}

/// A pool of devices, which may be told in several slices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// Its name.
    pub name: Box<str>,
    /// Only the slices of the highest one count.
    pub generation: i64,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Its name.
    pub name: Box<str>,
    /// Which users it does not want.
    #[serde(deserialize_with = "null_is_default")]
    pub taints: Box<[Taint]>,
}

fn tainted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[Device]>, D::Error> {
    let devices = Option::<Vec<Device>>::deserialize(deserializer)?.unwrap_or_default();
    let only = |device: Device| {
        let taints = device.taints.into_iter().filter(|taint| &*taint.effect == "NoExecute").collect();
        Device { taints, ..device }
    };
    Ok(devices.into_iter().map(only).filter(|device| !device.taints.is_empty()).collect())
}

// === impl ResourceSlice ===

impl Kind for ResourceSlice {
    const RESOURCE: Resource = resource::RESOURCE_SLICES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes() -> Vec<Index<Self>> {
        vec![Index {
            name: POOL,
            values: |slice| vec![pool(&slice.spec.driver, &slice.spec.pool.name).into()],
        }]
    }
}

/// A pool in the index [`POOL`].
pub fn pool(driver: &str, pool: &str) -> String {
    format!("{driver}/{pool}")
}

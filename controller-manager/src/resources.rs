//! Amounts of resources by name, as projections keep them.

pub use api_types::quota::{Amounts, pods::Resources};

/// Reads what a projection keeps of a container's resources, or a Pod's, as it came.
pub fn read(json: &str) -> Resources {
    if json.is_empty() { Resources::default() } else { serde_json::from_str(json).unwrap_or_default() }
}

//! Whose a key of the store is.

use std::collections::BTreeMap;

use api_types::kind::GroupResource;

use crate::registry::keys;

/// The built-in resources by the prefix of their keys.
#[derive(Debug)]
pub(super) struct Resources(BTreeMap<String, GroupResource>);

impl Resources {
    pub(super) fn built_in() -> Self {
        Self(
            crate::resources::all()
                .into_iter()
                .filter(|resource| resource.conversion().is_none())
                .map(|resource| (keys::prefix(&resource.resource()), resource.resource()))
                .collect(),
        )
    }

    /// Group and resource of a key: a built-in one, or a custom one, which has its group in its keys. Empty for what is no
    /// resource.
    pub(super) fn resource<'a>(&'a self, key: &'a str) -> (&'a str, &'a str) {
        let mut slashes = key.match_indices('/').map(|(at, _)| at).skip(2);
        let prefixes = [slashes.next(), slashes.next()].into_iter().flatten();
        let found = prefixes.filter_map(|end| self.0.get(key.get(..=end)?)).next_back();
        if let Some(resource) = found {
            return (&resource.group, &resource.resource);
        }
        let mut parts = key.split('/').skip(2);
        match (parts.next(), parts.next()) {
            (Some(group), Some(resource)) if group.contains('.') => (group, resource),
            _ => ("", ""),
        }
    }
}

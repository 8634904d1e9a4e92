//! A map from prefixes that answers: which of them does this key start with?
//!
//! Both fan-outs of the store use it, the backends' (streams by prefix) and the cache's (watchers by namespace), so that
//! an event costs what its listeners cost and not what all listeners cost.

use std::{collections::BTreeMap, ops::Bound};

/// Values by prefix. An empty prefix matches every key.
#[derive(Debug)]
pub(crate) struct PrefixMap<T> {
    // Bytes, not `str`: the common part of two keys may end inside a character.
    map: BTreeMap<Box<[u8]>, T>,
}

// === impl PrefixMap ===

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self { map: BTreeMap::new() }
    }
}

impl<T> PrefixMap<T> {
    /// The value at exactly this prefix.
    pub(crate) fn get_mut(&mut self, prefix: &str) -> Option<&mut T> {
        self.map.get_mut(prefix.as_bytes())
    }

    /// The value at exactly this prefix, made if it is not there.
    pub(crate) fn entry(&mut self, prefix: &str) -> &mut T
    where
        T: Default,
    {
        self.map.entry(prefix.as_bytes().into()).or_default()
    }

    /// Forgets a prefix.
    pub(crate) fn remove(&mut self, prefix: &str) -> Option<T> {
        self.map.remove(prefix.as_bytes())
    }

    /// All values, in the order of their prefixes.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.map.values_mut()
    }

    /// Calls `visit` for each prefix `key` starts with, the longest first.
    ///
    /// Prefixes of a key sort before it. So the greatest entry not after the key is either one of them, or shows by what
    /// it has in common with the key how long the next candidate can be at the most.
    pub(crate) fn for_each_prefix_of(&mut self, key: &str, mut visit: impl FnMut(&mut T)) {
        let key = key.as_bytes();
        let (mut len, mut inclusive) = (key.len(), true);
        loop {
            let Some(longest) = key.get(..len) else { return };
            let bound = if inclusive { Bound::Included(longest) } else { Bound::Excluded(longest) };
            let Some((candidate, value)) =
                self.map.range_mut::<[u8], _>((Bound::Unbounded, bound)).next_back()
            else {
                return;
            };
            if longest.starts_with(candidate) {
                visit(value);
                (len, inclusive) = (candidate.len(), false);
            } else {
                (len, inclusive) =
                    (longest.iter().zip(candidate.iter()).take_while(|(a, b)| a == b).count(), true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(prefixes: &[&str], key: &str) -> Vec<String> {
        let mut map = PrefixMap::<String>::default();
        for prefix in prefixes {
            *map.entry(prefix) = (*prefix).to_owned();
        }
        let mut found = Vec::new();
        map.for_each_prefix_of(key, |prefix| found.push(prefix.clone()));
        found
    }

    #[test]
    fn every_prefix_of_a_key_is_found_the_longest_first() {
        assert_eq!(matches(&["/a/", "/a/b/", "/a/c/", "/b/"], "/a/b/x"), ["/a/b/", "/a/"]);
        assert_eq!(matches(&["/a/", "/a/b-c/", ""], "/a/b/x"), ["/a/", ""]);
        assert_eq!(matches(&["/a/b/x"], "/a/b/x"), ["/a/b/x"]);
        assert_eq!(matches(&["ä"], "öx"), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn it_finds_what_a_scan_finds(prefixes in proptest::collection::btree_set("[ab/]{0,5}", 0..20), key in "[ab/]{0,8}") {
            let all: Vec<&str> = prefixes.iter().map(String::as_str).collect();
            let mut expected: Vec<String> = all.iter().filter(|p| key.starts_with(**p)).map(|p| (*p).to_owned()).collect();
            expected.sort_by_key(|p| std::cmp::Reverse(p.len()));
            prop_assert_eq!(matches(&all, &key), expected);
        }
    }
}

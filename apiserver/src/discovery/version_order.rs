//! Which of two versions is the better one.

use std::cmp::{Ordering, Reverse};

/// Orders versions the way Kubernetes prefers them: stable before beta before alpha, newer before older, and what
/// does not look like a version last, by name. Greater is better.
/// See "Version priority" in the documentation of CustomResourceDefinitions.
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    match (rank(one), rank(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => Reverse(one).cmp(&Reverse(other)),
    }
}

/// Stability, major and minor number of `v1`, `v2beta3`, `v1alpha1`.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let number = |text: &str| {
        let well_formed = text.starts_with(|it: char| ('1'..='9').contains(&it))
            && text.bytes().all(|it| it.is_ascii_digit());
        if well_formed { text.parse::<u64>().ok() } else { None }
    };
    for (stage, stability) in [("alpha", 0), ("beta", 1)] {
        if let Some((major, minor)) = rest.split_once(stage) {
            return Some((stability, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_is_better_than_beta_and_newer_than_older() {
        let mut versions = [
            "foo1",
            "v10",
            "v1alpha1",
            "v11beta2",
            "v2",
            "v3beta1",
            "v12alpha1",
            "v01",
            "v10beta3",
            "foo10",
            "v11alpha2",
            "v1",
        ];
        versions.sort_by(|one, other| compare_versions(other, one));
        assert_eq!(
            versions,
            [
                "v10",
                "v2",
                "v1",
                "v11beta2",
                "v10beta3",
                "v3beta1",
                "v12alpha1",
                "v11alpha2",
                "v1alpha1",
                "foo1",
                "foo10",
                "v01"
            ]
        );
    }
}

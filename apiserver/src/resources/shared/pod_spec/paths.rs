//! What is wrong with paths in volumes.

use api_types::field::{Fault, Faults, Path};

/// The fault of a path that climbs.
pub(crate) fn no_backsteps(target: &str, path: &Path) -> Option<Fault> {
    target.split('/').any(|part| part == "..").then(|| Fault::invalid(path, target, "must not contain '..'"))
}

/// Faults of a path that must lead down from where it begins.
pub(crate) fn local_descending(target: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if target.starts_with('/') {
        faults.push(Fault::invalid(path, target, "must be a relative path"));
    }
    faults.extend(no_backsteps(target, path));
    faults
}

/// As [`local_descending`]; names that begin with two dots are kept for the kubelet.
pub(crate) fn local_non_reserved(target: &str, path: &Path) -> Faults {
    let mut faults = local_descending(target, path);
    if target.starts_with("..") && !target.starts_with("../") {
        faults.push(Fault::invalid(path, target, "must not start with '..'"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_path_stays_below_where_it_begins() {
        for (target, faults) in [
            ("a/b", vec![]),
            ("", vec![]),
            ("a..b", vec![]),
            ("/a", vec!["must be a relative path"]),
            ("a/../b", vec!["must not contain '..'"]),
            ("../a", vec!["must not contain '..'"]),
            ("..", vec!["must not contain '..'", "must not start with '..'"]),
            ("..a", vec!["must not start with '..'"]),
        ] {
            let found = local_non_reserved(target, &Path::new("p"));
            assert_eq!(found.iter().map(|it| it.detail.as_str()).collect::<Vec<_>>(), faults, "{target}");
        }
    }
}

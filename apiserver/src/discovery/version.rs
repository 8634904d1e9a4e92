//! `/version`: what clients take the server for.

use bytes::Bytes;
use serde::Serialize;

/// The Kubernetes version whose API and behaviour this server has.
pub const KUBERNETES_VERSION: &str = "1.36.2";

/// The version clients see: a semantic version, with our own as build metadata.
pub const GIT_VERSION: &str = concat!("v1.36.2+binnacle.", env!("CARGO_PKG_VERSION"));

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    major: &'static str,
    minor: &'static str,
    emulation_major: &'static str,
    emulation_minor: &'static str,
    min_compatibility_major: &'static str,
    min_compatibility_minor: &'static str,
    git_version: &'static str,
    git_commit: &'static str,
    git_tree_state: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    compiler: &'static str,
    platform: String,
}

/// The document, indented as upstream has it.
pub fn document() -> Bytes {
    // A struct of strings always has a JSON form.
    Bytes::from(serde_json::to_vec_pretty(&info()).unwrap_or_default())
}

/// The same as the labels of the metric `kubernetes_build_info`.
pub fn labels() -> Vec<(&'static str, String)> {
    let info = info();
    vec![
        ("build_date", info.build_date.to_owned()),
        ("compiler", info.compiler.to_owned()),
        ("git_commit", info.git_commit.to_owned()),
        ("git_tree_state", info.git_tree_state.to_owned()),
        ("git_version", info.git_version.to_owned()),
        ("go_version", info.go_version.to_owned()),
        ("major", info.major.to_owned()),
        ("minor", info.minor.to_owned()),
        ("platform", info.platform),
    ]
}

fn info() -> Info {
    Info {
        major: "1",
        minor: "36",
        emulation_major: "1",
        emulation_minor: "36",
        min_compatibility_major: "1",
        min_compatibility_minor: "35",
        git_version: GIT_VERSION,
        // Given by whoever builds a release; a build at home says so by an empty state, as upstream's does.
        git_commit: option_env!("BINNACLE_GIT_COMMIT").unwrap_or_default(),
        git_tree_state: option_env!("BINNACLE_GIT_TREE_STATE").unwrap_or_default(),
        build_date: option_env!("BINNACLE_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        // The field has to be there, and is no place to claim a Go toolchain.
        go_version: concat!("rust", env!("CARGO_PKG_RUST_VERSION")),
        compiler: "rustc",
        platform: format!("{}/{}", std::env::consts::OS, go_architecture()),
    }
}

/// The architecture as Go and container images call it.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_version_is_the_one_of_the_api_and_of_the_build() {
        let info: Value = serde_json::from_slice(&document()).unwrap();
        let git_version = info["gitVersion"].as_str().unwrap();
        assert!(git_version.starts_with(&format!("v{KUBERNETES_VERSION}+")), "{git_version}");
        assert_eq!((&info["major"], &info["minor"]), (&Value::from("1"), &Value::from("36")));
        assert!(info["platform"].as_str().unwrap().starts_with(std::env::consts::OS));
    }
}

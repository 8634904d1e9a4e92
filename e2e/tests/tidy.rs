//! The house rules that a compiler does not check: which way the arrows point, that every module says what it is for,
//! that folder and table agree.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use e2e::tools;

/// What each crate may know of the others.
const ARROWS: &[(&str, &[&str])] = &[
    ("api-types", &[]),
    ("cel", &["api-types"]),
    ("runtime", &[]),
    ("store", &["api-types", "runtime"]),
    ("apiserver", &["api-types", "cel", "runtime", "store"]),
    ("client", &["api-types", "runtime"]),
    ("scheduler", &["api-types", "cel", "runtime", "client"]),
    ("controller-manager", &["api-types", "cel", "runtime", "client"]),
    (
        "simulator",
        &["api-types", "runtime", "store", "apiserver", "client", "scheduler", "controller-manager"],
    ),
    (
        "binnacle",
        &[
            "api-types",
            "runtime",
            "store",
            "apiserver",
            "client",
            "scheduler",
            "controller-manager",
            "simulator",
        ],
    ),
    ("fuzz", &["api-types", "cel", "runtime", "store", "apiserver"]),
    ("e2e", &[]),
];

#[test]
fn the_arrows_point_one_way() {
    let crates: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in ARROWS {
        let manifest = fs::read_to_string(tools::workspace().join(name).join("Cargo.toml")).unwrap();
        let (dependencies, _) = manifest.split_once("[dev-dependencies]").unwrap_or((&manifest, ""));
        for line in dependencies.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let wrong = crates.contains(dependency) && !allowed.contains(&dependency) && dependency != *name;
            assert!(!wrong, "{name} must not know {dependency}");
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    // A file of tests is about the module it stands under.
    for file in sources().into_iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} has no header", file.display());
        assert!(
            file.file_name().is_none_or(|name| name != "mod.rs"),
            "{}: foo.rs stands beside foo/",
            file.display()
        );
    }
}

#[test]
fn every_kind_has_a_file_and_a_line() {
    let resources = tools::workspace().join("apiserver/src/resources");
    let table = fs::read_to_string(resources.with_extension("rs")).unwrap();
    let all = fs::read_dir(&resources).unwrap().flatten().map(|entry| entry.path());
    for group in all.filter(|path| path.is_dir() && !path.ends_with("shared")) {
        let group_name = group.file_name().unwrap().to_str().unwrap().to_owned();
        let group_file = fs::read_to_string(group.with_extension("rs")).unwrap();
        for file in fs::read_dir(&group).unwrap().flatten().map(|entry| entry.path()) {
            if file.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let name = file.file_stem().unwrap().to_str().unwrap();
            if fs::read_to_string(&file).unwrap().contains("impl Strategy for") {
                let entry = format!("{group_name}::{name}::");
                assert!(table.contains(&entry), "{} is not in the table", file.display());
            }
            assert!(group_file.contains(&format!("mod {name};")), "{} is not declared", file.display());
        }
    }
}

#[test]
fn the_architecture_names_every_crate() {
    let text = fs::read_to_string(tools::workspace().join("ARCHITECTURE.md")).unwrap();
    for (name, _) in ARROWS {
        assert!(text.contains(&format!("`{name}")), "ARCHITECTURE.md does not name {name}");
    }
}

/// Only where `KUBERNETES_SOURCES` names a folder with the sources of 1.36; everywhere else the checksum in the text speaks.
#[test]
fn the_protobuf_facts_are_what_upstreams_sources_say() {
    match std::env::var_os("KUBERNETES_SOURCES") {
        Some(folder) => {
            let there = fs::read_to_string(e2e::facts::file()).unwrap();
            assert!(e2e::facts::read(Path::new(&folder)).unwrap() == there, "run `cargo xtask facts`");
        }
        None => println!("skipped: KUBERNETES_SOURCES names no sources to compare with"),
    }
}

/// As above.
#[test]
fn the_tables_of_types_are_what_upstreams_sources_say() {
    match std::env::var_os("KUBERNETES_SOURCES") {
        Some(folder) => {
            let (made, there) =
                (e2e::tables::read(Path::new(&folder)).unwrap(), e2e::tables::there().unwrap());
            assert!(made == there, "run `cargo xtask tables`");
        }
        None => println!("skipped: KUBERNETES_SOURCES names no sources to compare with"),
    }
}

#[test]
fn the_tables_of_types_are_all_read() {
    let reader = fs::read_to_string(tools::workspace().join("api-types/src/schema/tables.rs")).unwrap();
    for (name, text) in e2e::tables::there().unwrap() {
        assert!(reader.contains(&format!("\"tables/{name}\"")), "{name} is not read");
        assert!(text.starts_with("# Read off the sources"), "{name} is not made by `cargo xtask tables`");
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (name, _) in ARROWS {
        collect(&tools::workspace().join(name), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

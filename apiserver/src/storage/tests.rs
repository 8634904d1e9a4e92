//! Flags, figures, and what upstream left in a store.

mod upstream;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    storage: StorageFlags,
}

fn check(words: &str) -> Result<StoreKind, String> {
    let program = Program::try_parse_from(["x"].into_iter().chain(words.split_whitespace()))
        .map_err(|error| error.to_string())?;
    program.storage.kind().map_err(|error| error.to_string())
}

#[test]
fn etcd_servers_imply_etcd_and_suffer_nothing_else() {
    assert_eq!(check(""), Ok(StoreKind::Embedded));
    assert_eq!(check("--store memory"), Ok(StoreKind::Memory));
    assert_eq!(check("--etcd-servers http://a:1,http://b:2"), Ok(StoreKind::Etcd));
    assert_eq!(check("--store etcd --etcd-servers http://a:1"), Ok(StoreKind::Etcd));
    assert_eq!(check("--store etcd").unwrap_err(), "--store etcd needs --etcd-servers");
    assert!(check("--store memory --etcd-servers a").is_err());
    assert!(check("--etcd-servers a --etcd-certfile f").is_err(), "a certificate needs its key");
}

#[test]
fn durations_are_gos() {
    assert_eq!(duration("5m0s"), Ok(Duration::from_secs(300)));
    assert_eq!(duration("0"), Ok(Duration::ZERO));
    assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
    assert!(duration("-5s").is_err());
    assert!(duration("soon").is_err());
}

#[cfg(feature = "etcd")]
#[test]
fn prefixes_have_one_slash_before_them() {
    for (given, meant) in
        [("registry", "/registry/"), ("/registry", "/registry/"), ("/a/b/", "/a/b/"), ("/", "/"), ("", "/")]
    {
        let program = Program::try_parse_from(["x", "--etcd-prefix", given]).unwrap();
        assert_eq!(program.storage.etcd.options().unwrap().prefix_there, meant);
    }
}

//! The scenarios in `scenarios/`: each is played, and controllers write what it says, no more and no less.
//!
//! `UPDATE=1` writes down what they wrote, for a look at the difference; `SCRIPT=deployment/pause` plays that one alone.

#![expect(clippy::unwrap_used, reason = "what fails is a test that fails")]

use std::path::{Path, PathBuf};

use simulator::script;

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(scripts(&path));
        } else if path.extension().is_some_and(|it| it == "txt") {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[test]
fn controllers_write_what_the_scenarios_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let (update, only) = (std::env::var_os("UPDATE").is_some(), std::env::var("SCRIPT").unwrap_or_default());
    let all = scripts(&folder);
    assert!(all.len() > 10, "the scenarios are not at hand");
    let mut failures = Vec::new();
    for path in all.iter().filter(|path| path.to_string_lossy().contains(&only)) {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(&folder).unwrap().display();
        match script::run(&text) {
            Ok(played) if played == text => {}
            Ok(played) if update => std::fs::write(path, played).unwrap(),
            Ok(played) => failures.push(format!("{name} was played as\n{played}")),
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

//! The API as a program without a library meets it: requests and watches through curl.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;

/// The token of [`token_file`].
const TOKEN: &str = "e2e-token";

/// Writes a file for `--token-auth-file` with an administrator, whom every request here is from.
///
/// # Errors
/// When it cannot be written.
pub fn token_file(home: &Path) -> anyhow::Result<PathBuf> {
    let file = home.join("tokens.csv");
    std::fs::write(&file, format!("{TOKEN},admin,admin,\"system:masters\"\n"))?;
    Ok(file)
}

fn curl() -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--insecure", "--header"]).arg(format!("Authorization: Bearer {TOKEN}"));
    command
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// The body, if there is one.
    pub body: Option<Value>,
}

/// Asks a server and gives status and body; 0 if it cannot be reached or does not answer in a minute.
///
/// # Panics
/// When curl cannot be run.
pub fn ask(url: &str, method: &'static str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let asked = Ask { method, path: path.to_owned(), body: body.cloned() };
    ask_all(url, &[asked]).pop().unwrap_or_default()
}

/// Asks one after the other over one connection. What was not answered any more has status 0.
///
/// # Panics
/// When curl cannot be run.
#[expect(clippy::expect_used, reason = "without curl there is nothing to test with")]
pub fn ask_all(url: &str, asked: &[Ask]) -> Vec<(u16, Value)> {
    const END: &str = "\u{1}";
    let mut command = curl();
    for (index, Ask { method, path, body }) in asked.iter().enumerate() {
        if index > 0 {
            command.args(["--next", "--silent", "--insecure", "--header"]);
            command.arg(format!("Authorization: Bearer {TOKEN}"));
        }
        command.args(["--max-time", "60", "--request", method, "--header", "Content-Type: application/json"]);
        command.args(["--write-out", &format!("\n%{{http_code}}{END}")]);
        if let Some(body) = body {
            command.args(["--data", &body.to_string()]);
        }
        command.arg(format!("{url}{path}"));
    }
    let output = command.output().expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut answers: Vec<(u16, Value)> = text
        .split(END)
        .filter_map(|answer| answer.rsplit_once('\n'))
        .map(|(body, code)| {
            (code.parse().unwrap_or_default(), serde_json::from_str(body).unwrap_or_default())
        })
        .collect();
    answers.resize(asked.len(), (0, Value::Null));
    answers
}

/// The resource version of an object or a list; 0 if it has none.
pub fn revision(object: &Value) -> u64 {
    let text = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// A watch that runs beside the test, ended with it.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    lines: Receiver<String>,
}

// === impl Watch ===

impl Watch {
    /// Begins it.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn open(url: &str, path: &str) -> anyhow::Result<Self> {
        let mut child = curl()
            .arg("--no-buffer")
            .arg(format!("{url}{path}"))
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run curl")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next event. None when none came in time.
    ///
    /// # Errors
    /// When the watch is over. What a connection that broke left unfinished is dropped.
    pub fn next(&mut self, patience: Duration) -> anyhow::Result<Option<Value>> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => serde_json::from_str(&line)
                .map(Some)
                .with_context(|| format!("the watch broke off in the middle of {line:?}")),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the watch ended"),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

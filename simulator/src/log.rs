//! The event log: every change of the store, in the order of revisions, as a line and as a digest.
//!
//! Two runs of one seed must have the same digest, which covers every byte of every object; the lines are for people who
//! ask where two runs part.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::safety::object::Object;

/// What happened to one key at one revision.
#[derive(Clone, Debug)]
pub struct Change {
    /// The whole key.
    pub key: String,
    /// The revision of the change.
    pub revision: u64,
    /// When, since the beginning.
    pub at: Duration,
    /// Whether the key did not exist before.
    pub created: bool,
    /// The object after the change, or before it if the key is gone.
    pub object: Arc<Object>,
    /// Whether the key is gone.
    pub deleted: bool,
    /// The bytes of the object after the change.
    pub bytes: Bytes,
}

/// All changes so far.
#[derive(Debug, Default)]
pub struct Log {
    lines: Vec<String>,
    digest: Sha256,
}

// === impl Change ===

impl Change {
    /// The change in one line.
    pub fn line(&self) -> String {
        let Self { object, .. } = self;
        let verb = match (self.created, self.deleted) {
            (_, true) => "DELETED",
            (true, false) => "ADDED",
            (false, false) => "MODIFIED",
        };
        let mut line = format!("t=+{:.3}s {verb} ", self.at.as_secs_f64());
        let kind = if object.kind.is_empty() { self.key.as_str() } else { &object.kind };
        let _ = write!(line, "{kind} {} rv={}", object.full_name(), self.revision);
        if object.metadata.generation > 0 {
            let _ = write!(line, " generation={}", object.metadata.generation);
        }
        if object.metadata.deletion_timestamp.is_some() {
            line.push_str(" deleting");
        }
        for (name, value) in [("phase", &object.status.phase), ("node", &object.spec.node_name)] {
            if !value.is_empty() {
                let _ = write!(line, " {name}={value}");
            }
        }
        if object.is_true("Ready") {
            line.push_str(" ready");
        }
        if let Some(replicas) = object.spec.replicas {
            let _ = write!(line, " replicas={replicas} available={}", object.status.available_replicas);
        }
        if self.created {
            let _ = write!(line, " uid={}", object.metadata.uid);
        }
        line
    }
}

// === impl Log ===

impl Log {
    /// Writes down a change.
    pub fn add(&mut self, change: &Change) {
        let line = change.line();
        self.digest.update(line.as_bytes());
        self.digest.update(change.key.as_bytes());
        self.digest.update(&change.bytes);
        self.lines.push(line);
    }

    /// One line a change.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// SHA-256 of all lines, keys and objects so far, in hexadecimal.
    pub fn digest(&self) -> String {
        self.digest.clone().finalize().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(bytes: &'static [u8]) -> Change {
        Change {
            key: "/registry/pods/default/web".to_owned(),
            revision: 7,
            at: Duration::from_millis(1500),
            created: true,
            object: Arc::new(Object::read(bytes)),
            deleted: false,
            bytes: Bytes::from_static(bytes),
        }
    }

    #[test]
    fn a_line_says_what_changed_and_the_digest_covers_what_it_does_not_say() {
        let one = change(
            br#"{"kind":"Pod","metadata":{"name":"web","namespace":"default","uid":"u"},"spec":{"nodeName":"n1"},"status":{"phase":"Running"}}"#,
        );
        assert_eq!(one.line(), "t=+1.500s ADDED Pod default/web rv=7 phase=Running node=n1 uid=u");
        let other = change(
            br#"{"kind":"Pod","metadata":{"name":"web","namespace":"default","uid":"u","labels":{"a":"b"}},"spec":{"nodeName":"n1"},"status":{"phase":"Running"}}"#,
        );
        assert_eq!(one.line(), other.line());
        let digest = |change: &Change| {
            let mut log = Log::default();
            log.add(change);
            log.digest()
        };
        assert_eq!(digest(&one), digest(&one.clone()));
        assert_ne!(digest(&one), digest(&other));
    }
}

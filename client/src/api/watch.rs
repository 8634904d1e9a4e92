//! The watch verb: newline-delimited events, cut from the answer as they come and read straight into what the caller keeps.
//!
//! Invariant: one frame is in memory at a time, and none may be larger than [`FRAME_BYTES_MAX`].

use std::{borrow::Cow, marker::PhantomData};

use api_types::status::Status;
use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{Api, Error, JSON, PARTIAL_OBJECT, Selection, collection_path};
use crate::{
    Meta, Resource,
    transport::{Body, BoxError, TransportError},
};

/// Larger than any object a server stores (etcd's limit is 1.5 MiB, ours is of that order), with its frame around it.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// The annotation on the bookmark that ends the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// From where to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// First everything there is, as of a consistent read, then what happens after.
    Now,
    /// Everything after a resourceVersion.
    After(String),
}

/// What a watch tells.
#[derive(Debug, PartialEq)]
pub enum Event<T> {
    /// The object came to be, or into the selection.
    Added(T),
    /// The object changed.
    Modified(T),
    /// The object went, or left the selection; as it was last, with the revision of its going.
    Deleted(T),
    /// Everything up to this resourceVersion has been told.
    Bookmark {
        /// The resourceVersion.
        resource_version: String,
        /// Whether it ends the initial events.
        ends_initial_events: bool,
    },
    /// The watch cannot go on.
    Error(Status),
    /// An object that the caller's type cannot read, by its metadata.
    Unreadable {
        /// The object's metadata.
        metadata: Meta,
        /// Whether it is gone.
        deleted: bool,
        /// What is wrong with it.
        why: String,
    },
}

/// A watch under way. Dropping it ends it.
pub struct Watch<T> {
    frames: Frames,
    what: String,
    _reads: PhantomData<fn() -> T>,
}

/// Cuts a body into lines.
pub struct Frames {
    body: Body,
    buffer: BytesMut,
    /// So much of the buffer is known to hold no line feed.
    searched: usize,
    limit: usize,
}

impl Api {
    /// Watches a selection for at most `timeout_seconds`, after which the server ends the watch.
    ///
    /// # Errors
    /// `Expired` when the history does not go back so far; `Invalid` from a server that cannot send initial events.
    pub async fn watch<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        selection: &Selection,
        from: &From,
        timeout_seconds: u64,
    ) -> Result<Watch<T>, Error> {
        let query = selection
            .query()
            .flag("watch", true)
            .flag("allowWatchBookmarks", true)
            .number("timeoutSeconds", timeout_seconds);
        let query = match from {
            From::Now => query.flag("sendInitialEvents", true).text("resourceVersionMatch", "NotOlderThan"),
            From::After(resource_version) => query.text("resourceVersion", resource_version),
        };
        let path = collection_path(resource, &selection.namespace) + &query.0;
        let accept = if selection.metadata_only { PARTIAL_OBJECT } else { JSON };
        let response = self.send(Method::GET, &path, accept, None).await?;
        let frames = Frames::new(response.into_body(), FRAME_BYTES_MAX);
        Ok(Watch { frames, what: format!("GET {path}"), _reads: PhantomData })
    }
}

// === impl Watch ===

impl<T: DeserializeOwned> Watch<T> {
    /// The next event; `None` when the server has ended the watch. Safe to cancel.
    ///
    /// # Errors
    /// When the connection broke or the event cannot be read.
    pub async fn next(&mut self) -> Result<Option<Event<T>>, Error> {
        let frame = match self.frames.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(source) => return Err(TransportError::Interrupted(source).into()),
        };
        match read(&frame) {
            Ok(event) => Ok(Some(event)),
            Err(source) => Err(Error::Decode { what: self.what.clone(), source }),
        }
    }
}

/// Reads one frame.
fn read<T: DeserializeOwned>(frame: &[u8]) -> Result<Event<T>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        object: &'a RawValue,
    }

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct BookmarkMeta {
        resource_version: String,
        annotations: std::collections::BTreeMap<String, String>,
    }

    #[derive(Deserialize)]
    struct BookmarkObject {
        metadata: BookmarkMeta,
    }

    let envelope: Envelope<'_> = serde_json::from_slice(frame)?;
    let object = envelope.object.get();
    Ok(match &*envelope.kind {
        "ADDED" => {
            serde_json::from_str(object).map_or_else(|why| unreadable(object, false, &why), Event::Added)
        }
        "MODIFIED" => {
            serde_json::from_str(object).map_or_else(|why| unreadable(object, false, &why), Event::Modified)
        }
        "DELETED" => {
            serde_json::from_str(object).map_or_else(|why| unreadable(object, true, &why), Event::Deleted)
        }
        "BOOKMARK" => {
            let BookmarkObject { metadata } = serde_json::from_str(object)?;
            Event::Bookmark {
                ends_initial_events: metadata
                    .annotations
                    .get(INITIAL_EVENTS_END)
                    .is_some_and(|value| value == "true"),
                resource_version: metadata.resource_version,
            }
        }
        "ERROR" => Event::Error(serde_json::from_str(object)?),
        other => return Err(serde::de::Error::custom(format!("unknown event type {other:?}"))),
    })
}

/// An object that does not fit must not stop the watch: that would stop every object after it.
fn unreadable<T>(object: &str, deleted: bool, why: &serde_json::Error) -> Event<T> {
    let metadata = serde_json::from_str::<crate::reflector::Metadata>(object).unwrap_or_default().metadata;
    Event::Unreadable { metadata, deleted, why: why.to_string() }
}

// === impl Frames ===

impl Frames {
    /// Lines of `body`, none longer than `limit` bytes.
    pub fn new(body: Body, limit: usize) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, limit }
    }

    /// The next line that is not empty, without its line feed; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// When the body breaks, ends within a line, or a line is too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            if let Some(frame) = self.cut() {
                if frame.is_empty() {
                    continue;
                }
                return Ok(Some(frame));
            }
            if self.buffer.len() > self.limit {
                return Err(format!("a frame is longer than {} bytes", self.limit).into());
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(source)) => return Err(source),
                None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => return Err("the answer ended within a frame".into()),
            }
        }
    }

    fn cut(&mut self) -> Option<Bytes> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        match unsearched.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                line.truncate(line.len() - 1);
                Some(line.freeze())
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::StreamBody;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::transport::boxed;

    fn body(chunks: Vec<Vec<u8>>) -> Body {
        let frames = chunks.into_iter().map(|chunk| Ok::<_, BoxError>(http_body::Frame::data(chunk.into())));
        boxed(StreamBody::new(stream::iter(frames.collect::<Vec<_>>())))
    }

    async fn lines(chunks: Vec<Vec<u8>>, limit: usize) -> (Vec<Bytes>, Option<String>) {
        let mut frames = Frames::new(body(chunks), limit);
        let mut lines = Vec::new();
        loop {
            match frames.next().await {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => return (lines, None),
                Err(error) => return (lines, Some(error.to_string())),
            }
        }
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_body_is_cut(text in "[ab\n]{0,60}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
            let text = text + "\n";
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(0);
            cuts.push(text.len());
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|pair| text.as_bytes()[pair[0]..pair[1]].to_vec()).collect();
            let (lines, error) = futures::executor::block_on(lines(chunks, 1000));
            let whole: Vec<&str> = text.split('\n').filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(lines, whole);
            prop_assert_eq!(error, None);
        }
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_an_error() {
        let (got, error) = lines(vec![b"ok\n".to_vec(), vec![b'x'; 20]], 10).await;
        assert_eq!(got, ["ok"]);
        assert_eq!(error.as_deref(), Some("a frame is longer than 10 bytes"));
    }

    #[tokio::test]
    async fn a_body_that_ends_within_a_line_is_an_error() {
        let (got, error) = lines(vec![b"whole\nhal".to_vec()], 10).await;
        assert_eq!(got, ["whole"]);
        assert!(error.is_some());
    }

    #[test]
    fn events_are_read_by_their_type() {
        let event = |text: &str| read::<Value>(text.as_bytes());
        assert_eq!(event(r#"{"type":"ADDED","object":{"a":1}}"#).unwrap(), Event::Added(json!({"a": 1})));
        assert_eq!(event(r#"{"object":{"a":1},"type":"DELETED"}"#).unwrap(), Event::Deleted(json!({"a": 1})));
        assert_eq!(
            event(r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#)
                .unwrap(),
            Event::Bookmark { resource_version: "7".to_owned(), ends_initial_events: true }
        );
        assert!(matches!(
            event(r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410}}"#).unwrap(),
            Event::Error(status) if status.is("Expired")
        ));
        assert!(matches!(
            read::<Vec<u8>>(br#"{"type":"DELETED","object":{"metadata":{"name":"odd","resourceVersion":"9"}}}"#).unwrap(),
            Event::Unreadable { metadata, deleted: true, .. }
                if &*metadata.name == "odd" && metadata.revision == crate::Revision(9)
        ));
        assert!(event(r#"{"type":"WHAT","object":{}}"#).is_err());
        assert!(event("{").is_err());
    }
}

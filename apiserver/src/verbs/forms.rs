//! The forms of a cached object besides its JSON: each is made when it is first asked for and shared by all who ask from
//! then on, so that a thousand watchers in protobuf cost one encoding.
//!
//! The watch cache keeps forms in numbered slots and drops those that nobody uses for a while; this is where the numbers
//! are given out.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use api_types::{schema::TypeRef, wire};
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use serde_json::Value;
use store::{Revision, cache::Object};

use crate::columns::{self, MetaVersion};

/// The slots.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Value,
    Protobuf,
    Metadata,
    MetadataProtobuf,
    Gone,
    GoneProtobuf,
    Added,
    Modified,
    AddedProtobuf,
    ModifiedProtobuf,
    Versions,
}

/// How many bytes of events are kept for watchers that are a moment behind, in all.
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The events that went out last, as they went out. Watchers that are told of one at about the same time send the same
/// bytes, and a slow one holds no copy of its own.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    frames: VecDeque<Frame>,
    bytes: usize,
}

/// An event that is shared.
#[derive(Clone, Debug)]
struct Frame(Arc<Vec<u8>>);

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Where an object remembers its event, for as long as somebody has it.
type Remembered = Mutex<Weak<Vec<u8>>>;

impl Recent {
    /// An event that says an object was added or modified, made by the first who asks.
    pub(super) fn event(
        &self,
        object: &Object,
        added: bool,
        protobuf: bool,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Bytes {
        let slot = match (added, protobuf) {
            (true, false) => Slot::Added,
            (false, false) => Slot::Modified,
            (true, true) => Slot::AddedProtobuf,
            (false, true) => Slot::ModifiedProtobuf,
        };
        let remembered = object.derived(slot as usize, |_| Remembered::default());
        let mut remembered = remembered.lock();
        let frame = remembered.upgrade().map(Frame).unwrap_or_else(|| {
            let frame = Frame(Arc::new(make()));
            *remembered = Arc::downgrade(&frame.0);
            self.keep(frame.clone());
            frame
        });
        Bytes::from_owner(frame)
    }

    fn keep(&self, frame: Frame) {
        let mut ring = self.0.lock();
        ring.bytes += frame.0.len();
        ring.frames.push_back(frame);
        while ring.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = ring.frames.pop_front() else { break };
            ring.bytes -= oldest.0.len();
        }
    }
}

/// The object as a value. Null if its bytes are damaged.
pub(crate) fn value(object: &Object) -> Arc<Value> {
    object.derived(Slot::Value as usize, |object| serde_json::from_slice(&object.bytes).unwrap_or_default())
}

/// A place for the object in other versions of its kind.
pub(crate) fn versions<T: std::any::Any + Send + Sync + Default>(object: &Object) -> Arc<T> {
    object.derived(Slot::Versions as usize, |_| T::default())
}

/// The object as a protobuf message, without envelope. `of` is the type of its kind. Empty if its bytes are damaged.
pub(super) fn protobuf(object: &Object, of: TypeRef) -> Arc<Bytes> {
    object.derived(Slot::Protobuf as usize, |object| message(&object.bytes, of))
}

/// The object's metadata as a `PartialObjectMetadata` in JSON.
pub(super) fn metadata(object: &Object) -> Arc<Result<Bytes, String>> {
    object.derived(Slot::Metadata as usize, |object| {
        columns::partial(&object.bytes, MetaVersion::V1).map(Bytes::from).map_err(|error| error.to_string())
    })
}

/// The same as a protobuf message; `of` is the type `PartialObjectMetadata`.
pub(super) fn metadata_protobuf(object: &Object, of: TypeRef) -> Arc<Bytes> {
    object.derived(Slot::MetadataProtobuf as usize, |object| {
        metadata(object).as_ref().as_ref().map(|json| message(json, of)).unwrap_or_default()
    })
}

/// The last state of an object with the revision of what followed, its deletion, in place of its own. A state is
/// followed by one other, so that the revision is always the same.
pub(super) fn gone(object: &Object, revision: Revision) -> Arc<Bytes> {
    object.derived(Slot::Gone as usize, |object| at_revision(object, revision))
}

/// [`gone`] as a protobuf message.
pub(super) fn gone_protobuf(object: &Object, revision: Revision, of: TypeRef) -> Arc<Bytes> {
    object.derived(Slot::GoneProtobuf as usize, |object| message(&gone(object, revision), of))
}

fn message(json: &[u8], of: TypeRef) -> Bytes {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    wire::protobuf::encode_message(&value, of).into()
}

fn at_revision(object: &Object, revision: Revision) -> Bytes {
    let own = format!(r#""resourceVersion":"{}""#, object.revision);
    let Some(at) = find(&object.bytes, own.as_bytes()) else { return object.bytes.clone() };
    let mut bytes = BytesMut::with_capacity(object.bytes.len() + 8);
    bytes.put_slice(object.bytes.get(..at).unwrap_or_default());
    bytes.put_slice(format!(r#""resourceVersion":"{revision}""#).as_bytes());
    bytes.put_slice(object.bytes.get(at + own.len()..).unwrap_or_default());
    bytes.freeze()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use api_types::schema::schema;
    use serde_json::json;
    use store::cache::Header;

    use super::*;

    #[test]
    fn an_event_is_made_once_for_all_who_have_it_and_forgotten_after() {
        let object = Object::detached("/a".into(), Revision(7), Bytes::from_static(b"{}"), Header::default());
        let recent = Recent::default();
        let made = Cell::new(0);
        let event = |added, size: usize| {
            recent.event(&object, added, false, || {
                made.set(made.get() + 1);
                vec![b'x'; size]
            })
        };
        let (first, second) = (event(false, 10), event(false, 10));
        assert_eq!((made.get(), first.as_ptr()), (1, second.as_ptr()));
        drop((first, second));
        event(false, 10);
        assert_eq!(made.get(), 1, "the ring has it");
        event(true, RECENT_BYTES_MAX);
        event(false, 10);
        assert_eq!(made.get(), 3, "what is too much was forgotten");
    }

    #[test]
    fn every_form_is_of_the_same_object() {
        let json = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","uid":"u","resourceVersion":"7"},"data":{"x":"y"}}"#;
        let object = Object::detached("/a".into(), Revision(7), Bytes::from(json), Header::default());
        assert_eq!(*value(&object), serde_json::from_str::<Value>(json).unwrap());

        let of = schema().type_of("", "v1", "ConfigMap").unwrap();
        let back = wire::protobuf::decode_message(&protobuf(&object, of), of).unwrap();
        assert_eq!(back["data"], json!({"x": "y"}));
        assert!(Arc::ptr_eq(&protobuf(&object, of), &protobuf(&object, of)));

        let partial = metadata(&object);
        let partial: Value = serde_json::from_slice(partial.as_ref().as_ref().unwrap()).unwrap();
        assert_eq!(partial["metadata"], value(&object)["metadata"]);

        let of_gone =
            wire::protobuf::decode_message(&gone_protobuf(&object, Revision(1234), of), of).unwrap();
        assert_eq!(of_gone["metadata"]["resourceVersion"], "1234");
        assert_eq!(*gone(&object, Revision(1234)), json.replace("\"7\"", "\"1234\""));
    }
}

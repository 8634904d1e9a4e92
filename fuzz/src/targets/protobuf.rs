//! Protobuf bodies: what is read, is written and read again as the same, and is not much more than was sent.
//!
//! The first byte of an input names the kind; the rest is a body with its envelope, or else a bare message.

use api_types::{
    schema::schema,
    wire::{json, protobuf, typed},
};

use super::{Target, gist, json as bodies};

/// See the module.
pub(super) struct Protobuf;

impl Target for Protobuf {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let mut seeds = Vec::new();
        for (kind, text) in bodies::OBJECTS {
            let input = bodies::input(kind, text.as_bytes());
            let Some((_, of, body)) = bodies::kind(&input) else { continue };
            let Ok(object) = typed::decode(body, of) else { continue };
            seeds.push(bodies::input(kind, &protobuf::encode(&object.value, of)));
            seeds.push(bodies::input(kind, &protobuf::encode_message(&object.value, of)));
        }
        seeds
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "k8s\0",
            "\n\0",
            "\u{12}\0",
            "\u{1a}\u{2}",
            "\"\u{1}a",
            "\u{8}\u{1}",
            "\u{10}\u{7f}",
            "{}",
            "v1",
            "Pod",
            "\u{b}",
            "\u{c}",
            "1Gi",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let Some((kind, of, body)) = bodies::kind(input) else { return "nothing".to_owned() };
        let read = if body.starts_with(protobuf::MAGIC) {
            protobuf::decode(body, of)
        } else {
            protobuf::decode_message(body, of)
        };
        let value = match read {
            Ok(value) => value,
            Err(error) => return format!("refused\u{1f}{}", gist(&error.to_string())),
        };
        let again = protobuf::decode(&protobuf::encode(&value, of), of);
        let mut with_kind = value.clone();
        if let Some(map) = with_kind.as_object_mut().filter(|_| schema().get(of).is_kind) {
            map.retain(|name, _| name != "kind" && name != "apiVersion");
        }
        let mut again = again.unwrap_or_else(|error| panic!("{kind} cannot be read again: {error}"));
        if let Some(map) = again.as_object_mut() {
            map.retain(|name, _| name != "kind" && name != "apiVersion");
        }
        assert_eq!(again, with_kind, "{kind} read again is another one");
        // JSON takes it for what it is, too.
        let text = json::encode(&value, of);
        let decoded = typed::decode(&text, of).unwrap_or_else(|error| panic!("{kind} as JSON: {error}"));
        assert!(decoded.strict.is_empty(), "{kind} as JSON: {:?}", decoded.strict);
        assert!(text.len() <= 4096 + 200 * body.len(), "{kind}: {} bytes make {}", body.len(), text.len());
        format!("{kind}\u{1f}{}\u{1f}{}", value.as_object().map_or(0, serde_json::Map::len), text.len() / 200)
    }
}

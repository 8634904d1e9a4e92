//! Patches of objects: they end, they do not make more of an object than they are allowed to, and a merge patch carried out
//! twice is one carried out once.
//!
//! An input is a kind's byte, an object, a line break and a patch; the same patch is tried in all three formats.

use api_types::{
    schema::TypeRef,
    wire::{json, typed},
};
use apiserver::patch::{json_patch, merge, strategic};
use serde_json::Value;

use super::{Target, gist, json as bodies};

/// The most bytes an object may have after a patch: what was there, what the patch brings, and what it may copy.
const COPIED_MAX: usize = 3 << 20;

/// See the module.
pub(super) struct Patches;

impl Target for Patches {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let patches = [
            r#"[{"op":"add","path":"/metadata/labels","value":{"a":"b"}},{"op":"copy","from":"/metadata","path":"/spec"}]"#,
            r#"[{"op":"test","path":"/a","value":1},{"op":"move","from":"/a/0","path":"/a/-"},{"op":"remove","path":"/a/1"}]"#,
            r#"[{"op":"add","path":"/a","value":{}},{"op":"copy","from":"/a","path":"/a/a"},{"op":"copy","from":"/a","path":"/a/a"}]"#,
            r#"{"metadata":{"labels":{"a":null,"c":{"d":[1]}}},"spec":null}"#,
            r#"{"spec":{"containers":[{"name":"c","image":"j"},{"name":"d","$patch":"delete"}],"$setElementOrder/containers":[{"name":"d"},{"name":"c"}],"$retainKeys":["containers"]}}"#,
            r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"finalizers":["b"]},"$patch":"merge"}"#,
            r#"{"spec":{"tolerations":[{"$patch":"replace"},{"key":"a"}]}}"#,
        ];
        let mut seeds = Vec::new();
        for (kind, object) in bodies::OBJECTS {
            for patch in patches {
                seeds.push(bodies::input(kind, format!("{object}\n{patch}").as_bytes()));
            }
        }
        seeds
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\n",
            "null",
            "0",
            "\"op\":",
            "\"add\"",
            "\"copy\"",
            "\"move\"",
            "\"test\"",
            "\"remove\"",
            "\"path\":",
            "\"from\":",
            "\"/a\"",
            "\"/a/a\"",
            "\"/-\"",
            "\"value\":",
            "\"$patch\":",
            "\"delete\"",
            "\"replace\"",
            "\"$setElementOrder/containers\":",
            "\"$retainKeys\":",
            "\"$deleteFromPrimitiveList/finalizers\":",
            "\"spec\":",
            "\"metadata\":",
            "\"name\":",
            "{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/a\"},",
            "~1",
            "~0",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let Some((_, of, rest)) = bodies::kind(input) else { return "nothing".to_owned() };
        let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (object, patch) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
        let Ok(object) = typed::decode(object, of) else { return "no object".to_owned() };
        let object = object.value;
        let bound = json::encode_untyped(&object).len() + 6 * patch.len() + COPIED_MAX;
        [json(&object, patch, bound), merge(&object, patch, bound), strategic(&object, patch, of, bound)]
            .join("\u{1f}")
    }
}

fn bounded(patched: &Value, bound: usize) {
    let len = json::encode_untyped(patched).len();
    assert!(len <= bound, "a patch makes {len} bytes where {bound} are the most");
}

fn json(object: &Value, patch: &[u8], bound: usize) -> String {
    let patch = match json_patch::Patch::decode(patch, true) {
        Ok((patch, _)) => patch,
        Err(status) => return gist(&status.message),
    };
    match patch.apply(object.clone()) {
        Ok(patched) => {
            bounded(&patched, bound);
            "patched".to_owned()
        }
        Err(status) => gist(&status.message),
    }
}

fn merge(object: &Value, patch: &[u8], bound: usize) -> String {
    let patch = match merge::decode(patch, true) {
        Ok((patch, _)) => patch,
        Err(status) => return gist(&status.message),
    };
    let once = merge::merge(object.clone(), patch.clone());
    bounded(&once, bound);
    assert_eq!(merge::merge(once.clone(), patch), once, "a merge patch carried out twice");
    "merged".to_owned()
}

fn strategic(object: &Value, patch: &[u8], of: TypeRef, bound: usize) -> String {
    let patch = match strategic::decode(patch) {
        Ok((patch, _)) => patch,
        Err(status) => return gist(&status.message),
    };
    match strategic::merge(object.clone(), patch, of) {
        Ok(patched) => {
            bounded(&patched, bound);
            "strategically".to_owned()
        }
        Err(failure) => gist(&format!("{failure:?}")),
    }
}

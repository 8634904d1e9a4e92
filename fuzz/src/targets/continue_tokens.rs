//! Continue tokens: whatever a client sends back, it sees objects of the namespace it asked for and of no other.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Target, gist, text};
use crate::world::World;

/// See the module.
pub(super) struct ContinueTokens {
    world: World,
}

impl ContinueTokens {
    pub(super) fn new() -> Self {
        let world = World::new(1);
        for (namespace, names) in [("default", ["a", "b", "c", "d"]), ("kube-system", ["w", "x", "y", "z"])] {
            for name in names {
                let body = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
                let path = format!("/api/v1/namespaces/{namespace}/configmaps");
                let answer = world.ask("POST", &path, "application/json", body);
                assert_eq!(answer.code, 201, "{}", text(&answer.body));
            }
        }
        Self { world }
    }
}

impl Target for ContinueTokens {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let seeds = [
            r#"{"v":"meta.k8s.io/v1","rv":5,"start":"b\u0000"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":-1,"start":"b\u0000"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":400,"start":"../kube-system/w"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":-1,"start":"/"}"#,
            "!eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYiJ9",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "{",
            "}",
            "\"v\":",
            "\"rv\":",
            "\"start\":",
            "\"meta.k8s.io/v1\"",
            "\"meta.k8s.io/v2\"",
            "-1",
            "0",
            "\\u0000",
            "..",
            "/",
            "//",
            ".",
            "a",
            "kube-system/",
            "!",
            "\\ud800",
            ",",
            "\u{fffd}",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        // What begins so is no token that was encoded, but the bytes themselves.
        let token = match input.strip_prefix(b"!") {
            Some(raw) => text(raw).into_owned(),
            None => URL_SAFE_NO_PAD.encode(input),
        };
        let mut escaped = String::new();
        // No more than fits a URI.
        for byte in token.bytes().take(8000) {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        let path = format!("/api/v1/namespaces/default/configmaps?limit=2&continue={escaped}");
        let answer = self.world.ask("GET", &path, "application/json", "");
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.code {
            200 => {
                let items = body.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                for item in &items {
                    let namespace = item.pointer("/metadata/namespace").and_then(Value::as_str);
                    assert_eq!(namespace, Some("default"), "an object of another namespace");
                }
                format!("listed\u{1f}{}", items.len())
            }
            code => {
                assert_eq!(
                    body.get("kind").and_then(Value::as_str),
                    Some("Status"),
                    "{}",
                    text(&answer.body)
                );
                // A revision that is still to come is waited for.
                assert!((400..500).contains(&code) || code == 504, "{}", text(&answer.body));
                let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
                format!("{code}\u{1f}{}", gist(message))
            }
        }
    }
}

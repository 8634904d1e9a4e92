//! The paths of columns: what they find is in the object, and not more often than there are values in it.

use apiserver::columns::json_path::{JsonPath, PASSES_MAX};
use serde_json::{Value, json};

use super::{Target, gist, text};

/// See the module.
pub(super) struct JsonPaths;

impl Target for JsonPaths {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let seeds = [
            ".spec.ports[0].name",
            ".metadata.labels.app\\.example",
            "['a']['b']",
            "[*]",
            ".items[-1]",
            ".items[1:3:2]",
            "..name",
            "..a..a..a..a..a..a..a..zz",
            ".status.conditions[?(@.type==\"Ready\")].status",
            ".items[?(@.n>=1)]..a",
            ".items[?(@[?(@[?(@.a)])])]",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            ".", "..", "[", "]", "*", "[*]", "[?(@.", ")]", "==", "!=", ">=", "<", "\"", "'", "\\", ":",
            "-1", "0", "a", "items", "name", "..*", "$", "@", "{", "}", " ",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let text = text(input);
        let path = match JsonPath::parse(&text) {
            Ok(path) => path,
            Err(_) => return "no path".to_owned(),
        };
        let found = path.find(&object()).len();
        assert!(found <= PASSES_MAX, "{text:?} finds {found} values");
        format!("path\u{1f}{found}\u{1f}{}", gist(&text))
    }
}

fn object() -> Value {
    let deep =
        (0..40).fold(json!({"a": 1, "name": "x"}), |inner, _| json!({"a": inner, "name": ["y", {"a": "b"}]}));
    json!({
        "metadata": {"labels": {"app.example": "z"}},
        "items": [{"name": "a", "n": 1}, {"name": "b", "n": 2.5, "type": "Ready"}, [1, [2, [3]]], null, "text", true],
        "deep": deep,
    })
}

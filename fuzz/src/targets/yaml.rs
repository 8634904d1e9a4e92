//! YAML bodies: what is read is bounded, and prints as something that reads as the same.

use api_types::wire::{json, yaml};

use super::{Target, gist, same};

/// See the module.
pub(super) struct Yaml;

impl Target for Yaml {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let seeds = [
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: |\n    text\n  y: >-\n    folded\n",
            "a: &x [1, 2]\nb: *x\nc: {<<: {d: e}}\n",
            "---\n- yes\n- 0644\n- 1_000\n- !!binary AA==\n- 2025-01-01\n- ~\n...\n---\nb: 1\n",
            "\"a\\u00e4\": 'b''c'\n? complex\n: value\n",
            "a: &a [x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n",
            "%YAML 1.1\n---\n# comment\n{a: [b, {c: d}], e: \"f\"}\n",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            ": ",
            "- ",
            "\n",
            "  ",
            "? ",
            "|",
            ">",
            "&a ",
            "*a",
            "!!str ",
            "!!int ",
            "!!binary ",
            "<<: ",
            "{",
            "}",
            "[",
            "]",
            ",",
            "\"",
            "'",
            "#",
            "---\n",
            "...\n",
            "%",
            "yes",
            "~",
            "0x1F",
            "1e3",
            ".inf",
            "\t",
            "\u{85}",
            "a",
            "!<tag:a> ",
            "@",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let read = match yaml::to_value(input) {
            Ok(read) => read,
            Err(error) => return format!("refused\u{1f}{}", gist(&error.to_string())),
        };
        let text = json::encode_untyped(&read.value);
        // Aliases may multiply what stands there, within bounds.
        assert!(text.len() <= 64 << 20, "{} bytes make {}", input.len(), text.len());
        if text.len() < 100_000 {
            let printed = yaml::from_value(&read.value);
            let again = yaml::to_value(printed.as_bytes());
            let again = again.unwrap_or_else(|error| panic!("cannot be read again: {error}\n{printed:?}"));
            assert!(same(&again.value, &read.value), "{printed:?} reads as {}", again.value);
        }
        let shape = gist(&String::from_utf8_lossy(&text));
        format!("read\u{1f}{}\u{1f}{shape}", read.duplicates.is_some())
    }
}

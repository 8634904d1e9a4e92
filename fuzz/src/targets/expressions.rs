//! Expressions of the Common Expression Language: any text is compiled or refused, and what compiles is evaluated within
//! what it may cost.

use serde_json::json;

use super::{Target, gist, text};

/// Expressions over a variable of dynamic type.
pub(super) struct Expressions;

impl Target for Expressions {
    fn seeds(&self) -> Vec<Vec<u8>> {
        [
            "x.a.all(i, i > 0 || has(x.b)) && x.?c.orValue('d') == 'd'",
            "[1, 2].map(i, i * 2).sum() + size(x.list.filter(e, e.startsWith('a')))",
            "quantity(x.q).isGreaterThan(quantity('1Gi')) ? '%s %d'.format([x.s, 5]) : string(duration('1h'))",
            "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.1.1') && isURL('http://a/b?c')",
            "x.m.transformMap(k, v, v + 1).exists(k, k.matches('^[a-z]+$'))",
            "timestamp('2024-01-01T00:00:00Z').getHours('+01:00') < 5",
        ]
        .map(|it| it.as_bytes().to_vec())
        .to_vec()
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "x",
            ".",
            "?",
            "[",
            "]",
            "(",
            ")",
            "{",
            "}",
            ",",
            ":",
            "&&",
            "||",
            "!",
            "==",
            "in",
            "'",
            "\"",
            "r'",
            "b'",
            "\\",
            "has",
            "all",
            "map",
            "filter",
            "exists_one",
            "optMap",
            "sortBy",
            "format",
            "replace",
            "split",
            "%s",
            "1u",
            "1.5e300",
            "0x7f",
            "-9223372036854775808",
            "duration(",
            "timestamp(",
            "lists.range(",
            "optional.of(",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let x =
            json!({"a": [1, 2, -3], "list": ["a", "b"], "q": "2Gi", "s": "text", "m": {"k": 1}, "n": null});
        let environment = cel::Environment::new().with_variable("x", cel::Type::Dyn);
        let program = match environment.compile(&text(input)) {
            Ok(program) => program,
            Err(why) => {
                return format!(
                    "refused\u{1f}{}",
                    why.messages().first().map(|it| gist(it)).unwrap_or_default()
                );
            }
        };
        let activation = cel::Activation::default().with("x", cel::Value::of(&x));
        let evaluation = program.evaluate(&activation);
        match evaluation.result {
            Ok(value) => {
                assert!(evaluation.cost <= cel::PER_CALL_LIMIT, "spent {}", evaluation.cost);
                let _ = value.to_json();
                format!("value\u{1f}{}", value.type_name())
            }
            Err(why) => format!("error\u{1f}{}", gist(&why.to_string())),
        }
    }
}

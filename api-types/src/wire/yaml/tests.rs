use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn scalars_and_documents_read_as_upstream_reads_them() {
    let cases: &[(&str, &str)] = &[
        ("a: yes", "{\"a\":true}"),
        ("a: no", "{\"a\":false}"),
        ("a: on", "{\"a\":true}"),
        ("a: Off", "{\"a\":false}"),
        ("a: y", "{\"a\":true}"),
        ("a: n", "{\"a\":false}"),
        ("a: Y", "{\"a\":true}"),
        ("a: true", "{\"a\":true}"),
        ("a: True", "{\"a\":true}"),
        ("a: TRUE", "{\"a\":true}"),
        ("a: ~", "{\"a\":null}"),
        ("a: null", "{\"a\":null}"),
        ("a: Null", "{\"a\":null}"),
        ("a:", "{\"a\":null}"),
        ("a: 0644", "{\"a\":420}"),
        ("a: 0o644", "{\"a\":420}"),
        ("a: 0x1F", "{\"a\":31}"),
        ("a: 1_000", "{\"a\":1000}"),
        ("a: 1e3", "{\"a\":1000}"),
        ("a: 1.0", "{\"a\":1}"),
        ("a: .5", "{\"a\":0.5}"),
        ("a: 5.", "{\"a\":5}"),
        ("a: +1", "{\"a\":1}"),
        ("a: -0", "{\"a\":0}"),
        ("a: 12:30:45", "{\"a\":\"12:30:45\"}"),
        ("a: 2024-01-01", "{\"a\":\"2024-01-01\"}"),
        ("a: 2024-01-01T00:00:00Z", "{\"a\":\"2024-01-01T00:00:00Z\"}"),
        ("a: .inf", "ERR"),
        ("a: .nan", "ERR"),
        ("a: 0b101", "{\"a\":5}"),
        ("a: 9223372036854775808", "{\"a\":9223372036854775808}"),
        ("a: 18446744073709551616", "{\"a\":18446744073709552000}"),
        ("a: 1.5e400", "{\"a\":\"1.5e400\"}"),
        ("yes: 1", "{\"true\":1}"),
        ("1: a", "{\"1\":\"a\"}"),
        ("true: a", "{\"true\":\"a\"}"),
        ("~: a", "ERR"),
        ("a: 1\na: 2", "{\"a\":2}"),
        ("x: &A {k: v}\ny: *A", "{\"true\":{\"k\":\"v\"},\"x\":{\"k\":\"v\"}}"),
        (
            "base: &b {p: 1, q: 2}\nd:\n  <<: *b\n  q: 3",
            "{\"base\":{\"p\":1,\"q\":2},\"d\":{\"p\":1,\"q\":3}}",
        ),
        ("a: !!str 123", "{\"a\":\"123\"}"),
        ("a: !!int \"5\"", "{\"a\":5}"),
        ("a: !!binary aGk=", "{\"a\":\"hi\"}"),
        ("a: !foo bar", "{\"a\":\"bar\"}"),
        ("a: |\n  x\n  y\n", "{\"a\":\"x\\ny\\n\"}"),
        ("a: >-\n  x\n  y\n", "{\"a\":\"x y\"}"),
        ("a: 'it''s'", "{\"a\":\"it's\"}"),
        ("a: \"\\u00e9\"", "{\"a\":\"é\"}"),
        ("- 1\n- b: [1, 2]", "[1,{\"b\":[1,2]}]"),
        ("a: {b: c, d}", "{\"a\":{\"b\":\"c\",\"d\":null}}"),
        ("a: 'x' # c", "{\"a\":\"x\"}"),
        ("---\na: 1\n", "{\"a\":1}"),
        ("---\na: 1\n---\nb: 2\n", "{\"a\":1}"),
        ("# only comment\n", "null"),
        ("", "null"),
        ("a: b: c", "ERR"),
        ("\ta: 1", "ERR"),
        ("a: \"unterminated", "ERR"),
        ("a: 1.0e+2", "{\"a\":100}"),
        ("a: 010", "{\"a\":8}"),
        ("a: 08", "{\"a\":8}"),
        ("a: 0", "{\"a\":0}"),
        ("a: 00", "{\"a\":0}"),
        ("a: '0644'", "{\"a\":\"0644\"}"),
        ("a: 1,000", "{\"a\":\"1,000\"}"),
        ("a: =", "{\"a\":\"=\"}"),
        ("a: <<", "{\"a\":\"\\u003c\\u003c\"}"),
        ("a: @x", "ERR"),
        ("a: `x`", "ERR"),
        ("a: %x", "ERR"),
        ("a: 100m", "{\"a\":\"100m\"}"),
        ("a: 1Gi", "{\"a\":\"1Gi\"}"),
        ("a: 1.", "{\"a\":1}"),
        ("a: 1e", "{\"a\":\"1e\"}"),
        ("a: 123e4567", "{\"a\":\"123e4567\"}"),
        ("a: 1e10", "{\"a\":10000000000}"),
        ("a: 0.1", "{\"a\":0.1}"),
        ("a: 100000000000000000000", "{\"a\":100000000000000000000}"),
        ("a: -1", "{\"a\":-1}"),
        ("? a\n: b", "{\"a\":\"b\"}"),
        ("a: [1,2,]", "{\"a\":[1,2]}"),
        ("a: {}", "{\"a\":{}}"),
        ("a: []", "{\"a\":[]}"),
        ("{\"a\": 1, \"b\": [true, null]}", "{\"a\":1,\"b\":[true,null]}"),
        ("a: &x [*x]", "ERR"),
        ("a: !!set {b}", "{\"a\":{\"b\":null}}"),
        ("a: !!float 1", "{\"a\":1}"),
        ("a: \"yes\"", "{\"a\":\"yes\"}"),
        ("a: nO", "{\"a\":\"nO\"}"),
        ("a: NULL", "{\"a\":null}"),
        ("a: oFF", "{\"a\":\"oFF\"}"),
    ];
    for (text, expected) in cases {
        match to_value(text.as_bytes()) {
            Ok(read) => {
                let expected: Value = serde_json::from_str(expected)
                    .unwrap_or_else(|_| panic!("{text:?} should be refused, but is {}", read.value));
                assert_eq!(read.value.to_string(), expected.to_string(), "{text:?}");
            }
            Err(error) => assert_eq!(*expected, "ERR", "{text:?} gives {error}"),
        }
    }
}

#[test]
fn duplicate_keys_are_reported_with_the_line_of_the_value() {
    let duplicates = |text: &str| to_value(text.as_bytes()).map(|read| read.duplicates.unwrap_or_default());
    let body =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y2\ndata:\n  a: \"1\"\n  a: \"2\"\nfoo: bar\n";
    assert_eq!(
        duplicates(body).as_deref(),
        Ok("yaml: unmarshal errors:\n  line 7: key \"a\" already set in map")
    );
    let cases = [
        ("data: {x: \"1\", x: \"2\"}", "yaml: unmarshal errors:\n  line 1: key \"x\" already set in map"),
        ("1: a\n1: b\n\"1\": c", "yaml: unmarshal errors:\n  line 2: key 1 already set in map"),
        ("a: 1\nb: 2", ""),
        (
            "b: &b {q: 1}\nd:\n  <<: *b\n  q: 2\n  q:\n    x: 1",
            "yaml: unmarshal errors:\n  line 4: key \"q\" already set in map\n  line 6: key \"q\" already set in map",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(duplicates(text).as_deref(), Ok(expected), "{text:?}");
    }
}

#[test]
fn broken_texts_are_refused_in_upstreams_words() {
    let cases = [
        ("a: [", "yaml: line 1: did not find expected node content"),
        ("a: [1", "yaml: line 1: did not find expected ',' or ']'"),
        ("a: {b: 1", "yaml: line 1: did not find expected ',' or '}'"),
        ("a: b: c", "yaml: mapping values are not allowed in this context"),
        ("x: 1\na: b: c", "yaml: line 2: mapping values are not allowed in this context"),
        ("\ta: 1", "yaml: found character that cannot start any token"),
        ("a:\n\tb", "yaml: line 2: found character that cannot start any token"),
        ("a: @x", "yaml: found character that cannot start any token"),
        ("a: \"unterminated", "yaml: found unexpected end of stream"),
        ("a: *x", "yaml: unknown anchor 'x' referenced"),
        ("a: &x [*x]", "yaml: anchor 'x' value contains itself"),
        ("a: !!int x", "yaml: cannot decode !!str `x` as a !!int"),
        ("<<: 1", "yaml: map merge requires map or sequence of maps as the value"),
        ("a: \u{1}", "yaml: control characters are not allowed"),
        ("a: .inf", "json: unsupported value: +Inf"),
    ];
    for (text, expected) in cases {
        assert_eq!(to_value(text.as_bytes()), Err(Error(expected.to_owned())), "{text:?}");
    }
    assert!(to_value(b"a:\t[1,\n  2]\nc:\t1\n").is_ok());
    assert_eq!(to_value(b"a: \xff"), Err(Error("yaml: invalid leading UTF-8 octet".to_owned())));
}

#[test]
fn hostile_texts_end_soon() {
    for text in ["[".repeat(3 << 20), "{a: ".repeat(1 << 18), "- ".repeat(100_000)] {
        assert!(to_value(text.as_bytes()).is_err());
    }
    let mut laughs = "a0: &a0 [lol]\n".to_owned();
    for at in 1..30 {
        laughs += &format!("a{at}: &a{at} [*a{0}, *a{0}, *a{0}, *a{0}]\n", at - 1);
    }
    assert_eq!(
        to_value(laughs.as_bytes()),
        Err(Error("yaml: document contains excessive aliasing".to_owned()))
    );
}

#[test]
fn values_are_written_as_upstream_writes_them() {
    let long = "word ".repeat(30);
    let cases = [
        (json!({}), "{}\n"),
        (json!([]), "[]\n"),
        (json!(null), "null\n"),
        (json!("a"), "a\n"),
        (json!({"a": null, "b": [], "c": {}}), "a: null\nb: []\nc: {}\n"),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"name": "c", "args": ["a", ["b"]]}]}}),
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - args:\n    - a\n    - - b\n    name: c\n",
        ),
        (
            json!({"a": "", "b": "yes", "c": "1", "d": "null", "e": "1.5", "f": "0x1F", "g": "1e3", "h": "~", "i": "<<"}),
            "a: \"\"\nb: \"yes\"\nc: \"1\"\nd: \"null\"\ne: \"1.5\"\nf: \"0x1F\"\ng: \"1e3\"\nh: \"~\"\ni: \"<<\"\n",
        ),
        (
            json!({"a": "2024-01-01T00:00:00Z", "b": "2024-01-01", "c": "12:30:45", "d": "2024-1-1 1:2:3", "e": "2024-x"}),
            "a: \"2024-01-01T00:00:00Z\"\nb: \"2024-01-01\"\nc: \"12:30:45\"\nd: \"2024-1-1 1:2:3\"\ne: 2024-x\n",
        ),
        (
            json!({"a": "- x", "b": "a: b", "c": "#x", "d": "x #y", "e": "x#y", "f": "it's", "g": "'q'", "h": "*", "i": "a:b"}),
            "a: '- x'\nb: 'a: b'\nc: '#x'\nd: 'x #y'\ne: x#y\nf: it's\ng: '''q'''\nh: '*'\ni: a:b\n",
        ),
        (
            json!({"a": " x", "b": "x ", "c": "a\tb", "d": "é", "e": "😀", "f": "a\u{0}", "g": "\u{a0}"}),
            "a: ' x'\nb: 'x '\nc: \"a\\tb\"\nd: é\ne: \"\\U0001F600\"\nf: \"a\\0\"\ng: \u{a0}\n",
        ),
        (
            json!({"a": "x\ny\n", "b": "x\ny", "c": "x\n\n", "d": "\n", "e": " x\ny\n", "f": "x \ny", "g": "x\ny "}),
            "a: |\n  x\n  y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: |2+\n\ne: |2\n   x\n  y\nf: \"x \\ny\"\ng: \"x\\ny \"\n",
        ),
        (
            json!({"n": 1, "m": -5, "f": 0.5, "g": 1e21, "h": 1.5e-7}),
            "f: 0.5\ng: 1e+21\nh: 1.5e-07\nm: -5\n\"n\": 1\n",
        ),
        (
            json!({"a10": 1, "a9": 2, "a-b": 3, "ab": 4, "A": 5, "1": 6}),
            "\"1\": 6\nA: 5\na-b: 3\na9: 2\na10: 1\nab: 4\n",
        ),
        (
            json!({"a": long.trim()}),
            concat!(
                "a: word word word word word word word word word word word word word word word word\n",
                "  word word word word word word word word word word word word word word\n"
            ),
        ),
        (json!({"k".repeat(129): {"x": 1}}), &format!("? {}\n: x: 1\n", "k".repeat(129))),
    ];
    for (value, expected) in cases {
        assert_eq!(from_value(&value), expected);
        assert_eq!(to_value(expected.as_bytes()).map(|read| read.value), Ok(value), "{expected}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}|[ \\n:#'\"a-]{0,8}|[0-9:.-]{0,6}|[a-z ]{70,120}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::btree_map("[a-z:# ]{0,4}|[0-9.]{1,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in any_value()) {
        let text = from_value(&value);
        prop_assert_eq!(to_value(text.as_bytes()).map(|read| read.value), Ok(value), "{}", text);
    }

    #[test]
    fn nothing_panics(text in "[-\\[\\]{}:#&*!|>'\"%?, \\na-c0-9]{0,30}") {
        let _ = to_value(text.as_bytes());
    }
}

use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::{Lazy, schema};

fn shown(value: &Result<Value<'_>, EvalError>) -> String {
    match value {
        Ok(Value::String(text)) => format!("{:?}", &**text),
        Ok(Value::Uint(value)) => format!("{value}u"),
        Ok(Value::Optional(None)) => "none".to_owned(),
        Ok(value @ (Value::Type(_) | Value::Timestamp(_) | Value::Duration(_))) => value.to_string(),
        Ok(value) => value.to_json().map_or_else(|_| value.to_string(), |it| it.to_string()),
        Err(why) => format!("error: {why}"),
    }
}

/// The value of an expression over `x` of dynamic type, or what is wrong with it.
fn run(source: &str, x: &Json) -> String {
    match Environment::new().with_variable("x", Type::Dyn).compile(source) {
        Ok(program) => shown(&program.evaluate(&Activation::default().with("x", Value::of(x))).result),
        Err(why) => why.messages().join(" | "),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    let x = json!({"a": {"b": [1, 2.5, "s", null]}, "name": "héllo", "n": 3, "list": ["a", "b", "a"]});
    for (source, expected) in cases {
        assert_eq!(run(source, &x), *expected, "{source}");
    }
}

#[test]
fn arithmetic_is_checked() {
    check(&[
        ("1 + 2 * 3 - 4 / 2 % 2", "7"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-9223372036854775808 - 1", "error: integer overflow"),
        ("0u - 1u", "error: unsigned integer overflow"),
        ("1 / 0", "error: division by zero"),
        ("1u % 0u", "error: modulus by zero"),
        ("1.0 / 0.0 > 1e300", "true"),
        ("--5", "5"),
        ("!!true", "true"),
        ("-(-9223372036854775807 - 1)", "error: integer overflow"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2, 3]", "[1,2,3]"),
        ("timestamp('2024-01-31T00:00:00Z') + duration('36h')", "2024-02-01T12:00:00Z"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "error: timestamp overflow"),
        ("timestamp('2024-03-01T00:00:00Z') - timestamp('2024-02-28T00:00:00Z')", "172800s"),
        ("x.n + x.name", "error: no such overload: _+_"),
        ("1 + 'a'", "found no matching overload for '_+_' applied to '(int, string)'"),
    ]);
}

#[test]
fn equality_and_order_cross_the_types_of_numbers() {
    check(&[
        ("dyn(1) == 1.0 && dyn(1u) == 1", "true"),
        ("1 < 1.5 && 2u > 1", "true"),
        ("dyn(9007199254740993) == 9007199254740992.0", "false"),
        ("dyn(1) == 'a'", "false"),
        ("[1, 2] == [1, 2] && {'a': 1} == {'a': 1}", "true"),
        ("dyn([1, 2]) == [1.0, 2.0]", "true"),
        ("x.a == {'b': [dyn(1), 2.5, dyn('s'), dyn(null)]}", "expected type 'dyn' but found 'double'"),
        ("x.a.b[0] == 1.0 && x.a.b[3] == null", "true"),
        ("1 in [1, 2] && !('c' in x.list) && 'a' in x", "true"),
        ("1 == '1'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("dyn(1) < 'a'", "error: no such overload"),
        ("double('NaN') < 1.0", "error: NaN values cannot be ordered"),
    ]);
}

#[test]
fn errors_are_overruled_by_what_decides() {
    check(&[
        ("x.nope || true", "true"),
        ("false && x.nope", "false"),
        ("x.nope && false", "false"),
        ("x.nope || false", "error: no such key: nope"),
        ("x.n || true", "true"),
        ("x.n && true", "error: no such overload"),
        ("true ? 1 : x.nope", "1"),
        ("x.n ? 1 : 2", "error: no such overload"),
        ("[1, 2].exists(i, x.nope || i == 2)", "true"),
        ("[dyn('a'), x.n].all(i, i.startsWith('b'))", "false"),
        ("[1, 2].all(i, x.nope)", "error: no such key: nope"),
    ]);
}

#[test]
fn selection_tells_what_is_missing() {
    check(&[
        ("x.a.b[2]", "\"s\""),
        ("x.a.b[9]", "error: index out of bounds: 9"),
        ("x.a.b[-1]", "error: index out of bounds: -1"),
        ("x.a.c", "error: no such key: c"),
        ("x['a']['c']", "error: no such key: c"),
        ("has(x.a.b) && !has(x.a.c)", "true"),
        ("has(x.q.r)", "error: no such key: q"),
        ("x.n.m", "error: no such key: m"),
        ("y", "undeclared reference to 'y' (in container '')"),
        ("f(1)", "undeclared reference to 'f' (in container '')"),
        ("'a'.b", "type 'string' does not support field selection"),
        ("{'a': 1, 'a': 2}", "error: Failed with repeated key: a"),
    ]);
}

#[test]
fn optional_values() {
    check(&[
        ("x.?a.?b[0].orValue(5)", "1"),
        ("x.?q.?r.orValue('none')", "\"none\""),
        ("x.?a.b.hasValue()", "true"),
        ("x.a.b[?9].hasValue()", "false"),
        ("x[?'n'].value()", "3"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("optional.of(1).or(optional.of(2)).value()", "1"),
        ("x.?n.optMap(v, v + 1).value()", "4"),
        ("x.?q.optMap(v, v + 1)", "none"),
        ("x.?a.optFlatMap(v, v.?b).hasValue()", "true"),
        ("[?x.?n, ?x.?q].size()", "1"),
        ("{?'n': x.?n, ?'q': x.?q}", "{\"n\":3}"),
        ("has(x.?a.b)", "true"),
        ("[1, 2].last().value() + [1].first().value()", "3"),
        ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
        ("[?1]", "expected type 'optional_type(int)' but found 'int'"),
    ]);
}

#[test]
fn macros_loop_over_lists_and_maps() {
    check(&[
        ("[1, 2, 3].map(i, i * 2)", "[2,4,6]"),
        ("[1, 2, 3].map(i, i > 1, i * 2)", "[4,6]"),
        ("[1, 2, 3].filter(i, i % 2 == 1)", "[1,3]"),
        ("{'a': 1, 'b': 2}.all(k, k < 'c')", "true"),
        ("[1, 2, 2].exists_one(i, i == 1) && ![1, 1].existsOne(i, i == 1)", "true"),
        ("[1, 2].all(i, v, i < v)", "true"),
        ("{'a': 1}.exists(k, v, k == 'a' && v == 1)", "true"),
        ("[5, 6].transformList(i, v, i * v)", "[0,6]"),
        ("[5, 6].transformList(i, v, i > 0, v)", "[6]"),
        ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\":2}"),
        ("{'a': 'b'}.transformMapEntry(k, v, {v: k})", "{\"b\":\"a\"}"),
        (
            "{'a': 'c', 'b': 'c'}.transformMapEntry(k, v, {v: k})",
            "error: insert failed: key c already exists",
        ),
        ("[[1], [2, 3]].map(l, l.map(i, i + 1))", "[[2],[3,4]]"),
        ("['b', 'a'].sortBy(s, s)", "[\"a\",\"b\"]"),
        (
            "1.all(i, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("[1].all(i, 5)", "expected type 'bool' but found 'int'"),
        ("x.n.all(i, true)", "error: got 'int', expected iterable type"),
        (
            "cel.bind(a, 1, a)",
            "undeclared reference to 'cel' (in container '') | undeclared reference to 'bind' (in container '') | undeclared reference to 'a' (in container '') | undeclared reference to 'a' (in container '')",
        ),
    ]);
    let program =
        Environment::new().with_library(Library::Bindings).compile("cel.bind(a, 2, a * a)").unwrap();
    assert_eq!(shown(&program.evaluate(&Activation::default()).result), "4");
}

#[test]
fn conversions() {
    check(&[
        ("int('42') + int(3.9) + int(2u)", "47"),
        ("int('4x')", "type conversion error from 'string' to 'int'"),
        ("uint(-1)", "unsigned integer overflow"),
        ("double('1.5')", "1.5"),
        ("string(1000000.0) + string(1.5) + string(true) + string(2u)", "\"1e+061.5true2\""),
        ("string(duration('90s')) + string(timestamp(0))", "\"90s1970-01-01T00:00:00Z\""),
        ("bool('t')", "true"),
        ("string(b'ab')", "\"ab\""),
        ("string(b'\\xff')", "invalid UTF-8 in bytes, cannot convert to string"),
        ("type(1) == int && type('') == string && type(x) == map && type([]) == list", "true"),
        ("type(timestamp(0)) == google.protobuf.Timestamp && type(null) == null_type", "true"),
        ("type(ip('1.2.3.4')) == net.IP", "true"),
        ("size('héllo') + size(b'abc') + [1].size() + size({'a': 1})", "10"),
    ]);
}

#[test]
fn times() {
    check(&[
        ("timestamp('2023-06-14T02:00:00Z').getFullYear()", "2023"),
        ("timestamp('2023-06-14T02:03:04.567Z').getMilliseconds()", "567"),
        ("timestamp('2023-06-14T02:00:00Z').getDayOfWeek('America/Los_Angeles')", "2"),
        ("timestamp('2023-06-14T02:00:00Z').getHours('+05:30')", "7"),
        ("timestamp('2023-12-31T23:00:00Z').getDayOfYear()", "364"),
        ("timestamp('2023-06-14T02:00:00Z').getDate()", "14"),
        ("timestamp('2023-06-14T02:00:00Z').getMonth()", "5"),
        ("duration('1h30m').getMinutes()", "90"),
        ("duration('-1.5s')", "-1.5s"),
        ("duration('1x')", "invalid duration argument"),
        ("timestamp('nope')", "invalid timestamp argument"),
        ("string(timestamp('2023-06-14T02:00:00+02:00'))", "\"2023-06-14T02:00:00+02:00\""),
    ]);
}

#[test]
fn strings_count_characters() {
    check(&[
        ("x.name.charAt(1)", "\"é\""),
        ("x.name.charAt(6)", "error: index out of range: 6"),
        ("x.name.indexOf('l') + x.name.lastIndexOf('l')", "5"),
        ("'abc'.indexOf('z') + 'abc'.indexOf('', 2)", "1"),
        ("x.name.substring(1, 3) + x.name.substring(4)", "\"élo\""),
        ("'abc'.substring(2, 1)", "error: invalid substring range. start: 2, end: 1"),
        ("'a,b,c'.split(',', 2)", "[\"a\",\"b,c\"]"),
        ("'abc'.split('')", "[\"a\",\"b\",\"c\"]"),
        ("'aXbX'.replace('X', '-', 1) + 'ab'.replace('', '.')", "\"a-bX.a.b.\""),
        ("['a', 'b'].join('-') + ['c'].join()", "\"a-bc\""),
        ("'AbÉ'.lowerAscii() + 'abé'.upperAscii() + ' a '.trim()", "\"abÉABéa\""),
        ("strings.quote('a\"\\n')", "\"\\\"a\\\\\\\"\\\\n\\\"\""),
        ("'abc'.matches('^a.c$') && !'abc'.matches('x') && matches('a', 'a')", "true"),
        ("'a1b22'.find('[0-9]+') + 'a1b22'.findAll('[0-9]+').join(',')", "\"11,22\""),
        ("'a1b22'.findAll('[0-9]', 2)", "[\"1\",\"2\"]"),
        ("'a'.matches('(')", "invalid matches argument"),
        ("'abc'.contains('b') && 'abc'.startsWith('ab') && 'abc'.endsWith('c')", "true"),
    ]);
}

#[test]
fn format_shows_values() {
    check(&[
        ("'%s is %d'.format(['a', 5])", "\"a is 5\""),
        (
            "'%.3f %e %b %x %X %o %%'.format([2.71828, 1052.032911275, 5, 'hi', 30, 8])",
            "\"2.718 1.052033\\u{202f}×\\u{202f}10⁰³ 101 6869 1E 10 %\"",
        ),
        ("'%f'.format([10002.1])", "\"10,002.100000\""),
        ("'%s'.format([[1, 'a', {'k': 1.5}]])", "\"[1, \\\"a\\\", {\\\"k\\\":1.500000}]\""),
        ("'%s'.format([duration('1s')]) + '%s'.format([null])", "\"1snull\""),
        (
            "'%d'.format(['a'])",
            "error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%d'.format([1, 2])", "too many arguments supplied to string.format (expected 1, got 2)"),
        ("'%d %d'.format([1])", "index 1 out of range"),
        ("'%z'.format([1])", "could not parse formatting clause: unrecognized formatting clause \"z\""),
        (
            "'%d'.format([x.name])",
            "error: error during formatting: decimal clause can only be used on integers, was given string",
        ),
    ]);
}

#[test]
fn lists_and_sets() {
    check(&[
        ("[3, 1, 2].max() + [3, 1, 2].min() + [1, 2].sum()", "7"),
        ("[1.5, 2.5].sum()", "4.0"),
        ("['b', 'a'].isSorted() || ![1, 2].isSorted()", "false"),
        ("[].sum()", "0"),
        ("[1].filter(i, i > 1).min()", "error: min called on empty list"),
        ("x.list.indexOf('a') + x.list.lastIndexOf('a')", "2"),
        ("[1, 2, 3].slice(1, 3)", "[2,3]"),
        ("[1].slice(1, 3)", "error: cannot slice(1, 3), list is length 1"),
        ("[[1], [2]].flatten()", "[1,2]"),
        ("[3, 1, 2].sort().reverse() + [1, 1].distinct() + lists.range(2)", "[3,2,1,1,0,1]"),
        (
            "sets.contains([1, 2], [2]) && sets.equivalent([1, 2, 2], [2, 1]) && !sets.intersects([1], [2])",
            "true",
        ),
        ("lists.range(1000000000000)", "error: operation cancelled: actual cost limit exceeded"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
    ]);
}

#[test]
fn libraries_of_kubernetes() {
    check(&[
        ("quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').isInteger() == false", "true"),
        ("quantity('1k').add(quantity('500')).asInteger() + quantity('2').sub(1).asInteger()", "1501"),
        (
            "quantity('x')",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("sign(quantity('-1')) + quantity('1').compareTo(quantity('2'))", "-2"),
        ("quantity('100m') == quantity('0.1') && isQuantity('1Ki') && !isQuantity('a')", "true"),
        ("ip('192.168.0.1').family() + ip('::1').family()", "10"),
        (
            "ip('127.0.0.1').isLoopback() && ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && !isIP('300.1.1.1')",
            "true",
        ),
        (
            "ip('nope')",
            "error: IP Address \"nope\" parse error during conversion from string: ParseAddr(\"nope\"): unable to parse IP",
        ),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
            "true",
        ),
        ("string(cidr('10.1.2.3/8').masked()) + string(cidr('10.0.0.0/8').ip())", "\"10.0.0.0/810.0.0.0\""),
        ("cidr('10.0.0.0/8').prefixLength()", "8"),
        ("url('https://u@h.example:80/p%20q?a=1&a=2').getQuery()['a']", "[\"1\",\"2\"]"),
        (
            "url('https://h.example:80/p').getHost() + url('http://[::1]:5/').getHostname()",
            "\"h.example:80::1\"",
        ),
        (
            "url('nope')",
            "error: URL parse error during conversion from string: parse \"nope\": invalid URI for request",
        ),
        ("isURL('/path') && !isURL('a b')", "true"),
        ("semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).minor() == 2", "true"),
        (
            "semver('1.0.0-alpha').compareTo(semver('1.0.0')) + semver('1.0.0+b').compareTo(semver('1.0.0'))",
            "-1",
        ),
        ("semver('1.2')", "error: No Major.Minor.Patch elements found"),
        ("format.dns1123Label().validate('ok')", "none"),
        ("format.named('uuid').value().validate('x').value()", "[\"does not match the UUID format\"]"),
        ("!format.named('nope').hasValue() && format.date().validate('2024-02-30').hasValue()", "true"),
    ]);
}

#[test]
fn costs_are_those_of_cel_go() {
    // The expressions and figures of cel-go's own tests, with what Kubernetes' options change.
    let text = "a".repeat(500);
    let x = json!({"key": "v", "list": ["v"], "empty": [], "maps": {}, "text": text, "one": [1], "val": {"val": {"n": 1}},
        "nested": {"a": 1}, "s1": "val1", "s2": "val2222222", "t": true, "short": "idc"});
    let mut environment = Environment::new();
    let string_map = Type::map(Type::String, Type::String);
    for (name, of) in [
        ("key", Type::String),
        ("list", Type::list(Type::String)),
        ("empty", Type::list(Type::Int)),
        ("maps", string_map),
        ("text", Type::String),
        ("one", Type::list(Type::Int)),
        ("val", Type::map(Type::String, Type::map(Type::String, Type::Int))),
        ("nested", Type::map(Type::String, Type::Int)),
        ("s1", Type::String),
        ("s2", Type::String),
        ("t", Type::Bool),
        ("short", Type::String),
    ] {
        environment = environment.with_variable(name, of);
    }
    for (source, cost) in [
        ("'Hello'", 0),
        ("list", 1),
        ("val['val']", 2),
        ("list[0]", 2),
        ("nested.a", 2),
        ("nested['ke' + 'y'] == 1 || true", 3),
        ("list[3-3]", 3),
        ("has(nested.a)", 1),
        ("[1, 2, 3]", 0),
        ("[one[0]]", 12),
        ("empty.all(y, true)", 2),
        ("[1, 2, 3].all(y, true)", 10),
        ("text.matches('[0-9]')", 103),
        ("'123'.matches('[0-9]')", 2),
        ("false || false", 0),
        ("t && t && t && t", 4),
        ("1 < 2", 1),
        ("1 == 2", 1),
        ("'12345678901234567890' == '123456789012345678901234567890'", 2),
        ("bytes(text)", 51),
        ("text.contains(text)", 2502),
        ("short.startsWith(text)", 3),
        ("short.size()", 2),
        ("(one[0] > 2 ? list : list).all(y, true)", 7),
        ("true ? false : 1 > 3", 0),
        ("val.all(k, val[k].n > 3)", 9),
        ("maps.all(k, k.contains(k))", 2),
        ("(empty + empty).all(y, true)", 4),
        ("'abcdefg'.contains(s1 + s2)", 6),
        ("(1 > 2 ? 5 : 3) > 1", 2),
        ("(1 > 2 || 2 > 1) == true", 3),
        ("[1,2,3,4,5].filter(y, y % 2 == 0)", 42),
        ("[1,2,3,4,5].map(y, y)", 66),
    ] {
        let program = environment.compile(source).unwrap_or_else(|why| panic!("{source}: {why}"));
        let mut activation = Activation::default();
        for (name, value) in x.as_object().unwrap() {
            activation = activation.with(name, Value::of(value));
        }
        assert_eq!(program.evaluate(&activation).cost, cost, "{source}");
    }
}

#[test]
fn evaluation_ends_at_its_limit() {
    let source = "x.all(a, x.all(b, x.all(c, x.all(d, a + b + c + d >= 0))))";
    let program = Environment::new().with_variable("x", Type::list(Type::Int)).compile(source).unwrap();
    let x = json!((0..200).collect::<Vec<_>>());
    let evaluation = program.evaluate(&Activation::default().with("x", Value::of(&x)));
    assert_eq!(shown(&evaluation.result), "error: operation cancelled: actual cost limit exceeded");
    assert!(evaluation.cost < PER_CALL_LIMIT + 10);
}

#[test]
fn schemas_give_types_limits_and_ways_of_comparing() {
    let root = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "maxLength": 10},
        "when": {"type": "string", "format": "date-time"},
        "span": {"type": "string", "format": "duration"},
        "port": {"x-kubernetes-int-or-string": true},
        "namespace": {"type": "string"},
        "dash-ed": {"type": "integer"},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "maxItems": 5},
        "byName": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "number"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
        "maybe": {"type": "string", "nullable": true},
    }});
    let declared = schema::declare(&root, true, "selfType").unwrap();
    let environment = Environment::new().with_declared("self", &declared).with_optional("oldSelf", &declared);
    let data = json!({"apiVersion": "e.io/v1", "kind": "Foo", "metadata": {"name": "m", "uid": "u"},
        "name": "n", "when": "2024-01-01T00:00:00Z", "span": "1h", "port": "80", "namespace": "ns", "dash-ed": 7,
        "set": ["b", "a"], "byName": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "labels": {"a.b": "c"},
        "any": {"z": 1}, "maybe": null});
    for (source, expected) in [
        ("self.when < timestamp('2025-01-01T00:00:00Z') && self.span == duration('60m')", "true"),
        ("self.__namespace__ + self.metadata.name + self.kind", "\"nsmFoo\""),
        ("self.dash__dash__ed + 1", "8"),
        ("self.set == ['a', 'b']", "true"),
        ("self.set + ['a', 'c']", "[\"b\",\"a\",\"c\"]"),
        ("self.byName == [self.byName[1], self.byName[0]]", "true"),
        ("(self.byName + self.byName).size()", "2"),
        ("type(self.port) == string ? self.port == '80' : self.port == 80", "true"),
        ("self.labels['a.b']", "\"c\""),
        ("self.any", "undefined field 'any'"),
        ("self.metadata.uid", "undefined field 'uid'"),
        ("self.byName.all(e, e.v > 0.5)", "true"),
        ("has(self.maybe)", "false"),
        ("self.name + 1", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("oldSelf.hasValue()", "true"),
        ("oldSelf.?name.orValue('') == self.name", "true"),
    ] {
        let found = match environment.compile(source) {
            Ok(program) => {
                let value = || Value::declared(&data, &declared).unwrap();
                let activation = Activation::default()
                    .with("self", value())
                    .with("oldSelf", Value::Optional(Some(std::sync::Arc::new(value()))));
                shown(&program.evaluate(&activation).result)
            }
            Err(why) => why.messages().join(" | "),
        };
        assert_eq!(found, expected, "{source}");
    }
    assert_eq!(environment.compile("self.set.all(s, s.size() < 5)").unwrap().estimate(), 5 * 6 + 3);
    assert!(
        environment.compile("self.byName.all(a, self.byName.all(b, a.n == b.n))").unwrap().estimate()
            > RUNTIME_BUDGET
    );
}

#[test]
fn objects_are_made_of_declared_types() {
    let spec =
        Declared::object("Object.spec", [("replicas", Declared::int()), ("name", Declared::string(10))]);
    let object = Declared::object("Object", [("spec", std::sync::Arc::clone(&spec))]);
    let environment = Environment::new().with_type(&object).with_type(&spec).with_library(Library::JsonPatch);
    for (source, expected) in [
        ("Object{spec: Object.spec{replicas: 3}}", "{\"spec\":{\"replicas\":3}}"),
        ("Object{spec: Object.spec{?name: optional.none()}}.spec", "{}"),
        ("Object{nope: 1}", "undefined field 'nope'"),
        ("Object{spec: 1}", "expected type of field 'spec' is 'Object.spec' but provided type is 'int'"),
        ("Nope{}", "undeclared reference to 'Nope' (in container '')"),
        ("jsonpatch.escapeKey('a/b~c')", "\"a~1b~0c\""),
    ] {
        let found = match environment.compile(source) {
            Ok(program) => shown(&program.evaluate(&Activation::default()).result),
            Err(why) => why.messages().join(" | "),
        };
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn lazy_fields_are_asked_for_by_name() {
    struct Doubling;
    impl<'v> Lazy<'v> for Doubling {
        fn field(&self, name: &str, _: &Activation<'v>) -> Option<Result<Value<'v>, EvalError>> {
            (name != "none").then(|| Ok(Value::string(name.repeat(2))))
        }
    }
    let declared = Declared::object("variables", [("a", Declared::string(9)), ("none", Declared::string(9))]);
    let environment = Environment::new().with_declared("variables", &declared);
    for (source, expected) in [
        ("variables.a", "\"aa\""),
        ("has(variables.a)", "true"),
        ("variables.none", "error: no such key: none"),
        ("variables.b", "undefined field 'b'"),
    ] {
        let found = match environment.compile(source) {
            Ok(program) => {
                let activation = Activation::default().with_lazy("variables", Rc::new(Doubling));
                shown(&program.evaluate(&activation).result)
            }
            Err(why) => why.messages().join(" | "),
        };
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn the_authorizer_is_asked() {
    #[derive(Debug)]
    struct OnlyBob;
    impl crate::Authority for OnlyBob {
        fn decide(&self, question: &crate::Question) -> crate::Verdict {
            let bob = question
                .service_account
                .as_ref()
                .is_some_and(|(namespace, name)| &**namespace == "ns" && &**name == "bob");
            let pods = &*question.resource == "pods" && question.verb == "get" && &*question.namespace == "n";
            let path = question.path.as_deref() == Some("/healthz");
            crate::Verdict { allowed: (bob && pods) || path, reason: "because".to_owned(), error: None }
        }
    }
    let environment =
        Environment::new().with_variable("authorizer", Type::named("kubernetes.authorization.Authorizer"));
    for (source, expected) in [
        (
            "authorizer.serviceAccount('ns', 'bob').group('').resource('pods').namespace('n').check('get').allowed()",
            "true",
        ),
        ("authorizer.group('').resource('pods').namespace('n').check('get').allowed()", "false"),
        ("authorizer.path('/healthz').check('get').reason()", "\"because\""),
        ("authorizer.path(' ')", "error: path must not be empty"),
        ("authorizer.serviceAccount('ns', 'B')", "error: Invalid service account name"),
        ("authorizer.path('/a').check('get').errored()", "false"),
    ] {
        let program = environment.compile(source).unwrap_or_else(|why| panic!("{source}: {why}"));
        let activation = Activation::default().with("authorizer", Value::authorizer(&OnlyBob));
        assert_eq!(shown(&program.evaluate(&activation).result), expected, "{source}");
    }
}

proptest! {
    #[test]
    fn whatever_compiles_is_evaluated_within_its_limit(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "x", ".a", ".b", "[0]", "[?1]", "(", ")", "[", "]", "{", "}", ",", ":", " + ", " - ", " * ", "!", " && ",
                " || ", " in ", "1", "2u", "1.5", "'s'", "b'x'", "has(", ".all(i, ", ".map(i, ", "i", ".?c", ".size()",
                ".optMap(v, ", "v", "true", "null", " == ", " < ", " ? ", " : ", "'%s'.format([", "])", "duration(",
                "timestamp(", "quantity(", "url(", "ip(", "int(", "string(", ".split('')", ".replace('a', ", ".sort()",
                ".sum()", ".orValue(", "optional.of(", "lists.range(", ".distinct()", ".flatten(", "type(",
            ]),
            1..14,
        )
    ) {
        let x = json!({"a": [1, {"b": "s"}, null], "b": 2.5});
        let environment = Environment::new().with_variable("x", Type::Dyn);
        if let Ok(program) = environment.compile(&words.concat()) {
            let evaluation = program.evaluate(&Activation::default().with("x", Value::of(&x)));
            let cancelled = evaluation.result.as_ref().is_err_and(EvalError::is_cost_exceeded);
            prop_assert!(cancelled || evaluation.cost <= PER_CALL_LIMIT);
            let _ = shown(&evaluation.result);
        }
    }
}

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn printed(text: &str) -> String {
    match Selector::parse(text) {
        Ok(selector) => selector.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn requirements_are_sorted_by_key_and_values_in_sets() {
    for (text, wanted) in [
        ("", ""),
        ("  ", ""),
        ("tier=web", "tier=web"),
        ("tier == web", "tier==web"),
        ("tier!=web", "tier!=web"),
        ("tier", "tier"),
        (" ! tier", "!tier"),
        ("tier=", "tier="),
        ("tier=,env", "env,tier="),
        ("env in (prod,dev,prod)", "env in (dev,prod)"),
        ("env in ()", "env in ()"),
        ("env in (,a)", "env in (,a)"),
        ("env in (a,)", "env in (,a)"),
        ("env in (a,,b)", "env in (,a,b)"),
        ("env notin (prod)", "env notin (prod)"),
        ("n>4,n<6", "n>4,n<6"),
        ("x in (in,notin)", "x in (in,notin)"),
        ("x=in", "x=in"),
        ("in in (a)", "in in (a)"),
        ("notin", "notin"),
        ("e.com/b,a\t,\nc", "a,c,e.com/b"),
        ("a=1\0,b", "a=1,b"),
        ("a=1 \0,b", "a=1"),
    ] {
        assert_eq!(printed(text), wanted, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_in_upstreams_words() {
    for (text, wanted) in [
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        (",,", "found ',', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("tier in (web", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("tier in (web b)", "unable to parse requirement: found 'b', expected: ',' or ')'"),
        ("tier in web", "unable to parse requirement: found 'web' expected: '('"),
        ("tier in (=", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("tier in (a,=", "unable to parse requirement: found '=', expected: ',', or identifier"),
        ("tier===web", "unable to parse requirement: found '=', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("tier=web,", "found '', expected: identifier after ','"),
        ("tier=bad value", "found 'value', expected: ',' or 'end of string'"),
        (
            "n>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must \
             be an integer",
        ),
        (
            "UPPER/x=y",
            "unable to parse requirement: <nil>: Invalid value: \"UPPER/x\": prefix part a lowercase RFC 1123 \
             subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
             alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        (
            "a=-",
            "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be an empty string \
             or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
             character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
    ] {
        assert_eq!(printed(text), format!("error: {wanted}"), "{text}");
    }
}

#[test]
fn labels_match_by_operator() {
    let labels = json!({"tier": "web", "n": "5", "word": "x"});
    let labels = labels.as_object().unwrap();
    for (text, wanted) in [
        ("", true),
        ("tier=web", true),
        ("tier==db", false),
        ("tier!=db", true),
        ("tier!=web", false),
        ("none!=web", true),
        ("none=", false),
        ("tier", true),
        ("none", false),
        ("!none", true),
        ("!tier", false),
        ("tier in (db,web)", true),
        ("none in (db,web)", false),
        ("tier notin (db)", true),
        ("none notin (db)", true),
        ("n>4", true),
        ("n>5", false),
        ("n<6", true),
        ("word>1", false),
        ("word<1", false),
        ("none<1", false),
        ("tier=web,n>5", false),
    ] {
        assert_eq!(Selector::parse(text).unwrap().matches(labels), wanted, "{text}");
    }
    assert!(!Selector::nothing().matches(labels));
}

fn object(value: Value) -> Result<String, String> {
    let object: meta::LabelSelector = serde_json::from_value(value).unwrap();
    Selector::of_object(Some(&object)).map(|it| it.to_string()).map_err(|error| error.to_string())
}

#[test]
fn a_label_selector_object_means_its_requirements() {
    assert!(Selector::of_object(None).unwrap().is_nothing());
    assert!(Selector::of_object(Some(&meta::LabelSelector::default())).unwrap().is_everything());
    assert_eq!(
        object(json!({
            "matchLabels": {"b": "1", "a": "2"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "b", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"},
                {"key": "e", "operator": "NotIn", "values": ["z"]},
            ],
        })),
        Ok("a=2,b=1,b,c in (x,y),!d,e notin (z)".to_owned())
    );
}

#[test]
fn a_bad_label_selector_object_is_refused() {
    for (expression, wanted) in [
        (json!({"key": "a", "operator": "Gt"}), r#""Gt" is not a valid label selector operator"#),
        (
            json!({"key": "a", "operator": "In"}),
            "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            json!({"key": "a", "operator": "Exists", "values": ["x"]}),
            r#"values: Invalid value: ["x"]: values set must be empty for exists and does not exist"#,
        ),
    ] {
        assert_eq!(object(json!({"matchExpressions": [expression]})), Err(wanted.to_owned()));
    }
    let two = object(json!({"matchExpressions": [{"key": "", "operator": "In"}]})).unwrap_err();
    assert!(
        two.starts_with("[key: Invalid value: \"\": name part must be non-empty; name part must"),
        "{two}"
    );
    assert!(two.ends_with("values set can't be empty]"), "{two}");
}

#[test]
fn keys_and_values_have_their_rules() {
    for key in ["a", "A-b_c.d", "e.com/x", "a.b-c/9"] {
        assert_eq!(key_faults(key), Vec::<String>::new(), "{key}");
    }
    for (key, faults) in [("", 2), ("/a", 1), ("a/", 2), ("a/b/c", 1), ("-a", 1), ("A/b", 1), ("ä", 1)] {
        assert_eq!(key_faults(key).len(), faults, "{key}");
    }
    assert_eq!(key_faults(&"a".repeat(63)).len(), 0);
    assert_eq!(key_faults(&"a".repeat(64)), ["name part must be no more than 63 bytes"]);
    assert_eq!(key_faults(&format!("{}/a", "b.".repeat(130))).len(), 2);
    assert_eq!(value_faults(""), Vec::<String>::new());
    assert_eq!(value_faults("a."), value_faults(".a"));
    assert_eq!(value_faults(&"a".repeat(64)), ["must be no more than 63 bytes"]);
}

#[test]
fn an_exact_demand_can_be_asked_for() {
    let selector = Selector::parse("a in (1),b in (1,2),c!=1,d=4").unwrap();
    let exact = ["a", "b", "c", "d", "e"].map(|key| selector.exact(key));
    assert_eq!(exact, [Some("1"), None, None, Some("4"), None]);
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let operators = [
        Operator::In,
        Operator::NotIn,
        Operator::Equals,
        Operator::DoubleEquals,
        Operator::NotEquals,
        Operator::GreaterThan,
        Operator::LessThan,
        Operator::Exists,
        Operator::DoesNotExist,
    ];
    ("[a-z]{1,4}(/[a-zA-Z0-9]{1,3})?", prop::sample::select(operators.to_vec()), any::<u8>()).prop_flat_map(
        |(key, operator, number)| {
            let values = match operator {
                Operator::In | Operator::NotIn => {
                    prop::collection::btree_set("[a-z]{0,3}", 1..4).prop_map(Vec::from_iter).boxed()
                }
                Operator::GreaterThan | Operator::LessThan => Just(vec![number.to_string()]).boxed(),
                Operator::Exists | Operator::DoesNotExist => Just(Vec::new()).boxed(),
                _ => "[a-z]{0,3}".prop_map(|value| vec![value]).boxed(),
            };
            values.prop_map(move |values| Requirement::new(&key, operator, values).unwrap())
        },
    )
}

proptest! {
    #[test]
    fn printing_and_reading_give_the_same(requirements in prop::collection::vec(requirement(), 0..6)) {
        let selector = Selector::of(requirements);
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[ab/!=<>(), \\PCin]{0,20}") {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }
}

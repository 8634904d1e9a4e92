use proptest::prelude::*;

use super::*;

fn printed(text: &str) -> String {
    match Selector::parse(text) {
        Ok(selector) => selector.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn terms_are_sorted_and_printed_with_a_single_equals_sign() {
    for (text, wanted) in [
        ("", ""),
        ("=", ""),
        ("!=", ""),
        (",,", ""),
        ("metadata.name=b", "metadata.name=b"),
        ("metadata.name==c,metadata.namespace=n", "metadata.name=c,metadata.namespace=n"),
        ("b!=2,a=1,", "a=1,b!=2"),
        ("a=", "a="),
        ("=a", "=a"),
        (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
        ("a=b c", "a=b c"),
        ("a!b=c", "a!b=c"),
    ] {
        assert_eq!(printed(text), wanted, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_in_upstreams_words() {
    for (text, wanted) in [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        (
            "a=b,metadata.name in (a)",
            "invalid selector: 'a=b,metadata.name in (a)'; can't understand 'metadata.name in (a)'",
        ),
        ("a!", "invalid selector: 'a!'; can't understand 'a!'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a===c", "invalid field selector: unescaped character in value: 61"),
        (r"a=b\x", r"invalid field selector: invalid escape sequence: \x"),
        (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
    ] {
        assert_eq!(printed(text), format!("error: {wanted}"), "{text}");
    }
}

#[test]
fn all_terms_must_hold_and_an_absent_field_is_empty() {
    let fields = |field: &str| match field {
        "phase" => Cow::Borrowed("Running"),
        _ => Cow::Borrowed(""),
    };
    for (text, wanted) in [
        ("", true),
        ("phase=Running", true),
        ("phase!=Running", false),
        ("node=", true),
        ("node!=", false),
        ("phase=Running,node=n", false),
    ] {
        assert_eq!(Selector::parse(text).unwrap().matches(fields), wanted, "{text}");
    }
}

#[test]
fn a_kind_renames_and_refuses_fields() {
    let selector = Selector::parse("name=a,drop=x").unwrap();
    let renamed = selector.map(|field, value| match field {
        "name" => Ok(("metadata.name".to_owned(), value.to_owned())),
        "drop" => Ok((String::new(), String::new())),
        other => Err(other.to_owned()),
    });
    assert_eq!(renamed, Ok(Selector::equal("metadata.name", "a")));
    assert_eq!(
        Selector::parse("other=1").unwrap().map(|field, _| Err::<(String, String), _>(field.to_owned())),
        Err("other".to_owned())
    );
}

#[test]
fn an_exact_demand_can_be_asked_for() {
    let selector = Selector::parse("a!=1,b=2").unwrap();
    assert_eq!(selector.exact("a"), None);
    assert_eq!(selector.exact("b"), Some("2"));
}

proptest! {
    #[test]
    fn printing_and_reading_give_the_same(terms in prop::collection::vec(("[a-z.]{1,8}", any::<bool>(), any::<String>()), 0..5)) {
        let mut terms: Vec<Term> = terms.into_iter().map(|(field, equal, value)| Term {
            field, operator: if equal { Operator::Equals } else { Operator::NotEquals }, value,
        }).collect();
        terms.sort_by_key(ToString::to_string);
        let selector = Selector { terms };
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }
}

//! Label and field selectors: what is read prints as something that reads as the same.

use std::{borrow::Cow, collections::BTreeMap};

use api_types::selectors::{fields, labels};

use super::{Target, gist, text};

/// See the module.
pub(super) struct Selectors;

impl Target for Selectors {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let seeds = [
            "a=b,c!=d,!e,f",
            "environment in (production, qa),tier notin (frontend),partition",
            "example.com/a==b,x>1,y<2",
            "metadata.name=a,spec.nodeName!=b,status.phase==Running",
            "metadata.name=a\\,b\\=c\\\\",
            "",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "=",
            "==",
            "!=",
            "!",
            ",",
            " in ",
            " notin ",
            "(",
            ")",
            ">",
            "<",
            " ",
            "\\",
            "a",
            "b.c/d",
            "metadata.name",
            "ä",
            "\t",
            "-",
            "_",
            ".",
            "in",
            "notin",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let text = text(input);
        let mut outcome = String::new();
        match labels::Selector::parse(&text) {
            Ok(selector) => {
                let printed = selector.to_string();
                let again = labels::Selector::parse(&printed);
                let again =
                    again.unwrap_or_else(|error| panic!("{printed:?} of {text:?} cannot be read: {error}"));
                assert_eq!(again.to_string(), printed, "printed twice");
                for set in [BTreeMap::new(), BTreeMap::from([("a".to_owned(), "b".to_owned())])] {
                    assert_eq!(selector.matches(&set), again.matches(&set), "{printed:?} of {text:?}");
                }
                outcome.push_str(&format!("labels\u{1f}{}", selector.requirements().len()));
            }
            Err(error) => outcome.push_str(&format!("no labels\u{1f}{}", gist(&error.to_string()))),
        }
        outcome.push('\u{1f}');
        match fields::Selector::parse(&text) {
            Ok(selector) => {
                let printed = selector.to_string();
                let again = fields::Selector::parse(&printed);
                let again =
                    again.unwrap_or_else(|error| panic!("{printed:?} of {text:?} cannot be read: {error}"));
                // Terms are sorted as texts, and `==` is printed as `=`.
                let sorted = |selector: &fields::Selector| {
                    let mut terms: Vec<String> =
                        selector.terms().iter().map(|term| format!("{term:?}")).collect();
                    terms.sort();
                    terms
                };
                assert_eq!(sorted(&again), sorted(&selector), "{printed:?} of {text:?}");
                let _ = selector.matches(|field| Cow::Owned(field.to_owned()));
                outcome.push_str(&format!("fields\u{1f}{}", selector.terms().len()));
            }
            Err(error) => outcome.push_str(&gist(&error.to_string())),
        }
        outcome
    }
}

//! Quantities: what is read prints as something of the same value and the same text, and sums do not break.

use std::cmp::Ordering;

use api_types::quantity::Quantity;

use super::{Target, gist, text};

/// See the module.
pub(super) struct Quantities;

impl Target for Quantities {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let seeds = [
            "100m,1",
            "1Gi,1G",
            "1.5e3,1E",
            "-0.5Ki,.1n",
            "12345678901234567890123456789012345678,1E",
            "1e-9,+1",
        ];
        seeds.map(|seed| seed.as_bytes().to_vec()).to_vec()
    }

    fn words(&self) -> Vec<&'static str> {
        vec![
            "1", "0", "9", ".", "-", "+", "e", "E", "e3", "E-9", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n",
            "u", "m", "k", "M", "G", "T", "P", ",", " ",
        ]
    }

    fn play(&mut self, input: &[u8]) -> String {
        let text = text(input);
        let (left, right) = text.split_once(',').unwrap_or((&text, "1"));
        let (left, right) = match (left.parse::<Quantity>(), right.parse::<Quantity>()) {
            (Ok(left), Ok(right)) => (left, right),
            (Err(error), _) | (_, Err(error)) => return format!("no quantity\u{1f}{error}"),
        };
        for quantity in [&left, &right] {
            let printed = quantity.to_string();
            let again = printed.parse::<Quantity>();
            let again =
                again.unwrap_or_else(|error| panic!("{printed:?} of {text:?} cannot be read: {error}"));
            assert_eq!(again.cmp(quantity), Ordering::Equal, "{printed:?} of {text:?} has another value");
            assert_eq!(again.to_string(), printed, "{text:?} printed twice");
            let _ = (
                quantity.value(),
                quantity.milli_value(),
                quantity.scaled_value(-9),
                quantity.scaled_value(18),
            );
            let _ = (quantity.as_i64(), quantity.as_f64(), quantity.sign(), quantity.times(-3));
        }
        assert_eq!(left.cmp(&right), right.cmp(&left).reverse(), "{text:?}");
        let mut sum = left.clone();
        sum += &right;
        let mut difference = left.clone();
        difference -= &right;
        let _ = (sum.to_string(), difference.to_string(), (-left).to_string());
        format!("quantities\u{1f}{}", gist(&sum.to_string()))
    }
}

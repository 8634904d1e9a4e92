//! A number, or a part of another one: `3` or `25%`.

use serde::{Deserialize, Deserializer};

/// A number, or a part of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntOrPercent {
    /// So many.
    Int(i32),
    /// So many of a hundred.
    Percent(i32),
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Int(i32),
            Text(String),
        }

        match Written::deserialize(deserializer)? {
            Written::Int(number) => Ok(Self::Int(number)),
            Written::Text(text) => {
                text.strip_suffix('%').and_then(|percent| percent.parse().ok()).map(Self::Percent).ok_or_else(
                    || serde::de::Error::custom(format!("{text:?} is neither a number nor a percentage")),
                )
            }
        }
    }
}

impl IntOrPercent {
    /// How much that is of `whole`, a part rounded up.
    pub fn of_rounded_up(self, whole: i32) -> i32 {
        self.scaled(whole, 99)
    }

    /// How much that is of `whole`, a part rounded down.
    pub fn of_rounded_down(self, whole: i32) -> i32 {
        self.scaled(whole, 0)
    }

    fn scaled(self, whole: i32, round: i64) -> i32 {
        match self {
            Self::Int(number) => number,
            Self::Percent(percent) => {
                let hundredths = i64::from(percent) * i64::from(whole) + round;
                i32::try_from(hundredths.div_euclid(100)).unwrap_or(i32::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_rounded_as_asked() {
        for (text, whole, up, down) in [
            ("3", 10, 3, 3),
            (r#""25%""#, 10, 3, 2),
            (r#""25%""#, 4, 1, 1),
            (r#""0%""#, 4, 0, 0),
            (r#""1%""#, 1, 1, 0),
        ] {
            let value: IntOrPercent = serde_json::from_str(text).unwrap();
            assert_eq!(
                (value.of_rounded_up(whole), value.of_rounded_down(whole)),
                (up, down),
                "{text} of {whole}"
            );
        }
        assert!(serde_json::from_str::<IntOrPercent>(r#""many""#).is_err());
    }
}

//! The query string, and the options that verbs read from it.

use percent_encoding::percent_decode_str;

/// The parameters of a request, in order, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

// === impl Query ===

impl Query {
    /// Reads a query string. What is not UTF-8 once decoded is replaced, as no option has a use for it.
    pub fn parse(query: &str) -> Self {
        let decode =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        Self(
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean parameter as upstream reads it: given without value, or with anything but `false` and `0`, it is true.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    /// How long the client would wait, if it says so in a way that can be read.
    pub fn timeout(&self) -> Option<std::time::Duration> {
        let text = self.get("timeout").filter(|text| !text.is_empty())?;
        std::time::Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok()
    }

    /// Finds that `timeout`, if given, is a duration as Go writes them.
    ///
    /// # Errors
    /// Upstream's text for what is none.
    pub fn check_timeout(&self) -> Result<(), String> {
        let Some(text) = self.get("timeout").filter(|text| !text.is_empty()) else { return Ok(()) };
        let quoted = api_types::field::go_quote(text);
        let invalid =
            |why: String| Err(format!("invalid timeout specified in the request URL - time: {why} {quoted}"));
        let mut rest = text.trim_start_matches(['+', '-']);
        if rest == "0" {
            return Ok(());
        }
        let is_number = |it: char| it.is_ascii_digit() || it == '.';
        while !rest.is_empty() {
            let unit = rest.trim_start_matches(is_number);
            if unit.len() == rest.len() {
                return invalid("invalid duration".to_owned());
            }
            let end = unit.find(is_number).unwrap_or(unit.len());
            let (name, next) = unit.split_at_checked(end).unwrap_or((unit, ""));
            match name {
                "ns" | "us" | "µs" | "ms" | "s" | "m" | "h" => rest = next,
                "" => return invalid("missing unit in duration".to_owned()),
                other => {
                    return invalid(format!(
                        "unknown unit {} in duration",
                        api_types::field::go_quote(other)
                    ));
                }
            }
        }
        Ok(())
    }

    /// A number, if it is given and one.
    ///
    /// # Errors
    /// Upstream's text for a value that is no number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, String> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|error: std::num::ParseIntError| {
                let why = match error.kind() {
                    std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                        "value out of range"
                    }
                    _ => "invalid syntax",
                };
                format!("strconv.ParseInt: parsing {}: {why}", api_types::field::go_quote(value))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_flags_read_as_upstream_does() {
        let query = Query::parse("a=1&b&c=false&d=x%20y+z&a=2");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(query.flag("b") && !query.flag("c") && !query.flag("e"));
        assert_eq!(query.get("d"), Some("x y z"));
        assert_eq!(
            Query::parse("n=x").number("n").unwrap_err(),
            "strconv.ParseInt: parsing \"x\": invalid syntax"
        );
    }
}

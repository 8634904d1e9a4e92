//! Paths of fields through a schema, such as `.spec.color` and `.spec['a.b']`.

use serde_json::Value;

use super::json::{entries, get, schema};

const NO_FIELD: &str = "does not refer to a valid field";
const CUT_OFF: &str = "unexpected end of JSON path";

/// Whether a path may have names in brackets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Brackets {
    Allowed,
    Forbidden,
}

/// Follows a path: the names on it, and the schema at its end unless anything may be there.
pub(super) fn resolve<'a>(
    path: &str,
    root: &'a Value,
    brackets: Brackets,
) -> Result<(Vec<String>, Option<&'a Value>), String> {
    let tokens = tokens(path);
    let mut tokens = tokens.into_iter();
    let mut names = Vec::new();
    let mut at = Some(root);
    while let Some(token) = tokens.next() {
        let name = match token {
            "." => tokens.next().ok_or(CUT_OFF)?.to_owned(),
            "[" if brackets == Brackets::Forbidden => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or(CUT_OFF)?;
                let name = quoted.strip_prefix('\'').and_then(|it| it.strip_suffix('\''));
                let name = name.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                match tokens.next() {
                    None => return Err(CUT_OFF.to_owned()),
                    Some("]") => name.replace("\\'", "'").replace("\\\\", "\\"),
                    Some(other) => return Err(format!("expected ] but got {other}")),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let here = at.ok_or(NO_FIELD)?;
        at = if entries(here, "properties").next().is_some() {
            let field = get(here, "properties").and_then(|fields| fields.get(&name));
            Some(field.ok_or(NO_FIELD)?)
        } else {
            get(here, "additionalProperties").ok_or(NO_FIELD)?;
            schema(here, "additionalProperties")
        };
        names.push(name);
    }
    Ok((names, at))
}

/// The separators, and what is between them; texts in quotes whole.
fn tokens(path: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = if rest.starts_with('\'') {
            let bytes = rest.as_bytes();
            let mut ends = rest.match_indices('\'').map(|(at, _)| at).skip(1);
            ends.find(|&at| bytes.get(at.wrapping_sub(1)) != Some(&b'\\')).map_or(rest.len(), |at| at + 1)
        } else {
            rest.find(['.', '[', ']']).map_or(rest.len(), |at| at.max(1))
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_followed_through_properties() {
        let root = json!({"properties": {"spec": {"properties": {"a": {"type": "string"}, "b.c": {"type": "integer"}}},
            "m": {"additionalProperties": {"type": "boolean"}}, "any": {"additionalProperties": true}}});
        let check = |path: &str, brackets| {
            resolve(path, &root, brackets).map(|(names, schema)| {
                (names.join("/"), schema.and_then(|it| it.get("type")).and_then(Value::as_str).unwrap_or("-"))
            })
        };
        for (path, expected) in [
            (".spec.a", Ok(("spec/a", "string"))),
            (".spec['b.c']", Ok(("spec/b.c", "integer"))),
            (".m.x", Ok(("m/x", "boolean"))),
            (".any.x", Ok(("any/x", "-"))),
            (".any.x.y", Err(NO_FIELD)),
            (".spec.x", Err(NO_FIELD)),
            (".spec.a.b", Err(NO_FIELD)),
            ("spec", Err("expected [ or . but got: spec")),
            (".", Err(CUT_OFF)),
            (".spec[a]", Err("expected single quoted string but got a")),
            (".spec['a'", Err(CUT_OFF)),
        ] {
            let expected = expected.map(|(names, kind)| (names.to_owned(), kind)).map_err(str::to_owned);
            assert_eq!(check(path, Brackets::Allowed), expected, "{path}");
        }
        assert_eq!(check(".spec['a']", Brackets::Forbidden), Err("array notation is not allowed".to_owned()));
    }
}

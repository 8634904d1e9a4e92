//! `--token-auth-file`: a table of tokens and the users they stand for.

use std::{collections::BTreeMap, path::Path};

use super::user::User;
use crate::tls;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] tls::Error),
    /// It is no table.
    #[error("line {line} of token file '{path}': {why}")]
    Malformed {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// Why.
        why: &'static str,
    },
    /// A row is too short.
    #[error("token file '{path}' must have at least 3 columns (token, user name, user uid), found {found}")]
    Columns {
        /// The file.
        path: String,
        /// How many columns the row has.
        found: usize,
    },
}

/// Tokens and their users.
#[derive(Clone, Debug, Default)]
pub struct TokenFile(BTreeMap<String, User>);

// === impl TokenFile ===

impl TokenFile {
    /// Reads the file once; it is not watched.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let name = path.display().to_string();
        let bytes = tls::files::read(path)?;
        Self::parse(&name, &String::from_utf8_lossy(&bytes))
    }

    fn parse(path: &str, text: &str) -> Result<Self, TokenFileError> {
        let mut tokens = BTreeMap::new();
        let rows = rows(text).map_err(|(line, why)| TokenFileError::Malformed {
            path: path.to_owned(),
            line,
            why,
        })?;
        for row in rows {
            let found = row.len();
            let mut columns = row.into_iter();
            let (Some(token), Some(name), Some(uid)) = (columns.next(), columns.next(), columns.next())
            else {
                return Err(TokenFileError::Columns { path: path.to_owned(), found });
            };
            if token.is_empty() {
                tracing::warn!(path, "an empty token in the token file is left out");
                continue;
            }
            let groups = columns
                .next()
                .map(|groups| groups.split(',').map(str::to_owned).collect())
                .unwrap_or_default();
            let user = User { name, uid, groups, ..User::default() };
            if tokens.insert(token, user).is_some() {
                tracing::warn!(path, "a token stands in the token file twice; the last one counts");
            }
        }
        Ok(Self(tokens))
    }

    /// Whom the token stands for.
    pub fn user(&self, token: &str) -> Option<&User> {
        self.0.get(token)
    }
}

/// Rows and columns of comma-separated values (RFC 4180): quoted columns may hold commas, line ends and doubled quotes.
/// Empty lines are left out. An error has the line it was met in.
fn rows(text: &str) -> Result<Vec<Vec<String>>, (usize, &'static str)> {
    let mut rows = Vec::new();
    let mut row: Vec<String> = Vec::new();
    let mut line = 1;
    let mut characters = text.chars().peekable();
    // A column, then a comma or the end of a line.
    while characters.peek().is_some() {
        let mut column = String::new();
        if characters.next_if_eq(&'"').is_some() {
            loop {
                match characters.next() {
                    Some('"') if characters.next_if_eq(&'"').is_some() => column.push('"'),
                    Some('"') => break,
                    Some(character) => {
                        line += usize::from(character == '\n');
                        column.push(character);
                    }
                    None => return Err((line, "a quoted column does not end")),
                }
            }
        } else {
            while let Some(character) = characters.next_if(|&it| it != ',' && it != '\n') {
                if character == '"' {
                    return Err((line, "a quote in a column that is not quoted"));
                }
                column.push(character);
            }
            if characters.peek() != Some(&',') && column.ends_with('\r') {
                column.pop();
            }
        }
        let after_quote = characters.next_if_eq(&'\r').is_some();
        match characters.next() {
            Some(',') if !after_quote => {
                row.push(column);
                // A comma at the very end opens one more, empty column.
                if characters.peek().is_none() {
                    row.push(String::new());
                }
            }
            Some('\n') | None => {
                line += 1;
                row.push(column);
                let row = std::mem::take(&mut row);
                if row != [""] {
                    rows.push(row);
                }
            }
            Some(_) => return Err((line, "something follows a quoted column")),
        }
    }
    if !row.is_empty() {
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_token_a_name_a_uid_and_groups() {
        let file = TokenFile::parse(
            "tokens.csv",
            "admintoken,admin,admin,\"system:masters\"\r\nalice-token,alice,alice-uid,\"dev,qa\"\n\nbob-token,bob,bob-uid\n,nobody,x\nbob-token,\"b\"\"o,b\",2,\n",
        )
        .unwrap();
        let user =
            |token: &str| file.user(token).map(|it| (it.name.as_str(), it.uid.as_str(), it.groups.join("|")));
        for (token, wanted) in [
            ("admintoken", Some(("admin", "admin", "system:masters".to_owned()))),
            ("alice-token", Some(("alice", "alice-uid", "dev|qa".to_owned()))),
            ("bob-token", Some(("b\"o,b", "2", String::new()))),
            ("", None),
            ("other", None),
        ] {
            assert_eq!(user(token), wanted, "{token}");
        }
    }

    #[test]
    fn a_malformed_file_is_refused() {
        for (text, wanted) in [
            ("a,b", "token file 'f' must have at least 3 columns (token, user name, user uid), found 2"),
            ("a,b,c\nd,\"e", "line 2 of token file 'f': a quoted column does not end"),
            ("a,b\"c,d", "line 1 of token file 'f': a quote in a column that is not quoted"),
            ("a,\"b\"c,d", "line 1 of token file 'f': something follows a quoted column"),
        ] {
            assert_eq!(TokenFile::parse("f", text).unwrap_err().to_string(), wanted);
        }
        assert!(matches!(TokenFile::read(Path::new("/nonexistent")), Err(TokenFileError::File(_))));
    }
}

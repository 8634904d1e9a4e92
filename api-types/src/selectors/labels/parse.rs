//! From the words of a label selector to its requirements.
//!
//! Texts tell what was found and what would have been right; they are upstream's, odd punctuation included.

use std::collections::BTreeSet;

use super::{
    Operator, Requirement, key_fault,
    lex::{Token, tokens},
};
use crate::{field::Path, selectors::Malformed};

/// Upstream's list of what can stand between a key and its value. It names `gt` and `lt` though `>` and `<` are meant.
const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

struct Parser {
    tokens: std::vec::IntoIter<Token>,
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, Malformed> {
    let mut parser = Parser { tokens: tokens(text).into_iter() };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::End => return Ok(requirements),
            token if starts_requirement(token) => {}
            other => {
                return Err(expected(other, "', expected: !, identifier, or 'end of string'"));
            }
        }
        let requirement =
            parser.requirement().map_err(|why| Malformed(format!("unable to parse requirement: {why}")))?;
        requirements.push(requirement);
        match parser.next() {
            Token::End => return Ok(requirements),
            comma if comma.is(",") => {
                if !starts_requirement(parser.peek()) {
                    return Err(expected(parser.peek(), "', expected: identifier after ','"));
                }
            }
            other => return Err(expected(&other, "', expected: ',' or 'end of string'")),
        }
    }
}

fn expected(found: &Token, what: &str) -> Malformed {
    Malformed(format!("found '{}{what}", found.text()))
}

/// `in` and `notin` are plain words wherever no operator is due.
fn word(token: &Token) -> Option<&str> {
    match token {
        Token::Identifier(_) | Token::In | Token::NotIn => Some(token.text()),
        Token::End | Token::Symbol(_) => None,
    }
}

fn starts_requirement(token: &Token) -> bool {
    word(token).is_some() || token.is("!")
}

// === impl Parser ===

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.as_slice().first().unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        self.tokens.next().unwrap_or(Token::End)
    }

    fn requirement(&mut self) -> Result<Requirement, Malformed> {
        let mut token = self.next();
        let absent = token.is("!");
        if absent {
            token = self.next();
        }
        let Some(key) = word(&token) else {
            return Err(expected(&token, "', expected: identifier"));
        };
        if let Some(fault) = key_fault(key, &Path::root()) {
            return Err(Malformed(fault.to_string()));
        }
        if absent {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End) || self.peek().is(",") {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, Malformed> {
        let token = self.next();
        Ok(match token.text() {
            "in" if token == Token::In => Operator::In,
            "notin" if token == Token::NotIn => Operator::NotIn,
            "=" => Operator::Equals,
            "==" => Operator::DoubleEquals,
            "!=" => Operator::NotEquals,
            ">" => Operator::GreaterThan,
            "<" => Operator::LessThan,
            found => return Err(Malformed(format!("found '{found}', expected: {BINARY_OPERATORS}"))),
        })
    }

    /// An empty value is one too: `tier=`.
    fn exact_value(&mut self) -> Result<String, Malformed> {
        if matches!(self.peek(), Token::End) || self.peek().is(",") {
            return Ok(String::new());
        }
        let token = self.next();
        match word(&token) {
            Some(value) => Ok(value.to_owned()),
            None => Err(expected(&token, "', expected: identifier")),
        }
    }

    /// Values in brackets, sorted, each once.
    fn values(&mut self) -> Result<Vec<String>, Malformed> {
        let open = self.next();
        if !open.is("(") {
            return Err(expected(&open, "' expected: '('"));
        }
        let mut values = BTreeSet::new();
        if self.peek().is(")") {
            values.insert(String::new());
        } else if word(self.peek()).is_some() || self.peek().is(",") {
            self.value_list(&mut values)?;
        } else {
            return Err(expected(self.peek(), "', expected: ',', ')' or identifier"));
        }
        // The closing bracket, which was seen already.
        self.next();
        Ok(values.into_iter().collect())
    }

    /// Up to the closing bracket. A comma with nothing before or after it stands for an empty value.
    fn value_list(&mut self, values: &mut BTreeSet<String>) -> Result<(), Malformed> {
        loop {
            let token = self.next();
            if let Some(value) = word(&token) {
                values.insert(value.to_owned());
                if self.peek().is(")") {
                    return Ok(());
                }
                if !self.peek().is(",") {
                    return Err(expected(self.peek(), "', expected: ',' or ')'"));
                }
            } else if token.is(",") {
                if values.is_empty() || self.peek().is(",") {
                    values.insert(String::new());
                }
                if self.peek().is(")") {
                    values.insert(String::new());
                    return Ok(());
                }
            } else {
                return Err(expected(&token, "', expected: ',', or identifier"));
            }
        }
    }
}

//! What expressions of an AuthenticationConfiguration may name: `claims` in those that map and validate a token, `user` in
//! those that validate who comes of it. The types are upstream's (`apiserver/pkg/authentication/cel`).

use std::sync::{Arc, LazyLock};

use api_types::field::{Fault, Path};
use cel::{Activation, Declared, Environment, Program, Type, Value};
use serde_json::Value as Json;

/// An expression that was compiled.
#[derive(Debug)]
pub struct Expression {
    /// As it was written.
    pub text: String,
    program: Program,
}

/// What an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// `claims`; any value may come of it.
    Claims,
    /// `claims`; true or false.
    ClaimsRule,
    /// `user`; true or false.
    UserRule,
}

static CLAIMS: LazyLock<Environment> =
    LazyLock::new(|| Environment::new().with_variable("claims", Type::map(Type::String, Type::Dyn)));
static USER: LazyLock<Environment> = LazyLock::new(|| Environment::new().with_declared("user", &USER_INFO));
static USER_INFO: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let text = || Declared::string(0);
    Declared::object(
        "kubernetes.UserInfo",
        [
            ("username", text()),
            ("uid", text()),
            ("groups", Declared::list(text(), 0)),
            ("extra", Declared::map(Declared::list(text(), 0), 0)),
        ],
    )
});

// === impl Expression ===

impl Expression {
    /// Compiles it.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn compile(text: &str, about: About, path: &Path) -> Result<Self, Fault> {
        let environment = if about == About::UserRule { &USER } else { &CLAIMS };
        let program = environment
            .compile(text)
            .map_err(|why| Fault::invalid(path, text, format!("compilation failed: {why}")))?;
        if about != About::Claims && !Type::Bool.is(program.output()) {
            return Err(Fault::invalid(path, text, "must evaluate to bool"));
        }
        Ok(Self { text: text.to_owned(), program })
    }

    /// What comes of it for these claims.
    ///
    /// # Errors
    /// Why nothing does.
    pub fn of_claims(&self, claims: &Json) -> Result<Json, String> {
        self.evaluate(&Activation::default().with("claims", Value::of(claims)))
    }

    /// What comes of it for this user, as objects tell of them.
    ///
    /// # Errors
    /// Why nothing does.
    pub fn of_user(&self, user: &Json) -> Result<Json, String> {
        let user = Value::declared(user, &USER_INFO).map_err(|error| error.to_string())?;
        self.evaluate(&Activation::default().with("user", user))
    }

    fn evaluate(&self, activation: &Activation<'_>) -> Result<Json, String> {
        let value = self.program.evaluate(activation).result;
        value.and_then(|value| value.to_json()).map_err(|error| error.to_string())
    }

    /// Whether it reads this claim by its name, as `claims.name` or `claims.?name`.
    pub fn reads(&self, claim: &str) -> bool {
        let mut rest = without_literals(&self.text);
        while let Some(at) = rest.find("claims") {
            let whole_word = !rest[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_' || it == '.');
            let after = rest[at + "claims".len()..].trim_start().to_owned();
            if whole_word
                && let Some(field) = after.strip_prefix('.')
                && let Some(field) =
                    field.trim_start().trim_start_matches('?').trim_start().strip_prefix(claim)
                && !field.starts_with(|it: char| it.is_alphanumeric() || it == '_')
            {
                return true;
            }
            rest = after;
        }
        false
    }
}

/// The text with what stands between quotes taken out.
fn without_literals(text: &str) -> String {
    let mut left = String::new();
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for it in text.chars() {
        match quote {
            Some(open) if it == open && !escaped => quote = None,
            Some(_) => escaped = it == '\\' && !escaped,
            None if it == '"' || it == '\'' => (quote, escaped) = (Some(it), false),
            None => left.push(it),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_expression_sees_claims_or_the_user_and_rules_are_true_or_false() {
        let path = Path::new("expression");
        let compile = |text: &str, about| Expression::compile(text, about, &path);
        let claims = json!({"sub": "a", "roles": ["x", "y"], "deep": {"email": "a@example.com"}});
        for (text, wanted) in [
            ("claims.sub + '@b'", json!("a@b")),
            ("claims.roles.map(it, 'r:' + it)", json!(["r:x", "r:y"])),
            ("claims.deep.email", json!("a@example.com")),
            ("claims.?none.orValue('')", json!("")),
        ] {
            assert_eq!(compile(text, About::Claims).unwrap().of_claims(&claims).unwrap(), wanted, "{text}");
        }
        assert!(compile("claims.none", About::Claims).unwrap().of_claims(&claims).is_err());
        let user = json!({"username": "system:x", "groups": ["g"]});
        let rule = compile("!user.username.startsWith('system:')", About::UserRule).unwrap();
        assert_eq!(rule.of_user(&user).unwrap(), json!(false));
        for (text, about, wanted) in [
            ("user.username", About::Claims, "undeclared reference to 'user'"),
            ("claims.sub + 'a'", About::ClaimsRule, "must evaluate to bool"),
            ("user.nope", About::UserRule, "undefined field 'nope'"),
        ] {
            let found = compile(text, about).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found}");
        }
    }

    #[test]
    fn a_claim_is_read_by_its_whole_name() {
        for (text, reads) in [
            ("claims.email", true),
            ("'x' + claims . email", true),
            ("claims.?email.orValue('')", true),
            ("claims.email_verified", false),
            ("'claims.email'", false),
            ("claims.sub + claims.email", true),
            ("my_claims_of.email", false),
        ] {
            let expression = Expression { text: text.to_owned(), program: CLAIMS.compile("true").unwrap() };
            assert_eq!(expression.reads("email"), reads, "{text}");
        }
    }
}

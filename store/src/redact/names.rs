//! Which names stand before a secret: keys of objects, options, headers, fields of a query.
//!
//! A name is taken apart into words, at signs and where capitals begin, so that `X-Api-Token`, `userPassword` and
//! `DB_PASSWD` are all seen. What was decided:
//!   * In doubt a name is sensitive: a secret on disk cannot be taken back, a lost value only costs comfort.
//!   * `token` counts as the end of a word (`accesstoken`), so `tokenizer` is none. A name that counts tokens or says
//!     what they are like is none either: `token_count`, `token_type`, `max_tokens`, `prompt_tokens`.
//!   * `auth` counts as the last word (`basic_auth`), so `auth_method` and `author` are none.
//!   * `key`, `pass` and `session` alone are none: `key` is everywhere, `pass` counts tests, and sessions are events.

/// Anywhere in the words of a name run together.
const ANYWHERE: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "credential",
    "authorization",
    "cookie",
    "apikey",
    "accesskey",
    "accountkey",
    "authkey",
    "deploykey",
    "encryptionkey",
    "masterkey",
    "privatekey",
    "sessionkey",
    "signingkey",
    "sshkey",
    "storagekey",
    "dbpass",
    "userpass",
    "smtppass",
    "sshpass",
    "xamzsignature",
];

/// One whole word of a name.
const WORDS: &[&str] = &["pwd", "jwt", "bearer", "csrf", "xsrf"];

/// Beside `token`, these speak of tokens and hold none.
const ABOUT_A_TOKEN: &[&str] = &[
    "count", "counts", "type", "limit", "budget", "usage", "length", "len", "index", "ttl", "expiry",
    "expires",
];

/// Beside `tokens`, these count them.
const ABOUT_TOKENS: &[&str] = &[
    "max",
    "min",
    "total",
    "num",
    "number",
    "n",
    "per",
    "prompt",
    "completion",
    "input",
    "output",
    "used",
    "cached",
    "reasoning",
    "context",
    "generated",
    "remaining",
];

pub(super) fn is_sensitive(name: &str) -> bool {
    let words = words(name);
    let joined = words.concat().replace("secretar", "");
    ANYWHERE.iter().any(|part| joined.contains(part))
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
        || words.last().is_some_and(|word| word == "auth")
        || holds_a_token(&words)
}

/// Whether the value goes on to the end of its line: a scheme and what it needs, or a list of cookies.
pub(super) fn takes_the_line(name: &str) -> bool {
    let joined = words(name).concat();
    ["authorization", "cookie"].iter().any(|part| joined.contains(part))
}

fn holds_a_token(words: &[String]) -> bool {
    let speaks_of = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let one = words.iter().any(|word| word.ends_with("token"));
    let many = words.iter().any(|word| word.ends_with("tokens"));
    let about = speaks_of(ABOUT_A_TOKEN);
    one && !about || many && !about && !speaks_of(ABOUT_TOKENS)
}

/// In lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut letters = name.chars().peekable();
    let mut previous = ' ';
    while let Some(letter) = letters.next() {
        let next_is_lower = letters.peek().is_some_and(|next| next.is_lowercase());
        let begins =
            letter.is_uppercase() && (previous.is_lowercase() || previous.is_uppercase() && next_is_lower);
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
        previous = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_sensitive_however_they_are_written() {
        for name in [
            "password",
            "PASSWORD",
            "userPassword",
            "user_password_hash",
            "db.passwd",
            "passwd",
            "pwd",
            "DB_PWD",
            "token",
            "TOKEN",
            "X-Api-Token",
            "accessToken",
            "accesstoken",
            "refresh_token",
            "tokens",
            "session_token",
            "CSRFToken",
            "secret",
            "client_secret",
            "AWS_SECRET_ACCESS_KEY",
            "clientSecret",
            "api_key",
            "apikey",
            "APIKey",
            "x-api-key",
            "Authorization",
            "proxy-authorization",
            "credential",
            "Credentials",
            "access_key",
            "privateKey",
            "cookie",
            "Set-Cookie",
            "sessionCookie",
            "basic_auth",
            "auth",
            "--password",
            "user[password]",
            "user%5Bpassword%5D",
            "jwt",
            "passphrase",
            "token_id",
        ] {
            assert!(is_sensitive(name), "{name} was let through");
        }
    }

    #[test]
    fn names_that_only_look_like_it_are_not() {
        for name in [
            "",
            "tokenizer",
            "tokenize",
            "token_count",
            "tokenCount",
            "token_type",
            "max_tokens",
            "prompt_tokens",
            "totalTokens",
            "author",
            "authority",
            "auth_method",
            "key",
            "keys",
            "public_key",
            "pass",
            "passed",
            "compass",
            "session",
            "session_id",
            "secretary",
            "monkey",
            "keyboard",
            "bypass",
            "status",
            "result",
            "-",
        ] {
            assert!(!is_sensitive(name), "{name} was hidden");
        }
    }
}

//! What is hidden, what is not, and that hiding settles.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn redacted(text: &str) -> String {
    Redactor::new().redact_str(text).into_owned()
}

fn redacted_value(mut value: Value) -> Value {
    Redactor::new().redact_value(&mut value);
    value
}

fn knowing(secrets: &[&str]) -> Redactor {
    let redactor = Redactor::new();
    secrets.iter().for_each(|secret| redactor.register(secret));
    redactor
}

fn args(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

#[test]
fn values_under_sensitive_keys_are_replaced_whole_at_any_depth() {
    let value = json!({
        "a": [{"PASSWORD": "x"}, [{"userToken": {"inner": 1}}]],
        "Secret": ["x", "y"], "api_key": 7, "cookie": null, "n": 1, "token_count": 5, "text": "fine",
    });
    let expected = json!({
        "a": [{"PASSWORD": MARK}, [{"userToken": MARK}]],
        "Secret": MARK, "api_key": MARK, "cookie": MARK, "n": 1, "token_count": 5, "text": "fine",
    });
    assert_eq!(redacted_value(value), expected);
}

#[test]
fn names_beside_their_values_count_too() {
    let value = json!([
        {"name": "Authorization", "value": "Basic x"}, {"name": "Accept", "value": "x"}, ["X-Token", "x"],
        ["no such token", "x"],
        ["run", "--password", "x", "--verbose"], ["--token", 5],
    ]);
    let expected = json!([
        {"name": "Authorization", "value": MARK}, {"name": "Accept", "value": "x"}, ["X-Token", MARK],
        ["no such token", "x"],
        ["run", "--password", MARK, "--verbose"], ["--token", MARK],
    ]);
    assert_eq!(redacted_value(value), expected);
}

#[test]
fn secrets_in_urls_are_hidden() {
    for (text, expected) in [
        ("https://user:pw@host/x", "https://<redacted>@host/x"),
        ("https://ghtoken@host/x?a=b@c", "https://<redacted>@host/x?a=b@c"),
        ("postgres://u:p/w#1@host/db", "postgres://<redacted>@host/db"),
        ("get http://h/?token=abc&x=1#f", "get http://h/?token=<redacted>&x=1#f"),
        ("http://h/?x=1&access_token=abc", "http://h/?x=1&access_token=<redacted>"),
        ("user:pw@host", "user:<redacted>@host"),
        ("http://host:8080/files/@17", "http://host:8080/files/@17"),
        ("git@host:a/b.git", "git@host:a/b.git"),
        ("mailto:someone@example.com", "mailto:someone@example.com"),
        ("app:1.2@sha256:00ff", "app:1.2@sha256:00ff"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn secrets_after_their_names_are_hidden_in_texts() {
    for (text, expected) in [
        ("password=abc", "password=<redacted>"),
        ("login failed: password = abc, user = x", "login failed: password = <redacted>, user = x"),
        ("Server=x;Password=abc;Db=y", "Server=x;Password=<redacted>;Db=y"),
        ("DB_PASSWORD=\"a b\" run", "DB_PASSWORD=\"<redacted>\" run"),
        (r#"{"password":"a\"b","n":1}"#, r#"{"password":"<redacted>","n":1}"#),
        (r#"{"secret":{"a":["}"]},"n":1}"#, r#"{"secret":<redacted>,"n":1}"#),
        (r#"{\"token\": \"abc\", \"n\": 1}"#, r#"{\"token\": \"<redacted>\", \"n\": 1}"#),
        ("{'token': b'abc', 'n': 1}", "{'token': b'<redacted>', 'n': 1}"),
        (r#"Config { token: Some("abc"), n: 1 }"#, "Config { token: <redacted>), n: 1 }"),
        (r#"["http://h/?token=abc","n"]"#, r#"["http://h/?token=<redacted>","n"]"#),
        ("f(token=abc)", "f(token=<redacted>)"),
        ("if token == abc then", "if token == <redacted> then"),
        ("user%5Bpassword%5D=abc&n=1", "user%5Bpassword%5D=<redacted>&n=1"),
        ("password: \"never closed", "password: \"<redacted>"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn headers_are_hidden_to_their_end() {
    for (text, expected) in [
        ("Authorization: Bearer abc.def\nAccept: x", "Authorization: <redacted>\nAccept: x"),
        ("Cookie: a=b; c=\"d\"; e=f\r\nX: y", "Cookie: <redacted>\r\nX: y"),
        ("curl -H 'Authorization: Basic abc=' http://h", "curl -H 'Authorization: <redacted>' http://h"),
        (r#"{"Authorization": "Bearer abc"}"#, r#"{"Authorization": "<redacted>"}"#),
        ("sent Bearer abc123 to host", "sent Bearer <redacted> to host"),
        ("sent Basic dXNlcjpwdw== to host", "sent Basic <redacted> to host"),
        ("the bearer token is a basic understanding", "the bearer token is a basic understanding"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn keys_and_tokens_that_show_what_they_are_are_hidden() {
    let token = format!("ghp_{}", "a1".repeat(18));
    assert_eq!(redacted(&format!("with {token}.")), "with <redacted>.");
    assert_eq!(redacted("jwt eyJhbGci.eyJzdWIi.c2ln end"), "jwt <redacted> end");
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nafter";
    let hidden = "-----BEGIN RSA PRIVATE KEY-----<redacted>-----END RSA PRIVATE KEY-----\nafter";
    assert_eq!(redacted(key), hidden);
}

#[test]
fn what_holds_no_secret_is_borrowed() {
    for text in [
        "",
        "token",
        "secret::path::to",
        "12:15:00 status=ok",
        "token:",
        "std::token::Kind",
        "tokenizer=x",
        "max_tokens: 5",
        "key: value",
        "a<redacted>b",
        "branches/main/@42",
        "restore src/app.py --at main@17",
    ] {
        assert!(matches!(Redactor::new().redact_str(text), Cow::Borrowed(_)), "{text:?}: {}", redacted(text));
    }
}

#[test]
fn registered_secrets_are_hidden_wherever_they_stand() {
    let redactor = knowing(&["t0ken/\"x", "4711"]);
    let mut value = json!({
        "result": "got t0ken/\"x here", "url": "http://h/t0ken%2F%22x/a", "json": r#"{"a":"t0ken/\"x"}"#,
        "t0ken/\"x": 1, "number": 547119, "list": ["a4711b"],
    });
    redactor.redact_value(&mut value);
    let expected = json!({
        "result": "got <redacted> here", "url": "http://h/<redacted>/a", "json": r#"{"a":"<redacted>"}"#,
        "<redacted>": 1, "number": MARK, "list": ["a<redacted>b"],
    });
    assert_eq!(value, expected);
}

#[test]
fn keys_that_become_one_keep_their_values() {
    let redactor = knowing(&["aaa", "bbb"]);
    let mut value = json!({"aaa": 1, "bbb": 2});
    redactor.redact_value(&mut value);
    assert_eq!(value, json!({"<redacted>": 1, "<redacted><redacted>": 2}));
}

#[test]
fn a_credential_is_hidden_whole_and_in_part() {
    let redactor = Redactor::new();
    redactor.register_credential("user@example.com:hunter2");
    let login = args(&["login", "user@example.com:hunter2", "--ttl", "7200"]);
    assert_eq!(redactor.redact_args(&login), args(&["login", MARK, "--ttl", "7200"]));
    assert_eq!(
        redactor.redact_str("refused hunter2 of user@example.com"),
        "refused <redacted> of user@example.com"
    );
}

#[test]
fn arguments_are_hidden_with_their_options() {
    let given =
        args(&["run", "--password", "a b", "--token=c d", "-v", "--secret", "--n", "x", "API_KEY=e f", "-5"]);
    let expected = args(&[
        "run",
        "--password",
        MARK,
        "--token=<redacted>",
        "-v",
        "--secret",
        "--n",
        "x",
        "API_KEY=<redacted>",
        "-5",
    ]);
    assert_eq!(Redactor::new().redact_args(&given), expected);
}

#[test]
fn secrets_are_not_shown_by_debug_and_empty_ones_are_none() {
    let redactor = knowing(&["hunter2", "", " \n"]);
    assert_eq!(format!("{redactor:?}"), "Redactor { known: 1 }");
}

#[test]
fn secrets_that_overlap_are_hidden_together() {
    assert_eq!(knowing(&["abcd", "cdef"]).redact_str("xabcdefx"), "x<redacted>x");
}

#[test]
fn a_secret_that_is_part_of_the_mark_settles() {
    let redactor = knowing(&["redacted", "e"]);
    assert_eq!(redactor.redact_str("see <redacted>"), "s<redacted> <redacted>");
}

#[test]
fn a_hostile_text_takes_no_longer_than_its_length() {
    for piece in [
        "token=",
        "password:{",
        "a:b@",
        "://a:b",
        "\"secret\":\"",
        "Bearer ",
        "eyJa.",
        "-----BEGIN PRIVATE KEY-----",
    ] {
        let text = piece.repeat(15_000);
        let start = Instant::now();
        drop(redacted(&text));
        // It takes some tenths of a second; quadratic work would take minutes.
        assert!(start.elapsed() < Duration::from_secs(10), "{piece}: {:?}", start.elapsed());
    }
}

/// Pieces of which texts are made that have much to hide.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "password",
        "token",
        "tok",
        "en",
        "secret",
        "Cookie",
        "Authorization",
        "=",
        ":",
        "://",
        "@",
        "\"",
        "'",
        "\\",
        "\\\"",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ",",
        ";",
        "&",
        " ",
        "\n",
        "Bearer ",
        "Basic ",
        "<redacted>",
        "<",
        ">",
        "redacted",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "user",
        "host",
        "é",
        "\u{2028}",
        "b'",
        "--",
        "x",
        "abc",
        "8080/",
    ]);
    prop_oneof![9 => fixed.prop_map(str::to_owned), 1 => "\\PC{0,5}"]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..16).prop_map(|pieces| pieces.concat())
}

fn secrets() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text().prop_map(|text| text.chars().take(12).collect()), 0..3)
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), (0_u32..99).prop_map(Value::from), text().prop_map(Value::from)];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn redactor_of(secrets: &[String]) -> Redactor {
    knowing(&secrets.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Outside the marks, which hide what they stand for.
fn shows(text: &str, secret: &str) -> bool {
    let secret = secret.trim();
    !secret.is_empty() && text.split(MARK).any(|part| part.contains(secret))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn redacting_twice_is_redacting_once(text in text(), secrets in secrets()) {
        let redactor = redactor_of(&secrets);
        let once = redactor.redact_str(&text).into_owned();
        prop_assert_eq!(redactor.redact_str(&once), once.as_str());
    }

    #[test]
    fn no_registered_secret_is_left(text in text(), secrets in secrets()) {
        let redacted = redactor_of(&secrets).redact_str(&text).into_owned();
        for secret in &secrets {
            prop_assert!(!shows(&redacted, secret), "{} shows {}", redacted, secret);
        }
    }

    #[test]
    fn redacting_a_value_twice_is_redacting_it_once(value in any_value(), secrets in secrets()) {
        let redactor = redactor_of(&secrets);
        let mut once = value;
        redactor.redact_value(&mut once);
        let mut twice = once.clone();
        redactor.redact_value(&mut twice);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn redacting_arguments_twice_is_redacting_them_once(
        args in prop::collection::vec(text(), 0..5),
        secrets in secrets(),
    ) {
        let redactor = redactor_of(&secrets);
        let once = redactor.redact_args(&args);
        prop_assert_eq!(redactor.redact_args(&once), once);
    }
}

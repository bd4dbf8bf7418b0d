//! A variable's name as the name of a file.

/// Percent-encodes what no file name can hold, or what would mean something else there: `/`, `%`, `@`, control
/// characters, and a dot that leads.
#[must_use]
pub fn file_name(name: &str) -> String {
    let mut encoded = String::new();
    for (place, c) in name.chars().enumerate() {
        let special = c.is_control() || matches!(c, '/' | '%' | '@') || (place == 0 && c == '.');
        match special {
            false => encoded.push(c),
            true => {
                let mut bytes = [0; 4];
                let spelled = c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}"));
                encoded.extend(spelled);
            }
        }
    }
    // A name of nothing has no other spelling.
    if encoded.is_empty() { "%".to_owned() } else { encoded }
}

#[test]
fn a_name_becomes_a_legal_file_name_and_none_becomes_another() {
    for (name, file) in [
        ("counter", "counter"),
        ("a.b", "a.b"),
        ("..", "%2E."),
        ("a/b", "a%2Fb"),
        ("100%", "100%25"),
        ("@1", "%401"),
        ("\n", "%0A"),
        ("größe", "größe"),
        ("", "%"),
    ] {
        assert_eq!(file_name(name), file);
    }
}

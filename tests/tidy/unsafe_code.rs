//! All unsafe code lies in `tracer/src/sys/`, and the compiler holds every other crate to that.

use crate::code;
use crate::modules;
use crate::tree::Tree;

const ALLOWED: &str = "tracer/src/sys/";

pub(crate) fn findings(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| !path.starts_with(ALLOWED)) {
        for (line, bare) in code::bare(text).lines().enumerate() {
            if code::tokens(bare).contains(&"unsafe") {
                findings.push(format!("{path}:{}: unsafe code outside {ALLOWED}", line + 1));
            }
        }
    }
    findings.extend(roots_that_forbid_nothing(tree));
    findings.extend(manifests_without_lints(tree));
    findings
}

fn roots_that_forbid_nothing(tree: &Tree) -> Vec<String> {
    // The tracer needs its exception, so the workspace's lint denies there what is forbidden elsewhere; a fuzz target's
    // entry point is exported by a macro that the lint counts as unsafe.
    let denied_only = ["tracer/", "fuzz/"];
    let roots = modules::crate_roots(tree);
    let strict = roots.iter().filter(|root| !denied_only.iter().any(|dir| root.starts_with(dir)));
    strict
        .filter(|root| !code::bare(tree.get(root).unwrap_or_default()).contains("#![forbid(unsafe_code)]"))
        .map(|root| format!("{root} lacks #![forbid(unsafe_code)]"))
        .collect()
}

fn manifests_without_lints(tree: &Tree) -> Vec<String> {
    let value = |text: &str, path: &[&str]| {
        let table = toml::Value::Table(text.parse().ok()?);
        path.iter().try_fold(table, |value, key| value.get(key).cloned())
    };
    let mut findings = Vec::new();
    for (path, text) in tree.ending("Cargo.toml").filter(|(path, _)| !path.starts_with("fuzz/")) {
        let workspace = value(text, &["workspace"]).is_some();
        let denies = value(text, &["workspace", "lints", "rust", "unsafe_code"]) == Some("deny".into());
        let inherits = value(text, &["lints", "workspace"]) == Some(true.into());
        match workspace {
            true if !denies => findings.push(format!("{path}: the workspace does not deny unsafe_code")),
            false if !inherits => findings.push(format!("{path} does not take the workspace's lints")),
            _ => {}
        }
    }
    findings
}

#[test]
fn unsafe_code_and_missing_lints_are_found() {
    let package = "[package]\nname = \"x\"\n[lints]\nworkspace = true";
    let tree = Tree::of(&[
        ("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"warn\""),
        ("store/Cargo.toml", package),
        ("store/src/lib.rs", "#![forbid(unsafe_code)]\n// unsafe\nfn f() { \"unsafe\"; unsafe {} }"),
        ("tracer/Cargo.toml", "[package]\nname = \"x\""),
        ("tracer/src/lib.rs", "mod sys;"),
        ("tracer/src/sys/raw.rs", "unsafe fn f() {}"),
        ("fs/Cargo.toml", package),
        ("fs/src/lib.rs", "// #![forbid(unsafe_code)]"),
    ]);
    assert_eq!(
        findings(&tree),
        [
            "store/src/lib.rs:3: unsafe code outside tracer/src/sys/",
            "fs/src/lib.rs lacks #![forbid(unsafe_code)]",
            "Cargo.toml: the workspace does not deny unsafe_code",
            "tracer/Cargo.toml does not take the workspace's lints",
        ]
    );
}

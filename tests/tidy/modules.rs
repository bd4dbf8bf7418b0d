//! A source file that no `mod` line and no manifest names is compiled by nobody, and its tests never run.

use std::collections::BTreeSet;

use crate::code;
use crate::tree::Tree;

pub(crate) fn forgotten(tree: &Tree) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let mut findings = Vec::new();
    for root in crate_roots(tree) {
        match tree.get(&root) {
            Some(_) => reach(tree, &root, folder(&root), &mut reached),
            None => findings.push(format!("{root} is named by a manifest and does not exist")),
        }
    }
    let lost = tree.ending(".rs").filter(|&(path, _)| !reached.contains(path));
    findings.extend(
        lost.map(|(path, _)| format!("{path} is in no crate: no `mod` line and no manifest names it")),
    );
    findings
}

/// The first file of each library, binary, test, bench and example.
pub(crate) fn crate_roots(tree: &Tree) -> BTreeSet<String> {
    tree.ending("Cargo.toml").flat_map(|(manifest, text)| roots_of_package(tree, manifest, text)).collect()
}

fn roots_of_package(tree: &Tree, manifest: &str, text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap_or_default();
    if !table.contains_key("package") {
        return Vec::new();
    }
    let dir = manifest.strip_suffix("Cargo.toml").expect("because the tree was asked for this ending");
    let mut targets: Vec<&toml::Value> = table.get("lib").into_iter().collect();
    for kind in ["bin", "test", "bench", "example"] {
        targets.extend(table.get(kind).and_then(toml::Value::as_array).into_iter().flatten());
    }
    let named = targets.iter().filter_map(|target| target.get("path")?.as_str());
    let named = named.map(|path| match path.strip_prefix("../") {
        Some(beside) => beside.to_owned(),
        None => format!("{dir}{path}"),
    });
    named.chain(found_by_cargo(tree, dir)).collect()
}

/// What cargo takes without being told.
fn found_by_cargo(tree: &Tree, dir: &str) -> impl Iterator<Item = String> {
    let single = ["src/lib.rs", "src/main.rs", "build.rs"];
    tree.ending(".rs").filter_map(move |(path, _)| {
        let inside = path.strip_prefix(dir)?;
        let in_folder = ["src/bin/", "tests/", "benches/", "examples/"]
            .iter()
            .filter_map(|folder| inside.strip_prefix(folder))
            .any(|file| !file.contains('/') || file.matches('/').count() == 1 && file.ends_with("/main.rs"));
        (single.contains(&inside) || in_folder).then(|| path.to_owned())
    })
}

/// Marks a file and all that its `mod` lines name; `inner` is where those files lie.
fn reach(tree: &Tree, path: &str, inner: &str, reached: &mut BTreeSet<String>) {
    let Some(text) = tree.get(path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let bare = code::bare(text);
    for window in code::tokens(&bare).windows(3) {
        let &["mod", name, ";"] = window else { continue };
        let own = format!("{inner}{name}/");
        reach(tree, &format!("{inner}{name}.rs"), &own, reached);
        reach(tree, &format!("{own}mod.rs"), &own, reached);
    }
}

fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

#[test]
fn a_file_without_a_mod_line_is_found() {
    let tree = Tree::of(&[
        ("store/Cargo.toml", "[package]\nname = \"tickfs-store\""),
        ("store/src/lib.rs", "mod a;\n#[cfg(test)]\nmod b;\n// mod lost;\nmod inline { }"),
        ("store/src/a.rs", "pub(crate) mod c;"),
        ("store/src/a/c.rs", ""),
        ("store/src/a/lost.rs", ""),
        ("store/src/b/mod.rs", "mod d;"),
        ("store/src/b/d.rs", ""),
        ("store/src/lost.rs", "\"mod a;\""),
        ("tools/Cargo.toml", "[package]\nname = \"tickfs\"\n[[test]]\npath = \"../tests/cli/main.rs\""),
        (
            "tests/Cargo.toml",
            "[package]\n[lib]\npath = \"harness/lib.rs\"\n[[test]]\npath = \"gone/main.rs\"",
        ),
        ("tests/harness/lib.rs", ""),
        ("tests/cli/main.rs", "mod init;"),
        ("tests/cli/init.rs", ""),
        ("tests/crash/main.rs", ""),
    ]);
    let findings = forgotten(&tree);
    let named: Vec<&str> = findings.iter().filter_map(|finding| finding.split(' ').next()).collect();
    let expected = ["tests/gone/main.rs", "store/src/a/lost.rs", "store/src/lost.rs", "tests/crash/main.rs"];
    assert_eq!(named, expected);
}

//! Which room may rest on which: `tools → fs, tracer → store`, `tests → all`, and `fs` and `tracer` never meet.

use crate::code;
use crate::tree::Tree;

struct Room {
    package: &'static str,
    rests_on: &'static [&'static str],
    /// What only its tests may use.
    tests_rest_on: &'static [&'static str],
}

const STORE: &str = "tickfs-store";
const FS: &str = "tickfs-fs";
const TRACER: &str = "tickfs-tracer";
const TOOLS: &str = "tickfs";
const TESTS: &str = "tickfs-tests";

const ROOMS: &[Room] = &[
    Room { package: STORE, rests_on: &[], tests_rest_on: &[] },
    Room { package: FS, rests_on: &[STORE], tests_rest_on: &[] },
    Room { package: TRACER, rests_on: &[STORE], tests_rest_on: &[] },
    // The tests of the command line are declared by tools, because cargo tells only them where the binary is.
    Room { package: TOOLS, rests_on: &[STORE, FS, TRACER], tests_rest_on: &[TESTS] },
    Room { package: TESTS, rests_on: &[STORE, FS, TRACER, TOOLS], tests_rest_on: &[] },
    Room { package: "tickfs-fuzz", rests_on: &[STORE, FS, TRACER], tests_rest_on: &[] },
];

pub(crate) fn findings(tree: &Tree) -> Vec<String> {
    tree.ending("Cargo.toml").flat_map(|(path, text)| findings_in_room(tree, path, text)).collect()
}

fn findings_in_room(tree: &Tree, manifest: &str, text: &str) -> Vec<String> {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return vec![format!("{manifest} is not TOML: {error}")],
    };
    let name = |table: &toml::Table| Some(table.get("package")?.get("name")?.as_str()?.to_owned());
    let Some(package) = name(&table) else { return Vec::new() };
    let Some(room) = ROOMS.iter().find(|room| room.package == package) else {
        return vec![format!("{manifest}: {package} is a room that the plan does not know")];
    };
    let dir = manifest.strip_suffix("Cargo.toml").expect("because the tree was asked for this ending");
    let mut findings = wrong_dependencies(room, manifest, &table);
    findings.extend(wrong_uses(room, dir, tree));
    findings
}

fn wrong_dependencies(room: &Room, manifest: &str, table: &toml::Table) -> Vec<String> {
    let mut sections = vec![table];
    let targets = table.get("target").and_then(toml::Value::as_table);
    sections.extend(targets.into_iter().flat_map(|t| t.values()).filter_map(toml::Value::as_table));
    let mut findings = Vec::new();
    for section in sections {
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(dependencies) = section.get(kind).and_then(toml::Value::as_table) else { continue };
            for (key, value) in dependencies {
                let on = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
                let ours = ROOMS.iter().any(|other| other.package == on);
                let in_tests = kind == "dev-dependencies" && room.tests_rest_on.contains(&on);
                if ours && !in_tests && !room.rests_on.contains(&on) {
                    findings.push(format!("{manifest}: {} must not rest on {on} ({kind})", room.package));
                }
            }
        }
    }
    findings
}

fn wrong_uses(room: &Room, dir: &str, tree: &Tree) -> Vec<String> {
    let may_use = |package: &str| {
        package == room.package || room.rests_on.contains(&package) || room.tests_rest_on.contains(&package)
    };
    let forbidden: Vec<String> = ROOMS
        .iter()
        .map(|other| other.package)
        .filter(|&package| package != TOOLS && !may_use(package))
        .map(|package| package.replace('-', "_"))
        .collect();
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| path.starts_with(dir)) {
        let bare = code::bare(text);
        for (line, words) in bare.lines().map(code::tokens).enumerate() {
            let wrong = forbidden.iter().filter(|name| words.contains(&name.as_str()));
            findings.extend(
                wrong.map(|name| format!("{path}:{}: {} must not use {name}", line + 1, room.package)),
            );
        }
    }
    findings
}

#[test]
fn an_arrow_against_the_plan_is_found() {
    let tree = Tree::of(&[
        ("Cargo.toml", "[workspace]\nmembers = []\n[workspace.dependencies]\ntickfs-fs = { path = \"fs\" }"),
        (
            "store/Cargo.toml",
            "[package]\nname = \"tickfs-store\"\n[dependencies]\ntickfs-fs.workspace = true",
        ),
        ("fs/Cargo.toml", "[package]\nname = \"tickfs-fs\"\n[dependencies]\ntickfs-store.workspace = true"),
        ("fs/src/lib.rs", "//! tickfs_tracer\nuse tickfs_store::ids;\nuse tickfs_tracer::files;"),
        (
            "tracer/Cargo.toml",
            "[package]\nname = \"tickfs-tracer\"\n[target.'cfg(unix)'.dev-dependencies]\n\
             x = { package = \"tickfs-tests\", path = \"../tests\" }",
        ),
        (
            "tools/Cargo.toml",
            "[package]\nname = \"tickfs\"\n[dev-dependencies]\ntickfs-tests.workspace = true",
        ),
        ("attic/Cargo.toml", "[package]\nname = \"attic\""),
    ]);
    assert_eq!(
        findings(&tree),
        [
            "attic/Cargo.toml: attic is a room that the plan does not know",
            "fs/src/lib.rs:3: tickfs-fs must not use tickfs_tracer",
            "store/Cargo.toml: tickfs-store must not rest on tickfs-fs (dependencies)",
            "tracer/Cargo.toml: tickfs-tracer must not rest on tickfs-tests (dev-dependencies)",
        ]
    );
}

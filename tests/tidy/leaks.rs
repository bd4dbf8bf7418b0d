//! No file names a path of the machine it was written on, or the host that packages came from.

use crate::tree::Tree;

const MACHINE_PATHS: &[&str] = &["/work/", "/farm/", "/root/"];
const REGISTRY_HOSTS: &[&str] = &["index.", "registry.", "files.", "deb."];
/// Written by tools, which name their sources there.
const GENERATED: &[&str] = &["Cargo.lock", "package-lock.json"];

pub(crate) fn findings(tree: &Tree) -> Vec<String> {
    let written = tree.iter().filter(|(path, _)| !GENERATED.iter().any(|name| path.ends_with(name)));
    let lines =
        written.flat_map(|(path, text)| text.lines().enumerate().map(move |(n, line)| (path, n + 1, line)));
    lines
        .filter(|(_, _, line)| names_machine_path(line) || names_registry_host(line))
        .map(|(path, number, line)| format!("{path}:{number}: {}", line.trim()))
        .collect()
}

/// At the start of a path, and with something below it.
fn names_machine_path(line: &str) -> bool {
    let continues_a_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    MACHINE_PATHS.iter().any(|path| {
        line.match_indices(path).any(|(at, _)| {
            let below = line[at + path.len()..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '.');
            below && !line[..at].ends_with(continues_a_path)
        })
    })
}

fn names_registry_host(line: &str) -> bool {
    line.split("://").skip(1).any(|host| REGISTRY_HOSTS.iter().any(|name| host.starts_with(name)))
}

#[test]
fn a_leak_is_found_and_a_likeness_is_not() {
    let [work, root] = ["/work", "/root"];
    let leak = format!("see {work}/main\n`{root}/.cargo`\nhttps:{}", "//index.crates.io");
    let likeness =
        format!("a{root}/b\n{work}/\nframework{work}/x\n{work}ing/x\nhttps:{}", "//docs.rs/index.html");
    let tree = Tree::of(&[("a.md", &leak), ("Cargo.lock", &leak), ("b.md", &likeness)]);
    let numbers: Vec<String> = findings(&tree).iter().map(|f| f[..6].to_owned()).collect();
    assert_eq!(numbers, ["a.md:1", "a.md:2", "a.md:3"]);
}

//! Every Python from 3.8 on.

use std::path::{Path, PathBuf};

use crate::bench::{Bench, TICKFS, of, shown};

/// Directories whose `python3` is each another version; the machine's own first.
pub(crate) fn pythons() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    for versions in [home.join(".pyenv/versions"), home.join(".local/share/uv/python")] {
        places.extend(
            std::fs::read_dir(versions).into_iter().flatten().map(|entry| entry.unwrap().path().join("bin")),
        );
    }
    let mut found = Vec::new();
    let mut versions = Vec::new();
    for place in places {
        let ask = [
            "-c",
            "import sys; print(sys.version_info >= (3, 8), sys.version_info[:2], sys.implementation.name)",
        ];
        let Ok(said) = std::process::Command::new(place.join("python3")).args(ask).output() else { continue };
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        if said.starts_with("True") && said.contains("cpython") && !versions.contains(&said) {
            versions.push(said);
            found.push(place);
        }
    }
    found
}

const SOURCE: &str = "\
import asyncio, threading
n = watch(0, name='n')
items = watch([], name='items')
class Thing:
    def __init__(self):
        self.x = watch(0, name='x')
def local():
    total = watch(0, name='total')
    for total in range(1, 4):
        pass
    if (last := watch(0, name='last')) == 0:
        last = total
    return last
async def work():
    global n
    n += 1
    await asyncio.sleep(0)
    n += 1
def main():
    global n
    for n in range(1, 100):
        items.append(n)
    thing = Thing()
    thing.x = 3
    asyncio.run(work())
    thread = threading.Thread(target=setattr, args=(thing, 'x', 4))
    thread.start()
    thread.join()
    print(local(), n, len(items), thing.x)
";

#[test]
fn watch_pythons_of_every_version_tell_the_same() {
    let pythons = pythons();
    for python in &pythons {
        let bench = Bench::python(SOURCE);
        let path = format!("{}:{}", python.display(), std::env::var("PATH").unwrap());
        let args = ["watch", "--user-script", "app.py", "--track-all", "--track-threads"];
        let shown = shown(bench.command(TICKFS).args(args).env("PATH", path));
        assert_eq!((shown.stdout.as_str(), shown.status), ("3 101 99 4\n", 0), "{python:?}: {shown:?}");
        let events = bench.events("watcher_output");
        for (name, count) in [("n", 101), ("items", 99), ("x", 2), ("total", 3), ("last", 1)] {
            assert_eq!(of(&events, name).len(), count, "{name} in {python:?}");
        }
    }
    if pythons.len() == 1 {
        println!("skipped: this machine has one version of Python");
    }
}

#[test]
fn watch_pythons_from_3_8_on_can_parse_the_shim() {
    let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer/src/shims/python");
    let source = "import ast, glob, sys\nfound = glob.glob(sys.argv[1] + '/**/*.py', recursive=True)\nfor path in found:\n    ast.parse(open(path).read(), path, feature_version=(3, 8))\nprint(len(found) > 5)\n";
    let shown = shown(Bench::new().command("python3").args(["-c", source]).arg(&shim));
    assert_eq!(shown.stdout, "True\n", "{shown:?}");
}

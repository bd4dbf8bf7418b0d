//! Real packages under the tracer, with a hook behind every name that they assign: their own tests say the same.

use std::path::{Path, PathBuf};

use crate::bench::{Bench, shown};

/// Below `target/packages/`, where `scripts/packages` has put it; `None`, and said, where it has not.
pub(crate) fn package(below: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/packages").join(below);
    let found = path.canonicalize().ok();
    if found.is_none() {
        println!("skipped: {below} is not installed, scripts/packages installs it");
    }
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Prints what became of each test, in the order in which they ran.
const PYTEST: &str = "\
import sys, pytest
class Told:
    def pytest_runtest_logreport(self, report):
        if report.when == 'call' or report.outcome != 'passed':
            print(report.nodeid, report.outcome)
def main():
    sys.exit(pytest.main(['-p', 'no:cacheprovider', '-p', 'no:terminal', 'toolz'], plugins=[Told()]))
if __name__ == '__main__':
    main()
";
/// Declares every name that the files assign; of `self` there are too many.
const DECLARE: &str = "\
import ast, glob
for path in sorted(glob.glob('toolz/**/*.py', recursive=True)):
    names = set()
    for node in ast.walk(ast.parse(open(path).read())):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store): names.add(node.id)
        if isinstance(node, ast.arg): names.add(node.arg)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): names.add(node.name)
    if names - {'self'}: print(f\"{path}:({','.join(sorted(names - {'self'}))})\")
";

/// Shows WA-07.
#[test]
fn watch_a_package_of_python_passes_its_own_tests_with_every_name_traced() {
    let Some(packages) = package("python/toolz/tests").and(package("python")) else { return };
    let bench = Bench::python(PYTEST);
    copy(&packages.join("toolz"), &bench.path("app/toolz"));
    let declared = shown(bench.command("python3").args(["-c", DECLARE]));
    bench.write("scope", &declared.stdout);
    let plain = shown(bench.command("python3").arg("app.py").env("PYTHONPATH", &packages));
    assert!(plain.stdout.lines().count() > 150 && plain.status == 0, "{plain:?}");
    let args =
        ["watch", "--user-script", "app.py", "--track-all", "--files-scope", "scope", "--log-level", "error"];
    let traced = shown(bench.command(crate::bench::TICKFS).args(args).env("PYTHONPATH", &packages));
    assert_eq!(traced, plain);
    let events = bench.events("watcher_output");
    assert!(events.len() > 1000, "{} events", events.len());
}

/// minimist's tests, one after the other.
const TAPE: &str = "\
const fs = require('fs');
const main = () => fs.readdirSync('minimist/test').sort().forEach((name) => require('./minimist/test/' + name));
exports.main = main;
if (process.env.PLAIN) main();
";

#[test]
fn watch_a_package_of_node_passes_its_own_tests_with_every_name_traced() {
    let Some(packages) = package("node/node_modules/minimist").and(package("node/node_modules")) else {
        return;
    };
    let bench = Bench::new();
    bench.write("app.js", TAPE);
    copy(&packages.join("minimist"), &bench.path("app/minimist"));
    std::os::unix::fs::symlink(&packages, bench.path("app/node_modules")).unwrap();
    let names = "args,argv,key,keys,val,value,last,o,i,m,n,next,letters,broken,flags,defaults,aliases,opts,allBools,obj,a,b,t";
    bench.write("scope", &format!("minimist/index.js:({names})\nminimist/test/bool.js:({names})\n"));
    let plain = shown(bench.command("node").arg("app.js").env("PLAIN", "1"));
    assert!(plain.stdout.lines().count() > 100 && plain.status == 0, "{plain:?}");
    let args = ["--user-script", "app.js", "--track-all", "--files-scope", "scope", "--log-level", "error"];
    assert_eq!(bench.watch(&args), plain);
    let events = bench.events("watcher_output");
    assert!(events.len() > 300, "{} events", events.len());
}

#[test]
fn watch_test_modules_of_pytest_have_hooks_and_their_assertions_explain_themselves() {
    let Some(packages) = package("python/pytest").and(package("python")) else { return };
    let bench = Bench::python(
        "import sys, faulthandler, pytest\ndef main():\n    code = pytest.main(['-q', '-p', 'no:cacheprovider', 'test_it.py'])\n    sys.exit(code)\n",
    );
    bench.write(
        "test_it.py",
        "x = watch(0, name='x')\ndef test_one():\n    global x\n    x = 5\n    y = watch([], name='y')\n    y.append(x)\n    assert y == [5]\ndef test_two():\n    assert x == 6\n",
    );
    let mut command = bench.command(crate::bench::TICKFS);
    command.args(["watch", "--user-script", "app.py", "--track-locals"]).env("PYTHONPATH", &packages);
    let shown = shown(command.env_remove("PYTHONDONTWRITEBYTECODE"));
    assert!(shown.status == 1 && shown.stdout.contains("E       assert 5 == 6"), "{shown:?}");
    let events = bench.events("watcher_output");
    let seen: Vec<(&str, u64)> =
        events.iter().map(|e| (e["function"].as_str().unwrap(), e["line"].as_u64().unwrap())).collect();
    assert_eq!(seen, [("test_one", 4), ("test_one", 6)]);
    let kept = std::fs::read_dir(bench.path("app/__pycache__")).map_or(0, Iterator::count);
    assert_eq!(kept, 0, "an untraced run would find what was made with hooks");
}

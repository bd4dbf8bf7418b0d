//! A traced program does what it does untraced.

use crate::bench::{Bench, TICKFS, of, shown};

/// The same output, status and files; and what it is made of is its own.
#[test]
fn watch_a_traced_program_shows_what_it_shows_untraced() {
    for source in [
        "import sys, os, __main__\nprint(__name__, __file__, sys.argv, sys.path[0] == os.getcwd(), __main__.__file__)\n",
        "'''doc'''\nfrom __future__ import annotations\nprint(__doc__, __spec__, sorted(globals()))\n",
        // What the tracer holds open lies far above the numbers that a program gets.
        "import os\nprint(sorted(fd for fd in os.listdir('/proc/self/fd') if int(fd) < 700), os.open('.', 0), os.environ.get('LD_PRELOAD'))\n",
        "def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nprint(f(20))\n",
        "import dataclasses, pickle\n@dataclasses.dataclass\nclass P:\n    x: int = 0\nprint(pickle.loads(pickle.dumps(P(3))))\n",
        "open('made', 'w').write('text')\nimport atexit\natexit.register(print, 'bye')\nraise SystemExit(3)\n",
        "import multiprocessing\ndef work(n):\n    return n * n\nif __name__ == '__main__':\n    with multiprocessing.get_context('fork').Pool(2) as pool:\n        print(pool.map(work, range(5)))\n",
        "import sys\nsys.stderr.write('to stderr\\n')\n1 / 0\n",
        "import threading\nt = threading.Thread(target=lambda: print('thread'))\nt.start()\n",
        "print(input())\n",
        "import faulthandler; faulthandler.enable(); print('ok')\n",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(1, 1)\nT().debug(); print('tested')\n",
    ] {
        let bench = Bench::python(source);
        let plain = shown(bench.command("python3").arg("app.py"));
        let files = |bench: &Bench| {
            let entries = std::fs::read_dir(bench.path("app")).unwrap().map(|e| e.unwrap().file_name());
            let mut names: Vec<_> = entries.filter(|name| name != "watcher_output").collect();
            names.sort();
            names
        };
        let made = files(&bench);
        let traced = bench.watch(&["--user-script", "app.py", "--log-level", "error"]);
        assert_eq!(traced, plain, "{source}");
        assert_eq!(files(&bench), made, "{source}");
    }
}

/// The standard library's own tests of what a program uses most, under the tracer.
#[test]
fn watch_a_test_suite_passes_as_it_does_untraced() {
    let bench = Bench::python(
        "import unittest, sys\nfrom test import test_bisect, test_heapq, test_textwrap\nsuite = unittest.TestSuite()\nfor m in (test_bisect, test_heapq, test_textwrap):\n    suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(m))\ndone = watch([], name='done')\nclass R(unittest.TestResult):\n    def stopTest(self, test):\n        super().stopTest(test)\n        done.append(test.id())\nr = R()\nsuite.run(r)\nprint(r.testsRun, len(r.failures), len(r.errors))\n",
    );
    if shown(bench.command("python3").args(["-c", "import test.test_bisect"])).status != 0 {
        println!("skipped: this Python comes without its tests");
        return;
    }
    bench.write(
        "plain.py",
        &("watch = lambda value, name: value\n".to_owned()
            + &std::fs::read_to_string(bench.path("app/app.py")).unwrap()),
    );
    let plain = shown(bench.command("python3").arg("plain.py"));
    let traced = bench.watch(&["--user-script", "app.py", "--log-level", "error"]);
    assert_eq!(traced, plain);
    let count: usize = traced.stdout.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(bench.events("watcher_output").len(), count);
}

/// What the tracer holds open is as high as it may be, and nothing that the program closes ends it.
#[test]
fn watch_a_program_that_may_open_few_files_or_closes_all_is_traced() {
    let python = "import os\nn = watch(0, name='n')\nb = watch(bytearray(8), name='b')\nos.closerange(3, 1024)\nfor i in range(5):\n    n = n + 1\nmemoryview(b)[2] = 7\n";
    let node = "let n = watch(0, { name: 'n' });\nconst b = watch(Buffer.alloc(8), { name: 'b' });\nexports.main = () => {\n  for (let i = 0; i < 5; i++) n = n + 1;\n  b.fill(7, 2, 3);\n};\n";
    for (script, source, limit) in
        [("app.py", python, 1024), ("app.py", python, 32), ("app.js", node, 1024), ("app.js", node, 64)]
    {
        let bench = Bench::new();
        bench.write(script, source);
        let within = format!("ulimit -n {limit}; exec {TICKFS} watch --user-script {script}");
        let shown = shown(bench.command("sh").args(["-c", &within]));
        assert_eq!((shown.status, shown.stdout.as_str()), (0, ""), "{shown:?}");
        assert!(
            shown.stderr.contains("raw=uffd-sigbus") || shown.stderr.contains("raw=mprotect"),
            "{shown:?}"
        );
        let events = bench.events("watcher_output");
        assert_eq!([of(&events, "n").len(), of(&events, "b").len()], [5, 1], "{shown:?}");
    }
}

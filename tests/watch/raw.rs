//! Writes to watched memory that no hook sees: by C, by vector instructions, by the kernel, by threads that nobody knows.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bench::{Bench, Shown, TICKFS, applied, is_installed, of, shown};

/// Says why a test cannot run here.
pub(crate) fn has_raw_writes() -> bool {
    let here = cfg!(target_arch = "x86_64");
    if !here {
        println!("skipped: raw writes are seen on x86-64 alone");
    }
    here
}

/// The library of `raw/stores.c`, in the program's directory.
pub(crate) fn stores(bench: &Bench) -> Option<PathBuf> {
    built(bench, "stores.c", "stores.so", &["-shared", "-fPIC", "-pthread"])
}

fn built(bench: &Bench, source: &str, name: &str, args: &[&str]) -> Option<PathBuf> {
    if !is_installed("gcc") {
        println!("skipped: there is no gcc");
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/watch/raw").join(source);
    let made = bench.path("app").join(name);
    let built = shown(Command::new("gcc").arg("-O1").args(args).arg(source).arg("-o").arg(&made));
    assert_eq!(built.status, 0, "{built:?}");
    Some(made)
}

/// `raw` and `kernel`, as the run said at its start.
pub(crate) fn how(shown: &Shown) -> &str {
    let line = shown.stderr.lines().find_map(|line| line.split_once("changes are seen by "));
    line.unwrap_or_else(|| panic!("{shown:?}")).1
}

/// Where each event says it happened, and how many bytes it changed.
fn places(events: &[&Value]) -> Vec<(String, u64, usize)> {
    let place = |event: &&Value| {
        let changed = event["deltas"].as_array().unwrap().len();
        (event["function"].as_str().unwrap().to_owned(), event["line"].as_u64().unwrap(), changed)
    };
    events.iter().map(place).collect()
}

fn place(function: &str, line: u64, changed: usize) -> (String, u64, usize) {
    (function.to_owned(), line, changed)
}

/// The script as a program of its own prints the same: `watch` there gives back what it gets.
fn assert_same(bench: &Bench, python: &str) -> Shown {
    let script = std::fs::read_to_string(bench.path("app/app.py")).unwrap();
    bench.write("plain.py", &format!("watch = lambda value, **named: value\n{script}"));
    let plain = shown(bench.command(python).arg("plain.py"));
    let traced = bench.watch(&["--user-script", "app.py"]);
    assert_eq!((&traced.stdout, traced.status), (&plain.stdout, plain.status), "{traced:?} {plain:?}");
    traced
}

/// Shows WA-42, WA-143, WA-146.
#[test]
fn watch_raw_writes_through_views_of_a_buffer_are_events_of_their_statement() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import array, ctypes
data = watch(bytearray(16), name='data')
view = memoryview(data)
view[1] = 9
def inner():
    (ctypes.c_ubyte * 16).from_buffer(data)[2] = 5
inner()
for place in range(4, 7):
    view[place] = 1
view[8:12] = b'abcd'
numbers = watch(array.array('i', [1, 2, 3]), name='numbers')
memoryview(numbers)[1] = -1
del view
data.append(3)
memoryview(data)[16] = 4
print(bytes(data), numbers)
";
    let bench = Bench::python(source);
    let shown = assert_same(&bench, "python3");
    assert!(how(&shown).starts_with("hooks / raw=") && !how(&shown).contains("raw=off"), "{shown:?}");
    let events = bench.events("watcher_output");
    let module = |line, changed| place("<module>", line, changed);
    let expected = [(4, 1), (6, 1), (9, 1), (9, 1), (9, 1), (10, 4), (14, 1), (15, 1)].map(
        |(line, changed)| match line {
            6 => place("inner", 6, 1),
            line => module(line, changed),
        },
    );
    assert_eq!(places(&of(&events, "data")), expected);
    assert_eq!(places(&of(&events, "numbers")), [module(12, 4)]);
}

/// Every width, every addressing mode, the vector instructions that this processor has: the same bytes, the same registers.
#[test]
fn watch_raw_each_instruction_that_writes_does_what_it_does_untraced() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import ctypes, hashlib
library = ctypes.CDLL('./stores.so')
library.stores.restype = ctypes.c_uint64
data = watch(bytearray(16448), name='data')
address = ctypes.addressof(ctypes.c_char.from_buffer(data))
start = -address % 64
print(library.stores(ctypes.c_void_p(address + start)))
print(hashlib.sha256(data[start:start + 16384]).hexdigest())
open('after', 'wb').write(data)
";
    let bench = Bench::python(source);
    if stores(&bench).is_none() {
        return;
    }
    let traced = assert_same(&bench, "python3");
    let mut runs = vec![traced];
    assert_all_told(&bench);
    if let Some(python) = restricted(&bench) {
        std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
        runs.push(traced_with(&bench, &python, &[("REFUSE", USERFAULTFD)]));
        assert_all_told(&bench);
    }
    for run in &runs {
        assert!(!run.stderr.contains("not known"), "each of them is known: {run:?}");
        assert_eq!(run.stdout, runs[0].stdout);
    }
}

fn assert_all_told(bench: &Bench) {
    let events = bench.events("watcher_output");
    let told = events.iter().fold(vec![0; 16448], |bytes, event| applied(&bytes, event));
    assert!(told == std::fs::read(bench.path("app/after")).unwrap(), "events tell what is there");
    assert_eq!(places(&of(&events, "data")).len(), 1, "it was one statement");
}

#[test]
fn watch_raw_an_instruction_that_is_not_known_happens_and_is_said() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import ctypes
library = ctypes.CDLL('./stores.so')
data = watch(bytearray(8), name='data')
library.unknown((ctypes.c_char * 8).from_buffer(data))
data[0] = 7
print(bytes(data))
";
    let bench = Bench::python(source);
    if stores(&bench).is_none() {
        return;
    }
    let shown = assert_same(&bench, "python3");
    assert!(shown.stderr.contains("data: the instruction at 0x"), "{shown:?}");
    let events = bench.events("watcher_output");
    let told = events.iter().fold(vec![0; 8], |bytes, event| applied(&bytes, event));
    assert_eq!(told, [7, 2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn watch_raw_three_thousand_random_writes_leave_what_they_leave_untraced() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import hashlib, random
dice = random.Random(5)
data = watch(bytearray(5000), name='data')
view = memoryview(data)
other = bytearray(dice.randbytes(5000))
for turn in range(3000):
    start, size, step = dice.randrange(5000), dice.randrange(200), dice.choice([1, 1, 2, 3, 7])
    target = view[start:start + size:step]
    source = view if dice.random() < .3 else other
    begin = dice.randrange(5000 - len(target) + 1)
    target[:] = source[begin:begin + len(target)]
print(hashlib.sha256(data).hexdigest())
open('after', 'wb').write(data)
";
    let bench = Bench::python(source);
    assert_same(&bench, "python3");
    let events = bench.events("watcher_output");
    assert!(events.len() > 2000 && events.len() <= 3000, "{}", events.len());
    let told = events.iter().fold(vec![0; 5000], |bytes, event| applied(&bytes, event));
    assert!(told == std::fs::read(bench.path("app/after")).unwrap(), "events tell what is there");
}

/// Two threads of C count to 5,000 each, with no lock at all.
#[test]
fn watch_raw_no_write_of_two_threads_is_missed() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import ctypes
library = ctypes.CDLL('./stores.so')
data = watch(bytearray(128), name='data', track_threads=True)
library.two_threads((ctypes.c_char * 128).from_buffer(data), 5000)
";
    let bench = Bench::python(source);
    if stores(&bench).is_none() {
        return;
    }
    let events = bench.traced(&[]);
    assert_eq!(events.len(), 10_000);
    let mut threads: Vec<u64> = events.iter().map(|event| event["thread_id"].as_u64().unwrap()).collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 2);
    let mut bytes = vec![0; 128];
    let mut counts = [0_u32; 2];
    for event in &events {
        bytes = applied(&bytes, event);
        let now = [0, 64].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
        assert_eq!(now[0] + now[1], counts[0] + counts[1] + 1, "one step of one of the two");
        counts = now;
    }
    assert_eq!(counts, [5000, 5000]);
}

/// What the kernel writes into watched memory arrives there, and is one event a call.
#[test]
fn watch_raw_what_the_kernel_writes_arrives_and_is_an_event() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import os, socket
data = watch(bytearray(64), name='data')
view = memoryview(data)
open('file', 'wb').write(bytes(range(1, 33)))
with open('file', 'rb', buffering=0) as file:
    print(file.readinto(view[0:8]))
with open('file', 'rb') as file:
    print(file.readinto(view[8:16]))
fd = os.open('file', os.O_RDONLY)
print(os.readv(fd, [view[16:18], bytearray(2), view[18:24]]))
print(os.preadv(fd, [view[24:32]], 5))
here, there = socket.socketpair()
here.send(b'12345678'); print(there.recv_into(view[32:40]))
here.send(b'abcdefgh'); print(there.recvfrom_into(view[40:48]))
here.send(b'ABCDEFGH'); print(there.recvmsg_into([view[48:50], view[50:56]]))
try:
    os.readv(fd, [view[56:64]]) and os.read(999, 1)
except OSError as error:
    print(error)
print(bytes(data))
";
    let bench = Bench::python(source);
    let shown = assert_same(&bench, "python3");
    assert!(how(&shown).contains("kernel=preload"), "{shown:?}");
    let events = bench.events("watcher_output");
    let expected = [6, 8, 10, 11, 13, 14, 15, 17].map(|line| place("<module>", line, 8));
    assert_eq!(places(&of(&events, "data")), expected);
}

#[test]
fn watch_raw_a_forked_child_has_memory_of_its_own_and_tells_nothing() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import os
data = watch(bytearray(4), name='data')
view = memoryview(data)
view[3] = 1
def forked(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
def child():
    view[0] = 9
    data[1] = 8
    forked(grandchild)
    print('child', bytes(data), flush=True)
def grandchild():
    view[2] = 7
    print('grandchild', bytes(data), flush=True)
forked(child)
view[3] = 2
print('parent', bytes(data))
";
    let bench = Bench::python(source);
    let shown = assert_same(&bench, "python3");
    assert!(shown.stdout.ends_with("parent b'\\x00\\x00\\x00\\x02'\n"), "{shown:?}");
    let lines: Vec<u64> =
        bench.events("watcher_output").iter().map(|event| event["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [4, 20]);
}

/// pytest does it by default: it takes the very signals that tell of writes.
#[test]
fn watch_raw_the_signals_stay_the_programs_own() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import ctypes, faulthandler, signal, sys
data = watch(bytearray(4), name='data')
view = memoryview(data)
faulthandler.enable(file=sys.stderr)
view[0] = 1
print(signal.signal(signal.SIGBUS, signal.SIG_DFL), signal.signal(signal.SIGBUS, lambda *_: print('heard')))
view[0] = 2
signal.raise_signal(signal.SIGBUS)
faulthandler.enable()
view[0] = 3
print(faulthandler.is_enabled(), faulthandler.disable(), signal.getsignal(signal.SIGBUS).__name__)
view[0] = 4
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
view[0] = 5
ctypes.CDLL('./stores.so').blocked((ctypes.c_char * 4).from_buffer(data))
print(bytes(data))
";
    let bench = Bench::python(source);
    if stores(&bench).is_none() {
        return;
    }
    let traced = assert_same(&bench, "python3");
    assert_eq!(bench.events("watcher_output").len(), 6);
    // Where the signal is the other one, it is handled on the stack that faulthandler has made for it.
    let Some(python) = restricted(&bench) else { return };
    let other = traced_with(&bench, &python, &[("REFUSE", USERFAULTFD)]);
    assert!(how(&other).contains("raw=mprotect"), "{other:?}");
    assert_eq!((&other.stdout, other.status), (&traced.stdout, 0), "{other:?}");
    assert_eq!(bench.events("watcher_output").len(), 12);
}

/// A full stack is told of by the same signal as a write, where pages are protected by `mprotect`.
#[test]
fn watch_raw_a_full_stack_ends_the_program_as_it_does_untraced() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import ctypes, faulthandler
faulthandler.enable()
data = watch(bytearray(4), name='data')
memoryview(data)[0] = 1
print('now', flush=True)
ctypes.CDLL('./stores.so').overflow(0)
";
    let bench = Bench::python(source);
    if stores(&bench).is_none() {
        return;
    }
    let Some(python) = restricted(&bench) else { return };
    for refused in ["", USERFAULTFD] {
        let traced = traced_with(&bench, &python, &[("REFUSE", refused)]);
        assert_eq!((traced.stdout.as_str(), traced.status), ("now\n", 128 + 11), "{traced:?}");
        assert!(traced.stderr.contains("Fatal Python error: Segmentation fault"), "{traced:?}");
    }
}

/// So many that there is no room for all of them.
#[test]
fn watch_raw_memory_that_is_full_is_said_and_the_rest_is_followed_by_hooks() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
kept = [watch(bytearray(16 * 1024 * 1024 - 1), name='large') for _ in range(9)]
for data in kept:
    data[0] = 1
print([data[0] for data in kept])
";
    let bench = Bench::python(source);
    let shown = assert_same(&bench, "python3");
    assert_eq!(shown.stderr.matches("there is no room for more watched memory").count(), 1, "{shown:?}");
    assert_eq!(bench.events("watcher_output").len(), 9);
}

/// A fault of the program's own ends it as it would.
#[test]
fn watch_raw_a_fault_of_the_programs_own_is_still_its_own() {
    if !has_raw_writes() {
        return;
    }
    let truncated = "import mmap\nfile = open('file', 'wb+')\nfile.truncate(4096)\nmemory = mmap.mmap(file.fileno(), 4096)\nfile.truncate(0)\nmemory[0]\n";
    let wild = "import ctypes\nctypes.memset(8, 0, 1)\n";
    let sent = "import os, signal\nos.kill(os.getpid(), signal.SIGBUS)\n";
    let said = "import faulthandler\nfaulthandler.enable()\n";
    for (death, handler) in [(truncated, ""), (wild, ""), (sent, ""), (truncated, said), (wild, said)] {
        let source = format!(
            "data = watch(bytearray(4), name='data')\nmemoryview(data)[0] = 1\n{handler}print('now', flush=True)\n{death}"
        );
        let bench = Bench::python(&source);
        let script = std::fs::read_to_string(bench.path("app/app.py")).unwrap();
        bench.write("plain.py", &format!("watch = lambda value, **named: value\n{script}"));
        // A shell says which signal it was.
        let plain = shown(bench.command("sh").args(["-c", "python3 plain.py; exit $?"]));
        let mut runs = vec![bench.watch(&["--user-script", "app.py"])];
        if let Some(python) = restricted(&bench) {
            runs.push(traced_with(&bench, &python, &[("REFUSE", USERFAULTFD)]));
        }
        for traced in &runs {
            assert_eq!((&traced.stdout, traced.status), (&plain.stdout, plain.status), "{death} {traced:?}");
            assert_eq!(traced.stderr.contains("Fatal Python error"), !handler.is_empty(), "{traced:?}");
        }
        assert_eq!(bench.events("watcher_output").len(), runs.len());
    }
}

/// A `python3` in PATH that refuses some system calls to the program, and may make it nobody's.
pub(crate) fn restricted(bench: &Bench) -> Option<PathBuf> {
    std::fs::create_dir(bench.path("app/bin")).unwrap();
    built(bench, "restricted.c", "bin/python3", &[])
}

/// Runs the script under that `python3`, which is the real one with these restrictions.
fn traced_with(bench: &Bench, directory: &Path, restrictions: &[(&str, &str)]) -> Shown {
    mode_with(bench, directory, "signal", restrictions)
}

/// The same in another mode.
pub(crate) fn mode_with(bench: &Bench, directory: &Path, mode: &str, restrictions: &[(&str, &str)]) -> Shown {
    let real = shown(bench.command("python3").args(["-c", "import sys; print(sys.executable)"]));
    let path = format!("{}:{}", directory.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = bench.command(TICKFS);
    command.args(["watch", "--user-script", "app.py", "--fault-mode", mode]);
    command.env("PATH", path).env("REAL", real.stdout.trim());
    command.envs(restrictions.iter().copied());
    shown(&mut command)
}

pub(crate) const USERFAULTFD: &str = "323";
pub(crate) const SMALL: &str =
    "data = watch(bytearray(4), name='data')\nmemoryview(data)[0] = 1\ndata[1] = 2\nprint(data)\n";

/// Shows WA-27.
#[test]
fn watch_raw_where_userfaultfd_is_refused_pages_are_protected_and_where_nothing_works_it_says_so() {
    if !has_raw_writes() {
        return;
    }
    const MEMFD: &str = "319";
    let bench = Bench::python(SMALL);
    let Some(python) = restricted(&bench) else { return };
    for (refused, raw, lines) in [
        ("", "hooks / raw=uffd-sigbus / kernel=preload / mode=signal", vec![2, 3]),
        (USERFAULTFD, "hooks / raw=mprotect / kernel=preload / mode=signal", vec![2, 3]),
        (MEMFD, "hooks / raw=off / kernel=none / mode=hooks (this system lets", vec![3]),
    ] {
        let shown = traced_with(&bench, &python, &[("REFUSE", refused)]);
        assert_eq!(
            (shown.stdout.as_str(), shown.status),
            ("bytearray(b'\\x01\\x02\\x00\\x00')\n", 0),
            "{shown:?}"
        );
        if refused.is_empty() && how(&shown).contains("raw=mprotect") {
            println!("skipped: this system has no userfaultfd");
        } else {
            assert!(how(&shown).starts_with(raw), "{shown:?}");
        }
        let events = bench.events("watcher_output");
        let told: Vec<u64> = events.iter().map(|event| event["line"].as_u64().unwrap()).collect();
        assert_eq!(told, lines, "{refused} {shown:?}");
        std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    }
}

#[test]
fn watch_raw_mode_of_hooks_protects_and_preloads_nothing() {
    let source = format!(
        "import os\n{SMALL}maps = open('/proc/self/maps').read()\nprint('tickfs-watched' in maps, 'tickfs-preload' in maps, os.environ.get('LD_PRELOAD'))\n"
    );
    let bench = Bench::python(&source);
    let shown = bench.watch(&["--user-script", "app.py", "--fault-mode", "hooks"]);
    assert!(shown.stdout.ends_with("False False None\n"), "{shown:?}");
    assert_eq!(how(&shown), "hooks / raw=off / kernel=none / mode=hooks (as asked for)");
    let events = bench.events("watcher_output");
    assert_eq!(events.len(), 1, "the hook has seen both bytes");
}

/// The tracer needs no right that the program has not.
#[test]
fn watch_raw_a_program_of_nobody_is_watched_the_same() {
    use std::os::unix::fs::PermissionsExt;
    if !has_raw_writes() {
        return;
    }
    let bench = Bench::python(SMALL);
    let Some(python) = restricted(&bench) else { return };
    std::fs::set_permissions(bench.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let open = "/usr/bin/python3";
    if !Path::new(open).exists() || shown(bench.command("id").arg("-u")).stdout.trim() != "0" {
        println!("skipped: only root becomes nobody, and needs a Python that nobody may run");
        return;
    }
    let shown = traced_with(&bench, &python, &[("NOBODY", "65534"), ("REAL", open)]);
    assert_eq!(
        (shown.stdout.as_str(), shown.status),
        ("bytearray(b'\\x01\\x02\\x00\\x00')\n", 0),
        "{shown:?}"
    );
    assert!(!how(&shown).contains("raw=off"), "{shown:?}");
    assert_eq!(bench.events("watcher_output").len(), 2);
}

/// PATH with a Python that has numpy; `scripts/test` makes one beside the tests.
pub(crate) fn with_numpy() -> Option<String> {
    let bin = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("numpy/bin");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let python = bin.join("python3");
    let ask = || shown(Command::new(&python).args(["-c", "import numpy"]).env("PATH", &path)).status;
    if python.exists() && ask() == 0 {
        return Some(path);
    }
    println!("skipped: there is no numpy in {}", bin.display());
    None
}

/// Runs `app.py` with and without the tracer, and with the same output.
fn same_with(bench: &Bench, path: &str) -> Vec<Value> {
    let script = std::fs::read_to_string(bench.path("app/app.py")).unwrap();
    bench.write("plain.py", &format!("watch = lambda value, **named: value\n{script}"));
    let plain = shown(bench.command("python3").arg("plain.py").env("PATH", path));
    let mut command = bench.command(TICKFS);
    let traced = shown(command.args(["watch", "--user-script", "app.py"]).env("PATH", path));
    assert_eq!((&traced.stdout, traced.status), (&plain.stdout, plain.status), "{traced:?} {plain:?}");
    bench.events("watcher_output")
}

#[test]
fn watch_raw_arrays_of_numpy_tell_of_each_statement_once() {
    let Some(path) = with_numpy().filter(|_| has_raw_writes()) else { return };
    let source = "\
import numpy as np
a = watch(np.zeros(512, dtype='i8'), name='a')
print(type(a) is type(np.zeros(1)) or isinstance(a, np.ndarray), a.dtype, a.shape)
a += 1
a[3] = 9
view = np.asarray(a)
view += 1
view[5:7] = 4
np.multiply(a, 3, out=view)
for place in range(3):
    view[place] = place
view[::2] = 8
a[1:] = a[:-1]
a.sort()
a = a * 2
np.asarray(a)[0] = -1
print(int(a.sum()), a[:4])
";
    let bench = Bench::python(source);
    let events = same_with(&bench, &path);
    let told: Vec<u64> = events.iter().map(|event| event["line"].as_u64().unwrap()).collect();
    assert_eq!(told, [4, 5, 7, 8, 9, 11, 11, 11, 12, 13, 14, 15, 16]);
    let told = events.iter().fold(vec![0; 4096], |bytes, event| applied(&bytes, event));
    assert_eq!(told[..8], [0xFF; 8]);
}

/// Each kind of element, written in each way that numpy has.
#[test]
fn watch_raw_what_numpy_computes_is_what_it_computes_untraced() {
    let Some(path) = with_numpy().filter(|_| has_raw_writes()) else { return };
    let source = include_str!("raw/arrays.py");
    let bench = Bench::python(source);
    let events = same_with(&bench, &path);
    let after = std::fs::read(bench.path("app/after")).unwrap();
    let mut rest = &after[..];
    for kind in 0.. {
        let told = of(&events, &format!("a{kind}"));
        if told.is_empty() {
            assert!(kind > 10 && rest.is_empty(), "{kind}");
            break;
        }
        let (size, behind) = rest.split_first_chunk::<8>().unwrap();
        let (bytes, behind) = behind.split_at(usize::from_le_bytes(*size));
        let all = told.iter().fold(vec![0; bytes.len()], |before, event| applied(&before, event));
        assert!(all == bytes, "events tell what is in the array of kind {kind}");
        rest = behind;
    }
}

/// Shows WA-108.
#[test]
fn watch_raw_typed_arrays_are_seen_where_no_hook_is() {
    if !has_raw_writes() {
        return;
    }
    let bench = Bench::new();
    bench.write(
        "node_modules/raw/index.js",
        "exports.write = (array, at, value) => { array[at] = value; };\nexports.count = (array, to) => { for (let n = 1; n <= to; n++) array[0] = n; };\n",
    );
    let source = "\
const fs = require('fs');
const raw = require('raw');
const ints = watch(new Int32Array(8), { name: 'ints' });
const floats = watch(new Float64Array([1, 2, 3]), { name: 'floats' });
const bytes = watch(Buffer.alloc(16), { name: 'bytes' });
const counter = watch(new Uint32Array(1), { name: 'counter' });
const given = watch(new Uint8Array(4), { name: 'given' });
let total = watch(0, { name: 'total' }), sums = watch(new Int8Array(3), { name: 'sums' });
exports.main = () => {
  ints[0] = 5;
  ints[1] += 7;
  ints[2]++;
  ints.fill(9, 3, 5);
  new Int32Array(ints.buffer, 20, 2)[0] = 77;
  ints.set(ints.subarray(0, 4), 1);
  ints.sort();
  Atomics.add(ints, 7, 5);
  raw.write(ints, 6, 1);
  for (let n = 0; n < 3; n++) raw.write(floats, n, n * 1.5);
  raw.count(counter, 20000);
  fs.writeFileSync('file', 'hello world');
  const file = fs.openSync('file');
  console.log(fs.readSync(file, bytes, 0, 5, 0), bytes.write('xyz', 8));
  total = (1, 2);
  total += (3, 4);
  sums[0] += (5, 6);
  sums[1] = (7, 8);
  [sums[2]] = (9, [10]);
  console.log(total, sums);
  structuredClone(given, { transfer: [given.buffer] });
  console.log(ints, floats, bytes, counter, given, ints instanceof Int32Array, ints.buffer.byteLength, Buffer.isBuffer(bytes));
  fs.read(file, bytes, 0, 3, 6, (error, count) => console.log(error, count, bytes.toString('latin1')));
};
";
    bench.write("app.js", source);
    bench.write("plain.js", "globalThis.watch = (value) => value;\nrequire('./app.js').main();\n");
    let plain = shown(bench.command("node").arg("plain.js"));
    let traced = bench.watch(&["--user-script", "app.js"]);
    assert_eq!((&traced.stdout, traced.status), (&plain.stdout, plain.status), "{traced:?}");
    let events = bench.events("watcher_output");
    let lines = |name: &str| -> Vec<u64> {
        of(&events, name).iter().map(|event| event["line"].as_u64().unwrap()).collect()
    };
    assert_eq!(lines("ints"), [10, 11, 12, 13, 14, 15, 16, 17, 0]);
    assert_eq!((lines("total"), lines("sums")), (vec![24, 25], vec![26, 27, 28]));
    assert_eq!(lines("floats"), [0, 0], "the third was 3 before");
    assert_eq!(lines("bytes"), [23, 23, 0]);
    let counts = of(&events, "counter");
    assert_eq!(counts.len(), 20_000, "code that a compiler has made is seen too");
    let last = counts.iter().fold(vec![0; 4], |bytes, event| applied(&bytes, event));
    assert_eq!(last, 20_000_u32.to_le_bytes());
}

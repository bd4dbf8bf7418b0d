//! Raw writes in the modes in which the tracer looks for them: what is told is less exact, and never wrong.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Bench, Shown, TICKFS, applied, of, shown};
use crate::raw::{SMALL, USERFAULTFD, has_raw_writes, how, mode_with, restricted, stores, with_numpy};

const LATE: [&str; 2] = ["handler", "coarse"];
const MODES: [&str; 3] = ["signal", "handler", "coarse"];

fn in_mode(bench: &Bench, mode: &str, path: &str) -> Shown {
    let script = if bench.exists("app.js") { "app.js" } else { "app.py" };
    let mut command = bench.command(TICKFS);
    command.args(["watch", "--user-script", script, "--fault-mode", mode, "--track-threads"]);
    shown(command.env("PATH", path))
}

fn system_path() -> String {
    std::env::var("PATH").unwrap()
}

/// Runs the script in each mode: it shows what it shows untraced, and the run names the mode.
fn in_each(bench: &Bench, path: &str, modes: &[&str], mut then: impl FnMut(&str, &Shown, &[Value])) {
    let plain = if bench.exists("app.js") {
        bench.write("plain.js", "globalThis.watch = (value) => value;\nrequire('./app.js').main();\n");
        shown(bench.command("node").arg("plain.js").env("PATH", path))
    } else {
        let script = std::fs::read_to_string(bench.path("app/app.py")).unwrap();
        bench.write("plain.py", &format!("watch = lambda value, **named: value\n{script}"));
        shown(bench.command("python3").arg("plain.py").env("PATH", path))
    };
    for mode in modes.iter().filter(|mode| **mode != "handler" || has_handler()) {
        let traced = in_mode(bench, mode, path);
        assert_eq!((&traced.stdout, traced.status), (&plain.stdout, plain.status), "{mode} {traced:?}");
        assert!(how(&traced).ends_with(&format!("mode={mode}")), "{mode} {traced:?}");
        assert!(!traced.stderr.contains("not understood"), "{mode} {traced:?}");
        then(mode, &traced, &bench.events("watcher_output"));
        std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    }
}

/// Says where a test is made without it.
fn has_handler() -> bool {
    let small = in_mode(&Bench::python(SMALL), "handler", &system_path());
    let is_here = how(&small).ends_with("mode=handler");
    if !is_here {
        println!("skipped for `handler`: this system has no userfaultfd");
    }
    is_here
}

/// What the variable is after all of its events, each of which fits to those before.
fn told(events: &[Value], name: &str, len: usize) -> Vec<u8> {
    of(events, name).iter().fold(vec![0; len], |bytes, event| applied(&bytes, event))
}

fn is_unseen(event: &Value) -> bool {
    event["function"] == "<unseen>" && event["file"] == "" && event["line"] == 0
}

#[test]
fn watch_modes_tell_what_views_and_c_have_written() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import array, ctypes, hashlib, random
dice = random.Random(5)
data = watch(bytearray(20000), name='data')
numbers = watch(array.array('i', [0] * 3000), name='numbers')
view = memoryview(data)
for turn in range(2000):
    start, size, step = dice.randrange(20000), dice.randrange(6000), dice.choice([1, 1, 2, 7])
    target = view[start:start + size:step]
    target[:] = dice.randbytes(len(target))
    memoryview(numbers)[turn] = turn
(ctypes.c_ubyte * 20000).from_buffer(data)[2] = 5
ctypes.memset((ctypes.c_char * 20000).from_buffer(data, 0), 3, 100)
data[7] = 9
view[8] = 1
data[9] = 2
view[19999] = 77
print(hashlib.sha256(data).hexdigest(), sum(numbers))
open('after', 'wb').write(data)
";
    let bench = Bench::python(source);
    in_each(&bench, &system_path(), &MODES, |mode, traced, events| {
        let after = std::fs::read(bench.path("app/after")).unwrap();
        assert!(told(events, "data", 20000) == after, "{mode}: events tell what is there");
        let numbers = told(events, "numbers", 12000);
        assert_eq!(numbers[4 * 1999..][..4], 1999_i32.to_le_bytes(), "{mode}");
        if mode == "signal" {
            return assert!(!events.iter().any(is_unseen));
        }
        let data = of(events, "data");
        let seen: Vec<&Value> = data.iter().copied().filter(|event| !is_unseen(event)).collect();
        let places: Vec<u64> = seen.iter().map(|event| event["line"].as_u64().unwrap()).collect();
        assert_eq!(places, [13, 15], "{mode}: a hook tells of its own place, {traced:?}");
        assert!(seen.iter().all(|event| event["deltas"].as_array().unwrap().len() == 1), "and of no more");
        assert!(data.len() < 2000, "{mode}: no event for each write");
    });
}

#[test]
fn watch_modes_tell_what_numpy_has_written() {
    let Some(path) = with_numpy().filter(|_| has_raw_writes()) else { return };
    let source = "\
import numpy as np
a = watch(np.zeros(4096, dtype='i8'), name='a')
view = np.asarray(a)
a += 1
view += 1
view[5:7] = 4
np.multiply(a, 3, out=view)
a[3] = 9
a.sort()
for place in range(3000):
    view[place] = place
view[::2] = 8
open('after', 'wb').write(view.tobytes())
print(int(a.sum()), a[:4])
";
    let bench = Bench::python(source);
    in_each(&bench, &path, &MODES, |mode, _, events| {
        let after = std::fs::read(bench.path("app/after")).unwrap();
        assert!(told(events, "a", 32768) == after, "{mode}: events tell what is there");
        let lines: Vec<u64> = events.iter().map(|event| event["line"].as_u64().unwrap()).collect();
        for hook in [4, 8, 9] {
            assert_eq!(lines.iter().filter(|&&line| line == hook).count(), 1, "{mode} {hook} {lines:?}");
        }
    });
}

/// No lock, no Python: C counts in two threads.
#[test]
fn watch_modes_miss_no_last_value_of_two_threads() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import ctypes
library = ctypes.CDLL('./stores.so')
data = watch(bytearray(128), name='data')
library.two_threads((ctypes.c_char * 128).from_buffer(data), 5000)
print(data.hex())
";
    let bench = Bench::python(source);
    if stores(&bench).is_none() {
        return;
    }
    in_each(&bench, &system_path(), &LATE, |mode, _, events| {
        let bytes = told(events, "data", 128);
        let counts = [0, 64].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
        assert_eq!(counts, [5000, 5000], "{mode}");
        assert!(events.iter().all(is_unseen), "{mode}");
        let known = events.iter().filter(|event| event["thread_id"].is_u64()).count();
        assert!(mode == "handler" || known == 0, "who wrote is only known to whom he has asked");
    });
}

/// Also what goes past the C library, where it is the kernel that lets the page be opened.
#[test]
fn watch_modes_what_the_kernel_writes_arrives() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import ctypes, os, socket
data = watch(bytearray(64), name='data')
view = memoryview(data)
open('file', 'wb').write(bytes(range(1, 33)))
with open('file', 'rb', buffering=0) as file:
    print(file.readinto(view[0:8]))
fd = os.open('file', os.O_RDONLY)
print(os.readv(fd, [view[16:18], bytearray(2), view[18:24]]))
here, there = socket.socketpair()
here.send(b'12345678'); print(there.recv_into(view[32:40]))
print(bytes(data))
";
    let by_hand = "\
here.send(b'past the library')
libc = ctypes.CDLL(None, use_errno=True)
address = ctypes.addressof(ctypes.c_char.from_buffer(data))
print(libc.syscall(0, there.fileno(), ctypes.c_void_p(address + 40), 16), bytes(data))
";
    let bench = Bench::python(&format!("{source}{by_hand}"));
    let sees_all = in_mode(&bench, "handler", &system_path()).stderr.contains("kernel=handler");
    std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    let check = |mode: &str, _: &Shown, events: &[Value]| {
        let bytes = told(events, "data", 64);
        assert_eq!(
            (&bytes[0..8], &bytes[32..40]),
            (&[1, 2, 3, 4, 5, 6, 7, 8][..], &b"12345678"[..]),
            "{mode}"
        );
    };
    in_each(&bench, &system_path(), if sees_all { &LATE } else { &LATE[1..] }, |mode, traced, events| {
        check(mode, traced, events);
        assert_eq!(&told(events, "data", 64)[40..56], b"past the library", "{mode}");
    });
    bench.write("app.py", source);
    in_each(&bench, &system_path(), &LATE, check);
}

#[test]
fn watch_modes_typed_arrays_of_node_are_told_of() {
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
const counter = watch(new Uint32Array(1), { name: 'counter' });
const bytes = watch(Buffer.alloc(16), { name: 'bytes' });
exports.main = () => {
  ints[0] = 5;
  raw.write(ints, 6, 1);
  ints[1] += 7;
  raw.write(ints, 5, 2);
  ints.fill(9, 3, 5);
  raw.count(counter, 200000);
  fs.writeFileSync('file', 'hello world');
  const file = fs.openSync('file');
  console.log(fs.readSync(file, bytes, 0, 5, 0), bytes.write('xyz', 8));
  raw.write(ints, 7, 12);
  console.log(ints, counter, bytes);
};
";
    bench.write("app.js", source);
    in_each(&bench, &system_path(), &LATE, |mode, _, events| {
        let lines = |name: &str| -> Vec<u64> {
            of(events, name).iter().map(|event| event["line"].as_u64().unwrap()).collect()
        };
        assert_eq!(lines("ints"), [7, 0, 9, 0, 11, 0], "{mode}");
        let ints: Vec<u8> = [5_i32, 7, 0, 9, 9, 2, 1, 12].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(told(events, "ints", 32), ints, "{mode}");
        assert_eq!(told(events, "counter", 4), 200_000_u32.to_le_bytes(), "{mode}");
        assert!(of(events, "counter").len() < 20_000, "{mode}: no event for each write");
        assert_eq!(told(events, "bytes", 16), b"hello\0\0\0xyz\0\0\0\0\0", "{mode}");
    });
}

/// A name that a typed array gets after `watch` is the same protected memory; one that it had before keeps it where it was, and what
/// code without hooks writes there is told at the end.
#[test]
fn watch_raw_a_typed_array_is_seen_by_each_of_its_names() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
const raw = require('raw');
const buf = watch(new Int32Array(4), { name: 'buf' });
const before = new Int32Array(4);
const kept = watch(before, { name: 'kept' });
exports.main = () => {
  const view = buf;
  view[0] = 1;
  const bytes = new Uint8Array(view.buffer, 4, 4);
  bytes[0] = 2;
  const { buffer } = buf;
  new DataView(buffer).setInt32(8, 3, true);
  const held = { inner: [view] };
  held.inner[0][3] = 4;
  ((given) => { given[0]++; })(view);
  raw.write(view, 1, 6);
  raw.write(view.subarray(2), 0, 5);
  before[0] = 7;
  const again = before;
  again[2] = 9;
  raw.write(before, 3, 10);
  console.log(buf, before, before === kept);
};
";
    let bench = Bench::new();
    bench.write(
        "node_modules/raw/index.js",
        "exports.write = (array, at, value) => { array[at] = value; };\n",
    );
    bench.write("app.js", source);
    in_each(&bench, &system_path(), &["signal"], |_, _, events| {
        let lines = |name: &str| -> Vec<u64> {
            of(events, name).iter().map(|event| event["line"].as_u64().unwrap()).collect()
        };
        assert_eq!(lines("buf"), [7, 9, 11, 13, 14, 0, 0]);
        assert_eq!(lines("kept"), [17, 19, 0]);
        let ints = |ints: [i32; 4]| ints.map(i32::to_le_bytes).concat();
        assert_eq!(told(events, "buf", 16), ints([2, 6, 5, 4]));
        assert_eq!(told(events, "kept", 16), ints([7, 0, 9, 10]));
    });
}

#[test]
fn watch_modes_a_forked_child_has_memory_of_its_own_and_tells_nothing() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import os, threading
data = watch(bytearray(9000), name='data')
view = memoryview(data)
view[3] = 1
view[8000] = 5
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
    print('child', data[:4], data[8000], flush=True)
def grandchild():
    view[2] = 7
    print('grandchild', data[:4], data[8000], flush=True)
forked(child)
view[3] = 2
data[4] = 6
print('parent', data[:5], threading.active_count())
open('after', 'wb').write(data)
";
    let bench = Bench::python(source);
    in_each(&bench, &system_path(), &LATE, |mode, traced, events| {
        assert!(!traced.stderr.contains("multi-threaded"), "{mode}: the program has no thread of ours");
        let after = std::fs::read(bench.path("app/after")).unwrap();
        assert!(told(events, "data", 9000) == after, "{mode}");
        let known: Vec<&Value> = events.iter().filter(|event| !is_unseen(event)).collect();
        assert_eq!(known.len(), 1, "{mode}: {events:?}");
        assert_eq!(known[0]["line"], 22, "{mode}");
    });
}

/// The last look is the tracer's, when there is nobody left who could give a sign.
#[test]
fn watch_modes_what_a_program_wrote_before_it_was_killed_is_told() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import os, signal
data = watch(bytearray(9000), name='data')
memoryview(data)[7] = 1
memoryview(data)[8999] = 2
os.kill(os.getpid(), signal.SIGKILL)
";
    let bench = Bench::python(source);
    for mode in LATE {
        let traced = in_mode(&bench, mode, &system_path());
        assert_eq!(traced.status, 128 + 9, "{mode} {traced:?}");
        let bytes = told(&bench.events("watcher_output"), "data", 9000);
        assert_eq!((bytes[7], bytes[8999]), (1, 2), "{mode}");
        std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    }
}

/// A fault that nobody handles any more lets its thread go on.
#[test]
fn watch_modes_the_program_lives_on_when_the_tracer_is_killed_while_a_fault_waits() {
    if !has_raw_writes() {
        return;
    }
    let source = "\
import os, signal, threading, time
data = watch(bytearray(9000), name='data')
view = memoryview(data)
tracer = os.getppid()
os.kill(tracer, signal.SIGSTOP)
while open(f'/proc/{tracer}/stat').read().rpartition(')')[2].split()[0] != 'T':
    time.sleep(.001)
open('pid', 'w').write(str(os.getpid()))
os.rename('pid', 'waits')
view[5000] = 1
data[1] = 2
del view
data.append(3)
other = watch(bytearray(5), name='other')
memoryview(other)[0] = 4
open('all', 'w').write(f'{data[5000]} {data[1]} {data[-1]} {other[0]}')
os.rename('all', 'done')
";
    let bench = Bench::python(source);
    for mode in LATE.into_iter().filter(|mode| *mode != "handler" || has_handler()) {
        let mut command = bench.command(TICKFS);
        command.args(["watch", "--user-script", "app.py", "--fault-mode", mode]);
        command.stdout(std::process::Stdio::null());
        let mut tracer = Tracer(command.spawn().unwrap());
        awaited("the program stops its tracer", || bench.exists("waits"));
        let program = std::fs::read_to_string(bench.path("app/waits")).unwrap();
        let program: u32 = program.parse().unwrap();
        if mode == "handler" {
            let waiting = || std::fs::read_to_string(format!("/proc/{program}/wchan")).unwrap();
            awaited("the fault waits", || waiting().contains("userfault"));
        }
        tracer.0.kill().unwrap();
        tracer.0.wait().unwrap();
        awaited("the program has ended", || bench.exists("done"));
        let done = std::fs::read_to_string(bench.path("app/done")).unwrap();
        assert_eq!(done, "1 2 3 4", "{mode}");
        for name in ["waits", "done"] {
            std::fs::remove_file(bench.path("app").join(name)).unwrap();
        }
    }
}

/// Nothing stays of a test that fails.
struct Tracer(std::process::Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        // It has been killed already, where all went well.
        if self.0.kill().and_then(|()| self.0.wait()).is_err() {}
    }
}

fn awaited(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Shows WA-27.
#[test]
fn watch_modes_what_cannot_be_had_is_replaced_and_said() {
    if !has_raw_writes() {
        return;
    }
    let bench = Bench::python(SMALL);
    let Some(python) = restricted(&bench) else { return };
    const MEMFD: &str = "319";
    let cannot = |mode: &str| format!("tickfs: --fault-mode {mode} cannot be had here: ");
    for (mode, refused, raw, instead) in [
        ("handler", USERFAULTFD, "raw=mprotect / kernel=preload / mode=signal", "signal is used instead"),
        ("coarse", USERFAULTFD, "raw=compare, coalesced / kernel=compare / mode=coarse", ""),
        ("handler", "323,319", "raw=off / kernel=none / mode=hooks", "hooks is used instead"),
        ("coarse", "", "raw=", ""),
        ("coarse", MEMFD, "raw=", ""),
    ] {
        let traced = mode_with(&bench, &python, mode, &[("REFUSE", refused)]);
        assert_eq!(
            (traced.stdout.as_str(), traced.status),
            ("bytearray(b'\\x01\\x02\\x00\\x00')\n", 0),
            "{traced:?}"
        );
        assert!(how(&traced).contains(raw), "{mode} {refused} {traced:?}");
        let said = traced.stderr.lines().find_map(|line| line.strip_prefix(&cannot(mode)));
        assert_eq!(said.unwrap_or_default(), instead, "{mode} {refused} {traced:?}");
        let events = bench.events("watcher_output");
        assert_eq!(told(&events, "data", 4)[..2], [1, 2], "{mode} {refused} {events:?}");
        std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    }
}

/// Neither mode needs a right that the program has not.
#[test]
fn watch_modes_of_nobody_see_the_same() {
    use std::os::unix::fs::PermissionsExt;
    if !has_raw_writes() {
        return;
    }
    let bench = Bench::python(SMALL);
    let Some(python) = restricted(&bench) else { return };
    std::fs::set_permissions(bench.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let open = "/usr/bin/python3";
    let is_root = shown(Command::new("id").arg("-u")).stdout.trim() == "0";
    if !std::path::Path::new(open).exists() || !is_root {
        println!("skipped: only root becomes nobody, and needs a Python that nobody may run");
        return;
    }
    for mode in LATE {
        let traced = mode_with(&bench, &python, mode, &[("NOBODY", "65534"), ("REAL", open)]);
        assert_eq!(
            (traced.stdout.as_str(), traced.status),
            ("bytearray(b'\\x01\\x02\\x00\\x00')\n", 0),
            "{mode} {traced:?}"
        );
        assert!(!how(&traced).contains("raw=off"), "{traced:?}");
        let events = bench.events("watcher_output");
        assert_eq!(told(&events, "data", 4), [1, 2, 0, 0], "{mode} {traced:?}");
        std::fs::remove_dir_all(bench.path("app/watcher_output")).unwrap();
    }
}

//! Out to the specification's layout and back in: the same history, whatever kills the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::disk::{Cut, Disk, RealDisk, SimDisk};
use crate::error::Result;
use crate::history::{Point, Stand, View};
use crate::ids::{BranchNo, StoreId, Tick, UnixMillis, UnixNanos};
use crate::journal::entry::{Action, ItemType, NodeType, Writer};
use crate::path::RelPath;
use crate::store::{Content, Meta, Store, StoreWriter};

const NOW: UnixMillis = UnixMillis(1_763_640_900_000);
const OWNER: Owner = Owner { uid: 0, gid: 0 };

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn meta(kind: NodeType, mode: u32) -> Meta {
    Meta { kind, mode, uid: 0, gid: 0, mtime: UnixNanos(1), holes: Vec::new() }
}

fn new_store(disk: &Arc<dyn Disk>, dir: &Path, seed: u8) -> Store {
    Store::init(Arc::clone(disk), dir, StoreId::new(NOW, [seed; 10])).unwrap()
}

fn writer(store: &Store) -> StoreWriter {
    let who = Writer { writer: "test".to_owned(), writer_id: None, pid: 7 };
    store.writer(who, Duration::from_secs(5)).unwrap()
}

fn base(writer: &StoreWriter, files: &[(&'static str, &'static [u8])]) {
    let files = files.to_vec();
    writer
        .mutate(NOW, move |m| {
            m.base(&RelPath::root(), &meta(NodeType::Dir, 0o040_755), Content::None)?;
            for (name, text) in files {
                let above = path(name).parent().filter(|d| !d.is_root());
                if let Some(dir) = above {
                    m.base(&dir, &meta(NodeType::Dir, 0o040_755), Content::None)?;
                }
                m.base(&path(name), &meta(NodeType::File, 0o100_644), Content::Bytes(text.to_vec()))?;
            }
            m.finish_base("8c3c0c0e-0000-4000-8000-000000000001")
        })
        .unwrap();
}

fn save(writer: &StoreWriter, name: &'static str, text: &[u8]) {
    let text = text.to_vec();
    let saved = writer
        .mutate(NOW, move |m| m.save(&path(name), &meta(NodeType::File, 0o100_644), Content::Bytes(text)));
    assert!(saved.unwrap().tick().is_some());
}

fn go(writer: &StoreWriter, branch: u32, tick: u64) {
    let stand = Stand { branch: BranchNo(branch), tick: Tick(tick), partial: Vec::new() };
    writer.mutate(NOW, move |m| m.move_cursor(stand, "revert")).unwrap();
}

/// main: 1 2 3, forked at 2: 4 5, forked from that at 1 (inherited): 6; main again: 7.
fn branched(store: &Store) -> StoreWriter {
    let writer = writer(store);
    base(&writer, &[("f", b"one\ntwo\nthree\n")]);
    save(&writer, "f", b"one\nTWO\nthree\n");
    save(&writer, "f", b"one\nTWO\nthree\nfour");
    save(&writer, "f", b"zero\none\nTWO\nthree\nfour\n");
    go(&writer, 1, 2);
    save(&writer, "f", b"forked\n");
    save(&writer, "f", b"forked\ntwice\n");
    go(&writer, 2, 1);
    save(&writer, "f", b"one\nTWO\n");
    go(&writer, 1, 3);
    save(&writer, "f", b"main\nagain\n");
    writer.mutate(NOW, |m| m.describe_branch("main", Some("what \"we\" ship".to_owned()))).unwrap();
    go(&writer, 2, 4);
    writer
}

fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(at) = dirs.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                dirs.push(entry);
            } else {
                files.insert(entry.strip_prefix(dir).unwrap().to_path_buf(), std::fs::read(&entry).unwrap());
            }
        }
    }
    files
}

fn texts(view: &View, name: &str) -> Vec<(u32, u64, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for branch in view.branches().listed() {
        for tick in (0..=view.last_tick().0).filter(|&t| view.branches().is_on(branch.no, Tick(t))) {
            let tree = view.tree(Point { branch: branch.no, tick: Tick(tick) }).unwrap();
            let entry = tree.resolve(&path(name)).unwrap();
            all.push((branch.no.0, tick, entry.map(|e| tree.read(&e.version).unwrap())));
        }
    }
    all
}

fn import(disk: &Arc<dyn Disk>, from: &Path, to: &Store) -> Result<Imported> {
    let plan = Plan::read(&**disk, from, Path::new("/abs"))?;
    import_codevovle(&writer(to), &**disk, &plan, OWNER, NOW)
}

/// Shows CV-155, CV-160.
#[test]
fn one_file_goes_out_and_comes_back_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = new_store(&disk, &temp.path().join("s"), 1);
    drop(branched(&store));
    let (out, again) = (temp.path().join("out"), temp.path().join("again"));
    export_codevovle(&*disk, &store.view().unwrap(), &out).unwrap();
    let names: Vec<String> = files_below(&out).keys().map(|p| p.display().to_string()).collect();
    let diffs = (1..=7).map(|n| format!("diffs/{n}.diff"));
    let mut expected: Vec<String> = diffs.collect();
    expected.extend(["main", "main-1", "main-2"].map(|b| format!("branches/{b}.json")));
    expected.extend(["config.json", "snapshots/base.txt", "state.json"].map(str::to_owned));
    expected.sort_by_key(|name| PathBuf::from(name));
    assert_eq!(names, expected);
    let fork: serde_json::Value =
        serde_json::from_slice(&files_below(&out)[Path::new("branches/main-2.json")]).unwrap();
    assert_eq!((&fork["parent"], &fork["forked_at_tick"]), (&"main-1".into(), &1.into()));
    assert_eq!(fork["diff_chain"], serde_json::json!([1, 6]));

    let second = new_store(&disk, &temp.path().join("t"), 2);
    let imported = import(&disk, &out, &second).unwrap();
    assert_eq!((imported.ticks, imported.renumbered.len()), (7, 0));
    let (view, original) = (second.view().unwrap(), store.view().unwrap());
    assert_eq!(texts(&view, "f"), texts(&original, "f"));
    export_codevovle(&*disk, &view, &again).unwrap();
    assert_eq!(files_below(&again), files_below(&out));
    let end = writer(&second).end();
    let twice = import(&disk, &out, &second).unwrap();
    assert!(twice.already_done);
    assert_eq!(writer(&second).end(), end);
}

/// Shows CV-151.
#[test]
fn several_files_lie_below_their_paths_and_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = new_store(&disk, &temp.path().join("s"), 1);
    let w = writer(&store);
    base(&w, &[("a", b"a\n"), ("d/b", b"b\n")]);
    save(&w, "a", b"a\n2\n");
    save(&w, "config.json", b"not ours\n");
    save(&w, "d/b", b"");
    save(&w, "d/empty", b"");
    go(&w, 1, 2);
    save(&w, "d/b", b"forked\n");
    let (out, again) = (temp.path().join("out"), temp.path().join("again"));
    export_codevovle(&*disk, &store.view().unwrap(), &out).unwrap();
    let files = files_below(&out);
    assert!(files.contains_key(Path::new("%63onfig.json/diffs/2.diff")));
    assert_eq!(files[Path::new("d/empty/snapshots/base.txt")], b"");
    let config: serde_json::Value = serde_json::from_slice(&files[Path::new("config.json")]).unwrap();
    let of = |name: &str| (config[name]["file_path"].clone(), config[name]["last_tick"].clone());
    assert_eq!(of("a"), ("a".into(), 1.into()));
    assert_eq!(of("d/b"), ("d/b".into(), 5.into()));
    let mut ticks: Vec<String> =
        files.keys().filter_map(|f| Some(f.to_str()?.split_once("diffs/")?.1.to_owned())).collect();
    ticks.sort();
    assert_eq!(ticks, (1..=5).map(|n| format!("{n}.diff")).collect::<Vec<_>>());
    let state: serde_json::Value = serde_json::from_slice(&files[Path::new("state.json")]).unwrap();
    assert_eq!(state["global_tick_counter"], 5);
    let second = new_store(&disk, &temp.path().join("t"), 2);
    let imported = import(&disk, &out, &second).unwrap();
    assert_eq!((imported.ticks, imported.renumbered), (5, vec![]));
    assert_eq!(texts(&second.view().unwrap(), "d/b"), texts(&store.view().unwrap(), "d/b"));
    export_codevovle(&*disk, &second.view().unwrap(), &again).unwrap();
    assert_eq!(files_below(&again), files);
}

/// Shows CV-167, CV-168.
#[test]
fn each_diff_has_the_headers_of_the_format_and_applies_to_the_version_before() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = new_store(&disk, &temp.path().join("s"), 1);
    let w = branched(&store);
    save(&w, "f", b"bin\0ary\n");
    let view = store.view().unwrap();
    let layer = crate::render::CodeVovle::of_store(&view).unwrap().layer(&path("f")).unwrap();
    for tick in 1..=7 {
        let diff = String::from_utf8(layer.diff(Tick(tick)).unwrap()).unwrap();
        let expected =
            format!("--- a/.codevovle/snapshots/base.txt\n+++ b/.codevovle/diffs/{tick}.diff\n@@ -");
        assert!(diff.starts_with(&expected), "{diff}");
        let file = temp.path().join(format!("before-{tick}"));
        let home = view.branches().of_tick(Tick(tick)).unwrap();
        let at = |tick| {
            let tree = view.tree(Point { branch: home, tick }).unwrap();
            tree.read(&tree.resolve(&path("f")).unwrap().unwrap().version).unwrap()
        };
        std::fs::write(&file, at(view.branches().at_or_before(home, Tick(tick - 1)))).unwrap();
        let patch = temp.path().join("patch");
        std::fs::write(&patch, diff).unwrap();
        let run = std::process::Command::new("patch").arg("-s").arg(&file).arg(&patch).status().unwrap();
        assert!(run.success());
        assert_eq!(std::fs::read(&file).unwrap(), at(Tick(tick)));
    }
    let binary = layer.diff(Tick(8)).unwrap();
    assert!(
        binary.starts_with(b"Binary files a/.codevovle/snapshots/base.txt and b/.codevovle/diffs/8.diff")
    );
}

#[test]
fn a_source_that_is_not_whole_is_refused_by_name_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = new_store(&disk, &temp.path().join("s"), 1);
    drop(branched(&store));
    let break_with = |name: &str, with: Option<&[u8]>| {
        let out = tempfile::tempdir().unwrap();
        let dir = out.path().join("layout");
        export_codevovle(&*disk, &store.view().unwrap(), &dir).unwrap();
        match with {
            Some(bytes) => std::fs::write(dir.join(name), bytes).unwrap(),
            None => std::fs::remove_file(dir.join(name)).unwrap(),
        }
        let target = new_store(&disk, &out.path().join("t"), 3);
        let error = import(&disk, &dir, &target).unwrap_err().to_string();
        assert_eq!(writer(&target).next_seq().0, 1, "{name}: something was written");
        error
    };
    let said = break_with("diffs/5.diff", Some(b"Binary files a and b differ\n"));
    assert!(said.starts_with("tick 5 of f cannot be rebuilt from its diff: it says only"), "{said}");
    let said = break_with("snapshots/base.txt", Some(b"another base\n"));
    assert!(said.starts_with("tick 1 of f cannot be rebuilt"), "{said}");
    assert!(break_with("diffs/2.diff", None).contains("diffs/2.diff"));
    assert!(break_with("branches/main.json", None).contains("parent does not exist"));
    assert!(break_with("state.json", Some(b"{\"cursor\":")).contains("state.json is damaged"));
    assert!(break_with("config.json", Some(b"{}")).contains("config.json names 0 files"));
}

#[test]
fn gaps_in_the_numbering_are_closed_and_remembered() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let layout = temp.path().join("old");
    let write = |name: &str, text: &str| {
        let path = layout.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let diff = |from: &str, to: &str| format!("--- a\n+++ b\n@@ -1 +1 @@\n-{from}\n+{to}\n");
    write(
        "config.json",
        r#"{"/abs/f": {"file_path": "/abs/f", "interval": 0.5, "active_branch": "main", "last_tick": 9}}"#,
    );
    write(
        "state.json",
        r#"{"global_tick_counter": 9, "cursor": {"/abs/f": {"active_branch": "main", "current_tick": 5}}, "thread_config": {"daemon_threads": 5}}"#,
    );
    write(
        "branches/main.json",
        r#"{"id": "8c3c0c0e-0000-4000-8000-000000000001", "label": "main", "parent": null, "forked_at_tick": null, "diff_chain": [2, 5, 6, 9], "created_at": "2025-01-01T00:00:00.123456Z", "description": "mine"}"#,
    );
    write("snapshots/base.txt", "0\n");
    write("diffs/2.diff", &diff("0", "2"));
    write("diffs/5.diff", &diff("2", "5"));
    write("diffs/6.diff", "");
    write("diffs/9.diff", &diff("5", "9"));
    write("diffs/3.diff", "on no branch");
    let plan = Plan::read(&*disk, &layout, Path::new("/abs")).unwrap();
    assert_eq!(plan.orphans, [layout.join("diffs/3.diff")]);
    let store = new_store(&disk, &temp.path().join("s"), 1);
    let imported = import(&disk, &layout, &store).unwrap();
    assert_eq!(imported.renumbered, [(2, Some(1)), (5, Some(2)), (6, None), (9, Some(3))]);
    let view = store.view().unwrap();
    assert_eq!(view.cursor_point().unwrap().tick, Tick(2));
    assert!(!view.cursor().unwrap().is_attached());
    let main = view.branches().by_label("main").unwrap();
    assert_eq!(main.created_at, "2025-01-01T00:00:00.123456Z");
    let layer = crate::render::CodeVovle::of_store(&view).unwrap();
    let json = |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
    assert_eq!(json(layer.config_json().unwrap())["f"]["interval"], 0.5);
    assert_eq!(json(layer.state_json().unwrap())["thread_config"]["daemon_threads"], 5);
    assert_eq!(view.tick(Tick(3)).unwrap().burst, None);
}

#[test]
fn an_export_leaves_a_full_directory_alone() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = new_store(&disk, &temp.path().join("s"), 1);
    drop(branched(&store));
    let out = temp.path().join("out");
    std::fs::create_dir(&out).unwrap();
    export_codevovle(&*disk, &store.view().unwrap(), &out).unwrap();
    let before = files_below(temp.path());
    assert!(export_codevovle(&*disk, &store.view().unwrap(), &out).is_err());
    assert_eq!(files_below(temp.path()), before);
}

#[test]
fn every_entity_is_one_line_of_json() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = new_store(&disk, &temp.path().join("s"), 1);
    let w = branched(&store);
    w.mutate(NOW, |m| {
        m.put_entity(&ItemType::parse("plan").unwrap(), "pln_1", &serde_json::json!({"a": [1]}))
    })
    .unwrap();
    let mut out = Vec::new();
    export_jsonl(&store.view().unwrap(), &mut out).unwrap();
    let lines: Vec<serde_json::Value> = out
        .split(|&b| b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let of = |kind: &str| lines.iter().filter(|l| l["type"] == kind).count();
    assert_eq!((of("branch"), of("cursor"), of("plan")), (3, 1, 1));
    let files: Vec<_> = lines.iter().filter(|l| l["type"] == "file").map(|l| &l["payload"]).collect();
    let seen: Vec<_> =
        files.iter().map(|p| (p["branch"].as_str().unwrap(), p["path"].as_str().unwrap())).collect();
    assert_eq!(seen, [("main", ""), ("main", "f"), ("main-1", "f"), ("main-2", "f")]);
    assert_eq!(files[1]["hash"], crate::ids::ContentHash::of(b"main\nagain\n").to_string());
}

#[test]
fn an_import_that_is_cut_off_anywhere_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let real: Arc<dyn Disk> = Arc::new(RealDisk);
    let source = new_store(&real, &temp.path().join("s"), 1);
    drop(branched(&source));
    let layout = temp.path().join("out");
    export_codevovle(&*real, &source.view().unwrap(), &layout).unwrap();
    let plan = Plan::read(&*real, &layout, Path::new("/abs")).unwrap();
    let expected = texts(&source.view().unwrap(), "f");

    let dir = Path::new("/p/.app.tickfs");
    let prepared = |sim: &SimDisk| {
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        disk.create_dir(Path::new("/p")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        new_store(&disk, dir, 2)
    };
    let import_from = |w: &StoreWriter| import::import_in_portions(w, &*real, &plan, OWNER, NOW, 3);
    let sim = SimDisk::default();
    let store = prepared(&sim);
    let first = sim.steps();
    import_from(&writer(&store)).unwrap();
    let last = sim.steps();
    assert!(last > first + 12);
    let cuts = [Cut::LoseUnsynced, Cut::Killed { torn: 1 }];
    let who = || Writer { writer: "test".to_owned(), writer_id: None, pid: 7 };
    for (step, cut) in (first..last).flat_map(|step| cuts.map(|cut| (step, cut))) {
        let sim = SimDisk::default();
        let store = prepared(&sim);
        sim.crash_at(step);
        let run = store.writer(who(), Duration::ZERO).and_then(|w| import_from(&w));
        assert!(run.is_err(), "step {step} was not met");
        drop(store);
        let after: Arc<dyn Disk> = Arc::new(sim.crash(cut));
        let store = Store::open(after, dir).unwrap();
        let done = import_from(&writer(&store)).unwrap();
        assert_eq!(texts(&store.view().unwrap(), "f"), expected, "step {step}, {cut:?}: {done:?}");
        let end = writer(&store).end();
        assert!(import_from(&writer(&store)).unwrap().already_done);
        assert_eq!(writer(&store).end(), end, "step {step}, {cut:?}");
    }
}

/// Shows EL-90.
#[test]
fn a_segment_of_another_store_is_taken_over_once() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let theirs = new_store(&disk, &temp.path().join("theirs"), 1);
    drop(branched(&theirs));
    let ours = new_store(&disk, &temp.path().join("ours"), 2);
    let w = writer(&ours);
    let segment = theirs.layout().journal().join("seg-00000001.jsonl");
    let first = import_segment(&w, &disk, &segment, NOW).unwrap();
    let records = writer(&theirs).end().seq.0;
    assert_eq!((first.taken, first.known, first.skipped), (records, 0, 0));
    let end = w.end();
    let second = import_segment(&w, &disk, &segment, NOW).unwrap();
    assert_eq!((second.taken, second.known), (0, records));
    assert_eq!(w.end(), end);
    assert_eq!(ours.view().unwrap().observed(&[Action::Imported], 99).unwrap().len() as u64, records);
    assert!(import_segment(&w, &disk, &ours.layout().journal().join("seg-00000001.jsonl"), NOW).is_err());
}

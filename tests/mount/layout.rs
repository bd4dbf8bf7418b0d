//! What lies where, and what it holds.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tickfs_store::ids::Tick;
use tickfs_tests::mount::{Mounted, Project};

/// The names in a directory, in their order.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn text(mounted: &Mounted, name: &str) -> String {
    fs::read_to_string(mounted.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn link(mounted: &Mounted, name: &str) -> String {
    fs::read_link(mounted.path(name)).unwrap_or_else(|error| panic!("{name}: {error}")).display().to_string()
}

fn json(mounted: &Mounted, name: &str) -> Value {
    serde_json::from_str(&text(mounted, name)).unwrap()
}

/// main: 1 and 2 change src/app.py, 3 makes docs/a b.txt, 4 removes it, 5 renames src/app.py to src/main.py.
fn project() -> Project {
    let project = Project::new(&[("src/app.py", "one\n"), ("src/lib.py", "lib\n"), ("README", "project\n")]);
    assert_eq!(project.save("src/app.py", "one\ntwo\n"), Tick(1));
    assert_eq!(project.save("src/app.py", "one\ntwo\nthree\n"), Tick(2));
    assert_eq!(project.save("docs/a b.txt", "gone soon\n"), Tick(4));
    assert_eq!(project.remove("docs/a b.txt"), Tick(5));
    assert_eq!(project.rename("src/app.py", "src/main.py"), Tick(6));
    project
}

#[test]
fn a_tree_holds_every_path_as_it_was_at_its_tick() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    assert_eq!(text(&mounted, "branches/main/@0/src/app.py"), "one\n");
    assert_eq!(text(&mounted, "branches/main/@1/src/app.py"), "one\ntwo\n");
    assert_eq!(text(&mounted, "branches/main/@HEAD/src/main.py"), "one\ntwo\nthree\n");
    assert_eq!(names(&mounted.path("branches/main/@4")), ["README", "docs", "src"]);
    assert_eq!(names(&mounted.path("branches/main/@5/docs")), Vec::<String>::new());
    assert_eq!(names(&mounted.path("branches/main/@6/src")), ["lib.py", "main.py"]);
    assert_eq!(text(&mounted, "now/README"), "project\n");
    for absent in ["@7", "@00", "@+1", "@", "@nothing", "@6/src/app.py", "@1/docs"] {
        let path = mounted.path("branches/main").join(absent);
        assert!(fs::symlink_metadata(&path).is_err(), "{} is there", path.display());
    }
}

#[test]
fn the_root_and_the_branch_show_where_everything_stands() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    let rooms = [
        "README",
        "branches",
        "codevovle",
        "deleted",
        "diff",
        "events",
        "files",
        "handoff",
        "now",
        "now.json",
        "snapshots",
        "state",
        "stats.json",
        "ticks",
        "watch",
    ];
    assert_eq!(names(mounted.root()), rooms);
    assert_eq!(link(&mounted, "now"), "branches/main/@6");
    assert_eq!(link(&mounted, "branches/main/@HEAD"), "@6");
    assert_eq!(json(&mounted, "now.json")["tick"], 6);
    assert_eq!(
        json(&mounted, "branches/main/branch.json")["diff_chain"],
        serde_json::json!([1, 2, 3, 4, 5, 6])
    );
    let log = text(&mounted, "branches/main/log");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0], ["1", "2025-11-20T12:00:02.000Z", "modify", "src/app.py", "4", "8"]);
    assert_eq!(lines[2][2..], ["mkdir", "docs", "-", "0"]);
    assert_eq!(lines[4][2..], ["delete", "docs/a b.txt", "10", "-"]);
    assert_eq!(lines[5][2..], ["rename", "src/app.py -> src/main.py", "14", "14"]);
    let requests = json(&mounted, "stats.json")["mount"]["requests"]["lookup"].as_u64().unwrap();
    assert!(requests > 0);
    for readme in ["README", "branches/README", "branches/main/README", "ticks/README", "diff/README"] {
        assert!(!text(&mounted, readme).is_empty(), "{readme}");
    }
}

/// A fork shows what it inherited as symlinks to where it happened.
#[test]
fn a_fork_shows_its_own_ticks_and_points_to_those_it_inherited() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    project.mutate(|m| {
        let to = tickfs_store::history::Stand {
            branch: tickfs_store::ids::BranchNo::MAIN,
            tick: Tick(2),
            partial: Vec::new(),
        };
        m.move_cursor(to, "revert")
    });
    assert_eq!(link(&mounted, "now"), "branches/main/@2");
    assert_eq!(project.save("src/app.py", "forked\n"), Tick(7));
    assert_eq!(names(&mounted.path("branches")), ["README", "main", "main-1"]);
    assert_eq!(
        names(&mounted.path("branches/main-1")),
        ["@0", "@1", "@2", "@7", "@HEAD", "README", "branch.json", "log"]
    );
    assert_eq!(link(&mounted, "branches/main-1/@2"), "../main/@2");
    assert_eq!(link(&mounted, "branches/main-1/@0"), "../main/@0");
    assert_eq!(link(&mounted, "now"), "branches/main-1/@7");
    assert_eq!(text(&mounted, "branches/main-1/@HEAD/src/app.py"), "forked\n");
    assert_eq!(text(&mounted, "branches/main-1/@2/src/app.py"), "one\ntwo\nthree\n");
    assert!(fs::symlink_metadata(mounted.path("branches/main-1/@3")).is_err());
    assert!(fs::symlink_metadata(mounted.path("branches/main/@7")).is_err());
    // No listing of ticks where the root does not stand.
    assert_eq!(names(&mounted.path("branches/main")), ["@0", "@HEAD", "README", "branch.json", "log"]);
    project.mutate(|m| m.rename_branch("main", "trunk"));
    assert_eq!(link(&mounted, "branches/main-1/@2"), "../trunk/@2");
    assert_eq!(text(&mounted, "branches/main-1/@2/src/app.py"), "one\ntwo\nthree\n");
    assert_eq!(names(&mounted.path("branches")), ["README", "main-1", "trunk"]);
}

#[test]
fn a_point_is_named_by_a_tick_a_time_a_snapshot_or_from_the_head() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    project.mutate(|m| {
        let at = tickfs_store::history::Point { branch: tickfs_store::ids::BranchNo::MAIN, tick: Tick(2) };
        m.create_snapshot("before-it", at)
    });
    let on_main = |name: &str| link(&mounted, &format!("branches/main/{name}"));
    assert_eq!(on_main("@-1"), "@5");
    assert_eq!(on_main("@before-it"), "@2");
    assert_eq!(on_main("@1763640002"), "@1");
    assert_eq!(on_main("@2025-11-20T12:00:03Z"), "@2");
    assert_eq!(on_main("@2099-12-31"), "@6");
    assert_eq!(link(&mounted, "snapshots/before-it"), "../branches/main/@2");
    assert_eq!(text(&mounted, "snapshots/before-it/src/app.py"), "one\ntwo\nthree\n");
    assert_eq!(names(&mounted.path("snapshots")), ["README", "before-it"]);
    for before in ["@2025-11-20T11:59:00Z", "@1000000000", "@-7"] {
        assert!(fs::read_link(mounted.path("branches/main").join(before)).is_err(), "{before} is there");
    }
}

#[test]
fn a_tick_shows_what_it_changed() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    assert_eq!(names(&mounted.path("ticks/2")), ["after", "before", "diff", "tick.json", "tree"]);
    assert_eq!(names(&mounted.path("ticks/4")), ["after", "diff", "tick.json", "tree"]);
    assert_eq!(names(&mounted.path("ticks/5")), ["before", "diff", "tick.json", "tree"]);
    assert_eq!(text(&mounted, "ticks/2/before"), "one\ntwo\n");
    assert_eq!(text(&mounted, "ticks/2/after"), "one\ntwo\nthree\n");
    let diff = text(&mounted, "ticks/2/diff");
    assert_eq!(diff, "--- a/src/app.py\n+++ b/src/app.py\n@@ -1,2 +1,3 @@\n one\n two\n+three\n");
    assert_eq!(link(&mounted, "ticks/2/tree"), "../../branches/main/@2");
    assert_eq!(json(&mounted, "ticks/5/tick.json")["kind"], "delete");
    assert_eq!(names(&mounted.path("ticks")), ["1", "2", "3", "4", "5", "6", "README"]);
    for absent in ["ticks/0", "ticks/7", "ticks/01", "ticks/5/after"] {
        assert!(fs::symlink_metadata(mounted.path(absent)).is_err(), "{absent} is there");
    }
}

#[test]
fn files_hold_each_version_of_every_path_that_ever_was() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    assert_eq!(names(&mounted.path("files")), ["README", "docs", "src"]);
    assert_eq!(names(&mounted.path("files/src")), ["app.py", "lib.py", "main.py"]);
    assert_eq!(names(&mounted.path("files/src/app.py")), ["@0.py", "@1.py", "@2.py", "@log"]);
    assert_eq!(names(&mounted.path("files/src/main.py")), ["@6.py", "@HEAD.py", "@log"]);
    assert_eq!(names(&mounted.path("files/README")), ["@0", "@HEAD", "@log"]);
    assert_eq!(text(&mounted, "files/src/app.py/@1.py"), "one\ntwo\n");
    assert_eq!(text(&mounted, "files/src/app.py/@1"), "one\ntwo\n");
    assert_eq!(link(&mounted, "files/src/app.py/@4.py"), "@2.py");
    assert_eq!(link(&mounted, "files/src/main.py/@HEAD.py"), "@6.py");
    assert!(
        fs::symlink_metadata(mounted.path("files/src/app.py/@6.py")).is_err(),
        "it was renamed away by then"
    );
    let blame = text(&mounted, "files/src/main.py/@blame");
    let ticks: Vec<&str> = blame.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(ticks, ["0", "1", "2"]);
    assert!(blame.ends_with("\tthree\n"));
    let log = text(&mounted, "files/src/app.py/@log");
    assert_eq!(log.lines().count(), 3, "{log}");
    // The time of a version is that of its tick, and of the same version in a tree that of the file.
    assert_eq!(fs::metadata(mounted.path("files/src/app.py/@1.py")).unwrap().mtime(), 1_763_640_002);
    let in_tree = fs::metadata(mounted.path("branches/main/@1/src/app.py")).unwrap();
    assert_eq!((in_tree.mtime(), in_tree.mtime_nsec()), (1_763_640_002, 123_456));
}

#[test]
fn a_path_that_was_a_file_and_is_a_directory_holds_both() {
    let project = Project::new(&[("thing", "a file\n"), ("x", "x")]);
    let Some(mounted) = project.mount() else { return };
    project.remove("thing");
    project.save("thing/@1", "a plain name\n");
    project.save("thing/@types/index", "another\n");
    assert_eq!(names(&mounted.path("files/thing")), ["@0", "@1", "@log", "@types"]);
    assert_eq!(text(&mounted, "files/thing/@0"), "a file\n");
    assert_eq!(text(&mounted, "files/thing/@types/index/@HEAD"), "another\n");
    assert_eq!(text(&mounted, "now/thing/@1"), "a plain name\n");
}

#[test]
fn what_is_deleted_leads_to_its_last_version() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    assert_eq!(names(&mounted.path("deleted")), ["docs", "src"]);
    assert_eq!(link(&mounted, "deleted/docs/a b.txt"), "../../files/docs/a b.txt/@4.txt");
    assert_eq!(text(&mounted, "deleted/docs/a b.txt"), "gone soon\n");
    assert_eq!(text(&mounted, "deleted/src/app.py"), "one\ntwo\nthree\n");
    project.save("docs/a b.txt", "back\n");
    assert_eq!(names(&mounted.path("deleted")), ["src"]);
}

#[test]
fn any_two_points_have_a_difference() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    let one = text(&mounted, "diff/0..2/src/app.py.patch");
    assert_eq!(one, "--- a/src/app.py\n+++ b/src/app.py\n@@ -1 +1,3 @@\n one\n+two\n+three\n");
    assert_eq!(text(&mounted, "diff/0..2.patch"), one);
    let both = text(&mounted, "diff/main@2..HEAD.patch");
    assert!(both.contains("--- a/src/app.py\n+++ /dev/null") && both.contains("+++ b/src/main.py"), "{both}");
    assert_eq!(text(&mounted, "diff/2..0.patch").matches("\n-").count(), 2);
    assert_eq!(names(&mounted.path("diff")), ["README"]);
    for absent in
        ["diff/0..99.patch", "diff/0..2/README.patch", "diff/x", "diff/0..2/docs", "diff/0..2..4.patch"]
    {
        assert!(fs::symlink_metadata(mounted.path(absent)).is_err(), "{absent} is there");
    }
}

#[test]
fn events_are_lines_that_grow_and_an_array_of_the_same() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    assert_eq!(names(&mounted.path("events")), ["errors.json", "events.json", "events.jsonl", "journal"]);
    let lines = text(&mounted, "events/events.jsonl");
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.last().unwrap()["action"], "rename");
    let array: Vec<Value> = serde_json::from_str(&text(&mounted, "events/events.json")).unwrap();
    assert_eq!(array, records);
    project.save("README", "again\n");
    let longer = text(&mounted, "events/events.jsonl");
    assert!(longer.starts_with(&lines) && longer.lines().count() == records.len() + 1);
    assert_eq!(text(&mounted, "events/errors.json"), "[]\n");
    assert_eq!(names(&mounted.path("events/journal")), ["HEAD.json", "archive", "seg-00000001.jsonl"]);
    let segment = fs::read(mounted.path("events/journal/seg-00000001.jsonl")).unwrap();
    assert_eq!(segment, fs::read(project.scratch().join(".app.tickfs/journal/seg-00000001.jsonl")).unwrap());
    let next = json(&mounted, "events/journal/HEAD.json")["next_seq"].as_u64().unwrap();
    assert_eq!(next, longer.lines().count() as u64 + 1);
}

/// Reads begin at marks that lie far apart, and windows of what is read are kept.
#[test]
fn a_long_journal_reads_the_same_from_anywhere() {
    let project = Project::new(&[("a", "a")]);
    for n in 0..40 {
        project.mutate(move |m| {
            for k in 0..50 {
                let note = std::collections::BTreeMap::from([("text", "x".repeat(300 + (n * 50 + k) % 97))]);
                m.observe(
                    tickfs_store::journal::entry::Action::Note,
                    &tickfs_store::journal::entry::ItemType::COMMAND,
                    None,
                    &note,
                )?;
            }
            Ok(())
        });
    }
    let Some(mounted) = project.mount() else { return };
    for name in ["events/events.jsonl", "events/events.json"] {
        let path = mounted.path(name);
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len() as u64, fs::metadata(&path).unwrap().len());
        assert!(whole.len() > 700_000, "{} bytes", whole.len());
        let file = fs::File::open(&path).unwrap();
        for at in [0_usize, 1, 262_143, 262_144, 524_287, 524_288, 600_001, whole.len() - 3, whole.len()] {
            let mut buffer = vec![0; 70_000];
            let count = std::os::unix::fs::FileExt::read_at(&file, &mut buffer, at as u64).unwrap();
            let end = whole.len().min(at + buffer.len());
            assert!(count > 0 || at == whole.len());
            assert_eq!(buffer[..count], whole[at..end][..count], "{name} at {at}");
        }
    }
    let array: Vec<Value> =
        serde_json::from_slice(&fs::read(mounted.path("events/events.json")).unwrap()).unwrap();
    assert_eq!(array.len(), text(&mounted, "events/events.jsonl").lines().count());
}

#[test]
fn a_state_is_had_at_each_of_its_revisions() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    for step in 1..=3 {
        let document = serde_json::json!({ "step": step }).as_object().unwrap().clone();
        project.mutate(move |m| m.put_document("plan/a", &document));
    }
    assert_eq!(names(&mounted.path("state")), ["plan%2Fa"]);
    assert_eq!(names(&mounted.path("state/plan%2Fa")), ["@1", "@2", "@3", "@HEAD", "deltas.jsonl"]);
    assert_eq!(json(&mounted, "state/plan%2Fa/@2")["step"], 2);
    assert_eq!(json(&mounted, "state/plan%2Fa/@HEAD")["step"], 3);
    assert_eq!(text(&mounted, "state/plan%2Fa/deltas.jsonl").lines().count(), 3);
}

/// Generated files are for the user who mounted, and are as long as they say.
#[test]
fn sizes_are_exact_and_generated_files_are_for_their_user() {
    let project = project();
    let Some(mounted) = project.mount() else { return };
    let output = Command::new("find").arg(mounted.root()).args(["-type", "f", "-print0"]).output().unwrap();
    let mut seen = 0;
    for path in output.stdout.split(|&b| b == 0).filter(|path| !path.is_empty()) {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        if path.ends_with("stats.json") {
            continue;
        }
        let file = fs::File::open(path).unwrap();
        let said = file.metadata().unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &file, &mut bytes).unwrap();
        assert_eq!(said.len(), bytes.len() as u64, "{}", path.display());
        let in_tree = path.components().any(|part| part.as_os_str().as_bytes().starts_with(b"@"));
        let version = path.ends_with("before") || path.ends_with("after");
        let expected = if in_tree && !path.ends_with("@log") || version { 0o644 } else { 0o400 };
        assert_eq!(said.mode() & 0o7777, expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 50, "only {seen} files were found");
}

//! The history of one file, shown alone.

use std::fs;

use tickfs_fs::Options;
use tickfs_store::history::Stand;
use tickfs_store::ids::{BranchNo, Tick};
use tickfs_tests::mount::{Mounted, Project, rel};

use crate::layout::names;

/// src/app.py changes at 1, 3 and, forked from 1, at 4; another file at 2.
fn project() -> Project {
    let project = Project::new(&[("src/app.py", "base\n"), ("src/other.py", "x\n"), ("top", "y\n")]);
    assert_eq!(project.save("src/app.py", "one\n"), Tick(1));
    assert_eq!(project.save("src/other.py", "two\n"), Tick(2));
    assert_eq!(project.save("src/app.py", "three\n"), Tick(3));
    project.mutate(|m| {
        m.move_cursor(Stand { branch: BranchNo::MAIN, tick: Tick(1), partial: Vec::new() }, "revert")
    });
    assert_eq!(project.save("src/app.py", "four\n"), Tick(4));
    project
}

fn mount(project: &Project) -> Option<Mounted> {
    project.mount_with(Options { single: Some(rel("src/app.py")), ..Options::default() })
}

#[test]
fn a_point_of_a_single_file_is_the_file_itself() {
    let project = project();
    let Some(mounted) = mount(&project) else { return };
    let text = |name: &str| fs::read_to_string(mounted.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let link = |name: &str| fs::read_link(mounted.path(name)).unwrap().display().to_string();
    let main = ["@0.py", "@1.py", "@3.py", "@HEAD.py", "README", "branch.json", "log"];
    assert_eq!(names(&mounted.path("branches/main")), main);
    assert!(fs::symlink_metadata(mounted.path("branches/main/@3")).unwrap().is_file());
    assert_eq!(text("branches/main/@3"), "three\n");
    assert_eq!(text("branches/main/@3.py"), "three\n");
    assert_eq!(link("branches/main/@2.py"), "@1.py");
    assert_eq!(link("branches/main/@HEAD"), "@3.py");
    assert_eq!(link("branches/main-1/@1"), "../main/@1.py");
    assert_eq!(text("branches/main-1/@HEAD.py"), "four\n");
    assert_eq!(link("now"), "branches/main-1/@4.py");
    assert!(fs::symlink_metadata(mounted.path("branches/main/@4.py")).is_err());
    assert_eq!(text("branches/main/log").lines().count(), 2);
    let chain: serde_json::Value = serde_json::from_str(&text("branches/main/branch.json")).unwrap();
    assert_eq!(chain["diff_chain"], serde_json::json!([1, 3]));
}

#[test]
fn the_rest_of_the_layout_is_about_that_file_alone() {
    let project = project();
    let Some(mounted) = mount(&project) else { return };
    assert_eq!(names(&mounted.path("ticks")), ["1", "3", "4", "README"]);
    assert!(fs::symlink_metadata(mounted.path("ticks/2")).is_err());
    assert_eq!(fs::read_to_string(mounted.path("ticks/3/tree")).unwrap(), "three\n");
    assert_eq!(names(&mounted.path("files")), ["src"]);
    assert_eq!(names(&mounted.path("files/src")), ["app.py"]);
    assert!(fs::symlink_metadata(mounted.path("files/src/other.py")).is_err());
    assert_eq!(names(&mounted.path("deleted")), Vec::<String>::new());
    assert!(fs::read_to_string(mounted.path("diff/0..main@3.patch")).unwrap().contains("+three"));
    assert_eq!(
        names(&mounted.path("codevovle")),
        ["branches", "config.json", "diffs", "snapshots", "state.json"]
    );
    assert_eq!(names(&mounted.path("codevovle/diffs")), ["1.diff", "3.diff", "4.diff"]);
    project.save("src/app.py", "five\n");
    assert_eq!(fs::read_to_string(mounted.path("now")).unwrap(), "five\n");
    assert!(names(&mounted.path("ticks")).contains(&"5".to_owned()));
}

//! What is copied out of a tree at a tick is exactly what was there.

use crate::sample::{Scene, Thing, assert_same_trees, scene, shell, shell_command};

/// The scene some ticks later, and what stands there then as an ordinary directory.
fn later(scene: &mut Scene) -> std::path::PathBuf {
    let (project, sample) = (&scene.project, &mut scene.now);
    sample.save(project, "src/app.py", Thing::file("def answer():\n    return 3\n"));
    sample.save(project, "bin/tool.sh", Thing::file("#!/bin/sh\necho the newest tool\n").mode(0o711));
    sample.rename(project, "src/deep", "moved");
    sample.remove(project, "data");
    sample.save(project, "data", Thing::link("moved/er"));
    sample.save(project, "another", Thing::dir(0o2775));
    sample.save(project, "spool", Thing::dir(0o700));
    let plain = project.scratch().join("plain-later");
    sample.write(&plain);
    plain
}

#[track_caller]
fn copied_by(programs: &[&str], script: &str) {
    let Some(mut scene) = scene(programs) else { return };
    let scratch = scene.project.scratch().to_path_buf();
    let copy = |from: &std::path::Path, name: &str| {
        let to = scratch.join(name);
        std::fs::create_dir(&to).unwrap();
        shell(from, &script.replace("TO", to.to_str().unwrap()));
        to
    };
    assert_same_trees(&copy(&scene.old, "copy"), &scene.plain);
    let plain = later(&mut scene);
    assert_same_trees(&copy(&scene.mounted.path("branches/main/@HEAD/"), "copy-later"), &plain);
    assert_same_trees(&scene.mounted.path("branches/main/@HEAD/"), &plain);
}

#[test]
fn tar_extracts_exactly_what_was_there() {
    copied_by(&["tar"], "tar -c --format=posix . | tar -x -p --same-owner -C TO");
}

#[test]
fn cp_copies_exactly_what_was_there() {
    copied_by(&["cp"], "cp -a . TO");
}

#[test]
fn rsync_copies_exactly_what_was_there() {
    copied_by(&["rsync"], "rsync -a ./ TO/");
}

#[test]
fn a_second_rsync_finds_nothing_to_do() {
    let Some(scene) = scene(&["rsync"]) else { return };
    let script = format!("rsync -a --itemize-changes ./ {}/", scene.plain.display());
    assert_eq!(shell(&scene.old, &script), "");
    let newer = scene.mounted.path("branches/main/@HEAD/");
    assert!(shell(&newer, &script).contains("src/app.py"));
}

#[test]
fn what_was_truncated_on_the_way_is_not_taken_for_the_tree() {
    let Some(scene) = scene(&["tar"]) else { return };
    let copy = scene.project.scratch().join("copy");
    std::fs::create_dir(&copy).unwrap();
    // The plain format keeps whole seconds: the comparison must see that.
    shell(&scene.old, &format!("tar -c --format=gnu . | tar -x -p -C {}", copy.display()));
    let compared = std::panic::catch_unwind(|| assert_same_trees(&copy, &scene.plain));
    assert!(compared.is_err());
    assert!(
        shell_command(&copy, "diff -r --no-dereference . \"$PLAIN\"")
            .env("PLAIN", &scene.plain)
            .status()
            .unwrap()
            .success()
    );
}

//! What programs need not open: what the kernel knows to be the same, and what nobody lists.

use std::collections::BTreeSet;
use std::fs;

use tickfs_tests::mount::Project;

use crate::sample::{Thing, has, scene, shell, shell_command};

/// The files that a program opened, as `strace` saw it. `None`, after saying `skipped:`, where nothing may be traced.
fn opened(dir: &std::path::Path, script: &str) -> Option<BTreeSet<String>> {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let script =
        format!("strace -f -qq -s 500 -e trace=open,openat,openat2 -o {} {script}", trace.path().display());
    let output = shell_command(dir, &script).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    if complaints.contains("PTRACE") || complaints.contains("ptrace") {
        tickfs_tests::mount::skipped("nothing may be traced here");
        return None;
    }
    assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
    let said = fs::read_to_string(trace.path()).unwrap();
    let files = said.lines().filter(|line| !line.contains("O_DIRECTORY") && !line.contains(" = -1 "));
    let names = files.filter_map(|line| line.split('"').nth(1)).filter(|name| !name.starts_with('/'));
    Some(names.map(str::to_owned).collect())
}

#[test]
fn diff_of_neighbouring_ticks_opens_what_changed_and_nothing_else() {
    if !has("strace") || !has("diff") {
        return;
    }
    let Some(mut scene) = scene(&[]) else { return };
    let branch = scene.mounted.path("branches/main");
    let (project, now) = (&scene.project, &mut scene.now);
    let before = now.save(project, "src/deep/er/mod.c", Thing::file("int main(void) { return 1; }\n")).0 - 1;
    let Some(names) = opened(&branch, &format!("diff -r --no-dereference @{before} @{}", before + 1)) else {
        return;
    };
    let both = [before, before + 1].map(|tick| format!("@{tick}/src/deep/er/mod.c"));
    assert_eq!(names, BTreeSet::from(both));
    // A mode, a rename and a removal leave every content what it was.
    now.save(project, "bin/tool.sh", Thing::file("#!/bin/sh\necho a new tool\n").mode(0o700));
    now.rename(project, "src", "source");
    now.remove(project, "data/noise.bin");
    let script = format!("diff -r --no-dereference @{}/data @{}/data", before + 1, before + 4);
    assert_eq!(opened(&branch, &script), Some(BTreeSet::new()));
    let script = format!("diff -r --no-dereference @{}/src @{}/source", before + 1, before + 4);
    assert_eq!(opened(&branch, &script), Some(BTreeSet::new()));
    // Trees of other programs are not the same to it: the way of counting sees opens where there are some.
    let plain =
        opened(&branch, &format!("diff -r --no-dereference @0/bin {}/bin", scene.plain.display())).unwrap();
    assert!(plain.contains("@0/bin/tool.sh"), "{plain:?}");
}

/// A careless grep or an indexer sees the base and the newest ticks, whatever the history is long.
#[test]
fn grep_of_the_whole_mount_stays_bounded() {
    if !has("grep") {
        return;
    }
    let project = Project::new(&[("dir/a.txt", "needle 0\n"), ("dir/b.txt", "hay\n")]);
    let Some(mounted) = project.mount() else { return };
    for n in 1..=300 {
        project.save("dir/a.txt", format!("needle {n}\n"));
    }
    let said = shell(mounted.root(), "grep -rlI 'needle [0-9]' branches ticks | cut -d/ -f1-3 | sort -u");
    let trees = said.lines().filter(|line| line.starts_with("branches/main/@"));
    let listed: BTreeSet<String> = trees.map(|line| line.replace("branches/main/@", "")).collect();
    let wanted = std::iter::once(0).chain(269..=300).map(|tick| tick.to_string());
    assert_eq!(listed, wanted.collect::<BTreeSet<String>>());
    let ticks: BTreeSet<&str> = said.lines().filter_map(|line| line.strip_prefix("ticks/")).collect();
    assert!(ticks.len() <= 2 * 32 * 4, "{ticks:?}");
    // All of the mount: it ends, and what could not be read is none.
    shell(mounted.root(), "grep -rc needle . >/dev/null");
}

//! Programs that know nothing of tickfs say of an old tree what they say of an ordinary directory with the same content.

use std::fs;

use crate::sample::{Thing, assert_same_trees, scene, shell, shell_command};

#[test]
fn ls_lists_the_same() {
    let Some(scene) = scene(&["ls"]) else { return };
    // A disk counts links and bytes of directories in its own way; we say 1 and 0.
    let script = "ls -lRA --time-style=full-iso | sed -E '/^total /d; s/^(d\\S+) +[0-9]+ (\\S+) (\\S+) +[0-9]+/\\1 \\2 \\3/; s/ +/ /g'";
    let said = scene.says_the_same(script);
    assert!(said.contains("tool.sh") && said.contains("to-nowhere -> no/such/thing"), "{said}");
}

#[test]
fn cat_reads_the_same() {
    let Some(scene) = scene(&["cat"]) else { return };
    let said = scene.says_the_same("find . -type f -print0 | sort -z | xargs -0 cat --");
    assert!(said.contains("return 1") && !said.contains("return 2"));
}

#[test]
fn stat_says_the_same() {
    let Some(scene) = scene(&["stat"]) else { return };
    scene.says_the_same(
        "find . ! -type d -print0 | sort -z | xargs -0 stat -c '%n %F %a %h %u %g %s %b %B %y'",
    );
    scene.says_the_same("find . -type d -print0 | sort -z | xargs -0 stat -c '%n %F %a %u %g %y'");
}

#[test]
fn find_finds_the_same() {
    let Some(scene) = scene(&["find"]) else { return };
    let said = scene.says_the_same("find . -newer bin/tool.sh -print0 | sort -z | tr '\\0' '\\n'");
    assert!(said.contains("./data/noise.bin") && !said.contains("app.py"), "{said}");
    scene.says_the_same("find . -type d | sort");
    scene.says_the_same("find . -empty -o -perm -u+x -o -size +100k | sort");
    scene.says_the_same("find -L . -type f -name '*.py' | sort");
}

#[test]
fn du_counts_the_same() {
    let Some(scene) = scene(&["du"]) else { return };
    scene.says_the_same("find . -type f -print0 | sort -z | xargs -0 du -b");
    scene.says_the_same("find . -type f -print0 | sort -z | xargs -0 du -k");
}

#[test]
fn df_knows_the_mount() {
    let Some(scene) = scene(&["df"]) else { return };
    let said = shell(&scene.old, "df --output=fstype,source,used,avail . | tail -1");
    let fields: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(fields[..2], ["fuse.tickfs", "tickfs"]);
    assert!(fields[2].parse::<u64>().unwrap() > 0 && fields[3] == "0", "{said}");
}

#[test]
fn grep_finds_the_same() {
    let Some(scene) = scene(&["grep"]) else { return };
    let said = scene.says_the_same("grep -rn -e TODO -e 'return [0-9]' . | sort");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn diff_tells_trees_apart_and_same_trees_not() {
    let Some(scene) = scene(&["diff"]) else { return };
    let compare = |one: &str| {
        let script = format!("diff -r --no-dereference \"$PLAIN\" {one}");
        shell_command(&scene.old, &script).env("PLAIN", &scene.plain).output().unwrap()
    };
    let same = compare(".");
    assert!(same.status.success() && same.stdout.is_empty(), "{same:?}");
    let other = compare("../@HEAD/");
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(said.contains(": README.md\n") && said.contains("return 2"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("diff ")).count(), 2, "{said}");
}

#[test]
fn file_recognises_the_same() {
    let Some(scene) = scene(&["file"]) else { return };
    scene.says_the_same("find . -print0 | sort -z | xargs -0 file --");
}

#[test]
fn sha256sum_checks_what_was_summed_on_disk() {
    let Some(scene) = scene(&["sha256sum"]) else { return };
    let script = "find . -type f -print0 | xargs -0 sha256sum -- > ../sums";
    shell(&scene.plain, script);
    let sums = scene.project.scratch().join("sums");
    let check =
        |dir| shell_command(dir, "sha256sum --quiet -c \"$SUMS\"").env("SUMS", &sums).output().unwrap();
    let checked = check(&scene.old);
    assert!(checked.status.success() && checked.stdout.is_empty(), "{checked:?}");
    assert!(!check(&scene.mounted.path("branches/main/@HEAD/")).status.success());
}

#[test]
fn git_compares_two_ticks() {
    let Some(scene) = scene(&["git"]) else { return };
    let script = "git diff --no-index --name-status @0/ @HEAD/ || [ $? = 1 ]";
    let said = shell(&scene.mounted.path("branches/main"), script);
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["D\t@0/README.md", "M\t@0/bin/tool.sh", "M\t@0/src/app.py"]);
    let against_the_disk = format!("git diff --no-index --exit-code @0/ {}", scene.plain.display());
    assert_eq!(shell(&scene.mounted.path("branches/main"), &against_the_disk), "");
}

#[test]
fn vim_shows_an_old_version_and_compares_it_with_the_new_one() {
    let Some(scene) = scene(&["vim"]) else { return };
    let out = scene.project.scratch().join("vim-said");
    let vim = |arguments: &str| {
        let script = format!("vim -u NONE -i NONE -n -es {arguments} -c 'qa!'");
        let mut command = shell_command(&scene.old, &script);
        assert!(command.env("OUT", &out).status().unwrap().success(), "{script}");
        fs::read_to_string(&out).unwrap()
    };
    assert_eq!(vim("-R -c 'w! $OUT' src/app.py"), "def answer():\n    return 1\n");
    assert_eq!(vim("-R -c 'call writefile([&ro, line(\"$\")], $OUT)' data/lines.txt"), "1\n20000\n");
    let differing =
        "-d -c 'call writefile([winnr(\"$\"), diff_hlID(1, 1) != 0, diff_hlID(2, 1) != 0], $OUT)'";
    assert_eq!(vim(&format!("{differing} src/app.py ../@HEAD/src/app.py")), "2\n0\n1\n");
    // Both versions as they lie under `files/`, whose names end so that vim knows the syntax.
    let kind = "-R -c 'filetype on' -c 'edit' -c 'call writefile([&filetype], $OUT)' ../../../files/src/app.py/@0.py";
    assert_eq!(vim(kind), "python\n");
}

#[test]
fn python_imports_from_an_old_tree() {
    let Some(scene) = scene(&["python3"]) else { return };
    let script = "python3 -c 'import sys; sys.path.insert(0, \"src\"); import app; print(app.answer())'";
    assert_eq!(shell(&scene.old, script), "1\n");
    assert_eq!(shell(&scene.mounted.path("branches/main/@HEAD/"), script), "2\n");
}

#[test]
fn an_old_script_runs() {
    let Some(scene) = scene(&["sh"]) else { return };
    assert_eq!(shell(&scene.old, "bin/tool.sh"), "an old tool\n");
    assert!(!shell_command(&scene.old, "./README.md").status().unwrap().success(), "it is no program");
}

#[test]
fn cargo_builds_an_old_tree_with_its_target_elsewhere() {
    let Some(mut scene) = scene(&["cargo"]) else { return };
    let (project, sample) = (&scene.project, &mut scene.now);
    let manifest = "[package]\nname = \"old\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    let lock = "version = 3\n\n[[package]]\nname = \"old\"\nversion = \"0.1.0\"\n";
    for dir in ["crate", "crate/src"] {
        sample.save(project, dir, Thing::dir(0o755));
    }
    sample.save(project, "crate/Cargo.toml", Thing::file(manifest));
    sample.save(project, "crate/Cargo.lock", Thing::file(lock));
    let main = |said: &str| Thing::file(format!("fn main() {{ println!(\"{said}\"); }}\n"));
    let old = sample.save(project, "crate/src/main.rs", main("as it was"));
    sample.save(project, "crate/src/main.rs", main("as it is"));
    let target = project.scratch().join("target");
    let tree = scene.mounted.path(&format!("branches/main/@{old}/crate"));
    let mut build = std::process::Command::new("cargo");
    build.args(["run", "--quiet", "--offline", "--locked", "--target-dir"]).arg(&target);
    // What surrounds this test is not what surrounds that crate.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
        build.env_remove(name);
    }
    let output = build.current_dir(&tree).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "as it was\n", "{output:?}");
}

#[test]
fn patch_makes_of_each_version_the_next() {
    let Some(scene) = scene(&["patch"]) else { return };
    let (project, root) = (&scene.project, scene.mounted.root().to_path_buf());
    let mut lines: Vec<String> = (0..200).map(|n| format!("line {n}\n")).collect();
    project.save("notes.txt", lines.concat());
    lines[3] = "another line\n".to_owned();
    lines.remove(90);
    lines.push("no newline at the end".to_owned());
    let modified = project.save("notes.txt", lines.concat());
    let created = project.save("src/new.c", "int x;\n");
    let removed = project.remove("src/new.c");
    let work = project.scratch().join("work");
    let apply = |tick| {
        let script =
            "cp -a \"$ROOT/branches/main/@$BEFORE/.\" . && patch -s -p1 < \"$ROOT/ticks/$TICK/diff\"";
        fs::create_dir(&work).unwrap();
        let mut command = shell_command(&work, script);
        command.env("ROOT", &root).env("BEFORE", format!("{}", tick - 1)).env("TICK", format!("{tick}"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "tick {tick}: {output:?}");
        let after = root.join(format!("branches/main/@{tick}"));
        let script = "diff -r --no-dereference . \"$AFTER\"";
        assert!(shell_command(&work, script).env("AFTER", &after).status().unwrap().success(), "tick {tick}");
        fs::remove_dir_all(&work).unwrap();
    };
    for tick in [modified, created, removed] {
        apply(tick.0);
    }
}

#[test]
fn two_trees_of_one_content_are_the_same_to_every_comparison() {
    let Some(scene) = scene(&["diff"]) else { return };
    assert_same_trees(&scene.old, &scene.plain);
    assert_same_trees(&scene.old, &scene.old);
}

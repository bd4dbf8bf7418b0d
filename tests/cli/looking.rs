//! Looking at history by commands: status, log, show, diff, grep.

use crate::bench::{Bench, NOW, is_installed, rel};

/// Ticks: 1 `src/a`, 2 a directory `src`… as they come; a burst of three at the end.
fn sample() -> Bench {
    let bench = Bench::with_store();
    bench.save("src/a", "zero\n");
    assert_eq!(bench.save("src/a", "zero\none\n"), 1);
    std::fs::rename(bench.path("app/src/a"), bench.path("app/src/b")).unwrap();
    assert_eq!(bench.record(), 2);
    for name in ["x", "y", "z"] {
        std::fs::write(bench.path("app").join(name), format!("{name}\n")).unwrap();
    }
    assert_eq!(bench.record(), 5);
    bench
}

/// Shows CV-92, CV-93.
#[test]
fn cli_status_says_where_a_file_stands_as_the_layout_does() {
    let bench = Bench::with_store();
    bench.save("a", "zero\n");
    for n in 1..=3 {
        bench.save("a", format!("{n}\n"));
    }
    bench.done(&["revert", "--at", "2"]);
    let shown = bench.done(&["status", "--file", "a"]);
    let value = |label: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(&format!("{label}:")));
        line.unwrap_or_else(|| panic!("no {label} in {shown}")).trim().to_owned()
    };
    let (state, config) = (bench.codevovle("state.json"), bench.codevovle("config.json"));
    let branch = bench.codevovle("branches/main.json");
    assert_eq!(value("active branch"), state["cursor"]["a"]["active_branch"].as_str().unwrap());
    assert_eq!(value("current tick"), state["cursor"]["a"]["current_tick"].to_string());
    assert_eq!(value("branch head"), branch["diff_chain"].as_array().unwrap().last().unwrap().to_string());
    assert_eq!(value("last tick"), config["a"]["last_tick"].to_string());
    assert_eq!(value("interval"), "none, changes are noticed as they happen");
    assert!(config["a"]["interval"].is_null());
    assert_eq!(value("counts"), "3 ticks, 1 branch, 0 snapshots");
    let json = bench.json(&["status", "--json"]);
    assert_eq!(bench.json(&["status", ".", "--json"]), json);
    assert_eq!(bench.json(&["status", "a", "--json"]), bench.json(&["status", "--file", "a", "--json"]));
    assert_eq!((&json["current_tick"], &json["attached"]), (&2.into(), &false.into()));
}

/// Shows CV-94.
#[test]
fn cli_status_of_what_is_not_tracked_says_so_and_makes_nothing() {
    let bench = Bench::new();
    let shown = bench.done(&["status"]);
    assert!(shown.starts_with("root:           not tracked: no store records this\n"), "{shown}");
    assert!(!bench.path(".app.tickfs").exists());
    assert_eq!(bench.run(&["init"]).status, 0);
    assert_eq!(bench.run(&["status"]).status, 0);
    bench.record();
    let shown = bench.done(&["status", "--file", "nothing"]);
    assert!(shown.starts_with("file:           nothing is not tracked\n"), "{shown}");
}

/// Shows CV-95.
#[test]
fn cli_status_writes_nothing() {
    let bench = sample();
    let before = bench.bytes_of_store();
    bench.done(&["status"]);
    bench.done(&["status", "--file", "src/b", "--json"]);
    assert_eq!(bench.bytes_of_store(), before);
}

/// Shows CV-96.
#[test]
fn cli_status_of_a_damaged_store_says_what_is_damaged_and_mends_nothing() {
    let bench = sample();
    let scope = bench.path(".app.tickfs/SCOPE");
    std::fs::write(&scope, "{").unwrap();
    let shown = bench.run(&["status", "--store", "../.app.tickfs"]);
    assert_eq!(shown.status, 1);
    assert!(
        shown.stderr.contains("damaged at byte 0") && shown.stderr.contains("/p/.app.tickfs/SCOPE"),
        "{}",
        shown.stderr
    );
    assert_eq!(std::fs::read_to_string(&scope).unwrap(), "{");
}

#[test]
fn cli_status_says_what_is_not_recorded_and_why() {
    let bench = Bench::with_store();
    std::fs::create_dir_all(bench.path("app/node_modules/x")).unwrap();
    std::fs::write(bench.path("app/.gitignore"), "*.log\n").unwrap();
    std::fs::write(bench.path("app/noise.log"), "x").unwrap();
    bench.record();
    let shown = bench.done(&["status"]);
    let (_, list) = shown.split_once("not recorded:\n").unwrap();
    assert!(list.contains("node_modules") && list.contains("ignored by default (node_modules/)"), "{list}");
    assert!(list.contains("noise.log") && list.contains(".gitignore (*.log)"), "{list}");
}

#[test]
fn cli_log_show_diff_and_grep_as_people_read_them() {
    let bench = sample();
    bench.golden(
        "looking",
        &[
            &["log"],
            &["log", "--each"],
            &["log", "-n", "1"],
            &["log", "src/b", "-p"],
            &["log", "src", "--since", "1"],
            &["show", "2"],
            &["show", "1"],
            &["show", "src", "--at", "2"],
            &["diff", "0", "3"],
            &["diff", "0"],
            &["diff", "0", "--stat"],
            &["diff", "0", "--name-only"],
            &["diff", "0", "1", "--json"],
            &["diff", "0", "--", "x"],
            &["grep", "^one"],
            &["grep", "ONE", "-i", "--at", "1"],
            &["grep", "zero", "--all"],
            &["grep", "o.e", "--json"],
        ],
    );
}

#[test]
fn cli_a_log_has_a_star_where_the_project_stands_after_a_revert() {
    let bench = sample();
    let starred = || {
        let log = bench.done(&["log"]) + &bench.done(&["log", "--each"]);
        let stars = log.lines().filter(|line| line.starts_with('*'));
        stars.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(starred(), [""; 0]);
    bench.done(&["revert", "--at", "2"]);
    assert_eq!(starred(), ["@2", "@2"]);
    bench.done(&["revert", "--at", "4"]);
    assert_eq!(starred(), ["@5", "@4"], "within a burst");
    bench.done(&["undo"]);
    bench.done(&["branch", "jump", "main"]);
    assert_eq!(starred(), [""; 0]);
}

#[test]
fn cli_a_log_in_json_has_an_object_for_each_tick() {
    let bench = sample();
    let log = bench.json(&["log", "--json", "--since", "3"]);
    let ticks: Vec<_> =
        log.as_array().unwrap().iter().map(|tick| (&tick["tick"], &tick["path"], &tick["burst"])).collect();
    assert_eq!(ticks, [(&5.into(), &"z".into(), &3.into()), (&4.into(), &"y".into(), &3.into())]);
    assert_eq!(bench.json(&["log", "--json", "--since", "5"]), serde_json::json!([]));
}

#[test]
fn cli_a_diff_is_what_patch_takes_from_one_tree_to_the_other() {
    if !is_installed("patch") {
        return;
    }
    let bench = Bench::with_store();
    bench.save("a", "one\ntwo\nthree\n");
    bench.save("d/b", "kept\n");
    bench.save("a", "one\n2\nthree\nfour");
    bench.save("d/new file", "new\n");
    let diff = bench.run(&["diff", "0"]).stdout;
    std::fs::write(bench.path("the.patch"), diff).unwrap();
    bench.done(&["revert", "--at", "0"]);
    let mut patch = bench.command("patch");
    patch.args(["-p1", "-i", "../the.patch"]);
    let shown = bench.shown(&mut patch);
    assert_eq!(shown.status, 0, "{}{}", shown.stdout, shown.stderr);
    assert_eq!(bench.text("a").as_deref(), Some("one\n2\nthree\nfour"));
    assert_eq!(bench.text("d/new file").as_deref(), Some("new\n"));
}

/// The order of the lines is the order of the ticks, whatever the portions in which they are read.
#[test]
fn cli_a_long_log_names_every_tick_of_its_branch_once() {
    let bench = Bench::with_store();
    bench.save("a", "zero\n");
    let writer = bench.writer();
    for n in 0..1_300_u32 {
        let meta = crate::bench::meta(tickfs_store::journal::entry::NodeType::File);
        let text = n.to_string().into_bytes();
        writer.mutate(NOW, move |m| m.save(&rel("a"), &meta, tickfs_store::Content::Bytes(text))).unwrap();
    }
    drop(writer);
    let ticks = |args: &[&str]| -> Vec<u64> {
        let lines = bench.done(args);
        let tick = |line: &str| line.trim_start().split(' ').next()?.strip_prefix('@')?.parse().ok();
        lines.lines().filter_map(tick).collect()
    };
    let all: Vec<u64> = (1..=1_300).rev().collect();
    assert_eq!(ticks(&["log"]), all);
    assert_eq!(ticks(&["log", "a"]), all);
    assert_eq!(ticks(&["log", "--since", "1290"]), &all[..10]);
    assert_eq!(bench.json(&["log", "--json"]).as_array().unwrap().len(), 1_300);
}

/// Within a repository what git ignores for its owner is noise here too; elsewhere git has no say.
#[test]
fn cli_status_names_what_gits_own_ignore_file_excludes() {
    for (ignores, line) in [
        (
            "home/.config/git/ignore",
            "git's core.excludesFile (*.noise); !*.noise in .tickfsignore records it",
        ),
        ("home/mine", "git's core.excludesFile (*.noise); !*.noise in .tickfsignore records it"),
    ] {
        let bench = Bench::new();
        let write = |name: &str, text: &str| {
            let path = bench.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(ignores, "*.noise\n");
        write("home/.gitconfig", &format!("[core]\n\texcludesFile = {}\n", bench.path(ignores).display()));
        for name in ["app/a.noise", "app/b.noise", "app/c"] {
            write(name, "x");
        }
        write("app/.tickfsignore", "!b.noise\n");
        bench.done(&["init"]);
        let told = |bench: &Bench| bench.done(&["status"]).contains(line);
        assert!(!told(&bench), "it is in no repository");
        write("app/.git/HEAD", "ref: refs/heads/main\n");
        assert!(told(&bench), "{}", bench.done(&["status"]));
        bench.done(&["snapshot", "create", "mine"]);
        let seen: Vec<bool> = ["a.noise", "b.noise", "c"]
            .iter()
            .map(|name| bench.run(&["show", name, "--at", "0"]).status == 0)
            .collect();
        assert_eq!(seen, [false, true, true]);
    }
}

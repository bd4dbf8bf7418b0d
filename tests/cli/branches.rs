//! Branches by commands: list, create, rename, jump.

use std::process::Stdio;
use std::time::Duration;

use crate::bench::{Bench, TICKFS};

fn sample() -> Bench {
    let bench = Bench::with_store();
    bench.save("a", "zero\n");
    bench.save("a", "one\n");
    bench.save("a", "two\n");
    bench
}

fn labels(bench: &Bench) -> Vec<String> {
    let list = bench.json(&["branch", "list", "--json"]);
    list.as_array().unwrap().iter().map(|b| b["label"].as_str().unwrap().to_owned()).collect()
}

/// Shows CV-97, CV-98, CV-163.
#[test]
fn cli_branches_are_listed_as_they_are() {
    let bench = sample();
    bench.done(&["revert", "--at", "1"]);
    bench.save("a", "forked\n");
    let table = bench.done(&["branch", "list"]);
    assert_eq!(
        table,
        "   main    @2  2 ticks  from the base  just now\n*  main-1  @3  2 ticks  from main@1    just now\n"
    );
    assert_eq!(bench.done(&["branch", "list", "--file", "a"]), table);
    for branch in bench.json(&["branch", "list", "--json"]).as_array().unwrap() {
        let label = branch["label"].as_str().unwrap();
        let file = bench.codevovle(&format!("branches/{label}.json"));
        let chain = file["diff_chain"].as_array().unwrap();
        assert_eq!(branch["head"], *chain.last().unwrap());
        assert_eq!(branch["chain_length"], chain.len());
        assert!(file.get("head").is_none(), "the format has no field for it");
    }
    assert_eq!(bench.json(&["status", "--json"])["branch_head"], 3);
}

/// Shows CV-99, CV-100.
#[test]
fn cli_where_there_is_nothing_to_list_that_is_said_and_nothing_is_made() {
    let bench = Bench::new();
    assert_eq!(bench.done(&["branch", "list"]), "No branches: nothing is recorded here\n");
    assert!(!bench.path(".app.tickfs").exists());
    assert_eq!(bench.run(&["init"]).status, 0);
    assert_eq!(bench.done(&["branch", "list"]), "No branches: nothing is recorded here yet\n");
    bench.record();
    assert_eq!(bench.done(&["branch", "list"]), "*  main  @0  0 ticks  from the base  just now\n");
    bench.done(&["branch", "create", "try"]);
    std::fs::remove_file(bench.path(".app.tickfs/index.db")).unwrap();
    assert_eq!(labels(&bench), ["main", "try"], "a projection that is lost loses no branch");
}

/// Shows CV-101.
#[test]
fn cli_a_damaged_branch_record_hides_no_other_and_is_told_of() {
    let bench = sample();
    for name in ["damaged", "whole"] {
        bench.done(&["branch", "create", name]);
    }
    let segment = bench.path(".app.tickfs/journal/seg-00000001.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap();
    assert_eq!(text.matches("\"damaged\"").count(), 1);
    std::fs::write(&segment, text.replace("\"damaged\"", "\"dammged\"")).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let index = bench.path(&format!(".app.tickfs/index.db{suffix}"));
        if index.exists() {
            std::fs::remove_file(index).unwrap();
        }
    }
    let shown = bench.run(&["branch", "list"]);
    let listed: Vec<&str> =
        shown.stdout.lines().filter_map(|line| line[2..].split_whitespace().next()).collect();
    assert_eq!((listed, shown.status), (vec!["main", "whole"], 0), "{}", shown.stderr);
    assert_eq!(
        shown.stderr,
        "tickfs: the record of branch number 2 does not read: `tickfs doctor` says where it is damaged\n"
    );
}

/// Shows CV-102.
#[test]
fn cli_listing_branches_writes_nothing() {
    let bench = sample();
    let before = bench.bytes_of_store();
    bench.done(&["branch", "list"]);
    assert_eq!(bench.bytes_of_store(), before);
}

/// Shows CV-103, CV-106, CV-107, CV-108, CV-109.
#[test]
fn cli_a_rename_changes_the_name_and_nothing_else() {
    let bench = sample();
    bench.done(&["branch", "create", "child", "--at", "1"]);
    let before = bench.codevovle("branches/main.json");
    assert_eq!(
        bench.done(&["branch", "rename", "main", "trunk", "--file", "a"]),
        "branch main is called trunk now\n"
    );
    let after = bench.codevovle("branches/trunk.json");
    for field in ["id", "diff_chain", "created_at", "parent", "forked_at_tick"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["label"], "trunk");
    assert!(!bench.path("exported/branches/main.json").exists());
    assert_eq!(bench.codevovle("branches/child.json")["parent"], "trunk");
    assert_eq!(bench.codevovle("state.json")["cursor"]["a"]["active_branch"], "trunk", "the cursor follows");
    bench.done(&["branch", "rename", "child", "kid"]);
    assert_eq!(bench.codevovle("state.json")["cursor"]["a"]["active_branch"], "trunk");
    bench.done(&["revert", "--at", "trunk@1"]);
    assert_eq!(bench.text("a").as_deref(), Some("one\n"));
}

/// Shows CV-104, CV-105, CV-111, CV-115.
#[test]
fn cli_names_that_are_taken_or_illegal_or_of_no_branch_are_refused_and_nothing_changes() {
    let bench = sample();
    bench.done(&["branch", "create", "try"]);
    let list = bench.done(&["branch", "list", "--json"]);
    let unknown = bench.refused(&["branch", "rename", "gone", "new"], 1);
    assert_eq!(unknown, "tickfs: there is no branch named \"gone\"");
    let taken = bench.refused(&["branch", "rename", "try", "main"], 1);
    assert_eq!(taken, "tickfs: there is a branch named \"main\" already");
    assert_eq!(bench.refused(&["branch", "jump", "gone"], 1), "tickfs: there is no branch named \"gone\"");
    let long = "x".repeat(300);
    for bad in ["../x", "a/b", "", ".", "..", "@x", "42", "2h", "HEAD", "README", "a\nb", &long] {
        for args in [["branch", "create", bad].as_slice(), &["branch", "rename", "try", bad]] {
            let said = bench.refused(args, 1);
            assert!(said.contains("cannot be a name"), "{bad:?}: {said}");
        }
    }
    assert_eq!(bench.done(&["branch", "list", "--json"]), list);
}

/// Shows CV-112, CV-113, CV-114.
#[test]
fn cli_a_jump_makes_the_branch_active_and_puts_the_root_to_its_head() {
    let bench = sample();
    bench.done(&["branch", "create", "try", "--at", "1"]);
    let said = bench.done(&["branch", "jump", "try"]);
    assert_eq!(said, "jumped to try@1; 1 file changed, 4 bytes\n");
    assert_eq!(bench.text("a").as_deref(), Some("one\n"));
    bench.save("a", "of try\n");
    bench.save("b", "beside\n");
    bench.done(&["branch", "jump", "main"]);
    assert_eq!((bench.text("a").as_deref(), bench.text("b")), (Some("two\n"), None));
    bench.done(&["branch", "jump", "try"]);
    assert_eq!(
        (bench.text("a").as_deref(), bench.text("b").as_deref()),
        (Some("of try\n"), Some("beside\n"))
    );
    let state = bench.codevovle("state.json");
    assert_eq!(state["cursor"]["a"], serde_json::json!({"active_branch": "try", "current_tick": 3}));
    assert!(bench.done(&["branch", "list"]).contains("*  try"));
    let refused = bench.refused(&["branch", "jump", "main", "--file", "a"], 1);
    assert_eq!(
        refused,
        "tickfs: a jump moves all that is recorded, and a is not all of it: `tickfs restore a --at main@HEAD` puts \
         that file alone to the branch's head"
    );
}

/// Shows CV-118.
#[test]
fn cli_one_can_jump_to_a_branch_without_a_tick_of_its_own() {
    let bench = sample();
    bench.done(&["branch", "create", "early", "--at", "1"]);
    bench.done(&["branch", "create", "base", "--at", "0"]);
    for (branch, text) in [("early", "one\n"), ("base", "zero\n"), ("main", "two\n")] {
        bench.done(&["branch", "jump", branch]);
        assert_eq!(bench.text("a").as_deref(), Some(text), "{branch}");
        assert_eq!(bench.record(), 2, "a jump makes no tick");
    }
}

#[test]
fn cli_a_branch_made_while_detached_takes_along_where_the_root_stands() {
    let bench = sample();
    bench.done(&["revert", "--at", "1"]);
    std::fs::write(bench.path("app/a"), "unsaved\n").unwrap();
    let said = bench.done(&["branch", "create", "mine", "--description", "a try"]);
    assert_eq!(said, "branch mine begins here, and is active (tick 3)\nrecorded 1 unsaved change first\n");
    assert_eq!(labels(&bench), ["main", "mine"]);
    assert_eq!(bench.done(&["show", "a", "--at", "mine@HEAD"]), "unsaved\n");
}

/// Shows CV-110.
#[test]
fn cli_a_rename_that_is_killed_leaves_just_one_of_both_names() {
    let bench = sample();
    let mut name = "main".to_owned();
    for n in 0..200_u64 {
        let next = format!("name-x{n}");
        let mut child = bench
            .command(TICKFS)
            .args(["branch", "rename", &name, &next])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(n * 7_919 % 30_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut labels = labels(&bench);
        assert_eq!(labels.len(), 1, "{labels:?}");
        let there = labels.remove(0);
        assert!(there == name || there == next, "{there} is neither {name} nor {next}");
        name = there;
    }
    assert_eq!(bench.done(&["show", "a", "--at", &format!("{name}@1")]), "one\n");
}

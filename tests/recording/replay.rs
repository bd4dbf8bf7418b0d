//! A history of git, checked out commit by commit under a running recorder: every tree is then what git has.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tickfs_store::ids::Tick;

use crate::slow::SlowDisk;
use crate::stage::{Stage, assert_same, has, on_disk, ticks_of};

const COMMITS: usize = 16;

/// Makes a repository in the root whose commits create, change, remove, move, link and chmod. Gives their names.
fn make_history(stage: &Stage, seed: u64) -> Vec<String> {
    let mut chance = fastrand::Rng::with_seed(seed);
    stage.sh("git init -q -b main; git config core.fileMode true; git config gc.auto 0");
    let mut commits = Vec::new();
    for commit in 0..COMMITS {
        let mut script = String::new();
        for _ in 0..chance.usize(1..30) {
            let name = format!("d{}/e{}/f{}", chance.u8(0..4), chance.u8(0..3), chance.u8(0..8));
            let other = format!("d{}/moved{}", chance.u8(0..4), chance.u8(0..6));
            let mut text = format!("{commit}\n");
            for line in 0..chance.usize(0..80) {
                writeln!(text, "line {line} {}", chance.u32(..)).unwrap();
            }
            let step = match chance.u8(0..12) {
                0 => format!("rm -f {name}"),
                1 => format!("if [ -e {name} ]; then mkdir -p $(dirname {other}); mv -T {name} {other}; fi"),
                2 => format!("if [ -e {name} ]; then chmod +x {name}; fi"),
                3 => format!(
                    "d=$(dirname {name}); if [ -f $d ]; then rm $d; fi; mkdir -p $d; ln -sfn target{commit} {name}"
                ),
                4 => {
                    let (d, e) = (chance.u8(0..4), chance.u8(0..3));
                    format!("rm -rf d{d}/e{e}; mkdir -p d{d}; echo file > d{d}/e{e}")
                }
                5 => "rm -rf d3; if [ -e d2 ]; then mv d2 d3; fi".to_owned(),
                _ => format!(
                    "d=$(dirname {name}); if [ -f $d ]; then rm $d; fi; mkdir -p $d; rm -f {name}; cat > {name} <<'END'\n{text}END"
                ),
            };
            writeln!(script, "{step}").unwrap();
        }
        stage.sh(&script);
        stage.sh(&format!("git add -A; git commit -q --allow-empty -m {commit}"));
        let output =
            Command::new("git").args(["rev-parse", "HEAD"]).current_dir(stage.root()).output().unwrap();
        commits.push(String::from_utf8(output.stdout).unwrap().trim().to_owned());
    }
    commits
}

/// What git has of a commit, in a directory of its own.
fn archive(stage: &Stage, commit: &str) -> PathBuf {
    let dir = stage.outside().join(format!("at-{commit}"));
    fs::create_dir(&dir).unwrap();
    stage.sh(&format!("git -c tar.umask=user archive {commit} | tar x -C ../at-{commit}"));
    dir
}

fn assert_trees(stage: &Stage, trees: &[(String, Tick)]) {
    for (commit, tick) in trees {
        let (mut recorded, mut git) = (stage.recorded_at(Some(*tick)), on_disk(&archive(stage, commit)));
        recorded.remove("");
        git.remove("");
        assert_same(&recorded, &git);
    }
}

#[test]
fn every_tree_of_a_replayed_history_is_what_git_has() {
    if !has("git") {
        return;
    }
    let mut stage = Stage::new();
    let commits = make_history(&stage, 1);
    stage.sh(&format!("git checkout -q {}", commits[0]));
    stage.record();
    let mut trees = Vec::new();
    let mut chance = fastrand::Rng::with_seed(2);
    for commit in commits.iter().chain(commits.iter().rev()) {
        stage.sh(&format!("git checkout -q {commit}"));
        // As it settles by itself, or as a command finds it that is in a hurry.
        if chance.bool() {
            std::thread::sleep(Duration::from_millis(chance.u64(0..150)));
        }
        stage.recorder().flush().unwrap();
        trees.push((commit.clone(), stage.store().view().unwrap().last_tick()));
    }
    assert_trees(&stage, &trees[..COMMITS]);
    let (first, last) = (&trees[0], &trees[trees.len() - 1]);
    assert_same(&stage.recorded_at(Some(last.1)), &stage.recorded_at(Some(first.1)));
    assert_eq!(stage.recorder().status().gaps, 0);
}

/// A real history, of the repository that `TICKFS_TEST_REPOSITORY` names: its commits one after the other, as fast as git
/// checks them out, and a recorder that is killed now and then.
#[test]
fn every_tree_of_a_real_history_is_what_git_has() {
    let Some(repository) = std::env::var_os("TICKFS_TEST_REPOSITORY").filter(|_| has("git")) else {
        println!("skipped: TICKFS_TEST_REPOSITORY names no repository");
        return;
    };
    let mut stage = Stage::new();
    let cloned = Command::new("git").args(["clone", "-q"]).arg(&repository).arg(stage.root()).status();
    assert!(cloned.unwrap().success());
    let listed = Command::new("git")
        .args(["log", "--first-parent", "--reverse", "--format=%H"])
        .current_dir(stage.root())
        .output()
        .unwrap();
    let commits: Vec<String> = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    stage.sh(&format!("git checkout -q {}", commits[0]));
    let mut chance = fastrand::Rng::with_seed(5);
    let mut trees = Vec::new();
    let mut killed = 0;
    stage.record();
    for commit in &commits {
        let is_killed = chance.u8(0..10) == 0;
        if is_killed {
            stage.stop();
            let mut recorder = Process::start(&stage);
            stage.sh(&format!("git checkout -q {commit}"));
            std::thread::sleep(Duration::from_millis(chance.u64(0..120)));
            recorder.kill();
            stage.record();
            killed += 1;
        } else {
            stage.sh(&format!("git checkout -q {commit}"));
        }
        stage.recorder().flush().unwrap();
        trees.push((commit.clone(), stage.store().view().unwrap().last_tick()));
    }
    println!("{} commits, {killed} kills, {} ticks", trees.len(), trees.last().unwrap().1);
    for tree in &trees {
        assert_trees(&stage, std::slice::from_ref(tree));
        fs::remove_dir_all(stage.outside().join(format!("at-{}", tree.0))).unwrap();
    }
}

/// The recorder is killed at random moments of checkouts, and started again: it loses nothing and makes nothing up.
#[test]
fn a_recorder_that_is_killed_again_and_again_ends_in_what_git_has() {
    if !has("git") {
        return;
    }
    let mut stage = Stage::new();
    let commits = make_history(&stage, 3);
    stage.sh(&format!("git checkout -q {}", commits[0]));
    stage.record();
    stage.stop();
    let mut chance = fastrand::Rng::with_seed(4);
    let mut trees = Vec::new();
    for commit in &commits {
        let mut recorder = Process::start(&stage);
        stage.sh(&format!("git checkout -q {commit}"));
        std::thread::sleep(Duration::from_millis(chance.u64(0..120)));
        recorder.kill();
        let recorder = Process::start(&stage);
        recorder.stop();
        trees.push((commit.clone(), stage.store().view().unwrap().last_tick()));
    }
    assert_trees(&stage, &trees);
}

const ROOT: &str = "TICKFS_TEST_RECORD";
/// Each fsync takes 20 ms, and each tick is a line.
const SLOW: &str = "TICKFS_TEST_SLOW";

/// A recorder in a process of its own: this program, asked for the test below.
pub(crate) struct Process {
    child: Child,
    /// Kept, because whoever writes into a pipe that nobody reads fails.
    pub(crate) output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Returns when it has recorded what stands there.
    fn start(stage: &Stage) -> Self {
        Self::start_with(stage, &[])
    }

    pub(crate) fn start_slow(stage: &Stage) -> Self {
        Self::start_with(stage, &[(SLOW, "1")])
    }

    fn start_with(stage: &Stage, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "replay::records_where_it_is_told_to", "--nocapture"])
            .env(ROOT, stage.root())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines = output.by_ref().map(Result::unwrap);
        let said: Vec<String> = lines.take_while(|line| !line.ends_with("ready")).collect();
        assert!(child.try_wait().unwrap().is_none(), "it ended: {said:?}");
        Self { child, output }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// No test of its own: what [`Process`] runs, until its standard input ends.
#[test]
fn records_where_it_is_told_to() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let mut stage = Stage::at(Path::new(&root).parent().unwrap());
    let slow = std::env::var_os(SLOW).is_some();
    if slow {
        stage.disk = Arc::new(SlowDisk(Duration::from_millis(20)));
    }
    stage.record();
    println!("\nready");
    loop {
        if !slow {
            break;
        }
        let known = stage.ticks().len();
        stage.await_heard("a tick", |heard| ticks_of(heard).len() > known);
        stage.ticks()[known..].iter().for_each(|tick| println!("tick {}", tick.tick));
    }
    std::io::stdin().lines().for_each(drop);
    stage.stop();
}

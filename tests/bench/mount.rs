//! The mount, beside a FUSE filesystem that does nothing (the floor), a plain directory, and mounts of backup programs.
//!
//! A first pass is over a mount that was just made; of the plain directory it is whatever the machine has in memory.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tickfs_fs::{Mount, Options};
use tickfs_store::Content;
use tickfs_store::path::RelPath;
use tickfs_tests::corpus::Corpus;

use crate::figure::{Figure, Samples, line, timed};
use crate::floor::FloorMount;
use crate::keeping::{self, Durable};
use crate::scratch::{copy, scratch};
use crate::{Size, wide};

pub(crate) fn measure(size: Size) -> Result<()> {
    let scratch = scratch()?;
    let place = Place::new(scratch.path(), size)?;
    place.ready()?;
    place.old_file()?;
    place.passes(size)?;
    place.versions()?;
    place.neighbours()?;
    place.big(size)?;
    wide::measure(size)
}

/// A store with a history, and plain directories that hold what two of its trees do.
struct Place {
    dir: PathBuf,
    store: PathBuf,
    plain: PathBuf,
    tick: u64,
    files: usize,
}

impl Place {
    fn new(dir: &Path, size: Size) -> Result<Self> {
        let corpus = Corpus::named("replay")?;
        let (dir, store, plain) = (dir.to_owned(), dir.join("store"), dir.join("plain"));
        let writer = keeping::init(&store, Durable::Never)?;
        keeping::base_of(&writer, &corpus)?;
        let mut files = 0;
        for file in corpus.base() {
            let file = file?;
            write(&plain, &file.path, &file.bytes)?;
            files += 1;
        }
        let mut tick = 0;
        for (n, save) in corpus.saves().take(size.of(300, 100)).enumerate() {
            let save = save?;
            write(&plain, &save.path, &save.content)?;
            let mut known = std::collections::BTreeSet::new();
            let saved = writer.mutate(keeping::moment(n + 1), move |m| {
                for above in keeping::missing_above(&save.path, &mut known) {
                    m.save(&above, &keeping::directory_meta(), Content::None)?;
                }
                m.save(&save.path, &keeping::file_meta(0o644), Content::Bytes(save.content))
            })?;
            tick = saved.tick().map_or(tick, |tick| tick.0);
        }
        for n in 0..301_usize {
            let text: String =
                (0..300).map(|line| format!("line {line} {}\n", if line == n { n } else { 0 })).collect();
            let path = RelPath::new("many-versions.txt")?;
            writer.mutate(keeping::moment(1_000 + n), move |m| {
                m.save(&path, &keeping::file_meta(0o644), Content::Bytes(text.into_bytes()))
            })?;
        }
        writer.close()?;
        keeping::settle(&store)?;
        Ok(Self { dir, store, plain, tick, files })
    }

    fn mount(&self) -> Result<Mount> {
        let at = self.dir.join("ours");
        fs::create_dir_all(&at)?;
        Ok(Mount::start(keeping::open(&self.store)?.store().clone(), &at, Options::default())?)
    }

    fn tree(&self) -> PathBuf {
        self.dir.join("ours/branches/main").join(format!("@{}", self.tick))
    }

    fn floor(&self) -> Result<FloorMount> {
        FloorMount::of(&self.plain, &self.dir.join("floor"))
    }

    fn ready(&self) -> Result<()> {
        let mut samples = Samples::default();
        for _ in 0..5 {
            let mount = samples.time(|| -> Result<_> {
                let mount = self.mount()?;
                fs::metadata(self.dir.join("ours/README"))?;
                Ok(mount)
            })?;
            drop(mount);
        }
        let what = format!("mount ready, {} ticks", self.tick + 301);
        line(&what, samples.percentile(50), &[], Some(Figure::millis(50.0)));
        Ok(())
    }

    /// Files that nobody has read since the mount was made, without a process for each.
    fn old_file(&self) -> Result<()> {
        let (_mount, _floor) = (self.mount()?, self.floor()?);
        let (mut ours, mut floor) = (Samples::default(), Samples::default());
        for (path, file) in keeping::files_below(&self.plain)?.into_iter().step_by(11) {
            let expected = fs::read(&file)?;
            let there = floor.time(|| fs::read(self.dir.join("floor").join(path.as_path())))?;
            let here = ours.time(|| fs::read(self.tree().join(path.as_path())))?;
            ensure!(there == expected && here == expected, "{path} differs");
        }
        let beside = floor.percentile(50);
        let limit = Figure::Seconds(beside.value() * 3.0);
        line("one old file read, cold, p50", ours.percentile(50), &[("floor", beside)], Some(limit));
        Ok(())
    }

    fn passes(&self, size: Size) -> Result<()> {
        let what: [(&str, &[&str], f64, f64); 3] = [
            ("ls -lR", &["ls", "-lR"], 60.0, 40.0),
            ("grep -r", &["grep", "-rc", "not in any file"], 100.0, 40.0),
            ("tar c", &["tar", "-P", "-cf", "-"], f64::INFINITY, f64::INFINITY),
        ];
        for (name, command, first_limit, second_limit) in what {
            let mut all = self.rounds(command, size)?;
            let peers = peers(&self.dir, &self.plain, command)?;
            for (nth, pass, limit) in [(0, "first", first_limit), (1, "second", second_limit)] {
                let mut figure = |of: usize| all[of][nth].percentile(50);
                let mut beside = vec![("floor", figure(1)), ("plain", figure(2))];
                beside.extend(peers.iter().map(|(name, figures)| (*name, figures[nth])));
                let limit = limit.is_finite().then(|| Figure::millis(limit));
                let what = format!("{name} of {} files at a tick, {pass} pass", self.files);
                line(&what, figure(0), &beside, limit);
            }
            if first_limit.is_finite() {
                let mut all = one_processor(|| self.rounds(command, size))?;
                let mut figure = |of: usize| all[of][0].percentile(50);
                let beside = [("floor", figure(1)), ("plain", figure(2))];
                let what =
                    format!("{name} of the same, first pass, whoever reads and who serves on one processor");
                line(&what, figure(0), &beside, Some(Figure::millis(first_limit)));
            }
        }
        Ok(())
    }

    /// Two passes each over ours, the floor and the plain directory.
    fn rounds(&self, command: &[&str], size: Size) -> Result<[[Samples; 2]; 3]> {
        let mut all: [[Samples; 2]; 3] = Default::default();
        for _ in 0..size.of(7, 3) {
            let mount = self.mount()?;
            pass(command, &self.tree(), &mut all[0])?;
            drop(mount);
            let floor = self.floor()?;
            pass(command, &self.dir.join("floor"), &mut all[1])?;
            drop(floor);
            pass(command, &self.plain, &mut all[2])?;
        }
        Ok(all)
    }

    fn versions(&self) -> Result<()> {
        let _mount = self.mount()?;
        let dir = self.dir.join("ours/files/many-versions.txt");
        for (pass, limit) in [("first", 60.0), ("second", 20.0)] {
            let (read, time) = timed(|| -> Result<usize> {
                let mut read = 0;
                for entry in fs::read_dir(&dir)? {
                    let entry = entry?;
                    if entry.file_type()?.is_file() && entry.file_name() != "@log" {
                        fs::read(entry.path())?;
                        read += 1;
                    }
                }
                Ok(read)
            });
            ensure!(read? == 301, "not all versions are there");
            line(&format!("one file × 301 versions, {pass} pass"), time, &[], Some(Figure::millis(limit)));
        }
        Ok(())
    }

    /// Two neighbouring trees, beside two that share what did not change by hard links.
    fn neighbours(&self) -> Result<()> {
        let (one, two) = (self.dir.join("one"), self.dir.join("two"));
        copy(&self.plain, &one)?;
        let linked = Command::new("cp").arg("-al").arg(&one).arg(&two).status()?;
        ensure!(linked.success(), "cp -al failed");
        let _mount = self.mount()?;
        let before = self.dir.join("ours/branches/main").join(format!("@{}", self.tick - 1));
        let diff = |a: &Path, b: &Path| -> Result<Figure> {
            let (status, time) =
                timed(|| Command::new("diff").arg("-r").args([a, b]).stdout(Stdio::null()).status());
            status?;
            Ok(time)
        };
        let cold = diff(&before, &self.tree())?;
        let mut warm = Vec::new();
        let mut beside = Vec::new();
        for _ in 0..7 {
            warm.push(diff(&before, &self.tree())?.value());
            beside.push(diff(&one, &two)?.value());
        }
        let median = |mut all: Vec<f64>| {
            all.sort_by(f64::total_cmp);
            Figure::Seconds(all[all.len() / 2])
        };
        let beside = median(beside);
        let limit = Figure::Seconds(beside.value() * 1.5);
        line("diff -r of neighbouring ticks, cold", cold, &[("hard links", beside)], None);
        line("diff -r of neighbouring ticks, warm", median(warm), &[("hard links", beside)], Some(limit));
        Ok(())
    }

    /// A file that is longer than what is kept whole, read twice.
    fn big(&self, size: Size) -> Result<()> {
        let len = size.of(256 << 20, 64 << 20);
        let plain = self.dir.join("big.bin");
        let mut random = fastrand::Rng::with_seed(7);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(0..16)).take(len).collect();
        fs::write(&plain, &bytes)?;
        let writer = keeping::open(&self.store)?;
        let path = RelPath::new("big.bin")?;
        let saved = writer.mutate_alone(keeping::moment(5_000), |m| {
            let content = Content::Stream { reader: &mut &bytes[..], size: len as u64 };
            m.save(&path, &keeping::file_meta(0o644), content)
        })?;
        let tick = saved.tick().context("a tick")?;
        drop(writer);
        let _mount = self.mount()?;
        let ours = self.dir.join("ours/branches/main").join(format!("@{tick}/big.bin"));
        let first = read_through(&ours)?;
        let (second, beside) = (read_through(&ours)?, read_through(&plain)?);
        let mb = len / (1 << 20);
        line(&format!("{mb} MiB read, first time"), first, &[("plain", beside)], None);
        let limit = Figure::Seconds(beside.value() / 0.3);
        line(&format!("{mb} MiB read again"), second, &[("plain", beside)], Some(limit));
        Ok(())
    }
}

fn write(root: &Path, path: &RelPath, bytes: &[u8]) -> Result<()> {
    let place = root.join(path.as_path());
    fs::create_dir_all(place.parent().context("a parent")?)?;
    Ok(fs::write(place, bytes)?)
}

/// Lets this thread, and all that it starts meanwhile, run on the first processor alone: nobody wakes another one.
fn one_processor<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None)?;
    let mut first = CpuSet::new();
    first.set((0..CpuSet::MAX_CPU).find(|&cpu| before.is_set(cpu)).context("no processor is allowed")?);
    sched_setaffinity(None, &first)?;
    let result = run();
    sched_setaffinity(None, &before)?;
    result
}

fn pass(command: &[&str], tree: &Path, samples: &mut [Samples; 2]) -> Result<()> {
    for sample in samples {
        let status = sample.time(|| {
            // Not the null device itself, which tar and grep know.
            let output =
                Command::new(command[0]).args(&command[1..]).arg(tree).stdout(Stdio::piped()).spawn();
            output.and_then(std::process::Child::wait_with_output)
        })?;
        ensure!(status.status.code().is_some_and(|code| code <= 1), "{command:?}: {:?}", status.status);
    }
    Ok(())
}

fn read_through(path: &Path) -> Result<Figure> {
    let file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let (read, time) = timed(|| -> Result<u64> {
        let mut at = 0;
        loop {
            match file.read_at(&mut buffer, at)? {
                0 => return Ok(at),
                count => at += count as u64,
            }
        }
    });
    read?;
    Ok(time)
}

/// First and second pass over what backup programs mount, where they are installed.
fn peers(dir: &Path, plain: &Path, command: &[&str]) -> Result<Vec<(&'static str, [Figure; 2])>> {
    let mut figures = Vec::new();
    for peer in [TIMEFS, RESTIC, BORG, BUP] {
        if Command::new(peer.name).arg(peer.version).output().is_err() {
            continue;
        }
        match peer.measure(dir, plain, command) {
            Ok(figure) => figures.push((peer.name, figure)),
            Err(error) => println!("{} could not be measured: {error:#}", peer.name),
        }
    }
    Ok(figures)
}

/// A program that keeps a directory and mounts what it kept: shell words, with `$repo`, `$plain` and `$at` in them.
#[derive(Debug, Clone, Copy)]
struct Peer {
    name: &'static str,
    version: &'static str,
    keep: &'static str,
    mount: &'static str,
    /// Where the tree then is, below the mount point.
    tree: &'static str,
}

/// It shows a git repository; `now` is its head.
const TIMEFS: Peer = Peer {
    name: "timefs",
    version: "--version",
    keep: "git init -q $repo && export GIT_DIR=$repo/.git GIT_WORK_TREE=$plain && \
           git -C $plain add -f . && git -c user.name=x -c user.email=x commit -qm one",
    mount: "exec timefs mount $repo $at -f",
    tree: "now",
};

const RESTIC: Peer = Peer {
    name: "restic",
    version: "version",
    keep: "restic init -q --repo $repo && restic -q --repo $repo backup $plain",
    mount: "exec restic -q --repo $repo mount $at",
    tree: "snapshots/latest/$plain",
};
const BORG: Peer = Peer {
    name: "borg",
    version: "--version",
    keep: "borg init -e none $repo && borg create $repo::one $plain",
    mount: "exec borg mount -f $repo::one $at",
    tree: "$plain",
};
/// A date is between the name and the path; the newest one is called `latest`.
const BUP: Peer = Peer {
    name: "bup",
    version: "--version",
    keep: "bup init && bup index $plain && bup save -q -n one $plain",
    mount: "exec bup fuse -f $at",
    tree: "one/latest/$plain",
};

impl Peer {
    fn shell(self, script: &str, dir: &Path, plain: &Path) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.env("repo", dir.join(format!("{}-repo", self.name))).env("plain", plain);
        shell.env("BUP_DIR", dir.join(format!("{}-repo", self.name)));
        shell.env("at", dir.join(format!("{}-mount", self.name))).env("RESTIC_PASSWORD", "x");
        shell
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        shell
    }

    fn measure(self, dir: &Path, plain: &Path, command: &[&str]) -> Result<[Figure; 2]> {
        let at = dir.join(format!("{}-mount", self.name));
        fs::create_dir_all(&at)?;
        if !dir.join(format!("{}-repo", self.name)).exists() {
            ensure!(self.shell(self.keep, dir, plain).status()?.success(), "it kept nothing");
        }
        let mut server = self.shell(self.mount, dir, plain).spawn()?;
        let full = plain.strip_prefix("/")?.to_str().context("a name that is text")?;
        let below = at.join(self.tree.replace("$plain", full));
        let until = Instant::now() + Duration::from_secs(20);
        while !below.is_dir() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut samples: [Samples; 2] = Default::default();
        let measured = if below.is_dir() { pass(command, &below, &mut samples) } else { bail_absent(&below) };
        let unmounted = Command::new("umount").arg("-l").arg(&at).status();
        server.kill()?;
        server.wait()?;
        unmounted?;
        measured?;
        let [first, second] = &mut samples;
        Ok([first.percentile(50), second.percentile(50)])
    }
}

fn bail_absent(path: &Path) -> Result<()> {
    bail!("{} did not come", path.display())
}

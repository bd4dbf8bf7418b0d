//! The mount at its widest: a directory of very many entries, a tree of very many files, a history of very many ticks; beside them
//! an ext4 that was made for this, where this machine can make one.
//!
//! A first pass is over what was just mounted, also of ext4, whose image the machine has in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tickfs_fs::{Mount, Options};
use tickfs_store::path::RelPath;

use crate::Size;
use crate::figure::{Figure, Samples, line};
use crate::keeping::{self, Durable};
use crate::scale;
use crate::scratch::scratch;

pub(crate) fn measure(size: Size) -> Result<()> {
    let scratch = scratch()?;
    let dir = scratch.path();
    let entries = size.of(100_000, 10_000);
    let name = |n: usize| format!("many/entry-{n:06}.txt");
    let wide = Wide::new(dir, "wide", (0..entries).map(|n| (name(n), format!("{n}\n"))))?;
    wide.listed(entries)?;
    drop(wide);
    let files = size.of(20_000, 4_000);
    let text = |n: usize| format!("line {n} of a file that is a page long\n").repeat(120);
    let name = |n: usize| format!("dir-{:03}/file-{n:05}.txt", n / 100);
    let deep = Wide::new(dir, "deep", (0..files).map(|n| (name(n), text(n)[..4096].to_owned())))?;
    deep.warm("grep -r", &["grep", "-rc", "not in any file"], files)?;
    deep.warm("tar c", &["tar", "-P", "-cf", "-"], files)?;
    drop(deep);
    for (name, paths, ticks) in size
        .of(&[("100k", 10_000, 100_000), ("1M", 100_000, 1_000_000)][..], &[("100k", 10_000, 100_000)][..])
    {
        ready(&dir.join(name), name, *paths, *ticks)?;
    }
    Ok(())
}

/// A store whose base is some files, and an ext4 that holds the same.
struct Wide {
    store: PathBuf,
    ours: PathBuf,
    beside: Option<Ext4>,
}

impl Wide {
    fn new(dir: &Path, name: &str, files: impl Iterator<Item = (String, String)>) -> Result<Self> {
        let dir = dir.join(name);
        fs::create_dir_all(dir.join("ours"))?;
        let (store, ours) = (dir.join("store"), dir.join("ours"));
        let beside = match Ext4::new(&dir) {
            Ok(beside) => Some(beside),
            Err(error) => {
                println!("no ext4 could be made to be measured beside it: {error:#}");
                None
            }
        };
        let place = beside.as_ref().map(|ext4| ext4.at.clone());
        let writer = keeping::init(&store, Durable::Never)?;
        let kept = files.map(|(name, text)| {
            if let Some(place) = &place {
                let path = place.join(&name);
                fs::create_dir_all(path.parent().context("a parent")?)?;
                fs::write(path, &text)?;
            }
            Ok((RelPath::new(name)?, 0o644, text.into_bytes()))
        });
        keeping::base(&writer, kept)?;
        writer.close()?;
        keeping::settle(&store)?;
        Ok(Self { store, ours, beside })
    }

    fn mount(&self) -> Result<Mount> {
        Ok(Mount::start(keeping::open(&self.store)?.store().clone(), &self.ours, Options::default())?)
    }

    fn tree(&self) -> PathBuf {
        self.ours.join("branches/main/@0")
    }

    /// `ls -l` of one directory, as it was never seen, and again.
    fn listed(&self, entries: usize) -> Result<()> {
        let mut ours: [Samples; 2] = Default::default();
        let mut beside: [Samples; 2] = Default::default();
        for _ in 0..3 {
            let mount = self.mount()?;
            for pass in &mut ours {
                pass.time(|| run(&["ls", "-l"], &self.tree().join("many")))?;
            }
            drop(mount);
            let Some(ext4) = &self.beside else { continue };
            ext4.again()?;
            for pass in &mut beside {
                pass.time(|| run(&["ls", "-l"], &ext4.at.join("many")))?;
            }
        }
        for (nth, pass) in ["first", "second"].into_iter().enumerate() {
            let what = format!("ls -l of {entries} entries, {pass} pass");
            compare(&what, &mut ours[nth], self.beside.is_some().then_some(&mut beside[nth]), 1.0);
        }
        Ok(())
    }

    /// A program over all files, once they were all read.
    fn warm(&self, name: &str, command: &[&str], files: usize) -> Result<()> {
        let _mount = self.mount()?;
        let (mut ours, mut beside) = (Samples::default(), Samples::default());
        for nth in 0..6 {
            let places = [Some(self.tree()), self.beside.as_ref().map(|ext4| ext4.at.clone())];
            for (place, samples) in places.into_iter().zip([&mut ours, &mut beside]) {
                let Some(place) = place else { continue };
                match nth {
                    0 => run(command, &place)?,
                    _ => samples.time(|| run(command, &place))?,
                }
            }
        }
        let what = format!("{name} of {files} files at a tick, warm");
        compare(&what, &mut ours, self.beside.is_some().then_some(&mut beside), 1.3);
        Ok(())
    }
}

fn compare(what: &str, ours: &mut Samples, beside: Option<&mut Samples>, times: f64) {
    let beside = beside.map(|samples| samples.percentile(50));
    let limit = beside.map(|beside| Figure::Seconds(beside.value() * times));
    let beside: Vec<(&str, Figure)> = beside.into_iter().map(|figure| ("ext4", figure)).collect();
    line(what, ours.percentile(50), &beside, limit);
}

/// What it prints is read by somebody, because some programs know the null device.
fn run(command: &[&str], at: &Path) -> Result<()> {
    let child = Command::new(command[0]).args(&command[1..]).arg(at).stdout(Stdio::piped()).spawn()?;
    let status = child.wait_with_output()?.status;
    ensure!(status.code().is_some_and(|code| code <= 1), "{command:?}: {status:?}");
    Ok(())
}

/// From the mount to the first name that is found in it.
fn ready(store: &Path, name: &str, paths: usize, ticks: usize) -> Result<()> {
    scale::fill(store, paths, ticks)?;
    let at = store.with_extension("mount");
    fs::create_dir_all(&at)?;
    let mut samples = Samples::default();
    for _ in 0..5 {
        let mount = samples.time(|| -> Result<_> {
            let store = tickfs_store::Store::open(std::sync::Arc::new(tickfs_store::disk::RealDisk), store)?;
            let mount = Mount::start(store, &at, Options::default())?;
            fs::metadata(at.join("branches/main/@HEAD"))?;
            Ok(mount)
        })?;
        drop(mount);
    }
    let what = format!("mount ready, {name} ticks");
    line(&what, samples.percentile(50), &[], Some(Figure::millis(50.0)));
    Ok(fs::remove_dir_all(store)?)
}

/// An ext4 in a file, mounted until it is dropped.
struct Ext4 {
    image: PathBuf,
    at: PathBuf,
}

impl Ext4 {
    fn new(dir: &Path) -> Result<Self> {
        let (image, at) = (dir.join("ext4.image"), dir.join("ext4"));
        fs::File::create(&image)?.set_len(2 << 30)?;
        done(Command::new("mkfs.ext4").args(["-q", "-F", "-N", "300000"]).arg(&image))?;
        fs::create_dir_all(&at)?;
        done(Command::new("mount").args(["-o", "loop"]).args([&image, &at]))?;
        Ok(Self { image, at })
    }

    /// As if nobody had looked at it yet.
    fn again(&self) -> Result<()> {
        done(Command::new("umount").arg(&self.at))?;
        done(Command::new("mount").args(["-o", "loop"]).args([&self.image, &self.at]))
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        if let Err(error) = done(Command::new("umount").arg("-l").arg(&self.at)) {
            println!("{} stays mounted: {error:#}", self.at.display());
        }
    }
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

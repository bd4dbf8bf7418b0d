//! Cuts the power of a disk that holds a real ext4, many times, and asks each time whether what was confirmed is there.
//!
//! A workload writes to ext4 on a loop device whose file logs all that the device is told. From that log come the
//! images that a power cut could have left: whatever was flushed, and a part of the rest. Each is mounted, so that
//! ext4 recovers, and given to the check, with the lines that the workload had said by then.
//!
//! Invariant: nothing stays mounted, attached or running, however this program ends. (A kill leaves an empty directory.)
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to a terminal")]

mod cut;
mod image;
mod medium;
mod mounted;
mod process;
mod recording;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::cut::{Cut, Honesty, Replay, plan};
use crate::image::Image;
use crate::medium::Medium;
use crate::mounted::{LoopDevice, MediumFile, Mounted, run};
use crate::recording::Recording;

/// Cuts the power under a real ext4 and checks that what was confirmed survives.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run on the mounted directory, its last argument. Each line that it prints is a promise that must survive.
    #[arg(long, value_name = "COMMAND", required_unless_present = "replay")]
    workload: Option<String>,
    /// Run on the directory after a cut and a file with the lines that must hold. Fails, and says why, if they do not.
    #[arg(long, value_name = "COMMAND")]
    check: String,
    /// Chooses the cuts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cuts to check.
    #[arg(long, default_value_t = 200)]
    images: usize,
    /// Check only the image of this number.
    #[arg(long, value_name = "NUMBER")]
    only: Option<usize>,
    /// Control: tells the workload not to fsync (TICKFS_TEST_NO_FSYNC=1). Succeeds if the check then fails.
    #[arg(long)]
    no_fsync: bool,
    /// Control: a disk that ignores flushes. Succeeds if the check then fails.
    #[arg(long)]
    ignore_flushes: bool,
    /// The size of the disk.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(16..=4096))]
    disk_mib: u64,
    /// Mount options of ext4. By default it does not guess where an fsync was forgotten before a rename.
    #[arg(long, default_value = "noauto_da_alloc")]
    mount_options: String,
    /// Where the recording is kept if a check fails.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/powercut")]
    keep: PathBuf,
    /// Check a recording that was kept, instead of making one.
    #[arg(long, value_name = "DIRECTORY")]
    replay: Option<PathBuf>,
    /// Set by this program itself, once it is in a mount namespace of its own.
    #[arg(long, hide = true)]
    alone: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return ExitCode::SUCCESS;
    }
    let outcome = if arguments.alone { cut_the_power(&arguments) } else { become_alone() };
    outcome.unwrap_or_else(|error| {
        eprintln!("powercut: {error:#}");
        ExitCode::from(2)
    })
}

/// Why this machine cannot run the test.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may mount".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if let Err(error) = File::options().read(true).write(true).open(device) {
            return Some(format!("{device}: {error}"));
        }
    }
    let probes: [(&str, &[&str]); 4] = [
        ("mkfs.ext4", &["-V"]),
        ("losetup", &["--version"]),
        ("setpriv", &["--version"]),
        ("unshare", &["--mount", "true"]),
    ];
    probes
        .into_iter()
        .find_map(|(tool, arguments)| Some(format!("{:#}", run(Command::new(tool).args(arguments)).err()?)))
}

/// Runs this program again where its mounts are seen by nobody else and end with it.
fn become_alone() -> Result<ExitCode> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.arg("--mount").arg(program).args(std::env::args_os().skip(1)).arg("--alone");
    Err(command.exec()).context("starting unshare")
}

fn cut_the_power(arguments: &Arguments) -> Result<ExitCode> {
    let scratch = tempfile::Builder::new().prefix("powercut-").tempdir()?;
    let memory = Mounted::memory(scratch.path())?;
    let recording = match &arguments.replay {
        Some(kept) => Recording::load(kept)?,
        None => record(arguments, memory.dir())?,
    };
    let flushes = recording.flushes().len();
    let confirmed = recording.confirmations.len();
    let operations = recording.end().0 - recording.started.0;
    println!("recorded {operations} operations, {flushes} of them flushes; {confirmed} lines confirmed");
    let honesty = if arguments.ignore_flushes { Honesty::IgnoresFlushes } else { Honesty::Honest };
    let mut cuts = plan(&recording, arguments.seed, arguments.images, honesty);
    cuts.retain(|cut| arguments.only.is_none_or(|only| cut.number == only));
    let mut replay = Replay::new(&recording);
    let mut failed = 0;
    for cut in &cuts {
        if let Err(complaint) = check(arguments, &recording, cut, &replay.image(cut), memory.dir())? {
            failed += 1;
            println!("FAILED {cut}: {complaint}");
        }
    }
    println!("{} images checked, {failed} failed; seed {}", cuts.len(), arguments.seed);
    let control = arguments.no_fsync || arguments.ignore_flushes;
    if control {
        ensure!(failed > 0, "the check did not notice that nothing was made durable: it cannot fail");
    } else if failed > 0 {
        if arguments.replay.is_none() {
            recording.save(&arguments.keep)?;
        }
        let kept = arguments.replay.as_ref().unwrap_or(&arguments.keep).display();
        println!(
            "again: --replay {kept} --seed {} --images {} --only NUMBER",
            arguments.seed, arguments.images
        );
    }
    Ok(if failed == 0 || control { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn record(arguments: &Arguments, scratch: &Path) -> Result<Recording> {
    let workload = arguments.workload.as_deref().context("neither a workload nor a recording was given")?;
    let base = fresh_ext4(arguments.disk_mib << 20, &scratch.join("fresh"))?;
    let medium = Medium::new(base.clone());
    let file = MediumFile::mount(medium.clone(), &scratch.join("medium"))?;
    let device = LoopDevice::attach(file.path())?;
    let ext4 = Mounted::ext4(device, &scratch.join("live"), &arguments.mount_options)?;
    let started = medium.position();
    let environment = arguments.no_fsync.then_some(("TICKFS_TEST_NO_FSYNC", "1"));
    let confirmations = process::work(workload, ext4.dir(), &medium, environment)?;
    let operations = medium.take_operations();
    ensure!(!confirmations.is_empty(), "the workload confirmed nothing");
    Ok(Recording { base, operations, started, confirmations })
}

/// A small journal, so that ext4 comes around to its beginning; all written now, so that nothing is written behind.
fn fresh_ext4(len: u64, path: &Path) -> Result<Image> {
    Image::empty(len).save(path)?;
    let arguments =
        ["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
    run(Command::new("mkfs.ext4").args(arguments).arg(path).stdin(Stdio::null()))?;
    let image = Image::load(path)?;
    fs::remove_file(path)?;
    Ok(image)
}

fn check(
    arguments: &Arguments,
    recording: &Recording,
    cut: &Cut,
    image: &Image,
    scratch: &Path,
) -> Result<Result<(), String>> {
    let path = scratch.join("image");
    image.save(&path)?;
    let device = LoopDevice::attach(&path)?;
    fs::remove_file(&path)?;
    let ext4 = match Mounted::ext4(device, &scratch.join("after"), &arguments.mount_options) {
        Ok(ext4) => ext4,
        Err(error) => return Ok(Err(format!("{error:#}"))),
    };
    let confirmed = scratch.join("confirmed");
    fs::write(&confirmed, recording.confirmed_at(cut.at).join("\n") + "\n")?;
    process::check(&arguments.check, ext4.dir(), &confirmed)
}

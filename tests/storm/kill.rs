//! SIGKILL at a random moment, then a check, then on with the same store.
//!
//! Invariant: only processes that were started here are killed, and none is left running.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::check;
use crate::promise::{self, Promise};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Is kept if a promise is broken.
    dir: PathBuf,
    #[arg(long, default_value_t = 500)]
    kills: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A new store is begun after so many kills, because each check looks at all that was ever promised.
    #[arg(long, default_value_t = 10)]
    kills_per_store: u64,
}

#[derive(Debug, Default)]
struct Total {
    confirmed: usize,
    early: u64,
    healed: u64,
    torn: u64,
}

pub(crate) fn kill(arguments: &Arguments) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    let mut total = Total::default();
    let mut promises = Vec::new();
    for kill in 0..arguments.kills {
        let dir = arguments.dir.join(format!("{}", kill / arguments.kills_per_store));
        if kill % arguments.kills_per_store == 0 {
            total.confirmed += promises.len();
            promises.clear();
            fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        }
        let moment = Moment::choose(&mut random);
        let said = write_until(&dir, random.u64(..), moment)?;
        total.early += u64::from(said.is_empty());
        promises.extend(said);
        let seed = arguments.seed;
        let checked = check::check(&dir, &promises)
            .with_context(|| format!("after kill {kill} of seed {seed}, in {}", dir.display()))?;
        total.healed += u64::from(checked.healed > 0);
        total.torn += u64::from(checked.torn);
        if (kill + 1) % arguments.kills_per_store == 0 {
            fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
        }
    }
    let Total { confirmed, early, healed, torn } = total;
    println!(
        "{} kills, {early} of them before anything was confirmed: {} changes confirmed, 0 lost; \
         the index was healed {healed} times, the journal torn {torn} times; seed {}",
        arguments.kills,
        confirmed + promises.len(),
        arguments.seed
    );
    Ok(())
}

/// When a writer is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// While it starts, opens and heals.
    AfterStart(Duration),
    AfterFirstConfirmation(Duration),
}

impl Moment {
    fn choose(random: &mut fastrand::Rng) -> Self {
        match random.u32(0..5) {
            0 => Self::AfterStart(Duration::from_micros(random.u64(0..20_000))),
            _ => Self::AfterFirstConfirmation(Duration::from_micros(random.u64(1_000..60_000))),
        }
    }
}

/// Runs a writer up to a moment, kills it, and gives what it had confirmed.
fn write_until(dir: &Path, seed: u64, moment: Moment) -> Result<Vec<Promise>> {
    let said = dir.join("said");
    let mut writer = Command::new(std::env::current_exe()?);
    writer.arg("write").arg(dir).args(["--seed", &seed.to_string()]);
    writer.stdin(Stdio::null()).stdout(File::create(&said)?);
    let mut running = Running(writer.spawn().context("starting a writer")?);
    let wait = match moment {
        Moment::AfterStart(wait) => wait,
        Moment::AfterFirstConfirmation(wait) => {
            running.wait_for_words(&said)?;
            wait
        }
    };
    thread::sleep(wait);
    if let Some(status) = running.0.try_wait()? {
        bail!("the writer ended by itself, with {status}; it was started with seed {seed}");
    }
    drop(running);
    promise::read(&said)
}

struct Running(Child);

impl Running {
    fn wait_for_words(&mut self, said: &Path) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while fs::metadata(said)?.len() == 0 {
            ensure!(Instant::now() < end, "the writer confirmed nothing within 60 s");
            if let Some(status) = self.0.try_wait()? {
                bail!("the writer ended by itself, with {status}");
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Running {
    /// `kill` of a `Child` is SIGKILL to that process, and to no other that got its number: it was not waited for.
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("storm: process {} may still run: {error}", self.0.id());
        }
    }
}

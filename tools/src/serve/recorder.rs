//! The recorder of the serving process, as far as it is needed: none, one of the whole root, or one of some files.
//!
//! Invariant: whoever asks how it is doing waits for nothing that is being done.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tickfs_store::path::RelPath;
use tickfs_store::{Scope, StoreWriter};
use tickfs_tracer::files::{Announcement, Error, Held, Options, Recorder, Status};

use super::announce::{Announcer, Line};
use crate::now;

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subject {
    pub(crate) scope: Scope,
    pub(crate) whole: bool,
    /// Files that are recorded, each with the interval at which it is sampled; `None`: as events tell.
    pub(crate) files: BTreeMap<RelPath, Option<f64>>,
}

#[derive(Debug, Default)]
pub(crate) struct Engine {
    running: Mutex<Option<Running>>,
    paused: AtomicBool,
}

#[derive(Debug)]
struct Running {
    whole: bool,
    files: BTreeMap<RelPath, Option<f64>>,
    recorder: Arc<Recorder>,
}

impl Engine {
    /// Records this from now on, and nothing else. For one caller at a time.
    pub(crate) fn follow(
        &self,
        writer: &Arc<StoreWriter>,
        announcer: &Arc<Announcer>,
        subject: Subject,
        threads: u8,
    ) -> anyhow::Result<()> {
        let Subject { scope, whole, files } = subject;
        let running =
            self.running.lock().as_ref().map(|r| (r.whole, r.files.clone(), Arc::clone(&r.recorder)));
        if !whole && files.is_empty() {
            return self.stop();
        }
        let (recorder, before) = match running {
            Some((true, _, _)) if whole => return Ok(()),
            Some((false, before, recorder)) if !whole => (recorder, before),
            _ => {
                self.stop()?;
                let named = (!whole).then(|| files.keys().cloned().collect());
                let scope = Scope { files: named, ..scope };
                let recorder =
                    Arc::new(Recorder::start(Arc::clone(writer), scope, options(announcer, threads))?);
                if self.paused.load(Ordering::Relaxed) {
                    recorder.pause()?;
                }
                let fresh = files.keys().map(|file| (file.clone(), None)).collect();
                *self.running.lock() =
                    Some(Running { whole, files: BTreeMap::new(), recorder: Arc::clone(&recorder) });
                (recorder, fresh)
            }
        };
        if !whole {
            for file in before.keys().filter(|file| !files.contains_key(*file)) {
                recorder.remove_file(file.clone())?;
            }
            for (file, interval) in
                files.iter().filter(|(file, interval)| before.get(*file) != Some(*interval))
            {
                recorder.add_file(file.clone(), interval.map(Duration::from_secs_f64))?;
            }
        }
        if let Some(running) = &mut *self.running.lock() {
            running.files = files;
        }
        Ok(())
    }

    pub(crate) fn recorder(&self) -> Option<Arc<Recorder>> {
        self.running.lock().as_ref().map(|running| Arc::clone(&running.recorder))
    }

    /// Flushes, and records nothing until what is given back is dropped. `None`: nothing is recorded anyway.
    pub(crate) fn hold(&self) -> anyhow::Result<Option<Held>> {
        match self.recorder().map(|recorder| recorder.hold()).transpose() {
            Err(Error::RootGone { .. }) => Ok(None),
            held => Ok(held?),
        }
    }

    pub(crate) fn set_paused(&self, pause: bool) -> anyhow::Result<()> {
        if let Some(recorder) = self.recorder() {
            if pause {
                recorder.pause()?
            } else {
                recorder.resume()?
            };
        }
        Ok(())
    }

    pub(crate) fn set_threads(&self, threads: u8) -> anyhow::Result<()> {
        if let Some(recorder) = self.recorder() {
            recorder.set_threads(number(threads))?;
        }
        Ok(())
    }

    /// How the recorder is doing, if there is one.
    pub(crate) fn status(&self) -> Option<Status> {
        self.recorder().map(|recorder| recorder.status())
    }

    /// What is late, skipped or doubtful, each under its name.
    pub(crate) fn numbers(&self) -> Option<serde_json::Map<String, Value>> {
        let status = self.status()?;
        let unread: Vec<String> = status.unread.iter().map(|(path, why)| format!("{path}: {why}")).collect();
        let written: Vec<String> = status.written_all_the_time.iter().map(ToString::to_string).collect();
        let numbers = json!({
            "state": format!("{:?}", status.state),
            "paths": status.paths, "bursts": status.bursts, "pending": status.pending,
            "lag_ms": status.lag.map(|lag| lag.as_millis()),
            "watches": status.watches, "unwatched": status.unwatched, "overflows": status.overflows,
            "gaps": status.gaps, "last_gap": status.last_gap,
            "failures": status.failures, "warned": status.warned,
            "unread": unread, "written_all_the_time": written,
        });
        match numbers {
            Value::Object(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// The last group is durable when it returns.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.recorder.stop()?;
        }
        Ok(())
    }
}

fn number(threads: u8) -> NonZeroUsize {
    NonZeroUsize::new(usize::from(threads)).unwrap_or(NonZeroUsize::MIN)
}

fn options(announcer: &Arc<Announcer>, threads: u8) -> Options {
    let announcer = Arc::clone(announcer);
    Options {
        announce: Arc::new(move |announcement| {
            lines(announcement).iter().for_each(|line| announcer.tell(line))
        }),
        clock: Arc::new(now::now),
        interval: None,
        threads: Some(number(threads)),
    }
}

/// What a terminal or a log shows of it.
fn lines(announcement: &Announcement) -> Vec<Line> {
    let note = |text: String| vec![Line::Note { text }];
    match announcement {
        Announcement::Ticks { ticks, .. } => ticks.iter().map(Line::of_tick).collect(),
        Announcement::Forked { branch } => {
            note(format!("the root stood in the past: this begins branch {branch}"))
        }
        Announcement::Warning(warning) => note(match &warning.path {
            Some(path) => format!("{path}: {}", warning.what),
            None => warning.what.clone(),
        }),
        Announcement::Gap(gap) => note(gap.why.clone()),
        Announcement::Base { paths, bytes } => {
            let text = format!("the first look at the root: {paths} paths, {}", crate::output::bytes(*bytes));
            vec![Line::Progress { text }]
        }
        Announcement::BaseDone { paths, bytes } => {
            note(format!("the base is complete: {paths} paths, {}", crate::output::bytes(*bytes)))
        }
        Announcement::Back => note("the root is back, and recording goes on".to_owned()),
        other => note(format!("{other:?}")),
    }
}

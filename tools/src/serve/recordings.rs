//! What a serving process is asked to record, and where that is written down.

use std::collections::BTreeMap;

use anyhow::Context as _;
use tickfs_store::journal::entry::ItemType;
use tickfs_store::path::RelPath;
use tickfs_store::render::{RECORDING, RecordingConfig, THREADS, ThreadConfig, spell_file_path};
use tickfs_store::{Scope, Store, StoreWriter};

use super::keeper::message::Standing;
use super::message::Answer;
use super::metadata::{self, Metadata};
use super::process::Server;
use super::recorder::Subject;
use super::status::Recording;
use super::{THREADS_DEFAULT, alive};
use crate::error::Failure;
use crate::now;

impl Server {
    pub(super) fn record(
        &self,
        file: Option<&RelPath>,
        interval: Option<f64>,
        threads: Option<u8>,
    ) -> anyhow::Result<Answer> {
        let what = file.map_or_else(|| "the root".to_owned(), ToString::to_string);
        if self.state.lock().recordings.contains_key(&file.cloned()) {
            let pid = std::process::id();
            return Err(Failure::new(format!("process {pid} records {what} already"))
                .next("`tickfs daemon stop` ends that")
                .into());
        }
        self.widen_scope(file)?;
        keep_interval(&self.writer, file, interval)?;
        if let Some(threads) = threads {
            self.state.lock().threads = threads;
        }
        let since = now::now().to_iso();
        let recording = Recording { file: file.cloned(), interval, since, foreground: self.foreground };
        let before = self.state.lock().recordings.clone();
        self.state.lock().recordings.insert(file.cloned(), recording);
        let begun = self.follow_recordings().and_then(|()| self.write_metadata());
        if let Err(error) = begun {
            self.state.lock().recordings = before;
            metadata::remove(self.writer.store(), file)?;
            self.follow_recordings()?;
            return Err(error);
        }
        self.tell_keeper();
        let mut state = self.state.lock();
        let every = interval.map(|seconds| format!(" every {seconds} s")).unwrap_or_default();
        self.log.line(&format!("records {what}{every}"));
        Ok(Answer::Recording { threads: state.threads, notes: std::mem::take(&mut state.notes) })
    }

    pub(super) fn forget(&self, file: Option<&RelPath>) -> anyhow::Result<Answer> {
        let was_recorded = self.state.lock().recordings.remove(&file.cloned()).is_some();
        if was_recorded {
            self.follow_recordings()?;
            let what = file.map_or_else(|| "the root".to_owned(), ToString::to_string);
            self.log.line(&format!("records {what} no more"));
        }
        // Where it was not recorded, this may be what a process left that is gone.
        metadata::remove(self.writer.store(), file)?;
        let ends = self.is_idle();
        if ends {
            self.begin_to_end();
        } else {
            self.tell_keeper();
        }
        Ok(Answer::Forgotten { was_recorded, ends })
    }

    /// Goes on with what a process before this one was asked for. What was saved meanwhile becomes one burst.
    pub(super) fn resume(&self, standing: Option<Standing>) -> anyhow::Result<()> {
        let Some(Standing { recordings, paused, threads }) = standing else { return Ok(()) };
        {
            let mut state = self.state.lock();
            state.recordings = recordings.into_iter().map(|r| (r.file.clone(), r)).collect();
            (state.paused, state.threads) = (paused, threads);
        }
        let begun = self.engine.set_paused(paused).and_then(|()| self.follow_recordings());
        if let Err(error) = begun {
            self.log.line(&format!("could not go on recording: {error:#}"));
        }
        self.write_metadata()
    }

    /// Makes the recorder record what there are recordings of, and nothing else.
    pub(super) fn follow_recordings(&self) -> anyhow::Result<()> {
        let (recordings, threads, all) = {
            let state = self.state.lock();
            (state.recordings.clone(), state.threads, state.all)
        };
        let scope = self.scope.lock().clone();
        let mut files: BTreeMap<RelPath, Option<f64>> = BTreeMap::new();
        let shown = all || !self.mounts.is_empty();
        // What is shown is recorded: everything that the store records.
        if let Some(all) = scope.files.as_ref().filter(|_| shown) {
            files.extend(all.iter().map(|file| (file.clone(), None)));
        }
        files.extend(recordings.iter().filter_map(|(file, r)| Some((file.clone()?, r.interval))));
        let whole = scope.files.is_none() && (shown || recordings.contains_key(&None));
        self.engine.follow(&self.writer, &self.announcer, Subject { scope, whole, files }, threads)
    }

    /// A store that records some files is made to record one more.
    fn widen_scope(&self, file: Option<&RelPath>) -> anyhow::Result<()> {
        let mut scope = self.scope.lock();
        let Some(file) = file else {
            return match scope.files {
                None => Ok(()),
                Some(_) => Err(Failure::new("this store records single files alone")
                    .at(&scope.root)
                    .next("`tickfs init` there makes it record the whole directory")
                    .into()),
            };
        };
        if let Some(files) = &scope.files
            && !files.contains(file)
        {
            let wider = files.iter().cloned().chain([file.clone()]).collect();
            let wider = Scope { root: scope.root.clone(), files: Some(wider) };
            self.writer.set_scope(&wider)?;
            *scope = wider;
        }
        Ok(())
    }

    pub(super) fn write_metadata(&self) -> anyhow::Result<()> {
        if self.foreground {
            return Ok(());
        }
        let pid = std::process::id();
        let process_began = alive::began(pid).context("could not look at this process")?;
        let (recordings, threads) = {
            let state = self.state.lock();
            (state.recordings.clone(), state.threads)
        };
        for (file, Recording { interval, since, .. }) in recordings {
            let metadata = Metadata { file, pid, process_began, interval, start_time: since, threads };
            metadata::write(self.writer.store(), &metadata)?;
        }
        Ok(())
    }
}

/// The number of threads that somebody set, in the store or its configuration, or the default.
pub(crate) fn stored_threads(store: &Store) -> anyhow::Result<u8> {
    let row = store.view()?.entity(&kind(THREADS), "root")?;
    let stored = match row {
        Some(row) => serde_json::from_str::<ThreadConfig>(&row.body)?.daemon_threads,
        None => store.config().record.threads,
    };
    Ok(stored.unwrap_or(THREADS_DEFAULT))
}

pub(crate) fn store_threads(writer: &StoreWriter, count: u8) -> anyhow::Result<()> {
    let config = ThreadConfig { daemon_threads: Some(count) };
    Ok(writer.mutate(now::now(), move |m| m.put_entity(&kind(THREADS), "root", &config))?)
}

fn keep_interval(writer: &StoreWriter, file: Option<&RelPath>, interval: Option<f64>) -> anyhow::Result<()> {
    let id = file.map_or_else(|| ".".to_owned(), spell_file_path);
    let config = RecordingConfig { interval };
    writer.mutate(now::now(), move |m| {
        let kept = m.entity(&kind(RECORDING), &id)?;
        let same = kept.is_some_and(|body| {
            serde_json::from_str::<RecordingConfig>(&body).ok().as_ref() == Some(&config)
        });
        if same { Ok(()) } else { m.put_entity(&kind(RECORDING), &id, &config) }
    })?;
    Ok(())
}

fn kind(name: &'static str) -> ItemType {
    ItemType::parse(name).expect("it is lower-case and short, because it is a constant")
}

//! The first look at a root: every path as it is, as tick 0.
//!
//! It is written in portions, so that neither memory nor a crash knows how large the root is: what was written before a
//! crash is written again, and what has gone since then is compared away when the base is complete.

use std::io;

use rustix::fs::Stat;
use tickfs_store::ids::UnixMillis;
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Store, StoreWriter};

use super::ahead;
use super::commit::Ledger;
use super::error::Result;
use super::read::{self, Body, Loaded, Manner, Reading};
use super::walk::{Visitor, walk};

/// So many paths are written down together.
const PORTION: usize = 2048;

/// What a base came to.
#[derive(Debug, Default)]
pub(crate) struct Based {
    pub(crate) paths: u64,
    pub(crate) bytes: u64,
    /// Paths that could not be read; they join later.
    pub(crate) unread: Vec<(RelPath, String)>,
    /// Something of an earlier attempt is in it, so that it must be compared once more.
    pub(crate) resumed: bool,
}

/// Whether the store has its base.
pub(crate) fn is_there(store: &Store) -> Result<bool> {
    Ok(store.view()?.cursor().is_some())
}

impl Ledger {
    /// Writes the base. `enter` is told of each directory before it is listed, `progress` of each portion.
    pub(crate) fn base(
        &mut self,
        writer: &StoreWriter,
        now: &dyn Fn() -> UnixMillis,
        enter: &mut dyn FnMut(&RelPath),
        progress: &mut dyn FnMut(&Based),
    ) -> Result<Based> {
        let mut based =
            Based { resumed: writer.mutate_alone(now(), |m| m.base_has_begun())?, ..Based::default() };
        let mut all = All { paths: Vec::new(), unread: Vec::new(), enter };
        walk(&self.place, &mut self.rules, &RelPath::root(), &mut all);
        let (paths, unread) = (all.paths, all.unread);
        based.unread = unread;
        self.stamps.dev = self.place.dev();
        for portion in paths.chunks(PORTION) {
            self.portion(writer, now(), portion, &mut based)?;
            progress(&based);
        }
        writer.mutate_alone(now(), |mutation| mutation.complete_base())?;
        Ok(based)
    }

    fn portion(
        &mut self,
        writer: &StoreWriter,
        now: UnixMillis,
        portion: &[RelPath],
        based: &mut Based,
    ) -> Result<()> {
        // A file that is being written is taken as it is: what comes of it is the first tick.
        let manner = Manner { max_size: self.max_size, sampled: true };
        let read = |path: &RelPath| (path.clone(), read::read(&self.place, path, manner));
        let weight = |(_, reading): &(RelPath, Reading)| match reading {
            Reading::Loaded(Loaded { body: Body::Bytes(bytes), .. }) => bytes.capacity() + 256,
            _ => 256,
        };
        let written = ahead::in_order(self.threads, portion, read, weight, |readings| {
            writer.mutate_alone(now, |mutation| {
                let (mut stamps, mut unread, mut bytes) = (Vec::new(), Vec::new(), 0);
                for (path, reading) in readings {
                    let mut loaded = match reading {
                        Reading::Loaded(loaded) => loaded,
                        Reading::Failed(error) => {
                            unread.push((path, error.to_string()));
                            continue;
                        }
                        Reading::Gone | Reading::Special | Reading::Unstable => continue,
                    };
                    bytes += if loaded.stamp.is_dir() { 0 } else { loaded.stamp.size };
                    let content = match &mut loaded.body {
                        Body::Dir => Content::None,
                        Body::Bytes(bytes) => Content::Bytes(std::mem::take(bytes)),
                        Body::Skipped { size } => Content::Skipped { size: *size },
                        Body::Long { file, size } => Content::Stream { reader: file, size: *size },
                    };
                    mutation.base(&path, &loaded.meta, content)?;
                    let quiet = loaded.is_quiet();
                    stamps.push((path, quiet.then_some(loaded.stamp)));
                }
                Ok((stamps, unread, bytes))
            })
        })?;
        let (stamps, unread, bytes) = written;
        based.paths += stamps.len() as u64;
        based.bytes += bytes;
        based.unread.extend(unread);
        stamps.into_iter().for_each(|(path, stamp)| self.stamps.put(path, stamp));
        Ok(())
    }
}

struct All<'a> {
    paths: Vec<RelPath>,
    unread: Vec<(RelPath, String)>,
    enter: &'a mut dyn FnMut(&RelPath),
}

impl Visitor for All<'_> {
    fn enter(&mut self, dir: &RelPath) {
        (self.enter)(dir);
    }

    fn path(&mut self, path: &RelPath, _stat: &Stat) {
        self.paths.push(path.clone());
    }

    fn unreadable(&mut self, path: &RelPath, error: io::Error) {
        self.unread.push((path.clone(), error.to_string()));
    }
}

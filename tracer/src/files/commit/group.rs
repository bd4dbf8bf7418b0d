//! One group as it is written down: each step becomes a change of the store, and the stamps learn of it afterwards.

use std::collections::HashMap;

use tickfs_store::journal::entry::NodeType;
use tickfs_store::path::RelPath;
use tickfs_store::{Content, Mutation, Saved};

use super::{Ledger, Outcome, Step};
use crate::files::capture::Captured;
use crate::files::read::{Body, Reading};
use crate::files::report::Ticked;
use crate::files::stamps::Stamp;

/// What a group did, so that the stamps can follow.
pub(super) struct Done {
    pub(super) stamps: Vec<(RelPath, Option<Stamp>)>,
    pub(super) outcome: Outcome,
    /// Directories that the history may not have although the stamps say so.
    pub(super) doubted: Vec<RelPath>,
    /// Renames `(from, to)` that the history could not take.
    pub(super) not_renamed: Vec<(RelPath, RelPath)>,
    /// The sizes of versions that were saved before in this group.
    pub(super) sizes: HashMap<RelPath, u64>,
}

impl Done {
    pub(super) fn new() -> Self {
        Self {
            stamps: Vec::new(),
            outcome: Outcome::default(),
            doubted: Vec::new(),
            not_renamed: Vec::new(),
            sizes: HashMap::new(),
        }
    }
}

/// A group in the making.
pub(super) struct Group<'g, 'w, 'm> {
    pub(super) ledger: &'g Ledger,
    pub(super) done: Done,
    pub(super) mutation: &'m mut Mutation<'w>,
}

impl Group<'_, '_, '_> {
    fn ticked(&mut self, tick: tickfs_store::ids::Tick, path: &RelPath, from: Option<&RelPath>, size: u64) {
        let Some(kind) = self.mutation.last_action() else { return };
        let was = from.unwrap_or(path);
        let known = self.ledger.stamps.get(was).filter(|stamp| !stamp.is_dir()).map(|stamp| stamp.size);
        self.done.outcome.flushed.ticks.push(Ticked {
            tick,
            kind,
            path: path.clone(),
            from: from.cloned(),
            size,
            size_before: self.done.sizes.get(was).copied().or(known),
        });
    }

    /// A version that another has overwritten. What the stamps say of its path is what comes after it.
    pub(super) fn earlier(&mut self, version: &Captured) -> tickfs_store::Result<()> {
        let (path, loaded) = (&version.path, version.loaded());
        let Body::Bytes(bytes) = loaded.body else { return Ok(()) };
        let writers = self.ledger.writers.as_ref();
        self.mutation.set_who(writers.and_then(|writers| writers.only_one_of(version.stamp.ino)));
        let size = version.stamp.size;
        match self.mutation.save(path, &loaded.meta, Content::Bytes(bytes)) {
            Ok(Saved::Unchanged) => {}
            Ok(Saved::Ticked(tick)) => {
                self.ticked(tick, path, None, size);
                self.done.outcome.earlier += 1;
            }
            // Its directory is recorded no more.
            Err(tickfs_store::Error::Refused { .. } | tickfs_store::Error::NotFound { .. }) => {
                self.done.outcome.overtaken += 1;
            }
            Err(error) => return Err(error),
        }
        self.done.sizes.insert(path.clone(), size);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &RelPath) -> tickfs_store::Result<()> {
        if let Some(tick) = self.mutation.remove(path)? {
            self.ticked(tick, path, None, 0);
        }
        self.done.stamps.push((path.clone(), None));
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: &RelPath,
        to: &RelPath,
        reading: Reading,
    ) -> tickfs_store::Result<()> {
        let parent = to.parent().unwrap_or_default();
        let possible = self.mutation.stands(from)?.is_some()
            && self.mutation.stands(to)?.is_none()
            && self.mutation.stands(&parent)? == Some(NodeType::Dir);
        if !possible {
            // The history stands elsewhere than the stamps thought; what is there is compared path by path.
            self.done.not_renamed.push((from.clone(), to.clone()));
            return Ok(());
        }
        let tick = self.mutation.rename(from, to)?;
        let size = self.ledger.stamps.get(to).map_or(0, |stamp| if stamp.is_dir() { 0 } else { stamp.size });
        self.ticked(tick, to, Some(from), size);
        if let Reading::Loaded(loaded) = reading {
            match self.ledger.stamps.get(to) {
                // A directory looks different for each entry that changes, and its entries are looked at themselves.
                Some(was) if was.is_moved(&loaded.stamp) || was.is_dir() && was.mode == loaded.stamp.mode => {
                    self.done.stamps.push((to.clone(), Some(loaded.stamp)));
                }
                _ => self.done.outcome.unstable.push(to.clone()),
            }
        }
        Ok(())
    }

    pub(super) fn save(
        &mut self,
        step: &Step,
        reading: Reading,
        culprit: &mut Option<(RelPath, Option<String>)>,
    ) -> tickfs_store::Result<()> {
        let path = &step.path;
        let mut loaded = match reading {
            Reading::Loaded(loaded) => loaded,
            // It went away after it was seen; that it did is an event of its own.
            Reading::Gone | Reading::Unstable => {
                self.done.outcome.unstable.push(path.clone());
                return Ok(());
            }
            Reading::Special => return Ok(()),
            Reading::Failed(error) => {
                self.done.outcome.flushed.unread.push((path.clone(), error.to_string()));
                return Ok(());
            }
        };
        let stamp = loaded.stamp;
        if step.how.patient && self.ledger.was_just_emptied(path, stamp) {
            self.done.outcome.unstable.push(path.clone());
            return Ok(());
        }
        let meta = loaded.meta.clone();
        self.mutation.set_who(self.ledger.writers.as_ref().and_then(|writers| writers.of(stamp.ino)));
        let is_long = matches!(loaded.body, Body::Long { .. });
        let saved = match &mut loaded.body {
            Body::Dir => self.mutation.save(path, &meta, Content::None),
            Body::Bytes(bytes) => self.mutation.save(path, &meta, Content::Bytes(std::mem::take(bytes))),
            Body::Skipped { size } => self.mutation.save(path, &meta, Content::Skipped { size: *size }),
            Body::Long { file, size } => {
                self.mutation.save(path, &meta, Content::Stream { reader: file, size: *size })
            }
        };
        match saved {
            Ok(_) if !step.how.sampled && !loaded.is_quiet() => {
                *culprit = Some((path.clone(), None));
                Err(tickfs_store::Error::refused("the file changed while it was read"))
            }
            Ok(Saved::Unchanged) => {
                self.done.stamps.push((path.clone(), Some(stamp)));
                Ok(())
            }
            Ok(Saved::Ticked(tick)) => {
                self.ticked(tick, path, None, if stamp.is_dir() { 0 } else { stamp.size });
                self.done.stamps.push((path.clone(), Some(stamp)));
                Ok(())
            }
            Err(error @ tickfs_store::Error::Io { .. }) if is_long => {
                *culprit = Some((path.clone(), Some(error.to_string())));
                Err(error)
            }
            Err(tickfs_store::Error::Refused { .. } | tickfs_store::Error::NotFound { .. }) => {
                // Its directory is not what the stamps say: they are asked anew, and the path with them.
                let mut above = path.parent();
                while let Some(dir) = above {
                    above = dir.parent();
                    self.done.doubted.push(dir);
                }
                self.done.outcome.unstable.push(path.clone());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

//! Generated files: each generation is one text, with an inode of its own that says so for ever.
//!
//! Invariant: what is read under an inode number is the text that the number was made from. A text that cannot be made again
//! is held as long as the kernel knows it; a number of an earlier process is of another time.

use std::sync::Arc;

use tickfs_store::history::Point;
use tickfs_store::ids::{BranchNo, Seq, Tick, UnixNanos};
use tickfs_store::path::RelPath;
use tickfs_store::render;

use super::{
    Bytes, Now, View, codevovle, diff, events, files, journal, readme, single, states, stats, ticks, watch,
};
use crate::cache::ByteCache;
use crate::error::{Error, Result};
use crate::inode::Ino;
use crate::intern::{self, Text};

/// So many bytes of texts are kept.
const LIMIT: usize = 32 * 1024 * 1024;

/// How a text is made. Its spelling is part of the text's inode number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Recipe {
    Readme(readme::Of),
    NowJson,
    BranchJson(BranchNo),
    TickDiff(Tick),
    TickJson(Tick),
    FileLog(RelPath),
    /// The lines of a path alone, on a branch's chain.
    BranchLog {
        path: RelPath,
        no: BranchNo,
    },
    Blame {
        path: RelPath,
        at: Point,
    },
    Patch {
        from: Point,
        to: Point,
        path: RelPath,
    },
    StatsJson,
    HeadJson,
    /// So many records up to `until`, which take so many bytes as lines.
    EventsJson {
        until: Seq,
        records: u64,
        bytes: u64,
    },
    ErrorsJson,
    Document {
        name: String,
        rev: u64,
    },
    Deltas(String),
    Codevovle(codevovle::File),
    Watch(watch::File),
}

/// A text that was rendered of one moment.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    ino: Ino,
    text: Text,
}

#[derive(Debug)]
pub(super) struct Texts {
    kept: ByteCache<Ino>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { kept: ByteCache::new(LIMIT) }
    }
}

impl Texts {
    /// Renders a text, unless it was rendered of this moment already.
    pub(super) fn render(&self, view: &View, now: &Now, recipe: &Recipe) -> Result<(Ino, Text)> {
        if let Some(rendered) = now.rendered.lock().get(recipe) {
            return Ok((rendered.ino, rendered.text.clone()));
        }
        if let Recipe::EventsJson { records, bytes, .. } = *recipe {
            // What it is made of says all of it.
            let (len, mtime) = (events::array_len(records, bytes), now.mtime());
            let text = Text { recipe: recipe.clone(), len, mtime, bytes: None };
            return Ok((intern::text_ino(recipe, b"", mtime), text));
        }
        let (bytes, mtime) = recipe.render(view, now)?;
        let ino = intern::text_ino(recipe, &bytes, mtime);
        let len = bytes.len() as u64;
        let bytes: Arc<[u8]> = bytes.into();
        let held = if recipe.is_reproducible() {
            self.kept.put(ino, &bytes);
            None
        } else {
            Some(bytes)
        };
        let text = Text { recipe: recipe.clone(), len, mtime, bytes: held };
        // These change without a commit.
        if !matches!(recipe, Recipe::StatsJson | Recipe::ErrorsJson | Recipe::Watch(_)) {
            now.rendered.lock().insert(recipe.clone(), Rendered { ino, text: text.clone() });
        }
        Ok((ino, text))
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.bytes()
    }

    pub(super) fn read(
        &self,
        view: &View,
        now: &Now,
        ino: Ino,
        text: &Text,
        offset: u64,
        len: usize,
    ) -> Result<Bytes> {
        if let Recipe::EventsJson { until, records, bytes } = text.recipe {
            return view.events.read_array(&view.store, (until, records, bytes), offset, len);
        }
        Ok(Bytes::cut(self.bytes(view, now, ino, text)?, offset, len))
    }

    fn bytes(&self, view: &View, now: &Now, ino: Ino, text: &Text) -> Result<Arc<[u8]>> {
        if let Some(bytes) = text.bytes.clone().or_else(|| self.kept.get(ino)) {
            return Ok(bytes);
        }
        let (bytes, mtime) = text.recipe.render(view, now)?;
        if intern::text_ino(&text.recipe, &bytes, mtime) != ino {
            return Err(Error::Stale(ino));
        }
        let bytes = bytes.into();
        self.kept.put(ino, &bytes);
        Ok(bytes)
    }

    pub(super) fn forget(&self, ino: Ino) {
        self.kept.remove(ino);
    }
}

impl Recipe {
    /// Whether the same text comes of it whenever it is made: it is about what does not change.
    fn is_reproducible(&self) -> bool {
        match self {
            Self::Readme(_)
            | Self::TickDiff(_)
            | Self::Blame { .. }
            | Self::Patch { .. }
            | Self::EventsJson { .. }
            | Self::Document { .. } => true,
            Self::Codevovle(file) => file.tick().is_some(),
            Self::Watch(file) => file.is_settled(),
            Self::NowJson
            | Self::BranchJson(_)
            | Self::TickJson(_)
            | Self::FileLog(_)
            | Self::BranchLog { .. }
            | Self::StatsJson
            | Self::HeadJson
            | Self::ErrorsJson
            | Self::Deltas(_) => false,
        }
    }

    /// The text as it is now, and its time.
    fn render(&self, view: &View, now: &Now) -> Result<(Vec<u8>, UnixNanos)> {
        let history = now.history();
        Ok(match self {
            Self::Readme(of) => (of.text().as_bytes().to_vec(), now.time_of(Tick::BASE)?),
            Self::NowJson => (render::now_json(history)?, now.mtime()),
            Self::BranchJson(no) => {
                let head = history.branches().head(*no);
                (render::branch_json(history, *no)?, now.time_of(head)?)
            }
            Self::TickDiff(tick) => (ticks::diff(now, *tick)?, now.time_of(*tick)?),
            Self::TickJson(tick) => (render::tick_json(history, *tick)?, now.time_of(*tick)?),
            Self::FileLog(path) => (files::log(view, now, path)?, now.mtime()),
            Self::BranchLog { path, no } => (single::log(view, now, path, *no)?, now.mtime()),
            Self::Blame { path, at } => (files::blame(now, path, *at)?, now.time_of(at.tick)?),
            Self::Patch { from, to, path } => {
                (diff::between(view, now, *from, *to, path)?, now.time_of(from.tick.max(to.tick))?)
            }
            Self::StatsJson => (stats::render(view, now)?, now.mtime()),
            Self::HeadJson => (journal::head_json(now), now.mtime()),
            Self::EventsJson { .. } => (Vec::new(), now.mtime()),
            Self::ErrorsJson => (events::errors(view, now)?, now.mtime()),
            Self::Document { name, rev } => (states::render(now, name, *rev)?, now.time_of(Tick::BASE)?),
            Self::Deltas(name) => (states::render_deltas(now, name)?, now.mtime()),
            Self::Watch(file) => (file.render(view)?, now.time_of(Tick::BASE)?),
            Self::Codevovle(file) => {
                let time = file.tick().map_or_else(|| Ok(now.mtime()), |tick| now.time_of(tick))?;
                (file.render(view, now)?, time)
            }
        })
    }
}

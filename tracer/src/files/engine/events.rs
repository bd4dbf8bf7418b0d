//! What an event of the kernel says of a path, and what is looked for in a directory that came to be.

use std::io;
use std::path::Path;
use std::time::Instant;

use rustix::fs::Stat;
use rustix::fs::inotify::ReadFlags;
use tickfs_store::path::RelPath;

use super::Engine;
use crate::files::capture::Captured;
use crate::files::rules::Rules;
use crate::files::settle::Seen;
use crate::files::stamps::{Stamp, renamed};
use crate::files::walk::{Visitor, walk};
use crate::files::watch::{Added, Raw, Watch};

impl Engine {
    pub(super) fn event(&mut self, raw: &Raw, captured: Option<Captured>) {
        use ReadFlags as F;
        if raw.flags.contains(F::QUEUE_OVERFLOW) {
            self.lost = true;
            self.shared.status.lock().overflows += 1;
            return;
        }
        let Some(dir) = self.watch.dir(raw.watch) else { return };
        if raw.flags.contains(F::IGNORED) {
            self.watch.forget(raw.watch);
            return;
        }
        if raw.flags.intersects(F::DELETE_SELF | F::MOVE_SELF | F::UNMOUNT) {
            if dir.is_root() && !self.ledger.place.is_in_place() && !self.gone {
                let why = self.why_gone();
                if let Err(error) = self.root_is_gone(why) {
                    self.failed(error);
                }
            }
            return;
        }
        // Changes of a directory itself come without a name, and once more with it from the directory above.
        let path = match raw.name.is_empty() {
            true if dir.is_root() => dir,
            true => return,
            false => match dir.join(&raw.name) {
                Ok(path) => path,
                Err(_no_name) => return,
            },
        };
        let is_dir = raw.flags.contains(F::ISDIR);
        let flags = raw.flags;
        if !is_dir && Rules::is_ignore_file(path.name()) && flags.intersects(changes_a_file()) {
            self.reload.extend(path.parent());
        }
        let seen = match () {
            () if flags.contains(F::CLOSE_WRITE) => Seen::Written,
            () if flags.contains(F::MODIFY) => Seen::Modified,
            () if flags.contains(F::MOVED_FROM) => Seen::MovedFrom { cookie: raw.cookie },
            () if flags.contains(F::MOVED_TO) => Seen::MovedTo { cookie: raw.cookie },
            () if flags.contains(F::CREATE) => Seen::Made,
            () if flags.contains(F::DELETE) => Seen::Removed,
            () if flags.contains(F::ATTRIB) => Seen::Touched,
            () => return,
        };
        let captured = captured.filter(|captured| self.is_a_version(&path, captured));
        self.see(path, is_dir, seen, captured);
    }

    /// Whether what was read when an event was heard is what that event is about, and newer than what is recorded.
    fn is_a_version(&self, path: &RelPath, captured: &Captured) -> bool {
        let Some(recorded) = self.ledger.stamps.get(path) else { return false };
        let last = self.settle.last_version(path).map_or(recorded, |last| last.stamp);
        let now = captured.stamp;
        // What held something and was emptied is about to be written.
        let emptied = now.size == 0 && last.size > 0;
        // It was read before the path was looked at for another reason.
        let older = self.looked.is_some_and(|looked| captured.at < looked) && now.ctime <= recorded.ctime;
        let still = self.held > 0 || self.paused;
        captured.path == *path && now.size <= self.ledger.max_size && !(emptied || older || still)
    }

    pub(super) fn see(&mut self, path: RelPath, is_dir: bool, seen: Seen, captured: Option<Captured>) {
        if self.sampled.contains_key(&path) {
            return;
        }
        let stamps = &self.ledger.stamps;
        let excluded = !stamps.has(&path) && self.ledger.rules.excludes_name(&path, is_dir).is_some();
        if excluded {
            // A directory that was moved behind a rule is gone from what is recorded.
            return;
        }
        if is_dir && seen == Seen::Touched {
            // Perhaps it may be read now.
            self.looked_at(&path);
        }
        let stamps = &self.ledger.stamps;
        let from = match seen {
            Seen::MovedTo { cookie } if is_dir => self.settle.moved_from(cookie).cloned(),
            _ => None,
        };
        let now = self.now();
        // A directory that was moved and made anew before its watch stood gives events under a name that is another's.
        let gone = matches!(seen, Seen::Removed | Seen::MovedFrom { .. });
        let waits = gone && !stamps.has(&path) && self.settle.knows(&path);
        self.settle.see(now, path.clone(), seen, captured, &|path| stamps.has(path));
        if waits && self.ledger.place.stat(&path).is_ok_and(|found| found.is_some()) {
            self.settle.see(now, path.clone(), Seen::Made, None, &|path| stamps.has(path));
        }
        if is_dir && matches!(seen, Seen::MovedTo { .. } | Seen::Made) {
            if let Some(from) = &from {
                self.watch.rename(from, &path);
            }
            // Also one that was watched under another name: it may have been filled, or have moved, before each
            // directory in it had its watch.
            self.enter(&path, from.as_ref());
        }
        let mut since = self.shared.waiting_since.lock();
        since.get_or_insert_with(Instant::now);
    }

    /// Watches a directory that came to be, and sees what was put into it before the watch stood. `from`: it was there
    /// already, under this name.
    fn enter(&mut self, dir: &RelPath, from: Option<&RelPath>) {
        if !self.listens() {
            return;
        }
        let (ledger, watch, root) = (&mut self.ledger, &mut self.watch, &self.scope.root);
        let mut found = Found { paths: Vec::new(), unread: Vec::new(), dirs: Vec::new(), watch, root };
        walk(&ledger.place, &mut ledger.rules, dir, &mut found);
        let Found { paths, unread, dirs, .. } = found;
        self.added(dirs);
        let now = self.now();
        for (path, stamp) in paths {
            let stamps = &self.ledger.stamps;
            let before = from.and_then(|from| renamed(&path, dir, from));
            let known = |path: &RelPath| stamps.get(path) == Some(stamp);
            if self.settle.knows(&path) || known(&path) || before.as_ref().is_some_and(known) {
                continue;
            }
            self.settle.see(now, path, Seen::Made, None, &|path| stamps.has(path));
        }
        self.note_unread(unread);
    }
}

/// A directory that came to be, as it is found.
struct Found<'a> {
    watch: &'a mut Watch,
    root: &'a Path,
    dirs: Vec<(RelPath, Added)>,
    paths: Vec<(RelPath, Stamp)>,
    unread: Vec<(RelPath, String)>,
}

impl Visitor for Found<'_> {
    fn enter(&mut self, dir: &RelPath) {
        self.dirs.push((dir.clone(), self.watch.add(self.root, dir)));
    }

    fn path(&mut self, path: &RelPath, stat: &Stat) {
        self.paths.push((path.clone(), Stamp::of(stat)));
    }

    fn unreadable(&mut self, path: &RelPath, error: io::Error) {
        self.unread.push((path.clone(), error.to_string()));
    }
}

fn changes_a_file() -> ReadFlags {
    ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO | ReadFlags::MOVED_FROM | ReadFlags::DELETE
}

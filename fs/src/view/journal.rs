//! `events/journal/`: the segments as they are on disk, `HEAD.json` as it would be if it were written now, `archive/`.

use std::path::PathBuf;

use tickfs_store::ids::{SegmentForm, SegmentId, Seq, UnixNanos};
use tickfs_store::journal::segment::SegmentFile;
use tickfs_store::journal::{Head, JournalDir, Segments};
use tickfs_store::{Error as StoreError, Store};

use super::{Found, Listing, Now, Recipe, View, first_cookie};
use crate::attr::Attr;
use crate::error::Result;
use crate::inode::{Fixed, Ino, Object};

pub(super) fn find(view: &View, archived: bool, name: &[u8]) -> Result<Option<Found>> {
    match name {
        b"HEAD.json" if !archived => return Ok(Some(HEAD)),
        b"archive" if !archived => return Ok(Some(ARCHIVE)),
        _ => {}
    }
    let parsed = std::str::from_utf8(name).ok().and_then(SegmentId::parse);
    let wanted = |file: &SegmentFile| file.archived == archived && Some((file.id, file.form)) == parsed;
    Ok(segments(&view.store)?.into_iter().find(wanted).map(|file| found(&file)))
}

const HEAD: Found = Found::Text { recipe: Recipe::HeadJson, lasts: false };
const ARCHIVE: Found = Found::Object { object: Object::Fixed(Fixed::Archive), name_lasts: true };

pub(super) fn list(view: &View, archived: bool, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let fixed: Vec<(&[u8], Found)> =
        if archived { Vec::new() } else { vec![(b"HEAD.json", HEAD), (b"archive", ARCHIVE)] };
    if !out.fixed(after, fixed)? {
        return Ok(());
    }
    for file in segments(&view.store)?.iter().filter(|file| file.archived == archived) {
        let sealed = file.form == SegmentForm::Sealed;
        let cookie = first_cookie() + file.id.0.0 * 2 + u64::from(sealed);
        let name = if sealed { file.id.sealed_name() } else { file.id.file_name() };
        if after < cookie && !out.push(name.as_bytes(), cookie, found(file))? {
            return Ok(());
        }
    }
    Ok(())
}

fn found(file: &SegmentFile) -> Found {
    let object = Object::Segment { first: file.id.0.0, sealed: file.form == SegmentForm::Sealed };
    // It is sealed, or archived, one day, and then it is gone from here.
    Found::Object { object, name_lasts: false }
}

/// Segments are sealed and archived between commits, so their forms are part of the time that tells listings apart.
pub(super) fn directory(view: &View, now: &Now, ino: Ino) -> Result<Attr> {
    let forms = segments(&view.store)?;
    let weight =
        |file: &SegmentFile| 1 + i64::from(file.archived) + 2 * i64::from(file.form == SegmentForm::Sealed);
    let below: i64 = forms.iter().map(weight).sum();
    Ok(view.owner.directory(ino, UnixNanos(now.mtime().0 + below)))
}

/// Both forms of a segment that is being sealed, too.
fn segments(store: &Store) -> Result<Vec<SegmentFile>> {
    let segments = Segments::list(&**store.disk(), &dir(store), true)?;
    let mut all: Vec<SegmentFile> = segments.files().iter().chain(segments.spare()).copied().collect();
    all.sort_unstable_by_key(|file| (file.id, file.form));
    Ok(all)
}

pub(super) fn dir(store: &Store) -> JournalDir {
    JournalDir::new(&store.layout().journal())
}

pub(super) fn attr(view: &View, now: &Now, first: u64, sealed: bool) -> Result<Attr> {
    let ino = Ino::of(Object::Segment { first, sealed })?;
    let (_, len) = locate(&view.store, first, sealed)?;
    let mtime = if sealed { UnixNanos(0) } else { now.mtime() };
    Ok(view.owner.file(ino, len, mtime))
}

pub(super) fn read(view: &View, first: u64, sealed: bool, offset: u64, len: usize) -> Result<Vec<u8>> {
    let (path, size) = locate(&view.store, first, sealed)?;
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; left.min(len)];
    let failed = |source| StoreError::Io { action: "read", path: path.clone(), source };
    let file = view.store.disk().open(&path).map_err(failed)?;
    let mut filled = 0;
    while filled < bytes.len() {
        let count = file.read_at(&mut bytes[filled..], offset + filled as u64).map_err(failed)?;
        if count == 0 {
            break;
        }
        filled += count;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn locate(store: &Store, first: u64, sealed: bool) -> Result<(PathBuf, u64)> {
    let form = if sealed { SegmentForm::Sealed } else { SegmentForm::Plain };
    for archived in [false, true] {
        let path = SegmentFile { id: SegmentId(Seq(first)), archived, form }.path(&dir(store));
        let failed = |source| StoreError::Io { action: "look for", path: path.clone(), source };
        if let Some(stat) = store.disk().stat(&path).map_err(failed)? {
            return Ok((path, stat.len));
        }
    }
    Err(StoreError::not_found(format!("segment {first} is not there any more")).into())
}

pub(super) fn head_json(now: &Now) -> Vec<u8> {
    let end = now.history().journal_end();
    Head::new(end.seq.next(), &end).to_json().into_bytes()
}

//! `state/<name>/`: a state document at each of its revisions.

use std::borrow::Cow;

use tickfs_store::ids::UnixNanos;
use tickfs_store::journal::entry::ItemType;
use tickfs_store::render;

use super::listing::named_cookie;
use super::{Found, ListTicks, Listing, NamedDir, Now, Recipe, View, first_cookie, names};
use crate::error::Result;

pub(super) fn find_document(now: &Now, file_name: &[u8]) -> Result<Option<Found>> {
    let Some(name) = document_name(file_name) else { return Ok(None) };
    let known = now.history().last_revision(&name)?.is_some();
    Ok(known.then_some(Found::Dir(NamedDir::State(name))))
}

pub(super) fn list_documents(now: &Now, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let documents = now.history().entities(&ItemType::STATE)?;
    let mut ordered: Vec<(u64, String)> =
        documents.into_iter().map(|row| (named_cookie(file_name(&row.id).as_bytes()), row.id)).collect();
    ordered.sort_unstable();
    for (cookie, id) in ordered.into_iter().filter(|&(cookie, _)| after < cookie) {
        let name = file_name(&id).into_owned();
        if !out.push(name.as_bytes(), cookie, Found::Dir(NamedDir::State(id)))? {
            return Ok(());
        }
    }
    Ok(())
}

pub(super) fn find(now: &Now, document: &str, name: &[u8]) -> Result<Option<Found>> {
    let last = now.history().last_revision(document)?.unwrap_or(0);
    if name == b"deltas.jsonl" {
        return Ok(Some(deltas(document)));
    }
    let Some(said) = name.strip_prefix(b"@").and_then(|said| std::str::from_utf8(said).ok()) else {
        return Ok(None);
    };
    if said == "HEAD" {
        return Ok(Some(head(now, last)));
    }
    let rev = names::tick(said).map(|rev| rev.0).filter(|rev| (1..=last).contains(rev));
    Ok(rev.map(|rev| revision(document, rev)))
}

pub(super) fn list(view: &View, now: &Now, document: &str, after: u64, out: &mut Listing<'_>) -> Result<()> {
    let last = now.history().last_revision(document)?.unwrap_or(0);
    let fixed: Vec<(&[u8], Found)> = vec![(b"deltas.jsonl", deltas(document)), (b"@HEAD", head(now, last))];
    if !out.fixed(after, fixed)? {
        return Ok(());
    }
    let first = match view.options.list_ticks {
        ListTicks::All => 1,
        ListTicks::Newest(limit) => (last + 1).saturating_sub(limit).max(1),
    };
    for rev in first..=last {
        let cookie = first_cookie() + rev;
        if after < cookie && !out.push(format!("@{rev}").as_bytes(), cookie, revision(document, rev))? {
            return Ok(());
        }
    }
    Ok(())
}

fn deltas(document: &str) -> Found {
    Found::Text { recipe: Recipe::Deltas(document.to_owned()), lasts: false }
}

fn revision(document: &str, rev: u64) -> Found {
    Found::Text { recipe: Recipe::Document { name: document.to_owned(), rev }, lasts: true }
}

fn head(now: &Now, last: u64) -> Found {
    let mtime: UnixNanos = now.mtime();
    Found::Link { target: format!("@{last}").into_bytes(), mtime, name_lasts: false }
}

pub(super) fn render(now: &Now, name: &str, rev: u64) -> Result<Vec<u8>> {
    Ok(render::pretty(&now.history().document(name, rev)?))
}

/// The lines as they are kept.
pub(super) fn render_deltas(now: &Now, name: &str) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for row in now.history().revisions(name)? {
        lines.extend_from_slice(row.body.as_bytes());
        lines.push(b'\n');
    }
    Ok(lines)
}

/// A document's name as a file's: a slash and what reads as an escape of one are escaped.
fn file_name(name: &str) -> Cow<'_, str> {
    match name {
        "." => Cow::Borrowed("%2E"),
        ".." => Cow::Borrowed("%2E%2E"),
        name if name.contains(['/', '%']) => Cow::Owned(name.replace('%', "%25").replace('/', "%2F")),
        name => Cow::Borrowed(name),
    }
}

fn document_name(file_name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(file_name).ok()?;
    Some(match name {
        "%2E" => ".".to_owned(),
        "%2E%2E" => "..".to_owned(),
        name => name.replace("%2F", "/").replace("%25", "%"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_has_a_file_name_that_is_read_back() {
        for name in ["plan", "a/b", "100%", "%2F", ".", "..", "a/%25"] {
            let spelled = file_name(name);
            assert!(!spelled.contains('/') && spelled != "." && spelled != "..");
            assert_eq!(document_name(spelled.as_bytes()).as_deref(), Some(name), "{spelled}");
        }
    }
}

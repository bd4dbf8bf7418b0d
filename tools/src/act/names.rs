//! Branches and snapshots: names for points in history.

use tickfs_store::history::{Point, View};

use super::{Hold, Place, Report, hold, label, point};
use crate::error::Failure;
use crate::now;

pub(super) fn create_branch(
    place: &Place<'_>,
    name: &str,
    at: Option<&str>,
    description: Option<String>,
) -> anyhow::Result<Report> {
    let writer = place.writer;
    let view = writer.store().view()?;
    let given = at.map(|at| point(&view, at)).transpose()?;
    let detached = view.cursor().is_some_and(|cursor| !cursor.is_attached());
    if given.is_none() && detached {
        // What is unsaved goes along: it is recorded once the branch is there.
        let label = name.to_owned();
        writer.mutate(now::now(), move |m| {
            m.fork_here(&label, false)?;
            description.map_or(Ok(()), |text| m.describe_branch(&label, Some(text)))
        })?;
        let held = hold(place)?;
        let view = writer.store().view()?;
        let at = view.cursor_point()?;
        return Report::of(
            &view,
            &held,
            format!("branch {name} begins here, and is active (tick {})", at.tick),
        );
    }
    let (at, held) = match given {
        Some(at) => (at, Hold::default()),
        None => {
            let held = hold(place)?;
            (writer.store().view()?.cursor_point()?, held)
        }
    };
    let (label_owned, id) = (name.to_owned(), uuid()?);
    writer.mutate(now::now(), move |m| {
        m.create_branch(&label_owned, &id, at, false)?;
        description.map_or(Ok(()), |text| m.describe_branch(&label_owned, Some(text)))
    })?;
    let view = writer.store().view()?;
    let said = format!(
        "made branch {name} at {}@{}; `tickfs branch jump {name}` goes there",
        label(&view, at),
        at.tick
    );
    Report::of(&view, &held, said)
}

pub(super) fn rename_branch(place: &Place<'_>, old: &str, new: &str) -> anyhow::Result<Report> {
    let names = (old.to_owned(), new.to_owned());
    place.writer.mutate(now::now(), move |m| m.rename_branch(&names.0, &names.1))?;
    done(place, Hold::default(), format!("branch {old} is called {new} now"))
}

pub(super) fn create_snapshot(place: &Place<'_>, name: &str, at: Option<&str>) -> anyhow::Result<Report> {
    let store = place.writer.store();
    let (at, held) = match at {
        Some(at) => (point(&store.view()?, at)?, Hold::default()),
        None => {
            let held = hold(place)?;
            (present(&store.view()?)?, held)
        }
    };
    let name_owned = name.to_owned();
    place.writer.mutate(now::now(), move |m| m.create_snapshot(&name_owned, at))?;
    let said = format!("snapshot {name} names {}@{}", label(&store.view()?, at), at.tick);
    done(place, held, said)
}

/// The tick that the root is at; there is none where single files were put back.
fn present(view: &View) -> anyhow::Result<Point> {
    match view.stand()?.partial.first() {
        None => Ok(view.cursor_point()?),
        Some(partial) => {
            Err(Failure::new(format!("no tick is what stands here: {} was put back", partial.path))
                .next("make a branch of it first (`tickfs branch create NAME`), or name a tick with --at")
                .into())
        }
    }
}

pub(super) fn rename_snapshot(place: &Place<'_>, old: &str, new: &str) -> anyhow::Result<Report> {
    let names = (old.to_owned(), new.to_owned());
    place.writer.mutate(now::now(), move |m| m.rename_snapshot(&names.0, &names.1))?;
    done(place, Hold::default(), format!("snapshot {old} is called {new} now"))
}

pub(super) fn remove_snapshot(place: &Place<'_>, name: &str) -> anyhow::Result<Report> {
    let name_owned = name.to_owned();
    place.writer.mutate(now::now(), move |m| m.remove_snapshot(&name_owned))?;
    done(place, Hold::default(), format!("removed the name {name}; what it named stays in the history"))
}

pub(super) fn done(place: &Place<'_>, held: Hold, said: String) -> anyhow::Result<Report> {
    Report::of(&place.writer.store().view()?, &held, said)
}

/// A random UUID, version 4.
pub(super) fn uuid() -> anyhow::Result<String> {
    let mut bytes = now::random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

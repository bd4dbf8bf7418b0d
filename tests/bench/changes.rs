//! What changes no file: a branch, a jump to an equal tree, a snapshot. Each waits for the medium, and little more.

use anyhow::Result;
use tickfs_store::Content;
use tickfs_store::history::{Point, Stand};
use tickfs_store::ids::BranchNo;
use tickfs_tests::corpus::Corpus;

use crate::Size;
use crate::figure::{Figure, Samples, line};
use crate::keeping::{self, Durable};
use crate::scratch::{floor, scratch};

pub(crate) fn measure(size: Size) -> Result<()> {
    let count = size.of(200, 50);
    let corpus = Corpus::named("replay")?;
    let scratch = scratch()?;
    let writer = keeping::init(&scratch.path().join("store"), Durable::Always)?;
    keeping::base_of(&writer, &corpus)?;
    for (n, save) in corpus.saves().take(50).enumerate() {
        let save = save?;
        let meta = keeping::file_meta(0o644);
        writer
            .mutate(keeping::moment(n), move |m| m.save(&save.path, &meta, Content::Bytes(save.content)))?;
    }
    let head = writer.store().view()?.head(BranchNo::MAIN);
    let mut floor = floor(scratch.path(), 200)?;
    let floor = floor.percentile(50);
    let limit = Figure::Seconds(floor.value() + 1e-3);
    let say = |what: &str, samples: &mut Samples| {
        line(&format!("{what}, p50"), samples.percentile(50), &[("write+fdatasync", floor)], Some(limit));
    };

    let (mut created, mut jumped, mut named) = Default::default();
    for n in 0..count {
        let branch = Samples::time(&mut created, || {
            let id = format!("00000000-0000-4000-8000-{:012x}", n + 2);
            writer.mutate(keeping::moment(n), move |m| m.create_branch(&format!("try-{n}"), &id, head, false))
        })?;
        let to = if n % 2 == 0 { Point { branch, ..head } } else { head };
        let stand = Stand { branch: to.branch, tick: to.tick, partial: Vec::new() };
        Samples::time(&mut jumped, || writer.mutate(keeping::moment(n), |m| m.move_cursor(stand, "jump")))?;
        Samples::time(&mut named, || {
            writer.mutate(keeping::moment(n), move |m| m.create_snapshot(&format!("before-{n}"), head))
        })?;
    }
    say("branch create", &mut created);
    say("jump to an equal tree", &mut jumped);
    say("snapshot create", &mut named);
    Ok(())
}

//! Reads the whole journal with several threads, for whoever makes something anew from all of it.
//!
//! Each segment is read on its own, ahead of its turn, and what was made of it is handed over in the order of the
//! segments.
//!
//! Invariant: what is handed over is what one reader would give that reads from the first record to the last.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::entry::Line;
use super::reader::Part;
use super::segment::{JournalDir, Segments};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::ids::Seq;

/// More of them would wait for the one who takes what they make.
const THREADS_MAX: usize = 4;

/// What was made of one segment, and its first and last record.
type Made<T> = Result<(T, Option<RangeInclusive<Seq>>)>;

/// Makes a `T` of each segment, archived ones too, up to a record; `each` adds one record to it. Of a path's record the payload
/// may stand in `file` alone.
pub(crate) fn read_whole<T: Default + Send>(
    disk: &Arc<dyn Disk>,
    dir: &JournalDir,
    until: Seq,
    each: impl Fn(&mut T, &Line<'_>) -> Result<()> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let segments = Segments::list(&**disk, dir, true)?;
    let last = segments.last();
    let part = |&file| Part { file, is_last: last == Some(file), behind: Seq(0), until: Some(until) };
    let parts: Vec<Part> = segments.files().iter().map(part).collect();
    let make = |part: &Part| -> Made<T> {
        let mut made = T::default();
        let given = part.read_quickly(&**disk, dir, |line, _| each(&mut made, line))?;
        Ok((made, given))
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(parts.len());
    let work = |first: usize, to: &SyncSender<Made<T>>| {
        for part in parts.iter().skip(first).step_by(threads) {
            // Nobody takes it: the one who would has met an error, or has had the last record.
            if to.send(make(part)).is_err() {
                return;
            }
        }
    };
    let mut behind = Seq(0);
    let mut take_next = |part: &Part, from: &Receiver<Made<T>>| -> Result<()> {
        let (mut made, mut given) =
            from.recv().map_err(|_gone| Error::refused("a thread that read the journal ended"))??;
        if given.as_ref().is_some_and(|given| *given.start() <= behind) {
            // Records that were met before: it has to be known where those before it end.
            (made, given) = make(&Part { behind, ..*part })?;
        }
        behind = given.map_or(behind, |given| *given.end());
        take(made)
    };
    thread::scope(|scope| {
        let lanes: Vec<Receiver<Made<T>>> = (0..threads)
            .map(|first| {
                let (to, from) = sync_channel(0);
                scope.spawn({
                    let work = &work;
                    move || work(first, &to)
                });
                from
            })
            .collect();
        parts.iter().zip(lanes.iter().cycle()).try_for_each(|(part, from)| take_next(part, from))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, update, write_one};
    use super::super::writer::WriterOptions;
    use super::*;

    type Names = Vec<(u64, String)>;

    fn name(line: &Line<'_>) -> (u64, String) {
        (line.seq.0, line.item_id.as_deref().unwrap_or_default().to_owned())
    }

    fn in_parts(bench: &Bench, until: u64) -> Names {
        let mut all = Vec::new();
        let add = |names: &mut Names, line: &Line<'_>| {
            names.push(name(line));
            Ok(())
        };
        let take = |names| {
            all.extend::<Names>(names);
            Ok(())
        };
        read_whole(&bench.disk, &bench.dir, Seq(until), add, take).unwrap();
        all
    }

    #[test]
    fn many_threads_give_what_one_reader_gives_whatever_lies_in_the_segments() {
        let bench = Bench::new();
        assert_eq!(in_parts(&bench, 100), []);
        let mut journal = bench.writer(WriterOptions { roll_at: 900, ..WriterOptions::default() });
        for n in 0..100 {
            write_one(&mut journal, &[update(&n.to_string(), "{}")]);
        }
        let expect_the_same = |what: &str| {
            for until in [1, 37, 99, 1_000] {
                let mut streamed = bench.read().0;
                streamed.retain(|&(seq, _)| seq <= until);
                assert_eq!(in_parts(&bench, until), streamed, "{what}, up to {until}");
            }
        };
        let files = Segments::list(&*bench.disk, &bench.dir, true).unwrap().files().to_vec();
        assert!(files.len() > 10);
        expect_the_same("as it was written");
        // Records of its neighbours in a segment: met before, and met too early.
        let path = |place: usize| files[place].path(&bench.dir);
        let (before, after) = (bench.memory.bytes(&path(3)), bench.memory.bytes(&path(5)));
        let between = bench.memory.bytes(&path(4));
        bench.memory.set(&path(4), &[&before[..], &between, &after].concat());
        expect_the_same("with records that others have");
        // Damage in the middle, and a tail that was torn.
        let mut bytes = bench.memory.bytes(&path(7));
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bench.memory.set(&path(7), &bytes);
        let last = bench.memory.bytes(&path(files.len() - 1));
        bench.memory.set(&path(files.len() - 1), &last[..last.len() - 5]);
        expect_the_same("damaged");
        let mut taken = 0;
        let refused = read_whole(
            &bench.disk,
            &bench.dir,
            Seq(100),
            |_: &mut (), _| Ok(()),
            |()| {
                taken += 1;
                if taken < 3 { Ok(()) } else { Err(Error::refused("no more")) }
            },
        );
        assert!(matches!(refused, Err(Error::Refused { .. })) && taken == 3);
    }
}

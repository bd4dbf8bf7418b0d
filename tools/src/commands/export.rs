//! `tickfs export`: the store written down in another layout.
//!
//! Invariant: what is written has its name only once it is whole, and nothing is overwritten.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tickfs_store::history::View;
use tickfs_store::migrate::{export_codevovle, export_jsonl};

use crate::cli::Where;
use crate::error::Failure;
use crate::find;
use crate::fresh::fresh;

/// Write the store down in another layout
///
/// codevovle: the directory OUT with config.json, state.json, branches/*.json, diffs/*.diff and snapshots/base.txt; where
/// several files are recorded, that of each file is below its path. jsonl: every entity as one line of JSON, and each
/// path as it is at the head of its branch, in the file OUT or on the terminal.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Which layout
    #[arg(long, value_enum)]
    format: Format,
    /// A directory or file that does not exist yet
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Codevovle,
    Jsonl,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let view = fresh(&arguments.place.open()?)?.view;
    let target = arguments.out.as_deref().map(find::settled).transpose()?;
    match (arguments.format, target) {
        (Format::Codevovle, Some(target)) => {
            for left in export_codevovle(&*find::disk(), &view, &target)? {
                eprintln!(
                    "tickfs: {} is of an export that is under way, or did not end: then it can be removed",
                    left.display()
                );
            }
            Ok(())
        }
        (Format::Codevovle, None) => {
            Err(Failure::new("this layout is a directory").next("name one that does not exist yet").into())
        }
        (Format::Jsonl, Some(target)) => write_file(&view, &target),
        (Format::Jsonl, None) => Ok(export_jsonl(&view, out)?),
    }
}

fn write_file(view: &View, target: &Path) -> anyhow::Result<()> {
    let name = target.file_name().context("a file has a name")?;
    let mut half = std::ffi::OsString::from(".");
    half.push(name);
    half.push(".export");
    let half = target.with_file_name(half);
    let written = write_half(view, &half).and_then(|()| {
        // A hard link does not replace what has the name by now.
        std::fs::hard_link(&half, target).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new("there is something already").at(target).next("name another file").into()
            }
            _ => anyhow::Error::new(source).context(format!("could not name {}", target.display())),
        })
    });
    let removed = std::fs::remove_file(&half);
    written?;
    removed.with_context(|| format!("could not remove {}", half.display()))
}

fn write_half(view: &View, half: &Path) -> anyhow::Result<()> {
    let cannot = || format!("could not write {}", half.display());
    let file = File::create(half).with_context(cannot)?;
    let mut out = BufWriter::new(file);
    export_jsonl(view, &mut out)?;
    let file = out.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(cannot)?;
    file.sync_all().with_context(cannot)
}

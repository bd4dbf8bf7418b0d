//! How results are printed: as a table for people, as one JSON document for programs.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;
use tickfs_store::path::NameBytes;

pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Columns as wide as their widest cell; the last is as long as it is.
pub(crate) fn table<const N: usize>(out: &mut dyn Write, rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A string where the path is UTF-8, else `{"hex":"…"}`.
pub(crate) fn path_in_json(path: &Path) -> NameBytes<'_> {
    NameBytes(path.as_os_str().as_bytes())
}

/// `1 event`, `2 events`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// `1 byte`, `45 bytes`, `7.5 MB`.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        ..1_000_000 => counted(count, "byte"),
        _ => format!("{}.{} MB", count / 1_000_000, count / 100_000 % 10),
    }
}

/// A text that came from a file's name or a record, on one line and without control characters.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

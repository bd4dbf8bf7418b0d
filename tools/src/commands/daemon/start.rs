//! `tickfs daemon start`: records in the background from when it returns.

use std::io::Write;

use clap::Args;

use crate::client::ask_or_start;
use crate::output;
use crate::progress::Progress;
use crate::serve::message::{Answer, Request};
use crate::target::Chosen;

/// Begin to record a root, or one file, in the background
///
/// It returns when recording has begun. The process lives on when the terminal is closed, and ends when its last recording
/// is stopped and no mount needs it. `tickfs service install` makes it come back after a reboot.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let target = arguments.chosen.target()?;
    let interval = arguments.chosen.interval;
    let request = Request::Record { file: target.file.clone(), interval, threads: None };
    let mut progress = Progress::default();
    let (pid, answer) = ask_or_start(&target.store, &request, &mut |text| progress.tell(text))?;
    drop(progress);
    let Answer::Recording { threads, notes } = answer else { return Ok(()) };
    notes.iter().for_each(|note| eprintln!("tickfs: {note}"));
    let what = match &target.file {
        Some(file) => target.root.join(file.as_path()),
        None => target.root,
    };
    if arguments.json {
        let what = output::path_in_json(&what);
        let begun =
            serde_json::json!({"recorded": what, "interval": interval, "pid": pid, "threads": threads});
        return output::json(out, &begun);
    }
    let every = interval.map(|seconds| format!(" every {seconds} s")).unwrap_or_default();
    let threads = output::counted(u64::from(threads), "thread");
    writeln!(out, "process {pid} records {}{every} with {threads}", what.display())?;
    Ok(())
}

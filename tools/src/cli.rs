//! What can be typed: the verbs, and the options that many of them share. Each verb's own arguments lie in its file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    branch, completions, daemon, diff, doctor, events, export, grep, init, inspect, log, man, migrate, mount,
    record, restore, revert, service, show, snapshot, status, undo, unmount, watch,
};

/// Records everything that happens to a project and shows it as files.
///
/// Every command finds its store by going up from --file, --root or the working directory: the store beside each
/// directory (`.NAME.tickfs`), then the one inside it (`.tickfs`).
///
/// Exit status: 0 done, 1 a failure that the message explains, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "tickfs", version, arg_required_else_help = true, subcommand_required = true)]
#[command(max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Init(init::Arguments),
    Mount(mount::Arguments),
    Unmount(unmount::Arguments),
    Record(record::Arguments),
    #[command(subcommand)]
    Daemon(daemon::Verb),
    #[command(subcommand)]
    Service(service::Verb),
    Status(status::Arguments),
    Log(log::Arguments),
    Show(show::Arguments),
    Diff(diff::Arguments),
    Grep(grep::Arguments),
    Revert(revert::Arguments),
    Restore(restore::Arguments),
    Undo(undo::Arguments),
    #[command(subcommand)]
    Branch(branch::Verb),
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    #[command(subcommand)]
    Events(events::Verb),
    Inspect(inspect::Arguments),
    Watch(Box<watch::Arguments>),
    Doctor(doctor::Arguments),
    Export(export::Arguments),
    Migrate(migrate::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Which store a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct Where {
    /// The store that records this directory
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    pub(crate) root: Option<PathBuf>,
    /// This file, and the store that records it
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The store itself
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
}

//! From an error to what a person reads and what a script sees.
//!
//! One line on stderr, `tickfs: what went wrong (where): what to do next`, and an exit status: 0 done, 1 a failure,
//! 2 wrong usage. That nobody reads on behind a pipe is no error.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use tickfs_store::Error as StoreError;
use tickfs_tracer::files::restore::Error as RestoreError;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// A failure that a command itself explains, here or in the process that it asked.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[error("{what}")]
pub(crate) struct Failure {
    what: String,
    place: Option<String>,
    next: Option<String>,
    status: u8,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, next: None, status: FAILED }
    }

    /// What was asked for makes no sense; nothing was done.
    pub(crate) fn usage(self) -> Self {
        Self { status: WRONG_USAGE, ..self }
    }

    pub(crate) fn at(self, place: impl AsRef<Path>) -> Self {
        Self { place: Some(place.as_ref().display().to_string()), ..self }
    }

    pub(crate) fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }
}

/// An exit status that is the answer itself: all has been said.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("status {0}")]
pub(crate) struct Status(pub(crate) u8);

pub(crate) fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    if let Some(status) = error.downcast_ref::<Status>() {
        return ExitCode::from(status.0);
    }
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    let is_usage = matches!(error.downcast_ref::<StoreError>(), Some(StoreError::NotAPoint { .. }));
    let failure = Failure::from(&error);
    eprintln!("{}", failure.line());
    ExitCode::from(if is_usage { WRONG_USAGE } else { failure.status })
}

/// Help and the version are asked for, and no error.
pub(crate) fn exit_code_of_usage(usage: &clap::Error) -> ExitCode {
    if !usage.use_stderr() {
        return exit_code(usage.print().map_err(anyhow::Error::from));
    }
    let text = usage.render().to_string();
    let is_help = usage.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    match text.strip_prefix("error: ") {
        _ if is_help => eprint!("{text}"),
        what => eprint!("tickfs: {}", what.unwrap_or(&text)),
    }
    ExitCode::from(WRONG_USAGE)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let written = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let encoded = error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    written.or(encoded) == Some(io::ErrorKind::BrokenPipe)
}

impl Failure {
    fn line(&self) -> String {
        let place = self.place.as_ref().map(|place| format!(" ({place})"));
        let next = self.next.as_ref().map(|next| format!(": {next}"));
        format!("tickfs: {}{}{}", self.what, place.unwrap_or_default(), next.unwrap_or_default())
    }
}

/// What was being done stands before what went wrong; where, and what to do next, are those of the root cause.
impl From<&anyhow::Error> for Failure {
    fn from(error: &anyhow::Error) -> Self {
        let mut doing = Vec::new();
        for cause in error.chain() {
            let told = cause.downcast_ref::<Self>().cloned();
            let told = told.or_else(|| of_a_room(cause));
            let told = told.or_else(|| Some(Self::new(plain(cause.downcast_ref::<io::Error>()?))));
            if let Some(told) = told {
                doing.push(told.what);
                return Self { what: doing.join(": "), ..told };
            }
            doing.push(cause.to_string());
        }
        Self::new(doing.join(": "))
    }
}

/// What the rooms pass on of each other is found in them.
fn of_a_room(cause: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    let of_fs = |error: &tickfs_fs::Error| match error {
        tickfs_fs::Error::Store(error) => of_store(error),
        tickfs_fs::Error::Mount { what, source } => Failure::new(format!("{what}: {}", plain(source))),
        other => Failure::new(other.to_string()),
    };
    let of_tracer = |error: &tickfs_tracer::files::Error| match error {
        tickfs_tracer::files::Error::Store(error) => of_store(error),
        tickfs_tracer::files::Error::HalfWay(error) => of_restore(error),
        tickfs_tracer::files::Error::Io { action, path, source } => {
            Failure::new(format!("could not {action}: {}", plain(source))).at(path)
        }
        other => Failure::new(other.to_string()),
    };
    let told = cause.downcast_ref::<StoreError>().map(of_store);
    let told =
        told.or_else(|| cause.downcast_ref().map(of_fs)).or_else(|| cause.downcast_ref().map(of_tracer));
    told.or_else(|| cause.downcast_ref().map(of_restore))
}

fn of_restore(error: &RestoreError) -> Failure {
    match error {
        RestoreError::Store(error) => of_store(error),
        RestoreError::Io { action, path, source } => {
            let failure = Failure::new(format!("could not {action} it: {}", plain(source))).at(path);
            match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    failure.next("nothing was changed; run it as a user who may")
                }
                _ => failure.next("nothing was changed"),
            }
        }
        RestoreError::Damaged { path, tick, source } => {
            Failure::new(format!("the content of tick {tick} of {path} cannot be had: {source}"))
                .next("nothing was changed; `tickfs doctor` says what else is damaged")
        }
        RestoreError::ChangedMeanwhile { path } => Failure::new(format!("{path} was changed meanwhile"))
            .next("nothing was changed; run the command again"),
        RestoreError::InTheWay { path } => Failure::new(format!("{path} is in the way, and is not recorded"))
            .next("nothing was changed; move it away, and run the command again"),
        RestoreError::HalfWay { .. } => Failure::new(error.to_string())
            .next("mend what is in the way, and the next command takes it back"),
        other => Failure::new(other.to_string()),
    }
}

fn of_store(error: &StoreError) -> Failure {
    match error {
        StoreError::Io { action, path, source } => {
            let failure = Failure::new(format!("could not {action} it: {}", plain(source))).at(path);
            match hint(source) {
                Some(next) => failure.next(next),
                None => failure,
            }
        }
        StoreError::Corrupt { path, offset, what } => {
            Failure::new(format!("damaged at byte {offset}: {what}"))
                .at(path)
                .next("`tickfs doctor` says what else is damaged")
        }
        StoreError::Poisoned { path } => Failure::new("a write could not be made durable")
            .at(path)
            .next("look after the disk, then run the command again"),
        StoreError::Locked { .. } => Failure::new(error.to_string())
            .next("wait until it is done, or stop it, and run the command again"),
        StoreError::Config { path, what } => Failure::new(what.clone()).at(path).next("edit the file"),
        StoreError::Index { source, .. } => Failure::new(format!("{error}: {source}"))
            .next("remove index.db from the store, and the next command makes it anew"),
        // These say themselves what to do.
        other => Failure::new(other.to_string()),
    }
}

/// An operating system's error without its number.
pub(crate) fn plain(source: &io::Error) -> String {
    let text = source.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn hint(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::PermissionDenied => Some("run it as the user to whom the store belongs"),
        io::ErrorKind::ReadOnlyFilesystem => Some("the filesystem must be writable"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room on the disk"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_line_says_what_where_and_what_next() {
        let failure = Failure::new("it broke").at("/p/app").next("mend it");
        assert_eq!(failure.line(), "tickfs: it broke (/p/app): mend it");
        let nested = Err::<(), _>(failure).context("while counting").unwrap_err();
        assert_eq!(Failure::from(&nested).line(), "tickfs: while counting: it broke (/p/app): mend it");
        let source = io::Error::from_raw_os_error(28);
        let error = StoreError::Io { action: "append to", path: "/s/seg".into(), source };
        assert_eq!(
            Failure::from(&anyhow::Error::new(error)).line(),
            "tickfs: could not append to it: no space left on device (/s/seg): make room on the disk"
        );
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_no_error() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::new(pipe())));
        assert!(is_broken_pipe(&anyhow::Error::new(pipe()).context("while printing")));
        assert!(is_broken_pipe(&anyhow::Error::new(serde_json::Error::io(pipe()))));
        assert!(!is_broken_pipe(&anyhow::Error::new(io::Error::from(io::ErrorKind::NotFound))));
    }
}

//! What a run is asked to do, and the checks that come before anything runs.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tickfs_store::ids::{Tick, UnixMillis};
use tickfs_store::runs::{RunId, RunWriter};

use super::error::{Error, Result};
use super::scope::FilesScope;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Tells a person something.
pub type Announce = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// How many bytes of a value are told of in deltas; `None`: all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth(pub Option<u64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    pub threads: bool,
    /// Watched variables of functions too.
    pub locals: bool,
    /// Variables that the scope file names, also where the program does not call `watch`.
    pub declared: bool,
    pub sql: bool,
    pub faults: FaultMode,
}

/// How writes are seen that go past the hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FaultMode {
    /// In the thread that writes, exactly.
    Signal,
    /// By the tracer, which opens a page and looks at it when it has closed it again.
    Handler,
    /// By the tracer, which looks from time to time.
    Coarse,
    #[default]
    Hooks,
}

impl FaultMode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Handler => "handler",
            Self::Coarse => "coarse",
            Self::Hooks => "hooks",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    JavaScript,
}

impl Language {
    /// By the extension.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "py" => Some(Self::Python),
            "js" | "mjs" | "cjs" => Some(Self::JavaScript),
            _ => None,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }

    /// The interpreter in PATH, and the name to say where there is none.
    pub(super) fn interpreter(self) -> Result<PathBuf, &'static str> {
        let names: &[&'static str] = match self {
            Self::Python => &["python3", "python"],
            Self::JavaScript => &["node"],
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = names.iter().find_map(|name| {
            std::env::split_paths(&path).map(|dir| dir.join(name)).find(|candidate| candidate.is_file())
        });
        found.ok_or(names[0])
    }
}

/// Where the run is kept besides its output.
#[derive(Debug)]
pub struct Kept {
    pub writer: RunWriter,
    pub script_tick: Option<Tick>,
}

pub struct Options {
    pub script: PathBuf,
    pub arguments: Vec<OsString>,
    /// The directory of `events.jsonl`.
    pub output: PathBuf,
    pub flags: Flags,
    pub depth: Depth,
    pub scope: FilesScope,
    pub processors: Vec<PathBuf>,
    /// So many events fit into the ring before the program has to wait.
    pub queue: Option<usize>,
    pub level: Level,
    pub run: RunId,
    pub kept: Option<Kept>,
    pub clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    pub announce: Announce,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("script", &self.script)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The script's language, after all that can be checked without running anything.
    pub(super) fn check(&self) -> Result<Language> {
        let language = Language::of(&self.script).ok_or_else(|| {
            Error::invalid("the script is neither Python (.py) nor JavaScript (.js)", &self.script)
        })?;
        if !self.script.is_file() {
            return Err(Error::invalid("there is no such script", &self.script));
        }
        for processor in &self.processors {
            if !processor.is_file() {
                return Err(Error::invalid("there is no such processor", processor));
            }
            match Language::of(processor) {
                Some(found) if found == language => {}
                Some(_) => {
                    let what = format!("the processor must be in the script's language, {}", language.name());
                    return Err(Error::invalid(what, processor));
                }
                None => {
                    let what = "the processor is neither Python (.py) nor JavaScript (.js)";
                    return Err(Error::invalid(what, processor));
                }
            }
        }
        Ok(language)
    }
}

//! Where everything lies in a store's directory.

use std::path::{Path, PathBuf};

/// The paths inside one store, `.app.tickfs/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    #[must_use]
    pub fn format(&self) -> PathBuf {
        self.dir.join("FORMAT")
    }

    #[must_use]
    pub fn scope(&self) -> PathBuf {
        self.dir.join("SCOPE")
    }

    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("LOCK")
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// What a command that moves is about to do to the root, for as long as it is not done.
    #[must_use]
    pub fn intent(&self) -> PathBuf {
        self.dir.join("INTENT")
    }

    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    #[must_use]
    pub fn packs(&self) -> PathBuf {
        self.dir.join("packs")
    }

    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.dir.join("index.db")
    }

    /// How the recorded paths looked on disk when they were last compared: a cache.
    #[must_use]
    pub fn stamps(&self) -> PathBuf {
        self.dir.join("stamps")
    }

    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.dir.join("runs")
    }

    #[must_use]
    pub fn daemons(&self) -> PathBuf {
        self.dir.join("daemons")
    }

    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.dir.join("quarantine")
    }
}

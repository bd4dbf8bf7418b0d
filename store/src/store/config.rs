//! `config.toml`: what a person may edit. A missing file or key means the default; an impossible value is an error.

use std::path::Path;

use serde::Deserialize;

use crate::disk::{self, Disk, Fsync};
use crate::error::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub store: StoreConfig,
    pub record: RecordConfig,
    pub mount: MountConfig,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    pub journal: JournalConfig,
    pub packs: PackConfig,
    /// How a directory in the older layout is written to.
    pub journal_v2: Dual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalConfig {
    #[serde(with = "fsync_word")]
    pub fsync: Fsync,
    /// A segment of so many bytes is followed by a new one.
    pub roll_bytes: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { fsync: Fsync::default(), roll_bytes: crate::journal::writer::ROLL_AT }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackConfig {
    /// A pack of so many bytes is followed by a new one.
    pub roll_bytes: u64,
}

impl Default for PackConfig {
    fn default() -> Self {
        Self { roll_bytes: crate::content::ROLL_AT }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dual {
    #[default]
    Off,
    Dual,
    Primary,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordConfig {
    /// A larger file leaves a `skipped` tick.
    pub max_file_size: u64,
    /// Patterns that are recorded although a rule or the default list excludes them.
    pub include: Vec<String>,
    /// Patterns that are not recorded, beside those of `.gitignore` and `.tickfsignore`.
    pub exclude: Vec<String>,
    /// Threads that read, hash and compress.
    pub threads: Option<u8>,
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self { max_file_size: 64 * 1024 * 1024, include: Vec::new(), exclude: Vec::new(), threads: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MountConfig {
    /// So many seconds whoever reads waits for the next process when the serving one died; then it is an error.
    pub outage_max_seconds: u32,
}

impl Default for MountConfig {
    fn default() -> Self {
        Self { outage_max_seconds: 10 }
    }
}

mod fsync_word {
    use super::Fsync;
    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Fsync, D::Error> {
        match String::deserialize(d)?.as_str() {
            "mutation" => Ok(Fsync::Mutation),
            "never" => Ok(Fsync::Never),
            other => Err(D::Error::custom(format!("fsync is \"mutation\" or \"never\", not {other:?}"))),
        }
    }
}

impl Config {
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Self> {
        match disk.stat(path).map_err(Error::io("look for", path))? {
            None => Ok(Self::default()),
            Some(_) => {
                let bytes = disk::read_all(disk, path).map_err(Error::io("read", path))?;
                Self::parse(path, &String::from_utf8_lossy(&bytes))
            }
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| Error::Config {
            path: path.to_path_buf(),
            what: e.to_string().trim_end().to_owned(),
        })?;
        match config.record.threads {
            Some(threads) if !(1..=32).contains(&threads) => Err(Error::Config {
                path: path.to_path_buf(),
                what: format!("record.threads is 1 to 32, not {threads}"),
            }),
            _ if config.store.journal.roll_bytes.min(config.store.packs.roll_bytes) < 1024 => {
                Err(Error::Config {
                    path: path.to_path_buf(),
                    what: "roll_bytes is at least 1024".to_owned(),
                })
            }
            _ => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(Path::new("config.toml"), text)
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = parse("").unwrap();
        assert_eq!((config.store.journal.fsync, config.store.journal_v2), (Fsync::Mutation, Dual::Off));
        assert_eq!((config.record.max_file_size, config.mount.outage_max_seconds), (64 << 20, 10));
    }

    /// Shows EL-51, EL-102: the values there are, and that any other is a config error.
    #[test]
    fn impossible_values_are_errors_that_name_the_file() {
        assert_eq!(parse("[store.journal]\nfsync = \"never\"").unwrap().store.journal.fsync, Fsync::Never);
        assert_eq!(parse("[store]\njournal_v2 = \"dual\"").unwrap().store.journal_v2, Dual::Dual);
        assert_eq!(parse("[store]\njournal_v2 = \"primary\"").unwrap().store.journal_v2, Dual::Primary);
        for bad in [
            "[store.journal]\nfsync = \"always\"",
            "[store]\njournal_v2 = \"both\"",
            "[store]\nfsync = \"never\"",
            "[store.journal]\nroll_bytes = 0",
            "[store.packs]\nroll_bytes = 1023",
            "[record]\nthreads = 33",
            "[record",
        ] {
            let message = parse(bad).unwrap_err().to_string();
            assert!(message.starts_with("config.toml: "), "{bad:?} gave {message:?}");
        }
    }
}

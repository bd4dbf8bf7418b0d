//! What is not recorded, and why.
//!
//! Invariants:
//!   * What is recorded stays recorded, whatever a rule says later: whoever asks the rules asks that first.
//!   * A rule speaks about a path inside directories that are not excluded themselves: whoever walks does not enter those.
//!   * Stores, other filesystems and special files are excluded whatever a person says.

use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::Stat;
use tickfs_store::path::RelPath;
use tickfs_store::{RecordConfig, Scope, Store};

use super::error::{Error, Result};
use super::place::{Place, kind_of};
use super::report::Warning;
use tickfs_store::journal::entry::NodeType;

/// Not recorded unless `.gitignore`, `.tickfsignore` or the configuration says otherwise: what a tool makes again (also
/// `tickfs watch`), and the files that editors keep while they run.
pub const DEFAULTS: &[&str] = &[
    "node_modules/",
    "target/",
    "__pycache__/",
    ".venv/",
    "venv/",
    ".tox/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".gradle/",
    ".direnv/",
    ".next/",
    ".cache/",
    "watcher_output/",
    ".DS_Store",
    ".*.sw?",
    "4913",
    ".#*",
    "\\#*#",
    ".~lock.*#",
    ".goutputstream-*",
    ".nfs????????????????*",
    ".fuse_hidden*",
];

/// Not recorded unless `.tickfsignore` or the configuration asks for it: what a history must not keep.
pub const SECRETS: &[&str] = &[
    ".env",
    ".env.*",
    "!.env.example",
    "!.env.sample",
    "!.env.template",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.keystore",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    ".pgpass",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".ssh/",
    ".gnupg/",
    ".aws/",
    ".vault-token",
    "*.token",
    "token",
    "credentials.json",
];

const VERSION_CONTROL: &[&str] =
    &[".git", ".hg", ".svn", ".jj", ".bzr", "_darcs", ".pijul", ".fslckout", "CVS", ".sl"];

/// Why a path is not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is a store.
    Store,
    /// Another store records it.
    OtherRoot,
    VersionControl,
    /// Another filesystem is mounted there.
    OtherFilesystem,
    /// A socket, a pipe or a device.
    Special,
    /// It looks like a file that holds secrets.
    Secret {
        pattern: String,
    },
    /// The default list names it.
    Default {
        pattern: String,
    },
    /// `record.exclude` of the configuration names it.
    Excluded {
        pattern: String,
    },
    /// The file names it that git takes for all of a person's repositories.
    Global {
        pattern: String,
    },
    /// A `.gitignore` or `.tickfsignore` names it.
    Rule {
        file: RelPath,
        pattern: String,
    },
    /// The store records single files, and this is none of them.
    NotNamed,
    /// It may not be read: it is recorded as soon as it may.
    Unreadable {
        why: String,
    },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store => f.write_str("a store of tickfs"),
            Self::OtherRoot => f.write_str("another store records it"),
            Self::VersionControl => f.write_str("belongs to version control"),
            Self::OtherFilesystem => f.write_str("another filesystem"),
            Self::Special => f.write_str("a socket, pipe or device"),
            Self::Secret { pattern } => {
                write!(f, "may hold secrets ({pattern}); !{pattern} in .tickfsignore records it")
            }
            Self::Default { pattern } => write!(f, "ignored by default ({pattern})"),
            Self::Excluded { pattern } => write!(f, "record.exclude in config.toml ({pattern})"),
            Self::Global { pattern } => {
                write!(f, "git's core.excludesFile ({pattern}); !{pattern} in .tickfsignore records it")
            }
            Self::Rule { file, pattern } => write!(f, "{file} ({pattern})"),
            Self::NotNamed => f.write_str("only named files are recorded here"),
            Self::Unreadable { why } => write!(f, "cannot be read: {why}"),
        }
    }
}

/// The rules of one root. Ignore files are read when their directory is entered, and again when they change.
#[derive(Debug)]
pub struct Rules {
    dev: u64,
    /// The store's directory, where it lies below the root.
    store: Option<RelPath>,
    files: Option<BTreeSet<RelPath>>,
    include: Gitignore,
    exclude: Gitignore,
    secrets: Gitignore,
    defaults: Gitignore,
    /// What git ignores in every repository of the person who records; empty where the root is in none.
    global: Gitignore,
    /// Directories that lead to what `include` names.
    passages: BTreeSet<RelPath>,
    by_dir: HashMap<RelPath, DirRules>,
    /// Directories that other stores record, as far as a walk has seen them.
    pub(crate) other_roots: BTreeSet<RelPath>,
    pub(crate) warnings: Vec<Warning>,
}

/// The ignore files of one directory; the first has the last word.
#[derive(Debug)]
struct DirRules {
    files: Vec<(&'static str, Gitignore)>,
}

const TICKFSIGNORE: &str = ".tickfsignore";
const IGNORE_FILES: [&str; 3] = [TICKFSIGNORE, ".gitignore", ".git/info/exclude"];

impl Rules {
    pub fn new(store: &Store, scope: &Scope) -> Result<Self> {
        let place = Place::open(&scope.root).map_err(Error::io("open the root", &scope.root))?;
        Self::of(&place, store.layout().dir(), scope, &store.config().record)
    }

    pub(crate) fn of(place: &Place, store: &Path, scope: &Scope, config: &RecordConfig) -> Result<Self> {
        let below =
            store.strip_prefix(&scope.root).ok().map(|path| path.as_os_str().as_encoded_bytes().to_vec());
        Ok(Self {
            dev: place.dev(),
            store: below.and_then(|path| RelPath::new(path).ok()).filter(|path| !path.is_root()),
            files: scope.files.as_ref().map(|files| files.iter().cloned().collect()),
            include: said("record.include", &config.include)?,
            exclude: said("record.exclude", &config.exclude)?,
            secrets: said("the list of secrets", SECRETS)?,
            defaults: said("the default list", DEFAULTS)?,
            global: global(&scope.root),
            passages: passages(&config.include),
            by_dir: HashMap::new(),
            other_roots: BTreeSet::new(),
            warnings: Vec::new(),
        })
    }

    /// Whether only named files are recorded.
    #[must_use]
    pub fn names_files(&self) -> bool {
        self.files.is_some()
    }

    pub(crate) fn name_file(&mut self, path: RelPath) {
        self.files.get_or_insert_default().insert(path);
    }

    pub(crate) fn forget_file(&mut self, path: &RelPath) {
        if let Some(files) = &mut self.files {
            files.remove(path);
        }
    }

    /// Whether a file with this name changes the rules of its directory.
    pub(crate) fn is_ignore_file(name: &[u8]) -> bool {
        IGNORE_FILES.iter().any(|file| file.as_bytes() == name)
    }

    /// Reads the ignore files of a directory. A walk does this when it enters one.
    pub(crate) fn load(&mut self, place: &Place, dir: &RelPath) {
        if self.files.is_some() {
            return;
        }
        let mut files = Vec::new();
        for name in IGNORE_FILES {
            if name.contains('/') && !dir.is_root() {
                continue;
            }
            let Some(text) = self.read(place, dir, name) else { continue };
            let mut builder = GitignoreBuilder::new("");
            for line in text.lines() {
                if let Err(error) = builder.add_line(None, line) {
                    self.warn(
                        dir,
                        format!("a line of its {name} is no pattern, and is passed over: {error}"),
                    );
                }
            }
            match builder.build() {
                Ok(rules) => files.push((name, rules)),
                Err(error) => self.warn(dir, format!("its {name} cannot be used: {error}")),
            }
        }
        match files.is_empty() {
            true => drop(self.by_dir.remove(dir)),
            false => drop(self.by_dir.insert(dir.clone(), DirRules { files })),
        }
    }

    fn read(&mut self, place: &Place, dir: &RelPath, name: &'static str) -> Option<String> {
        let path =
            RelPath::new([dir.as_bytes(), if dir.is_root() { b"" } else { b"/" }, name.as_bytes()].concat());
        let path = path.ok()?;
        let file = match place.open_file(&path) {
            Ok(fd) => std::fs::File::from(fd),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return None;
            }
            Err(error) => {
                self.warn(dir, format!("its {name} could not be read, so that it excludes nothing: {error}"));
                return None;
            }
        };
        // Nobody writes a megabyte of patterns by hand.
        let mut bytes = Vec::new();
        match file.take(1 << 20).read_to_end(&mut bytes) {
            Ok(_) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                self.warn(dir, format!("its {name} could not be read, so that it excludes nothing: {error}"));
                None
            }
        }
    }

    fn warn(&mut self, dir: &RelPath, what: String) {
        self.warnings.push(Warning { path: Some(dir.clone()), what });
    }

    /// Why a path is not recorded, if it is not; its directories are taken to be. `stat` tells what it is.
    #[must_use]
    pub fn excludes(&self, path: &RelPath, stat: &Stat) -> Option<Reason> {
        let kind = kind_of(stat);
        if kind.is_none() {
            return Some(Reason::Special);
        }
        if stat.st_dev != self.dev {
            return Some(Reason::OtherFilesystem);
        }
        self.excludes_name(path, kind == Some(NodeType::Dir))
    }

    /// The same by the name alone.
    pub(crate) fn excludes_name(&self, path: &RelPath, is_dir: bool) -> Option<Reason> {
        if path.is_root() {
            return None;
        }
        if let Some(files) = &self.files {
            let named = files.contains(path) || is_dir && files.iter().any(|file| file.starts_with(path));
            return (!named).then_some(Reason::NotNamed);
        }
        let name = path.name();
        let is_store =
            name == b".tickfs" || name.starts_with(b".") && name.ends_with(b".tickfs") && name.len() > 8;
        let is_staging = name.starts_with(super::restore::STAGING_PREFIX.as_bytes());
        if (is_store || is_staging) && is_dir || self.store.as_ref() == Some(path) {
            return Some(Reason::Store);
        }
        if is_dir && self.other_roots.contains(path) {
            return Some(Reason::OtherRoot);
        }
        if VERSION_CONTROL.iter().any(|known| known.as_bytes() == name) {
            return Some(Reason::VersionControl);
        }
        let at = path.as_path();
        if self.include.matched_path_or_any_parents(at, is_dir).is_ignore()
            || is_dir && self.passages.contains(path)
        {
            return None;
        }
        if let Match::Ignore(glob) = self.exclude.matched(at, is_dir) {
            return Some(Reason::Excluded { pattern: glob.original().to_owned() });
        }
        let said = self.said_in_directories(path, is_dir);
        if let Match::Ignore(glob) = self.secrets.matched(at, is_dir)
            && !matches!(said, Some(Said::Recorded { by }) if by == TICKFSIGNORE)
        {
            return Some(Reason::Secret { pattern: glob.original().to_owned() });
        }
        match said {
            Some(Said::Excluded { file, pattern }) => return Some(Reason::Rule { file, pattern }),
            Some(Said::Recorded { .. }) => return None,
            None => {}
        }
        match self.global.matched(at, is_dir) {
            Match::Ignore(glob) => return Some(Reason::Global { pattern: glob.original().to_owned() }),
            Match::Whitelist(_) => return None,
            Match::None => {}
        }
        match self.defaults.matched(at, is_dir) {
            Match::Ignore(glob) => Some(Reason::Default { pattern: glob.original().to_owned() }),
            _ => None,
        }
    }

    /// The nearest directory whose ignore files say something of the path decides.
    fn said_in_directories(&self, path: &RelPath, is_dir: bool) -> Option<Said> {
        if self.by_dir.is_empty() {
            return None;
        }
        let mut dir = path.parent();
        while let Some(at) = dir {
            if let Some(rules) = self.by_dir.get(&at) {
                let below = path.as_path().strip_prefix(at.as_path()).unwrap_or(path.as_path());
                for (name, patterns) in &rules.files {
                    match patterns.matched(below, is_dir) {
                        Match::Ignore(glob) => {
                            let file = RelPath::new([at.as_bytes(), b"/", name.as_bytes()].concat());
                            let file = file.or_else(|_root| RelPath::new(name.as_bytes()));
                            let file = file.unwrap_or_default();
                            return Some(Said::Excluded { file, pattern: glob.original().to_owned() });
                        }
                        Match::Whitelist(_) => return Some(Said::Recorded { by: name }),
                        Match::None => {}
                    }
                }
            }
            dir = at.parent();
        }
        None
    }
}

enum Said {
    Excluded { file: RelPath, pattern: String },
    Recorded { by: &'static str },
}

fn said(what: &str, lines: &[impl AsRef<str>]) -> Result<Gitignore> {
    let refuse =
        |error: ignore::Error| Error::Refused { what: format!("{what} holds what is no pattern: {error}") };
    let mut builder = GitignoreBuilder::new("");
    for line in lines {
        builder.add_line(None, line.as_ref()).map_err(refuse)?;
    }
    builder.build().map_err(refuse)
}

/// `core.excludesFile`, by default `~/.config/git/ignore`: what lies there is noise to its owner in each repository, and so
/// it is here. A line of it that is no pattern is passed over, as git does. It is read when a recorder starts.
fn global(root: &Path) -> Gitignore {
    match root.ancestors().any(|dir| dir.join(".git").exists()) {
        true => GitignoreBuilder::new("").build_global().0,
        false => Gitignore::empty(),
    }
}

/// The directories that must be entered to come to what a pattern names: those before its first wildcard.
fn passages(include: &[String]) -> BTreeSet<RelPath> {
    let mut passages = BTreeSet::new();
    for pattern in include {
        let mut at = RelPath::root();
        let names: Vec<&str> = pattern.trim_matches('/').split('/').collect();
        for name in names.split_last().map(|(_, above)| above).unwrap_or_default() {
            match at.join(name.as_bytes()) {
                Ok(dir) if !name.contains(['*', '?', '[']) => at = dir,
                _ => break,
            }
            passages.insert(at.clone());
        }
    }
    passages
}

/// A path that is not recorded. What lies below an excluded directory is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    pub path: RelPath,
    pub is_dir: bool,
    pub why: Reason,
}

/// What of a root is not recorded, and why; at most so many, in the order of their names.
pub fn ignored(store: &Store, scope: &Scope, limit: usize) -> Result<Vec<Ignored>> {
    let place = Place::open(&scope.root).map_err(Error::io("open the root", &scope.root))?;
    let mut rules = Rules::of(&place, store.layout().dir(), scope, &store.config().record)?;
    super::walk::ignored(&place, &mut rules, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(config: RecordConfig, files: &[(&str, &str)]) -> (tempfile::TempDir, Rules) {
        let temp = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let scope = Scope::whole(temp.path());
        let place = Place::open(temp.path()).unwrap();
        let mut rules = Rules::of(&place, &temp.path().join("kept"), &scope, &config).unwrap();
        rules.load(&place, &RelPath::root());
        rules.load(&place, &RelPath::new("sub").unwrap());
        (temp, rules)
    }

    fn why(rules: &Rules, path: &str) -> Option<String> {
        let is_dir = path.ends_with('/');
        let path = RelPath::new(path.trim_end_matches('/')).unwrap();
        rules.excludes_name(&path, is_dir).map(|reason| reason.to_string())
    }

    #[test]
    fn each_exclusion_has_its_reason_and_the_nearest_file_decides() {
        let (_temp, rules) = rules(
            RecordConfig::default(),
            &[
                (".gitignore", "*.o\n/build\n!keep.o\n"),
                ("sub/.gitignore", "!*.o\nlocal\n"),
                ("sub/.tickfsignore", "big/\n!.env\n"),
            ],
        );
        for (path, reason) in [
            ("a.o", ".gitignore (*.o)"),
            ("build/", ".gitignore (/build)"),
            ("sub/local", "sub/.gitignore (local)"),
            ("sub/big/", "sub/.tickfsignore (big/)"),
            ("node_modules/", "ignored by default (node_modules/)"),
            ("sub/.a.txt.swp", "ignored by default (.*.sw?)"),
            ("watcher_output/", "ignored by default (watcher_output/)"),
            (".git/", "belongs to version control"),
            (".app.tickfs/", "a store of tickfs"),
            ("kept/", "a store of tickfs"),
            (".env", "may hold secrets (.env); !.env in .tickfsignore records it"),
        ] {
            assert_eq!(why(&rules, path).as_deref(), Some(reason), "{path}");
        }
        for path in
            ["a.c", "keep.o", "sub/a.o", "sub/build", "sub/.env", "node_modules", ".env.example", ".tickfsx"]
        {
            assert_eq!(why(&rules, path), None, "{path}");
        }
    }

    #[test]
    fn the_configuration_excludes_and_brings_back() {
        let config = RecordConfig {
            include: vec!["node_modules/ours/**".to_owned(), "/.env".to_owned()],
            exclude: vec!["*.log".to_owned()],
            ..RecordConfig::default()
        };
        let (_temp, rules) = rules(config, &[]);
        assert_eq!(why(&rules, "node_modules/"), None);
        assert_eq!(why(&rules, "node_modules/ours/a.js"), None);
        assert_eq!(why(&rules, ".env"), None);
        assert_eq!(why(&rules, "x/a.log").as_deref(), Some("record.exclude in config.toml (*.log)"));
    }
}

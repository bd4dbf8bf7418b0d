//! The text files of the project, by path.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Path from the top (with `/`) → text. Binary files, what cargo built and what git keeps are not in it.
#[derive(Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    pub(crate) fn of_this_project() -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut tree = Self::default();
        tree.add(&top, "").expect("the sources that cargo just compiled can be read");
        tree
    }

    /// A small tree in memory.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect())
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files whose name ends so.
    pub(crate) fn ending(&self, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(move |(path, _)| path.ends_with(suffix))
    }

    fn add(&mut self, dir: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let foreign = matches!(name.as_str(), ".git" | "node_modules" | "__pycache__" | "target");
                // Cargo marks what it builds elsewhere.
                if !foreign && !entry.path().join("CACHEDIR.TAG").exists() {
                    self.add(&entry.path(), &format!("{path}/"))?;
                }
            } else if kind.is_file() && name != ".git" {
                match String::from_utf8(fs::read(entry.path())?) {
                    Ok(text) if !text.contains('\0') => drop(self.0.insert(path, text)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

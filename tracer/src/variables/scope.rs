//! `--files-scope`: a file that says which variable of which file has which scope, or globs of files to trace.
//!
//! A line of the file reads `src/app.py:(local:counter,global:total,name)`; `#` begins a comment line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilesScope {
    /// Only variables of files that one of them matches are traced; empty: of all.
    pub globs: Vec<String>,
    /// File → name → scope.
    pub names: BTreeMap<PathBuf, BTreeMap<String, Option<String>>>,
    /// Where it was read.
    pub file: Option<PathBuf>,
}

impl FilesScope {
    /// What the option says. Relative paths are those of `directory`.
    pub fn read(said: &str, directory: &Path) -> Result<Self> {
        let path = Path::new(said);
        if path.is_file() {
            let text = std::fs::read(path).map_err(|source| {
                let why = source.to_string();
                Error::invalid(format!("the scope file cannot be read: {why}"), path)
            })?;
            let names = Self::parse(&String::from_utf8_lossy(&text), path, directory)?;
            return Ok(Self { names, file: Some(path.to_path_buf()), ..Self::default() });
        }
        let globs: Vec<String> = said.split(',').map(|glob| glob.trim().to_owned()).collect();
        if globs.iter().any(|glob| !glob.contains(['*', '?']) && !Path::new(glob).exists()) {
            return Err(Error::invalid("this is neither a scope file nor a list of globs", path));
        }
        Ok(Self { globs, ..Self::default() })
    }

    fn parse(
        text: &str,
        path: &Path,
        directory: &Path,
    ) -> Result<BTreeMap<PathBuf, BTreeMap<String, Option<String>>>> {
        let mut files: BTreeMap<PathBuf, BTreeMap<String, Option<String>>> = BTreeMap::new();
        for (place, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (file, names) =
                line_of(line).map_err(|what| Error::invalid(format!("line {}: {what}", place + 1), path))?;
            files.entry(directory.join(file)).or_default().extend(names);
        }
        match files.is_empty() {
            true => Err(Error::invalid("the scope file names no file", path)),
            false => Ok(files),
        }
    }
}

type Names = Vec<(String, Option<String>)>;

fn line_of(line: &str) -> Result<(&str, Names), String> {
    let (file, list) = line.rsplit_once(":(").ok_or("`:(` is missing between the file and its names")?;
    let list = list.strip_suffix(')').ok_or("the list of names must end with `)`")?;
    let file = file.trim();
    if file.is_empty() {
        return Err("the file's path is missing".to_owned());
    }
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let names = entries.map(name_of).collect::<Result<Names, String>>()?;
    Ok((file, names))
}

fn name_of(entry: &str) -> Result<(String, Option<String>), String> {
    let (scope, name) = match entry.split_once(':') {
        Some((scope, name)) => (Some(scope.trim()), name.trim()),
        None => (None, entry),
    };
    if let Some(scope) = scope.filter(|scope| !matches!(*scope, "local" | "global" | "both")) {
        return Err(format!("the scope is local, global or both, not {scope:?}"));
    }
    match name.is_empty() {
        true => Err("a name is missing".to_owned()),
        false => Ok((name.to_owned(), scope.map(str::to_owned))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BTreeMap<PathBuf, BTreeMap<String, Option<String>>>, String> {
        FilesScope::parse(text, Path::new("scope"), Path::new("/p")).map_err(|error| error.to_string())
    }

    /// Shows WA-45, WA-46, WA-47.
    #[test]
    fn each_form_of_a_line_is_understood() {
        let text = "# a comment\n\n src/app.py:(local:counter, global:total)\nodd:(name.py:( both:x ,,bare)\n\
                    C:\\x.py:(local:a)\nsrc/app.py:(more)\n";
        let files = parse(text).unwrap();
        let of = |file: &str, name: &str| files[&Path::new("/p").join(file)][name].clone();
        let said = |scope: &str| Some(scope.to_owned());
        assert_eq!(of("src/app.py", "counter"), said("local"));
        assert_eq!(of("src/app.py", "total"), said("global"));
        assert_eq!(of("src/app.py", "more"), None);
        assert_eq!(of("odd:(name.py", "x"), said("both"));
        assert_eq!(of("odd:(name.py", "bare"), None);
        assert_eq!(of("C:\\x.py", "a"), said("local"));
        assert_eq!(files.len(), 3);
    }

    /// Shows WA-53, WA-54.
    #[test]
    fn a_wrong_line_is_named_by_its_number() {
        for (text, expected) in [
            ("ok:(a)\nno list", "line 2: `:(` is missing between the file and its names"),
            ("f:(a", "line 1: the list of names must end with `)`"),
            (":(a)", "line 1: the file's path is missing"),
            ("f:(local:)", "line 1: a name is missing"),
            ("f:(foo:x)", "line 1: the scope is local, global or both, not \"foo\""),
            ("", "the scope file names no file"),
            ("# only a comment\n", "the scope file names no file"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
    }
}

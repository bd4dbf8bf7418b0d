//! `tickfs watch module LANGUAGE [DIR]`: writes the module that a program can import `watch` from.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tickfs_tracer::variables::{Language, module_files};

use crate::error::Failure;

/// Write the module that a program can import `watch` from
///
/// No program needs it: under `tickfs watch` the name `watch` is there without an import, and so is the module `tickfs`. It is
/// for editors and type checkers, and for who wants an import to be found. For python it writes DIR/tickfs.py, for node
/// DIR/node_modules/tickfs. `traced` of it says whether the program is traced; where it is not, calling `watch` is a RuntimeError.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    language: Of,
    #[arg(default_value = ".", value_name = "DIR", hide_default_value = true)]
    directory: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    Python,
    Node,
}

pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let language = match arguments.language {
        Of::Python => Language::Python,
        Of::Node => Language::JavaScript,
    };
    let files: Vec<(PathBuf, String)> = module_files(language)
        .into_iter()
        .map(|(name, text)| (arguments.directory.join(name), text))
        .collect();
    for (path, text) in &files {
        let refused = || Failure::new("a module of this name is there already, and not by tickfs").at(path);
        match std::fs::read_to_string(path) {
            // A module of an older tickfs begins as this one does.
            Ok(there) if there.lines().next() != text.lines().next() => return Err(refused().into()),
            Ok(_older) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(error.to_string()).at(path).into()),
        }
    }
    for (path, text) in &files {
        let parent = path.parent().unwrap_or(&arguments.directory);
        let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(path, text));
        written.map_err(|error| Failure::new(format!("this cannot be written: {error}")).at(path))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

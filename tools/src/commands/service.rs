//! `tickfs service`: a unit of the user's systemd, so that recording survives a reboot.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::error::{Failure, plain};
use crate::target::Wanted;

/// Record a root from each login on, by a unit of your own systemd
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Install(InstallArguments),
    Remove(RemoveArguments),
}

/// Write the unit, and start it
///
/// It lies in $XDG_CONFIG_HOME/systemd/user, or in ~/.config/systemd/user. `loginctl enable-linger` makes it run from
/// boot on, without a login.
#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    /// The directory to record [default: the working directory]
    root: Option<PathBuf>,
    /// Do it although the directory is / or your home
    #[arg(long)]
    yes: bool,
}

/// Stop the unit, and remove it
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// The directory that it records [default: the working directory]
    root: Option<PathBuf>,
}

pub(crate) fn run(verb: &Verb, out: &mut impl Write) -> anyhow::Result<()> {
    match verb {
        Verb::Install(arguments) => install(arguments, out),
        Verb::Remove(arguments) => remove(arguments, out),
    }
}

fn install(arguments: &InstallArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let wanted = Wanted { store: None, yes: arguments.yes };
    let root = wanted.path(arguments.root.as_deref())?.root;
    let binary = std::env::current_exe().context("could not find this program")?;
    let text = unit(&binary, &root)?;
    let path = unit_path(&root)?;
    let written =
        path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text));
    written
        .map_err(|error| Failure::new(format!("could not write the unit: {}", plain(&error))).at(&path))?;
    writeln!(out, "wrote {}", path.display())?;
    let name = unit_name(&root);
    if !systemd_runs() {
        writeln!(out, "systemd does not run on this machine, so that nothing starts it; where it does:")?;
        writeln!(out, "    systemctl --user daemon-reload && systemctl --user enable --now '{name}'")?;
        return Ok(());
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--now", &name])?;
    writeln!(out, "{} is recorded from now on, and from each login on", root.display())?;
    Ok(())
}

fn remove(arguments: &RemoveArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let root = crate::find::settled(arguments.root.as_deref().unwrap_or(Path::new(".")))?;
    let (name, path) = (unit_name(&root), unit_path(&root)?);
    if !path.exists() {
        return Err(Failure::new("there is no such unit")
            .at(path)
            .next("`tickfs service install` makes it")
            .into());
    }
    if systemd_runs() {
        systemctl(&["disable", "--now", &name])?;
    }
    std::fs::remove_file(&path)
        .map_err(|error| Failure::new(format!("could not remove the unit: {}", plain(&error))).at(&path))?;
    if systemd_runs() {
        systemctl(&["daemon-reload"])?;
    }
    writeln!(out, "removed {}", path.display())?;
    Ok(())
}

fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn systemctl(args: &[&str]) -> anyhow::Result<()> {
    let output = match Command::new("systemctl").arg("--user").args(args).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new("systemd runs here, but there is no systemctl").into());
        }
        output => output.context("could not run systemctl")?,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    Err(Failure::new(format!("`systemctl --user {}` failed: {said}", args.join(" ")))
        .next("the unit is written; start it when systemd answers")
        .into())
}

fn unit_path(root: &Path) -> anyhow::Result<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let config = config.or_else(|| Some(std::env::home_dir()?.join(".config")));
    let config = config.context("there is no home directory: set XDG_CONFIG_HOME")?;
    Ok(config.join("systemd/user").join(unit_name(root)))
}

/// As `systemd-escape --path` spells it: `/` is `-`, and what is no letter, digit, `_` or `.` is `\xNN`.
fn unit_name(root: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut name = String::from("tickfs-");
    let bytes = root.as_os_str().as_bytes();
    for &byte in bytes.strip_prefix(b"/").unwrap_or(bytes) {
        match byte {
            b'/' => name.push('-'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => name.push(char::from(byte)),
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    name + ".service"
}

fn unit(binary: &Path, root: &Path) -> anyhow::Result<String> {
    let (binary, quoted_root) = (quoted(binary)?, quoted(root)?);
    let told = root.display().to_string().replace('%', "%%").replace('\n', " ");
    Ok(format!(
        "[Unit]\n\
         Description=tickfs records {told}\n\
         Documentation=man:tickfs(1)\n\
         \n\
         [Service]\n\
         ExecStart={binary} record --daemonized {quoted_root}\n\
         Restart=on-failure\n\
         RestartSec=10\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    ))
}

/// One word of a command line in a unit.
fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().ok_or_else(|| {
        Failure::new("a unit of systemd is UTF-8, and this path is not").at(path).next("rename it")
    })?;
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' | '$' => quoted.extend([c, c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_unit_and_a_name_of_its_own() {
        let odd = Path::new("/p/my app-1/50%$x\"y");
        assert_eq!(unit_name(odd), "tickfs-p-my\\x20app\\x2d1-50\\x25\\x24x\\x22y.service");
        let text = unit(Path::new("/usr/bin/tickfs"), odd).unwrap();
        let start = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert_eq!(start, "ExecStart=\"/usr/bin/tickfs\" record --daemonized \"/p/my app-1/50%%$$x\\\"y\"");
    }
}

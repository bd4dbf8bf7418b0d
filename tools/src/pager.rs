//! A pager for what is long, where a person reads it at a terminal.

use std::io::{self, IsTerminal as _, Write};
use std::process::{Child, Command, Stdio};

/// Where a command prints: through a pager, or directly. A pager ends when what is printed ends.
pub(crate) enum Printer {
    Direct(io::StdoutLock<'static>),
    Paged(Child),
}

impl Printer {
    pub(crate) fn direct() -> Self {
        Self::Direct(io::stdout().lock())
    }

    /// `TICKFS_PAGER`, else `PAGER`, else less where it is installed; `cat` and an empty name mean none.
    pub(crate) fn paged() -> Self {
        if !io::stdout().is_terminal() {
            return Self::direct();
        }
        let said = ["TICKFS_PAGER", "PAGER"].iter().find_map(std::env::var_os);
        let pager = said.or_else(|| is_installed("less").then(|| "less".into()));
        let Some(pager) = pager.filter(|pager| !pager.is_empty() && pager != "cat") else {
            return Self::direct();
        };
        let mut command = Command::new("sh");
        command.arg("-c").arg(pager).stdin(Stdio::piped());
        // As git sets it: quit if it fits, keep colours, leave the text on the screen.
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", "FRX");
        }
        command.spawn().map_or_else(|_no_shell| Self::direct(), Self::Paged)
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::Direct(mut out) => out.flush(),
            Self::Paged(mut child) => {
                drop(child.stdin.take());
                child.wait().map(drop)
            }
        }
    }
}

impl Write for Printer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(out) => out.write(bytes),
            Self::Paged(child) => match &mut child.stdin {
                Some(pipe) => pipe.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Direct(out) => out.flush(),
            Self::Paged(child) => child.stdin.as_mut().map_or(Ok(()), Write::flush),
        }
    }
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

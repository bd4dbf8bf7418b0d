//! A directory with a program, and the binary to run it under.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
pub(crate) use tickfs_tests::program::{Shown, is_installed};

pub(crate) const TICKFS: &str = env!("CARGO_BIN_EXE_tickfs");

pub(crate) struct Bench {
    temp: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { temp: tempfile::tempdir().unwrap() };
        std::fs::create_dir(bench.path("app")).unwrap();
        bench
    }

    /// With a program `app.py`.
    pub(crate) fn python(source: &str) -> Self {
        let bench = Self::new();
        bench.write("app.py", source);
        bench
    }

    /// The working directory is `app`.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join(below)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("app").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path("app").join(name).exists()
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path("app")).stdin(Stdio::null()).env("HOME", self.path("home"));
        command.env_remove("COLUMNS").env_remove("PYTHONPATH").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// `tickfs watch` with these arguments.
    pub(crate) fn watch(&self, args: &[&str]) -> Shown {
        shown(self.command(TICKFS).arg("watch").args(args))
    }

    /// `tickfs watch --user-script app.py`, which is to end well.
    pub(crate) fn traced(&self, args: &[&str]) -> Vec<Value> {
        let shown = self.watch(&[&["--user-script", "app.py"], args].concat());
        assert_eq!(shown.status, 0, "{shown:?}");
        self.events("watcher_output")
    }

    pub(crate) fn events(&self, output: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("app").join(output).join("events.jsonl")).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn shown(command: &mut Command) -> Shown {
    Shown::of(command, str::to_owned)
}

/// The events of one variable.
pub(crate) fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["variable_name"] == name).collect()
}

/// Applies an event's deltas to the bytes before it.
pub(crate) fn applied(before: &[u8], event: &Value) -> Vec<u8> {
    let mut bytes: Vec<Option<u8>> = before.iter().copied().map(Some).collect();
    let byte = |text: &Value| text.as_str().map(|hex| u8::from_str_radix(&hex[2..], 16).unwrap());
    for delta in event["deltas"].as_array().unwrap() {
        let offset = usize::try_from(delta["offset"].as_u64().unwrap()).unwrap();
        bytes.resize(bytes.len().max(offset + 1), None);
        assert_eq!(bytes[offset], byte(&delta["before"]), "{event}");
        bytes[offset] = byte(&delta["after"]);
    }
    let end = bytes.iter().position(Option::is_none).unwrap_or(bytes.len());
    assert!(bytes[end..].iter().all(Option::is_none), "{event}");
    bytes.into_iter().flatten().collect()
}

pub(crate) fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

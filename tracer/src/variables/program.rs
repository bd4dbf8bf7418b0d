//! The traced program: started with its shim, with its own stdin, stdout, stderr, working directory and environment.

use std::io::{Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::options::{FaultMode, Language, Options};
use crate::sys::{Keeper, Mode, NODE_AGENT, PRELOAD, PYTHON_AGENT, Ring, watched_memory};

const PRELOAD_VARIABLE: &str = "LD_PRELOAD";
const BOOT: &str = include_str!("../shims/python/boot.py");
/// In the order in which they rest on each other.
const PYTHON_SHIM: &[(&str, &str)] = &[
    ("values", include_str!("../shims/python/values.py")),
    ("mirror", include_str!("../shims/python/mirror.py")),
    ("rewrite", include_str!("../shims/python/rewrite.py")),
    ("wrap", include_str!("../shims/python/wrap.py")),
    ("memory", include_str!("../shims/python/memory.py")),
    ("runtime", include_str!("../shims/python/runtime.py")),
    ("loaded", include_str!("../shims/python/loaded.py")),
    ("tests", include_str!("../shims/python/tests.py")),
    ("start", include_str!("../shims/python/start.py")),
];
/// Only where queries are followed.
const PYTHON_SQL: (&str, &str) = ("sql", include_str!("../shims/python/sql.py"));
const NODE_SHIM: [&str; 5] = [
    include_str!("../shims/node/rewrite.js"),
    include_str!("../shims/node/watch.js"),
    include_str!("../shims/node/memory.js"),
    include_str!("../shims/node/sql.js"),
    include_str!("../shims/node/modules.js"),
];

pub(super) struct Program {
    pub(super) child: Child,
    pub(super) ring: Ring,
    /// The program's end wakes this one up; when the program is gone, it is closed.
    pub(super) bell: UnixStream,
    /// Looks at the program's memory, in the modes in which the program itself does not.
    pub(super) keeper: Option<Keeper>,
    /// The shim that Node loads, in each thread that the program starts; it goes with this.
    _wrapper: Option<tempfile::TempDir>,
}

impl Program {
    pub(super) fn start(options: &Options, language: Language) -> Result<Self> {
        let interpreter = language.interpreter().map_err(|name| {
            let what = format!("{name} is not in PATH: install it, or put it there");
            Error::Start { what }
        })?;
        let start =
            |source: std::io::Error| Error::Io { action: "start", path: options.script.clone(), source };
        // A record of a plain value takes 40 bytes.
        let room = options.queue.map_or(8 * 1024 * 1024, |events| events.saturating_mul(40));
        let ring = Ring::new(room).map_err(start)?;
        let (bell, theirs) = UnixStream::pair().map_err(start)?;
        bell.set_nonblocking(true).map_err(start)?;
        let memory = ring.file().try_clone().map_err(start)?;
        let agent = match language {
            Language::Python => PYTHON_AGENT,
            Language::JavaScript => NODE_AGENT,
        };
        let agent = memory_file("tickfs-agent", agent).map_err(start)?;
        let memory_of_values = Watched::new(options.flags.faults, &ring).map_err(start)?;
        let settings = settings(options, memory_of_values.as_ref());
        let mut command = Command::new(interpreter);
        let mut inherited = vec![memory, OwnedFd::from(theirs), agent];
        let mut wrapper = None;
        match language {
            Language::Python => {
                let sql = options.flags.sql.then_some(&PYTHON_SQL);
                let sources: Vec<&(&str, &str)> = PYTHON_SHIM.iter().chain(sql).collect();
                let bundle = json!({ "settings": settings, "sources": sources });
                let bundle = memory_file("tickfs-shim", bundle.to_string().as_bytes()).map_err(start)?;
                command.args(["-c", BOOT]).arg(bundle.as_raw_fd().to_string());
                command.args(inherited.iter().map(|fd| fd.as_raw_fd().to_string()));
                inherited.push(bundle);
            }
            Language::JavaScript => {
                let fds: Vec<i32> = inherited.iter().map(|fd| fd.as_raw_fd()).collect();
                let dir = tempfile::Builder::new().prefix("tickfs-watch-").tempdir().map_err(start)?;
                let path = dir.path().join("watch.cjs");
                let shim = NODE_SHIM.concat();
                let source = format!("const settings = {settings}, descriptors = {fds:?};\n{shim}");
                std::fs::write(&path, source).map_err(Error::io("write", &path))?;
                command.args(["--expose-internals", "--require"]).arg(path);
                wrapper = Some(dir);
            }
        }
        command.arg(&options.script).args(&options.arguments);
        let mut keeper = None;
        if let Some(watched) = memory_of_values {
            if let Some(library) = &watched.library {
                preload_into(&mut command, library);
            }
            inherited.extend(watched.library.into_iter().chain([watched.file]).chain(watched.channel));
            keeper = watched.keeper;
        }
        for fd in &inherited {
            fcntl_setfd(fd, FdFlags::empty()).map_err(|error| start(error.into()))?;
        }
        let child = command.spawn().map_err(start)?;
        Ok(Self { child, ring, bell, keeper, _wrapper: wrapper })
    }
}

/// What raw writes are seen with: the library that is loaded before all others, the file of watched memory, and in some modes
/// who looks at it, with the program's way to it.
struct Watched {
    library: Option<OwnedFd>,
    file: OwnedFd,
    keeper: Option<Keeper>,
    channel: Option<OwnedFd>,
}

impl Watched {
    fn new(faults: FaultMode, ring: &Ring) -> std::io::Result<Option<Self>> {
        let mode = match faults {
            FaultMode::Hooks => return Ok(None),
            FaultMode::Signal => None,
            FaultMode::Handler => Some(Mode::Handler),
            FaultMode::Coarse => Some(Mode::Coarse),
        };
        let file = watched_memory()?;
        let mode = mode.filter(|_| cfg!(target_arch = "x86_64"));
        let (keeper, channel) = mode.map(|mode| Keeper::start(&file, ring, mode)).transpose()?.unzip();
        let library = match faults {
            // Nothing is protected that the kernel could not write.
            FaultMode::Coarse => None,
            _ => Some(memory_file("tickfs-preload", PRELOAD)?),
        };
        Ok(Some(Self { library, file, keeper, channel }))
    }
}

/// The library goes before what the user preloads; the shim puts the environment right again.
fn preload_into(command: &mut Command, library: &OwnedFd) {
    // Spelled as nobody spells it: the loader knows libraries by their names, and the number is soon another file's.
    let mut list = std::ffi::OsString::from(format!("/proc/self/./fd/{}", library.as_raw_fd()));
    if let Some(theirs) = std::env::var_os(PRELOAD_VARIABLE) {
        list.push(":");
        list.push(theirs);
    }
    command.env(PRELOAD_VARIABLE, list);
}

fn settings(options: &Options, watched: Option<&Watched>) -> Value {
    let before = std::env::var_os(PRELOAD_VARIABLE).map(|list| list.to_string_lossy().into_owned());
    let memory = watched.map(|watched| {
        let number = |fd: &Option<OwnedFd>| fd.as_ref().map(|fd| fd.as_raw_fd());
        let (library, channel) = (number(&watched.library), number(&watched.channel));
        let mode = options.flags.faults.name();
        json!({ "mode": mode, "library": library, "file": watched.file.as_raw_fd(), "channel": channel, "before": before })
    });
    let flags = options.flags;
    let directory = std::env::current_dir().unwrap_or_default();
    json!({
        "track_threads": flags.threads,
        "track_locals": flags.locals,
        "track_declared": flags.declared,
        "track_sql": flags.sql,
        "globs": options.scope.globs,
        "scopes": options.scope.names,
        "memory": memory,
        "directory": directory,
        "script": std::path::absolute(&options.script).unwrap_or_else(|_no_directory| options.script.clone()),
    })
}

/// A file without a name, to be read from its beginning.
fn memory_file(name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(Path::new(name), MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

//! Database servers of this machine, each on a socket in a directory of its own, gone with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program of a server, in PATH or where Debian hides it.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    places.extend(versions.map(|entry| entry.unwrap().path().join("bin")));
    let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: {name} is not installed");
    }
    found
}

/// As an ordinary user: these servers refuse to be run by root.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

/// A directory that the server owns.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("db").tempdir_in("/tmp").unwrap();
    if rustix::process::geteuid().is_root() {
        assert!(Command::new("chown").arg("65534:65534").arg(dir.path()).status().unwrap().success());
    }
    dir
}

fn quietly(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// PostgreSQL, for the user `tester`, at the socket in `dir()`.
pub(crate) struct Postgres {
    dir: tempfile::TempDir,
    control: PathBuf,
}

impl Postgres {
    pub(crate) fn start() -> Option<Self> {
        let (initdb, control) = (find("initdb")?, find("pg_ctl")?);
        let dir = directory();
        let data = dir.path().join("data");
        quietly(unprivileged(&initdb).args(["-A", "trust", "-U", "tester", "--no-sync", "-D"]).arg(&data));
        let options = format!("-c listen_addresses='' -c fsync=off -k {}", dir.path().display());
        let mut start = unprivileged(&control);
        start.args(["-w", "-s", "-D"]).arg(&data).arg("-l").arg(dir.path().join("log"));
        // The server keeps what it inherits.
        let status =
            start.args(["-o", &options, "start"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(
            status.unwrap().success(),
            "{}",
            std::fs::read_to_string(dir.path().join("log")).unwrap_or_default()
        );
        Some(Self { dir, control })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.dir.path().join("data");
        let stopped =
            unprivileged(&self.control).args(["-s", "-m", "immediate", "stop", "-D"]).arg(data).status();
        assert!(stopped.is_ok_and(|status| status.success()) || std::thread::panicking(), "it was stopped");
    }
}

/// MariaDB, for the user `root`, at `socket()`.
pub(crate) struct MariaDb {
    dir: tempfile::TempDir,
    server: Child,
}

impl MariaDb {
    pub(crate) fn start() -> Option<Self> {
        let (install, server) = (find("mariadb-install-db")?, find("mariadbd")?);
        let dir = directory();
        let data = format!("--datadir={}", dir.path().join("data").display());
        let user = "--auth-root-authentication-method=normal";
        quietly(unprivileged(&install).args([
            "--no-defaults",
            &data,
            user,
            "--skip-test-db",
            "--skip-name-resolve",
        ]));
        let at = |name: &str, file: &str| format!("--{name}={}", dir.path().join(file).display());
        let mut command = unprivileged(&server);
        command.args([
            "--no-defaults",
            &data,
            "--skip-networking",
            &at("socket", "socket"),
            &at("pid-file", "pid"),
        ]);
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let started = Self { dir, server };
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(started.socket()).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "MariaDB does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(started)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let ended = self.server.kill().and_then(|()| self.server.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "it was stopped");
    }
}

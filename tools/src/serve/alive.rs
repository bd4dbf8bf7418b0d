//! Which process is meant: its number, and when it began, because numbers are given out again.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

/// When a process began, in ticks since the machine did; `None` where there is no such process, or only its remains.
pub(crate) fn began(pid: u32) -> io::Result<Option<u64>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(began_as_told(&stat)),
        Err(error) if matches!(error.raw_os_error(), Some(2 | 3)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name may hold anything, also parentheses; behind its last one the fields are plain.
fn began_as_told(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let is_gone = matches!(fields.next()?, "Z" | "X");
    let began = fields.nth(18)?.parse().ok()?;
    (!is_gone).then_some(began)
}

/// Waits for the end of a process that need not be a child. `false`: it still lives.
pub(crate) fn ends_within(pid: Pid, wait: Duration) -> anyhow::Result<bool> {
    let process = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        opened => opened.context("could not wait for the process")?,
    };
    let wait = Timespec::try_from(wait).context("the time to wait is too long")?;
    let mut polled = [PollFd::new(&process, PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(&wait)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready.context("could not wait for the process")? > 0),
        }
    }
}

/// Asks a process to end, and all it started with it, if it leads a group of its own.
pub(crate) fn terminate(pid: Pid) -> io::Result<()> {
    let leads = rustix::process::getpgid(Some(pid))? == pid;
    let told = match leads {
        true => rustix::process::kill_process_group(pid, Signal::TERM),
        false => rustix::process::kill_process(pid, Signal::TERM),
    };
    Ok(told?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_beginning_and_its_remains_have_none() {
        let own = began(std::process::id()).unwrap();
        assert!(own.is_some() && own == began(std::process::id()).unwrap());
        assert_eq!(began(u32::MAX >> 1).unwrap(), None);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(ends_within(pid, Duration::from_secs(20)).unwrap());
        assert_eq!(began(child.id()).unwrap(), None, "a zombie");
        child.wait().unwrap();
        assert!(ends_within(pid, Duration::ZERO).unwrap());
        assert_eq!(
            began_as_told("7 (a) Z (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 8 9"),
            Some(4711)
        );
    }
}

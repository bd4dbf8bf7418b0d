//! What is shown while something takes long: one line that changes, on a terminal and nowhere else.

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

/// The line; it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    shown: bool,
}

/// What is done sooner needs no line.
const QUICK: Duration = Duration::from_millis(500);

impl Default for Progress {
    fn default() -> Self {
        Self { began: Instant::now(), shown: false }
    }
}

impl Progress {
    pub(crate) fn count(&mut self, done: usize, of: usize) {
        self.tell(&steps(done, of));
    }

    pub(crate) fn tell(&mut self, text: &str) {
        if self.began.elapsed() > QUICK && stderr().is_terminal() {
            eprint!("\r\x1b[K{text}");
            self.shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

pub(crate) fn steps(done: usize, of: usize) -> String {
    format!("{done} of {of} paths")
}

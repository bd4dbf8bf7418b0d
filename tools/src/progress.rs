//! What is shown while something takes long: one line that changes, on a terminal and nowhere else.

use std::io::{IsTerminal as _, stderr};

/// The line; it is gone when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    pub(crate) fn tell(&mut self, text: &str) {
        if stderr().is_terminal() {
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

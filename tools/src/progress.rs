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

/// A bar. Before the first step and behind the last there is none to count.
pub(crate) fn steps(done: usize, of: usize) -> String {
    const WIDTH: usize = 30;
    match done.saturating_mul(100).checked_div(of) {
        None => "one moment".to_owned(),
        Some(per_cent) => {
            let bar = "#".repeat(done.min(of) * WIDTH / of);
            format!("[{bar:<WIDTH$}] {per_cent:>3} %")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_with_what_is_done() {
        assert_eq!(steps(0, 0), "one moment");
        assert_eq!(steps(0, 3), "[                              ]   0 %");
        assert_eq!(steps(1, 2), "[###############               ]  50 %");
        assert_eq!(steps(7, 7), "[##############################] 100 %");
    }
}

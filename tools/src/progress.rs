//! What is shown while something takes long: on a terminal, and nowhere else.

use std::io::{IsTerminal as _, stderr};

pub(crate) fn tell(text: &str) {
    if stderr().is_terminal() {
        eprintln!("tickfs: {text}");
    }
}

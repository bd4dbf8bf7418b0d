//! Colour, for people at a terminal alone.

use std::io::IsTerminal as _;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// `NO_COLOR`, whatever it says unless it is empty, keeps colour away; so does a terminal that is dumb.
    pub(crate) fn of_stdout() -> Self {
        let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = said("TERM").is_none_or(|term| term == "dumb");
        Self { coloured: std::io::stdout().is_terminal() && said("NO_COLOR").is_none() && !dumb }
    }

    pub(crate) fn plain() -> Self {
        Self { coloured: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.coloured {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn tick(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// A line of a unified diff.
    pub(crate) fn diff_line(self, line: &[u8]) -> Vec<u8> {
        let code: &[u8] = match line {
            [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => b"1",
            [b'+', ..] => b"32",
            [b'-', ..] => b"31",
            [b'@', ..] => b"36",
            _ => return line.to_vec(),
        };
        if !self.coloured {
            return line.to_vec();
        }
        let (text, newline) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |text| (text, &b"\n"[..]));
        [b"\x1b[", code, b"m", text, b"\x1b[0m", newline].concat()
    }

    pub(crate) fn diff(self, diff: &[u8]) -> Vec<u8> {
        match self.coloured {
            true => {
                diff.split_inclusive(|&byte| byte == b'\n').flat_map(|line| self.diff_line(line)).collect()
            }
            false => diff.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_end_before_the_line_does() {
        let coloured = Style { coloured: true };
        assert_eq!(coloured.diff(b" a\n+b\n-c"), b" a\n\x1b[32m+b\x1b[0m\n\x1b[31m-c\x1b[0m");
        let plain = Style { coloured: false };
        assert_eq!((plain.diff(b"+b\n"), plain.bold("x")), (b"+b\n".to_vec(), "x".to_owned()));
    }
}

//! Which version wrote each line of a text.
//!
//! Invariant: there is one tag for each line of the text that was added last.

use super::script::Script;

/// Takes a text's versions one by one, oldest first. Holds the newest, and while one is added, two.
///
/// A version in which the text did not exist may be added as an empty one: what comes back later is then new.
#[derive(Debug, Clone)]
pub struct Blame<Tag> {
    text: Vec<u8>,
    tags: Vec<Tag>,
}

impl<Tag> Default for Blame<Tag> {
    fn default() -> Self {
        Self { text: Vec::new(), tags: Vec::new() }
    }
}

impl<Tag: Clone> Blame<Tag> {
    /// The next version; the lines that it brings are its own.
    pub fn add(&mut self, tag: &Tag, text: Vec<u8>) {
        let script = Script::between(&self.text, &text);
        let before = memchr::memchr_iter(b'\n', script.same_before).count();
        let old_tags = &self.tags[before..before + script.old.len()];
        let mut tags = Vec::with_capacity(script.new.len());
        let mut at = 0;
        for change in &script.changes {
            tags.extend_from_slice(&old_tags[at..change.old.start]);
            tags.extend(std::iter::repeat_n(tag.clone(), change.new.len()));
            at = change.old.end;
        }
        tags.extend_from_slice(&old_tags[at..]);
        let replaced = before..before + script.old.len();
        drop(self.tags.splice(replaced, tags));
        self.text = text;
    }

    /// Each line of the newest version, with its newline if it has one, and the tag of the version that wrote it.
    pub fn lines(&self) -> impl Iterator<Item = (&Tag, &[u8])> {
        self.tags.iter().zip(super::lines(&self.text))
    }
}

/// All of it at once, for versions that cannot fail to be read.
pub fn blame<Tag: Clone>(versions: impl IntoIterator<Item = (Tag, Vec<u8>)>) -> Vec<(Tag, Vec<u8>)> {
    let mut blame = Blame::default();
    for (tag, text) in versions {
        blame.add(&tag, text);
    }
    blame.lines().map(|(tag, line)| (tag.clone(), line.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::Tick;

    fn blamed(versions: &[(u64, &str)]) -> Vec<(u64, String)> {
        let versions = versions.iter().map(|&(tick, text)| (Tick(tick), text.as_bytes().to_vec()));
        let spell = |(tick, line): (Tick, Vec<u8>)| (tick.0, String::from_utf8(line).unwrap());
        blame(versions).into_iter().map(spell).collect()
    }

    #[test]
    fn each_line_names_the_version_that_wrote_it() {
        let lines = blamed(&[(3, "a\nb\nc\n"), (7, "a\nB\nc\n"), (9, "new\na\nB\nc\nd")]);
        let expected = [(9, "new\n"), (3, "a\n"), (7, "B\n"), (3, "c\n"), (9, "d")];
        assert_eq!(lines, expected.map(|(tick, line)| (tick, line.to_owned())));
    }

    #[test]
    fn a_line_that_went_and_came_back_is_new() {
        assert_eq!(blamed(&[(1, "a\nb\n"), (2, "a\n"), (3, "a\nb\n")])[1], (3, "b\n".to_owned()));
        assert_eq!(blamed(&[(1, "a\n"), (2, ""), (3, "a\n")]), [(3, "a\n".to_owned())]);
    }

    #[test]
    fn a_line_that_gains_its_newline_is_new() {
        assert_eq!(blamed(&[(1, "a"), (2, "a\n")]), [(2, "a\n".to_owned())]);
    }

    proptest! {
        /// Whoever is named did write that very line, and there is a tag for each line.
        #[test]
        fn the_version_that_is_named_holds_the_line(
            versions in prop::collection::vec("[ab\n]{0,20}", 1..8),
        ) {
            let tagged = versions.iter().enumerate().map(|(tag, text)| (tag, text.clone().into_bytes()));
            let lines = blame(tagged);
            let text: Vec<u8> = lines.iter().flat_map(|(_, line)| line.clone()).collect();
            prop_assert_eq!(&text, versions.last().unwrap().as_bytes());
            for (tag, line) in lines {
                prop_assert!(super::super::lines(versions[tag].as_bytes()).any(|held| held == line));
                let before = tag.checked_sub(1).map_or("", |before| &versions[before]);
                prop_assert_ne!(before, &versions[tag], "version {} changed nothing", tag);
            }
        }
    }
}

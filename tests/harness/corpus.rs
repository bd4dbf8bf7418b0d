//! Reads the benchmark data that `scripts/corpus` makes: a tree of files, and what is saved in it afterwards.
//!
//! The format of `saves.bin` is described in `tests/corpus/make.py`, which writes it.
//! Invariant: saves are given in the order in which they were made, each as the whole new text of its file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tickfs_store::path::RelPath;

const MAGIC: &[u8] = b"tickcor1";

/// One corpus, for instance `target/corpus/replay`.
#[derive(Debug)]
pub struct Corpus {
    base: PathBuf,
    /// Sorted.
    paths: Vec<RelPath>,
    saves: Vec<u8>,
}

/// A file as it is before the first save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFile {
    pub path: RelPath,
    pub bytes: Vec<u8>,
    /// Permission bits only.
    pub mode: u32,
}

/// A file is written anew, or for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    pub path: RelPath,
    pub content: Vec<u8>,
}

impl Corpus {
    /// The corpus of that name, where `scripts/corpus` puts it.
    pub fn named(name: &str) -> io::Result<Self> {
        Self::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/corpus").join(name))
    }

    pub fn open(directory: &Path) -> io::Result<Self> {
        // DONE is written last: without it, half a corpus may lie there.
        if !directory.join("DONE").exists() {
            let what = format!("{} holds no corpus: run scripts/corpus", directory.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        let base = directory.join("base");
        let mut paths = Vec::new();
        list_files(&base, &RelPath::root(), &mut paths)?;
        paths.sort();
        let saves = fs::read(directory.join("saves.bin"))?;
        if !saves.starts_with(MAGIC) {
            return Err(damaged(0, "it does not begin with the magic"));
        }
        Ok(Self { base, paths, saves })
    }

    /// The files as they are at the start, sorted by path; each is read when it is reached.
    pub fn base(&self) -> impl Iterator<Item = io::Result<BaseFile>> + '_ {
        self.paths.iter().map(|path| {
            let file = self.base.join(path.as_path());
            let mode = fs::metadata(&file)?.permissions().mode() & 0o7777;
            Ok(BaseFile { path: path.clone(), bytes: fs::read(&file)?, mode })
        })
    }

    /// What is saved afterwards, in order. Ends after the first error.
    #[must_use]
    pub fn saves(&self) -> Saves<'_> {
        Saves { corpus: self, position: MAGIC.len(), current: HashMap::new() }
    }
}

fn list_files(base: &Path, below: &RelPath, paths: &mut Vec<RelPath>) -> io::Result<()> {
    for entry in fs::read_dir(base.join(below.as_path()))? {
        let entry = entry?;
        let path = below.join(entry.file_name().as_bytes()).map_err(io::Error::other)?;
        if entry.file_type()?.is_dir() {
            list_files(base, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// Replays the saves; holds the current text of each file that was saved so far.
#[derive(Debug)]
pub struct Saves<'a> {
    corpus: &'a Corpus,
    position: usize,
    current: HashMap<RelPath, Vec<u8>>,
}

impl Iterator for Saves<'_> {
    type Item = io::Result<Save>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position == self.corpus.saves.len() {
            return None;
        }
        let save = self.read_save();
        if save.is_err() {
            self.position = self.corpus.saves.len();
        }
        Some(save)
    }
}

impl Saves<'_> {
    fn read_save(&mut self) -> io::Result<Save> {
        let start = self.position;
        let path_length = u16::from_le_bytes(self.array()?);
        let path = RelPath::new(self.take(u64::from(path_length))?)
            .map_err(|not_below| damaged(start, &not_below.to_string()))?;
        let old = match self.current.remove(&path) {
            Some(text) => text,
            None => self.text_in_base(&path)?,
        };
        let content = self.apply_splices(&old)?;
        self.current.insert(path.clone(), content.clone());
        Ok(Save { path, content })
    }

    /// Splices ascend, do not overlap, and all count in the text as it was before the save.
    fn apply_splices(&mut self, old: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(old.len() + 256);
        let mut copied = 0;
        for _ in 0..u16::from_le_bytes(self.array()?) {
            let start = self.position;
            let offset = u64::from_le_bytes(self.array()?);
            let deleted = u64::from_le_bytes(self.array()?);
            let inserted_length = u32::from_le_bytes(self.array()?);
            let kept = range_within(old, copied, offset)
                .ok_or_else(|| damaged(start, "a splice begins outside of what is left of the text"))?;
            content.extend_from_slice(kept);
            content.extend_from_slice(self.take(u64::from(inserted_length))?);
            let end = offset.checked_add(deleted).filter(|&end| range_within(old, offset, end).is_some());
            copied = end.ok_or_else(|| damaged(start, "a splice ends behind the text"))?;
        }
        let rest = range_within(old, copied, old.len() as u64);
        content.extend_from_slice(rest.expect("the rest is there because every splice ends within the text"));
        Ok(content)
    }

    fn text_in_base(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        if self.corpus.paths.binary_search(path).is_err() {
            return Ok(Vec::new());
        }
        fs::read(self.corpus.base.join(path.as_path()))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64)?);
        Ok(bytes)
    }

    fn take(&mut self, length: u64) -> io::Result<&[u8]> {
        let start = self.position as u64;
        let taken = start.checked_add(length).and_then(|end| range_within(&self.corpus.saves, start, end));
        let taken = taken.ok_or_else(|| damaged(self.position, "it ends in the middle of a save"))?;
        self.position += taken.len();
        Ok(taken)
    }
}

fn range_within(bytes: &[u8], from: u64, to: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

fn damaged(offset: usize, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("saves.bin is damaged at byte {offset}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Splice<'a> = (u64, u64, &'a str);

    fn save_record(path: &str, splices: &[Splice<'_>]) -> Vec<u8> {
        let mut record = u16::try_from(path.len()).unwrap().to_le_bytes().to_vec();
        record.extend_from_slice(path.as_bytes());
        record.extend_from_slice(&u16::try_from(splices.len()).unwrap().to_le_bytes());
        for (offset, deleted, inserted) in splices {
            record.extend_from_slice(&offset.to_le_bytes());
            record.extend_from_slice(&deleted.to_le_bytes());
            record.extend_from_slice(&u32::try_from(inserted.len()).unwrap().to_le_bytes());
            record.extend_from_slice(inserted.as_bytes());
        }
        record
    }

    fn corpus_with(records: &[Vec<u8>]) -> (tempfile::TempDir, Corpus) {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("base");
        fs::create_dir_all(base.join("src")).unwrap();
        fs::write(base.join("src/app.py"), "one\ntwo\nthree\n").unwrap();
        fs::write(base.join("run"), "#!\n").unwrap();
        fs::set_permissions(base.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.path().join("saves.bin"), [MAGIC, &records.concat()].concat()).unwrap();
        fs::write(directory.path().join("DONE"), "").unwrap();
        let corpus = Corpus::open(directory.path()).unwrap();
        (directory, corpus)
    }

    fn contents(corpus: &Corpus) -> Vec<(String, String)> {
        let text = |save: Save| (save.path.to_string(), String::from_utf8(save.content).unwrap());
        corpus.saves().map(|save| text(save.unwrap())).collect()
    }

    fn first_error(records: &[Vec<u8>]) -> String {
        let (_directory, corpus) = corpus_with(records);
        let mut saves = corpus.saves();
        let error = saves.by_ref().find_map(Result::err).expect("the damage was not seen");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(saves.next().is_none(), "it went on after the damage");
        error.to_string()
    }

    #[test]
    fn the_base_is_listed_in_order_with_bytes_and_modes() {
        let (_directory, corpus) = corpus_with(&[]);
        let base: Vec<_> = corpus.base().map(Result::unwrap).collect();
        let paths: Vec<_> = base.iter().map(|file| file.path.to_string()).collect();
        assert_eq!(paths, ["run", "src/app.py"]);
        assert_eq!((base[0].mode, base[0].bytes.as_slice()), (0o755, &b"#!\n"[..]));
        assert!(corpus.saves().next().is_none());
    }

    #[test]
    fn each_save_rests_on_the_one_before_it() {
        let (_directory, corpus) = corpus_with(&[
            save_record("src/app.py", &[(0, 3, "1"), (8, 6, "")]),
            save_record("src/app.py", &[(6, 0, "end\n")]),
            save_record("new.py", &[(0, 0, "born\n")]),
            save_record("src/app.py", &[(0, 10, "")]),
        ]);
        let expected = [
            ("src/app.py", "1\ntwo\n"),
            ("src/app.py", "1\ntwo\nend\n"),
            ("new.py", "born\n"),
            ("src/app.py", ""),
        ];
        assert_eq!(contents(&corpus), expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        assert_eq!(contents(&corpus).len(), 4, "a second pass starts anew");
    }

    #[test]
    fn damage_is_an_error_and_ends_the_replay() {
        let whole = save_record("src/app.py", &[(0, 3, "1")]);
        for length in 1..whole.len() {
            assert!(first_error(&[whole[..length].to_vec()]).contains("in the middle"), "cut at {length}");
        }
        let outside = "outside of what is left";
        assert!(first_error(&[save_record("run", &[(4, 0, "")])]).contains(outside));
        assert!(first_error(&[save_record("run", &[(2, 1, ""), (1, 0, "")])]).contains(outside));
        assert!(first_error(&[save_record("run", &[(u64::MAX, 1, "")])]).contains(outside));
        assert!(first_error(&[save_record("run", &[(1, u64::MAX, "")])]).contains("ends behind"));
        assert!(first_error(&[save_record("run", &[(1, 3, "")])]).contains("ends behind"));
        assert!(first_error(&[save_record("../run", &[])]).contains("no path below a root"));
    }

    #[test]
    fn half_a_corpus_is_not_opened() {
        let (directory, _corpus) = corpus_with(&[]);
        fs::write(directory.path().join("saves.bin"), "something else").unwrap();
        assert_eq!(Corpus::open(directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::remove_file(directory.path().join("DONE")).unwrap();
        assert_eq!(Corpus::open(directory.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

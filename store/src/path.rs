//! Paths below a root. Names are bytes: whatever the kernel accepts is a name.
//!
//! Invariant: a [`RelPath`] has no empty, `.` or `..` component and no NUL, so joining it to a root stays inside.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path relative to the root; the root itself is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is no path below a root: {why}", String::from_utf8_lossy(.path))]
pub struct NotBelowRoot {
    pub path: Vec<u8>,
    pub why: &'static str,
}

impl RelPath {
    pub fn new(path: impl Into<Vec<u8>>) -> Result<Self, NotBelowRoot> {
        let path = path.into();
        match first_fault(&path) {
            None => Ok(Self(path)),
            Some(why) => Err(NotBelowRoot { path, why }),
        }
    }

    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = memchr::memrchr(b'/', &self.0).unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    pub fn join(&self, name: &[u8]) -> Result<Self, NotBelowRoot> {
        if name.is_empty() || name.contains(&b'/') {
            return Err(NotBelowRoot { path: name.to_vec(), why: "a single name was expected" });
        }
        let mut joined = self.0.clone();
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name);
        Self::new(joined)
    }

    /// Whether this is `other` or lies below it.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self.0.strip_prefix(other.0.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

fn first_fault(path: &[u8]) -> Option<&'static str> {
    if path.is_empty() {
        return None;
    }
    if path.contains(&0) {
        return Some("it holds a NUL byte");
    }
    path.split(|&b| b == b'/').find_map(|component| match component {
        b"" => Some("it has an empty component"),
        b"." | b".." => Some("it has a component . or .."),
        _ => None,
    })
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        NameBytes(&self.0).serialize(s)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(OwnedNameBytes::deserialize(d)?.0).map_err(D::Error::custom)
    }
}

/// Bytes of a name in JSON: a string where they are UTF-8, else `{"hex":"…"}`.
#[derive(Debug, Clone, Copy)]
pub struct NameBytes<'a>(pub &'a [u8]);

impl Serialize for NameBytes<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => s.serialize_str(text),
            Err(_) => Hex { hex: self.0.iter().map(|b| format!("{b:02x}")).collect() }.serialize(s),
        }
    }
}

/// The same, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedNameBytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for OwnedNameBytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Spelling)
    }
}

/// Takes either spelling at its first byte: every record of a path has a name, and rebuilding the index reads them all.
struct Spelling;

impl<'de> Visitor<'de> for Spelling {
    type Value = OwnedNameBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name: a string, or its bytes as {\"hex\":\"…\"}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OwnedNameBytes, E> {
        Ok(OwnedNameBytes(text.as_bytes().to_vec()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<OwnedNameBytes, E> {
        Ok(OwnedNameBytes(text.into_bytes()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OwnedNameBytes, A::Error> {
        let Hex { hex } = Hex::deserialize(MapAccessDeserializer::new(map))?;
        let pair = |i: usize| hex.get(i..i + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(pair).collect();
        bytes.map(OwnedNameBytes).ok_or_else(|| A::Error::custom("a name's hex digits are damaged"))
    }
}

#[derive(Serialize, Deserialize)]
struct Hex {
    hex: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_the_root_is_refused() {
        for bad in ["/etc", "a//b", "a/", "../x", "a/../b", "./a", "a\0b"] {
            assert!(RelPath::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(RelPath::root().join(b"..").is_err());
        assert!(RelPath::root().join(b"a/b").is_err());
    }

    #[test]
    fn parents_and_names() {
        let path = RelPath::new("src/app.py").unwrap();
        assert_eq!((path.name(), path.parent()), (&b"app.py"[..], Some(RelPath::new("src").unwrap())));
        assert_eq!(RelPath::new("src").unwrap().parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert!(path.starts_with(&RelPath::new("src").unwrap()));
        assert!(!RelPath::new("src2/a").unwrap().starts_with(&RelPath::new("src").unwrap()));
    }

    #[test]
    fn every_name_survives_json() {
        for bytes in [&b"plain"[..], b"new\nline", b"\xff\xfe not utf-8", "\u{2028}".as_bytes()] {
            let path = RelPath::new(bytes).unwrap();
            let json = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<RelPath>(&json).unwrap(), path, "{json}");
        }
    }
}

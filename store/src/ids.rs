//! Identifiers and small units. Each type owns its spelling on disk and in a path.
//!
//! Nothing here touches the disk, the clock or another module.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The place of a record in the journal; the only order there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// One recorded change of one path; 0 is the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(pub u64);

/// What a path names for as long as it is the same thing: it survives renames. The root directory is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl NodeId {
    pub const ROOT: Self = Self(1);
}

/// The number of a branch inside its store; never reused, and kept by a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BranchNo(pub u32);

impl BranchNo {
    pub const MAIN: Self = Self(1);
}

macro_rules! plain_display {
    ($($t:ident),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
plain_display!(Seq, Tick, NodeId, BranchNo);

impl Seq {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Tick {
    pub const BASE: Self = Self(0);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A segment of the journal, named by the first seq it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub Seq);

impl SegmentId {
    /// `seg-00000001.jsonl`
    #[must_use]
    pub fn file_name(self) -> String {
        format!("seg-{:08}.jsonl", self.0.0)
    }

    /// `seg-00000001.jsonl.zst`
    #[must_use]
    pub fn sealed_name(self) -> String {
        format!("seg-{:08}.jsonl.zst", self.0.0)
    }

    /// Reads either name; `None` for anything else that lies in the directory.
    #[must_use]
    pub fn parse(name: &str) -> Option<(Self, SegmentForm)> {
        let rest = name.strip_prefix("seg-")?;
        let (digits, form) = match rest.strip_suffix(".jsonl.zst") {
            Some(digits) => (digits, SegmentForm::Sealed),
            None => (rest.strip_suffix(".jsonl")?, SegmentForm::Plain),
        };
        let canonical = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit());
        let first = canonical.then(|| digits.parse().ok()).flatten()?;
        Some((Self(Seq(first)), form))
    }
}

/// How a segment lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentForm {
    Plain,
    Sealed,
}

/// A pack of content. Its number is part of an [`Address`] for ever, whatever form the pack takes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PackId(pub u32);

impl PackId {
    /// `h-00000001.pk`: append-only, as it was written.
    #[must_use]
    pub fn hot_name(self) -> String {
        format!("h-{:08}.pk", self.0)
    }

    /// `c-00000001.pk`: compacted; answers for the same addresses.
    #[must_use]
    pub fn cold_name(self) -> String {
        format!("c-{:08}.pk", self.0)
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<(Self, PackForm)> {
        let rest = name.strip_suffix(".pk")?;
        let (digits, form) = match rest.strip_prefix("h-") {
            Some(digits) => (digits, PackForm::Hot),
            None => (rest.strip_prefix("c-")?, PackForm::Cold),
        };
        let canonical = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit());
        let number = canonical.then(|| digits.parse().ok()).flatten()?;
        Some((Self(number), form))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackForm {
    Hot,
    Cold,
}

/// Where a version's content was first written. It stays true for ever: a compacted pack translates it.
/// On disk: `[pack, offset]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub pack: PackId,
    pub offset: u64,
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (self.pack, self.offset).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (pack, offset) = Deserialize::deserialize(d)?;
        Ok(Self { pack, offset })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pack.0, self.offset)
    }
}

/// A version's stored content: its address, and how many bytes it added to the packs (0: it was there already).
/// On disk: `[pack, offset, len]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rec {
    pub at: Address,
    pub len: u32,
}

impl Serialize for Rec {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (self.at.pack, self.at.offset, self.len).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Rec {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (pack, offset, len) = Deserialize::deserialize(d)?;
        Ok(Self { at: Address { pack, offset }, len })
    }
}

/// The first 128 bits of BLAKE3 over a content's bytes; 32 hex digits on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(blake3::Hasher::new().update(bytes))
    }

    #[must_use]
    pub fn from_hasher(hasher: &blake3::Hasher) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(short)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(NotAHash);
        }
        let mut hash = [0; 16];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (LOWER_HEX[usize::from(pair[0])], LOWER_HEX[usize::from(pair[1])]);
            if high > 15 || low > 15 {
                return Err(NotAHash);
            }
            *byte = high << 4 | low;
        }
        Ok(Self(hash))
    }
}

/// What each byte counts as a digit; anything above 15 is none.
const LOWER_HEX: [u8; 256] = {
    let mut table = [u8::MAX; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digit += 1;
    }
    table
};

/// Parses a string where it stands: every record of a path has two of these, and rebuilding the index reads them all.
struct Spelled<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Spelled<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content hash is 32 lower-case hex digits")]
pub struct NotAHash;

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(Spelled(PhantomData))
    }
}

/// Milliseconds since 1970, UTC: when a tick happened. Never an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// `2026-11-20T12:15:00.123Z`, for people and for the field `ts`.
    #[must_use]
    pub fn to_iso(self) -> String {
        let (days, of_day) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }

    /// Reads what `to_iso` writes; `None` for any other spelling.
    #[must_use]
    pub fn from_iso(text: &str) -> Option<Self> {
        let number = |place: std::ops::Range<usize>| text.get(place)?.parse::<i64>().ok();
        let days = days_from_civil(number(0..4)?, number(5..7)?, number(8..10)?);
        let minutes = (days * 24 + number(11..13)?) * 60 + number(14..16)?;
        let read = Self((minutes * 60 + number(17..19)?) * 1000 + number(20..23)?);
        (read.to_iso() == text).then_some(read)
    }
}

/// The day of a proleptic Gregorian date, counted from 1970-01-01.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Proleptic Gregorian date of a day counted from 1970-01-01 (eras of 400 years, months from March).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A file's modification time, nanoseconds since 1970. On disk a string `"sec.nnnnnnnnn"`, because JSON tools
/// lose digits of large numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixNanos(pub i64);

impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000))
    }
}

impl FromStr for UnixNanos {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let (seconds, nanos) = text.split_once('.').ok_or(NotATime)?;
        if nanos.len() != 9 || !nanos.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotATime);
        }
        let seconds: i64 = seconds.parse().map_err(|_not_digits| NotATime)?;
        let nanos: i64 = nanos.parse().map_err(|_not_digits| NotATime)?;
        seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(nanos)).map(Self).ok_or(NotATime)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as seconds, a dot and nine digits")]
pub struct NotATime;

impl Serialize for UnixNanos {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixNanos {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(Spelled(PhantomData))
    }
}

/// Born with the store and never changed: 26 characters, time-ordered, in the alphabet of ULIDs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(String);

impl StoreId {
    #[must_use]
    pub fn new(now: UnixMillis, random: [u8; 10]) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut value = u128::from(now.0.unsigned_abs() & 0xffff_ffff_ffff);
        for byte in random {
            value = value << 8 | u128::from(byte);
        }
        let letter = |place: u32| char::from(ALPHABET[(value >> (5 * place) & 31) as usize]);
        Self((0..26).rev().map(letter).collect())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_strangers_are_refused() {
        let segment = SegmentId(Seq(18_000));
        assert_eq!(segment.file_name(), "seg-00018000.jsonl");
        assert_eq!(SegmentId::parse("seg-00018000.jsonl"), Some((segment, SegmentForm::Plain)));
        assert_eq!(SegmentId::parse("seg-00018000.jsonl.zst"), Some((segment, SegmentForm::Sealed)));
        assert_eq!(SegmentId::parse("seg-18000.jsonl"), None);
        assert_eq!(SegmentId::parse("seg-00018000.jsonl.tmp"), None);
        assert_eq!(PackId::parse("h-00000007.pk"), Some((PackId(7), PackForm::Hot)));
        assert_eq!(PackId::parse("c-00000007.pk"), Some((PackId(7), PackForm::Cold)));
        assert_eq!(PackId::parse("c-7.pk"), None);
    }

    #[test]
    fn times_are_spelled_as_people_and_tools_expect() {
        assert_eq!(UnixMillis(0).to_iso(), "1970-01-01T00:00:00.000Z");
        assert_eq!(UnixMillis(1_709_210_096_007).to_iso(), "2024-02-29T12:34:56.007Z");
        assert_eq!(UnixMillis(-1).to_iso(), "1969-12-31T23:59:59.999Z");
        for millis in [0, -1, 1_709_210_096_007, 951_782_399_999, 951_868_800_000, -62_135_596_800_000] {
            assert_eq!(UnixMillis::from_iso(&UnixMillis(millis).to_iso()), Some(UnixMillis(millis)));
        }
        assert_eq!(UnixMillis::from_iso("2024-02-30T12:34:56.007Z"), None);
        assert_eq!(UnixMillis::from_iso("yesterday"), None);
        for nanos in [0, 1, -1, 1_763_678_942_123_456_789, -3_000_000_001] {
            assert_eq!(UnixNanos(nanos).to_string().parse(), Ok(UnixNanos(nanos)));
        }
        assert_eq!("1.5".parse::<UnixNanos>(), Err(NotATime));
    }

    #[test]
    fn a_hash_reads_back_and_upper_case_is_refused() {
        let hash = ContentHash::of(b"tick");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse::<ContentHash>(), Err(NotAHash));
    }

    #[test]
    fn store_ids_sort_by_time() {
        let (early, late) = (StoreId::new(UnixMillis(1), [255; 10]), StoreId::new(UnixMillis(2), [0; 10]));
        assert!(early < late);
        assert_eq!(early.as_str().len(), 26);
    }
}

//! A point in history, from what a person types: one grammar for commands and for names in the mount.
//!
//! Reading the text ([`PointName::parse`], [`When::parse`]) is apart from finding the tick ([`View::point`],
//! [`View::point_on`]). The moment now and the time zone are handed in.
//!
//! A day stands for its last instant, and so does a second, because logs show whole seconds; a minute stands for the
//! instant at which it begins.

use jiff::civil::{self, Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use super::{Branches, Point, View};
use crate::error::{Error, Result};
use crate::ids::{BranchNo, Tick, UnixMillis};

/// A number from here on is a moment in unix seconds.
const FIRST_UNIX_SECOND: u64 = 1_000_000_000;

/// A point as it is spelled: `BRANCH@WHEN`, `@WHEN` or `WHEN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointName {
    /// `None`: the active branch.
    pub branch: Option<String>,
    pub when: When,
}

/// What stands behind the `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The one spelling that is a tick itself; all others lead to one.
    Tick(Tick),
    Head,
    /// So many ticks of the branch's chain before its head.
    Back(u64),
    /// The last tick at or before it.
    Time(Time),
    Snapshot(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Exactly(UnixMillis),
    Now,
    Yesterday,
    Day(Date),
    Local(DateTime),
    /// The latest one that is past.
    Clock(civil::Time),
    Ago(u32, Unit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
}

/// The moment now, and where the person is who says `yesterday`.
#[derive(Debug, Clone)]
pub struct Moment {
    pub now: UnixMillis,
    pub zone: TimeZone,
}

impl Moment {
    #[must_use]
    pub fn utc(now: UnixMillis) -> Self {
        Self { now, zone: TimeZone::UTC }
    }

    /// Where the system says that it is.
    #[must_use]
    pub fn here(now: UnixMillis) -> Self {
        Self { now, zone: TimeZone::system() }
    }
}

impl PointName {
    pub fn parse(text: &str) -> Result<Self> {
        let (branch, when) = match text.split_once('@') {
            None | Some(("", _)) => (None, text.strip_prefix('@').unwrap_or(text)),
            Some((branch, when)) => (Some(branch.to_owned()), when),
        };
        match When::parse(when) {
            Ok(when) => Ok(Self { branch, when }),
            Err(_) => Err(no_point(text)),
        }
    }
}

impl When {
    /// Reads what may stand behind the `@`. What is neither a tick nor a time is the name of a snapshot, if there is one.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at(digits);
        match (number, rest) {
            ("", "HEAD") => Some(Self::Head),
            ("", "now" | "today") => Some(Self::Time(Time::Now)),
            ("", "yesterday") => Some(Self::Time(Time::Yesterday)),
            ("", back) if is_number_after_minus(back) => back[1..].parse().ok().map(Self::Back),
            ("", name) if name.is_empty() || name.contains(['@', '/', '\0']) => None,
            ("", name) => Some(Self::Snapshot(name.to_owned())),
            (number, "") => number.parse().ok().map(Self::from_number),
            (number, unit) if unit.len() == 1 && Unit::parse(unit).is_some() => {
                let count = number.parse().ok();
                count.zip(Unit::parse(unit)).map(|(count, unit)| Self::Time(Time::Ago(count, unit)))
            }
            (_, time) if time.starts_with(':') => clock(text).map(Time::Clock).map(Self::Time),
            (_, date) if looks_like_a_date(digits, date) => moment(text).map(Self::Time),
            (_, name) if name.contains(['@', '/', '\0']) => None,
            _ => Some(Self::Snapshot(text.to_owned())),
        }
        .ok_or_else(|| no_point(text))
    }

    fn from_number(number: u64) -> Self {
        match i64::try_from(number).ok().and_then(|seconds| seconds.checked_mul(1000)) {
            Some(millis) if number >= FIRST_UNIX_SECOND => {
                Self::Time(Time::Exactly(UnixMillis(millis.saturating_add(999))))
            }
            _ => Self::Tick(Tick(number)),
        }
    }
}

fn no_point(text: &str) -> Error {
    Error::not_a_point(format!(
        "{text:?} names no point in history: it must be an integer (a tick), HEAD, -1, a time (2h, yesterday, 12:15, \
         2026-11-20, 2026-11-20T14:05), the name of a snapshot, or BRANCH@ and one of these"
    ))
}

fn is_number_after_minus(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Four digits and `-NN`: nothing else begins like that.
fn looks_like_a_date(digits: usize, rest: &str) -> bool {
    let month = rest.as_bytes().get(1..3);
    digits == 4 && rest.starts_with('-') && month.is_some_and(|m| m.iter().all(u8::is_ascii_digit))
}

/// `2026-11-20`, and behind it `T14:05`, `T14:05:33`, `T14:05:33.123`, each with a `Z` for UTC.
fn moment(text: &str) -> Option<Time> {
    let (day, rest) = text.split_at_checked(10)?;
    let number = |range: std::ops::Range<usize>| {
        day.get(range).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?.parse::<i16>().ok()
    };
    let narrow = |number: i16| i8::try_from(number).ok();
    let (year, month, day_of_month) = (number(0..4)?, narrow(number(5..7)?)?, narrow(number(8..10)?)?);
    let separators = day.as_bytes()[4] == b'-' && day.as_bytes()[7] == b'-';
    let date = Date::new(year, month, day_of_month).ok().filter(|_| separators)?;
    if rest.is_empty() {
        return Some(Time::Day(date));
    }
    let rest = rest.strip_prefix(['T', ' '])?;
    let (of_day, utc) = rest.strip_suffix('Z').map_or((rest, false), |of_day| (of_day, true));
    let local = date.to_datetime(clock(of_day).filter(|_| of_day.find(':') == Some(2))?);
    match utc {
        true => Some(Time::Exactly(millis(&local.to_zoned(TimeZone::UTC).ok()?))),
        false => Some(Time::Local(local)),
    }
}

/// `14:05`, `14:05:33` (to its end) or `14:05:33.123`.
fn clock(text: &str) -> Option<civil::Time> {
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let plain = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<i32>().ok()).flatten()
    };
    let small = |number: i32| i8::try_from(number).ok();
    let (hour, rest) = text.split_once(':')?;
    let (minute, second) =
        rest.split_once(':').map_or((rest, None), |(minute, second)| (minute, Some(second)));
    let (second, milli) = match second.map(|second| second.split_once('.').unwrap_or((second, "999"))) {
        Some((second, milli)) => (number(second, 2..=2)?, number(milli, 3..=3)?),
        None => (0, 0),
    };
    let (hour, minute) = (small(number(hour, 1..=2)?)?, small(number(minute, 2..=2)?)?);
    civil::Time::new(hour, minute, small(second)?, milli * 1_000_000).ok()
}

impl Unit {
    fn parse(letter: &str) -> Option<Self> {
        Some(match letter {
            "s" => Self::Second,
            "m" => Self::Minute,
            "h" => Self::Hour,
            "d" => Self::Day,
            "w" => Self::Week,
            _ => return None,
        })
    }

    fn span(self, count: u32) -> Option<Span> {
        let (none, count) = (Span::new(), i64::from(count));
        match self {
            Self::Second => none.try_seconds(count),
            Self::Minute => none.try_minutes(count),
            Self::Hour => none.try_hours(count),
            Self::Day => none.try_days(count),
            Self::Week => none.try_weeks(count),
        }
        .ok()
    }
}

impl Time {
    /// The last millisecond that counts as at or before it; `None` where the calendar ends.
    fn millis(self, moment: &Moment) -> Option<UnixMillis> {
        let now = || Some(Timestamp::from_millisecond(moment.now.0).ok()?.to_zoned(moment.zone.clone()));
        let end_of = |date: Date| {
            let next = date.tomorrow().ok()?.to_zoned(moment.zone.clone()).ok()?;
            Some(UnixMillis(millis(&next).0 - 1))
        };
        match self {
            Self::Exactly(millis) => Some(millis),
            Self::Now => Some(moment.now),
            Self::Yesterday => end_of(now()?.date().yesterday().ok()?),
            Self::Day(date) => end_of(date),
            Self::Local(local) => Some(millis(&local.to_zoned(moment.zone.clone()).ok()?)),
            Self::Clock(time) => {
                let today = now()?.date();
                let at =
                    |date: Date| Some(millis(&date.to_datetime(time).to_zoned(moment.zone.clone()).ok()?));
                // A second that has begun is past, although it is to be taken to its end.
                let begun = |end: &UnixMillis| end.0 - end.0.rem_euclid(1000) <= moment.now.0;
                at(today).filter(begun).or_else(|| at(today.yesterday().ok()?))
            }
            Self::Ago(count, unit) => Some(millis(&now()?.checked_sub(unit.span(count)?).ok()?)),
        }
    }
}

fn millis(at: &Zoned) -> UnixMillis {
    UnixMillis(at.timestamp().as_millisecond())
}

impl View {
    /// The point that a name stands for. Without a branch it is one of the branch that is active; a snapshot is where it
    /// is.
    pub fn point(&self, name: &PointName, moment: &Moment) -> Result<Point> {
        match (&name.branch, &name.when) {
            (None, When::Snapshot(snapshot)) => Ok(self.named(snapshot)?.point()),
            (None, when) => self.point_on(self.cursor_point()?.branch, when, moment),
            (Some(label), when) => self.point_on(self.branches().by_label(label)?.no, when, moment),
        }
    }

    /// The point of one branch. It is an error if the branch does not have it.
    pub fn point_on(&self, branch: BranchNo, when: &When, moment: &Moment) -> Result<Point> {
        let tick = match when {
            When::Tick(tick) => *tick,
            When::Head => self.branches().head(branch),
            When::Back(count) => back(self.branches(), branch, *count)?,
            When::Time(time) => self.last_before(branch, *time, moment)?,
            When::Snapshot(name) => {
                let snapshot = self.named(name)?;
                if self.branches().get(snapshot.branch).is_none_or(|home| home.import.is_some()) {
                    let label = label(self.branches(), branch);
                    return Err(Error::not_found(format!(
                        "the imported snapshot {name:?} is not on branch {label}"
                    )));
                }
                snapshot.tick
            }
        };
        match self.branches().is_on(branch, tick) {
            true => Ok(Point { branch, tick }),
            false => Err(not_on_branch(self.branches(), branch, tick)),
        }
    }

    /// When the base was complete; `None` if nobody knows.
    #[must_use]
    pub fn base_at(&self) -> Option<UnixMillis> {
        self.branches().get(BranchNo::MAIN).and_then(|main| UnixMillis::from_iso(&main.created_at))
    }

    fn last_before(&self, branch: BranchNo, time: Time, moment: &Moment) -> Result<Tick> {
        let Some(until) = time.millis(moment) else {
            return Err(Error::not_a_point("the calendar does not reach to that time"));
        };
        let tick = self.by_time(branch, until)?;
        match self.base_at() {
            Some(base) if tick == Tick::BASE && until < base => Err(Error::not_found(format!(
                "there is nothing that early: the base was recorded at {}",
                base.to_iso()
            ))),
            _ => Ok(tick),
        }
    }

    /// A name that is none is most likely a slip in something else.
    fn named(&self, name: &str) -> Result<super::Snapshot> {
        match self.snapshot(name) {
            Err(Error::NotFound { .. }) if self.branches().by_label(name).is_ok() => {
                Err(Error::not_a_point(format!("{name} is a branch: {name}@HEAD is its head")))
            }
            Err(Error::NotFound { .. }) => Err(no_point(name)),
            other => other,
        }
    }
}

fn back(branches: &Branches, branch: BranchNo, count: u64) -> Result<Tick> {
    let mut left = count;
    for span in branches.chain(branch, Tick(u64::MAX)).iter().rev() {
        let ticks = span.last.0 - span.first.0 + 1;
        if left < ticks {
            return Ok(Tick(span.last.0 - left));
        }
        left -= ticks;
    }
    match left {
        0 => Ok(Tick::BASE),
        _ => Err(Error::not_found(format!(
            "branch {} does not have {count} ticks before its head",
            label(branches, branch)
        ))),
    }
}

fn not_on_branch(branches: &Branches, branch: BranchNo, tick: Tick) -> Error {
    let here = label(branches, branch);
    let home = branches.of_tick(tick).and_then(|no| branches.get(no));
    Error::not_found(match home {
        Some(home) => format!("tick {tick} is not on branch {here}: {}@{tick} names it", home.label),
        None => format!(
            "tick {tick} is not on branch {here}: there is no such tick, its last is {}",
            branches.head(branch)
        ),
    })
}

fn label(branches: &Branches, branch: BranchNo) -> String {
    branches.get(branch).map_or_else(|| branch.to_string(), |branch| branch.label.clone())
}

#[cfg(test)]
mod tests;

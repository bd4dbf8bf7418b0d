//! Each spelling once: what it reads as, and the tick it leads to.

use proptest::prelude::*;

use super::*;
use crate::history::{Stand, check_name};
use crate::store::tests::{open_new, path, with_base};
use crate::{Content, Meta, Store, StoreWriter};

/// 2026-11-20T13:00:00Z, which is 14:00 where the tests are.
const NOON: i64 = 1_795_179_600_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn moment(now: i64) -> Moment {
    Moment { now: UnixMillis(now), zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap() }
}

fn read(text: &str) -> Result<When> {
    When::parse(text)
}

/// Where a time ends, told from now on.
fn reach(text: &str, now: i64) -> i64 {
    match read(text).unwrap() {
        When::Time(time) => time.millis(&moment(now)).unwrap().0 - now,
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn each_spelling_reads_as_what_the_grammar_says() {
    assert_eq!(read("0").unwrap(), When::Tick(Tick(0)));
    assert_eq!(read("999999999").unwrap(), When::Tick(Tick(999_999_999)));
    assert_eq!(read("1000000000").unwrap(), When::Time(Time::Exactly(UnixMillis(1_000_000_000_999))));
    assert_eq!(read("HEAD").unwrap(), When::Head);
    assert_eq!(read("-2").unwrap(), When::Back(2));
    assert_eq!(read("before-refactor").unwrap(), When::Snapshot("before-refactor".to_owned()));
    assert_eq!(read("10m").unwrap(), When::Time(Time::Ago(10, Unit::Minute)));
    assert_eq!(read("42x").unwrap(), When::Snapshot("42x".to_owned()));
    for bad in [
        "",
        "a@b",
        "x/y",
        "12:",
        "12:60",
        "25:00",
        "1:2:3",
        "2026-13-01",
        "2026-11-20T9:05",
        "2026-11-20x",
        "2026-11-20T14:05:61",
        "99999999999999999999",
        "14:05:33.1",
        "99999999999d",
    ] {
        assert!(matches!(read(bad), Err(Error::NotAPoint { .. })), "{bad:?} was read as {:?}", read(bad));
    }
}

#[test]
fn a_branch_stands_before_the_at_and_may_be_left_out() {
    let name = |text: &str| PointName::parse(text).map(|name| (name.branch, name.when));
    let main = Some("main".to_owned());
    assert_eq!(name("main@3").unwrap(), (main.clone(), When::Tick(Tick(3))));
    assert_eq!(name("main@-1").unwrap(), (main, When::Back(1)));
    assert_eq!(name("@-1").unwrap(), (None, When::Back(1)));
    assert_eq!(name("-1").unwrap(), (None, When::Back(1)));
    for bad in ["a@b@c", "@", "main@", "@@3", ""] {
        let error = name(bad).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{bad:?} names no point in history: it must be an integer")),
            "{error}"
        );
    }
}

#[test]
fn times_are_in_the_zone_that_is_handed_in() {
    assert_eq!(reach("now", NOON), 0);
    assert_eq!(reach("10m", NOON), -10 * MINUTE);
    assert_eq!(reach("2h", NOON), -2 * HOUR);
    assert_eq!(reach("3d", NOON), -3 * DAY);
    assert_eq!(reach("1w", NOON), -7 * DAY);
    assert_eq!(reach("yesterday", NOON), -14 * HOUR - 1);
    assert_eq!(reach("2026-11-19", NOON), -14 * HOUR - 1);
    assert_eq!(reach("2026-11-20", NOON), 10 * HOUR - 1);
    assert_eq!(reach("2026-11-20T13:05", NOON), -55 * MINUTE);
    assert_eq!(reach("2026-11-20 13:05", NOON), -55 * MINUTE);
    assert_eq!(reach("2026-11-20T13:05Z", NOON), 5 * MINUTE);
    assert_eq!(reach("2026-11-20T13:05:30", NOON), -55 * MINUTE + 30_999);
    assert_eq!(reach("2026-11-20T13:05:30.250Z", NOON), 5 * MINUTE + 30_250);
    assert_eq!(reach("14:00", NOON), 0);
    assert_eq!(reach("14:01", NOON), MINUTE - DAY);
    assert_eq!(reach("9:30", NOON), -4 * HOUR - 30 * MINUTE);
    assert_eq!(reach("14:00:00", NOON), 999, "a second that has begun is not yesterday's");
}

/// 2026-03-29: the clocks skip from 02:00 to 03:00, so that the day has 23 hours.
#[test]
fn days_are_as_long_as_the_calendar_makes_them() {
    let noon_of_29_march = 1_774_778_400_000;
    assert_eq!(UnixMillis(noon_of_29_march).to_iso(), "2026-03-29T10:00:00.000Z");
    assert_eq!(reach("1d", noon_of_29_march), -23 * HOUR);
    assert_eq!(reach("24h", noon_of_29_march), -24 * HOUR);
    assert_eq!(reach("yesterday", noon_of_29_march), -11 * HOUR - 1);
}

fn save_at(writer: &StoreWriter, now: i64, text: &str) -> Tick {
    let meta = Meta {
        mtime: crate::ids::UnixNanos(1),
        ..crate::store::tests::meta(crate::journal::entry::NodeType::File)
    };
    let text = text.as_bytes().to_vec();
    writer
        .mutate(UnixMillis(now), move |m| m.save(&path("f"), &meta, Content::Bytes(text)))
        .unwrap()
        .tick()
        .unwrap()
}

/// Base at 10 ms; main: 1 an hour before noon, 2 half an hour before, 3 at noon; try (from 1): 4 at noon.
fn sample(dir: &std::path::Path) -> Store {
    let store = open_new(dir);
    let writer = with_base(&store, &[("f", "0")]);
    for (before, text) in [(HOUR, "1"), (HOUR / 2, "2"), (0, "3")] {
        save_at(&writer, NOON - before, text);
    }
    writer
        .mutate(UnixMillis(NOON), |m| {
            let at = |tick| Point { branch: BranchNo::MAIN, tick: Tick(tick) };
            m.create_snapshot("second", at(2))?;
            let branch = m.create_branch("try", "8c3c0c0e-0000-4000-8000-000000000002", at(1), false)?;
            m.move_cursor(Stand { branch, tick: Tick(1), partial: Vec::new() }, "jump")
        })
        .unwrap();
    assert_eq!(save_at(&writer, NOON, "4"), Tick(4));
    store
}

/// A bare tick is one of the active branch, and the base is on every branch.
#[test]
fn each_name_leads_to_a_tick_of_its_branch() {
    let temp = tempfile::tempdir().unwrap();
    let view = sample(&temp.path().join("s")).view().unwrap();
    let point = |text: &str| -> Result<(u32, u64)> {
        let point = view.point(&PointName::parse(text)?, &moment(NOON + MINUTE))?;
        Ok((point.branch.0, point.tick.0))
    };
    for (text, expected) in [
        ("4", (2, 4)),
        ("0", (2, 0)),
        ("@HEAD", (2, 4)),
        ("-1", (2, 1)),
        ("-2", (2, 0)),
        ("main@3", (1, 3)),
        ("main@HEAD", (1, 3)),
        ("main@-2", (1, 1)),
        ("main@-3", (1, 0)),
        ("second", (1, 2)),
        ("main@second", (1, 2)),
        ("20m", (2, 1)),
        ("main@20m", (1, 2)),
        ("main@2026-11-20T13:30", (1, 2)),
        ("main@2026-11-20T13:29", (1, 1)),
        ("yesterday", (2, 0)),
        ("1795179600", (2, 4)),
        ("main@1795177799", (1, 1)),
    ] {
        assert_eq!(point(text).unwrap(), expected, "{text}");
    }
    let failure = |text: &str| point(text).unwrap_err().to_string();
    assert_eq!(failure("3"), "tick 3 is not on branch try: main@3 names it");
    assert_eq!(failure("try@3"), "tick 3 is not on branch try: main@3 names it");
    assert_eq!(failure("999"), "tick 999 is not on branch try: there is no such tick, its last is 4");
    assert_eq!(failure("-3"), "branch try does not have 3 ticks before its head");
    assert_eq!(failure("try@second"), "tick 2 is not on branch try: main@2 names it");
    assert_eq!(failure("nope@1"), "there is no branch named \"nope\"");
    assert_eq!(failure("main"), "main is a branch: main@HEAD is its head");
    assert!(failure("x").contains("it must be an integer"), "{}", failure("x"));
    assert_eq!(
        failure("1969-12-31T23:00Z"),
        "there is nothing that early: the base was recorded at 1970-01-01T00:00:00.010Z"
    );
}

proptest! {
    /// What can be the name of a branch or snapshot can be typed after an `@` and is read as that name.
    #[test]
    fn a_name_that_is_allowed_reads_as_itself(name in "[-a-zA-Z0-9:. ]{1,12}|[0-9]{1,4}[-:smhdw][0-9]{0,3}") {
        let read = PointName::parse(&format!("main@{name}"));
        if check_name(&name).is_ok() {
            prop_assert_eq!(read.unwrap().when, When::Snapshot(name));
        } else if let Ok(PointName { when: When::Snapshot(read), .. }) = read {
            prop_assert!(["head", "readme", "now", "today", "yesterday"].contains(&read.to_ascii_lowercase().as_str())
                || read.contains("..") || read == ".", "{} was refused as a name", read);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,24}|[0-9TZ:.@ -]{0,30}") {
        if let Ok(PointName { when: When::Time(time), .. }) = PointName::parse(&text) {
            prop_assert!(time.millis(&moment(NOON)).is_none_or(|at| at.0.abs() < 1 << 60));
        }
    }
}

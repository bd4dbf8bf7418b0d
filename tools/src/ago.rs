//! Moments as people speak of them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tickfs_store::ids::UnixMillis;

/// `3 minutes ago`; from two weeks on the day and the time, in the zone of the system.
pub(crate) fn ago(at: UnixMillis, now: UnixMillis) -> String {
    let seconds = now.0.saturating_sub(at.0) / 1000;
    let spoken = |count: i64, unit: &str| match count {
        1 => format!("1 {unit} ago"),
        count => format!("{count} {unit}s ago"),
    };
    match seconds {
        ..0 => day_and_time(at),
        0..5 => "just now".to_owned(),
        5..60 => spoken(seconds, "second"),
        60..3_600 => spoken(seconds / 60, "minute"),
        3_600..86_400 => spoken(seconds / 3_600, "hour"),
        86_400..1_209_600 => spoken(seconds / 86_400, "day"),
        _ => day_and_time(at),
    }
}

pub(crate) fn day_and_time(at: UnixMillis) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(timestamp) => timestamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_beyond_the_calendar) => at.to_iso(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_their_largest_unit() {
        let now = UnixMillis(1_795_179_600_000);
        let told = |seconds: i64| ago(UnixMillis(now.0 - seconds * 1000), now);
        assert_eq!(
            [told(0), told(59), told(60), told(7_199)],
            ["just now", "59 seconds ago", "1 minute ago", "1 hour ago"]
        );
        assert_eq!([told(86_400), told(13 * 86_400)], ["1 day ago", "13 days ago"]);
        assert!(told(14 * 86_400).starts_with("2026-11-0"), "{}", told(14 * 86_400));
        assert!(told(-60).starts_with("2026-11-20"), "what lies ahead is told as it is");
    }
}

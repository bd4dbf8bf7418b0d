//! How long something has lasted, as a person says it.

/// `4.2 s`, `3 min 5 s`, `2 h 7 min`, `3 d 4 h`.
pub(crate) fn spelled(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive, and saturates"
    )]
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", whole % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::spelled;

    #[test]
    fn an_age_has_two_units_at_most() {
        let spelled: Vec<String> = [0.0, 59.94, 60.0, 7_500.0, 100_000.0].map(spelled).into();
        assert_eq!(spelled, ["0.0 s", "59.9 s", "1 min 0 s", "2 h 5 min", "1 d 3 h"]);
    }
}

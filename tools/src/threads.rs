//! How many threads read, hash and compress.

/// 1 to 32, as it is typed.
pub(crate) fn count(text: &str) -> Result<u8, String> {
    match text.parse::<u8>() {
        Ok(count) if (1..=32).contains(&count) => Ok(count),
        _ => Err("the number of threads is 1..32".to_owned()),
    }
}

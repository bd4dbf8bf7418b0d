//! Figures, and the lines of the table that they make.

use std::fmt;
use std::time::{Duration, Instant};

/// A measured quantity. Ratios are taken between figures of the same kind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    Seconds(f64),
    Bytes(f64),
    Count(f64),
}

impl Figure {
    pub(crate) fn bytes(count: u64) -> Self {
        Self::Bytes(count as f64)
    }

    pub(crate) fn count(count: u64) -> Self {
        Self::Count(count as f64)
    }

    pub(crate) fn millis(count: f64) -> Self {
        Self::Seconds(count / 1e3)
    }

    pub(crate) fn nanos(count: f64) -> Self {
        Self::Seconds(count / 1e9)
    }

    pub(crate) fn micros(count: f64) -> Self {
        Self::Seconds(count / 1e6)
    }

    pub(crate) fn megabytes(count: f64) -> Self {
        Self::Bytes(count * 1e6)
    }

    pub(crate) fn value(self) -> f64 {
        match self {
            Self::Seconds(value) | Self::Bytes(value) | Self::Count(value) => value,
        }
    }
}

impl From<Duration> for Figure {
    fn from(duration: Duration) -> Self {
        Self::Seconds(duration.as_secs_f64())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Seconds(s) if s < 1e-6 => write!(f, "{:.0} ns", s * 1e9),
            Self::Seconds(s) if s < 1e-3 => write!(f, "{:.1} µs", s * 1e6),
            Self::Seconds(s) if s < 1.0 => write!(f, "{:.2} ms", s * 1e3),
            Self::Seconds(s) => write!(f, "{s:.2} s"),
            Self::Count(count) => write!(f, "{count:.0}"),
            Self::Bytes(b) if b < 1e4 => write!(f, "{b:.0} B"),
            Self::Bytes(b) if b < 1e6 => write!(f, "{:.1} kB", b / 1e3),
            Self::Bytes(b) => write!(f, "{:.2} MB", b / 1e6),
        }
    }
}

/// One line: ours, what stands beside it, and the limit, where there is one.
pub(crate) fn line(what: &str, ours: impl Into<Figure>, beside: &[(&str, Figure)], limit: Option<Figure>) {
    let ours = ours.into();
    let named: Vec<String> = beside.iter().map(|(name, figure)| format!("{name} {figure}")).collect();
    let ratios: Vec<String> =
        beside.iter().map(|(_, figure)| format!("{:.2}×", ours.value() / figure.value())).collect();
    let limit_text = limit.map_or_else(String::new, |limit| limit.to_string());
    let holds = match limit {
        Some(limit) if ours.value() <= limit.value() => "yes",
        Some(_) => "NO",
        None => "",
    };
    println!("| {what} | {ours} | {} | {} | {limit_text} | {holds} |", named.join(", "), ratios.join(", "));
}

pub(crate) fn head() {
    println!("load average before: {}\n", load());
    println!("| what | ours | beside it | ours / beside | at most | holds |");
    println!("| --- | --- | --- | --- | --- | --- |");
}

pub(crate) fn foot() {
    println!("\nload average after: {}", load());
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// Durations of the same thing done again and again.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.0.push(start.elapsed());
        done
    }

    /// The smallest that is not exceeded by so many per cent of the samples.
    pub(crate) fn percentile(&mut self, per_cent: usize) -> Figure {
        self.0.sort_unstable();
        let place = (self.0.len() * per_cent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(place).copied().unwrap_or_default().into()
    }
}

pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Figure) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed().into())
}

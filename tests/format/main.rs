//! Stores as they were once written: a golden directory of each format is read as it was then, and hurt in every place.
//!
//! The golden stores never change: a new format gets a directory of its own. `TICKFS_CASES` multiplies how many bits
//! are flipped.
#![forbid(unsafe_code)]

mod answers;
mod files;
mod flips;
mod golden;
mod make;
mod truncation;

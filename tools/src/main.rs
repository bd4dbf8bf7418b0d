//! The binary: what a person types.
#![forbid(unsafe_code)]

fn main() {}

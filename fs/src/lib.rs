//! History as files: shows what the store knows.
#![forbid(unsafe_code)]

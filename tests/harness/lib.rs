//! What the test families share.
#![forbid(unsafe_code)]

pub mod corpus;

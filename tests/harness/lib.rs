//! What the test families share.
#![forbid(unsafe_code)]

pub mod compare;
pub mod corpus;
pub mod crash;
pub mod model;
pub mod mount;
pub mod program;
pub mod session;

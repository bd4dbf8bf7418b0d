//! The files of a root: what puts them back.

pub mod restore;

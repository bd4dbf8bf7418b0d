//! A disk that crashes where a test tells it to.
/// A disk in memory.
#[derive(Debug, Clone, Default)]
pub struct SimDisk;
/// What the simulated disk does to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {}

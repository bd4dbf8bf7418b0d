//! The disk of this machine.
/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

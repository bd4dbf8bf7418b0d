//! How many requests of each kind the kernel sent: what `stats.json` shows and what tests count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What the kernel asks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Operation { $($(#[$doc])* $variant,)* }

        impl Operation {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

operations! {
    Lookup = "lookup",
    Forget = "forget",
    Getattr = "getattr",
    Readlink = "readlink",
    Open = "open",
    Opendir = "opendir",
    Read = "read",
    Readdir = "readdir",
    Readdirplus = "readdirplus",
    Access = "access",
    Statfs = "statfs",
    Lseek = "lseek",
    /// What is answered once and never sent again: flush, extended attributes …
    Refused = "refused",
    /// Answers that were an error.
    Failed = "failed",
    /// Requests that were handed to the pool.
    Slow = "slow",
    /// Contents that were pushed to the kernel before it asked.
    Pushed = "pushed",
}

#[derive(Debug, Default)]
pub struct Counters {
    counts: [AtomicU64; Operation::ALL.len()],
}

impl Counters {
    pub(crate) fn count(&self, operation: Operation) {
        self.counts[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self, operation: Operation) -> u64 {
        self.counts[operation as usize].load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        Operation::ALL.iter().map(|&operation| (operation.name(), self.get(operation))).collect()
    }
}

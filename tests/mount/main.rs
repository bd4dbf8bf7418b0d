//! History as files, through the kernel and by real programs. Where there is no FUSE each test says that it is skipped.
#![forbid(unsafe_code)]

mod layout;

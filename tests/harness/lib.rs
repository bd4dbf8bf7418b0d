//! What the test families share.

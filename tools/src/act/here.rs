//! Does what is asked in this process: takes the store's lock for as long as it takes.

use std::time::Duration;

use tickfs_store::Store;

use super::{Act, Place, Report, perform};
use crate::error::Failure;
use crate::now;

/// An error of the store that says it is locked is for the caller to wait.
pub(crate) fn here(store: &Store, act: &Act, progress: &dyn Fn(usize, usize)) -> anyhow::Result<Report> {
    let Some(scope) = store.scope()? else {
        return Err(Failure::new("the store does not say which directory it records")
            .at(store.layout().dir())
            .next("`tickfs init DIR --store` says it")
            .into());
    };
    let writer = store.writer(now::writer(), Duration::ZERO)?;
    let done = perform(act, &Place { writer: &writer, scope: &scope, recorder: None, progress });
    let closed = writer.close();
    let report = done?;
    closed?;
    Ok(report)
}

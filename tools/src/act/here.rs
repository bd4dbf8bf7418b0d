//! Does what is asked in this process: takes the store's lock for as long as it takes.

use std::time::Duration;

use tickfs_store::Store;

use super::{Act, Place, Report, perform};
use crate::error::Failure;
use crate::now;

const LOCK_WAIT: Duration = Duration::from_secs(10);

pub(crate) fn request(store: &Store, act: &Act) -> anyhow::Result<Report> {
    let Some(scope) = store.scope()? else {
        return Err(Failure::new("the store does not say which directory it records")
            .at(store.layout().dir())
            .next("`tickfs init DIR --store` says it")
            .into());
    };
    let writer = store.writer(now::writer(), LOCK_WAIT)?;
    let done = perform(act, &Place { writer: &writer, scope: &scope, recorder: None, progress: &|_, _| {} });
    let closed = writer.close();
    let report = done?;
    closed?;
    Ok(report)
}

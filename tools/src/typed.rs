//! A point in history as it was typed: read while the command line is, so that a slip in it is wrong usage.

use std::str::FromStr;

use tickfs_store::Error;
use tickfs_store::history::{Moment, Point, PointName, View, When};

use crate::now;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) text: String,
    name: PointName,
}

impl FromStr for At {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self { text: text.to_owned(), name: PointName::parse(text)? })
    }
}

impl At {
    pub(crate) fn is_time(&self) -> bool {
        matches!(self.name.when, When::Time(_))
    }

    pub(crate) fn point(&self, view: &View) -> tickfs_store::Result<Point> {
        view.point(&self.name, &Moment::here(now::now()))
    }
}

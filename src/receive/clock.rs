//! The clock that the loops of this room run on: the crate's own.

pub use crate::clock::{Clock, next_tick};

//! Engines in virtual time: what they export while all is well and while something is broken.
//!
//! In:  the time that passed and the conditions then.   Out: scrape pages and OTLP requests as the engine sends them.
//! Always: no clock, no socket; the same seed and steps give the same bytes.

mod engine;
mod families;
pub mod replay;

pub use engine::{Conditions, Engine, Release};
pub use families::Families;

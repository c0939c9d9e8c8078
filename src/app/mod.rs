//! Wires the rooms together and stops them in order.
//!
//! In:  a validated configuration and a clock.   Out: a running agent with the addresses it really bound.
//! Always: a busy port or a broken store fails the start, not the run; receivers stop first, the store last.

mod agent;
mod arrivals;
mod capacity;
pub mod checking;
pub mod clock;
pub mod demo;
mod disk;
mod instances;
mod intake;
mod judge;
mod judging;
mod metrics;
mod onward;
mod origin;
mod own_series;
mod rehearse;
mod reload;
mod routes;
mod tasks;
mod views;

use std::error::Error;

pub use agent::{Addresses, App, StartError};
pub use origin::Origin;
pub use rehearse::Rehearsal;
pub use routes::{SHIPPED_INHIBIT_RULES, notify_settings};

/// An error and its causes in one line, outermost first; a cause that the text before it already says is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

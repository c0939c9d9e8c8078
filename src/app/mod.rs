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
mod pod_metrics;
mod rehearse;
mod reload;
mod routes;
mod sources;
mod tasks;
mod views;

pub use agent::{Addresses, App, StartError};
pub use origin::Origin;
pub use rehearse::Rehearsal;
pub use routes::{SHIPPED_INHIBIT_RULES, notify_settings};

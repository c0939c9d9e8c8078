//! Wires the rooms together and stops them in order.

pub mod clock;

//! What is known of the Rivet Engine: metric families by release, canonical names, limits, error codes.
//!
//! In:  nothing at run time; the facts stand in `inventory.json` and in the tables of these modules.
//! Out: lookups. Always: pure, no clock, no I/O; imports `model` alone.
//! The facts were read off the source of 25.7.1 and 2.3.7 and measured on 2.3.19; each table says which.

pub mod errors;
pub mod inventory;
pub mod limits;
pub mod names;
pub mod pools;

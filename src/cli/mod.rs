//! One file a command: parse, call, print.

pub mod promqltest;

//! One file a command: parse, call, print.

pub mod promqltest;
pub mod rules_check;
pub mod rules_test;

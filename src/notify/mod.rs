//! Routes, groups, inhibits, silences and delivers alerts.

pub mod config;
pub mod matchers;

pub use config::Config;

//! rivetwatch: the monitoring agent for self-hosted Rivet Engine.
//!
//! The modules are the rooms of the house; the data goes through them from left to right:
//! `receive` → `tsdb` → `rules` and `capacity` → `notify`, `api`, `forward`, `export`.
//! ARCHITECTURE.md says what each may import, and a test keeps it so.

pub mod api;
pub mod app;
pub mod capacity;
pub mod checklist;
pub mod cli;
pub mod clock;
pub mod config;
pub mod export;
pub mod forward;
pub mod model;
pub mod notify;
pub mod promql;
pub mod receive;
pub mod rivet;
pub mod rules;
pub mod simulate;
pub mod storage;
pub mod telemetry;
pub mod tsdb;

//! Routes, groups, inhibits, silences and delivers alerts.
//!
//! In:  [`crate::model::Alert`]s from the rules (down a bounded channel) and from other senders.
//! Out: messages to pagers, webhooks, Alertmanagers, heartbeats and the terminal.
//! Always: one open incident for each notification group at each target; a message is on disk before its
//! first byte leaves; a trigger that was accepted gets its resolve. Time is a parameter: only [`runner`]
//! waits, by the clock it is given, and only it does I/O.
//! Never: a query; this room knows alerts and nothing of what raised them.

mod client;
pub mod config;
mod group;
mod inhibit;
mod lane;
mod level;
pub mod matchers;
pub mod notifier;
mod page;
pub mod retry;
pub mod runner;
pub mod settings;
pub mod silence;
pub mod stats;
pub mod store;
pub mod targets;
mod template;
pub mod trial;
pub mod view;

pub use config::Config;
pub use lane::Incident;
pub use notifier::{Change, Effect, Input, Notifier, Records, Send, Table};
pub use page::Page;
pub use retry::Outcome;
pub use runner::{Handle, Runner};
pub use settings::{Context, Integration, Settings, Target};
pub use silence::{Silence, SilenceState};
pub use stats::NotifyStats;
pub use targets::MessageKind;
pub use view::View;

//! Recording and alerting rules as one graph.

mod alerting;
mod builtin;
mod check;
mod config;
mod engine;
mod evaluate;
mod file;
mod graph;
mod hold;
mod load;
mod memory;
mod overlay;
mod presence;
mod problem;
mod restore;
mod rule;
mod stats;
mod template;
mod unittest;
mod view;

pub use alerting::State;
pub use check::check;
pub use config::{AlertOverride, Config, Settings, Thresholds, expand};
pub use engine::{BLIND_METRIC, FAILURES_METRIC, Failure, Health, Input, Output, Rules};
pub use evaluate::{Evaluate, RuleError};
pub use hold::STATE_ANNOTATION;
pub use load::{LoadError, Override, Source, THRESHOLD_METRIC, Tuning, load};
pub use memory::MemoryStore;
pub use problem::{Level, RuleProblem};
pub use restore::{FIRED_METRIC, KEEP_METRIC, NO_DATA_METRIC};
pub use rule::{Alerting, Group, Reads, Rule, RuleKind, RuleSet};
pub use stats::RuleStats;
pub use template::Template;
pub use unittest::notation;
pub use unittest::{FileReport, TestOptions, TestReport, test_files};
pub use view::{AlertView, GroupJson, RuleJson, RuleView, View};

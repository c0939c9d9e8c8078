//! Recording and alerting rules as one graph.

mod alerting;
mod builtin;
mod config;
mod engine;
mod evaluate;
mod file;
mod graph;
mod hold;
mod load;
mod overlay;
mod presence;
mod problem;
mod restore;
mod rule;
mod stats;
mod template;

pub use config::{AlertOverride, Config, Settings, Thresholds};
pub use engine::{BLIND_METRIC, FAILURES_METRIC, Failure, Health, Input, Output, Rules};
pub use evaluate::{Evaluate, RuleError};
pub use hold::STATE_ANNOTATION;
pub use load::{LoadError, Override, Source, THRESHOLD_METRIC, Tuning, load};
pub use problem::{Level, RuleProblem};
pub use restore::{FIRED_METRIC, KEEP_METRIC, NO_DATA_METRIC};
pub use rule::{Alerting, Group, Reads, Rule, RuleKind, RuleSet};
pub use stats::RuleStats;
pub use template::Template;

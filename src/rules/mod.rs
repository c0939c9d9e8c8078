//! Recording and alerting rules as one graph, evaluated by a step machine.
//!
//! In:  Prometheus rule files (`load`), a store, and times given by the caller.
//! Out: batches of recorded series with `ALERTS`, and alerts to send; notify is never called from here.
//! Always: no clock is read. Within a tick a rule sees what the rules before it recorded, and the tick's points are
//! one batch. `ALERTS` is written as Prometheus writes it; an error or missing data is not told as "resolved".
//!
//! The way of a tick: `engine` takes the rules in the order of `graph`; `step` evaluates one over the `overlay`;
//! `alerting` keeps its alerts, `hold` what the outside is told of them; `own` adds series about the rules.
//! After a restart `resume` puts back what `restore` reads from the store. `unittest` runs promtool's test files, and
//! `mutate` asks how many small mistakes in rules they would find.

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
mod mutate;
mod overlay;
mod own;
mod presence;
mod problem;
mod restore;
mod resume;
mod rule;
mod stats;
mod step;
mod template;
mod unittest;
mod view;
mod why;

pub use alerting::State;
pub use builtin::sources as builtin_sources;
pub use check::{Names, Reading, check};
pub use config::{AlertOverride, Config, Settings, Thresholds, expand};
pub use engine::{Failure, Health, Input, Output, Rules};
pub use evaluate::{Evaluate, RuleError};
pub use hold::STATE_ANNOTATION;
pub use load::{LoadError, Override, Source, THRESHOLD_METRIC, Tuning, load};
pub use memory::MemoryStore;
pub use mutate::{Mutants, MutationReport};
pub use own::{BLIND_METRIC, COST_METRIC, FAILURES_METRIC};
pub use problem::{Level, RuleProblem};
pub use restore::{FIRED_METRIC, KEEP_METRIC, NO_DATA_METRIC, VALUE_METRIC};
pub use rule::{Alerting, Group, Reads, Rule, RuleKind, RuleSet};
pub use stats::RuleStats;
pub use template::Template;
pub use unittest::{FileReport, TestOptions, TestReport, test_files};
pub use view::{AlertView, GroupJson, RuleJson, RuleView, View};
pub use why::{Kind, Part, Shown, Since, explain};

//! The integration tests, one binary so that they link once; each module is one subject.

mod dashboards;
mod dashboards_lint;
mod dashboards_schema;
mod deploy;
mod export;
mod page;
mod rivet_inventory;
mod rules_conformance;
mod rules_lives;

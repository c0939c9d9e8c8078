//! The integration tests, one binary so that they link once; each module is one subject.

mod rules_conformance;
mod rules_engine;
mod rules_lives;
mod rules_promtool;

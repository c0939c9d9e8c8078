//! The integration tests, one binary so that they link once; each module is one subject.

mod promql_conformance;
mod promql_promtool;

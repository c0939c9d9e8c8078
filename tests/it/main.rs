//! The integration tests, one binary so that they link once; each module is one subject.

mod forward_otlp;
mod otlp_doors;
mod otlp_golden;
mod otlp_replay;
mod rivet_inventory;
mod scrape;

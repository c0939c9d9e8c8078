//! The integration tests, one binary so that they link once; each module is one subject.

mod catalogue;
mod engine_api;
mod host;
mod rivet_inventory;
mod scrape;
mod scrape_real_engine;

//! The integration tests, one binary so that they link once; each module is one subject.

mod dashboards;
mod dashboards_lint;
mod dashboards_schema;
mod deploy;
mod export;
mod alertmanager_api;
mod notify_config;
mod notify_delivery;
mod notify_fakes;
mod notify_property;
mod otlp_golden;
mod page;
mod forward_otlp;
mod otlp_doors;
mod otlp_golden;
mod otlp_replay;
mod engine_api;
mod host;
mod rivet_inventory;
mod rules_conformance;
mod rules_lives;
mod scrape;
mod tsdb;
mod tsdb_wal;
mod promql_conformance;
mod scrape_real_engine;

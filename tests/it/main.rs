//! The integration tests, one binary so that they link once; each module is one subject.

#![allow(clippy::unwrap_used)]

mod alertmanager_api;
mod capacity;
mod capacity_backtest;
mod capacity_export;
mod capacity_hpa;
mod capacity_scaler;
mod capacity_twin;
mod catalogue;
mod catalogue_pages;
mod catalogue_traps;
mod checklist;
mod checklist_cli;
mod checklist_items;
#[cfg(feature = "kubernetes")]
mod checklist_kubernetes;
mod checklist_manifests;
mod checklist_probes;
mod checklist_unseen;
mod configs;
mod dashboards;
mod dashboards_lint;
mod dashboards_schema;
mod deploy;
mod engine_api;
mod export;
mod federation;
mod forward_otlp;
mod host;
mod notify_config;
mod notify_delivery;
mod notify_fakes;
mod notify_property;
mod otlp_doors;
mod otlp_golden;
mod otlp_replay;
mod page;
#[cfg(feature = "kubernetes")]
mod pod_metrics;
mod prometheus_api;
mod prometheus_cancel;
mod prometheus_limits;
mod prometheus_reply;
mod promql_conformance;
mod promql_fuzz;
mod promql_limits;
mod promql_promtool;
mod remote_write;
mod rivet_inventory;
mod rooms;
mod rules_conformance;
mod rules_engine;
mod rules_lives;
mod rules_mutation;
mod rules_promtool;
mod scrape;
mod scrape_real_engine;
mod simulate;
mod tsdb;
mod tsdb_wal;

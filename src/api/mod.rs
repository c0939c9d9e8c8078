//! The HTTP doors: Prometheus API, Alertmanager API, health, page.

pub mod alertmanager;

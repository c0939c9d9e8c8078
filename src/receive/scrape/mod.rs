//! Scrapes Prometheus text pages.

//! How telemetry comes in: OTLP, scraped pages, the host, the engine's own API, metrics of pods.

pub mod birth;
pub mod clock;
pub mod engine_api;
pub mod host;
pub mod identity;
mod liveness;
pub mod otlp;
pub mod pod_metrics;
pub mod redact;
pub mod remote_write;
pub mod scrape;
pub mod spans;

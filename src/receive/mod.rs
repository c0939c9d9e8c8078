//! How telemetry comes in: OTLP, scraped pages, the host, the engine's own API.

pub mod birth;
pub mod clock;
pub mod engine_api;
pub mod host;
pub mod identity;
mod liveness;
pub mod otlp;
pub mod redact;
pub mod remote_write;
pub mod scrape;
pub mod spans;

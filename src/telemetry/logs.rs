//! The log lines on standard error: text for people, JSON for collectors.

use std::io::IsTerminal;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::TelemetryError;
use super::config::{LogConfig, LogFormat};

/// The layer that writes to standard error, filtered by `telemetry.logs.level`.
pub(super) fn layer<S>(config: &LogConfig) -> Result<Box<dyn Layer<S> + Send + Sync>, TelemetryError>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    // What the exporting stack says of its own comings and goings helps nobody; who wants it names it in the level.
    let filter = EnvFilter::builder()
        .parse(format!("opentelemetry=warn,{}", config.level))
        .map_err(|source| TelemetryError::Filter { level: config.level.clone(), source })?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Ok(match config.format {
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colour)
            .with_target(false)
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed(),
    })
}

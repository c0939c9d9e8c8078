//! The agent's own metrics, logs and traces, through OpenTelemetry.
//!
//! In:  what the agent counts and logs.   Out: `/metrics` (Prometheus text), standard error, and OTLP where configured.
//! Imports of ours: only the words of `model`.
//! Always: the OpenTelemetry stack's own events stay out of the OTLP log and trace layers, or the agent would feed itself.
//! Limits: the SDK's batch queues (2,048 spans and log records; the oldest is not waited for, new ones are dropped).

mod config;
mod logs;

use std::sync::Arc;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Encoder, Registry, TextEncoder};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use config::{Config, LogConfig, LogFormat, OtlpConfig};

/// Why the agent's own telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("failed to build the OTLP exporter for `{endpoint}` (`telemetry.otlp.endpoint`)")]
    Exporter { endpoint: String, source: opentelemetry_otlp::ExporterBuildError },
    #[error("failed to set up the `/metrics` exporter: {reason}")]
    Prometheus { reason: String },
    #[error("`telemetry.logs.level` is `{level}`, which is not a filter such as `info` or `rivetwatch=debug`")]
    Filter { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("`telemetry.otlp.headers` holds `{name}`, which is not a valid metadata key and value")]
    Header { name: String },
}

/// The running telemetry; keeps the exporters alive until [`Telemetry::shutdown`].
#[derive(Clone)]
pub struct Telemetry {
    registry: Registry,
    meters: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
}

impl Telemetry {
    /// Sets up metrics, and logs and traces where `otlp` is configured; installs the global `tracing` subscriber.
    ///
    /// A subscriber that is installed already (in tests) stays. Must run inside a tokio runtime when
    /// `otlp` is set, because the gRPC channel lives on it.
    ///
    /// # Errors
    /// A filter, header or endpoint that cannot be used.
    pub fn start(config: &Config, instance: &str) -> Result<Self, TelemetryError> {
        let resource = Resource::builder()
            .with_service_name("rivetwatch")
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(opentelemetry::KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let registry = Registry::new();
        let mut meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(
            opentelemetry_prometheus::exporter()
                .with_registry(registry.clone())
                // Names are given whole, as they stand in the documentation.
                .without_units()
                .without_counter_suffixes()
                .scope_info_enabled(false)
                .build()
                .map_err(|e| TelemetryError::Prometheus { reason: e.to_string() })?,
        );
        let (mut traces, mut logs) = (None, None);
        if let Some(otlp) = &config.otlp {
            let bad = |source| TelemetryError::Exporter { endpoint: otlp.endpoint.clone(), source };
            let metadata = otlp.metadata()?;
            macro_rules! exporter {
                ($kind:ident) => {
                    opentelemetry_otlp::$kind::builder()
                        .with_tonic()
                        .with_endpoint(otlp.endpoint.clone())
                        .with_timeout(otlp.timeout.0)
                        .with_metadata(metadata.clone())
                        .build()
                        .map_err(bad)?
                };
            }
            let reader = PeriodicReader::builder(exporter!(MetricExporter)).with_interval(otlp.interval.0).build();
            meters = meters.with_reader(reader);
            traces = Some(
                SdkTracerProvider::builder()
                    .with_resource(resource.clone())
                    .with_batch_exporter(exporter!(SpanExporter))
                    .build(),
            );
            logs = Some(
                SdkLoggerProvider::builder()
                    .with_resource(resource)
                    .with_batch_exporter(exporter!(LogExporter))
                    .build(),
            );
        }

        // Targets of the exporting stack itself: their events would come back as more exports.
        let not_own_transport = FilterFn::new(|meta| {
            !["h2", "hyper", "tonic", "tower", "reqwest", "opentelemetry"].iter().any(|t| meta.target().starts_with(t))
        });
        let trace_layer = traces.as_ref().map(|t| {
            tracing_opentelemetry::layer().with_tracer(t.tracer("rivetwatch")).with_filter(not_own_transport.clone())
        });
        let log_layer = logs.as_ref().map(|l| OpenTelemetryTracingBridge::new(l).with_filter(not_own_transport));
        let subscriber =
            tracing_subscriber::registry().with(logs::layer(&config.logs)?).with(trace_layer).with(log_layer);
        // In tests several agents share a process; the first subscriber serves them all.
        let _ = subscriber.try_init();
        Ok(Self { registry, meters: meters.build(), traces, logs })
    }

    /// The meter on which the agent's instruments are made.
    pub fn meter(&self) -> Meter {
        self.meters.meter("rivetwatch")
    }

    /// The metrics as a Prometheus text page.
    pub fn prometheus_page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        // Writing to memory fails only on a family without samples, which the encoder then leaves out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut page);
        page
    }

    /// Sends what is still queued; blocks for a few seconds at most. Not for async threads.
    pub fn shutdown(&self) {
        if let Some(traces) = &self.traces {
            let _ = traces.shutdown();
        }
        if let Some(logs) = &self.logs {
            let _ = logs.shutdown();
        }
        let _ = self.meters.shutdown();
    }
}

/// A callback that reports values of one instrument, with the label pairs of each.
pub type Observe = Arc<dyn Fn(&mut dyn FnMut(f64, &[(&'static str, String)])) + Send + Sync>;

/// Registers an instrument whose values are read when somebody collects: a running total or a level.
pub fn observe(meter: &Meter, name: &'static str, help: &'static str, is_counter: bool, read: Observe) {
    let report = move |instrument: &dyn opentelemetry::metrics::AsyncInstrument<f64>| {
        read(&mut |value, labels| {
            let attributes: Vec<_> =
                labels.iter().map(|(name, value)| opentelemetry::KeyValue::new(*name, value.clone())).collect();
            instrument.observe(value, &attributes);
        });
    };
    if is_counter {
        meter.f64_observable_counter(name).with_description(help).with_callback(report).build();
    } else {
        meter.f64_observable_gauge(name).with_description(help).with_callback(report).build();
    }
}

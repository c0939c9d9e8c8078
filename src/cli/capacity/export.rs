//! `rivetwatch capacity export`: an autoscaler for the engines, by configuration and flags.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::capacity::hpa::{HpaSpec, Resource, ScaleTarget, Source, Target, quantity};
use crate::cli::CliError;
use crate::config::{Backend, Config};
use crate::export::autoscaler::{self, AutoscalerSettings, ResourceTarget, ScalerSettings};
use crate::rivet::limits;

/// Arguments of `capacity export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Format {
    /// A HorizontalPodAutoscaler of `autoscaling/v2` with ContainerResource metrics.
    Hpa {
        #[command(flatten)]
        object: ObjectArgs,
    },
    /// A ScaledObject for KEDA: CPU, memory, and this agent's external scaler (`api.external_scaler.listen`).
    Keda {
        #[command(flatten)]
        object: ObjectArgs,
        /// Where KEDA reaches the agent's external scaler, as `host:port`.
        #[arg(long, default_value = "rivetwatch:6442", value_parser = host_port)]
        scaler_address: String,
        /// Variable of the engine's container that holds the scaler's token.
        #[arg(long, value_name = "NAME", value_parser = variable)]
        scaler_token_env: Option<String>,
        /// TriggerAuthentication with the certificates for the scaler.
        #[arg(long, value_name = "NAME", value_parser = object_name)]
        scaler_authentication: Option<String>,
    },
}

/// What both objects say. What is not given comes from the configuration.
#[derive(Debug, clap::Args)]
struct ObjectArgs {
    /// The agent's configuration, for `capacity.autoscaler`, `capacity.postgres` and `thresholds`.
    #[arg(short, long, env = "RIVETWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// Name of the object.
    #[arg(long, default_value = "rivet-engine", value_parser = object_name)]
    name: String,
    /// Its namespace; not written where not given.
    #[arg(long, value_parser = label_name)]
    namespace: Option<String>,
    /// Kind of what is scaled; that of the configured `scaleTargetRef`, else Deployment.
    #[arg(long, value_parser = ["Deployment", "StatefulSet"])]
    target_kind: Option<String>,
    /// Name of what is scaled; that of the configured `scaleTargetRef`, else rivet-engine.
    #[arg(long, value_parser = object_name)]
    target_name: Option<String>,
    /// The engine's container in its pod; the one that a configured metric counts, else rivet-engine.
    #[arg(long, value_parser = label_name)]
    container: Option<String>,
    /// `minReplicas`; the configured one, else 2.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    min: Option<u32>,
    /// `maxReplicas`; the configured one, else as many as the configured Postgres connections carry.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max: Option<u32>,
    /// CPU target in percent of the request; the configured one, else 70.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    cpu: Option<u32>,
    /// Memory target in percent of the request; the configured one, else 80.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    memory: Option<u32>,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let text = match args.format {
        Format::Hpa { object } => autoscaler::hpa(&object.settings()?),
        Format::Keda { object, scaler_address, scaler_token_env, scaler_authentication } => {
            let scaler = ScalerSettings {
                address: scaler_address,
                token_env: scaler_token_env,
                authentication: scaler_authentication,
            };
            autoscaler::keda(&object.settings()?, &scaler)
        }
    };
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

impl ObjectArgs {
    fn settings(self) -> Result<AutoscalerSettings, CliError> {
        let origin = crate::app::Origin { path: self.config.clone(), env: std::env::vars().collect() };
        let config = origin.load().map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
        if config.engine.backend == Some(Backend::Rocksdb) {
            let says = "`engine.backend` is `rocksdb`, which exactly one engine can use: there is nothing to scale";
            return Err(CliError::Usage(says.into()));
        }
        let spec = config.capacity.autoscaler.spec.as_ref();
        let min = self.min.or(spec.map(|s| s.min_replicas.unsigned_abs())).unwrap_or(limits::INSTANCES_MIN);
        let enough = carried(&config);
        let max = self.max.or(spec.map(|s| s.max_replicas.unsigned_abs())).or(enough).ok_or_else(|| {
            let says = "the maximum is not known: give --max, or set `capacity.autoscaler.spec.maxReplicas` or \
                        `capacity.postgres.max_connections`";
            CliError::Usage(says.into())
        })?;
        if min > max {
            return Err(CliError::Usage(format!("the minimum must be at most the maximum, got {min} and {max}")));
        }
        if let Some(enough) = enough.filter(|enough| *enough < max) {
            eprintln!(
                "warning: {max} replicas need {:.0} Postgres connections, and `capacity.postgres` has enough for {enough} engines",
                f64::from(max) * config.capacity.postgres.per_engine(false)
            );
        }
        for metric in spec.map_or(&[][..], |spec| &spec.metrics) {
            if !matches!(metric.source, Source::Resource { .. }) {
                eprintln!("warning: the configured {} is not written: its object is not known whole", metric.name());
            }
        }
        let resource = |percent: Option<u32>, resource: Resource| {
            percent.map_or_else(|| target(&config, resource), ResourceTarget::Utilization)
        };
        let default = || "rivet-engine".to_owned();
        let scaled = spec.and_then(|spec| spec.target.clone()).unwrap_or_else(|| ScaleTarget {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: default(),
        });
        Ok(AutoscalerSettings {
            name: self.name,
            namespace: self.namespace,
            // Both kinds that can be asked for are Kubernetes' own.
            target_api_version: if self.target_kind.is_some() { "apps/v1".to_owned() } else { scaled.api_version },
            target_kind: self.target_kind.unwrap_or(scaled.kind),
            target_name: self.target_name.unwrap_or(scaled.name),
            container: self.container.or_else(|| spec.and_then(container)).unwrap_or_else(default),
            min_replicas: min,
            max_replicas: max,
            cpu: resource(self.cpu, Resource::Cpu),
            memory: resource(self.memory, Resource::Memory),
            behavior: spec.and_then(|spec| spec.behavior.as_ref()).map(|behavior| behavior.to_manifest()),
        })
    }
}

/// Engines that the configured database carries.
fn carried(config: &Config) -> Option<u32> {
    let is_other = config.engine.backend.is_some_and(|backend| backend != Backend::Postgres);
    config.capacity.postgres.engines().filter(|engines| !is_other && *engines > 0)
}

/// The container that the configured metrics count, if any counts one.
fn container(spec: &HpaSpec) -> Option<String> {
    spec.metrics.iter().find_map(|metric| match &metric.source {
        Source::Resource { container, .. } => container.clone(),
        _ => None,
    })
}

/// The configured target, else the threshold, else the production checklist's.
fn target(config: &Config, resource: Resource) -> ResourceTarget {
    let of_spec = |spec: &HpaSpec| {
        spec.metrics.iter().find_map(|metric| match (&metric.source, metric.target) {
            (Source::Resource { resource: r, .. }, target) if *r == resource => match target {
                Target::Utilization(percent) => Some(ResourceTarget::Utilization(percent.unsigned_abs())),
                Target::AverageValue(milli) => Some(ResourceTarget::AverageValue(quantity(milli))),
                Target::Value(_) => None,
            },
            _ => None,
        })
    };
    let (signal, default) = match resource {
        Resource::Cpu => ("cpu_utilization", limits::CPU_UTILIZATION_TARGET),
        Resource::Memory => ("memory_utilization", limits::MEMORY_UTILIZATION_TARGET),
    };
    let threshold = config.thresholds.get(signal).and_then(|by| by.get("warning")).copied();
    let of_threshold = || ResourceTarget::Utilization((threshold.unwrap_or(default) * 100.0).round() as u32);
    config.capacity.autoscaler.spec.as_ref().and_then(of_spec).unwrap_or_else(of_threshold)
}

/// One part of a DNS name (RFC 1123), which names of namespaces and containers are.
fn label_name(text: &str) -> Result<String, String> {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = !text.starts_with('-') && !text.ends_with('-') && text.chars().all(is_inner);
    match text.len() {
        1..=63 if is_label => Ok(text.to_owned()),
        _ => Err("must be 1 to 63 lower case letters, digits and `-`, and begin and end without `-`".to_owned()),
    }
}

/// A DNS name, which names of objects are.
fn object_name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=253 if text.split('.').all(|part| label_name(part).is_ok()) => Ok(text.to_owned()),
        _ => Err("must be lower case letters, digits, `-` and `.`, as Kubernetes names objects".to_owned()),
    }
}

/// The name of an environment variable.
fn variable(text: &str) -> Result<String, String> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match text.chars().next() {
        Some(first) if !first.is_ascii_digit() && text.chars().all(is_inner) => Ok(text.to_owned()),
        _ => Err("must be the name of a variable, such as SCALER_TOKEN".to_owned()),
    }
}

/// `host:port`: a DNS name or an address, IPv6 in brackets.
fn host_port(text: &str) -> Result<String, String> {
    let is_address = |(host, port): &(&str, &str)| {
        let ipv6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_host = match ipv6 {
            Some(ipv6) => ipv6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => object_name(host).is_ok(),
        };
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    match text.rsplit_once(':').filter(is_address) {
        Some(_) => Ok(text.to_owned()),
        None => Err("must be `host:port`, such as rivetwatch.monitoring:6442".to_owned()),
    }
}

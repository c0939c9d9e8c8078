//! `rivetwatch capacity export`: an autoscaler for the engines, by configuration and flags.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::capacity::hpa::{HpaSpec, Resource, Source, Target};
use crate::cli::CliError;
use crate::config::{Backend, Config};
use crate::export::autoscaler::{self, AutoscalerSettings, ScalerSettings};
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
        #[arg(long, default_value = "rivetwatch:6442")]
        scaler_address: String,
        /// Variable of the engine's container that holds the scaler's token.
        #[arg(long, value_name = "NAME")]
        scaler_token_env: Option<String>,
        /// TriggerAuthentication with the certificates for the scaler.
        #[arg(long, value_name = "NAME")]
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
    #[arg(long, default_value = "rivet-engine")]
    name: String,
    /// Its namespace; not written where not given.
    #[arg(long)]
    namespace: Option<String>,
    /// Kind of what is scaled.
    #[arg(long, default_value = "Deployment", value_parser = ["Deployment", "StatefulSet"])]
    target_kind: String,
    /// Name of what is scaled.
    #[arg(long, default_value = "rivet-engine")]
    target_name: String,
    /// The engine's container in its pod.
    #[arg(long, default_value = "rivet-engine")]
    container: String,
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
        Ok(AutoscalerSettings {
            name: self.name,
            namespace: self.namespace,
            target_kind: self.target_kind,
            target_name: self.target_name,
            container: self.container,
            min_replicas: min,
            max_replicas: max,
            cpu_percent: self.cpu.unwrap_or_else(|| percent(&config, Resource::Cpu)),
            memory_percent: self.memory.unwrap_or_else(|| percent(&config, Resource::Memory)),
        })
    }
}

/// Engines that the configured database carries.
fn carried(config: &Config) -> Option<u32> {
    let is_other = config.engine.backend.is_some_and(|backend| backend != Backend::Postgres);
    config.capacity.postgres.engines().filter(|engines| !is_other && *engines > 0)
}

/// The configured target, else the threshold, else the production checklist's.
fn percent(config: &Config, resource: Resource) -> u32 {
    let of_spec = |spec: &HpaSpec| {
        spec.metrics.iter().find_map(|metric| match (&metric.source, metric.target) {
            (Source::Resource { resource: r, .. }, Target::Utilization(percent)) if *r == resource => {
                Some(percent.unsigned_abs())
            }
            _ => None,
        })
    };
    let (signal, default) = match resource {
        Resource::Cpu => ("cpu_utilization", limits::CPU_UTILIZATION_TARGET),
        Resource::Memory => ("memory_utilization", limits::MEMORY_UTILIZATION_TARGET),
    };
    let threshold = config.thresholds.get(signal).and_then(|by| by.get("warning")).copied();
    let of_threshold = || (threshold.unwrap_or(default) * 100.0).round() as u32;
    config.capacity.autoscaler.spec.as_ref().and_then(of_spec).unwrap_or_else(of_threshold)
}

//! `rivetwatch dashboards export`: writes the Grafana dashboards.

use std::path::PathBuf;
use std::process::ExitCode;

use super::CliError;
use crate::export::dashboards::{self, ConfigMapSettings};

/// Arguments of `dashboards`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write the dashboards as JSON files, or print them as a Kubernetes ConfigMap.
    Export {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Folder for the JSON files.
        #[arg(long, default_value = "dashboards")]
        dir: PathBuf,
        /// Namespace of the ConfigMap.
        #[arg(long)]
        namespace: Option<String>,
        /// Folder in Grafana that the ConfigMap asks for.
        #[arg(long)]
        folder: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One file a dashboard, for provisioning and import.
    #[default]
    Json,
    /// One ConfigMap on standard output, for Grafana's sidecar.
    Configmap,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let Action::Export { format, dir, namespace, folder } = args.action;
    match format {
        Format::Json => {
            for path in dashboards::write_json(&dir).map_err(|e| CliError::failed(&e))? {
                println!("{}", path.display());
            }
        }
        Format::Configmap => {
            let mut settings = ConfigMapSettings::default();
            settings.namespace = namespace.or(settings.namespace);
            if let Some(folder) = folder {
                settings.folder = folder;
            }
            print!("{}", dashboards::config_map(&settings).map_err(|e| CliError::failed(&e))?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

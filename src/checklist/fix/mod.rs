//! Patches for what is not met: worked out of the evidence, built by the tool that will apply them, and judged again.
//!
//! In:  the evidence and the report of a run.   Out: a kustomize component, or values for a Helm chart.
//! Always: nothing is shown that its own tool (`kubectl kustomize`, `helm template`) did not build, that a typed reader of
//! the Kubernetes API does not take as a whole, or that leaves an item it is for unmet. Nothing is applied.

mod helm;
mod kustomize;
mod remedies;
mod schema;
mod tool;

use std::path::Path;

use super::evidence::{EngineSettings, Evidence};
use super::outcome::Status;
use super::report::{Choice, Finding, Report, judge};
use super::{Category, cluster::Cluster, cluster::Objects};

pub use helm::{HelmFix, helm};
pub use kustomize::{File, KustomizeFix, kustomize};
pub use remedies::{Change, Remedy, Wishes, remedies};
pub use tool::ToolError;

/// Why there is no patch to show.
#[derive(Debug, thiserror::Error)]
pub enum FixError {
    #[error("there are no Kubernetes objects to patch: {0}")]
    NoCluster(String),
    #[error("nothing that is not met can be put right by a patch")]
    NothingToFix,
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("the patch is not shown, because {0}")]
    NotValid(String),
    #[error("failed to write `{path}`")]
    Write { path: String, source: std::io::Error },
    #[error("the chart `{chart}` cannot be used: {reason}")]
    Chart { chart: String, reason: String },
}

/// An item that no patch is worked out for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub item: String,
    pub reason: String,
}

/// The report on what the objects would be, everything else being as it was seen.
fn judged_again(evidence: &Evidence, objects: Objects, items: &[&'static str]) -> Report {
    let cluster = Ok(Cluster::read(objects));
    let mut evidence = evidence.clone();
    evidence.settings = EngineSettings::of(&evidence.engine_files, &cluster);
    evidence.cluster = cluster;
    // What was seen from outside is about the objects as they are.
    evidence.outside.attempts.clear();
    let only = items.iter().map(|item| (*item).to_owned()).collect();
    judge(&evidence, &Choice { only, ..Choice::default() })
}

/// Items among `items` that are still not met in `report`, with the reason.
fn unmet(report: &Report, items: &[&'static str]) -> Vec<LeftOut> {
    let is_ours = |item: &str| items.contains(&item);
    // An item that cannot be seen on the result is not shown to be met; but for pods that are ready, which no object is.
    let is_met = |f: &&Finding| f.status > Status::Unknown || (f.status == Status::Unknown && f.item == "ready-nodes");
    let unmet = report.findings.iter().filter(|f| is_ours(&f.item) && !is_met(f));
    unmet.map(|f| LeftOut { item: f.item.clone(), reason: f.reason.clone() }).collect()
}

/// Whether an item is one about Kubernetes objects, so that a patch could be worked out at all.
fn is_about_objects(category: &str) -> bool {
    [Category::Enterprise, Category::General].iter().all(|c| c.as_str() != category)
}

/// Writes files into a folder, which is made where it is missing.
///
/// # Errors
/// The folder or a file cannot be written.
pub fn write(dir: &Path, files: &[File]) -> Result<(), FixError> {
    let failed = |path: &Path, source| FixError::Write { path: path.display().to_string(), source };
    std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    for file in files {
        let path = dir.join(&file.name);
        std::fs::write(&path, &file.text).map_err(|e| failed(&path, e))?;
    }
    Ok(())
}

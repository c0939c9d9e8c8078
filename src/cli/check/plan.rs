//! What is asked: the configuration with the flags over it.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::{AGENT_DEFAULT, Args, Asked, CliError};
use crate::app::Origin;
use crate::app::checking::{Plan, Vantage, secret_file};
use crate::checklist::KubernetesMode;
use crate::checklist::evidence::Evidence;
use crate::checklist::known::{Gap, unknown};
use crate::checklist::probes::{ClusterSource, EngineAddress, HttpSeries, NatsSource, http::Http};
use crate::config::Config;

/// What the configuration says, with the flags over it.
pub(super) fn plan(args: &Args) -> Result<Plan, CliError> {
    let origin = Origin { path: args.config.clone(), env: std::env::vars().collect() };
    let mut config: Config = origin.load().map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    let asked = &args.asked;
    let kubernetes = &mut config.check.kubernetes;
    if let Some(kubeconfig) = &asked.kubeconfig {
        kubernetes.kubeconfig = Some(kubeconfig.clone());
        kubernetes.mode = KubernetesMode::On;
    }
    if asked.no_kubernetes {
        kubernetes.mode = KubernetesMode::Off;
    }
    kubernetes.context = asked.context.clone().or(kubernetes.context.take());
    kubernetes.namespace = asked.namespace.clone().or(kubernetes.namespace.take());
    if let Some(file) = &asked.admin_token_file {
        config.receive.engine_api.admin_token_file = Some(file.clone());
    }
    if let Some(url) = &asked.public_url {
        config.engine.public_url = Some(url.to_string());
    }
    if let Some(file) = &asked.postgres_url_file {
        config.check.postgres.url_file = Some(file.clone());
    }
    config.check.nats.servers.extend(asked.nats.iter().cloned());
    config.check.engine_config.extend(asked.engine_config.iter().cloned());
    config.check.actor_host_urls.extend(asked.actor_host.iter().map(Url::to_string));
    if let Some(url) = asked.engine_url.as_ref().or(asked.peer_url.as_ref()) {
        config.receive.engine_api.enabled = true;
        let other = |port: u16| {
            let mut url = url.clone();
            // Fails only for addresses without a host, which the check below refuses.
            let _ = url.set_port(Some(port));
            url
        };
        let limits = (crate::rivet::limits::GUARD_PORT, crate::rivet::limits::PEER_PORT);
        let guard = asked.engine_url.clone().unwrap_or_else(|| other(limits.0));
        config.receive.engine_api.public_url = guard.to_string();
        let peer = asked.peer_url.clone().unwrap_or_else(|| other(limits.1));
        config.receive.engine_api.peer_url = peer.to_string();
    }
    let problems = config.problems();
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(CliError::Usage(lines.join("\n")));
    }
    let mut plan = Plan::of(&config, Vantage::Command);
    if let (Some(_), Err(gap)) = (&asked.postgres_url_file, &plan.postgres) {
        return Err(CliError::Usage(format!("--postgres-url-file: {gap}")));
    }
    if asked.no_kubernetes {
        const WHY: &str = "`--no-kubernetes` says that there is none";
        plan.told.without_kubernetes = Some(WHY.into());
        plan.cluster = ClusterSource::None(WHY.into());
    }
    plan.choice.only = args.only.clone();
    plan.choice.skip.extend(args.skip.iter().map(|item| (item.clone(), "left out on the command line".to_owned())));
    if asked.engine_url.is_some() && asked.peer_url.is_none() {
        only_known_peer(&mut plan.engine, asked.engine_url.as_ref());
    }
    if let Some(path) = &asked.manifests {
        plan.cluster = ClusterSource::Manifests {
            path: path.clone(),
            namespace: config.check.kubernetes.namespace.clone(),
            engine: config.check.kubernetes.engine.clone(),
        };
        offline(&mut plan, asked);
    }
    Ok(plan)
}

/// A peer API beside the public one is guessed on this machine alone; elsewhere its port may be anybody's.
fn only_known_peer(engine: &mut crate::checklist::known::Known<EngineAddress>, guard: Option<&Url>) {
    let is_default = guard.is_none_or(|url| url.port_or_known_default() == Some(crate::rivet::limits::GUARD_PORT));
    if let Ok(address) = engine
        && !is_default
    {
        address.peer = None;
    }
}

/// With `--manifests` nothing live is asked but what flags name: it may belong to something else.
fn offline(plan: &mut Plan, asked: &Asked) {
    const WHY: &str = "only files are looked at";
    if asked.engine_url.is_none() && asked.peer_url.is_none() {
        plan.engine = unknown(format!("{WHY}; add `--engine-url` to ask an engine"));
    }
    if asked.postgres_url_file.is_none() {
        plan.postgres = unknown(format!("{WHY}; add `--postgres-url-file` to ask PostgreSQL"));
    }
    plan.nats = match asked.nats.is_empty() {
        true => NatsSource::None(format!("{WHY}; add `--nats` to ask a server")),
        false => NatsSource::Servers(asked.nats.clone()),
    };
    plan.grafana = unknown(WHY);
    plan.tries_outside = asked.public_url.is_some();
}

/// The agent whose series are read.
pub(super) struct Telemetry {
    agent: Url,
    token: Option<SecretString>,
    timeout: Duration,
    ca_file: Option<PathBuf>,
}

impl Telemetry {
    /// The one that is named, else the one on this machine, unless only files are looked at.
    pub(super) fn of(args: &Args, plan: &Plan) -> Result<Option<Self>, CliError> {
        let asked = &args.asked;
        let agent = match (&asked.telemetry, &asked.manifests) {
            (Some(url), _) => url.clone(),
            (None, Some(_)) => return Ok(None),
            (None, None) => Url::parse(AGENT_DEFAULT).map_err(|e| CliError::failed(&e))?,
        };
        let token = asked.token_file.as_deref().map(|path| secret_file(path, "--token-file")).transpose();
        let token = token.map_err(|gap| CliError::Usage(gap.to_string()))?;
        let (timeout, ca_file) = (plan.config.timeout.0, plan.config.tls.ca_file.clone());
        Ok(Some(Self { agent, token, timeout, ca_file }))
    }

    pub(super) fn series(&self) -> Result<HttpSeries, CliError> {
        let http = Http::new(self.timeout, self.ca_file.as_deref());
        let http = http.map_err(|gap| CliError::Usage(gap.to_string()))?;
        Ok(HttpSeries { http, agent: self.agent.clone(), token: self.token.clone() })
    }
}

/// Refuses what was named on the command line and cannot be read: nobody meant to have everything unknown.
pub(super) fn named_inputs(asked: &Asked, evidence: &Evidence) -> Result<(), CliError> {
    let refuse = |flag: &str, gap: &Gap| Err(CliError::Usage(format!("{flag}: {gap}")));
    let of_cluster = [
        ("--manifests", asked.manifests.is_some()),
        ("--kubeconfig", asked.kubeconfig.is_some()),
        ("--context", asked.context.is_some()),
    ];
    if let (Err(gap), Some((flag, _))) = (&evidence.cluster, of_cluster.iter().find(|(_, is_named)| *is_named)) {
        return refuse(flag, gap);
    }
    match (&evidence.engine_files, &evidence.told.admin_token) {
        (Err(gap), _) if !asked.engine_config.is_empty() => refuse("--engine-config", gap),
        (_, Some(Err(gap))) if asked.admin_token_file.is_some() => refuse("--admin-token-file", gap),
        _ => Ok(()),
    }
}

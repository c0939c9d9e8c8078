//! Who a source is: job, instance and the labels that go on everything it sends.
//!
//! In:  what a source says of itself (resource attributes, a scrape target) and where this process runs.
//! Out: [`Identity`], the same one for the scrape, the spans and the host data of one engine.
//! Always: pure functions; the environment is read once, by the caller, into [`Local`].
//!
//! `instance` is the first of: `service.instance.id`; the pod or `server_id` attribute; for loopback peers and
//! targets `POD_NAME` or the host name (with the scrape port when several engines share it); the peer's address
//! without its port.

use std::net::IpAddr;

use crate::model::LabelsBuilder;

/// The job of an engine that does not say otherwise: the engine's own default `service.name`.
pub const DEFAULT_JOB: &str = "rivet";

/// Where this process runs: what loopback sources, which share the machine or the pod, are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// The host name; in a pod that is the pod's name too.
    pub host_name: String,
    /// `POD_NAME`, by the downward API.
    pub pod: Option<String>,
    /// `POD_NAMESPACE`, by the downward API: the Kubernetes namespace.
    pub namespace: Option<String>,
    /// `CLUSTER_NAME`, or the configured name of the cluster.
    pub cluster: Option<String>,
}

impl Local {
    /// Reads `POD_NAME`, `POD_NAMESPACE` and `CLUSTER_NAME` through `env`; empty values count as unset.
    pub fn from_env(host_name: impl Into<String>, env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        Self {
            host_name: host_name.into(),
            pod: set("POD_NAME"),
            namespace: set("POD_NAMESPACE"),
            cluster: set("CLUSTER_NAME"),
        }
    }

    /// The instance of what runs beside this process.
    pub fn instance(&self) -> &str {
        self.pod.as_deref().unwrap_or(&self.host_name)
    }

    fn extra(&self) -> Vec<(String, String)> {
        let labels = [("cluster", &self.cluster), ("namespace", &self.namespace), ("pod", &self.pod)];
        labels.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))).collect()
    }
}

/// Job, instance and the further labels of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    pub job: String,
    pub instance: String,
    /// Further labels such as `cluster`, `namespace` (Kubernetes), `pod`, `rivet_namespace`; no empty values.
    pub extra: Vec<(String, String)>,
}

/// How a resource attribute of an engine becomes a label; the first that is present wins.
const EXTRA_ATTRIBUTES: [(&str, &[&str]); 5] = [
    ("cluster", &["k8s.cluster.name", "cluster", "cluster_id"]),
    ("namespace", &["k8s.namespace.name"]),
    ("pod", &["k8s.pod.name", "pod"]),
    // 25.7 says `namespace` and means its own.
    ("rivet_namespace", &["rivet_namespace", "namespace"]),
    ("datacenter", &["datacenter", "datacenter_id"]),
];

/// Attributes that name an instance, the first that is present wins.
const INSTANCE_ATTRIBUTES: [&str; 4] = ["service.instance.id", "k8s.pod.name", "pod", "server_id"];

impl Identity {
    /// The identity of an OTLP resource, by its attributes and the address it came from.
    ///
    /// `attribute` looks an attribute up by its key, as text. The job is `service.namespace`/`service.name` as
    /// the OpenTelemetry rules have it, [`DEFAULT_JOB`] without a name. `namespace` means Rivet's own only for
    /// engines; for others it is the Kubernetes one. Without a peer (a payload from a file) the local name stands.
    pub fn of_resource(
        attribute: impl Fn(&str) -> Option<String>,
        peer: Option<IpAddr>,
        is_engine: bool,
        local: &Local,
    ) -> Self {
        let get = |key: &str| attribute(key).filter(|value| !value.is_empty());
        let name = get("service.name").unwrap_or_else(|| DEFAULT_JOB.to_owned());
        let job = match get("service.namespace") {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name,
        };
        let mut extra = Vec::new();
        for (label, keys) in EXTRA_ATTRIBUTES {
            let label = if label == "rivet_namespace" && !is_engine { "namespace" } else { label };
            let value = keys.iter().find_map(|key| get(key));
            add_missing(&mut extra, value.map(|value| (label.to_owned(), value)));
        }
        let is_local = peer.is_none_or(is_loopback);
        let named = INSTANCE_ATTRIBUTES.into_iter().find_map(get);
        let instance = named.unwrap_or_else(|| match peer {
            Some(ip) if !is_local => unmapped(ip).to_string(),
            _ => local.instance().to_owned(),
        });
        if is_local {
            add_missing(&mut extra, local.extra());
        }
        Self { job, instance, extra }
    }

    /// The identity of a scrape target at `host` (a name or an address) and `port`.
    ///
    /// `shares_host` says that another target has the same host, so that the port has to tell them apart.
    pub fn of_target(job: &str, host: &str, port: u16, shares_host: bool, local: &Local) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = bare.parse().ok();
        let is_local = bare == "localhost" || address.is_some_and(is_loopback);
        let name = match (is_local, address) {
            (true, _) => local.instance().to_owned(),
            (false, Some(ip)) => unmapped(ip).to_string(),
            (false, None) => bare.to_owned(),
        };
        let instance = match (shares_host, name.contains(':')) {
            (false, _) => name,
            (true, false) => format!("{name}:{port}"),
            (true, true) => format!("[{name}]:{port}"),
        };
        let extra = if is_local { local.extra() } else { Vec::new() };
        Self { job: job.to_owned(), instance, extra }
    }

    /// Puts job, instance and the further labels on a series; labels that are there already are replaced.
    pub fn stamp(&self, labels: &mut LabelsBuilder) {
        labels.set("job", self.job.as_str()).set("instance", self.instance.as_str());
        for (name, value) in &self.extra {
            labels.set(name.as_str(), value.as_str());
        }
    }
}

/// Whether the address is this machine's own, also as an IPv4 address inside IPv6.
pub fn is_loopback(ip: IpAddr) -> bool {
    unmapped(ip).is_loopback()
}

/// A dual-stack listener sees IPv4 peers as `::ffff:10.0.0.5`; they are called `10.0.0.5`.
fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn add_missing(extra: &mut Vec<(String, String)>, more: impl IntoIterator<Item = (String, String)>) {
    for (name, value) in more {
        if !extra.iter().any(|(n, _)| *n == name) {
            extra.push((name, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        Local { host_name: "node-a".into(), pod: None, namespace: None, cluster: None }
    }

    fn pod() -> Local {
        Local { pod: Some("engine-0".into()), namespace: Some("rivet-engine".into()), ..local() }
    }

    fn resource(attributes: &[(&str, &str)], peer: &str, local: &Local) -> Identity {
        let get = |key: &str| attributes.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned());
        Identity::of_resource(get, Some(peer.parse().unwrap()), true, local)
    }

    #[test]
    fn one_engine_is_one_instance_by_scrape_and_by_otlp() {
        for here in [local(), pod()] {
            let scraped = Identity::of_target(DEFAULT_JOB, "127.0.0.1", 6430, false, &here);
            let traced = resource(&[("service.name", "rivet")], "::1", &here);
            assert_eq!(scraped, traced);
        }
        let scraped = Identity::of_target(DEFAULT_JOB, "10.0.0.5", 6430, false, &local());
        assert_eq!(scraped, resource(&[], "::ffff:10.0.0.5", &local()));
    }

    #[test]
    fn what_a_source_says_of_itself_comes_first() {
        let all = [("service.instance.id", "i"), ("k8s.pod.name", "p"), ("server_id", "s")];
        assert_eq!(resource(&all, "10.0.0.5", &pod()).instance, "i");
        assert_eq!(resource(&all[1..], "10.0.0.5", &pod()).instance, "p");
        assert_eq!(resource(&all[2..], "127.0.0.1", &pod()).instance, "s");
        assert_eq!(resource(&[("server_id", "")], "127.0.0.1", &pod()).instance, "engine-0");
    }

    #[test]
    fn engines_that_share_a_host_are_told_apart_by_port() {
        let at = |host, shared| Identity::of_target("rivet", host, 6431, shared, &local()).instance;
        assert_eq!(at("localhost", false), "node-a");
        assert_eq!(at("127.0.0.1", true), "node-a:6431");
        assert_eq!(at("[fd00::7]", true), "[fd00::7]:6431");
        assert_eq!(at("engine.example", true), "engine.example:6431");
    }

    #[test]
    fn rivets_own_namespace_is_not_the_kubernetes_one() {
        let attributes = [("namespace", "prod"), ("k8s.namespace.name", "rivet-engine"), ("cluster_id", "c1")];
        let engine = resource(&attributes, "10.0.0.5", &local());
        let extra: Vec<(&str, &str)> = engine.extra.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(extra, [("cluster", "c1"), ("namespace", "rivet-engine"), ("rivet_namespace", "prod")]);
        let other = Identity::of_resource(
            |key| (key == "namespace").then(|| "shop".to_owned()),
            Some("10.0.0.6".parse().unwrap()),
            false,
            &local(),
        );
        assert_eq!(other.extra, [("namespace".to_owned(), "shop".to_owned())]);
    }

    #[test]
    fn the_environment_is_read_through_the_caller() {
        let here = Local::from_env("h", |name| match name {
            "POD_NAME" => Some("engine-1".into()),
            "POD_NAMESPACE" => Some(String::new()),
            _ => None,
        });
        assert_eq!(here.instance(), "engine-1");
        assert_eq!(here.namespace, None);
        let mut labels = LabelsBuilder::default();
        Identity::of_target("rivet", "::1", 6430, false, &here).stamp(&mut labels);
        assert_eq!(labels.build().to_string(), r#"{instance="engine-1", job="rivet", pod="engine-1"}"#);
    }
}

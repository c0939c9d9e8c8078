//! Deployments and StatefulSets, down to what the checklist reads of a container.

use secrecy::SecretString;

use super::{LabelMap, Mount, VolumeSource};

/// A Deployment or StatefulSet.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    pub kind: String,
    pub name: String,
    pub namespace: Option<String>,
    /// Labels of its pods.
    pub labels: LabelMap,
    pub selector: LabelMap,
    /// Kubernetes takes 1 when it is not given.
    pub replicas: u32,
    /// From the status; `None` where there is none.
    pub ready_replicas: Option<u32>,
    pub containers: Vec<Container>,
    /// Seconds; Kubernetes takes 30 when it is not given.
    pub grace_seconds: u64,
    pub spread: Spread,
    pub host_network: bool,
    /// Containers that run to their end before the others start, or beside them.
    pub init_containers: Vec<Container>,
    /// What is mounted into any of its containers.
    pub mounts: Vec<Mount>,
}

/// What keeps two pods of a workload off one host, the strongest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spread {
    #[default]
    None,
    /// Preferred, so that a full cluster may still put them together.
    Soft,
    /// Required of zones, which keeps them apart where there are several.
    Zones,
    Required,
}

/// A container, or a sidecar that runs beside it.
#[derive(Clone, Debug, Default)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub args: Vec<String>,
    pub ports: Vec<Port>,
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps whose keys are taken over as variables, the last of which counts.
    pub env_from: Vec<EnvSource>,
    pub requests: Resources,
    pub limits: Resources,
    pub startup: Option<HealthProbe>,
    pub readiness: Option<HealthProbe>,
    pub liveness: Option<HealthProbe>,
    /// Seconds that the pre-stop hook sleeps; `None` without a hook or with one that cannot be read as a sleep.
    pub pre_stop_seconds: Option<u64>,
}

/// A declared port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: Option<String>,
    pub number: u16,
    pub host_port: Option<u16>,
}

/// A port by number, or by the name a container gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    Number(u16),
    Name(String),
}

/// CPU in cores, memory in bytes; `None` where none is set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    Http { path: String, port: PortRef },
    Tcp,
    Other,
}

/// A startup, readiness or liveness probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthProbe {
    pub handler: Handler,
    /// Seconds; Kubernetes takes 1 when it is not given.
    pub timeout_seconds: u64,
}

/// An environment variable.
#[derive(Clone, Debug)]
pub struct EnvVar {
    pub name: String,
    pub value: EnvValue,
}

/// Where the value of a variable stands.
#[derive(Clone, Debug)]
pub enum EnvValue {
    Text(SecretString),
    /// A key of a Secret, for people.
    Secret(String),
    /// A key of a ConfigMap: its name and key.
    ConfigMap(String, String),
    /// A field of the pod and the like.
    Other,
}

/// An object whose keys all become variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvSource {
    /// Stands before each key.
    pub prefix: String,
    pub is_secret: bool,
    pub name: String,
    /// Pods start without it.
    pub is_optional: bool,
}

impl Workload {
    /// `Deployment rivet-engine`.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// The container that is the engine: by image, by name, by its port, else the first.
    pub fn engine_container(&self) -> Option<&Container> {
        let by_image = self.containers.iter().find(|c| c.is_engine());
        let by_name = || self.containers.iter().find(|c| c.name == "rivet-engine" || c.name == "engine");
        let by_port = || self.containers.iter().find(|c| c.ports.iter().any(|p| p.number == 6420));
        by_image.or_else(by_name).or_else(by_port).or_else(|| self.containers.first())
    }

    /// Whether an object of this namespace stands beside it. Manifests may leave the namespace to whoever applies them.
    pub fn is_beside(&self, namespace: Option<&str>) -> bool {
        super::select::is_one_namespace(self.namespace.as_deref(), namespace)
    }

    /// Every container, those that run before the others too.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().chain(&self.init_containers)
    }

    /// Names of the ConfigMaps that its pods cannot start without.
    pub fn config_map_names(&self) -> Vec<&str> {
        let mounted = self.mounts.iter().filter_map(|m| match &m.source {
            VolumeSource::ConfigMap { name, is_optional: false, .. } => Some(name.as_str()),
            _ => None,
        });
        let sources = self.all_containers().flat_map(|c| &c.env_from);
        let taken_over = sources.filter(|s| !s.is_secret && !s.is_optional).map(|s| s.name.as_str());
        let keys = self.all_containers().flat_map(|c| &c.env).filter_map(|v| match &v.value {
            EnvValue::ConfigMap(name, _) => Some(name.as_str()),
            _ => None,
        });
        let mut names: Vec<&str> = mounted.chain(taken_over).chain(keys).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether `selector` picks its pods; an empty selector picks none.
    pub fn is_selected_by(&self, selector: &LabelMap) -> bool {
        super::select::picks(selector, &self.labels)
    }
}

impl Container {
    /// Whether its image is that of the engine.
    pub fn is_engine(&self) -> bool {
        super::Image::parse(&self.image).is_engine()
    }

    /// The number of a port; a name is looked up among the declared ports.
    pub fn port_number(&self, port: &PortRef) -> Option<u16> {
        match port {
            PortRef::Number(number) => Some(*number),
            PortRef::Name(name) => self.ports.iter().find(|p| p.name.as_deref() == Some(name)).map(|p| p.number),
        }
    }

    /// What follows a flag in its arguments, as `--flag value` or `--flag=value`, one text for each time it is given.
    pub fn flag_values(&self, names: &[&str]) -> Vec<&str> {
        let mut found = Vec::new();
        for (i, word) in self.args.iter().enumerate() {
            if names.contains(&word.as_str()) {
                found.extend(self.args.get(i + 1).map(String::as_str));
            } else if let Some((flag, value)) = word.split_once('=')
                && names.contains(&flag)
            {
                found.push(value);
            }
        }
        found
    }

    /// A variable by name; the last of several counts.
    pub fn env(&self, name: &str) -> Option<&EnvValue> {
        self.env.iter().rev().find(|v| v.name == name).map(|v| &v.value)
    }
}

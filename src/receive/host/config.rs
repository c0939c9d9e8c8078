//! The `receive.host` section of the configuration, and the variables of the downward API.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, HumanDuration, Problem, parse_quantity};

/// How the engine is found on this host, and what it may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the host is read at all. Default true.
    pub enabled: bool,
    /// Time between two readings. Default 15s; 1s to 1h.
    pub interval: HumanDuration,
    /// Name of the engine's process. Default `rivet-engine`. Of several it is the one that listens on the scraped port,
    /// where this process may look; else `pid_file` is needed.
    pub process_name: String,
    /// A file with the engine's process id, read at each turn.
    pub pid_file: Option<PathBuf>,
    /// Directory of the engine's data (RocksDB), whose free space is watched. Default: none.
    pub data_directory: Option<PathBuf>,
    /// CPU request in cores. Default: `RIVETWATCH_ENGINE_CPU_REQUEST`.
    pub cpu_request: Option<f64>,
    /// CPU limit in cores. Default: `RIVETWATCH_ENGINE_CPU_LIMIT`, else the cgroup's.
    pub cpu_limit: Option<f64>,
    /// Memory request. Default: `RIVETWATCH_ENGINE_MEMORY_REQUEST`.
    pub memory_request: Option<ByteSize>,
    /// Memory limit. Default: `RIVETWATCH_ENGINE_MEMORY_LIMIT`, else the cgroup's.
    pub memory_limit: Option<ByteSize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: HumanDuration::secs(15),
            process_name: "rivet-engine".to_owned(),
            pid_file: None,
            data_directory: None,
            cpu_request: None,
            cpu_limit: None,
            memory_request: None,
            memory_limit: None,
        }
    }
}

impl Config {
    /// Adds a problem for every rule that a key breaks; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut say = |key: &str, rule: String| problems.push(Problem::new(format!("{at}.{key}"), rule));
        if !(HumanDuration::secs(1)..=HumanDuration::secs(3600)).contains(&self.interval) {
            say("interval", format!("must be between 1s and 1h, got {}", self.interval));
        }
        if self.process_name.is_empty() || self.process_name.contains('/') {
            say("process_name", format!("must be a process name without a path, got `{}`", self.process_name));
        }
        for (key, cores) in [("cpu_request", self.cpu_request), ("cpu_limit", self.cpu_limit)] {
            if let Some(cores) = cores.filter(|cores| !(*cores > 0.0 && cores.is_finite())) {
                say(key, format!("must be a number of cores above 0, got {cores}"));
            }
        }
        for (key, bytes) in [("memory_request", self.memory_request), ("memory_limit", self.memory_limit)] {
            if bytes == Some(ByteSize(0)) {
                say(key, "must be above 0, got 0".to_owned());
            }
        }
    }

    /// Requests and limits: the keys of this section, else the variables, read through `env`.
    ///
    /// CPU may also come as `RIVETWATCH_ENGINE_CPU_REQUEST_MILLICORES` and `…_CPU_LIMIT_MILLICORES`: with `divisor: 1m`
    /// the downward API writes bare milli-cores, and with its default divisor it rounds up to whole cores.
    /// A variable that does not parse adds a problem and counts as unset. Kubernetes writes 0 for a request that is
    /// not set; that is unset here too. For a limit that is not set it writes what the node has.
    pub fn resources(&self, env: impl Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) -> Resources {
        let mut read = |name: &str| {
            let text = env(name).filter(|text| !text.is_empty())?;
            let value = parse_quantity(&text);
            if value.is_none() {
                let rule = format!("must be a Kubernetes quantity such as `2`, `1500m` or `4Gi`, got `{text}`");
                problems.push(Problem::new(name, rule));
            }
            value.filter(|value| *value > 0.0)
        };
        let mut cores = |name: &str| {
            let millicores = read(&format!("{name}_MILLICORES")).map(|millicores| millicores / 1000.0);
            millicores.or_else(|| read(name))
        };
        let cpu_request = cores("RIVETWATCH_ENGINE_CPU_REQUEST");
        let cpu_limit = cores("RIVETWATCH_ENGINE_CPU_LIMIT");
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0 as f64);
        Resources {
            cpu_request: self.cpu_request.or(cpu_request),
            cpu_limit: self.cpu_limit.or(cpu_limit),
            memory_request: bytes(self.memory_request).or_else(|| read("RIVETWATCH_ENGINE_MEMORY_REQUEST")),
            memory_limit: bytes(self.memory_limit).or_else(|| read("RIVETWATCH_ENGINE_MEMORY_LIMIT")),
        }
    }
}

/// What the engine's container asks for and may use; `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Cores.
    pub cpu_request: Option<f64>,
    /// Cores.
    pub cpu_limit: Option<f64>,
    /// Bytes.
    pub memory_request: Option<f64>,
    /// Bytes.
    pub memory_limit: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_win_over_variables_and_zero_is_unset() {
        let env = |name: &str| match name {
            "RIVETWATCH_ENGINE_CPU_REQUEST" => Some("2".to_owned()),
            "RIVETWATCH_ENGINE_CPU_LIMIT" => Some("0".to_owned()),
            "RIVETWATCH_ENGINE_MEMORY_REQUEST" => Some("2Gi".to_owned()),
            "RIVETWATCH_ENGINE_MEMORY_LIMIT" => Some("lots".to_owned()),
            _ => None,
        };
        let config = Config { cpu_request: Some(1.5), ..Config::default() };
        let mut problems = Vec::new();
        let resources = config.resources(env, &mut problems);
        assert_eq!((resources.cpu_request, resources.cpu_limit, resources.memory_limit), (Some(1.5), None, None));
        assert_eq!(resources.memory_request, Some(2_147_483_648.0));
        let millicores = |name: &str| (name == "RIVETWATCH_ENGINE_CPU_LIMIT_MILLICORES").then(|| "500".to_owned());
        assert_eq!(config.resources(millicores, &mut Vec::new()).cpu_limit, Some(0.5));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().starts_with("`RIVETWATCH_ENGINE_MEMORY_LIMIT` must be a Kubernetes quantity"));
    }

    #[test]
    fn mistakes_name_their_key() {
        let text = "{interval: 0, process_name: /bin/x, cpu_limit: -1, memory_request: 0}";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let mut problems = Vec::new();
        config.validate("receive.host", &mut problems);
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}

//! The engine's own configuration: its files merged, with the environment of its container laid over them.
//!
//! In:  files (json, json5, jsonc, yaml) and the engine's container, where Kubernetes shows it.   Out: single settings,
//! each with where it stands.   Always: a key that may stand where nobody could look is [`Setting::Unseen`], never unset.
//! Source: the engine's configuration loader (2.3.7): every file of a folder merged, then `RIVET__A__B` variables.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::checklist::cluster::{Cluster, ConfigMap, Container, EnvValue};
use crate::checklist::known::{Gap, Known, unknown};

/// A file as it was read; it may hold passwords.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    pub name: String,
    pub text: SecretString,
}

/// The engine's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Postgres,
    Rocksdb,
    Foundationdb,
}

impl Backend {
    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Rocksdb => "RocksDB",
            Self::Foundationdb => "FoundationDB",
        }
    }
}

/// What carries messages between engine nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pubsub {
    Nats,
    Postgres,
    Memory,
}

/// One setting.
#[derive(Clone, Debug)]
pub enum Setting {
    /// The value and where it stands.
    Text(SecretString, String),
    /// Set by something whose content is not read, such as a key of a Secret.
    Elsewhere(String),
    Unset,
    /// It may be set where nobody could look.
    Unseen(Gap),
}

/// Everything that is known of the engine's configuration.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    tree: SecretTree,
    env: Vec<(String, EnvValue)>,
    /// Config maps that variables may refer to.
    config_maps: Vec<ConfigMap>,
    /// Files, config maps and the container whose variables were read.
    pub sources: Vec<String>,
    /// What may hold more, and was not read.
    unseen: Vec<String>,
}

/// A tree that may hold passwords and is therefore not printed.
#[derive(Clone, Default)]
struct SecretTree(Value);

impl std::fmt::Debug for SecretTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretTree(…)")
    }
}

impl EngineSettings {
    /// Reads files given by the operator, and what Kubernetes shows of the engine's container and its config maps.
    ///
    /// # Errors
    /// There is neither of the two.
    pub fn of(files: &Known<Vec<ConfigFile>>, cluster: &Known<Cluster>) -> Known<Self> {
        let mut settings = Self {
            tree: SecretTree::default(),
            env: Vec::new(),
            config_maps: Vec::new(),
            sources: Vec::new(),
            unseen: Vec::new(),
        };
        let from_cluster = cluster.as_ref().map_err(Clone::clone).and_then(|cluster| settings.add_cluster(cluster));
        match (files, from_cluster) {
            (Err(no_files), Err(no_cluster)) => return Err(no_files.clone().and(&no_cluster)),
            (Ok(files), Ok(())) => settings.add_files(files),
            (Ok(files), Err(gap)) => {
                settings.unseen.push(format!("variables of the engine's environment are not known: {gap}"));
                settings.add_files(files);
            }
            (Err(_), Ok(())) => {}
        }
        Ok(settings)
    }

    fn add_files(&mut self, files: &[ConfigFile]) {
        for file in files {
            self.add_text(&file.name, file.text.expose_secret());
        }
    }

    fn add_cluster(&mut self, cluster: &Cluster) -> Known<()> {
        let engines = cluster.engines()?;
        let Some((workload, container)) = engines.first() else { return unknown("there is no engine") };
        self.sources.push(format!("variables of {}", workload.title()));
        self.env = container.env.iter().map(|v| (v.name.clone(), v.value.clone())).collect();
        self.unseen.extend(container.env_from.iter().map(|from| format!("all keys of {from} become variables")));
        let mounted = workload.config_maps.iter().filter(|(_, path)| is_config_path(path, container));
        let mounted: Vec<&String> = mounted.map(|(name, _)| name).collect();
        match &cluster.config_maps {
            Ok(maps) => {
                self.config_maps = maps.items.clone();
                for name in mounted {
                    match maps.items.iter().find(|m| m.name == *name) {
                        Some(map) => self.add_config_map(map),
                        None => self.unseen.push(format!("ConfigMap {name} is mounted and was not found")),
                    }
                }
            }
            Err(gap) => self.unseen.extend(mounted.iter().map(|name| format!("ConfigMap {name} was not read: {gap}"))),
        }
        Ok(())
    }

    fn add_config_map(&mut self, map: &ConfigMap) {
        for (key, text) in map.data.iter().filter(|(key, _)| is_config_name(key)) {
            self.add_text(&format!("ConfigMap {} ({key})", map.name), text.expose_secret());
        }
    }

    fn add_text(&mut self, name: &str, text: &str) {
        match parse(name, text) {
            Ok(tree) => {
                merge(&mut self.tree.0, tree);
                self.sources.push(name.to_owned());
            }
            Err(reason) => self.unseen.push(format!("{name} could not be read: {reason}")),
        }
    }

    /// A key such as `auth.admin_token`: from the environment, else from the files.
    pub fn get(&self, path: &str) -> Setting {
        let variable = format!("RIVET__{}", path.replace('.', "__"));
        match self.variable(&variable) {
            Setting::Unset => {}
            found => return found,
        }
        // Databases stand at the root, and in some releases below `database`.
        let pointer = format!("/{}", path.replace('.', "/"));
        let nested = format!("/database{pointer}");
        match self.tree.0.pointer(&pointer).or_else(|| self.tree.0.pointer(&nested)) {
            None | Some(Value::Null) => self.absent(path),
            Some(Value::String(text)) => Setting::Text(SecretString::from(text.as_str()), self.files()),
            Some(other) => Setting::Text(SecretString::from(other.to_string()), self.files()),
        }
    }

    /// A variable of the engine's environment such as `RIVET_OTEL_ENABLED`; letters of either case are the same.
    ///
    /// Unset here is unset in what was read; [`EngineSettings::environment`] says whether that was everything.
    fn variable(&self, name: &str) -> Setting {
        let found = self.env.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(name));
        match found {
            None => Setting::Unset,
            Some((name, EnvValue::Text(text))) => Setting::Text(text.clone(), format!("variable {name}")),
            Some((name, EnvValue::Secret(key))) => Setting::Elsewhere(format!("variable {name} from {key}")),
            Some((name, EnvValue::ConfigMap(map, key))) => {
                let value = self.config_maps.iter().find(|m| m.name == *map).and_then(|m| m.data.get(key));
                match value {
                    Some(text) => Setting::Text(text.clone(), format!("variable {name} from ConfigMap {map}")),
                    None => Setting::Elsewhere(format!("variable {name} from ConfigMap {map}")),
                }
            }
            Some((name, EnvValue::Other)) => Setting::Elsewhere(format!("variable {name} from the pod itself")),
        }
    }

    /// A variable of the engine's environment that no file can set.
    pub fn environment(&self, name: &str) -> Setting {
        match self.variable(name) {
            Setting::Unset => {
                let more = self.unseen.iter().find(|u| u.contains("variables"));
                more.map_or(Setting::Unset, |u| Setting::Unseen(Gap::new(format!("`{name}` may be set: {u}"))))
            }
            found => found,
        }
    }

    /// Whether anything below `section`, such as `nats`, is set.
    ///
    /// # Errors
    /// It may be set where nobody could look.
    pub fn has(&self, section: &str) -> Known<bool> {
        let prefix = format!("RIVET__{section}__");
        let in_env =
            self.env.iter().any(|(n, _)| n.len() > prefix.len() && n[..prefix.len()].eq_ignore_ascii_case(&prefix));
        let at = |pointer: &str| self.tree.0.pointer(pointer).is_some_and(|v| !v.is_null());
        if in_env || at(&format!("/{section}")) || at(&format!("/database/{section}")) {
            return Ok(true);
        }
        match self.unseen.first() {
            None => Ok(false),
            Some(unseen) => unknown(format!("`{section}` may be set: {unseen}")),
        }
    }

    /// Where a section is set, for people: the environment, else the files.
    pub fn place(&self, section: &str) -> String {
        let prefix = format!("RIVET__{section}__").to_ascii_uppercase();
        let is_variable = self.env.iter().any(|(name, _)| name.to_ascii_uppercase().starts_with(&prefix));
        let variables = self.sources.iter().find(|s| s.starts_with("variables "));
        match variables.filter(|_| is_variable || self.files().is_empty()) {
            Some(variables) => variables.clone(),
            None => self.files(),
        }
    }

    /// The part of the tree at `pointer`, for lists.
    pub fn tree(&self, pointer: &str) -> Option<&Value> {
        self.tree.0.pointer(pointer)
    }

    /// The engine's database; RocksDB where everything was read and nothing names another.
    ///
    /// # Errors
    /// Nothing names one, and not everything could be read.
    pub fn backend(&self) -> Known<Backend> {
        for (section, backend) in [
            ("postgres", Backend::Postgres),
            ("foundationdb", Backend::Foundationdb),
            ("file_system", Backend::Rocksdb),
        ] {
            // A section that was seen decides, whatever else may be unseen.
            if self.has(section) == Ok(true) {
                return Ok(backend);
            }
        }
        self.has("postgres").map(|_| Backend::Rocksdb)
    }

    /// What carries messages: as set, else PostgreSQL with that database, else the memory of one process.
    ///
    /// # Errors
    /// Nothing is set, and not everything could be read.
    pub fn pubsub(&self) -> Known<Pubsub> {
        for (section, pubsub) in
            [("nats", Pubsub::Nats), ("postgres_notify", Pubsub::Postgres), ("memory", Pubsub::Memory)]
        {
            if self.has(section) == Ok(true) {
                return Ok(pubsub);
            }
        }
        self.has("nats")?;
        Ok(match self.backend()? {
            Backend::Postgres => Pubsub::Postgres,
            Backend::Rocksdb | Backend::Foundationdb => Pubsub::Memory,
        })
    }

    /// A number of seconds, with where it stands.
    ///
    /// # Errors
    /// It is set where it cannot be read, or is no number.
    pub fn seconds(&self, path: &str, default: u64) -> Known<(u64, String)> {
        match self.get(path) {
            Setting::Text(text, from) => match text.expose_secret().trim().parse() {
                Ok(seconds) => Ok((seconds, from)),
                Err(_) => unknown(format!("`{path}` in {from} is not a number of seconds")),
            },
            Setting::Unset => Ok((default, "the engine's default".into())),
            // A figure that hardly anybody sets: the default stands, and says so.
            Setting::Unseen(_) => Ok((default, "the engine's default, where no variable changes it".into())),
            Setting::Elsewhere(from) => unknown(format!("`{path}` comes from {from}, which is not read")),
        }
    }

    fn absent(&self, path: &str) -> Setting {
        match self.unseen.first() {
            None => Setting::Unset,
            Some(unseen) => Setting::Unseen(Gap::new(format!("`{path}` may be set: {unseen}"))),
        }
    }

    fn files(&self) -> String {
        let files: Vec<&str> =
            self.sources.iter().filter(|s| !s.starts_with("variables ")).map(String::as_str).collect();
        files.join(", ")
    }
}

/// Whether a mount holds the engine's configuration: `/etc/rivet`, or what `--config` names.
fn is_config_path(path: &str, container: &Container) -> bool {
    let named = container.args.windows(2).filter(|pair| pair[0] == "--config" || pair[0] == "-c").map(|pair| &pair[1]);
    path.starts_with("/etc/rivet") || named.into_iter().any(|config| config.starts_with(path))
}

/// Whether a file is one that the engine reads, by its name.
pub fn is_config_name(name: &str) -> bool {
    [".json", ".json5", ".jsonc", ".yaml", ".yml"].iter().any(|end| name.ends_with(end))
}

/// Reads one file by the end of its name; errors show nothing of it.
fn parse(name: &str, text: &str) -> Result<Value, String> {
    let is_yaml = name.trim_end_matches(')').ends_with(".yaml") || name.trim_end_matches(')').ends_with(".yml");
    let tree: Value = match is_yaml {
        true => {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?
        }
        // JSON with comments and JSON are JSON5.
        false => json5::from_str(text).map_err(|e| match e.position() {
            Some(at) => format!("it is not JSON5 at line {}, column {}", at.line + 1, at.column + 1),
            None => "it is not JSON5".to_owned(),
        })?,
    };
    match tree {
        Value::Object(_) | Value::Null => Ok(tree),
        _ => Err("it is not a map of keys".into()),
    }
}

/// Lays `over` over `under`, key by key.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (under @ Value::Null, over @ Value::Object(_)) => {
            *under = Value::Object(Map::new());
            merge(under, over);
        }
        (under, over) => *under = over,
    }
}

/// Where a database is, taken from its URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseAddress {
    pub hosts: Vec<(String, u16)>,
    pub has_password: bool,
}

impl DatabaseAddress {
    /// Reads `postgres://user:password@host1:port,host2/db?…`; `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"))?;
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (user, hosts),
            None => ("", authority),
        };
        let host = |host: &str| match host.rsplit_once(':') {
            Some((name, port)) if !name.ends_with(':') => port.parse().ok().map(|port| (name.to_owned(), port)),
            _ => Some((host.to_owned(), 5432)),
        };
        let hosts: Option<Vec<_>> = hosts.split(',').map(host).collect();
        Some(Self { hosts: hosts?, has_password: user.split_once(':').is_some_and(|(_, p)| !p.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> EngineSettings {
        let files =
            texts.iter().map(|(name, text)| ConfigFile { name: (*name).into(), text: SecretString::from(*text) });
        // An engine without variables of its own.
        let mut settings = EngineSettings::of(&Ok(files.collect()), &unknown("no Kubernetes")).unwrap();
        settings.unseen.retain(|u| !u.contains("variables"));
        settings
    }

    #[test]
    fn every_format_is_read_and_later_files_win() {
        let settings = files(&[
            (
                "config.jsonc",
                "{ // a comment\n \"postgres\": {\"url\": \"postgres://a/b\"}, \"runtime\": {\"guard_shutdown_duration\": 60,},}",
            ),
            ("nats.yaml", "nats: {addresses: [a:4222]}\nruntime: {worker_shutdown_duration: 5}"),
            ("more.json5", "{runtime: {guard_shutdown_duration: 90}}"),
        ]);
        assert_eq!(settings.backend(), Ok(Backend::Postgres));
        assert_eq!(settings.pubsub(), Ok(Pubsub::Nats));
        assert_eq!(settings.seconds("runtime.guard_shutdown_duration", 600).unwrap().0, 90);
        assert_eq!(settings.seconds("runtime.worker_shutdown_duration", 30).unwrap().0, 5);
        assert_eq!(settings.seconds("runtime.force_shutdown_duration", 600).unwrap().0, 600);
        assert!(!format!("{settings:?}").contains("postgres://"));
    }

    #[test]
    fn what_was_not_read_is_not_unset() {
        let settings = files(&[("config.json", "{\"auth\": {\"admin_token\": ")]);
        assert!(
            matches!(settings.get("auth.admin_token"), Setting::Unseen(gap) if gap.reason().contains("config.json"))
        );
        assert!(settings.backend().is_err());
        let whole = files(&[("config.json", "{}")]);
        assert!(matches!(whole.get("auth.admin_token"), Setting::Unset));
        assert_eq!((whole.backend(), whole.pubsub()), (Ok(Backend::Rocksdb), Ok(Pubsub::Memory)));
    }

    #[test]
    fn database_addresses_are_taken_from_their_url() {
        let parse = |url: &str| DatabaseAddress::parse(url).unwrap();
        assert_eq!(parse("postgresql://u:p@db:6432/x").hosts, [("db".to_owned(), 6432)]);
        assert!(parse("postgres://u:p@db/x").has_password && !parse("postgres://u@db/x").has_password);
        assert_eq!(parse("postgres://a,b:5433/x?sslmode=require").hosts.len(), 2);
        assert_eq!(DatabaseAddress::parse("mysql://a/b"), None);
    }
}

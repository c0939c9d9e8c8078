//! The engine's own configuration: its files merged, with the environment of its container laid over them.
//!
//! In:  files (json, json5, jsonc, yaml) and the engine's container, where Kubernetes shows it.   Out: single settings,
//! each with where it stands.   Always: a key that may stand where nobody could look is [`Setting::Unseen`], never unset.
//! Source: the engine's configuration loader (2.3.7): every file of a folder merged, then `RIVET__A__B` variables.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::config_file::{ConfigFile, is_config_name, merge, parse_config};
use crate::checklist::cluster::{Cluster, ConfigMap, Container, EnvSource, EnvValue, Mount, VolumeSource, Workload};
use crate::checklist::known::{Gap, Known, unknown};

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
    /// What may set a variable, and was not read.
    unseen_variables: Vec<String>,
    /// What may hold a file, and was not read.
    unseen_files: Vec<String>,
    /// Those of the files that stand in config maps, so that what they hold may be anybody's to read.
    unread_config_maps: Vec<String>,
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
            unseen_variables: Vec::new(),
            unseen_files: Vec::new(),
            unread_config_maps: Vec::new(),
        };
        let from_cluster = cluster.as_ref().map_err(Clone::clone).and_then(|cluster| settings.add_cluster(cluster));
        match (files, from_cluster) {
            (Err(no_files), Err(no_cluster)) => return Err(no_files.clone().and(&no_cluster)),
            (Ok(files), from_cluster) => {
                if let Err(gap) = from_cluster {
                    let unseen = format!("variables of the engine's environment are not known: {gap}");
                    settings.unseen_variables.push(unseen);
                }
                // Who names the files knows them all, also those whose volumes are not read.
                settings.unseen_files.clear();
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
        let maps = cluster.config_maps.as_ref().map(|maps| maps.items.as_slice()).unwrap_or_default();
        self.config_maps = maps.iter().filter(|map| workload.is_beside(map.namespace.as_deref())).cloned().collect();
        for source in &container.env_from {
            self.add_env_source(cluster, source);
        }
        self.env.extend(container.env.iter().map(|v| (v.name.clone(), v.value.clone())));
        self.add_mounts(cluster, workload, container);
        Ok(())
    }

    /// Every key of a ConfigMap as a variable.
    fn add_env_source(&mut self, cluster: &Cluster, source: &EnvSource) {
        let EnvSource { prefix, is_secret, name, .. } = source;
        if *is_secret {
            // Only what comes by `envFrom` stands there yet, and of that the last counts.
            for (_, value) in &mut self.env {
                *value = EnvValue::Secret(format!("Secret {name} or what stands before it"));
            }
            return self.unseen_variables.push(format!("all keys of Secret {name} become variables"));
        }
        match (&cluster.config_maps, self.config_maps.iter().find(|m| m.name == *name)) {
            (_, Some(map)) => {
                let variable =
                    |key: &String| (format!("{prefix}{key}"), EnvValue::ConfigMap(name.clone(), key.clone()));
                let variables: Vec<_> = map.data.keys().map(variable).collect();
                self.env.extend(variables);
            }
            (maps, None) => {
                let why = maps.as_ref().err().map_or_else(|| "it was not found".to_owned(), ToString::to_string);
                self.unseen_variables.push(format!("all keys of ConfigMap {name} become variables: {why}"));
            }
        }
    }

    /// The files at the places where the engine looks: what `--config` names, else `/etc/rivet`.
    fn add_mounts(&mut self, cluster: &Cluster, workload: &Workload, container: &Container) {
        const FOLDER: &str = "/etc/rivet";
        // A shell takes `-c` too, with a script behind it.
        let is_script = |word: &str| word.contains(char::is_whitespace);
        let mut places = container.flag_values(&["--config", "-c"]);
        places.retain(|place| !is_script(place));
        if container.args.iter().any(|word| is_script(word) && word.contains("--config")) {
            self.unseen_files
                .push(format!("the script that {} runs names files, which are not read", workload.title()));
        }
        let is_named = !places.is_empty();
        if !is_named {
            places.push(FOLDER);
        }
        for place in places {
            let is_file = |path: &str| {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                path == place || (folder == place && is_config_name(path))
            };
            let own = workload.mounts.iter().filter(|m| m.container == container.name);
            let own: Vec<&Mount> = own.filter(|m| m.covers(place) || is_file(&m.path)).collect();
            if own.is_empty() {
                let title = workload.title();
                self.unseen_files.push(match is_named {
                    true => format!("`{place}`, which {title} is told to read, stands in its image"),
                    false => format!("nothing is mounted at {FOLDER} of {title}, and what its image holds is not read"),
                });
            }
            for mount in own {
                self.add_mount(cluster, mount, &is_file);
            }
        }
    }

    fn add_mount(&mut self, cluster: &Cluster, mount: &Mount, is_file: &dyn Fn(&str) -> bool) {
        let (name, items) = match &mount.source {
            VolumeSource::Unread(what) => {
                return self.unseen_files.push(format!("{what} is mounted at {} and is not read", mount.path));
            }
            VolumeSource::ConfigMap { name, items, .. } => (name, items),
        };
        let Some(map) = self.config_maps.iter().find(|m| m.name == *name).cloned() else {
            let unseen = match &cluster.config_maps {
                Ok(maps) => match maps.unread.iter().find(|unread| unread.contains(name.as_str())) {
                    Some(unread) => unread.clone(),
                    None => format!("ConfigMap {name} is mounted and was not found"),
                },
                Err(gap) => format!("ConfigMap {name} was not read: {gap}"),
            };
            return self.unseen_files.push(unseen);
        };
        let files = mount.files(map.data.keys().chain(&map.binary));
        // Who mounts a folder of the engine's configuration means to give it some.
        if !files.iter().any(|(_, path)| is_file(path)) {
            self.add_unread_map(format!("ConfigMap {name} holds no file that the engine would read at {}", mount.path));
        }
        for (key, path) in files {
            match map.data.get(key) {
                _ if !is_file(&path) => {}
                Some(text) => {
                    // Where a key gets another name, that name says what it is.
                    let shown = if items.is_empty() && mount.sub_path.is_none() { key } else { path.as_str() };
                    self.add_map_text(&format!("ConfigMap {name} ({shown})"), text.expose_secret());
                }
                None => self.add_unread_map(format!("ConfigMap {name} has no text under its mounted key `{key}`")),
            }
        }
    }

    fn add_map_text(&mut self, name: &str, text: &str) {
        let unread = self.unseen_files.len();
        self.add_text(name, text);
        self.unread_config_maps.extend(self.unseen_files[unread..].iter().cloned());
    }

    fn add_unread_map(&mut self, unseen: String) {
        self.unread_config_maps.push(unseen.clone());
        self.unseen_files.push(unseen);
    }

    /// Why files that stand in config maps could not be read, one reason each.
    pub fn unread_config_maps(&self) -> &[String] {
        &self.unread_config_maps
    }

    fn add_text(&mut self, name: &str, text: &str) {
        match parse_config(name, text) {
            Ok(tree) => {
                merge(&mut self.tree.0, tree);
                self.sources.push(name.to_owned());
            }
            Err(reason) => self.unseen_files.push(format!("{name} could not be read: {reason}")),
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
                let more = self.unseen_variables.first();
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
        match self.unseen() {
            None => Ok(false),
            Some(unseen) => Err(self.may_be_set(section, unseen)),
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
            Setting::Unseen(_) => {
                Ok((default, "the engine's default, where nothing that was not read changes it".into()))
            }
            Setting::Elsewhere(from) => unknown(format!("`{path}` comes from {from}, which is not read")),
        }
    }

    /// Something that may set a key and was not read.
    fn unseen(&self) -> Option<&String> {
        self.unseen_files.first().or(self.unseen_variables.first())
    }

    fn absent(&self, path: &str) -> Setting {
        match self.unseen() {
            None => Setting::Unset,
            Some(unseen) => Setting::Unseen(self.may_be_set(path, unseen)),
        }
    }

    fn may_be_set(&self, path: &str, unseen: &str) -> Gap {
        let is_file = self.unseen_files.iter().any(|file| file == unseen);
        let help = if is_file { "; `check.engine_config` may name the engine's files instead" } else { "" };
        Gap::new(format!("`{path}` may be set: {unseen}{help}"))
    }

    fn files(&self) -> String {
        let files: Vec<&str> =
            self.sources.iter().filter(|s| !s.starts_with("variables ")).map(String::as_str).collect();
        files.join(", ")
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
        settings.unseen_variables.clear();
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
}

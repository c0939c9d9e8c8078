//! The `engine:` section: what the data cannot tell about the engine is asked for, not guessed.

use serde::Deserialize;

use crate::model::Problem;

/// The engine's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    Postgres,
    #[serde(alias = "file_system")]
    Rocksdb,
    Foundationdb,
}

impl Backend {
    /// The value of the label `backend`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Rocksdb => "rocksdb",
            Self::Foundationdb => "foundationdb",
        }
    }
}

/// What the operator tells of the engine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// `postgres`, `rocksdb` or `foundationdb`; decides what is expected of the number of nodes.
    pub backend: Option<Backend>,
    /// How many engine nodes there should be; fewer for ten minutes is a page.
    pub expected_instances: Option<u32>,
    /// Where clients reach the engine, such as `https://rivet.example.com`: `check` tries TLS and closed ports there.
    pub public_url: Option<String>,
}

impl EngineConfig {
    /// Refuses zero nodes, several on RocksDB, and a public address that is none.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        if self.expected_instances == Some(0) {
            problems.push(Problem::new(format!("{at}.expected_instances"), "must be at least 1, got 0"));
        }
        if self.backend == Some(Backend::Rocksdb) && self.expected_instances.is_some_and(|n| n > 1) {
            problems.push(Problem::new(format!("{at}.expected_instances"), "must be 1 where `backend` is `rocksdb`"));
        }
        if let Some(text) = &self.public_url {
            let url = reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let rule = match url {
                None => Some(format!("must be an http or https URL, got `{text}`")),
                Some(url) if !url.username().is_empty() || url.password().is_some() => {
                    Some("must not hold a user or a password".to_owned())
                }
                Some(_) => None,
            };
            problems.extend(rule.map(|rule| Problem::new(format!("{at}.public_url"), rule)));
        }
    }
}

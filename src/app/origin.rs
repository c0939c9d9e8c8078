//! Where the configuration comes from, so that it can be read again.

use std::path::{Path, PathBuf};

use crate::config::{self, Config, ConfigError};

/// The file and the environment of this process.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// `None` runs on defaults.
    pub path: Option<PathBuf>,
    pub env: Vec<(String, String)>,
}

impl Origin {
    /// Reads and validates it.
    ///
    /// # Errors
    /// As [`config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        config::load(self.path.as_deref(), &self.env)
    }

    /// The folder that relative paths start from: that of the file.
    pub fn base(&self) -> &Path {
        let folder = self.path.as_deref().and_then(Path::parent).filter(|p| !p.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    /// What a sidecar runs with while [`Origin::load`] fails.
    pub fn broken_sidecar(&self) -> Config {
        Config::of_broken_sidecar(&self.text(), &self.env)
    }

    fn text(&self) -> String {
        self.path.as_deref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// Whether the process is meant to be a sidecar, as far as an invalid configuration lets one see.
    pub fn is_sidecar(&self) -> bool {
        let by_env = self.env.iter().find(|(name, _)| name == "RIVETWATCH__ROLE").map(|(_, role)| role == "sidecar");
        by_env.unwrap_or_else(|| {
            let text = self.text();
            let role = text.lines().find_map(|line| line.strip_prefix("role:"));
            role.is_some_and(|role| role.trim().trim_matches(['"', '\'']) == "sidecar")
        })
    }
}

//! The engine's cgroup (version 2): CPU time, memory, limits, OOM kills.

use std::path::{Path, PathBuf};

/// Why the cgroup cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCgroup {
    #[error("the process has no cgroup of version 2")]
    NotVersion2,
    #[error("the process is in the machine's root cgroup, which has no account of its own")]
    Root,
    #[error("the cgroup cannot be read from here: another user's, or outside this cgroup namespace")]
    Unreadable,
}

/// What a cgroup accounts for; `None` where a controller is off or there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cgroup {
    pub cpu_seconds: Option<f64>,
    /// Memory without file pages that were not used lately: what cannot be given back, as Kubernetes counts it.
    pub working_set_bytes: Option<u64>,
    /// Cores.
    pub cpu_limit: Option<f64>,
    pub memory_limit_bytes: Option<u64>,
    pub oom_kills: Option<u64>,
}

impl Cgroup {
    /// Reads the cgroup of a process.
    ///
    /// # Errors
    /// It has none, it is the root, or it cannot be read.
    pub fn read(proc_root: &Path, cgroup_root: &Path, pid: u32) -> Result<Self, NoCgroup> {
        let process = proc_root.join(pid.to_string());
        let listing = std::fs::read_to_string(process.join("cgroup")).map_err(|_| NoCgroup::Unreadable)?;
        let path = listing.lines().find_map(|line| line.strip_prefix("0::")).ok_or(NoCgroup::NotVersion2)?;
        let here = locate(cgroup_root, path, pid);
        // Its own view, if its root may be entered; there its cgroup is the mount itself.
        let there = process.join("root/sys/fs/cgroup");
        match here.or_else(|| has_account(&there).then_some(there)) {
            Some(dir) => Ok(Self::read_dir(&dir)),
            None if path == "/" => Err(NoCgroup::Root),
            None => Err(NoCgroup::Unreadable),
        }
    }

    fn read_dir(dir: &Path) -> Self {
        let text = |file: &str| std::fs::read_to_string(dir.join(file)).ok();
        let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
        let keyed = |file: &str, key: &str| value_of(&text(file)?, key);
        let inactive = keyed("memory.stat", "inactive_file").unwrap_or(0);
        Self {
            cpu_seconds: keyed("cpu.stat", "usage_usec").map(|us| us as f64 / 1e6),
            working_set_bytes: number("memory.current").map(|bytes| bytes.saturating_sub(inactive)),
            cpu_limit: text("cpu.max").and_then(|text| cores(&text)),
            // `max` is no number.
            memory_limit_bytes: number("memory.max"),
            oom_kills: keyed("memory.events", "oom_kill"),
        }
    }
}

/// The directory of a cgroup path below the mount; a path that leads out of this namespace has none.
fn locate(cgroup_root: &Path, path: &str, pid: u32) -> Option<PathBuf> {
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let dir = cgroup_root.join(path.trim_start_matches('/'));
    // In a container `/` is its own cgroup; a process that is not in it has its `/` elsewhere.
    let members = std::fs::read_to_string(dir.join("cgroup.procs")).ok()?;
    let is_member = members.lines().any(|line| line.trim() == pid.to_string());
    (is_member && has_account(&dir)).then_some(dir)
}

/// The machine's root cgroup has neither of these.
fn has_account(dir: &Path) -> bool {
    dir.join("memory.current").exists() || dir.join("cpu.max").exists()
}

fn value_of(text: &str, key: &str) -> Option<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

/// Cores of a `cpu.max` line: quota over period; `max` is no limit.
fn cores(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_number_of_cores() {
        assert_eq!(cores("300000 100000\n"), Some(3.0));
        assert_eq!(cores("max 100000\n"), None);
        assert_eq!(cores("1 0"), None);
    }
}

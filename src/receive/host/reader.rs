//! One reading of the host, as a step: paths and the clock's ticks come from the caller.

use std::path::{Path, PathBuf};

use super::cgroup::Cgroup;
use super::config::{Config, Resources};
use super::process::{self, Machine, NoProcess, Stat};
use crate::model::{LabelsBuilder, METRIC_NAME, Metadata, MetricKind, TimestampMs, Value};
use crate::receive::identity::Identity;
use crate::receive::liveness::Liveness;
use crate::storage::{Batch, Point};

/// Where the host's files are; tests bring trees of their own.
#[derive(Clone, Debug)]
pub struct Roots {
    pub proc: PathBuf,
    pub cgroup: PathBuf,
    /// Clock ticks in a second, the unit of CPU times in `/proc`.
    pub ticks_per_second: u64,
}

impl Roots {
    /// Those of this machine.
    pub fn system() -> Self {
        Self {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        }
    }
}

/// What a reading draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Machine,
    Process,
    Cgroup,
    Resources,
    DataDirectory,
}

impl Source {
    /// The value of the `source` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Process => "process",
            Self::Cgroup => "cgroup",
            Self::Resources => "resources",
            Self::DataDirectory => "data_directory",
        }
    }
}

/// Whether a source could be read, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    pub source: Source,
    /// For a person; `None` when the source was read.
    pub reason: Option<String>,
}

/// A batch and what it could and could not be made of.
#[derive(Clone, Debug)]
pub struct Reading {
    pub batch: Batch,
    /// One for each source; the data directory only where one is configured.
    pub sources: Vec<SourceStatus>,
}

/// Reads the host of one engine.
#[derive(Debug)]
pub struct HostReader {
    config: Config,
    resources: Resources,
    identity: Identity,
    /// The engine's metrics port, where it is on this machine.
    port: Option<u16>,
    roots: Roots,
    liveness: Liveness,
    /// Process id and start of the engine at the last reading that saw it.
    last_start: Option<(u32, u64)>,
    restarts: u64,
    has_metadata: bool,
}

impl HostReader {
    /// A reader for the engine with this identity; `resources` come from [`Config::resources`].
    pub fn new(config: Config, resources: Resources, identity: Identity, roots: Roots) -> Self {
        Self {
            config,
            resources,
            identity,
            port: None,
            roots,
            liveness: Liveness::default(),
            last_start: None,
            restarts: 0,
            has_metadata: false,
        }
    }

    /// Tells the engine from other processes of its name by the port on which it serves its metrics.
    pub fn listening_on(mut self, port: Option<u16>) -> Self {
        self.port = port;
        self
    }

    /// Reads everything once. Blocks on files; the answers of `/proc` come from memory.
    pub fn read(&mut self, at: TimestampMs) -> Reading {
        let mut points = Points { identity: self.identity.clone(), at, batch: Batch::default() };
        let mut sources = Vec::new();
        let mut status =
            |source, result: Result<(), String>| sources.push(SourceStatus { source, reason: result.err() });

        let machine = Machine::read(&self.roots.proc);
        status(Source::Machine, machine.as_ref().map(|_| ()).ok_or_else(|| "`/proc` cannot be read".to_owned()));
        if let Some(machine) = &machine {
            points.add("system_cpu_logical_count", machine.cpus as f64);
            points.add("system_memory_limit_bytes", machine.memory_bytes as f64);
            let used = machine.memory_bytes.saturating_sub(machine.available_bytes);
            points.add("system_memory_usage_bytes", used as f64);
        }

        let found = self.find_process();
        let process = found.and_then(|pid| Ok((pid, Stat::read(&self.roots.proc, pid)?)));
        status(Source::Process, process.map(|_| ()).map_err(|e| e.to_string()));
        if let Ok((pid, stat)) = process {
            self.add_process(&mut points, pid, stat, machine.as_ref());
        }

        let cgroup = match process {
            Ok((pid, _)) => Cgroup::read(&self.roots.proc, &self.roots.cgroup, pid).map_err(|e| e.to_string()),
            Err(_) => Err("the process is not known".to_owned()),
        };
        status(Source::Cgroup, cgroup.as_ref().map(|_| ()).map_err(Clone::clone));
        let cgroup = cgroup.unwrap_or_default();
        points.add_known("container_cpu_time_seconds_total", cgroup.cpu_seconds);
        points.add_known("container_memory_usage_bytes", cgroup.working_set_bytes.map(|n| n as f64));
        points.add_known("container_oom_kills_total", cgroup.oom_kills.map(|n| n as f64));

        let resources = Resources {
            cpu_limit: self.resources.cpu_limit.or(cgroup.cpu_limit),
            memory_limit: self.resources.memory_limit.or(cgroup.memory_limit_bytes.map(|n| n as f64)),
            ..self.resources
        };
        let is_known = resources != Resources::default();
        status(Source::Resources, if is_known { Ok(()) } else { Err("no request and no limit is known".to_owned()) });
        points.add_known("k8s_container_cpu_request", resources.cpu_request);
        points.add_known("k8s_container_cpu_limit", resources.cpu_limit);
        points.add_known("k8s_container_memory_request_bytes", resources.memory_request);
        points.add_known("k8s_container_memory_limit_bytes", resources.memory_limit);

        if let Some(directory) = &self.config.data_directory {
            let usage = disk_usage(directory, &self.roots.proc, found.ok());
            status(
                Source::DataDirectory,
                usage.as_ref().map(|_| ()).map_err(|e| format!("`{}`: {e}", directory.display())),
            );
            if let Ok(usage) = usage {
                points.add_disk(&directory.display().to_string(), usage);
            }
        }

        let mut batch = points.batch;
        if !std::mem::replace(&mut self.has_metadata, true) {
            batch.metadata = metadata();
        }
        self.liveness.settle(&mut batch, at);
        Reading { batch, sources }
    }

    fn find_process(&self) -> Result<u32, NoProcess> {
        match &self.config.pid_file {
            None => process::find(&self.roots.proc, &self.config.process_name, self.port),
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|_| NoProcess::BadPidFile)?;
                text.trim().parse().map_err(|_| NoProcess::BadPidFile)
            }
        }
    }

    fn add_process(&mut self, points: &mut Points, pid: u32, stat: Stat, machine: Option<&Machine>) {
        let ticks = self.roots.ticks_per_second.max(1) as f64;
        for (mode, spent) in [("user", stat.user_ticks), ("system", stat.system_ticks)] {
            points.add_with("process_cpu_time_seconds_total", &[("cpu_mode", mode)], spent as f64 / ticks);
        }
        let resident = process::resident_bytes(&self.roots.proc, pid);
        points.add_known("process_memory_usage_bytes", resident.map(|n| n as f64));
        if let Some(machine) = machine {
            let start = machine.boot_time as f64 + stat.start_ticks as f64 / ticks;
            points.add("process_start_time_seconds", start);
        }
        // A process id may be used again, but not with the same start.
        let start = (pid, stat.start_ticks);
        if self.last_start.replace(start).is_some_and(|last| last != start) {
            self.restarts += 1;
        }
        points.add("k8s_container_restart_count", self.restarts as f64);
    }
}

/// Points of one reading.
struct Points {
    identity: Identity,
    at: TimestampMs,
    batch: Batch,
}

impl Points {
    fn add(&mut self, name: &str, value: f64) {
        self.add_with(name, &[], value);
    }

    fn add_known(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn add_with(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut builder = LabelsBuilder::default();
        for (label, text) in labels {
            builder.set(*label, *text);
        }
        self.identity.stamp(&mut builder);
        let labels = builder.set(METRIC_NAME, name).build();
        self.batch.points.push(Point { labels, t: self.at, value: Value::Float(value) });
    }

    fn add_disk(&mut self, mountpoint: &str, disk: DiskUsage) {
        for (state, bytes) in [("free", disk.free), ("used", disk.used)] {
            self.add_with(
                "system_filesystem_usage_bytes",
                &[("state", state), ("mountpoint", mountpoint)],
                bytes as f64,
            );
        }
        self.add_with("system_filesystem_limit_bytes", &[("mountpoint", mountpoint)], (disk.free + disk.used) as f64);
    }
}

/// Bytes of a file system, without the blocks that only root may use.
#[derive(Clone, Copy, Debug)]
struct DiskUsage {
    free: u64,
    used: u64,
}

/// The file system of `directory`, as the engine sees it if this process does not have it.
fn disk_usage(directory: &Path, proc_root: &Path, pid: Option<u32>) -> std::io::Result<DiskUsage> {
    let own = rustix::fs::statvfs(directory);
    let stat = match (own, pid) {
        (Err(_), Some(pid)) => {
            let inside = directory.strip_prefix("/").unwrap_or(directory);
            rustix::fs::statvfs(proc_root.join(pid.to_string()).join("root").join(inside))?
        }
        (own, _) => own?,
    };
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(DiskUsage { free: bytes(stat.f_bavail), used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)) })
}

fn metadata() -> Vec<(String, Metadata)> {
    use MetricKind::{Counter, Gauge};
    let families = [
        ("process_cpu_time_seconds_total", Counter, "seconds", "CPU time of the engine's process, by mode."),
        ("process_memory_usage_bytes", Gauge, "bytes", "Resident memory of the engine's process."),
        ("process_start_time_seconds", Gauge, "seconds", "When the engine's process began, since the epoch."),
        ("container_cpu_time_seconds_total", Counter, "seconds", "CPU time of the engine's cgroup."),
        ("container_memory_usage_bytes", Gauge, "bytes", "Working set of the engine's cgroup."),
        ("container_oom_kills_total", Counter, "", "Processes of the engine's cgroup that were killed for memory."),
        ("k8s_container_cpu_request", Gauge, "", "Cores that the engine's container asks for."),
        ("k8s_container_cpu_limit", Gauge, "", "Cores that the engine's container may use."),
        ("k8s_container_memory_request_bytes", Gauge, "bytes", "Memory that the engine's container asks for."),
        ("k8s_container_memory_limit_bytes", Gauge, "bytes", "Memory that the engine's container may use."),
        ("k8s_container_restart_count", Gauge, "", "Restarts of the engine's process that this agent has seen."),
        ("system_cpu_logical_count", Gauge, "", "CPUs of the machine."),
        ("system_memory_limit_bytes", Gauge, "bytes", "Memory of the machine."),
        ("system_memory_usage_bytes", Gauge, "bytes", "Memory of the machine that is not available."),
        ("system_filesystem_usage_bytes", Gauge, "bytes", "Space of the data directory's file system, by state."),
        ("system_filesystem_limit_bytes", Gauge, "bytes", "Space of the data directory's file system."),
    ];
    let family = |(name, kind, unit, help): (&str, MetricKind, &str, &str)| {
        (name.to_owned(), Metadata { kind, unit: unit.to_owned(), help: help.to_owned() })
    };
    families.into_iter().map(family).collect()
}

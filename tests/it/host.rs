//! Reading the host from trees of files, and from this very process.

use std::fs;
use std::path::Path;

use rivetwatch::model::{Stats, TimestampMs, Value, is_stale_nan};
use rivetwatch::receive::host::{Config, HostReader, HostStats, Reading, Resources, Roots, Source};
use rivetwatch::receive::identity::Identity;
use tempfile::TempDir;

const PID: u32 = 2649;

/// A host with `/proc` and cgroups; nothing in it but the machine.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().expect("a directory"));
        host.write("proc/stat", "cpu  1 2 3 4\ncpu0 1 1 1 1\ncpu1 0 1 2 3\nintr 9\nbtime 1700000000\n");
        host.write("proc/meminfo", "MemTotal:        4000 kB\nMemFree: 100 kB\nMemAvailable:    1000 kB\n");
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// A process called `name`, a child of `parent`, with 10 s of CPU time and 95,336 KiB.
    fn process(&self, pid: u32, name: &str, parent: u32, start: u64) {
        self.write(&format!("proc/{pid}/comm"), &format!("{name}\n"));
        let stat = format!("{pid} ({name}) S {parent} 1 1 0 -1 4194304 1 0 4 0 700 300 0 0 20 0 6 0 {start} 1 1 1\n");
        self.write(&format!("proc/{pid}/stat"), &stat);
        self.write(&format!("proc/{pid}/status"), "Name:\tx\nVmHWM:\t 99999 kB\nVmRSS:\t 95336 kB\n");
        self.write(&format!("proc/{pid}/cgroup"), "0::/kubepods/pod1/engine\n");
    }

    fn cgroup(&self, dir: &str) {
        self.write(&format!("{dir}/cgroup.procs"), &format!("1\n{PID}\n"));
        self.write(&format!("{dir}/cpu.stat"), "usage_usec 12500000\nuser_usec 1\n");
        self.write(&format!("{dir}/cpu.max"), "300000 100000\n");
        self.write(&format!("{dir}/memory.current"), "1000000\n");
        self.write(&format!("{dir}/memory.stat"), "anon 5\ninactive_file 400000\n");
        self.write(&format!("{dir}/memory.max"), "4294967296\n");
        self.write(&format!("{dir}/memory.events"), "low 0\noom 3\noom_kill 2\n");
    }

    fn reader(&self, config: Config, resources: Resources) -> HostReader {
        let identity = Identity { job: "rivet".into(), instance: "e0".into(), extra: Vec::new() };
        let root = self.0.path();
        let roots = Roots { proc: root.join("proc"), cgroup: root.join("cgroup"), ticks_per_second: 100 };
        HostReader::new(config, resources, identity, roots)
    }
}

fn read(reader: &mut HostReader) -> Reading {
    reader.read(TimestampMs(1_000))
}

/// The points as `name{labels} value`, without job and instance, in order.
fn lines(reading: &Reading) -> Vec<String> {
    let line = |p: &rivetwatch::storage::Point| {
        assert_eq!((p.labels.get("job"), p.labels.get("instance")), (Some("rivet"), Some("e0")));
        let labels = p.labels.keep(|name| name != "job" && name != "instance");
        match p.value {
            Value::Float(v) if is_stale_nan(v) => format!("{labels} stale"),
            Value::Float(v) => format!("{labels} {v}"),
            Value::Histogram(_) => panic!("{labels} is a histogram"),
        }
    };
    reading.batch.points.iter().map(line).collect()
}

fn reason(reading: &Reading, source: Source) -> Option<String> {
    reading.sources.iter().find(|s| s.source == source).expect("every source is reported").reason.clone()
}

#[test]
fn an_engine_with_a_readable_cgroup_is_read_whole() {
    let host = Host::new();
    host.process(PID, "rivet-engine", 1, 5_000);
    host.process(77, "postgres", 1, 10);
    host.cgroup("cgroup/kubepods/pod1/engine");
    let resources = Resources { cpu_request: Some(2.0), memory_limit: Some(5e9), ..Resources::default() };
    let mut reader = host.reader(Config::default(), resources);
    let reading = read(&mut reader);
    assert_eq!(
        lines(&reading),
        [
            "system_cpu_logical_count 2",
            "system_memory_limit_bytes 4096000",
            "system_memory_usage_bytes 3072000",
            r#"process_cpu_time_seconds_total{cpu_mode="user"} 7"#,
            r#"process_cpu_time_seconds_total{cpu_mode="system"} 3"#,
            "process_memory_usage_bytes 97624064",
            "process_start_time_seconds 1700000050",
            "k8s_container_restart_count 0",
            "container_cpu_time_seconds_total 12.5",
            "container_memory_usage_bytes 600000",
            "container_oom_kills_total 2",
            "k8s_container_cpu_request 2",
            "k8s_container_cpu_limit 3",
            "k8s_container_memory_limit_bytes 5000000000",
        ]
    );
    assert!(reading.sources.iter().all(|s| s.reason.is_none()), "{:?}", reading.sources);
    assert!(reading.batch.metadata.iter().any(|(name, _)| name == "container_oom_kills_total"));
    assert!(read(&mut reader).batch.metadata.is_empty());
}

#[test]
fn what_a_sidecar_may_not_read_is_absent_and_said_so() {
    let host = Host::new();
    host.process(PID, "rivet-engine", 1, 5_000);
    host.write(&format!("proc/{PID}/cgroup"), "0::/../engine\n");
    let mut reader = host.reader(Config::default(), Resources::default());
    let reading = read(&mut reader);
    assert!(lines(&reading).iter().all(|l| !l.starts_with("container_") && !l.starts_with("k8s_container_cpu")));
    assert!(lines(&reading).contains(&"process_memory_usage_bytes 97624064".to_owned()));
    assert!(reason(&reading, Source::Cgroup).expect("a reason").contains("outside this cgroup namespace"));
    assert_eq!(reason(&reading, Source::Resources).as_deref(), Some("no request and no limit is known"));
    let stats = HostStats::default();
    stats.observe(&reading.sources);
    let row = |source: &str| {
        let rows = stats.rows();
        rows.iter().find(|r| r.labels.iter().any(|(_, v)| v == source)).map(|r| (r.name, r.value))
    };
    assert_eq!(row("cgroup"), Some(("rivetwatch_host_source_readable", 0.0)));
    assert_eq!(row("process"), Some(("rivetwatch_host_source_readable", 1.0)));

    host.cgroup(&format!("proc/{PID}/root/sys/fs/cgroup"));
    let reading = read(&mut reader);
    assert!(lines(&reading).contains(&"container_oom_kills_total 2".to_owned()), "through the process' own root");
}

#[test]
fn another_container_at_the_same_path_is_not_taken_for_the_engine() {
    let host = Host::new();
    host.process(PID, "rivet-engine", 1, 5_000);
    host.write(&format!("proc/{PID}/cgroup"), "0::/\n");
    host.cgroup("cgroup");
    host.write("cgroup/cgroup.procs", "4242\n");
    let reading = read(&mut host.reader(Config::default(), Resources::default()));
    assert!(lines(&reading).iter().all(|l| !l.starts_with("container_")), "that is this process' own cgroup");
    assert!(reason(&reading, Source::Cgroup).is_some());
    host.write(&format!("proc/{PID}/cgroup"), "9:name=systemd:/\n1:cpu:/\n");
    let reading = read(&mut host.reader(Config::default(), Resources::default()));
    assert_eq!(reason(&reading, Source::Cgroup).as_deref(), Some("the process has no cgroup of version 2"));
}

#[test]
fn a_new_process_is_a_restart_and_a_missing_one_ends_its_series() {
    let host = Host::new();
    host.process(PID, "rivet-engine", 1, 5_000);
    let mut reader = host.reader(Config::default(), Resources::default());
    read(&mut reader);
    fs::remove_dir_all(host.0.path().join(format!("proc/{PID}"))).expect("removed");
    let reading = read(&mut reader);
    assert!(lines(&reading).contains(&"process_memory_usage_bytes stale".to_owned()));
    assert!(reason(&reading, Source::Process).expect("a reason").starts_with("no process of that name"));
    host.process(3000, "rivet-engine", 1, 9_000);
    assert!(lines(&read(&mut reader)).contains(&"k8s_container_restart_count 1".to_owned()));
    host.process(3000, "rivet-engine", 1, 12_000);
    assert!(
        lines(&read(&mut reader)).contains(&"k8s_container_restart_count 2".to_owned()),
        "the same id, a new start"
    );
}

#[test]
fn several_engines_need_a_pid_file_but_children_do_not_count() {
    let host = Host::new();
    host.process(PID, "rivet-engine", 1, 5_000);
    host.process(2700, "rivet-engine", PID, 6_000);
    assert_eq!(reason(&read(&mut host.reader(Config::default(), Resources::default())), Source::Process), None);
    host.process(2800, "rivet-engine", 1, 7_000);
    let reading = read(&mut host.reader(Config::default(), Resources::default()));
    assert_eq!(
        reason(&reading, Source::Process).as_deref(),
        Some("several processes have that name; `pid_file` tells which it is")
    );
    host.write("engine.pid", "2800\n");
    let config = Config { pid_file: Some(host.0.path().join("engine.pid")), ..Config::default() };
    assert_eq!(reason(&read(&mut host.reader(config, Resources::default())), Source::Process), None);
}

#[test]
fn free_space_is_that_of_the_data_directory_also_through_the_process() {
    let host = Host::new();
    host.process(PID, "rivet-engine", 1, 5_000);
    let config = |path: &Path| Config { data_directory: Some(path.to_owned()), ..Config::default() };
    let directory = host.0.path().join("proc");
    let reading = read(&mut host.reader(config(&directory), Resources::default()));
    let value = |start: &str| {
        let line = lines(&reading).into_iter().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("no {start}"));
        line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).expect("a value")
    };
    let mountpoint = format!("mountpoint=\"{}\"", directory.display());
    let free = value(&format!("system_filesystem_usage_bytes{{{mountpoint}, state=\"free\"}}"));
    let used = value(&format!("system_filesystem_usage_bytes{{{mountpoint}, state=\"used\"}}"));
    assert_eq!(value("system_filesystem_limit_bytes"), free + used);
    assert!(used > 0.0);

    let inside = Path::new("/data-of-the-engine-only");
    let reading = read(&mut host.reader(config(inside), Resources::default()));
    assert!(reason(&reading, Source::DataDirectory).expect("a reason").contains("`/data-of-the-engine-only`"));
    host.write(&format!("proc/{PID}/root/data-of-the-engine-only/CURRENT"), "");
    let reading = read(&mut host.reader(config(inside), Resources::default()));
    assert_eq!(reason(&reading, Source::DataDirectory), None);
}

#[test]
#[cfg(target_os = "linux")]
fn this_process_can_be_read_on_this_machine() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&file, std::process::id().to_string()).expect("written");
    let config = Config { pid_file: Some(file.path().to_owned()), ..Config::default() };
    let identity = Identity { job: "rivet".into(), instance: "e0".into(), extra: Vec::new() };
    let reading = HostReader::new(config, Resources::default(), identity, Roots::system()).read(TimestampMs(1));
    assert_eq!((reason(&reading, Source::Machine), reason(&reading, Source::Process)), (None, None));
    let names: Vec<&str> = reading.batch.points.iter().map(|p| p.labels.metric_name()).collect();
    for name in ["process_cpu_time_seconds_total", "process_memory_usage_bytes", "process_start_time_seconds"] {
        assert!(names.contains(&name), "{name}");
    }
}

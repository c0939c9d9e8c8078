//! The servers that are measured: the agent, Debian's prometheus and VictoriaMetrics, as processes on free ports.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::http::Client;

/// A running server; it ends with the value.
pub struct Peer {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Where and on which path it takes OTLP metrics over HTTP.
    pub otlp_http: Option<(SocketAddr, &'static str)>,
    pub otlp_grpc: Option<SocketAddr>,
    child: Child,
    log: PathBuf,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It holds nothing that anybody needs after the bench.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// The agent with its data under `folder`: no receivers but OTLP and remote write, nothing scraped, everything else
    /// as it ships.
    pub fn agent(folder: &Path) -> Self {
        Self::agent_with(folder, serde_json::json!({ "storage": { "retention": "100y" } }))
    }

    /// As [`Peer::agent`], with the keys of `more` set, too; those of the receivers and of the folder win.
    pub fn agent_with(folder: &Path, mut more: serde_json::Value) -> Self {
        let binary = std::env::var("RIVETWATCH_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rivetwatch").to_owned());
        let address = free_address();
        more["api"]["listen"] = serde_json::json!(address);
        more["storage"]["path"] = serde_json::json!(folder.join("data"));
        let receive = &mut more["receive"];
        let (grpc, http) = (free_address(), free_address());
        receive["otlp"]["grpc"]["endpoint"] = serde_json::json!(grpc);
        receive["otlp"]["http"]["endpoint"] = serde_json::json!(http);
        receive["engine_api"]["enabled"] = false.into();
        receive["host"]["enabled"] = false.into();
        receive["remote_write"]["enabled"] = true.into();
        if receive["scrape"]["targets"].is_null() {
            receive["scrape"]["targets"] = serde_json::json!([]);
        }
        let path = folder.join("rivetwatch.yaml");
        // JSON is YAML.
        std::fs::write(&path, more.to_string()).expect("the folder can be written to");
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(path);
        let mut agent = Self::start("rivetwatch", command, address, "/readyz", &folder.join("agent.log"));
        agent.otlp_http = Some((http, "/v1/metrics"));
        agent.otlp_grpc = Some(grpc);
        agent
    }

    /// Debian's prometheus with its data under `folder`; `None` where there is none on the `PATH`.
    ///
    /// Blocks are cut so late that all data stays in its head, where it is fastest, and no compaction disturbs.
    pub fn prometheus(folder: &Path) -> Option<Self> {
        Self::prometheus_with(folder, "global: {scrape_interval: 1h}\n")
    }

    /// As [`Peer::prometheus`] with this configuration.
    pub fn prometheus_with(folder: &Path, text: &str) -> Option<Self> {
        let found = Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.ok()?;
        let address = free_address();
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, text).expect("the folder can be written to");
        let mut command = Command::new("prometheus");
        command.args([
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
            "--storage.tsdb.retention.time=100y".into(),
            "--storage.tsdb.min-block-duration=4d".into(),
            "--storage.tsdb.max-block-duration=4d".into(),
            format!("--web.listen-address={address}"),
            "--web.enable-remote-write-receiver".into(),
            "--log.level=warn".into(),
        ]);
        Some(Self::start("prometheus", command, address, "/-/ready", &folder.join("prometheus.log")))
    }

    /// VictoriaMetrics with its data under `folder`; `None` where there is none on the `PATH`.
    pub fn victoria_metrics(folder: &Path) -> Option<Self> {
        Self::victoria_metrics_with(folder, None)
    }

    /// As [`Peer::victoria_metrics`], scraping by this configuration of Prometheus'.
    pub fn victoria_metrics_with(folder: &Path, scrape: Option<&str>) -> Option<Self> {
        let binary = std::env::var("VICTORIA_METRICS_BINARY").unwrap_or_else(|_| "victoria-metrics".to_owned());
        let found = Command::new(&binary).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.ok()?;
        let address = free_address();
        let mut command = Command::new(binary);
        command.args([
            format!("-storageDataPath={}", folder.join("victoria-metrics").display()),
            format!("-httpListenAddr={address}"),
            "-retentionPeriod=100y".into(),
            "-search.latencyOffset=0s".into(),
            // By default it hangs up on a kept connection after two minutes.
            "-http.connTimeout=1h".into(),
            "-loggerLevel=WARN".into(),
        ]);
        if let Some(text) = scrape {
            let config = folder.join("victoria-metrics.yml");
            std::fs::write(&config, text).expect("the folder can be written to");
            command.arg(format!("-promscrape.config={}", config.display()));
        }
        let log = folder.join("victoria-metrics.log");
        let mut peer = Self::start("victoria-metrics", command, address, "/health", &log);
        peer.otlp_http = Some((address, "/opentelemetry/v1/metrics"));
        Some(peer)
    }

    fn start(name: &'static str, mut command: Command, address: SocketAddr, ready: &str, log: &Path) -> Self {
        let out = File::create(log).expect("the folder can be written to");
        let err = out.try_clone().expect("a file handle can be copied");
        let child = command.stdout(out).stderr(err).stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|e| panic!("failed to start {name}: {e}"));
        let log = log.to_owned();
        let mut peer = Self { name, address, otlp_http: None, otlp_grpc: None, child, log };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !peer.is_ready(ready).unwrap_or(false) {
            let has_ended = peer.child.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || Instant::now() > deadline {
                panic!("{name} is not ready:\n{}", std::fs::read_to_string(&peer.log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        peer
    }

    fn is_ready(&self, path: &str) -> io::Result<bool> {
        Ok(self.client()?.get(path)?.0 == 200)
    }

    /// Processor time that the server has used since its start.
    pub fn cpu(&self) -> Duration {
        /// `sysconf(_SC_CLK_TCK)` of every Linux that the agent runs on.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the server runs");
        // After the command's name, which may hold spaces: utime and stime are fields 14 and 15 of all.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
    }

    /// Memory that the server holds, in bytes (`VmRSS`).
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
    }

    /// A new connection.
    ///
    /// # Errors
    /// The server is gone.
    pub fn client(&self) -> io::Result<Client> {
        Client::connect(self.address)
    }
}

/// A loopback address at which nobody listens.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener.local_addr().expect("a bound listener has an address")
}

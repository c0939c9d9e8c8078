//! The demo: the real agent with the shipped rules and routes, two simulated engines, and a pager, all on loopback.
//!
//! In:  a speed and an end.   Out: pages as they arrive, and a result.
//! Always: nothing beyond loopback; a busy port is no obstacle; everything it wrote is gone when it ends.

mod engines;
mod pager;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::agent::{App, StartError};
use super::clock;
use super::origin::Origin;
use crate::config::{self, ConfigError};

pub use engines::Incident;
pub use pager::Page;

use engines::Engines;
use pager::Pager;

/// The incident of the demo: five minutes of an actor host that refuses starts.
pub const INCIDENT: Incident = Incident { begins_ms: 150_000, ends_ms: 450_000 };

/// What the demo did.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// `after_seconds` is demo time since the start.
    pub pages: Vec<Page>,
    pub ingested_points: u64,
}

impl Outcome {
    /// Whether both a page and its resolve were delivered.
    pub fn is_complete(&self) -> bool {
        let resolved = |page: &Page| {
            page.status == "firing"
                && self.pages.iter().any(|p| p.status == "resolved" && p.body["dedup_key"] == page.body["dedup_key"])
        };
        self.pages.iter().any(resolved)
    }
}

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("failed to make a folder for the demo's data")]
    Folder(#[source] std::io::Error),
    #[error("failed to listen on loopback")]
    Listen(#[source] std::io::Error),
    #[error("the demo's configuration is not valid")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A running demo.
pub struct Demo {
    app: App,
    pager: Pager,
    stop: CancellationToken,
    folder: Folder,
    /// Where the page is.
    pub api: SocketAddr,
    /// Where the simulated engine serves its metrics.
    pub engine: SocketAddr,
}

impl Demo {
    /// Starts the engines, the pager and the agent; pages come down the channel as they arrive.
    ///
    /// # Errors
    /// See [`DemoError`].
    pub async fn start(speed: f64) -> Result<(Self, mpsc::UnboundedReceiver<Page>), DemoError> {
        let clock = clock::fast(speed);
        let stop = CancellationToken::new();
        let engines = Engines::new(clock.now(), INCIDENT);
        let (pager, pages) = Pager::new(clock.clone());
        let engine = serve(engines.router(), &stop).await?;
        let pager_address = serve(pager.router(), &stop).await?;
        let folder = Folder::new().map_err(DemoError::Folder)?;
        let api = free_or_any(6440).await.map_err(DemoError::Listen)?;
        let config = json!({
            "deployment": "demo",
            "external_url": format!("http://{api}"),
            "api": {"listen": api.to_string()},
            "storage": {"path": folder.0},
            "telemetry": {"logs": {"level": "warn"}},
            "engine": {"backend": "postgres"},
            "capacity": {
                "actor_hosts": [{"pool": "default", "rate_limit": "300/m", "concurrency": 100}],
                "postgres": {"max_connections": 500, "pubsub": false},
            },
            "receive": {
                "otlp": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}},
                "scrape": {"targets": [{"url": format!("http://{engine}/metrics"), "engine": true}]},
                "spans": {"sampler_ratio": 1.0},
                "host": {"enabled": false},
                "engine_api": {"enabled": false},
                "pod_metrics": {"enabled": false},
            },
            // Simulated engines have no doors to try.
            "check": {"enabled": false},
            "notify": {"receivers": [{
                "name": "pager",
                "pagerduty_configs": [{"routing_key": "d".repeat(32), "url": format!("http://{pager_address}/v2/enqueue")}],
            }]},
        });
        let config = config::from_value(config)?;
        let app = App::start(config, Origin::default(), clock.clone()).await?;
        let addresses = app.addresses();
        let otlp = addresses.otlp_http.map(|a| format!("http://{a}")).unwrap_or_default();
        tokio::spawn(engines.run(clock, otlp, stop.clone()));
        Ok((Self { app, pager, stop, folder, api: addresses.api, engine }, pages))
    }

    /// Completes when a task of the agent ended unexpectedly.
    pub async fn failed(&mut self) -> &'static str {
        self.app.failed().await
    }

    /// Ends everything and says what happened.
    pub async fn stop(self) -> Outcome {
        self.stop.cancel();
        let ingested_points = self.app.store().totals().stored;
        self.app.stop(Duration::from_secs(5)).await;
        drop(self.folder);
        Outcome { pages: self.pager.pages(), ingested_points }
    }
}

/// A folder of its own under the system's temporary folder, removed in the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let name = format!("rivetwatch-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is in the system's temporary folder anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The wanted loopback port, or any when it is taken.
async fn free_or_any(port: u16) -> std::io::Result<SocketAddr> {
    for port in [port, 0] {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return listener.local_addr();
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "no loopback port is free"))
}

async fn serve(router: axum::Router, stop: &CancellationToken) -> Result<SocketAddr, DemoError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(DemoError::Listen)?;
    let address = listener.local_addr().map_err(DemoError::Listen)?;
    let stop = stop.clone();
    tokio::spawn(async move {
        // Ends with the demo; an error would show as a page that does not arrive.
        let _ = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    });
    Ok(address)
}

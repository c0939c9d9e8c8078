//! The real engine, watched by all three readers at once.
//!
//! Needs `RIVETWATCH_ENGINE`, the path of a `rivet-engine` binary (npm: `@rivetkit/engine-cli`); passes over without.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rivetwatch::model::{ByteSize, TimestampMs, Value};
use rivetwatch::receive::engine_api::{Client, Config};
use rivetwatch::receive::host::{self, HostReader, Resources, Roots, Source};
use rivetwatch::receive::identity::{DEFAULT_JOB, Identity, Local};
use rivetwatch::receive::scrape::{Fetcher, Target, TargetSettings};
use rivetwatch::storage::Batch;

/// Ends the engine with the test.
struct Engine {
    child: Child,
    _data: tempfile::TempDir,
    ports: [u16; 3],
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(binary: &str) -> Engine {
    let data = tempfile::tempdir().expect("a directory");
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let ports = listeners.each_ref().map(|l| l.local_addr().expect("bound").port());
    drop(listeners);
    let child = Command::new(binary)
        .arg("start")
        .env("RIVET__file_system__path", data.path())
        .env("RIVET__AUTH__ADMIN_TOKEN", "tok-admin")
        .env("RIVET__telemetry__enabled", "false")
        .env("RIVET__guard__port", ports[0].to_string())
        .env("RIVET__api_peer__port", ports[1].to_string())
        .env("RIVET__metrics__port", ports[2].to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the engine can be started");
    Engine { child, _data: data, ports }
}

fn now() -> TimestampMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    TimestampMs(since.as_millis() as i64)
}

fn value(batch: &Batch, name: &str) -> Option<f64> {
    batch.points.iter().filter(|p| p.labels.metric_name() == name).find_map(|p| match p.value {
        Value::Float(v) => Some(v),
        Value::Histogram(_) => None,
    })
}

#[tokio::test]
async fn the_released_engine_can_be_scraped_asked_and_read() {
    let Ok(binary) = std::env::var("RIVETWATCH_ENGINE") else {
        println!("passing over: RIVETWATCH_ENGINE names no engine");
        return;
    };
    let engine = start(&binary);
    let [guard, peer, metrics] = engine.ports.map(|port| format!("http://127.0.0.1:{port}"));
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&token, "tok-admin").expect("written");
    let config = Config { peer_url: peer, public_url: guard, ..Config::default() };
    let client = Client::new(config.clone()).expect("TLS").expect("addresses");
    let mut tries = 0;
    let version = loop {
        match client.health().await.answer {
            Ok(version) => break version.expect("a version"),
            Err(error) => assert!(tries < 600, "the engine does not come up: {error}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };

    let local = Local { host_name: "node-a".into(), ..Local::default() };
    let identity = Identity::of_target(DEFAULT_JOB, "127.0.0.1", engine.ports[2], false, &local);
    let url = format!("{metrics}/metrics").parse().expect("a URL");
    let (page, took) =
        Fetcher::new(ByteSize::mib(32)).expect("TLS").timed_fetch(url, Duration::from_secs(10), None).await;
    let page = page.expect("a page");
    let mut target = Target::new(TargetSettings::engine(identity.clone()));
    let (batch, report) = target.page_to_batch(Ok(page.page()), now(), took);
    assert_eq!((report.failure, report.bad_lines, report.duplicates), (None, 0, 0));
    assert!(report.samples > 500, "{} samples", report.samples);
    assert_eq!(value(&batch, "up"), Some(1.0));
    let unknown: Vec<&str> =
        batch.metadata.iter().map(|(n, _)| n.as_str()).filter(|n| !n.starts_with("rivet_")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");

    let details = client.details(now()).await;
    let info = details.metadata.answer.expect("metadata");
    assert_eq!(info.version, version);
    assert_eq!(details.envoys.map(|p| p.answer), Some(Ok(())));
    assert_eq!(details.runner_configs.map(|p| p.answer), Some(Ok(())));

    // The public door, as from another machine: the token opens it.
    let public = Config {
        peer_url: "http://engine.invalid:6421".into(),
        admin_token_file: Some(token.path().to_owned()),
        ..config
    };
    let details = Client::new(public).expect("TLS").expect("addresses").details(now()).await;
    assert_eq!(details.envoys.map(|p| p.answer), Some(Ok(())));

    let pid_file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&pid_file, engine.child.id().to_string()).expect("written");
    let config = host::Config {
        pid_file: Some(pid_file.path().to_owned()),
        data_directory: Some(engine._data.path().to_owned()),
        ..host::Config::default()
    };
    let reading = HostReader::new(config, Resources::default(), identity, Roots::system()).read(now());
    let resident = value(&reading.batch, "process_memory_usage_bytes").expect("memory");
    assert!(resident > 10e6, "{resident} bytes");
    let unread: Vec<_> = reading.sources.iter().filter(|s| s.reason.is_some()).collect();
    println!("samples {} in {took:?}, resident {resident} bytes, unread {unread:?}", report.samples);
    assert!(unread.iter().all(|s| matches!(s.source, Source::Cgroup | Source::Resources)), "{unread:?}");
}

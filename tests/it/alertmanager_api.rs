//! Alertmanager's API v2 and the runner over real sockets: alerts in, pages out, silences by `amtool`.

#![allow(clippy::unwrap_used)] // helpers of tests may fail by panicking, as tests do

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use parking_lot::Mutex;
use rivetwatch::api::alertmanager;
use rivetwatch::clock::Clock;
use rivetwatch::model::{Alert, TimestampMs};
use rivetwatch::notify::{Handle, Runner};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::notify_fakes::settings;

const PATIENCE: Duration = Duration::from_secs(20);

fn clock() -> Clock {
    let now = || TimestampMs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64);
    Clock::new(now, 1.0)
}

/// Gives back the address.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

type Received = mpsc::UnboundedReceiver<(HeaderMap, Value)>;
type Answers = Arc<Mutex<Vec<StatusCode>>>;

/// A target that keeps what it gets; `answers` are given first, from the last to the first.
async fn target(answers: Answers) -> (String, Received) {
    let (tx, rx) = mpsc::unbounded_channel();
    let take = move |State(tx): State<mpsc::UnboundedSender<(HeaderMap, Value)>>, headers: HeaderMap, body: String| async move {
        let status = answers.lock().pop().unwrap_or(StatusCode::ACCEPTED);
        tx.send((headers, serde_json::from_str(&body).unwrap_or(Value::String(body)))).unwrap();
        (status, format!("no: the key is {}", "r".repeat(32)))
    };
    (serve(Router::new().fallback(any(take)).with_state(tx)).await, rx)
}

async fn next(received: &mut Received) -> (HeaderMap, Value) {
    tokio::time::timeout(PATIENCE, received.recv()).await.expect("nothing arrived").unwrap()
}

struct Agent {
    api: String,
    handle: Handle,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _alerts: mpsc::Sender<Vec<Alert>>,
}

impl Agent {
    async fn start(yaml: &str, outbox: Option<&Path>) -> Self {
        let terminal = Arc::new(Mutex::new(Vec::<u8>::new()));
        let (runner, handle) = Runner::open(settings(yaml), outbox, clock(), terminal, 1).unwrap();
        let (alerts, rx) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let task = tokio::spawn(runner.run(rx, stop.clone()));
        let api = serve(alertmanager::router(handle.clone())).await;
        Self { api, handle, stop, task, _alerts: alerts }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    async fn get(&self, path: &str) -> Value {
        let response = reqwest::get(format!("{}{path}", self.api)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> (u16, String) {
        let response = reqwest::Client::new().post(format!("{}{path}", self.api)).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

const API_ONLY: &str = "
route: {receiver: team, group_by: [alertname], group_wait: 1h}
receivers: [{name: team}]
inhibit_rules: [{source_matchers: [alertname=Down], target_matchers: [alertname=Slow], equal: [job]}]
";

#[tokio::test]
async fn posted_alerts_can_be_read_filtered_and_grouped() {
    let agent = Agent::start(API_ONLY, None).await;
    let (status, _) = agent
        .post(
            "/api/v2/alerts",
            json!([
                {"labels": {"alertname": "Down", "job": "a", "empty": ""}, "annotations": {"summary": "x"}},
                {"labels": {"alertname": "Slow", "job": "a"}, "generatorURL": "http://p/graph"},
                {"labels": {"alertname": "Slow", "job": "b"}},
                {"labels": {"alertname": "Past"}, "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-01T01:00:00Z"},
            ]),
        )
        .await;
    assert_eq!(status, 200);
    let names = |alerts: &Value| -> Vec<String> {
        alerts.as_array().unwrap().iter().map(|a| a["labels"].to_string()).collect()
    };
    let all = agent.get("/api/v2/alerts").await;
    let labels =
        [r#"{"alertname":"Down","job":"a"}"#, r#"{"alertname":"Slow","job":"a"}"#, r#"{"alertname":"Slow","job":"b"}"#];
    assert_eq!(names(&all), labels);
    assert_eq!(all[1]["status"]["state"], "suppressed");
    assert_eq!(all[1]["status"]["inhibitedBy"][0], all[0]["fingerprint"]);
    assert_eq!(all[0]["receivers"], json!([{"name": "team"}]));
    assert_eq!(names(&agent.get("/api/v2/alerts?inhibited=false").await), [labels[0], labels[2]]);
    assert_eq!(names(&agent.get("/api/v2/alerts?active=false").await), [labels[1]]);
    let filtered = agent.get("/api/v2/alerts?filter=alertname%3D%22Slow%22&filter=job%3D~%22b%7Cc%22").await;
    assert_eq!(names(&filtered), [labels[2]]);
    let groups = agent.get("/api/v2/alerts/groups").await;
    assert_eq!(groups.as_array().unwrap().len(), 2);
    assert_eq!(groups[1]["labels"], json!({"alertname": "Slow"}));
    assert_eq!(groups[1]["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(agent.get("/api/v2/receivers").await, json!([{"name": "team"}]));
    assert!(agent.get("/api/v2/status").await["config"]["original"].as_str().unwrap().contains("group_by"));
    agent.stop().await;
}

#[tokio::test]
async fn bad_requests_name_the_mistake_and_good_alerts_beside_bad_ones_are_taken() {
    let agent = Agent::start(API_ONLY, None).await;
    let (status, text) = agent
        .post(
            "/api/v2/alerts",
            json!([
                {"labels": {"alertname": "Good"}},
                {"labels": {}},
                {"labels": {"alertname": "When"}, "startsAt": "yesterday"},
                {"labels": {"alertname": "Back"}, "startsAt": "2026-01-02T00:00:00Z", "endsAt": "2026-01-01T00:00:00Z"},
            ]),
        )
        .await;
    assert_eq!(status, 400);
    for mistake in ["3 of the alerts", "at least one label pair", "yesterday", "before startsAt"] {
        assert!(text.contains(mistake), "{mistake}: {text}");
    }
    assert_eq!(agent.get("/api/v2/alerts").await.as_array().unwrap().len(), 1);
    for (path, body, status) in [
        ("/api/v2/alerts", json!({"labels": {}}), 400),
        ("/api/v1/alerts", json!([]), 404),
        (
            "/api/v2/silences",
            json!({"matchers": [], "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z"}),
            400,
        ),
        (
            "/api/v2/silences",
            json!({"id": "unknown", "matchers": [{"name": "a", "value": "b"}], "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z"}),
            404,
        ),
    ] {
        assert_eq!(agent.post(path, body.clone()).await.0, status, "{path} {body}");
    }
    let url = format!("{}/api/v2/alerts?filter=oops", agent.api);
    assert_eq!(reqwest::get(url).await.unwrap().status(), 400);
    agent.stop().await;
}

#[tokio::test]
async fn silences_live_on_disk_and_a_changed_one_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("outbox.redb");
    let agent = Agent::start(API_ONLY, Some(&outbox)).await;
    let silence = |id: &str, value: &str, end: &str| {
        json!({"id": id, "matchers": [{"name": "alertname", "value": value, "isRegex": true}], "createdBy": "me",
               "comment": "why", "startsAt": "2020-01-01T00:00:00Z", "endsAt": end})
    };
    let id_of = |text: String| serde_json::from_str::<Value>(&text).unwrap()["silenceID"].as_str().unwrap().to_owned();
    let first = id_of(agent.post("/api/v2/silences", silence("", "Slow|Down", "2100-01-01T00:00:00Z")).await.1);
    let begun = agent.get(&format!("/api/v2/silence/{first}")).await["startsAt"].as_str().unwrap().to_owned();
    let mut longer = silence(&first, "Slow|Down", "2101-01-01T00:00:00Z");
    longer["startsAt"] = json!(begun);
    assert_eq!(id_of(agent.post("/api/v2/silences", longer).await.1), first, "only the end moves");
    let second = id_of(agent.post("/api/v2/silences", silence(&first, "Slow", "2100-01-01T00:00:00Z")).await.1);
    assert_ne!(first, second);
    agent.stop().await;

    let agent = Agent::start(API_ONLY, Some(&outbox)).await;
    let list = agent.get("/api/v2/silences").await;
    let states: Vec<(&str, &str)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["id"].as_str().unwrap(), s["status"]["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [(second.as_str(), "active"), (first.as_str(), "expired")]);
    agent.post("/api/v2/alerts", json!([{"labels": {"alertname": "Slow"}}])).await;
    assert_eq!(agent.get("/api/v2/alerts").await[0]["status"]["silencedBy"], json!([second]));
    let deleted = reqwest::Client::new().delete(format!("{}/api/v2/silence/{second}", agent.api)).send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    assert_eq!(agent.get("/api/v2/alerts").await[0]["status"]["state"], "active");
    agent.stop().await;
}

#[tokio::test]
async fn a_page_and_its_resolve_reach_pagerduty_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("outbox.redb");
    let answers = Answers::default();
    let (url, mut received) = target(answers.clone()).await;
    let key = "r".repeat(32);
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, format!("{key}\n")).unwrap();
    let yaml = format!(
        "route: {{receiver: pager, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: pager, pagerduty_configs: [{{routing_key_file: '{}', url: '{url}/v2/enqueue'}}]}}]",
        key_file.display()
    );
    let agent = Agent::start(&yaml, Some(&outbox)).await;
    answers.lock().push(StatusCode::SERVICE_UNAVAILABLE);
    agent.post("/api/v2/alerts", json!([{"labels": {"alertname": "A", "severity": "critical"}}])).await;
    let (_, refused) = next(&mut received).await;
    let (_, trigger) = next(&mut received).await;
    assert_eq!(refused, trigger, "the same event again after a failure");
    assert_eq!((&trigger["event_action"], &trigger["routing_key"]), (&json!("trigger"), &json!(key)));
    agent.stop().await;

    // The configuration no longer knows the pager, and the alert ends.
    let agent =
        Agent::start("route: {receiver: none, group_interval: 1s}\nreceivers: [{name: none}]", Some(&outbox)).await;
    let outbox_view = agent.handle.view().await.unwrap().outbox;
    assert_eq!(outbox_view.len(), 1);
    let end = json!([{"labels": {"alertname": "A", "severity": "critical"}, "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:01Z"}]);
    agent.post("/api/v2/alerts", end).await;
    let (_, resolve) = next(&mut received).await;
    assert_eq!(resolve, json!({"routing_key": key, "event_action": "resolve", "dedup_key": trigger["dedup_key"]}));
    agent.stop().await;
}

#[tokio::test]
async fn a_webhook_gets_its_credentials_and_redirects_are_not_followed() {
    let answers = Answers::default();
    let (url, mut received) = target(answers.clone()).await;
    let yaml = format!(
        "route: {{receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: '{url}/hook/', http_config: {{basic_auth: {{username: u, password: pass-word}}}}}}]}}]"
    );
    answers.lock().push(StatusCode::TEMPORARY_REDIRECT);
    let agent = Agent::start(&yaml, None).await;
    let alert = json!([{"labels": {"alertname": "A"}, "startsAt": "2020-01-01T00:00:00Z"}]);
    agent.post("/api/v2/alerts", alert).await;
    let (headers, body) = next(&mut received).await;
    assert_eq!(headers["authorization"], "Basic dTpwYXNzLXdvcmQ=");
    assert_eq!((&body["version"], &body["status"]), (&json!("4"), &json!("firing")));
    // The redirect counts as a refusal; the group asks again at its next flush.
    let (_, again) = next(&mut received).await;
    assert_eq!(again["status"], "firing");
    agent.stop().await;
}

/// `amtool` of Debian against the agent; passed over where it is not installed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amtool_works_against_the_agent() {
    if Command::new("amtool").arg("--version").output().is_err() {
        println!("passed over: amtool is not installed");
        return;
    }
    let agent = Agent::start(API_ONLY, None).await;
    let amtool = |args: &[&str]| {
        let output = Command::new("amtool")
            .args(["--alertmanager.url", &agent.api])
            .args(args)
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let amtool = |args: &[&str]| tokio::task::block_in_place(|| amtool(args));
    amtool(&["alert", "add", "alertname=Slow", "job=a", "--annotation=summary=slow"]);
    amtool(&["alert", "add", "alertname=Fast"]);
    let listed = amtool(&["alert", "query", "-o", "simple"]);
    assert!(listed.contains("Slow") && listed.contains("Fast"), "{listed}");
    let id = amtool(&["silence", "add", "alertname=Slow", "-d", "1h", "-c", "why", "-a", "me"]);
    assert_eq!(id.len(), 36, "{id}");
    assert!(amtool(&["silence", "query"]).contains(&id));
    let unsilenced = amtool(&["alert", "query", "-o", "simple"]);
    assert!(!unsilenced.contains("Slow"), "{unsilenced}");
    assert!(amtool(&["alert", "query", "--silenced", "-o", "simple"]).contains("Slow"));
    amtool(&["silence", "expire", &id]);
    assert!(amtool(&["alert", "query", "alertname=Slow", "-o", "simple"]).contains("Slow"));
    assert!(amtool(&["config", "routes", "test", "alertname=Slow"]).contains("team"));
    agent.stop().await;
}

/// Debian's Alertmanager as the target; passed over where it is not installed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_alertmanager_takes_our_alerts_and_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("alertmanager.yml");
    std::fs::write(&config, "route: {receiver: x}\nreceivers: [{name: x}]\n").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let spawned = Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut alertmanager) = spawned else {
        println!("passed over: prometheus-alertmanager is not installed");
        return;
    };
    let peer = format!("http://127.0.0.1:{port}");
    let agent = Agent::start(
        &format!("receivers: [{{name: am, alertmanager_configs: [{{url: '{peer}', resend_interval: 5s}}]}}]"),
        None,
    )
    .await;
    // It is not up yet, so the first sends fail and are repeated.
    agent
        .post("/api/v2/alerts", json!([{"labels": {"alertname": "A", "emoji": "🔥"}, "annotations": {"summary": "s"}}]))
        .await;
    let listed = |peer: String| async move {
        let Ok(response) = reqwest::get(format!("{peer}/api/v2/alerts")).await else { return Vec::new() };
        response.json::<Value>().await.unwrap().as_array().unwrap().clone()
    };
    let mut seen = Vec::new();
    for wanted in [1, 0] {
        let arrived = tokio::time::timeout(PATIENCE, async {
            loop {
                let alerts = listed(peer.clone()).await;
                if alerts.len() == wanted {
                    break alerts;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        seen.push(arrived.await);
        let end = json!([{"labels": {"alertname": "A", "emoji": "🔥"}, "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:01Z"}]);
        agent.post("/api/v2/alerts", end).await;
    }
    alertmanager.kill().unwrap();
    alertmanager.wait().unwrap();
    agent.stop().await;
    let firing = seen[0].as_ref().expect("it did not get the alert");
    assert_eq!(firing[0]["annotations"]["summary"], "s");
    seen[1].as_ref().expect("it did not get the end");
}

#[tokio::test]
async fn a_trial_says_what_each_target_of_a_receiver_answered() {
    use rivetwatch::notify::Outcome;
    use rivetwatch::notify::trial;
    let answers = Answers::default();
    let (url, mut received) = target(answers.clone()).await;
    let yaml = format!(
        "receivers:\n- name: all\n  webhook_configs: [{{url: '{url}/hook'}}]\n  slack_configs: [{{api_url: '{url}/slack'}}]\n\
         \x20 pagerduty_configs: [{{routing_key: {}, url: '{url}/v2'}}]",
        "r".repeat(32)
    );
    // PagerDuty is asked first, and refuses the key.
    answers.lock().push(StatusCode::FORBIDDEN);
    let trials = trial::send(&settings(&yaml), "all", clock().now()).await.unwrap();
    let [pagerduty, webhook, slack] = trials.as_slice() else { panic!("{trials:?}") };
    assert!(matches!(pagerduty.trigger, Outcome::Answered { status: 403, .. }) && pagerduty.resolve.is_none());
    assert!(!format!("{pagerduty:?}").contains(&"r".repeat(32)), "the answer repeated the key");
    assert!(matches!(webhook.resolve, Some(Outcome::Answered { status: 202, .. })));
    assert!(matches!(slack.trigger, Outcome::Unusable { .. }));
    let statuses: Vec<Value> = [next(&mut received).await, next(&mut received).await, next(&mut received).await]
        .map(|(_, b)| b["status"].clone())
        .into();
    assert_eq!(statuses, [Value::Null, json!("firing"), json!("resolved")]);
    assert!(trial::send(&settings(&yaml), "nobody", clock().now()).await.is_none());
}

//! Peers that behave as their vendors document, and a world without a clock in which the notifier runs.

#![allow(clippy::unwrap_used)] // helpers of tests may fail by panicking, as tests do

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rivetwatch::model::{Alert, AlertState, Labels, TimestampMs};
use rivetwatch::notify::config::{Auth, SecretRef};
use rivetwatch::notify::targets;
use rivetwatch::notify::{
    Config, Context, Effect, Input, Integration, Notifier, NotifyStats, Outcome, Records, Send, Settings,
};
use serde_json::Value;

/// Every world begins here.
pub const START: TimestampMs = TimestampMs(1_795_419_468_000);

/// PagerDuty's Events API v2: it refuses what the document says it refuses, and keeps a list of incidents.
#[derive(Debug, Default)]
pub struct FakePagerduty {
    /// Open incidents by routing key and dedup key.
    pub open: BTreeMap<(String, String), Value>,
    /// What was taken in: time, action, dedup key.
    pub log: Vec<(TimestampMs, String, String)>,
    /// Resolves for an incident that was not open; PagerDuty drops them silently.
    pub stray_resolves: u64,
    /// Answers given before anything else: status, `Retry-After`.
    pub script: VecDeque<(u16, Option<String>)>,
    /// Bodies as they came, taken in or not.
    pub bodies: Vec<Value>,
}

impl FakePagerduty {
    /// One request; gives the status, the `Retry-After` header and the body of the answer.
    pub fn receive(&mut self, now: TimestampMs, body: &str) -> (u16, Option<String>, String) {
        let event: Value = serde_json::from_str(body).unwrap();
        self.bodies.push(event.clone());
        if let Some((status, retry_after)) = self.script.pop_front() {
            return (status, retry_after, String::new());
        }
        if body.len() > 512 * 1024 {
            return (413, None, String::new());
        }
        // About 120 events a minute for a key.
        let recent = self.log.iter().filter(|(t, _, _)| now.since(*t) < 60_000).count();
        if recent >= 120 {
            return (429, None, String::new());
        }
        if let Err(error) = Self::check(&event) {
            let answer =
                serde_json::json!({"status": "invalid event", "message": "Event object is invalid", "errors": [error]});
            return (400, None, answer.to_string());
        }
        let text = |name: &str| event[name].as_str().unwrap_or("").to_owned();
        let (action, dedup_key) = (text("event_action"), text("dedup_key"));
        let incident = (text("routing_key"), dedup_key.clone());
        self.log.push((now, action.clone(), dedup_key));
        match action.as_str() {
            "trigger" => {
                self.open.insert(incident, event);
            }
            _ => {
                if self.open.remove(&incident).is_none() {
                    self.stray_resolves += 1;
                }
            }
        }
        (202, None, r#"{"status":"success","message":"Event processed"}"#.into())
    }

    fn check(event: &Value) -> Result<(), String> {
        let text = |value: &Value, name: &str, max: usize| match value[name].as_str() {
            Some(t) if !t.is_empty() && t.chars().count() <= max => Ok(()),
            _ => Err(format!("'{name}' is missing or too long")),
        };
        text(event, "routing_key", 32)?;
        text(event, "dedup_key", 255)?;
        match event["event_action"].as_str() {
            Some("resolve") if event.as_object().unwrap().len() == 3 => Ok(()),
            Some("trigger") => {
                let payload = &event["payload"];
                text(payload, "summary", 1024)?;
                text(payload, "source", 1024)?;
                let severity = payload["severity"].as_str().unwrap_or("");
                match ["critical", "error", "warning", "info"].contains(&severity) {
                    true => Ok(()),
                    false => Err("'payload.severity' is invalid".into()),
                }
            }
            _ => Err("'event_action' is invalid, or a resolve carries more than its key fields".into()),
        }
    }

    /// The actions taken in, in order.
    pub fn actions(&self) -> Vec<&str> {
        self.log.iter().map(|(_, action, _)| action.as_str()).collect()
    }
}

/// How the network treats the next requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Fine,
    /// The request arrives, its answer does not.
    LosesAnswers,
    /// The request is lost after its first byte.
    LosesRequests,
    /// No connection.
    Refuses,
    /// The target answers so.
    Answers(u16),
}

/// A notifier, its disk, one PagerDuty and whatever else it sends to.
pub struct World {
    pub now: TimestampMs,
    pub settings: Arc<Settings>,
    pub stats: Arc<NotifyStats>,
    pub notifier: Notifier,
    pub disk: Records,
    pub pagerduty: FakePagerduty,
    pub network: Network,
    /// Sends that have left the notifier and have no outcome yet.
    pub flying: VecDeque<Send>,
    /// Sends to targets that are not PagerDuty, which take everything.
    pub others: Vec<(TimestampMs, Send)>,
    /// The bearer token of the last request to PagerDuty.
    pub last_token: Option<String>,
    /// Answers for targets that are not PagerDuty, by integration; 200 without an entry.
    pub status_of: BTreeMap<&'static str, u16>,
}

/// Settings from Alertmanager's YAML.
pub fn settings(yaml: &str) -> Arc<Settings> {
    let context = Context { deployment: "test".into(), ..Default::default() };
    Arc::new(Settings::new(&Config::from_yaml(yaml).unwrap(), &context).unwrap())
}

/// A firing alert that began at `at`.
pub fn firing(pairs: &[(&str, &str)], at: TimestampMs) -> Alert {
    Alert {
        labels: Labels::from_pairs(pairs.iter().copied()),
        annotations: [("summary".to_owned(), "it is broken".to_owned())].into(),
        state: AlertState::Firing,
        starts_at: at,
        ends_at: TimestampMs(0),
        generator_url: String::new(),
    }
}

/// Its end at `at`.
pub fn resolved(mut alert: Alert, at: TimestampMs) -> Alert {
    alert.state = AlertState::Resolved;
    alert.ends_at = at;
    alert
}

impl World {
    /// A world with this configuration and an empty disk.
    pub fn new(yaml: &str) -> Self {
        let settings = settings(yaml);
        let stats = Arc::new(NotifyStats::default());
        Self {
            now: START,
            notifier: Notifier::new(settings.clone(), stats.clone(), 1),
            settings,
            stats,
            disk: Records::new(),
            pagerduty: FakePagerduty::default(),
            network: Network::Fine,
            flying: VecDeque::new(),
            others: Vec::new(),
            last_token: None,
            status_of: BTreeMap::new(),
        }
    }

    /// One step; what must be on disk is there before the sends fly.
    pub fn step(&mut self, inputs: Vec<Input>) -> Option<TimestampMs> {
        let (effects, deadline) = self.notifier.step(self.now, inputs);
        for effect in effects {
            match effect {
                Effect::Persist(changes) => {
                    for change in changes {
                        match change.value {
                            Some(value) => self.disk.insert((change.table, change.key), value),
                            None => self.disk.remove(&(change.table, change.key)),
                        };
                    }
                }
                Effect::Send(send) => self.flying.push_back(send),
            }
        }
        deadline
    }

    /// Lets everything that flies arrive, and what follows from it.
    pub fn deliver(&mut self) -> Option<TimestampMs> {
        let mut deadline = self.step(vec![]);
        while let Some(send) = self.flying.pop_front() {
            let outcome = self.arrive(&send);
            deadline = self.step(vec![Input::Delivered { id: send.id, outcome }]);
        }
        deadline
    }

    /// What the network and the target make of one send.
    pub fn arrive(&mut self, send: &Send) -> Outcome {
        if send.target.integration != Integration::Pagerduty {
            self.others.push((self.now, send.clone()));
            let status = self.status_of.get(send.target.integration.as_str()).copied().unwrap_or(200);
            return Outcome::Answered { status, retry_after: None, body: String::new() };
        }
        if let Some(Auth::Scheme { secret: SecretRef::Value(token), .. }) = &send.target.transport.auth {
            self.last_token = Some(token.expose().to_owned());
        }
        let lost = |may_have_arrived| Outcome::Failed { may_have_arrived, what: "connection closed".into() };
        match self.network {
            Network::Refuses => return lost(false),
            Network::LosesRequests => return lost(true),
            Network::Answers(status) => return Outcome::Answered { status, retry_after: None, body: String::new() },
            Network::Fine | Network::LosesAnswers => {}
        }
        let Some(SecretRef::Value(key)) = &send.target.key else { panic!("tests give the key in the file") };
        let request = targets::request(&send.target.integration, &send.body, Some(key.expose())).unwrap();
        let (status, retry_after, body) = self.pagerduty.receive(self.now, &request.body);
        match self.network {
            Network::LosesAnswers => lost(true),
            _ => Outcome::Answered { status, retry_after, body },
        }
    }

    /// Takes alerts in and delivers what follows at once.
    pub fn alerts(&mut self, alerts: Vec<Alert>) {
        self.step(vec![Input::Alerts(alerts)]);
        self.deliver();
    }

    /// Moves on to `to`, stepping at every deadline on the way.
    pub fn run_to(&mut self, to: TimestampMs) {
        loop {
            match self.deliver() {
                Some(t) if t <= to => self.now = self.now.max(t),
                _ => break,
            }
        }
        self.now = to;
        self.deliver();
    }

    /// Moves on by `ms`.
    pub fn run_for(&mut self, ms: i64) {
        self.run_to(self.now.plus_ms(ms));
    }

    /// Moves on by `ms` while `alerts` are repeated every 15 s, as the rules do.
    pub fn run_with(&mut self, alerts: &[Alert], ms: i64) {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            self.alerts(alerts.to_vec());
            self.run_to(self.now.plus_ms(15_000).min(end));
        }
    }

    /// The process dies; what flew is lost, and a new process begins with what is on disk.
    pub fn crash(&mut self) {
        self.flying.clear();
        let (notifier, unreadable) =
            Notifier::restore(self.settings.clone(), self.stats.clone(), 2, &self.disk, self.now);
        assert_eq!(unreadable, 0);
        self.notifier = notifier;
    }

    /// Another configuration holds from now on.
    pub fn configure(&mut self, yaml: &str) {
        self.settings = settings(yaml);
        self.step(vec![Input::ConfigReplaced(self.settings.clone())]);
        self.deliver();
    }
}

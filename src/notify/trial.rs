//! A page on trial: does the way to each target of a receiver work? For `notify test`.
//!
//! In:  settings and the name of a receiver.   Out: for each target what it answered to a trigger and its resolve.
//! It goes past routing, silences and the outbox, and uses a dedup key of its own.

use std::sync::Arc;

use super::client::HttpSender;
use super::notifier::{Send, dedup_key};
use super::page::Page;
use super::retry::Outcome;
use super::settings::{Integration, Settings, Style, Target};
use super::targets::{self, MessageKind};
use crate::model::{Alert, AlertState, Labels, TimestampMs};

/// What one target made of the trial.
#[derive(Debug)]
pub struct Trial {
    pub integration: String,
    pub trigger: Outcome,
    /// `None` where there is nothing to resolve, or the trigger was not accepted.
    pub resolve: Option<Outcome>,
}

/// Sends a trigger and its resolve to every target of `receiver`; `None` when there is no such receiver.
pub async fn send(settings: &Settings, receiver: &str, now: TimestampMs) -> Option<Vec<Trial>> {
    let targets = settings.receivers.get(receiver)?;
    let sender = HttpSender::new();
    let mut trials = Vec::new();
    let page = page(settings, receiver, now);
    for target in &targets.targets {
        trials.push(try_target(&sender, &target.target, &target.style, &page).await);
    }
    for relay in &targets.relays {
        let body = targets::alertmanager::body(page.firing.iter(), |_| false, now, relay.resend_ms);
        let end = targets::alertmanager::body(page.firing.iter(), |_| true, now, relay.resend_ms);
        let trigger = attempt(&sender, &relay.target, MessageKind::Trigger, body).await;
        let resolve = attempt(&sender, &relay.target, MessageKind::Resolve, end).await;
        trials.push(Trial { integration: relay.target.integration.as_str().into(), trigger, resolve: Some(resolve) });
    }
    for heartbeat in &targets.heartbeats {
        let body = targets::heartbeat::body(&settings.deployment);
        let trigger = attempt(&sender, &heartbeat.target, MessageKind::Trigger, body).await;
        trials.push(Trial { integration: heartbeat.target.integration.as_str().into(), trigger, resolve: None });
    }
    Some(trials)
}

async fn try_target(sender: &HttpSender, target: &Arc<Target>, style: &Style, page: &Page) -> Trial {
    let body = |kind, page: &Page| targets::body(&target.integration, style, kind, page);
    let trigger = attempt(sender, target, MessageKind::Trigger, body(MessageKind::Trigger, page)).await;
    let was_accepted = matches!(trigger, Outcome::Answered { status: 200..=299, .. });
    let ended = Page { firing: Vec::new(), resolved: page.firing.clone(), ..page.clone() };
    let resolve = match was_accepted {
        true => Some(attempt(sender, target, MessageKind::Resolve, body(MessageKind::Resolve, &ended)).await),
        false => None,
    };
    Trial { integration: target.integration.as_str().into(), trigger, resolve }
}

async fn attempt(sender: &HttpSender, target: &Arc<Target>, kind: MessageKind, body: String) -> Outcome {
    match &target.integration {
        Integration::Terminal => Outcome::Answered { status: 200, retry_after: None, body },
        Integration::Unsupported(name) => {
            Outcome::Unusable { what: format!("{name} is not delivered by this release") }
        }
        _ => sender.send(&Send { id: 0, target: target.clone(), kind, body }).await,
    }
}

fn page(settings: &Settings, receiver: &str, now: TimestampMs) -> Page {
    let labels = Labels::from_pairs([("alertname", "RivetwatchTest"), ("severity", "critical")]);
    let summary = "A test of the way to this receiver; nothing is wrong.";
    let alert = Alert {
        labels: labels.clone(),
        annotations: [("summary".to_owned(), summary.to_owned())].into(),
        state: AlertState::Firing,
        starts_at: now,
        ends_at: now,
        generator_url: String::new(),
    };
    Page {
        deployment: settings.deployment.clone(),
        receiver: receiver.to_owned(),
        dedup_key: dedup_key(&settings.deployment, receiver, &labels),
        group_labels: labels,
        firing: vec![alert],
        resolved: Vec::new(),
        external_url: settings.external_url.clone(),
        now,
    }
}

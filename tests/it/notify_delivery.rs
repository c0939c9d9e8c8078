//! The delivery contract: what people complain about elsewhere does not happen here. No test waits.

#![allow(clippy::unwrap_used)] // helpers of tests may fail by panicking, as tests do

use rivetwatch::model::{Labels, Stats, TimestampMs};
use rivetwatch::notify::silence::Silence;
use rivetwatch::notify::{Input, MessageKind};

use crate::notify_fakes::{Network, START, World, firing, resolved};

const PAGER: &str = "
route: {receiver: pager, group_by: [alertname], group_wait: 0s}
receivers: [{name: pager, pagerduty_configs: [{routing_key: k1}]}]
";
const MINUTE: i64 = 60_000;

fn stat(world: &World, name: &str, labels: &[(&str, &str)]) -> f64 {
    let rows = world.stats.rows();
    let has = |row: &rivetwatch::model::StatRow| {
        row.name == name && labels.iter().all(|(n, v)| row.labels.iter().any(|(rn, rv)| rn == n && rv == v))
    };
    rows.iter().filter(|r| has(r)).map(|r| r.value).sum()
}

fn silence(matchers: &str, from: TimestampMs, minutes: i64) -> Silence {
    Silence {
        id: "s1".into(),
        matchers: rivetwatch::notify::config::matchers_from_text(matchers).unwrap(),
        starts_at: from,
        ends_at: from.plus_ms(minutes * MINUTE),
        updated_at: from,
        created_by: "test".into(),
        comment: "test".into(),
    }
}

#[test]
fn a_throttled_page_is_delivered_once_and_not_before_the_pause_is_over() {
    let mut world = World::new(PAGER);
    world.pagerduty.script.push_back((429, Some("7".into())));
    let a = firing(&[("alertname", "A")], START);
    world.alerts(vec![a.clone()]);
    world.run_for(6_999);
    assert!(world.pagerduty.log.is_empty());
    world.run_for(1);
    world.run_with(&[a], MINUTE);
    assert_eq!(world.pagerduty.log.len(), 1);
    assert_eq!(world.pagerduty.log[0].0, START.plus_ms(7_000));
}

#[test]
fn an_incident_that_was_muted_while_it_fired_is_resolved_when_it_heals() {
    let inhibit = format!(
        "{PAGER}inhibit_rules: [{{source_matchers: [alertname=\"Cause\"], target_matchers: [alertname=\"A\"]}}]\n"
    );
    let a = firing(&[("alertname", "A")], START);
    let cause = firing(&[("alertname", "Cause")], START.plus_ms(MINUTE));
    for way in ["silence", "inhibition", "mute time"] {
        let mut world = World::new(if way == "inhibition" { &inhibit } else { PAGER });
        world.alerts(vec![a.clone()]);
        assert_eq!(world.pagerduty.actions(), ["trigger"]);
        world.run_for(MINUTE);
        match way {
            "silence" => {
                world.step(vec![Input::PutSilence(silence("alertname=A", world.now, 600))]);
            }
            "inhibition" => world.alerts(vec![cause.clone()]),
            _ => world.configure("time_intervals: [{name: always, time_intervals: [{years: ['2000:2100']}]}]\n\
                 route: {receiver: pager, group_by: [alertname], group_wait: 0s, routes: [{mute_time_intervals: [always]}]}\n\
                 receivers: [{name: pager, pagerduty_configs: [{routing_key: k1}]}]"),
        }
        let repeated: Vec<_> = if way == "inhibition" { vec![a.clone(), cause.clone()] } else { vec![a.clone()] };
        world.run_with(&repeated, 10 * MINUTE);
        let about_a = |world: &World| {
            let key = &world.pagerduty.log[0].2;
            world.pagerduty.log.iter().filter(|l| l.2 == *key).map(|l| l.1.clone()).collect::<Vec<_>>()
        };
        assert_eq!(about_a(&world), ["trigger"], "{way}: muted, not healed");
        world.alerts(vec![resolved(a.clone(), world.now)]);
        world.run_for(6 * MINUTE);
        assert_eq!(about_a(&world), ["trigger", "resolve"], "{way}");
    }
}

#[test]
fn a_kill_between_heal_and_send_does_not_lose_the_resolve() {
    let mut world = World::new(PAGER);
    let a = firing(&[("alertname", "A")], START);
    world.alerts(vec![a.clone()]);
    world.run_for(5 * MINUTE - 1_000);
    // The resolve is on disk and on its way when the process dies.
    world.now = world.now.plus_ms(2_000);
    world.step(vec![Input::Alerts(vec![resolved(a, world.now)])]);
    assert_eq!(world.flying.len(), 1);
    world.crash();
    world.run_for(1);
    assert_eq!(world.pagerduty.actions(), ["trigger", "resolve"]);
    assert!(world.disk.is_empty(), "{:?}", world.disk.keys());
}

#[test]
fn an_alert_that_heals_while_the_agent_is_down_is_resolved_after_the_restart() {
    let mut world = World::new(PAGER);
    world.alerts(vec![firing(&[("alertname", "A")], START)]);
    world.crash();
    world.now = world.now.plus_ms(60 * MINUTE);
    world.crash();
    world.run_for(11 * MINUTE);
    assert_eq!(world.pagerduty.actions(), ["trigger", "resolve"]);
}

#[test]
fn lost_answers_and_replicas_make_one_incident() {
    let a = firing(&[("alertname", "A"), ("instance", "1")], START);
    let b = firing(&[("alertname", "A"), ("instance", "2")], START.plus_ms(1_000));
    let mut first = World::new(PAGER);
    let mut second = World::new(PAGER);
    first.network = Network::LosesAnswers;
    first.alerts(vec![a.clone()]);
    first.run_with(&[a.clone(), b.clone()], 2 * MINUTE);
    assert!(first.pagerduty.log.len() > 2, "it tries again");
    assert_eq!(first.pagerduty.open.len(), 1);
    // A second agent sees other alerts of the same group.
    second.pagerduty = std::mem::take(&mut first.pagerduty);
    second.alerts(vec![b.clone(), a.clone()]);
    assert_eq!(second.pagerduty.open.len(), 1);
    second.alerts(vec![resolved(a, second.now), resolved(b, second.now)]);
    second.run_for(6 * MINUTE);
    assert_eq!(second.pagerduty.open.len(), 0);
}

#[test]
fn an_alert_shorter_than_the_group_wait_sends_nothing() {
    let mut world = World::new(&PAGER.replace("group_wait: 0s", "group_wait: 30s"));
    let a = firing(&[("alertname", "A")], START);
    world.alerts(vec![a.clone()]);
    world.run_for(20_000);
    world.alerts(vec![resolved(a, world.now)]);
    world.run_for(30 * MINUTE);
    assert!(world.pagerduty.bodies.is_empty());
}

#[test]
fn an_alert_that_heals_before_its_page_was_accepted_is_dropped_and_counted() {
    let mut world = World::new(PAGER);
    world.network = Network::Answers(503);
    let a = firing(&[("alertname", "A")], START);
    world.run_with(std::slice::from_ref(&a), 4 * MINUTE);
    world.alerts(vec![resolved(a, world.now)]);
    world.run_for(2 * MINUTE);
    world.network = Network::Fine;
    world.run_for(60 * MINUTE);
    assert!(world.pagerduty.log.is_empty());
    assert_eq!(world.stats.dropped_total("resolved_before_accepted"), 1);
    assert!(world.disk.is_empty());
}

#[test]
fn long_labels_emoji_and_markup_are_accepted() {
    let mut world = World::new(PAGER);
    let long = "🔥<&>".repeat(1_250);
    let mut a = firing(&[("alertname", "A"), ("path", &long)], START);
    a.annotations.insert("summary".into(), long.clone());
    a.annotations.insert("description".into(), "x".repeat(2_000_000));
    world.alerts(vec![a]);
    assert_eq!(world.pagerduty.actions(), ["trigger"]);
}

#[test]
fn a_page_about_25_instances_names_the_count_and_the_worst() {
    let mut world = World::new(PAGER);
    let alerts = (0..25).map(|i| {
        let mut a = firing(&[("alertname", "A"), ("instance", &format!("e{i}"))], START);
        a.annotations.insert("value".into(), format!("{i}%"));
        a
    });
    world.alerts(alerts.collect());
    let page = world.pagerduty.open.values().next().unwrap();
    assert_eq!(page["payload"]["custom_details"]["num_firing"], 25);
    assert_eq!(page["payload"]["custom_details"]["worst"][0], "e24: 24%");
    assert!(page["payload"]["summary"].as_str().unwrap().ends_with("(and 24 more)"));
}

#[test]
fn a_refused_body_is_shrunk_once_and_then_recorded() {
    let mut world = World::new(PAGER);
    world.pagerduty.script.extend([(400, None), (202, None)]);
    let a = firing(&[("alertname", "A")], START);
    world.alerts(vec![a.clone()]);
    assert_eq!(world.pagerduty.bodies.len(), 2);
    assert!(world.pagerduty.bodies[1]["payload"]["custom_details"]["notice"].is_string());
    let mut world = World::new(PAGER);
    world.pagerduty.script.extend([(400, None), (400, None)]);
    world.alerts(vec![a.clone()]);
    world.run_with(&[a], 30 * MINUTE);
    assert_eq!(world.pagerduty.bodies.len(), 2, "nothing changed, so it is not tried again before the repeat");
    let failed = [("receiver", "pager"), ("integration", "pagerduty"), ("reason", "body_rejected")];
    assert_eq!(stat(&world, "rivetwatch_notifications_failed_total", &failed), 1.0);
}

#[test]
fn a_target_that_refuses_everything_is_marked_and_the_fallback_is_paged_at_once() {
    let mut world = World::new(
        "
route: {receiver: pager, group_by: [alertname], group_wait: 0s}
receivers:
- {name: pager, fallback: chat, pagerduty_configs: [{routing_key: k1}]}
- {name: chat, webhook_configs: [{url: 'http://chat.example/'}]}
",
    );
    world.network = Network::Answers(403);
    let a = firing(&[("alertname", "A")], START);
    world.alerts(vec![a.clone()]);
    assert_eq!(world.others.len(), 1, "the fallback was told in the same pass");
    let broken = [("receiver", "pager"), ("integration", "pagerduty")];
    assert_eq!(stat(&world, "rivetwatch_notification_target_broken_bool", &broken), 1.0);
    // Somebody puts the key right: the page goes out with the next flush, and the mark is gone.
    world.network = Network::Fine;
    world.run_with(std::slice::from_ref(&a), 6 * MINUTE);
    assert_eq!(world.pagerduty.actions(), ["trigger"]);
    assert_eq!(stat(&world, "rivetwatch_notification_target_broken_bool", &broken), 0.0);
    world.alerts(vec![resolved(a, world.now)]);
    world.run_for(6 * MINUTE);
    assert_eq!(world.pagerduty.open.len(), 0);
    let kinds: Vec<MessageKind> = world.others.iter().map(|(_, s)| s.kind).collect();
    assert_eq!(kinds, [MessageKind::Trigger, MessageKind::Resolve]);
}

#[test]
fn a_resolve_goes_to_the_key_the_trigger_used_after_the_configuration_has_changed() {
    for crash in [false, true] {
        let mut world = World::new(PAGER);
        let a = firing(&[("alertname", "A")], START);
        world.alerts(vec![a.clone()]);
        world.configure("route: {receiver: nobody}\nreceivers: [{name: nobody}]");
        if crash {
            world.crash();
        }
        world.run_with(std::slice::from_ref(&a), 10 * MINUTE);
        assert_eq!(world.pagerduty.actions(), ["trigger"], "it still fires");
        world.alerts(vec![resolved(a, world.now)]);
        world.run_for(6 * MINUTE);
        assert_eq!(world.pagerduty.actions(), ["trigger", "resolve"]);
        assert_eq!(world.pagerduty.bodies[1]["routing_key"], "k1");
        assert_eq!(world.pagerduty.stray_resolves, 0);
    }
}

#[test]
fn a_resolve_is_tried_until_it_is_accepted() {
    let mut world = World::new(PAGER);
    let a = firing(&[("alertname", "A")], START);
    world.alerts(vec![a.clone()]);
    world.network = Network::Answers(500);
    world.alerts(vec![resolved(a, world.now)]);
    world.run_for(24 * 60 * MINUTE);
    world.network = Network::Answers(401);
    world.run_for(24 * 60 * MINUTE);
    world.network = Network::Fine;
    world.run_for(6 * MINUTE);
    assert_eq!(world.pagerduty.actions(), ["trigger", "resolve"]);
}

#[test]
fn the_repeat_interval_holds_across_restarts() {
    let mut world = World::new(&PAGER.replace("group_wait: 0s", "group_wait: 0s, repeat_interval: 1h"));
    let a = firing(&[("alertname", "A")], START);
    for _ in 0..8 {
        world.run_with(std::slice::from_ref(&a), 10 * MINUTE);
        world.crash();
    }
    assert_eq!(world.pagerduty.actions(), ["trigger", "trigger"]);
    let between = world.pagerduty.log[1].0.since(world.pagerduty.log[0].0);
    assert!((60 * MINUTE..=65 * MINUTE).contains(&between), "{between}");
}

#[test]
fn timers_follow_group_wait_and_group_interval() {
    let mut world = World::new(&PAGER.replace("group_wait: 0s", "group_wait: 30s, group_interval: 2m"));
    let a = firing(&[("alertname", "A"), ("instance", "1")], START);
    let b = firing(&[("alertname", "A"), ("instance", "2")], START.plus_ms(40_000));
    world.run_with(std::slice::from_ref(&a), 40_000);
    world.run_with(&[a, b], 5 * MINUTE);
    let times: Vec<i64> = world.pagerduty.log.iter().map(|l| l.0.since(START)).collect();
    assert_eq!(times, [30_000, 150_000], "the first after group_wait, the news after group_interval");
}

#[test]
fn a_silence_holds_a_page_back_and_survives_a_restart() {
    let mut world = World::new(PAGER);
    world.step(vec![Input::PutSilence(silence("alertname=A", START, 30))]);
    world.crash();
    let a = firing(&[("alertname", "A")], START);
    world.run_with(std::slice::from_ref(&a), 29 * MINUTE);
    assert!(world.pagerduty.log.is_empty());
    let view = world.notifier.view(world.now);
    assert_eq!(view.alerts[0].silenced_by, ["s1"]);
    world.run_with(std::slice::from_ref(&a), 7 * MINUTE);
    assert_eq!(world.pagerduty.actions(), ["trigger"], "it ended and the alert still fires");
    // Ended by hand, it is listed for a while and then forgotten, on disk too.
    world.step(vec![Input::ExpireSilence("s1".into())]);
    world.alerts(vec![resolved(a, world.now)]);
    world.run_for(6 * 24 * 60 * MINUTE);
    world.step(vec![]);
    assert!(world.notifier.view(world.now).silences.is_empty() && world.disk.is_empty());
}

#[test]
fn one_cause_gives_one_page() {
    let yaml = format!(
        "{PAGER}inhibit_rules: [{{source_matchers: [alertname=\"HostRateLimited\"], target_matchers: [alertname=\"ActorsLost\"], equal: [pool_name]}}]\n"
    );
    let mut world = World::new(&yaml);
    let mut alerts = vec![firing(&[("alertname", "HostRateLimited"), ("pool_name", "p")], START)];
    alerts.extend(
        (0..1_433)
            .map(|i| firing(&[("alertname", "ActorsLost"), ("pool_name", "p"), ("instance", &i.to_string())], START)),
    );
    world.run_with(&alerts, 10 * MINUTE);
    assert_eq!(world.pagerduty.actions(), ["trigger"]);
    assert!(stat(&world, "rivetwatch_notify_alerts_suppressed_total", &[("reason", "inhibited")]) >= 1_433.0);
}

#[test]
fn a_kind_that_is_not_delivered_is_counted_and_marked_and_never_silent() {
    let mut world = World::new(
        "route: {receiver: chat, group_wait: 0s}\nreceivers: [{name: chat, slack_configs: [{api_url: 'https://x/'}]}]",
    );
    let a = firing(&[("alertname", "A")], START);
    world.run_with(std::slice::from_ref(&a), 20 * MINUTE);
    let slack = [("receiver", "chat"), ("integration", "slack")];
    assert_eq!(stat(&world, "rivetwatch_notifications_failed_total", &slack), 1.0);
    assert_eq!(stat(&world, "rivetwatch_notification_target_broken_bool", &slack), 1.0);
    world.alerts(vec![resolved(a, world.now)]);
    world.run_for(6 * MINUTE);
    assert!(world.disk.is_empty());
}

#[test]
fn the_heartbeat_stops_when_the_agent_is_not_well() {
    let mut world = World::new("receivers: [{name: beat, heartbeat_configs: [{url: 'http://hc.example/x'}]}]");
    let watchdog = firing(&[("alertname", "Watchdog")], START);
    world.run_with(std::slice::from_ref(&watchdog), 5 * MINUTE);
    assert!(world.others.is_empty(), "nobody said that all is well");
    for _ in 0..20 {
        world.step(vec![Input::Health(true)]);
        world.run_with(std::slice::from_ref(&watchdog), 15_000);
    }
    let pings = world.others.len();
    assert!((5..=6).contains(&pings), "{pings} in five minutes");
    world.step(vec![Input::Health(false)]);
    world.run_with(std::slice::from_ref(&watchdog), 5 * MINUTE);
    assert_eq!(world.others.len(), pings);
    // Evaluation hangs: neither Watchdog nor the word of health is repeated.
    world.step(vec![Input::Health(true)]);
    world.run_for(30 * MINUTE);
    assert!(world.others.len() <= pings + 3, "{} after {pings}", world.others.len());
}

#[test]
fn every_alertmanager_is_told_again_and_again() {
    let mut world =
        World::new("receivers: [{name: am, alertmanager_configs: [{urls: ['http://a:9093', 'http://b:9093']}]}]");
    let a = firing(&[("alertname", "A")], START);
    world.alerts(vec![a.clone()]);
    assert_eq!(world.others.len(), 2, "both instances, at once");
    let sent = |world: &World| -> Vec<serde_json::Value> {
        world.others.iter().map(|(_, s)| serde_json::from_str(&s.body).unwrap()).collect()
    };
    assert_eq!(sent(&world)[0][0]["endsAt"], START.plus_ms(4 * MINUTE).to_rfc3339());
    world.run_with(std::slice::from_ref(&a), 3 * MINUTE);
    assert_eq!(world.others.len(), 2 * 4);
    let healed = world.now;
    world.alerts(vec![resolved(a, healed)]);
    world.run_for(20 * MINUTE);
    let after: Vec<serde_json::Value> = sent(&world).split_off(8);
    assert!((20..=40).contains(&after.len()), "a resolve is repeated for 15 minutes: {}", after.len());
    assert!(after.iter().all(|body| body[0]["endsAt"] == healed.to_rfc3339()));
}

#[test]
fn the_dedup_key_is_a_function_of_deployment_receiver_and_group_alone() {
    use rivetwatch::notify::notifier::dedup_key;
    let labels = Labels::from_pairs([("alertname", "A")]);
    let key = dedup_key("prod", "pager", &labels);
    // Written down, since another key after an upgrade would orphan every open incident.
    assert_eq!(key, "rivetwatch-b2047ec66701a201cb44b927e2cc0237");
    for other in [
        dedup_key("test", "pager", &labels),
        dedup_key("prod", "chat", &labels),
        dedup_key("prod", "pager", &Labels::empty()),
        dedup_key("prodp", "ager", &labels),
    ] {
        assert_ne!(key, other);
    }
}

#[test]
fn news_that_arrives_in_time_is_told_in_one_page_and_resolves_wait_for_the_last() {
    let mut world = World::new(&PAGER.replace("group_wait: 0s", "group_wait: 10s, group_interval: 1m"));
    let alert = |i: usize| firing(&[("alertname", "A"), ("instance", &i.to_string())], START);
    world.alerts(vec![alert(1)]);
    world.run_for(5_000);
    world.alerts(vec![alert(2), alert(3)]);
    world.run_for(5_000);
    assert_eq!(world.pagerduty.log.len(), 1, "three alerts, one page");
    world.alerts(vec![resolved(alert(1), world.now), resolved(alert(2), world.now)]);
    world.run_with(&[alert(3)], MINUTE);
    assert_eq!(world.pagerduty.actions(), ["trigger", "trigger"], "an update, since one still fires");
    let details = &world.pagerduty.bodies[1]["payload"]["custom_details"];
    assert_eq!((&details["num_firing"], &details["num_resolved"]), (&1.into(), &2.into()));
    world.alerts(vec![resolved(alert(3), world.now)]);
    world.run_for(2 * MINUTE);
    assert_eq!(world.pagerduty.actions(), ["trigger", "trigger", "resolve"]);
}

#[test]
fn what_is_too_much_is_refused_and_counted() {
    let mut world = World::new(&format!("alerts_max: 100\n{}", PAGER.trim_start()));
    let alert = |i: usize| firing(&[("alertname", "A"), ("instance", &i.to_string())], START);
    world.alerts((0..150).map(alert).collect());
    assert_eq!(stat(&world, "rivetwatch_notify_alerts_refused_total", &[]), 50.0);
    assert_eq!(world.notifier.view(world.now).alerts.len(), 100);
    // What is known goes on being served.
    world.alerts(vec![resolved(alert(0), world.now)]);
    assert_eq!(world.notifier.view(world.now).alerts.len(), 99);
}

#[test]
fn a_rate_limited_burst_arrives_whole_and_once() {
    let mut world = World::new(&PAGER.replace("[alertname]", "[instance]"));
    let alerts: Vec<_> = (0..300).map(|i| firing(&[("alertname", "A"), ("instance", &i.to_string())], START)).collect();
    world.run_with(&alerts, 10 * MINUTE);
    assert_eq!(world.pagerduty.open.len(), 300);
    assert_eq!(world.pagerduty.log.len(), 300, "each once");
}

#[test]
fn a_rotated_credential_reaches_the_resolve_that_waits() {
    let yaml = |token: &str| {
        PAGER.replace("routing_key: k1", &format!("routing_key: k1, http_config: {{bearer_token: {token}}}"))
    };
    let mut world = World::new(&yaml("old"));
    let a = firing(&[("alertname", "A")], START);
    world.alerts(vec![a.clone()]);
    world.network = Network::Answers(401);
    world.alerts(vec![resolved(a, world.now)]);
    world.run_for(20 * MINUTE);
    world.configure(&yaml("new"));
    world.network = Network::Fine;
    world.run_for(6 * MINUTE);
    assert_eq!(world.pagerduty.actions(), ["trigger", "resolve"]);
    assert_eq!(world.last_token.as_deref(), Some("new"));
}

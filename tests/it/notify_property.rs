//! Whatever alerts, crashes and networks do: one open incident for a group, each accepted trigger gets its
//! resolve, and no resolve comes without a trigger that may have arrived.

#![allow(clippy::unwrap_used)] // helpers of tests may fail by panicking, as tests do

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rivetwatch::model::Alert;
use rivetwatch::notify::retry::Class;
use rivetwatch::notify::silence::Silence;
use rivetwatch::notify::{Input, MessageKind};

use crate::notify_fakes::{Network, World, firing, resolved};

const YAML: &str = "
route: {receiver: pager, group_by: [group], group_wait: 5s, group_interval: 20s, repeat_interval: 3m}
receivers: [{name: pager, pagerduty_configs: [{routing_key: k1}]}]
";
const OTHER: &str = "
route: {receiver: other, group_by: [group], group_wait: 5s, group_interval: 20s, repeat_interval: 3m}
receivers: [{name: other, pagerduty_configs: [{routing_key: k2}]}]
";

#[derive(Clone, Debug)]
enum Op {
    Fire(usize),
    Heal(usize),
    /// Milliseconds; firing alerts are repeated first.
    Advance(i64),
    /// The process dies. What flew either arrived or did not.
    Crash {
        arrived: bool,
    },
    Network(Network),
    /// Whether answers take long from now on.
    Slow(bool),
    Silence(usize),
    Configure(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let network = prop_oneof![
        3 => Just(Network::Fine),
        1 => Just(Network::LosesAnswers),
        1 => Just(Network::LosesRequests),
        1 => Just(Network::Refuses),
        1 => prop_oneof![Just(500u16), Just(502), Just(429), Just(400), Just(403)].prop_map(Network::Answers),
    ];
    prop_oneof![
        4 => (0usize..6).prop_map(Op::Fire),
        4 => (0usize..6).prop_map(Op::Heal),
        6 => (1i64..60_000).prop_map(Op::Advance),
        1 => any::<bool>().prop_map(|arrived| Op::Crash { arrived }),
        2 => network.prop_map(Op::Network),
        2 => any::<bool>().prop_map(Op::Slow),
        1 => (0usize..6).prop_map(Op::Silence),
        1 => any::<bool>().prop_map(Op::Configure),
    ]
}

/// Three groups of two alerts.
fn alert(i: usize, at: rivetwatch::model::TimestampMs) -> Alert {
    firing(&[("alertname", "A"), ("group", &(i / 2).to_string()), ("i", &i.to_string())], at)
}

/// Steps and delivers, and notes which dedup keys had a trigger that left, and checks the sends' order.
struct Observed {
    world: World,
    /// Dedup keys whose incident may be open: a trigger arrived, or may have, and no resolve was accepted since.
    attempted: BTreeSet<String>,
    violations: Vec<String>,
    /// Answers take long: what flies goes on flying.
    slow: bool,
}

impl Observed {
    fn settle(&mut self, inputs: Vec<Input>) -> Option<rivetwatch::model::TimestampMs> {
        let mut deadline = self.world.step(inputs);
        if self.slow {
            return deadline;
        }
        while let Some(send) = self.world.flying.pop_front() {
            let event: serde_json::Value = serde_json::from_str(&send.body).unwrap();
            let key = event["dedup_key"].as_str().unwrap().to_owned();
            match send.kind {
                MessageKind::Resolve if !self.attempted.contains(&key) => {
                    self.violations.push(format!("a resolve of {key} without a trigger"));
                }
                MessageKind::Trigger | MessageKind::Resolve => {}
            }
            let outcome = self.world.arrive(&send);
            let may_have_arrived = match outcome.classify(self.world.now) {
                Class::Accepted => true,
                Class::Retry { may_have_arrived, .. } => may_have_arrived,
                Class::BodyRejected | Class::TargetRejected => false,
            };
            match send.kind {
                MessageKind::Trigger if may_have_arrived => {
                    self.attempted.insert(key);
                }
                MessageKind::Resolve if outcome.classify(self.world.now) == Class::Accepted => {
                    self.attempted.remove(&key);
                }
                MessageKind::Trigger | MessageKind::Resolve => {}
            }
            deadline = self.world.step(vec![Input::Delivered { id: send.id, outcome }]);
        }
        deadline
    }

    fn run_to(&mut self, to: rivetwatch::model::TimestampMs) {
        loop {
            match self.settle(vec![]) {
                Some(t) if t <= to => self.world.now = self.world.now.max(t),
                _ => break,
            }
        }
        self.world.now = to;
        self.settle(vec![]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn one_incident_a_group_and_each_gets_its_resolve(ops in proptest::collection::vec(op(), 1..60)) {
        let mut observed = Observed { world: World::new(YAML), attempted: BTreeSet::new(), violations: Vec::new(), slow: false };
        let mut burning: BTreeMap<usize, Alert> = BTreeMap::new();
        for op in ops {
            let now = observed.world.now;
            match op {
                Op::Fire(i) => {
                    let alert = burning.entry(i).or_insert_with(|| alert(i, now)).clone();
                    observed.settle(vec![Input::Alerts(vec![alert])]);
                }
                Op::Heal(i) => {
                    if let Some(alert) = burning.remove(&i) {
                        observed.settle(vec![Input::Alerts(vec![resolved(alert, now)])]);
                    }
                }
                Op::Advance(ms) => {
                    observed.settle(vec![Input::Alerts(burning.values().cloned().collect())]);
                    observed.run_to(now.plus_ms(ms));
                }
                Op::Crash { arrived } => {
                    // One more step is under way when the process dies.
                    observed.world.step(vec![Input::Alerts(burning.values().cloned().collect())]);
                    while let Some(send) = observed.world.flying.pop_front() {
                        let event: serde_json::Value = serde_json::from_str(&send.body).unwrap();
                        if send.kind == MessageKind::Trigger {
                            observed.attempted.insert(event["dedup_key"].as_str().unwrap().to_owned());
                        }
                        if arrived {
                            observed.world.arrive(&send);
                        }
                    }
                    observed.world.crash();
                }
                Op::Slow(slow) => {
                    observed.slow = slow;
                    observed.settle(vec![]);
                }
                Op::Network(network) => observed.world.network = network,
                Op::Silence(i) => {
                    let silence = Silence {
                        id: format!("s{i}"),
                        matchers: rivetwatch::notify::config::matchers_from_text(&format!("i=\"{i}\"")).unwrap(),
                        starts_at: now,
                        ends_at: now.plus_ms(90_000),
                        updated_at: now,
                        created_by: String::new(),
                        comment: String::new(),
                    };
                    observed.settle(vec![Input::PutSilence(silence)]);
                }
                Op::Configure(first) => {
                    observed.world.settings = crate::notify_fakes::settings(if first { YAML } else { OTHER });
                    observed.settle(vec![Input::ConfigReplaced(observed.world.settings.clone())]);
                }
            }
            // One open incident for each group and receiver, whatever has happened.
            for key in ["k1", "k2"] {
                let open = observed.world.pagerduty.open.keys().filter(|(k, _)| k == key).count();
                prop_assert!(open <= 3, "{open} incidents for three groups");
            }
        }
        // The network comes back, everything heals.
        observed.world.network = Network::Fine;
        observed.slow = false;
        let now = observed.world.now;
        observed.settle(vec![Input::Alerts(burning.into_values().map(|a| resolved(a, now)).collect())]);
        observed.run_to(now.plus_ms(60 * 60_000));
        prop_assert!(observed.violations.is_empty(), "{:?}", observed.violations);
        prop_assert!(observed.world.pagerduty.open.is_empty(), "left open: {:?}", observed.world.pagerduty.open.keys());
        prop_assert!(observed.world.notifier.is_idle());
        let left: Vec<_> = observed.world.disk.keys().filter(|(t, _)| *t != rivetwatch::notify::Table::Silences).collect();
        prop_assert!(left.is_empty(), "left on disk: {left:?}");
    }
}

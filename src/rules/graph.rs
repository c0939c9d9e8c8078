//! All rules as one graph, by the names they record and read.
//!
//! In: for each rule what it records and reads.   Out: an order in which each rule comes after those
//! whose series it reads, and where it could not: rings that had to be broken, and readers that stand before what they read.
//! Always: rules of a group keep their order; between rules that are free, that of the files decides.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::rule::{Reads, Rule, RuleKind};
use crate::model::{METRIC_NAME, MatchOp};

/// An order and what it is made from.
#[derive(Debug, Default)]
pub struct Graph {
    /// Each rule once.
    pub order: Vec<usize>,
    /// For each rule those it reads from, without itself.
    pub reads_from: Vec<Vec<usize>>,
    /// Rules that were put before something they read; each once.
    pub broken: Vec<Broken>,
}

/// Why a rule is evaluated before what it reads, so that it sees what that recorded an interval earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Rules that read each other in a ring; the first was put before what it reads.
    Ring(Vec<usize>),
    /// The order of its group puts the rule before those it reads, directly or by way of others.
    Late { reader: usize, reads: Vec<usize> },
}

impl Graph {
    /// Marks these rules and all that they read, directly or by way of others.
    pub fn with_all_they_read(&self, rules: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut marked = vec![false; self.reads_from.len()];
        let mut waiting: Vec<usize> = rules.into_iter().collect();
        while let Some(at) = waiting.pop() {
            if !std::mem::replace(&mut marked[at], true) {
                waiting.extend(&self.reads_from[at]);
            }
        }
        marked
    }
}

const ALERT_SERIES: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// Which rules write series of a name.
type Recorded<'a> = HashMap<&'a str, Vec<usize>>;

/// Orders `rules`, which stand in file order.
pub fn build(rules: &[Rule]) -> Graph {
    let recorded = recorded(rules);
    let reads_from: Vec<Vec<usize>> = (0..rules.len())
        .map(|i| {
            let mut found: Vec<usize> =
                rules[i].selectors.iter().flat_map(|s| sources(s, i, rules, &recorded)).filter(|j| *j != i).collect();
            found.sort_unstable();
            found.dedup();
            found
        })
        .collect();
    let (order, broken) = sort(rules, &reads_from);
    Graph { order, reads_from, broken }
}

/// The rules whose series the selectors of a query can meet; some may come twice.
pub fn read_by(selectors: &[Reads], rules: &[Rule]) -> Vec<usize> {
    let recorded = recorded(rules);
    selectors.iter().flat_map(|s| sources(s, rules.len(), rules, &recorded)).collect()
}

fn recorded(rules: &[Rule]) -> Recorded<'_> {
    let mut recorded: Recorded = HashMap::new();
    for (i, rule) in rules.iter().enumerate() {
        match &rule.kind {
            RuleKind::Recording { .. } => recorded.entry(rule.name.as_str()).or_default().push(i),
            RuleKind::Alerting(_) => ALERT_SERIES.iter().for_each(|n| recorded.entry(n).or_default().push(i)),
        }
    }
    recorded
}

/// The rules whose series a selector of rule `i` can meet.
fn sources(selector: &Reads, i: usize, rules: &[Rule], recorded: &Recorded) -> Vec<usize> {
    let names: Vec<_> = selector.matchers.iter().filter(|m| m.name == METRIC_NAME).collect();
    let candidates: Vec<usize> = match names.as_slice() {
        [] => (0..i).collect(),
        [one] if one.op == MatchOp::Equal => recorded.get(one.value.as_str()).cloned().unwrap_or_default(),
        several => {
            let passes = |name: &str| several.iter().all(|m| m.matches_value(name));
            recorded.iter().filter(|(name, _)| passes(name)).flat_map(|(_, from)| from.iter().copied()).collect()
        }
    };
    // A label that a rule sets is the same on all its series, so a matcher on it can rule them out.
    let can_meet = |j: &usize| {
        let fixed = rules[*j].fixed_labels();
        selector.matchers.iter().all(|m| fixed.iter().all(|(name, value)| m.name != *name || m.matches_value(value)))
    };
    candidates.into_iter().filter(can_meet).collect()
}

fn sort(rules: &[Rule], reads_from: &[Vec<usize>]) -> (Vec<usize>, Vec<Broken>) {
    let n = rules.len();
    let before_in_group = |i: usize| (i > 0 && rules[i - 1].group == rules[i].group).then(|| i - 1);
    let mut waiting: Vec<usize> = vec![0; n];
    let mut unblocks: Vec<Vec<usize>> = vec![Vec::new(); n];
    for i in 0..n {
        for j in reads_from[i].iter().copied().chain(before_in_group(i)) {
            waiting[i] += 1;
            unblocks[j].push(i);
        }
    }
    let mut free: BinaryHeap<Reverse<usize>> = (0..n).filter(|i| waiting[*i] == 0).map(Reverse).collect();
    let (mut order, mut done, mut broken) = (Vec::with_capacity(n), vec![false; n], Vec::new());
    while order.len() < n {
        let next = match free.pop() {
            Some(Reverse(next)) if done[next] => continue,
            Some(Reverse(next)) => next,
            // Only something that it reads can hold up the first rule that is left: all before it in its group are done.
            None => {
                let first = (0..n).find(|i| !done[*i]).expect("fewer rules are ordered than there are");
                broken.push(ring_through(first, reads_from, &done).map(Broken::Ring).unwrap_or_else(|| {
                    let reads = reads_from[first].iter().copied().filter(|j| !done[*j]).collect();
                    Broken::Late { reader: first, reads }
                }));
                first
            }
        };
        done[next] = true;
        order.push(next);
        for i in unblocks[next].iter().copied() {
            waiting[i] -= 1;
            if waiting[i] == 0 && !done[i] {
                free.push(Reverse(i));
            }
        }
    }
    (order, broken)
}

/// The shortest way from `first` by what is read, through rules that are not done, back to it; `None` where there is none.
fn ring_through(first: usize, reads_from: &[Vec<usize>], done: &[bool]) -> Option<Vec<usize>> {
    let mut come_from: HashMap<usize, usize> = HashMap::new();
    let mut next = VecDeque::from([first]);
    while let Some(at) = next.pop_front() {
        for to in reads_from[at].iter().copied().filter(|j| !done[*j]) {
            if to == first {
                let mut ring = vec![at];
                while let Some(before) = ring.last().filter(|at| **at != first).and_then(|at| come_from.get(at)) {
                    ring.push(*before);
                }
                ring.reverse();
                return Some(ring);
            }
            come_from.entry(to).or_insert_with(|| {
                next.push_back(to);
                at
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::rules::load::{Source, Tuning, load};

    #[test]
    fn what_alerts_need_is_told_from_what_is_only_recorded() {
        let needed = |annotation: &str| {
            let text = format!(
                "groups: [{{name: g, rules: [{{record: 'a:b', expr: x}}, {{record: 'a:c', expr: 'a:b'}}, \
                 {{record: 'a:d', expr: 'a:c'}}, {{alert: A, expr: 'a:c > 1', annotations: {{summary: '{annotation}'}}}}]}}]"
            );
            load(&[Source { name: "f".into(), text }], &Tuning::default()).unwrap().feeds_alerts
        };
        assert_eq!(needed("{{ $value }}"), [true, true, false, true]);
        assert_eq!(needed("{{ query `a:d` | first | value }}"), [true; 4]);
    }

    fn order(text: &str) -> (Vec<String>, Vec<String>) {
        let set = load(&[Source { name: "f".into(), text: text.into() }], &Tuning::default()).unwrap();
        let names = set.order.iter().map(|i| set.rules[*i].name.clone()).collect();
        (names, set.warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn readers_come_after_recorders_across_groups_and_chains() {
        let (names, warnings) = order(
            "groups:
- {name: alerts, rules: [{alert: A, expr: c > 1}]}
- {name: third, rules: [{record: c, expr: b * 2}]}
- {name: second, rules: [{record: b, expr: sum(a)}]}
- {name: first, rules: [{record: a, expr: raw}]}
",
        );
        assert_eq!(names, ["a", "b", "c", "A"]);
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn a_group_keeps_its_order_and_a_rule_may_read_itself() {
        let (names, warnings) = order(
            "groups:
- {name: g, rules: [{record: x, expr: x + raw}, {record: y, expr: 1}, {record: z, expr: late}]}
- {name: h, rules: [{record: late, expr: raw}]}
",
        );
        assert_eq!(names, ["x", "y", "late", "z"]);
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn selectors_without_a_name_wait_for_everything_before_and_patterns_for_what_they_match() {
        let (names, _) = order(
            "groups:
- {name: a, rules: [{alert: Pattern, expr: '{__name__=~\"rivet:.*\"} > 1'}]}
- {name: b, rules: [{record: 'rivet:x', expr: raw}, {alert: Nameless, expr: '{job=\"a\"} > 1'}, {record: other, expr: raw}]}
",
        );
        assert_eq!(names, ["rivet:x", "Pattern", "Nameless", "other"]);
    }

    #[test]
    fn alerts_are_read_by_name_and_fixed_labels_rule_sources_out() {
        let (names, warnings) = order(
            "groups:
- {name: a, rules: [{alert: Follows, expr: 'ALERTS{alertname=\"Leads\"} == 1'}]}
- {name: b, rules: [{alert: Leads, expr: 'threshold{signal=\"cpu\"} > 1'}]}
- {name: c, rules: [{record: threshold, expr: 'ALERTS{alertname=\"Other\"}', labels: {signal: mem}}]}
- {name: d, rules: [{record: threshold, expr: '1', labels: {signal: cpu}}]}
",
        );
        assert_eq!(names, ["threshold", "threshold", "Leads", "Follows"]);
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn a_cycle_is_broken_at_its_first_rule_and_reported() {
        let (names, warnings) = order(
            "groups:
- {name: g, rules: [{record: a, expr: b}]}
- {name: h, rules: [{record: b, expr: c}, {record: c, expr: a}]}
",
        );
        assert_eq!(names.len(), 3);
        assert_eq!(names[0], "a");
        assert!(warnings[0].contains("in a ring, `a` → `b` → `c` → `a`"), "{warnings:?}");
    }

    #[test]
    fn a_reader_before_its_recorder_is_late_and_no_ring() {
        let (names, warnings) = order(
            "groups:
- {name: g, rules: [{record: a, expr: b + d}, {record: q, expr: up}, {record: b, expr: sum(up)}, {record: d, expr: up}, {record: d, expr: up, labels: {l: m}}]}
",
        );
        assert_eq!(names, ["a", "q", "b", "d", "d"]);
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(warning.contains("rule `a`: reads `b`, `d`, which come after it in its group"), "{warning}");
        assert!(!warning.contains("ring"), "{warning}");
        // By way of another group: `x` waits for `y`, that for `z`, and `z` stands behind `x`.
        let (names, warnings) = order(
            "groups:
- {name: g, rules: [{record: x, expr: y}, {record: z, expr: up}]}
- {name: h, rules: [{record: y, expr: z}]}
",
        );
        assert_eq!(names, ["x", "z", "y"]);
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(warning.contains("rule `x`: reads `y`, which could not be put before it"), "{warning}");
    }
}

//! The rules of Grafana's dashboard-linter, held against every shipped dashboard without an exclusion.
//!
//! Scenario: each rule judges a printed dashboard. Guarantee: all dashboards pass every rule, and for every rule there
//! are broken dashboards that it, by name, finds. Source: grafana/dashboard-linter `docs/rules`, and mixtool's two.

use std::collections::BTreeSet;

use rivetwatch::export::dashboards::{self, classic};
use rivetwatch::model::MatchOp;
use rivetwatch::promql::{self, Expr, ExprKind};
use serde_json::{Value, json};

use crate::dashboards::panels;

type Rule = fn(&Value) -> Vec<String>;

const RULES: [(&str, Rule); 18] = [
    ("template-datasource", template_datasource),
    ("template-job", |d| template_matcher(d, "job", "Job")),
    ("template-instance", |d| template_matcher(d, "instance", "Instance")),
    ("template-label-promql", template_label_promql),
    ("template-on-time-change-reload", template_reload),
    ("panel-datasource", panel_datasource),
    ("panel-title-description", panel_title_description),
    ("panel-units", panel_units),
    ("panel-no-targets", panel_no_targets),
    // Only Prometheus queries are written here; a Loki one would be a mistake of its own.
    ("target-logql", target_is_prometheus),
    ("target-logql-auto", target_is_prometheus),
    ("target-promql", target_promql),
    ("target-rate-interval", target_rate_interval),
    ("target-job", |d| target_matcher(d, "job")),
    ("target-instance", |d| target_matcher(d, "instance")),
    ("target-counter-agg", target_counter_agg),
    ("uneditable-dashboard", uneditable),
    ("mixtool-uid-title", uid_and_title),
];

/// The panel types that carry data.
const DATA_PANELS: [&str; 5] = ["stat", "table", "timeseries", "gauge", "bargauge"];

/// An odd range that no query would write, so that it can be told from a fixed one; as the linter does it.
const RATE_INTERVAL: &str = "8869990787ms";

fn templates(d: &Value) -> impl Iterator<Item = &Value> {
    d["templating"]["list"].as_array().into_iter().flatten()
}

fn template<'a>(d: &'a Value, name: &str) -> Option<&'a Value> {
    templates(d).find(|t| t["name"] == name)
}

fn is_datasource_variable(source: &Value) -> bool {
    source["type"] == "prometheus" && ["$datasource", "${datasource}"].iter().any(|v| source["uid"] == *v)
}

fn data_panels(d: &Value) -> Vec<&Value> {
    panels(d).into_iter().filter(|p| DATA_PANELS.iter().any(|kind| p["type"] == *kind)).collect()
}

fn targets(d: &Value) -> Vec<(String, &Value)> {
    let title = |p: &Value| p["title"].as_str().unwrap_or_default().to_owned();
    panels(d)
        .into_iter()
        .flat_map(|p| p["targets"].as_array().into_iter().flatten().map(move |t| (title(p), t)))
        .collect()
}

/// The query with Grafana's variables filled in, parsed.
pub fn parse(expr: &str) -> Result<Expr, String> {
    let expr = expr.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "3h");
    promql::parse(&expr).map_err(|e| e.render())
}

fn parsed(d: &Value) -> impl Iterator<Item = (String, Expr)> {
    let parse_target = |(title, t): (String, &Value)| Some((title, parse(t["expr"].as_str()?).ok()?));
    targets(d).into_iter().filter_map(parse_target)
}

fn template_datasource(d: &Value) -> Vec<String> {
    let first = templates(d).next().filter(|t| t["type"] == "datasource" && t["query"] == "prometheus");
    match first {
        None => vec!["the first variable is no Prometheus data source".into()],
        Some(t) if t["name"] != "datasource" && t["name"] != "prometheus_datasource" => vec!["data source name".into()],
        Some(t) if t["label"] != "Data source" => vec!["data source label".into()],
        Some(_) => vec![],
    }
}

fn template_matcher(d: &Value, name: &str, label: &str) -> Vec<String> {
    let Some(t) = template(d, name) else { return vec![format!("no variable `{name}`")] };
    let conditions = [
        ("datasource", is_datasource_variable(&t["datasource"])),
        ("type", t["type"] == "query"),
        ("label", t["label"] == label),
        ("multi", t["multi"] == true),
        ("includeAll", t["includeAll"] == true),
        ("allValue", t["allValue"] == ".+"),
    ];
    conditions.into_iter().filter(|(_, holds)| !holds).map(|(what, _)| format!("`{name}`: {what}")).collect()
}

fn template_label_promql(d: &Value) -> Vec<String> {
    let check = |t: &Value| -> Option<String> {
        let query = t["query"].as_str().unwrap_or_default();
        let inner = ["label_values(", "label_names(", "metrics(", "query_result("]
            .iter()
            .find_map(|f| query.strip_prefix(f)?.strip_suffix(')'));
        let Some(inner) = inner else { return Some(format!("`{query}` is no variable query")) };
        let expr =
            if query.starts_with("label_values") { inner.rsplit_once(',').map_or("", |(e, _)| e) } else { inner };
        parse(expr).err()
    };
    templates(d).filter(|t| t["type"] == "query").filter_map(check).collect()
}

fn template_reload(d: &Value) -> Vec<String> {
    templates(d).filter(|t| t["type"] == "query" && t["refresh"] != 2).map(|t| format!("{}", t["name"])).collect()
}

fn panel_datasource(d: &Value) -> Vec<String> {
    let fixed = data_panels(d).into_iter().filter(|p| !is_datasource_variable(&p["datasource"]));
    let fixed = fixed.map(|p| p["title"].to_string());
    let in_targets = targets(d).into_iter().filter(|(_, t)| !is_datasource_variable(&t["datasource"]));
    fixed.chain(in_targets.map(|(title, _)| title)).collect()
}

fn panel_title_description(d: &Value) -> Vec<String> {
    let empty = |v: &Value| v.as_str().is_none_or(str::is_empty);
    data_panels(d)
        .into_iter()
        .filter(|p| empty(&p["title"]) || empty(&p["description"]))
        .map(|p| format!("panel {}", p["id"]))
        .collect()
}

fn panel_units(d: &Value) -> Vec<String> {
    let known: BTreeSet<&str> = include_str!("../dashboards/grafana-units.txt").lines().collect();
    let without = |p: &&Value| {
        let defaults = &p["fieldConfig"]["defaults"];
        let mapped = defaults["mappings"].as_array().is_some_and(|m| !m.is_empty());
        !mapped && !defaults["unit"].as_str().is_some_and(|unit| known.contains(unit))
    };
    data_panels(d).into_iter().filter(without).map(|p| p["title"].to_string()).collect()
}

fn panel_no_targets(d: &Value) -> Vec<String> {
    let without = |p: &&Value| p["targets"].as_array().is_none_or(Vec::is_empty);
    data_panels(d).into_iter().filter(without).map(|p| p["title"].to_string()).collect()
}

fn target_is_prometheus(d: &Value) -> Vec<String> {
    let other = |(_, t): &(String, &Value)| t["datasource"]["type"] != "prometheus" || t["queryType"].is_string();
    targets(d).into_iter().filter(other).map(|(title, _)| title).collect()
}

fn target_promql(d: &Value) -> Vec<String> {
    targets(d)
        .into_iter()
        .filter_map(|(title, t)| parse(t["expr"].as_str().unwrap_or_default()).err().map(|e| format!("{title}: {e}")))
        .collect()
}

fn target_rate_interval(d: &Value) -> Vec<String> {
    let expected = parse(&format!("x[{RATE_INTERVAL}]")).unwrap();
    let ExprKind::Matrix(expected) = expected.kind else { panic!("a range selector") };
    let mut out = Vec::new();
    for (title, expr) in parsed(d) {
        for node in expr.walk() {
            let ExprKind::Call(call) = &node.kind else { continue };
            if !["rate", "irate"].contains(&call.function.name) {
                continue;
            }
            for part in node.walk() {
                if let ExprKind::Matrix(matrix) = &part.kind
                    && matrix.range != expected.range
                {
                    out.push(title.clone());
                }
            }
        }
    }
    out
}

fn target_matcher(d: &Value, label: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (title, expr) in parsed(d) {
        for selector in promql::selectors(&expr) {
            let matcher = selector.matchers.iter().find(|m| m.name == label);
            if !matcher.is_some_and(|m| m.op == MatchOp::Matches && m.value == format!("${label}")) {
                out.push(format!("{title}: {:?} lacks {label}", selector.name));
            }
        }
    }
    out
}

fn target_counter_agg(d: &Value) -> Vec<String> {
    fn walk(expr: &Expr, inside: bool, out: &mut Vec<String>) {
        let inside = inside
            || matches!(&expr.kind, ExprKind::Call(c) if ["rate", "irate", "increase"].contains(&c.function.name));
        let selector = match &expr.kind {
            ExprKind::Vector(selector) => Some(selector),
            ExprKind::Matrix(matrix) => Some(&matrix.selector),
            _ => None,
        };
        if let Some(name) = selector.and_then(|s| s.name.as_deref())
            && name.ends_with("_total")
            && !inside
        {
            out.push(name.to_owned());
        }
        for child in expr.children() {
            walk(child, inside, out);
        }
    }
    let mut out = Vec::new();
    for (_, expr) in parsed(d) {
        walk(&expr, false, &mut out);
    }
    out
}

fn uneditable(d: &Value) -> Vec<String> {
    if d["editable"] == false { vec![] } else { vec!["editable".into()] }
}

fn uid_and_title(d: &Value) -> Vec<String> {
    ["uid", "title"].into_iter().filter(|k| d[k].as_str().is_none_or(str::is_empty)).map(str::to_owned).collect()
}

#[test]
fn every_dashboard_passes_every_rule_of_the_linter() {
    let mut findings = Vec::new();
    for dashboard in dashboards::all() {
        let printed = classic::print(&dashboard);
        for (name, rule) in RULES {
            findings.extend(rule(&printed).into_iter().map(|finding| format!("{}: {name}: {finding}", dashboard.uid)));
        }
    }
    assert!(findings.is_empty(), "{findings:#?}");
}

/// Where a change is made, and the value put there.
type Damage = (&'static str, &'static str, fn() -> Value);

#[test]
fn every_rule_finds_the_dashboards_that_break_it() {
    // The first data panel of the printed Overview is the second in its list, behind the row.
    let damages: [Damage; 31] = [
        ("template-datasource", "/templating/list/0/label", || json!("Source")),
        ("template-datasource", "/templating/list/0/name", || json!("ds")),
        ("template-datasource", "/templating/list/0/type", || json!("query")),
        ("template-job", "/templating/list/2/multi", || json!(false)),
        ("template-job", "/templating/list/2/label", || json!("job")),
        ("template-job", "/templating/list/2/allValue", || json!(".*")),
        ("template-job", "/templating/list/2/datasource/uid", || json!("prometheus")),
        ("template-instance", "/templating/list/3/name", || json!("pod")),
        ("template-instance", "/templating/list/3/type", || json!("custom")),
        ("template-label-promql", "/templating/list/2/query", || json!("label_values(up{, job)")),
        ("template-label-promql", "/templating/list/2/query", || json!("up")),
        ("template-on-time-change-reload", "/templating/list/2/refresh", || json!(1)),
        ("panel-datasource", "/panels/1/datasource/uid", || json!("prometheus")),
        ("panel-datasource", "/panels/1/targets/0/datasource/uid", || json!("abc")),
        ("panel-title-description", "/panels/1/title", || json!("")),
        ("panel-title-description", "/panels/1/description", || json!(null)),
        ("panel-units", "/panels/2/fieldConfig/defaults/unit", || json!("seconds")),
        ("panel-no-targets", "/panels/1/targets", || json!([])),
        ("target-logql", "/panels/1/targets/0/datasource/type", || json!("loki")),
        ("target-logql-auto", "/panels/1/targets/0/datasource/type", || json!("loki")),
        ("target-promql", "/panels/1/targets/0/expr", || json!("sum(up")),
        ("target-rate-interval", "/panels/1/targets/0/expr", || {
            json!(r#"rate(x{job=~"$job",instance=~"$instance"}[5m])"#)
        }),
        ("target-rate-interval", "/panels/1/targets/0/expr", || {
            json!(r#"sum(irate(x{job=~"$job",instance=~"$instance"}[$__range]))"#)
        }),
        ("target-job", "/panels/1/targets/0/expr", || json!(r#"x{instance=~"$instance"}"#)),
        ("target-job", "/panels/1/targets/0/expr", || json!(r#"x{job="$job",instance=~"$instance"}"#)),
        ("target-job", "/panels/1/targets/0/expr", || json!(r#"x{job=~"$job|",instance=~"$instance"}"#)),
        ("target-instance", "/panels/1/targets/0/expr", || json!(r#"x{job=~"$job"}"#)),
        ("target-counter-agg", "/panels/1/targets/0/expr", || {
            json!(r#"sum(x_total{job=~"$job",instance=~"$instance"})"#)
        }),
        ("uneditable-dashboard", "/editable", || json!(true)),
        ("mixtool-uid-title", "/uid", || json!("")),
        ("mixtool-uid-title", "/title", || json!(null)),
    ];
    let printed = classic::print(&dashboards::all()[0]);
    let mut broken = BTreeSet::new();
    for (name, at, value) in damages {
        let mut damaged = printed.clone();
        *damaged.pointer_mut(at).unwrap_or_else(|| panic!("`{at}` exists")) = value();
        let (_, rule) = RULES.iter().find(|(rule, _)| *rule == name).expect("a rule of that name");
        assert!(!rule(&damaged).is_empty(), "{name} does not see {at} = {}", value());
        broken.insert(name);
    }
    for (name, _) in RULES {
        assert!(broken.contains(name), "{name} was never broken");
    }
}

#[test]
fn a_rate_over_grafanas_interval_passes() {
    let mut printed = classic::print(&dashboards::all()[0]);
    *printed.pointer_mut("/panels/1/targets/0/expr").unwrap() =
        json!(r#"rate(x_total{job=~"$job",instance=~"$instance"}[$__rate_interval])"#);
    for (name, rule) in RULES {
        assert_eq!(rule(&printed), Vec::<String>::new(), "{name}");
    }
}

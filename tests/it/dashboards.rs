//! The shipped dashboards: the committed files, Grafana's schemas, the ConfigMap, and what the panels read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rivetwatch::export::dashboards::{self, ConfigMapSettings, classic, unit::Unit, views};
use serde_json::Value;

use crate::dashboards_schema::check;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of shared conformance data, or `None` (said aloud) where it is absent.
fn shared(part: &str) -> Option<PathBuf> {
    let base = std::env::var_os("RIVETWATCH_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let path = base.join(part);
    if path.exists() {
        return Some(path);
    }
    println!("passed over: `{}` is absent", path.display());
    None
}

/// Every panel of a printed dashboard, those in collapsed rows too, rows themselves left out.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    let list = |value: &'static str, of: &'_ Value| of[value].as_array().cloned().unwrap_or_default().len();
    let mut out = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        if panel["type"] == "row" {
            assert!(panel["collapsed"] == true || list("panels", panel) == 0, "an open row holds panels");
            out.extend(panel["panels"].as_array().into_iter().flatten());
        } else {
            out.push(panel);
        }
    }
    out
}

#[test]
fn committed_files_are_what_the_builder_prints() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut expected: Vec<(PathBuf, String)> =
        dashboards::files().into_iter().map(|(name, text)| (root().join("dashboards").join(name), text)).collect();
    let names: BTreeSet<_> = expected.iter().map(|(path, _)| path.clone()).collect();
    expected.push((root().join("alerts/15-dashboard.yaml"), views::rule_file()));
    for (path, text) in expected {
        if update {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "`{}` is not what the builder prints: run with UPDATE=1", path.display());
    }
    for entry in fs::read_dir(root().join("dashboards")).unwrap() {
        let path = entry.unwrap().path();
        assert!(names.contains(&path), "`{}` is no dashboard of the builder", path.display());
    }
}

#[test]
fn written_files_are_the_committed_ones() {
    let dir = tempfile::tempdir().unwrap();
    let written = dashboards::write_json(&dir.path().join("new")).unwrap();
    assert_eq!(written.len(), dashboards::all().len());
    for path in written {
        let committed = root().join("dashboards").join(path.file_name().unwrap());
        assert_eq!(fs::read(&path).unwrap(), fs::read(committed).unwrap());
    }
    let occupied = dir.path().join("file");
    fs::write(&occupied, "").unwrap();
    let error = dashboards::write_json(&occupied).unwrap_err();
    assert!(error.to_string().contains(&occupied.display().to_string()), "{error}");
}

#[test]
fn dashboards_hold_to_grafanas_strict_schemas() {
    let Some(dir) = shared("conformance/grafana") else { return };
    let schema = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(dir.join(format!("{name}.jsonschema.json"))).unwrap()).unwrap()
    };
    let (dashboard, query) = (schema("dashboard"), schema("prometheus"));
    let kinds = ["stat", "timeseries", "table", "bargauge"].map(|kind| (kind, schema(kind)));
    let mut problems = Vec::new();
    for item in dashboards::all() {
        let printed = classic::print(&item);
        problems.extend(check(&dashboard, "Dashboard", &printed));
        for panel in panels(&printed) {
            let kind = panel["type"].as_str().unwrap();
            let (_, schema) = kinds.iter().find(|(name, _)| *name == kind).expect("a panel type with a schema");
            problems.extend(check(schema, "Options", &panel["options"]));
            if let Some(custom) = panel["fieldConfig"]["defaults"].get("custom") {
                problems.extend(check(schema, "FieldConfig", custom));
            }
            for target in panel["targets"].as_array().unwrap() {
                problems.extend(check(&query, "Dataquery", target));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn config_map_holds_every_dashboard_and_is_found_by_the_sidecar() {
    let text = dashboards::config_map(&ConfigMapSettings {
        namespace: Some("monitoring".into()),
        ..ConfigMapSettings::default()
    })
    .unwrap();
    assert!(text.len() < 1 << 20);
    let map: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(map["metadata"]["annotations"]["grafana_folder"], "Rivet");
    assert_eq!(map["metadata"]["namespace"], "monitoring");
    for (name, text) in dashboards::files() {
        assert_eq!(map["data"][&name], text, "{name}");
    }
}

#[test]
fn first_panel_says_whether_the_rules_are_present() {
    for item in dashboards::all() {
        let printed = classic::print(&item);
        let first = panels(&printed)[0];
        assert_eq!(first["title"], "Recording rules", "{}", item.uid);
        let words = &first["fieldConfig"]["defaults"]["mappings"][0]["options"];
        assert_eq!((&words["0"]["text"], &words["1"]["text"]), (&"Missing".into(), &"Present".into()));
    }
}

#[test]
fn panels_lie_on_the_grid_without_overlap() {
    for item in dashboards::all() {
        let printed = classic::print(&item);
        let (mut taken, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for panel in printed["panels"].as_array().unwrap() {
            let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in of("x")..of("x") + of("w") {
                assert!(x < 24, "{}: {} leaves the grid", item.uid, panel["title"]);
                for y in of("y")..of("y") + of("h") {
                    assert!(taken.insert((x, y)), "{}: {} overlaps at {x},{y}", item.uid, panel["title"]);
                }
            }
        }
        for row in &item.rows {
            let width: u32 = row.panels.iter().map(|panel| panel.width).sum();
            assert_eq!(width % 24, 0, "{}: row `{}` leaves a gap", item.uid, row.title);
        }
        for panel in panels(&printed) {
            assert!(ids.insert(panel["id"].as_u64()), "{}: panel id twice", item.uid);
        }
    }
}

#[test]
fn descriptions_say_what_to_do_and_links_lead_somewhere() {
    let uids: BTreeSet<_> = dashboards::all().iter().map(|item| item.uid).collect();
    for item in dashboards::all() {
        assert!(item.uid.len() <= 40);
        for panel in item.rows.iter().flat_map(|row| &row.panels) {
            assert!(panel.description.len() > 60 && panel.description.ends_with('.'), "`{}`", panel.title);
            assert!(panel.more.is_none_or(|(_, uid)| uids.contains(uid)), "`{}` links nowhere", panel.title);
            let names: BTreeSet<_> = panel.lines.iter().map(|line| line.name).collect();
            assert_eq!(names.len(), panel.lines.len(), "`{}` has two lines of one name", panel.title);
            for line in &panel.lines {
                assert!(!line.name.contains("{{"), "`{}`: a line's name is matched literally", panel.title);
            }
        }
    }
}

#[test]
fn views_are_those_that_panels_show_and_no_more() {
    let text: String = dashboards::files().into_iter().map(|(_, text)| text).collect();
    let plain = text.replace('\\', "");
    for name in views::WITHOUT_INSTANCE.iter().chain(&views::BURN_RATES) {
        assert!(plain.contains(&format!("{name}:instance{{")), "no panel shows `{name}:instance`");
    }
    for (signal, severity) in views::THRESHOLDS {
        let line = format!(r#"signal="{signal}",severity="{}""#, severity.name());
        assert!(plain.contains(&line), "no panel draws {line}");
    }
    let mut drawn = BTreeSet::new();
    for part in plain.split("rivet:threshold:instance{").skip(1) {
        // A panel that counts them all draws none.
        if part.starts_with("signal=\"") {
            drawn.insert(part.split(",cluster").next().unwrap().to_owned());
        }
    }
    let recorded: BTreeSet<_> = views::THRESHOLDS
        .iter()
        .map(|(signal, severity)| format!(r#"signal="{signal}",severity="{}""#, severity.name()))
        .collect();
    assert_eq!(drawn, recorded);
}

#[test]
fn units_are_grafanas() {
    let known = include_str!("../dashboards/grafana-units.txt");
    for unit in Unit::ALL {
        assert!(known.lines().any(|line| line == unit.id()), "`{}` is no unit of Grafana", unit.id());
    }
}

/// Series that are fed in as they are: by Prometheus itself, or by the agent from its configuration, its capacity report and
/// its checklist.
const FED_IN: [&str; 17] = [
    "ALERTS",
    "rivet_config_actor_host_rate_limit",
    "rivet:headroom:ratio",
    "rivet:headroom:peak_ratio",
    "rivet:headroom:outlook_seconds",
    "rivet:headroom:binding_ratio",
    "rivet:headroom:twin_replicas",
    "rivet:headroom:most_replicas",
    "rivet:headroom:ahead_replicas",
    "rivet:headroom:forecast_error",
    "rivet:capacity:cpu_forecast:cores",
    "rivet:capacity:used:max",
    "rivet:capacity:limit:min",
    "rivetwatch_check_item_bool",
    "rivetwatch_check_item_since_timestamp_seconds",
    "rivetwatch_check_last_run_timestamp_seconds",
    "rivetwatch_check_duration_seconds",
];

#[test]
fn every_series_on_a_dashboard_is_recorded_by_the_shipped_rules() {
    let (mut recorded, mut thresholds) = (BTreeSet::new(), BTreeSet::new());
    let mut own = String::new();
    for file in crate::export::shipped() {
        own.push_str(&file.text);
        let document: Value = serde_saphyr::from_str(&file.text).unwrap();
        for rule in document["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let Some(name) = rule["record"].as_str() else { continue };
            recorded.insert(name.to_owned());
            if name == "rivet:threshold" {
                thresholds.insert((rule["labels"]["signal"].to_string(), rule["labels"]["severity"].to_string()));
            }
        }
    }
    // The agent's own metrics are those that its alerts about itself read.
    let is_own = |name: &str| name.starts_with("rivetwatch_") && own.contains(name);
    let known = |name: &str| recorded.contains(name) || FED_IN.contains(&name) || is_own(name);
    let mut read = 0;
    for dashboard in dashboards::all() {
        let printed = classic::print(&dashboard);
        let targets = panels(&printed).into_iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        let annotations = printed["annotations"]["list"].as_array().unwrap().iter().filter(|a| a["expr"].is_string());
        for query in targets.chain(annotations) {
            let expr = crate::dashboards_lint::parse(query["expr"].as_str().unwrap()).unwrap();
            for selector in rivetwatch::promql::selectors(&expr) {
                let name = selector.name.as_deref().expect("selectors name their metric");
                assert!(known(name), "{}: nothing records `{name}`", dashboard.uid);
                read += 1;
            }
        }
    }
    assert!(read > 100, "{read}");
    for base in views::WITHOUT_INSTANCE.iter().chain(&views::BURN_RATES) {
        assert!(known(base), "nothing records `{base}`");
    }
    for (signal, severity) in views::THRESHOLDS {
        let key = (format!("\"{signal}\""), format!("\"{}\"", severity.name()));
        assert!(thresholds.contains(&key), "no threshold {key:?} in the shipped rules");
    }
}

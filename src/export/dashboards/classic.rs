//! Prints a dashboard in Grafana's classic JSON form, schema version 42.
//!
//! In: the neutral model.   Out: a JSON value that the strict schemas of grafana-foundation-sdk accept.
//! Always: the same input gives the same bytes; no fixed data source; not editable in Grafana, since the next
//! provisioning would undo it.
//! Limits: those schemas take only objects as values of an override, so colours and dashes can differ by series
//! within a panel, but widths, units and axes cannot.

use serde_json::{Map, Value, json};

use super::model::{Color, Dashboard, Drawing, GRID_COLUMNS, Panel, Row, Target, select};

/// The tag by which the dashboards find each other.
pub const TAG: &str = "rivetwatch";

/// The dashboard as one JSON object, ready for a file, a ConfigMap or the import dialog.
pub fn print(dashboard: &Dashboard) -> Value {
    let mut tags = vec![TAG];
    tags.extend(dashboard.tags);
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": tags,
        "schemaVersion": 42,
        "editable": false,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": { "from": dashboard.from, "to": "now" },
        "links": [{
            "title": "Rivet dashboards",
            "type": "dashboards",
            "icon": "external link",
            "tooltip": "The other dashboards, for the same time and instances",
            "url": "",
            "tags": [TAG],
            "asDropdown": true,
            "targetBlank": false,
            "includeVars": true,
            "keepTime": true,
        }],
        "annotations": { "list": annotations() },
        "templating": { "list": variables() },
        "panels": panels(&dashboard.rows),
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn annotations() -> Value {
    let annotation = |name: &str, color: &str, expr: String, title: &str, text: &str| {
        json!({
            "name": name,
            "datasource": datasource(),
            "enable": true,
            "iconColor": color,
            "expr": expr,
            "titleFormat": title,
            "textFormat": text,
            "tagKeys": "severity,instance",
            "step": "60s",
            "useValueForTime": false,
            "target": { "expr": expr, "refId": "Anno", "interval": "60s" },
        })
    };
    json!([
        {
            "name": "Annotations & Alerts",
            "type": "dashboard",
            "builtIn": 1,
            "datasource": { "type": "grafana", "uid": "-- Grafana --" },
            "enable": true,
            "hide": true,
            "iconColor": "rgba(0, 211, 255, 1)",
        },
        // Not narrowed by instance: alerts about a pool or the whole job belong to no instance.
        annotation(
            "Firing alerts",
            "red",
            r#"ALERTS{alertstate="firing",severity=~"critical|warning",alertname=~"Rivet.+"}"#.to_owned(),
            "{{alertname}}",
            "{{instance}} {{pool_name}}",
        ),
        annotation(
            "Engine restarts",
            "purple",
            format!("{} > 0", select("rivet:restarts:increase15m", "")),
            "Engine restarted",
            "{{instance}}",
        ),
    ])
}

fn variables() -> Value {
    let query = |name: &str, label: &str, all: &str, query: &str| {
        json!({
            "type": "query",
            "name": name,
            "label": label,
            "datasource": datasource(),
            "query": query,
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "multi": true,
            "includeAll": true,
            "allValue": all,
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        })
    };
    json!([
        {
            "type": "datasource",
            "name": "datasource",
            "label": "Data source",
            "query": "prometheus",
            "hide": 0,
            "includeAll": false,
            "multi": false,
            "refresh": 1,
            "regex": "",
        },
        // Everything, also series without the label: many installations are one cluster and never name it.
        query("cluster", "Cluster", ".*", "label_values(rivet:engine_up:bool, cluster)"),
        query("job", "Job", ".+", r#"label_values(rivet:engine_up:bool{cluster=~"$cluster"}, job)"#),
        query("instance", "Instance", ".+", r#"label_values(rivet:engine_up:bool{cluster=~"$cluster",job=~"$job"}, instance)"#),
    ])
}

/// The id of a panel, or of a row where `panel` is empty.
///
/// It is drawn from the titles and not from the position, so that the links of alerts and notes in runbooks keep leading
/// to the same panel when another one is put before it. 32-bit FNV-1a, cut to 20 bits; tests look for collisions.
pub fn panel_id(row: &str, panel: &str) -> u32 {
    let bytes = row.bytes().chain(*b"/").chain(panel.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash & 0xf_ffff) + 1
}

/// Places the rows below each other; panels go from left to right and wrap at the edge of the grid.
fn panels(rows: &[Row]) -> Value {
    let (mut out, mut y) = (Vec::new(), 0);
    for row in rows {
        let row_id = panel_id(row.title, "");
        let row_y = y;
        y += 1;
        let (mut x, mut placed) = (0, Vec::new());
        for item in &row.panels {
            if x + item.width > GRID_COLUMNS {
                x = 0;
                y += row.height;
            }
            let place = json!({ "x": x, "y": y, "w": item.width, "h": row.height });
            placed.push(panel(item, panel_id(row.title, item.title), place));
            x += item.width;
        }
        y += row.height;
        let (inside, beside) = if row.collapsed { (placed, Vec::new()) } else { (Vec::new(), placed) };
        if row.collapsed {
            y = row_y + 1;
        }
        out.push(json!({
            "type": "row",
            "id": row_id,
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": { "x": 0, "y": row_y, "w": GRID_COLUMNS, "h": 1 },
            "panels": inside,
        }));
        out.extend(beside);
    }
    Value::Array(out)
}

fn panel(panel: &Panel, id: u32, place: Value) -> Value {
    let mut out = Map::new();
    let kind = match panel.drawing {
        Drawing::Stat => "stat",
        Drawing::TimeSeries { .. } => "timeseries",
        Drawing::Table { .. } => "table",
        Drawing::BarGauge => "bargauge",
    };
    out.insert("type".into(), kind.into());
    out.insert("id".into(), id.into());
    out.insert("title".into(), panel.title.into());
    out.insert("description".into(), panel.description.into());
    out.insert("datasource".into(), datasource());
    out.insert("gridPos".into(), place);
    if let Some((title, uid)) = panel.more {
        out.insert("links".into(), json!([dashboard_link(title, uid)]));
    }
    out.insert("targets".into(), targets(panel));
    out.insert("fieldConfig".into(), json!({ "defaults": field_defaults(panel), "overrides": overrides(panel) }));
    out.insert("options".into(), options(panel));
    if let Drawing::Table { columns } = &panel.drawing {
        out.insert("transformations".into(), transformations(columns, panel.targets.len()));
    }
    Value::Object(out)
}

fn dashboard_link(title: &str, uid: &str) -> Value {
    json!({
        "title": title,
        "type": "link",
        "icon": "dashboard",
        "tooltip": "",
        "url": format!("/d/{uid}"),
        "tags": [],
        "asDropdown": false,
        "targetBlank": false,
        "includeVars": true,
        "keepTime": true,
    })
}

fn targets(panel: &Panel) -> Value {
    let range = matches!(panel.drawing, Drawing::TimeSeries { .. });
    let lines = panel.lines.iter().map(|line| (line.expr.as_str(), line.name));
    let queries = panel.targets.iter().map(|target| (target.expr.as_str(), target.legend));
    let format = if matches!(panel.drawing, Drawing::Table { .. }) { "table" } else { "time_series" };
    queries
        .chain(lines)
        .zip('A'..='Z')
        .map(|((expr, legend), id)| {
            json!({
                "refId": id.to_string(),
                "datasource": datasource(),
                "expr": expr,
                "legendFormat": legend,
                "editorMode": "code",
                "format": format,
                "range": range,
                "instant": !range,
            })
        })
        .collect()
}

fn field_defaults(panel: &Panel) -> Value {
    let mut out = Map::new();
    out.insert("unit".into(), panel.unit.id().into());
    if let Some(min) = panel.min {
        out.insert("min".into(), json!(min));
    }
    if let Some(max) = panel.max {
        out.insert("max".into(), json!(max));
    }
    if let Some(text) = panel.no_value {
        out.insert("noValue".into(), text.into());
    }
    if !panel.words.is_empty() {
        let words: Map<String, Value> = panel
            .words
            .iter()
            .enumerate()
            .map(|(index, word)| {
                (word.value.to_owned(), json!({ "text": word.text, "color": word.color.id(), "index": index }))
            })
            .collect();
        out.insert("mappings".into(), json!([{ "type": "value", "options": words }]));
    }
    let steps = if panel.steps.is_empty() { &[(None, Color::Blue)][..] } else { &panel.steps[..] };
    let steps: Vec<Value> = steps.iter().map(|(from, color)| json!({ "value": from, "color": color.id() })).collect();
    out.insert("thresholds".into(), json!({ "mode": "absolute", "steps": steps }));
    let by_value = !matches!(panel.drawing, Drawing::TimeSeries { .. });
    out.insert("color".into(), json!({ "mode": if by_value { "thresholds" } else { "palette-classic-by-name" } }));
    match panel.drawing {
        Drawing::TimeSeries { stacked } => {
            // Filled areas would hide the dashed lines, and lines that are added up need the fill to be read.
            let fill = match (stacked, panel.lines.is_empty()) {
                (true, _) => 30,
                (false, true) => 8,
                (false, false) => 0,
            };
            let stacking = if stacked { "normal" } else { "none" };
            out.insert(
                "custom".into(),
                json!({
                    "drawStyle": "line",
                    "lineInterpolation": "linear",
                    "lineWidth": 1,
                    "fillOpacity": fill,
                    "showPoints": "never",
                    "spanNulls": false,
                    "stacking": { "mode": stacking, "group": "A" },
                }),
            );
        }
        Drawing::Table { .. } => {
            out.insert("custom".into(), json!({ "align": "auto", "inspect": false, "filterable": true }));
        }
        Drawing::Stat | Drawing::BarGauge => {}
    }
    Value::Object(out)
}

/// Colours of single series, and the dashes of the lines.
fn overrides(panel: &Panel) -> Value {
    let by_name = |name: &str, color: Color, dashed: bool| {
        let mut properties = vec![json!({ "id": "color", "value": { "mode": "fixed", "fixedColor": color.id() } })];
        if dashed {
            properties.push(json!({ "id": "custom.lineStyle", "value": { "fill": "dash", "dash": [10, 10] } }));
            // A limit is not part of the sum.
            properties.push(json!({ "id": "custom.stacking", "value": { "mode": "none", "group": "limits" } }));
        }
        json!({
            "matcher": { "id": "byNames", "options": { "mode": "include", "names": [name] } },
            "properties": properties,
        })
    };
    let coloured = panel
        .targets
        .iter()
        .filter_map(|Target { legend, color, .. }| color.map(|color| by_name(legend, color, false)));
    coloured.chain(panel.lines.iter().map(|line| by_name(line.name, line.color, true))).collect()
}

fn options(panel: &Panel) -> Value {
    let last = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
    match panel.drawing {
        Drawing::Stat => json!({
            "graphMode": "none",
            "colorMode": "value",
            "justifyMode": "auto",
            "textMode": "auto",
            "wideLayout": true,
            "showPercentChange": false,
            "percentChangeColorMode": "standard",
            "orientation": "auto",
            "reduceOptions": last,
        }),
        Drawing::TimeSeries { .. } => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Drawing::Table { .. } => json!({ "frameIndex": 0, "showHeader": true, "cellHeight": "sm" }),
        Drawing::BarGauge => json!({
            "displayMode": "basic",
            "valueMode": "color",
            "namePlacement": "left",
            "showUnfilled": true,
            "sizing": "auto",
            "minVizWidth": 8,
            "minVizHeight": 16,
            "maxVizHeight": 36,
            "orientation": "horizontal",
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": [] },
            "reduceOptions": last,
        }),
    }
}

/// Shows the named columns in their order and nothing else; several queries become columns of one table.
fn transformations(columns: &[(&'static str, &'static str)], queries: usize) -> Value {
    let order: Map<String, Value> =
        columns.iter().enumerate().map(|(at, (field, _))| ((*field).into(), at.into())).collect();
    let names: Map<String, Value> = columns.iter().map(|(field, name)| ((*field).into(), (*name).into())).collect();
    let include: Map<String, Value> = columns.iter().map(|(field, _)| ((*field).into(), true.into())).collect();
    let organize = json!({
        "id": "organize",
        "options": { "includeByName": include, "indexByName": order, "renameByName": names },
    });
    if queries > 1 { json!([{ "id": "merge", "options": {} }, organize]) } else { json!([organize]) }
}

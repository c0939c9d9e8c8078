//! The report as tables for people.

use serde::Deserialize;
use serde_json::Value;

use crate::capacity::forecast::NoOutlook;
use crate::cli::output::{human, human_seconds, print_table};

fn text(v: &Value) -> String {
    v.as_str().unwrap_or("").to_owned()
}

/// A number, with bytes in binary units.
fn amount(v: &Value, unit: &str) -> String {
    match v.as_f64() {
        None => "unknown".to_owned(),
        Some(bytes) if unit == "bytes" => binary(bytes),
        Some(n) => human(n),
    }
}

fn binary(bytes: f64) -> String {
    for (factor, name) in [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes.abs() >= factor as f64 {
            return format!("{:.2} {name}", bytes / factor as f64);
        }
    }
    format!("{bytes:.0} B")
}

fn percent(v: &Value) -> String {
    v.as_f64().map_or_else(|| "unknown".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

fn whole(v: &Value) -> String {
    v.as_u64().map_or_else(|| text(v), |n| n.to_string())
}

/// Everything: the nearest limit first.
pub fn tables(report: &Value) {
    head(report);
    rows(report);
    autoscalers(report);
    advice(report);
    if let Some(then) = report.get("what_if").filter(|v| v.is_object()) {
        what_if(report, then);
    }
}

fn head(report: &Value) {
    let is_blind = report["engines"].as_u64() == Some(0);
    if is_blind {
        println!(
            "No engine reports to this agent: none of its targets is an engine that answers, and no engine's OTLP arrives.\n\
             `/api/v1/targets` says what is scraped, and `rivetwatch check` what arrives."
        );
    }
    println!("{}", nearest("Nearest limit", report));
    match (report["history_since"].as_i64(), report["at"].as_i64()) {
        (Some(since), Some(at)) => println!(
            "History: {} (since {}); outlooks of loads need 8 days of it\n",
            human_seconds((at - since) as f64 / 1000.0),
            crate::model::TimestampMs(since).to_rfc3339()
        ),
        _ if is_blind => println!("History: none\n"),
        _ => println!("History: none yet; the first figures are recorded within two minutes\n"),
    }
}

fn nearest(what: &str, report: &Value) -> String {
    match report["binding"].as_object() {
        Some(binding) => format!(
            "{what}: {} of {}, {} left now, {} at the day's peak",
            text(&binding["resource"]),
            text(&binding["subject"]),
            percent(&binding["headroom_ratio"]),
            percent(&binding["headroom_at_peak_ratio"])
        ),
        None => format!("{what}: none is known"),
    }
}

/// When it is full, with how sure that is; or why nothing is said.
fn outlook(row: &Value) -> String {
    if row["time_to_full_seconds"].as_f64() == Some(0.0) {
        return "full".to_owned();
    }
    let outlook = &row["outlook"];
    match outlook["seconds"].as_f64() {
        Some(likely) => {
            let earliest = human_seconds(outlook["earliest_seconds"].as_f64().unwrap_or(likely));
            let latest = outlook["latest_seconds"].as_f64().map_or_else(|| "…".to_owned(), human_seconds);
            format!("{} ({earliest} to {latest}, {})", human_seconds(likely), text(&outlook["confidence"]))
        }
        None => {
            let why = NoOutlook::deserialize(&row["no_outlook"]).map_or("-", NoOutlook::words);
            why.to_owned()
        }
    }
}

fn rows(report: &Value) {
    let empty = Vec::new();
    let row = |row: &Value| {
        let unit = text(&row["unit"]);
        let shown = if unit == "bytes" { "" } else { unit.as_str() };
        let day = amount(&row["peaks"]["1d"], &unit).replace("unknown", "-");
        vec![
            text(&row["resource"]),
            text(&row["subject"]),
            format!("{} {shown}", amount(&row["used"], &unit)).trim_end().to_owned(),
            day,
            amount(&row["limit"], &unit),
            text(&row["limit_source"]),
            percent(&row["headroom_ratio"]),
            outlook(row),
            text(&row["note"]),
        ]
    };
    let rows: Vec<_> = report["rows"].as_array().unwrap_or(&empty).iter().map(row).collect();
    let heading = ["RESOURCE", "OF", "USED", "PEAK 1D", "LIMIT", "SOURCE", "HEADROOM", "FULL IN", "NOTE"];
    print_table(&heading, &rows);
}

fn autoscalers(report: &Value) {
    let empty = Vec::new();
    let list = |of: &Value| of.as_array().unwrap_or(&empty).clone();
    let ahead = |row: &Value, hours: u64| {
        let found = list(&row["ahead"]).into_iter().find(|a| a["hours"] == hours);
        found.map_or_else(
            || "unknown".to_owned(),
            |a| match a["unbounded_replicas"].as_u64() {
                Some(more) => format!("{} of {more}", whole(&a["replicas"])),
                None => whole(&a["replicas"]),
            },
        )
    };
    let row = |row: &Value| {
        let mut notes: Vec<String> = list(&row["notes"]).iter().map(text).collect();
        if let Some(seconds) = row["maximum_binds_in_seconds"].as_f64() {
            notes.insert(0, format!("the maximum binds in {}", human_seconds(seconds)));
        }
        let bounds = format!("{} to {}", row["min_replicas"], whole(&row["max_replicas"]));
        let [now, wanted] = [&row["replicas"], &row["wanted_replicas"]].map(whole);
        // What the peak asks for has no bound; `1 of 5` is told where only one may be.
        let peak = match (row["peak_replicas"].as_u64(), row["max_replicas"].as_u64()) {
            (Some(peak), Some(max)) if peak > max => format!("{max} of {peak}"),
            _ => whole(&row["peak_replicas"]),
        };
        let kubernetes = row["kubernetes_replicas"].as_u64().map_or_else(|| "-".to_owned(), |n| n.to_string());
        let (one, six, day) = (ahead(row, 1), ahead(row, 6), ahead(row, 24));
        let (subject, source) = (text(&row["subject"]), text(&row["source"]));
        vec![
            subject,
            source,
            bounds,
            now,
            wanted,
            text(&row["reason"]),
            kubernetes,
            peak,
            one,
            six,
            day,
            notes.join("; "),
        ]
    };
    let rows: Vec<_> = list(&report["autoscalers"]).iter().map(row).collect();
    if rows.is_empty() {
        return;
    }
    println!();
    let heading = [
        "AUTOSCALER OF",
        "BY",
        "REPLICAS",
        "NOW",
        "WANTED",
        "BECAUSE",
        "KUBERNETES",
        "AT PEAK",
        "IN 1H",
        "IN 6H",
        "IN 24H",
        "NOTE",
    ];
    print_table(&heading, &rows);
    let scaling = |row: &Value| {
        let [now, wanted] = [&row["replicas"], &row["wanted_replicas"]].map(whole);
        vec![text(&row["resource"]), percent(&row["utilization"]), percent(&row["target"]), now, wanted]
    };
    let rows: Vec<_> = list(&report["autoscaling"]).iter().map(scaling).collect();
    if !rows.is_empty() {
        println!();
        print_table(&["AUTOSCALING BY", "UTILIZATION", "TARGET", "REPLICAS", "WANTED"], &rows);
    }
}

fn advice(report: &Value) {
    let Some(list) = report["advice"].as_array().filter(|list| !list.is_empty()) else { return };
    println!("\nAdvice:");
    for item in list {
        println!("- {}: {}\n  {}", text(&item["subject"]), text(&item["advice"]), text(&item["arithmetic"]));
    }
}

/// Both reports side by side, and what the other one advises.
fn what_if(now: &Value, then: &Value) {
    let empty = Vec::new();
    let assumed: Vec<String> = then["assumed"].as_array().unwrap_or(&empty).iter().map(text).collect();
    println!("\nWhat if: {}", assumed.join("; "));
    println!("{}", nearest("Nearest limit then", then));
    let now_rows = now["rows"].as_array().unwrap_or(&empty);
    let before = |row: &Value| {
        let same = |other: &&Value| other["kind"] == row["kind"] && other["subject"] == row["subject"];
        // Other replicas have other names; the first of the kind stands for them.
        let of_kind = |other: &&Value| other["kind"] == row["kind"];
        now_rows.iter().find(same).or_else(|| now_rows.iter().find(of_kind))
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut rows = Vec::new();
    for row in then["rows"].as_array().unwrap_or(&empty) {
        // Engines that share all load evenly are all alike.
        let is_new = seen.insert((text(&row["kind"]), percent(&row["headroom_ratio"]), text(&row["unit"])));
        if !is_new || row["headroom_ratio"].as_f64().is_none() {
            continue;
        }
        let unit = text(&row["unit"]);
        rows.push(vec![
            text(&row["resource"]),
            text(&row["subject"]),
            before(row).map_or_else(|| "-".to_owned(), |row| percent(&row["headroom_ratio"])),
            percent(&row["headroom_ratio"]),
            amount(&row["used"], &unit),
            amount(&row["limit"], &unit),
            outlook(row),
        ]);
    }
    print_table(&["RESOURCE", "OF", "HEADROOM NOW", "THEN", "USED", "LIMIT", "FULL IN"], &rows);
    autoscalers(then);
    advice(then);
}

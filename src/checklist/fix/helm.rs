//! Remedies as values for a Helm chart of the operator's own, by the names that charts commonly use.
//!
//! Always: a value is kept only where the chart has its key and `helm template`, which also holds values against the
//! chart's schema, renders objects with it on which its item is met.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::remedies::{Change, Remedy, Wishes, remedies};
use super::tool::{Scratch, run};
use super::{FixError, LeftOut, judged_again, schema, unmet};
use crate::checklist::evidence::Evidence;
use crate::checklist::probes::manifests;
use crate::checklist::report::Report;

/// Values that were rendered and judged.
#[derive(Clone, Debug)]
pub struct HelmFix {
    pub values: String,
    /// Items that are met with them.
    pub items: Vec<&'static str>,
    pub left_out: Vec<LeftOut>,
}

/// Works out, renders and judges values for what is not met.
///
/// # Errors
/// See [`FixError`]; then there is nothing to show.
pub fn helm(evidence: &Evidence, report: &Report, wishes: &Wishes, chart: &Path) -> Result<HelmFix, FixError> {
    if let Err(gap) = &evidence.cluster {
        return Err(FixError::NoCluster(gap.reason().to_owned()));
    }
    let bad = |reason: String| FixError::Chart { chart: chart.display().to_string(), reason };
    let text = std::fs::read_to_string(chart.join("values.yaml")).map_err(|e| bad(format!("`values.yaml`: {e}")))?;
    let options = serde_saphyr::options! { with_snippet: false };
    let known: Value =
        serde_saphyr::from_str_with_options(&text, options).map_err(|e| bad(format!("`values.yaml`: {e}")))?;
    let (remedies, mut left_out) = remedies(evidence, report, wishes);
    let mut chosen: Vec<(&'static str, Vec<(String, Value)>)> = Vec::new();
    for item in items_of(&remedies) {
        let of_item: Vec<&Remedy> = remedies.iter().filter(|r| r.item == item).collect();
        match values_for(item, &of_item, &known) {
            Some(values) => chosen.push((item, values)),
            None => left_out.push(LeftOut {
                item: item.to_owned(),
                reason:
                    "the chart's values have no key of a common name for it; use `--fix kustomize` as a post-renderer"
                        .into(),
            }),
        }
    }
    // What does not bring its item about is taken out, once; what is left must be met as a whole.
    for _ in 0..2 {
        if chosen.is_empty() {
            return Err(FixError::NothingToFix);
        }
        let mut tree = Value::Object(Map::new());
        for (path, value) in chosen.iter().flat_map(|(_, values)| values) {
            set(&mut tree, path, value);
        }
        let values = serde_saphyr::to_string(&tree).unwrap_or_default();
        let objects = render(chart, &values, evidence)?;
        let items: Vec<&'static str> = chosen.iter().map(|(item, _)| *item).collect();
        let still = unmet(&judged_again(evidence, objects, &items), &items);
        if still.is_empty() {
            let about = format!("# For {}: `helm upgrade … -f` this file.\n", items.join(", "));
            return Ok(HelmFix { values: about + &values, items, left_out });
        }
        chosen.retain(|(item, _)| !still.iter().any(|s| s.item == *item));
        left_out.extend(
            still
                .into_iter()
                .map(|s| LeftOut { reason: format!("the chart does not follow its value: {}", s.reason), ..s }),
        );
    }
    Err(FixError::NotValid("what is left of it does not bring about what it is for".into()))
}

fn items_of(remedies: &[Remedy]) -> Vec<&'static str> {
    let mut items: Vec<&'static str> = remedies.iter().map(|r| r.item).collect();
    items.dedup();
    items
}

fn render(chart: &Path, values: &str, evidence: &Evidence) -> Result<crate::checklist::cluster::Objects, FixError> {
    let scratch = Scratch::new().map_err(|source| FixError::Write { path: "a temporary folder".into(), source })?;
    let file = scratch.path().join("values.yaml");
    std::fs::write(&file, values).map_err(|source| FixError::Write { path: file.display().to_string(), source })?;
    let release = release(evidence);
    let args = ["template", &release, &chart.display().to_string(), "-f", &file.display().to_string()];
    let rendered = run("helm", &args)?;
    let engine = evidence.cluster.as_ref().ok().and_then(|c| c.engine_name.as_deref());
    let objects = manifests::read_text("what `helm template` rendered", &rendered, None, engine);
    let objects = objects.map_err(|gap| FixError::NotValid(gap.to_string()))?;
    let all = [&objects.deployments, &objects.stateful_sets, &objects.services, &objects.autoscalers, &objects.budgets];
    for object in all.into_iter().flatten().flat_map(|list| &list.items) {
        if let Some(problem) = schema::problem(object) {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            return Err(FixError::NotValid(format!("{name} would not be a valid object: {problem}")));
        }
    }
    Ok(objects)
}

/// The release that the objects say they belong to, else a name of no meaning.
fn release(evidence: &Evidence) -> String {
    let label = evidence.cluster.as_ref().ok().and_then(|cluster| {
        let engines = cluster.engines().ok()?;
        engines.first()?.0.labels.get("app.kubernetes.io/instance").cloned()
    });
    label.unwrap_or_else(|| "rivet".into())
}

/// Where common charts keep what a remedy sets; each alternative is a list of keys with their values.
fn values_for(item: &str, remedies: &[&Remedy], known: &Value) -> Option<Vec<(String, Value)>> {
    let patches: Vec<&Value> = remedies
        .iter()
        .map(|r| match &r.change {
            Change::Patch { patch, .. } => patch,
            Change::Add(object) => object,
        })
        .collect();
    let at = |pointer: &str| patches.iter().find_map(|p| p.pointer(pointer)).cloned();
    let container = |key: &str| at(&format!("/spec/template/spec/containers/0/{key}"));
    let pod = |key: &str| at(&format!("/spec/template/spec/{key}"));
    let one = |keys: &[&str], value: Option<Value>| -> Vec<Vec<(String, Value)>> {
        let Some(value) = value else { return Vec::new() };
        keys.iter().map(|key| vec![((*key).to_owned(), value.clone())]).collect()
    };
    let all = |pairs: &[(&str, Value)]| -> Vec<(String, Value)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    let alternatives: Vec<Vec<(String, Value)>> = match item {
        "requests" | "limits" => one(&["resources"], container("resources")),
        "image-pinned" => {
            let tag =
                container("image").and_then(|v| v.as_str().and_then(|i| i.rsplit_once(':')).map(|(_, tag)| json!(tag)));
            one(&["image.tag", "tag", "imageTag"], tag)
        }
        "readiness-probe" => one(
            &["readinessProbe.timeoutSeconds", "probes.readiness.timeoutSeconds"],
            container("readinessProbe/timeoutSeconds"),
        ),
        "liveness-probe" => one(
            &["livenessProbe.timeoutSeconds", "probes.liveness.timeoutSeconds"],
            container("livenessProbe/timeoutSeconds"),
        ),
        "grace-period" => one(&["terminationGracePeriodSeconds"], pod("terminationGracePeriodSeconds")),
        "node-spread" => one(&["topologySpreadConstraints"], pod("topologySpreadConstraints")),
        "peer-port-closed" | "metrics-port-closed" => one(&["service.type"], Some(json!("ClusterIP"))),
        "ingress-timeout" => one(&["ingress.annotations"], at("/metadata/annotations")),
        "autoscaler" => {
            let (min, max) = (at("/spec/minReplicas").unwrap_or(json!(2)), at("/spec/maxReplicas").unwrap_or(json!(7)));
            vec![
                all(&[
                    ("autoscaling.enabled", json!(true)),
                    ("autoscaling.minReplicas", min.clone()),
                    ("autoscaling.maxReplicas", max.clone()),
                ]),
                all(&[("hpa.enabled", json!(true)), ("hpa.minReplicas", min), ("hpa.maxReplicas", max)]),
            ]
        }
        "autoscaler-cpu" => one(
            &[
                "autoscaling.targetCPUUtilizationPercentage",
                "autoscaling.targetCPU",
                "hpa.targetCPUUtilizationPercentage",
            ],
            Some(json!(70)),
        ),
        "autoscaler-memory" => one(
            &[
                "autoscaling.targetMemoryUtilizationPercentage",
                "autoscaling.targetMemory",
                "hpa.targetMemoryUtilizationPercentage",
            ],
            Some(json!(80)),
        ),
        "postgres-connections" => one(
            &["autoscaling.maxReplicas", "hpa.maxReplicas"],
            at("/spec/maxReplicas").or_else(|| at("/spec/replicas")),
        ),
        "ready-nodes" => {
            let mut keys = one(&["autoscaling.minReplicas", "hpa.minReplicas"], at("/spec/minReplicas"));
            keys.extend(one(&["replicaCount", "replicas"], Some(json!(2))));
            keys
        }
        "disruption-budget" => ["podDisruptionBudget", "pdb"]
            .iter()
            .map(|key| {
                let (enabled, max) = (format!("{key}.enabled"), format!("{key}.maxUnavailable"));
                vec![(enabled, json!(true)), (max, json!(1))]
            })
            .collect(),
        "otel-enabled" => env(container("env")),
        "metrics-port-declared" => one(&["metrics.enabled"], Some(json!(true))),
        _ => Vec::new(),
    };
    let prefixes = ["", "engine.", "rivetEngine.", "rivet-engine.", "rivet."];
    let fitting = |values: &Vec<(String, Value)>| {
        prefixes.iter().find_map(|prefix| {
            let placed: Vec<(String, Value)> =
                values.iter().map(|(key, v)| (format!("{prefix}{key}"), v.clone())).collect();
            placed.iter().all(|(key, _)| takes(known, key)).then_some(placed)
        })
    };
    alternatives
        .iter()
        .find_map(fitting)
        .map(|values| values.into_iter().map(|(key, value)| shaped(known, key, value)).collect())
}

/// Variables as a list and as a map, by the names that charts have for them.
fn env(list: Option<Value>) -> Vec<Vec<(String, Value)>> {
    let Some(list) = list else { return Vec::new() };
    ["env", "extraEnv", "extraEnvVars"].iter().map(|key| vec![((*key).to_owned(), list.clone())]).collect()
}

/// Whether the chart has this key: it stands in its values, or its parent does as a map.
fn takes(known: &Value, key: &str) -> bool {
    let pointer = format!("/{}", key.replace('.', "/"));
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    match known.pointer(&pointer) {
        Some(_) => true,
        // A key that no values file shows is only believed in a map of its subject.
        None => !parent.is_empty() && known.pointer(parent).is_some_and(Value::is_object),
    }
}

/// A list of variables as a map where the chart keeps a map, and with what the chart has in it where it keeps a list.
fn shaped(known: &Value, key: String, value: Value) -> (String, Value) {
    let pointer = format!("/{}", key.replace('.', "/"));
    let is_env = key.to_ascii_lowercase().ends_with("env") || key.ends_with("EnvVars");
    match (known.pointer(&pointer), &value) {
        (Some(Value::Object(_)), Value::Array(variables)) if is_env => {
            let map =
                variables.iter().filter_map(|v| Some((v.get("name")?.as_str()?.to_owned(), v.get("value")?.clone())));
            (key, Value::Object(map.collect()))
        }
        // Helm replaces lists as a whole.
        (Some(Value::Array(there)), Value::Array(more)) => {
            let is_new = |v: &&Value| !more.iter().any(|m| m["name"] == v["name"] && !m["name"].is_null());
            let all = there.iter().filter(is_new).chain(more).cloned().collect();
            (key, Value::Array(all))
        }
        _ => (key, value),
    }
}

fn set(tree: &mut Value, path: &str, value: &Value) {
    let mut at = tree;
    for key in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[key];
    }
    *at = value.clone();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_where_the_chart_has_their_key() {
        let known = json!({"engine": {"autoscaling": {"targetCPUUtilizationPercentage": 90}, "env": {"A": "1"}}, "service": {"type": "NodePort"}});
        let patch = Change::Patch {
            api_version: "apps/v1",
            kind: "Deployment".into(),
            name: "e".into(),
            patch: json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": "B", "value": "2"}]}]}}}}),
        };
        let remedy = Remedy { item: "otel-enabled", change: patch };
        let of = |item: &str| values_for(item, &[&remedy], &known);
        assert_eq!(
            of("autoscaler-cpu").unwrap(),
            [("engine.autoscaling.targetCPUUtilizationPercentage".to_owned(), json!(70))]
        );
        assert_eq!(of("otel-enabled").unwrap(), [("engine.env".to_owned(), json!({"B": "2"}))]);
        assert_eq!(of("peer-port-closed").unwrap(), [("service.type".to_owned(), json!("ClusterIP"))]);
        assert_eq!(of("node-spread"), None, "no such key");
        let mut tree = Value::Null;
        set(&mut tree, "a.b", &json!(1));
        set(&mut tree, "a.c", &json!(2));
        assert_eq!(tree, json!({"a": {"b": 1, "c": 2}}));
    }
}

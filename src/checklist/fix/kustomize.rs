//! Remedies as a kustomize component, which an overlay of the operator's own takes in with one line.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::remedies::{Change, Remedy, Wishes, remedies};
use super::tool::{Scratch, ToolError, run};
use super::{FixError, LeftOut, judged_again, schema, unmet};
use crate::checklist::cluster::{Cluster, Objects};
use crate::checklist::evidence::Evidence;
use crate::checklist::known::Listed;
use crate::checklist::probes::manifests;
use crate::checklist::report::Report;

/// A file of the component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub text: String,
}

/// A component that was built and judged.
#[derive(Clone, Debug)]
pub struct KustomizeFix {
    pub files: Vec<File>,
    /// Items that are met with it.
    pub items: Vec<&'static str>,
    pub left_out: Vec<LeftOut>,
}

/// Works out, builds and judges the component for what is not met.
///
/// # Errors
/// See [`FixError`]; then there is nothing to show.
pub fn kustomize(evidence: &Evidence, report: &Report, wishes: &Wishes) -> Result<KustomizeFix, FixError> {
    let cluster = evidence.cluster.as_ref().map_err(|gap| FixError::NoCluster(gap.reason().to_owned()))?;
    let (mut remedies, mut left_out) = remedies(evidence, report, wishes);
    // A remedy that does not bring its item about is taken out, once; what is left must be met as a whole.
    for _ in 0..2 {
        if remedies.is_empty() {
            return Err(FixError::NothingToFix);
        }
        let files = files(&remedies);
        let built = build(cluster, &remedies, &files)?;
        let mut items: Vec<&'static str> = remedies.iter().map(|r| r.item).collect();
        items.dedup();
        let still = unmet(&judged_again(evidence, built, &items), &items);
        if still.is_empty() {
            return Ok(KustomizeFix { files, items, left_out });
        }
        remedies.retain(|r| !still.iter().any(|s| s.item == r.item));
        left_out.extend(
            still.into_iter().map(|s| LeftOut { reason: format!("a patch does not suffice: {}", s.reason), ..s }),
        );
    }
    Err(FixError::NotValid("what is left of it does not bring about what it is for".into()))
}

/// Kind and name in file names: lower case, as kustomize itself writes them.
fn file_name(word: &str, kind: &str, name: &str) -> String {
    format!("{word}-{}-{name}.yaml", kind.to_ascii_lowercase())
}

fn files(remedies: &[Remedy]) -> Vec<File> {
    let mut patches: BTreeMap<(String, String), (&'static str, Value, Vec<&'static str>)> = BTreeMap::new();
    let mut added: Vec<(&Value, Vec<&'static str>)> = Vec::new();
    for remedy in remedies {
        match &remedy.change {
            Change::Patch { api_version, kind, name, patch } => {
                let entry = patches.entry((kind.clone(), name.clone())).or_insert((api_version, json!({}), Vec::new()));
                merge(&mut entry.1, patch);
                if !entry.2.contains(&remedy.item) {
                    entry.2.push(remedy.item);
                }
            }
            Change::Add(object) => match added.iter_mut().find(|(o, _)| *o == object) {
                Some((_, items)) => items.push(remedy.item),
                None => added.push((object, vec![remedy.item])),
            },
        }
    }
    let (mut files, mut resources, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for ((kind, name), (api_version, patch, items)) in &patches {
        let file = file_name("patch", kind, name);
        let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name } });
        merge(&mut object, patch);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let mut target = Map::new();
        if !group.is_empty() {
            target.insert("group".into(), group.into());
        }
        for (key, value) in [("version", version), ("kind", kind), ("name", name)] {
            target.insert(key.into(), value.into());
        }
        // By target, so that it fits whatever namespace the base is in.
        targets.push(json!({ "path": file, "target": target }));
        files.push(File { name: file, text: yaml(&object, items) });
    }
    for (object, items) in &added {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let file = file_name("add", text("/kind"), text("/metadata/name"));
        resources.push(file.clone());
        files.push(File { name: file, text: yaml(object, items) });
    }
    let mut component = json!({ "apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component" });
    if !resources.is_empty() {
        component["resources"] = json!(resources);
    }
    if !targets.is_empty() {
        component["patches"] = json!(targets);
    }
    let about = "# What `rivetwatch check` found not met, as a component: `components: [DIR]` in your kustomization takes it in.\n";
    let text = about.to_owned() + &serde_saphyr::to_string(&component).unwrap_or_default();
    files.insert(0, File { name: "kustomization.yaml".into(), text });
    files
}

fn yaml(object: &Value, items: &[&'static str]) -> String {
    format!("# For {}.\n{}", items.join(", "), serde_saphyr::to_string(object).unwrap_or_default())
}

/// Lays one patch over another as a strategic merge would: lists of named things by their name, other lists as a whole.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(key) {
                    Some(slot) => merge(slot, value),
                    None => {
                        under.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(under), Value::Array(over)) => {
            let key = ["name", "port", "containerPort", "topologyKey"]
                .into_iter()
                .find(|key| under.iter().chain(over).all(|item| item.get(*key).is_some_and(|v| !v.is_null())));
            match key {
                None => *under = over.clone(),
                Some(key) => {
                    for item in over {
                        match under.iter_mut().find(|u| u[key] == item[key]) {
                            Some(slot) => merge(slot, item),
                            None => under.push(item.clone()),
                        }
                    }
                }
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Lets `kubectl kustomize` build the component on the objects it changes, and gives all objects as they would be.
fn build(cluster: &Cluster, remedies: &[Remedy], files: &[File]) -> Result<Objects, FixError> {
    let scratch = Scratch::new().map_err(|source| FixError::Write { path: "a temporary folder".into(), source })?;
    let patched: Vec<Value> = touched(&cluster.raw, remedies).into_iter().map(bare).collect();
    let mut base: Vec<File> = patched
        .iter()
        .enumerate()
        .map(|(i, object)| File {
            name: format!("base-{i}.yaml"),
            text: serde_saphyr::to_string(object).unwrap_or_default(),
        })
        .collect();
    let names: Vec<&str> = base.iter().map(|f| f.name.as_str()).collect();
    let overlay = json!({ "resources": names, "components": ["fix"] });
    base.push(File { name: "kustomization.yaml".into(), text: serde_saphyr::to_string(&overlay).unwrap_or_default() });
    super::write(scratch.path(), &base)?;
    super::write(&scratch.path().join("fix"), files)?;
    let folder = scratch.path().display().to_string();
    let built = run("kubectl", &["kustomize", &folder]).map_err(|e| without_folder(e, &folder))?;
    let built = manifests::read_text("what `kubectl kustomize` built", &built, None, None);
    let built = built.map_err(|gap| FixError::NotValid(gap.to_string()))?;
    for object in every(&built) {
        if let Some(problem) = schema::problem(object) {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            return Err(FixError::NotValid(format!("{name} would not be a valid object: {problem}")));
        }
    }
    Ok(replaced(&cluster.raw, &built))
}

/// The tool's words without the folder's name, which says nothing.
fn without_folder(error: ToolError, folder: &str) -> ToolError {
    match error {
        ToolError::Refused { stderr, .. } => {
            ToolError::Refused { command: "kubectl kustomize".into(), stderr: stderr.replace(folder, "") }
        }
        other => other,
    }
}

fn lists(objects: &Objects) -> [&crate::checklist::known::Known<Listed<Value>>; 6] {
    [
        &objects.deployments,
        &objects.stateful_sets,
        &objects.services,
        &objects.ingresses,
        &objects.autoscalers,
        &objects.budgets,
    ]
}

fn every(objects: &Objects) -> impl Iterator<Item = &Value> {
    lists(objects).into_iter().flatten().flat_map(|list| &list.items)
}

fn identity(object: &Value) -> (Option<&str>, Option<&str>) {
    (object.get("kind").and_then(Value::as_str), object.pointer("/metadata/name").and_then(Value::as_str))
}

/// Whether two objects name one namespace, or neither does: manifests of several may share names.
fn in_one_namespace(a: &Value, b: &Value) -> bool {
    let namespace = |o: &Value| o.pointer("/metadata/namespace").and_then(Value::as_str).map(str::to_owned);
    namespace(a) == namespace(b)
}

/// The objects that a patch changes. Lists of the API leave out the kind of their items, so that it is put back.
fn touched(raw: &Objects, remedies: &[Remedy]) -> Vec<Value> {
    let of = |list: &crate::checklist::known::Known<Listed<Value>>, api: &str, kind: &str| -> Vec<Value> {
        let items = list.as_ref().map(|l| l.items.clone()).unwrap_or_default();
        let complete = |mut object: Value| {
            object["apiVersion"] = api.into();
            object["kind"] = kind.into();
            object
        };
        // What comes with another kind, such as a ScaledObject among the autoscalers, is nothing that is patched.
        let is_one = |object: &Value| object.get("kind").is_none_or(|k| k == kind);
        items.into_iter().filter(is_one).map(complete).collect()
    };
    let all = [
        of(&raw.deployments, "apps/v1", "Deployment"),
        of(&raw.stateful_sets, "apps/v1", "StatefulSet"),
        of(&raw.services, "v1", "Service"),
        of(&raw.ingresses, "networking.k8s.io/v1", "Ingress"),
        of(&raw.autoscalers, "autoscaling/v2", "HorizontalPodAutoscaler"),
        of(&raw.budgets, "policy/v1", "PodDisruptionBudget"),
    ];
    let is_patched = |object: &Value| {
        remedies.iter().any(|r| match &r.change {
            Change::Patch { kind, name, .. } => identity(object) == (Some(kind), Some(name)),
            Change::Add(_) => false,
        })
    };
    all.into_iter().flatten().filter(is_patched).collect()
}

/// An object without what only a running cluster adds.
fn bare(mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in [
            "managedFields",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "ownerReferences",
            "selfLink",
        ] {
            metadata.remove(key);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    object
}

/// All objects, with those that were built in the place of the old ones.
fn replaced(raw: &Objects, built: &Objects) -> Objects {
    let list = |old: &crate::checklist::known::Known<Listed<Value>>,
                new: &crate::checklist::known::Known<Listed<Value>>| {
        let mut listed = old.clone()?;
        for object in new.iter().flat_map(|l| &l.items) {
            let is_same = |o: &&mut Value| identity(o).1 == identity(object).1 && in_one_namespace(o, object);
            match listed.items.iter_mut().find(is_same) {
                Some(slot) => *slot = object.clone(),
                None => listed.items.push(object.clone()),
            }
        }
        Ok(listed)
    };
    Objects {
        source: format!("{}, patched", raw.source),
        is_live: false,
        engine_name: raw.engine_name.clone(),
        deployments: list(&raw.deployments, &built.deployments),
        stateful_sets: list(&raw.stateful_sets, &built.stateful_sets),
        pods: raw.pods.clone(),
        services: list(&raw.services, &built.services),
        ingresses: list(&raw.ingresses, &built.ingresses),
        routes: raw.routes.clone(),
        autoscalers: list(&raw.autoscalers, &built.autoscalers),
        budgets: list(&raw.budgets, &built.budgets),
        config_maps: raw.config_maps.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_one_object_become_one() {
        let mut a = json!({"spec": {"containers": [{"name": "e", "env": [{"name": "A", "value": "1"}]}], "metrics": [{"type": "x"}]}});
        merge(
            &mut a,
            &json!({"spec": {"containers": [{"name": "e", "image": "i", "env": [{"name": "B", "value": "2"}]}]}}),
        );
        merge(&mut a, &json!({"spec": {"metrics": [{"type": "y"}], "ports": [{"port": 1, "$patch": "delete"}]}}));
        let container =
            json!({"name": "e", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "image": "i"});
        let expected = json!({"spec": {"containers": [container], "metrics": [{"type": "y"}], "ports": [{"port": 1, "$patch": "delete"}]}});
        assert_eq!(a, expected);
    }
}

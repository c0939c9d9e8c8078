//! Reads Kubernetes objects from files: YAML and JSON, many documents a file, lists, and `kubectl kustomize` output.
//!
//! Always: a document that cannot be read is named and keeps absence from being concluded; Secrets are not read.
//! Limits: 2,000 files, 32 MiB in all, 4,000,000 nodes a YAML document.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::checklist::cluster::Objects;
use crate::checklist::known::{Gap, Known, Listed, unknown};

const FILES_MAX: usize = 2_000;
const BYTES_MAX: u64 = 32 << 20;
/// Nodes of one YAML document: more than BYTES_MAX of real objects hold, and a bound for what is made to take memory.
const NODES_MAX: usize = 4_000_000;

/// Reads a folder, a file, or standard input (`-`).
///
/// `namespace` leaves out objects that name another; `engine` names the engine's workload.
///
/// # Errors
/// The path cannot be read, or holds no object.
pub fn read(path: &Path, namespace: Option<&str>, engine: Option<&str>) -> Known<Objects> {
    let mut found = Found::default();
    let source = match path.to_str() {
        Some("-") => {
            found.add("standard input", &stream(std::io::stdin())?);
            "the manifests on standard input".to_owned()
        }
        _ => {
            found.add_path(path)?;
            format!("the manifests in `{}`", path.display())
        }
    };
    if found.objects.is_empty() {
        let first = found.unread.first().or(found.unread_of.first().map(|(_, reason)| reason));
        let why = first.map(|u| format!(": {u}")).unwrap_or_default();
        return unknown(format!("{source} hold no Kubernetes object{why}"));
    }
    Ok(found.objects(source, namespace, engine))
}

/// Reads objects out of the text of a YAML stream, such as what `kubectl kustomize` prints.
///
/// # Errors
/// It holds no object.
pub fn read_text(name: &str, text: &str, namespace: Option<&str>, engine: Option<&str>) -> Known<Objects> {
    let mut found = Found::default();
    found.add(name, text);
    if found.objects.is_empty() {
        return unknown(format!("{name} holds no Kubernetes object"));
    }
    Ok(found.objects(name.to_owned(), namespace, engine))
}

/// The text of a stream as a whole; one that is cut would hide what stood behind the cut.
fn stream(from: impl Read) -> Known<String> {
    let mut bytes = Vec::new();
    if let Err(e) = from.take(BYTES_MAX + 1).read_to_end(&mut bytes) {
        return unknown(format!("standard input could not be read: {e}"));
    }
    if bytes.len() as u64 > BYTES_MAX {
        return unknown(format!(
            "standard input is larger than {} MiB; give a folder, or fewer objects",
            BYTES_MAX >> 20
        ));
    }
    String::from_utf8(bytes).map_err(|e| Gap::new(format!("standard input is no text in UTF-8: {e}")))
}

#[derive(Default)]
struct Found {
    objects: Vec<Value>,
    /// What could not be read, which may have been anything.
    unread: Vec<String>,
    /// Objects of a kind that is known, and why each could not be read.
    unread_of: Vec<(String, String)>,
}

impl Found {
    fn add_path(&mut self, path: &Path) -> Known<()> {
        let failed = |path: &Path, e: std::io::Error| unknown(format!("`{}` could not be read: {e}", path.display()));
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) => return failed(path, e),
        };
        let mut files = Vec::new();
        if metadata.is_dir() {
            let mut folders = vec![path.to_owned()];
            while let Some(folder) = folders.pop() {
                let entries = match std::fs::read_dir(&folder) {
                    Ok(entries) => entries,
                    Err(e) => return failed(&folder, e),
                };
                for entry in entries.flatten() {
                    let path = entry.path();
                    let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
                    match entry.file_type() {
                        Ok(kind) if kind.is_dir() && !is_hidden => folders.push(path),
                        // Links are followed for files alone, so that no circle is walked.
                        Ok(kind) if !kind.is_dir() && is_manifest(&path) && !is_hidden => files.push(path),
                        _ => {}
                    }
                }
            }
        } else {
            files.push(path.to_owned());
        }
        files.sort();
        if files.len() > FILES_MAX {
            self.unread
                .push(format!("`{}` holds more than {FILES_MAX} files, the others were not read", path.display()));
            files.truncate(FILES_MAX);
        }
        let mut left = BYTES_MAX;
        for file in files {
            let name = file.strip_prefix(path).ok().filter(|p| !p.as_os_str().is_empty()).unwrap_or(&file);
            let name = name.display().to_string();
            let length = std::fs::metadata(&file).map(|m| m.len()).unwrap_or(0);
            if length > left {
                self.unread.push(format!("{name} was not read: the files are larger than {BYTES_MAX} bytes"));
                continue;
            }
            left -= length;
            match std::fs::read_to_string(&file) {
                Ok(text) => self.add(&name, &text),
                Err(e) => self.unread.push(format!("{name} could not be read: {e}")),
            }
        }
        Ok(())
    }

    /// Reads each document for itself, so that one broken does not hide the others.
    fn add(&mut self, name: &str, text: &str) {
        // JSON is YAML too, which is far slower to read; what begins like it may still be a flow map of YAML.
        let read = || serde_json::Deserializer::from_str(text).into_iter().collect::<Result<Vec<Value>, _>>();
        match text.trim_start().starts_with('{').then(read) {
            Some(Ok(values)) => return values.into_iter().for_each(|value| self.add_object(name, value)),
            Some(Err(e)) if name.ends_with(".json") => return self.unread.push(format!("{name} is no JSON: {e}")),
            None if name.ends_with(".json") => return self.unread.push(format!("{name} is no JSON object")),
            _ => {}
        }
        for (number, document) in documents(text).into_iter().enumerate() {
            let options = serde_saphyr::options! {
                with_snippet: false,
                budget: serde_saphyr::budget! { max_nodes: NODES_MAX, max_events: 2 * NODES_MAX },
            };
            match serde_saphyr::from_str_with_options::<Value>(&document, options) {
                Ok(value) => self.add_object(name, value),
                Err(_) if document.contains("{{") => {
                    self.unread.push(format!("document {} of {name} is a template; render it first", number + 1));
                }
                Err(e) => self.unread.push(format!("document {} of {name} is no YAML: {e}", number + 1)),
            }
        }
    }

    /// Takes an object, or each of a list; what looks like one and does not say what it is, is named.
    fn add_object(&mut self, name: &str, value: Value) {
        let field = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        match (field("apiVersion"), field("kind")) {
            (_, Some("Kustomization" | "Component")) => self.unread.push(kustomization(name)),
            (version, Some(kind)) if kind.ends_with("List") && value.get("items").is_some() => {
                let Some(Value::Array(items)) = value.get("items") else {
                    return self.unread.push(format!("`items` of a {kind} in {name} is not a list"));
                };
                // Items of a `ServiceList` are Services of its version, which each may leave unsaid.
                let (of_kind, version) = (kind.trim_end_matches("List"), version.map(str::to_owned));
                for item in items.clone() {
                    if !item.is_object() {
                        self.unread.push(format!("an item of a {kind} in {name} is no object"));
                        continue;
                    }
                    self.add_object(name, with_kind(item, of_kind, version.as_deref()));
                }
            }
            (Some(_), Some(_)) => self.objects.push(value),
            // A kustomization may leave out its kind.
            _ if name.ends_with("kustomization.yaml") || name.ends_with("kustomization.yml") => {
                self.unread.push(kustomization(name));
            }
            (version, kind) => {
                // Values of a chart and the like are no objects.
                let has = |key: &str| value.get(key).is_some();
                if (has("apiVersion") || has("kind")) && (has("metadata") || has("spec") || has("data")) {
                    let missing = if version.is_none() { "apiVersion" } else { "kind" };
                    let of_name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
                    let shown = kind.unwrap_or("object");
                    let reason = format!("{shown} {of_name} in {name} has no `{missing}`, so that it was not read");
                    match kind {
                        Some(kind) => self.unread_of.push((kind.to_owned(), reason)),
                        None => self.unread.push(reason),
                    }
                }
            }
        }
    }

    fn objects(self, source: String, namespace: Option<&str>, engine: Option<&str>) -> Objects {
        let is_wanted = |v: &&Value| {
            let in_namespace = v.pointer("/metadata/namespace").and_then(Value::as_str);
            namespace.is_none() || in_namespace.is_none() || in_namespace == namespace
        };
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let group =
            |v: &Value| text(v, "apiVersion").split_once('/').map_or(String::new(), |(group, _)| group.to_owned());
        let of = |kinds: &[(&str, &str)]| -> Known<Listed<Value>> {
            let is_one = |v: &&Value| kinds.iter().any(|(kind, of)| text(v, "kind") == *kind && group(v) == *of);
            // Kubernetes has no second group with a kind of this name, so that it is a slip of the pen or of a past age.
            let is_near = |v: &&Value| {
                let group = group(v);
                let is_own = !group.contains('.') || group.ends_with(".k8s.io");
                is_own && kinds.iter().any(|(kind, of)| text(v, "kind") == *kind && group != *of)
            };
            let unread = self.objects.iter().filter(is_wanted).filter(is_near).map(|v| {
                let name = v.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
                format!("{} {name} is of `{}`, which is not read", text(v, "kind"), text(v, "apiVersion"))
            });
            let of_kind = self.unread_of.iter().filter(|(kind, _)| kinds.iter().any(|(of, _)| of == kind));
            let of_kind = of_kind.map(|(_, reason)| reason.clone());
            Ok(Listed {
                unread: self.unread.iter().cloned().chain(of_kind).chain(unread).collect(),
                items: self.objects.iter().filter(is_wanted).filter(is_one).cloned().collect(),
            })
        };
        const GATEWAY: &str = "gateway.networking.k8s.io";
        Objects {
            is_live: false,
            engine_name: engine.map(str::to_owned),
            deployments: of(&[("Deployment", "apps")]),
            stateful_sets: of(&[("StatefulSet", "apps")]),
            pods: of(&[("Pod", "")]),
            services: of(&[("Service", "")]),
            ingresses: of(&[("Ingress", "networking.k8s.io")]),
            routes: of(&["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"].map(|kind| (kind, GATEWAY))),
            autoscalers: of(&[("HorizontalPodAutoscaler", "autoscaling"), ("ScaledObject", "keda.sh")]),
            budgets: of(&[("PodDisruptionBudget", "policy")]),
            config_maps: of(&[("ConfigMap", "")]),
            source,
        }
    }
}

/// An item of a list, with the kind and version that the list says for all.
fn with_kind(mut item: Value, kind: &str, version: Option<&str>) -> Value {
    if let Some(object) = item.as_object_mut().filter(|_| !kind.is_empty()) {
        object.entry("kind").or_insert_with(|| kind.into());
        if let Some(version) = version {
            object.entry("apiVersion").or_insert_with(|| version.into());
        }
    }
    item
}

fn kustomization(name: &str) -> String {
    format!("{name} is not built here; use `kubectl kustomize DIR | rivetwatch check --manifests -`")
}

fn is_manifest(path: &Path) -> bool {
    let extension: Option<&str> = path.extension().and_then(|e| e.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

/// The documents of a YAML stream: `---` at the start of a line, outside of block texts, which are indented.
fn documents(text: &str) -> Vec<String> {
    let (mut all, mut current) = (Vec::new(), String::new());
    for line in text.lines() {
        let is_mark = line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
        if is_mark || line == "..." {
            all.push(std::mem::take(&mut current));
            continue;
        }
        current.push_str(line);
        current.push('\n');
    }
    all.push(current);
    let has_content = |d: &String| d.lines().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
    all.into_iter().filter(has_content).collect()
}

/// Reads files of the engine's own configuration; folders are read as the engine reads `/etc/rivet`.
///
/// # Errors
/// A path cannot be read; nothing of its content is shown.
pub fn engine_config(paths: &[PathBuf]) -> Known<Vec<crate::checklist::evidence::ConfigFile>> {
    use crate::checklist::evidence::{ConfigFile, is_config_name};
    if paths.is_empty() {
        return unknown("the engine's configuration was not read; set `check.engine_config`");
    }
    let mut files = Vec::new();
    for path in paths {
        let mut here = vec![path.clone()];
        if path.is_dir() {
            let entries = match std::fs::read_dir(path) {
                Ok(entries) => entries,
                Err(e) => return unknown(format!("`{}` could not be read: {e}", path.display())),
            };
            here = entries.flatten().map(|e| e.path()).filter(|p| p.to_str().is_some_and(is_config_name)).collect();
            here.sort();
        }
        for file in here {
            match std::fs::read_to_string(&file) {
                Ok(text) => files.push(ConfigFile { name: file.display().to_string(), text: text.into() }),
                Err(e) => return unknown(format!("`{}` could not be read: {e}", file.display())),
            }
        }
    }
    match files.is_empty() {
        true => unknown(format!("`{}` holds no configuration file of the engine", paths[0].display())),
        false => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_split_and_broken_ones_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "a.yaml",
            "# a comment\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {}\n---\nkey: [broken\n",
        );
        write("b.json", r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod"}]}"#);
        write("values.yaml", "replicas: 3\n");
        write("t.yaml", "kind: {{ .Values.kind }}\n");
        write("notes.txt", "apiVersion: v1\nkind: Pod\n");
        let objects = read(dir.path(), None, None).unwrap();
        assert_eq!(objects.services.as_ref().unwrap().items.len(), 1);
        assert_eq!(objects.pods.as_ref().unwrap().items.len(), 1);
        let unread = &objects.services.as_ref().unwrap().unread;
        assert_eq!(unread.len(), 2, "{unread:?}");
        assert!(unread[0].contains("document 2 of a.yaml") && unread[1].contains("template"), "{unread:?}");
    }

    #[test]
    fn an_overlay_is_not_taken_for_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kustomization.yaml"), "resources: [../base]\n").unwrap();
        let error = read(dir.path(), None, None).unwrap_err();
        assert!(error.reason().contains("kubectl kustomize"), "{error}");
        assert!(read(&dir.path().join("nowhere"), None, None).unwrap_err().reason().contains("nowhere"));
    }

    #[test]
    fn what_looks_like_an_object_and_does_not_say_what_it_is_is_named() {
        let read = |text: &str| read_text("x", &format!("apiVersion: v1\nkind: Pod\n---\n{text}"), None, None).unwrap();
        for (text, named) in [
            ("kind: Service\nmetadata: {name: s}\nspec: {}", "Service s in x has no `apiVersion`"),
            ("apiVersion: 17\nkind: Service\nmetadata: {name: s}", "Service s in x has no `apiVersion`"),
            ("apiVersion: v1\nmetadata: {name: s}\nspec: {}", "object s in x has no `kind`"),
            ("apiVersion: v1\nkind: [Service]\nmetadata: {name: s}", "object s in x has no `kind`"),
            ("apiVersion: v1\nkind: ServiceList\nitems: {}", "`items` of a ServiceList in x is not a list"),
            ("apiVersion: v1\nkind: List\nitems: [x]", "an item of a List in x is no object"),
            ("apiVersion: apps/v1\nkind: Service\nmetadata: {name: s}", "Service s is of `apps/v1`, which is not read"),
            ("apiVersion: v1\nkind: List\nitems: [{metadata: {name: s}, kind: Service}]", "Service s in x has no"),
        ] {
            let unread = read(text).services.unwrap().unread;
            assert!(unread.len() == 1 && unread[0].contains(named), "{text}: {unread:?}");
            // What says its kind can be none of another.
            let is_of_kind = named.starts_with("Service");
            assert_eq!(read(text).budgets.unwrap().unread.is_empty(), is_of_kind, "{text}");
        }
        // Others' kinds and values of a chart are nothing that is missing.
        for text in
            ["apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: s}", "kind: DaemonSet\nreplicas: 3"]
        {
            assert_eq!(read(text).services.unwrap().unread, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn items_of_a_typed_list_are_of_its_kind() {
        let text = "apiVersion: v1\nkind: ServiceList\nitems: [{metadata: {name: s}}]";
        let services = read_text("x", text, None, None).unwrap().services.unwrap();
        assert_eq!((services.items.len(), services.unread.len()), (1, 0));
    }

    #[test]
    fn a_stream_is_read_as_a_whole_or_not_at_all() {
        assert_eq!(stream("kind: Pod".as_bytes()).unwrap(), "kind: Pod");
        let whole = std::io::repeat(b' ').take(BYTES_MAX);
        assert_eq!(stream(whole).unwrap().len() as u64, BYTES_MAX);
        let error = stream(std::io::repeat(b' ').take(BYTES_MAX + 1)).unwrap_err();
        assert!(error.reason().contains("larger than 32 MiB"), "{error}");
        assert!(stream(&b"\xff\xfe"[..]).is_err());
    }

    #[test]
    fn ten_thousand_pods_in_one_document_are_read() {
        let pod = |i: usize| {
            let labels =
                "\"labels\": {\"app\": \"rivet-engine\", \"component\": \"rivet-engine\", \"service\": \"engine\"}";
            let containers = "[{\"name\": \"rivet-engine\", \"image\": \"rivetdev/engine:2.3.7\", \"ports\": []}]";
            format!(
                "{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"p{i}\", {labels}}}, \
                 \"spec\": {{\"containers\": {containers}}}}}"
            )
        };
        let pods: Vec<String> = (0..10_000).map(pod).collect();
        let json = format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}]}}", pods.join(","));
        let yaml = format!("apiVersion: v1\nkind: List\nitems:\n- {}\n", pods.join("\n- "));
        // As two calls of `kubectl get -o json` print them.
        let twice = format!("{}\n{json}\n", pods[0]);
        assert_eq!(read_text("standard input", &twice, None, None).unwrap().pods.unwrap().items.len(), 10_001);
        for text in [json, yaml] {
            let pods = read_text("standard input", &text, None, None).unwrap().pods.unwrap();
            assert_eq!((pods.items.len(), pods.unread), (10_000, Vec::new()));
        }
    }
}

//! Reads Kubernetes objects from files: YAML and JSON, many documents a file, lists, and `kubectl kustomize` output.
//!
//! Always: a document that cannot be read is named and keeps absence from being concluded; Secrets are not read.
//! Limits: 2,000 files, 32 MiB in all.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::checklist::cluster::Objects;
use crate::checklist::known::{Known, Listed, unknown};

const FILES_MAX: usize = 2_000;
const BYTES_MAX: u64 = 32 << 20;

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
            let mut text = String::new();
            if let Err(e) = std::io::stdin().take(BYTES_MAX).read_to_string(&mut text) {
                return unknown(format!("standard input could not be read: {e}"));
            }
            found.add("standard input", &text);
            "the manifests on standard input".to_owned()
        }
        _ => {
            found.add_path(path)?;
            format!("the manifests in `{}`", path.display())
        }
    };
    if found.objects.is_empty() {
        let why = found.unread.first().map(|u| format!(": {u}")).unwrap_or_default();
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

#[derive(Default)]
struct Found {
    objects: Vec<Value>,
    unread: Vec<String>,
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
        if name.ends_with(".json") {
            match serde_json::from_str(text) {
                Ok(value) => self.add_object(name, value),
                Err(e) => self.unread.push(format!("{name} is no JSON: {e}")),
            }
            return;
        }
        for (number, document) in documents(text).into_iter().enumerate() {
            let options = serde_saphyr::options! { with_snippet: false };
            match serde_saphyr::from_str_with_options::<Value>(&document, options) {
                Ok(value) => self.add_object(name, value),
                Err(_) if document.contains("{{") => {
                    self.unread.push(format!("document {} of {name} is a template; render it first", number + 1));
                }
                Err(e) => self.unread.push(format!("document {} of {name} is no YAML: {e}", number + 1)),
            }
        }
    }

    fn add_object(&mut self, name: &str, value: Value) {
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        let has_version = value.get("apiVersion").and_then(Value::as_str).is_some();
        match kind {
            "Kustomization" | "Component" => self.unread.push(kustomization(name)),
            "List" => {
                let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                for item in items {
                    self.add_object(name, item);
                }
            }
            _ if has_version && !kind.is_empty() => self.objects.push(value),
            // A kustomization may leave out its kind; values of a chart and the like are no objects.
            _ if name.ends_with("kustomization.yaml") || name.ends_with("kustomization.yml") => {
                self.unread.push(kustomization(name));
            }
            _ => {}
        }
    }

    fn objects(self, source: String, namespace: Option<&str>, engine: Option<&str>) -> Objects {
        let of = |kind: &str, group: &str| -> Known<Listed<Value>> {
            let is_one = |v: &&Value| {
                let version = v.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
                let in_namespace = v.pointer("/metadata/namespace").and_then(Value::as_str);
                v.get("kind").and_then(Value::as_str) == Some(kind)
                    && version.split_once('/').map_or("", |(group, _)| group) == group
                    && (namespace.is_none() || in_namespace.is_none() || in_namespace == namespace)
            };
            let items = self.objects.iter().filter(is_one).cloned().collect();
            Ok(Listed { items, unread: self.unread.clone() })
        };
        Objects {
            is_live: false,
            engine_name: engine.map(str::to_owned),
            deployments: of("Deployment", "apps"),
            stateful_sets: of("StatefulSet", "apps"),
            pods: of("Pod", ""),
            services: of("Service", ""),
            ingresses: of("Ingress", "networking.k8s.io"),
            autoscalers: of("HorizontalPodAutoscaler", "autoscaling"),
            budgets: of("PodDisruptionBudget", "policy"),
            config_maps: of("ConfigMap", ""),
            source,
        }
    }
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
}

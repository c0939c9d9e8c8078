//! What is mounted into containers, as far as files of the engine's configuration may come by it.
//!
//! In:  the volumes of a pod and the mounts of its containers.   Out: [`Mount`]s, with the files of config maps by path.
//! Always: a volume whose content is not read, such as a Secret, is a mount all the same, so that what it holds is not
//! taken for absent.

use serde_json::Value;

use super::fields::{Read, maps, name_of, text};

/// A volume at a path of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub container: String,
    /// Where it is mounted, without a slash at the end.
    pub path: String,
    /// The one file or folder of the volume that is mounted at `path`; the whole volume where there is none.
    pub sub_path: Option<String>,
    pub source: VolumeSource,
}

/// Where the content of a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    ConfigMap {
        name: String,
        /// Keys that are mounted and the paths they get; every key by its own name where there are none.
        items: Vec<(String, String)>,
        /// Pods start without it.
        is_optional: bool,
    },
    /// Something whose content is not read, for people: `Secret rivet-config`, `a volume of type csi`.
    Unread(String),
}

impl Mount {
    /// The files that the mount makes of a ConfigMap with these keys: each key with its path.
    ///
    /// Nothing for other volumes.
    pub fn files<'a>(&'a self, keys: impl Iterator<Item = &'a String>) -> Vec<(&'a str, String)> {
        let VolumeSource::ConfigMap { items, .. } = &self.source else { return Vec::new() };
        let all: Vec<(&str, &str)> = match items.is_empty() {
            true => keys.map(|key| (key.as_str(), key.as_str())).collect(),
            false => items.iter().map(|(key, path)| (key.as_str(), path.as_str())).collect(),
        };
        let at = |path: &str| match &self.sub_path {
            None => Some(format!("{}/{path}", self.path)),
            Some(sub) if path == sub => Some(self.path.clone()),
            Some(sub) => path.strip_prefix(&format!("{sub}/")).map(|rest| format!("{}/{rest}", self.path)),
        };
        all.into_iter().filter_map(|(key, path)| Some((key, at(path)?))).collect()
    }

    /// Whether it is a mount of the ConfigMap of this name.
    pub fn is_of(&self, map: &str) -> bool {
        matches!(&self.source, VolumeSource::ConfigMap { name, .. } if name == map)
    }

    /// Whether a file at `path` would be one of this mount.
    pub fn covers(&self, path: &str) -> bool {
        is_at_or_below(path, &self.path)
    }
}

/// Whether `path` is `folder` or lies below it.
pub fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || folder.is_empty())
}

/// Every mount of every container of a pod; a projected volume is one for each of its parts.
pub(super) fn mounts(pod: &Value) -> Read<Vec<Mount>> {
    let mut volumes = Vec::new();
    for volume in maps(pod, "volumes")? {
        volumes.push((name_of(volume, "a volume")?, sources(volume)?));
    }
    let mut found = Vec::new();
    for key in ["containers", "initContainers"] {
        for container in maps(pod, key)? {
            let container_name = name_of(container, "a container")?;
            for mount in maps(container, "volumeMounts")? {
                let volume = name_of(mount, "a mount")?;
                let path = text(mount, "/mountPath").ok_or("a mount has no `mountPath`")?;
                let sub_path = text(mount, "/subPath").or_else(|| text(mount, "/subPathExpr"));
                // Claims of a StatefulSet are volumes that are listed elsewhere.
                let claim = [VolumeSource::Unread(format!("volume {volume}"))];
                let of = volumes.iter().find(|(name, _)| *name == volume).map_or(&claim[..], |(_, of)| of);
                found.extend(of.iter().map(|source| Mount {
                    container: container_name.clone(),
                    path: path.trim_end_matches('/').to_owned(),
                    sub_path: sub_path.clone().map(|s| s.trim_matches('/').to_owned()).filter(|s| !s.is_empty()),
                    source: source.clone(),
                }));
            }
        }
    }
    Ok(found)
}

fn sources(volume: &Value) -> Read<Vec<VolumeSource>> {
    if let Some(projected) = volume.get("projected") {
        return maps(projected, "sources")?.iter().map(source).collect();
    }
    source(volume).map(|one| vec![one])
}

/// A volume, or a part of a projected one, by the one key that says what it is.
fn source(volume: &Value) -> Read<VolumeSource> {
    let Some(map) = volume.get("configMap") else {
        let secret = text(volume, "/secret/secretName").or_else(|| text(volume, "/secret/name"));
        let kind = volume.as_object().and_then(|v| v.keys().find(|key| *key != "name"));
        return Ok(VolumeSource::Unread(match (secret, kind) {
            (Some(secret), _) => format!("Secret {secret}"),
            (None, Some(kind)) => format!("a volume of type {kind}"),
            (None, None) => "a volume of no type".to_owned(),
        }));
    };
    let item = |item: &Value| -> Read<(String, String)> {
        let part = |key: &str| text(item, key).ok_or_else(|| "an item of a ConfigMap has no key and path".to_owned());
        Ok((part("/key")?, part("/path")?))
    };
    Ok(VolumeSource::ConfigMap {
        name: name_of(map, "a ConfigMap of a volume")?,
        items: maps(map, "items")?.iter().map(item).collect::<Read<_>>()?,
        is_optional: map.get("optional").and_then(Value::as_bool).unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(volume: Value, mount: Value) -> Vec<Mount> {
        mounts(&json!({"volumes": [volume], "containers": [{"name": "c", "volumeMounts": [mount]}]})).unwrap()
    }

    #[test]
    fn files_of_config_maps_have_the_paths_that_mounts_give_them() {
        let files = |volume: Value, mount: Value| -> Vec<String> {
            let keys = ["a.json".to_owned(), "b.txt".to_owned()];
            of(volume, mount)
                .iter()
                .flat_map(|m| m.files(keys.iter()))
                .map(|(key, path)| format!("{key}={path}"))
                .collect()
        };
        let whole = json!({"name": "v", "configMap": {"name": "m"}});
        let at = |path: &str| json!({"name": "v", "mountPath": path});
        assert_eq!(files(whole.clone(), at("/etc/rivet/")), ["a.json=/etc/rivet/a.json", "b.txt=/etc/rivet/b.txt"]);
        let sub = json!({"name": "v", "mountPath": "/etc/rivet/x.json", "subPath": "a.json"});
        assert_eq!(files(whole, sub), ["a.json=/etc/rivet/x.json"]);
        let renamed = json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "b.txt", "path": "d/b.json"}]}});
        assert_eq!(files(renamed.clone(), at("/etc")), ["b.txt=/etc/d/b.json"]);
        let folder = json!({"name": "v", "mountPath": "/etc/rivet", "subPath": "d"});
        assert_eq!(files(renamed, folder), ["b.txt=/etc/rivet/b.json"]);
    }

    #[test]
    fn what_is_no_config_map_is_a_mount_that_is_not_read() {
        for (volume, shown) in [
            (json!({"name": "v", "secret": {"secretName": "s"}}), "Secret s"),
            (json!({"name": "v", "csi": {"driver": "d"}}), "a volume of type csi"),
            (json!({"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}), "Secret s"),
            (json!({"name": "other", "emptyDir": {}}), "volume v"),
        ] {
            let found = of(volume, json!({"name": "v", "mountPath": "/etc/rivet"}));
            assert_eq!(found[0].source, VolumeSource::Unread(shown.into()));
        }
        let mount = &of(json!({"name": "v", "emptyDir": {}}), json!({"name": "v", "mountPath": "/etc/rivet"}))[0];
        assert!(mount.covers("/etc/rivet") && mount.covers("/etc/rivet/a.json") && !mount.covers("/etc/rivet2"));
    }
}

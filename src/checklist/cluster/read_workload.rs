//! Deployments and StatefulSets from JSON.

use secrecy::SecretString;
use serde_json::Value;

use super::fields::{Read, at, items, labels, name, number, port_ref, quantity, text, word};
use super::workload::{Container, EnvValue, EnvVar, Handler, HealthProbe, Port, Resources, Spread, Workload};

pub(super) fn workload(kind: &str, value: &Value) -> Read<Workload> {
    let spec = at(value, "spec")?;
    let template = spec.pointer("/template").filter(|v| v.is_object()).ok_or("`spec.template` is missing")?;
    let pod = template.pointer("/spec").filter(|v| v.is_object()).ok_or("`spec.template.spec` is missing")?;
    let containers = pod.get("containers").and_then(Value::as_array).ok_or("it has no list of containers")?;
    let containers: Vec<Container> = containers.iter().map(container).collect::<Read<_>>()?;
    let (pod_labels, selector) =
        (labels(template.pointer("/metadata/labels"))?, labels(spec.pointer("/selector/matchLabels"))?);
    // Kubernetes refuses this, so that it is a sign of labels that could not be read: nothing would find the pods.
    if pod_labels.is_empty() || selector.iter().any(|(name, value)| pod_labels.get(name) != Some(value)) {
        return Err("its selector does not pick its own pods".into());
    }
    Ok(Workload {
        kind: kind.to_owned(),
        name: name(value)?,
        namespace: text(value, "/metadata/namespace"),
        labels: pod_labels,
        selector,
        replicas: number(spec, "/replicas")?.unwrap_or(1),
        ready_replicas: match value.get("status").is_some_and(Value::is_object) {
            true => Some(number(value, "/status/readyReplicas")?.unwrap_or(0)),
            false => None,
        },
        containers,
        grace_seconds: number(pod, "/terminationGracePeriodSeconds")?.unwrap_or(30),
        spread: spread(pod),
        host_network: pod.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false),
        config_maps: mounted_config_maps(pod)?,
    })
}

fn container(value: &Value) -> Read<Container> {
    let port = |port: &Value| -> Read<Port> {
        Ok(Port {
            name: text(port, "/name"),
            number: number(port, "/containerPort")?.ok_or("a port has no `containerPort`")?,
            host_port: number(port, "/hostPort")?.filter(|p| *p != 0),
        })
    };
    let resources = |of: &str| -> Read<Resources> {
        let of = value.pointer("/resources").and_then(|r| r.get(of));
        Ok(Resources { cpu: quantity(of, "cpu")?, memory: quantity(of, "memory")? })
    };
    let probe = |of: &str| match value.get(of) {
        None | Some(Value::Null) => Ok(None),
        Some(probe @ Value::Object(_)) => health_probe(probe).map(Some),
        Some(_) => Err(format!("`{of}` is not a probe")),
    };
    let words = |key: &str| -> Read<Vec<String>> {
        Ok(items(value, key)?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    Ok(Container {
        name: text(value, "/name").ok_or("a container has no name")?,
        image: word(value, "image")?.unwrap_or_default(),
        args: [words("command")?, words("args")?].concat(),
        ports: items(value, "ports")?.iter().map(port).collect::<Read<_>>()?,
        env: items(value, "env")?.iter().filter_map(env_var).collect(),
        env_from: items(value, "envFrom")?.iter().filter_map(env_source).collect(),
        requests: resources("requests")?,
        limits: resources("limits")?,
        startup: probe("startupProbe")?,
        readiness: probe("readinessProbe")?,
        liveness: probe("livenessProbe")?,
        pre_stop_seconds: pre_stop(value),
    })
}

fn env_var(value: &Value) -> Option<EnvVar> {
    let from = value.get("valueFrom");
    let key_of = |kind: &str| {
        let reference = from?.get(kind)?;
        Some((text(reference, "/name")?, text(reference, "/key")?))
    };
    let secret = key_of("secretKeyRef").map(|(name, key)| EnvValue::Secret(format!("key `{key}` of Secret {name}")));
    let config_map = key_of("configMapKeyRef").map(|(name, key)| EnvValue::ConfigMap(name, key));
    let plain = value.get("value").map(|v| match v {
        Value::String(text) => EnvValue::Text(SecretString::from(text.as_str())),
        // A bare number or `true` is refused by the API server, and still says what was meant.
        other => EnvValue::Text(SecretString::from(other.to_string())),
    });
    let missing = || if from.is_some() { EnvValue::Other } else { EnvValue::Text(SecretString::from("")) };
    Some(EnvVar { name: text(value, "/name")?, value: secret.or(config_map).or(plain).unwrap_or_else(missing) })
}

fn env_source(value: &Value) -> Option<String> {
    let of = |kind: &str, word: &str| text(value, &format!("/{kind}/name")).map(|name| format!("{word} {name}"));
    of("secretRef", "Secret").or_else(|| of("configMapRef", "ConfigMap"))
}

fn health_probe(value: &Value) -> Read<HealthProbe> {
    let handler = match (value.get("httpGet"), value.get("tcpSocket")) {
        (Some(http), _) => Handler::Http {
            path: word(http, "path")?.unwrap_or_else(|| "/".into()),
            port: port_ref(http.get("port")).ok_or("a probe has no port")?,
        },
        (None, Some(_)) => Handler::Tcp,
        (None, None) => Handler::Other,
    };
    Ok(HealthProbe { handler, timeout_seconds: number(value, "/timeoutSeconds")?.unwrap_or(1) })
}

/// Seconds of `preStop.sleep`, or of a command that is a sleep.
fn pre_stop(container: &Value) -> Option<u64> {
    let hook = container.pointer("/lifecycle/preStop")?;
    if let Some(seconds) = hook.pointer("/sleep/seconds").and_then(Value::as_u64) {
        return Some(seconds);
    }
    let command: Vec<&str> = hook.pointer("/exec/command")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let words: Vec<&str> = command.iter().flat_map(|part| part.split_whitespace()).collect();
    let at = words.iter().position(|word| *word == "sleep" || word.ends_with("/sleep"))?;
    words.get(at + 1)?.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

fn spread(pod: &Value) -> Spread {
    const HOST: &str = "kubernetes.io/hostname";
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).into_iter().flatten();
    let by_host = |term: &Value| term.get("topologyKey").and_then(Value::as_str) == Some(HOST);
    let constraint = |hard: bool| {
        let wanted = if hard { "DoNotSchedule" } else { "ScheduleAnyway" };
        list("/topologySpreadConstraints").any(|c| {
            let when = c.get("whenUnsatisfiable").and_then(Value::as_str).unwrap_or("DoNotSchedule");
            by_host(c) && when == wanted
        })
    };
    let required = list("/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution").any(by_host);
    let preferred = list("/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution")
        .any(|p| p.get("podAffinityTerm").is_some_and(by_host));
    match (required || constraint(true), preferred || constraint(false)) {
        (true, _) => Spread::Required,
        (false, true) => Spread::Soft,
        (false, false) => Spread::None,
    }
}

/// ConfigMaps among the volumes, with the path where one is mounted.
fn mounted_config_maps(pod: &Value) -> Read<Vec<(String, String)>> {
    let mut found = Vec::new();
    for volume in items(pod, "volumes")? {
        let (Some(volume_name), Some(map)) = (text(volume, "/name"), text(volume, "/configMap/name")) else { continue };
        for container in items(pod, "containers")? {
            let mounts = items(container, "volumeMounts")?.iter();
            for mount in mounts.filter(|m| m.get("name").and_then(Value::as_str) == Some(&volume_name)) {
                found.push((map.clone(), text(mount, "/mountPath").unwrap_or_default()));
            }
        }
    }
    Ok(found)
}

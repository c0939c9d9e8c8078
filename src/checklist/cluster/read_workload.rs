//! Deployments and StatefulSets from JSON.

use secrecy::SecretString;
use serde_json::Value;

use super::fields::{Read, at, items, labels, name, name_of, namespace, number, port_ref, quantity, text, word};
use super::mounts::mounts;
use super::workload::{
    Container, EnvSource, EnvValue, EnvVar, Handler, HealthProbe, Port, Resources, Spread, Workload,
};

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
        namespace: namespace(value)?,
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
        init_containers: items(pod, "initContainers")?.iter().map(container).collect::<Read<_>>()?,
        mounts: mounts(pod)?,
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
        let word = |v: &Value| v.as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` holds what is no text"));
        items(value, key)?.iter().map(word).collect()
    };
    Ok(Container {
        name: name_of(value, "a container")?,
        image: word(value, "image")?.unwrap_or_default(),
        args: [words("command")?, words("args")?].concat(),
        ports: items(value, "ports")?.iter().map(port).collect::<Read<_>>()?,
        env: items(value, "env")?.iter().map(env_var).collect::<Read<_>>()?,
        env_from: items(value, "envFrom")?.iter().map(env_source).collect::<Read<_>>()?,
        requests: resources("requests")?,
        limits: resources("limits")?,
        startup: probe("startupProbe")?,
        readiness: probe("readinessProbe")?,
        liveness: probe("livenessProbe")?,
        pre_stop_seconds: pre_stop(value),
    })
}

fn env_var(value: &Value) -> Read<EnvVar> {
    let name = name_of(value, "a variable")?;
    let value = match (value.get("valueFrom"), value.get("value")) {
        (Some(Value::Object(from)), _) => {
            let key_of = |kind: &str| -> Read<Option<(String, String)>> {
                let Some(reference) = from.get(kind) else { return Ok(None) };
                let key = text(reference, "/key").ok_or_else(|| format!("variable {name} names no key"))?;
                Ok(Some((name_of(reference, kind)?, key)))
            };
            match (key_of("secretKeyRef")?, key_of("configMapKeyRef")?) {
                (Some((secret, key)), _) => EnvValue::Secret(format!("key `{key}` of Secret {secret}")),
                (None, Some((map, key))) => EnvValue::ConfigMap(map, key),
                (None, None) if from.is_empty() => return Err(format!("variable {name} has an empty `valueFrom`")),
                (None, None) => EnvValue::Other,
            }
        }
        (Some(Value::Null) | None, Some(Value::String(text))) => EnvValue::Text(SecretString::from(text.as_str())),
        (Some(Value::Null) | None, None | Some(Value::Null)) => EnvValue::Text(SecretString::from("")),
        // A bare number or `true` is refused by the API server, and still says what was meant.
        (Some(Value::Null) | None, Some(v @ (Value::Bool(_) | Value::Number(_)))) => {
            EnvValue::Text(SecretString::from(v.to_string()))
        }
        _ => return Err(format!("the value of variable {name} is no text")),
    };
    Ok(EnvVar { name, value })
}

fn env_source(value: &Value) -> Read<EnvSource> {
    let (is_secret, of) = match (value.get("secretRef"), value.get("configMapRef")) {
        (Some(secret), _) => (true, secret),
        (None, Some(map)) => (false, map),
        (None, None) => return Err("a source of `envFrom` is neither a Secret nor a ConfigMap".into()),
    };
    Ok(EnvSource {
        prefix: word(value, "prefix")?.unwrap_or_default(),
        is_secret,
        name: name_of(of, "a source of `envFrom`")?,
        is_optional: of.get("optional").and_then(Value::as_bool).unwrap_or(false),
    })
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

//! Deployments and StatefulSets from JSON.

use secrecy::SecretString;
use serde_json::Value;

use super::LabelMap;
use super::fields::{Read, at, items, labels, maps, name, name_of, namespace, number, port_ref, quantity, text, word};
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
    let pod_labels = labels(template.pointer("/metadata/labels"))?;
    let selector = match spec.get("selector") {
        None | Some(Value::Null) => LabelMap::new(),
        Some(selector @ Value::Object(_)) => labels(selector.get("matchLabels"))?,
        Some(_) => return Err("`selector` is not a map".into()),
    };
    // Kubernetes refuses this, so that it is a sign of labels that could not be read: nothing would find the pods.
    if pod_labels.is_empty() || selector.iter().any(|(name, value)| pod_labels.get(name) != Some(value)) {
        return Err("its selector does not pick its own pods".into());
    }
    Ok(Workload {
        kind: kind.to_owned(),
        name: name(value)?,
        namespace: namespace(value)?,
        spread: spread(pod, &pod_labels)?,
        labels: pod_labels,
        selector,
        replicas: number(spec, "/replicas")?.unwrap_or(1),
        ready_replicas: match value.get("status").is_some_and(Value::is_object) {
            true => Some(number(value, "/status/readyReplicas")?.unwrap_or(0)),
            false => None,
        },
        containers,
        grace_seconds: number(pod, "/terminationGracePeriodSeconds")?.unwrap_or(30),
        host_network: match pod.get("hostNetwork") {
            None | Some(Value::Null) => false,
            Some(is_set) => is_set.as_bool().ok_or("`hostNetwork` is neither true nor false")?,
        },
        init_containers: maps(pod, "initContainers")?.iter().map(container).collect::<Read<_>>()?,
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
        let all = value.get("resources").filter(|r| !r.is_null());
        let of = match all.map(|all| (all.is_object(), all.get(of))) {
            Some((false, _)) => return Err("`resources` is not a map".into()),
            Some((true, Some(of))) if !of.is_object() && !of.is_null() => return Err("`resources` holds no map".into()),
            Some((true, of)) => of,
            None => None,
        };
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
    let (requests, limits) = (resources("requests")?, resources("limits")?);
    Ok(Container {
        name: name_of(value, "a container")?,
        image: word(value, "image")?.unwrap_or_default(),
        args: [words("command")?, words("args")?].concat(),
        ports: maps(value, "ports")?.iter().map(port).collect::<Read<_>>()?,
        env: maps(value, "env")?.iter().map(env_var).collect::<Read<_>>()?,
        env_from: maps(value, "envFrom")?.iter().map(env_source).collect::<Read<_>>()?,
        // Where only a limit is set, Kubernetes requests as much.
        requests: Resources { cpu: requests.cpu.or(limits.cpu), memory: requests.memory.or(limits.memory) },
        limits,
        startup: probe("startupProbe")?,
        readiness: probe("readinessProbe")?,
        liveness: probe("livenessProbe")?,
        pre_stop_seconds: pre_stop(value)?,
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
fn pre_stop(container: &Value) -> Read<Option<u64>> {
    let odd = || "`lifecycle.preStop` cannot be read".to_owned();
    let part = |of: &Value, key: &str| match of.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(part @ Value::Object(_)) => Ok(Some(part.clone())),
        Some(_) => Err(odd()),
    };
    let hook = part(container, "lifecycle")?.map(|l| part(&l, "preStop")).transpose()?.flatten();
    let Some(hook) = hook else { return Ok(None) };
    if let Some(sleep) = part(&hook, "sleep")? {
        return number(&sleep, "/seconds")?.map(Some).ok_or_else(odd);
    }
    let Some(exec) = part(&hook, "exec")? else { return Ok(None) };
    let command = items(&exec, "command")?.iter().map(|word| word.as_str().ok_or_else(odd));
    let command: Vec<&str> = command.collect::<Read<_>>()?;
    let words: Vec<&str> = command.iter().flat_map(|part| part.split_whitespace()).collect();
    let Some(at) = words.iter().position(|word| *word == "sleep" || word.ends_with("/sleep")) else { return Ok(None) };
    Ok(words.get(at + 1).and_then(|word| word.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()))
}

/// What keeps pods with these labels off one host: constraints and terms that pick the pods themselves.
fn spread(pod: &Value, own: &LabelMap) -> Read<Spread> {
    let mut found = Spread::None;
    let mut add = |topology: &str, is_hard: bool| {
        let by = match (topology, is_hard) {
            ("kubernetes.io/hostname", true) => Spread::Required,
            ("kubernetes.io/hostname", false) => Spread::Soft,
            // Pods in different zones are on different hosts.
            (key, true) if key.ends_with("/zone") || key.ends_with("/region") => Spread::Zones,
            _ => return,
        };
        found = found.max(by);
    };
    for constraint in maps(pod, "topologySpreadConstraints")? {
        let key = text(constraint, "/topologyKey").ok_or("a spread constraint has no `topologyKey`")?;
        let is_hard = match word(constraint, "whenUnsatisfiable")?.as_deref() {
            Some("DoNotSchedule") | None => true,
            Some("ScheduleAnyway") => false,
            Some(other) => return Err(format!("`{other}` is nothing that a spread constraint does")),
        };
        // A skew of two lets two pods share a host while another has none.
        let is_even = number::<u32>(constraint, "/maxSkew")?.unwrap_or(1) <= 1;
        if is_even && selects(constraint.get("labelSelector"), own)? {
            add(&key, is_hard);
        }
    }
    let rules = |key: &str| -> Read<Vec<Value>> {
        let Some(affinity) = pod.get("affinity").filter(|a| !a.is_null()) else { return Ok(Vec::new()) };
        let anti = affinity.as_object().ok_or("`affinity` is not a map")?.get("podAntiAffinity");
        match anti {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(anti @ Value::Object(_)) => Ok(maps(anti, key)?.to_vec()),
            Some(_) => Err("`podAntiAffinity` is not a map".into()),
        }
    };
    for (key, is_hard) in [
        ("requiredDuringSchedulingIgnoredDuringExecution", true),
        ("preferredDuringSchedulingIgnoredDuringExecution", false),
    ] {
        for rule in rules(key)? {
            let term = if is_hard { Some(&rule) } else { rule.get("podAffinityTerm") };
            let term = term.ok_or("an anti-affinity has no term")?;
            let topology = text(term, "/topologyKey").ok_or("an anti-affinity has no `topologyKey`")?;
            if selects(term.get("labelSelector"), own)? {
                add(&topology, is_hard);
            }
        }
    }
    Ok(found)
}

/// Whether a label selector with all its expressions picks these labels; none picks nothing, an empty one everything.
fn selects(selector: Option<&Value>, own: &LabelMap) -> Read<bool> {
    let Some(selector) = selector.filter(|s| !s.is_null()) else { return Ok(false) };
    if !selector.is_object() {
        return Err("a label selector is not a map".into());
    }
    let wanted = labels(selector.get("matchLabels"))?;
    let mut picks = wanted.iter().all(|(name, value)| own.get(name) == Some(value));
    for expression in maps(selector, "matchExpressions")? {
        let key = text(expression, "/key").ok_or("an expression of a selector has no key")?;
        let value = own.get(&key);
        let among = || -> Read<bool> {
            let values = items(expression, "values")?;
            Ok(value.is_some_and(|value| values.iter().any(|v| v.as_str() == Some(value))))
        };
        picks &= match text(expression, "/operator").as_deref() {
            Some("In") => among()?,
            Some("NotIn") => !among()?,
            Some("Exists") => value.is_some(),
            Some("DoesNotExist") => value.is_none(),
            _ => return Err("an expression of a selector has no operator".into()),
        };
    }
    Ok(picks)
}

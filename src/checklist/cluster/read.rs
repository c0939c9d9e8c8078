//! From JSON to the plain values of this module, tolerantly: a broken object is named and the others are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;

use super::workload::{Container, EnvValue, EnvVar, Handler, HealthProbe, Port, PortRef, Resources, Spread, Workload};
use super::{
    Amount, Autoscaler, Backend, Budget, Cluster, ConfigMap, Ingress, LabelMap, Pod, Service, ServicePort, ServiceType,
    Target,
};
use crate::checklist::known::{Known, Listed};
use crate::model::parse_quantity;

/// Objects of each kind as they came, which may hold secrets; a kind that could not be listed is a gap.
#[derive(Clone)]
pub struct Objects {
    pub source: String,
    pub is_live: bool,
    pub engine_name: Option<String>,
    pub deployments: Known<Listed<Value>>,
    pub stateful_sets: Known<Listed<Value>>,
    pub pods: Known<Listed<Value>>,
    pub services: Known<Listed<Value>>,
    pub ingresses: Known<Listed<Value>>,
    pub autoscalers: Known<Listed<Value>>,
    pub budgets: Known<Listed<Value>>,
    pub config_maps: Known<Listed<Value>>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Objects({})", self.source)
    }
}

impl Cluster {
    /// Reads what is in `objects`.
    pub fn read(objects: Objects) -> Self {
        let objects = Arc::new(objects);
        let deployments = list(&objects.deployments, "Deployment", workload);
        let stateful_sets = list(&objects.stateful_sets, "StatefulSet", workload);
        let workloads = match (deployments, stateful_sets) {
            (Ok(mut a), Ok(b)) => {
                a.items.extend(b.items);
                a.unread.extend(b.unread);
                Ok(a)
            }
            // One kind alone still shows what is there, only absence cannot be concluded.
            (Ok(mut found), Err(gap)) | (Err(gap), Ok(mut found)) if !found.items.is_empty() => {
                found.unread.push(gap.reason().to_owned());
                Ok(found)
            }
            (Err(gap), _) | (_, Err(gap)) => Err(gap),
        };
        Self {
            source: objects.source.clone(),
            is_live: objects.is_live,
            workloads,
            pods: list(&objects.pods, "Pod", |_, v| pod(v)),
            services: list(&objects.services, "Service", |_, v| service(v)),
            ingresses: list(&objects.ingresses, "Ingress", |_, v| ingress(v)),
            autoscalers: list(&objects.autoscalers, "HorizontalPodAutoscaler", |_, v| autoscaler(v)),
            budgets: list(&objects.budgets, "PodDisruptionBudget", |_, v| budget(v)),
            config_maps: list(&objects.config_maps, "ConfigMap", |_, v| config_map(v)),
            engine_name: objects.engine_name.clone(),
            raw: objects,
        }
    }
}

/// What makes an object unreadable.
type Read<T> = Result<T, String>;

fn list<T>(raw: &Known<Listed<Value>>, kind: &str, read: impl Fn(&str, &Value) -> Read<T>) -> Known<Listed<T>> {
    let raw = raw.as_ref().map_err(Clone::clone)?;
    let mut listed = Listed { items: Vec::with_capacity(raw.items.len()), unread: raw.unread.clone() };
    for value in &raw.items {
        match read(kind, value) {
            Ok(item) => listed.items.push(item),
            Err(reason) => {
                let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
                listed.unread.push(format!("{kind} {name} could not be read: {reason}"));
            }
        }
    }
    Ok(listed)
}

fn workload(kind: &str, value: &Value) -> Read<Workload> {
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

fn pod(value: &Value) -> Read<Pod> {
    let statuses = value.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    let running: BTreeMap<String, String> = statuses
        .filter_map(|s| {
            let image = text(s, "/imageID").filter(|id| !id.is_empty()).or_else(|| text(s, "/image"))?;
            Some((text(s, "/name")?, image))
        })
        .collect();
    let ready = value
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .and_then(|all| all.iter().find(|c| c.get("type").and_then(Value::as_str) == Some("Ready")));
    Ok(Pod {
        name: name(value)?,
        node: text(value, "/spec/nodeName"),
        is_ready: ready.and_then(|c| c.get("status")).and_then(Value::as_str).map(|status| status == "True"),
        is_deleted: value.pointer("/metadata/deletionTimestamp").is_some_and(|v| !v.is_null()),
        labels: labels(value.pointer("/metadata/labels"))?,
        images: running,
    })
}

fn service(value: &Value) -> Read<Service> {
    let spec = at(value, "spec")?;
    let port = |port: &Value| -> Read<ServicePort> {
        let number: u16 = number(port, "/port")?.ok_or("a port has no number")?;
        Ok(ServicePort {
            name: text(port, "/name"),
            port: number,
            target: match port.get("targetPort") {
                None | Some(Value::Null) => PortRef::Number(number),
                target => port_ref(target).ok_or("`targetPort` is no port")?,
            },
            node_port: self::number(port, "/nodePort")?.filter(|p| *p != 0),
        })
    };
    Ok(Service {
        name: name(value)?,
        kind: match word(spec, "type")?.as_deref() {
            None | Some("ClusterIP") => ServiceType::ClusterIp,
            Some("NodePort") => ServiceType::NodePort,
            Some("LoadBalancer") => ServiceType::LoadBalancer,
            Some("ExternalName") => ServiceType::ExternalName,
            Some(other) => return Err(format!("`{other}` is no type of Service")),
        },
        selector: labels(spec.get("selector"))?,
        ports: items(spec, "ports")?.iter().map(port).collect::<Read<_>>()?,
        has_external_ips: !items(spec, "externalIPs")?.is_empty(),
        annotations: labels(value.pointer("/metadata/annotations"))?,
    })
}

fn ingress(value: &Value) -> Read<Ingress> {
    let spec = at(value, "spec")?;
    let annotations = labels(value.pointer("/metadata/annotations"))?;
    let backend = |host: Option<String>, backend: Option<&Value>| -> Option<Backend> {
        let service = backend?.get("service")?;
        let port = service.get("port");
        let port = port.and_then(|p| port_ref(p.get("number")).or_else(|| text(p, "/name").map(PortRef::Name)));
        Some(Backend { host, service: text(service, "/name")?, port })
    };
    let mut backends: Vec<Backend> = backend(None, spec.get("defaultBackend")).into_iter().collect();
    for rule in items(spec, "rules")? {
        let paths = rule.get("http").map(|http| items(http, "paths")).transpose()?.unwrap_or_default();
        backends.extend(paths.iter().filter_map(|path| backend(text(rule, "/host"), path.get("backend"))));
    }
    Ok(Ingress {
        name: name(value)?,
        class: text(spec, "/ingressClassName").or_else(|| annotations.get("kubernetes.io/ingress.class").cloned()),
        backends,
        has_tls: !items(spec, "tls")?.is_empty(),
        annotations,
    })
}

fn autoscaler(value: &Value) -> Read<Autoscaler> {
    let spec = at(value, "spec")?;
    // `autoscaling/v1` knows CPU alone.
    let v1: Option<u32> = number(spec, "/targetCPUUtilizationPercentage")?;
    let (mut cpu, mut memory) = (v1.map(|percent| Target::Utilization(f64::from(percent))), None);
    for metric in items(spec, "metrics")? {
        let Some(resource) = metric.get("resource").or_else(|| metric.get("containerResource")) else { continue };
        let target = resource.get("target").ok_or("a metric has no target")?;
        let target = match number::<u32>(target, "/averageUtilization")? {
            Some(percent) => Target::Utilization(f64::from(percent)),
            None => match quantity(Some(target), "averageValue")? {
                Some(value) => Target::AverageValue(value),
                None => return Err("a metric's target is neither a utilization nor an average value".into()),
            },
        };
        match resource.get("name").and_then(Value::as_str) {
            Some("cpu") => cpu = Some(target),
            Some("memory") => memory = Some(target),
            _ => {}
        }
    }
    Ok(Autoscaler {
        name: name(value)?,
        target_kind: text(spec, "/scaleTargetRef/kind").ok_or("`scaleTargetRef.kind` is missing")?,
        target_name: text(spec, "/scaleTargetRef/name").ok_or("`scaleTargetRef.name` is missing")?,
        min_replicas: number(spec, "/minReplicas")?.unwrap_or(1),
        max_replicas: number(spec, "/maxReplicas")?.ok_or("`maxReplicas` is missing")?,
        cpu,
        memory,
        metrics: items(spec, "metrics")?.to_vec(),
        current_replicas: number(value, "/status/currentReplicas")?,
    })
}

fn budget(value: &Value) -> Read<Budget> {
    let spec = at(value, "spec")?;
    let has_expressions =
        spec.pointer("/selector/matchExpressions").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
    Ok(Budget {
        name: name(value)?,
        selector: match has_expressions {
            true => None,
            false => Some(labels(spec.pointer("/selector/matchLabels"))?),
        },
        min_available: amount(spec.get("minAvailable"))?,
        max_unavailable: amount(spec.get("maxUnavailable"))?,
    })
}

fn config_map(value: &Value) -> Read<ConfigMap> {
    let data = value.get("data").and_then(Value::as_object).into_iter().flatten();
    let data = data.filter_map(|(key, v)| Some((key.clone(), SecretString::from(v.as_str()?)))).collect();
    Ok(ConfigMap { name: name(value)?, labels: labels(value.pointer("/metadata/labels"))?, data })
}

fn amount(value: Option<&Value>) -> Read<Option<Amount>> {
    let odd = |v: &Value| format!("`{v}` is neither a number of pods nor a percentage");
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            let percent =
                text.strip_suffix('%').and_then(|p| p.parse::<f64>().ok()).filter(|p| (0.0..=100.0).contains(p));
            percent.map(Amount::Percent).map(Some).ok_or_else(|| odd(&Value::String(text.clone())))
        }
        Some(v) => v.as_u64().and_then(|n| u32::try_from(n).ok()).map(Amount::Pods).map(Some).ok_or_else(|| odd(v)),
    }
}

fn at<'a>(value: &'a Value, key: &str) -> Read<&'a Value> {
    value.get(key).filter(|v| v.is_object()).ok_or_else(|| format!("`{key}` is missing"))
}

fn name(value: &Value) -> Read<String> {
    text(value, "/metadata/name").filter(|n| !n.is_empty()).ok_or_else(|| "`metadata.name` is missing".into())
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

/// The items of a list; none where it is missing. Something else in its place makes the object unreadable, since what
/// it should have held would count as absent.
fn items<'a>(value: &'a Value, key: &str) -> Read<&'a [Value]> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(format!("`{key}` is not a list")),
    }
}

/// A text; `None` where it is missing.
fn word(value: &Value, key: &str) -> Read<Option<String>> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{key}` is not a text")),
    }
}

/// A whole number that fits; `None` where there is none.
fn number<N: TryFrom<u64>>(value: &Value, pointer: &str) -> Read<Option<N>> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(v) => match v.as_u64().and_then(|n| N::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(format!("`{}` is not a number that fits", pointer.trim_start_matches('/').replace('/', "."))),
        },
    }
}

fn quantity(of: Option<&Value>, key: &str) -> Read<Option<f64>> {
    let text = match of.and_then(|of| of.get(key)) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    parse_quantity(&text).map(Some).ok_or_else(|| format!("`{text}` is not a quantity of {key}"))
}

fn port_ref(value: Option<&Value>) -> Option<PortRef> {
    match value? {
        Value::String(name) => Some(name.parse().map_or_else(|_| PortRef::Name(name.clone()), PortRef::Number)),
        other => other.as_u64().and_then(|n| u16::try_from(n).ok()).map(PortRef::Number),
    }
}

/// A map of texts; empty where it is missing.
fn labels(value: Option<&Value>) -> Read<LabelMap> {
    let odd = || "labels, a selector or annotations are not a map of texts".to_owned();
    match value {
        None | Some(Value::Null) => Ok(LabelMap::new()),
        Some(Value::Object(map)) => {
            map.iter().map(|(name, v)| Ok((name.clone(), v.as_str().ok_or_else(odd)?.to_owned()))).collect()
        }
        Some(_) => Err(odd()),
    }
}

//! From JSON to the plain values of this module, tolerantly: a broken object is named and the others are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;

use super::fields::{Read, at, items, labels, maps, name, name_of, namespace, number, port_ref, text, word};
use super::read_scaling::autoscaler;
use super::read_workload::workload;
use super::workload::PortRef;
use super::{
    Amount, Backend, Budget, Cluster, ConfigMap, Ingress, LabelMap, Pod, Route, Selected, Service, ServicePort,
    ServiceType,
};
use crate::checklist::known::{Known, Listed};

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
    /// Routes of the Gateway API.
    pub routes: Known<Listed<Value>>,
    /// HorizontalPodAutoscalers, and from manifests the ScaledObjects that KEDA makes such of.
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
            routes: list(&objects.routes, "route", |_, v| route(v)),
            autoscalers: list(&objects.autoscalers, "HorizontalPodAutoscaler", |_, v| autoscaler(v)),
            budgets: list(&objects.budgets, "PodDisruptionBudget", |_, v| budget(v)),
            config_maps: list(&objects.config_maps, "ConfigMap", |_, v| config_map(v)),
            engine_name: objects.engine_name.clone(),
            raw: objects,
        }
    }
}

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
        namespace: namespace(value)?,
        selector: labels(spec.get("selector"))?,
        ports: maps(spec, "ports")?.iter().map(port).collect::<Read<_>>()?,
        has_external_ips: !items(spec, "externalIPs")?.is_empty(),
        annotations: labels(value.pointer("/metadata/annotations"))?,
    })
}

fn ingress(value: &Value) -> Read<Ingress> {
    let spec = at(value, "spec")?;
    let annotations = labels(value.pointer("/metadata/annotations"))?;
    // A backend may be something else than a Service, which leads to no port of ours.
    let backend = |host: Option<String>, backend: &Value| -> Read<Option<Backend>> {
        let Some(service) = backend.get("service") else {
            return match backend.get("resource") {
                Some(Value::Object(_)) => Ok(None),
                _ => Err("a backend is neither a Service nor a resource".into()),
            };
        };
        let port = match service.get("port") {
            None | Some(Value::Null) => None,
            Some(port) => {
                let number = port.get("number").and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
                let port = number.map(PortRef::Number).or_else(|| text(port, "/name").map(PortRef::Name));
                Some(port.ok_or("the port of a backend has neither number nor name")?)
            }
        };
        let service = name_of(service, "the Service of a backend")?;
        Ok(Some(Backend { namespace: namespace(value)?, host, service, port }))
    };
    let mut backends = Vec::new();
    match spec.get("defaultBackend") {
        None | Some(Value::Null) => {}
        Some(default) => backends.extend(backend(None, default)?),
    }
    for rule in maps(spec, "rules")? {
        let host = word(rule, "host")?;
        let http = match rule.get("http") {
            None | Some(Value::Null) => continue,
            Some(http @ Value::Object(_)) => http,
            Some(_) => return Err("`http` of a rule is not a map".into()),
        };
        for path in maps(http, "paths")? {
            backends.extend(backend(host.clone(), path.get("backend").ok_or("a path has no backend")?)?);
        }
    }
    Ok(Ingress {
        name: name(value)?,
        namespace: namespace(value)?,
        class: word(spec, "ingressClassName")?.or_else(|| annotations.get("kubernetes.io/ingress.class").cloned()),
        backends,
        has_tls: !maps(spec, "tls")?.is_empty(),
        annotations,
    })
}

/// A route of the Gateway API, of any kind that leads to Services.
fn route(value: &Value) -> Read<Route> {
    let (spec, own) = (at(value, "spec")?, namespace(value)?);
    let mut backends = Vec::new();
    for rule in maps(spec, "rules")? {
        for to in maps(rule, "backendRefs")? {
            if word(to, "kind")?.is_some_and(|kind| kind != "Service") {
                continue;
            }
            backends.push(Backend {
                namespace: word(to, "namespace")?.or_else(|| own.clone()),
                host: None,
                service: name_of(to, "a backend")?,
                port: number(to, "/port")?.map(PortRef::Number),
            });
        }
    }
    let kind = text(value, "/kind").unwrap_or_else(|| "HTTPRoute".into());
    Ok(Route { title: format!("{kind} {}", name(value)?), backends })
}

fn budget(value: &Value) -> Read<Budget> {
    let spec = at(value, "spec")?;
    let selector = match spec.get("selector") {
        None | Some(Value::Null) => Selected::Pods(LabelMap::new()),
        Some(selector @ Value::Object(_)) => {
            let wanted = labels(selector.get("matchLabels"))?;
            match (maps(selector, "matchExpressions")?.is_empty(), wanted.is_empty()) {
                (false, _) => Selected::ByExpressions,
                (true, true) => Selected::AllPods,
                (true, false) => Selected::Pods(wanted),
            }
        }
        Some(_) => return Err("`selector` is not a map".into()),
    };
    Ok(Budget {
        name: name(value)?,
        namespace: namespace(value)?,
        selector,
        min_available: amount(spec.get("minAvailable"))?,
        max_unavailable: amount(spec.get("maxUnavailable"))?,
    })
}

fn config_map(value: &Value) -> Read<ConfigMap> {
    let part = |key: &str| match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(format!("`{key}` is not a map")),
    };
    let entry = |(key, v): (&String, &Value)| match v.as_str() {
        Some(text) => Ok((key.clone(), SecretString::from(text))),
        None => Err(format!("`data.{key}` is not a text")),
    };
    Ok(ConfigMap {
        name: name(value)?,
        namespace: namespace(value)?,
        labels: labels(value.pointer("/metadata/labels"))?,
        data: part("data")?.into_iter().flatten().map(entry).collect::<Read<_>>()?,
        binary: part("binaryData")?.into_iter().flatten().map(|(key, _)| key.clone()).collect(),
    })
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

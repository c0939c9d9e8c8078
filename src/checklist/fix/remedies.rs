//! What would put an item right, as changes of objects.

use serde_json::{Value, json};

use super::{LeftOut, is_about_objects};
use crate::checklist::cluster::{
    Cluster, Container, Handler, HealthProbe, PortRef, Service, ServicePort, ServiceType, Target, TargetOf, Workload,
};
use crate::checklist::evidence::Evidence;
use crate::checklist::items::{Nginx, nodes_that_fit};
use crate::checklist::outcome::Status;
use crate::checklist::report::Report;
use crate::rivet::limits::{
    CPU_CORES_MIN, GUARD_PORT, GUARD_SHUTDOWN_SECS, HEALTH_TIMEOUT_SECS, IDLE_TIMEOUT_MIN_SECS, INSTANCES_MIN,
    METRICS_PORT, PEER_PORT,
};

/// Seconds between the end of draining and the kill.
const GRACE_BUFFER_SECS: u64 = 30;
/// 2 GiB: what the checklist asks for, as Kubernetes writes it.
const MEMORY_REQUEST_BYTES: f64 = 2_147_483_648.0;
/// Replicas of a new autoscaler where no database limits them.
const REPLICAS_MAX_DEFAULT: u32 = 10;

/// What the operator adds that no evidence tells.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The release to pin; else the one that runs.
    pub image_tag: Option<String>,
    /// Where spans go; else a Service with port 4317 that is named like a collector.
    pub otlp_endpoint: Option<String>,
}

/// A change of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A strategic merge patch.
    Patch { api_version: &'static str, kind: String, name: String, patch: Value },
    /// An object more.
    Add(Value),
}

/// A change, and the item it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Remedy {
    pub item: &'static str,
    pub change: Change,
}

/// Remedies for the failures and warnings of `report`, and those that have none.
pub fn remedies(evidence: &Evidence, report: &Report, wishes: &Wishes) -> (Vec<Remedy>, Vec<LeftOut>) {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    let Ok(cluster) = &evidence.cluster else { return (found, left_out) };
    let engines = cluster.engines().unwrap_or_default();
    for finding in report.findings.iter().filter(|f| f.status <= Status::Warn && is_about_objects(&f.category)) {
        let Some(item) = crate::checklist::find_item(&finding.item) else { continue };
        let mut changes = Vec::new();
        let mut reason = None;
        for (workload, container) in &engines {
            let at = Place { evidence, cluster, workload, container, wishes };
            match at.remedy(item.id) {
                Ok(more) => changes.extend(more),
                Err(why) => reason = Some(why),
            }
        }
        match (changes.is_empty(), reason) {
            (false, _) => found.extend(changes.into_iter().map(|change| Remedy { item: item.id, change })),
            (true, reason) => left_out.push(LeftOut {
                item: item.id.to_owned(),
                reason: reason
                    .unwrap_or_else(|| "no patch of Kubernetes objects puts it right; see its runbook".into()),
            }),
        }
    }
    (found, left_out)
}

/// One engine, and everything known around it.
struct Place<'a> {
    evidence: &'a Evidence,
    cluster: &'a Cluster,
    workload: &'a Workload,
    container: &'a Container,
    wishes: &'a Wishes,
}

impl Place<'_> {
    fn remedy(&self, item: &str) -> Result<Vec<Change>, String> {
        match item {
            "peer-port-closed" => self.close(PEER_PORT),
            "metrics-port-closed" => self.close(METRICS_PORT),
            "requests" | "limits" => Ok(vec![self.patch_container(json!({ "resources": self.resources() }))]),
            "readiness-probe" => Ok(vec![self.probe("readinessProbe", self.container.readiness.as_ref())]),
            "liveness-probe" => Ok(vec![self.probe("livenessProbe", self.container.liveness.as_ref())]),
            "startup-probe" => Ok(vec![self.probe("startupProbe", self.container.startup.as_ref())]),
            "image-pinned" => self.pin(),
            "grace-period" => self.grace(),
            "ingress-timeout" => self.idle_timeout(),
            "autoscaler" => Ok(vec![self.autoscaler()?]),
            "autoscaler-cpu" | "autoscaler-memory" => self.scale_by_targets(),
            "ready-nodes" => self.two_nodes(),
            "node-spread" => Ok(vec![self.spread()]),
            "disruption-budget" => Ok(vec![self.budget()?]),
            "postgres-connections" => self.fewer_nodes(),
            "otel-enabled" => self.otel(),
            "metrics-port-declared" => Ok(vec![self.patch_container(json!({
                "ports": [{ "name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP" }],
            }))]),
            "secrets-in-secrets" => {
                Err("move the value into a Secret and refer to its key; a patch would have to carry it".into())
            }
            "plain-http-closed" => {
                Err("put an Ingress or a load balancer with TLS of yours in front, then make the Service a ClusterIP"
                    .into())
            }
            "postgres-standby" => {
                Err("a standby needs replication to be set up, or an operator such as CloudNativePG".into())
            }
            "nats-servers" => Err("more servers need routes between them in the configuration of NATS".into()),
            _ => Err("no patch of Kubernetes objects puts it right; see its runbook".into()),
        }
    }

    fn patch(&self, patch: Value) -> Change {
        let (kind, name) = (self.workload.kind.clone(), self.workload.name.clone());
        Change::Patch { api_version: "apps/v1", kind, name, patch }
    }

    fn patch_pod(&self, pod: Value) -> Change {
        self.patch(json!({ "spec": { "template": { "spec": pod } } }))
    }

    fn patch_container(&self, mut container: Value) -> Change {
        container["name"] = self.container.name.clone().into();
        self.patch_pod(json!({ "containers": [container] }))
    }

    fn resources(&self) -> Value {
        let (requests, limits) = (self.container.requests, self.container.limits);
        let cpu = requests.cpu.unwrap_or(0.0).max(CPU_CORES_MIN);
        let memory = requests.memory.unwrap_or(0.0).max(MEMORY_REQUEST_BYTES);
        // A limit is never below its request.
        let cpu_limit = limits.cpu.unwrap_or(0.0).max(cpu);
        let memory_limit = limits.memory.unwrap_or(0.0).max(memory);
        json!({
            "requests": { "cpu": cores(cpu), "memory": mebibytes(memory) },
            "limits": { "cpu": cores(cpu_limit), "memory": mebibytes(memory_limit) },
        })
    }

    fn probe(&self, name: &str, now: Option<&HealthProbe>) -> Change {
        let mut probe = json!({ "timeoutSeconds": HEALTH_TIMEOUT_SECS });
        let asks_health = match now.map(|p| &p.handler) {
            Some(Handler::Http { path, port }) => {
                path == "/health" && matches!(self.container.port_number(port), Some(PEER_PORT | GUARD_PORT))
            }
            _ => false,
        };
        if !asks_health {
            probe["httpGet"] = json!({ "path": "/health", "port": PEER_PORT });
        }
        match now.map(|p| &p.handler) {
            None => {
                probe["periodSeconds"] = 10.into();
                probe["failureThreshold"] = if name == "startupProbe" { 30 } else { 3 }.into();
            }
            Some(Handler::Http { .. }) => {}
            // A probe has one handler: the other kind goes.
            Some(Handler::Tcp) => probe["tcpSocket"] = Value::Null,
            Some(Handler::Other) => {
                probe["exec"] = Value::Null;
                probe["grpc"] = Value::Null;
            }
        }
        self.patch_container(json!({ name: probe }))
    }

    fn pin(&self) -> Result<Vec<Change>, String> {
        let running = self.evidence.engine.health.as_ref().ok().and_then(|h| h.version.clone());
        let Some(tag) = self.wishes.image_tag.clone().or(running) else {
            return Err(
                "which release to pin is not known; name it with `--image-tag`, or let the engine be asked".into()
            );
        };
        let image = crate::checklist::cluster::Image::parse(&self.container.image);
        Ok(vec![self.patch_container(json!({ "image": format!("{}:{tag}", image.name) }))])
    }

    fn grace(&self) -> Result<Vec<Change>, String> {
        let settings = self.evidence.settings.as_ref().ok();
        let guard = settings.and_then(|s| s.seconds("runtime.guard_shutdown_duration", GUARD_SHUTDOWN_SECS).ok());
        let guard = guard.map_or(GUARD_SHUTDOWN_SECS, |(seconds, _)| seconds);
        let seconds = guard + self.container.pre_stop_seconds.unwrap_or(0) + GRACE_BUFFER_SECS;
        Ok(vec![self.patch_pod(json!({ "terminationGracePeriodSeconds": seconds }))])
    }

    /// Takes a port off every Service that opens it, and gives it one inside the cluster instead.
    fn close(&self, port: u16) -> Result<Vec<Change>, String> {
        if self.workload.host_network {
            return Err("the pods use the node's network; take `hostNetwork` away, which may need other changes".into());
        }
        let mut changes = Vec::new();
        if self.container.ports.iter().any(|p| p.number == port && p.host_port.is_some()) {
            changes.push(self.patch_container(json!({ "ports": [{ "containerPort": port, "hostPort": null }] })));
        }
        for service in self.cluster.services_of(self.workload).map_err(|gap| gap.to_string())? {
            let is_open =
                matches!(service.kind, ServiceType::NodePort | ServiceType::LoadBalancer) || service.has_external_ips;
            let leads =
                |p: &&crate::checklist::cluster::ServicePort| self.container.port_number(&p.target) == Some(port);
            let ports: Vec<_> = service.ports.iter().filter(leads).collect();
            if !is_open || ports.is_empty() {
                continue;
            }
            changes.extend(self.split(service, &ports, port)?);
        }
        match changes.is_empty() {
            true => Err("what opens it is not a Service; see its runbook".into()),
            false => Ok(changes),
        }
    }

    /// Keeps `ports` of a Service inside the cluster and the others open.
    fn split(&self, service: &Service, ports: &[&ServicePort], port: u16) -> Result<Vec<Change>, String> {
        let patch_service = |patch: Value| Change::Patch {
            api_version: "v1",
            kind: "Service".into(),
            name: service.name.clone(),
            patch: json!({ "spec": patch }),
        };
        let others: Vec<&ServicePort> =
            service.ports.iter().filter(|p| !ports.iter().any(|q| q.port == p.port)).collect();
        let inside = || {
            let closed: Vec<Value> =
                service.ports.iter().map(|p| json!({ "port": p.port, "nodePort": null })).collect();
            patch_service(json!({
                "type": "ClusterIP", "externalIPs": null, "externalTrafficPolicy": null, "healthCheckNodePort": null,
                "ports": closed,
            }))
        };
        if others.is_empty() {
            return Ok(vec![inside()]);
        }
        if service.kind == ServiceType::NodePort {
            // The name keeps all its ports inside, since `peer_url` and hosts may go by it; the open ones move with their
            // node ports, which load balancers outside go by.
            let open = others.iter().map(|p| with_node_port(service_port(p), p.node_port)).collect();
            return Ok(vec![inside(), self.service(&format!("{}-nodeport", service.name), "NodePort", service, open)]);
        }
        let topology = self.evidence.settings.as_ref().ok().and_then(|s| s.tree("/topology")).map(Value::to_string);
        let is_named = topology.is_some_and(|t| {
            [".", ":"].iter().any(|end| t.contains(&format!("//{}{end}", service.name)))
                && t.contains(&format!(":{port}"))
        });
        if is_named {
            return Err(format!(
                "the engine's topology goes by Service {} for {port}; give that port a Service of its own first",
                service.name
            ));
        }
        // A load balancer keeps its address with its name, so that the port leaves instead.
        let deleted: Vec<Value> = ports.iter().map(|p| json!({ "port": p.port, "$patch": "delete" })).collect();
        let moved = ports.iter().map(|p| service_port(p)).collect();
        let added = self.service(&format!("{}-inside", service.name), "ClusterIP", service, moved);
        Ok(vec![patch_service(json!({ "ports": deleted })), added])
    }

    /// A new Service for the pods of another.
    fn service(&self, name: &str, kind: &str, like: &Service, ports: Vec<Value>) -> Change {
        let mut added = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name },
            "spec": { "type": kind, "selector": like.selector, "ports": ports },
        });
        self.put_in_namespace(&mut added);
        Change::Add(added)
    }

    /// New objects go where the engine is, if the objects say where.
    fn put_in_namespace(&self, object: &mut Value) {
        if let Some(namespace) = &self.workload.namespace {
            object["metadata"]["namespace"] = namespace.clone().into();
        }
    }

    fn idle_timeout(&self) -> Result<Vec<Change>, String> {
        let list = self.cluster.ingresses.as_ref().map_err(ToString::to_string)?;
        let services = self.cluster.services_of(self.workload).map_err(|gap| gap.to_string())?;
        let is_guard = |s: &&Service| s.ports.iter().any(|p| self.container.port_number(&p.target) == Some(GUARD_PORT));
        let doors: Vec<&Service> = services.into_iter().filter(is_guard).collect();
        let mut changes = Vec::new();
        for ingress in list.items.iter().filter(|i| i.backends.iter().any(|b| doors.iter().any(|s| b.leads_to(s)))) {
            if let Some(nginx) = Nginx::of(ingress) {
                let seconds = nginx.write_seconds(IDLE_TIMEOUT_MIN_SECS);
                changes.push(Change::Patch {
                    api_version: "networking.k8s.io/v1",
                    kind: "Ingress".into(),
                    name: ingress.name.clone(),
                    patch: json!({ "metadata": { "annotations": {
                        nginx.annotation("proxy-read-timeout"): seconds,
                        nginx.annotation("proxy-send-timeout"): seconds,
                    } } }),
                });
            }
        }
        match changes.is_empty() {
            true => Err("how this controller is told its idle timeout is not known here; see its runbook".into()),
            false => Ok(changes),
        }
    }

    /// A change of what scales the engine; `None` where nothing does.
    fn patch_autoscaler(&self, patch: Value) -> Result<Option<Change>, String> {
        let Some(scaler) = self.cluster.autoscaler_of(self.workload).map_err(|gap| gap.to_string())? else {
            return Ok(None);
        };
        if scaler.kind != "HorizontalPodAutoscaler" {
            return Err(format!(
                "{} is KEDA's: change its triggers and replica counts in its own file",
                scaler.title()
            ));
        }
        Ok(Some(Change::Patch {
            api_version: "autoscaling/v2",
            kind: scaler.kind.into(),
            name: scaler.name.clone(),
            patch: json!({ "spec": patch }),
        }))
    }

    /// Nodes that the database has connections for, where there is one that counts them.
    fn nodes_that_fit(&self) -> Option<u32> {
        nodes_that_fit(self.evidence).ok()
    }

    fn autoscaler(&self) -> Result<Change, String> {
        let max = self.nodes_that_fit().unwrap_or(REPLICAS_MAX_DEFAULT).min(REPLICAS_MAX_DEFAULT);
        let exists = self.cluster.autoscaler_of(self.workload).map_err(|gap| gap.to_string())?;
        if let Some(scaler) = exists {
            let min = scaler.min_replicas.max(INSTANCES_MIN);
            let patch = json!({ "minReplicas": min, "maxReplicas": scaler.max_replicas.max(min + 1) });
            return self.patch_autoscaler(patch)?.ok_or_else(|| "the autoscaler is gone".into());
        }
        let metric = |name: &str, percent: u32| {
            json!({
                "type": "Resource",
                "resource": { "name": name, "target": { "type": "Utilization", "averageUtilization": percent } },
            })
        };
        let mut object = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": self.workload.name },
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": self.workload.kind, "name": self.workload.name },
                "minReplicas": self.workload.replicas.max(INSTANCES_MIN),
                "maxReplicas": max.max(self.workload.replicas.max(INSTANCES_MIN) + 1),
                "metrics": [metric("cpu", 70), metric("memory", 80)],
            },
        });
        self.put_in_namespace(&mut object);
        Ok(Change::Add(object))
    }

    /// The whole list of metrics, since a patch replaces it: both targets at most as recommended, the rest as it is.
    fn scale_by_targets(&self) -> Result<Vec<Change>, String> {
        let scaler = self.cluster.autoscaler_of(self.workload).map_err(|gap| gap.to_string())?;
        let scaler = scaler.ok_or("there is no autoscaler")?;
        let mut metrics = scaler.metrics.clone();
        let own = self.container.name.as_str();
        for (resource, percent, targets) in [("cpu", 70, &scaler.cpu), ("memory", 80, &scaler.memory)] {
            let counts = |t: &&TargetOf| t.container.as_deref().is_none_or(|c| c == own);
            let is_low = |t: &TargetOf| matches!(t.target, Target::Utilization(p) if p <= f64::from(percent));
            if targets.iter().filter(counts).any(is_low) {
                continue;
            }
            let wanted = json!({ "type": "Utilization", "averageUtilization": percent });
            // What a sidecar is measured by stays.
            let place = metrics.iter_mut().find_map(|metric| {
                let is_it = |of: &Value| of["name"] == resource && of["container"].as_str().is_none_or(|c| c == own);
                let key = ["resource", "containerResource"].into_iter().find(|key| is_it(&metric[*key]))?;
                metric.get_mut(key)
            });
            match place {
                Some(of) => of["target"] = wanted,
                None => metrics.push(json!({ "type": "Resource", "resource": { "name": resource, "target": wanted } })),
            }
        }
        Ok(self.patch_autoscaler(json!({ "metrics": metrics }))?.into_iter().collect())
    }

    fn two_nodes(&self) -> Result<Vec<Change>, String> {
        if self.cluster.is_live && self.workload.replicas >= INSTANCES_MIN {
            return Err("enough are asked for, and are not ready".into());
        }
        let replicas = self.patch(json!({ "spec": { "replicas": INSTANCES_MIN } }));
        Ok(match self.patch_autoscaler(json!({ "minReplicas": INSTANCES_MIN }))? {
            Some(scaler) => vec![scaler, replicas],
            None => vec![replicas],
        })
    }

    fn spread(&self) -> Change {
        self.patch_pod(json!({ "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": self.workload.selector },
        }] }))
    }

    fn budget(&self) -> Result<Change, String> {
        let budgets = self.cluster.budgets_of(self.workload).map_err(|gap| gap.to_string())?;
        if let Some(budget) = budgets.first() {
            return Ok(Change::Patch {
                api_version: "policy/v1",
                kind: "PodDisruptionBudget".into(),
                name: budget.name.clone(),
                patch: json!({ "spec": { "maxUnavailable": 1, "minAvailable": null } }),
            });
        }
        let mut object = json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": { "name": self.workload.name },
            "spec": { "maxUnavailable": 1, "selector": { "matchLabels": self.workload.selector } },
        });
        self.put_in_namespace(&mut object);
        Ok(Change::Add(object))
    }

    fn fewer_nodes(&self) -> Result<Vec<Change>, String> {
        let fits = self.nodes_that_fit().unwrap_or(0);
        if fits < INSTANCES_MIN {
            return Err(format!("the database has connections for {fits} nodes only; raise its `max_connections`"));
        }
        match self.patch_autoscaler(json!({ "maxReplicas": fits }))? {
            Some(change) => Ok(vec![change]),
            None => Ok(vec![self.patch(json!({ "spec": { "replicas": fits } }))]),
        }
    }

    fn otel(&self) -> Result<Vec<Change>, String> {
        let Some(endpoint) = self.wishes.otlp_endpoint.clone().or_else(|| self.collector()) else {
            return Err("where spans should go is not known; name it with `--otlp-endpoint`".into());
        };
        let ratio = self.evidence.told.sampler_ratio.to_string();
        Ok(vec![self.patch_container(json!({ "env": [
            { "name": "RIVET_OTEL_ENABLED", "value": "1" },
            { "name": "RIVET_OTEL_GRPC_ENDPOINT", "value": endpoint },
            { "name": "RIVET_OTEL_SAMPLER_RATIO", "value": ratio },
        ] }))])
    }

    /// A Service that takes OTLP over gRPC, the agent's own first.
    fn collector(&self) -> Option<String> {
        let services = self.cluster.services.as_ref().ok()?;
        let takes = |s: &&Service| s.ports.iter().any(|p| p.port == 4317);
        let named = |word: &str| services.items.iter().filter(takes).find(|s| s.name.contains(word));
        let service = ["rivetwatch", "otel", "collector", "alloy"].iter().find_map(|word| named(word))?;
        Some(format!("http://{}:4317", service.name))
    }
}

/// A port of a Service as it is written; several ports need names.
fn service_port(port: &ServicePort) -> Value {
    let target = match &port.target {
        PortRef::Number(number) => json!(number),
        PortRef::Name(name) => json!(name),
    };
    let name = port.name.clone().unwrap_or_else(|| format!("port-{}", port.port));
    json!({ "name": name, "port": port.port, "targetPort": target })
}

fn with_node_port(mut port: Value, node_port: Option<u16>) -> Value {
    if let Some(number) = node_port {
        port["nodePort"] = number.into();
    }
    port
}

/// Cores as Kubernetes writes them.
fn cores(cores: f64) -> String {
    let milli = (cores * 1000.0).round();
    if milli % 1000.0 == 0.0 { format!("{}", milli / 1000.0) } else { format!("{milli}m") }
}

fn mebibytes(bytes: f64) -> String {
    let mebibytes = (bytes / f64::from(1 << 20)).ceil();
    if mebibytes % 1024.0 == 0.0 { format!("{}Gi", mebibytes / 1024.0) } else { format!("{mebibytes}Mi") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_kubernetes_reads_them() {
        assert_eq!((cores(2.0), cores(0.25), cores(1.5)), ("2".into(), "250m".into(), "1500m".into()));
        assert_eq!((mebibytes(2_147_483_648.0), mebibytes(2e9)), ("2Gi".into(), "1908Mi".into()));
    }
}

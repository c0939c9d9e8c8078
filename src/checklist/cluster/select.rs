//! Which objects belong together: label selectors, the engine among the workloads, what stands around it.

use secrecy::SecretString;
use serde_json::Value;

use super::{
    Autoscaler, Backend, Budget, Cluster, ConfigMap, Container, EnvValue, Image, LabelMap, PortRef, Selected, Service,
    ServicePort, Workload,
};
use crate::checklist::known::{Known, unknown};

/// Whether `selector` picks an object with `labels`; an empty selector picks nothing.
pub fn picks(selector: &LabelMap, labels: &LabelMap) -> bool {
    !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// Whether two objects may stand in one namespace: one that names none goes where it is applied.
pub fn is_one_namespace(a: Option<&str>, b: Option<&str>) -> bool {
    a.is_none() || b.is_none() || a == b
}

impl Cluster {
    /// The engine's workloads with their engine container; at least one.
    ///
    /// The named one, else those with the engine's image, else those whose pods are labelled `rivet-engine`.
    ///
    /// # Errors
    /// Workloads could not be listed, none is the engine, or several namespaces have one.
    pub fn engines(&self) -> Known<Vec<(&Workload, &Container)>> {
        let workloads = self.workloads.as_ref().map_err(Clone::clone)?;
        let pick = |wanted: &dyn Fn(&Workload) -> bool| -> Vec<(&Workload, &Container)> {
            let found = workloads.items.iter().filter(|w| wanted(w));
            found.filter_map(|w| Some((w, w.engine_container()?))).collect()
        };
        let found = match &self.engine_name {
            Some(name) => pick(&|w| w.name == *name),
            None => {
                let by_image = pick(&|w| w.containers.iter().any(Container::is_engine));
                match by_image.is_empty() {
                    true => pick(&is_labelled),
                    false => by_image,
                }
            }
        };
        // Each namespace has a configuration and a database of its own, and the checklist judges one installation.
        let mut namespaces: Vec<&str> = found.iter().filter_map(|(w, _)| w.namespace.as_deref()).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        if namespaces.len() > 1 {
            return unknown(format!(
                "engines stand in the namespaces {}; choose one with `check.kubernetes.namespace`",
                namespaces.join(", ")
            ));
        }
        if !found.is_empty() {
            return Ok(found);
        }
        workloads.is_whole()?;
        match &self.engine_name {
            Some(name) => unknown(format!("no Deployment or StatefulSet is named `{name}` in {}", self.source)),
            None => unknown(format!(
                "no Deployment or StatefulSet in {} runs the engine's image; name it with `check.kubernetes.engine`",
                self.source
            )),
        }
    }

    /// The plain text of a variable of `container`, which may stand in a ConfigMap.
    pub fn env_text<'a>(
        &'a self,
        workload: &Workload,
        container: &'a Container,
        name: &str,
    ) -> Option<&'a SecretString> {
        match container.env(name)? {
            EnvValue::Text(text) => Some(text),
            EnvValue::ConfigMap(map, key) => {
                let maps = &self.config_maps.as_ref().ok()?.items;
                let is_it = |m: &&ConfigMap| m.name == *map && workload.is_beside(m.namespace.as_deref());
                maps.iter().find(is_it)?.data.get(key)
            }
            EnvValue::Secret(_) | EnvValue::Other => None,
        }
    }

    /// The Service that a host name means to the pods of `workload`: `name`, `name.namespace`, `name.namespace.svc…`, each
    /// also behind the name of a pod.
    pub fn service_at(&self, host: &str, workload: &Workload) -> Option<&Service> {
        let services = &self.services.as_ref().ok()?.items;
        let find = |name: &str, namespace: Option<&str>| {
            let is_it = |s: &&Service| s.name == name && is_one_namespace(s.namespace.as_deref(), namespace);
            services.iter().find(is_it)
        };
        let own = workload.namespace.as_deref();
        let parts: Vec<&str> = host.trim_end_matches('.').split('.').collect();
        match parts.as_slice() {
            [name] => find(name, own),
            [first, second] => find(first, Some(second)).or_else(|| find(second, own)),
            [name, namespace, "svc", ..] | [_, name, namespace, "svc", ..] => find(name, Some(namespace)),
            [_, name, namespace] => find(name, Some(namespace)),
            _ => None,
        }
    }

    /// The workload behind a host name, if one of its containers runs an image with one of these base names.
    pub fn workload_at(&self, host: &str, beside: &Workload, bases: &[&str]) -> Option<(&Workload, &Container)> {
        let service = self.service_at(host, beside)?;
        let found = self.workloads_with_image(bases).ok()?;
        found
            .into_iter()
            .find(|(w, _)| w.is_selected_by(&service.selector) && w.is_beside(service.namespace.as_deref()))
    }

    /// Services that select the pods of `workload`.
    ///
    /// # Errors
    /// Services could not be listed.
    pub fn services_of(&self, workload: &Workload) -> Known<Vec<&Service>> {
        let services = self.services.as_ref().map_err(Clone::clone)?;
        let is_of = |s: &&Service| workload.is_beside(s.namespace.as_deref()) && workload.is_selected_by(&s.selector);
        Ok(services.items.iter().filter(is_of).collect())
    }

    /// The autoscaler of `workload`; `None` when there is none.
    ///
    /// # Errors
    /// Autoscalers could not be listed as a whole.
    pub fn autoscaler_of(&self, workload: &Workload) -> Known<Option<&Autoscaler>> {
        let list = self.autoscalers.as_ref().map_err(Clone::clone)?;
        let scales = |a: &&Autoscaler| {
            a.target_kind == workload.kind
                && a.target_name == workload.name
                && workload.is_beside(a.namespace.as_deref())
        };
        let found = list.items.iter().find(scales);
        if found.is_none() {
            list.is_whole()?;
        }
        Ok(found)
    }

    /// The object that scales the engine, as it came; `None` when nothing does.
    ///
    /// # Errors
    /// Workloads or autoscalers could not be listed as a whole, or no workload is the engine.
    pub fn engine_autoscaler(&self) -> Known<Option<&Value>> {
        for (workload, _) in self.engines()? {
            if let Some(scaler) = self.autoscaler_of(workload)? {
                let raw = self.raw.autoscalers.as_ref().map_err(Clone::clone)?;
                let is_it = |object: &&Value| {
                    let field = |key: &str| object.pointer(key).and_then(Value::as_str);
                    field("/metadata/name") == Some(scaler.name.as_str())
                        && field("/metadata/namespace") == scaler.namespace.as_deref()
                };
                return Ok(raw.items.iter().find(is_it));
            }
        }
        Ok(None)
    }

    /// The disruption budgets that hold for `workload`.
    ///
    /// # Errors
    /// Budgets could not be listed as a whole, or one has a selector that is not read.
    pub fn budgets_of(&self, workload: &Workload) -> Known<Vec<&Budget>> {
        let list = self.budgets.as_ref().map_err(Clone::clone)?;
        let beside: Vec<&Budget> = list.items.iter().filter(|b| workload.is_beside(b.namespace.as_deref())).collect();
        let holds = |b: &&&Budget| match &b.selector {
            Selected::Pods(labels) => workload.is_selected_by(labels),
            Selected::AllPods => true,
            Selected::ByExpressions => false,
        };
        let found: Vec<&Budget> = beside.iter().filter(holds).copied().collect();
        if found.is_empty() {
            list.is_whole()?;
            if let Some(odd) = beside.iter().find(|b| b.selector == Selected::ByExpressions) {
                return unknown(format!("PodDisruptionBudget {} selects by expressions, which are not read", odd.name));
            }
        }
        Ok(found)
    }

    /// Workloads whose first container runs an image with one of these base names, such as `postgres`.
    ///
    /// # Errors
    /// Workloads could not be listed.
    pub fn workloads_with_image(&self, bases: &[&str]) -> Known<Vec<(&Workload, &Container)>> {
        let workloads = self.workloads.as_ref().map_err(Clone::clone)?;
        let container =
            |w: &'_ Workload| w.containers.iter().position(|c| bases.contains(&Image::parse(&c.image).base()));
        Ok(workloads.items.iter().filter_map(|w| Some((w, &w.containers[container(w)?]))).collect())
    }
}

impl Backend {
    /// Whether it leads to `service`, by any of its ports.
    pub fn leads_to(&self, service: &Service) -> bool {
        self.service == service.name && is_one_namespace(self.namespace.as_deref(), service.namespace.as_deref())
    }

    /// Whether it leads to this port of `service`. Without a port it takes the only one there is.
    pub fn leads_to_port(&self, service: &Service, port: &ServicePort) -> bool {
        self.leads_to(service)
            && match &self.port {
                Some(PortRef::Number(number)) => *number == port.port,
                Some(PortRef::Name(name)) => port.name.as_deref() == Some(name),
                None => service.ports.len() == 1,
            }
    }
}

fn is_labelled(workload: &Workload) -> bool {
    let is_engine = |label: &str| workload.labels.get(label).is_some_and(|value| value == "rivet-engine");
    is_engine("app") || is_engine("app.kubernetes.io/name") || is_engine("component")
}

//! What the engine's pods use, by metrics.k8s.io (metrics-server), and in what state they are: what the autoscaler itself
//! goes by.
//!
//! In:  the same access as the checklist's.   Out: [`PodMetrics`], objects as they came.
//! Always: only pods of the engine's workloads are asked for, so that ten thousand others cost nothing. Where pods may not
//! be listed, usage is told without their states.
//! Limits: those of a list; workloads are looked up anew after every failure and every [`LOOK_UP_EVERY`] readings.

use super::{Access, PodMetrics, Refused};

/// Readings after which the engine's workloads are looked up again: with the default interval ten minutes.
#[cfg(feature = "kubernetes")]
const LOOK_UP_EVERY: u32 = 20;

/// Reads PodMetrics of the engine, again and again over one connection.
pub struct UsageReader {
    access: Access,
    #[cfg(feature = "kubernetes")]
    session: Option<session::Session>,
}

#[cfg(not(feature = "kubernetes"))]
impl UsageReader {
    /// A reader that has asked nobody yet.
    pub fn new(access: Access) -> Self {
        Self { access }
    }

    /// Refuses: this build has no client.
    ///
    /// # Errors
    /// Always.
    pub async fn read(&mut self) -> Result<PodMetrics, Refused> {
        let _ = &self.access;
        Err(Refused::new("no_access", "this build cannot ask Kubernetes (cargo feature `kubernetes`)"))
    }
}

#[cfg(feature = "kubernetes")]
impl UsageReader {
    /// A reader that has asked nobody yet.
    pub fn new(access: Access) -> Self {
        Self { access, session: None }
    }

    /// What the engine's pods use now.
    ///
    /// # Errors
    /// The API, metrics-server or the right to ask it is missing, or the engine's workload is not found.
    pub async fn read(&mut self) -> Result<PodMetrics, Refused> {
        let session = match self.session.take().filter(|session| session.readings < LOOK_UP_EVERY) {
            Some(session) => session,
            None => session::Session::begin(&self.access).await?,
        };
        // Only a session that has just worked is kept: whatever changed is looked up anew.
        let (session, metrics) = session.read().await?;
        self.session = Some(session);
        Ok(metrics)
    }
}

#[cfg(feature = "kubernetes")]
mod session {
    use crate::checklist::cluster::{Cluster, LabelMap, Resources};
    use crate::checklist::known::{Gap, Known};
    use crate::checklist::probes::kubernetes::client::Lists;
    use crate::checklist::probes::kubernetes::{Access, MeasuredWorkload, PodMetrics, Refused};

    const GROUP: &str = "apis/metrics.k8s.io/v1beta1";

    /// A connection, and what is known of the engine's workloads.
    pub struct Session {
        lists: Lists,
        workloads: Vec<Selected>,
        pub readings: u32,
    }

    struct Selected {
        selector: LabelMap,
        containers: Vec<(String, Resources, Resources)>,
    }

    impl Session {
        pub async fn begin(access: &Access) -> Result<Self, Refused> {
            let lists = Lists::open(access).await.map_err(|gap| Refused { class: "no_access", gap })?;
            let (deployments, stateful_sets) = lists.workloads().await;
            let refused = [&deployments, &stateful_sets].into_iter().find_map(|list| Some(list.as_ref().err()?.class));
            let workloads = selected(&Cluster::read(lists.objects(deployments, stateful_sets)));
            let workloads = workloads.map_err(|gap| Refused { class: refused.unwrap_or("no_workload"), gap })?;
            Ok(Self { lists, workloads, readings: 0 })
        }

        pub async fn read(mut self) -> Result<(Self, PodMetrics), Refused> {
            let mut metrics = PodMetrics { namespace: self.lists.namespace.clone(), ..PodMetrics::default() };
            for workload in &self.workloads {
                let listed = self.lists.list(GROUP, "pods", Some(&workload.selector)).await.map_err(explained)?;
                metrics.unread.extend(listed.unread);
                let states = match self.lists.list("api/v1", "pods", Some(&workload.selector)).await {
                    Ok(states) => {
                        metrics.states_unread.extend(states.unread);
                        states.items
                    }
                    Err(refused) => {
                        metrics.states_unread.push(refused.gap.reason().to_owned());
                        Vec::new()
                    }
                };
                let containers = workload.containers.clone();
                metrics.workloads.push(MeasuredWorkload { containers, pods: listed.items, states });
            }
            self.readings += 1;
            Ok((self, metrics))
        }
    }

    fn selected(cluster: &Cluster) -> Known<Vec<Selected>> {
        let engines = cluster.engines()?;
        let mut found = Vec::new();
        for (workload, _) in engines {
            if workload.selector.is_empty() {
                let title = workload.title();
                return Err(Gap::new(format!("{title} selects its pods by expressions, which are not read")));
            }
            let containers = workload.containers.iter().map(|c| (c.name.clone(), c.requests, c.limits)).collect();
            found.push(Selected { selector: workload.selector.clone(), containers });
        }
        Ok(found)
    }

    /// Says what a refusal means for somebody who asked for metrics.
    fn explained(refused: Refused) -> Refused {
        let why = match refused.class {
            "absent" => "there is no metrics-server: ",
            "unavailable" => "metrics-server does not answer: ",
            "forbidden" => "metrics.k8s.io cannot be read: ",
            _ => return refused,
        };
        Refused::new(refused.class, format!("{why}{}", refused.gap.reason()))
    }
}

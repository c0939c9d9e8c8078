//! What the signals show at one time, before anybody asks how much is left.
//!
//! In:  the signals.   Out: a [`World`] of plain numbers, which [`super::what_if`] may change.
//! Always: what no signal tells is `None`. Limits: engines are read all, reported by the fullest.

use std::collections::{BTreeMap, HashMap};

use super::CapacityError;
use super::pools::{self, Pool};
use super::reader::{Reader, installation, instance, place};
use crate::model::{Labels, TimestampMs};

/// One resource of one engine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    pub used: Option<f64>,
    pub request: Option<f64>,
    pub limit: Option<f64>,
}

/// One engine process.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    pub labels: Labels,
    pub cpu: Use,
    pub memory: Use,
    /// Requests that the guard saw, a second over the last minute.
    pub requests: Option<f64>,
    pub in_flight: Option<f64>,
    /// Client addresses that the guard has counted within the hour.
    pub clients: Option<f64>,
    /// Requests that the guard refused because of an address' limits, a second.
    pub refused: Option<f64>,
    pub disk_used: Option<f64>,
    pub disk_limit: Option<f64>,
}

impl Engine {
    /// The name of the instance.
    pub fn name(&self) -> &str {
        self.labels.get("instance").unwrap_or("")
    }
}

/// What Kubernetes tells of the autoscaler of one installation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HpaStatus {
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub cpu_target: Option<f64>,
    pub memory_target: Option<f64>,
    pub current: Option<f64>,
    pub desired: Option<f64>,
}

/// The database and its pubsub, as far as they are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Postgres {
    pub max_connections: Option<f64>,
    pub open_connections: Option<f64>,
    pub disk_used: Option<f64>,
    pub disk_limit: Option<f64>,
    /// The engines' NATS client has counted something.
    pub has_nats: bool,
}

/// Engines that belong together: one job in one namespace.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    pub labels: Labels,
    /// What it is called, where that is not to be told from its engines.
    pub called: Option<String>,
    pub engines: Vec<Engine>,
    pub hpa: HpaStatus,
    pub postgres: Postgres,
    /// Creates and wakes a second: now, and the most of the last minute.
    pub demand: Option<f64>,
    pub demand_peak: Option<f64>,
    pub running_actors: Option<f64>,
}

impl Installation {
    /// The only engine's name, else the job's with the namespace.
    pub fn name(&self) -> String {
        if let Some(name) = &self.called {
            return name.clone();
        }
        let label = |name: &str| self.labels.get(name).filter(|v| !v.is_empty());
        match (self.engines.as_slice(), label("namespace"), label("job")) {
            ([engine], ..) if !engine.name().is_empty() => engine.name().to_owned(),
            (_, Some(namespace), Some(job)) => format!("{namespace}/{job}"),
            (_, None, Some(job)) => job.to_owned(),
            (_, Some(namespace), None) => namespace.to_owned(),
            _ => "engine".to_owned(),
        }
    }
}

/// Everything that is seen.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub installations: Vec<Installation>,
    pub pools: Vec<Pool>,
    /// File systems of agents' data: labels, used, size.
    pub agent_disks: Vec<(Labels, f64, f64)>,
    /// The alert thresholds for CPU and memory, which are the targets where no autoscaler is known.
    pub cpu_threshold: Option<f64>,
    pub memory_threshold: Option<f64>,
    /// Age of the newest figure, by installation.
    pub sample_ages: HashMap<Labels, f64>,
    pub at: TimestampMs,
}

/// A gauge's highest value of the last minute.
pub(super) fn minute(expr: &str) -> String {
    format!("max_over_time(({expr})[1m:15s])")
}

/// Age of the newest figure of each engine: what the last evaluation found, and how long ago that was.
const SAMPLE_AGE: &str = "rivet:engine_sample_age:seconds + (time() - timestamp(rivet:engine_sample_age:seconds))";
/// Demand over one minute, or over two where a source comes too seldom for that.
const DEMAND: &str = "sum by (cluster, namespace, job) (rivet:actor_demand:rate1m or on (cluster, namespace, job, instance) rivet:actor_demand:rate)";

impl World {
    /// Reads everything.
    ///
    /// # Errors
    /// A query could not be evaluated; missing data is `None`.
    pub(super) fn observe(reader: &Reader<'_>) -> Result<Self, CapacityError> {
        let threshold =
            |signal: &str| reader.scalar(&format!("min(rivet:threshold{{signal=\"{signal}\",severity=\"warning\"}})"));
        Ok(Self {
            installations: installations(reader)?,
            pools: pools::read(reader)?,
            agent_disks: agent_disks(reader)?,
            cpu_threshold: threshold("cpu_utilization")?,
            memory_threshold: threshold("memory_utilization")?,
            sample_ages: sample_ages(reader)?,
            at: reader.now,
        })
    }

    /// The installation that a pool's labels name.
    pub fn installation_of(&self, labels: &Labels) -> Option<&Installation> {
        self.installations.iter().find(|i| i.labels == installation(labels))
    }
}

fn engines(reader: &Reader<'_>) -> Result<BTreeMap<Labels, Vec<Engine>>, CapacityError> {
    let mut found: HashMap<Labels, Engine> = HashMap::new();
    let mut fill = |query: &str, creates: bool, set: fn(&mut Engine, f64)| -> Result<(), CapacityError> {
        for (labels, value) in reader.vector(query)? {
            let key = instance(&labels);
            let engine = match (found.get_mut(&key), creates) {
                (Some(engine), _) => engine,
                (None, true) => found.entry(key).or_insert(Engine { labels, ..Engine::default() }),
                (None, false) => continue,
            };
            set(engine, value);
        }
        Ok(())
    };
    fill("rivet:engine_up:bool == 1", true, |_, _| {})?;
    fill("rivet:cpu_usage:cores", true, |e, v| e.cpu.used = Some(v))?;
    fill("rivet:memory_usage:bytes", true, |e, v| e.memory.used = Some(v))?;
    fill("rivet:data_directory_used:bytes", true, |e, v| e.disk_used = Some(v))?;
    fill("rivet:cpu_request:cores", false, |e, v| e.cpu.request = Some(v))?;
    fill("rivet:cpu_limit:cores", false, |e, v| e.cpu.limit = Some(v))?;
    fill("rivet:memory_request:bytes", false, |e, v| e.memory.request = Some(v))?;
    fill("rivet:memory_limit:bytes", false, |e, v| e.memory.limit = Some(v))?;
    fill("rivet:guard_request:rate1m", false, |e, v| e.requests = Some(v))?;
    fill("rivet:guard_in_flight:count", false, |e, v| e.in_flight = Some(v))?;
    fill("rivet:guard_clients:count", false, |e, v| e.clients = Some(v))?;
    fill("rivet:client_limited:rate", false, |e, v| e.refused = Some(v))?;
    fill("rivet:data_directory_limit:bytes", false, |e, v| e.disk_limit = Some(v))?;
    let mut out: BTreeMap<Labels, Vec<Engine>> = BTreeMap::new();
    for engine in found.into_values() {
        out.entry(installation(&engine.labels)).or_default().push(engine);
    }
    for engines in out.values_mut() {
        engines.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    Ok(out)
}

/// The value of the installation's namespace, or the only one there is.
fn near(values: &HashMap<Labels, f64>, labels: &Labels) -> Option<f64> {
    let only = || (values.len() == 1).then(|| values.values().next().copied()).flatten();
    values.get(&place(labels)).copied().or_else(only)
}

fn installations(reader: &Reader<'_>) -> Result<Vec<Installation>, CapacityError> {
    let mut engines = engines(reader)?;
    let demand = reader.by(DEMAND, installation)?;
    let demand_peak = reader.by(&minute(DEMAND), installation)?;
    let running = reader.by("sum by (cluster, namespace, job) (rivet:actors_running:count)", installation)?;
    for labels in demand.keys().chain(running.keys()) {
        engines.entry(labels.clone()).or_default();
    }
    let [min, max, cpu, memory, current, desired] = [
        "rivet:autoscaler_replicas_minimum:count",
        "rivet:autoscaler_replicas_limit:count",
        "rivet:cpu_target:ratio",
        "rivet:memory_target:ratio",
        "rivet:autoscaler_replicas:count",
        "rivet:autoscaler_replicas_wanted:count",
    ]
    .map(|signal| reader.by(signal, place));
    let (min, max, cpu, memory, current, desired) = (min?, max?, cpu?, memory?, current?, desired?);
    let [limit, open, disk_used, disk_limit] = [
        "rivet:postgres_connections_limit:count",
        "rivet:postgres_connections:count",
        "rivet:postgres_disk_used:bytes",
        "rivet:postgres_disk_limit:bytes",
    ]
    .map(|signal| reader.by(signal, place));
    let (limit, open, disk_used, disk_limit) = (limit?, open?, disk_used?, disk_limit?);
    let nats = reader.by("rivet:pubsub_nats:bool == 1", installation)?;
    let build = |(labels, engines): (Labels, Vec<Engine>)| {
        let here = place(&labels);
        let of = |values: &HashMap<Labels, f64>| values.get(&here).copied();
        Installation {
            hpa: HpaStatus {
                min: of(&min),
                max: of(&max),
                cpu_target: of(&cpu),
                memory_target: of(&memory),
                current: of(&current),
                desired: of(&desired),
            },
            postgres: Postgres {
                max_connections: near(&limit, &labels),
                open_connections: near(&open, &labels),
                disk_used: near(&disk_used, &labels),
                disk_limit: near(&disk_limit, &labels),
                has_nats: nats.contains_key(&labels),
            },
            demand: demand.get(&labels).copied(),
            demand_peak: demand_peak.get(&labels).copied(),
            running_actors: running.get(&labels).copied(),
            called: None,
            engines,
            labels,
        }
    };
    Ok(engines.into_iter().map(build).collect())
}

fn sample_ages(reader: &Reader<'_>) -> Result<HashMap<Labels, f64>, CapacityError> {
    let mut ages: HashMap<Labels, f64> = HashMap::new();
    for (labels, age) in reader.vector(SAMPLE_AGE)? {
        ages.entry(installation(&labels)).and_modify(|newest| *newest = newest.min(age)).or_insert(age);
    }
    Ok(ages)
}

fn agent_disks(reader: &Reader<'_>) -> Result<Vec<(Labels, f64, f64)>, CapacityError> {
    let sizes = reader.by("rivet:agent_disk_limit:bytes", instance)?;
    let used = reader.vector("rivet:agent_disk_used:bytes")?;
    let both =
        |(labels, used): (Labels, f64)| sizes.get(&instance(&labels)).map(|size| (instance(&labels), used, *size));
    Ok(used.into_iter().filter_map(both).collect())
}

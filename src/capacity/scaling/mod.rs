//! What the autoscaler wants: now, at the day's peak, in some hours, and under what its maximum binds.
//!
//! In:  the world, the history of CPU and memory, the effective object.   Out: one [`Autoscaler`] an installation.
//! Always: what is said of the future comes from the pattern of at least two days; with less, one hour ahead is guessed
//! by the last ten minutes and nothing further.

mod effective;
mod live;
mod plan;
mod served;

use serde::Serialize;

use super::CapacityError;
use super::config::Config;
use super::forecast::{Grid, Pattern, SLOT_MS, expected};
use super::history::{History, USED};
use super::hpa::{HpaSpec, MetricSpec, Proposal, Reason, Resource, Source, Target};
use super::kind::Kind;
use super::reader::{Reader, installation};
use super::report::Autoscaling;
use super::series::{CPU_FORECAST, REPLICAS_FORECAST};
use super::world::{Installation, Use, World};
use crate::model::{Labels, TimestampMs};

pub(super) use effective::set_target;
pub use effective::{Effective, HpaSource};
use live::{Live, replay};
pub use plan::{Demand, Plan, Planned, Shape};

/// Hours ahead that are looked at.
const HOURS: [i64; 3] = [1, 6, 24];

/// The autoscaler of one installation: what it does, and what it will do.
#[derive(Clone, Debug, Serialize)]
pub struct Autoscaler {
    pub subject: String,
    /// Who says what its object is.
    pub source: HpaSource,
    pub min_replicas: i32,
    #[serde(serialize_with = "number_or_unknown")]
    pub max_replicas: Option<u32>,
    /// Replicas that can work at most: fewer than the maximum where the database carries no more.
    #[serde(serialize_with = "number_or_unknown")]
    pub most_replicas: Option<u32>,
    pub replicas: u32,
    /// What the twin sets now; absent while no usage is seen.
    #[serde(serialize_with = "number_or_unknown")]
    pub wanted_replicas: Option<u32>,
    /// What the metrics ask for before patience, rates and bounds.
    #[serde(serialize_with = "number_or_unknown")]
    pub unbounded_replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What Kubernetes' own controller wants, where kube-state-metrics tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_replicas: Option<u32>,
    /// What the day's highest use asks for.
    #[serde(serialize_with = "number_or_unknown")]
    pub peak_replicas: Option<u32>,
    pub ahead: Vec<Ahead>,
    /// Seconds until the load asks for more replicas than can work, by CPU or memory, whichever is sooner; absent where the
    /// history supports no word on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_binds_in_seconds: Option<f64>,
    /// How far off the forecast of an hour ago is now: of CPU as a share of it, of replicas in replicas.
    #[serde(serialize_with = "pairs")]
    pub forecast_errors: Vec<(&'static str, f64)>,
    pub notes: Vec<String>,
    #[serde(skip)]
    pub labels: Labels,
    /// CPU expected in an hour, all replicas together.
    #[serde(skip)]
    pub cpu_in_an_hour: Option<f64>,
}

/// Replicas wanted some hours from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ahead {
    pub hours: u32,
    /// `unknown` where the history supports no word on it.
    #[serde(serialize_with = "number_or_unknown")]
    pub replicas: Option<u32>,
    /// The same without a maximum, where that is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbounded_replicas: Option<u32>,
}

fn number_or_unknown<S: serde::Serializer>(value: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(v) => serializer.serialize_u32(*v),
        None => serializer.serialize_str("unknown"),
    }
}

fn pairs<S: serde::Serializer>(pairs: &[(&'static str, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (*name, *value)))
}

impl Autoscaler {
    /// Replicas that the twin wants more than Kubernetes' own controller; `None` where one of them is not known.
    pub fn difference(&self) -> Option<f64> {
        let (twin, real) = (self.wanted_replicas?, self.kubernetes_replicas?);
        Some(f64::from(twin) - f64::from(real))
    }
}

/// Holds what was expected an hour ago against what is now.
///
/// # Errors
/// A query could not be evaluated.
pub(super) fn judge_forecasts(reader: &Reader<'_>, autoscalers: &mut [Autoscaler]) -> Result<(), CapacityError> {
    let cpu = reader.by(&format!("{CPU_FORECAST} offset 1h"), installation)?;
    let replicas = reader.by(&format!("{REPLICAS_FORECAST} offset 1h"), installation)?;
    let kind = Kind::CpuTarget.as_str();
    let used = reader.by(&format!("max_over_time({USED}{{kind=\"{kind}\"}}[10m])"), installation)?;
    for autoscaler in autoscalers {
        let of = &autoscaler.labels;
        if let (Some(expected), Some(used)) = (cpu.get(of), used.get(of).filter(|used| **used > 0.0)) {
            autoscaler.forecast_errors.push(("cpu", (expected - used).abs() / used));
        }
        if let (Some(expected), Some(wanted)) = (replicas.get(of), autoscaler.wanted_replicas) {
            autoscaler.forecast_errors.push(("replicas", (expected - f64::from(wanted)).abs()));
        }
    }
    Ok(())
}

fn count(replicas: i32) -> u32 {
    replicas.max(0).unsigned_abs()
}

/// Sums over the engines that have both a use and a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Total {
    /// All use, of engines without a request too.
    pub used: Option<f64>,
    pub requested: Option<f64>,
    /// Use of those with a request.
    pub used_of_requested: f64,
    /// Engines with both.
    pub engines: u32,
    /// Engines with a use.
    pub using: u32,
}

impl Total {
    /// Sums `of` over the engines.
    pub fn of(installation: &Installation, of: fn(&super::world::Engine) -> Use) -> Self {
        let mut total = Self::default();
        for one in installation.engines.iter().map(of) {
            let Some(used) = one.used else { continue };
            total.using += 1;
            total.used = Some(total.used.unwrap_or(0.0) + used);
            if let Some(request) = one.request.filter(|r| *r > 0.0) {
                total.engines += 1;
                total.used_of_requested += used;
                total.requested = Some(total.requested.unwrap_or(0.0) + request);
            }
        }
        total
    }

    /// What one engine requests.
    pub fn request_each(&self) -> Option<f64> {
        self.requested.map(|requested| requested / f64::from(self.engines))
    }
}

/// What is assumed of the present instead of replaying it.
pub(super) enum Present<'a> {
    /// The live signals.
    Live(&'a Reader<'a>),
    /// As many replicas as the world has engines.
    Assumed,
}

/// What an autoscaler is worked out from.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub world: &'a World,
    pub installation: &'a Installation,
    pub effective: &'a Effective,
    pub config: &'a Config,
    pub history: &'a History,
    /// What loads of the history are multiplied by.
    pub traffic: f64,
}

/// Works out one autoscaler, and what each of its metrics says.
///
/// # Errors
/// A query could not be evaluated.
pub(super) fn autoscaler(
    present: &Present<'_>,
    asked: Asked<'_>,
) -> Result<(Option<Autoscaler>, Vec<Autoscaling>), CapacityError> {
    let Asked { world, installation, effective, config, history, traffic } = asked;
    let (cpu, memory) = (Total::of(installation, |e| e.cpu), Total::of(installation, |e| e.memory));
    if cpu.used.is_none() && memory.used.is_none() {
        return Ok((None, Vec::new()));
    }
    let controller = config.autoscaler.controller.settings();
    let shape = Shape { cpu_cores: cpu.request_each(), memory_bytes: memory.request_each() };
    let replicas = match present {
        Present::Live(_) => installation.hpa.current.map_or(cpu.using.max(memory.using), |v| v.round() as u32),
        Present::Assumed => cpu.using.max(memory.using),
    };
    let plan = Plan { spec: &effective.spec, controller: &controller, shape };
    let now = Demand { cpu_cores: cpu.used, memory_bytes: memory.used };
    let start = i32::try_from(replicas).unwrap_or(i32::MAX);

    let mut notes = Vec::new();
    let live = match present {
        Present::Live(reader) => replay(reader, installation, effective, &controller)?,
        Present::Assumed => None,
    };
    let (wanted, unbounded, reason, proposals) = match (&live, present) {
        (Some(Live { recommendation: r, .. }), _) => {
            (Some(count(r.desired)), r.wanted.map(count), Some(r.reason), Some(r.metrics.as_slice()))
        }
        (None, Present::Live(_)) => (None, None, None, None),
        (None, Present::Assumed) => {
            let end = plan.steady(start, now);
            (end.map(|p| count(p.replicas)), end.map(|p| count(p.wanted)), None, None)
        }
    };
    if let Some(live) = &live {
        notes.extend(sources(live));
        if let Some(why) = live.recommendation.metrics.iter().find_map(|m| m.as_ref().err()) {
            notes.push(format!("a metric is missing: {why}"));
        }
    }
    if !effective.unseen.is_empty() {
        notes.push(format!("not seen by the agent: {}", effective.unseen.join(", ")));
    }

    let grid = |kind: Kind| history.grid(kind, &installation.labels).map(|grid| grid.scaled(traffic));
    let (cpu_grid, memory_grid) = (grid(Kind::CpuTarget), grid(Kind::MemoryTarget));
    let day = |grid: &Option<Grid>| grid.as_ref().and_then(|grid| grid.peak(super::forecast::DAY));
    let most = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
    let peak = Demand { cpu_cores: most(day(&cpu_grid), cpu.used), memory_bytes: most(day(&memory_grid), memory.used) };
    let peak_replicas = plan.steady(start, peak).map(|p| count(p.wanted.max(effective.spec.min_replicas)));
    let ahead = ahead(&plan, start, world.at, &cpu_grid, &memory_grid, now);

    let most_replicas = effective.most_replicas();
    if let Some((replicas, "Postgres connections")) = most_replicas {
        notes.push(format!("the database carries {replicas} engines"));
    }
    let autoscaler = Autoscaler {
        subject: installation.name(),
        source: effective.source,
        min_replicas: effective.spec.min_replicas,
        max_replicas: effective.max(),
        most_replicas: most_replicas.map(|(replicas, _)| replicas),
        replicas,
        wanted_replicas: wanted,
        unbounded_replicas: unbounded,
        reason,
        kubernetes_replicas: installation.hpa.desired.map(|v| v.round().max(0.0) as u32),
        peak_replicas,
        ahead,
        maximum_binds_in_seconds: None,
        forecast_errors: Vec::new(),
        notes,
        labels: installation.labels.clone(),
        cpu_in_an_hour: cpu_grid.as_ref().and_then(|grid| expected(grid, 3_600_000)),
    };
    let is_served = live.as_ref().is_some_and(|live| live.is_served);
    let rows = [(Resource::Cpu, cpu), (Resource::Memory, memory)]
        .into_iter()
        .filter_map(|(resource, total)| by_resource(asked, resource, &total, proposals, is_served, &plan, start))
        .collect();
    Ok((Some(autoscaler), rows))
}

/// Where the replay's figures come from, and what of them is approximate.
fn sources(live: &Live) -> Vec<String> {
    let served = live.is_served.then(|| "usage from metrics.k8s.io".to_owned());
    let assumed = [(!live.is_served, "usage over 2 m"), (!live.knows_pods, "pods count as ready")];
    let assumed: Vec<&str> = assumed.into_iter().filter_map(|(is, words)| is.then_some(words)).collect();
    let approximate = (!assumed.is_empty()).then(|| format!("approximate: {}", assumed.join("; ")));
    served.into_iter().chain(approximate).collect()
}

/// Replicas in some hours, by the pattern.
fn ahead(
    plan: &Plan<'_>,
    start: i32,
    now: TimestampMs,
    cpu: &Option<Grid>,
    memory: &Option<Grid>,
    present: Demand,
) -> Vec<Ahead> {
    let unknown = |hours: i64| Ahead { hours: hours as u32, replicas: None, unbounded_replicas: None };
    let Some(cpu_pattern) = cpu.as_ref().and_then(|grid| Pattern::of(grid).ok()) else {
        // Without a pattern the last ten minutes are the best guess, and only for the next hour.
        let guess = |grid: &Option<Grid>| grid.as_ref().and_then(|grid| expected(grid, 3_600_000));
        let demand = Demand { cpu_cores: guess(cpu), memory_bytes: guess(memory).or(present.memory_bytes) };
        let end = demand.cpu_cores.and_then(|_| plan.steady(start, demand));
        let first = |hours: i64| match end {
            Some(planned) if hours == 1 => told(hours, planned),
            _ => unknown(hours),
        };
        return HOURS.map(first).to_vec();
    };
    let memory_pattern = memory.as_ref().and_then(|grid| Pattern::of(grid).ok());
    let last = HOURS[HOURS.len() - 1] * 3_600_000;
    // A slot's highest value stands for all of it.
    let slot = |t: TimestampMs| t.align_down(SLOT_MS);
    let planned = plan.run(start, now, now.plus_ms(last), |t| Demand {
        cpu_cores: Some(cpu_pattern.at(slot(t))),
        memory_bytes: memory_pattern.as_ref().map(|p| p.at(slot(t))).or(present.memory_bytes),
    });
    let at = |hours: i64| {
        let until = now.plus_ms(hours * 3_600_000);
        planned.iter().rev().find(|p| p.at <= until).map_or(unknown(hours), |p| told(hours, *p))
    };
    HOURS.map(at).to_vec()
}

fn told(hours: i64, planned: Planned) -> Ahead {
    let more = (planned.wanted > planned.replicas).then(|| count(planned.wanted));
    Ahead { hours: hours as u32, replicas: Some(count(planned.replicas)), unbounded_replicas: more }
}

/// What one metric says, by the twin where it was replayed.
fn by_resource(
    Asked { installation, effective, world, .. }: Asked<'_>,
    resource: Resource,
    total: &Total,
    proposals: Option<&[Result<Proposal, String>]>,
    is_served: bool,
    plan: &Plan<'_>,
    start: i32,
) -> Option<Autoscaling> {
    let requested = total.requested?;
    let of = |m: &MetricSpec| matches!(&m.source, Source::Resource { resource: r, .. } if *r == resource);
    let at = effective.spec.metrics.iter().position(of)?;
    let proposal = proposals.and_then(|proposals| proposals.get(at));
    let proposed = match proposal {
        Some(Ok(proposal)) => count(proposal.replicas),
        Some(Err(_)) => return None,
        // Nobody asked the metrics: below the minimum, above the maximum, or under assumptions.
        None => {
            let alone = HpaSpec { metrics: vec![effective.spec.metrics[at].clone()], ..effective.spec.clone() };
            let demand = match resource {
                Resource::Cpu => Demand { cpu_cores: total.used, memory_bytes: None },
                Resource::Memory => Demand { cpu_cores: None, memory_bytes: total.used },
            };
            count(Plan { spec: &alone, ..*plan }.steady(start, demand)?.wanted)
        }
    };
    let target = match effective.spec.metrics[at].target {
        Target::Utilization(percent) => f64::from(percent) / 100.0,
        _ => effective.level(resource, total.request_each(), world)? / total.request_each()?,
    };
    // The signals know the engine's container alone, and the autoscaler may count others of the pod.
    let utilization = match (proposal, effective.spec.metrics[at].target) {
        (Some(Ok(proposal)), Target::Utilization(_)) if is_served => proposal.current as f64 / 100.0,
        _ => total.used_of_requested / requested,
    };
    Some(Autoscaling {
        resource: resource.as_str(),
        target,
        utilization,
        replicas: total.engines,
        wanted_replicas: proposed,
        labels: installation.labels.clone(),
    })
}

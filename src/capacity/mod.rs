//! How much room is left: CPU and memory against the autoscaling guidance, actor hosts against their limits.
//!
//! In:  the signals (`rivet:*`) in the store, and what the operator wrote under `capacity:`.
//! Out: a [`Report`] for people, and the same numbers as `rivet:headroom:*` series.
//! Always: a limit nobody stated is `unknown`, never headroom; a trend is given only where the data supports one.

mod config;
mod hpa;
mod report;
mod series;
mod trend;

use crate::model::{Labels, Sample, TimestampMs, Value};
use crate::promql::{self, Engine, QueryValue};
use crate::rivet::limits;
use crate::storage::Select;

pub use config::{ActorHost, Config, RateScope};
pub use hpa::{TOLERANCE, wanted_replicas};
pub use report::{Autoscaling, Binding, LimitSource, Report, Row};
pub use series::points;
pub use trend::{ForecastError, time_to_full};

/// Window over which a trend is fitted.
const TREND_WINDOW: &str = "1h";

/// Why headroom could not be worked out.
#[derive(Debug, thiserror::Error)]
pub enum CapacityError {
    #[error("failed to evaluate `{query}`")]
    Query { query: String, source: promql::QueryError },
}

/// What the operator told of the engine, as far as capacity needs it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `engine.backend`: `postgres`, `rocksdb` or `foundationdb`; `None` when it is not configured.
    pub backend: Option<String>,
}

/// Works out all headroom at `now`.
///
/// # Errors
/// A query could not be evaluated; missing data is no error but `unknown`.
pub fn evaluate(
    now: TimestampMs,
    store: &dyn Select,
    engine: &Engine,
    config: &Config,
    facts: &Facts,
) -> Result<Report, CapacityError> {
    let reader = Reader { now, store, engine };
    let mut report = Report::new(now);
    for resource in [&CPU, &MEMORY] {
        resource_rows(&reader, resource, &mut report)?;
    }
    pool_rows(&reader, config, &mut report)?;
    guide_row(&reader, facts, &mut report)?;
    report.find_binding();
    Ok(report)
}

/// One of the two resources that the checklist wants autoscaled.
struct Resource {
    name: &'static str,
    unit: &'static str,
    usage: &'static str,
    request: &'static str,
    limit: &'static str,
    /// Severity `warning` of this signal is the autoscaling target.
    threshold: &'static str,
    default_target: f64,
}

const CPU: Resource = Resource {
    name: "cpu",
    unit: "cores",
    usage: "rivet:cpu_usage:cores",
    request: "rivet:cpu_request:cores",
    limit: "rivet:cpu_limit:cores",
    threshold: "cpu_utilization",
    default_target: limits::CPU_UTILIZATION_TARGET,
};

const MEMORY: Resource = Resource {
    name: "memory",
    unit: "bytes",
    usage: "rivet:memory_usage:bytes",
    request: "rivet:memory_request:bytes",
    limit: "rivet:memory_limit:bytes",
    threshold: "memory_utilization",
    default_target: limits::MEMORY_UTILIZATION_TARGET,
};

fn resource_rows(reader: &Reader<'_>, resource: &Resource, report: &mut Report) -> Result<(), CapacityError> {
    let threshold = format!("min(rivet:threshold{{signal=\"{}\",severity=\"warning\"}})", resource.threshold);
    let target = reader.scalar(&threshold)?.unwrap_or(resource.default_target);
    let requests = reader.vector(resource.request)?;
    let limits = reader.vector(resource.limit)?;
    let of = |list: &[(Labels, f64)], labels: &Labels| {
        let same = |other: &Labels| ["job", "instance"].iter().all(|n| other.get(n) == labels.get(n));
        list.iter().find(|(other, _)| same(other)).map(|(_, v)| *v)
    };
    let (mut replicas, mut usage_sum, mut request_sum) = (0u32, 0.0, 0.0);
    for (labels, used) in reader.vector(resource.usage)? {
        let (request, limit) = (of(&requests, &labels), of(&limits, &labels));
        if let Some(request) = request {
            replicas += 1;
            usage_sum += used;
            request_sum += request;
        }
        let history = reader.history(resource.usage, &labels)?;
        let subject = labels.get("instance").unwrap_or("").to_owned();
        let mut row = |what: String, limit: Option<f64>, source: LimitSource| {
            report
                .push(Row::new(what, resource.unit, &labels, &subject, Some(used), limit, source).with_trend(&history));
        };
        let target_level = request.map(|r| r * target);
        row(format!("{} to {:.0} % of request", resource.name, target * 100.0), target_level, LimitSource::of(request));
        row(format!("{} to limit", resource.name), limit, LimitSource::of(limit));
    }
    if replicas > 0 && request_sum > 0.0 {
        let utilization = usage_sum / request_sum;
        report.autoscaling.push(Autoscaling {
            resource: resource.name,
            target,
            utilization,
            replicas,
            wanted_replicas: wanted_replicas(replicas, utilization, target),
        });
    }
    Ok(())
}

fn pool_rows(reader: &Reader<'_>, config: &Config, report: &mut Report) -> Result<(), CapacityError> {
    let demand = reader.scalar("sum(rivet:actor_demand:rate)")?;
    let demand_peak = reader.scalar("max_over_time(sum(rivet:actor_demand:rate)[1h:1m])")?;
    let loads = reader.vector("sum by (pool_name) (rivet:actor_start_request:rate)")?;
    let maxima = reader.vector("max by (pool_name) (rivet_pool_max_concurrent_actors)")?;
    let running = reader
        .vector("sum by (pool_name) (rivet:actors_running:count) or sum by (pool_name) (rivet_pool_running_actors)")?;
    let mut pools: Vec<String> = config.actor_hosts.iter().map(|h| h.pool.clone()).collect();
    for (labels, _) in loads.iter().chain(&maxima).chain(&running) {
        let name = labels.get("pool_name").unwrap_or("").to_owned();
        if !name.is_empty() && !pools.contains(&name) {
            pools.push(name);
        }
    }
    let of = |list: &[(Labels, f64)], pool: &str| {
        list.iter().find(|(l, _)| l.get("pool_name").unwrap_or("") == pool).map(|(_, v)| *v)
    };
    let load_sum: f64 = loads.iter().filter(|(l, _)| l.get("pool_name").is_some()).map(|(_, v)| v).sum();
    for pool in &pools {
        let labels = Labels::from_pairs([("pool_name", pool.as_str())]);
        let host = config.actor_hosts.iter().find(|h| h.pool == *pool);
        let rate_limit = host.and_then(ActorHost::allowed_rate);
        let load = of(&loads, pool);
        // Creates and wakes carry no pool, so that several pools share them as they share the start requests.
        let share = match (pools.len(), load) {
            (1, _) => Some(1.0),
            (_, Some(load)) if load_sum > 0.0 => Some(load / load_sum),
            _ => None,
        };
        let part = |total: Option<f64>| total.zip(share).map(|(t, s)| t * s);
        let source = if rate_limit.is_some() { LimitSource::Configured } else { LimitSource::Unknown };
        let mut row = |what: &str, used: Option<f64>, note: &str| {
            report
                .push(Row::new(what.to_owned(), "per second", &labels, pool, used, rate_limit, source).with_note(note));
        };
        let approximate = if pools.len() > 1 { "apportioned by start requests" } else { "" };
        row("actor demand (creates + wakes)", part(demand), approximate);
        row("actor demand, peak of 1h", part(demand_peak), approximate);
        row("actor start requests (load, with retries)", load, "");

        let max_concurrent = of(&maxima, pool);
        let platform = host.and_then(|h| h.concurrency).map(|n| n as f64);
        // Engines count running actors over all pools; with one pool that is its own.
        let used = of(&running, pool).or(if pools.len() == 1 { of(&running, "") } else { None });
        let source = if max_concurrent.is_some() { LimitSource::Measured } else { LimitSource::Unknown };
        report.push(Row::new("running actors".into(), "actors", &labels, pool, used, max_concurrent, source));
        if let Some(platform) = platform {
            let what = "running actors on the platform".into();
            report.push(Row::new(what, "actors", &labels, pool, used, Some(platform), LimitSource::Configured));
        }
    }
    Ok(())
}

/// Upstream calls Postgres fit for about a thousand concurrent actors.
fn guide_row(reader: &Reader<'_>, facts: &Facts, report: &mut Report) -> Result<(), CapacityError> {
    let used = reader.scalar("sum(rivet:actors_running:count)")?;
    let (limit, source, note) = match facts.backend.as_deref() {
        Some("postgres") => {
            (Some(f64::from(limits::POSTGRES_ACTORS_GUIDE)), LimitSource::Guide, "FoundationDB is advised beyond it")
        }
        Some(_) => return Ok(()),
        None => (None, LimitSource::Unknown, "`engine.backend` is not configured"),
    };
    let row =
        Row::new("running actors for the backend".into(), "actors", &Labels::empty(), "engine", used, limit, source);
    report.push(row.with_note(note));
    Ok(())
}

/// Reads signals by query at one time.
struct Reader<'a> {
    now: TimestampMs,
    store: &'a dyn Select,
    engine: &'a Engine,
}

impl Reader<'_> {
    fn ask(&self, query: &str) -> Result<QueryValue, CapacityError> {
        let failed = |source| CapacityError::Query { query: query.to_owned(), source };
        let expr = promql::parse(query).expect("the queries of this module parse, as its tests show");
        Ok(self.engine.instant(self.store, &expr, self.now).map_err(failed)?.value)
    }

    fn vector(&self, query: &str) -> Result<Vec<(Labels, f64)>, CapacityError> {
        let QueryValue::Vector(vector) = self.ask(query)? else { return Ok(Vec::new()) };
        let finite = |value: Value| match value {
            Value::Float(v) if v.is_finite() => Some(v),
            _ => None,
        };
        Ok(vector.into_iter().filter_map(|s| finite(s.value).map(|v| (s.labels, v))).collect())
    }

    fn scalar(&self, query: &str) -> Result<Option<f64>, CapacityError> {
        Ok(self.vector(query)?.first().map(|(_, v)| *v))
    }

    /// The samples of one signal on one instance over the trend window.
    fn history(&self, signal: &str, labels: &Labels) -> Result<Vec<Sample>, CapacityError> {
        let label = |name: &str| crate::model::Matcher::equal(name, labels.get(name).unwrap_or(""));
        let query = format!("{signal}{{{},{}}}[{TREND_WINDOW}]", label("job"), label("instance"));
        match self.ask(&query)? {
            QueryValue::Matrix(mut matrix) if matrix.len() == 1 => Ok(matrix.remove(0).floats),
            _ => Ok(Vec::new()),
        }
    }
}

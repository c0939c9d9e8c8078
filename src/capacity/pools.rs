//! Runner pools: each of one installation and one Rivet namespace, which not every source tells.
//!
//! In:  the signals by pool, and what platforms tell of themselves.   Out: one [`Pool`] for each that is told apart.
//! Always: two tenants' pools of one name are two pools. What a source tells without a namespace is that of the only pool
//! of the name, and stands for itself where there are several.

use std::collections::{BTreeMap, HashMap};

use super::CapacityError;
use super::reader::Reader;
use super::world::minute;
use crate::model::Labels;

/// A runner pool and its platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    pub labels: Labels,
    pub name: String,
    /// Start requests a second with the engine's retries: now, and the most of the last minute.
    pub load: Option<f64>,
    pub load_peak: Option<f64>,
    /// Start requests a second that its host refused or failed at the worst of the day.
    pub refused: Option<f64>,
    pub running: Option<f64>,
    pub max_concurrent: Option<f64>,
    /// What the platform itself tells, by scrape or remote write.
    pub rate_limit: Option<f64>,
    pub concurrency: Option<f64>,
}

/// Rivet's namespace in these labels, if one is told.
pub(super) fn tenant(labels: &Labels) -> Option<&str> {
    labels.get("rivet_namespace").filter(|namespace| !namespace.is_empty())
}

/// The labels of a pool without Rivet's namespace, which all tenants' pools of one name share.
pub(super) fn without_tenant(labels: &Labels) -> Labels {
    labels.keep(|name| name != "rivet_namespace")
}

impl Pool {
    /// Rivet's namespace, where any source tells it.
    pub fn tenant(&self) -> Option<&str> {
        tenant(&self.labels)
    }

    /// Takes in what was told of the same pool without its namespace: rates add up, since they come from other engines.
    fn take(&mut self, other: &Self) {
        let sum = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(|a, b| a + b);
        let most = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        self.load = sum(self.load, other.load);
        self.load_peak = sum(self.load_peak, other.load_peak);
        self.refused = most(self.refused, other.refused);
        self.running = sum(self.running, other.running);
        self.max_concurrent = most(self.max_concurrent, other.max_concurrent);
    }
}

/// Start requests over one minute, or over two where a source comes too seldom for that.
const LOAD: &str = "sum by (cluster, namespace, job, rivet_namespace, pool_name) (rivet:actor_start_request:rate1m{pool_name!=\"\"} or on (cluster, namespace, job, rivet_namespace, pool_name) rivet:actor_start_request:rate{pool_name!=\"\"})";
const REFUSED: [&str; 2] = [
    "max_over_time(rivet:host_rate_limited:rate{pool_name!=\"\"}[1d])",
    "max_over_time(rivet:host_error:rate{pool_name!=\"\"}[1d])",
];
const RUNNING: &str = "sum by (cluster, namespace, job, rivet_namespace, pool_name) (rivet:pool_running:count)";
const LIMIT: &str = "sum by (cluster, namespace, job, rivet_namespace, pool_name) (rivet:pool_limit:count)";
const HOST_RATE: &str = "max by (rivet_namespace, pool_name) (rivet:host_rate_limit:rate)";
const HOST_CONCURRENCY: &str = "max by (rivet_namespace, pool_name) (rivet:host_concurrency_limit:count)";

/// The pools of all installations, in order of their labels.
///
/// # Errors
/// A query could not be evaluated.
pub(super) fn read(reader: &Reader<'_>) -> Result<Vec<Pool>, CapacityError> {
    let mut found: BTreeMap<Labels, Pool> = BTreeMap::new();
    let mut fill = |query: &str, set: fn(&mut Pool, f64)| -> Result<(), CapacityError> {
        for (labels, value) in reader.vector(query)? {
            let name = labels.get("pool_name").unwrap_or("").to_owned();
            if !name.is_empty() {
                let is_place = |n: &str| matches!(n, "cluster" | "namespace" | "job" | "rivet_namespace" | "pool_name");
                let labels = labels.keep(is_place);
                set(found.entry(labels.clone()).or_insert(Pool { labels, name, ..Pool::default() }), value);
            }
        }
        Ok(())
    };
    fill(LOAD, |p, v| p.load = Some(v))?;
    fill(&minute(LOAD), |p, v| p.load_peak = Some(v))?;
    for refused in REFUSED {
        fill(refused, |p, v| p.refused = Some(p.refused.map_or(v, |other| other.max(v))))?;
    }
    fill(RUNNING, |p, v| p.running = Some(v))?;
    fill(LIMIT, |p, v| p.max_concurrent = Some(v))?;
    let mut pools = joined(found.into_values().collect());
    // What a platform tells of itself carries its own job, so that it goes to every pool of that name.
    let (rates, concurrency) = (reader.vector(HOST_RATE)?, reader.vector(HOST_CONCURRENCY)?);
    for pool in &mut pools {
        pool.rate_limit = platform(&rates, pool);
        pool.concurrency = platform(&concurrency, pool);
    }
    Ok(pools)
}

/// Pools of which some sources did not tell the namespace, put together where only one can be meant.
fn joined(pools: Vec<Pool>) -> Vec<Pool> {
    let (mut told, untold): (Vec<Pool>, Vec<Pool>) = pools.into_iter().partition(|pool| pool.tenant().is_some());
    let mut of_name: HashMap<Labels, Vec<usize>> = HashMap::new();
    for (at, pool) in told.iter().enumerate() {
        of_name.entry(without_tenant(&pool.labels)).or_default().push(at);
    }
    for pool in untold {
        match of_name.get(&pool.labels).map(Vec::as_slice) {
            Some([only]) => told[*only].take(&pool),
            _ => told.push(pool),
        }
    }
    told.sort_by(|a, b| a.labels.cmp(&b.labels));
    told
}

/// What platforms tell of this pool: of its namespace, else of every pool of the name. Of a pool whose namespace nobody
/// tells it is the least of what is told of any.
fn platform(told: &[(Labels, f64)], pool: &Pool) -> Option<f64> {
    let of_name = || told.iter().filter(|(labels, _)| labels.get("pool_name") == Some(&pool.name));
    let of = |namespace: Option<&str>| of_name().find(|(labels, _)| tenant(labels) == namespace).map(|(_, v)| *v);
    match pool.tenant() {
        Some(namespace) => of(Some(namespace)).or_else(|| of(None)),
        None => of(None).or_else(|| of_name().map(|(_, v)| *v).reduce(f64::min)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(tenant: &str, load: f64) -> Pool {
        let labels = Labels::from_pairs([("job", "rivet"), ("pool_name", "p"), ("rivet_namespace", tenant)]);
        Pool { labels, name: "p".into(), load: Some(load), ..Pool::default() }
    }

    #[test]
    fn what_is_told_without_a_namespace_is_the_only_pools_own() {
        let of = |pools: Vec<Pool>| -> Vec<(String, Option<f64>)> {
            joined(pools).into_iter().map(|p| (p.tenant().unwrap_or("").to_owned(), p.load)).collect()
        };
        assert_eq!(of(vec![pool("", 1.0), pool("a", 2.0)]), [("a".to_owned(), Some(3.0))]);
        let several = of(vec![pool("", 1.0), pool("a", 2.0), pool("b", 4.0)]);
        assert_eq!(several.len(), 3, "of two nobody knows which: {several:?}");
        assert_eq!(of(vec![pool("", 1.0)]), [(String::new(), Some(1.0))]);
    }

    #[test]
    fn a_platform_tells_of_its_own_tenant_first() {
        let told = |tenant: &str, v: f64| (Labels::from_pairs([("pool_name", "p"), ("rivet_namespace", tenant)]), v);
        let all = [told("", 9.0), told("a", 5.0), told("b", 3.0)];
        let of = |told: &[(Labels, f64)], tenant: &str| platform(told, &pool(tenant, 1.0));
        assert_eq!((of(&all, "a"), of(&all, "c"), of(&all, "")), (Some(5.0), Some(9.0), Some(9.0)));
        assert_eq!((of(&all[1..], "c"), of(&all[1..], "")), (None, Some(3.0)));
    }
}

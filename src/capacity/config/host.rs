//! Limits of the platforms that run actors, which no telemetry of the engine tells.

use serde::Deserialize;

use crate::model::Problem;

/// The limits of the platform behind one pool.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActorHost {
    /// Name of the runner pool.
    pub pool: String,
    /// Rivet's namespace, as the label `rivet_namespace` of the pool's series has it: its id where the engine's own metrics
    /// tell of the pool, else its name. Without it the entry stands for each pool of that name that has no entry of its own.
    #[serde(default)]
    pub rivet_namespace: Option<String>,
    /// Requests the platform takes: `100/s`, `6000/m`, or a bare number a second.
    #[serde(default)]
    pub rate_limit: Option<Rate>,
    /// What the rate limit counts by: `ip` (default; start requests come from few engine addresses), `instance` or `pool`.
    #[serde(default)]
    pub per: RateScope,
    /// Addresses the engine's start requests come from; 1 when not given.
    #[serde(default)]
    pub egress_ips: Option<u32>,
    /// Instances the platform starts at most.
    #[serde(default)]
    pub max_instances: Option<u32>,
    /// Actors the platform runs at once.
    #[serde(default)]
    pub concurrency: Option<u64>,
}

/// What a platform's rate limit counts by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateScope {
    #[default]
    Ip,
    Instance,
    Pool,
}

impl RateScope {
    /// The scope as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Instance => "instance",
            Self::Pool => "pool",
        }
    }
}

impl ActorHost {
    /// Start requests a second that the platform takes in all; `None` when the limit or a factor is unknown.
    pub fn allowed_rate(&self) -> Option<f64> {
        Some(self.rate_limit?.per_second * f64::from(self.counted()?))
    }

    /// How many times the limit is given: addresses, instances, or once. `None` where that is unknown.
    pub fn counted(&self) -> Option<u32> {
        match self.per {
            RateScope::Ip => Some(self.egress_ips.unwrap_or(1)),
            RateScope::Instance => self.max_instances,
            RateScope::Pool => Some(1),
        }
    }
}

/// A rate in a configuration file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub per_second: f64,
}

impl Rate {
    fn parse(text: &str) -> Option<Self> {
        let (number, seconds) = match text.trim().split_once('/') {
            None => (text.trim(), 1.0),
            Some((number, "s")) => (number, 1.0),
            Some((number, "m")) => (number, 60.0),
            Some((number, "h")) => (number, 3600.0),
            Some(_) => return None,
        };
        let number: f64 = number.trim().parse().ok()?;
        (number.is_finite() && number > 0.0).then_some(Self { per_second: number / seconds })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(f64),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Number(n) => n.to_string(),
            Raw::Text(text) => text,
        };
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is not a positive rate such as `100/s` or `6000/m`"))
        })
    }
}

/// Reports pools that are named twice and limits that cannot be worked out.
pub(super) fn validate(hosts: &[ActorHost], at: &str, problems: &mut Vec<Problem>) {
    for (i, host) in hosts.iter().enumerate() {
        let key = |name: &str| format!("{at}[{i}].{name}");
        if host.pool.is_empty() {
            problems.push(Problem::new(key("pool"), "must name a pool, got an empty text"));
        }
        if host.rivet_namespace.as_deref() == Some("") {
            problems.push(Problem::new(key("rivet_namespace"), "must name a namespace, got an empty text"));
        }
        let is_same = |other: &ActorHost| (&other.pool, &other.rivet_namespace) == (&host.pool, &host.rivet_namespace);
        if hosts[..i].iter().any(is_same) {
            let of = host.rivet_namespace.as_deref().map_or(String::new(), |name| format!(" of namespace `{name}`"));
            let rule = format!("must be unique for each `rivet_namespace`, got `{}`{of} a second time", host.pool);
            problems.push(Problem::new(key("pool"), rule));
        }
        if host.per == RateScope::Instance && host.rate_limit.is_some() && host.max_instances.is_none() {
            problems.push(Problem::new(key("max_instances"), "must be given where `per` is `instance`"));
        }
        let zero = [
            ("egress_ips", host.egress_ips == Some(0)),
            ("max_instances", host.max_instances == Some(0)),
            ("concurrency", host.concurrency == Some(0)),
        ];
        for (name, _) in zero.iter().filter(|(_, is_zero)| *is_zero) {
            problems.push(Problem::new(key(name), "must be at least 1, got 0"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(yaml: &str) -> ActorHost {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn the_allowed_rate_multiplies_by_what_the_limit_counts() {
        assert_eq!(host("{pool: a, rate_limit: 600/m, egress_ips: 3}").allowed_rate(), Some(30.0));
        assert_eq!(host("{pool: a, rate_limit: 5, per: instance, max_instances: 4}").allowed_rate(), Some(20.0));
        assert_eq!(host("{pool: a, per: pool}").allowed_rate(), None);
    }

    #[test]
    fn an_entry_stands_once_for_each_namespace() {
        let hosts = |text: &str| serde_saphyr::from_str::<Vec<ActorHost>>(text).unwrap();
        let problems = |text: &str| {
            let mut problems = Vec::new();
            validate(&hosts(text), "capacity.actor_hosts", &mut problems);
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(problems("[{pool: a}, {pool: a, rivet_namespace: n1}, {pool: a, rivet_namespace: n2}]"), [""; 0]);
        let twice = problems("[{pool: a, rivet_namespace: n1}, {pool: a, rivet_namespace: n1}]");
        assert!(twice.len() == 1 && twice[0].contains("`a` of namespace `n1`"), "{twice:?}");
        assert_eq!(problems("[{pool: a}, {pool: a}]").len(), 1);
        assert_eq!(problems("[{pool: a, rivet_namespace: ''}]").len(), 1);
    }

    #[test]
    fn bad_rates_are_named() {
        let error = serde_saphyr::from_str::<ActorHost>("{pool: a, rate_limit: 5/fortnight}").unwrap_err().to_string();
        assert!(error.contains("5/fortnight"), "{error}");
    }
}

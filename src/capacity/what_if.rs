//! What would be, if: other traffic, other replicas, other targets.
//!
//! In:  a text such as `replicas=4,traffic=2x,target.cpu=60%`, and a world.   Out: the world with that assumed.
//! Always: each assumption is said in words, with what it leaves out.

use super::{Facts, SeenAutoscaler};

use super::config::Config;
use super::hpa::{HpaSpec, Resource};
use super::kind::Kind;
use super::report::Row;
use super::scaling::set_target;
use super::world::{Engine, Installation, Use, World};

/// What is assumed in place of what is seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WhatIf {
    replicas: Option<u32>,
    traffic: Option<f64>,
    min_replicas: Option<u32>,
    max_replicas: Option<u32>,
    cpu_target: Option<f64>,
    memory_target: Option<f64>,
}

/// Keys that [`WhatIf::parse`] takes.
const KEYS: &str = "`replicas=4`, `traffic=2x`, `target.cpu=60%`, `target.memory=75%`, `min=2`, `max=12`";

impl WhatIf {
    /// Reads `key=value` pairs separated by commas.
    ///
    /// # Errors
    /// In words: an unknown key, a key twice, a value that cannot be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut out = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(format!("`{part}` is not `key=value`; known are {KEYS}"))?;
            let (key, value) = (key.trim(), value.trim());
            let whole = || match value.parse::<u32>() {
                Ok(n @ 1..=1_000) => Ok(n),
                _ => Err(format!("`{key}` must be a whole number from 1 to 1000, got `{value}`")),
            };
            let share = || {
                // Without `%` more than all of the request is rather percent than five times it: that has to be said.
                let (number, most) = match value.strip_suffix('%') {
                    Some(percent) => (percent.trim().parse::<f64>().map(|p| p / 100.0), 10.0),
                    None => (value.parse(), 1.0),
                };
                match number {
                    Ok(v) if (0.01..=most).contains(&v) => Ok(v),
                    _ => Err(format!(
                        "`{key}` must be percent from `1%` to `1000%` or a share from 0.01 to 1, got `{value}`"
                    )),
                }
            };
            match key {
                "replicas" => once(&mut out.replicas, whole()?, key)?,
                "min" | "minReplicas" => once(&mut out.min_replicas, whole()?, key)?,
                "max" | "maxReplicas" => once(&mut out.max_replicas, whole()?, key)?,
                "target.cpu" => once(&mut out.cpu_target, share()?, key)?,
                "target.memory" => once(&mut out.memory_target, share()?, key)?,
                "traffic" => match value.strip_suffix(['x', '×']).unwrap_or(value).parse::<f64>() {
                    Ok(v) if v.is_finite() && v > 0.0 && v <= 1_000.0 => once(&mut out.traffic, v, key)?,
                    _ => return Err(format!("`traffic` must be a factor such as `2x` or `0.5`, got `{value}`")),
                },
                other => return Err(format!("`{other}` is unknown; known are {KEYS}")),
            }
        }
        if out == Self::default() {
            return Err(format!("nothing is assumed; known are {KEYS}"));
        }
        if let (Some(min), Some(max)) = (out.min_replicas, out.max_replicas)
            && min > max
        {
            return Err(format!("`min` must be at most `max`, got {min} and {max}"));
        }
        Ok(out)
    }

    /// What loads are multiplied by.
    pub(super) fn traffic(&self) -> f64 {
        self.traffic.unwrap_or(1.0)
    }

    /// The assumptions in words.
    pub(super) fn words(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(factor) = self.traffic {
            out.push(format!("{factor} times the traffic; memory grows with it, which is an upper bound"));
        }
        if let Some(replicas) = self.replicas {
            out.push(format!("{replicas} engines that share all load evenly"));
        }
        let mut say = |what: &str, value: Option<String>| {
            if let Some(value) = value {
                out.push(format!("{what} {value}"));
            }
        };
        say("minReplicas", self.min_replicas.map(|n| n.to_string()));
        say("maxReplicas", self.max_replicas.map(|n| n.to_string()));
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        say("CPU target", self.cpu_target.map(percent));
        say("memory target", self.memory_target.map(percent));
        out
    }

    /// `world` with the assumptions in it.
    pub(super) fn applied(&self, world: &World) -> World {
        let mut world = world.clone();
        let factor = self.traffic();
        for pool in &mut world.pools {
            for value in [&mut pool.load, &mut pool.load_peak, &mut pool.running] {
                *value = value.map(|v| v * factor);
            }
        }
        for installation in &mut world.installations {
            self.installation(installation, factor);
        }
        if let Some(target) = self.cpu_target {
            world.cpu_threshold = Some(target);
        }
        if let Some(target) = self.memory_target {
            world.memory_threshold = Some(target);
        }
        world
    }

    fn installation(&self, installation: &mut Installation, factor: f64) {
        for value in [&mut installation.demand, &mut installation.demand_peak, &mut installation.running_actors] {
            *value = value.map(|v| v * factor);
        }
        for engine in &mut installation.engines {
            for value in [&mut engine.cpu.used, &mut engine.memory.used, &mut engine.requests, &mut engine.in_flight] {
                *value = value.map(|v| v * factor);
            }
        }
        if let Some(replicas) = self.replicas.filter(|_| !installation.engines.is_empty()) {
            // Its name must not hang on how many engines there are.
            installation.called = Some(installation.name());
            installation.engines = spread(&installation.engines, replicas);
            installation.hpa.current = installation.hpa.current.map(|_| f64::from(replicas));
        }
        // What Kubernetes tells is replaced; what it does not tell comes from the configuration, as before.
        let hpa = &mut installation.hpa;
        hpa.min = hpa.min.map(|known| self.min_replicas.map_or(known, f64::from));
        hpa.max = hpa.max.map(|known| self.max_replicas.map_or(known, f64::from));
        hpa.cpu_target = hpa.cpu_target.map(|known| self.cpu_target.unwrap_or(known));
        hpa.memory_target = hpa.memory_target.map(|known| self.memory_target.unwrap_or(known));
    }

    /// The configuration with the assumptions in its autoscaler.
    pub(super) fn config(&self, config: &Config) -> Config {
        let mut config = config.clone();
        let are_bounds_assumed = self.min_replicas.is_some() || self.max_replicas.is_some();
        let spec = config.autoscaler.spec.or(are_bounds_assumed.then(HpaSpec::unbounded));
        config.autoscaler.spec = spec.map(|spec| self.spec(spec));
        config
    }

    /// The same for an object that was read from Kubernetes.
    pub(super) fn facts(&self, facts: &Facts) -> Facts {
        let mut facts = facts.clone();
        facts.autoscaler = facts.autoscaler.map(|seen| SeenAutoscaler { spec: self.spec(seen.spec), ..seen });
        facts
    }

    fn spec(&self, mut spec: HpaSpec) -> HpaSpec {
        let whole = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        spec.min_replicas = self.min_replicas.map_or(spec.min_replicas, whole);
        spec.max_replicas = self.max_replicas.map_or(spec.max_replicas, whole);
        for (resource, target) in [(Resource::Cpu, self.cpu_target), (Resource::Memory, self.memory_target)] {
            if let Some(target) = target {
                set_target(&mut spec, resource, target);
            }
        }
        spec
    }

    /// What a row's recorded history is to be multiplied by, between the world as it was and as it is assumed.
    pub(super) fn history_factor(&self, row: &Row, was: &World, is: &World) -> f64 {
        let engines = |world: &World| world.installation_of(&row.labels).map_or(1, |i| i.engines.len().max(1)) as f64;
        match row.kind {
            kind if kind.is_disk() => 1.0,
            Kind::CpuShedding | Kind::CpuLimit | Kind::MemoryLimit | Kind::GuardRequests | Kind::GuardInFlight => {
                self.traffic() * engines(was) / engines(is)
            }
            _ => self.traffic(),
        }
    }
}

/// Sets what is not set yet.
fn once<T>(slot: &mut Option<T>, value: T, key: &str) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{key}` is given twice")),
    }
}

/// As many engines as `replicas` with the same work between them, each with the mean of the requests and limits.
fn spread(engines: &[Engine], replicas: u32) -> Vec<Engine> {
    let sum = |of: fn(&Engine) -> Option<f64>| {
        let known: Vec<f64> = engines.iter().filter_map(of).collect();
        (!known.is_empty()).then(|| (known.iter().sum::<f64>(), known.len() as f64))
    };
    let shared = |of: fn(&Engine) -> Option<f64>| sum(of).map(|(all, _)| all / f64::from(replicas));
    let mean = |of: fn(&Engine) -> Option<f64>| sum(of).map(|(all, n)| all / n);
    let labels = &engines[0].labels;
    let engine = |n: u32| {
        let mut labels = labels.builder();
        labels.set("instance", format!("engine {}", n + 1)).remove("pod");
        Engine {
            labels: labels.build(),
            cpu: Use { used: shared(|e| e.cpu.used), request: mean(|e| e.cpu.request), limit: mean(|e| e.cpu.limit) },
            memory: Use {
                used: shared(|e| e.memory.used),
                request: mean(|e| e.memory.request),
                limit: mean(|e| e.memory.limit),
            },
            requests: shared(|e| e.requests),
            in_flight: shared(|e| e.in_flight),
            clients: mean(|e| e.clients),
            refused: None,
            disk_used: mean(|e| e.disk_used),
            disk_limit: mean(|e| e.disk_limit),
        }
    };
    (0..replicas).map(engine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assumptions_are_read_and_mistakes_are_named() {
        let read = WhatIf::parse("replicas=4, traffic=2x,target.cpu=60%").unwrap();
        assert_eq!((read.replicas, read.traffic, read.cpu_target), (Some(4), Some(2.0), Some(0.6)));
        assert_eq!(WhatIf::parse("traffic=0.5,max=12").unwrap().max_replicas, Some(12));
        for (text, says) in [
            ("", "nothing is assumed"),
            ("replicas", "key=value"),
            ("replicas=0", "whole number"),
            ("replicas=2,replicas=3", "twice"),
            ("traffic=lots", "factor"),
            ("traffic=-1x", "factor"),
            ("target.cpu=0", "share"),
            ("target.cpu=5", "`1%` to `1000%`"),
            ("target.memory=70", "`1%` to `1000%`"),
            ("target.memory=1001%", "share"),
            ("traffic=2xx", "factor"),
            ("cpu=3", "unknown"),
            ("min=5,max=2", "at most"),
        ] {
            let error = WhatIf::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn replicas_share_what_all_had() {
        let engine =
            |used: f64| Engine { cpu: Use { used: Some(used), request: Some(2.0), limit: None }, ..Engine::default() };
        let world = World {
            installations: vec![Installation { engines: vec![engine(1.0), engine(2.0)], ..Installation::default() }],
            ..World::default()
        };
        let assumed = WhatIf::parse("replicas=4,traffic=2x").unwrap().applied(&world);
        let engines = &assumed.installations[0].engines;
        assert_eq!(engines.len(), 4);
        let alone = WhatIf::parse("replicas=1,target.cpu=150%").unwrap().applied(&world);
        assert_eq!(alone.installations[0].name(), world.installations[0].name(), "it is still the same");
        assert!(engines.iter().all(|e| e.cpu.used == Some(1.5) && e.cpu.request == Some(2.0)), "{engines:?}");
    }
}

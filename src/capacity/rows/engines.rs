//! CPU and memory: to the autoscaler's target, to its maximum, to load shedding, to the limit.

use super::{Known, fullest};
use crate::capacity::hpa::Resource;
use crate::capacity::kind::Kind;
use crate::capacity::report::{LimitSource, Row, measured};
use crate::capacity::scaling::{Effective, Total};
use crate::capacity::world::{Engine, Installation, Use};
use crate::rivet::limits;

/// What differs between the two resources.
struct Side {
    resource: Resource,
    unit: &'static str,
    of: fn(&Engine) -> Use,
    target: Kind,
    maximum: Kind,
    limit: Kind,
    /// What happens at the limit.
    at_limit: &'static str,
}

const SIDES: [Side; 2] = [
    Side {
        resource: Resource::Cpu,
        unit: "cores",
        of: |engine| engine.cpu,
        target: Kind::CpuTarget,
        maximum: Kind::CpuMaximum,
        limit: Kind::CpuLimit,
        at_limit: "throttled there",
    },
    Side {
        resource: Resource::Memory,
        unit: "bytes",
        of: |engine| engine.memory,
        target: Kind::MemoryTarget,
        maximum: Kind::MemoryMaximum,
        limit: Kind::MemoryLimit,
        at_limit: "killed there (OOM)",
    },
];

pub(super) fn rows(known: Known<'_>, out: &mut Vec<Row>) {
    for side in &SIDES {
        for (installation, effective) in known.world.installations.iter().zip(known.effective) {
            together(known, side, installation, effective, out);
            each(side, installation, out);
        }
    }
}

/// All engines together, as the autoscaler counts them.
fn together(known: Known<'_>, side: &Side, installation: &Installation, effective: &Effective, out: &mut Vec<Row>) {
    let total = Total::of(installation, side.of);
    if total.used.is_none() {
        return;
    }
    let (name, subject) = (side.resource.as_str(), installation.name());
    let share = effective.share(side.resource, known.world);
    let each = total.request_each();
    let level = effective.level(side.resource, each, known.world);
    let used = if each.is_some() { Some(total.used_of_requested) } else { total.used };
    let limit = level.map(|level| level * f64::from(total.engines));
    let note = match (total.engines, total.using) {
        (0, _) => format!("no request is known: set `receive.host.{name}_request`, or let kube-state-metrics arrive"),
        (with, all) if with < all => format!("{with} of {all} engines have a request"),
        _ => String::new(),
    };
    // An autoscaler keeps engines near its target; what binds then is its maximum.
    let grows = effective.most_replicas().is_some_and(|(most, _)| most > total.using);
    let what = format!("{name} to {:.0} % of request", share * 100.0);
    out.push(
        Row::new(side.target, what, side.unit, &installation.labels, &subject, used, measured(limit))
            .with_note(note)
            .binding_if(!grows),
    );
    let Some((most, why)) = effective.most_replicas().filter(|_| !effective.is_alone) else { return };
    let limit = level.map(|level| level * f64::from(most));
    let note = match why {
        "maxReplicas" => String::new(),
        _ => format!("{why} end before `maxReplicas` {}", effective.max().unwrap_or(most)),
    };
    let what = format!("{name} to {:.0} % at {most} replicas", share * 100.0);
    out.push(
        Row::new(side.maximum, what, side.unit, &installation.labels, &subject, total.used, measured(limit))
            .with_note(note),
    );
}

/// Engines one by one, against what is theirs alone.
fn each(side: &Side, installation: &Installation, out: &mut Vec<Row>) {
    let name = side.resource.as_str();
    let seen: Vec<(&Engine, Use)> =
        installation.engines.iter().map(|e| (e, (side.of)(e))).filter(|(_, u)| u.used.is_some()).collect();
    let row = |kind: Kind, what: &str, (engine, u): &(&Engine, Use), share: f64| {
        let limit = measured(u.limit.map(|limit| limit * share));
        Row::new(kind, what, side.unit, &engine.labels, engine.name(), u.used, limit)
    };
    if side.resource == Resource::Cpu {
        let what = format!("{name} to load shedding ({:.0} % of limit)", limits::LOAD_SHEDDING_START * 100.0);
        let shedding = seen
            .iter()
            .filter(|(_, u)| u.limit.is_some())
            .map(|s| row(Kind::CpuShedding, &what, s, limits::LOAD_SHEDDING_START));
        out.extend(fullest(shedding.collect()));
    }
    let what = format!("{name} to limit");
    let to_limit = |s: &(&Engine, Use)| {
        let row = row(side.limit, &what, s, 1.0);
        let note = match row.limit_source {
            LimitSource::Unknown => format!("no limit is known: set `receive.host.{name}_limit` if there is one"),
            _ => side.at_limit.to_owned(),
        };
        // Work is shed long before the limit of CPU, so that it never comes first.
        row.with_note(note).binding_if(side.resource == Resource::Memory)
    };
    out.extend(fullest(seen.iter().map(to_limit).collect()));
}

//! The guard's own limits: 10,000 requests a minute and 2,000 in flight for each client address and engine process.
//!
//! No metric tells which address sends how much. A single address (a proxy that sets no `x-forwarded-for`) is counted
//! exactly, of several the mean is shown, and a refusal says that one of them is at the limit.

use super::Known;
use crate::capacity::kind::Kind;
use crate::capacity::report::{Limit, LimitSource, Row};
use crate::capacity::world::{Engine, Installation};
use crate::rivet::limits;

pub(super) fn rows(known: Known<'_>, out: &mut Vec<Row>) {
    for installation in &known.world.installations {
        let seconds = f64::from(limits::GUARD_RATE_LIMIT_WINDOW_SECS);
        let requests = |engine: &Engine| engine.requests.map(|rate| rate * seconds);
        let limit = f64::from(limits::GUARD_REQUESTS_PER_WINDOW);
        let what = "guard requests of one client address";
        out.extend(row(known, installation, Kind::GuardRequests, what, "a minute", requests, limit));
        let limit = f64::from(limits::GUARD_IN_FLIGHT_MAX);
        let what = "guard requests in flight of one client address";
        out.extend(row(known, installation, Kind::GuardInFlight, what, "in flight", |e| e.in_flight, limit));
    }
}

fn row(
    known: Known<'_>,
    installation: &Installation,
    kind: Kind,
    what: &str,
    unit: &'static str,
    of: impl Fn(&Engine) -> Option<f64>,
    limit: f64,
) -> Option<Row> {
    let configured = known.config.client_addresses.map(f64::from);
    let addresses = |engine: &Engine| configured.or(engine.clients).filter(|n| *n >= 1.0);
    // The busiest process: each counts for itself.
    let busiest = installation
        .engines
        .iter()
        .filter_map(|engine| of(engine).map(|all| (engine, all)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let (engine, all) = busiest;
    let is_refusing = installation.engines.iter().any(|e| e.refused.is_some_and(|rate| rate > 0.0));
    let source: Limit = (Some(limit), LimitSource::Fixed);
    let make = |used: Option<f64>, note: String, binds: bool| {
        Row::new(kind, what, unit, &installation.labels, &installation.name(), used, source)
            .with_note(note)
            .binding_if(binds)
    };
    Some(match addresses(engine) {
        _ if is_refusing && kind == Kind::GuardRequests => {
            let rate: f64 = installation.engines.iter().filter_map(|e| e.refused).sum();
            make(Some(limit), format!("an address is at its limit: {rate:.1} requests a second are refused"), true)
        }
        Some(1.0) => make(Some(all), "all requests come from one address".into(), true),
        Some(n) => {
            let who = if configured.is_some() { "configured" } else { "seen within the hour" };
            make(Some(all / n), format!("mean of {n:.0} addresses {who}; the busiest may be nearer"), false)
        }
        None => make(None, format!("{all:.0} {unit} in all; set `capacity.client_addresses`"), false),
    })
}

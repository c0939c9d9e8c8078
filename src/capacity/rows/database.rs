//! Connections of PostgreSQL: every engine may open 64, and as many again where pubsub goes over it too.

use super::Known;
use crate::capacity::kind::Kind;
use crate::capacity::report::{LimitSource, Row};

pub(super) fn rows(known: Known<'_>, out: &mut Vec<Row>) {
    if known.facts.backend.as_deref() != Some("postgres") {
        return;
    }
    for (installation, effective) in known.world.installations.iter().zip(known.effective) {
        if installation.engines.is_empty() {
            continue;
        }
        let database = &effective.database;
        let engines = installation.engines.len() as f64;
        let each = database.per_engine;
        let mut notes = vec![format!("{each:.0} for each engine")];
        if database.is_pubsub_assumed {
            notes.push("Postgres pubsub assumed: set `capacity.postgres.pubsub`".to_owned());
        }
        if let Some(open) = installation.postgres.open_connections {
            notes.push(format!("{open:.0} open now"));
        }
        if database.connections.1 == LimitSource::Unknown {
            notes.push("set `capacity.postgres.max_connections`".to_owned());
        }
        let row = |kind: Kind, what: String, used: f64| {
            let subject = installation.name();
            Row::new(kind, what, "connections", &installation.labels, &subject, Some(used), database.connections)
        };
        let what = "postgres connections that the engines may open".to_owned();
        out.push(row(Kind::PostgresConnections, what, engines * each).with_note(notes.join("; ")));
        if let Some(max) = effective.max() {
            let what = format!("postgres connections at {max} replicas (maxReplicas)");
            let used = f64::from(max) * each;
            let note = match database.engines() {
                Some(enough) if enough < max => format!("enough for {enough} engines: breaks at {}", enough + 1),
                _ => String::new(),
            };
            // Nothing uses them yet; that the maximum is out of reach shows in the rows of CPU and memory.
            out.push(row(Kind::PostgresConnectionsMaximum, what, used).with_note(note).binding_if(false));
        }
    }
}

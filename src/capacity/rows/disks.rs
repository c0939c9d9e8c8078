//! Disks: of the engine's own data, of PostgreSQL, of this agent.

use super::{Known, fullest};
use crate::capacity::kind::Kind;
use crate::capacity::report::{LimitSource, Row, measured, measured_or_configured};

pub(super) fn rows(known: Known<'_>, out: &mut Vec<Row>) {
    let backend = known.facts.backend.as_deref();
    for installation in &known.world.installations {
        let own = installation.engines.iter().filter(|e| e.disk_used.is_some());
        let row = |engine: &crate::capacity::world::Engine| {
            let limit = measured(engine.disk_limit);
            Row::new(
                Kind::DataDisk,
                "disk of the engine's data",
                "bytes",
                &engine.labels,
                engine.name(),
                engine.disk_used,
                limit,
            )
        };
        let rows: Vec<Row> = own.map(row).collect();
        if rows.is_empty() && backend == Some("rocksdb") {
            let (labels, subject) = (&installation.labels, installation.name());
            let unknown = (None, LimitSource::Unknown);
            let row = Row::new(Kind::DataDisk, "disk of the engine's data", "bytes", labels, &subject, None, unknown);
            out.push(row.with_note("set `receive.host.data_directory`"));
        }
        out.extend(fullest(rows));
        if backend == Some("postgres") && !installation.engines.is_empty() {
            let configured = known.config.postgres.volume_size.map(|size| size.0 as f64);
            let limit = measured_or_configured(installation.postgres.disk_limit, configured);
            let used = installation.postgres.disk_used;
            let (labels, subject) = (&installation.labels, installation.name());
            let note = match (used, limit.0) {
                (None, _) => "no kubelet or postgres_exporter tells of it",
                (_, None) => "set `capacity.postgres.volume_size`",
                _ => "",
            };
            let row = Row::new(Kind::PostgresDisk, "disk of postgres", "bytes", labels, &subject, used, limit);
            out.push(row.with_note(note));
        }
    }
    let agents = known.world.agent_disks.iter().map(|(labels, used, size)| {
        let mut labels = labels.builder();
        let name = labels.get("instance").unwrap_or("rivetwatch").to_owned();
        let labels = labels.set("job", "rivetwatch").build();
        Row::new(Kind::AgentDisk, "disk of this agent", "bytes", &labels, &name, Some(*used), measured(Some(*size)))
    });
    out.extend(fullest(agents.collect()));
}

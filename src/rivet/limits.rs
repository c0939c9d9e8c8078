//! Figures the engine is built with, as capacity and rules compare against them.
//!
//! Source: release 2.3.7 unless said otherwise; none of these can be changed by configuration where the text says fixed.

/// Port of the guard: actor gateway, public API.
pub const GUARD_PORT: u16 = 6420;
/// Port of the peer API with `/health`; it asks for no token.
pub const PEER_PORT: u16 = 6421;
/// Port of the metrics page.
pub const METRICS_PORT: u16 = 6430;

/// Requests that the guard takes from one client address in [`GUARD_RATE_LIMIT_WINDOW_SECS`], per engine process; fixed.
/// Behind a proxy without `x-forwarded-for` all clients share one allowance. 25.7 allowed 100 per actor and address.
pub const GUARD_REQUESTS_PER_WINDOW: u32 = 10_000;
/// Length of the guard's fixed window.
pub const GUARD_RATE_LIMIT_WINDOW_SECS: u32 = 60;
/// Requests in flight that the guard takes from one client address, per engine process; fixed.
pub const GUARD_IN_FLIGHT_MAX: u32 = 2_000;
/// Attempts of the guard to reach an actor, the first included.
pub const GUARD_ATTEMPTS_MAX: u32 = 7;
/// Wait for an actor to become ready before the guard answers `guard.actor_ready_timeout`; default of a key.
pub const ACTOR_READY_TIMEOUT_SECS: u32 = 30;
/// Wake retries before the guard answers `guard.actor_wake_retries_exceeded`; seen on 2.3.19.
pub const ACTOR_WAKE_RETRIES_MAX: u32 = 8;

/// Postgres connections that one engine process may hold for data; the same again when pubsub is Postgres.
pub const POSTGRES_CONNECTIONS_PER_ENGINE: u32 = 64;
/// `max_connections` of the Postgres that the shipped manifests start.
pub const POSTGRES_CONNECTIONS_SHIPPED: u32 = 500;
/// Concurrent actors up to which the documentation recommends Postgres.
pub const POSTGRES_ACTORS_GUIDE: u32 = 1_000;
/// A database attempt is cut at this age and tried again.
pub const DATABASE_ATTEMPT_TIMEOUT_SECS: u32 = 5;

/// Share of the CPU limit at which workers begin to shed load.
pub const LOAD_SHEDDING_START: f64 = 0.7;
/// Share of the CPU limit at which workers pull only [`LOAD_SHEDDING_END_SHARE`] of the work.
pub const LOAD_SHEDDING_END: f64 = 0.9;
/// Share of work that is still pulled at [`LOAD_SHEDDING_END`].
pub const LOAD_SHEDDING_END_SHARE: f64 = 0.05;
/// CPU utilisation that the documentation recommends to scale at; the shipped HPA says 0.6.
pub const CPU_UTILIZATION_TARGET: f64 = 0.7;
/// Memory utilisation that the documentation recommends to scale at.
pub const MEMORY_UTILIZATION_TARGET: f64 = 0.8;
/// Cores that the production checklist asks for, per instance.
pub const CPU_CORES_MIN: f64 = 1.0;
/// Memory that the production checklist asks for, per instance: 2 GB, which 2 GiB is above.
pub const MEMORY_BYTES_MIN: u64 = 2_000_000_000;
/// Instances that the production checklist asks for.
pub const INSTANCES_MIN: u32 = 2;

/// Time that health probes should wait for `/health`, by the production checklist; the shipped readiness probe waits 3.
pub const HEALTH_TIMEOUT_SECS: u64 = 5;
/// Quiet time that load balancers and ingresses must allow a connection, by the documentation.
pub const IDLE_TIMEOUT_MIN_SECS: u64 = 3_600;
/// Time the guard gives open requests after SIGTERM; default of `runtime.guard_shutdown_duration`.
pub const GUARD_SHUTDOWN_SECS: u64 = 600;
/// Time workers have after SIGTERM; default of `runtime.worker_shutdown_duration`.
pub const WORKER_SHUTDOWN_SECS: u64 = 30;
/// Servers of a NATS cluster that the production checklist asks for.
pub const NATS_SERVERS_MIN: u32 = 2;
/// Body of a start request that an actor host must take, by the general checklist.
pub const START_BODY_BYTES_MIN: u64 = 16 << 20;
/// `drain_grace_period` of a serverless pool that does not set it.
pub const DRAIN_GRACE_SECS_DEFAULT: u64 = 1_800;
/// Version that RivetKit gives an actor host where nobody set one; seen on 2.3.19.
pub const HOST_VERSION_DEFAULT: u64 = 1;

/// Workflows that a worker takes in one pull.
pub const WORKFLOWS_PER_PULL_MAX: u32 = 1_000;
/// A pull longer than this stops the worker.
pub const PULL_TIMEOUT_SECS: u32 = 10;
/// A worker that has not pinged for so long counts as lost.
pub const WORKER_LOST_SECS: u32 = 30;
/// How often the cluster-wide gauges are written, by whichever instance holds the lock.
pub const CLUSTER_METRICS_INTERVAL_SECS: u32 = 20;

/// How often an actor host is pinged.
pub const HOST_PING_INTERVAL_SECS: u32 = 3;
/// An actor host without a ping for so long gets no new actors.
pub const HOST_INELIGIBLE_SECS: u32 = 10;
/// An actor host without a ping for so long is lost.
pub const HOST_LOST_SECS: u32 = 15;

/// `max_concurrent_actors` of a serverless pool that does not set it.
pub const POOL_CONCURRENT_ACTORS_DEFAULT: u32 = 1_000;
/// Slots that an actor host process offers by default.
pub const HOST_SLOTS_DEFAULT: u32 = 100_000;
/// Rows that `/envoys` returns when no `limit` is given.
pub const ENVOYS_PAGE_DEFAULT: u32 = 100;

/// Share of traces that the engine samples by default.
pub const SAMPLER_RATIO_DEFAULT: f64 = 0.001;
/// How often 25.7 exports its metrics over OTLP.
pub const OTLP_METRIC_INTERVAL_SECS: u32 = 30;

/// Engine processes a Postgres with `max_connections` serves, with `pools` pools of 64 each (2 with Postgres pubsub).
///
/// Zero pools count as one. The shipped 500 connections serve 7 engines, not the 10 that the shipped HPA allows.
pub fn engines_per_postgres(max_connections: u32, pools: u32) -> u32 {
    max_connections / (POSTGRES_CONNECTIONS_PER_ENGINE * pools.max(1))
}

/// Names of the engine's container: in the shipped manifests, and in those that people write. The signals know the same.
pub const ENGINE_CONTAINERS: [&str; 2] = ["rivet-engine", "engine"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_postgres_serves_seven_engines() {
        assert_eq!(engines_per_postgres(POSTGRES_CONNECTIONS_SHIPPED, 1), 7);
        assert_eq!(engines_per_postgres(POSTGRES_CONNECTIONS_SHIPPED, 2), 3);
    }
}

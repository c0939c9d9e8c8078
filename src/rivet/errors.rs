//! Error codes of the engine (`group.code`), and whose fault each is.
//!
//! They stand in `rivet_guard_proxy_request_errors_total{error}`, `rivet_api_request_errors_total{error}` and in the
//! `x-rivet-error` header. Source: the error declarations and the status table of the guard (2.3.x), and the
//! recordings of 2.3.19. A code that is not listed counts as the engine's own, so that nothing new stays unseen.

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The caller sent something wrong, or too much; the engine did what it should.
    Client,
    /// The actor host (runner, envoy, serverless function) is missing, refuses, or does not answer.
    ActorHost,
    /// The engine, or what it stands on.
    Engine,
}

impl Cause {
    /// The value of a `cause` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ActorHost => "actor_host",
            Self::Engine => "engine",
        }
    }
}

/// One error code.
#[derive(Clone, Copy, Debug)]
pub struct ErrorCode {
    /// `group.code`.
    pub code: &'static str,
    pub cause: Cause,
    /// HTTP status of the guard's answer.
    pub status: u16,
    /// What happened, for a person.
    pub about: &'static str,
}

const fn error(code: &'static str, cause: Cause, status: u16, about: &'static str) -> ErrorCode {
    ErrorCode { code, cause, status, about }
}

use Cause::{ActorHost, Client, Engine};

/// The codes that the proxy and the API answer with.
pub const ERROR_CODES: &[ErrorCode] = &[
    // Client: wrong or too many requests.
    error("acl.insufficient_permissions", Client, 403, "the token does not allow this call"),
    error("acl.token_expired", Client, 401, "the token has expired"),
    error("acl.token_not_found", Client, 401, "the token is not known"),
    error("actor.creation_rate_limit", Client, 429, "too many actors created at once"),
    error("actor.duplicate_key", Client, 400, "an actor with this key exists already"),
    error("actor.empty_key", Client, 400, "the actor key is empty"),
    error("actor.input_too_large", Client, 400, "the actor input is over its limit"),
    error("actor.key_reserved_in_different_datacenter", Client, 400, "the key belongs to another datacenter"),
    error("actor.key_too_large", Client, 400, "the actor key is over its limit"),
    error("actor.kv_key_not_found", Client, 400, "the key is not in the actor's storage"),
    error("actor.kv_storage_quota_exceeded", Client, 400, "the actor's storage is full"),
    error("actor.namespace_not_found", Client, 400, "the namespace does not exist"),
    error("actor.not_found", Client, 404, "the actor does not exist or was destroyed"),
    error("actor.destroyed_during_creation", Client, 400, "the actor was destroyed while it was created"),
    error("actor.destroyed_while_waiting_for_ready", Client, 400, "the actor was destroyed before it was ready"),
    error("api.bad_request", Client, 400, "the call is malformed"),
    error("api.forbidden", Client, 403, "the admin token is missing or wrong"),
    error("api.method_not_allowed", Client, 405, "the route does not take this method"),
    error("api.not_found", Client, 404, "there is no such API route"),
    error("api.rate_limited", Client, 429, "too many API calls"),
    error("api.unauthorized", Client, 401, "the call carries no valid token"),
    error("guard.actor_destroyed", Client, 400, "the actor was destroyed"),
    error("guard.actor_not_found", Client, 404, "the actor does not exist"),
    error("guard.invalid_request", Client, 400, "the request cannot be proxied"),
    error("guard.invalid_request_body", Client, 413, "the request body is over 20 MiB or broken"),
    error("guard.max_in_flight", Client, 429, "the client has 2,000 requests in flight"),
    error("guard.missing_header", Client, 400, "a header needed for routing is missing"),
    error("guard.missing_query_parameter", Client, 400, "a query parameter needed for routing is missing"),
    error("guard.must_use_regional_host", Client, 400, "the host name belongs to another datacenter"),
    error("guard.no_route", Client, 404, "no route for this host and path"),
    error("guard.query_ambiguous_runner_configs", Client, 400, "several pools fit the query"),
    error("guard.query_duplicate_param", Client, 400, "a gateway parameter appears twice"),
    error("guard.query_empty_actor_name", Client, 400, "the actor name is empty"),
    error("guard.query_get_disallowed_params", Client, 400, "parameters that a lookup does not take"),
    error("guard.query_invalid_base64_input", Client, 400, "the input is not base64url"),
    error("guard.query_invalid_cbor_input", Client, 400, "the input is not CBOR"),
    error("guard.query_invalid_params", Client, 400, "the gateway parameters do not parse"),
    error("guard.query_invalid_percent_encoding", Client, 400, "a gateway parameter is badly encoded"),
    error("guard.query_missing_pool", Client, 400, "the pool parameter is missing"),
    error("guard.query_missing_runner_name", Client, 400, "the runner name parameter is missing"),
    error("guard.query_param_missing_equals", Client, 400, "a gateway parameter has no value"),
    error("guard.query_path_token_syntax", Client, 400, "query paths take no token in the path"),
    error("guard.query_unknown_param", Client, 400, "a gateway parameter is not known"),
    error("guard.rate_limit", Client, 429, "the client is over 10,000 requests a minute"),
    error("guard.uri_parse_error", Client, 400, "the address does not parse"),
    error("guard.wrong_addr_protocol", Client, 400, "the address speaks another protocol"),
    error("namespace.not_found", Client, 400, "the namespace does not exist"),
    error("ws.connection_closed", Client, 400, "the client closed the socket"),
    // Actor host: missing, refusing or slow.
    error("actor.no_runner_config_configured", ActorHost, 400, "no actor host is configured for the pool"),
    error("actor.no_runners_available", ActorHost, 400, "no actor host with this name is connected"),
    error("guard.actor_ready_timeout", ActorHost, 503, "the actor did not become ready in time"),
    error("guard.actor_runner_failed", ActorHost, 400, "the pool is in error, calls are refused at once"),
    error("guard.actor_stopped_while_waiting", ActorHost, 503, "the actor stopped before it answered"),
    error(
        "guard.actor_stopped_while_waiting_for_websocket_open",
        ActorHost,
        400,
        "the actor stopped before it took the socket",
    ),
    error("guard.actor_wake_retries_exceeded", ActorHost, 503, "the actor could not be woken in eight attempts"),
    error("guard.connection_error", ActorHost, 400, "the upstream cannot be reached"),
    error("guard.gateway_response_start_timeout", ActorHost, 504, "the actor began no answer in time"),
    error("guard.invalid_response_body", ActorHost, 502, "the actor's answer is broken or over 20 MiB"),
    error("guard.request_delivery_unconfirmed", ActorHost, 503, "the host did not confirm the request"),
    error("guard.request_timeout", ActorHost, 504, "the upstream did not answer in time"),
    error("guard.retry_attempts_exceeded", ActorHost, 502, "seven attempts to reach the upstream failed"),
    error("guard.service_unavailable", ActorHost, 503, "the upstream is gone or draining"),
    error("guard.tunnel_message_timeout", ActorHost, 504, "the host did not acknowledge in time"),
    error("guard.tunnel_request_aborted", ActorHost, 503, "the host dropped the request"),
    error("guard.tunnel_response_closed", ActorHost, 503, "the host closed the answer early"),
    error("guard.upstream_error", ActorHost, 502, "the upstream failed"),
    error("guard.websocket_closed_before_open", ActorHost, 400, "the host closed the socket before it opened"),
    error("guard.websocket_open_dropped", ActorHost, 400, "the host dropped the socket"),
    error("guard.websocket_open_response_closed", ActorHost, 400, "the host closed before it took the socket"),
    error("guard.websocket_open_timeout", ActorHost, 400, "the host did not take the socket in 15 s"),
    error("guard.websocket_service_timeout", ActorHost, 400, "the socket's host did not answer in time"),
    error("guard.websocket_service_unavailable", ActorHost, 400, "the socket's host is gone"),
    error("ws.no_runner_config", ActorHost, 400, "a host connected for a pool that is not configured"),
    // Engine: its own work took too long or failed.
    error("api.internal_error", Engine, 500, "the API failed"),
    error("core.internal_error", Engine, 500, "the engine failed"),
    error("guard.http_request_build_failed", Engine, 400, "the proxied request could not be built"),
    error("guard.no_route_targets", Engine, 400, "the route has no target"),
    error("guard.request_build_error", Engine, 400, "the proxied request could not be built"),
    error("guard.route_api_public_timeout", Engine, 504, "routing to the API took over 5 s"),
    error("guard.route_auth_check_timeout", Engine, 504, "the token check took too long"),
    error("guard.route_compute_timeout", Engine, 504, "routing took too long"),
    error("guard.route_dispatch_timeout", Engine, 504, "dispatch to the actor took over 55 s"),
    error("guard.routing_error", Engine, 502, "routing failed"),
    error("guard.websocket_tunnel_subscription_closed", Engine, 400, "the pubsub subscription of the socket ended"),
    error("pegboard.route_auth_check_timeout", Engine, 504, "the token check took too long"),
    error("pegboard.route_fetch_actor_timeout", Engine, 504, "reading the actor took over 5 s"),
    error("pegboard.route_resolve_query_timeout", Engine, 504, "resolving the actor took over 15 s"),
    error("pegboard.route_subscribe_timeout", Engine, 504, "the pubsub subscription took over 2 s"),
    error("pegboard.route_wake_signal_timeout", Engine, 504, "the wake signal took over 5 s"),
];

/// What is known of a code (`group.code`, after the cut of [`super::names`]).
pub fn lookup(code: &str) -> Option<&'static ErrorCode> {
    ERROR_CODES.iter().find(|e| e.code == code)
}

/// Whose fault a code is; what is not known counts as the engine's.
pub fn cause(code: &str) -> Cause {
    lookup(code).map_or(Cause::Engine, |e| e.cause)
}

/// A regular expression (anchored, as PromQL matches) for the codes of one cause.
///
/// For rules: `error!~"…"` with [`Cause::Client`] leaves out what clients cause and keeps every unknown code.
pub fn matcher(cause: Cause) -> String {
    let codes: Vec<String> =
        ERROR_CODES.iter().filter(|e| e.cause == cause).map(|e| e.code.replace('.', "[.]")).collect();
    codes.join("|")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::{MatchOp, Matcher};

    #[test]
    fn every_code_stands_once_and_is_well_formed() {
        let mut seen = HashSet::new();
        for e in ERROR_CODES {
            assert!(seen.insert(e.code), "{} twice", e.code);
            let (group, code) = e.code.split_once('.').unwrap();
            assert!(!group.is_empty() && !code.contains('.'), "{}", e.code);
            assert!((400..600).contains(&e.status), "{}", e.code);
        }
    }

    #[test]
    fn the_client_matcher_leaves_out_clients_and_nothing_else() {
        let m = Matcher::new("error", MatchOp::NotMatches, matcher(Cause::Client)).unwrap();
        assert!(!m.matches_value("guard.rate_limit") && !m.matches_value("guard.no_route"));
        assert!(m.matches_value("guard.actor_runner_failed") && m.matches_value("guard.something_new"));
        assert!(m.matches_value("guardXrate_limit"), "a dot is a dot");
    }

    #[test]
    fn what_is_not_known_is_the_engines() {
        assert_eq!(cause("guard.actor_ready_timeout"), Cause::ActorHost);
        assert_eq!(cause("never.heard_of"), Cause::Engine);
    }
}

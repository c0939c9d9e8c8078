//! A heartbeat: a ping to an outside service that raises the alarm when pings stop coming.
//!
//! The notifier sends it only while `Watchdog` fires, the agent says that it is healthy, and the outbox moves.

/// The body of a ping; services that keep it show it in their log.
pub fn body(deployment: &str) -> String {
    format!("rivetwatch {deployment}: data arrives, rules are evaluated, notifications leave")
}

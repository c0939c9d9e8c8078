//! Sends received telemetry on.

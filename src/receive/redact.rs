//! Removes secrets from telemetry before it is kept.

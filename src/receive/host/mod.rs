//! Reads CPU, memory and disk of the engine from the host.

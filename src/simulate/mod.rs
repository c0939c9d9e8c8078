//! Engines and incidents in virtual time.

//! A part of the configuration that is kept but not understood, and never printed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secret::REDACTED;

/// Any YAML value; prints as `<secret>`, since what is not understood may hold one.
#[derive(Clone, Default, PartialEq)]
pub struct Opaque(pub serde_json::Value);

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(Self)
    }
}

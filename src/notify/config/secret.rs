//! A value that must not be read by anybody but the target it opens.
//!
//! Always: `Debug`, `Display` and `Serialize` give `<secret>`. Only [`Secret::expose`] and the on-disk
//! form in [`exposed`] (the outbox, a file of mode 0600) show what it holds.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands in place of a secret wherever one is printed; Alertmanager writes the same.
pub const REDACTED: &str = "<secret>";

/// A routing key, token, password or address with a token in it.
#[derive(Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The secret itself, for the moment of sending.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { REDACTED })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A type error must not quote what it found, which serde's own text would.
        String::deserialize(deserializer)
            .map(Self::new)
            .map_err(|_| serde::de::Error::custom("a secret must be a text"))
    }
}

/// The form that shows the secret: only for records of the outbox.
pub mod exposed {
    use super::{Deserialize, Deserializer, Secret, Serializer};

    /// Writes the secret as it is.
    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        Secret::deserialize(deserializer)
    }
}

/// Where a secret is found: in the configuration itself, or in a file read at each sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    Value(#[serde(with = "exposed")] Secret),
    File(std::path::PathBuf),
}

impl SecretRef {
    /// The reference made of an inline value and its `_file` sibling; `None` when neither is set.
    pub fn from_pair(value: Option<&Secret>, file: Option<&std::path::Path>) -> Option<Self> {
        match (value.filter(|v| !v.is_empty()), file.filter(|f| !f.as_os_str().is_empty())) {
            (Some(value), _) => Some(Self::Value(value.clone())),
            (None, Some(file)) => Some(Self::File(file.to_owned())),
            (None, None) => None,
        }
    }

    /// Bytes that tell two references apart, for hashing only.
    pub(crate) fn identity(&self) -> Vec<u8> {
        match self {
            Self::Value(secret) => [b"v", secret.expose().as_bytes()].concat(),
            Self::File(path) => [b"f", path.as_os_str().as_encoded_bytes()].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_prints_shows_the_secret() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret} {:?}", SecretRef::Value(secret.clone())).matches("hunter2").count(), 0);
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"<secret>\"");
        let error = serde_json::from_str::<Secret>("[\"hunter2\"]").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

//! The label set that names a series.
//!
//! Always: names are sorted, unique and non-empty; a label with an empty value is absent, as in Prometheus.
//! A set is one allocation: its 64-bit hash, then each name and value behind its length.
//! Cloning counts a reference; comparing begins with the pointer and the hash.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh3::xxh3_64;

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

const HASH_BYTES: usize = 8;

/// An immutable, sorted set of labels.
#[derive(Clone)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        static EMPTY: LazyLock<Labels> = LazyLock::new(|| encode(&[]));
        EMPTY.clone()
    }

    /// Builds a set from pairs in any order; the last of two equal names wins, empty values are dropped.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// The value of `name`, or `None` when the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The metric name, or the empty string when there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Names and values in ascending order of name.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0[HASH_BYTES..] }
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HASH_BYTES
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// The xxh3 hash of the set; equal sets have equal hashes, also between processes.
    pub fn hash64(&self) -> u64 {
        u64::from_le_bytes(self.0[..HASH_BYTES].try_into().expect("the first eight bytes are the hash"))
    }

    /// A builder that begins with these labels.
    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// The set without the metric name.
    pub fn without_metric_name(&self) -> Self {
        if self.get(METRIC_NAME).is_none() { self.clone() } else { self.keep(|name| name != METRIC_NAME) }
    }

    /// The labels whose name `wanted` says yes to.
    pub fn keep(&self, mut wanted: impl FnMut(&str) -> bool) -> Self {
        let pairs: Vec<(&str, &str)> = self.iter().filter(|(n, _)| wanted(n)).collect();
        encode(&pairs)
    }

    /// Bytes of memory that this set holds, shared by its clones.
    pub fn size_bytes(&self) -> usize {
        self.0.len() + 2 * size_of::<usize>()
    }

    /// The encoded names and values, equal exactly for equal sets. Inverse: [`Labels::from_encoded`].
    pub fn encoded(&self) -> &[u8] {
        &self.0[HASH_BYTES..]
    }

    /// Reads what [`Labels::encoded`] gave; `None` when the bytes are not a well-formed, sorted set.
    pub fn from_encoded(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut last: Option<&str> = None;
        while !rest.is_empty() {
            let name = take_checked(&mut rest)?;
            let value = take_checked(&mut rest)?;
            if value.is_empty() || last.is_some_and(|l| l >= name) {
                return None;
            }
            last = Some(name);
        }
        Some(with_hash(bytes))
    }
}

/// Iterates over names and values; see [`Labels::iter`].
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take(&mut self.rest);
        let value = take(&mut self.rest);
        Some((name, value))
    }
}

/// Collects labels in any order; see [`Labels::builder`].
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets `name`; an empty `value` removes it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.pairs.iter_mut().find(|(n, _)| *n == name) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((name, value)),
        }
        self
    }

    /// Sets `name` only where it is absent.
    pub fn set_default(&mut self, name: &str, value: &str) -> &mut Self {
        if self.get(name).is_none() {
            self.set(name, value);
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// The value of `name` so far.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// The set; labels with empty values are left out.
    pub fn build(&self) -> Labels {
        let mut pairs: Vec<(&str, &str)> =
            self.pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.as_str(), v.as_str())).collect();
        pairs.sort_unstable();
        encode(&pairs)
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash64());
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// By name, then value, label after label; a set that is a prefix of another comes first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Display for Labels {
    /// `name{label="value"}` as PromQL reads it back; names outside `[a-zA-Z0-9_:]` are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = self.metric_name();
        let bare_name = is_legacy_metric_name(metric);
        let mut first = true;
        if bare_name {
            f.write_str(metric)?;
        }
        let quoted_name = !metric.is_empty() && !bare_name;
        if self.len() == usize::from(bare_name) {
            return if bare_name { Ok(()) } else { f.write_str("{}") };
        }
        f.write_str("{")?;
        if quoted_name {
            write!(f, "{}", Quoted(metric))?;
            first = false;
        }
        for (name, value) in self.iter().filter(|(n, _)| *n != METRIC_NAME) {
            if !std::mem::take(&mut first) {
                f.write_str(", ")?;
            }
            match is_legacy_label_name(name) {
                true => write!(f, "{name}={}", Quoted(value))?,
                false => write!(f, "{}={}", Quoted(name), Quoted(value))?,
            }
        }
        f.write_str("}")
    }
}

/// A string as PromQL and the text format quote it: `\`, `"` and line feed are escaped, nothing else.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for part in self.0.split_inclusive(['\\', '"', '\n']) {
            match part.chars().next_back() {
                Some(special @ ('\\' | '"')) => write!(f, "{}\\{special}", &part[..part.len() - 1])?,
                Some('\n') => write!(f, "{}\\n", &part[..part.len() - 1])?,
                _ => f.write_str(part)?,
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> serde::Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self::from_pairs(map))
    }
}

/// Whether `name` needs no quotes as a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(rest)
}

/// Whether `name` needs no quotes as a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy_metric_name(name) && !name.contains(':')
}

fn encode(sorted: &[(&str, &str)]) -> Labels {
    let mut bytes = Vec::with_capacity(HASH_BYTES + sorted.iter().map(|(n, v)| n.len() + v.len() + 4).sum::<usize>());
    bytes.extend_from_slice(&[0; HASH_BYTES]);
    for (name, value) in sorted {
        put(&mut bytes, name);
        put(&mut bytes, value);
    }
    let hash = xxh3_64(&bytes[HASH_BYTES..]);
    bytes[..HASH_BYTES].copy_from_slice(&hash.to_le_bytes());
    Labels(bytes.into())
}

fn with_hash(encoded: &[u8]) -> Labels {
    let mut bytes = Vec::with_capacity(HASH_BYTES + encoded.len());
    bytes.extend_from_slice(&xxh3_64(encoded).to_le_bytes());
    bytes.extend_from_slice(encoded);
    Labels(bytes.into())
}

/// Lengths below 255 take one byte; longer ones take 255 and four bytes.
fn put(bytes: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(len) if len < u8::MAX => bytes.push(len),
        _ => {
            bytes.push(u8::MAX);
            let len = u32::try_from(text.len()).expect("label texts are far below 4 GiB");
            bytes.extend_from_slice(&len.to_le_bytes());
        }
    }
    bytes.extend_from_slice(text.as_bytes());
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&first, tail) = rest.split_first()?;
    let (len, tail) = match first {
        u8::MAX => {
            let (len, tail) = tail.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*len) as usize, tail)
        }
        short => (usize::from(short), tail),
    };
    let (text, tail) = tail.split_at_checked(len)?;
    *rest = tail;
    Some(text)
}

fn take_checked<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

fn take<'a>(rest: &mut &'a [u8]) -> &'a str {
    let bytes = take_bytes(rest).expect("a label set is only ever built whole");
    std::str::from_utf8(bytes).expect("a label set is built from strings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_insertion_does_not_matter() {
        let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("gone", "")]);
        let b = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert_eq!(a, b);
        assert_eq!(a.hash64(), b.hash64());
        assert_eq!(a.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    }

    #[test]
    fn long_and_empty_texts_survive_encoding() {
        let long = "x".repeat(70_000);
        let labels = Labels::from_pairs([("short", "v"), ("long", long.as_str())]);
        assert_eq!(labels.get("long"), Some(long.as_str()));
        assert_eq!(Labels::from_encoded(labels.encoded()), Some(labels));
        assert_eq!(Labels::from_encoded(Labels::empty().encoded()), Some(Labels::empty()));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2")]);
        let bytes = labels.encoded();
        assert!((1..bytes.len()).all(|n| n == bytes.len() / 2 || Labels::from_encoded(&bytes[..n]).is_none()));
        assert_eq!(Labels::from_encoded(&[1, b'b', 1, b'1', 1, b'a', 1, b'1']), None, "unsorted");
    }

    #[test]
    fn display_reads_back_as_promql() {
        let plain = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a\"b")]);
        assert_eq!(plain.to_string(), r#"up{job="a\"b"}"#);
        let dotted = Labels::from_pairs([(METRIC_NAME, "http.server"), ("a.b", "c")]);
        assert_eq!(dotted.to_string(), r#"{"http.server", "a.b"="c"}"#);
        assert_eq!(Labels::empty().to_string(), "{}");
        assert_eq!(Labels::from_pairs([(METRIC_NAME, "up")]).to_string(), "up");
    }
}

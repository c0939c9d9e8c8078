//! The label set that names a series.
//!
//! Always: names are sorted, unique and non-empty; a label with an empty value is absent, as in Prometheus.
//! A set is one allocation: its 64-bit hash, then each name and value behind its length.
//! Cloning counts a reference; comparing begins with the pointer and the hash.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use smallvec::{SmallVec, smallvec};
use xxhash_rust::xxh3::xxh3_64;

mod parts;

pub use parts::LabelParts;

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
        self.get_bytes(name).map(text)
    }

    /// As [`Labels::get`], for comparing only: nobody looks whether the bytes are UTF-8, as they are.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        self.pairs().find(|pair| pair.name == name.as_bytes()).map(|pair| pair.value)
    }

    /// The metric name, or the empty string when there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Names and values in ascending order of name.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.pairs())
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs { rest: self.encoded() }
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HASH_BYTES
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.pairs().count()
    }

    /// The xxh3 hash of the set; equal sets have equal hashes, also between processes.
    pub fn hash64(&self) -> u64 {
        hash_in_front(&self.0)
    }

    /// A builder that begins with these labels.
    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// The set without the metric name.
    pub fn without_metric_name(&self) -> Self {
        if self.get_bytes(METRIC_NAME).is_none() { self.clone() } else { self.keep(|name| name != METRIC_NAME) }
    }

    /// The labels whose name `wanted` says yes to.
    pub fn keep(&self, mut wanted: impl FnMut(&str) -> bool) -> Self {
        let mut kept = Encoder::default();
        self.pairs().filter(|pair| wanted(text(pair.name))).for_each(|pair| kept.put_encoded(pair.encoded));
        if kept.len() == self.0.len() { self.clone() } else { kept.finish() }
    }

    /// The set with `name` set to `value`; an empty `value` removes it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = Encoder::default();
        let mut waits = !value.is_empty();
        for pair in self.pairs() {
            if waits && pair.name >= name.as_bytes() {
                changed.put(name, value);
                waits = false;
            }
            if pair.name != name.as_bytes() {
                changed.put_encoded(pair.encoded);
            }
        }
        if waits {
            changed.put(name, value);
        }
        changed.finish()
    }

    /// Writes the set as a JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, pair) in self.pairs().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_json_text(out, pair.name);
            out.push(b':');
            write_json_text(out, pair.value);
        }
        out.push(b'}');
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
pub struct Iter<'a>(Pairs<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|pair| (text(pair.name), text(pair.value)))
    }
}

/// One label as its bytes; comparing bytes is comparing texts, without looking whether they are UTF-8.
struct Pair<'a> {
    name: &'a [u8],
    value: &'a [u8],
    /// Both with their lengths.
    encoded: &'a [u8],
}

struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let before = self.rest;
        let name = take(&mut self.rest);
        let value = take(&mut self.rest);
        Some(Pair { name, value, encoded: &before[..before.len() - self.rest.len()] })
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
        let (mut mine, mut theirs) = (self.encoded(), other.encoded());
        let common = common_prefix(mine, theirs);
        let end = mine.len().saturating_sub(common);
        if end == 0 || common == theirs.len() {
            return mine.len().cmp(&theirs.len());
        }
        // Texts that lie in the common part are equal, so the first that does not decides.
        loop {
            let (a, b) = (take(&mut mine), take(&mut theirs));
            if mine.len() < end {
                return a.cmp(b);
            }
        }
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

/// How many bytes from the front are the same.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = 16;
    let word = |bytes: &[u8]| bytes.first_chunk::<WORD>().map_or(0, |word| u128::from_le_bytes(*word));
    let mut same = 0;
    while a.len().min(b.len()) - same >= WORD {
        let difference = word(&a[same..]) ^ word(&b[same..]);
        if difference != 0 {
            return same + difference.trailing_zeros() as usize / 8;
        }
        same += WORD;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

/// A set in the making: its bytes, with room for the hash in front. Most sets fit without an allocation of their own.
struct Encoder(SmallVec<[u8; 512]>);

impl Default for Encoder {
    fn default() -> Self {
        Self(smallvec![0; HASH_BYTES])
    }
}

impl Encoder {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn put(&mut self, name: &str, value: &str) {
        put(&mut self.0, name);
        put(&mut self.0, value);
    }

    fn put_encoded(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Goes back to the empty set, and keeps the memory.
    fn clear(&mut self) {
        self.0.truncate(HASH_BYTES);
    }

    fn put_hash(&mut self) {
        let hash = xxh3_64(&self.0[HASH_BYTES..]);
        self.0[..HASH_BYTES].copy_from_slice(&hash.to_le_bytes());
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The set, once its hash is put.
    fn labels(&self) -> Labels {
        Labels(self.0.as_slice().into())
    }

    fn finish(mut self) -> Labels {
        self.put_hash();
        self.labels()
    }
}

fn hash_in_front(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk::<HASH_BYTES>().expect("the first eight bytes are the hash"))
}

fn encode(sorted: &[(&str, &str)]) -> Labels {
    let mut set = Encoder::default();
    sorted.iter().for_each(|(name, value)| set.put(name, value));
    set.finish()
}

fn with_hash(encoded: &[u8]) -> Labels {
    let mut set = Encoder::default();
    set.put_encoded(encoded);
    set.finish()
}

/// Lengths below 255 take one byte; longer ones take 255 and four bytes.
fn put(bytes: &mut SmallVec<[u8; 512]>, text: &str) {
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

fn take<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    take_bytes(rest).expect("a label set is only ever built whole")
}

fn write_json_text(out: &mut Vec<u8>, bytes: &[u8]) {
    // Without a way out of the loop, so that it looks at many bytes at once.
    let is_plain = bytes.iter().fold(true, |plain, byte| plain & !matches!(byte, ..0x20 | b'"' | b'\\'));
    if is_plain {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    } else {
        text(bytes)
            .serialize(&mut serde_json::Serializer::new(out))
            .expect("a string is JSON, and memory takes all that is written");
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a label set is built from strings")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn changed_sets_and_their_order_are_those_of_the_pairs(
            a in label_pairs(), b in label_pairs(), name in "[ab]{0,2}", value in "[ab]{0,2}",
        ) {
            let (left, right) = (Labels::from_pairs(a.clone()), Labels::from_pairs(b));
            prop_assert_eq!(left.cmp(&right), left.iter().cmp(right.iter()));
            prop_assert_eq!(left == right, left.iter().eq(right.iter()));
            let set: BTreeMap<String, String> = a.into_iter().collect();
            let mut json = Vec::new();
            left.write_json(&mut json);
            prop_assert_eq!(json, serde_json::to_vec(&left).unwrap());
            let kept = set.iter().filter(|(n, _)| **n != name).map(|(n, v)| (n.clone(), v.clone()));
            prop_assert_eq!(left.keep(|n| n != name), Labels::from_pairs(kept));
            if !name.is_empty() {
                let mut builder = left.builder();
                builder.set(name.as_str(), value.as_str());
                prop_assert_eq!(left.with(&name, &value), builder.build());
            }
        }
    }

    fn label_pairs() -> impl Strategy<Value = Vec<(String, String)>> {
        // Long ones differ behind the first sixteen bytes, or in their length alone.
        prop::collection::vec(("[ab]{1,2}|a{18,20}|.", "[ab]{0,2}|a{253,258}|.{3}"), 0..6)
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

//! What passes the regular expressions that queries bring again and again.
//!
//! In:  a matcher and the values of its label.   Out: those that its expression matches, remembered.
//! Always: only used as long as the label has the same set of values.   Limits: [`ENTRIES_MAX`] expressions,
//! [`BYTES_MAX`] of values for each.

use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;

use super::index::Passing;
use crate::model::{MatchOp, Matcher};

/// Expressions remembered at once; dashboards and rules in use have some dozens.
const ENTRIES_MAX: usize = 64;

/// Memory of the values that pass one expression, up to which they are remembered.
const BYTES_MAX: usize = 128 << 10;

/// Label and pattern, to look an expression up without copying them.
#[derive(Hash)]
struct Key<'a> {
    label: &'a str,
    pattern: &'a str,
}

impl Equivalent<(String, String)> for Key<'_> {
    fn equivalent(&self, (label, pattern): &(String, String)) -> bool {
        (self.label, self.pattern) == (label.as_str(), pattern.as_str())
    }
}

/// The expressions by label and pattern.
#[derive(Debug, Default)]
pub(super) struct PassingCache(Mutex<HashMap<(String, String), Arc<Passing>>>);

impl PassingCache {
    /// What is remembered of a matcher's expression, be it out of date or not.
    pub fn get(&self, matcher: &Matcher) -> Option<Arc<Passing>> {
        self.0.lock().get(&Key { label: &matcher.name, pattern: &matcher.value }).cloned()
    }

    /// Matches all values of the label, which `changed` stands for.
    pub fn work_out(&self, matcher: &Matcher, changed: u64, values: Vec<Box<str>>) -> Arc<Passing> {
        let wanted = matcher.op == MatchOp::Matches;
        let values = values.into_iter().filter(|value| matcher.matches_value(value) == wanted).collect();
        let passing = Arc::new(Passing { changed, values });
        let bytes: usize = passing.values.iter().map(|value| value.len() + 2 * size_of::<usize>()).sum();
        if bytes <= BYTES_MAX && !matcher.has_given_up() {
            let mut known = self.0.lock();
            if known.len() >= ENTRIES_MAX {
                known.clear();
            }
            known.insert((matcher.name.clone(), matcher.value.clone()), Arc::clone(&passing));
        }
        passing
    }
}

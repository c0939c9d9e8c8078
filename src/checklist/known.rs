//! Evidence that may be missing: what is known, or why it is not.
//!
//! In:  what a probe found.   Out: a value, or a [`Gap`] whose reason a person can act on.
//! Always: whoever judges has to say what becomes of a gap, so that nothing passes because nobody looked.

use std::fmt;

/// Why something is not known, worded so that it can stand alone: "the Kubernetes API refused …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap(String);

impl Gap {
    /// A gap with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.0
    }

    /// Both reasons; one that says the same as the other is left out.
    pub fn and(self, other: &Self) -> Self {
        if self.0.contains(&other.0) { self } else { Self(format!("{}; {}", self.0, other.0)) }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value, or why it is not known.
pub type Known<T> = Result<T, Gap>;

/// A gap as a result.
pub fn unknown<T>(reason: impl Into<String>) -> Known<T> {
    Err(Gap::new(reason))
}

/// Objects that were listed, and what of the list could not be read.
///
/// Presence can be concluded from any list, absence only from one that was read as a whole.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// Why the list is not whole: an object without a name, pages beyond the limit.
    pub unread: Vec<String>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), unread: Vec::new() }
    }
}

impl<T> Listed<T> {
    /// A list that was read as a whole.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, unread: Vec::new() }
    }

    /// Whether what is not in the list does not exist.
    ///
    /// # Errors
    /// Something could not be read, so that nothing follows from absence.
    pub fn is_whole(&self) -> Known<()> {
        match self.unread.first() {
            None => Ok(()),
            Some(first) if self.unread.len() == 1 => unknown(first.clone()),
            Some(first) => unknown(format!("{first}, and {} more like it", self.unread.len() - 1)),
        }
    }
}

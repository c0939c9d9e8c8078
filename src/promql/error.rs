//! What can go wrong with a query: before it runs ([`ParseError`]) and while it does ([`QueryError`]).

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::storage::SelectError;

use super::ast::PositionRange;

/// Longest part of a query that an error carries along for showing, in bytes.
const SHOWN_QUERY_BYTES: usize = 4096;

/// Why a query was not accepted, and where.
///
/// Shown as Prometheus does: `1:5: parse error: …`. [`ParseError::render`] adds the query and a caret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: parse error: {message}", position.line, position.column)]
pub struct ParseError {
    pub message: String,
    pub position: PositionRange,
    /// The line of the query in which the mistake is, and the byte in it; none where it is too long to show.
    shown: Option<(String, usize)>,
}

impl ParseError {
    pub(super) fn new(query: &str, position: PositionRange, message: impl Into<String>) -> Self {
        let line = query.lines().nth(position.line as usize - 1);
        let is_behind_all = query.get(position.start as usize..).is_none_or(|rest| rest.trim().is_empty());
        // What a block of YAML ends in is a line without text: the place is behind the last one that has some.
        let shown = match line.filter(|line| !line.trim().is_empty() || !is_behind_all) {
            Some(line) => Some((line, position.column as usize - 1)),
            None => query.trim_end().lines().next_back().map(|line| (line, line.len())),
        };
        let shown = shown.filter(|(line, _)| line.len() <= SHOWN_QUERY_BYTES);
        Self { message: message.into(), position, shown: shown.map(|(line, at)| (line.to_owned(), at)) }
    }

    /// Reads what an API told of this query, such as `invalid parameter "query": 1:5: parse error: …`; `None` where that
    /// names no place in it.
    pub fn told(query: &str, text: &str) -> Option<Self> {
        let (place, message) = text.split_once(": parse error: ")?;
        let mut numbers = place.rsplit(' ').next()?.split(':').map(str::parse::<u32>);
        let (Some(Ok(line)), Some(Ok(column)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
            return None;
        };
        let before: usize = query.split_inclusive('\n').take(line.checked_sub(1)? as usize).map(str::len).sum();
        let start = before + column.checked_sub(1)? as usize;
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        let word = query.get(start..)?.find(|c| !is_word(c)).unwrap_or(query.len() - start);
        let position = PositionRange { start: start as u32, end: (start + word.max(1)) as u32, line, column };
        Some(Self::new(query, position, message))
    }

    /// The message, then the line of the query with carets under the place.
    pub fn render(&self) -> String {
        let Some((source, at)) = &self.shown else { return self.to_string() };
        let before = source.get(..*at).unwrap_or(source);
        // Tabs stay tabs, and wide characters take two columns, so that the caret lines up in a terminal.
        let blank = |c: char| if c == '\t' { "\t".to_owned() } else { " ".repeat(c.width().unwrap_or(0)) };
        let indent: String = before.chars().map(blank).collect();
        let width = (self.position.end.saturating_sub(self.position.start)).max(1) as usize;
        let marked = source.get(before.len()..).unwrap_or("").bytes().take(width).count().max(1);
        let shown = source.get(before.len()..before.len() + marked).map_or(marked, UnicodeWidthStr::width).max(1);
        format!("{self}\n  {source}\n  {indent}{}", "^".repeat(shown))
    }
}

/// Why a query gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is not PromQL, or has something in it that is switched off.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The query asks for something that cannot be: times, steps, durations, parameters.
    #[error("{0}")]
    BadQuery(String),
    /// The expression cannot be evaluated on this data: many-to-many matching, duplicate label sets.
    #[error("{0}")]
    Execution(String),
    /// More samples than `max_samples` would be in memory.
    #[error("query processing would load too many samples into memory in query execution; the limit is {limit}")]
    TooManySamples { limit: usize },
    /// More memory than `max_samples` stands for would be needed.
    #[error("query processing would need more than {} MiB of memory in query execution", limit >> 20)]
    TooMuchMemory { limit: usize },
    /// More series than `max_series` were selected.
    #[error("query selects more series than the limit of {limit}")]
    TooManySeries { limit: usize },
    /// The caller has gone away.
    #[error("query was canceled in query execution")]
    Canceled,
    /// The caller's time is over.
    #[error("query timed out in query execution")]
    TimedOut,
    /// The store failed.
    #[error("failed to select series")]
    Storage(#[from] SelectError),
}

impl QueryError {
    /// All that [`QueryError::class`] gives.
    pub const CLASSES: [&'static str; 6] = ["bad_data", "execution", "too_much", "canceled", "timeout", "internal"];

    /// A bounded word for metrics and for the HTTP API's `errorType`, where `too_much` counts as `execution`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Parse(_) | Self::BadQuery(_) => "bad_data",
            Self::Execution(_) => "execution",
            Self::TooManySamples { .. } | Self::TooMuchMemory { .. } | Self::TooManySeries { .. } => "too_much",
            Self::Canceled => "canceled",
            Self::TimedOut => "timeout",
            Self::Storage(_) => "internal",
        }
    }
}

//! Reads a script into commands.

use regex::Regex;

use crate::model::{Labels, parse_duration_ms};
use crate::promql::series::{SeriesValue, parse_series_labels, parse_series_values, split_series};

/// A command of a script.
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// `load <step>` and its series.
pub(super) struct Load {
    pub step: i64,
    /// `load_with_nhcb`: classic histograms are also stored as native ones with custom buckets.
    pub with_custom_buckets: bool,
    /// Some line was `series@st …`.
    pub has_start_timestamps: bool,
    pub series: Vec<(Labels, Vec<Option<SeriesValue>>)>,
}

/// When a query runs, milliseconds.
#[derive(Clone, Copy)]
pub(super) enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// A series that is expected, with one entry for each step.
pub(super) type ExpectedSeries = (Labels, Vec<Option<SeriesValue>>);

/// What a query must give.
pub(super) enum Expected {
    Scalar(f64),
    String(String),
    Series(Vec<ExpectedSeries>),
    /// An instant query whose result is a matrix.
    RangeVector {
        start: i64,
        step: i64,
        series: Vec<ExpectedSeries>,
    },
}

/// What a message must be.
pub(super) enum Text {
    Any,
    Exactly(String),
    Matches(Regex),
}

impl Text {
    pub(super) fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == text,
            Self::Matches(regex) => regex.is_match(text),
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Any => "anything".into(),
            Self::Exactly(text) => format!("`{text}`"),
            Self::Matches(regex) => format!("a match of `{regex}`"),
        }
    }
}

/// `eval …` and what is expected of it.
pub(super) struct Eval {
    pub when: When,
    pub query: String,
    pub ordered: bool,
    pub fail: Option<Text>,
    pub warn: Vec<Text>,
    pub info: Vec<Text>,
    pub no_warn: bool,
    pub no_info: bool,
    pub expected: Expected,
}

/// The commands of a script with their lines; a command that cannot be read is an error of its own.
pub(super) fn parse(text: &str) -> Vec<(usize, Result<Command, String>)> {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim())
        // A comment counts as an empty line, which ends a block.
        .map(|line| if line.starts_with('#') { "" } else { line })
        .collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let number = at + 1;
        at += 1;
        if line.is_empty() {
            continue;
        }
        let word = line.split([' ', '\t']).next().unwrap_or("").to_lowercase();
        if word == "clear" {
            commands.push((number, Ok(Command::Clear)));
            continue;
        }
        let body_end = lines[at..].iter().position(|l| l.is_empty()).map_or(lines.len(), |n| at + n);
        let body = &lines[at..body_end];
        let command = if word.starts_with("load") {
            at = body_end;
            parse_load(line, body).map(Command::Load)
        } else if word.starts_with("eval") {
            at = body_end;
            parse_eval(line, body).map(|eval| Command::Eval(Box::new(eval)))
        } else {
            Err(format!("`{line}` is not a command"))
        };
        commands.push((number, command));
    }
    commands
}

fn duration(text: &str) -> Result<i64, String> {
    parse_duration_ms(text).ok_or_else(|| format!("`{text}` is not a duration"))
}

fn parse_load(line: &str, body: &[&str]) -> Result<Load, String> {
    let mut words = line.split_whitespace();
    let with_custom_buckets = match words.next().map(str::to_lowercase).as_deref() {
        Some("load") => false,
        Some("load_with_nhcb") => true,
        _ => return Err(format!("`{line}` is not a load command")),
    };
    let step = duration(words.next().unwrap_or(""))?;
    let mut series: Vec<(Labels, Vec<Option<SeriesValue>>)> = Vec::new();
    let mut has_start_timestamps = false;
    for line in body {
        let (name, values) = split_series(line);
        // Start timestamps of the series in the next line; the store has no place for them.
        if name.ends_with("@st") {
            has_start_timestamps = true;
            continue;
        }
        let labels = parse_series_labels(name).map_err(|e| e.to_string())?;
        let values = parse_series_values(values).map_err(|e| e.to_string())?;
        match series.iter_mut().find(|(l, _)| *l == labels) {
            Some(twin) => twin.1 = values,
            None => series.push((labels, values)),
        }
    }
    Ok(Load { step, with_custom_buckets, has_start_timestamps, series })
}

/// Takes the next word off a text.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

fn expect_word<'a>(text: &'a str, wanted: &str) -> Result<&'a str, String> {
    let (found, rest) = word(text);
    if found == wanted { Ok(rest) } else { Err(format!("expected `{wanted}`, found `{found}`")) }
}

fn parse_eval(line: &str, body: &[&str]) -> Result<Eval, String> {
    let (command, rest) = word(line);
    let (kind, rest) = word(rest);
    let (when, rest) = match kind {
        "instant" => {
            let (at, rest) = word(expect_word(rest, "at")?);
            (When::Instant(duration(at)?), rest)
        }
        "range" => {
            let (start, rest) = word(expect_word(rest, "from")?);
            let (end, rest) = word(expect_word(rest, "to")?);
            let (step, rest) = word(expect_word(rest, "step")?);
            (When::Range { start: duration(start)?, end: duration(end)?, step: duration(step)? }, rest)
        }
        other => return Err(format!("`{other}` is neither `instant` nor `range`")),
    };
    let mut eval = Eval {
        when,
        query: rest.trim().to_owned(),
        ordered: command == "eval_ordered",
        fail: (command == "eval_fail").then_some(Text::Any),
        warn: if command == "eval_warn" { vec![Text::Any] } else { Vec::new() },
        info: if command == "eval_info" { vec![Text::Any] } else { Vec::new() },
        no_warn: false,
        no_info: false,
        expected: Expected::Series(Vec::new()),
    };
    for line in body {
        if !parse_expectation(&mut eval, line)? {
            break;
        }
    }
    Ok(eval)
}

/// Reads one line of an eval's body; false when it ends the body.
fn parse_expectation(eval: &mut Eval, line: &str) -> Result<bool, String> {
    if let Some(text) = line.strip_prefix("expected_fail_message ") {
        eval.fail = Some(Text::Exactly(text.trim().into()));
        return Ok(true);
    }
    if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
        eval.fail = Some(regex(text.trim())?);
        return Ok(true);
    }
    let (first, rest) = word(line);
    if first == "expect" {
        return parse_expect(eval, rest.trim());
    }
    if let Some(number) = crate::promql::number::parse_signed_number(line) {
        eval.expected = Expected::Scalar(number);
        return Ok(false);
    }
    let (name, values) = split_series(line);
    let labels = parse_series_labels(name).map_err(|e| e.to_string())?;
    let values = parse_series_values(values).map_err(|e| e.to_string())?;
    let is_instant = matches!(eval.when, When::Instant(_));
    match &mut eval.expected {
        Expected::RangeVector { series, .. } => series.push((labels, values)),
        Expected::Series(series) => {
            if is_instant && values.len() != 1 {
                return Err(format!("expected one value in `{line}`"));
            }
            series.push((labels, values));
        }
        _ => return Err(format!("unexpected `{line}`")),
    }
    Ok(true)
}

fn parse_expect(eval: &mut Eval, rest: &str) -> Result<bool, String> {
    let (kind, rest) = word(rest);
    let rest = rest.trim();
    let text = match (rest.strip_prefix("msg:"), rest.strip_prefix("regex:")) {
        (Some(message), _) => Text::Exactly(message.trim().into()),
        (_, Some(pattern)) => regex(pattern.trim())?,
        _ => Text::Any,
    };
    match kind {
        "ordered" => eval.ordered = true,
        "fail" => eval.fail = Some(text),
        "warn" => eval.warn.push(text),
        "info" => eval.info.push(text),
        "no_warn" => eval.no_warn = true,
        "no_info" => eval.no_info = true,
        "string" => {
            let quoted = crate::promql::parse(rest).map_err(|e| e.to_string())?;
            let crate::promql::ExprKind::String(text) = &quoted.kind else {
                return Err(format!("`{rest}` is not a string"));
            };
            eval.expected = Expected::String(text.text().into_owned());
        }
        "range" => {
            let (start, rest) = word(expect_word(expect_word(rest, "vector")?, "from")?);
            let (end, rest) = word(expect_word(rest, "to")?);
            let (step, _) = word(expect_word(rest, "step")?);
            eval.when = When::Instant(duration(end)?);
            eval.expected =
                Expected::RangeVector { start: duration(start)?, step: duration(step)?, series: Vec::new() };
        }
        other => return Err(format!("`expect {other}` is unknown")),
    }
    Ok(true)
}

fn regex(pattern: &str) -> Result<Text, String> {
    Regex::new(pattern).map(Text::Matches).map_err(|e| format!("`{pattern}` is not a regular expression: {e}"))
}

//! One target: from page to batch, as a step without clock and network.
//!
//! In:  a page or a failure, and the time of the scrape.   Out: a [`Batch`] and a [`Report`].
//! Always: a page is read whole or, when it is truncated, not at all; `up` is in every batch; a series that a page
//! no longer has is marked stale once, and all of them when a scrape fails or the target ends.
//! A counter that first appears on a target that was scraped before gets a zero at the previous scrape's time, so
//! that `rate` sees its first increments: engines register families on first use. Secrets in labels, help texts and
//! examples of faults are taken out, once for each series; series that only they told apart are one.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::balance::{Balance, Movement};
use super::cache::{Cache, EntryId, Meaning, SeriesId};
use super::fetch::{Failure, Page};
use super::own::OwnSeries;
use super::page::{shortened, truncation, valid_lines};
use super::text::{Format, Line, LineError, SampleLine, parse_after_series, parse_exemplar, parse_line, parse_series};
use crate::model::{Exemplar, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, TimestampMs, Value};
use crate::receive::identity::Identity;
use crate::receive::redact::Redactor;
use crate::rivet::inventory::Family;
use crate::rivet::names::{self, HISTOGRAM_SUFFIXES};
use crate::storage::{Batch, Point};

/// Which families of an engine's page are kept.
#[derive(Clone, Debug, Default)]
pub enum Keep {
    #[default]
    All,
    /// Canonical family names.
    Used(Arc<HashSet<String>>),
}

impl Keep {
    /// The families behind the metric names that queries use (`rivet_x_bucket` keeps all of `rivet_x`).
    pub fn used(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let family = |name: &str| names::lookup(name).map_or_else(|| name.to_owned(), |c| c.family.name.clone());
        Self::Used(Arc::new(names.into_iter().map(|name| family(name.as_ref())).collect()))
    }

    fn keeps(&self, family: &Family) -> bool {
        match self {
            Self::All => true,
            Self::Used(families) => families.contains(&family.name),
        }
    }
}

/// How much one target may bring.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series of the target; further new ones are dropped.
    pub series: usize,
    /// Labels of one series, the target's own not counted.
    pub labels: usize,
    /// Bytes of one label name or value.
    pub label_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series: 200_000, labels: 64, label_bytes: 4096 }
    }
}

/// What is to be known of a target before its first page.
#[derive(Clone, Debug)]
pub struct TargetSettings {
    pub identity: Identity,
    /// The page is an engine's: names become canonical, free text is cut.
    pub is_engine: bool,
    /// Labels on the page win over the identity's; otherwise they become `exported_<name>`.
    pub honor_labels: bool,
    /// Times on the page are kept.
    pub honor_timestamps: bool,
    pub keep: Keep,
    pub limits: Limits,
    /// Takes secrets out of labels and help texts.
    pub redactor: Arc<Redactor>,
}

impl TargetSettings {
    /// An engine with the default limits, of which everything is kept.
    pub fn engine(identity: Identity) -> Self {
        Self {
            identity,
            is_engine: true,
            honor_labels: false,
            honor_timestamps: true,
            keep: Keep::All,
            limits: Limits::default(),
            redactor: Arc::default(),
        }
    }
}

/// What one scrape brought, in figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Why the scrape failed; `None` is `up 1`.
    pub failure: Option<Failure>,
    pub body_bytes: u64,
    /// Samples read from the page, dropped ones included.
    pub samples: u64,
    /// Series that the scrape before did not have.
    pub series_added: u64,
    pub bad_lines: u64,
    /// Number, text and fault of the first bad line.
    pub bad_example: Option<String>,
    /// Samples of a series that the page had already.
    pub duplicates: u64,
    /// Samples of families that are not kept.
    pub filtered: u64,
    pub over_series_limit: u64,
    pub over_label_limit: u64,
    /// Samples whose own time lies further ahead than [`FUTURE_MS_MAX`].
    pub too_new: u64,
    /// The first series over a limit or ahead of its time.
    pub limit_example: Option<String>,
    pub stale_markers: u64,
    /// Zeros written for counters that were born since the scrape before.
    pub zeros: u64,
    /// The target looks like an address with several instances behind it.
    pub is_load_balanced: bool,
}

/// A scraped target with its memory of the scrapes before.
#[derive(Debug)]
pub struct Target {
    settings: TargetSettings,
    own: OwnSeries,
    cache: Cache,
    families: HashMap<String, Metadata>,
    balance: Balance,
    /// Number of the running or last successful scrape; the first is 1.
    scrape: u64,
    last_attempt: Option<TimestampMs>,
    /// Every series is marked stale already, because the last scrape failed.
    is_down: bool,
    points_hint: usize,
}

/// Beyond the lookback of five minutes the scrape before says nothing about the moment before this one.
const GAP_MS_MAX: i64 = 5 * 60_000;

/// Samples further ahead of the scrape are refused: they would shut the series to every later one. As Prometheus.
const FUTURE_MS_MAX: i64 = 10 * 60_000;

impl Target {
    /// A target that was never scraped.
    pub fn new(settings: TargetSettings) -> Self {
        Self {
            own: OwnSeries::new(&settings.identity),
            settings,
            cache: Cache::default(),
            families: HashMap::new(),
            balance: Balance::default(),
            scrape: 0,
            last_attempt: None,
            is_down: false,
            points_hint: 0,
        }
    }

    /// Who the target is.
    pub fn identity(&self) -> &Identity {
        &self.settings.identity
    }

    /// Makes the batch of one scrape at `at`, which took `took`.
    ///
    /// Times must rise from call to call.
    pub fn page_to_batch(
        &mut self,
        page: Result<Page<'_>, Failure>,
        at: TimestampMs,
        took: Duration,
    ) -> (Batch, Report) {
        let mut report = Report::default();
        let mut batch = match page {
            Ok(page) => self.read(page, at, &mut report),
            Err(failure) => {
                report.failure = Some(failure);
                Batch::default()
            }
        };
        if report.failure.is_some() {
            batch = self.fail(at, &mut report);
        }
        self.last_attempt = Some(at);
        self.own.append(&mut batch, at, took, &report);
        (batch, report)
    }

    /// The batch that ends the target at `at`: every live series and the target's own are marked stale.
    pub fn end(&mut self, at: TimestampMs) -> Batch {
        let mut batch = self.fail(at, &mut Report::default());
        if self.last_attempt.is_some() {
            batch.points.extend(self.own.stale(at));
        }
        batch
    }

    fn read(&mut self, page: Page<'_>, at: TimestampMs, report: &mut Report) -> Batch {
        report.body_bytes = page.body.len() as u64;
        let text = valid_lines(page.body);
        if let Some(what) = truncation(&text, page.format) {
            let clean = self.settings.redactor.scrub("line", &what);
            report.failure = Some(Failure::Truncated { what: clean.unwrap_or(what) });
            return Batch::default();
        }
        self.scrape += 1;
        let mut reading = Reading {
            batch: Batch { points: Vec::with_capacity(self.points_hint), ..Batch::default() },
            changed_families: Vec::new(),
            at,
            format: page.format,
        };
        let mut previous: Option<EntryId> = None;
        let mut rest: &str = &text;
        let mut line_number = 0u64;
        while !rest.is_empty() {
            line_number += 1;
            let predicted = self.cache.predicted(previous, rest);
            // A line feed inside a known series is escaped, so the end of its line lies behind it.
            let series_end = predicted.map_or(0, |entry| self.cache.entry(entry).raw.len());
            let line_end = rest[series_end..].find('\n').map_or(rest.len(), |at| series_end + at);
            let line = &rest[..line_end];
            rest = rest.get(line_end + 1..).unwrap_or("");
            let read = match predicted {
                Some(entry) => parse_after_series(line, series_end, page.format).map(|sample| Some((entry, sample))),
                None => self.read_line(line, &mut reading, report),
            };
            match read {
                Ok(Some((entry, sample))) => {
                    self.cache.follow(previous, entry);
                    previous = Some(entry);
                    self.take(entry, &sample, &mut reading, report);
                }
                Ok(None) => {}
                Err(error) => {
                    report.bad_lines += 1;
                    if report.bad_example.is_none() {
                        report.bad_example = Some(format!("line {line_number}: {error}: `{}`", self.shown(line)));
                    }
                }
            }
        }
        if report.samples == 0 && report.bad_lines > 0 {
            self.scrape -= 1;
            let example = report.bad_example.clone().unwrap_or_default();
            report.failure = Some(Failure::NotAPage { example });
            return Batch::default();
        }
        self.finish(reading, report)
    }

    /// Reads a line whose series was not predicted: a comment, or a sample at an unexpected place.
    fn read_line<'t>(
        &mut self,
        line: &'t str,
        reading: &mut Reading,
        report: &mut Report,
    ) -> Result<Option<(EntryId, SampleLine<'t>)>, LineError> {
        if line.starts_with(char::REPLACEMENT_CHARACTER) {
            return Err(LineError::NotUtf8);
        }
        let parsed = parse_line(line, reading.format)?;
        let help;
        let (family, change): (&str, &dyn Fn(&mut Metadata)) = match &parsed {
            Line::Sample(sample) => {
                let entry = match self.cache.find(sample.series) {
                    Some(entry) => Some(entry),
                    None => self.new_entry(sample.series, report)?,
                };
                return Ok(entry.map(|entry| (entry, sample.clone())));
            }
            Line::Type { family, kind } => (family, &|m| m.kind = *kind),
            Line::Help { family, text } => {
                let is_known = self.families.get(*family).is_some_and(|known| known.help == *text);
                let clean = if is_known { None } else { self.settings.redactor.scrub("help", text) };
                help = clean.unwrap_or_else(|| text.to_string());
                (family, &|m| m.help.clone_from(&help))
            }
            Line::Unit { family, unit } => (family, &|m| m.unit = (*unit).to_owned()),
            Line::Eof | Line::Blank => return Ok(None),
        };
        let known = self.families.get(family);
        // The limit of series also bounds what is remembered of families.
        if known.is_none() && self.families.len() >= self.settings.limits.series {
            return Ok(None);
        }
        let mut changed = known.cloned().unwrap_or_default();
        change(&mut changed);
        if known != Some(&changed) {
            self.families.insert(family.to_owned(), changed);
            if reading.changed_families.last().is_none_or(|last| last != family) {
                reading.changed_families.push(family.to_owned());
            }
        }
        Ok(None)
    }

    /// Makes sense of a series that was never met; `None` when it is over the series limit.
    fn new_entry(&mut self, raw: &str, report: &mut Report) -> Result<Option<EntryId>, LineError> {
        let mut parsed = parse_series(raw)?;
        let limits = self.settings.limits;
        let is_long = |text: &str| text.len() > limits.label_bytes;
        let has_long = parsed.labels.iter().any(|(n, v)| is_long(n) || is_long(v));
        if parsed.labels.len() > limits.labels || is_long(&parsed.name) || has_long {
            // Not remembered, or the cache would hold what the limit keeps out.
            report.samples += 1;
            report.over_label_limit += 1;
            if report.limit_example.is_none() {
                report.limit_example = Some(self.shown(raw));
            }
            return Ok(None);
        }
        let redactor = &self.settings.redactor;
        let is_redacted =
            redactor.is_suspicious(raw.as_bytes()) && redactor.labels(parsed.labels.iter_mut().map(|(n, v)| (n, v)));
        let mut labels = LabelsBuilder::default();
        for (name, value) in parsed.labels {
            labels.set(name, value);
        }
        let canonical = if self.settings.is_engine { names::translate(&parsed.name, &mut labels) } else { None };
        if let Some(c) = canonical
            && !self.settings.keep.keeps(c.family)
        {
            return Ok(Some(self.cache.add(raw, Meaning::Filtered)));
        }
        let is_cumulative = match canonical {
            Some(c) => is_cumulative(c.family.kind, &parsed.name),
            None => self.is_cumulative_by_type(&parsed.name),
        };
        self.stamp(&mut labels);
        let name: Cow<'_, str> = canonical.map_or(parsed.name, |c| c.name.into());
        labels.set(METRIC_NAME, name);
        let labels = labels.build();
        let series = match self.cache.find_series(&labels) {
            Some(series) => series,
            None if self.cache.series_len() >= limits.series => {
                report.samples += 1;
                report.over_series_limit += 1;
                if report.limit_example.is_none() {
                    report.limit_example = Some(self.shown(raw));
                }
                return Ok(None);
            }
            None => {
                let merges = canonical.is_some_and(|c| c.merges) || is_redacted && is_cumulative;
                self.cache.add_series(labels, is_cumulative, merges)
            }
        };
        Ok(Some(self.cache.add(raw, Meaning::Series(series))))
    }

    /// The beginning of a line for a person to read.
    fn shown(&self, line: &str) -> String {
        let clean = self.settings.redactor.scrub("line", line);
        shortened(clean.as_deref().unwrap_or(line)).to_owned()
    }

    /// Whether the page's own types make a stranger's series cumulative.
    fn is_cumulative_by_type(&self, series: &str) -> bool {
        let exact = self.families.get(series).map(|m| m.kind);
        let stems = HISTOGRAM_SUFFIXES.into_iter().chain(["_total"]).filter_map(|suffix| series.strip_suffix(suffix));
        let kind = exact.or_else(|| stems.into_iter().find_map(|stem| self.families.get(stem)).map(|m| m.kind));
        is_cumulative(kind.unwrap_or_default(), series)
    }

    fn stamp(&self, labels: &mut LabelsBuilder) {
        let identity = &self.settings.identity;
        let own = [("job", &identity.job), ("instance", &identity.instance)];
        let extra = identity.extra.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in own.into_iter().chain(extra) {
            if let Some(theirs) = labels.get(name).map(str::to_owned) {
                if self.settings.honor_labels {
                    continue;
                }
                let mut exported = format!("exported_{name}");
                while labels.get(&exported).is_some() {
                    exported.insert_str(0, "exported_");
                }
                labels.set(exported, theirs);
            }
            labels.set(name, value.as_str());
        }
    }

    /// Takes in one sample.
    fn take(&mut self, entry: EntryId, sample: &SampleLine<'_>, reading: &mut Reading, report: &mut Report) {
        report.samples += 1;
        let scrape = self.scrape;
        let entry = self.cache.entry(entry);
        let is_repeated = std::mem::replace(&mut entry.seen, scrape) == scrape;
        let series = match entry.meaning {
            _ if is_repeated => return report.duplicates += 1,
            Meaning::Filtered => return report.filtered += 1,
            Meaning::Series(series) => series,
        };
        let own_time = sample.timestamp.filter(|_| self.settings.honor_timestamps);
        if own_time.is_some_and(|t| t > reading.at.plus_ms(FUTURE_MS_MAX)) {
            report.too_new += 1;
            if report.limit_example.is_none() {
                let series = &self.cache.series(series).labels;
                report.limit_example = Some(format!("{series} is more than 10m ahead of the scrape"));
            }
            return;
        }
        if let Some(text) = sample.exemplar {
            self.take_exemplar(series, text, reading);
        }
        if self.cache.series(series).seen == scrape {
            let series = self.cache.series(series);
            match &mut reading.batch.points[series.point].value {
                Value::Float(sum) if series.merges => *sum += sample.value,
                _ => report.duplicates += 1,
            }
            return;
        }
        self.begin_point(series, own_time, reading, report);
        let t = own_time.unwrap_or(reading.at);
        let series = self.cache.series(series);
        series.point = reading.batch.points.len();
        series.has_own_time = own_time.is_some();
        reading.batch.points.push(Point { labels: series.labels.clone(), t, value: Value::Float(sample.value) });
    }

    /// Takes in what stands behind a sample; text that is no exemplar costs nothing but itself.
    fn take_exemplar(&mut self, series: SeriesId, text: &str, reading: &mut Reading) {
        let clean = self.settings.redactor.scrub("exemplar", text);
        let text = clean.as_deref().unwrap_or(text);
        if let Some((labels, value, t)) = parse_exemplar(text) {
            let t = t.map_or(reading.at, |t| t.min(reading.at));
            let series = self.cache.series(series).labels.clone();
            reading.batch.exemplars.push((series, Exemplar::new(labels, value, t)));
        }
    }

    /// Notes that a series is in this page, and gives it a zero when it was born since the page before.
    fn begin_point(
        &mut self,
        series: SeriesId,
        own_time: Option<TimestampMs>,
        reading: &mut Reading,
        report: &mut Report,
    ) {
        let (scrape, last_attempt) = (self.scrape, self.last_attempt);
        let is_first_page = scrape == 1;
        let series = self.cache.series(series);
        let met_before = series.seen > 0;
        series.was_known = met_before && series.seen == scrape - 1;
        series.seen = scrape;
        if series.was_known {
            return;
        }
        report.series_added += 1;
        series.fell_from = None;
        let Some(last_attempt) = last_attempt.filter(|_| !is_first_page && series.is_cumulative && own_time.is_none())
        else {
            return;
        };
        // One that comes back after it vanished has its staleness marker at the previous scrape.
        let zero_at = last_attempt.plus_ms(i64::from(met_before));
        if zero_at < reading.at && reading.at.since(last_attempt) <= GAP_MS_MAX {
            report.zeros += 1;
            reading.batch.points.push(Point { labels: series.labels.clone(), t: zero_at, value: Value::Float(0.0) });
        }
    }

    /// Ends a page: marks what vanished, compares counters, collects metadata and refusals.
    fn finish(&mut self, reading: Reading, report: &mut Report) -> Batch {
        let Reading { mut batch, changed_families, at, .. } = reading;
        let scrape = self.scrape;
        let mut movement = Movement::default();
        let mut stale = Vec::new();
        for series in self.cache.all_series() {
            if series.seen == scrape {
                let Value::Float(value) = batch.points[series.point].value else { continue };
                let last = std::mem::replace(&mut series.value, value);
                if !series.was_known || !series.is_cumulative {
                    continue;
                }
                match series.fell_from {
                    Some(before) if value >= before => {
                        series.fell_from = None;
                        movement.returned += 1;
                    }
                    // A slow climb back after a restart is no return.
                    Some(_) if value > last => series.fell_from = None,
                    _ => {}
                }
                if value < last {
                    series.fell_from = Some(last);
                    movement.fallen += 1;
                }
            } else if series.seen == scrape - 1 && !self.is_down && !series.has_own_time && series.seen > 0 {
                stale.push(series.stale_point(at));
            }
        }
        self.is_down = false;
        report.is_load_balanced = self.balance.observe(movement);
        report.stale_markers += stale.len() as u64;
        batch.points.extend(stale);
        batch.metadata = changed_families.iter().filter_map(|raw| self.metadata(raw)).collect();
        let refused = [
            ("bad_line", report.bad_lines),
            ("duplicate_in_page", report.duplicates),
            ("scrape_series_limit", report.over_series_limit),
            ("scrape_label_limit", report.over_label_limit),
            ("too_new", report.too_new),
        ];
        batch.refused = refused.into_iter().filter(|(_, n)| *n > 0).collect();
        self.points_hint = batch.points.len() + OwnSeries::COUNT;
        self.cache.compact(scrape.saturating_sub(1), report.over_series_limit > 0);
        batch
    }

    fn fail(&mut self, at: TimestampMs, report: &mut Report) -> Batch {
        let mut batch = Batch::default();
        if !std::mem::replace(&mut self.is_down, true) && self.scrape > 0 {
            let scrape = self.scrape;
            let live = self.cache.all_series().iter().filter(|s| s.seen == scrape && !s.has_own_time);
            batch.points.extend(live.map(|s| s.stale_point(at)));
            report.stale_markers = batch.points.len() as u64;
        }
        batch
    }

    /// The canonical family name and what is known of it; the page's type yields to the inventory's.
    fn metadata(&self, raw_family: &str) -> Option<(String, Metadata)> {
        let theirs = self.families.get(raw_family)?;
        let known = if self.settings.is_engine { names::canonical_family(raw_family) } else { None };
        let Some(family) = known else { return Some((raw_family.to_owned(), theirs.clone())) };
        if !self.settings.keep.keeps(family) {
            return None;
        }
        let ours = family.metadata();
        let help = if theirs.help.is_empty() { ours.help } else { theirs.help.clone() };
        let unit = if theirs.unit.is_empty() { ours.unit } else { theirs.unit.clone() };
        Some((family.name.clone(), Metadata { kind: ours.kind, help, unit }))
    }
}

/// The page being read.
struct Reading {
    batch: Batch,
    /// Raw names of families whose type, help or unit is new.
    changed_families: Vec<String>,
    at: TimestampMs,
    format: Format,
}

/// Whether a series of this name in a family of this type only grows until its process restarts.
fn is_cumulative(kind: MetricKind, series: &str) -> bool {
    match kind {
        MetricKind::Counter | MetricKind::Histogram => true,
        MetricKind::Summary => series.ends_with("_sum") || series.ends_with("_count"),
        MetricKind::Unknown => series.ends_with("_total"),
        MetricKind::Gauge | MetricKind::GaugeHistogram | MetricKind::Info | MetricKind::StateSet => false,
    }
}

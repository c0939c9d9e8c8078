//! A dashboard as we mean it, before any product's file format.
//!
//! In: rows of panels, each with queries over the signals.   Out: input of a printer such as [`super::classic`].
//! Always: a panel has a title, a description that says what to do, and a unit; a selector is written by
//! [`select`], so that each carries the variables; a threshold line is drawn from the series that the alert
//! compares with, never from a number written here.

use super::unit::Unit;

/// Columns of the grid; a row of panels fills them.
pub const GRID_COLUMNS: u32 = 24;

/// One dashboard: a few rows, read from top to bottom.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Stable id in links and file names; at most 40 characters.
    pub uid: &'static str,
    pub title: &'static str,
    /// Whom it is for and which question it answers.
    pub description: &'static str,
    /// Further tags; the common one that links the dashboards is added by the printer.
    pub tags: &'static [&'static str],
    /// Where the time picker starts, e.g. `now-3h`.
    pub from: &'static str,
    pub rows: Vec<Row>,
}

/// A titled band of panels of equal height.
#[derive(Clone, Debug)]
pub struct Row {
    pub title: &'static str,
    /// Collapsed rows query nothing until opened: internals go there.
    pub collapsed: bool,
    /// Height of each panel in grid units (30 px each).
    pub height: u32,
    pub panels: Vec<Panel>,
}

impl Row {
    /// An open row.
    pub fn new(title: &'static str, height: u32, panels: Vec<Panel>) -> Self {
        Self { title, collapsed: false, height, panels }
    }

    /// The same row, closed until somebody opens it.
    pub fn collapsed(mut self) -> Self {
        self.collapsed = true;
        self
    }
}

/// How a panel draws its values.
#[derive(Clone, Debug)]
pub enum Drawing {
    /// The last value, large.
    Stat,
    /// Lines over time; `stacked` adds them up.
    TimeSeries { stacked: bool },
    /// One line an element, at the end of the time range. `columns` renames fields in the order shown; fields
    /// not named are hidden.
    Table { columns: Vec<(&'static str, &'static str)> },
    /// One horizontal bar an element, at the end of the time range.
    BarGauge,
}

/// The colours in use. Red is kept for failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Green,
    Yellow,
    Orange,
    Red,
    Blue,
    Purple,
}

impl Color {
    /// Grafana's name of the colour, which follows the theme.
    pub fn id(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Red => "red",
            Self::Blue => "blue",
            Self::Purple => "purple",
        }
    }
}

/// One query of a panel.
#[derive(Clone, Debug)]
pub struct Target {
    pub expr: String,
    /// Legend template, e.g. `{{instance}}`.
    pub legend: &'static str,
    /// A fixed colour for the series of this query, for which the legend must be a plain word.
    pub color: Option<Color>,
}

/// A dashed line beside the data: a threshold, a request, a limit.
#[derive(Clone, Debug)]
pub struct Line {
    pub expr: String,
    /// The name in the legend; unique in the panel and without templates.
    pub name: &'static str,
    pub color: Color,
}

/// A number that reads better as a word, with its colour.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    pub value: &'static str,
    pub text: &'static str,
    pub color: Color,
}

/// One panel.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: &'static str,
    /// What it shows, and what to do when it looks wrong.
    pub description: &'static str,
    /// Grid columns, out of [`GRID_COLUMNS`].
    pub width: u32,
    pub unit: Unit,
    pub drawing: Drawing,
    pub targets: Vec<Target>,
    pub lines: Vec<Line>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Colours from a value upwards; the first has no lower end.
    pub steps: Vec<(Option<f64>, Color)>,
    pub words: Vec<Word>,
    /// What stands there when the query returns nothing.
    pub no_value: Option<&'static str>,
    /// The dashboard that shows more, as (title, uid).
    pub more: Option<(&'static str, &'static str)>,
}

impl Panel {
    fn new(drawing: Drawing, title: &'static str, width: u32, unit: Unit, description: &'static str) -> Self {
        Self {
            title,
            description,
            width,
            unit,
            drawing,
            targets: Vec::new(),
            lines: Vec::new(),
            min: None,
            max: None,
            steps: Vec::new(),
            words: Vec::new(),
            no_value: None,
            more: None,
        }
    }

    /// The last value, large.
    pub fn stat(title: &'static str, width: u32, unit: Unit, description: &'static str) -> Self {
        Self::new(Drawing::Stat, title, width, unit, description)
    }

    /// Lines over time.
    pub fn time_series(title: &'static str, width: u32, unit: Unit, description: &'static str) -> Self {
        Self::new(Drawing::TimeSeries { stacked: false }, title, width, unit, description).min(0.0)
    }

    /// Lines over time, added up.
    pub fn stacked(title: &'static str, width: u32, unit: Unit, description: &'static str) -> Self {
        Self::new(Drawing::TimeSeries { stacked: true }, title, width, unit, description).min(0.0)
    }

    /// A table of the values at the end of the range; `columns` are (field, heading) in order.
    pub fn table(
        title: &'static str,
        width: u32,
        unit: Unit,
        columns: &[(&'static str, &'static str)],
        description: &'static str,
    ) -> Self {
        Self::new(Drawing::Table { columns: columns.to_vec() }, title, width, unit, description)
    }

    /// One bar an element.
    pub fn bar_gauge(title: &'static str, width: u32, unit: Unit, description: &'static str) -> Self {
        Self::new(Drawing::BarGauge, title, width, unit, description).min(0.0)
    }

    /// Adds a query.
    pub fn query(mut self, expr: impl Into<String>, legend: &'static str) -> Self {
        self.targets.push(Target { expr: expr.into(), legend, color: None });
        self
    }

    /// Adds a query whose single series has this colour.
    pub fn query_in(mut self, color: Color, expr: impl Into<String>, legend: &'static str) -> Self {
        self.targets.push(Target { expr: expr.into(), legend, color: Some(color) });
        self
    }

    /// Adds a dashed line.
    pub fn line(mut self, color: Color, expr: impl Into<String>, name: &'static str) -> Self {
        self.lines.push(Line { expr: expr.into(), name, color });
        self
    }

    /// Draws the threshold that the alert of this severity compares `signal` with.
    pub fn threshold(self, signal: &str, severity: Severity) -> Self {
        self.line(severity.color(), threshold(signal, severity), severity.name())
    }

    /// The lower end of the axis.
    pub fn min(mut self, min: f64) -> Self {
        self.min = Some(min);
        self
    }

    /// The upper end of the axis.
    pub fn max(mut self, max: f64) -> Self {
        self.max = Some(max);
        self
    }

    /// Colours from a value upwards, the first without lower end.
    pub fn steps(mut self, steps: &[(Option<f64>, Color)]) -> Self {
        self.steps = steps.to_vec();
        self
    }

    /// Words in place of numbers.
    pub fn words(mut self, words: &[Word]) -> Self {
        self.words = words.to_vec();
        self
    }

    /// What stands there when there is nothing.
    pub fn no_value(mut self, text: &'static str) -> Self {
        self.no_value = Some(text);
        self
    }

    /// Links the dashboard that shows more.
    pub fn more(mut self, title: &'static str, uid: &'static str) -> Self {
        self.more = Some((title, uid));
        self
    }
}

/// The two severities that have a threshold to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Warning,
    Critical,
}

impl Severity {
    /// The value of the `severity` label, and the name of the line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    fn color(self) -> Color {
        match self {
            Self::Warning => Color::Yellow,
            Self::Critical => Color::Red,
        }
    }
}

/// A selector on `metric` narrowed by the dashboard's variables; `matchers` may be empty.
pub fn select(metric: &str, matchers: &str) -> String {
    let comma = if matchers.is_empty() { "" } else { "," };
    format!(r#"{metric}{{{matchers}{comma}cluster=~"$cluster",job=~"$job",instance=~"$instance"}}"#)
}

/// The one value of a threshold, over all instances that are shown.
pub fn threshold(signal: &str, severity: Severity) -> String {
    let matchers = format!(r#"signal="{signal}",severity="{}""#, severity.name());
    format!("min({})", select("rivet:threshold:instance", &matchers))
}

//! The syntax tree of PromQL: what was written, checked but not yet resolved against a time.
//!
//! Always: every node knows its place in the query; a tree is no deeper than [`super::MAX_DEPTH`], so that
//! walking it by recursion is safe. Text form: `print`. Types: `check`.

use crate::model::Matcher;

use super::functions::Function;
pub use super::operators::{AggregateOp, BinaryOp};

/// Bytes `start..end` of the query text, and where the first of them stands in its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionRange {
    pub start: u32,
    pub end: u32,
    /// Line of the start, from 1.
    pub line: u32,
    /// Column of the start in bytes, from 1, as Prometheus counts.
    pub column: u32,
}

impl Default for PositionRange {
    /// The empty range before the first byte.
    fn default() -> Self {
        Self { start: 0, end: 0, line: 1, column: 1 }
    }
}

impl PositionRange {
    /// Bytes `start..end` of this query.
    pub(super) fn of(query: &str, start: usize, end: usize) -> Self {
        let before = &query.as_bytes()[..start];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        Self { start: start as u32, end: end as u32, line: lines as u32 + 1, column: (start - line_start) as u32 + 1 }
    }

    /// The smallest range that holds both.
    pub fn to(self, other: Self) -> Self {
        let first = if self.start <= other.start { self } else { other };
        Self { end: self.end.max(other.end), ..first }
    }
}

/// A parsed expression and where it stands.
///
/// Equality compares what is written, not where.
#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub position: PositionRange,
    /// Levels of nodes below and including this one.
    pub(super) depth: u32,
    /// Whether this node or one below it needs [`EngineOptions::experimental`](super::EngineOptions::experimental).
    pub(super) experimental: bool,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// The forms an expression can have.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Number(NumberLiteral),
    String(StringLiteral),
    Vector(VectorSelector),
    Matrix(MatrixSelector),
    Subquery(Subquery),
    Call(Call),
    Aggregate(Aggregate),
    Binary(Binary),
    Unary { negative: bool, operand: Box<Expr> },
    Paren(Box<Expr>),
}

/// A number; `is_duration` when it was written as `5m`, whose value is 300.
#[derive(Clone, Copy, Debug)]
pub struct NumberLiteral {
    pub value: f64,
    pub is_duration: bool,
}

impl PartialEq for NumberLiteral {
    /// Bit by bit, and one NaN equals any other: a sign before it means nothing and is not written.
    fn eq(&self, other: &Self) -> bool {
        let same = self.value.to_bits() == other.value.to_bits() || (self.value.is_nan() && other.value.is_nan());
        same && self.is_duration == other.is_duration
    }
}

/// A string. Escapes such as `\xc5` can make it something that is not UTF-8, hence bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringLiteral {
    pub bytes: Vec<u8>,
}

impl StringLiteral {
    /// The text; bytes that are not UTF-8 are shown as U+FFFD.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// `name{label="value"} @ time offset 5m`.
#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// The name written before the braces or as a quoted string in them; `matchers` holds it too.
    pub name: Option<String>,
    pub matchers: Vec<Matcher>,
    pub time: TimeModifiers,
    pub extension: Option<Extension>,
    pub position: PositionRange,
}

impl PartialEq for VectorSelector {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.matchers, &self.time, self.extension)
            == (&other.name, &other.matchers, &other.time, other.extension)
    }
}

/// `offset` and `@`, as they stand after selectors and subqueries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeModifiers {
    /// Into the past; negative is into the future.
    pub offset: Option<Duration>,
    pub at: Option<At>,
}

/// What stands after `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    TimeMs(i64),
    /// `@ start()`: the first step of the query.
    Start,
    /// `@ end()`: the last step of the query.
    End,
}

/// How the edges of a window are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The last sample before the window stands at its left edge.
    Anchored,
    /// Values at both edges are interpolated from the samples around them.
    Smoothed,
}

/// `selector[range]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    pub selector: VectorSelector,
    pub range: Duration,
}

/// `expr[range:step]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    pub expr: Box<Expr>,
    pub range: Duration,
    /// `None` is the engine's default.
    pub step: Option<Duration>,
    pub time: TimeModifiers,
}

/// `function(args…)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub function: &'static Function,
    pub args: Vec<Expr>,
}

/// `sum by (label) (expr)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub param: Option<Box<Expr>>,
    pub expr: Box<Expr>,
    pub grouping: Vec<String>,
    pub without: bool,
}

/// `lhs op rhs` with its modifiers.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    pub lhs: Box<Expr>,
    pub rhs: Box<Expr>,
    /// `bool`: a comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    pub matching: Matching,
}

/// How series of the two sides find each other.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    pub cardinality: Cardinality,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    pub on: bool,
    /// Labels that `group_left` or `group_right` takes from the "one" side.
    pub include: Vec<String>,
    /// Value that stands for a missing series of a side.
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

impl PartialEq for Matching {
    fn eq(&self, other: &Self) -> bool {
        let bits = |fill: Option<f64>| fill.map(f64::to_bits);
        (self.cardinality, &self.labels, self.on, &self.include)
            == (other.cardinality, &other.labels, other.on, &other.include)
            && (bits(self.fill_left), bits(self.fill_right)) == (bits(other.fill_left), bits(other.fill_right))
    }
}

/// How many series of each side may share a match group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left`.
    ManyToOne,
    /// `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// A duration as it is written; resolved against the query's range and step when evaluated.
#[derive(Clone, Debug)]
pub struct Duration {
    pub kind: DurationKind,
    pub position: PositionRange,
    pub(super) depth: u32,
}

impl PartialEq for Duration {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// The forms of a duration expression.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// `5m`, or a bare number of seconds; the value is in seconds.
    Literal(NumberLiteral),
    /// `step()`: the step of the query.
    Step,
    /// `range()`: end less start of the query.
    Range,
    Sign {
        negative: bool,
        operand: Box<Duration>,
    },
    Binary {
        op: BinaryOp,
        lhs: Box<Duration>,
        rhs: Box<Duration>,
    },
    MinOf(Box<Duration>, Box<Duration>),
    MaxOf(Box<Duration>, Box<Duration>),
    Paren(Box<Duration>),
}

impl Duration {
    /// Where the first part stands that Prometheus has behind `promql-duration-expr`: anything but a literal.
    pub(super) fn experiment(&self) -> Option<PositionRange> {
        match &self.kind {
            DurationKind::Literal(_) => None,
            DurationKind::Step | DurationKind::Range => Some(self.position),
            DurationKind::Sign { operand, .. } => operand.experiment(),
            DurationKind::Paren(inner) => Some(inner.experiment().unwrap_or(inner.position)),
            DurationKind::Binary { lhs, rhs, .. } => {
                Some(lhs.experiment().or_else(|| rhs.experiment()).unwrap_or(lhs.position))
            }
            DurationKind::MinOf(a, b) | DurationKind::MaxOf(a, b) => {
                Some(a.experiment().or_else(|| b.experiment()).unwrap_or(self.position))
            }
        }
    }
}

/// The four types of PromQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    String,
    Vector,
    Matrix,
}

impl ValueType {
    /// The type as error messages name it.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// The type as the HTTP API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

impl Expr {
    /// The type of the expression's value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Vector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Call(call) => call.function.returns,
            // Evaluation asks at every node: chains grow to the left, so the right side, which is short, is asked first.
            ExprKind::Binary(binary) => {
                let is_scalar = !binary.op.is_set()
                    && binary.rhs.value_type() == ValueType::Scalar
                    && binary.lhs.value_type() == ValueType::Scalar;
                if is_scalar { ValueType::Scalar } else { ValueType::Vector }
            }
            ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => inner.value_type(),
        }
    }

    /// The expression without the parentheses around it.
    pub fn unwrap_parens(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// Direct sub-expressions, in the order in which they are written.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = &Self> {
        let (few, many): ([Option<&Self>; 2], &[Self]) = match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => ([None; 2], &[]),
            ExprKind::Subquery(subquery) => ([Some(&subquery.expr), None], &[]),
            ExprKind::Call(call) => ([None; 2], &call.args),
            ExprKind::Aggregate(aggregate) => ([aggregate.param.as_deref(), Some(&aggregate.expr)], &[]),
            ExprKind::Binary(binary) => ([Some(&binary.lhs), Some(&binary.rhs)], &[]),
            ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => ([Some(inner), None], &[]),
        };
        few.into_iter().flatten().chain(many)
    }

    /// This expression and all below it, each before its children.
    pub fn walk(&self) -> impl Iterator<Item = &Self> {
        let mut waiting = vec![self];
        std::iter::from_fn(move || {
            let next = waiting.pop()?;
            waiting.extend(next.children().rev());
            Some(next)
        })
    }

    /// The selector that this node itself is, with or without a range.
    pub(super) fn direct_selector(&self) -> Option<&VectorSelector> {
        match &self.kind {
            ExprKind::Vector(selector) => Some(selector),
            ExprKind::Matrix(matrix) => Some(&matrix.selector),
            _ => None,
        }
    }

    /// What this node itself, without those below it, uses of what Prometheus has behind feature flags: where, and in
    /// the words in which Prometheus refuses it.
    pub(super) fn own_experiment(&self) -> Option<(PositionRange, String)> {
        let durations = match &self.kind {
            ExprKind::Vector(selector) => [None, None, selector.time.offset.as_ref()],
            ExprKind::Matrix(matrix) => [Some(&matrix.range), None, matrix.selector.time.offset.as_ref()],
            ExprKind::Subquery(subquery) => {
                [Some(&subquery.range), subquery.step.as_ref(), subquery.time.offset.as_ref()]
            }
            _ => [None; 3],
        };
        if let Some(place) = durations.into_iter().flatten().find_map(Duration::experiment) {
            return Some((place, "experimental duration expression is not enabled".into()));
        }
        let whole = |message: String| Some((self.position, message));
        match &self.kind {
            ExprKind::Call(call) if call.function.experimental => {
                let name = call.function.name;
                let end = self.position.start + name.len() as u32;
                Some((PositionRange { end, ..self.position }, format!("function {name:?} is not enabled")))
            }
            ExprKind::Aggregate(aggregate) if aggregate.op.is_experimental() => {
                whole(format!("{}() is experimental and not enabled", aggregate.op.as_str()))
            }
            ExprKind::Binary(b) if b.matching.fill_left.is_some() || b.matching.fill_right.is_some() => {
                whole("binop fill modifiers are experimental and not enabled".into())
            }
            _ => match self.direct_selector()?.extension? {
                Extension::Anchored => whole("anchored modifier is experimental and not enabled".into()),
                Extension::Smoothed => whole("smoothed modifier is experimental and not enabled".into()),
            },
        }
    }

    /// The first of all such uses, in the order in which Prometheus finds them: what is inside comes first.
    pub(super) fn first_experiment(&self) -> Option<(PositionRange, String)> {
        if !self.experimental {
            return None;
        }
        self.children().find_map(Self::first_experiment).or_else(|| self.own_experiment())
    }
}

/// Every selector of the expression, in the order in which they are written.
pub fn selectors(expr: &Expr) -> impl Iterator<Item = &VectorSelector> {
    expr.walk().filter_map(Expr::direct_selector)
}

//! Runs PromQL test scripts as Prometheus' own runner does (`promql/promqltest`).
//!
//! In:  the text of a script.   Out: how many evaluations passed, and for each failure what was expected and got.
//! Each instant evaluation is also run with its selectors pinned by `@`, at other times, and each of these as the
//! middle of a range query.   Not kept: start timestamps (`series@st` lines are read and passed over).

mod compare;
pub mod fuzz;
mod script;
mod storage;

use self::script::{Command, Eval, Expected, When};
pub use self::storage::MemoryStorage;
use super::ast::{At, Expr, ExprKind, TimeModifiers};
use super::engine::{Engine, EngineOptions, QueryResult, QueryValue};
use super::error::QueryError;
use super::functions::FunctionId;
use crate::model::{TimeRange, TimestampMs};
use crate::storage::{Select, SeriesData};

/// Most samples that one query of a script may hold, as in Prometheus' runner.
const MAX_SAMPLES: usize = 10_000;

/// What an evaluation is about, for scores by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Floats and stable features.
    Float,
    /// Native histograms take part.
    Native,
    /// Something that Prometheus has behind a feature flag takes part.
    Experimental,
}

impl Kind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Float, Self::Native, Self::Experimental];

    /// The kind as score tables name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Float => "float core",
            Self::Native => "native histograms",
            Self::Experimental => "experimental",
        }
    }
}

/// What became of one evaluation.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Line of the `eval`, from 1.
    pub line: usize,
    pub query: String,
    pub kind: Kind,
    /// Why it failed: in which run, what was expected, what was got.
    pub failure: Option<String>,
}

/// What became of a script.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Evaluations that passed, of one kind or of all.
    pub fn passed(&self, kind: Option<Kind>) -> usize {
        self.of_kind(kind).filter(|o| o.failure.is_none()).count()
    }

    /// Evaluations that failed, of one kind or of all.
    pub fn failed(&self, kind: Option<Kind>) -> usize {
        self.of_kind(kind).filter(|o| o.failure.is_some()).count()
    }

    fn of_kind(&self, kind: Option<Kind>) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(move |o| kind.is_none_or(|k| k == o.kind))
    }
}

/// Runs a script. A mistake in the script itself is a failure at its line; what follows is still run.
pub fn run_script(text: &str) -> Report {
    let options = EngineOptions { max_samples: MAX_SAMPLES, experimental: true, ..EngineOptions::default() };
    let mut runner = Runner { engine: Engine::new(options), storage: MemoryStorage::default() };
    let mut report = Report::default();
    for (line, command) in script::parse(text) {
        let failed = |query: &str, failure: String| Outcome {
            line,
            query: query.to_owned(),
            kind: Kind::Float,
            failure: Some(failure),
        };
        match command {
            Err(reason) => report.outcomes.push(failed("", reason)),
            Ok(Command::Clear) => runner.storage = MemoryStorage::default(),
            Ok(Command::Load(load)) => {
                if let Err(reason) = runner.storage.load(&load) {
                    report.outcomes.push(failed("load", reason));
                }
            }
            Ok(Command::Eval(eval)) => match super::parse(&eval.query) {
                Err(error) => report.outcomes.push(failed(&eval.query, error.render())),
                Ok(expr) => {
                    let kind = runner.kind_of(&expr);
                    let failure = runner.check(&eval, &expr).err();
                    report.outcomes.push(Outcome { line, query: eval.query, kind, failure });
                }
            },
        }
    }
    report
}

struct Runner {
    engine: Engine,
    storage: MemoryStorage,
}

impl Runner {
    fn kind_of(&self, expr: &Expr) -> Kind {
        let stable = Engine::new(EngineOptions::default());
        if self.storage.lacks_start_timestamps || stable.check_experimental(expr).is_err() {
            return Kind::Experimental;
        }
        let holds_histograms = |selector: &super::VectorSelector| {
            let Ok(mut set) = self.storage.select(&selector.matchers, TimeRange::ALL) else { return false };
            let mut data = SeriesData::default();
            while let Ok(Some(_)) = set.next_into(&mut data) {
                if !data.histograms.is_empty() {
                    return true;
                }
            }
            false
        };
        if super::selectors(expr).any(holds_histograms) { Kind::Native } else { Kind::Float }
    }

    fn check(&self, eval: &Eval, expr: &Expr) -> Result<(), String> {
        match eval.when {
            When::Range { start, end, step } => {
                let result = self.engine.range(&self.storage, expr, TimestampMs(start), TimestampMs(end), step);
                compare::outcome(eval, &result, |value| compare::matrix(&eval.expected, value, start, step))
            }
            When::Instant(at) => self.check_instant(eval, expr, at),
        }
    }

    fn check_instant(&self, eval: &Eval, expr: &Expr, at: i64) -> Result<(), String> {
        self.check_instant_at(eval, expr, at).map_err(|e| format!("at {at} ms: {e}"))?;
        if let Some(pinned) = pinned(expr, at) {
            // As the reference runner: far before, at zero, shortly before, at and far after the time itself.
            let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
            for time in times {
                self.check_instant_at(eval, &pinned, time).map_err(|e| format!("as `{pinned}` at {time} ms: {e}"))?;
            }
        }
        Ok(())
    }

    /// The instant query itself, and the same as the middle of a range query.
    fn check_instant_at(&self, eval: &Eval, expr: &Expr, at: i64) -> Result<(), String> {
        let result = self.engine.instant(&self.storage, expr, TimestampMs(at));
        compare::outcome(eval, &result, |value| compare::instant(eval, value))?;
        let is_plain = matches!(expr.value_type(), super::ValueType::Scalar | super::ValueType::Vector);
        let spans_query =
            ["start()", "end()", "range()", "step()"].iter().any(|f| eval.query.to_lowercase().contains(f));
        if eval.ordered || spans_query || !is_plain || matches!(eval.expected, Expected::RangeVector { .. }) {
            return Ok(());
        }
        const MINUTE: i64 = 60_000;
        let (start, end) = (TimestampMs(at - MINUTE), TimestampMs(at + MINUTE));
        let result = self.engine.range(&self.storage, expr, start, end, MINUTE);
        let middle = result.map(|result| at_time(result, TimestampMs(at), eval));
        compare::value_or_failure(eval, &middle, |value| compare::instant(eval, value))
            .map_err(|e| format!("as the middle of a range: {e}"))
    }
}

/// The part of a matrix at one time, as an instant query would give it.
fn at_time(result: QueryResult, at: TimestampMs, eval: &Eval) -> QueryResult {
    let QueryValue::Matrix(matrix) = &result.value else { return result };
    let value = compare::slice(matrix, at);
    let value = match (&eval.expected, value) {
        (Expected::Scalar(_), QueryValue::Vector(samples)) => compare::as_scalar(samples, at),
        (_, value) => value,
    };
    QueryResult { value, ..result }
}

/// The expression with `@ at` on all outermost selectors and subqueries that have none; `None` where its value
/// depends on the time of evaluation in other ways.
fn pinned(expr: &Expr, at: i64) -> Option<Expr> {
    use FunctionId as F;
    let depends_on_time = |id: FunctionId| {
        matches!(
            id,
            F::DaysInMonth
                | F::DayOfMonth
                | F::DayOfWeek
                | F::DayOfYear
                | F::Hour
                | F::Minute
                | F::Month
                | F::Year
                | F::Time
                | F::Timestamp
                | F::PredictLinear
                | F::Start
                | F::End
                | F::Range
                | F::Step
        )
    };
    let is_dependent =
        expr.walk().any(|e| matches!(&e.kind, ExprKind::Call(call) if depends_on_time(call.function.id)));
    if is_dependent {
        return None;
    }
    let mut pinned = expr.clone();
    pin(&mut pinned, at);
    Some(pinned)
}

fn pin(expr: &mut Expr, at: i64) {
    let set = |time: &mut TimeModifiers| {
        time.at.get_or_insert(At::TimeMs(at));
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Vector(selector) => set(&mut selector.time),
        ExprKind::Matrix(matrix) => set(&mut matrix.selector.time),
        // What is inside a subquery runs at the times of the subquery.
        ExprKind::Subquery(subquery) => set(&mut subquery.time),
        ExprKind::Call(call) if call.function.id == FunctionId::Info => {
            if let Some(first) = call.args.first_mut() {
                pin(first, at);
            }
        }
        ExprKind::Call(call) => call.args.iter_mut().for_each(|arg| pin(arg, at)),
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter_mut().for_each(|param| pin(param, at));
            pin(&mut aggregate.expr, at);
        }
        ExprKind::Binary(binary) => {
            pin(&mut binary.lhs, at);
            pin(&mut binary.rhs, at);
        }
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => pin(inner, at),
    }
}

/// The answer to a query, as checks take it.
type Answer = Result<QueryResult, QueryError>;

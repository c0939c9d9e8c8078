//! The table of PromQL's functions: names, types of arguments and results.
//!
//! Evaluation is in `eval::functions` and `eval::window`; the enum makes both match it exhaustively.

use super::ast::ValueType;
use ValueType::{Matrix, Scalar, String as Text, Vector};

/// A function's signature.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub id: FunctionId,
    /// Types of all arguments, optional ones included; the last repeats when there may be more.
    pub args: &'static [ValueType],
    pub optional: Optional,
    pub returns: ValueType,
    /// Whether Prometheus has it behind `promql-experimental-functions`.
    pub experimental: bool,
}

/// How many arguments may be left out or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optional {
    /// Exactly the listed ones.
    None,
    /// The last listed one may be missing, and up to so many may stand in its place.
    UpTo(usize),
    /// The last listed one may be missing or repeated without limit.
    Unlimited,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Function {
    /// Looks a function up by its exact name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|f| f.name == name)
    }

    /// Fewest arguments it takes.
    pub fn min_args(&self) -> usize {
        match self.optional {
            Optional::None => self.args.len(),
            Optional::UpTo(_) | Optional::Unlimited => self.args.len() - 1,
        }
    }

    /// Most arguments it takes; `None` is without limit.
    pub fn max_args(&self) -> Option<usize> {
        match self.optional {
            Optional::None => Some(self.args.len()),
            Optional::UpTo(more) => Some(self.min_args() + more),
            Optional::Unlimited => None,
        }
    }

    /// The type of argument number `index`.
    pub fn arg_type(&self, index: usize) -> ValueType {
        self.args[index.min(self.args.len() - 1)]
    }
}

/// Every function by a name that the compiler checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionId {
    Abs,
    Absent,
    AbsentOverTime,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    AvgOverTime,
    Ceil,
    Changes,
    Clamp,
    ClampMax,
    ClampMin,
    Cos,
    Cosh,
    CountOverTime,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Deg,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    End,
    Exp,
    FirstOverTime,
    Floor,
    HistogramAvg,
    HistogramCount,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramStddev,
    HistogramStdvar,
    HistogramSum,
    Hour,
    Idelta,
    Increase,
    Info,
    Irate,
    LabelJoin,
    LabelReplace,
    LastOverTime,
    Ln,
    Log10,
    Log2,
    MadOverTime,
    MaxOf,
    MaxOverTime,
    MinOf,
    MinOverTime,
    Minute,
    Month,
    Pi,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rad,
    Range,
    Rate,
    Resets,
    Round,
    Scalar,
    Sgn,
    Sin,
    Sinh,
    Sort,
    SortByLabel,
    SortByLabelDesc,
    SortDesc,
    Sqrt,
    Start,
    StartTimestamp,
    StddevOverTime,
    StdvarOverTime,
    Step,
    SumOverTime,
    Tan,
    Tanh,
    Time,
    Timestamp,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
    Vector,
    Year,
}

const fn f(
    name: &'static str,
    id: FunctionId,
    args: &'static [ValueType],
    optional: Optional,
    returns: ValueType,
) -> Function {
    Function { name, id, args, optional, returns, experimental: false }
}

const fn experimental(function: Function) -> Function {
    Function { experimental: true, ..function }
}

/// A function of one instant vector.
const fn vector(name: &'static str, id: FunctionId) -> Function {
    f(name, id, &[Vector], Optional::None, Vector)
}

/// A function of one range vector.
const fn window(name: &'static str, id: FunctionId) -> Function {
    f(name, id, &[Matrix], Optional::None, Vector)
}

/// A part of the date, of `vector(time())` unless given.
const fn date(name: &'static str, id: FunctionId) -> Function {
    f(name, id, &[Vector], Optional::UpTo(1), Vector)
}

const fn scalar(name: &'static str, id: FunctionId) -> Function {
    f(name, id, &[], Optional::None, Scalar)
}

/// All functions, sorted by name.
pub static FUNCTIONS: [Function; 90] = [
    vector("abs", FunctionId::Abs),
    vector("absent", FunctionId::Absent),
    window("absent_over_time", FunctionId::AbsentOverTime),
    vector("acos", FunctionId::Acos),
    vector("acosh", FunctionId::Acosh),
    vector("asin", FunctionId::Asin),
    vector("asinh", FunctionId::Asinh),
    vector("atan", FunctionId::Atan),
    vector("atanh", FunctionId::Atanh),
    window("avg_over_time", FunctionId::AvgOverTime),
    vector("ceil", FunctionId::Ceil),
    window("changes", FunctionId::Changes),
    f("clamp", FunctionId::Clamp, &[Vector, Scalar, Scalar], Optional::None, Vector),
    f("clamp_max", FunctionId::ClampMax, &[Vector, Scalar], Optional::None, Vector),
    f("clamp_min", FunctionId::ClampMin, &[Vector, Scalar], Optional::None, Vector),
    vector("cos", FunctionId::Cos),
    vector("cosh", FunctionId::Cosh),
    window("count_over_time", FunctionId::CountOverTime),
    date("day_of_month", FunctionId::DayOfMonth),
    date("day_of_week", FunctionId::DayOfWeek),
    date("day_of_year", FunctionId::DayOfYear),
    date("days_in_month", FunctionId::DaysInMonth),
    vector("deg", FunctionId::Deg),
    window("delta", FunctionId::Delta),
    window("deriv", FunctionId::Deriv),
    experimental(f(
        "double_exponential_smoothing",
        FunctionId::DoubleExponentialSmoothing,
        &[Matrix, Scalar, Scalar],
        Optional::None,
        Vector,
    )),
    experimental(scalar("end", FunctionId::End)),
    vector("exp", FunctionId::Exp),
    experimental(window("first_over_time", FunctionId::FirstOverTime)),
    vector("floor", FunctionId::Floor),
    vector("histogram_avg", FunctionId::HistogramAvg),
    vector("histogram_count", FunctionId::HistogramCount),
    f("histogram_fraction", FunctionId::HistogramFraction, &[Scalar, Scalar, Vector], Optional::None, Vector),
    f("histogram_quantile", FunctionId::HistogramQuantile, &[Scalar, Vector], Optional::None, Vector),
    experimental(f(
        "histogram_quantiles",
        FunctionId::HistogramQuantiles,
        &[Vector, Text, Scalar, Scalar],
        Optional::UpTo(9),
        Vector,
    )),
    vector("histogram_stddev", FunctionId::HistogramStddev),
    vector("histogram_stdvar", FunctionId::HistogramStdvar),
    vector("histogram_sum", FunctionId::HistogramSum),
    date("hour", FunctionId::Hour),
    window("idelta", FunctionId::Idelta),
    window("increase", FunctionId::Increase),
    experimental(f("info", FunctionId::Info, &[Vector, Vector], Optional::UpTo(1), Vector)),
    window("irate", FunctionId::Irate),
    f("label_join", FunctionId::LabelJoin, &[Vector, Text, Text, Text], Optional::Unlimited, Vector),
    f("label_replace", FunctionId::LabelReplace, &[Vector, Text, Text, Text, Text], Optional::None, Vector),
    window("last_over_time", FunctionId::LastOverTime),
    vector("ln", FunctionId::Ln),
    vector("log10", FunctionId::Log10),
    vector("log2", FunctionId::Log2),
    experimental(window("mad_over_time", FunctionId::MadOverTime)),
    experimental(f("max_of", FunctionId::MaxOf, &[Scalar, Scalar], Optional::None, Scalar)),
    window("max_over_time", FunctionId::MaxOverTime),
    experimental(f("min_of", FunctionId::MinOf, &[Scalar, Scalar], Optional::None, Scalar)),
    window("min_over_time", FunctionId::MinOverTime),
    date("minute", FunctionId::Minute),
    date("month", FunctionId::Month),
    scalar("pi", FunctionId::Pi),
    f("predict_linear", FunctionId::PredictLinear, &[Matrix, Scalar], Optional::None, Vector),
    window("present_over_time", FunctionId::PresentOverTime),
    f("quantile_over_time", FunctionId::QuantileOverTime, &[Scalar, Matrix], Optional::None, Vector),
    vector("rad", FunctionId::Rad),
    experimental(scalar("range", FunctionId::Range)),
    window("rate", FunctionId::Rate),
    window("resets", FunctionId::Resets),
    f("round", FunctionId::Round, &[Vector, Scalar], Optional::UpTo(1), Vector),
    f("scalar", FunctionId::Scalar, &[Vector], Optional::None, Scalar),
    vector("sgn", FunctionId::Sgn),
    vector("sin", FunctionId::Sin),
    vector("sinh", FunctionId::Sinh),
    vector("sort", FunctionId::Sort),
    experimental(f("sort_by_label", FunctionId::SortByLabel, &[Vector, Text], Optional::Unlimited, Vector)),
    experimental(f("sort_by_label_desc", FunctionId::SortByLabelDesc, &[Vector, Text], Optional::Unlimited, Vector)),
    vector("sort_desc", FunctionId::SortDesc),
    vector("sqrt", FunctionId::Sqrt),
    experimental(scalar("start", FunctionId::Start)),
    experimental(vector("start_timestamp", FunctionId::StartTimestamp)),
    window("stddev_over_time", FunctionId::StddevOverTime),
    window("stdvar_over_time", FunctionId::StdvarOverTime),
    experimental(scalar("step", FunctionId::Step)),
    window("sum_over_time", FunctionId::SumOverTime),
    vector("tan", FunctionId::Tan),
    vector("tanh", FunctionId::Tanh),
    scalar("time", FunctionId::Time),
    vector("timestamp", FunctionId::Timestamp),
    experimental(window("ts_of_first_over_time", FunctionId::TsOfFirstOverTime)),
    experimental(window("ts_of_last_over_time", FunctionId::TsOfLastOverTime)),
    experimental(window("ts_of_max_over_time", FunctionId::TsOfMaxOverTime)),
    experimental(window("ts_of_min_over_time", FunctionId::TsOfMinOverTime)),
    f("vector", FunctionId::Vector, &[Scalar], Optional::None, Vector),
    date("year", FunctionId::Year),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_function_stands_once() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        let ids: std::collections::HashSet<FunctionId> = FUNCTIONS.iter().map(|f| f.id).collect();
        assert_eq!(ids.len(), FUNCTIONS.len());
    }
}

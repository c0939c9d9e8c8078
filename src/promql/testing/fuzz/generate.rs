//! Queries by grammar: every function, operator and modifier, with arguments of the right type, mostly.

use super::Entropy;
use crate::promql::ast::ValueType;
use crate::promql::functions::{FUNCTIONS, Function};

const NAMES: [&str; 12] = [
    "counter_total",
    "gauge",
    "gaps",
    "native",
    "odd",
    "classic_bucket",
    "custom",
    "strange",
    "mixed",
    "target_info",
    "{\"with.dots\"}",
    "nothing",
];
const MATCHERS: [&str; 12] = [
    r#"pod="a""#,
    r#"pod!="a""#,
    r#"pod=~"a|b""#,
    r#"pod!~"[ab]""#,
    r#"job=~".+""#,
    r#"le=~"[0-9].*""#,
    r#"none="""#,
    r#"__name__=~".*total""#,
    r#""a b"="ü""#,
    r#"pod=~"(a|b)(c|d)?""#,
    r#"instance!~".*""#,
    r#"version=~"\\w""#,
];
const LABELS: [&str; 8] = ["pod", "job", "instance", "le", "version", "none", "__name__", "\"a b\""];
const DURATIONS: [&str; 16] = [
    "1m",
    "5m",
    "90s",
    "1ms",
    "1h",
    "7d",
    "0s",
    "-5m",
    "100y",
    "30",
    "1.5",
    "step()",
    "5m * 2",
    "(2m)",
    "range() / 3",
    "max_of(1m, step())",
];
const NUMBERS: [&str; 20] = [
    "0",
    "1",
    "-1",
    "2",
    "0.5",
    "0.99",
    "NaN",
    "Inf",
    "-Inf",
    "1e308",
    "5e-324",
    "0x1F",
    "1_000",
    "9223372036854775807",
    "3600",
    "1m",
    "-0",
    "1e-9",
    "10",
    "4",
];
const TEXTS: [&str; 18] = [
    "\"pod\"",
    "\"\"",
    "\"le\"",
    "\"$1\"",
    "\"(.*)\"",
    "\"$1$1$1\"",
    "'x'",
    "`a|b`",
    "\"__name__\"",
    "\"ü\"",
    "\"\\xff\"",
    "\"(.)(.*)\"",
    "\"${2}-$1\"",
    "\"[\"",
    "\"a.*\"",
    "\"instance\"",
    "\"-\"",
    "\"((a*)*)*\"",
];
const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "limitk",
    "limit_ratio",
    "quantile",
    "count_values",
];
const OPERATORS: [&str; 18] =
    ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">=", "</", ">/", "and", "or", "unless"];

/// Draws queries.
pub struct Generator<'e> {
    entropy: &'e mut Entropy,
    /// Nodes that the query may still have.
    left: usize,
}

impl<'e> Generator<'e> {
    /// A generator that draws from `entropy`.
    pub fn new(entropy: &'e mut Entropy) -> Self {
        Self { entropy, left: 0 }
    }

    /// A query of any type, vectors mostly.
    pub fn query(&mut self) -> String {
        self.left = 2 + self.entropy.below(24);
        let kind = match self.entropy.below(12) {
            0 => ValueType::Scalar,
            1 => ValueType::Matrix,
            _ => ValueType::Vector,
        };
        self.expr(kind)
    }

    fn expr(&mut self, kind: ValueType) -> String {
        self.left = self.left.saturating_sub(1);
        // Once in a while something else than what is expected, which must be refused.
        let kind = match self.entropy.one_in(150) {
            true => [ValueType::Scalar, ValueType::Vector, ValueType::Matrix, ValueType::String][self.entropy.below(4)],
            false => kind,
        };
        match kind {
            ValueType::String => self.entropy.pick(&TEXTS).to_owned(),
            ValueType::Scalar => self.scalar(),
            ValueType::Vector => self.vector(),
            ValueType::Matrix => self.matrix(),
        }
    }

    fn scalar(&mut self) -> String {
        if self.left == 0 || self.entropy.one_in(2) {
            return self.entropy.pick(&NUMBERS).to_owned();
        }
        match self.entropy.below(4) {
            0 => self.call(ValueType::Scalar),
            1 => {
                let op = self.entropy.pick(&OPERATORS[..15]);
                let bool = if self.entropy.one_in(8) { "" } else { "bool" };
                let modifier = if op.starts_with(['=', '!', '<', '>']) && !op.ends_with('/') { bool } else { "" };
                format!("({} {op} {modifier} {})", self.scalar(), self.scalar())
            }
            2 => format!("({})", self.scalar()),
            _ => format!("{}{}", self.entropy.pick(&["-", "+"]), self.scalar()),
        }
    }

    fn vector(&mut self) -> String {
        if self.left == 0 {
            return self.selector();
        }
        match self.entropy.below(10) {
            0 | 1 => self.selector(),
            2..=4 => self.call(ValueType::Vector),
            5 | 6 => self.aggregation(),
            7 | 8 => self.binary(),
            _ => match self.entropy.below(3) {
                0 => format!("({})", self.expr(ValueType::Vector)),
                1 => format!("-{}", self.expr(ValueType::Vector)),
                _ => format!("{}{}", self.selector(), self.entropy.pick(&[" smoothed", " anchored", " @ end()"])),
            },
        }
    }

    fn selector(&mut self) -> String {
        let name = self.entropy.pick(&NAMES);
        if name.starts_with('{') {
            return name.to_owned() + &self.modifiers();
        }
        let count = [0, 0, 1, 1, 2, 3][self.entropy.below(6)];
        let matchers: Vec<&str> = (0..count).map(|_| self.entropy.pick(&MATCHERS)).collect();
        let braces = if matchers.is_empty() { String::new() } else { format!("{{{}}}", matchers.join(",")) };
        let name = if !matchers.is_empty() && self.entropy.one_in(12) { "" } else { name };
        format!("{name}{braces}{}", self.modifiers())
    }

    fn modifiers(&mut self) -> String {
        let mut text = String::new();
        if self.entropy.one_in(8) {
            text.push_str(&format!(" offset {}", self.entropy.pick(&DURATIONS)));
        }
        if self.entropy.one_in(10) {
            text.push_str(self.entropy.pick(&[" @ start()", " @ end()", " @ 600", " @ 1e10", " @ -1", " @ 1234.567"]));
        }
        text
    }

    fn matrix(&mut self) -> String {
        if self.left > 0 && self.entropy.one_in(3) {
            let inner = self.expr(ValueType::Vector);
            let step = if self.entropy.one_in(3) { "" } else { self.entropy.pick(&DURATIONS) };
            return format!("({inner})[{}:{step}]{}", self.entropy.pick(&DURATIONS), self.modifiers());
        }
        let name = self.entropy.pick(&NAMES);
        let extension = if self.entropy.one_in(8) { self.entropy.pick(&[" smoothed", " anchored"]) } else { "" };
        format!("{name}[{}]{extension}{}", self.entropy.pick(&DURATIONS), self.modifiers())
    }

    fn call(&mut self, returns: ValueType) -> String {
        let function = loop {
            let function = &FUNCTIONS[self.entropy.below(FUNCTIONS.len())];
            if function.returns == returns {
                break function;
            }
        };
        format!("{}({})", function.name, self.arguments(function))
    }

    fn arguments(&mut self, function: &Function) -> String {
        let (min, max) = (function.min_args(), function.max_args().unwrap_or(function.args.len() + 2));
        let count = min + self.entropy.below(max - min + 1);
        let arguments: Vec<String> = (0..count).map(|index| self.expr(function.arg_type(index))).collect();
        arguments.join(", ")
    }

    fn labels(&mut self) -> String {
        let count = self.entropy.below(3);
        (0..count).map(|_| self.entropy.pick(&LABELS)).collect::<Vec<_>>().join(", ")
    }

    fn aggregation(&mut self) -> String {
        let op = self.entropy.pick(&AGGREGATIONS);
        let grouping = match self.entropy.below(4) {
            0 => String::new(),
            1 => format!(" without ({})", self.labels()),
            _ => format!(" by ({})", self.labels()),
        };
        let parameter = match op {
            "topk" | "bottomk" | "limitk" | "limit_ratio" | "quantile" => self.expr(ValueType::Scalar) + ", ",
            "count_values" => self.expr(ValueType::String) + ", ",
            _ => String::new(),
        };
        format!("{op}{grouping} ({parameter}{})", self.expr(ValueType::Vector))
    }

    fn binary(&mut self) -> String {
        let op = self.entropy.pick(&OPERATORS);
        let is_comparison = op.starts_with(['=', '!', '<', '>']) && !op.ends_with('/');
        let bool = if is_comparison && self.entropy.one_in(3) { " bool" } else { "" };
        let sides = match self.entropy.below(4) {
            0 => [ValueType::Vector, ValueType::Scalar],
            1 => [ValueType::Scalar, ValueType::Vector],
            _ => [ValueType::Vector, ValueType::Vector],
        };
        let mut matching = String::new();
        if sides[0] == sides[1] && self.entropy.one_in(2) {
            matching = format!(" {} ({})", self.entropy.pick(&["on", "ignoring"]), self.labels());
            if self.entropy.one_in(2) {
                matching.push_str(&format!(
                    " {} ({})",
                    self.entropy.pick(&["group_left", "group_right"]),
                    self.labels()
                ));
            }
            if self.entropy.one_in(4) {
                let number = self.entropy.pick(&NUMBERS[..8]);
                matching.push_str(&format!(" {}({number})", self.entropy.pick(&["fill", "fill_left", "fill_right"])));
            }
        }
        let (lhs, rhs) = (self.expr(sides[0]), self.expr(sides[1]));
        format!("({lhs} {op}{bool}{matching} {rhs})")
    }
}

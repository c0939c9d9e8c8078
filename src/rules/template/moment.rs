//! Times and durations in templates, with the methods that Go gives them.
//!
//! In: what `toTime` and `toDuration` are given.   Out: values whose methods templates call: `(toTime $value).Year`.
//! Always: times are in UTC. They are opaque to the template language, which knows neither; every way that prints or
//! compares values asks here first. Methods with several results do not exist, as in Go's templates.
//! Source: Go `time`, Prometheus `template/template.go`.

use std::sync::Arc;

use gotmpl::{TemplateError, Value};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::functions::{Outcome, failure, string};
use super::layout::{self, month_name, weekday_name};

/// What a moment answers to; no template can name it.
const ASK: &str = "\u{1}moment";
/// Go's layout of a time that is simply printed.
const PLAIN_LAYOUT: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

const HOUR: f64 = 3_600e9;
const MINUTE: f64 = 60e9;
const SECOND: f64 = 1e9;

/// A value of Go's `time` package.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    Time(Timestamp),
    /// In nanoseconds.
    Duration(i64),
    /// From one.
    Month(i8),
    /// From zero, which is Sunday.
    Weekday(i8),
}

impl Moment {
    /// Seconds since the epoch; Prometheus cuts them to whole milliseconds.
    ///
    /// # Errors
    /// Not a number, infinite, or further away than 64 bits of nanoseconds reach; the messages are Prometheus' own.
    pub fn time(seconds: f64) -> Result<Self, String> {
        let nanos = seconds * 1e9;
        if !seconds.is_finite() {
            return Err("value is NaN or Inf".into());
        }
        if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
            return Err(format!(
                "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
                super::number::shortest(seconds)
            ));
        }
        let ms = nanos as i64 / 1_000_000;
        Timestamp::from_millisecond(ms).map(Self::Time).map_err(|_| format!("{ms} ms is not a time"))
    }

    /// Seconds; what does not fit in 64 bits of nanoseconds is cut to what does.
    ///
    /// # Errors
    /// Not a number or infinite: Go's result then depends on the machine.
    pub fn duration(seconds: f64) -> Result<Self, String> {
        match seconds.is_finite() {
            true => Ok(Self::Duration((seconds * 1e9) as i64)),
            false => Err("value is NaN or Inf".into()),
        }
    }

    /// The moment as a template carries it.
    pub fn value(self) -> Value {
        let (kind, a, b) = match self {
            Self::Time(t) => (0, t.as_second(), i64::from(t.subsec_nanosecond())),
            Self::Duration(nanos) => (1, nanos, 0),
            Self::Month(n) => (2, i64::from(n), 0),
            Self::Weekday(n) => (3, i64::from(n), 0),
        };
        let parts = Value::List(Arc::from([Value::Int(kind), Value::Int(a), Value::Int(b)]));
        Value::Function(Arc::new(move |args| match args {
            [Value::String(asked)] if **asked == *ASK => Ok(parts.clone()),
            _ => Err(failure("a time is not a function")),
        }))
    }

    /// The moment that a value carries.
    pub fn of(value: &Value) -> Option<Self> {
        let Value::Function(function) = value else { return None };
        let Ok(Value::List(parts)) = function(&[string(ASK)]) else { return None };
        let [Value::Int(kind), Value::Int(a), Value::Int(b)] = &*parts else { return None };
        match kind {
            0 => Timestamp::new(*a, i32::try_from(*b).ok()?).ok().map(Self::Time),
            1 => Some(Self::Duration(*a)),
            2 => i8::try_from(*a).ok().map(Self::Month),
            _ => i8::try_from(*a).ok().map(Self::Weekday),
        }
    }

    /// What `%v` prints.
    pub fn text(self) -> String {
        match self {
            Self::Time(t) => layout::format(utc(t), PLAIN_LAYOUT),
            Self::Duration(nanos) => duration_text(nanos),
            Self::Month(n) => month_name(n).to_owned(),
            Self::Weekday(n) => weekday_name(n).to_owned(),
        }
    }

    /// The whole number that it is in Go, by which it is compared; a time is none.
    pub fn number(self) -> Option<i64> {
        match self {
            Self::Time(_) => None,
            Self::Duration(n) => Some(n),
            Self::Month(n) | Self::Weekday(n) => Some(n.into()),
        }
    }

    /// The name that Go gives the type.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Time(_) => "*time.Time",
            Self::Duration(_) => "time.Duration",
            Self::Month(_) => "time.Month",
            Self::Weekday(_) => "time.Weekday",
        }
    }

    /// Calls a method.
    ///
    /// # Errors
    /// There is none of this name, or its arguments are others.
    pub fn call(self, method: &str, args: &[Value]) -> Outcome {
        let call = Call { of: self, method, args };
        if method == "String" {
            call.takes(0)?;
            return Ok(string(self.text()));
        }
        match self {
            Self::Time(t) => call.on_time(t),
            Self::Duration(nanos) => call.on_duration(nanos),
            Self::Month(_) | Self::Weekday(_) => Err(call.unknown()),
        }
    }
}

/// One call of a method.
struct Call<'a> {
    of: Moment,
    method: &'a str,
    args: &'a [Value],
}

impl Call<'_> {
    fn on_time(&self, t: Timestamp) -> Outcome {
        let at = utc(t);
        let count = match self.method {
            "Format" | "Add" | "Sub" | "Before" | "After" | "Equal" | "Compare" => 1,
            "AddDate" => 3,
            _ => 0,
        };
        let int = |n: i64| Ok(Value::Int(n));
        let known = match self.method {
            "Year" => int(at.year().into()),
            "Month" => Ok(Moment::Month(at.month()).value()),
            "Day" => int(at.day().into()),
            "Hour" => int(at.hour().into()),
            "Minute" => int(at.minute().into()),
            "Second" => int(at.second().into()),
            "Nanosecond" => int(at.subsec_nanosecond().into()),
            "Weekday" => Ok(Moment::Weekday(at.weekday().to_sunday_zero_offset()).value()),
            "YearDay" => int(at.day_of_year().into()),
            "Unix" => int(t.as_nanosecond().div_euclid(1_000_000_000) as i64),
            "UnixMilli" => int(t.as_nanosecond().div_euclid(1_000_000) as i64),
            "UnixMicro" => int(t.as_nanosecond().div_euclid(1_000) as i64),
            "UnixNano" => int(t.as_nanosecond() as i64),
            // The zone of the machine is not asked for: an agent in a container has none.
            "UTC" | "Local" => Ok(self.of.value()),
            "IsZero" => Ok(Value::Bool(false)),
            _ if count == 0 => Err(self.unknown()),
            _ => Ok(Value::Nil),
        }?;
        self.takes(count)?;
        match self.method {
            "Format" => Ok(string(layout::format(at, self.text(0)?))),
            "Add" => self.moved(t.checked_add(SignedDuration::from_nanos(self.duration(0)?)).ok()),
            "AddDate" => self.moved(self.later(at)?),
            "Sub" => {
                let nanos = t.as_nanosecond() - self.time(0)?.as_nanosecond();
                let cut = nanos.clamp(i64::MIN.into(), i64::MAX.into());
                Ok(Moment::Duration(cut as i64).value())
            }
            "Before" => Ok(Value::Bool(t < self.time(0)?)),
            "After" => Ok(Value::Bool(t > self.time(0)?)),
            "Equal" => Ok(Value::Bool(t == self.time(0)?)),
            "Compare" => int(t.cmp(&self.time(0)?) as i64),
            _ => Ok(known),
        }
    }

    fn on_duration(&self, nanos: i64) -> Outcome {
        let takes = usize::from(matches!(self.method, "Round" | "Truncate"));
        let float = |unit: f64| Value::Float((nanos as f64 / unit).trunc() + (nanos as f64 % unit) / unit);
        let value = match self.method {
            "Hours" => float(HOUR),
            "Minutes" => float(MINUTE),
            "Seconds" => float(SECOND),
            "Milliseconds" => Value::Int(nanos / 1_000_000),
            "Microseconds" => Value::Int(nanos / 1_000),
            "Nanoseconds" => Value::Int(nanos),
            "Abs" => Moment::Duration(nanos.saturating_abs()).value(),
            "Round" | "Truncate" => {
                self.takes(1)?;
                let unit = self.duration(0)?;
                let rest = if unit > 0 { nanos % unit } else { 0 };
                let up = self.method == "Round" && rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2) && unit > 0;
                let rounded = if up { (nanos - rest).saturating_add(unit * rest.signum()) } else { nanos - rest };
                Moment::Duration(rounded).value()
            }
            _ => return Err(self.unknown()),
        };
        self.takes(takes)?;
        Ok(value)
    }

    /// The time so many years, months and days later; what a month has too few days for goes on in the next.
    fn later(&self, at: DateTime) -> Result<Option<Timestamp>, TemplateError> {
        let (years, months, days) = (self.int(0)?, self.int(1)?, self.int(2)?);
        let (Some(years), Some(day)) = (years.checked_mul(12), days.checked_add(i64::from(at.day()) - 1)) else {
            return Ok(None);
        };
        let first = i64::from(at.month()) - 1;
        let Some(month) = years.checked_add(months).and_then(|n| n.checked_add(first)) else { return Ok(None) };
        let year = month.div_euclid(12).checked_add(at.year().into()).and_then(|year| i16::try_from(year).ok());
        let date = year.and_then(|year| jiff::civil::Date::new(year, month.rem_euclid(12) as i8 + 1, 1).ok());
        let span = jiff::Span::new().try_days(day).ok();
        let date = date.zip(span).and_then(|(date, span)| date.checked_add(span).ok());
        Ok(date.and_then(|date| date.to_datetime(at.time()).to_zoned(TimeZone::UTC).ok()).map(|z| z.timestamp()))
    }

    fn moved(&self, to: Option<Timestamp>) -> Outcome {
        to.map(|t| Moment::Time(t).value()).ok_or_else(|| failure("the time is further away than the year 9999"))
    }

    fn takes(&self, count: usize) -> Result<(), TemplateError> {
        let got = self.args.len();
        match got == count {
            true => Ok(()),
            false => Err(failure(format!("wrong number of args for {}: want {count} got {got}", self.method))),
        }
    }

    fn text(&self, at: usize) -> Result<&str, TemplateError> {
        self.args.get(at).and_then(Value::as_str).ok_or_else(|| self.wrong(at, "string"))
    }

    fn int(&self, at: usize) -> Result<i64, TemplateError> {
        self.args.get(at).and_then(Value::as_int).ok_or_else(|| self.wrong(at, "int"))
    }

    fn time(&self, at: usize) -> Result<Timestamp, TemplateError> {
        match self.args.get(at).and_then(Moment::of) {
            Some(Moment::Time(t)) => Ok(t),
            _ => Err(self.wrong(at, "time.Time")),
        }
    }

    /// A duration; a whole number is one in nanoseconds.
    fn duration(&self, at: usize) -> Result<i64, TemplateError> {
        match self.args.get(at) {
            Some(Value::Int(nanos)) => Ok(*nanos),
            other => match other.and_then(Moment::of) {
                Some(Moment::Duration(nanos)) => Ok(nanos),
                _ => Err(self.wrong(at, "time.Duration")),
            },
        }
    }

    fn wrong(&self, at: usize, expected: &str) -> TemplateError {
        let got = self.args.get(at).map_or("nothing", super::printf::type_name);
        failure(format!("{}: wrong type for value; expected {expected}; got {got}", self.method))
    }

    fn unknown(&self) -> TemplateError {
        failure(format!("can't evaluate field {} in type {}", self.method, self.of.type_name()))
    }
}

fn utc(t: Timestamp) -> DateTime {
    TimeZone::UTC.to_datetime(t)
}

/// Nanoseconds as Go prints a `time.Duration`: `1h30m0s`, `1.5s`, `100ms`.
fn duration_text(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".into();
    }
    let (sign, rest) = if nanos < 0 { ("-", nanos.unsigned_abs()) } else { ("", nanos.unsigned_abs()) };
    const SECOND: u64 = 1_000_000_000;
    let units = [(1, "ns"), (1_000, "\u{b5}s"), (1_000_000, "ms"), (SECOND, "s")];
    let (unit, name) = units.into_iter().rfind(|(unit, _)| *unit <= rest).unwrap_or((1, "ns"));
    let (hours, minutes) = (rest / (3_600 * SECOND), rest / (60 * SECOND) % 60);
    let last = if unit == SECOND { rest % (60 * SECOND) } else { rest };
    let digits = unit.ilog10() as usize;
    let fraction = match last % unit {
        0 => String::new(),
        part => format!(".{part:0digits$}").trim_end_matches('0').to_owned(),
    };
    let whole = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, _) => format!("{minutes}m"),
        _ => format!("{hours}h{minutes}m"),
    };
    format!("{sign}{whole}{}{fraction}{name}", last / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_go_does() {
        for (v, text) in [
            (0.0, "0s"),
            (5_400.0, "1h30m0s"),
            (-90_061.5, "-25h1m1.5s"),
            (60.0, "1m0s"),
            (1.5, "1.5s"),
            (0.1, "100ms"),
            (0.001_25, "1.25ms"),
            (0.000_1, "100\u{b5}s"),
            (1e-9, "1ns"),
            (1e300, "2562047h47m16.854775807s"),
        ] {
            assert_eq!(Moment::duration(v).unwrap().text(), text, "{v}");
        }
    }

    #[test]
    fn a_value_carries_its_moment_and_what_is_no_time_is_refused() {
        for moment in [Moment::time(-1.5).unwrap(), Moment::Duration(-7), Moment::Month(6), Moment::Weekday(0)] {
            assert_eq!(Moment::of(&moment.value()), Some(moment));
        }
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Moment::time(v).unwrap_err(), "value is NaN or Inf");
            assert_eq!(Moment::duration(v).unwrap_err(), "value is NaN or Inf");
        }
        assert!(Moment::time(1e300).unwrap_err().contains("1e+300 cannot be represented"));
        assert_eq!(Moment::time(-0.0005).unwrap().text(), "1970-01-01 00:00:00 +0000 UTC");
    }
}

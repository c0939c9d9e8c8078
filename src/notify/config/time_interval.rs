//! `time_intervals`: named times of the week, month and year, in a time zone.
//!
//! In: Alertmanager's notation.   Out: [`TimeInterval::contains`].
//! A field that is absent or empty does not restrict; within a field one range must hold, and all fields must.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{Problem, TimestampMs};

/// A name and the times it stands for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamedInterval {
    pub name: String,
    pub time_intervals: Vec<TimeInterval>,
}

impl NamedInterval {
    pub(super) fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        if self.name.is_empty() {
            problems.push(Problem::new(format!("{at}.name"), "is missing"));
        }
    }

    /// Whether one of the intervals holds `t`.
    pub fn contains(&self, t: TimestampMs) -> bool {
        self.time_intervals.iter().any(|i| i.contains(t))
    }
}

/// One condition on the time; see the module.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeInterval {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<TimeRange>,
    /// `monday`, `monday:friday`; Sunday is the first day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<Weekdays>,
    /// `1`, `1:5`, `-3:-1`; negative days count from the month's end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days_of_month: Vec<DaysOfMonth>,
    /// `january:march`, `1:3`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub months: Vec<Months>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub years: Vec<Years>,
    /// An IANA time zone, `Local` or `UTC`; default UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// A part of the day: the start belongs to it, the end does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    pub start_time: ClockTime,
    pub end_time: ClockTime,
}

/// Minutes since midnight, `00:00` to `24:00`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockTime(u32);

/// A time zone by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Location(String, TimeZone);

macro_rules! range {
    ($(#[$doc:meta])* $name:ident, $parse:expr, $valid:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(i32, i32);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let parse: fn(&str) -> Option<i32> = $parse;
                let valid: fn(i32, i32) -> bool = $valid;
                let (from, to) = text.split_once(':').unwrap_or((&text, &text));
                match (parse(from.trim()), parse(to.trim())) {
                    (Some(from), Some(to)) if valid(from, to) => Ok(Self(from, to)),
                    _ => Err(serde::de::Error::custom(format!(concat!("`{}` is not ", $rule), text))),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{}:{}", self.0, self.1))
            }
        }
    };
}

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// The number of `text` in `names`, counted from `first`, or the number it is itself.
fn named(text: &str, names: &[&str], first: i32) -> Option<i32> {
    let lower = text.to_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(at) => i32::try_from(at).ok().map(|at| at + first),
        None => text.parse().ok(),
    }
}

range!(
    /// Days of the week, Sunday being 0.
    Weekdays,
    |t| named(t, &WEEKDAYS, 0),
    |from, to| (0..7).contains(&from) && (from..7).contains(&to),
    "a day or a range of days such as `monday:friday` (the week begins on sunday)"
);
range!(
    /// Days of the month.
    DaysOfMonth,
    |t| t.parse().ok(),
    |from, to| {
        let valid = |d: i32| d != 0 && (-31..=31).contains(&d);
        // A range from the start to the end of the month (1:-1) is fine; the reverse never holds anything.
        valid(from) && valid(to) && !(from < 0 && to > 0) && (from.signum() != to.signum() || from <= to)
    },
    "a day of the month or a range such as `1:7` or `-3:-1`"
);
range!(
    /// Months, January being 1.
    Months,
    |t| named(t, &MONTHS, 1),
    |from, to| (1..13).contains(&from) && (from..13).contains(&to),
    "a month or a range of months such as `january:march`"
);
range!(
    /// Years.
    Years,
    |t| t.parse().ok(),
    |from, to| from <= to,
    "a year or a range of years such as `2026:2028`"
);

impl TimeInterval {
    /// Whether `t` lies in the interval.
    pub fn contains(&self, t: TimestampMs) -> bool {
        let zone = self.location.as_ref().map_or(TimeZone::UTC, |l| l.1.clone());
        let Ok(instant) = Timestamp::from_millisecond(t.0) else { return false };
        let local = instant.to_zoned(zone);
        let minute = u32::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0);
        let weekday = i32::from(local.weekday().to_sunday_zero_offset());
        let (day, days) = (i32::from(local.day()), i32::from(local.days_in_month()));
        // A negative day counts from the end; a day past the end is the last one.
        let clamp = |d: i32| if d < 0 { (days + d + 1).max(1) } else { d.min(days) };
        let within = |v: i32, from: i32, to: i32| from <= v && v <= to;
        (self.times.is_empty() || self.times.iter().any(|r| r.start_time.0 <= minute && minute < r.end_time.0))
            && (self.weekdays.is_empty() || self.weekdays.iter().any(|r| within(weekday, r.0, r.1)))
            && (self.days_of_month.is_empty()
                // A range that begins past the month's end (30 in February) holds no day of it.
                || self.days_of_month.iter().any(|r| r.0 <= days && within(day, clamp(r.0), clamp(r.1))))
            && (self.months.is_empty() || self.months.iter().any(|r| within(i32::from(local.month()), r.0, r.1)))
            && (self.years.is_empty() || self.years.iter().any(|r| within(i32::from(local.year()), r.0, r.1)))
    }
}

impl<'de> Deserialize<'de> for ClockTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = text.split_once(':').and_then(|(h, m)| {
            let (h, m): (u32, u32) = (h.parse().ok()?, m.parse().ok()?);
            ((h < 24 && m < 60) || (h == 24 && m == 0)).then_some(Self(h * 60 + m))
        });
        parsed.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a time such as `09:00` or `24:00`")))
    }
}

impl Serialize for ClockTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let zone = match name.as_str() {
            "UTC" | "" => Some(TimeZone::UTC),
            "Local" => Some(TimeZone::system()),
            other => TimeZone::get(other).ok(),
        };
        match zone {
            Some(zone) => Ok(Self(name, zone)),
            None => Err(serde::de::Error::custom(format!("`{name}` is not a known time zone"))),
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(yaml: &str) -> TimeInterval {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn at(text: &str) -> TimestampMs {
        TimestampMs::from_rfc3339(text).unwrap()
    }

    #[test]
    fn business_hours_follow_the_zone_through_daylight_saving() {
        let hours = interval(
            "{times: [{start_time: '09:00', end_time: '17:00'}], weekdays: ['monday:friday'], location: Europe/Paris}",
        );
        // Winter: Paris is UTC+1; summer: UTC+2.
        assert!(hours.contains(at("2026-11-23T08:00:00Z")) && !hours.contains(at("2026-11-23T07:59:00Z")));
        assert!(hours.contains(at("2026-07-06T07:00:00Z")) && !hours.contains(at("2026-07-06T15:00:00Z")));
        assert!(!hours.contains(at("2026-11-22T12:00:00Z")), "a sunday");
    }

    #[test]
    fn negative_days_count_from_the_end_of_the_month() {
        let last_three = interval("{days_of_month: ['-3:-1']}");
        assert!(last_three.contains(at("2026-02-26T00:00:00Z")) && !last_three.contains(at("2026-02-25T23:59:00Z")));
        assert!(!interval("{days_of_month: ['30:31']}").contains(at("2026-02-28T00:00:00Z")));
        assert!(interval("{months: ['january:march', '12'], years: ['2026']}").contains(at("2026-12-01T00:00:00Z")));
        assert!(interval("{}").contains(at("2026-12-01T00:00:00Z")), "no field, no restriction");
    }

    #[test]
    fn what_is_not_an_interval_is_refused_with_the_value() {
        for (yaml, value) in [
            ("{weekdays: ['friday:monday']}", "friday:monday"),
            ("{times: [{start_time: '25:00', end_time: '26:00'}]}", "25:00"),
            ("{days_of_month: ['0']}", "`0`"),
            ("{location: Mars/Olympus}", "Mars/Olympus"),
        ] {
            let error = serde_saphyr::from_str::<TimeInterval>(yaml).unwrap_err().to_string();
            assert!(error.contains(value), "{yaml}: {error}");
        }
    }
}

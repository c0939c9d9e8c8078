//! The `load:` of a scenario: what callers want, by the time of day.

use super::section_list;
use super::tree::Fields;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What callers want of the whole cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Calls of actors a second.
    pub calls: f64,
    /// Actors that are wanted and do not run yet, a second.
    pub starts: f64,
    /// Actors that run at any time.
    pub actors: f64,
    /// Calls of the engine's API a second.
    pub api: f64,
    /// Median latency of a call, in seconds.
    pub latency: f64,
    /// Share of the calls that an actor answers with 500.
    pub failing: f64,
    /// Calls a second that callers get wrong: unknown actors, bad input.
    pub mistakes: f64,
    pub daily: Option<Daily>,
    pub bursts: Vec<Burst>,
}

/// A wave over the day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Daily {
    /// The peak as a multiple of the quietest moment, which is the load as stated.
    pub times: f64,
    /// When the peak is, in milliseconds of the UTC day.
    pub peak_ms: i64,
}

/// More load for a while, once or again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    pub at_ms: i64,
    pub for_ms: i64,
    pub times: f64,
    pub every_ms: Option<i64>,
}

impl Load {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let starts = fields.rate("starts").unwrap_or(0.2);
        let has_daily = fields.has("daily");
        let daily = super::section(fields, "daily", |f| Daily {
            times: f.number("times", 1.0, 1_000.0).unwrap_or(2.0),
            peak_ms: f.read("peak", "a time of day such as 14:00", time_of_day).unwrap_or(14 * 3_600_000),
        });
        let bursts = section_list(fields, "bursts", |f| {
            for key in ["at", "for", "times"] {
                if !f.has(key) {
                    f.wrong(key, "must be given for a burst");
                }
            }
            let burst = Burst {
                at_ms: f.duration("at").unwrap_or(0),
                for_ms: f.duration("for").unwrap_or(0),
                times: f.number("times", 0.0, 1_000.0).unwrap_or(1.0),
                every_ms: f.duration("every"),
            };
            if burst.every_ms.is_some_and(|every| every <= burst.for_ms) {
                f.wrong("every", "must be longer than `for`");
            }
            Some(burst)
        });
        Self {
            calls: fields.rate("calls").unwrap_or(20.0),
            starts,
            actors: fields.number("actors", 0.0, 1e6).unwrap_or(40.0),
            api: fields.rate("api").unwrap_or(1.0),
            latency: fields.duration("latency").map_or(0.012, |ms| ms.max(1) as f64 / 1000.0),
            failing: fields.share("failing").unwrap_or(0.000_2),
            mistakes: fields.rate("mistakes").unwrap_or(0.02),
            daily: has_daily.then_some(daily),
            bursts,
        }
    }

    /// How many times the stated load there is `since_start`, at a time of day given in milliseconds.
    pub fn factor(&self, since_start: i64, time_of_day: i64) -> f64 {
        let wave = self.daily.map_or(1.0, |daily| {
            let angle = (time_of_day - daily.peak_ms) as f64 / DAY_MS as f64 * 2.0 * std::f64::consts::PI;
            1.0 + (daily.times - 1.0) * (0.5 + 0.5 * angle.cos())
        });
        self.bursts.iter().filter(|burst| burst.is_on(since_start)).fold(wave, |factor, burst| factor * burst.times)
    }
}

impl Burst {
    fn is_on(&self, since_start: i64) -> bool {
        let since_first = since_start - self.at_ms;
        let since_last = self.every_ms.map_or(since_first, |every| since_first.rem_euclid(every));
        since_first >= 0 && since_last < self.for_ms
    }
}

fn time_of_day(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some((hours * 60 + minutes) * 60_000)
}

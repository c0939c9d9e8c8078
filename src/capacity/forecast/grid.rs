//! History as a grid: the highest value of every ten minutes.

use crate::model::{Sample, TimestampMs};

/// Width of a slot. Peaks shorter than that still count, since a slot holds the highest value.
pub const SLOT_MS: i64 = 600_000;
/// Slots of a day.
pub const DAY: usize = 144;
/// Slots of a week.
pub const WEEK: usize = 7 * DAY;

/// Highest values by slot, oldest first; a slot that nobody measured is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// When the first slot begins; a multiple of [`SLOT_MS`].
    start: TimestampMs,
    slots: Vec<Option<f64>>,
}

impl Grid {
    /// The grid of `samples`, which are in order of time; what is not finite is passed over.
    ///
    /// The first and the last slot may be cut short.
    pub fn of(samples: &[Sample]) -> Self {
        let Some(first) = samples.first() else { return Self::default() };
        let start = first.t.align_down(SLOT_MS);
        let mut slots: Vec<Option<f64>> = Vec::new();
        for sample in samples.iter().filter(|s| s.v.is_finite()) {
            let at = (sample.t.since(start) / SLOT_MS) as usize;
            if slots.len() <= at {
                slots.resize(at + 1, None);
            }
            slots[at] = Some(slots[at].map_or(sample.v, |v| v.max(sample.v)));
        }
        Self { start, slots }
    }

    /// When the first slot begins.
    pub fn start(&self) -> TimestampMs {
        self.start
    }

    /// When the last slot ends.
    pub fn end(&self) -> TimestampMs {
        self.start.plus_ms(self.slots.len() as i64 * SLOT_MS)
    }

    /// Since when there is something: a slot says that something was measured in it, so that its end is certain.
    pub fn since(&self) -> TimestampMs {
        self.start.plus_ms(SLOT_MS)
    }

    /// The slots from `from` up to `to`, which is not among them.
    pub fn part(&self, from: usize, to: usize) -> Self {
        let to = to.min(self.slots.len());
        let from = from.min(to);
        Self { start: self.start.plus_ms(from as i64 * SLOT_MS), slots: self.slots[from..to].to_vec() }
    }

    /// Number of slots, measured or not.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// Highest value of the last `slots` slots, and how many of them there are.
    pub fn peak(&self, slots: usize) -> Option<f64> {
        let from = self.slots.len().saturating_sub(slots);
        self.slots[from..].iter().flatten().copied().reduce(f64::max)
    }

    /// Every value times `factor`.
    pub fn scaled(&self, factor: f64) -> Self {
        Self { start: self.start, slots: self.slots.iter().map(|v| v.map(|v| v * factor)).collect() }
    }

    /// Both in one: where both know a slot, the higher value counts.
    pub fn and(&self, other: &Self) -> Self {
        if self.slots.is_empty() || other.slots.is_empty() {
            return if self.slots.is_empty() { other.clone() } else { self.clone() };
        }
        let (start, end) = (self.start.min(other.start), self.end().max(other.end()));
        let mut slots = vec![None; (end.since(start) / SLOT_MS) as usize];
        for grid in [self, other] {
            let from = (grid.start.since(start) / SLOT_MS) as usize;
            for (slot, value) in slots[from..].iter_mut().zip(&grid.slots) {
                *slot = (*slot).into_iter().chain(*value).reduce(f64::max);
            }
        }
        Self { start, slots }
    }

    pub(super) fn slots(&self) -> &[Option<f64>] {
        &self.slots
    }

    /// Each slot as the median of itself and its neighbours, which takes out single spikes and gaps.
    pub(super) fn smoothed(&self) -> Vec<Option<f64>> {
        let around = |at: usize| {
            let mut near: Vec<f64> =
                self.slots[at.saturating_sub(1)..(at + 2).min(self.slots.len())].iter().flatten().copied().collect();
            median(&mut near)
        };
        (0..self.slots.len()).map(around).collect()
    }
}

/// The middle value, or the mean of the two middle ones; `None` of nothing.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[n / 2]),
        _ => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
    }
}

/// Half-width that holds two thirds of normal noise, from the median distance to the median.
pub(super) fn spread(values: &[f64]) -> Option<f64> {
    let center = median(&mut values.to_vec())?;
    let mut distances: Vec<f64> = values.iter().map(|v| (v - center).abs()).collect();
    median(&mut distances).map(|d| 1.4826 * d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_its_highest_value_and_a_gap_is_nothing() {
        let sample = |minute: i64, v: f64| Sample { t: TimestampMs(minute * 60_000), v };
        let grid = Grid::of(&[sample(3, 1.0), sample(9, 4.0), sample(12, 2.0), sample(31, f64::NAN), sample(45, 7.0)]);
        assert_eq!(grid.start(), TimestampMs(0));
        assert_eq!(grid.slots(), [Some(4.0), Some(2.0), None, None, Some(7.0)]);
        assert_eq!((grid.end(), grid.peak(2)), (TimestampMs(3_000_000), Some(7.0)));
        assert_eq!(grid.smoothed(), [Some(3.0), Some(3.0), Some(2.0), Some(7.0), Some(7.0)]);
        assert!(Grid::of(&[]).is_empty());
        let later = Grid::of(&[sample(41, 9.0), sample(62, 1.0)]);
        assert_eq!(grid.and(&later).slots(), [Some(4.0), Some(2.0), None, None, Some(9.0), None, Some(1.0)]);
        assert_eq!((later.and(&grid), grid.and(&Grid::default())), (grid.and(&later), grid.clone()));
    }

    #[test]
    fn medians_and_spreads_ignore_outliers() {
        assert_eq!(median(&mut [3.0, 1.0, 100.0]), Some(3.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
        assert!((spread(&[1.0, 2.0, 3.0, 4.0, 1000.0]).unwrap() - 1.4826).abs() < 1e-9);
    }
}

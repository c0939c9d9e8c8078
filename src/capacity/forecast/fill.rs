//! What fills up: disks, and memory between restarts.

use super::grid::{Grid, SLOT_MS, median, spread};

/// A drop by this share from one slot to the next is a new beginning: a restart, a deletion.
const RESET_SHARE: f64 = 0.3;
/// Fewer slots than this support no line (one hour).
const SLOTS_MIN: usize = 6;
/// The rise over the history must be so many times the noise around the line.
const RISE_OVER_NOISE: f64 = 3.0;
/// Noise between likely and least; set by the back-tests.
const NOISES: f64 = 2.0;
/// How much further the least and the greatest slope lie than those of the parts.
const WIDER: f64 = 1.5;
/// The least slope is no less than the likely one over this.
const SLOWER_MAX: f64 = 10.0;
/// Parts of the history that must agree that it rises.
const PARTS: usize = 4;

/// A line through the slots since the last new beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Rise a slot: least, likely, most.
    pub slopes: [f64; 3],
    /// Value of the line at the end.
    pub level: f64,
    /// How far values lie from the line.
    pub noise: f64,
    /// Slots it was drawn through.
    pub length: usize,
    /// New beginnings in the history, and the highest value of all of it.
    pub beginnings: usize,
    pub highest: f64,
}

/// Why there is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLine {
    TooShort,
    NotRising,
}

impl Line {
    /// The line of the last `longest` slots at most.
    ///
    /// Its slope is the median of what each slot of the later half has over its fellow in the earlier half, so that
    /// compactions and single spikes do not bend it.
    ///
    /// # Errors
    /// Less than an hour since the last new beginning; no rise, or one that a quarter of the history or the noise contradicts.
    pub fn of(history: &Grid, longest: usize) -> Result<Self, NoLine> {
        let smooth = history.smoothed();
        let from = smooth.len().saturating_sub(longest);
        let recent = &smooth[from..];
        let (mut begin, mut beginnings, mut highest) = (0, 0, f64::NEG_INFINITY);
        let mut last: Option<f64> = None;
        for (at, value) in recent.iter().enumerate() {
            let Some(value) = *value else { continue };
            if last.is_some_and(|before| value < before * (1.0 - RESET_SHARE)) {
                begin = at;
                beginnings += 1;
            }
            highest = highest.max(value);
            last = Some(value);
        }
        let segment = &recent[begin..];
        let known: Vec<(f64, f64)> =
            segment.iter().enumerate().filter_map(|(at, v)| v.map(|v| (at as f64, v))).collect();
        if known.len() < SLOTS_MIN {
            return Err(NoLine::TooShort);
        }
        let half = known.len() / 2;
        let slope = |pair: usize| {
            let ((x, y), (x2, y2)) = (known[pair], known[pair + known.len() - half]);
            (y2 - y) / (x2 - x)
        };
        let slopes: Vec<f64> = (0..half).map(slope).collect();
        let Some(likely) = median(&mut slopes.clone()) else { return Err(NoLine::TooShort) };
        let of_part = |part: &[f64]| median(&mut part.to_vec());
        let parts: Vec<f64> = slopes.chunks(half.div_ceil(PARTS)).filter_map(of_part).collect();
        let (low, high) = parts.iter().fold((likely, likely), |(l, m), s| (l.min(*s), m.max(*s)));
        let end = (segment.len() - 1) as f64;
        let mut levels: Vec<f64> = known.iter().map(|(x, y)| y + likely * (end - x)).collect();
        let Some(noise) = spread(&levels) else { return Err(NoLine::TooShort) };
        let Some(level) = median(&mut levels) else { return Err(NoLine::TooShort) };
        let rise = likely * end;
        if low <= 0.0 || rise < RISE_OVER_NOISE * noise {
            return Err(NoLine::NotRising);
        }
        // Four parts do not show all there is, and values that lie off can turn the line: set by the back-tests.
        let turn = 2.0 * noise / known.len() as f64;
        let (below, above) = ((WIDER * (likely - low)).max(turn), (WIDER * (high - likely)).max(turn));
        let (least, most) = ((likely - below).max(likely / SLOWER_MAX), likely + above);
        Ok(Self { slopes: [least, likely, most], level, noise, length: segment.len(), beginnings, highest })
    }

    /// Milliseconds from the end until the limit, zero where it is reached: at the latest, likely, at the earliest.
    pub fn ms_to(&self, limit: f64) -> [f64; 3] {
        let off = [-NOISES * self.noise, 0.0, NOISES * self.noise];
        std::array::from_fn(|n| ((limit - self.level - off[n]) / self.slopes[n]).max(0.0) * SLOT_MS as f64)
    }
}

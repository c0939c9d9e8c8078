//! Small pictures of a series for the terminal: one line of bars, or a plot of dots with axes.

use super::output::human_pair;
use crate::model::TimestampMs;

/// Eight heights of bar, from the lowest to the highest finite value.
pub fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (low, high) = bounds(values.iter().copied());
    let bar = |v: &f64| match v.is_finite() {
        true if high > low => BARS[((v - low) / (high - low) * 7.0).round() as usize],
        true => BARS[0],
        false => ' ',
    };
    values.iter().map(bar).collect()
}

/// Bars for as many values as there is room for; where there are more, each bar is the mean of its share.
pub fn sparkline_within(values: &[f64], columns: usize) -> String {
    if values.len() <= columns {
        return sparkline(values);
    }
    let mean = |column: usize| {
        let share = &values[column * values.len() / columns..(column + 1) * values.len() / columns];
        let finite: Vec<f64> = share.iter().copied().filter(|v| v.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len() as f64
    };
    sparkline(&(0..columns).map(mean).collect::<Vec<_>>())
}

/// Most, and fewest, characters that a plot is wide; each holds two dots across and four down.
pub const COLUMNS_MAX: usize = 60;
pub const COLUMNS_MIN: usize = 10;
const ROWS: usize = 10;

/// Dots over time and value, both scaled to fit into lines of so many characters; points are `(Unix seconds, value)`,
/// oldest first.
///
/// Values that are not finite leave a gap.
pub fn plot(points: &[(f64, f64)], width_max: usize) -> String {
    let (low, high) = bounds(points.iter().map(|(_, v)| *v));
    let (Some((start, _)), Some((end, _)), true) = (points.first(), points.last(), low.is_finite()) else {
        return "(no finite value)".to_owned();
    };
    let scale = |x: f64, from: f64, to: f64, most: usize| match to > from {
        true => ((x - from) / (to - from) * most as f64).round() as usize,
        false => 0,
    };
    let labels = human_pair(high, low);
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let columns = width_max.saturating_sub(width + 2).clamp(COLUMNS_MIN, COLUMNS_MAX);
    let mut cells = vec![vec![0u8; columns]; ROWS];
    for (t, v) in points.iter().filter(|(_, v)| v.is_finite()) {
        let (x, y) = (scale(*t, *start, *end, columns * 2 - 1), ROWS * 4 - 1 - scale(*v, low, high, ROWS * 4 - 1));
        cells[y / 4][x / 2] |= dot(x % 2, y % 4);
    }
    let mut text = String::new();
    for (row, line) in cells.iter().enumerate() {
        let label = if row == 0 {
            &labels[0]
        } else if row + 1 == ROWS {
            &labels[1]
        } else {
            ""
        };
        let dots: String = line.iter().filter_map(|bits| char::from_u32(0x2800 + u32::from(*bits))).collect();
        text.push_str(&format!("{label:>width$} │{dots}\n"));
    }
    let clock = |seconds: f64| TimestampMs((seconds * 1000.0) as i64).to_rfc3339();
    let (from, to) = (clock(*start), clock(*end));
    text.push_str(&format!("{:>width$} └{}\n", "", "─".repeat(columns)));
    match columns > from.len() + to.len() {
        true => text.push_str(&format!("{:>width$}  {from}{to:>rest$}\n", "", rest = columns - from.len())),
        false => text.push_str(&format!("{:>width$}  {from}\n{:>width$}  {to}\n", "", "")),
    }
    text
}

/// The dot of a braille character (Unicode, "Braille Patterns") at a place in its grid of two by four.
fn dot(x: usize, y: usize) -> u8 {
    const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    DOTS[x][y]
}

/// The lowest and the highest finite value; infinite the wrong way round where there is none.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|v| v.is_finite());
    finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines_span_low_to_high() {
        assert_eq!(sparkline(&[0.0, 1.0, f64::NAN, 7.0]), "▁▂ █");
        assert_eq!(sparkline(&[3.0, 3.0]), "▁▁");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline_within(&[0.0, 0.0, 7.0, 7.0, f64::NAN, f64::NAN], 3), "▁█ ");
    }

    #[test]
    fn plots_have_the_extremes_at_their_edges() {
        let text = plot(&[(0.0, 0.0), (30.0, f64::NAN), (60.0, 50.0)], 80);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS + 2);
        assert!(lines[0].starts_with("50 │") && lines[0].ends_with('⠈'), "{text}");
        assert!(lines[ROWS - 1].starts_with(" 0 │⡀"), "{text}");
        assert!(
            lines[ROWS + 1].contains("1970-01-01T00:00:00") && lines[ROWS + 1].ends_with("00:01:00.000Z"),
            "{text}"
        );
        assert_eq!(plot(&[(0.0, f64::NAN)], 80), "(no finite value)");
        assert!(plot(&[(0.0, 1.0)], 80).contains('⡀'), "a single point is drawn");
    }

    #[test]
    fn plots_fit_into_a_narrow_terminal_and_tell_their_ends_apart() {
        let text = plot(&[(0.0, 1e9), (60.0, 1.00006e9)], 40);
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.starts_with("1.0001G │") && text.contains("\n1.0000G │"), "{text}");
        assert!(text.lines().last().unwrap().ends_with("00:01:00.000Z"), "{text}");
    }
}

//! Small pictures of a series for the terminal: one line of bars, or a plot of dots with axes.

use super::output::human;
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

/// Size of a plot in characters; each holds two dots across and four down.
const COLUMNS: usize = 60;
const ROWS: usize = 10;

/// Dots over time and value, both scaled to fit; points are `(Unix seconds, value)`, oldest first.
///
/// Values that are not finite leave a gap.
pub fn plot(points: &[(f64, f64)]) -> String {
    let (low, high) = bounds(points.iter().map(|(_, v)| *v));
    let (Some((start, _)), Some((end, _)), true) = (points.first(), points.last(), low.is_finite()) else {
        return "(no finite value)".to_owned();
    };
    let scale = |x: f64, from: f64, to: f64, most: usize| match to > from {
        true => ((x - from) / (to - from) * most as f64).round() as usize,
        false => 0,
    };
    let mut cells = [[0u8; COLUMNS]; ROWS];
    for (t, v) in points.iter().filter(|(_, v)| v.is_finite()) {
        let (x, y) = (scale(*t, *start, *end, COLUMNS * 2 - 1), ROWS * 4 - 1 - scale(*v, low, high, ROWS * 4 - 1));
        cells[y / 4][x / 2] |= dot(x % 2, y % 4);
    }
    let labels = [human(high), human(low)];
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
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
    text.push_str(&format!("{:>width$} └{}\n", "", "─".repeat(COLUMNS)));
    text.push_str(&format!("{:>width$}  {from}{to:>rest$}\n", "", rest = COLUMNS.saturating_sub(from.len())));
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
    }

    #[test]
    fn plots_have_the_extremes_at_their_edges() {
        let text = plot(&[(0.0, 0.0), (30.0, f64::NAN), (60.0, 50.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS + 2);
        assert!(lines[0].starts_with("50 │") && lines[0].ends_with('⠈'), "{text}");
        assert!(lines[ROWS - 1].starts_with(" 0 │⡀"), "{text}");
        assert!(
            lines[ROWS + 1].contains("1970-01-01T00:00:00") && lines[ROWS + 1].ends_with("00:01:00.000Z"),
            "{text}"
        );
        assert_eq!(plot(&[(0.0, f64::NAN)]), "(no finite value)");
        assert!(plot(&[(0.0, 1.0)]).contains('⡀'), "a single point is drawn");
    }
}

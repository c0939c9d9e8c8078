//! The forms in which commands print data: a table for people, JSON and YAML for programs.

use std::io::IsTerminal;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::CliError;
use crate::promql::format_float;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
    Yaml,
}

impl Output {
    /// Prints `data` as JSON or YAML, or calls `table` for the table.
    ///
    /// # Errors
    /// The data cannot be written as YAML.
    pub fn print<T: Serialize>(self, data: &T, table: impl FnOnce(&T)) -> Result<(), CliError> {
        match self {
            Self::Table => table(data),
            Self::Json => println!("{}", serde_json::to_string_pretty(data).map_err(|e| CliError::failed(&e))?),
            Self::Yaml => print!("{}", serde_saphyr::to_string(data).map_err(|e| CliError::failed(&e))?),
        }
        Ok(())
    }
}

/// Prints rows under a heading, columns as wide as their widest cell, numbers to the right.
pub fn print_table(heading: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        cells.chain([heading[column].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let is_number = |column: usize| {
        let begins = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let looks = |cell: &String| cell.is_empty() || begins(cell) && !cell.contains(' ');
        !rows.is_empty() && rows.iter().filter_map(|row| row.get(column)).all(looks)
    };
    let numbers: Vec<bool> = (0..heading.len()).map(is_number).collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let padding = " ".repeat(widths[i].saturating_sub(cell.width()));
            match numbers[i] {
                true => text.push_str(&format!("{padding}{cell}  ")),
                false => text.push_str(&format!("{cell}{padding}  ")),
            }
        }
        println!("{}", text.trim_end());
    };
    line(heading.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
}

/// A number for people: up to four significant digits, SI letters for large ones.
pub fn human(value: f64) -> String {
    if !value.is_finite() {
        return format_float(value);
    }
    let (factor, letter) = scale(value);
    if !letter.is_empty() {
        return format!("{:.2}{letter}", value / factor);
    }
    let decimals = match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => 0,
        v if v >= 1.0 => 2,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// What a large number is divided by, and the letter that says so.
fn scale(value: f64) -> (f64, &'static str) {
    let size = value.abs();
    let scales = [(1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")];
    scales.iter().find(|(from, ..)| size >= *from).map_or((1.0, ""), |(_, factor, letter)| (*factor, letter))
}

/// Two numbers for people, with as many digits as it takes to tell them apart.
pub fn human_pair(high: f64, low: f64) -> [String; 2] {
    let short = [human(high), human(low)];
    if short[0] != short[1] || high == low {
        return short;
    }
    let (factor, letter) = scale(high);
    let with = |digits: usize| [high, low].map(|v| format!("{:.digits$}{letter}", v / factor));
    (3..=15).map(with).find(|[high, low]| high != low).unwrap_or_else(|| [high, low].map(|v| v.to_string()))
}

/// Columns of the terminal that standard output is; `None` where it is none.
pub fn terminal_columns() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = if stdout.is_terminal() { rustix::termios::tcgetwinsize(&stdout).ok() } else { None };
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// A length of time for people: the two largest units.
pub fn human_seconds(seconds: f64) -> String {
    let total = seconds.max(0.0).round() as u64;
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| total >= *size).unwrap_or(3);
    let mut rest = total;
    let mut text = String::new();
    for (name, size) in units.iter().skip(first).take(2) {
        if rest / size > 0 || text.is_empty() {
            text.push_str(&format!("{}{name}", rest / size));
        }
        rest %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        for (value, text) in [(0.1234567, "0.1235"), (12.0, "12"), (12.3456, "12.35"), (2_147_483_648.0, "2.15G")] {
            assert_eq!(human(value), text);
        }
        assert_eq!((human(f64::INFINITY), human(f64::NEG_INFINITY)), ("+Inf".into(), "-Inf".into()));
        assert_eq!(human_pair(1.00006e9, 1e9), ["1.0001G", "1.0000G"]);
        assert_eq!(
            (human_pair(5.0, 5.0), human_pair(2e6, 1.0)),
            (["5"; 2].map(Into::into), ["2.00M", "1"].map(Into::into))
        );
        for (seconds, text) in [(0.0, "0s"), (61.0, "1m1s"), (7200.0, "2h"), (90_061.0, "1d1h")] {
            assert_eq!(human_seconds(seconds), text);
        }
    }
}

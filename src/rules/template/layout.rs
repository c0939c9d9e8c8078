//! Go's time layouts: a text that shows how the reference time, `Mon Jan 2 15:04:05 MST 2006`, is to be written.
//!
//! In: a time in UTC and a layout.   Out: text.   Always: what is no part of the reference time stands as it is.
//! Source: Go `time/format.go`.

use jiff::civil::DateTime;

/// What a layout may hold: the longest of those that begin alike stands first.
const PIECES: [(&str, Piece); 34] = [
    ("January", Piece::Month),
    ("Jan", Piece::MonthShort),
    ("Monday", Piece::Weekday),
    ("Mon", Piece::WeekdayShort),
    ("MST", Piece::Fixed("UTC")),
    ("002", Piece::YearDay('0')),
    ("01", Piece::MonthNumber(2)),
    ("02", Piece::Day(2, '0')),
    ("03", Piece::Hour12(2)),
    ("04", Piece::Minute(2)),
    ("05", Piece::Second(2)),
    ("06", Piece::YearShort),
    ("15", Piece::Hour),
    ("1", Piece::MonthNumber(1)),
    ("2006", Piece::Year),
    ("2", Piece::Day(1, '0')),
    // Go takes this for an underscore before a year.
    ("_2006", Piece::UnderscoreYear),
    ("__2", Piece::YearDay(' ')),
    ("_2", Piece::Day(2, ' ')),
    ("3", Piece::Hour12(1)),
    ("4", Piece::Minute(1)),
    ("5", Piece::Second(1)),
    ("PM", Piece::Half("AM", "PM")),
    ("pm", Piece::Half("am", "pm")),
    ("-07:00:00", Piece::Fixed("+00:00:00")),
    ("-070000", Piece::Fixed("+000000")),
    ("-07:00", Piece::Fixed("+00:00")),
    ("-0700", Piece::Fixed("+0000")),
    ("-07", Piece::Fixed("+00")),
    ("Z07:00:00", Piece::Fixed("Z")),
    ("Z070000", Piece::Fixed("Z")),
    ("Z07:00", Piece::Fixed("Z")),
    ("Z0700", Piece::Fixed("Z")),
    ("Z07", Piece::Fixed("Z")),
];

/// One part of a time; a number is how many digits are written at least.
#[derive(Clone, Copy)]
enum Piece {
    Year,
    YearShort,
    UnderscoreYear,
    Month,
    MonthShort,
    MonthNumber(usize),
    Weekday,
    WeekdayShort,
    /// With what it is filled up.
    Day(usize, char),
    YearDay(char),
    Hour,
    Hour12(usize),
    Minute(usize),
    Second(usize),
    /// Before and after noon.
    Half(&'static str, &'static str),
    Fixed(&'static str),
}

/// A time in UTC, written as the layout says.
pub fn format(t: DateTime, layout: &str) -> String {
    let (mut out, mut rest) = (String::new(), layout);
    while let Some(c) = rest.chars().next() {
        if let Some((text, length)) = fraction(t, rest) {
            out.push_str(&text);
            rest = &rest[length..];
        } else if let Some((text, piece)) = PIECES.iter().find(|(text, piece)| begins(rest, text, *piece)) {
            out.push_str(&written(t, *piece));
            rest = &rest[text.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn begins(rest: &str, text: &str, piece: Piece) -> bool {
    // `Janet` is a name; `Month` is a word.
    let is_word = matches!(piece, Piece::MonthShort | Piece::WeekdayShort);
    rest.strip_prefix(text).is_some_and(|after| !is_word || !after.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// `.000` and `,000`: so many digits of a second; with nines, without the zeros at the end. Also its length in the layout.
fn fraction(t: DateTime, rest: &str) -> Option<(String, usize)> {
    let point = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digit = rest[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let count = rest[1..].chars().take_while(|c| *c == digit).count();
    if rest[1 + count..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{:09}", t.subsec_nanosecond());
    let mut digits: String = nanos.chars().chain(std::iter::repeat('0')).take(count).collect();
    if digit == '9' {
        digits.truncate(digits.trim_end_matches('0').len());
    }
    let text = if digits.is_empty() { String::new() } else { format!("{point}{digits}") };
    Some((text, 1 + count))
}

fn written(t: DateTime, piece: Piece) -> String {
    let number = |n: i64, digits: usize| format!("{n:0digits$}");
    match piece {
        Piece::Year => number(t.year().into(), 4),
        Piece::YearShort => number(i64::from(t.year()).rem_euclid(100), 2),
        Piece::UnderscoreYear => format!("_{:04}", t.year()),
        Piece::Month => month_name(t.month()).to_owned(),
        Piece::MonthShort => month_name(t.month())[..3].to_owned(),
        Piece::MonthNumber(digits) => number(t.month().into(), digits),
        Piece::Weekday => weekday_name(t.weekday().to_sunday_zero_offset()).to_owned(),
        Piece::WeekdayShort => weekday_name(t.weekday().to_sunday_zero_offset())[..3].to_owned(),
        Piece::Day(digits, ' ') => format!("{:>digits$}", t.day()),
        Piece::Day(digits, _) => number(t.day().into(), digits),
        Piece::YearDay(' ') => format!("{:>3}", t.day_of_year()),
        Piece::YearDay(_) => number(t.day_of_year().into(), 3),
        Piece::Hour => number(t.hour().into(), 2),
        Piece::Hour12(digits) => number((i64::from(t.hour()) + 11) % 12 + 1, digits),
        Piece::Minute(digits) => number(t.minute().into(), digits),
        Piece::Second(digits) => number(t.second().into(), digits),
        Piece::Half(before, after) => (if t.hour() < 12 { before } else { after }).to_owned(),
        Piece::Fixed(text) => text.to_owned(),
    }
}

/// The name of a month from one to twelve.
pub fn month_name(month: i8) -> &'static str {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    usize::try_from(i64::from(month) - 1).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or("%!Month")
}

/// The name of a day of the week; Sunday is zero.
pub fn weekday_name(day: i8) -> &'static str {
    const NAMES: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    usize::try_from(day).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or("%!Weekday")
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected texts are those of Go 1.26.
    #[test]
    fn layouts_are_read_as_go_reads_them() {
        let t = jiff::civil::date(2015, 6, 3).at(0, 9, 4, 50_600_000);
        for (layout, text) in [
            ("2006-01-02T15:04:05Z07:00", "2015-06-03T00:09:04Z"),
            ("2006-01-02 15:04:05.999999999 -0700 MST", "2015-06-03 00:09:04.0506 +0000 UTC"),
            ("Mon, 02 Jan 2006 15:04:05.000", "Wed, 03 Jun 2015 00:09:04.050"),
            ("Monday, January _2 06 3:04PM", "Wednesday, June  3 15 12:09AM"),
            ("1/2/06 03:4:5 pm .9 .0 ,00", "6/3/15 12:9:4 am  .0 ,05"),
            ("002 __2 _2006", "154 154 _2015"),
            ("-07 -07:00 -070000 Z0700", "+00 +00:00 +000000 Z"),
            ("Janet at Month h é", "Janet at Month h é"),
            (".0001", ".0006"),
        ] {
            assert_eq!(format(t, layout), text, "{layout}");
        }
    }
}

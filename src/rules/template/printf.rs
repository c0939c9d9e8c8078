//! Printing as Go's `fmt` does: `print`, `println`, `printf`, and what an action writes.
//!
//! In: template values.   Out: text.   Source: Go `fmt/print.go` and `fmt/format.go`.
//! The library's own `printf` does texts and whole numbers; floats, times and what does not fit its verb are done here.

use std::sync::Arc;

use gotmpl::Value;

use super::functions::{Outcome, failure, string};
use super::moment::Moment;
use super::number::{shortest, significant};

/// Go takes no width and no precision beyond this.
const WIDTH_MAX: usize = 1_000_000;

/// A value as an action prints it.
pub fn show(value: &Value) -> String {
    match value {
        Value::Nil => "<no value>".into(),
        other => plain(other),
    }
}

/// A value as Go's `%v` prints it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Float(v) => shortest(*v),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Map(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", plain(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => Moment::of(other).map_or_else(|| other.to_string(), Moment::text),
    }
}

/// `print`: operands with a space between two of which neither is a text.
pub fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        let between_strings = i > 0 && (arg.as_str().is_some() || args[i - 1].as_str().is_some());
        if i > 0 && !between_strings {
            out.push(' ');
        }
        out.push_str(&plain(arg));
    }
    out
}

/// `println`: operands with spaces between them, and the end of a line.
pub fn println(args: &[Value]) -> String {
    format!("{}\n", args.iter().map(plain).collect::<Vec<_>>().join(" "))
}

/// `printf`.
///
/// # Errors
/// The first argument is no text.
pub fn printf(args: &[Value]) -> Outcome {
    let format = args.first().and_then(Value::as_str).ok_or_else(|| failure("printf wants a format"))?;
    let (mut rewritten, mut rest) = (String::with_capacity(format.len()), args[1..].to_vec());
    let (mut at, mut left) = (0, format);
    while let Some(start) = left.find('%') {
        rewritten.push_str(&left[..start]);
        left = &left[start..];
        if left[1..].chars().all(|c| matches!(c, '+' | '-' | '#' | ' ' | '.' | '0'..='9')) {
            rewritten.push_str("%%!(NOVERB)");
            left = "";
            break;
        }
        // Explicit argument indexes and widths from arguments are left to the library.
        let Some(directive) = Directive::read(left) else { return sprintf(format, &args[1..]) };
        let (whole, after) = left.split_at(directive.length);
        left = after;
        match rest.get_mut(at).filter(|_| directive.verb != '%') {
            Some(arg) => match directive.text(arg) {
                Some(text) => {
                    *arg = string(text);
                    rewritten.push_str("%s");
                }
                None => rewritten.push_str(whole),
            },
            None => rewritten.push_str(whole),
        }
        at += usize::from(directive.verb != '%');
    }
    rewritten.push_str(left);
    sprintf(&rewritten, &rest)
}

/// One `%` of a format.
struct Directive {
    flags: String,
    width: usize,
    precision: Option<usize>,
    verb: char,
    /// In bytes.
    length: usize,
}

impl Directive {
    /// Reads the directive that `text` begins with; `None` where it takes from its arguments or is not whole.
    fn read(text: &str) -> Option<Self> {
        let is_flag = |c: &char| matches!(c, '+' | '-' | '#' | ' ' | '0');
        let flags: String = text[1..].chars().take_while(is_flag).collect();
        let mut at = 1 + flags.len();
        let number = |at: &mut usize| -> Option<usize> {
            let digits = text[*at..].bytes().take_while(u8::is_ascii_digit).count();
            let written = &text[*at..*at + digits];
            *at += digits;
            if written.is_empty() { Some(0) } else { written.parse().ok().filter(|n| *n <= WIDTH_MAX) }
        };
        let width = number(&mut at)?;
        let precision = match text[at..].starts_with('.') {
            true => {
                at += 1;
                Some(number(&mut at)?)
            }
            false => None,
        };
        let verb = text[at..].chars().next().filter(|c| !matches!(c, '*' | '['))?;
        Some(Self { flags, width, precision, verb, length: at + verb.len_utf8() })
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    /// What is printed; `None` where the library does it.
    fn text(&self, value: &Value) -> Option<String> {
        let is_float_verb = matches!(self.verb, 'e' | 'E' | 'f' | 'F' | 'g' | 'G');
        match (value, self.verb) {
            (_, 'T') => Some(self.padded(type_name(value))),
            _ if self.has('#') => None,
            (Value::Float(v), 'v') => Some(self.float(*v, 'g')),
            (Value::Float(v), verb) if is_float_verb => Some(self.float(*v, verb)),
            (Value::Float(_), 'x' | 'X' | 'b') => None,
            (Value::Float(v), _) => Some(self.bad(value, &self.float(*v, 'g'))),
            (Value::Int(_) | Value::Uint(_), _) if is_float_verb => {
                Some(self.bad(value, &self.of_library('d', value)?))
            }
            (Value::List(_) | Value::Map(_), 'v') => Some(self.padded(&plain(value))),
            (Value::Function(_), verb) => {
                let moment = Moment::of(value)?;
                match (verb, moment.number()) {
                    ('v' | 's', _) => Some(self.padded(&moment.text())),
                    ('q' | 'x' | 'X', _) => self.of_library(verb, &string(moment.text())),
                    ('d', Some(n)) => self.of_library('d', &Value::Int(n)),
                    (_, Some(n)) => Some(self.bad(value, &self.of_library('d', &Value::Int(n))?)),
                    (_, None) => Some(self.bad(value, &moment.text())),
                }
            }
            _ => None,
        }
    }

    /// What Go prints where a verb does not go with its operand.
    fn bad(&self, value: &Value, text: &str) -> String {
        format!("%!{}({}={text})", self.verb, type_name(value))
    }

    /// The same directive with another verb, as the library prints it.
    fn of_library(&self, verb: char, value: &Value) -> Option<String> {
        let width = if self.width == 0 { String::new() } else { self.width.to_string() };
        let precision = self.precision.map_or_else(String::new, |n| format!(".{n}"));
        let printed = sprintf(&format!("%{}{width}{precision}{verb}", self.flags), std::slice::from_ref(value)).ok()?;
        printed.as_str().map(str::to_owned)
    }

    fn float(&self, v: f64, verb: char) -> String {
        let upper = verb.is_ascii_uppercase();
        let unsigned = v.abs();
        let digits = match (verb.to_ascii_lowercase(), self.precision) {
            _ if v.is_nan() => "NaN".to_owned(),
            _ if v.is_infinite() => "Inf".to_owned(),
            ('g', None) => shortest(unsigned),
            ('g', Some(n)) => significant(unsigned, n.max(1)),
            ('e', n) => scientific(unsigned, n.unwrap_or(6)),
            (_, n) => format!("{unsigned:.*}", n.unwrap_or(6)),
        };
        let digits = if upper && v.is_finite() { digits.to_uppercase() } else { digits };
        let sign = match (v.is_sign_negative() && !v.is_nan(), self.has('+'), self.has(' ')) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            // Go writes the sign of this one always.
            _ if v.is_infinite() => "+",
            _ => "",
        };
        // What is no number is not filled up with zeros.
        if self.has('0') && !self.has('-') && v.is_finite() {
            let zeros = self.width.saturating_sub(sign.len() + digits.len());
            return format!("{sign}{}{digits}", "0".repeat(zeros));
        }
        self.padded(&format!("{sign}{digits}"))
    }

    fn padded(&self, text: &str) -> String {
        let width = self.width;
        if self.has('-') { format!("{text:<width$}") } else { format!("{text:>width$}") }
    }
}

/// `d.ddde+xx` with so many digits behind the point.
fn scientific(v: f64, digits: usize) -> String {
    let text = format!("{v:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

/// The name that Go gives the type of a value.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Float(_) => "float64",
        Value::Int(_) => "int",
        Value::Uint(_) => "uint",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        Value::Function(_) => Moment::of(value).map_or("func", Moment::type_name),
        _ => "<nil>",
    }
}

fn sprintf(format: &str, args: &[Value]) -> Outcome {
    // gotmpl keeps its formatter private; a one-line template reaches it.
    let data = Value::List(Arc::from(args));
    let calls: String = (0..args.len()).map(|i| format!(" (index . {i})")).collect();
    let template = gotmpl::Template::new("").parse(&format!("{{{{printf {}{calls}}}}}", go_quote(format)))?;
    template.execute_to_string(&data).map(string)
}

fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected texts are those of Go 1.26.
    #[test]
    fn printf_prints_floats_as_go_does() {
        let float = Value::Float;
        for (format, args, text) in [
            ("%v|%s", vec![float(1e21), string("x")], "1e+21|x"),
            ("%v %g %.3g %G", vec![float(1_234_567.0); 4], "1.234567e+06 1.234567e+06 1.23e+06 1.234567E+06"),
            ("%.2f%%", vec![float(71.256)], "71.26%"),
            ("%.2f", vec![float(f64::INFINITY)], "+Inf"),
            ("\"%5.1f\"\n", vec![float(1.25)], "\"  1.2\"\n"),
            ("%T: %3d %s", vec![float(1.5), float(1.5), string("x")], "float64: %!d(float64=1.5) x"),
            ("%d %T", vec![Value::Int(7), Value::Int(7)], "7 int"),
            ("%.1f|%5f|%e", vec![Value::Int(3); 3], "%!f(int=3)|%!f(int=    3)|%!e(int=3)"),
            ("%+.1f|%08.3f|% .1f|%6.1f|%-6.1f|", vec![float(f64::NAN); 5], "+NaN|     NaN| NaN|   NaN|NaN   |"),
            ("%+.1f|%.1f|%08.3f|%+08.3f", vec![float(-0.0); 4], "-0.0|-0.0|-000.000|-000.000"),
            ("%08.3f|%+8.1f|%-8.1f|% f", vec![float(2.5); 4], "0002.500|    +2.5|2.5     | 2.500000"),
            ("%e %.2E %6.1e", vec![float(12_345.678); 3], "1.234568e+04 1.23E+04 1.2e+04"),
            ("%08v|%+v", vec![float(f64::NEG_INFINITY), float(f64::INFINITY)], "    -Inf|+Inf"),
            ("%s|%q", vec![float(2.5), float(2.5)], "%!s(float64=2.5)|%!q(float64=2.5)"),
            ("%v", vec![Value::List(Arc::from([float(1e6), Value::Int(1)]))], "[1e+06 1]"),
            ("%d %v %q %5.1f", vec![Moment::Month(6).value(); 4], "6 June \"June\" %!f(time.Month=    6)"),
            ("%[2]d", vec![Value::Int(3), Value::Int(5)], "5"),
            ("%s %s", vec![string("a")], "a %!s(MISSING)"),
            ("%", vec![], "%!(NOVERB)"),
        ] {
            let args: Vec<Value> = [string(format)].into_iter().chain(args).collect();
            assert_eq!(printf(&args).unwrap().to_string(), text, "{format}");
        }
    }
}

//! Floats as text, in the form in which Prometheus' API, its text format and its labels hold them.

/// Largest whole number up to which every neighbour is a float, too: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Writes a float as Go's `strconv.FormatFloat(v, 'f', -1, 64)`: the shortest digits that read back as the same float,
/// never an exponent; `NaN`, `+Inf` and `-Inf`.
pub fn write_float(out: &mut Vec<u8>, v: f64) {
    // Counters are whole numbers, and writing those takes a third of the time.
    let size = v.abs();
    if size < WHOLE_MAX && size as u64 as f64 == size {
        if v.is_sign_negative() {
            out.push(b'-');
        }
        write_whole(out, size as u64);
    } else if v.is_finite() {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(v).as_bytes();
        // Within these bounds it has no exponent, and a number so small that is not whole has a fraction.
        match (1e-5..WHOLE_MAX).contains(&size) {
            true => out.extend_from_slice(text),
            false => write_shortest(out, text),
        }
    } else if v.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    }
}

/// Writes a whole number in decimal.
pub fn write_whole(out: &mut Vec<u8>, number: u64) {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut n = 0;
        while n < 100 {
            pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
            n += 1;
        }
        pairs
    };
    // As many digits as the largest number has; how many are needed is found first, so that they begin the text.
    let mut text = [0; 20];
    let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    let (mut rest, mut at) = (number, digits);
    while at >= 2 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if at == 1 {
        text[0] = b'0' + rest as u8;
    }
    // All of it is copied, because copying a fixed number of bytes takes no call.
    let end = out.len() + digits;
    out.extend_from_slice(&text);
    out.truncate(end);
}

/// Writes `-1.5`, `2.0` or `1.5e-7` without exponent and without a fraction of zero.
fn write_shortest(out: &mut Vec<u8>, text: &[u8]) {
    let Some(e) = text.iter().rposition(|byte| *byte == b'e') else {
        out.extend_from_slice(text.strip_suffix(b".0").unwrap_or(text));
        return;
    };
    let exponent = std::str::from_utf8(&text[e + 1..]).ok().and_then(|digits| digits.parse::<i32>().ok()).unwrap_or(0);
    let (sign, mantissa) = text[..e].split_at(usize::from(text[0] == b'-'));
    let (whole, fraction) = mantissa.split_at(mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len()));
    let fraction = fraction.strip_prefix(b".").filter(|f| *f != b"0").unwrap_or_default();
    let digits = || whole.iter().chain(fraction).copied();
    let point = whole.len() as i32 + exponent;
    let zeros = |count: i32| std::iter::repeat_n(b'0', usize::try_from(count).unwrap_or(0));
    out.extend_from_slice(sign);
    match usize::try_from(point) {
        Ok(before @ 1..) => {
            out.extend(digits().take(before));
            out.extend(zeros(point - (whole.len() + fraction.len()) as i32));
            if before < whole.len() + fraction.len() {
                out.push(b'.');
                out.extend(digits().skip(before));
            }
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.extend(zeros(-point));
            out.extend(digits());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(v: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, v);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (v, text) in [
            (0.1, "0.1"),
            (1e21, "1000000000000000000000"),
            (1e-7, "0.0000001"),
            (-1.25e-9, "-0.00000000125"),
            (1.5e17, "150000000000000000"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (0.0, "0"),
            (-0.0, "-0"),
            (-42.0, "-42"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (0.00001, "0.00001"),
            (0.000009, "0.000009"),
        ] {
            assert_eq!(written(v), text);
        }
    }

    proptest! {
        // Rust's own `Display` has no exponent and the shortest digits, too. Of two that are equally near it takes the
        // upper where Go takes the even one, so that only the length is compared.
        #[test]
        fn every_float_reads_back_and_is_as_short_as_its_display(
            bits: u64,
            whole in -(1i64 << 54)..1 << 54,
            exponent in -30i32..30,
        ) {
            for v in [f64::from_bits(bits), whole as f64, whole as f64 * 10f64.powi(exponent)] {
                if v.is_finite() {
                    prop_assert_eq!(written(v).parse::<f64>().map(f64::to_bits), Ok(v.to_bits()));
                    prop_assert_eq!(written(v).len(), v.to_string().len());
                }
            }
        }
    }

    #[test]
    fn whole_numbers_of_every_length() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        for number in powers.flat_map(|power| [power - 1, power, power + 7]).chain([u64::MAX]) {
            let mut out = b"x".to_vec();
            write_whole(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{number}"));
        }
    }

    #[test]
    fn of_two_shortest_the_even_one_is_written() {
        assert_eq!(written(6_673_054_494_607_525.0 / 4.0), "1668263623651881.2");
    }
}

//! The quantile of a list of values.

/// The `q`-quantile with linear interpolation; sorts the values, NaN first.
///
/// NaN for no values or `q` = NaN, -Inf below 0, +Inf above 1.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    });
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        let mut values = [3.0, 1.0, 2.0];
        assert_eq!(quantile(0.5, &mut values), 2.0);
        assert_eq!(quantile(0.25, &mut values), 1.5);
        assert_eq!(quantile(-0.1, &mut values), f64::NEG_INFINITY);
        assert!(quantile(f64::NAN, &mut values).is_nan() && quantile(0.5, &mut []).is_nan());
    }
}

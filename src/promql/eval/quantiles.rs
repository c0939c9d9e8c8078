//! The quantile of a list of values.

/// The `q`-quantile with linear interpolation; changes the order of the values, of which NaN is the lowest.
///
/// NaN for no values or `q` = NaN, -Inf below 0, +Inf above 1.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    let (lower, upper, weight) = match rank(q, values.len()) {
        Ok(place) => place,
        Err(fixed) => return fixed,
    };
    let (_, low, above) = values.select_nth_unstable_by(lower, ascending);
    let low = *low;
    // The next higher value is the lowest of those above.
    let high = above.iter().copied().min_by(ascending).filter(|_| upper > lower).unwrap_or(low);
    low * (1.0 - weight) + high * weight
}

/// As [`quantile`] of values in ascending order.
pub(super) fn quantile_of_sorted(q: f64, sorted: &[f64]) -> f64 {
    match rank(q, sorted.len()) {
        Ok((lower, upper, weight)) => sorted[lower] * (1.0 - weight) + sorted[upper] * weight,
        Err(fixed) => fixed,
    }
}

/// The order in which quantiles are counted: NaN first, whatever its sign.
pub(super) fn ascending(a: &f64, b: &f64) -> std::cmp::Ordering {
    b.is_nan().cmp(&a.is_nan()).then_with(|| a.total_cmp(b))
}

/// The places between which the quantile of `count` values lies and the share of the upper one, or its fixed value.
fn rank(q: f64, count: usize) -> Result<(usize, usize, f64), f64> {
    if count == 0 || q.is_nan() {
        return Err(f64::NAN);
    }
    if q < 0.0 {
        return Err(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return Err(f64::INFINITY);
    }
    let rank = q * (count - 1) as f64;
    let lower = rank.floor() as usize;
    Ok((lower, (lower + 1).min(count - 1), rank - rank.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        let mut values = [3.0, 1.0, 2.0];
        assert_eq!(quantile(0.5, &mut values), 2.0);
        assert_eq!(quantile(0.25, &mut values), 1.5);
        assert_eq!(quantile(-0.1, &mut values), f64::NEG_INFINITY);
        assert!(quantile(f64::NAN, &mut values).is_nan() && quantile(0.5, &mut []).is_nan());
    }

    #[test]
    fn selecting_gives_what_sorting_gives() {
        let mut rng = fastrand::Rng::with_seed(7);
        for count in 1..40 {
            let values: Vec<f64> = (0..count).map(|_| f64::from(rng.u8(..9)) / 2.0 - 1.0).collect();
            let mut sorted = values.clone();
            sorted.sort_unstable_by(ascending);
            for q in [0.0, 0.1, 0.5, 0.9, 1.0] {
                assert_eq!(quantile(q, &mut values.clone()), quantile_of_sorted(q, &sorted), "{q} of {values:?}");
            }
        }
        assert_eq!(quantile_of_sorted(1.0, &[f64::NAN, 1.0]), 1.0);
    }
}

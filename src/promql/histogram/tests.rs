//! Arithmetic of native histograms.

use super::add::AddOutcome;
use super::*;

fn exponential(schema: i32, positive: &[(i32, f64)]) -> Sparse {
    let count = positive.iter().map(|(_, c)| c).sum();
    Sparse { schema, count, positive: positive.to_vec(), ..Sparse::default() }
}

#[test]
fn packing_drops_empty_buckets_and_joins_spans() {
    let h = FloatHistogram {
        positive_spans: vec![
            Span { offset: -1, length: 2 },
            Span { offset: 0, length: 2 },
            Span { offset: 3, length: 1 },
        ],
        positive_buckets: vec![1.0, 0.0, 2.0, 3.0, 4.0],
        ..FloatHistogram::default()
    };
    let packed = compact(&h);
    assert_eq!(packed.positive_buckets, [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(
        packed.positive_spans,
        [Span { offset: -1, length: 1 }, Span { offset: 1, length: 2 }, Span { offset: 3, length: 1 }]
    );
    assert_eq!(compact(&packed), packed);
}

#[test]
fn sums_take_the_coarser_resolution() {
    let mut a = exponential(1, &[(1, 1.0), (2, 2.0), (3, 4.0)]);
    let outcome = a.add_scaled(&exponential(0, &[(1, 10.0)]), 1.0).unwrap();
    assert_eq!(outcome, AddOutcome::default());
    assert_eq!((a.schema, a.count), (0, 17.0));
    assert_eq!(a.positive, [(1, 13.0), (2, 4.0)]);
}

#[test]
fn a_wider_zero_bucket_swallows_whole_buckets() {
    let mut a = exponential(0, &[(0, 1.0), (1, 2.0)]);
    let wide = Sparse { zero_threshold: 0.75, zero_count: 5.0, count: 5.0, ..Sparse::default() };
    a.add_scaled(&wide, 1.0).unwrap();
    assert_eq!((a.zero_threshold, a.zero_count), (1.0, 6.0), "(0.5, 1] is populated, so zero grows to 1");
    assert_eq!(a.positive, [(1, 2.0)]);
}

#[test]
fn a_zero_bucket_without_a_width_does_not_widen_forever() {
    let nan = FloatHistogram { zero_threshold: f64::NAN, zero_count: 1.0, count: 1.0, ..FloatHistogram::default() };
    let mut a = Sparse::from(&nan);
    a.add_scaled(&Sparse::from(&nan), 1.0).unwrap();
    a.add_scaled(&Sparse { zero_threshold: 0.5, zero_count: 2.0, count: 2.0, ..Sparse::default() }, 1.0).unwrap();
    assert_eq!((a.zero_threshold, a.zero_count), (0.5, 4.0));
}

#[test]
fn custom_bounds_that_differ_leave_the_common_ones() {
    let custom = |bounds: &[f64], positive: &[(i32, f64)]| Sparse {
        custom_values: bounds.to_vec(),
        ..exponential(FloatHistogram::CUSTOM_BUCKETS, positive)
    };
    let mut a = custom(&[1.0, 2.0, 5.0], &[(0, 1.0), (1, 2.0), (3, 4.0)]);
    assert!(a.add_scaled(&custom(&[2.0, 5.0], &[(0, 10.0), (2, 1.0)]), 1.0).unwrap().bounds_reconciled);
    assert_eq!(a.custom_values, [2.0, 5.0]);
    assert_eq!(a.positive, [(0, 13.0), (2, 5.0)]);
    assert!(a.add_scaled(&exponential(0, &[]), 1.0).is_err());
}

#[test]
fn quantile_and_fraction_undo_each_other() {
    let h = exponential(3, &[(-4, 3.0), (1, 5.0), (9, 2.0)]);
    for q in [0.05, 0.3, 0.5, 0.77, 0.95] {
        let value = quantile(q, &h).value;
        assert!((fraction(f64::NEG_INFINITY, value, &h) - q).abs() < 1e-12, "{q}");
    }
}

#[test]
fn the_two_trims_add_up_to_the_whole() {
    let h = Sparse { zero_threshold: 0.01, zero_count: 2.0, ..exponential(0, &[(0, 4.0), (2, 8.0)]) };
    let h = Sparse { count: 14.0, ..h };
    for cut in [-1.0, 0.0, 0.005, 0.7, 1.0, 3.0, 9.0] {
        let total = h.trimmed(cut, Keep::Below).count + h.trimmed(cut, Keep::Above).count;
        assert!((total - 14.0).abs() < 1e-9, "{cut}: {total}");
    }
}

//! Values of queries as JSON, in the form Prometheus' clients read.

use super::answer::{write_f64, write_time};
use super::reply::{Gone, Pieces};
use crate::model::{FloatHistogram, Labels, Sample, TimestampMs, Value};
use crate::promql::QueryValue;

/// Writes `{"resultType":…,"result":…}` as Prometheus does, with `stats` where they were asked for.
///
/// What was written of the value is given back at once, so that a large answer is not held twice.
///
/// # Errors
/// Nobody takes the answer any more.
pub fn write(value: QueryValue, stats: Option<&serde_json::Value>, to: &mut Pieces) -> Result<(), Gone> {
    let kind = match value {
        QueryValue::Scalar(_) => "scalar",
        QueryValue::String(..) => "string",
        QueryValue::Vector(_) => "vector",
        QueryValue::Matrix(_) => "matrix",
    };
    to.out().extend_from_slice(format!(r#"{{"resultType":"{kind}","result":"#).as_bytes());
    match value {
        QueryValue::Scalar(sample) => write_point(to.out(), sample),
        QueryValue::String(t, text) => {
            let out = to.out();
            out.push(b'[');
            write_time(out, t);
            out.push(b',');
            write_json(out, &text);
            out.push(b']');
        }
        QueryValue::Vector(vector) => write_cut(to, vector, |out, sample| {
            write_metric(out, &sample.labels);
            match &sample.value {
                Value::Float(v) => {
                    out.extend_from_slice(br#","value":"#);
                    write_point(out, Sample { t: sample.t, v: *v });
                }
                Value::Histogram(h) => {
                    out.extend_from_slice(br#","histogram":"#);
                    write_histogram_point(out, sample.t, h);
                }
            }
            out.push(b'}');
        })?,
        QueryValue::Matrix(matrix) => {
            let mut times = Vec::new();
            write_cut(to, matrix, |out, series| {
                write_metric(out, &series.labels);
                if !series.floats.is_empty() {
                    out.extend_from_slice(br#","values":"#);
                    write_points(out, &series.floats, &mut times);
                }
                if !series.histograms.is_empty() {
                    out.extend_from_slice(br#","histograms":"#);
                    write_list(out, &series.histograms, |out, (t, h)| write_histogram_point(out, *t, h));
                }
                out.push(b'}');
            })?;
        }
    }
    if let Some(stats) = stats {
        to.out().extend_from_slice(br#","stats":"#);
        write_json(to.out(), stats);
    }
    to.out().push(b'}');
    Ok(())
}

/// Writes a list of which each item may end a piece.
pub fn write_cut<T>(
    to: &mut Pieces,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) -> Result<(), Gone> {
    to.out().push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            to.out().push(b',');
        }
        write(to.out(), item);
        to.cut()?;
    }
    to.out().push(b']');
    Ok(())
}

fn write_list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

pub fn write_json(out: &mut Vec<u8>, value: impl serde::Serialize) {
    value.serialize(&mut serde_json::Serializer::new(out)).expect("strings and maps of strings are JSON");
}

fn write_metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(br#"{"metric":"#);
    labels.write_json(out);
}

/// The beginning of a point, `[1795453468.123,"`, as it was written for the series before.
struct TimeText {
    t: TimestampMs,
    text: [u8; TimeText::ROOM],
    len: usize,
}

impl TimeText {
    /// Room for any time: 16 digits of seconds, a minus, three decimals behind a point, and four bytes around them.
    const ROOM: usize = 32;

    fn new(t: TimestampMs) -> Self {
        let mut written = vec![b'['];
        write_time(&mut written, t);
        written.extend_from_slice(b",\"");
        let mut text = [0; Self::ROOM];
        text[..written.len()].copy_from_slice(&written);
        Self { t, text, len: written.len() }
    }
}

/// Most times of which the text is kept: those of the longest range.
const TIMES_KEPT_MAX: usize = 11_001;

/// A list of points. All series of a range have their points at the same times, so these are worked out once.
fn write_points(out: &mut Vec<u8>, points: &[Sample], times: &mut Vec<TimeText>) {
    if times.is_empty() {
        times.extend(points.iter().take(TIMES_KEPT_MAX).map(|sample| TimeText::new(sample.t)));
    }
    let mut next = 0;
    out.push(b'[');
    for (i, sample) in points.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        next += times[next..].iter().take_while(|time| time.t < sample.t).count();
        match times.get(next).filter(|time| time.t == sample.t) {
            // All of the room is copied, because copying a fixed number of bytes is quicker.
            Some(time) => {
                let end = out.len() + time.len;
                out.extend_from_slice(&time.text);
                out.truncate(end);
            }
            None => {
                let time = TimeText::new(sample.t);
                out.extend_from_slice(&time.text[..time.len]);
            }
        }
        write_f64(out, sample.v);
        out.extend_from_slice(b"\"]");
    }
    out.push(b']');
}

fn write_point(out: &mut Vec<u8>, sample: Sample) {
    out.push(b'[');
    write_time(out, sample.t);
    out.extend_from_slice(b",\"");
    write_f64(out, sample.v);
    out.extend_from_slice(b"\"]");
}

/// `[t, {"count":"…","sum":"…","buckets":[[boundaries,"lower","upper","count"],…]}]`; empty buckets are left out.
fn write_histogram_point(out: &mut Vec<u8>, t: TimestampMs, histogram: &FloatHistogram) {
    let quoted = |out: &mut Vec<u8>, v: f64| {
        out.push(b'"');
        write_f64(out, v);
        out.push(b'"');
    };
    out.push(b'[');
    write_time(out, t);
    out.extend_from_slice(br#",{"count":"#);
    quoted(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    quoted(out, histogram.sum);
    let buckets: Vec<_> = histogram.buckets().into_iter().filter(|b| b.count != 0.0).collect();
    if !buckets.is_empty() {
        out.extend_from_slice(br#","buckets":"#);
        write_list(out, &buckets, |out, bucket| {
            // Which ends belong to the bucket: 0 upper only, 1 lower only, 2 neither, 3 both.
            let boundaries = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            out.extend_from_slice(format!("[{boundaries},").as_bytes());
            quoted(out, bucket.lower);
            out.push(b',');
            quoted(out, bucket.upper);
            out.push(b',');
            quoted(out, bucket.count);
            out.push(b']');
        });
    }
    out.extend_from_slice(b"}]");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::MatrixSeries;

    #[test]
    fn series_with_other_times_than_the_first_have_their_own() {
        let series = |points: &[(i64, f64)]| MatrixSeries {
            labels: Labels::empty(),
            floats: points.iter().map(|(t, v)| Sample { t: TimestampMs(*t), v: *v }).collect(),
            histograms: Vec::new(),
        };
        let matrix = vec![
            series(&[(1_000, 1.0), (3_000, 0.5)]),
            series(&[(-1_500, 1e21), (1_000, 2.0), (2_050, f64::NAN), (3_000, -0.0), (i64::MAX, 3.0)]),
        ];
        let mut pieces = Pieces::unsent();
        write(QueryValue::Matrix(matrix), None, &mut pieces).unwrap();
        let text = String::from_utf8(std::mem::take(pieces.out())).unwrap();
        let values = r#"[{"metric":{},"values":[[1,"1"],[3,"0.5"]]},{"metric":{},"values":[[-1.500,"1000000000000000000000"],[1,"2"],[2.050,"NaN"],[3,"-0"],[9223372036854775.807,"3"]]}]"#;
        assert_eq!(text, format!(r#"{{"resultType":"matrix","result":{values}}}"#));
    }
}

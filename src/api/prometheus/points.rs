//! Values of queries as JSON, in the form Prometheus' clients read.

use super::answer::{write_f64, write_time};
use crate::model::{FloatHistogram, Labels, Sample, TimestampMs, Value};
use crate::promql::QueryValue;

/// `{"resultType":…,"result":…}` as Prometheus writes it, with `stats` where they were asked for.
pub fn data(value: &QueryValue, stats: Option<&serde_json::Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let kind = match value {
        QueryValue::Scalar(_) => "scalar",
        QueryValue::String(..) => "string",
        QueryValue::Vector(_) => "vector",
        QueryValue::Matrix(_) => "matrix",
    };
    out.extend_from_slice(format!(r#"{{"resultType":"{kind}","result":"#).as_bytes());
    match value {
        QueryValue::Scalar(sample) => write_point(&mut out, *sample),
        QueryValue::String(t, text) => {
            out.push(b'[');
            write_time(&mut out, *t);
            out.push(b',');
            write_json(&mut out, text);
            out.push(b']');
        }
        QueryValue::Vector(vector) => write_list(&mut out, vector, |out, sample| {
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
        }),
        QueryValue::Matrix(matrix) => write_list(&mut out, matrix, |out, series| {
            write_metric(out, &series.labels);
            if !series.floats.is_empty() {
                out.extend_from_slice(br#","values":"#);
                write_list(out, &series.floats, |out, sample| write_point(out, *sample));
            }
            if !series.histograms.is_empty() {
                out.extend_from_slice(br#","histograms":"#);
                write_list(out, &series.histograms, |out, (t, h)| write_histogram_point(out, *t, h));
            }
            out.push(b'}');
        }),
    }
    if let Some(stats) = stats {
        out.extend_from_slice(br#","stats":"#);
        write_json(&mut out, stats);
    }
    out.push(b'}');
    out
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

fn write_json(out: &mut Vec<u8>, value: impl serde::Serialize) {
    value.serialize(&mut serde_json::Serializer::new(out)).expect("strings and maps of strings are JSON");
}

fn write_metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(br#"{"metric":"#);
    write_json(out, labels);
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

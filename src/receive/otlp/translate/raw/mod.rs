//! Requests translated from their bytes: only what is not known of them is decoded.
//!
//! In:  a protobuf metrics request, who sent it, when it came.   Out: [`Translated`], word for word as
//! [`Translator::metrics`] gives it for the same request, decoded and redacted.
//! Always: secrets are taken out of whatever is decoded; what is known had none when it was learned.
//! Limits: a request that is laid out as no SDK lays it out is decoded as a whole.

use std::net::IpAddr;

use hashbrown::HashSet;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::{DecodeError, Message};

use super::known::Head;
use super::wire::{Field, Fields};
use super::writer::Writer;
use super::{Translated, Translator, data_points, starts_of};
use crate::model::TimestampMs;
use crate::receive::redact::Redactor;

/// A resource, its message and the metrics of its scopes not yet read.
#[derive(Default)]
struct RawResource<'a> {
    resource: Option<&'a [u8]>,
    scopes: Vec<RawScope<'a>>,
}

#[derive(Default)]
struct RawScope<'a> {
    scope: Option<&'a [u8]>,
    metrics: Vec<RawMetric<'a>>,
}

struct RawMetric<'a> {
    message: &'a [u8],
    head: Option<Head<'a>>,
}

impl Translator {
    /// Translates one request that came from `peer` at `received_at` as these bytes; takes secrets out of it.
    ///
    /// # Errors
    /// The bytes are no `ExportMetricsServiceRequest`.
    pub fn raw_metrics(
        &self,
        message: &[u8],
        redactor: &Redactor,
        peer: Option<IpAddr>,
        received_at: TimestampMs,
    ) -> Result<Translated, DecodeError> {
        let Some(resources) = read_resources(message) else {
            return self.decoded(message, redactor, peer, received_at);
        };
        self.known.lock().turn(received_at);
        let mut out = Translated::default();
        let mut described = HashSet::new();
        for resource in &resources {
            self.raw_resource(resource, redactor, peer, received_at, &mut described, &mut out)?;
        }
        out.batch.refused = out.refusals.by_reason().to_vec();
        debug_assert_eq!(out.received, out.accepted + out.refusals.total());
        Ok(out)
    }

    fn decoded(
        &self,
        message: &[u8],
        redactor: &Redactor,
        peer: Option<IpAddr>,
        received_at: TimestampMs,
    ) -> Result<Translated, DecodeError> {
        let mut request = ExportMetricsServiceRequest::decode(message)?;
        redactor.metrics(Some(message), &mut request);
        Ok(self.metrics(&request, peer, received_at))
    }

    fn raw_resource(
        &self,
        raw: &RawResource<'_>,
        redactor: &Redactor,
        peer: Option<IpAddr>,
        received_at: TimestampMs,
        described: &mut HashSet<String>,
        out: &mut Translated,
    ) -> Result<(), DecodeError> {
        let mut resource = raw.resource.map(Resource::decode).transpose()?;
        redactor.resource(raw.resource.unwrap_or_default(), &mut resource);
        let attributes = resource.as_ref().map_or(&[][..], |r| r.attributes.as_slice());
        let metrics = || raw.scopes.iter().flat_map(|scope| &scope.metrics);
        let sender = self.sender(attributes, peer, received_at, out, || metrics().flat_map(starts_of_raw));
        let accepted_before = out.accepted;
        let mut latest: Option<TimestampMs> = None;
        for scope in &raw.scopes {
            let mut header = scope.scope.map(InstrumentationScope::decode).transpose()?;
            redactor.scope(scope.scope.unwrap_or_default(), &mut header);
            let mut writer = self.writer(header.as_ref(), &sender, received_at);
            for metric in &scope.metrics {
                self.raw_metric(metric, redactor, &mut writer, described, out)?;
            }
            latest = self.close(writer, &sender, latest, out);
        }
        if let Some(t) = latest.filter(|_| self.options.target_info && out.accepted > accepted_before) {
            self.target_info(attributes, &sender.labels, t, out);
        }
        Ok(())
    }

    fn raw_metric(
        &self,
        raw: &RawMetric<'_>,
        redactor: &Redactor,
        writer: &mut Writer<'_>,
        described: &mut HashSet<String>,
        out: &mut Translated,
    ) -> Result<(), DecodeError> {
        let head = raw.head.as_ref().filter(|head| !head.texts.iter().any(|text| redactor.is_suspicious(text)));
        if let Some(head) = head
            && self.known.lock().write(head, writer).is_ok()
        {
            out.received += head.data_points();
            out.accepted += head.data_points();
            let (shape, kind) = head.shape();
            if head.data_points() > 0 {
                writer.describe(head.metric(), &writer.name_of(head.metric(), shape), kind, out, described);
            }
            return Ok(());
        }
        let mut metric = Metric::decode(raw.message)?;
        let is_redacted = redactor.metric(raw.message, &mut metric);
        out.received += data_points(&metric);
        let mark = writer.mark();
        let is_plain = writer.metric(&metric, &self.state, out, described);
        if let Some(head) = head.filter(|_| is_plain && !is_redacted) {
            self.known.lock().learn(head, writer, writer.since(mark));
        }
        Ok(())
    }
}

/// Where resources, scopes and metrics begin and end; `None` where they are laid out otherwise than usual.
fn read_resources(message: &[u8]) -> Option<Vec<RawResource<'_>>> {
    let mut resources = Vec::new();
    for field in Fields::of(message) {
        let (1, Field::Bytes(message)) = field.ok()? else { return None };
        let mut resource = RawResource::default();
        for field in Fields::of(message) {
            match field.ok()? {
                (1, Field::Bytes(message)) if resource.resource.is_none() => resource.resource = Some(message),
                (2, Field::Bytes(message)) => resource.scopes.push(read_scope(message)?),
                (3, Field::Bytes(schema_url)) => _ = std::str::from_utf8(schema_url).ok()?,
                _ => return None,
            }
        }
        resources.push(resource);
    }
    Some(resources)
}

fn read_scope(message: &[u8]) -> Option<RawScope<'_>> {
    let mut scope = RawScope::default();
    for field in Fields::of(message) {
        match field.ok()? {
            (1, Field::Bytes(message)) if scope.scope.is_none() => scope.scope = Some(message),
            (2, Field::Bytes(message)) => scope.metrics.push(RawMetric { message, head: Head::read(message) }),
            (3, Field::Bytes(schema_url)) => _ = std::str::from_utf8(schema_url).ok()?,
            _ => return None,
        }
    }
    Some(scope)
}

/// As [`starts_of`], decoding one data point after the other.
fn starts_of_raw<'a>(raw: &'a RawMetric<'_>) -> Box<dyn Iterator<Item = (u64, u64)> + 'a> {
    match &raw.head {
        Some(head) => Box::new(head.each_alone().flat_map(|metric| starts_of(&metric))),
        // Whether it decodes is found out when it is written.
        None => Box::new(Metric::decode(raw.message).iter().flat_map(starts_of).collect::<Vec<_>>().into_iter()),
    }
}

#[cfg(test)]
mod tests;

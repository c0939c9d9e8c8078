//! Who sent a request: identity and further labels from resource attributes and the peer's address.
//!
//! In:  resource attributes, the peer.   Out: [`Source`].
//! Always: the rules of identity are [`Identity`]'s, so one engine is one instance by every road.

use std::net::IpAddr;

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};

use super::Options;
use super::attributes::text_of;
use crate::receive::identity::Identity;

/// The sender of one resource's telemetry.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub identity: Identity,
    /// Whether it is an engine, whose names become canonical.
    pub is_engine: bool,
}

/// The job of a sender that names no service, so that it is not taken for an engine.
const UNNAMED_SERVICE: &str = "unknown_service";

/// Finds out who sent `attributes` from `peer`.
///
/// `peer` is `None` for telemetry that did not come over a network; it counts as local, as a loopback peer does.
/// An absent `service.name` reads `unknown_service`. Promoted attributes join the identity's further labels.
pub fn source_of(attributes: &[KeyValue], peer: Option<IpAddr>, options: &Options) -> Source {
    let find = |key: &str| {
        let value = attributes.iter().rev().find(|a| a.key == key)?.value.as_ref()?;
        Some(text_of(value).into_owned()).filter(|text| !text.is_empty())
    };
    let service = find("service.name").unwrap_or_else(|| UNNAMED_SERVICE.to_owned());
    let is_engine = options.engine_services.contains(&service);
    let named = |key: &str| if key == "service.name" { Some(service.clone()) } else { find(key) };
    let mut identity = Identity::of_resource(named, peer, is_engine, &options.local);
    for key in &options.promote {
        let label = super::names::label_name(key, options.keeps_utf8).into_owned();
        if let Some(value) = find(key)
            && !identity.extra.iter().any(|(name, _)| *name == label)
        {
            identity.extra.push((label, value));
        }
    }
    Source { identity, is_engine }
}

/// Whether a resource attribute already stands in the identity and is left out of `target_info`.
pub(super) fn is_identifying(key: &str) -> bool {
    matches!(key, "service.name" | "service.namespace" | "service.instance.id")
}

/// The value of a boolean attribute; `false` when it is absent or no boolean.
pub(super) fn flag(attributes: &[KeyValue], key: &str) -> bool {
    let value = attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_ref());
    matches!(value.and_then(|v| v.value.as_ref()), Some(Value::BoolValue(true)))
}

/// The identity that another rivetwatch sent: exactly the attributes that are there, nothing made up.
pub(super) fn exact_identity(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let names = [("job", "service.name"), ("instance", "service.instance.id")];
    let value = |key: &str| attributes.iter().find(|a| a.key == key)?.value.as_ref();
    names.iter().filter_map(|(label, key)| Some(((*label).to_owned(), text_of(value(key)?).into_owned()))).collect()
}

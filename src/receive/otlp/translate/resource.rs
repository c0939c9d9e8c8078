//! Who sent a request: identity and further labels from resource attributes and the peer's address.
//!
//! In:  resource attributes, the peer.   Out: [`Source`].
//! Always: the rules of identity are [`Identity`]'s, so one engine is one instance by every road.

use std::net::IpAddr;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;

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

/// The attributes by which identity labels travel.
const STAMPED: [(&str, &str); 3] =
    [("cluster", "k8s.cluster.name"), ("namespace", "k8s.namespace.name"), ("pod", "k8s.pod.name")];

/// Writes into a resource who it is, where it does not say so itself: the next collector cannot see its address.
pub fn stamp(resource: &mut Option<Resource>, peer: Option<IpAddr>, options: &Options) {
    let resource = resource.get_or_insert_default();
    let identity = source_of(&resource.attributes, peer, options).identity;
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() && !resource.attributes.iter().any(|a| a.key == key) {
            let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
            resource.attributes.push(KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() });
        }
    };
    add("service.instance.id", &identity.instance);
    for (label, key) in STAMPED {
        if let Some((_, value)) = identity.extra.iter().find(|(name, _)| name == label) {
            add(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::identity::Local;

    fn attribute(key: &str, value: &str) -> KeyValue {
        let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
        KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
    }

    #[test]
    fn a_stamped_resource_is_the_same_source_from_any_address() {
        let local = Local { host_name: "node".into(), pod: Some("engine-0".into()), ..Local::default() };
        let here = Options { local, ..Options::default() };
        let loopback = Some("127.0.0.1".parse().unwrap());
        let attributes = vec![attribute("service.name", "rivet")];
        let before = source_of(&attributes, loopback, &here);
        let mut resource = Some(Resource { attributes, ..Resource::default() });
        stamp(&mut resource, loopback, &here);
        let stamped = resource.unwrap().attributes;
        let elsewhere = Some("10.0.0.9".parse().unwrap());
        assert_eq!(source_of(&stamped, elsewhere, &Options::default()), before);
        assert_eq!(before.identity.instance, "engine-0");
    }

    #[test]
    fn what_a_resource_says_itself_is_not_overwritten() {
        let attributes = vec![attribute("service.instance.id", "mine")];
        let mut resource = Some(Resource { attributes: attributes.clone(), ..Resource::default() });
        stamp(&mut resource, None, &Options::default());
        assert_eq!(resource.unwrap().attributes, attributes);
    }
}

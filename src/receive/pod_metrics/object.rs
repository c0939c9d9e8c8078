//! One object of kind `PodMetrics` (metrics.k8s.io/v1beta1), read as JSON.
//!
//! Always: an object is read as a whole or not at all: usage without its time or window would be taken for what it is not.
//! A container that lacks one of CPU and memory has the other.

use serde_json::Value;

use crate::model::{TimestampMs, parse_quantity};

/// Containers of one pod that are read at most.
pub const CONTAINERS_MAX: usize = 64;
/// The longest name that Kubernetes gives.
const NAME_CHARS_MAX: usize = 253;

/// What one pod uses.
#[derive(Clone, Debug, PartialEq)]
pub struct PodUsage {
    pub pod: String,
    /// When the kubelet measured.
    pub at: TimestampMs,
    /// Over how long the CPU was measured, in seconds.
    pub window_secs: f64,
    pub containers: Vec<ContainerUsage>,
}

/// What one container uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerUsage {
    pub name: String,
    /// Cores.
    pub cpu: Option<f64>,
    /// Bytes of the working set.
    pub memory: Option<f64>,
}

/// Why an object could not be read, for a person: it names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl PodUsage {
    /// Reads an object.
    ///
    /// # Errors
    /// A field is missing or of another shape than Kubernetes gives it.
    pub fn of(object: &Value) -> Result<Self, Unreadable> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let pod = name(text("/metadata/name")).ok_or_else(|| unreadable("an object", "metadata.name"))?;
        let of = || format!("pod {pod}");
        let at = text("/timestamp").and_then(TimestampMs::from_rfc3339);
        let at = at.ok_or_else(|| unreadable(&of(), "timestamp"))?;
        let window_secs = text("/window").and_then(go_duration).ok_or_else(|| unreadable(&of(), "window"))?;
        let containers = object.get("containers").and_then(Value::as_array);
        let containers = containers.filter(|all| !all.is_empty() && all.len() <= CONTAINERS_MAX);
        let containers = containers.ok_or_else(|| unreadable(&of(), "containers"))?;
        let containers =
            containers.iter().map(|container| container_usage(container, &of)).collect::<Result<_, _>>()?;
        Ok(Self { pod, at, window_secs, containers })
    }
}

fn container_usage(container: &Value, of: &dyn Fn() -> String) -> Result<ContainerUsage, Unreadable> {
    let name = name(container.get("name").and_then(Value::as_str));
    let name = name.ok_or_else(|| unreadable(&of(), "containers[].name"))?;
    let quantity = |resource: &str| match container.get("usage").and_then(|usage| usage.get(resource)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => parse_quantity(text).map(Some).ok_or(()),
        Some(other) => parse_quantity(&other.to_string()).map(Some).ok_or(()),
    };
    let read = |resource: &str| {
        let field = format!("containers[].usage.{resource}");
        quantity(resource).map_err(|()| unreadable(&of(), &field))
    };
    Ok(ContainerUsage { cpu: read("cpu")?, memory: read("memory")?, name })
}

/// A name as Kubernetes gives it.
pub(super) fn name(text: Option<&str>) -> Option<String> {
    text.filter(|name| !name.is_empty() && name.len() <= NAME_CHARS_MAX).map(str::to_owned)
}

pub(super) fn unreadable(of: &str, field: &str) -> Unreadable {
    Unreadable(format!("`{field}` of {of} is missing or not as Kubernetes writes it"))
}

/// Seconds of a duration as Go writes it: `15.055s`, `1m0s`, `900ms`. `None` for anything else, and below zero.
fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut secs = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        secs += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    (!text.is_empty() && secs.is_finite()).then_some(secs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As metrics-server 0.7 answers.
    fn object() -> Value {
        json!({
            "metadata": {"name": "rivet-engine-a", "namespace": "rivet-engine", "creationTimestamp": "2026-11-25T20:00:41Z",
                "labels": {"app": "rivet-engine"}},
            "timestamp": "2026-11-25T20:00:25Z",
            "window": "15.055s",
            "containers": [
                {"name": "rivet-engine", "usage": {"cpu": "412345678n", "memory": "524288Ki"}},
                {"name": "rivetwatch", "usage": {"cpu": "2m", "memory": "20Mi"}},
            ],
        })
    }

    #[test]
    fn an_object_is_read_as_metrics_server_writes_it() {
        let usage = PodUsage::of(&object()).unwrap();
        assert_eq!((usage.pod.as_str(), usage.window_secs), ("rivet-engine-a", 15.055));
        assert_eq!(usage.at.to_rfc3339(), "2026-11-25T20:00:25.000Z");
        let seen: Vec<_> = usage.containers.iter().map(|c| (c.name.as_str(), c.cpu, c.memory)).collect();
        assert_eq!(
            seen,
            [
                ("rivet-engine", Some(0.412_345_678), Some(536_870_912.0)),
                ("rivetwatch", Some(0.002), Some(20_971_520.0))
            ]
        );
    }

    #[test]
    fn a_half_broken_object_is_no_usage_and_names_its_field() {
        for (pointer, field) in [
            ("/metadata/name", "metadata.name"),
            ("/timestamp", "timestamp"),
            ("/window", "window"),
            ("/containers", "containers"),
            ("/containers/0/name", "containers[].name"),
            ("/containers/1/usage/cpu", "containers[].usage.cpu"),
            ("/containers/1/usage/memory", "containers[].usage.memory"),
        ] {
            for broken in [json!(""), json!("soon"), json!("-1"), json!({}), json!([])] {
                let mut object = object();
                *object.pointer_mut(pointer).unwrap() = broken.clone();
                match PodUsage::of(&object) {
                    Err(Unreadable(why)) => assert!(why.starts_with(&format!("`{field}` of ")), "{why}"),
                    // Any text is a name.
                    Ok(_) => assert!(pointer.ends_with("/name") && broken.as_str().is_some_and(|t| !t.is_empty())),
                }
            }
        }
        for whole in [json!(null), json!([]), json!("pod"), json!({})] {
            assert!(PodUsage::of(&whole).is_err());
        }
    }

    #[test]
    fn what_a_container_does_not_tell_is_not_zero() {
        let mut object = object();
        object["containers"][0]["usage"] = json!({"memory": "1Gi"});
        object["containers"][1].as_object_mut().unwrap().remove("usage");
        let usage = PodUsage::of(&object).unwrap();
        assert_eq!((usage.containers[0].cpu, usage.containers[0].memory), (None, Some(1_073_741_824.0)));
        assert_eq!((usage.containers[1].cpu, usage.containers[1].memory), (None, None));
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let close = |text: &str, secs: f64| assert!((go_duration(text).unwrap() - secs).abs() < 1e-9, "{text}");
        close("15.055s", 15.055);
        close("1m0s", 60.0);
        close("1h2m3.5s", 3723.5);
        close("900ms", 0.9);
        close("1µs", 1e-6);
        for bad in ["", "15", "s", "-15s", "15 s", "1d", "1.2.3s", "soon"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
    }
}

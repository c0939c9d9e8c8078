//! The HorizontalPodAutoscaler's formula.

/// Within this share of the target the autoscaler leaves the replicas alone (kube-controller-manager's default).
pub const TOLERANCE: f64 = 0.1;

/// Replicas the autoscaler would want for `current` replicas at `utilization` of their requests.
///
/// `desired = ceil(current × utilization / target)`, and `current` while the ratio is within [`TOLERANCE`] of one.
/// Without minimum, maximum and stabilisation window, which belong to the HPA object.
/// Source: Kubernetes, "Horizontal Pod Autoscaling", algorithm details.
pub fn wanted_replicas(current: u32, utilization: f64, target: f64) -> u32 {
    let ratio = utilization / target;
    if (ratio - 1.0).abs() <= TOLERANCE {
        return current;
    }
    // Rounding errors of the division must not add a replica: 3 × (0.35 / 0.7) is to be 2, not 2.0000000000000004 → 3.
    let wanted = (f64::from(current) * ratio * (1.0 - 1e-12)).ceil();
    wanted.clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_worked_out_by_hand() {
        for (current, utilization, target, wanted) in [
            (2, 0.70, 0.70, 2),
            (2, 0.769, 0.70, 2), // just within the tolerance
            (2, 0.771, 0.70, 3), // just beyond
            (2, 0.631, 0.70, 2),
            (2, 0.629, 0.70, 2), // 1.797 rounds up to 2
            (4, 0.35, 0.70, 2),
            (3, 1.40, 0.70, 6),
            (10, 0.0, 0.70, 0),
        ] {
            assert_eq!(wanted_replicas(current, utilization, target), wanted, "{current} at {utilization}");
        }
    }
}

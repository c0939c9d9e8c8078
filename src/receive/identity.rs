//! Who a source is: job, instance and the labels that go on everything.

/// The name under which everything of one engine is kept, by whatever road it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub job: String,
    pub instance: String,
    /// Further labels for every series, such as `cluster`, `namespace` and `pod`.
    pub extra: Vec<(String, String)>,
}

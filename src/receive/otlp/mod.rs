//! OTLP over gRPC and HTTP: decode, redact, translate, answer.
//!
//! In:  requests at the [`Doors`].   Out: batches to `storage::Append`, redacted requests to whoever takes them on.
//! Always: a request is answered after its commit; what is refused is counted by reason, and nothing good beside it
//! is lost. Limits: [`Limits`]. The way: `door` → `body` → `intake` → `json` or protobuf → `redact` → `translate`.

mod body;
mod config;
mod door;
mod intake;
pub mod json;
mod reject;
mod stats;
mod tls;
pub mod translate;

pub use config::{Auth, Config, EngineServices, Grpc, Http, Limits, Names, Tls};
pub use door::{BindError, DoorStats, Doors};
pub use intake::{Answer, Intake, Onward, Signal, Telemetry};
pub use reject::Reject;
pub use stats::OtlpStats;
pub use tls::TlsError;

//! Why a whole request is refused, and how that is said in each protocol.
//!
//! Always: the text says what was wrong and what would be right; the reason for counting is one of few words;
//! a refusal that may be repeated says when (`Retry-After`, `google.rpc.RetryInfo`).

use std::time::Duration;

use tonic_types::{ErrorDetails, StatusExt};

use super::json::JsonError;
use crate::storage::AppendError;

/// A whole request was refused; nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum Reject {
    #[error("the authorization header holds no valid bearer token")]
    Unauthorized,
    #[error("content type `{got}` is not supported; send {expected}")]
    ContentType { got: String, expected: &'static str },
    #[error("content encoding `{got}` is not supported; send `gzip` or `identity`")]
    Encoding { got: String },
    #[error("the {encoding} body cannot be decompressed")]
    Compression { encoding: &'static str, source: std::io::Error },
    #[error("the request is larger than {limit} bytes, decompressed; send smaller batches")]
    TooLarge { limit: usize },
    #[error("the body is no {message}: {source}")]
    Protobuf { message: &'static str, source: prost::DecodeError },
    #[error("{source}")]
    Json { source: JsonError },
    #[error("the gRPC frame is malformed: {why}")]
    Frame { why: &'static str },
    #[error("the body broke off")]
    BrokenOff,
    #[error("the body did not arrive within {seconds} s")]
    Timeout { seconds: u64 },
    #[error("overloaded: {what}; retry in {retry_after_ms} ms")]
    Overloaded { what: String, retry_after_ms: u64 },
    #[error("the points could not be kept")]
    Log { source: AppendError },
    #[error("stopping; retry elsewhere or later")]
    Closed,
    #[error("there is no such path; send to /v1/metrics, /v1/traces or /v1/logs")]
    UnknownPath,
    #[error("method `{got}` is not supported; send POST")]
    Method { got: String },
}

impl From<AppendError> for Reject {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Overloaded { what, retry_after_ms } => Self::Overloaded { what, retry_after_ms },
            AppendError::Closed => Self::Closed,
            log @ AppendError::Log { .. } => Self::Log { source: log },
        }
    }
}

impl Reject {
    /// Every reason, for counting.
    pub(super) const REASONS: [&'static str; 15] = [
        "unauthorized",
        "content_type",
        "encoding",
        "compression",
        "too_large",
        "protobuf",
        "json",
        "frame",
        "broken_off",
        "timeout",
        "overloaded",
        "log",
        "closed",
        "unknown_path",
        "method",
    ];

    /// The place in [`Reject::REASONS`].
    pub(super) fn reason(&self) -> usize {
        match self {
            Self::Unauthorized => 0,
            Self::ContentType { .. } => 1,
            Self::Encoding { .. } => 2,
            Self::Compression { .. } => 3,
            Self::TooLarge { .. } => 4,
            Self::Protobuf { .. } => 5,
            Self::Json { .. } => 6,
            Self::Frame { .. } => 7,
            Self::BrokenOff => 8,
            Self::Timeout { .. } => 9,
            Self::Overloaded { .. } => 10,
            Self::Log { .. } => 11,
            Self::Closed => 12,
            Self::UnknownPath => 13,
            Self::Method { .. } => 14,
        }
    }

    pub(super) fn grpc_code(&self) -> tonic::Code {
        match self {
            Self::Unauthorized => tonic::Code::Unauthenticated,
            Self::Encoding { .. } | Self::UnknownPath | Self::Method { .. } => tonic::Code::Unimplemented,
            Self::BrokenOff => tonic::Code::Cancelled,
            Self::Timeout { .. } => tonic::Code::DeadlineExceeded,
            Self::Overloaded { .. } => tonic::Code::ResourceExhausted,
            Self::Log { .. } | Self::Closed => tonic::Code::Unavailable,
            _ => tonic::Code::InvalidArgument,
        }
    }

    pub(super) fn http_status(&self) -> http::StatusCode {
        match self {
            Self::Unauthorized => http::StatusCode::UNAUTHORIZED,
            Self::ContentType { .. } | Self::Encoding { .. } => http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout { .. } => http::StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded { .. } => http::StatusCode::TOO_MANY_REQUESTS,
            Self::Log { .. } | Self::Closed => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::UnknownPath => http::StatusCode::NOT_FOUND,
            Self::Method { .. } => http::StatusCode::METHOD_NOT_ALLOWED,
            _ => http::StatusCode::BAD_REQUEST,
        }
    }

    /// How long to wait before the same request may succeed; `None` where it never will.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after_ms, .. } => Some(Duration::from_millis(*retry_after_ms)),
            Self::Log { .. } | Self::Closed => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// The refusal as a gRPC status, with `RetryInfo` where it may be repeated.
    pub(super) fn to_status(&self) -> tonic::Status {
        let text = self.text();
        match self.retry_after() {
            Some(wait) => {
                tonic::Status::with_error_details(self.grpc_code(), text, ErrorDetails::with_retry_info(Some(wait)))
            }
            None => tonic::Status::new(self.grpc_code(), text),
        }
    }

    /// The text with its causes.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Compression { source, .. } => format!("{self}: {source}"),
            Self::Log { source } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }
}

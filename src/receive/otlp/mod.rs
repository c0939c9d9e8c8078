//! OTLP over gRPC and HTTP: decode, translate, answer.

pub mod json;
pub mod translate;

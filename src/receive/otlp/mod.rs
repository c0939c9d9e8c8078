//! OTLP over gRPC and HTTP: decode, translate, answer.

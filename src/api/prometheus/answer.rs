//! The JSON envelope of Prometheus' API, its error types, and the numbers as it writes them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::Refused;
use crate::model::{TimestampMs, write_float, write_whole};

/// An error in the form Prometheus' clients know.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    /// 400: the request is wrong.
    pub fn bad_data(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message }
    }

    /// 400: one parameter is wrong.
    pub fn bad_param(name: &str, reason: String) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }

    /// 422: the query was understood and could not be run.
    pub fn execution(message: String) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", message }
    }

    /// 503: the query took too long.
    pub fn timeout(message: String) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "timeout", message }
    }

    /// 503: the client went away.
    pub fn canceled(message: String) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "canceled", message }
    }

    /// 500: our fault.
    pub fn internal(message: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", message }
    }

    /// 404: nothing of that name.
    pub fn not_found(message: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, kind: "not_found", message }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound(why) => Self::not_found(why),
            Refused::BadRequest(why) => Self::bad_data(why),
            Refused::Failed(why) => Self::execution(why),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "status": "error", "errorType": self.kind, "error": self.message });
        (self.status, axum::Json(body)).into_response()
    }
}

/// Answers paths below `/api/v1` that do not exist.
pub async fn no_such_path(uri: axum::http::Uri) -> ApiError {
    ApiError::not_found(format!("no such API path: {}", uri.path()))
}

/// Answers other methods on paths that exist; `405` makes Prometheus' clients fall back from POST to GET.
pub async fn method_not_allowed(method: axum::http::Method) -> ApiError {
    ApiError {
        status: StatusCode::METHOD_NOT_ALLOWED,
        kind: "bad_data",
        message: format!("method {method} is not allowed here"),
    }
}

/// A successful answer with data, and the annotations of a query.
pub fn success(data: impl Serialize, warnings: &[String], infos: &[String]) -> Response {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        status: &'static str,
        data: T,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        infos: &'a [String],
    }
    axum::Json(Envelope { status: "success", data, warnings, infos }).into_response()
}

/// What stands before the data of a successful answer.
pub const OPENING: &[u8] = br#"{"status":"success","data":"#;

/// Writes what stands behind the data: the annotations of a query.
pub fn write_closing(out: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    for (name, list) in [("warnings", warnings), ("infos", infos)] {
        if !list.is_empty() {
            let json = serde_json::to_string(list).expect("strings are JSON");
            out.extend_from_slice(format!(r#","{name}":{json}"#).as_bytes());
        }
    }
    out.push(b'}');
}

/// Writes a float as Go's `strconv.FormatFloat(v, 'f', -1, 64)`: shortest digits, never an exponent.
pub fn write_f64(out: &mut Vec<u8>, v: f64) {
    write_float(out, v);
}

/// Writes a time as seconds with up to three decimals, as Prometheus does.
pub fn write_time(out: &mut Vec<u8>, t: TimestampMs) {
    if t.0 < 0 {
        out.push(b'-');
    }
    let (secs, frac) = (t.0.unsigned_abs() / 1000, (t.0.unsigned_abs() % 1000) as u16);
    write_whole(out, secs);
    if frac > 0 {
        let digit = |of: u16| b'0' + (of % 10) as u8;
        out.extend_from_slice(&[b'.', digit(frac / 100), digit(frac / 10), digit(frac)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_decimals_or_none() {
        for (ms, text) in [(1_435_781_451_781, "1435781451.781"), (1_000, "1"), (1_050, "1.050"), (-500, "-0.500")] {
            let mut out = Vec::new();
            write_time(&mut out, TimestampMs(ms));
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}

//! Parameters of a request, from the query string and the form of a POST, of which the form comes first.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, Method, header};

use super::answer::ApiError;
use crate::model::{Matcher, TimeRange, TimestampMs, parse_duration_ms};

/// Forms above this are refused; a PromQL query has no business being longer.
const MAX_FORM_BYTES: usize = 2 << 20;

/// The parameters of a request, in the order they were sent; a name may come several times.
pub struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let in_url = decode(request.uri().query().unwrap_or(""))?;
        let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let is = |wanted: &str| kind.get(..wanted.len()).is_some_and(|k| k.eq_ignore_ascii_case(wanted.as_bytes()));
        if request.method() == Method::POST && is("multipart/") {
            let reason = "a form has to be sent as `application/x-www-form-urlencoded`, not in parts (curl -d, not -F)";
            return Err(ApiError::bad_data(reason.into()));
        }
        let mut pairs = Vec::new();
        if request.method() == Method::POST && is("application/x-www-form-urlencoded") {
            let body = axum::body::to_bytes(request.into_body(), MAX_FORM_BYTES).await.map_err(|e| {
                ApiError::bad_data(format!("the form is above {MAX_FORM_BYTES} bytes or was cut off: {e}"))
            })?;
            let text =
                std::str::from_utf8(&body).map_err(|e| ApiError::bad_data(format!("the form is not UTF-8: {e}")))?;
            pairs = decode(text)?;
        }
        pairs.extend(in_url);
        Ok(Self(pairs))
    }
}

/// The bytes behind percent escapes, and with `plus` a blank for each `+`; `None` where an escape is broken.
pub(super) fn unescape(part: &str, plus: bool) -> Option<Vec<u8>> {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'+' if plus => out.push(b' '),
            b'%' => {
                let digits = part.get(i + 1..i + 3).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
                out.push(u8::from_str_radix(digits?, 16).ok()?);
                i += 2;
            }
            byte => out.push(byte),
        }
        i += 1;
    }
    Some(out)
}

/// Decodes `a=1&b=2` with percent escapes and `+` for a blank.
fn decode(text: &str) -> Result<Vec<(String, String)>, ApiError> {
    let unescape = |part: &str| -> Result<String, ApiError> {
        let bytes = unescape(part, true);
        let bytes = bytes.ok_or_else(|| ApiError::bad_data(format!("invalid URL escape in `{part}`")))?;
        String::from_utf8(bytes).map_err(|_| ApiError::bad_data("a parameter is not UTF-8".to_owned()))
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((unescape(name)?, unescape(value)?))
        })
        .collect()
}

impl Params {
    /// The first value of `name`, when it is given and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// Every value of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A time: Unix seconds with fraction, or RFC 3339. `None` when it is not given.
    pub fn time(&self, name: &str) -> Result<Option<TimestampMs>, ApiError> {
        self.get(name).map(|text| parse_time(text).map_err(|e| ApiError::bad_param(name, e))).transpose()
    }

    /// A time that has to be given.
    pub fn required_time(&self, name: &str) -> Result<TimestampMs, ApiError> {
        self.time(name)?.ok_or_else(|| ApiError::bad_param(name, "cannot parse \"\" to a valid timestamp".into()))
    }

    /// A duration: seconds with fraction, or Prometheus' notation. `None` when it is not given.
    pub fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| parse_step(text).map_err(|e| ApiError::bad_param(name, e))).transpose()
    }

    /// `limit`: zero and absent mean none.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        match text.parse::<usize>() {
            Ok(0) => Ok(None),
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(ApiError::bad_param("limit", format!("`{text}` is not a non-negative number"))),
        }
    }

    /// A whole number. `None` when it is not given, and where it is negative, which Prometheus takes for no limit.
    pub fn number(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number: i64 = text.parse().map_err(|_| ApiError::bad_data(format!("{name} must be a number")))?;
        Ok(usize::try_from(number).ok())
    }

    /// A truth value as Go reads one: `1`, `t`, `true`, `0`, `f`, `false`. `None` when it is not given.
    pub fn truth(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(Some(false)),
            Some(other) => Err(ApiError::bad_param(name, format!("{other:?} is neither `true` nor `false`"))),
        }
    }

    /// `start` and `end`, each open where absent; nothing lies between them where the end comes first.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        let from = self.time("start")?.unwrap_or(TimestampMs::MIN);
        let to = self.time("end")?.unwrap_or(TimestampMs::MAX);
        Ok(TimeRange { from, to })
    }

    /// The selectors in `match[]`, each a list of matchers; errors name the one that does not parse.
    pub fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let mut selectors = Vec::new();
        for text in self.all("match[]") {
            let matchers =
                crate::promql::parse_selector(text).map_err(|e| ApiError::bad_param("match[]", e.to_string()))?;
            if matchers.iter().all(Matcher::matches_empty) {
                return Err(ApiError::bad_param(
                    "match[]",
                    "match[] must contain at least one non-empty matcher".into(),
                ));
            }
            selectors.push(matchers);
        }
        Ok(selectors)
    }
}

/// What Prometheus and its clients write for the earliest and the latest time that there is.
const EARLIEST: &str = "-292273086-05-16T16:47:06Z";
const LATEST: &str = "292277025-08-18T07:12:54.999999999Z";

/// Unix seconds with fraction, or RFC 3339.
fn parse_time(text: &str) -> Result<TimestampMs, String> {
    match text {
        EARLIEST => return Ok(TimestampMs::MIN),
        LATEST => return Ok(TimestampMs::MAX),
        _ => {}
    }
    let bad = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        return if ms.abs() < 9.2e18 { Ok(TimestampMs(ms as i64)) } else { Err(bad()) };
    }
    TimestampMs::from_rfc3339(text).ok_or_else(bad)
}

/// Seconds with fraction, or Prometheus' notation.
fn parse_step(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        return match ms.abs() < 9.2e18 {
            true => Ok(ms as i64),
            false => Err(format!("cannot parse {text:?} to a valid duration. It overflows int64")),
        };
    }
    parse_duration_ms(text).ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc3339() {
        assert_eq!(parse_time("1435781451.781"), Ok(TimestampMs(1_435_781_451_781)));
        assert_eq!(parse_time("2015-07-01T20:10:51.781Z"), Ok(TimestampMs(1_435_781_451_781)));
        assert_eq!((parse_time(EARLIEST), parse_time(LATEST)), (Ok(TimestampMs::MIN), Ok(TimestampMs::MAX)));
        assert!(parse_time("now").is_err() && parse_time("1e300").is_err() && parse_time("NaN").is_err());
    }

    #[test]
    fn forms_are_decoded_and_broken_escapes_named() {
        assert_eq!(
            decode("query=a%2Bb+c&x=").unwrap(),
            [("query".into(), "a+b c".into()), ("x".into(), String::new())]
        );
        assert!(decode("query=%zz").is_err() && decode("a=%e9").is_err());
    }
}

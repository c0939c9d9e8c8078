//! What secrets look like: the keys that hold them and the shapes they have.
//!
//! Always: [`is_suspicious`] says yes to everything that [`take_out`] or [`is_secret_key`] would act on.
//! That is why both are written side by side: a new shape below needs its literal in [`SUSPICIOUS`].

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex, bytes};

use super::{REDACTED, SecretKind};

/// Literals of which every secret key and every shape contains one.
///
/// `@` stands for `://user:password@host`: URLs are common, URLs with an `@` are not.
const SUSPICIOUS: &str = concat!(
    r"(?i-u:token|authorization|bearer|passw|secret|cookie|api[-_]?key|apikey|private[-_ ]key|credential)",
    r"|(?-u:://[^/ ]*@)|(?i-u:%3a%2f%2f)",
    r"|(?-u:A(?:KIA|SIA|Iza)|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk_live_|rk_live_|eyJ)",
);

static SUSPICION: LazyLock<bytes::Regex> = LazyLock::new(|| compile_bytes(SUSPICIOUS));

/// Attribute and label names that hold secrets; compared with the last dotted part of a key, `_` read as `-`.
const SECRET_KEYS: [&str; 21] = [
    "authorization",
    "proxy-authorization",
    "x-rivet-token",
    "rivet-token",
    "rvt-token",
    "cookie",
    "set-cookie",
    "token",
    "auth-token",
    "access-token",
    "refresh-token",
    "admin-token",
    "password",
    "passwd",
    "secret",
    "client-secret",
    "secret-key",
    "api-key",
    "apikey",
    "x-api-key",
    "private-key",
];

/// Characters that end a value inside a URL, a header list, JSON or logfmt.
const VALUE: &str = r#"[^&\s"'`<>;,|\\(){}\[\]#]+"#;

struct Shape {
    kind: SecretKind,
    /// Group `keep` stays, group `secret` goes.
    regex: Regex,
}

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let shape = |kind, pattern: &str| Shape { kind, regex: compile(pattern) };
    vec![
        shape(
            SecretKind::RivetToken,
            &format!(
                r#"(?i)(?P<keep>(?:rvt|x-rivet|rivet)[-_]token(?:["'\\]*\s*[:=]\s*["'\\]*|%3d|\.))(?P<secret>{VALUE})"#
            ),
        ),
        shape(
            SecretKind::Authorization,
            &format!(
                r#"(?i)(?P<keep>authorization["'\\]*\s*[:=]\s*["'\\\[]*(?:(?:bearer|basic|digest|token)\s+)?)(?P<secret>{VALUE})"#
            ),
        ),
        shape(SecretKind::Authorization, r"(?i)(?P<keep>\bbearer\s+)(?P<secret>[a-z0-9._~+/=-]{6,})"),
        shape(
            SecretKind::SecretAttribute,
            &format!(
                r#"(?i)(?P<keep>\b(?:(?:access|refresh|admin|auth|api)[-_]?token|token|password|passwd|client[-_]secret|secret[-_]key|api[-_]?key)(?:["'\\]*\s*=\s*["'\\]*|["'\\]+\s*:\s*["'\\]+|%3d))(?P<secret>{VALUE})"#
            ),
        ),
        // The last `@` before the path ends the user information, so a password may hold one itself.
        shape(SecretKind::UrlUserinfo, r#"(?P<keep>://)(?P<secret>[^/\s?#"'<>]+)(?P<after>@)"#),
        shape(SecretKind::UrlUserinfo, r"(?i)(?P<keep>%3a%2f%2f)(?P<secret>[^/\s?#&]+?)(?P<after>%40|@)"),
        shape(
            SecretKind::KnownShape,
            concat!(
                r"(?P<keep>)(?P<secret>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}|\bgh[pousr]_[0-9A-Za-z]{20,}",
                r"|\bgithub_pat_[0-9A-Za-z_]{20,}|\bglpat-[0-9A-Za-z_-]{16,}|\bxox[abeprs]-[0-9A-Za-z-]{10,}",
                r"|\b[sr]k_live_[0-9A-Za-z]{10,}|\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)?",
                r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$))",
            ),
        ),
    ]
});

fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that the tests compile")
}

fn compile_bytes(pattern: &str) -> bytes::Regex {
    bytes::Regex::new(pattern).expect("the pattern is a constant that the tests compile")
}

/// Whether `raw` holds any literal that belongs to a secret's shape or key.
pub(super) fn is_suspicious(raw: &[u8]) -> bool {
    SUSPICION.is_match(raw)
}

/// Whether the value under `key` is secret whatever it looks like.
pub(super) fn is_secret_key(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    let longest = "proxy-authorization".len();
    last.len() <= longest && {
        let folded = last.to_ascii_lowercase().replace('_', "-");
        SECRET_KEYS.contains(&folded.as_str())
            // A sanitised label has no dots left: `http_request_header_authorization`.
            || folded.ends_with("-authorization")
    } || key.len() > longest && {
        let folded = key.to_ascii_lowercase().replace('_', "-");
        folded.ends_with("-authorization") || folded.ends_with("-x-rivet-token")
    }
}

/// Replaces every secret shape in `text`, and tells `found` the kind of each.
pub(super) fn take_out(text: &mut Cow<'_, str>, mut found: impl FnMut(SecretKind)) {
    for shape in SHAPES.iter() {
        let clean = shape.regex.replace_all(text, |parts: &Captures<'_>| {
            let part = |name| parts.name(name).map_or("", |m| m.as_str());
            if part("secret") == REDACTED {
                return parts[0].to_owned();
            }
            found(shape.kind);
            format!("{}{REDACTED}{}", part("keep"), part("after"))
        });
        // `replace_all` owns its result whenever it matched, also where the match was redacted already.
        if let Cow::Owned(clean) = clean
            && clean != **text
        {
            *text = Cow::Owned(clean);
        }
    }
}

/// The name under which a find is counted: one of the engine's and of the conventions', else `other`.
pub(super) fn known_attribute(key: &str) -> &'static str {
    const KNOWN: [&str; 19] = [
        "uri",
        "url",
        "url.full",
        "url.path",
        "url.query",
        "http.url",
        "http.path",
        "http.target",
        "http.route",
        "path",
        "error",
        "message",
        "exception.message",
        "exception.stacktrace",
        "location",
        "authorization",
        "name",
        "body",
        "status",
    ];
    KNOWN.into_iter().find(|known| *known == key).unwrap_or("other")
}

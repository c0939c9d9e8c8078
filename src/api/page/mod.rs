//! The status page, and the runbooks that pages link to.
//!
//! In: requests of browsers.   Out: static files and rendered Markdown; the page itself reads the public API.
//! Always: nothing here holds data of the installation, so it may stand outside the API's authentication (the page asks
//! for a token when the API wants one); nothing is loaded from elsewhere, and a strict content policy keeps it so.

mod markdown;
mod runbooks;
mod runbooks_list;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tower_http::set_header::SetResponseHeaderLayer;

pub use markdown::to_html;
pub use runbooks::runbook;
pub use runbooks_list::RUNBOOKS;

const INDEX: &str = include_str!("assets/index.html");
const GRAPH: &str = include_str!("assets/graph.html");

/// File name, content type and content of what the page loads from `/page/`.
const ASSETS: [(&str, &str, &str); 6] = [
    ("style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
    ("graph.js", "text/javascript; charset=utf-8", include_str!("assets/graph.js")),
    ("api.js", "text/javascript; charset=utf-8", include_str!("assets/api.js")),
    ("draw.js", "text/javascript; charset=utf-8", include_str!("assets/draw.js")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// Own files and own API only; no inline script or style, no frames, no forms that leave the page.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/`, `/graph` (where the links of alerts lead, as in Prometheus), `/page/FILE`, `/runbooks` and `/runbooks/NAME`.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let header = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    Router::new()
        .route("/", get(|| async { Html(INDEX) }))
        .route("/graph", get(|| async { Html(GRAPH) }))
        .route("/page/{file}", get(asset))
        .route("/runbooks", get(|| async { Html(index_page()) }))
        .route("/runbooks/{name}", get(runbook_page))
        .layer(header(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
        // A new binary brings a new page: browsers ask again.
        .layer(header(header::CACHE_CONTROL, "no-cache"))
}

async fn asset(Path(file): Path<String>) -> Response {
    match ASSETS.iter().find(|(name, ..)| *name == file) {
        Some((_, kind, content)) => ([(header::CONTENT_TYPE, *kind)], *content).into_response(),
        None => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    }
}

async fn runbook_page(Path(name): Path<String>) -> Response {
    match runbook(&name) {
        Some((name, text)) => Html(document(name, &format!("<article>{}</article>", to_html(text)))).into_response(),
        None => {
            let name = markdown::escape(&name);
            let body = format!(
                "<article><h1>No runbook for {name}</h1><p>Rules of your own can carry their own <code>runbook_url</code>. \
                 See <a href=\"/runbooks\">all runbooks</a>.</p></article>"
            );
            (StatusCode::NOT_FOUND, Html(document("No runbook", &body))).into_response()
        }
    }
}

fn index_page() -> String {
    let items: String = RUNBOOKS
        .iter()
        .map(|(name, _)| format!("<li><a href=\"/runbooks/{0}\">{0}</a></li>", markdown::escape(name)))
        .collect();
    document("Runbooks", &format!("<article><h1>Runbooks</h1><ul class=\"index\">{items}</ul></article>"))
}

/// A page around `body`, which must be HTML already; `title` is text.
fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{} – rivetwatch</title>\n\
         <link rel=\"icon\" href=\"/page/icon.svg\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"/page/style.css\">\n</head>\n<body>\n\
         <header><a class=\"mark\" href=\"/\"><img src=\"/page/icon.svg\" alt=\"\" width=\"22\" height=\"22\">rivetwatch</a>\
         <a href=\"/runbooks\">Runbooks</a></header>\n<main>{body}</main>\n</body>\n</html>\n",
        markdown::escape(title)
    )
}

//! The status page: served whole, loading nothing from elsewhere, reading only what the agent records, and the runbooks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use rivetwatch::api::page;
use rivetwatch::promql;
use tower::ServiceExt;

struct Answer {
    status: StatusCode,
    kind: String,
    policy: String,
    body: String,
}

async fn get(path: &str) -> Answer {
    let router: Router = page::router();
    let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let value = |name| answer.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
    let (kind, policy) = (value(header::CONTENT_TYPE), value(header::CONTENT_SECURITY_POLICY));
    let status = answer.status();
    let body = String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
    Answer { status, kind, policy, body }
}

/// What stands between double quotes behind each `key`.
fn quoted<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.split(key).skip(1).filter_map(|rest| rest.strip_prefix('"')?.split_once('"')).map(|(value, _)| value).collect()
}

#[tokio::test]
async fn the_page_and_all_it_loads_come_from_here() {
    let page = get("/").await;
    assert_eq!((page.status, page.kind.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(page.policy.contains("default-src 'none'") && !page.policy.contains("unsafe"), "{}", page.policy);
    let mut waiting: Vec<String> =
        quoted(&page.body, "href=").into_iter().chain(quoted(&page.body, "src=")).map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        assert!(path.starts_with('/'), "`{path}` leads elsewhere");
        if !path.starts_with("/page/") || !seen.insert(path.clone()) {
            continue;
        }
        let file = get(&path).await;
        assert_eq!(file.status, StatusCode::OK, "{path}");
        let kind = match path.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript",
            "css" => "text/css",
            _ => "image/svg+xml",
        };
        assert!(file.kind.starts_with(kind), "{path} is {}", file.kind);
        for elsewhere in ["https://", "@import", "url(", "innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!file.body.contains(elsewhere), "{path} holds `{elsewhere}`");
        }
        let outside = file.body.matches("http://").count() - file.body.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(outside, 0, "{path} leads elsewhere");
        let imports =
            quoted(&file.body, "from ").into_iter().map(|name| format!("/page/{}", name.trim_start_matches("./")));
        waiting.extend(imports);
    }
    for path in quoted(&get("/graph").await.body, "src=") {
        assert!(path.starts_with("/page/") && get(path).await.status == StatusCode::OK, "{path}");
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert_eq!(get("/page/nothing.js").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get("/page/..%2Fmod.rs").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_page_reads_only_public_paths() {
    let script = get("/page/page.js").await.body;
    let known = ["query", "query_range", "alerts", "rules", "targets", "status/buildinfo", "capacity"];
    let read: BTreeSet<&str> = quoted(&script, "read(").into_iter().chain(quoted(&script, "readText(")).collect();
    assert!(read.len() >= 8, "{read:?}");
    for path in read {
        let public = path.strip_prefix("/api/v1/").is_some_and(|rest| known.contains(&rest));
        assert!(public || path == "/api/v2/alerts" || path == "/metrics", "`{path}`");
    }
}

#[tokio::test]
async fn every_series_on_the_page_is_recorded() {
    let mut recorded: BTreeSet<String> = ["rivet_engine_info".to_owned(), "ALERTS".to_owned()].into();
    for file in crate::export::shipped() {
        recorded.extend(file.text.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).map(str::to_owned));
    }
    let script = get("/page/page.js").await.body;
    let expressions = quoted(&script, "expr: ");
    assert_eq!(expressions.len(), 4);
    let fired = script.split("const FIRED = '").nth(1).unwrap().split('\'').next().unwrap();
    for expression in expressions.into_iter().chain([fired]) {
        let expr = promql::parse(expression).unwrap_or_else(|e| panic!("{}", e.render()));
        for selector in promql::selectors(&expr) {
            assert!(recorded.contains(selector.name.as_deref().unwrap()), "nothing records {:?}", selector.name);
        }
    }
    // The one query for all signals, put together from its pieces, must name each series that is looked up by name.
    let pieces = script.split("const SIGNALS =").nth(1).unwrap().split(";\n").next().unwrap();
    let signals: String = pieces.split(" +\n").map(|piece| piece.trim().trim_matches(['\'', '"'])).collect();
    let expr = promql::parse(&signals).unwrap_or_else(|e| panic!("{}", e.render()));
    let selector = promql::selectors(&expr).next().unwrap();
    let looked_up =
        quoted(&script, "of(data, ").into_iter().chain(quoted(&script, "add(")).chain(quoted(&script, "= value("));
    let looked_up: BTreeSet<&str> =
        looked_up.chain(quoted(&script, "text(value(")).chain(quoted(&script, "meter(value(")).collect();
    assert!(looked_up.len() >= 15, "{looked_up:?}");
    for name in looked_up {
        assert!(selector.matchers[0].matches_value(name), "the page does not ask for `{name}`");
        assert!(recorded.contains(name), "nothing records `{name}`");
    }
}

#[test]
fn runbooks_in_the_binary_are_those_in_the_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = fs::read_dir(root.join("alerts/runbooks"))
        .map(|entries| {
            entries.filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix(".md").map(str::to_owned)).collect()
        })
        .unwrap_or_default();
    names.retain(|name| name != "README");
    names.sort();
    let lines: String = names
        .iter()
        .map(|name| format!("    (\"{name}\", include_str!(\"../../../alerts/runbooks/{name}.md\")),\n"))
        .collect();
    let list = if lines.is_empty() { "&[]".to_owned() } else { format!("&[\n{lines}]") };
    let text = format!(
        "//! The runbooks that the binary carries, one for each shipped alert.\n//!\n\
         //! In:  every file of alerts/runbooks.   Out: [`RUNBOOKS`].\n\
         //! Always: written by `UPDATE=1 cargo test runbooks`, which fails without where a file is not in it.\n\n\
         /// Name of the alert and Markdown of its runbook, in order of name.\n\
         #[rustfmt::skip]\npub const RUNBOOKS: &[(&str, &str)] = {list};\n"
    );
    let path = root.join("src/api/page/runbooks_list.rs");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == text, "the list of runbooks is old: run with UPDATE=1");
}

#[tokio::test]
async fn runbooks_are_served_by_the_name_of_the_alert() {
    let index = get("/runbooks").await;
    assert_eq!(index.status, StatusCode::OK);
    for (name, _) in page::RUNBOOKS {
        assert!(index.body.contains(&format!("href=\"/runbooks/{name}\"")), "{name}");
        for spelled in [(*name).to_owned(), name.to_lowercase()] {
            let runbook = get(&format!("/runbooks/{spelled}")).await;
            assert_eq!(runbook.status, StatusCode::OK, "{spelled}");
            assert!(runbook.body.contains("<h1>") && runbook.policy.contains("default-src 'none'"), "{spelled}");
            let article = runbook.body.split("<article>").nth(1).unwrap();
            for url in quoted(article, "href=").into_iter().filter(|url| !url.starts_with("http")) {
                let path = if url.starts_with('/') { url.to_owned() } else { format!("/runbooks/{url}") };
                assert_eq!(get(&path).await.status, StatusCode::OK, "{name} links `{url}`");
            }
        }
    }
    let unknown = get("/runbooks/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.body.contains("&lt;script&gt;") && !unknown.body.contains("<script>"), "{}", unknown.body);
}

//! Texts and their renderings; the expected ones are those of Prometheus 2.42 and its documentation.

use super::*;

fn render(text: &str) -> String {
    let labels = Labels::from_pairs([("instance", "engine-0.rivet.svc:6430"), ("job", "rivet")]);
    let external = Labels::from_pairs([("cluster", "eu")]);
    let data = Data {
        labels: &labels,
        value: 0.7125,
        external_labels: &external,
        external_url: "http://watch.example:6440/sub",
        now: TimestampMs(1_435_065_584_128),
    };
    let answerer = |query: &str| match query {
        "up" => Ok(vec![
            (Labels::from_pairs([("__name__", "up"), ("instance", "b")]), 0.0),
            (Labels::from_pairs([("__name__", "up"), ("instance", "a")]), 1.0),
        ]),
        "nothing" => Ok(vec![]),
        other => Err(format!("unknown metric in {other}")),
    };
    match Template::parse("Test", text).and_then(|t| t.render(&data, &answerer)) {
        Ok(text) => text,
        Err(e) => format!("<{e}>"),
    }
}

#[test]
fn labels_values_and_external_data_are_at_hand() {
    for (text, rendered) in [
        ("plain", "plain"),
        ("{{ $labels.instance }} {{ .Labels.job }}", "engine-0.rivet.svc:6430 rivet"),
        ("{{ $value }} {{ .Value }} {{ printf \"%.1f\" $value }}", "0.7125 0.7125 0.7"),
        ("{{ $externalLabels.cluster }} {{ $externalURL }}", "eu http://watch.example:6440/sub"),
        ("{{ externalURL }} {{ pathPrefix }}", "http://watch.example:6440/sub /sub"),
        ("{{ $labels }}", "map[instance:engine-0.rivet.svc:6430 job:rivet]"),
        ("{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}", "instance=engine-0.rivet.svc:6430;job=rivet;"),
    ] {
        assert_eq!(render(text), rendered, "{text}");
    }
}

#[test]
fn a_missing_label_prints_nothing_and_is_false() {
    assert_eq!(render("[{{ $labels.pod }}]"), "[]");
    assert_eq!(render("{{ if $labels.pod }}pod{{ else }}none{{ end }}"), "none");
    assert_eq!(render("{{ with .Labels.pod }}pod {{ . }}{{ end }}|{{ index $labels \"pod\" }}|"), "||");
    assert_eq!(render("{{ $labels.pod | toUpper }}{{ eq $labels.pod \"\" }}"), "true");
}

#[test]
fn functions_of_prometheus_are_there() {
    for (text, rendered) in [
        ("{{ $value | humanizePercentage }}", "71.25%"),
        ("{{ humanize 1234567.0 }} {{ humanize1024 1048576.0 }} {{ humanizeDuration 3661.0 }}", "1.235M 1Mi 1h 1m 1s"),
        ("{{ humanize \"0.0012\" }} {{ humanize 12 }}", "1.2m 12"),
        ("{{ 5400.5 | toDuration }}", "1h30m0.5s"),
        ("{{ 1435065584.128 | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        ("{{ \"aa bb CC\" | title }} {{ \"x\" | toUpper }} {{ \"X\" | toLower }}", "Aa Bb CC X x"),
        ("{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }} {{ match \"a+\" \"xaax\" }}", "xa true"),
        ("{{ $labels.instance | stripPort }} {{ $labels.instance | stripDomain }}", "engine-0.rivet.svc engine-0:6430"),
        ("{{ parseDuration \"1h2m10ms\" }}", "3720.01"),
        (
            "{{ graphLink \"up == 0\" }} {{ tableLink \"up\" }}",
            "/graph?g0.expr=up+%3D%3D+0&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
        ),
        ("{{ define \"x\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"x\" (args 1 \"b\") }}", "1-b"),
        ("{{ safeHtml \"<b>\" }}", "<b>"),
        ("{{ print 1.5 2.0 \"a\" }}", "1.5 2a"),
    ] {
        assert_eq!(render(text), rendered, "{text}");
    }
}

#[test]
fn queries_are_answered() {
    for (text, rendered) in [
        ("{{ query \"up\" | first | value }}", "0"),
        ("{{ query \"up\" | sortByLabel \"instance\" | first | label \"instance\" }}", "a"),
        ("{{ range query \"up\" }}{{ .Labels.instance }}={{ .Value }} {{ end }}", "b=0 a=1 "),
        ("{{ range query \"nothing\" }}x{{ else }}empty{{ end }}", "empty"),
        ("{{ with query \"up\" }}{{ . | first | strvalue }}|{{ len . }}{{ end }}", "|2"),
    ] {
        assert_eq!(render(text), rendered, "{text}");
    }
    assert!(render("{{ query \"nothing\" | first }}").contains("first() called on vector with no elements"));
    assert!(render("{{ query \"boom(\" }}").contains("unknown metric in boom("));
}

#[test]
fn mistakes_are_found_when_the_rule_is_loaded() {
    for (text, reason) in [
        ("{{ $label.foo }}", "1:4: undefined variable \"$label\""),
        ("{{ nosuch 1 }}", "function \"nosuch\" not defined"),
        ("{{ $labels.foo ", "unclosed action"),
        ("{{ if }}x{{ end }}", "empty command"),
    ] {
        let error = Template::parse("Test", text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(reason) && error.starts_with("error parsing template __alert_Test"), "{error}");
    }
}

#[test]
fn a_failing_template_says_why_and_stays_within_limits() {
    assert!(render("{{ .Nope }}").contains("can't evaluate field Nope"));
    assert!(render("{{ humanize \"x\" }}").contains("can't convert \"x\" to float"));
    assert!(render("{{ range $i := 1000000 }}{{ end }}").contains("budget"));
    assert!(render("{{ range $i := 99999 }}abcdefgh{{ end }}").contains("longer than"));
}

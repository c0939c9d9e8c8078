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
fn times_and_durations_have_the_methods_of_go() {
    for (text, rendered) in [
        ("{{ toTime 1435065584.5 }} {{ (toTime 1435065584.5).Year }}", "2015-06-23 13:19:44.5 +0000 UTC 2015"),
        (
            "{{ $t := toTime 1435065584.5 }}{{ $t.Month }} {{ $t.Day }} {{ $t.Weekday }} {{ $t.YearDay }}",
            "June 23 Tuesday 174",
        ),
        (
            "{{ with toTime 0 }}{{ .Unix }} {{ .UTC.Hour }} {{ .Format \"Mon Jan _2 2006\" }}{{ end }}",
            "0 0 Thu Jan  1 1970",
        ),
        ("{{ \"15:04\" | (toTime 1435065584.5).Format }} {{ (toTime 1.5).UnixMilli }}", "13:19 1500"),
        (
            "{{ (toDuration 5400.5).Hours }} {{ (toDuration 90).Minutes }} {{ (toDuration 1.5).Seconds }}",
            "1.500138888888889 1.5 1.5",
        ),
        ("{{ (toDuration 1.5).Milliseconds }} {{ (toDuration 5400.5).Round (toDuration 60) }}", "1500 1h30m0s"),
        (
            "{{ ((toTime 90).Sub (toTime 30)).Seconds }} {{ (toTime 30).Add (toDuration 60) }}",
            "60 1970-01-01 00:01:30 +0000 UTC",
        ),
        (
            "{{ (toTime 1).Before (toTime 2) }} {{ (toTime 1).After (toTime 2) }} {{ (toTime 1).Equal (toTime 1) }}",
            "true false true",
        ),
        ("{{ if eq (toTime 1435065584.5).Month 6 }}June{{ end }} {{ (toTime 0).Weekday | eq 4 }}", "June true"),
        ("{{ (toTime 1435065584).AddDate 0 8 8 }}", "2016-03-02 13:19:44 +0000 UTC"),
        (
            "{{ printf \"%s %v %d\" (toTime 0) (toDuration 1.5) (toTime 0).Month }}",
            "1970-01-01 00:00:00 +0000 UTC 1.5s 1",
        ),
        (
            "{{ humanizeDuration (toDuration 90) }} {{ print (toTime 0).String 1 }}",
            "1m 30s 1970-01-01 00:00:00 +0000 UTC1",
        ),
    ] {
        assert_eq!(render(text), rendered, "{text}");
    }
    for (text, reason) in [
        ("{{ (toTime 0).Nope }}", "can't evaluate field Nope in type *time.Time"),
        ("{{ (toTime 0).Format }}", "wrong number of args for Format: want 1 got 0"),
        ("{{ (toTime 0).Year 1 }}", "wrong number of args for Year: want 0 got 1"),
        ("{{ (toTime 0).Sub 1 }}", "expected time.Time; got int"),
        ("{{ $labels.job \"x\" }}", "job is not a method but has arguments"),
        ("{{ toTime \"NaN\" }}", "value is NaN or Inf"),
        ("{{ toDuration \"Inf\" }}", "value is NaN or Inf"),
        ("{{ lt (toTime 0) (toTime 1) }}", "error"),
    ] {
        assert!(render(text).contains(reason), "{text}: {}", render(text));
    }
}

#[test]
fn numbers_are_printed_as_go_prints_them() {
    for (text, rendered) in [
        (
            "{{ 1e6 }} {{ 1234567.0 }} {{ 1e20 }} {{ 999999.0 }} {{ 1000000 }}",
            "1e+06 1.234567e+06 1e+20 999999 1000000",
        ),
        ("{{ print 1e6 }} {{ println 1e6 1 }}", "1e+06 1e+06 1\n"),
        ("{{ printf \"%v %g %.0f\" 1234567.0 1234567.0 1234567.0 }}", "1.234567e+06 1.234567e+06 1234567"),
        ("{{ urlquery 1e6 }} {{ html 1e6 \"<\" }}", "1e%2B06 1e+06&lt;"),
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

//! Every configuration that ships is one the agent starts with.

use std::path::{Path, PathBuf};

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => yaml_files(&path, found),
            false if path.extension().is_some_and(|e| e == "yaml") => found.push(path),
            false => {}
        }
    }
}

#[test]
fn every_shipped_configuration_loads() {
    let mut files = Vec::new();
    yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"), &mut files);
    let ours = |path: &&PathBuf| {
        path.file_name().is_some_and(|n| n == "rivetwatch.yaml") || path.to_string_lossy().contains("/examples/")
    };
    let files: Vec<_> = files.iter().filter(ours).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        if let Err(error) = rivetwatch::config::load(Some(file), &[]) {
            panic!("{}: {}", file.display(), rivetwatch::model::chain(&error));
        }
    }
}

#[test]
fn mistakes_are_named_by_key_and_never_show_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rivetwatch.yaml");
    let error = |text: &str, env: &[(&str, &str)]| {
        std::fs::write(&path, text).unwrap();
        let env: Vec<_> = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        rivetwatch::model::chain(&rivetwatch::config::load(Some(&path), &env).unwrap_err())
    };
    let unknown = error("rules:\n  intervall: 15s\n", &[]);
    assert!(unknown.contains("intervall") && unknown.contains("line 2"), "{unknown}");
    let several = error("api: {listen: '0.0.0.0:6440'}\nrules: {interval: 1ms}\ndeployment: ''\n", &[]);
    for key in ["`api.listen`", "`rules.interval`", "`deployment`"] {
        assert!(several.contains(key), "{key} in {several}");
    }
    let variable = error("", &[("RIVETWATCH__RULES__INTERVAL", "soon")]);
    assert!(variable.contains("RIVETWATCH__RULES__INTERVAL") && variable.contains("soon"), "{variable}");
    let secret =
        error("notify: {receivers: [{name: p, pagerduty_configs: [{routing_key: s3cr3t, colour: red}]}]}", &[]);
    assert!(!secret.contains("s3cr3t"), "{secret}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rivetwatch.yaml");
    std::fs::write(&path, "rules: {interval: 30s}\nreceive: {scrape: {interval: 20s}}\n").unwrap();
    let env = [("RIVETWATCH__RULES__INTERVAL".to_owned(), "5s".to_owned())];
    let config = rivetwatch::config::load(Some(&path), &env).unwrap();
    assert_eq!(config.rules.interval.as_ms(), 5_000);
    assert_eq!(config.receive.scrape.interval.as_ms(), 20_000);
}

/// The fenced YAML of the documentation, in order.
fn documented() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn loaded(text: &str) -> rivetwatch::config::Config {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rivetwatch.yaml");
    std::fs::write(&path, text).unwrap();
    match rivetwatch::config::load(Some(&path), &[]) {
        Ok(config) => config,
        Err(error) => panic!("{}", rivetwatch::model::chain(&error)),
    }
}

#[test]
fn the_documentation_has_every_key_with_its_default() {
    let documented = documented();
    let (written, default) = (loaded(&documented[0]), rivetwatch::config::Config::default());
    let text = |config| format!("{config:#?}");
    for (written, default) in text(&written).lines().zip(text(&default).lines()) {
        assert_eq!(written, default);
    }
    // Rust's names of what is flattened, renamed or has no name of its own.
    let other_names = [("tsdb", "retention"), ("overrides", "override")];
    for line in text(&default).lines() {
        let Some((key, _)) = line.trim().split_once(": ") else { continue };
        let is_field = key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
        if is_field {
            let key = other_names.iter().find(|(rust, _)| *rust == key).map_or(key, |(_, name)| *name);
            assert!(documented[0].contains(&format!("{key}:")), "`{key}` is not documented");
        }
    }
}

#[test]
fn the_documented_receivers_are_valid() {
    let config = loaded(&documented()[1]);
    assert_eq!(config.notify.receivers.len(), 5);
    rivetwatch::app::notify_settings(&config).unwrap();
}

#[test]
fn a_broken_sidecar_keeps_every_section_that_is_right() {
    use rivetwatch::config::{Config, Role};
    let text = "role: sidecar\nstorage: {retenshun: 1h}\nforward: {otlp: {endpoint: 'http://gateway:4317'}}\n\
                receive: {retire_on_stop: true}\nrules: {interval: 1ms}\n";
    let env = [("RIVETWATCH__DEPLOYMENT", "eu"), ("RIVETWATCH__API__LISTEN", "nowhere"), ("HOME", "/root")];
    let env = env.map(|(n, v)| (n.to_owned(), v.to_owned()));
    let config = Config::of_broken_sidecar(text, &env);
    assert_eq!(config.role, Role::Sidecar);
    assert_eq!(config.forward.otlp.map(|o| o.endpoint).as_deref(), Some("http://gateway:4317"));
    assert!(config.receive.retire_on_stop);
    assert_eq!((config.deployment.as_str(), config.api.listen.port()), ("eu", 6440));
    assert_eq!(config.rules.interval, Config::default().rules.interval);
    let nothing = Config::of_broken_sidecar("role: sidecar\n\tforward:", &[]);
    assert!(nothing.role == Role::Sidecar && nothing.forward.otlp.is_none());
}

#[test]
fn the_shipped_rules_leave_nothing_to_find_fault_with() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_rivetwatch")).args(["rules", "check"]).output().unwrap();
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_check_counts_and_warns_of_receivers_in_an_alertmanager_file() {
    let dir = tempfile::tempdir().unwrap();
    let receivers = "route: {receiver: team}\nreceivers:\n- name: team\n  slack_configs: [{api_url: 'http://x/', channel: a}]\n\
                     - {name: hook, webhook_configs: [{url: 'http://x/'}]}\n";
    std::fs::write(dir.path().join("am.yml"), receivers).unwrap();
    std::fs::write(dir.path().join("rw.yaml"), "notify: {config_file: am.yml}\n").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rivetwatch"));
    let out = command.args(["config", "check", "-c", "rw.yaml"]).current_dir(&dir).output().unwrap();
    let (said, warned) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains(", 2 receivers."), "{said}{warned}");
    assert!(warned.contains("am.yml: `receivers[0].slack_configs` is not delivered"), "{warned}");
}

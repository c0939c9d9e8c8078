//! What the arguments and the file of a NATS workload say, as far as they are among the objects.
//!
//! Source: nats-server 2.10, whose flags are those of Go's `flag`: one dash or two, `=value` or the next word.

use secrecy::ExposeSecret;

use crate::checklist::cluster::{Cluster, ConfigMap, Container, Workload};
use crate::checklist::known::{Known, unknown};

/// A workload that runs NATS.
#[derive(Clone, Copy, Debug)]
pub struct NatsPlan<'a> {
    pub cluster: &'a Cluster,
    pub workload: &'a Workload,
    pub container: &'a Container,
}

impl NatsPlan<'_> {
    /// How the servers find each other, for people.
    ///
    /// # Errors
    /// Nothing that was read says so.
    pub fn is_clustered(&self) -> Known<String> {
        let has = |names: &[&str]| self.flag(names).is_some();
        if has(&["routes"]) && has(&["cluster", "cluster_listen"]) {
            return Ok("with routes between them".into());
        }
        let (name, text) = self.file()?;
        let words = words(&text);
        let at = words.iter().position(|word| word == "cluster");
        // An empty list of routes leads nowhere.
        let is_route =
            |pair: &[String]| pair[0] == "routes" && ["nats-route", "nats", "tls"].contains(&pair[1].as_str());
        match at.is_some_and(|at| words[at..].windows(2).any(is_route)) {
            true => Ok(format!("with routes in {name}")),
            false if has(&["routes"]) && at.is_some() => Ok(format!("with routes, and a cluster in {name}")),
            false => unknown(format!("{name} names no routes between servers")),
        }
    }

    /// Whether JetStream is turned on.
    ///
    /// # Errors
    /// A file that is not read may turn it on.
    pub fn has_jetstream(&self) -> Known<bool> {
        match self.flag(&["js", "jetstream"]) {
            Some(value) if !value.eq_ignore_ascii_case("false") => return Ok(true),
            _ => {}
        }
        let (_, text) = self.file()?;
        let words = words(&text);
        let value = words.iter().position(|word| word == "jetstream").map(|at| words.get(at + 1).map(String::as_str));
        Ok(value.is_some_and(|value| !matches!(value, Some("false" | "disabled" | "off" | "no"))))
    }

    /// The value of a flag; empty where it stands alone.
    fn flag(&self, names: &[&str]) -> Option<&str> {
        self.container.args.iter().find_map(|word| {
            let flag = word.strip_prefix('-')?;
            let (name, value) =
                flag.trim_start_matches('-').split_once('=').unwrap_or((flag.trim_start_matches('-'), ""));
            names.contains(&name).then_some(value)
        })
    }

    /// Its configuration file, by name and text.
    fn file(&self) -> Known<(String, String)> {
        let args = &self.container.args;
        if args.iter().any(|word| word.contains(char::is_whitespace)) {
            return unknown("its command is a script");
        }
        let Some(path) = self.container.flag_values(&["-c", "--config", "-config"]).pop() else {
            return unknown("no file is named, and that of its image is not read");
        };
        let maps: &[ConfigMap] = self.cluster.config_maps.as_ref().map(|m| m.items.as_slice()).unwrap_or_default();
        let own = maps.iter().filter(|map| self.workload.is_beside(map.namespace.as_deref()));
        for map in own {
            for mount in
                self.workload.mounts.iter().filter(|m| m.container == self.container.name && m.is_of(&map.name))
            {
                let key = mount.files(map.data.keys()).into_iter().find(|(_, file)| file == path).map(|(key, _)| key);
                if let Some(text) = key.and_then(|key| map.data.get(key)) {
                    let (name, text) = (format!("ConfigMap {}", map.name), text.expose_secret().to_owned());
                    return match words(&text).iter().any(|word| word == "include") {
                        true => unknown(format!("{name} includes other files, which are not read")),
                        false => Ok((name, text)),
                    };
                }
            }
        }
        unknown(format!("its file `{path}` is not read"))
    }
}

/// The words of a configuration of NATS, without comments and marks.
fn words(text: &str) -> Vec<String> {
    let is_comment = |at: usize, line: &str| line[..at].is_empty() || line[..at].ends_with(char::is_whitespace);
    let mut all = Vec::new();
    for line in text.lines() {
        let comment = line
            .match_indices(['#', '/'])
            .find(|(at, mark)| is_comment(*at, line) && (*mark == "#" || line[*at..].starts_with("//")));
        let line = comment.map_or(line, |(at, _)| &line[..at]);
        let parts = line.split(|c: char| c.is_whitespace() || "{}[]:=,;\"'".contains(c));
        all.extend(parts.filter(|part| !part.is_empty()).map(str::to_ascii_lowercase));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_leave_out_comments_and_marks() {
        let text = "port: 4222 # jetstream\n// routes\ncluster {\n  routes = [nats-route://nats-0:6222]\n}\nhost=a#b";
        let expected = ["port", "4222", "cluster", "routes", "nats-route", "//nats-0", "6222", "host", "a#b"];
        assert_eq!(words(text), expected);
    }
}
